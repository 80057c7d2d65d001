import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Event from "../definitions/Event.ts"
import type { NewEvent, RecordedEvent } from "../definitions/stored.ts"
import { deadlinesCheckpoint, processName, subscriptionCheckpoint } from "../following/names.ts"
import { positions, reached } from "../following/progress.ts"
import { findFollower } from "../following/registry.ts"
import { makeId } from "../internal/ids.ts"
import { defaultRestart, restarting } from "../internal/lifecycle.ts"
import {
  beat,
  type CheckpointError,
  type CheckpointFencedError,
  Checkpoints,
  type Lease,
  withLease
} from "../store/Checkpoints.ts"
import { type AppendError, EventStore, type Filter } from "../store/EventStore.ts"
import type { Any } from "./definition.ts"
import { DeadlineCancelled, DeadlineSet } from "./journal.ts"
import { typesOf } from "./reacting.ts"

type WatchError = AppendError | Event.EventDecodeError | CheckpointError | CheckpointFencedError

interface Pending {
  readonly position: number
  readonly due: number
  readonly stream: string
  readonly event: NewEvent
}

/**
 * Records the deadlines that are due. The checkpoint stays before the oldest that is still set, so that a restart finds all of
 * them; the lease spares others the same work, and no more: the event of a deadline has its id since it was set, so it is
 * recorded once by whoever tries.
 */
export const watchDeadlines = Effect.fnUntraced(function* ({ deadlines, events, name }: Any, ttl: Duration.Input) {
  const store = yield* EventStore
  const checkpoints = yield* Checkpoints
  const owner = yield* makeId
  const filter: Filter = { categories: [name], types: [DeadlineSet.type, DeadlineCancelled.type, ...typesOf(deadlines)] }

  /** Waits until the process has reacted to all that stands up to the position, here or elsewhere. */
  const reactedTo = (position: number) =>
    Stream.runDrain(
      positions(
        reached(subscriptionCheckpoint(processName(name)), position, { types: typesOf(events) }),
        position,
        Effect.map(findFollower(subscriptionCheckpoint(processName(name))), (found) => found?.status)
      )
    ).pipe(Effect.provideService(EventStore, store), Effect.provideService(Checkpoints, checkpoints))

  const watch = Effect.fnUntraced(function* (lease: Lease, progress: () => void): Effect.fn.Return<never, WatchError> {
    let current = lease
    let seen = lease.position
    /** By stream and type, in the order of positions. */
    const pending = new Map<string, Pending>()
    /** No deadline is due before. */
    let next = Infinity

    const look = Effect.fnUntraced(function* (recorded: RecordedEvent) {
      const { metadata, position, stream } = recorded
      seen = position
      if (recorded.type === DeadlineSet.type) {
        const { due, type, ...event } = yield* Effect.fromResult(Event.decode(DeadlineSet, recorded))
        const { _tag, ...stored } = event
        const place = `${stream}\u0000${type}`
        pending.delete(place)
        pending.set(place, {
          position,
          due: DateTime.toEpochMillis(due),
          stream,
          event: { ...stored, type, metadata: { ...metadata, causationId: recorded.id } }
        })
        next = Math.min(next, DateTime.toEpochMillis(due))
      } else if (recorded.type === DeadlineCancelled.type) {
        const { type } = yield* Effect.fromResult(Event.decode(DeadlineCancelled, recorded))
        pending.delete(`${stream}\u0000${type}`)
      } else {
        const place = `${stream}\u0000${recorded.type}`
        if (pending.get(place)?.event.id === recorded.id) pending.delete(place)
      }
    })

    const lookAround = Effect.gen(function* () {
      const head = yield* store.head
      yield* Stream.runForEach(store.readAll({ after: seen, filter }), look)
      seen = Math.max(seen, head)
    })

    while (true) {
      yield* lookAround
      const now = yield* Clock.currentTimeMillis
      if (next <= now) {
        // It may have been cancelled, by what is known already or by what the process has not come to yet.
        yield* reactedTo(seen)
        yield* lookAround
        const due = Array.from(pending).filter(([, deadline]) => deadline.due <= now)
        for (const [place, { event, stream }] of due.sort(([, a], [, b]) => a.due - b.due)) {
          yield* store.append(stream, [event])
          pending.delete(place)
          progress()
        }
        next = Array.from(pending.values()).reduce((first, { due }) => Math.min(first, due), Infinity)
      }
      const oldest = pending.values().next().value
      const settled = oldest === undefined ? seen : oldest.position - 1
      if (settled > current.position) current = yield* checkpoints.advance(current, settled)
      const news = Stream.runDrain(Stream.take(store.subscribe({ after: seen, filter }), 1))
      // The clock is looked at once an hour: it may be put forward, and timers stand still while a machine sleeps.
      yield* next === Infinity ? news : Effect.raceFirst(news, Effect.sleep(Duration.millis(Math.min(next - now, 3_600_000))))
    }
  })

  const attempt = (progress: () => void): Effect.Effect<never, WatchError, Checkpoints> =>
    withLease(deadlinesCheckpoint(name), { owner, ttl }, (lease) => watch(lease, progress)).pipe(
      Effect.catchTag("CheckpointHeldError", () => Effect.delay(attempt(progress), beat(ttl)))
    )

  return yield* restarting(attempt, {
    schedule: defaultRestart,
    onFailure: (cause) =>
      Effect.logWarning(`eventfold: the watch over the deadlines of "${name}" failed and starts again`, cause),
    onEnd: Effect.void
  })
})
