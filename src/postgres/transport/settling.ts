/** How what consumers say of their messages is written: what comes at once goes as one statement. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { makeGroupCommit, takeUpTo } from "../../internal/groupCommit.ts"
import { closed } from "../../transport/kit.ts"
import type { TransportError } from "../../transport/Transport.ts"
import { encodeSettled, type Settled } from "../sql/settle.ts"
import { failAs, maxBatchBytes, type Shared } from "./shared.ts"

export type Settle = (settled: Settled) => Effect.Effect<void, TransportError>

/** What is settled in one turn of the process, with who waits for it. */
interface Gathered {
  readonly settled: Settled
  readonly resume: (answer: Effect.Effect<void, TransportError>) => void
}

export const makeSettle = Effect.fnUntraced(function* ({
  ask,
  joining,
  statements
}: Shared): Effect.fn.Return<Settle, never, Scope.Scope> {
  const write = (all: ReadonlyArray<Settled>): Effect.Effect<void, TransportError> =>
    Effect.asVoid(Effect.mapError(ask(statements.settle, encodeSettled(all)), failAs("settle")))
  const settler = yield* makeGroupCommit<
    { readonly bytes: number; readonly settled: ReadonlyArray<Settled> },
    void,
    TransportError
  >({
    capacity: 4096,
    maxBatch: 1024,
    take: takeUpTo(maxBatchBytes),
    write: (batch) =>
      Effect.map(Effect.exit(write(batch.flatMap(({ request }) => request.settled))), (exit) => () => {
        for (const { answer } of batch) answer(exit)
      }),
    closed: () => closed("settle")
  })
  const run = Effect.runForkWith(yield* Effect.context())
  let gathered: Array<Gathered> = []
  const submit = Effect.suspend(() => {
    const all = gathered
    gathered = []
    if (all.length === 0) return Effect.void
    const settled = all.map(({ settled }) => settled)
    const bytes = settled.reduce((sum, { group }) => sum + group.length + 100, 0)
    return Effect.map(Effect.exit(settler.submit(Effect.succeed({ bytes, settled }))), (exit) => {
      for (const { resume } of all) resume(exit)
    })
  })
  const gather = (settled: Settled): Effect.Effect<void, TransportError> =>
    Effect.callback((resume) => {
      const one = { settled, resume }
      if (gathered.push(one) === 1) run(Effect.andThen(Effect.yieldNow, submit))
      return Effect.sync(() => {
        gathered = gathered.filter((other) => other !== one)
      })
    })
  return (settled) => joining(write([settled]), gather(settled))
})
