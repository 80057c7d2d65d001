/** What a subscription does with a batch: one event by one, several streams at once, or all in one transaction. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as SqlClient from "effect/sql/SqlClient"
import type { RecordedEvent } from "../definitions/stored.ts"
import { CurrentTakings, CurrentWriteLock, type WriteLock } from "../sql/transaction.ts"
import { beat, type CheckpointError, CheckpointFencedError, type Lease } from "../store/Checkpoints.ts"
import type { ParkedEventsError } from "../store/ParkedEvents.ts"
import type { WorkContext } from "./body.ts"
import { committing } from "./committing.ts"
import { StillHeld } from "./handling.ts"
import { groupByLanes } from "./lanes.ts"
import { run, settleEvent, suspected } from "./oneEvent.ts"
import { type Blocked, blockedIn, parkBehind } from "./parking.ts"
import { seenOf } from "./progress.ts"
import { Failed, isFailed, type Unavailable } from "./settling.ts"
import { isOrdered, type Outage, type Work } from "./work.ts"

/** Where the span begins is always the same place. */
const alwaysHere = { captureStackTrace: false }

export const dealWith = <R>(work: Work<R>, batch: ReadonlyArray<RecordedEvent>, context: WorkContext<RecordedEvent>) => {
  const { checkpoints, client, name, partition } = work
  const stillHeld = Effect.suspend(() => {
    const { epoch, name } = context.lease()
    return Effect.map(checkpoints.get(name), (checkpoint) => Option.isSome(checkpoint) && checkpoint.value.epoch === epoch)
  })
  return Effect.flatMap(blockedIn(work, batch, isOrdered(work)), (blocked) =>
    client === undefined ? separately(work, batch, context, blocked) : transactionally(work, client, batch, context, blocked)
  ).pipe(
    Effect.provideService(StillHeld, stillHeld),
    Effect.withSpan(
      `process ${name}`,
      {
        kind: "consumer",
        attributes: {
          "messaging.system.name": "eventfold",
          "messaging.operation.name": "process",
          "messaging.operation.type": "process",
          "messaging.destination.subscription.name": name,
          ...(partition === undefined ? {} : { "messaging.destination.partition.id": String(partition.index) }),
          "messaging.batch.message_count": batch.length
        }
      },
      alwaysHere
    )
  )
}

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
  const concurrency = work.options.concurrency ?? 1
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
