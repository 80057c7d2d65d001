/**
 * What a subscription does with events: one by one, several streams at once, or a batch in one transaction; tried again, parked, or
 * refused.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { provideBuilt } from "../definitions/services.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import type { Episodes } from "../internal/episodes.ts"
import { defaultRestart } from "../internal/lifecycle.ts"
import { CurrentTakings, CurrentWriteLock, type WriteLock } from "../sql/transaction.ts"
import { beat, type CheckpointError, CheckpointFencedError, Checkpoints, type Lease } from "../store/Checkpoints.ts"
import { EventStore, type EventStoreError } from "../store/EventStore.ts"
import { NotParkedError, ParkedEvents, ParkedEventsError } from "../store/ParkedEvents.ts"
import { committing } from "./committing.ts"
import { type Handling, Inside, StillHeld } from "./handling.ts"
import { groupByLanes } from "./lanes.ts"
import {
  EventRetryError,
  HandlerTimeoutError,
  ParkedBehindError,
  type Retried,
  type OnFailure,
  type Options,
  type Requirements,
  type State
} from "./model.ts"
import { partitionName, subscriptionCheckpoint } from "./names.ts"
import { wasCutOff } from "./outages.ts"
import { type Blocked, blockedIn, park, parkBehind } from "./parking.ts"
import { partitionOf, type Tail } from "./partitions.ts"
import { seenOf } from "./progress.ts"
import type { Halted, WorkContext } from "./body.ts"
import { type Follower, makeFollower } from "./running.ts"
import { Failed, handling as handlingOf, isFailed, retrying, settle, type Unavailable } from "./settling.ts"

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
  readonly retry: (position: number) => Effect.Effect<void, RetryError>
  readonly retryParked: (stream: string | undefined) => Effect.Effect<Retried, ParkedEventsError | EventStoreError>
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
  readonly caution: Caution
}

/** What has been learnt from outages. PostgreSQL cuts the connection of a transaction that takes too long, and so looks like one. */
interface Caution {
  /** The last batch broke: its events come one by one, each in a transaction of its own, so that it comes to its end. */
  alone: boolean
  /** The event at which the connection was cut off, and how often in a row. */
  position: number
  times: number
}

/** So often in a row an event may meet an outage that cuts off its connection: from then on it is its own failure. */
const mostCuts = 10

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
    meters: metersOf(name, partition),
    caution: { alone: false, position: 0, times: 0 }
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
  // Two of one stream at once would not be in order.
  const turns = isOrdered(work) ? Semaphore.makeUnsafe(1) : undefined
  const refuseOne = (position: number) => (cause: Error) =>
    Effect.fail(new EventRetryError({ subscription: name, position, cause }))
  const refuseAll = (cause: Error) => Effect.fail(new ParkedEventsError({ operation: "retry", cause }))
  return {
    ...follower,
    retry: (position) => retrying(name, retryOne(work, position), refuseOne(position), turns),
    retryParked: (stream) => retrying(name, retryAll(work, stream), refuseAll, turns)
  }
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
      return Effect.flatMap(store.readPage({ after: passed, upTo: tail.begin(), filter }), ({ events, position }) => {
        passed = Math.max(passed, position)
        return take(events)
      })
    })
  )
}

// -----------------------------------------------------------------------------
// one event
// -----------------------------------------------------------------------------

/** Runs what a handler does; in a transaction it has the time of the lease. `begun` says since when, where handlers follow each other. */
const run = <R>({ client, name, provide, ttl }: Work<R>, effect: Effect.Effect<unknown, unknown, R>, begun?: () => number) => {
  const work = Effect.updateService(provide(effect), Inside, (names) => new Set([...names, name]))
  if (client === undefined) return handlingOf(work)
  const lease = Duration.toMillis(ttl)
  const orElse = () => Effect.fail(new HandlerTimeoutError({ subscription: name, lease }))
  if (begun === undefined) return handlingOf(Effect.timeoutOrElse(work, { duration: ttl, orElse }))
  const overdue = Effect.gen(function* () {
    for (;;) {
      const left = begun() + lease - (yield* Clock.currentTimeMillis)
      if (left <= 0) return yield* orElse()
      yield* Effect.sleep(left)
    }
  })
  return handlingOf(Effect.raceFirst(work, overdue))
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
        ).pipe(Effect.catchTag("Unavailable", (away) => Effect.fail(suspected(work, event, away))))
  })

/** Who meets an outage over and over, and nobody else does, brings it about. */
const suspected = <R>({ caution }: Work<R>, { position }: RecordedEvent, away: Unavailable): Failed | Unavailable => {
  if (!wasCutOff(away.cause)) return away
  caution.times = caution.position === position ? caution.times + 1 : 1
  caution.position = position
  return caution.times < mostCuts ? away : new Failed(away.cause, true)
}

/** Makes what is done with an event last. */
type Commit = <E>(work: Effect.Effect<void, E>) => Effect.Effect<void, E | Outage | Failed>

/** What has become of an event; `"refused"` when it can be neither handled nor parked. */
type Outcome = "handled" | "parked" | "refused"

/** Brings an event to its end, or leaves it for later. */
const settleEvent = <R>(
  work: Work<R>,
  event: RecordedEvent,
  context: WorkContext<RecordedEvent>,
  blocked: Blocked,
  commit: Commit
): Effect.Effect<Outcome | "left", Outage> => {
  const parking = (work: Effect.Effect<void, ParkedEventsError>) =>
    commit(work).pipe(
      Effect.catchIf(isFailed, ({ cause }) => Effect.die(Cause.squash(cause))),
      Effect.as("parked" as const)
    )
  const first = blocked.by(event)
  if (first !== undefined) return parking(parkBehind(work, event, first))
  return settle<Outcome, Outage>({
    attempt: (attempt) =>
      commit(handle(work, event, attempt)).pipe(Effect.as("handled" as const), Effect.catchIf(isFailed, Effect.succeed)),
    giveUp: (cause, attempts) => {
      if ((work.options.onFailure ?? "halt") === "halt") {
        return Effect.as(context.tell({ _tag: "Refused", position: event.position, cause }), "refused")
      }
      return Effect.tap(
        parking(park(work, event, cause, attempts)),
        Effect.sync(() => blocked.add(event))
      )
    },
    retry: work.options.retry ?? defaultRetry,
    leave: context.leave,
    waiting: (cause, wait) =>
      context.tell({ _tag: "Retrying", cause }).pipe(Effect.andThen(wait), Effect.andThen(context.tell({ _tag: "Retried" })))
  })
}

// -----------------------------------------------------------------------------
// a batch
// -----------------------------------------------------------------------------

const dealWith = <R>(work: Work<R>, batch: ReadonlyArray<RecordedEvent>, context: WorkContext<RecordedEvent>) => {
  const { checkpoints, client, name, partition } = work
  const stillHeld = Effect.suspend(() => {
    const { epoch, name } = context.lease()
    return Effect.map(checkpoints.get(name), (checkpoint) => Option.isSome(checkpoint) && checkpoint.value.epoch === epoch)
  })
  return Effect.flatMap(blockedIn(work, batch, isOrdered(work)), (blocked) =>
    client === undefined ? separately(work, batch, context, blocked) : transactionally(work, client, batch, context, blocked)
  ).pipe(
    Effect.provideService(StillHeld, stillHeld),
    Effect.withSpan(`process ${name}`, {
      kind: "consumer",
      attributes: {
        "messaging.system.name": "eventfold",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.subscription.name": name,
        ...(partition === undefined ? {} : { "messaging.destination.partition.id": String(partition.index) }),
        "messaging.batch.message_count": batch.length
      }
    })
  )
}

/** Whether what comes behind a parked event of the same stream waits for it. */
const isOrdered = <R>({ options }: Work<R>): boolean => options.onFailure === "park-stream"

/**
 * Each event by itself; what is in hand when one is refused comes to its end, too. Behind one that has been parked none begins before the
 * checkpoint has moved: done again, it would be parked again, though somebody may have discarded it.
 */
const separately = <R>(
  work: Work<R>,
  batch: ReadonlyArray<RecordedEvent>,
  context: WorkContext<RecordedEvent>,
  blocked: Blocked
): Effect.Effect<void, Outage> => {
  const { handled } = work.meters
  let hasParked = false
  const one = (event: RecordedEvent) =>
    Effect.suspend(() => {
      const { position } = event
      if (hasParked || !context.mayBegin(position)) return Effect.void
      const isBehind = blocked.by(event) !== undefined
      return Effect.flatMap(
        settleEvent(work, event, context, blocked, (work) => work),
        (outcome) => {
          if (outcome === "left" || outcome === "refused") return Effect.void
          hasParked ||= outcome === "parked" && !isBehind
          const settled = context.tell({ _tag: "Settled", position, as: outcome })
          return outcome === "handled" ? Effect.andThen(settled, Metric.update(handled, 1)) : settled
        }
      )
    })
  const concurrency = Math.max(1, work.options.concurrency ?? 1)
  const { lanesOf } = work.handling
  const lanes = (event: RecordedEvent) => [event.stream, ...(lanesOf?.(event) ?? [])]
  const groups = concurrency === 1 ? [batch] : groupByLanes(batch, lanes)
  return Effect.forEach(groups, (events) => Effect.forEach(events, one, { discard: true }), { concurrency, discard: true })
}

/**
 * The batch in one transaction; when that fails, or has met an outage the last time, each event in one of its own. The checkpoint moves
 * with them.
 */
const transactionally = Effect.fnUntraced(function* <R>(
  work: Work<R>,
  sql: SqlClient.SqlClient,
  batch: ReadonlyArray<RecordedEvent>,
  context: WorkContext<RecordedEvent>,
  blocked: Blocked
): Effect.fn.Return<void, Outage> {
  const { caution, meters } = work
  const { handled } = meters
  const commit = makeCommit(work, sql, context)
  if (batch.length > 1 && !caution.alone) {
    const whole = Effect.onError(commit(allOf(work, batch, context, blocked)), () => Effect.sync(() => (caution.alone = true)))
    const done = yield* Effect.catchIf(whole, isFailed, () => Effect.undefined)
    if (done !== undefined) {
      const free = done.filter((event) => blocked.by(event) === undefined)
      return yield* Metric.update(handled, free.length)
    }
  }
  for (const event of batch) {
    if (!context.mayBegin(event.position)) return
    const outcome = yield* settleEvent(work, event, context, blocked, (work) => Effect.asVoid(commit(Effect.as(work, [event]))))
    if (outcome === "handled") yield* Metric.update(handled, 1)
    else if (outcome !== "parked") return
  }
  caution.alone = false
})

/**
 * Handles events until one may not begin, one has appended to the event store, or so much time has passed that the transaction has to end;
 * parks those whose stream is blocked. Those that are done with.
 */
const allOf = Effect.fnUntraced(function* <R>(
  work: Work<R>,
  batch: ReadonlyArray<RecordedEvent>,
  context: WorkContext<RecordedEvent>,
  blocked: Blocked
): Effect.fn.Return<ReadonlyArray<RecordedEvent>, Failed | Unavailable | ParkedEventsError> {
  const { handleBatch } = work.handling
  if (handleBatch !== undefined && !context.leave.isOpen()) {
    const free: Array<RecordedEvent> = []
    for (const event of batch) {
      const first = blocked.by(event)
      if (first === undefined) free.push(event)
      else yield* parkBehind(work, event, first)
    }
    if (free.length > 0) yield* run(work, handleBatch(free))
    return batch
  }
  return yield* oneByOne(work, batch, context, blocked)
})

/** The part of {@link allOf} where each event has its handler. */
const oneByOne = Effect.fnUntraced(function* <R>(
  work: Work<R>,
  batch: ReadonlyArray<RecordedEvent>,
  context: WorkContext<RecordedEvent>,
  blocked: Blocked
): Effect.fn.Return<ReadonlyArray<RecordedEvent>, Failed | Unavailable | ParkedEventsError> {
  const { prepare, together } = work.handling
  const handled: Array<RecordedEvent> = []
  const lock: WriteLock = { taken: false }
  const takings = yield* CurrentTakings
  const now = Clock.currentTimeMillis
  let begun = yield* now
  const end = begun + Duration.toMillis(beat(work.ttl))
  let current: RecordedEvent | undefined
  const all = Effect.gen(function* () {
    for (const event of batch) {
      begun = yield* now
      if (!context.mayBegin(event.position) || (handled.length > 0 && begun > end)) break
      if (blocked.by(event) === undefined) {
        current = event
        const prepared = prepare(event)
        if (Result.isFailure(prepared)) return yield* Effect.fail(new Failed(Cause.fail(prepared.failure), false))
        yield* inScope(prepared.success({ subscription: work.name, event, attempt: 1 }))
      }
      handled.push(event)
      // All who append wait for this transaction: the next event gets one of its own. Where the checkpoint has been set, it says what is next.
      if (lock.taken || takings?.has(context.lease().name) === true) break
    }
    begun = yield* now
  })
  const surrounded = together === undefined ? all : together(batch, () => current, all)
  yield* run(work, surrounded, () => begun).pipe(
    Effect.provideService(CurrentWriteLock, lock),
    Effect.catchTag("Unavailable", (away) => Effect.fail(current === undefined ? away : suspected(work, current, away)))
  )
  for (const event of handled) {
    const first = blocked.by(event)
    if (first !== undefined) yield* parkBehind(work, event, first)
  }
  return handled
})

/** Each handler has a scope of its own. */
const inScope = <R>(handler: Effect.Effect<unknown, unknown, R>) => Effect.scoped(handler) as Effect.Effect<unknown, unknown, R>

/** Commits work that ends with the given events, together with the checkpoint behind them. Gives those events. */
const makeCommit =
  <R>({ checkpoints, ttl }: Work<R>, sql: SqlClient.SqlClient, context: WorkContext<RecordedEvent>) =>
  <E>(work: Effect.Effect<ReadonlyArray<RecordedEvent>, E>): Effect.Effect<ReadonlyArray<RecordedEvent>, E | Outage | Failed> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const takings = new Map<string, number | undefined>()
        /** Whether the work itself has set the checkpoint, or removed it: then both are to commit, and the lease is lost behind them. */
        const isTaken = Effect.suspend(() => {
          const { name } = context.lease()
          if (!takings.has(name)) return Effect.succeed(false)
          return Effect.map(checkpoints.get(name), (known) => Option.getOrUndefined(known)?.epoch === takings.get(name))
        })
        const moving = (
          events: ReadonlyArray<RecordedEvent>
        ): Effect.Effect<
          readonly [ReadonlyArray<RecordedEvent>, Lease | CheckpointFencedError],
          CheckpointFencedError | CheckpointError
        > => {
          const last = events.at(-1)
          if (last === undefined) return Effect.succeed([events, context.lease()])
          return checkpoints.advance(context.lease(), last.position, seenOf(last)).pipe(
            Effect.catchTag("CheckpointFencedError", (fenced) =>
              Effect.flatMap(isTaken, (taken) => (taken ? Effect.succeed(fenced) : Effect.fail(fenced)))
            ),
            Effect.map((next) => [events, next])
          )
        }
        // The handler that began last may have taken all of its time.
        const patience = Duration.times(ttl, 1.5)
        const steered = Effect.provideService(work, CurrentTakings, takings)
        const [events, next] = yield* restore(committing(sql, steered, moving, patience))
        if (next instanceof CheckpointFencedError) return yield* next
        yield* context.moved(
          next,
          events.map(({ position }) => position)
        )
        return events
      })
    )

// -----------------------------------------------------------------------------
// what is parked
// -----------------------------------------------------------------------------

type RetryError = NotParkedError | ParkedBehindError | EventRetryError | ParkedEventsError | EventStoreError

const retryOne = Effect.fnUntraced(function* <R>(work: Work<R>, position: number): Effect.fn.Return<void, RetryError> {
  const { client, name, parking, store } = work
  const notParked = new NotParkedError({ follower: name, position })
  if (parking === undefined) return yield* notParked
  const [parked] = yield* parking.list(name, { after: position - 1, limit: 1 })
  const [event] = yield* Stream.runCollect(store.readAll({ after: position - 1, limit: 1 }))
  if (parked?.position !== position || event?.position !== position) return yield* notParked
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
const retryAll = Effect.fnUntraced(function* <R>(
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
