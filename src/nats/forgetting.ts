/** Forgetting a group, as far as the server knows of no member. */
import * as Effect from "effect/Effect"
import { onceLeft } from "../transport/kit.ts"
import { GroupInUseError, type Transport } from "../transport/Transport.ts"
import { token } from "./encoding.ts"
import { isMissing, type Topology } from "./topology.ts"

export const makeForget = ({ consumerInfo, dropConsumer }: Topology): Transport["Service"]["forget"] => {
  const forget = Effect.fnUntraced(function* (group: string) {
    const consumer = token(group)
    const waiting = yield* Effect.catchIf(
      Effect.map(consumerInfo(consumer), ({ num_waiting }) => num_waiting),
      isMissing,
      () => Effect.succeed(0)
    )
    if (waiting > 0) return yield* new GroupInUseError({ group, detail: "a member waits for messages" })
    return yield* dropConsumer(consumer)
  })
  return (group) => onceLeft(forget(group))
}
