/**
 * The watch over deadlines: a follower that notes which are set, and records those that are due. A restart finds all of them: they are kept
 * beside its checkpoint, or that stays before the oldest that is still set. The lease spares others the same work, and no more: the event
 * of a deadline has its id since it was set, so it is recorded once by whoever tries.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Event from "../definitions/Event.ts"
import type { NewEvent, RecordedEvent } from "../definitions/stored.ts"
import { findFollower, makeFollower, makeOwner, readingOf, register, stoppedBy, type WorkContext } from "../following/engine.ts"
import { deadlinesCheckpoint, processName, subscriptionCheckpoint } from "../following/names.ts"
import { positions, reached } from "../following/progress.ts"
import { defaultRestart } from "../internal/lifecycle.ts"
import { type CheckpointError, type CheckpointFencedError, Checkpoints, type KeptDeadline } from "../store/Checkpoints.ts"
import { type AppendError, EventStore, EventStoreError, type Filter, StoreCorrupted } from "../store/EventStore.ts"
import type { Any } from "./definition.ts"
import { DeadlineCancelled, DeadlineSet } from "./journal.ts"
import { inMemory, inTable, type Pending } from "./pending.ts"

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

/** What the watch is kept with. */
interface Watch {
  readonly process: Any
  readonly filter: Filter
  readonly store: EventStore["Service"]
  readonly deadlines: Pending
  /** Open when another deadline may be the next one. */
  readonly news: Latch.Latch
  /** Waits until the process has reacted to all that stands up to the position, here or elsewhere. */
  readonly reactedTo: (position: number) => Effect.Effect<void, CheckpointError | EventStoreError>
}

/** The checkpoint stays before the oldest that is set, where they are not kept beside it. */
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

/** How far apart the events may stand that have set deadlines, to be read together. */
const closeBy = 64

/** The event of a deadline as it is recorded: under the type that it was set with, as an older process would: with one id, it is one event. */
const toRecord = Effect.fnUntraced(function* (recorded: RecordedEvent): Effect.fn.Return<NewEvent, Event.EventDecodeError> {
  const { _tag, due: _due, ...stored } = yield* Effect.fromResult(Event.decode(DeadlineSet, recorded))
  return { ...stored, metadata: { ...recorded.metadata, causationId: recorded.id } }
})

/** The events of deadlines, by the position at which they were set. */
const eventsOf = Effect.fnUntraced(function* ({ process, store }: Watch, deadlines: ReadonlyArray<KeptDeadline>) {
  const filter: Filter = { categories: [process.name], types: [DeadlineSet.type] }
  const wanted = deadlines.map(({ position }) => position).sort((a, b) => a - b)
  const runs: Array<{ readonly first: number; last: number }> = []
  for (const position of wanted) {
    const run = runs.at(-1)
    if (run !== undefined && position - run.last <= closeBy) run.last = position
    else runs.push({ first: position, last: position })
  }
  const events = new Map<number, NewEvent>()
  const readRun = Effect.fnUntraced(function* ({ first, last }: (typeof runs)[number]) {
    for (let after = first - 1; after < last;) {
      const page = yield* store.readPage({ after, upTo: last, filter, size: last - after })
      for (const event of page.events) events.set(event.position, yield* toRecord(event))
      // The log ends before: it is another one than that in which they were set.
      if (page.head < last) return
      after = page.position
    }
  })
  yield* Effect.forEach(runs, readRun, { concurrency: 16, discard: true })
  return events
})

/** Records a page of deadlines, all with one append. Where somebody else has recorded some of them, or one is refused, each with its own. */
const recordAll = (
  { store }: Watch,
  appends: ReadonlyArray<{ readonly stream: string; readonly events: ReadonlyArray<NewEvent> }>
): Effect.Effect<void, AppendError> =>
  Effect.catchTag(Effect.asVoid(store.appendAll(appends)), ["DuplicateEventError", "InvalidAppendError"], () =>
    Effect.forEach(appends, ({ events, stream }) => store.append(stream, events), { discard: true })
  )

/** A deadline stands beside the checkpoint, and the log does not say that it was set: the one or the other was restored, or changed by hand. */
const missing = (position: number, stream: string) => {
  const detail = `a deadline of ${JSON.stringify(stream)} was set at position ${position}, where the log says nothing of it: reset the checkpoint of this watch to 0, and all deadlines are read from the log`
  return new EventStoreError({ reason: new StoreCorrupted({ operation: "record deadlines", detail }) })
}

/** Records what is due, when the process has reacted to all that stands in the log by now: it may have cancelled it. */
const recordDue = Effect.fnUntraced(function* (watch: Watch, now: number): Effect.fn.Return<void, WatchError> {
  const { deadlines, filter, process, reactedTo, store } = watch
  const catchUp = Stream.runForEach(
    Stream.suspend(() => store.readAll({ after: deadlines.seen(), filter })),
    deadlines.note
  )
  const head = yield* store.head
  yield* catchUp
  yield* reactedTo(Math.max(head, deadlines.seen()))
  yield* catchUp
  const recorded = Metric.withAttributes(recordedDeadlines, { process: process.name })
  let after: KeptDeadline | undefined
  do {
    const page = yield* deadlines.due(now, after)
    const events = yield* eventsOf(watch, page.deadlines)
    const appends: Array<Parameters<typeof recordAll>[1][number]> = []
    for (const { position, stream } of page.deadlines) {
      const event = events.get(position)
      // It is not forgotten: who forgets a deadline that has not come has lost it.
      if (event === undefined) return yield* missing(position, stream)
      appends.push({ stream, events: [event] })
    }
    yield* recordAll(watch, appends)
    for (const deadline of page.deadlines) deadlines.forget(deadline)
    yield* Metric.update(recorded, appends.length)
    after = page.next
  } while (after !== undefined)
})

/** Waits for the next deadline, as long as the lease lasts, and records what is due. */
const watchClock = (watch: Watch, context: WorkContext<RecordedEvent>): Effect.Effect<never, WatchError> =>
  Effect.gen(function* () {
    const { deadlines, news, process } = watch
    while (true) {
      news.closeUnsafe()
      const now = yield* Clock.currentTimeMillis
      const next = yield* deadlines.next(now)
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
  const checkpoint = deadlinesCheckpoint(name)
  const table = checkpoints.deadlines
  const pending = table === undefined ? inMemory(deadlines) : inTable(deadlines, table, checkpoint)
  const watch: Watch = {
    process,
    filter,
    store,
    deadlines: pending,
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
    checkpoint,
    attributes: { process: name },
    settings: { batch: Number.POSITIVE_INFINITY, afterPages: "look" },
    owner: yield* makeOwner(checkpoints),
    claimed: Effect.fnUntraced(function* (claimed) {
      // What is kept is not of this position: it was reset, or moved by a program that keeps none. So all is read anew.
      const lease = table === undefined || claimed.deadlines === true ? claimed : yield* table.restart(claimed)
      pending.restart(lease.position)
      return lease
    }),
    advance: pending.advance,
    ttl: Duration.fromInputUnsafe(ttl),
    restart: defaultRestart,
    ...readingOf({ store, filter }),
    // Of a process that waits for a deadline nothing is removed.
    log: { store, filter, removed: "skip" },
    work: (page, context) => notePage(watch, page, context),
    beside: (context) => watchClock(watch, context)
  })
  const { ended } = yield* register(checkpoint, {
    ...follower,
    part: "deadlines",
    title: name,
    filter,
    due: (upTo, after) => Effect.map(pending.due(upTo, after), (page) => page.deadlines),
    home: checkpoints,
    about: `the watch over the deadlines of the process manager "${name}"`,
    isStopped: stoppedBy(follower.status)
  })
  // Also where it ends before it has begun.
  yield* Effect.addFinalizer(() => Effect.andThen(follower.show("stopped"), ended))
  yield* Effect.forkScoped(follower.main)
})
