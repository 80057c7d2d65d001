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
import * as Predicate from "effect/Predicate"
import type * as Schedule from "effect/Schedule"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type { EventDecodeError, EventEncodeError, UnknownEventTypeError } from "./Event.ts"
import {
  AppendConditionError,
  type AppendError,
  EventStore,
  EventStoreError,
  ExpectedVersion,
  type Metadata,
  type NewEvent,
  OptimisticLockError,
  OutcomeUnknown,
  type StreamAppend,
  StoreFailure,
  StoreUnavailable,
  TransactionConflict
} from "./EventStore.ts"
import { makeIds } from "./internal/ids.ts"

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

/**
 * All that a unit of work can fail with by itself: what staging, loading and committing events may meet.
 *
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
    /** Stages events at the end of a stream; the first event staged for a stream decides what version is expected. */
    readonly stage: (
      stream: string,
      events: ReadonlyArray<{ readonly event: NewEvent; readonly value?: unknown }>,
      expected: ExpectedVersion
    ) => Effect.Effect<ReadonlyArray<StagedEvent>>
    /** The events staged so far, in order; of one stream, or of all. */
    readonly staged: (stream?: string) => ReadonlyArray<StagedEvent>
    /** What was read of a stream when it was first loaded: later loads see the same, and what has been staged since. */
    readonly loaded: Map<string, { readonly version: number; readonly states: Map<object, unknown> }>
    /** The next staged event that this has not returned before. */
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
>()("eventfold/UnitOfWork/Transaction") {}

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
  }
>()("eventfold/UnitOfWork") {}

/**
 * Metadata that is merged into each staged event: the message bus puts correlation and causation ids here.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentMetadata: Context.Reference<Metadata> = Context.Reference<Metadata>("eventfold/UnitOfWork/CurrentMetadata", {
  defaultValue: () => ({})
})

// -----------------------------------------------------------------------------
// combinators
// -----------------------------------------------------------------------------

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
 * Runs `effect` once, after this unit of work (the innermost, where they are nested) has rolled back. Its failure is logged.
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
        Effect.provideContext(transaction.outside(context)),
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
 * @category combinators
 * @since 0.1.0
 */
export const stage = (
  stream: string,
  events: ReadonlyArray<NewEvent>,
  options?: { readonly expected?: ExpectedVersion | undefined }
): Effect.Effect<ReadonlyArray<StagedEvent>, never, Transaction> =>
  Transaction.use((transaction) =>
    transaction.stage(
      stream,
      events.map((event) => ({ event })),
      options?.expected ?? ExpectedVersion.Any
    )
  )

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

// -----------------------------------------------------------------------------
// the transaction
// -----------------------------------------------------------------------------

interface Entry extends StagedEvent {
  readonly level: Level
  readonly expected: ExpectedVersion
}

/** One `transact` among nested ones. */
interface Level {
  readonly parent: Level | undefined
  rolledBack: boolean
  readonly afterRollback: Array<Effect.Effect<void>>
}

const belongsTo = (level: Level | undefined, ancestor: Level): boolean =>
  level !== undefined && (level === ancestor || belongsTo(level.parent, ancestor))

/** What all levels of one unit of work share. */
interface Shared {
  staged: Array<Entry>
  /** How many of `staged` have been handed out by `next`. */
  handedOut: number
  readonly loaded: Transaction["Service"]["loaded"]
  readonly afterCommit: Array<{ readonly level: Level; readonly effect: Effect.Effect<void> }>
}

/** How the levels of a unit of work are carried out: in memory alone, or as SQL transactions and savepoints. */
interface Carrier {
  /** Runs the body of a level, and whatever must be atomic with it. */
  readonly run: <A, E, R>(body: Effect.Effect<A, E, R>) => Effect.Effect<A, E | CommitError, R>
  /** Keeps a hook until the outermost commit, if it does so by itself. */
  readonly afterCommit: ((effect: Effect.Effect<void>) => Effect.Effect<void>) | undefined
  /** Removes from a context what belongs to the carrier's transaction. */
  readonly outside: <R>(context: Context.Context<R>) => Context.Context<R>
}

const makeTransaction = (shared: Shared, level: Level, carrier: Carrier): Transaction["Service"] => ({
  stage: (stream, events, expected) =>
    Effect.withFiber((fiber) => {
      const metadata = fiber.getRef(CurrentMetadata)
      return Effect.map(makeIds(events.filter(({ event }) => event.id === undefined).length), (ids) => {
        let nextId = 0
        const last = shared.staged.findLast((entry) => entry.stream === stream)
        // Of a stream's staged events the first carries the expectation, and the others follow it.
        let version = last === undefined ? knownVersion(expected) : last.version
        return events.map(({ event, value }, index) => {
          if (version !== undefined) version++
          const entry: Entry = {
            level,
            stream,
            value,
            version,
            event: { ...event, id: event.id ?? (ids[nextId++] as string), metadata: { ...metadata, ...event.metadata } },
            expected: last === undefined && index === 0 ? expected : version === undefined ? ExpectedVersion.Any : version - 1
          }
          shared.staged.push(entry)
          return entry
        })
      })
    }),
  staged: (stream) => (stream === undefined ? shared.staged : shared.staged.filter((entry) => entry.stream === stream)),
  loaded: shared.loaded,
  next: () => shared.staged[shared.handedOut] && shared.staged[shared.handedOut++],
  afterCommit: (effect) =>
    carrier.afterCommit === undefined
      ? Effect.sync(() => {
          shared.afterCommit.push({ level, effect })
        })
      : carrier.afterCommit(effect),
  afterRollback: (effect) =>
    Effect.sync(() => {
      level.afterRollback.push(effect)
    }),
  outside: (context) => carrier.outside(withoutTransaction(context)),
  rollback: Effect.sync(() => {
    level.rolledBack = true
  }),
  nested: (effect) => runLevel(effect, shared, level, carrier, Effect.void)
})

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
  commit: Effect.Effect<void, CommitError>
): Effect.Effect<A, E | CommitError, Exclude<R, Transaction>> => {
  const level: Level = { parent, rolledBack: false, afterRollback: [] }
  return Effect.uninterruptibleMask((restore) => {
    const body = restore(Effect.provideService(effect, Transaction, makeTransaction(shared, level, carrier)))
    const finish = (exit: Exit.Exit<A, E>): Effect.Effect<A, CommitError | Aborted<A, E>> =>
      Exit.isSuccess(exit) && !level.rolledBack ? Effect.as(commit, exit.value) : Effect.fail(new Aborted(exit))
    const outcome = Effect.onExit(carrier.run(Effect.flatMap(Effect.exit(body), finish)), (exit) => {
      if (Exit.isFailure(exit)) {
        forget(shared, level)
        const hooks = Effect.forEach(level.afterRollback, (run) => run, { discard: true })
        return parent === undefined ? Effect.andThen(Metric.update(rolledBack, 1), hooks) : hooks
      }
      if (parent !== undefined) return Effect.void
      return Effect.andThen(
        Metric.update(committed, 1),
        Effect.forEach(shared.afterCommit, (hook) => hook.effect, { discard: true })
      )
    })
    return Effect.catch(outcome, (error): Effect.Effect<A, E | CommitError> =>
      error instanceof Aborted ? error.exit : Effect.fail(error)
    )
  })
}

/** Drops what a level (and those within it) has staged. */
const forget = (shared: Shared, level: Level): void => {
  shared.handedOut -= shared.staged.slice(0, shared.handedOut).filter((entry) => belongsTo(entry.level, level)).length
  shared.staged = shared.staged.filter((entry) => !belongsTo(entry.level, level))
  const kept = shared.afterCommit.filter((hook) => !belongsTo(hook.level, level))
  shared.afterCommit.splice(0, shared.afterCommit.length, ...kept)
}

/** All that is staged, in order: runs of events of one stream become one part each. */
const toAppends = (staged: ReadonlyArray<Entry>): ReadonlyArray<StreamAppend> => {
  const appends: Array<{ stream: string; expected: ExpectedVersion; events: Array<NewEvent> }> = []
  for (const { event, expected, stream } of staged) {
    const last = appends.at(-1)
    if (last?.stream === stream) last.events.push(event)
    else appends.push({ stream, expected, events: [event] })
  }
  return appends
}

const makeTransact =
  (store: EventStore["Service"], carrier: Carrier): UnitOfWork["Service"]["transact"] =>
  (effect) =>
    Effect.suspend(() => {
      const shared: Shared = { staged: [], handedOut: 0, loaded: new Map(), afterCommit: [] }
      const commit = Effect.suspend(() =>
        shared.staged.length === 0 ? Effect.void : Effect.asVoid(store.appendAll(toAppends(shared.staged)))
      )
      return runLevel(effect, shared, undefined, carrier, commit)
    })

// -----------------------------------------------------------------------------
// layers
// -----------------------------------------------------------------------------

/**
 * Units of work over any event store: staged in memory, written by one `appendAll` at the commit.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<UnitOfWork, never, EventStore> = Layer.effect(
  UnitOfWork,
  EventStore.useSync((store) => ({
    transact: makeTransact(store, { run: (body) => body, afterCommit: undefined, outside: (context) => context })
  }))
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
    const run: Carrier["run"] = <A, E, R>(body: Effect.Effect<A, E, R>) =>
      Effect.suspend(() => {
        let ended: Exit.Exit<A, E> | undefined
        const whole = Effect.onExit(body, (exit) => Effect.sync(() => void (ended = exit)))
        return Effect.catchCause(
          sql.withTransaction(whole),
          // What a body failed with is what its transaction failed with, also where a broken connection could not roll back: the
          // database does so by itself. All other errors are those of BEGIN, SAVEPOINT and COMMIT.
          (cause): Effect.Effect<A, E | CommitError> =>
            ended !== undefined && Exit.isFailure(ended)
              ? ended
              : Effect.failCause(
                  Cause.map(cause as Cause.Cause<SqlError>, (error) => transactionError(error, ended !== undefined))
                )
        )
      })
    const outside: Carrier["outside"] = <R>(context: Context.Context<R>) =>
      Context.omit(sql.transactionService)(context as Context.Context<R | SqlClient.TransactionConnection>) as Context.Context<R>
    return { transact: makeTransact(store, { run, afterCommit: sql.afterCommit, outside }) }
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
    case "UnknownError":
      return new EventStoreError({ reason: committing ? new OutcomeUnknown(fields) : new StoreFailure(fields) })
    default:
      return new EventStoreError({ reason: new StoreFailure(fields) })
  }
}
