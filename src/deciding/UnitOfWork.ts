/**
 * The unit of work: events are staged while an effect runs, and written by one atomic append when it succeeds.
 *
 * Success commits; failure, defect and interruption roll back, and nothing staged leaks into the next one. With
 * {@link layerSql} the user's own SQL through the same `SqlClient` commits or rolls back together with the events. Events are
 * appended last, so locks are held for the append and the commit alone.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import * as metadata from "../definitions/metadata.ts"
import type { Metadata, NewEvent } from "../definitions/stored.ts"
import { wholeOrEndless } from "../internal/counting.ts"
import { lasting } from "../internal/lasting.ts"
import { flatMapNow } from "../internal/now.ts"
import { type AppendCondition, EventStore, type ExpectedVersion, type OptimisticLockError } from "../store/EventStore.ts"
import { type Carrier, CurrentCommit, makeUnitOfWork, noteCommit, withoutTransaction } from "./levels.ts"
import { makeQueues } from "./queues.ts"
import {
  type Around,
  type Commit,
  type CommitError,
  type Committed,
  expectedOf,
  onlyOn,
  type StagedEvent,
  Transaction,
  UnitOfWork
} from "./transaction.ts"
import { isConflict, makeRepeated, Tries } from "./tries.ts"

export { layerSql } from "./sqlUnits.ts"
export {
  type Commit,
  CommitError,
  type Committed,
  type Around,
  type Requires,
  type Slot,
  SqlTransactions,
  type StagedEvent,
  type Staging,
  Transaction,
  type TransactionService,
  UnitOfWork
} from "./transaction.ts"

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
 * An effect that requires a `SqlClient` requires `UnitOfWork.layerSql` as well ({@link SqlTransactions}), so that its rows commit with the events.
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
export const transact = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | CommitError, Around<R> | UnitOfWork> =>
  Effect.withFiber<A, E | CommitError, Around<R> | UnitOfWork>((fiber) => {
    const current = Context.getOrUndefined(fiber.context, Transaction)
    // `UnitOfWork` is among what this effect needs.
    return current === undefined
      ? Context.get(fiber.context as Context.Context<UnitOfWork>, UnitOfWork).transact(effect)
      : flatMapNow(onlyOn(current, Context.getOrUndefined(fiber.context, UnitOfWork)?.store ?? current.store), () =>
          current.nested(effect)
        )
  })

/**
 * Gives the value of an effect together with the position of the last event that it has committed (0 where it has written nothing), so
 * that a view can be waited for: by `MessageBus.execute`, `MessageBus.publish`, {@link transact} or whatever is made of them.
 *
 * Of an execution that was a repetition (`MessageBus.execute(…, …, { id })`) it is a position by which all that the first one wrote stands in the log.
 *
 * Nothing has been committed inside a unit of work: there it is a defect.
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { EventStore, UnitOfWork } from "eventfold"
 *
 * const reserve = UnitOfWork.transact(UnitOfWork.stage("Stock-1", [{ type: "Reserved", payload: {} }]))
 *
 * const program = Effect.gen(function* () {
 *   yield* reserve
 *   const { position } = yield* UnitOfWork.committed(reserve)
 *   return position // yield* Projection.awaitPosition(Stock, position)
 * })
 *
 * const Live = UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))
 * await Effect.runPromise(Effect.provide(program, Live)) // => 2
 * ```
 *
 * @category combinators
 * @since 0.2.0
 */
export const committed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Committed<A>, E, R> =>
  Effect.withFiber((fiber) => {
    if (Context.getOrUndefined(fiber.context, Transaction) !== undefined) {
      return Effect.die(
        new Error(
          "UnitOfWork.committed: inside a unit of work nothing is committed yet. Put it around the outermost one, or use afterCommit"
        )
      )
    }
    const last = { position: 0 }
    return Effect.provideService(effect, CurrentCommit, last).pipe(
      Effect.onExit(() => noteCommit(last.position)),
      Effect.map((value) => ({ value, position: last.position }))
    )
  })

/**
 * Runs `effect` once, after the outermost commit; never if that does not come. As a function it is told what was committed. Its failure is
 * logged and undoes nothing. The caller of the unit of work waits for it, so keep it short and fork what is long.
 *
 * @category combinators
 * @since 0.1.0
 */
export const afterCommit = <A, E, R>(
  effect: Effect.Effect<A, E, R> | ((commit: Commit) => Effect.Effect<A, E, R>)
): Effect.Effect<void, never, R | Transaction> =>
  Transaction.use((transaction) =>
    hook("afterCommit", Effect.isEffect(effect) ? effect : Effect.suspend(() => effect(transaction.committed())))
  )

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
  Transaction.use((transaction) =>
    transaction.stage(
      stream,
      events.map((event) => ({ _tag: "Untyped", event })),
      options?.expected ?? expectedOf(transaction, stream)
    )
  )

/**
 * Says what must not have come when this unit of work commits: an event beyond `after` that passes the filter. The commit then fails with
 * `AppendConditionError`, and nothing is written. `Decision` says so for what it reads.
 *
 * All conditions of a unit of work must hold, each with its own `after`. Those of a nested one that fails or rolls back are dropped with what it has staged. A
 * unit of work that stages no event writes none, and nothing is checked: whoever writes rows alone (`layerSql`) stages an event as well.
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { EventStore, UnitOfWork } from "eventfold"
 *
 * const claim = (name: string, account: string) =>
 *   UnitOfWork.transact(
 *     Effect.gen(function* () {
 *       yield* UnitOfWork.unless({ filter: { tags: [`name:${name}`] } }) // nowhere in the log
 *       yield* UnitOfWork.stage(`Account-${account}`, [{ type: "Named", payload: {}, tags: [`name:${name}`] }])
 *     })
 *   )
 *
 * const program = Effect.gen(function* () {
 *   yield* claim("ada", "1")
 *   return (yield* Effect.flip(claim("ada", "2")))._tag
 * })
 *
 * const Live = UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))
 * await Effect.runPromise(Effect.provide(program, Live)) // => "AppendConditionError"
 * ```
 *
 * @category combinators
 * @since 0.2.0
 */
export const unless = (condition: AppendCondition): Effect.Effect<void, never, Transaction> =>
  Transaction.use((transaction) => transaction.unless(condition))

/**
 * Says at which version a stream must stand when this unit of work commits, whether it writes to it or not: the version that was seen,
 * or `ExpectedVersion.NoStream` or `Exists`. What the unit of work itself stages there does not count. The commit then fails with
 * `OptimisticLockError`, and nothing is written.
 *
 * As with {@link unless}, a nested unit of work that fails takes its guards with it, and where no event is staged, nothing is checked.
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { EventStore, UnitOfWork } from "eventfold"
 *
 * const order = UnitOfWork.transact(
 *   Effect.gen(function* () {
 *     yield* UnitOfWork.guard("Customer-1", 1) // as it was when the prices were agreed
 *     yield* UnitOfWork.stage("Order-1", [{ type: "Placed", payload: {} }])
 *   })
 * )
 *
 * const program = Effect.gen(function* () {
 *   yield* EventStore.append("Customer-1", [{ type: "Registered", payload: {} }, { type: "Moved", payload: {} }])
 *   return (yield* Effect.flip(order))._tag
 * })
 *
 * const Live = UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))
 * await Effect.runPromise(Effect.provide(program, Live)) // => "OptimisticLockError"
 * ```
 *
 * @category combinators
 * @since 0.2.0
 */
export const guard = (stream: string, version: ExpectedVersion): Effect.Effect<void, never, Transaction> =>
  Transaction.use((transaction) => transaction.guard(stream, version))

/**
 * How often, and when, what lost a race is run again.
 *
 * @category models
 * @since 0.2.0
 */
export interface RetryOptions {
  /** The most repetitions. */
  readonly times: number
  /** When to repeat. Default: at once. */
  readonly schedule?: Schedule.Schedule<unknown> | undefined
}

/**
 * Runs the whole effect again, on fresh state, when somebody else was first: on `OptimisticLockError`, on
 * `AppendConditionError`, and on the database's serialization failures and deadlocks. Gives up after `times` repetitions with
 * the last error. All of the effect runs again: what it does beside deciding happens again, too, and ids that it makes are new ones.
 *
 * A unit of work that has lost by what it had read before it had its turn at an aggregate (see {@link layer}), or without one, has the turn before it begins
 * again, and keeps it from then on: nobody of this process who commands that aggregate is first a second time.
 *
 * Where many race for one thing, let them wait for times that differ:
 * `UnitOfWork.retryConflicts({ times: 10, schedule: Schedule.exponential("5 millis").pipe(Schedule.jittered) })`.
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
export const retryConflicts: {
  (options: RetryOptions): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, options: RetryOptions): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, { schedule, times }: RetryOptions): Effect.Effect<A, E, R> => {
  const options = {
    times: wholeOrEndless(0, "UnitOfWork.retryConflicts: times", times),
    while: isConflict,
    ...(schedule === undefined ? {} : { schedule })
  }
  return Effect.suspend(() => {
    const repeated = makeRepeated()
    const once = Effect.suspend(() => {
      repeated.start()
      return self
    })
    return Effect.provideService(Effect.retry(once, options), Tries, repeated)
  })
})

/**
 * {@link layer} with options.
 *
 * **Gotchas**: each call is another Layer, and is built for itself. Keep the result in a constant where it is provided more than once.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerWith = (options: {
  /**
   * For how long a unit of work that is deciding on an aggregate keeps others waiting that command the same one: they go on without it
   * after this time, or twice that at the most, in real time. With 0 none waits for another. Default: 1 second.
   */
  readonly maxTurn?: Duration.Input | undefined
}): Layer.Layer<UnitOfWork, never, EventStore> =>
  Layer.effect(
    UnitOfWork,
    EventStore.useSync((store) => {
      const millis = Duration.toMillis(lasting("UnitOfWork: maxTurn", options.maxTurn ?? "1 second"))
      const carrier: Carrier = { run: (body) => body, afterCommit: undefined, outside: (context) => context }
      return makeUnitOfWork(store, carrier, millis > 0 ? makeQueues(store, millis) : undefined)
    })
  )

/**
 * Units of work over any event store: staged in memory, written by one `appendAll` at the commit.
 *
 * Those of one process that command the same aggregate (`Repository.execute`) decide one after the other, in the order in which they came, each
 * on what those before it are about to write; what they come to goes into one append as long as another is on its way. So a much used
 * aggregate takes thousands of commands a second, and those of one process do not lose against each other.
 *
 * **Details**
 *
 * - A unit of work waits in one queue at most: that of the aggregate that it executes first (by `Repository.execute`, or by a `Decision.execute` that
 *   reads the aggregate and writes into it). With others, and with `Repository.load`, it is as if there were no queues: the version that is expected decides at the commit.
 * - What a decision reads of the log is read once what the unit of work stands on is there. So execute the aggregate first, and read what else the
 *   decision is made on then: who reads first and waits for its turn behind that has probably lost, and needs {@link retryConflicts}.
 * - Nobody is told of a decision, or of what it was refused with, before that on which it stands is durable. Where that could not be
 *   written, it is an `OptimisticLockError`: {@link retryConflicts} decides anew.
 * - Who takes too long keeps nobody waiting: see `maxTurn` of {@link layerWith}. The same ends two units of work that wait for each other.
 * - `layerSql`, and a unit of work within a transaction of the store's database, know no queues.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<UnitOfWork, never, EventStore> = layerWith({})
