/**
 * The watch over deadlines: a follower that notes which are set, and records those that are due. Its checkpoint is kept before the
 * oldest that is still set, so that a restart finds all of them; the lease spares others the same work, and no more: the event of a
 * deadline has its id since it was set, so it is recorded once by whoever tries.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Event from "../definitions/Event.ts"
import type { NewEvent, RecordedEvent } from "../definitions/stored.ts"
import { findFollower, followers, type WorkContext, makeFollower, stoppedBy } from "../following/engine.ts"
import { deadlinesCheckpoint, processName, subscriptionCheckpoint } from "../following/names.ts"
import { positions, reached } from "../following/progress.ts"
import { makeId } from "../internal/ids.ts"
import { defaultRestart } from "../internal/lifecycle.ts"
import { type CheckpointError, type CheckpointFencedError, Checkpoints } from "../store/Checkpoints.ts"
import { type AppendError, EventStore, type EventStoreError, type Filter } from "../store/EventStore.ts"
import type { Any } from "./definition.ts"
import { DeadlineCancelled, DeadlineSet, isRetired, nameToday } from "./journal.ts"

type WatchError = AppendError | Event.EventDecodeError | CheckpointError | CheckpointFencedError

const recordedDeadlines = Metric.counter("eventfold_deadlines_recorded_events", {
  description: "Deadlines that have come and been recorded, by process manager",
  incremental: true
})

const lagGauge = Metric.gauge("eventfold_deadlines_lag", {
  description: "How many positions of the log the watch had not seen when that was last looked up, by process manager"
})
const stateGauge = Metric.gauge("eventfold_deadlines_state", {
  description: "1 for the state that the watch is in, 0 for those that it has left, by process manager and state"
})

interface Pending {
  readonly position: number
  readonly due: number
  readonly event: NewEvent
  readonly stream: string
}

/** The deadlines that are set, as far as the log has been seen. */
class Deadlines {
  /** By stream and type, in the order of positions. */
  private readonly pending = new Map<string, Pending>()
  /** How far the log has been seen. */
  seen = 0
  private readonly definitions: ReadonlyArray<Event.Any>

  constructor(definitions: ReadonlyArray<Event.Any>) {
    this.definitions = definitions
  }

  /** Where a deadline stands: one of a type at a time, whatever the type was called when it was set. */
  private place(stream: string, type: string) {
    return `${stream}\u0000${nameToday(this.definitions)(type)}`
  }

  /** Begins anew, at a position. */
  restart(position: number) {
    this.pending.clear()
    this.seen = position
  }

  /** Sees an event, once. */
  readonly note = Effect.fnUntraced({ self: this }, function* (recorded: RecordedEvent) {
    const { metadata, position, stream } = recorded
    if (position <= this.seen) return
    this.seen = position
    if (recorded.type === DeadlineSet.type) {
      const { due, type, ...event } = yield* Effect.fromResult(Event.decode(DeadlineSet, recorded))
      const { _tag, ...stored } = event
      const place = this.place(stream, type)
      this.pending.delete(place)
      // It comes no more.
      if (isRetired(this.definitions, type)) return
      // Recorded under the type that it was set with, as an older process would: with one id, it is one event.
      this.pending.set(place, {
        position,
        due: DateTime.toEpochMillis(due),
        stream,
        event: { ...stored, type, metadata: { ...metadata, causationId: recorded.id } }
      })
    } else if (recorded.type === DeadlineCancelled.type) {
      const { type } = yield* Effect.fromResult(Event.decode(DeadlineCancelled, recorded))
      this.pending.delete(this.place(stream, type))
    } else {
      const place = this.place(stream, recorded.type)
      if (this.pending.get(place)?.event.id === recorded.id) this.pending.delete(place)
    }
  })

  /** When the first of them is due; never when there is none. */
  next(): number {
    return Array.from(this.pending.values()).reduce((first, { due }) => Math.min(first, due), Infinity)
  }

  /** Those that are due, in the order of their times. */
  due(now: number): ReadonlyArray<Pending> {
    return Array.from(this.pending.values())
      .filter(({ due }) => due <= now)
      .sort((a, b) => a.due - b.due)
  }

  /** Forgets one that has come, unless it has been set anew meanwhile. */
  forget(deadline: Pending) {
    const place = this.place(deadline.stream, deadline.event.type)
    if (this.pending.get(place) === deadline) this.pending.delete(place)
  }

  /** The position of the one that was set first. */
  oldest(): number | undefined {
    return this.pending.values().next().value?.position
  }
}

/** What the watch is kept with. */
interface Watch {
  readonly process: Any
  readonly filter: Filter
  readonly store: EventStore["Service"]
  readonly deadlines: Deadlines
  /** Open when another deadline may be the next one. */
  readonly news: Latch.Latch
  /** Waits until the process has reacted to all that stands up to the position, here or elsewhere. */
  readonly reactedTo: (position: number) => Effect.Effect<void, CheckpointError | EventStoreError>
}

/** The checkpoint stays before the oldest that is set. */
const keep = ({ deadlines }: Watch, context: WorkContext<RecordedEvent>) =>
  context.tell({ _tag: "Kept", position: deadlines.oldest() })

/** Notes what a page says of deadlines. */
const notePage = Effect.fnUntraced(function* (
  watch: Watch,
  page: ReadonlyArray<RecordedEvent>,
  context: WorkContext<RecordedEvent>
) {
  for (const event of page) yield* watch.deadlines.note(event)
  yield* keep(watch, context)
  for (const { position } of page) yield* context.tell({ _tag: "Settled", position, as: "handled" })
  watch.news.openUnsafe()
})

/** Records what is due, when the process has reacted to all that stands in the log by now: it may have cancelled it. */
const recordDue = Effect.fnUntraced(function* (
  { deadlines, filter, process, reactedTo, store }: Watch,
  now: number
): Effect.fn.Return<void, WatchError> {
  const catchUp = Stream.runForEach(
    Stream.suspend(() => store.readAll({ after: deadlines.seen, filter })),
    deadlines.note
  )
  const head = yield* store.head
  yield* catchUp
  yield* reactedTo(Math.max(head, deadlines.seen))
  yield* catchUp
  const recorded = Metric.withAttributes(recordedDeadlines, { process: process.name })
  for (const deadline of deadlines.due(now)) {
    yield* store.append(deadline.stream, [deadline.event])
    deadlines.forget(deadline)
    yield* Metric.update(recorded, 1)
  }
})

/** Waits for the next deadline, as long as the lease lasts, and records what is due. */
const watchClock = (watch: Watch, context: WorkContext<RecordedEvent>): Effect.Effect<never, WatchError> =>
  Effect.gen(function* () {
    const { deadlines, news, process } = watch
    deadlines.restart(context.lease().position)
    while (true) {
      news.closeUnsafe()
      const now = yield* Clock.currentTimeMillis
      const next = deadlines.next()
      if (next <= now) {
        yield* context.stay.await
        yield* recordDue(watch, now).pipe(
          Effect.withSpan(`record deadlines ${process.name}`, { attributes: { "eventfold.process": process.name } })
        )
        yield* keep(watch, context)
      } else {
        // The clock is looked at once an hour: it may be put forward, and timers stand still while a machine sleeps.
        const sleep = next === Infinity ? Effect.never : Effect.sleep(Duration.millis(Math.min(next - now, 3_600_000)))
        yield* Effect.raceFirst(news.await, sleep)
      }
    }
  })

const notYet = Effect.succeed({ position: 0, done: false })

/** Watches over the deadlines of a process manager until the scope closes. */
export const watchDeadlines = Effect.fnUntraced(function* (
  process: Any,
  ttl: Duration.Input
): Effect.fn.Return<void, never, EventStore | Checkpoints | Scope.Scope> {
  const { deadlines, events, name } = process
  const store = yield* EventStore
  const checkpoints = yield* Checkpoints
  const reacting = subscriptionCheckpoint(processName(name))
  const filter: Filter = { categories: [name], types: Event.storedTypes(DeadlineSet, DeadlineCancelled, ...deadlines) }
  const watch: Watch = {
    process,
    filter,
    store,
    deadlines: new Deadlines(deadlines),
    news: Latch.makeUnsafe(false),
    reactedTo: (position) =>
      positions(
        // Where its checkpoint is of another log it has halted: it reacts to nothing until somebody has set that right.
        reached(reacting, position, { types: Event.storedTypes(...events) }).pipe(
          Effect.catchTags({ CheckpointAheadError: () => notYet, CheckpointContradictedError: () => notYet })
        ),
        position,
        Effect.map(findFollower(reacting), (found) => found?.status),
        1000
      ).pipe(Stream.runDrain, Effect.provideService(EventStore, store), Effect.provideService(Checkpoints, checkpoints))
  }
  const follower = yield* makeFollower<RecordedEvent, WatchError>({
    meters: {
      lag: Metric.withAttributes(lagGauge, { process: name }),
      state: (state) => Metric.withAttributes(stateGauge, { process: name, state })
    },
    title: `watch over the deadlines of "${name}"`,
    name,
    checkpoint: deadlinesCheckpoint(name),
    attributes: { process: name },
    settings: { batch: Number.POSITIVE_INFINITY, afterPages: "look" },
    owner: yield* makeId,
    ttl: Duration.fromInputUnsafe(ttl),
    restart: defaultRestart,
    read: (after, arrived) =>
      Stream.runForEachArray(store.subscribe({ after, filter }), (page) => arrived(page, page.at(-1)?.position ?? 0)),
    log: { store, filter },
    work: (page, context) => notePage(watch, page, context),
    beside: (context) => watchClock(watch, context)
  })
  yield* followers.register(deadlinesCheckpoint(name), {
    ...follower,
    part: "deadlines",
    home: checkpoints,
    about: `the watch over the deadlines of the process manager "${name}"`,
    isStopped: stoppedBy(follower.status)
  })
  yield* Effect.forkScoped(follower.main)
})
