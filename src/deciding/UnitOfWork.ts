/**
 * The unit of work: events are staged while an effect runs, and written by one atomic append when it succeeds.
 *
 * Success commits; failure, defect and interruption roll back, and nothing staged leaks into the next one. With
 * {@link layerSql} the user's own SQL through the same `SqlClient` commits or rolls back together with the events. Events are
 * appended last, so locks are held for the append and the commit alone.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { EventDecodeError, EventEncodeError, UnknownEventTypeError } from "../definitions/Event.ts"
import * as metadata from "../definitions/metadata.ts"
import { executionKeys } from "../definitions/services.ts"
import type { Metadata, NewEvent } from "../definitions/stored.ts"
import { makeIds } from "../internal/ids.ts"
import {
  AppendConditionError,
  type AppendError,
  DuplicateEventError,
  EventStore,
  EventStoreError,
  ExpectedVersion,
  InvalidAppendError,
  OptimisticLockError,
  OutcomeUnknown,
  StoreFailure,
  StoreUnavailable,
  type StreamAppend,
  TransactionConflict
} from "../store/EventStore.ts"

/**
 * All that a unit of work can fail with by itself: what staging, loading and committing events may meet. As a Schema, it lets a
 * command that is called over a network declare these errors among its own.
 *
 * @category errors
 * @since 0.1.0
 */
export const CommitError = Schema.Union([
  OptimisticLockError,
  AppendConditionError,
  DuplicateEventError,
  InvalidAppendError,
  EventStoreError,
  EventEncodeError,
  EventDecodeError,
  UnknownEventTypeError
])

/**
 * @category errors
 * @since 0.1.0
 */
export type CommitError = AppendError | EventEncodeError | EventDecodeError | UnknownEventTypeError

/**
 * An event that waits for the commit.
 *
 * @category models
 * @since 0.1.0
 */
export interface StagedEvent {
  readonly stream: string
  readonly event: NewEvent & { readonly id: string; readonly metadata: Metadata }
  /** The typed event that `event` was made from; `undefined` for what has none, such as the record of a command. */
  readonly value: unknown
  /** The version that the event will have, when the version of its stream is known. */
  readonly version: number | undefined
  /** Goes to its listeners, but is not written. */
  readonly transient: boolean
}

/**
 * The transaction that an effect inside {@link transact} runs in. Its presence in the requirements of an effect says that the
 * effect must be part of a unit of work; only `transact` provides it.
 *
 * @category services
 * @since 0.1.0
 */
export class Transaction extends Context.Service<
  Transaction,
  {
    /**
     * Stages events at the end of a stream. `expected` counts what this unit of work has staged there before; where that is known
     * to differ, the decision was made on stale state and fails at once, otherwise the commit decides.
     */
    readonly stage: (
      stream: string,
      events: ReadonlyArray<{ readonly event: NewEvent; readonly value?: unknown; readonly transient?: boolean }>,
      expected: ExpectedVersion
    ) => Effect.Effect<ReadonlyArray<StagedEvent>, OptimisticLockError>
    /** The events staged so far, in order; of one stream, or of all. */
    readonly staged: (stream?: string) => ReadonlyArray<StagedEvent>
    /** What was read of a stream when it was first loaded: later loads see the same, and what has been staged since. */
    readonly loaded: Map<string, { readonly version: number; readonly states: Map<object, unknown> }>
    /** The next event staged by this unit of work or one within it that has not been returned before. */
    readonly next: () => StagedEvent | undefined
    readonly afterCommit: (effect: Effect.Effect<void>) => Effect.Effect<void>
    readonly afterRollback: (effect: Effect.Effect<void>) => Effect.Effect<void>
    /** The context without what belongs to this transaction: what a hook runs in, once the transaction has ended. */
    readonly outside: <R>(context: Context.Context<R>) => Context.Context<R>
    /** From now on this unit of work writes nothing, however it ends. */
    readonly rollback: Effect.Effect<void>
    /** Runs a nested unit of work: part of this one, but what it staged is dropped if it fails or rolls back. */
    readonly nested: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | CommitError, Exclude<R, Transaction>>
  }
>()(executionKeys.transaction) {}

/**
 * The unit of work service.
 *
 * @category services
 * @since 0.1.0
 */
export class UnitOfWork extends Context.Service<
  UnitOfWork,
  {
    readonly transact: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | CommitError, Exclude<R, Transaction>>
    /**
     * Adds what is done at the end of each unit of work, within it, with all the events that it is about to write; its failure
     * rolls everything back. The returned effect removes it.
     */
    readonly beforeCommit: (
      hook: (staged: ReadonlyArray<StagedEvent>) => Effect.Effect<void, CommitError>
    ) => Effect.Effect<Effect.Effect<void>>
  }
>()("eventfold/UnitOfWork") {}

/**
 * Metadata that is merged into each staged event: the message bus puts correlation and causation ids here.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentMetadata: Context.Reference<Metadata> = metadata.CurrentMetadata

/**
 * Runs an effect as one unit of work.
 *
 * Success commits all that was staged by one atomic append; failure, defect and interruption roll back. Once the commit has
 * begun it is not interrupted. A nested `transact` joins the outer one: it commits with it, and if it fails (and the failure is
 * caught), what it had staged is dropped and the outer one goes on.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Aggregate, Event, EventStore, Repository, UnitOfWork } from "eventfold"
 * import { Layer } from "effect"
 *
 * const Deposited = Event.make("Deposited", { amount: Schema.Int })
 * const Account = Aggregate.make("Account", {
 *   events: [Deposited],
 *   initial: 0,
 *   evolve: { Deposited: (balance, { amount }) => balance + amount }
 * })
 *
 * const transfer = UnitOfWork.transact(
 *   Effect.gen(function* () {
 *     yield* Repository.execute(Account, "ada", () => Effect.succeed([Deposited.make({ amount: -5 })]))
 *     yield* Repository.execute(Account, "ben", () => Effect.succeed([Deposited.make({ amount: 5 })]))
 *   })
 * )
 *
 * const program = Effect.andThen(transfer, EventStore.head)
 *
 * const Live = UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))
 * await Effect.runPromise(Effect.provide(program, Live)) // => 2
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const transact = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | CommitError, Exclude<R, Transaction> | UnitOfWork> =>
  Effect.withFiber<A, E | CommitError, Exclude<R, Transaction> | UnitOfWork>((fiber) => {
    const current = Context.getOrUndefined(fiber.context, Transaction)
    return current === undefined ? UnitOfWork.use((unit) => unit.transact(effect)) : current.nested(effect)
  })

/**
 * Runs `effect` once, after the outermost commit; never if that does not come. Its failure is logged and undoes nothing. The
 * caller of the unit of work waits for it, so keep it short and fork what is long.
 *
 * @category combinators
 * @since 0.1.0
 */
export const afterCommit = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<void, never, R | Transaction> =>
  hook("afterCommit", effect)

/**
 * Runs `effect` once, if this unit of work (the innermost, where they are nested) is rolled back, by itself or together with the
 * one that it is part of. It runs when the outermost one has ended, so it never waits for what that one holds. Its failure is
 * logged and undoes nothing.
 *
 * @category combinators
 * @since 0.1.0
 */
export const afterRollback = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<void, never, R | Transaction> =>
  hook("afterRollback", effect)

const hook = <A, E, R>(
  when: "afterCommit" | "afterRollback",
  effect: Effect.Effect<A, E, R>
): Effect.Effect<void, never, R | Transaction> =>
  Effect.contextWith((context: Context.Context<R | Transaction>) => {
    const transaction = Context.get(context, Transaction)
    return transaction[when](
      effect.pipe(
        Effect.updateContext((running: Context.Context<never>) =>
          Context.merge(withoutTransaction(running), transaction.outside(context))
        ),
        Effect.asVoid,
        Effect.catchCause((cause) =>
          Effect.logError(`eventfold: an ${when} hook failed; the outcome of the unit of work stands`, cause)
        )
      )
    )
  })

/**
 * Ends the unit of work on purpose, writing nothing: what it has staged, and what it stages from here on, is dropped, and
 * `transact` succeeds with the effect's value.
 *
 * @category combinators
 * @since 0.1.0
 */
export const rollback: Effect.Effect<void, never, Transaction> = Transaction.use((transaction) => transaction.rollback)

/**
 * Stages events that are encoded already. `Repository` does so for aggregates.
 *
 * `expected` counts what this unit of work has staged in the stream before. Default: the version at which `Repository.load` saw
 * the stream in this unit of work, and no check where it has not been loaded.
 *
 * @category combinators
 * @since 0.1.0
 */
export const stage = (
  stream: string,
  events: ReadonlyArray<NewEvent>,
  options?: { readonly expected?: ExpectedVersion | undefined }
): Effect.Effect<ReadonlyArray<StagedEvent>, OptimisticLockError, Transaction> =>
  Transaction.use((transaction) => {
    const seen = transaction.loaded.get(stream)
    const known = seen === undefined ? ExpectedVersion.Any : seen.version + transaction.staged(stream).length
    return transaction.stage(
      stream,
      events.map((event) => ({ event })),
      options?.expected ?? known
    )
  })

/**
 * Runs the whole effect again, on fresh state, when somebody else was first: on `OptimisticLockError`, on
 * `AppendConditionError`, and on the database's serialization failures and deadlocks. Gives up after `times` repetitions with
 * the last error.
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { EventStore, UnitOfWork } from "eventfold"
 *
 * let tries = 0
 * const racing = UnitOfWork.transact(
 *   Effect.gen(function* () {
 *     // the first try loads version 0 and is overtaken
 *     const version = yield* EventStore.version("Stock-1")
 *     if (tries++ === 0) yield* EventStore.append("Stock-1", [{ type: "Reserved", payload: {} }])
 *     yield* UnitOfWork.stage("Stock-1", [{ type: "Reserved", payload: {} }], { expected: version })
 *   })
 * )
 *
 * const program = racing.pipe(UnitOfWork.retryConflicts({ times: 3 }), Effect.andThen(EventStore.version("Stock-1")))
 *
 * const Live = UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))
 * await Effect.runPromise(Effect.provide(program, Live)) // => 2
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const retryConflicts =
  (options: {
    /** The most repetitions. */
    readonly times: number
    /** When to repeat. Default: at once. */
    readonly schedule?: Schedule.Schedule<unknown> | undefined
  }) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.retry(self, {
      times: options.times,
      while: isConflict,
      ...(options.schedule === undefined ? {} : { schedule: options.schedule })
    })

const isConflict = (error: unknown): boolean =>
  error instanceof OptimisticLockError ||
  error instanceof AppendConditionError ||
  (error instanceof EventStoreError && error.reason._tag === "TransactionConflict") ||
  (isSqlError(error) && (error.reason._tag === "SerializationError" || error.reason._tag === "DeadlockError"))

interface Entry extends StagedEvent {
  readonly level: Level
  readonly expected: ExpectedVersion
  handedOut: boolean
}

/** One `transact` among nested ones. */
interface Level {
  readonly parent: Level | undefined
  rolledBack: boolean
  /** Its body has ended, so nothing can be added to it. */
  ended: boolean
  readonly afterRollback: Array<Effect.Effect<void>>
}

const belongsTo = (level: Level | undefined, ancestor: Level): boolean =>
  level !== undefined && (level === ancestor || belongsTo(level.parent, ancestor))

/** Whether it is too late to add anything: for fibers that outlive the unit of work they were forked in. */
const hasEnded = (level: Level | undefined): boolean => level !== undefined && (level.ended || hasEnded(level.parent))

const dieEnded = Effect.die(
  new Error("UnitOfWork: the unit of work has ended already. A fiber that outlives it cannot stage events or add hooks to it")
)

const unlessEnded = (level: Level, add: () => void): Effect.Effect<void> =>
  Effect.suspend(() => (hasEnded(level) ? dieEnded : Effect.sync(add)))

/** What all levels of one unit of work share. */
interface Shared {
  /** Replaced, and not changed in place, when something is dropped. */
  staged: Array<Entry>
  readonly loaded: Transaction["Service"]["loaded"]
  readonly afterCommit: Array<{ readonly level: Level; readonly effect: Effect.Effect<void> }>
  /** The `afterRollback` hooks of the levels that have been rolled back: they wait for the end of the outermost one. */
  readonly afterRollback: Array<Effect.Effect<void>>
}

/** How the levels of a unit of work are carried out: in memory alone, or as SQL transactions and savepoints. */
interface Carrier {
  /**
   * Runs the body of a level, and whatever must be atomic with it. Is called uninterruptibly; `restore` is for what may be
   * interrupted before the body has begun.
   */
  readonly run: <A, E, R>(
    body: Effect.Effect<A, E, R>,
    restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | CommitError, R>
  /** Keeps a hook until the outermost commit, if it does so by itself. */
  readonly afterCommit: ((effect: Effect.Effect<void>) => Effect.Effect<void>) | undefined
  /** Removes from a context what belongs to the carrier's transaction. */
  readonly outside: <R>(context: Context.Context<R>) => Context.Context<R>
}

const makeTransaction = (shared: Shared, level: Level, carrier: Carrier): Transaction["Service"] => {
  let queue = shared.staged
  let queued = 0
  return {
    stage: (stream, events, expected) =>
      Effect.withFiber((fiber) => {
        const metadata = fiber.getRef(CurrentMetadata)
        return Effect.flatMap(makeIds(events.filter(({ event }) => event.id === undefined).length), (ids) => {
          if (hasEnded(level)) return dieEnded
          const last = shared.staged.findLast((entry) => entry.stream === stream)
          const wanted = knownVersion(expected)
          if (last?.version !== undefined && wanted !== undefined && wanted !== last.version) {
            return Effect.fail(new OptimisticLockError({ stream, expected, actual: last.version }))
          }
          let nextId = 0
          let version = last?.version ?? wanted
          const entries = events.map(({ event, transient = false, value }, index): Entry => {
            const before = version
            if (version !== undefined) version++
            return {
              level,
              stream,
              value,
              version,
              transient,
              handedOut: false,
              event: { ...event, id: event.id ?? (ids[nextId++] as string), metadata: { ...metadata, ...event.metadata } },
              expected: index === 0 && last?.version === undefined ? expected : (before ?? ExpectedVersion.Any)
            }
          })
          shared.staged.push(...entries)
          return Effect.succeed(entries)
        })
      }),
    staged: (stream) => (stream === undefined ? shared.staged : shared.staged.filter((entry) => entry.stream === stream)),
    loaded: shared.loaded,
    next: () => {
      if (queue !== shared.staged) {
        queue = shared.staged
        queued = 0
      }
      while (queued < queue.length) {
        const entry = queue[queued++] as Entry
        if (entry.handedOut || !belongsTo(entry.level, level)) continue
        entry.handedOut = true
        return entry
      }
      return undefined
    },
    afterCommit: (effect) =>
      carrier.afterCommit === undefined
        ? unlessEnded(level, () => shared.afterCommit.push({ level, effect }))
        : carrier.afterCommit(effect),
    afterRollback: (effect) => unlessEnded(level, () => level.afterRollback.push(effect)),
    outside: (context) => carrier.outside(withoutTransaction(context)),
    rollback: Effect.sync(() => {
      level.rolledBack = true
    }),
    nested: (effect) => Effect.suspend(() => (hasEnded(level) ? dieEnded : runLevel(effect, shared, level, carrier, Effect.void)))
  }
}

// A hook that asks for the transaction asks for what has ended; the types cannot say so, and the missing service is a defect.
const withoutTransaction = <R>(context: Context.Context<R>) =>
  Context.omit(Transaction)(context as Context.Context<R | Transaction>) as Context.Context<R>

const knownVersion = (expected: ExpectedVersion): number | undefined =>
  typeof expected === "number" ? expected : expected === ExpectedVersion.NoStream ? 0 : undefined

/** How a body ended that must not commit: the carrier sees a failure, whoever called `transact` the body's own exit. */
class Aborted<A, E> {
  readonly _tag = "eventfold/UnitOfWork/Aborted"
  readonly exit: Exit.Exit<A, E>
  constructor(exit: Exit.Exit<A, E>) {
    this.exit = exit
  }
}

const outcomes = Metric.counter("eventfold_units_of_work", {
  description: "Units of work, by outcome",
  incremental: true
})
const committed = Metric.withAttributes(outcomes, { outcome: "committed" })
const rolledBack = Metric.withAttributes(outcomes, { outcome: "rolled_back" })

const runLevel = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  shared: Shared,
  parent: Level | undefined,
  carrier: Carrier,
  commit: Effect.Effect<void, CommitError>,
  beforeCommit: Effect.Effect<void, CommitError> = Effect.void
): Effect.Effect<A, E | CommitError, Exclude<R, Transaction>> => {
  const level: Level = { parent, rolledBack: false, ended: false, afterRollback: [] }
  return Effect.uninterruptibleMask((restore) => {
    const whole = Effect.tap(effect, () => (level.rolledBack ? Effect.void : beforeCommit))
    const body = restore(Effect.provideService(whole, Transaction, makeTransaction(shared, level, carrier)))
    const finish = (exit: Exit.Exit<A, E | CommitError>): Effect.Effect<A, CommitError | Aborted<A, E | CommitError>> => {
      const parentEnded = hasEnded(parent)
      level.ended = true
      if (Exit.isFailure(exit) || level.rolledBack) return Effect.fail(new Aborted(exit))
      return parentEnded ? dieEnded : Effect.as(commit, exit.value)
    }
    const outcome = Effect.onExit(carrier.run(Effect.flatMap(Effect.exit(body), finish), restore), (exit) => {
      if (Exit.isFailure(exit)) {
        forget(shared, level)
        shared.afterRollback.push(...level.afterRollback)
      } else parent?.afterRollback.push(...level.afterRollback)
      if (parent !== undefined) return Effect.void
      const afterCommit = Exit.isSuccess(exit) ? shared.afterCommit.map((hook) => hook.effect) : []
      return Effect.andThen(
        Metric.update(Exit.isSuccess(exit) ? committed : rolledBack, 1),
        Effect.forEach([...afterCommit, ...shared.afterRollback], (hook) => hook, { discard: true })
      )
    })
    return Effect.catch(outcome, (error): Effect.Effect<A, E | CommitError> =>
      error instanceof Aborted ? error.exit : Effect.fail(error)
    )
  })
}

/** Drops what a level (and those within it) has staged. */
const forget = (shared: Shared, level: Level): void => {
  shared.staged = shared.staged.filter((entry) => !belongsTo(entry.level, level))
  const kept = shared.afterCommit.filter((hook) => !belongsTo(hook.level, level))
  shared.afterCommit.splice(0, shared.afterCommit.length, ...kept)
}

/** All that is to be written, in order: runs of events of one stream become one part each, unless an expectation comes between. */
const toAppends = (staged: ReadonlyArray<Entry>): ReadonlyArray<StreamAppend> => {
  const appends: Array<{ stream: string; expected: ExpectedVersion; events: Array<NewEvent> }> = []
  let version: number | undefined
  for (const { event, expected, stream, transient, ...entry } of staged) {
    if (transient) continue
    const last = appends.at(-1)
    if (last?.stream === stream && (expected === version || expected === ExpectedVersion.Any)) last.events.push(event)
    else appends.push({ stream, expected, events: [event] })
    version = entry.version
  }
  return appends
}

const makeUnitOfWork = (store: EventStore["Service"], carrier: Carrier): UnitOfWork["Service"] => {
  let hooks: ReadonlyArray<Parameters<UnitOfWork["Service"]["beforeCommit"]>[0]> = []
  return {
    beforeCommit: (hook) =>
      Effect.sync(() => {
        const added: typeof hook = (staged) => hook(staged)
        hooks = [...hooks, added]
        return Effect.sync(() => {
          hooks = hooks.filter((other) => other !== added)
        })
      }),
    transact: (effect) =>
      Effect.suspend(() => {
        const shared: Shared = { staged: [], loaded: new Map(), afterCommit: [], afterRollback: [] }
        const commit = Effect.suspend(() => {
          const appends = toAppends(shared.staged)
          return appends.length === 0 ? Effect.void : Effect.asVoid(store.appendAll(appends))
        })
        const beforeCommit = Effect.suspend(() => {
          const staged = shared.staged.filter(({ transient }) => !transient)
          return staged.length === 0 ? Effect.void : Effect.forEach(hooks, (hook) => hook(staged), { discard: true })
        })
        return runLevel(effect, shared, undefined, carrier, commit, beforeCommit)
      })
  }
}

/**
 * Units of work over any event store: staged in memory, written by one `appendAll` at the commit.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<UnitOfWork, never, EventStore> = Layer.effect(
  UnitOfWork,
  EventStore.useSync((store) =>
    makeUnitOfWork(store, { run: (body) => body, afterCommit: undefined, outside: (context) => context })
  )
)

/**
 * Units of work inside `sql.withTransaction`: what the effect does with the same `SqlClient` commits or rolls back with the events.
 * Nested ones are savepoints. Inside a transaction that is open already, the unit of work is a savepoint of it, and
 * `afterCommit` waits for the outermost commit.
 *
 * The event store must live in the database of that client; building the Layer over any other store is a defect, because nothing
 * could then be atomic.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSql: Layer.Layer<UnitOfWork, never, EventStore | SqlClient.SqlClient> = Layer.effect(
  UnitOfWork,
  Effect.gen(function* () {
    const store = yield* EventStore
    const sql = yield* SqlClient.SqlClient
    if (store.transactionService?.key !== sql.transactionService.key) {
      return yield* Effect.die(
        new Error(
          "UnitOfWork.layerSql: the EventStore does not append through the SqlClient provided here, so events and rows could not commit together. Provide both from one database, or use UnitOfWork.layer."
        )
      )
    }
    const run: Carrier["run"] = <A, E, R>(body: Effect.Effect<A, E, R>, restore: Parameters<Carrier["run"]>[1]) =>
      Effect.flatMap(Effect.serviceOption(sql.transactionService), (outer) => {
        let ended: Exit.Exit<A, E> | undefined
        let committed = false
        const markCommitted = Effect.sync(() => {
          committed = true
        })
        const whole = body.pipe(
          Effect.tap(() => (Option.isNone(outer) ? sql.afterCommit(markCommitted) : markCommitted)),
          Effect.onExit((exit) => Effect.sync(() => void (ended = exit))),
          Effect.uninterruptible
        )
        // Who waits for a connection can be interrupted.
        return Effect.flatMap(Effect.exit(restore(sql.withTransaction(whole))), (exit): Effect.Effect<A, E | EventStoreError> => {
          if (Exit.isSuccess(exit)) return Effect.succeed(exit.value)
          // The body's own failure is passed on untouched, whatever became of ROLLBACK: where the connection broke it fails as well.
          // And an interruption that came during COMMIT undoes nothing.
          const stands = committed && Cause.hasInterruptsOnly(exit.cause)
          if (ended !== undefined && (Exit.isFailure(ended) || stands)) return ended
          const cause = exit.cause as Cause.Cause<SqlError>
          return Effect.failCause(Cause.map(cause, (error) => transactionError(error, ended !== undefined)))
        })
      })
    const outside: Carrier["outside"] = <R>(context: Context.Context<R>) =>
      Context.omit(sql.transactionService)(context as Context.Context<R | SqlClient.TransactionConnection>) as Context.Context<R>
    return makeUnitOfWork(store, { run, afterCommit: sql.afterCommit, outside })
  })
)

/** What an error of BEGIN or (when `committing`) of COMMIT means. */
const transactionError = (error: SqlError, committing: boolean): EventStoreError => {
  const { reason } = error
  const cause = reason.cause
  const fields = {
    operation: committing ? "commit" : "begin",
    detail: Predicate.hasProperty(cause, "message") ? String(cause.message) : error.message,
    cause: error
  }
  switch (reason._tag) {
    case "SerializationError":
    case "DeadlockError":
    case "LockTimeoutError":
      return new EventStoreError({ reason: new TransactionConflict(fields) })
    case "ConnectionError":
      return new EventStoreError({ reason: committing ? new OutcomeUnknown(fields) : new StoreUnavailable(fields) })
    case "UnknownError": {
      // PostgreSQL answers COMMIT by rolling back when a statement had failed and the work went on.
      const known = !committing || (reason.operation === "commit" && fields.detail.includes("rolled back"))
      return new EventStoreError({ reason: known ? new StoreFailure(fields) : new OutcomeUnknown(fields) })
    }
    default:
      return new EventStoreError({ reason: new StoreFailure(fields) })
  }
}
