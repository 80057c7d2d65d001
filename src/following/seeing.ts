/**
 * What a follower has seen of the log: the newest event is kept beside its checkpoint, and compared with the log before anything is done
 * under a lease, and before what is read once a beat has passed since. A log that was restored from a backup, and has grown since, is told apart by it.
 *
 * It costs no statement a batch: of what is handled the id is known. What is passed over without being the follower's own is looked up
 * once a beat; until then, what lies between is compared by the filter.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { beat, type CheckpointError, type CheckpointFencedError, type SeenEvent } from "../store/Checkpoints.ts"
import type { EventStoreError } from "../store/EventStore.ts"
import { advance, type Body, Halted } from "./body.ts"
import { type Ahead, compare, eventAtTogether, lookAhead, type OtherLogError, seeAt, seenOf } from "./progress.ts"
import { missedBetween, missedBeyond } from "./removed.ts"

/** The newest event known, up to where everything has come to its end. */
export const newestSeen = <A extends SeenEvent, E>({ batch, context, looked, state }: Body<A, E>): SeenEvent | undefined => {
  const handled = batch.findLast(({ position }) => position <= state.reach)
  return [context.lease().seen, looked, handled].reduce<SeenEvent | undefined>(
    (newest, seen) =>
      seen === undefined || seen.position > state.reach || seen.position <= (newest?.position ?? 0) ? newest : seenOf(seen),
    undefined
  )
}

/**
 * What was removed between two positions, and is not among what has been read of them.
 *
 * Whoever removes events looks first whether a checkpoint stands before them. One that was claimed since then has not been seen, so what is
 * below the head of that moment may still go, after this follower has looked for it and before it reads. Nothing beyond may: the checkpoint
 * is there for all who look later.
 */
export const missedMeanwhile = <A extends SeenEvent, E>(
  { following: { log }, unsafe }: Body<A, E>,
  after: number,
  upTo: number,
  read: ReadonlyArray<SeenEvent> = []
): Effect.Effect<EventStoreError | undefined, EventStoreError> => {
  if (after >= unsafe || log.removed === "skip") return Effect.undefined
  const has = new Set(read.map(({ position }) => position))
  return missedBetween(log, after, Math.min(upTo, unsafe), (position) => has.has(position))
}

/**
 * Finds out how far the log is; the first time under a lease, whether it is the log that the checkpoint was taken from, and whether all that is
 * to come still stands in it.
 */
export const look = Effect.fnUntraced(function* <A extends SeenEvent, E>(
  body: Body<A, E>,
  after: number
): Effect.fn.Return<Ahead, EventStoreError | Halted> {
  const { log } = body.following
  const first = body.unproved
  if (first) {
    yield* compare(log, body.context.lease()).pipe(
      // That the log ends before the checkpoint is found here as well.
      Effect.catchTag("CheckpointAheadError", () => Effect.void),
      Effect.catchTag("CheckpointContradictedError", (error) => Effect.fail(new Halted(Cause.fail(error))))
    )
    if (log.removed !== "skip") {
      const missed = yield* missedBeyond(log, body.context.lease().position)
      if (missed !== undefined) return yield* Effect.fail(new Halted(Cause.fail(missed)))
    }
    body.unproved = false
    body.provedAt = yield* Clock.currentTimeMillis
  }
  const ahead = yield* lookAhead(log.store, { after, filter: log.filter })
  const { clear, head } = ahead
  if (first) body.unsafe = head
  const missed = yield* missedMeanwhile(body, after, clear)
  if (missed !== undefined) return yield* Effect.fail(new Halted(Cause.fail(missed)))
  if (body.dated && body.state.queue.length === 0 && head >= clear && clear > (newestSeen(body)?.position ?? 0)) {
    body.looked = yield* seeAt(log, clear)
  }
  return ahead
})

/** How the log differs from what the checkpoint was taken from: looked for where a beat has passed since that was looked for last. */
export const restoredMeanwhile = <A extends SeenEvent, E>(
  body: Body<A, E>
): Effect.Effect<OtherLogError | undefined, EventStoreError> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    // A clock may be set back.
    if (Math.abs(now - body.provedAt) < Duration.toMillis(beat(body.following.ttl))) return Effect.undefined
    body.provedAt = now
    const found = (error: OtherLogError): Effect.Effect<OtherLogError | undefined> => Effect.succeed(error)
    return compare(body.following.log, body.context.lease(), eventAtTogether).pipe(
      Effect.andThen(Effect.undefined),
      Effect.catchTags({ CheckpointAheadError: found, CheckpointContradictedError: found })
    )
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
