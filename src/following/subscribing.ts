/**
 * What a subscription does with events: one by one, several streams at once, or a batch in one transaction; tried again, parked, or
 * refused.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { provideBuilt } from "../definitions/services.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import type { Episodes } from "../internal/episodes.ts"
import { defaultRestart } from "../internal/lifecycle.ts"
import { beat, type CheckpointError, type CheckpointFencedError, Checkpoints, type Lease } from "../store/Checkpoints.ts"
import { EventStore, type EventStoreError } from "../store/EventStore.ts"
import { NotParkedError, ParkedEvents, ParkedEventsError } from "../store/ParkedEvents.ts"
import { committing } from "./committing.ts"
import { type Handling, StillHeld } from "./handling.ts"
import { EventRetryError, HandlerTimeoutError, type OnFailure, type Options, type Requirements, type State } from "./model.ts"
import { partitionName, subscriptionCheckpoint } from "./names.ts"
import { partitionOf, type Tail } from "./partitions.ts"
import { seenOf } from "./progress.ts"
import type { Halted, WorkContext } from "./body.ts"
import { tellFailure } from "./reasons.ts"
import { type Follower, makeFollower } from "./running.ts"
import { Failed, handling as handlingOf, isFailed, settle, type Unavailable } from "./settling.ts"

const handledEvents = Metric.counter("eventfold_subscription_handled_events", {
  description: "Events that a handler has dealt with, by subscription",
  incremental: true
})
const parkedEvents = Metric.counter("eventfold_subscription_parked_events", {
  description: "Events that have been parked, by subscription",
  incremental: true
})

const lagGauge = Metric.gauge("eventfold_subscription_lag", {
  description: "How many positions the checkpoint was behind the newest event when that was last looked up, by subscription"
})
const stateGauge = Metric.gauge("eventfold_subscription_state", {
  description: "1 for the state that the subscription is in, 0 for those that it has left, by subscription and state"
})

const metersOf = (name: string, partition: Partition | undefined) => {
  const of = partition === undefined ? { subscription: name } : { subscription: name, partition: String(partition.index) }
  return {
    of,
    handled: Metric.withAttributes(handledEvents, of),
    parked: Metric.withAttributes(parkedEvents, of),
    lag: Metric.withAttributes(lagGauge, of),
    state: (state: State) => Metric.withAttributes(stateGauge, { ...of, state })
  }
}

const defaultRetry = Schedule.max([Schedule.exponential("100 millis"), Schedule.recurs(5)])

/** What fails around the handlers: the subscription backs off and starts again. */
export type Outage = EventStoreError | CheckpointError | CheckpointFencedError | ParkedEventsError | SqlError | Unavailable

/** The part of a group that a subscription is. */
interface Partition {
  readonly index: number
  readonly count: number
  readonly tail: Tail<RecordedEvent>
  readonly episodes: Episodes
  /** Run when the status has changed. */
  readonly onChange: Effect.Effect<void>
}

/** Where a subscription begins, in whose name, and which part of a group it is. */
export interface Place {
  readonly from: number | undefined
  readonly owner: string
  readonly check?: Effect.Effect<void, Halted | CheckpointError> | undefined
  readonly partition?: Partition | undefined
}

/** A subscription, or a partition of one, that is not running yet. */
export interface Subscribed extends Follower<Outage> {
  readonly retry: (
    position: number
  ) => Effect.Effect<void, NotParkedError | EventRetryError | ParkedEventsError | EventStoreError>
}

/** What all of this needs. */
interface Work<R> {
  readonly name: string
  readonly ttl: Duration.Duration
  readonly options: Options<OnFailure, boolean>
  readonly handling: Handling<R>
  readonly partition: Partition | undefined
  readonly store: EventStore["Service"]
  readonly checkpoints: Checkpoints["Service"]
  readonly parking: ParkedEvents["Service"] | undefined
  /** Of the database in whose transactions the handlers run. */
  readonly client: SqlClient.SqlClient | undefined
  readonly provide: <A, E>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Scope.Scope>
  readonly meters: ReturnType<typeof metersOf>
}

export const leaseTime = (options: Options<OnFailure, boolean>) => Duration.fromInputUnsafe(options.lease ?? "15 seconds")

/** Makes a subscription, or a partition of one. */
export const subscribe = Effect.fnUntraced(function* <R, P extends OnFailure, T extends boolean>(
  options: Options<P, T>,
  handling: Handling<R>,
  { check, from, owner, partition }: Place
): Effect.fn.Return<Subscribed, never, Requirements<R, P, T>> {
  const { name } = options
  const context: Context.Context<Exclude<R, Scope.Scope>> = yield* Effect.context<Exclude<R, Scope.Scope>>()
  const checkpoints: Checkpoints["Service"] = yield* Checkpoints
  const client = options.transactional === true ? yield* Effect.serviceOption(SqlClient.SqlClient) : Option.none()
  if (Option.isSome(client) && checkpoints.transactionService?.key !== client.value.transactionService.key) {
    return yield* Effect.die(
      new Error(
        `The subscription "${name}" is transactional, and the Checkpoints do not commit with the SqlClient provided here. Provide both from one database, or set transactional: false.`
      )
    )
  }
  const title = partition === undefined ? name : partitionName(name, partition.index, partition.count)
  const work: Work<R> = {
    name,
    ttl: leaseTime(options),
    options,
    handling,
    partition,
    store: yield* EventStore,
    checkpoints,
    parking: Option.getOrUndefined(yield* Effect.serviceOption(ParkedEvents)),
    client: Option.getOrUndefined(client),
    provide: provideBuilt<R, Scope.Scope>(context),
    meters: metersOf(name, partition)
  }
  const follower = yield* makeFollower<RecordedEvent, Outage>(
    {
      meters: work.meters,
      title: `subscription "${title}"`,
      name: title,
      checkpoint: subscriptionCheckpoint(title),
      attributes: work.meters.of,
      settings: { batch: Math.max(1, options.batch ?? 256), afterPages: "look" },
      owner,
      ttl: work.ttl,
      from,
      restart: defaultRestart,
      check,
      read: (after, arrived) => reading(work, after, arrived),
      log: {
        store: work.store,
        filter: handling.filter,
        isOwn: partition === undefined ? undefined : ({ stream }) => partitionOf(stream, partition.count) === partition.index
      },
      work: (batch, context) => dealWith(work, batch, context),
      episodes: partition?.episodes,
      onChange: partition?.onChange
    },
    partition === undefined ? "starting" : "standby"
  )
  return { ...follower, retry: (position) => retryOne(work, position) }
})

// -----------------------------------------------------------------------------
// reading
// -----------------------------------------------------------------------------

type Arrived = (events: ReadonlyArray<RecordedEvent>, to: number) => Effect.Effect<void>

const reading = <R>({ handling: { filter }, partition, store }: Work<R>, after: number, arrived: Arrived) => {
  if (partition === undefined) {
    return Stream.runForEachArray(store.subscribe({ after, filter }), (page) => arrived(page, page.at(-1)?.position ?? 0))
  }
  const { count, index, tail } = partition
  let passed = after
  const take = (page: ReadonlyArray<RecordedEvent>) => {
    const own = page.filter(({ stream }) => partitionOf(stream, count) === index)
    passed = Math.max(passed, page.at(-1)?.position ?? 0)
    return arrived(own, passed)
  }
  return Effect.forever(
    Effect.suspend(() => {
      const next = tail.next(passed)
      if (next !== undefined) return Effect.flatMap(next, take)
      // Behind what is shared: this partition reads by itself, until it has come up with the others.
      const behind = Stream.takeWhile(store.readAll({ after: passed, filter }), ({ position }) => position <= tail.begin())
      const reached = tail.begin()
      return Effect.map(Stream.runForEachArray(behind, take), () => void (passed = Math.max(passed, reached)))
    })
  )
}

// -----------------------------------------------------------------------------
// one event
// -----------------------------------------------------------------------------

/** Runs what a handler does; in a transaction it has the time of the lease. */
const run = <R>({ client, name, provide, ttl }: Work<R>, effect: Effect.Effect<unknown, unknown, R>) => {
  const work = provide(effect)
  if (client === undefined) return handlingOf(work)
  const lease = Duration.toMillis(ttl)
  const orElse = () => Effect.fail(new HandlerTimeoutError({ subscription: name, lease }))
  return handlingOf(Effect.timeoutOrElse(work, { duration: ttl, orElse }))
}

/** Tries an event once. */
const handle = <R>(work: Work<R>, event: RecordedEvent, attempt: number): Effect.Effect<void, Failed | Unavailable> =>
  Effect.suspend(() => {
    const prepared = work.handling.prepare(event)
    return Result.isFailure(prepared)
      ? Effect.fail(new Failed(Cause.fail(prepared.failure), false))
      : run(
          work,
          Effect.suspend(() => prepared.success({ subscription: work.name, event, attempt }))
        )
  })

const park = Effect.fnUntraced(function* <R>(
  { meters, name, parking }: Work<R>,
  event: RecordedEvent,
  cause: Cause.Cause<unknown>,
  attempts: number,
  options?: { readonly ifParked: boolean }
): Effect.fn.Return<void, ParkedEventsError> {
  if (parking === undefined) return yield* Effect.die(new Error(`The subscription "${name}" has nowhere to park events`))
  const { position, stream, type } = event
  const parkedAt = yield* DateTime.now
  yield* parking.park({ subscription: name, position, stream, type, cause: Cause.pretty(cause), attempts, parkedAt }, options)
  yield* Metric.update(meters.parked, 1)
  yield* tellFailure(
    Effect.logWarning,
    `eventfold: the subscription "${name}" has parked the event at position ${position}`,
    cause
  )
})

/** Makes what is done with an event last. */
type Commit = <E>(work: Effect.Effect<void, E>) => Effect.Effect<void, E | Outage | Failed>

/** What has become of an event; `"refused"` when it can be neither handled nor parked. */
type Outcome = "handled" | "parked" | "refused"

/** Brings an event to its end, or leaves it for later. */
const settleEvent = <R>(
  work: Work<R>,
  event: RecordedEvent,
  context: WorkContext<RecordedEvent>,
  commit: Commit
): Effect.Effect<Outcome | "left", Outage> =>
  settle<Outcome, Outage>({
    attempt: (attempt) =>
      commit(handle(work, event, attempt)).pipe(Effect.as("handled" as const), Effect.catchIf(isFailed, Effect.succeed)),
    giveUp: (cause, attempts) => {
      if (work.options.onFailure !== "park") {
        return Effect.as(context.tell({ _tag: "Refused", position: event.position, cause }), "refused")
      }
      return commit(park(work, event, cause, attempts)).pipe(
        Effect.catchIf(isFailed, ({ cause }) => Effect.die(Cause.squash(cause))),
        Effect.as("parked")
      )
    },
    retry: work.options.retry ?? defaultRetry,
    leave: context.leave,
    waiting: (cause, wait) =>
      context.tell({ _tag: "Retrying", cause }).pipe(Effect.andThen(wait), Effect.andThen(context.tell({ _tag: "Retried" })))
  })

// -----------------------------------------------------------------------------
// a batch
// -----------------------------------------------------------------------------

const dealWith = <R>(work: Work<R>, batch: ReadonlyArray<RecordedEvent>, context: WorkContext<RecordedEvent>) => {
  const { checkpoints, client, name, partition } = work
  const stillHeld = Effect.suspend(() => {
    const { epoch, name } = context.lease()
    return Effect.map(checkpoints.get(name), (checkpoint) => Option.isSome(checkpoint) && checkpoint.value.epoch === epoch)
  })
  const dealing = client === undefined ? separately(work, batch, context) : transactionally(work, client, batch, context)
  return dealing.pipe(
    Effect.provideService(StillHeld, stillHeld),
    Effect.withSpan(`process ${name}`, {
      kind: "consumer",
      attributes: {
        "messaging.system": "eventfold",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.subscription.name": name,
        ...(partition === undefined ? {} : { "messaging.destination.partition.id": String(partition.index) }),
        "messaging.batch.message_count": batch.length
      }
    })
  )
}

/**
 * Each event by itself; what is in hand when one is refused comes to its end, too. Behind one that has been parked none begins before the
 * checkpoint has moved: done again, it would be parked again, though somebody may have discarded it.
 */
const separately = <R>(
  work: Work<R>,
  batch: ReadonlyArray<RecordedEvent>,
  context: WorkContext<RecordedEvent>
): Effect.Effect<void, Outage> => {
  const { handled } = work.meters
  let hasParked = false
  const one = (event: RecordedEvent) =>
    Effect.suspend(() => {
      const { position } = event
      if (hasParked || !context.mayBegin(position)) return Effect.void
      return Effect.flatMap(
        settleEvent(work, event, context, (work) => work),
        (outcome) => {
          if (outcome === "left" || outcome === "refused") return Effect.void
          hasParked ||= outcome === "parked"
          const settled = context.tell({ _tag: "Settled", position, as: outcome })
          return outcome === "handled" ? Effect.andThen(settled, Metric.update(handled, 1)) : settled
        }
      )
    })
  const concurrency = Math.max(1, work.options.concurrency ?? 1)
  const streams = concurrency === 1 ? [batch] : Array.from(Map.groupBy(batch, ({ stream }) => stream).values())
  return Effect.forEach(streams, (events) => Effect.forEach(events, one, { discard: true }), { concurrency, discard: true })
}

/** The batch in one transaction; when that fails, each event in one of its own. The checkpoint moves with them. */
const transactionally = Effect.fnUntraced(function* <R>(
  work: Work<R>,
  sql: SqlClient.SqlClient,
  batch: ReadonlyArray<RecordedEvent>,
  context: WorkContext<RecordedEvent>
): Effect.fn.Return<void, Outage> {
  const { handled } = work.meters
  const commit = makeCommit(work, sql, context)
  if (batch.length > 1) {
    const count = yield* Effect.catchIf(commit(allOf(work, batch, context)), isFailed, () => Effect.undefined)
    if (count !== undefined) return yield* Metric.update(handled, count)
  }
  for (const event of batch) {
    if (!context.mayBegin(event.position)) return
    const outcome = yield* settleEvent(work, event, context, (work) => Effect.asVoid(commit(Effect.as(work, [event]))))
    if (outcome === "handled") yield* Metric.update(handled, 1)
    else if (outcome !== "parked") return
  }
})

/** Handles events until one may not begin, or so much time has passed that the transaction has to end. Those that have been handled. */
const allOf = Effect.fnUntraced(function* <R>(
  work: Work<R>,
  batch: ReadonlyArray<RecordedEvent>,
  context: WorkContext<RecordedEvent>
): Effect.fn.Return<ReadonlyArray<RecordedEvent>, Failed | Unavailable> {
  const { handleBatch } = work.handling
  if (handleBatch !== undefined && !context.leave.isOpen()) {
    yield* run(work, handleBatch(batch))
    return batch
  }
  const handled: Array<RecordedEvent> = []
  const end = (yield* Clock.currentTimeMillis) + Duration.toMillis(beat(work.ttl))
  for (const event of batch) {
    if (!context.mayBegin(event.position) || (handled.length > 0 && (yield* Clock.currentTimeMillis) > end)) break
    yield* handle(work, event, 1)
    handled.push(event)
  }
  return handled
})

/** Commits work that ends with the given events, together with the checkpoint behind them. How many they were. */
const makeCommit =
  <R>({ checkpoints, ttl }: Work<R>, sql: SqlClient.SqlClient, context: WorkContext<RecordedEvent>) =>
  <E>(work: Effect.Effect<ReadonlyArray<RecordedEvent>, E>): Effect.Effect<number, E | Outage | Failed> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const moving = (
          events: ReadonlyArray<RecordedEvent>
        ): Effect.Effect<readonly [ReadonlyArray<RecordedEvent>, Lease], CheckpointFencedError | CheckpointError> => {
          const last = events.at(-1)
          return last === undefined
            ? Effect.succeed([events, context.lease()])
            : Effect.map(checkpoints.advance(context.lease(), last.position, seenOf(last)), (next) => [events, next])
        }
        // The handler that began last may have taken all of its time.
        const patience = Duration.times(ttl, 1.5)
        const [events, next] = yield* restore(committing(sql, work, moving, patience))
        yield* context.moved(
          next,
          events.map(({ position }) => position)
        )
        return events.length
      })
    )

// -----------------------------------------------------------------------------
// what is parked
// -----------------------------------------------------------------------------

const retryOne = Effect.fnUntraced(function* <R>(
  work: Work<R>,
  position: number
): Effect.fn.Return<void, NotParkedError | EventRetryError | ParkedEventsError | EventStoreError> {
  const { client, name, parking, store } = work
  const notParked = new NotParkedError({ follower: name, position })
  if (parking === undefined) return yield* notParked
  const [parked] = yield* parking.list(name, { after: position - 1, limit: 1 })
  const [event] = yield* Stream.runCollect(store.readAll({ after: position - 1, limit: 1 }))
  if (parked?.position !== position || event?.position !== position) return yield* notParked
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
