/** Forgetting a group, as far as the server knows of no member. */
import * as Effect from "effect/Effect"
import { GroupInUseError, type Transport } from "../transport/Transport.ts"
import * as scripts from "./scripts/index.ts"
import type { Server } from "./server.ts"

export const makeForget =
  ({ call, keys, redis }: Server): Transport["Service"]["forget"] =>
  (group) => {
    const input = { stream: keys.stream, members: keys.members(group), delayed: keys.delayed(group), group }
    return Effect.flatMap(call("forget", redis.eval(scripts.forget)(input)), (outcome) =>
      outcome === 2
        ? Effect.fail(new GroupInUseError({ group, detail: "a member has asked for messages within its lease" }))
        : Effect.succeed(outcome === 1)
    )
  }
