/**
 * Reads that are put together: what waits while a statement is on its way goes into the next one, as it is with appends. A statement takes one after
 * the other what it is asked for, so that goes on as long as it is quick: where it was slow, because little of it was in the memory of
 * the server, say, the next reads have a statement each, side by side on as many connections as there are.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { makeGroupCommit, type Submitted } from "../../internal/groupCommit.ts"
import type { EventStoreError } from "../../store/EventStore.ts"
import { closedStore } from "../../store/kit/index.ts"
import { isCancelled } from "../errors.ts"

/** What a statement for several requests has come to. */
export interface Together<Answer> {
  /** How many milliseconds the server took. */
  readonly millis: number
  /** Of each request, in their order: read out of the rows by whoever asked, so that what cannot be read of them is its own affair. */
  readonly answers: ReadonlyArray<() => Answer>
}

/** From how many milliseconds on a statement for several is slow. */
const slow = 20

/** How many reads have a statement each after one that was slow, until it is tried again. */
const byThemselves = 128

/** Whether the fault may be that of one of several. */
const isOfOne = (error: EventStoreError): boolean => error.reason._tag === "StoreFailure" || isCancelled(error)

export const makeGrouped = Effect.fnUntraced(function* <Request, Answer>({
  capacity = 4096,
  maxBatch,
  operation,
  read,
  take = (waiting, most) => Math.min(waiting.length, most)
}: {
  readonly operation: string
  /** The most requests on their way at once. Default: 4096. */
  readonly capacity?: number | undefined
  /** The most requests of one statement. */
  readonly maxBatch: number
  /** How many of the waiting requests, oldest first, go into one statement. Default: as many as there may be. */
  readonly take?: (waiting: ReadonlyArray<{ readonly request: Request }>, most: number) => number
  readonly read: (requests: ReadonlyArray<Request>) => Effect.Effect<Together<Answer>, EventStoreError>
}): Effect.fn.Return<(request: Request) => Effect.Effect<Answer, EventStoreError>, never, Scope.Scope> {
  let alone = 0

  const readBatch = (batch: ReadonlyArray<Submitted<Request, () => Answer, EventStoreError>>): Effect.Effect<() => void> =>
    Effect.matchCauseEffect(read(batch.map(({ request }) => request)), {
      onSuccess: ({ answers, millis }) => {
        if (batch.length > 1 && millis > slow) alone = byThemselves
        return Effect.succeed(() => {
          for (const [index, { answer }] of batch.entries()) answer(Exit.succeed(answers[index] as () => Answer))
        })
      },
      onFailure: (cause) => {
        if (batch.length > 1 && Option.exists(Cause.findErrorOption(cause), isOfOne)) {
          return Effect.map(
            Effect.forEach(batch, (one) => readBatch([one])),
            (all) => () => {
              for (const answer of all) answer()
            }
          )
        }
        return Effect.succeed(() => {
          for (const { answer } of batch) answer(Exit.failCause(cause))
        })
      }
    })

  const { submit } = yield* makeGroupCommit<Request, () => Answer, EventStoreError>({
    capacity,
    maxBatch,
    take,
    overlaps: true,
    write: readBatch,
    closed: () => closedStore(operation)
  })

  return (request) =>
    Effect.suspend(() => {
      if (alone === 0) return Effect.map(submit(Effect.succeed(request)), (answer) => answer())
      alone--
      return Effect.map(read([request]), ({ answers: [answer] }) => (answer as () => Answer)())
    })
})
