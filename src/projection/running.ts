import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as SqlClient from "effect/sql/SqlClient"
import {
  type CommitError,
  type Slot,
  type SqlTransactions,
  type StagedEvent,
  Transaction,
  UnitOfWork
} from "../deciding/UnitOfWork.ts"
import { isSame, readOwn } from "../definitions/listing.ts"
import { provideBuilt } from "../definitions/services.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import { SubjectForgotten } from "../definitions/subjectForgotten.ts"
import { checkSubscription, Failed, isOutage, StillHeld } from "../following/engine.ts"
import * as Subscription from "../following/Subscription.ts"
import { describe, isConflict } from "../sql/errors.ts"
import { Checkpoints } from "../store/Checkpoints.ts"
import { EventStore, EventStoreError, StoreFailure, StoreUnavailable, TransactionConflict } from "../store/EventStore.ts"
import type { ParkedEventsError } from "../store/ParkedEvents.ts"
import { matches } from "../store/kit/index.ts"
import { type Experience, makeForesight } from "./foresight.ts"
import { keeping } from "./keeping.ts"
import {
  type Envelope,
  NotCaughtUpError,
  type Projection,
  Run,
  type RunService,
  type RunsInlineError,
  type StorageError,
  TableUnlistedError
} from "./model.ts"
import { begin, change, clear, entryOf, open, runsInline, transaction, warnOfStill } from "./registry.ts"
import { isIncomplete } from "./tables.ts"
import { placed } from "./place.ts"
import { quoted } from "../sql/names.ts"
import { tablesFor } from "../store/tables.ts"
import { lockOf } from "./sql.ts"
import { progressTo } from "./waiting.ts"

/**
 * Runs a projection async, as long as the Layer is open: a subscription called `projection.subscription`, with all that
 * subscriptions have (lease and takeover, retries, halt or park, status). View and checkpoint commit in one transaction of the
 * `SqlClient`, which must be that of the `Checkpoints`: up to 1024 events at once by default.
 *
 * **Details**: while `handlers` handle the events of a batch, the rows of the projection's tables are kept in memory: what is read of them is read
 * once, and what is written is written at the end of the batch, or before any other statement of the transaction. Handlers and their SQL see
 * what they would see without. When something fails, the batch is rolled back, and its events come one by one, each in a transaction of its
 * own, with nothing kept. A table with a unique index, or with constraints that were added by hand, is written event by event; one with
 * triggers or foreign keys is not kept at all.
 *
 * Where a table has gone although the checkpoint stands, or the checkpoint has gone although a table has rows, the version begins anew,
 * and says so in the log: it empties its view and repeats no side effect.
 *
 * Where it starts while a later version is the active one and nobody runs that, as after a roll-out that was taken back, it warns once: readers
 * see a view that stands still until {@link switchTo}.
 *
 * With `transactional: false` it needs no `SqlClient`, and each event takes effect at least once: for views in memory or elsewhere.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <R, D, const P extends Subscription.OnFailure = "halt", const T extends boolean = true>(
  projection: Projection<R, D>,
  options: Omit<Subscription.Options<P, T>, "name" | "from" | "concurrency" | "partitions"> = {}
): Layer.Layer<never, StorageError | ParkedEventsError | RunsInlineError, Subscription.Requirements<R | D, P, T>> =>
  Layer.unwrap(
    Effect.gen(function* () {
      checkOptions(projection, options)
      yield* begin(projection, options.transactional)
      yield* warnOfStill(projection)
      return follower(projection, options, yield* Checkpoints, () => undefined)
    })
  )

/** Before anything is made or emptied for it: see `checkSubscription`. */
export const checkOptions = <R, D>(
  { name, subscription, version }: Projection<R, D>,
  options: Omit<Subscription.Options<Subscription.OnFailure, boolean>, "name" | "from" | "concurrency" | "partitions">
): void => checkSubscription({ kind: "Projection", title: `${name}@${version}` }, { ...options, name: subscription })

export const follower = <R, D, P extends Subscription.OnFailure, T extends boolean>(
  projection: Projection<R, D>,
  options: Omit<Subscription.Options<P, T>, "name" | "from" | "concurrency" | "partitions">,
  checkpoints: Checkpoints["Service"],
  onHandled: (position: number) => void
): Layer.Layer<never, never, Subscription.Requirements<R | D, P, T>> => {
  const { readers, handleEvent, filter, subscription, handleBatch } = projection
  const run = makeRun(projection, checkpoints)
  const handle = (work: Effect.Effect<unknown, unknown, R>, events: ReadonlyArray<RecordedEvent>) =>
    Effect.provideService(work, Run, run).pipe(
      // What is wrong with the definition is not tried again.
      Effect.catchCause((cause) => Effect.failCause(isUnlisted(cause) ? Cause.fail(new Failed(cause, false)) : cause)),
      Effect.tap(() => Effect.sync(() => events.forEach(({ position }) => onHandled(position))))
    )
  const decode = (recorded: RecordedEvent) =>
    Result.map(readOwn(readers, recorded), (all) =>
      all.map(({ event }): Envelope<unknown> => {
        const { id, metadata, position, recordedAt, stream, version } = recorded
        return { event, id, stream, version, position, recordedAt, metadata }
      })
    )
  const experience: Experience = { chunks: new Map(), sizes: new Map() }
  /** What has been looked at before its turn has come. */
  const lookedAt = new WeakMap<RecordedEvent, ReturnType<typeof decode>>()
  const look = (recorded: RecordedEvent): ReadonlyArray<Envelope<unknown>> => {
    const known = lookedAt.get(recorded) ?? decode(recorded)
    lookedAt.set(recorded, known)
    return Result.getOrElse(known, () => [])
  }
  /** Each handler has what it gets for itself. */
  const take = (recorded: RecordedEvent) => {
    const known = lookedAt.get(recorded) ?? decode(recorded)
    lookedAt.delete(recorded)
    return known
  }
  return Subscription.layerOf<R | D, P, T>(
    {
      ...options,
      batch: options.batch ?? 1024,
      transactional: (options.transactional ?? true) as T,
      name: subscription
    },
    {
      runs: "projection",
      title: `${projection.name}@${projection.version}`,
      filter,
      prepare: (event) =>
        Result.map(take(event), (items) => () => handle(Effect.forEach(items, handleEvent, { discard: true }), [event])),
      together: (events, current, work) =>
        Effect.provideService(keeping(projection, run, makeForesight(experience, events, current, look), work), Run, run),
      handleBatch:
        handleBatch &&
        Effect.fnUntraced(function* (events) {
          const items: Array<Envelope<unknown>> = []
          for (const event of events) items.push(...(yield* Effect.fromResult(decode(event))))
          yield* handle(items.length === 0 ? Effect.void : handleBatch(items as [Envelope<unknown>]), events)
        })
    }
  )
}

/** Whether a handler has written a table that its projection does not list. */
const isUnlisted = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) => Cause.isDieReason(reason) && reason.defect instanceof TableUnlistedError)

/**
 * Runs a projection inline, as long as the Layer is open: at the end of each unit of work of the `UnitOfWork` service, with the events
 * that it is about to write. View and events commit together, or not at all; the unit of work fails with an `EventStoreError`
 * where a handler fails: a conflict of the database is one that `UnitOfWork.retryConflicts` tries again, and an outage is
 * `StoreUnavailable`.
 *
 * It requires `UnitOfWork.layerSql`, and that the units of work are those of that Layer: in any other one dies. Events that are appended without a unit of work
 * are not seen, so write through `UnitOfWork` and `MessageBus` alone. A version that starts inline must have seen all history: the
 * Layer fails with `NotCaughtUpError` unless there is none, or {@link rebuild} has caught up with it (let nobody append meanwhile). A
 * version whose table has gone has seen none of it. A projection that handles `SubjectForgotten`, or whose tables forget by themselves (`onForget`), dies when
 * its Layer is built: what is forgotten is appended without a unit of work.
 *
 * @category layers
 * @since 0.1.0
 */
export const inline = <R, D>(
  projection: Projection<R, D>
): Layer.Layer<
  never,
  StorageError | ParkedEventsError | NotCaughtUpError,
  R | D | UnitOfWork | SqlTransactions | SqlClient.SqlClient | EventStore | Checkpoints
> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const { name, readers } = projection
      if (readers.has(SubjectForgotten.type)) {
        return yield* Effect.die(
          new Error(
            `Projection.inline(${name}) would never hear of ${SubjectForgotten.type}, which is appended without a unit of work, and keep the data of who is forgotten. Run it by Projection.layer; or leave the data out of its tables, and say onForget: "keep" where they hold none`
          )
        )
      }
      const sql = yield* SqlClient.SqlClient
      const units = yield* UnitOfWork
      const context = yield* Effect.context<R>()
      yield* beginInline(projection)
      const run = makeRun(projection, yield* Checkpoints)
      const found = yield* tablesFor(sql)
      const view: View = { ...projection, places: projection.tables.map(({ name }) => quoted(placed(sql, found, name))) }
      yield* Effect.acquireRelease(
        Effect.sync(() => viewsOf(units).add(view)),
        (views) => Effect.sync(() => views.delete(view))
      )
      yield* Effect.acquireRelease(units.beforeCommit(projectStaged(projection, run, context, sql, units)), (remove) => remove)
    })
  )

/** Readies a version to be run inline: it has seen all history, or there is none. */
const beginInline = Effect.fnUntraced(function* <R, D>(projection: Projection<R, D>) {
  yield* transaction(forgetIfGone(projection))
  yield* transaction(
    Effect.gen(function* () {
      const { name, version } = projection
      if (yield* runsInline(projection)) return yield* open(projection)
      const target = yield* EventStore.use((store) => store.head)
      const { done, position } = yield* progressTo(projection, target)
      const isGone = position > 0 && (yield* isIncomplete(projection))
      if (!done || isGone) {
        return yield* new NotCaughtUpError({ projection: name, version, position: isGone ? 0 : position, target })
      }
      yield* open(projection)
      yield* change(projection, () => ({ mode: "inline", target: Option.none() }))
    })
  )
})

/** A version whose table has gone has seen nothing, and may be rebuilt. */
const forgetIfGone = Effect.fnUntraced(function* <R, D>(projection: Projection<R, D>) {
  if (!(yield* runsInline(projection)) || !(yield* isIncomplete(projection))) return
  yield* open(projection)
  yield* clear(projection, yield* EventStore.use((store) => store.head))
  yield* change(projection, () => ({ mode: "async" }))
})

/** What a projection does with the events that a unit of work is about to write. */
const projectStaged = <R, D>(
  projection: Projection<R, D>,
  run: RunService,
  context: Context.Context<R>,
  sql: SqlClient.SqlClient,
  units: UnitOfWork["Service"]
) => {
  const { handleEvent, name, handleBatch } = projection
  const provide = provideBuilt<R | SqlClient.SqlClient>(Context.add(context, SqlClient.SqlClient, sql))
  return Effect.fnUntraced(function* (staged: ReadonlyArray<StagedEvent>): Effect.fn.Return<void, CommitError> {
    const items = yield* envelopes(projection, staged)
    if (items.length === 0) return
    if (Option.isNone(yield* Effect.serviceOption(sql.transactionService))) {
      return yield* Effect.die(
        new Error(`Projection.inline(${name}) needs UnitOfWork.layerSql, for view and events to commit together`)
      )
    }
    yield* Effect.mapError(takeTurns(units, sql, staged), toCommitError(`project ${name}`))
    const work =
      handleBatch === undefined
        ? Effect.forEach(items, handleEvent, { discard: true })
        : handleBatch(items as [Envelope<unknown>])
    yield* Effect.scoped(work).pipe(Effect.provideService(Run, run), provide, Effect.mapError(toCommitError(`project ${name}`)))
  })
}

/** The projections that run inline in the units of work of a service. */
const inlines = new WeakMap<UnitOfWork["Service"], Set<View>>()

interface View extends Pick<Projection<unknown, never>, "name" | "readers" | "version"> {
  /** Where its tables are: another store's view of this name is another view. */
  readonly places: ReadonlyArray<string>
}

const viewsOf = (units: UnitOfWork["Service"]): Set<View> => {
  const all = inlines.get(units) ?? new Set()
  inlines.set(units, all)
  return all
}

/** Whether a unit of work has taken its turns. */
const Turns: Slot<{ taken: boolean }> = { make: () => ({ taken: false }) }

/**
 * Lets units of work that change one view take turns, where the database does not: two could read the same row, and the one would
 * write over what the other has written. Which rows a unit concerns only its handlers know, so a view has one lock, however many rows
 * change; the locks of all views concerned are taken at once and in one order, so that no two units wait for each other.
 */
const takeTurns = Effect.fnUntraced(function* (
  units: UnitOfWork["Service"],
  sql: SqlClient.SqlClient,
  staged: ReadonlyArray<StagedEvent>
) {
  const lock = lockOf(sql)
  if (lock === undefined) return
  const turns = Option.map(yield* Effect.serviceOption(Transaction), ({ slot }) => slot(Turns))
  if (Option.isSome(turns) && turns.value.taken) return
  const types = new Set(staged.map(({ event }) => event.type))
  const names = Array.from(viewsOf(units))
    .filter(({ readers }) => Array.from(readers.keys()).some((type) => types.has(type)))
    .map(({ name, places, version }) => JSON.stringify(["eventfold", name, version, ...places]))
  yield* sql.unsafe(lock, [JSON.stringify(names)]).values
  if (Option.isSome(turns)) turns.value.taken = true
})

/** Those of the staged events that a projection handles. */
const envelopes = Effect.fnUntraced(function* <R, D>({ filter, readers }: Projection<R, D>, staged: ReadonlyArray<StagedEvent>) {
  const items: Array<Envelope<unknown>> = []
  for (const entry of staged) {
    if (entry._tag === "Record") continue
    const { event, stream, version } = entry
    const { id, metadata, published = false, tags = [], type } = event
    if (!readers.has(type) || !matches(filter, { stream, type, tags, published, metadata })) continue
    const stored = { schemaVersion: 1, ...event, stream, version: version ?? 0, position: 0 }
    for (const read of yield* Effect.fromResult(readOwn(readers, stored))) {
      const typed = entry._tag === "Event" && isSame(entry.definition, read.definition) ? entry.value : read.event
      items.push({ event: typed, id, stream, version, position: undefined, recordedAt: undefined, metadata })
    }
  }
  return items
})

const toCommitError =
  (operation: string) =>
  (cause: unknown): EventStoreError => {
    const fields = { operation, detail: describe(cause), cause }
    // Nothing is committed yet.
    const Reason = isConflict(cause) ? TransactionConflict : isOutage(Cause.fail(cause)) ? StoreUnavailable : StoreFailure
    return new EventStoreError({ reason: new Reason(fields) })
  }

const makeRun = <R, D>(projection: Projection<R, D>, checkpoints: Checkpoints["Service"]): RunService => {
  const { name, tables, version } = projection
  /** Up to where the world has heard of the events, as was last read. It goes backwards only where the log does. */
  let heard = 0
  const read = Effect.map(Effect.provideService(entryOf(projection), Checkpoints, checkpoints), (entry) => {
    heard = entry.heard
    return entry
  })
  return {
    projection: name,
    version,
    tables,
    live: (position) =>
      Effect.gen(function* () {
        if (position !== undefined && position <= heard) return false
        const { active, heard: now } = yield* read
        if (!active || (position !== undefined && position <= now)) return false
        // A rebuild has taken the work away, or another process has: it does the event again, and what goes with it.
        return yield* yield* StillHeld
      })
  }
}
