/** What a subscription has parked is tried once more. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { EventStoreError } from "../store/EventStore.ts"
import { NotParkedError, ParkedEventsError } from "../store/ParkedEvents.ts"
import { isTombstone, removedError } from "../store/tombstone.ts"
import { committing } from "./committing.ts"
import { EventRetryError, ParkedBehindError, type Retried } from "./model.ts"
import { handle } from "./oneEvent.ts"
import { park } from "./parking.ts"
import { isFailed } from "./settling.ts"
import { isOrdered, type Work } from "./work.ts"

export type RetryError = NotParkedError | ParkedBehindError | EventRetryError | ParkedEventsError | EventStoreError

export const retryOne = Effect.fnUntraced(function* <R>(work: Work<R>, position: number): Effect.fn.Return<void, RetryError> {
  const { client, name, parking, store } = work
  const notParked = new NotParkedError({ follower: name, position })
  if (parking === undefined) return yield* notParked
  const [parked] = yield* parking.list(name, { after: position - 1, limit: 1 })
  const [event] = yield* Stream.runCollect(store.readAll({ after: position - 1, limit: 1 }))
  if (parked?.position !== position || event?.position !== position) return yield* notParked
  if (isTombstone(event)) {
    return yield* new EventRetryError({ subscription: name, position, cause: removedError("retry", event) })
  }
  if (isOrdered(work)) {
    const [before] = yield* parking.firstOf(name, [event.stream])
    if (before === undefined) return yield* notParked
    if (before.position < position) {
      return yield* new ParkedBehindError({ subscription: name, position, first: before.position })
    }
  }
  const attempts = parked.attempts + 1
  const discard = Effect.flatMap(parking.discard(name, position), (was) => (was ? Effect.void : Effect.fail(notParked)))
  const trying =
    client === undefined
      ? Effect.andThen(handle(work, event, attempts), parking.discard(name, position))
      : // Discarded first: of two retries at once, the second waits for the first and finds nothing.
        Effect.mapError(committing(client, Effect.andThen(discard, handle(work, event, attempts)), Effect.succeed), (error) =>
          error._tag === "SqlError" ? new ParkedEventsError({ operation: "retry", cause: error }) : error
        )
  const failed = (cause: Cause.Cause<unknown>) =>
    Effect.fail(new EventRetryError({ subscription: name, position, cause: Cause.squash(cause) }))
  yield* trying.pipe(
    // One that was discarded meanwhile stays discarded.
    Effect.catchIf(isFailed, ({ cause }) =>
      Effect.andThen(park(work, event, cause, attempts, { ifParked: true }), failed(cause))
    ),
    Effect.catchTag("Unavailable", ({ cause }) => failed(cause))
  )
})

/** How many parked events are looked up at a time. */
const pageOfParked = 100

/** Tries what is parked, in order, of one stream or of all. */
export const retryAll = Effect.fnUntraced(function* <R>(
  work: Work<R>,
  stream: string | undefined
): Effect.fn.Return<Retried, ParkedEventsError | EventStoreError> {
  const { name, parking } = work
  const count = { handled: 0, failed: 0, behind: 0 }
  let after = 0
  while (parking !== undefined) {
    const page = yield* parking.list(name, { after, limit: pageOfParked })
    for (const parked of page) {
      after = parked.position
      if (stream !== undefined && parked.stream !== stream) continue
      const outcome = yield* retryOne(work, parked.position).pipe(
        Effect.as("handled" as const),
        Effect.catchTags({
          EventRetryError: () => Effect.succeed("failed" as const),
          ParkedBehindError: () => Effect.succeed("behind" as const),
          // Somebody else was faster.
          NotParkedError: () => Effect.undefined
        })
      )
      if (outcome !== undefined) count[outcome]++
    }
    if (page.length < pageOfParked) break
  }
  return count
})
