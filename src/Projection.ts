/**
 * Projections: views that are folded from the log.
 *
 * A projection names events and says what each does to a view. It runs in one of two ways:
 *
 * - **async** ({@link layer}): a transactional subscription. View and checkpoint commit together, so that each event takes effect
 *   exactly once, whatever crashes; of all processes that run it, one works.
 * - **inline** ({@link inline}): in the unit of work that stages the events. View and events commit together.
 *
 * Versions live side by side: each has its own tables ({@link table}) and its own checkpoint. The first to start is the active one,
 * and a later one builds beside it until {@link switchTo}.
 *
 * What is kept beside the subscription's checkpoint is kept in `Checkpoints` as well: the owner of `projection:<name>` is the
 * active version, and the position of `projection:<name>@<version>` that up to which the world has heard of the events already.
 * The owner of that one is the position up to which the version is built or rebuilt, `inline` or `dropped`.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { type CheckpointError, type CheckpointFencedError, type CheckpointHeldError, Checkpoints } from "./Checkpoints.ts"
import * as Event from "./Event.ts"
import {
  EventStore,
  EventStoreError,
  type Filter,
  matches,
  type Metadata,
  type Query,
  type RecordedEvent,
  StoreFailure,
  TransactionConflict
} from "./EventStore.ts"
import { droppedOwner, inlineOwner } from "./internal/following.ts"
import { fromValues, pointTo, statementsOf, tableOf, toValues } from "./internal/readModel.ts"
import { inTransaction } from "./internal/transaction.ts"
import type { Unlisted } from "./internal/unlisted.ts"
import { ParkedEvents, type ParkedEventsError } from "./ParkedEvents.ts"
import * as Subscription from "./Subscription.ts"
import { type CommitError, type StagedEvent, UnitOfWork } from "./UnitOfWork.ts"

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

/**
 * An event with what is known of it. Inline it has no position and no time yet, and its version where the unit of work knows it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Envelope<out E> {
  readonly event: E
  readonly id: string
  readonly stream: string
  readonly version: number | undefined
  readonly position: number | undefined
  readonly recordedAt: DateTime.Utc | undefined
  readonly metadata: Metadata
}

/**
 * The version of the projection that runs: in the requirements of what only a handler may do. Whatever runs a projection provides it.
 *
 * @category services
 * @since 0.1.0
 */
export class Run extends Context.Service<
  Run,
  {
    readonly projection: string
    readonly version: number
    /** Whether the version's units of work may run beside each other. */
    readonly inline: boolean
    /** Whether the world beyond the view is to hear of an event at this position. */
    readonly live: (position: number | undefined) => Effect.Effect<boolean, CheckpointError>
  }
>()("eventfold/Projection/Run") {}

/**
 * One handler per event type.
 *
 * @category models
 * @since 0.1.0
 */
export type Handlers<Events extends ReadonlyArray<Event.Any>> = {
  readonly [Type in Events[number]["type"]]: (
    event: Extract<Events[number], { readonly type: Type }>["Type"],
    envelope: Envelope<Extract<Events[number], { readonly type: Type }>["Type"]>
  ) => Effect.Effect<unknown, unknown, unknown>
}

/**
 * What all projections have in common.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<Events extends ReadonlyArray<Event.Any>, Tables extends ReadonlyArray<AnyTable>, R> {
  /** A whole number from 1. Another version is another view, built from the beginning. */
  readonly version: number
  readonly events: Events
  /** Narrows the events down. Default: all events of these types. */
  readonly filter?: Filter | undefined
  /** The tables that the handlers write. They belong to the version: to change them, raise it. */
  readonly tables?: Tables | undefined
  /** Empties what the handlers write beside `tables`, when a rebuild begins: in its transaction. */
  readonly reset?: Effect.Effect<unknown, SqlError, R> | undefined
}

/**
 * The definition of a projection. `R` is what its handlers need, and `D` the database of its tables.
 *
 * @category models
 * @since 0.1.0
 */
export interface Projection<out R, out D> {
  readonly name: string
  readonly version: number
  readonly filter: Filter
  readonly tables: ReadonlyArray<AnyTable>
  /** The name of the subscription that {@link layer} runs: for `Subscription.status`, `pause` and so on. */
  readonly subscription: string
  /** @internal */
  readonly definitions: ReadonlyMap<string, Event.Any>
  /** @internal */
  readonly each: (item: Envelope<unknown>) => Effect.Effect<unknown, unknown, R>
  /** @internal */
  readonly together: ((items: Arr.NonEmptyReadonlyArray<Envelope<unknown>>) => Effect.Effect<unknown, unknown, R>) | undefined
  /** @internal */
  readonly reset: Effect.Effect<unknown, SqlError, R>
  /** @internal */
  readonly database?: (_: never) => D
}

type Needs<R> = Exclude<R, Run | Scope.Scope>
type Database<Tables extends ReadonlyArray<AnyTable>> = Tables extends readonly [] ? never : SqlClient.SqlClient

/**
 * How far a rebuild has come.
 *
 * @category models
 * @since 0.1.0
 */
export interface Progress {
  /** The checkpoint: the view holds all events up to here. */
  readonly position: number
  /** Where the rebuild ends: the position of the newest event when it was called. */
  readonly head: number
  /** How many events this call has handled. */
  readonly handled: number
}

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

/**
 * What may fail around the handlers: the event store, the checkpoints, the database of the tables.
 *
 * @category errors
 * @since 0.1.0
 */
export type StorageError = EventStoreError | CheckpointError | CheckpointHeldError | CheckpointFencedError | SqlError

/**
 * The projection has not come as far as it should have: it stands at `position`, and `target` was asked for.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotCaughtUpError extends Schema.TaggedError<NotCaughtUpError>("eventfold/Projection/NotCaughtUpError")(
  "NotCaughtUpError",
  { projection: Schema.String, version: Schema.Number, position: Schema.Number, target: Schema.Number }
) {
  override get message(): string {
    return `Version ${this.version} of the projection "${this.projection}" is at position ${this.position}, not yet at ${this.target}`
  }
}

/**
 * A handler has failed for good, so the rebuild stands still before this position. Called again, it goes on there.
 *
 * @category errors
 * @since 0.1.0
 */
export class RebuildError extends Schema.TaggedError<RebuildError>("eventfold/Projection/RebuildError")("RebuildError", {
  projection: Schema.String,
  version: Schema.Number,
  /** The checkpoint: the event that failed comes after it. */
  position: Schema.Number,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `The rebuild of version ${this.version} of the projection "${this.projection}" failed after position ${this.position}: ${this.cause instanceof Error ? this.cause.message : String(this.cause)}`
  }
}

/**
 * This version runs inline, so it can neither run async nor be rebuilt: build a new version, and switch to it.
 *
 * @category errors
 * @since 0.1.0
 */
export class RunsInlineError extends Schema.TaggedError<RunsInlineError>("eventfold/Projection/RunsInlineError")(
  "RunsInlineError",
  { projection: Schema.String, version: Schema.Number }
) {
  override get message(): string {
    return `Version ${this.version} of the projection "${this.projection}" runs inline: build a new version and switch to it`
  }
}

/**
 * This version is the active one and cannot be dropped: switch to another first.
 *
 * @category errors
 * @since 0.1.0
 */
export class ActiveVersionError extends Schema.TaggedError<ActiveVersionError>("eventfold/Projection/ActiveVersionError")(
  "ActiveVersionError",
  { projection: Schema.String, version: Schema.Number }
) {
  override get message(): string {
    return `Version ${this.version} of the projection "${this.projection}" is active: switch to another before it is dropped`
  }
}

// -----------------------------------------------------------------------------
// definitions
// -----------------------------------------------------------------------------

/**
 * Defines a projection: either with `handlers`, one for each of the events, or with one `batch` for all, which gets as many events as
 * there are at once (the batch of an async projection, what a unit of work has staged inline) and so can write a whole batch with
 * one statement. When a batch fails, it is rolled back and its events come one by one.
 *
 * Handlers may read and write what they like; what shall be exact they write through the `SqlClient`.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Event, EventStore, Projection } from "eventfold"
 * import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
 *
 * const Opened = Event.make("Opened", { owner: Schema.String })
 * const Deposited = Event.make("Deposited", { amount: Schema.Int })
 *
 * const Balance = Projection.table("balance", {
 *   key: "account",
 *   fields: { account: Schema.String, owner: Schema.String, amount: Schema.Int }
 * })
 *
 * const Balances = Projection.make("Balances", {
 *   version: 1,
 *   tables: [Balance],
 *   events: [Opened, Deposited],
 *   handlers: {
 *     Opened: ({ owner }, { stream }) => Balance.upsert({ account: stream, owner, amount: 0 }),
 *     Deposited: (event, { stream }) => Balance.patch(stream, ({ amount }) => ({ amount: amount + event.amount }))
 *   }
 * })
 *
 * const program = Effect.gen(function* () {
 *   const { position } = yield* EventStore.append("Account-1", [
 *     { type: "Opened", payload: { owner: "Ada" } },
 *     { type: "Deposited", payload: { amount: 5 } }
 *   ])
 *   yield* Projection.awaitPosition(Balances, position, { timeout: "5 seconds" })
 *   return yield* Balance.list()
 * })
 *
 * const Live = Projection.layer(Balances).pipe(
 *   Layer.provideMerge(SqliteCheckpoints.layer()),
 *   Layer.provideMerge(SqliteEventStore.layerFile({ filename: ":memory:" }))
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => [{ account: "Account-1", owner: "Ada", amount: 5 }]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  <const Events extends ReadonlyArray<Event.Any>, E, RB, const Tables extends ReadonlyArray<AnyTable> = readonly [], R = never>(
    name: string,
    options: Options<Events, Tables, R> & {
      readonly batch: (events: Arr.NonEmptyReadonlyArray<Envelope<Events[number]["Type"]>>) => Effect.Effect<unknown, E, RB>
      readonly handlers?: never
    }
  ): Projection<Needs<R | RB>, Database<Tables>>
  // The last one, because it is the one that the compiler speaks of when a handler is missing.
  <
    const Events extends ReadonlyArray<Event.Any>,
    const H extends Handlers<Events>,
    const Tables extends ReadonlyArray<AnyTable> = readonly [],
    R = never
  >(
    name: string,
    options: Options<Events, Tables, R> & {
      /** One for each of `events`: one that is missing, or one for an event that is not listed, does not compile. */
      readonly handlers: H & Unlisted<H, Events[number]["type"]>
      readonly batch?: never
    }
  ): Projection<Needs<R | Effect.Services<ReturnType<H[Events[number]["type"]]>>>, Database<Tables>>
} = <R>(
  name: string,
  options: Options<ReadonlyArray<Event.Any>, ReadonlyArray<AnyTable>, R> & {
    readonly handlers?: { readonly [type: string]: (event: never, envelope: never) => Effect.Effect<unknown, unknown, R> }
    readonly batch?: (events: Arr.NonEmptyReadonlyArray<Envelope<never>>) => Effect.Effect<unknown, unknown, R>
  }
): Projection<R, never> => {
  const { batch, events, filter, handlers = {}, reset = Effect.void, tables = [], version } = options
  if (!/^[^@]{1,200}$/.test(name)) throw new RangeError(`Projection: the name must have 1 to 200 characters and no "@": ${name}`)
  if (!Number.isSafeInteger(version) || version < 1) {
    throw new RangeError(`Projection "${name}": version must be a whole number from 1, not ${version}`)
  }
  const definitions = new Map(events.map((definition) => [definition.type, definition]))
  const narrow = (query: Query): Query => {
    const { types = Array.from(definitions.keys()) } = query
    const unknown = types.find((type) => !definitions.has(type))
    if (unknown !== undefined) {
      throw new RangeError(`Projection "${name}": the filter names the type "${unknown}", which is not one of its events`)
    }
    return { ...query, types }
  }
  const together = batch as Projection<R, never>["together"]
  return {
    name,
    version,
    tables,
    reset,
    definitions,
    together,
    filter: Array.isArray(filter) ? (filter as ReadonlyArray<Query>).map(narrow) : narrow((filter as Query | undefined) ?? {}),
    subscription: subscriptionOf(name, version),
    each: (item) => {
      if (together !== undefined) return together([item])
      const { event } = item as Envelope<{ readonly _tag: string }>
      // The handler of this type: it takes what this definition decodes to.
      const handler = handlers[event._tag] as (event: unknown, envelope: unknown) => Effect.Effect<unknown, unknown, R>
      return handler(event, item)
    }
  }
}

/**
 * Marks what a handler does beyond the view, such as sending a mail: it is done by the active version alone, and not for events that
 * had been handled before a rebuild. Like everything beyond the database it is done again where a transaction is rolled back and
 * done again.
 *
 * A switch of versions passes it on at the position of the version that was active: what that one has handled, the other does not
 * repeat. It is not done for events that the other version had handled before the switch and the active one had not: to miss none,
 * switch when {@link awaitPosition} says that the active one has caught up, too. A batch that the active one has in hand at that
 * moment, and commits after it, may be done by both.
 *
 * @category combinators
 * @since 0.1.0
 */
export const sideEffect = <A, E, R>(
  envelope: Envelope<unknown>,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Option.Option<A>, E | CheckpointError, R | Run> =>
  Run.use(({ live }) => Effect.flatMap(live(envelope.position), (live) => (live ? Effect.asSome(effect) : Effect.succeedNone)))

// -----------------------------------------------------------------------------
// running
// -----------------------------------------------------------------------------

/**
 * Runs a projection async, as long as the Layer is open: a subscription called `projection.subscription`, with all that
 * subscriptions have (lease and takeover, retries, halt or park, status). View and checkpoint commit in one transaction of the
 * `SqlClient`, which must be that of the `Checkpoints`. A projection with a `batch` has up to 1024 events at once by default.
 *
 * With `transactional: false` it needs no `SqlClient`, and each event takes effect at least once: for views in memory or elsewhere.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <R, D, const P extends Subscription.OnFailure = "halt", const T extends boolean = true>(
  projection: Projection<R, D>,
  options: Omit<Subscription.Options<P, T>, "name" | "from" | "concurrency" | "partitions"> = {}
): Layer.Layer<never, StorageError | RunsInlineError, Subscription.Requirements<R | D, P, T>> =>
  Layer.unwrap(
    Effect.gen(function* () {
      yield* begin(projection, options.transactional)
      return follower(projection, options, yield* Checkpoints, () => undefined)
    })
  )

const follower = <R, D, P extends Subscription.OnFailure, T extends boolean>(
  projection: Projection<R, D>,
  options: Omit<Subscription.Options<P, T>, "name" | "from" | "concurrency" | "partitions">,
  checkpoints: Checkpoints["Service"],
  onHandled: (position: number) => void
): Layer.Layer<never, never, Subscription.Requirements<R | D, P, T>> => {
  const { definitions, each, filter, subscription, together } = projection
  const run = makeRun(projection, checkpoints, false)
  const handle = (work: Effect.Effect<unknown, unknown, R>, events: ReadonlyArray<RecordedEvent>) =>
    Effect.tap(Effect.provideService(work, Run, run), () =>
      Effect.sync(() => events.forEach(({ position }) => onHandled(position)))
    )
  const decode = (event: RecordedEvent) =>
    Result.map(Event.decodeAny(definitions, event), (decoded): Envelope<unknown> => {
      const { id, metadata, position, recordedAt, stream, version } = event
      return { event: decoded, id, stream, version, position, recordedAt, metadata }
    })
  return Subscription.layerOf<R | D, P, T>(
    {
      ...options,
      batch: options.batch ?? (together === undefined ? undefined : 1024),
      transactional: (options.transactional ?? true) as T,
      name: subscription
    },
    {
      filter,
      prepare: (event) => Result.map(decode(event), (item) => () => handle(each(item), [event])),
      together:
        together &&
        Effect.fnUntraced(function* (events) {
          const items: Array<Envelope<unknown>> = []
          for (const event of events) items.push(yield* Effect.fromResult(decode(event)))
          yield* handle(together(items as [Envelope<unknown>]), events)
        })
    }
  )
}

/**
 * Runs a projection inline, as long as the Layer is open: at the end of each unit of work of the `UnitOfWork` service, with the events
 * that it is about to write. View and events commit together, or not at all; the unit of work fails with an `EventStoreError`
 * where a handler fails, a conflict of the database being one that `UnitOfWork.retryConflicts` tries again.
 *
 * The service must be `UnitOfWork.layerSql`; with any other the unit of work dies. Events that are appended without a unit of work
 * are not seen, so write through `UnitOfWork` and `MessageBus` alone. A version that starts inline must have seen all history: the
 * Layer fails with `NotCaughtUpError` unless there is none, or {@link rebuild} has caught up with it (let nobody append meanwhile).
 *
 * @category layers
 * @since 0.1.0
 */
export const inline = <R, D>(
  projection: Projection<R, D>
): Layer.Layer<never, StorageError | NotCaughtUpError, R | D | UnitOfWork | SqlClient.SqlClient | EventStore | Checkpoints> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const units = yield* UnitOfWork
      const checkpoints = yield* Checkpoints
      const context = yield* Effect.context<R>()
      const { definitions, each, filter, name, together, version } = projection
      yield* transaction(
        Effect.gen(function* () {
          if (!(yield* runsInline(projection))) {
            const target = yield* EventStore.use((store) => store.head)
            const { done, position } = yield* standing(projection, target)
            if (!done) return yield* new NotCaughtUpError({ projection: name, version, position, target })
            yield* open(projection)
            yield* seize(markOf(projection), { owner: inlineOwner })
          }
        })
      )
      const run = makeRun(projection, checkpoints, true)
      // What belongs to the execution comes from the unit of work, everything else from where the Layer was built.
      const built = Context.add(
        Context.makeUnsafe<R>(new Map(Array.from(context.mapUnsafe).filter(([key]) => !key.startsWith("effect/")))),
        SqlClient.SqlClient,
        sql
      )
      const hook = Effect.fnUntraced(function* (staged: ReadonlyArray<StagedEvent>): Effect.fn.Return<void, CommitError> {
        const items: Array<Envelope<unknown>> = []
        for (const { event, stream, value, version } of staged) {
          const { metadata, published = false, tags = [], type } = event
          const definition = definitions.get(type)
          if (definition === undefined || !matches(filter, { stream, type, tags, published, metadata })) continue
          const stored = { schemaVersion: 1, ...event, stream, version: version ?? 0, position: 0 }
          const typed = value === undefined ? yield* Effect.fromResult(Event.decode(definition, stored)) : value
          items.push({ event: typed, id: event.id, stream, version, position: undefined, recordedAt: undefined, metadata })
        }
        if (items.length === 0) return
        if (Option.isNone(yield* Effect.serviceOption(sql.transactionService))) {
          return yield* Effect.die(
            new Error(`Projection.inline(${name}) needs UnitOfWork.layerSql, for view and events to commit together`)
          )
        }
        const work =
          together === undefined ? Effect.forEach(items, each, { discard: true }) : together(items as [Envelope<unknown>])
        yield* Effect.scoped(work).pipe(
          Effect.provideService(Run, run),
          Effect.updateContext(
            (running: Context.Context<never>) => Context.merge(Context.merge(context, running), built) as Context.Context<R>
          ),
          Effect.mapError(toCommitError(`project ${name}`))
        )
      })
      yield* Effect.acquireRelease(units.beforeCommit(hook), (remove) => remove)
    })
  )

const toCommitError =
  (operation: string) =>
  (cause: unknown): EventStoreError => {
    const fields = { operation, detail: cause instanceof Error ? cause.message : String(cause), cause }
    return new EventStoreError({ reason: isConflict(cause) ? new TransactionConflict(fields) : new StoreFailure(fields) })
  }

/** Whether the database would let a transaction through that is done again. */
const isConflict = (error: unknown): boolean =>
  isSqlError(error) && (error.reason._tag === "SerializationError" || error.reason._tag === "DeadlockError")

// -----------------------------------------------------------------------------
// rebuilding
// -----------------------------------------------------------------------------

/**
 * Builds the view of this version from the beginning, up to the newest event there is when it is called, and says how far it is.
 *
 * It first empties the view, sets its checkpoint back, forgets what had been parked (where `ParkedEvents` is provided: without, do
 * not replay that later), and fences whoever runs the version: one transaction. From then on it is a follower like any other, so a
 * {@link layer} of this version (in any process) stands by or does the work, and goes on at the end. Ended early, however rudely, it
 * goes on where it was when it is called again, or when a `layer` runs; once it has come to its end, the next call begins anew.
 * Side effects ({@link sideEffect}) are not repeated, nor done for events that had been parked before.
 *
 * Until it is done the version's view is incomplete. To serve meanwhile, build a new version and then {@link switchTo} it. With
 * `transactional: false`, end the `layer` of this version before.
 *
 * @category running
 * @since 0.1.0
 */
export const rebuild = <R, D, const T extends boolean = true>(
  projection: Projection<R, D>,
  options: Pick<Subscription.Options<"halt", T>, "batch" | "retry" | "lease" | "transactional"> = {}
): Stream.Stream<
  Progress,
  StorageError | ParkedEventsError | RunsInlineError | RebuildError,
  Subscription.Requirements<R | D, "halt", T>
> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const { name, reset, subscription, version } = projection
      yield* begin(projection, options.transactional)
      const head = yield* EventStore.use((store) => store.head)
      yield* transaction(
        Effect.gen(function* () {
          const mark = yield* known(markOf(projection))
          const before = yield* known(`subscription:${subscription}`)
          const target = Number(Option.getOrElse(mark.owner, () => 0))
          // Beyond the log there is nothing to go on with: it has been restored from a backup.
          const begun = before.position > 0 && before.position <= head && target > 0
          if (begun && !(yield* standing(projection, target)).done) return
          // Like those who fold events into it: the view first, then the checkpoint. Otherwise they could wait for each other.
          yield* forTables(projection, ({ empty }) => [empty])
          yield* reset
          const { position } = yield* startOver(projection)
          // What has never run has nothing to repeat, and begins silently all the same.
          const heard = position > 0 ? Math.max(mark.position, position) : mark.position > 0 ? mark.position : head
          yield* seize(markOf(projection), { position: Math.min(heard, head), owner: String(head) })
        }),
        options.transactional
      )
      const beyond = new Set<number>()
      const registry = new Map<string, Subscription.Controls>()
      const handled = (upTo: number) => {
        for (const position of beyond) {
          if (position > upTo) continue
          beyond.delete(position)
          count++
        }
        return count
      }
      let count = 0
      yield* Effect.provideService(
        Layer.build(follower<R, D, "halt", T>(projection, options, yield* Checkpoints, (position) => void beyond.add(position))),
        Subscription.Registry,
        registry
      )
      const halted = Stream.unwrap(
        Effect.map(Effect.fromNullishOr(registry.get(subscription)).pipe(Effect.orDie), ({ status }) =>
          SubscriptionRef.changes(status)
        )
      ).pipe(
        Stream.filter(({ state }) => state === "halted"),
        Stream.take(1),
        Stream.mapEffect(({ cause, position }) =>
          Effect.fail(
            new RebuildError({
              projection: name,
              version,
              position,
              cause: Option.match(cause, { onNone: () => "halted", onSome: Cause.squash })
            })
          )
        )
      )
      return positions(projection, head, registry).pipe(
        Stream.map((position): Progress => ({ position, head, handled: handled(position) })),
        Stream.merge(halted, { haltStrategy: "left" })
      )
    })
  )

// -----------------------------------------------------------------------------
// waiting
// -----------------------------------------------------------------------------

/**
 * Waits until the view of this version holds all events up to `position`, such as that of an append (read-your-writes). Wakes at once
 * where this process runs the projection; where another does, it looks for the checkpoint, at most 250 milliseconds apart.
 *
 * Whoever reads a table by its name reads the active version: after a switch, wait for that one.
 *
 * @category waiting
 * @since 0.1.0
 */
export const awaitPosition = <R, D>(
  projection: Projection<R, D>,
  position: number,
  options: {
    /** After how long it fails. Default: 5 seconds. */
    readonly timeout?: Duration.Input | undefined
  } = {}
): Effect.Effect<void, NotCaughtUpError | CheckpointError | EventStoreError, EventStore | Checkpoints> =>
  Effect.gen(function* () {
    let reached = 0
    const { name, version } = projection
    yield* positions(projection, position, yield* Subscription.Registry).pipe(
      Stream.runForEach((position) => Effect.sync(() => (reached = position))),
      Effect.timeoutOrElse({
        duration: options.timeout ?? "5 seconds",
        orElse: () =>
          Effect.suspend(() =>
            Effect.fail(new NotCaughtUpError({ projection: name, version, position: reached, target: position }))
          )
      })
    )
  })

/**
 * Waits until the view of this version holds all events that stand in the store when it is called.
 *
 * @category waiting
 * @since 0.1.0
 */
export const whenCaughtUp = <R, D>(
  projection: Projection<R, D>,
  options?: Parameters<typeof awaitPosition>[2]
): Effect.Effect<void, NotCaughtUpError | CheckpointError | EventStoreError, EventStore | Checkpoints> =>
  Effect.flatMap(
    EventStore.use((store) => store.head),
    (head) => awaitPosition(projection, head, options)
  )

/** How far the view is, now and whenever that changes, until it has reached `target`. */
const positions = <R, D>(
  projection: Projection<R, D>,
  target: number,
  registry: ReadonlyMap<string, Subscription.Controls>
): Stream.Stream<number, CheckpointError | EventStoreError, EventStore | Checkpoints> => {
  const local = () => {
    const status = registry.get(projection.subscription)?.status
    return status && { status, position: SubscriptionRef.getUnsafe(status).position }
  }
  /** Until the subscription of this process, if there is one, has moved. */
  const moved = (before: ReturnType<typeof local>) =>
    before === undefined
      ? Effect.never
      : SubscriptionRef.changes(before.status).pipe(
          Stream.filter(({ position }) => position !== before.position),
          Stream.take(1),
          Stream.runDrain
        )
  return Stream.paginate(
    { wait: 0, seen: -1, before: local() },
    Effect.fnUntraced(function* ({ before, seen, wait }) {
      if (wait > 0) yield* Effect.raceFirst(Effect.sleep(Duration.millis(wait)), moved(before))
      const now = local()
      const { done, position } = yield* standing(projection, target)
      const reached = done ? Math.max(position, target) : position
      const next = { wait: Math.min(250, Math.max(10, wait * 2)), seen: reached, before: now }
      return [reached === seen ? [] : [reached], done ? Option.none() : Option.some(next)] as const
    })
  )
}

/** How far the view is, and whether it holds all events up to `target`. */
const standing = Effect.fnUntraced(function* <R, D>(projection: Projection<R, D>, target: number) {
  const { position } = yield* known(`subscription:${projection.subscription}`)
  if (position >= target) return { position, done: true }
  const store = yield* EventStore
  const head = yield* store.head
  if (head < target) return { position, done: false }
  if (yield* runsInline(projection)) return { position: head, done: true }
  const [next] = yield* Stream.runCollect(store.readAll({ after: position, filter: projection.filter, limit: 1 }))
  return { position, done: next === undefined || next.position > target }
})

// -----------------------------------------------------------------------------
// versions
// -----------------------------------------------------------------------------

/**
 * The active version of the projection of this name; none when it has never run.
 *
 * @category versions
 * @since 0.1.0
 */
export const active = (name: string): Effect.Effect<Option.Option<number>, CheckpointError, Checkpoints> =>
  Effect.map(known(pointerOf(name)), ({ owner }) => Option.map(owner, Number))

/**
 * Makes this version the active one: atomically, and where the projection has tables, in one transaction with their views. Back to an
 * older version by the same way. Refused with `NotCaughtUpError` unless the version has reached the newest event there is when it is
 * called, within the time given.
 *
 * The database views of the tables are made anew. On PostgreSQL, grant anew what had been granted on them; and while other database
 * views are based on them, it fails with a `SqlError`, and nothing is switched.
 *
 * @category versions
 * @since 0.1.0
 */
export const switchTo = <R, D>(
  projection: Projection<R, D>,
  options: {
    /** How long to wait for it to catch up. Default: not at all. */
    readonly timeout?: Duration.Input | undefined
  } = {}
): Effect.Effect<void, StorageError | NotCaughtUpError, D | EventStore | Checkpoints> =>
  Effect.gen(function* () {
    const target = yield* EventStore.use((store) => store.head)
    if (options.timeout !== undefined) yield* awaitPosition(projection, target, options)
    yield* transaction(
      Effect.gen(function* () {
        const { name, version } = projection
        const { done, position } = yield* standing(projection, target)
        if (!done) return yield* new NotCaughtUpError({ projection: name, version, position, target })
        yield* passOn(projection)
        yield* activate(projection)
      })
    )
  })

/**
 * Drops the tables of a version that is not active, and forgets how far it was and what it had parked: started again, it begins anew.
 * A table that the active version does not have cannot be read by its name any more. End what runs the version before.
 *
 * @category versions
 * @since 0.1.0
 */
export const drop = <R, D>(
  projection: Projection<R, D>
): Effect.Effect<void, StorageError | ParkedEventsError | ActiveVersionError, D | Checkpoints> =>
  transaction(
    Effect.gen(function* () {
      const { name, version } = projection
      const current = yield* active(name)
      if (Option.contains(current, version)) return yield* new ActiveVersionError({ projection: name, version })
      yield* forEachTable(projection, (sql, table) => {
        const { exists } = table.statements(
          sql,
          Option.getOrElse(current, () => version)
        )
        const unlessFound = (found: ReadonlyArray<unknown>) =>
          found.length === 0 ? sql.unsafe(`drop view if exists ${table.name}`).values : Effect.void
        return Effect.flatMap(sql.unsafe(exists).values, unlessFound)
      })
      yield* forTables(projection, ({ drop }) => [drop])
      yield* startOver(projection)
      yield* seize(markOf(projection), { owner: droppedOwner })
    })
  )

// -----------------------------------------------------------------------------
// tables
// -----------------------------------------------------------------------------

/**
 * What a table may fail with: the database, or a row that does not fit its fields.
 *
 * @category errors
 * @since 0.1.0
 */
export type TableError = SqlError | Schema.SchemaError

/**
 * @category models
 * @since 0.1.0
 */
export interface AnyTable {
  readonly name: string
  /** @internal */
  readonly statements: (sql: SqlClient.SqlClient, version: number) => ReturnType<typeof statementsOf>
}

/**
 * A table of a view, with one row per key.
 *
 * Each version of the projection writes a table of its own, called `<name>_v<version>`; whoever reads by `name` reads that of the
 * active version, through a database view of that name. So writing is for handlers alone, and who reads need not know of versions.
 *
 * @category models
 * @since 0.1.0
 */
export interface Table<F extends Event.Fields, K extends keyof F & string> extends AnyTable {
  readonly fields: F
  readonly key: K
  readonly get: (key: F[K]["Type"]) => Effect.Effect<Option.Option<Row<F>>, TableError, SqlClient.SqlClient>
  /** Rows by key, in code point order: those with the values of `where`, beyond `after`, at most `limit` (default: 1000). */
  readonly list: (options?: {
    readonly where?: Partial<Row<F>> | undefined
    readonly after?: F[K]["Type"] | undefined
    readonly limit?: number | undefined
  }) => Effect.Effect<ReadonlyArray<Row<F>>, TableError, SqlClient.SqlClient>
  /** Writes rows, over those that stand under their keys: any number with one statement. */
  readonly upsert: (...rows: ReadonlyArray<Row<F>>) => Effect.Effect<void, TableError, SqlClient.SqlClient | Run>
  /** Changes the row of a key. Whether there is one. */
  readonly patch: (
    key: F[K]["Type"],
    change: (row: Row<F>) => Partial<Row<F>>
  ) => Effect.Effect<boolean, TableError, SqlClient.SqlClient | Run>
  readonly delete: (...keys: ReadonlyArray<F[K]["Type"]>) => Effect.Effect<void, TableError, SqlClient.SqlClient | Run>
  /**
   * Folds things into the rows of their keys, in order: reads all rows concerned with one statement, and writes them with another.
   * `undefined` is the row that does not exist.
   */
  readonly fold: <A>(
    things: ReadonlyArray<A>,
    options: {
      readonly key: (thing: A) => F[K]["Type"]
      readonly evolve: (row: Row<F> | undefined, thing: A) => Row<F> | undefined
    }
  ) => Effect.Effect<void, TableError, SqlClient.SqlClient | Run>
}

/**
 * @category models
 * @since 0.1.0
 */
export type Row<F extends Event.Fields> = Schema.Struct<F>["Type"]

/**
 * Defines a table: its name (letters, digits and `_`, with the database schema before a `.` if need be), its fields, and which of them
 * is the key, which must be text.
 *
 * A field becomes a column of its name by what its JSON form is: text, a number, a boolean, or else JSON. Works on PostgreSQL, PGlite
 * and SQLite; {@link layer}, {@link inline} and {@link rebuild} make the tables of the projections that list them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const table = <
  const F extends Event.Fields,
  const K extends { [P in keyof F & string]: F[P]["Encoded"] extends string ? P : never }[keyof F & string]
>(
  name: string,
  options: { readonly key: K; readonly fields: F }
): Table<F, K> => {
  const { fields, key } = options
  if (!/^(\w+\.)?\w{1,50}$/.test(name)) throw new RangeError(`Projection: a table cannot be called ${name}`)
  const odd = Object.keys(fields).find((field) => !/^\w+$/.test(field))
  if (odd !== undefined) throw new RangeError(`Projection: a column of the table ${name} cannot be called ${odd}`)
  const { columns, decode, encode, encodeField } = tableOf(fields)
  const encodeKey = (value: unknown) => encodeField(key, value) as Effect.Effect<string, Schema.SchemaError>

  const cache = new WeakMap<SqlClient.SqlClient, Map<string, ReturnType<typeof statementsOf>>>()
  const statementsFor = (sql: SqlClient.SqlClient, physical: string) => {
    const known = cache.get(sql) ?? new Map<string, ReturnType<typeof statementsOf>>()
    cache.set(sql, known)
    const statements = known.get(physical) ?? statementsOf(sql, physical, columns, key)
    known.set(physical, statements)
    return statements
  }
  const statements = (sql: SqlClient.SqlClient, version: number) => statementsFor(sql, physicalName(name, version))
  /** Inside a handler the table of its version, elsewhere the view of the active one. */
  const here = Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const run = Option.getOrUndefined(yield* Effect.serviceOption(Run))
    return { sql, run, statements: run === undefined ? statementsFor(sql, name) : statements(sql, run.version) }
  })
  const read = (sql: SqlClient.SqlClient, text: string, parameters: ReadonlyArray<string>) =>
    Effect.flatMap(Effect.provideService(sql.unsafe(text, parameters).values, SqlClient.SafeIntegers, false), (rows) =>
      Effect.forEach(rows, (values) => decode(fromValues(columns, values)) as Effect.Effect<Row<F>, Schema.SchemaError>)
    )
  const rowsOf = Effect.fnUntraced(function* (keys: ReadonlyArray<string>) {
    const { run, sql, statements } = yield* here
    const parameter = JSON.stringify(keys)
    // Units of work beside this one could read the same row, too, and write over what this one writes.
    if (run?.inline === true && statements.lock !== undefined) {
      yield* sql.unsafe(statements.lock, [JSON.stringify(keys.map((key) => `${name}_v${run.version}:${key}`))]).values
    }
    return yield* read(sql, statements.get, [parameter])
  })

  const upsert = Effect.fnUntraced(function* (...rows: ReadonlyArray<Row<F>>) {
    yield* Run
    if (rows.length === 0) return
    const { sql, statements } = yield* here
    const values = new Map<string, ReadonlyArray<unknown>>()
    for (const row of rows) {
      const encoded = yield* encode(row)
      values.set(encoded[key] as string, toValues(columns, encoded))
    }
    // In one order, so that two who write the same rows do not wait for each other.
    const ordered = Array.from(values).sort(([a], [b]) => (a < b ? -1 : 1))
    yield* sql.unsafe(statements.upsert, [JSON.stringify(ordered.map(([, row]) => row))]).values
  })
  const remove = Effect.fnUntraced(function* (...keys: ReadonlyArray<F[K]["Type"]>) {
    yield* Run
    if (keys.length === 0) return
    const { sql, statements } = yield* here
    yield* sql.unsafe(statements.delete, [JSON.stringify(yield* Effect.forEach(keys, encodeKey))]).values
  })
  const fold: Table<F, K>["fold"] = Effect.fnUntraced(function* (things, { evolve, key: keyOf }) {
    yield* Run
    const keys = yield* Effect.forEach(things, (thing) => encodeKey(keyOf(thing)))
    if (keys.length === 0) return
    const before = yield* rowsOf(Array.from(new Set(keys)))
    const rows = new Map<string, Row<F> | undefined>()
    for (const row of before) rows.set(yield* encodeKey((row as { readonly [K in string]: unknown })[key]), row)
    const gone = new Map<string, F[K]["Type"]>()
    for (const [index, thing] of things.entries()) {
      const at = keys[index] as string
      const row = evolve(rows.get(at), thing)
      rows.set(at, row)
      if (row === undefined) gone.set(at, keyOf(thing))
      else gone.delete(at)
    }
    yield* upsert(...Array.from(rows.values()).filter((row) => row !== undefined))
    yield* remove(...gone.values())
  })

  return {
    name,
    key,
    fields,
    statements,
    fold,
    upsert,
    delete: remove,
    get: (key) =>
      Effect.map(
        Effect.flatMap(encodeKey(key), (key) => rowsOf([key])),
        ([row]) => Option.fromUndefinedOr(row)
      ),
    list: Effect.fnUntraced(function* ({ after, limit = 1000, where = {} } = {}) {
      const { sql, statements } = yield* here
      const conditions = yield* Effect.forEach(
        columns.filter(({ name }) => name in where),
        (column) =>
          Effect.map(encodeField(column.name, (where as { readonly [name: string]: unknown })[column.name]), (value) => ({
            column,
            isNull: value === null || value === undefined,
            value: column.kind === "json" ? JSON.stringify(value) : String(value)
          }))
      )
      const beyond = after === undefined ? [] : [yield* encodeKey(after)]
      const values = conditions.flatMap(({ isNull, value }) => (isNull ? [] : [value]))
      return yield* read(sql, statements.list(beyond.length > 0, conditions), [String(limit), ...beyond, ...values])
    }),
    patch: Effect.fnUntraced(function* (key, change) {
      let found = false
      yield* fold([key], {
        key: (key) => key,
        evolve: (row) => {
          found = row !== undefined
          return row === undefined ? undefined : { ...row, ...change(row) }
        }
      })
      return found
    })
  }
}

const physicalName = (name: string, version: number) => `${name}_v${version}`

// -----------------------------------------------------------------------------
// internals
// -----------------------------------------------------------------------------

const subscriptionOf = (name: string, version: number) => `projection:${name}@${version}`

/** Whose owner is the active version. */
const pointerOf = (name: string) => `projection:${name}`

/** Whose position is that up to which the world has heard of the events, and whose owner says how the version is run. */
const markOf = ({ subscription }: { readonly subscription: string }) => subscription

/** What is known of a checkpoint. */
const known = (name: string) =>
  Checkpoints.use((checkpoints) =>
    Effect.map(
      checkpoints.get(name),
      Option.match({
        onNone: () => ({ position: 0, owner: Option.none<string>() }),
        onSome: ({ owner, position }) => ({ position, owner })
      })
    )
  )

const runsInline = (projection: { readonly subscription: string }) =>
  Effect.map(known(markOf(projection)), ({ owner }) => Option.contains(owner, inlineOwner))

/** Takes a checkpoint from whoever has it, moves it, and leaves it to the owner, or to nobody. Gives the lease as it was before. */
const seize = (name: string, to: { readonly owner?: string | undefined; readonly position?: number }) =>
  Effect.gen(function* () {
    const checkpoints = yield* Checkpoints
    const claim = checkpoints.claim(name, { owner: to.owner ?? "eventfold", ttl: "1 millis" })
    const taken = Effect.gen(function* () {
      const held = yield* checkpoints.get(name)
      if (Option.isSome(held)) yield* checkpoints.release({ ...held.value, owner: "", ttl: Duration.zero })
      return yield* claim
    })
    const lease = yield* Effect.catchTag(claim, "CheckpointHeldError", () => taken)
    const from = (to.position ?? lease.position) < lease.position ? yield* checkpoints.advance(lease, 0) : lease
    const moved = to.position === undefined ? lease : yield* checkpoints.advance(from, to.position)
    if (to.owner === undefined) yield* checkpoints.release(moved)
    return lease
  }).pipe(Effect.uninterruptible, Effect.retry({ times: 10, while: ({ _tag }) => _tag === "CheckpointHeldError" }))

const makeRun = <R, D>(
  { name, subscription, version }: Projection<R, D>,
  checkpoints: Checkpoints["Service"],
  inline: boolean
): Run["Service"] => {
  /** The mark goes backwards only where the log does. */
  let mark = 0
  const before = (position: number) =>
    Effect.suspend(() =>
      position <= mark
        ? Effect.succeed(true)
        : Effect.map(known(markOf({ subscription })), ({ position: now }) => {
            mark = now
            return position <= mark
          })
    )
  const live = (position: number | undefined) =>
    Effect.flatMap(position === undefined ? Effect.succeed(false) : before(position), (before) =>
      before ? Effect.succeed(false) : Effect.map(active(name), Option.contains(version))
    )
  return {
    projection: name,
    version,
    inline,
    live: (position) => Effect.provideService(live(position), Checkpoints, checkpoints)
  }
}

/** One transaction where there is a database; again, when others got in its way. */
const transaction = <A, E, R>(work: Effect.Effect<A, E, R>, transactional: boolean | undefined = true) =>
  Effect.flatMap(Effect.serviceOption(SqlClient.SqlClient), (sql): Effect.Effect<A, E | SqlError, R> =>
    Option.isSome(sql) && transactional ? inTransaction(sql.value, work) : work
  ).pipe(
    Effect.retry({
      times: 5,
      while: (error: unknown) => {
        const cause = (error as { readonly _tag?: unknown })._tag === "CheckpointError" ? (error as CheckpointError).cause : error
        // Two that make one table at once collide on the catalogue of PostgreSQL, "if not exists" notwithstanding.
        return isConflict(cause) || (isSqlError(cause) && cause.reason._tag === "UniqueViolation")
      }
    })
  )

/** Does something about each table of a version. */
const forEachTable = <R, D>(
  { tables }: Projection<R, D>,
  work: (sql: SqlClient.SqlClient, table: AnyTable) => Effect.Effect<unknown, SqlError>
): Effect.Effect<void, SqlError> =>
  Effect.gen(function* () {
    if (tables.length === 0) return
    const sql = yield* Effect.serviceOption(SqlClient.SqlClient)
    if (Option.isNone(sql)) return yield* Effect.die(new Error("Projection: tables need a SqlClient"))
    yield* Effect.forEach(tables, (table) => work(sql.value, table), { discard: true })
  })

/** Runs statements for each table of a version. */
const forTables = <R, D>(
  projection: Projection<R, D>,
  statements: (all: ReturnType<typeof statementsOf>, table: AnyTable) => ReadonlyArray<string>
) =>
  forEachTable(projection, (sql, table) =>
    Effect.forEach(statements(table.statements(sql, projection.version), table), (text) => sql.unsafe(text).values)
  )

/** Sets a version back to the beginning, and forgets what it has parked. Gives the lease as it was before. */
const startOver = Effect.fnUntraced(function* <R, D>({ subscription }: Projection<R, D>) {
  const parking = yield* Effect.serviceOption(ParkedEvents)
  while (Option.isSome(parking)) {
    const parked = yield* parking.value.list(subscription)
    if (parked.length === 0) break
    yield* Effect.forEach(parked, ({ position }) => parking.value.discard(subscription, position), { discard: true })
  }
  return yield* seize(`subscription:${subscription}`, { position: 0 })
})

/** What the active version has told the world, this one does not tell again. */
const passOn = Effect.fnUntraced(function* <R, D>(projection: Projection<R, D>) {
  const { name, version } = projection
  const current = yield* active(name)
  if (Option.isNone(current) || current.value === version) return
  const before = { subscription: subscriptionOf(name, current.value) }
  const { position } = (yield* runsInline(before))
    ? { position: yield* EventStore.use((store) => store.head) }
    : yield* known(`subscription:${before.subscription}`)
  const mark = yield* known(markOf(projection))
  if (position > mark.position) yield* seize(markOf(projection), { position, owner: Option.getOrUndefined(mark.owner) })
})

/** Makes this version the active one. */
const activate = <R, D>(projection: Projection<R, D>) =>
  Effect.andThen(
    seize(pointerOf(projection.name), { owner: String(projection.version) }),
    forTables(projection, ({ create }, { name }) => [create, ...pointTo(name, physicalName(name, projection.version))])
  )

/** Makes the tables of a version, and makes it the active one if there is none. */
const open = <R, D>(projection: Projection<R, D>) =>
  Effect.gen(function* () {
    yield* forTables(projection, ({ create }) => [create])
    if (Option.isNone(yield* active(projection.name))) yield* activate(projection)
  })

/** Readies a version to be run async. What is built beside the active version does not repeat what that one has done. */
const begin = <R, D>(projection: Projection<R, D>, transactional: boolean | undefined) =>
  transaction(
    Effect.gen(function* () {
      const { name, subscription, version } = projection
      if (yield* runsInline(projection)) return yield* new RunsInlineError({ projection: name, version })
      yield* open(projection)
      const { position } = yield* known(`subscription:${subscription}`)
      if (position > 0 || Option.contains(yield* active(name), version)) return
      const head = yield* EventStore.use((store) => store.head)
      yield* seize(markOf(projection), { position: head, owner: String(head) })
    }),
    transactional
  )
