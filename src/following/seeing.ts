/**
 * What a follower has seen of the log: the newest event is kept beside its checkpoint, and compared with the log before anything is done
 * under a lease. A log that was restored from a backup, and has grown since, is told apart by it.
 *
 * It costs no statement a batch: of what is handled the id is known. What is passed over without being the follower's own is looked up
 * once a beat; until then, what lies between is compared by the filter.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { CheckpointError, CheckpointFencedError, SeenEvent } from "../store/Checkpoints.ts"
import type { EventStoreError } from "../store/EventStore.ts"
import { advance, type Body, Halted } from "./body.ts"
import { type Ahead, compare, lookAhead, seeAt, seenOf } from "./progress.ts"

/** The newest event known, up to where everything has come to its end. */
export const newestSeen = <A extends SeenEvent, E>({ batch, context, looked, state }: Body<A, E>): SeenEvent | undefined => {
  const handled = batch.findLast(({ position }) => position <= state.reach)
  return [context.lease().seen, looked, handled].reduce<SeenEvent | undefined>(
    (newest, seen) =>
      seen === undefined || seen.position > state.reach || seen.position <= (newest?.position ?? 0) ? newest : seenOf(seen),
    undefined
  )
}

/** Finds out how far the log is; the first time under a lease, whether it is the log that the checkpoint was taken from. */
export const look = Effect.fnUntraced(function* <A extends SeenEvent, E>(
  body: Body<A, E>,
  after: number
): Effect.fn.Return<Ahead, EventStoreError | Halted> {
  const { log } = body.following
  if (body.unproved) {
    yield* compare(log, body.context.lease()).pipe(
      // That the log ends before the checkpoint is found here as well.
      Effect.catchTag("CheckpointAheadError", () => Effect.void),
      Effect.catchTag("CheckpointContradictedError", (error) => Effect.fail(new Halted(Cause.fail(error))))
    )
    body.unproved = false
  }
  const ahead = yield* lookAhead(log.store, { after, filter: log.filter })
  const { clear, head } = ahead
  if (body.dated && body.state.queue.length === 0 && head >= clear && clear > (newestSeen(body)?.position ?? 0)) {
    body.looked = yield* seeAt(log, clear)
  }
  return ahead
})

/** Keeps what has been seen where the checkpoint stays: before something that is still to come, or where nothing was known before. */
export const keepSeen = Effect.fnUntraced(function* <A extends SeenEvent, E>(
  body: Body<A, E>
): Effect.fn.Return<void, CheckpointError | CheckpointFencedError> {
  const lease = body.context.lease()
  const newest = newestSeen(body)
  if (newest === undefined || newest.position <= (lease.seen?.position ?? 0)) return
  body.lease = yield* advance(body, lease.position, newest)
})
