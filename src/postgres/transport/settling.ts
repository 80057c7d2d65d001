/** How what consumers say of their messages is written: what comes at once goes as one statement. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { makeGroupCommit, takeUpTo } from "../../internal/groupCommit.ts"
import { closed } from "../../transport/kit.ts"
import type { TransportError } from "../../transport/Transport.ts"
import { encodeSettled, type Settled } from "../sql/settle.ts"
import { failAs, maxBatchBytes, type Shared } from "./shared.ts"

export type Settle = (settled: Settled) => Effect.Effect<void, TransportError>

export const makeSettle = Effect.fnUntraced(function* ({
  ask,
  joining,
  statements
}: Shared): Effect.fn.Return<Settle, never, Scope.Scope> {
  const write = (all: ReadonlyArray<Settled>): Effect.Effect<void, TransportError> =>
    Effect.asVoid(Effect.mapError(ask(statements.settle, encodeSettled(all)), failAs("settle")))
  const settler = yield* makeGroupCommit<{ readonly bytes: number; readonly settled: Settled }, void, TransportError>({
    capacity: 4096,
    maxBatch: 1024,
    take: takeUpTo(maxBatchBytes),
    overlaps: false,
    write: (batch) =>
      Effect.map(Effect.exit(write(batch.map(({ request }) => request.settled))), (exit) => () => {
        for (const { answer } of batch) answer(exit)
      }),
    closed: () => closed("settle")
  })
  return (settled) => joining(write([settled]), settler.submit(Effect.succeed({ bytes: settled.group.length + 100, settled })))
})
