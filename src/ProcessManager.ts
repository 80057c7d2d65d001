/**
 * Process managers: what happens over time and across aggregates, as a pure reaction to events. A process sees an event and says
 * which commands are sent, which deadlines are set and which are cancelled.
 *
 * All that one reaction does is one unit of work: the note in the process's own stream that the event has been handled, the
 * commands with all that follows from them, the deadlines. So whatever happens between reading an event and moving the checkpoint,
 * each event is reacted to **once**, on any store: who comes second finds the note, or loses the race for the version of the
 * process's stream and then finds it.
 *
 * The stream of an instance is called `<name>-<key>`. It holds
 *
 * - `$EventHandled`: an event that was reacted to, with a copy of its payload: the state is folded from these;
 * - `$DeadlineSet` and `$DeadlineCancelled`;
 * - the deadline itself, as an event of its own type, once its time has come.
 *
 * Deadlines need nothing but the event store: they are set by the commit of the reaction and survive a restart. When one is due and
 * the process has reacted to all that was committed by then (it may have cancelled the deadline), its event is recorded: once,
 * however many watch. It is reacted to in its turn, and passed over if the deadline has been cancelled or set anew meanwhile. Time is
 * that of the clock of the process that watches; where that is put forward, a deadline may come up to an hour late. While the
 * process is halted or paused, its deadlines wait, too.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HashSet from "effect/HashSet"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Aggregate from "./Aggregate.ts"
import { beat, type CheckpointError, type CheckpointFencedError, Checkpoints, type Lease, withLease } from "./Checkpoints.ts"
import type * as Command from "./Command.ts"
import * as Event from "./Event.ts"
import { EventStore, type AppendError, type Filter, type NewEvent, type RecordedEvent, streamName } from "./EventStore.ts"
import { defaultRestart, restarting } from "./internal/following.ts"
import { makeId } from "./internal/ids.ts"
import type { Unlisted } from "./internal/unlisted.ts"
import * as MessageBus from "./MessageBus.ts"
import type { ParkedEvents } from "./ParkedEvents.ts"
import * as Repository from "./Repository.ts"
import * as Subscription from "./Subscription.ts"
import { type CommitError, CurrentMetadata, retryConflicts, transact, Transaction, UnitOfWork } from "./UnitOfWork.ts"

const TypeId = "~eventfold/ProcessManager"

// -----------------------------------------------------------------------------
// actions
// -----------------------------------------------------------------------------

/**
 * What a process does: `Commands` are the commands that it may execute, `Deadlines` the deadline events that it may set.
 *
 * @category models
 * @since 0.1.0
 */
export type Action<Commands extends string = string, Deadlines extends Tagged = Tagged> =
  | Send<Commands, Deadlines>
  | SetDeadline<Deadlines>
  | CancelDeadline<Deadlines["_tag"]>

interface Tagged {
  readonly _tag: string
}

/**
 * A command to execute, and what to do if it is rejected.
 *
 * @category models
 * @since 0.1.0
 */
export interface Send<out Commands extends string, out Deadlines extends Tagged> {
  readonly _tag: "Send"
  readonly command: Command.Any
  readonly payload: unknown
  readonly onRejected: (error: never) => ReadonlyArray<Action<Commands, Deadlines>>
}

/**
 * @category models
 * @since 0.1.0
 */
export interface SetDeadline<out Deadline extends Tagged> {
  readonly _tag: "SetDeadline"
  readonly event: Deadline
  readonly due: Duration.Input | DateTime.Utc
}

/**
 * @category models
 * @since 0.1.0
 */
export interface CancelDeadline<out Type extends string> {
  readonly _tag: "CancelDeadline"
  readonly type: Type
}

type CommandsOf<A> = A extends Send<infer Commands, infer _> ? Commands : never
type DeadlinesOf<A> =
  A extends Send<infer _, infer Deadlines> ? Deadlines : A extends SetDeadline<infer Deadline> ? Deadline : never

/**
 * Executes a command on the bus, in the unit of work of the reaction.
 *
 * For a command that declares an error, `onRejected` says what is done then: what the command had staged is dropped, and the rest of
 * the reaction stands. All other failures (conflicts beyond some retries, the store, defects) undo the whole reaction, which is
 * tried again as `retry` of the Layer says.
 *
 * @category actions
 * @since 0.1.0
 */
export const send: <C extends Command.Any, const A extends Action = never>(
  command: C,
  payload: Command.PayloadInput<C>,
  ...onRejected: [Command.Error<C>] extends [never] ? [] : [onRejected: (error: Command.Error<C>) => ReadonlyArray<A>]
) => Send<C["_tag"] | CommandsOf<A>, DeadlinesOf<A>> = (
  command: Command.Any,
  payload: unknown,
  onRejected: (error: never) => ReadonlyArray<Action> = () => []
): Send<never, never> => ({
  _tag: "Send",
  command,
  payload,
  // What it may do is in the type of the call.
  onRejected: onRejected as Send<never, never>["onRejected"]
})

/**
 * Sets a deadline of the process: when it is due, the event is recorded in the process's stream, and the process reacts to it. A
 * process has one deadline of a type at a time: setting it again takes the place of the one before.
 *
 * It is due at an instant, or so long after the event that is reacted to was recorded. One that is in the past is due at once.
 *
 * @category actions
 * @since 0.1.0
 */
export const setDeadline = <const Deadline extends Tagged>(
  event: Deadline,
  due: Duration.Input | DateTime.Utc
): SetDeadline<Deadline> => ({ _tag: "SetDeadline", event, due })

/**
 * Cancels the deadline of that type, if one is set: also if its time has come but its turn has not.
 *
 * @category actions
 * @since 0.1.0
 */
export const cancelDeadline = <Deadline extends Event.Any>(deadline: Deadline): CancelDeadline<Deadline["type"]> => ({
  _tag: "CancelDeadline",
  type: deadline.type
})

// -----------------------------------------------------------------------------
// definitions
// -----------------------------------------------------------------------------

/**
 * Where the event that is reacted to comes from.
 *
 * @category models
 * @since 0.1.0
 */
export interface Source {
  /** The process that reacts. */
  readonly key: string
  /** The event as it stands in the store. */
  readonly recorded: RecordedEvent
}

/**
 * Which process an event belongs to, per event type; `undefined` for none.
 *
 * @category models
 * @since 0.1.0
 */
export type Correlate<Events extends ReadonlyArray<Event.Any>> = {
  readonly [Type in Events[number]["type"]]: (
    event: Extract<Events[number], { readonly type: Type }>["Type"]
  ) => string | undefined
}

/**
 * One pure reaction per type of event and deadline; none may be missing.
 *
 * @category models
 * @since 0.1.0
 */
export type React<Events extends ReadonlyArray<Event.Any>, Deadlines extends ReadonlyArray<Event.Any>, State> = {
  readonly [Type in (Events[number] | Deadlines[number])["type"]]: (
    state: State,
    event: Extract<Events[number] | Deadlines[number], { readonly type: Type }>["Type"],
    source: Source
  ) => ReadonlyArray<Action<string, Deadlines[number]["Type"]>>
}

/**
 * A process manager.
 *
 * @category models
 * @since 0.1.0
 */
export interface ProcessManager<
  Name extends string,
  Events extends ReadonlyArray<Event.Any>,
  Deadlines extends ReadonlyArray<Event.Any>,
  State,
  H extends React<Events, Deadlines, State>
> extends Any {
  readonly name: Name
  readonly events: Events
  readonly deadlines: Deadlines
  readonly initial: State
  readonly correlate: Correlate<Events>
  readonly evolve: Aggregate.Evolve<ReadonlyArray<Events[number] | Deadlines[number]>, State>
  readonly react: H
}

/**
 * What all process managers have in common.
 *
 * @category models
 * @since 0.1.0
 */
export interface Any {
  readonly [TypeId]: typeof TypeId
  /** The category of its streams. Part of the storage format. */
  readonly name: string
  readonly events: ReadonlyArray<Event.Any>
  readonly deadlines: ReadonlyArray<Event.Any>
  /** The state before the first event. */
  readonly initial: unknown
  readonly correlate: object
  readonly evolve: object
  readonly react: object
  /** @internal */
  readonly definitions: ReadonlyMap<string, Event.Any>
  /** @internal */
  readonly journal: Journal
}

/**
 * The commands that a process may execute.
 *
 * @category models
 * @since 0.1.0
 */
export type Commands<P extends Any> = P["react"][keyof P["react"]] extends (...args: never) => ReadonlyArray<infer A>
  ? CommandsOf<A>
  : never

/**
 * Defines a process manager. A correlation, a fold or a reaction that is missing, or one for an event that is not listed, does not
 * compile; neither does a deadline that is set and not listed.
 *
 * The name is storage format: it is the category of the process's streams, and no other's. It must not contain `-` nor begin with
 * `$`. An instance begins with the first event that correlates to its key. An event that has been reacted to and a deadline that has
 * come stand in its stream, so their types stay listed.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Command, Event, ProcessManager } from "eventfold"
 *
 * const OrderPlaced = Event.make("OrderPlaced", { order: Schema.String })
 * const OrderPaid = Event.make("OrderPaid", { order: Schema.String })
 * const PaymentDue = Event.make("PaymentDue", { reminders: Schema.Int })
 *
 * const Remind = Command.make("Remind", { payload: { order: Schema.String } })
 * const CancelOrder = Command.make("CancelOrder", { payload: { order: Schema.String } })
 *
 * const Payment = ProcessManager.make("PaymentProcess", {
 *   events: [OrderPlaced, OrderPaid],
 *   correlate: { OrderPlaced: ({ order }) => order, OrderPaid: ({ order }) => order },
 *   deadlines: [PaymentDue],
 *   initial: { paid: false },
 *   evolve: {
 *     OrderPlaced: (state) => state,
 *     OrderPaid: () => ({ paid: true }),
 *     PaymentDue: (state) => state
 *   },
 *   react: {
 *     OrderPlaced: () => [ProcessManager.setDeadline(PaymentDue.make({ reminders: 0 }), "7 days")],
 *     OrderPaid: () => [ProcessManager.cancelDeadline(PaymentDue)],
 *     PaymentDue: (_, { reminders }, { key: order }) =>
 *       reminders < 2
 *         ? [
 *             ProcessManager.send(Remind, { order }),
 *             ProcessManager.setDeadline(PaymentDue.make({ reminders: reminders + 1 }), "3 days")
 *           ]
 *         : [ProcessManager.send(CancelOrder, { order })]
 *   }
 * })
 *
 * Payment.react.OrderPaid().map(({ _tag, type }) => [_tag, type]) // => [["CancelDeadline", "PaymentDue"]]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <
  const Name extends string,
  const Events extends ReadonlyArray<Event.Any>,
  State,
  const H extends React<Events, Deadlines, State>,
  const Deadlines extends ReadonlyArray<Event.Any> = readonly []
>(
  name: Name,
  options: {
    /** What it reacts to, from whichever stream. */
    readonly events: Events
    /** Which process an event belongs to. It must always say the same of one event. */
    readonly correlate: Correlate<Events>
    /** The deadlines that it sets, as events of its own. Default: none. */
    readonly deadlines?: Deadlines | undefined
    /** The state before the first event. */
    readonly initial: State
    /** One fold per type of event and deadline; only what has been reacted to is folded. */
    readonly evolve: Aggregate.Evolve<ReadonlyArray<Events[number] | Deadlines[number]>, NoInfer<State>>
    /** What is done about an event: the state is that before the event. Pure: it may be asked more than once. */
    readonly react: H & Unlisted<H, (Events[number] | Deadlines[number])["type"]>
    /**
     * Keeps snapshots, where the `Snapshots` service is provided, of what a process is folded to: without, its whole stream is read
     * at each reaction. Default: none. Every so many events of its stream; raise `version` when `evolve` changes and the schema does not.
     */
    readonly snapshot?:
      | {
          readonly state: Schema.ConstraintCodec<NoInfer<State>, unknown, never, never>
          readonly every: number
          readonly version?: number | undefined
        }
      | undefined
  }
): ProcessManager<Name, Events, Deadlines, State, H> => {
  const { correlate, events, evolve, initial, react, snapshot } = options
  const deadlines = options.deadlines ?? ([] as ReadonlyArray<Event.Any> as Deadlines)
  // An aggregate's rules for names hold, and each type is listed once.
  const all: ReadonlyArray<Event.Any> = [...events, ...deadlines]
  const { definitions } = Aggregate.make(name, { events: all, initial, evolve: evolve as Folds<State> })
  const journal = makeJournal(name, { definitions, deadlines, evolve: evolve as Folds<unknown>, initial, snapshot })
  return { [TypeId]: TypeId, name, events, deadlines, initial, correlate, evolve, react, definitions, journal }
}

/** Folds by type, when the types are known at run time alone. */
type Folds<State> = Aggregate.Evolve<ReadonlyArray<Event.Any>, State>

// -----------------------------------------------------------------------------
// the process's own stream
// -----------------------------------------------------------------------------

/** An event that was reacted to: where it stands, and a copy of its payload. */
const EventHandled = Event.make("$EventHandled", {
  type: Schema.String,
  id: Schema.String,
  stream: Schema.String,
  version: Schema.Int,
  position: Schema.Int,
  schemaVersion: Schema.Int,
  payload: Schema.Json
})

/** A deadline: when it is due, and the event that is recorded then, ready to append. */
const DeadlineSet = Event.make("$DeadlineSet", {
  type: Schema.String,
  due: Schema.DateTimeUtc,
  id: Schema.String,
  schemaVersion: Schema.Int,
  payload: Schema.Json,
  published: Schema.Boolean,
  tags: Schema.Array(Schema.String)
})

const DeadlineCancelled = Event.make("$DeadlineCancelled", { type: Schema.String })

/** What is known of a process. */
interface Entries {
  /** Folded from the events that were reacted to, in that order; or why one of them cannot be decoded. */
  readonly state: Result.Result<unknown, Event.EventDecodeError | Event.UnknownEventTypeError>
  /** The ids of these events. */
  readonly handled: HashSet.HashSet<string>
  /** The deadlines that are set, by type. */
  readonly deadlines: ReadonlyMap<string, typeof DeadlineSet.Type>
}

type Journal = Aggregate.Aggregate<string, typeof Schema.NonEmptyString, ReadonlyArray<Event.Any>, Entries>

const without = ({ deadlines }: Entries, type: string) => new Map(Array.from(deadlines).filter(([other]) => other !== type))

const makeJournal = (
  name: string,
  process: {
    readonly definitions: ReadonlyMap<string, Event.Any>
    readonly deadlines: ReadonlyArray<Event.Any>
    readonly initial: unknown
    readonly evolve: Folds<unknown>
    readonly snapshot:
      | { readonly state: Schema.ConstraintCodec<unknown>; readonly every: number; readonly version?: number | undefined }
      | undefined
  }
): Journal => {
  const { deadlines, definitions, snapshot } = process
  const keep: Aggregate.Evolve<[typeof EventHandled, typeof DeadlineSet, typeof DeadlineCancelled], Entries> = {
    $EventHandled: (entries, event) => ({
      state: Result.flatMap(entries.state, (state) =>
        Result.map(Event.decodeAny(definitions, event), (decoded) => process.evolve[event.type]?.(state, decoded))
      ),
      handled: HashSet.add(entries.handled, event.id),
      deadlines: entries.deadlines.get(event.type)?.id === event.id ? without(entries, event.type) : entries.deadlines
    }),
    $DeadlineSet: (entries, event) => ({ ...entries, deadlines: without(entries, event.type).set(event.type, event) }),
    $DeadlineCancelled: (entries, { type }) => ({ ...entries, deadlines: without(entries, type) })
  }
  // That the time of a deadline has come changes nothing until its turn has come as well.
  const come = deadlines.map(({ type }) => [type, (entries: Entries) => entries])
  const events: ReadonlyArray<Event.Any> = [EventHandled, DeadlineSet, DeadlineCancelled, ...deadlines]
  return Aggregate.make(name, {
    events,
    initial: { state: Result.succeed(process.initial), handled: HashSet.empty(), deadlines: new Map() } as Entries,
    evolve: { ...Object.fromEntries(come), ...keep } as Folds<Entries>,
    snapshot: snapshot && {
      ...snapshot,
      state: Schema.Struct({
        // What cannot be decoded is not kept.
        state: Schema.Result(snapshot.state, Schema.Never),
        handled: Schema.HashSet(Schema.String),
        deadlines: Schema.ReadonlyMap(Schema.String, DeadlineSet)
      })
    }
  })
}

/**
 * A process as it stands: its state, and the deadlines that are set with their times.
 *
 * @category accessors
 * @since 0.1.0
 */
export const read = Effect.fnUntraced(function* <P extends Any>(
  process: P,
  key: string
): Effect.fn.Return<
  { readonly state: P["initial"]; readonly deadlines: ReadonlyMap<P["deadlines"][number]["type"], DateTime.Utc> },
  Repository.LoadError,
  EventStore
> {
  const { state: entries } = yield* Repository.read(process.journal, key)
  const state = yield* Effect.fromResult(entries.state)
  return { state, deadlines: new Map(Array.from(entries.deadlines, ([type, { due }]) => [type, due])) }
})

// -----------------------------------------------------------------------------
// layers
// -----------------------------------------------------------------------------

/**
 * How a process manager follows the log: see `Subscription.Options`. With `concurrency`, the events of one process are reacted to in
 * the order of each stream alone.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<P extends Subscription.OnFailure> extends Omit<
  Subscription.Options<P, false>,
  "name" | "transactional" | "partitions"
> {}

/**
 * What a process manager needs: the handler of each command that it may send, among others.
 *
 * @category models
 * @since 0.1.0
 */
export type Requirements<P extends Any, F extends Subscription.OnFailure> =
  | EventStore
  | Checkpoints
  | MessageBus.MessageBus
  | HandlerOf<Commands<P>>
  | ("park" extends F ? ParkedEvents : never)

type HandlerOf<Tag extends string> = Tag extends string ? MessageBus.Handler<Tag> : never

/**
 * A process manager at work, as long as the Layer is open: a subscription called `process:<name>`, which `Subscription.status`,
 * `pause`, `resume` and `replay` know, and the watch over its deadlines.
 *
 * Of all processes of the machine room that run it, one reacts and one watches; others take over when a lease runs out. No lease is
 * what makes an event take effect once: that is the unit of work, together with the version of the process's stream.
 *
 * A reaction that fails is tried again by `retry`, then `onFailure` decides: by default, it halts there.
 *
 * ```ts
 * import { Effect, Layer, Schema, Stream } from "effect"
 * import { Checkpoints, Command, Event, EventStore, MessageBus, ProcessManager, UnitOfWork } from "eventfold"
 *
 * const SignedUp = Event.make("SignedUp", { user: Schema.String })
 * const Welcomed = Event.make("Welcomed", { user: Schema.String })
 * const Welcome = Command.make("Welcome", { payload: { user: Schema.String } })
 *
 * const Welcoming = ProcessManager.make("Welcoming", {
 *   events: [SignedUp],
 *   correlate: { SignedUp: ({ user }) => user },
 *   initial: {},
 *   evolve: { SignedUp: (state) => state },
 *   react: { SignedUp: (_, { user }) => [ProcessManager.send(Welcome, { user })] }
 * })
 *
 * const WelcomeLive = MessageBus.handle(Welcome, ({ user }) => MessageBus.publish(Welcomed, Welcomed.make({ user })))
 *
 * const program = Effect.gen(function* () {
 *   yield* EventStore.append("User-ada", [{ type: "SignedUp", payload: { user: "ada" } }])
 *   return yield* EventStore.subscribe({ filter: { types: ["Welcomed"] } }).pipe(
 *     Stream.map(({ payload }) => payload),
 *     Stream.take(1),
 *     Stream.runCollect
 *   )
 * })
 *
 * const Live = ProcessManager.layer(Welcoming).pipe(
 *   Layer.provideMerge(WelcomeLive),
 *   Layer.provideMerge(MessageBus.layer()),
 *   Layer.provideMerge(UnitOfWork.layer),
 *   Layer.provideMerge(Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory))
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => [{ user: "ada" }]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <P extends Any, const F extends Subscription.OnFailure = "halt">(
  process: P,
  options?: Options<F>
): Layer.Layer<never, never, Requirements<P, F>> => {
  const { deadlines, events, name } = process
  const all: ReadonlyArray<Event.Any> = [...events, ...deadlines]
  const handler = (event: Tagged, { event: recorded }: Subscription.Delivery) => handle(process, event, recorded)
  const follower = Subscription.layer<typeof all, Record<string, typeof handler>, F>({
    ...options,
    name: `process:${name}`,
    events: all,
    handlers: Object.fromEntries(all.map(({ type }) => [type, handler])),
    filter: [{ types: typesOf(events) }, ...(deadlines.length === 0 ? [] : [{ categories: [name], types: typesOf(deadlines) }])]
  })
  const watch = Layer.effectDiscard(Effect.forkScoped(watchDeadlines(process, options?.lease ?? "15 seconds")))
  // The handlers that are looked up by the commands' tags.
  return (deadlines.length === 0 ? follower : Layer.provideMerge(watch, follower)) as Layer.Layer<
    never,
    never,
    Requirements<P, F>
  >
}

const typesOf = (events: ReadonlyArray<Event.Any>) => events.map(({ type }) => type)

// -----------------------------------------------------------------------------
// reacting
// -----------------------------------------------------------------------------

type Services = EventStore | MessageBus.MessageBus | MessageBus.Handler<string>

const handle = (process: Any, event: Tagged, recorded: RecordedEvent) =>
  Effect.gen(function* () {
    const ofDeadline = process.deadlines.some(({ type }) => type === recorded.type)
    const correlate = process.correlate as Record<string, (event: Tagged) => string | undefined>
    const key = ofDeadline ? recorded.stream.slice(process.name.length + 1) : correlate[recorded.type]?.(event)
    if (key === undefined) return
    const { unitOfWork } = yield* MessageBus.MessageBus
    yield* transact(reactTo(process, key, event, recorded)).pipe(
      Effect.provideService(UnitOfWork, unitOfWork),
      retryConflicts({ times: 10 })
    )
  })

const reactTo = Effect.fnUntraced(function* (process: Any, key: string, event: Tagged, recorded: RecordedEvent) {
  const { definitions, journal, name } = process
  const { id, metadata, payload, position, schemaVersion, stream, type, version } = recorded
  const { state: entries } = yield* Repository.load(journal, key)
  const ofDeadline = process.deadlines.some((deadline) => deadline.type === type)
  const passed = ofDeadline ? entries.deadlines.get(type)?.id !== id : HashSet.has(entries.handled, id)
  if (passed) return
  const state = yield* Effect.fromResult(entries.state)

  const { messageKind: _kind, ...inherited } = metadata
  const correlationId = metadata.correlationId ?? id
  const note = (causationId: string, decide: (entries: Entries) => ReadonlyArray<Tagged>) =>
    Repository.execute(journal, key, (entries) => Effect.succeed(decide(entries))).pipe(
      Effect.provideService(CurrentMetadata, { ...inherited, correlationId, causationId })
    )
  // Before all else, so that what follows is caused by it.
  yield* note(id, () => [EventHandled.make({ type, id, stream, version, position, schemaVersion, payload })])
  const handled = (yield* Transaction).staged(streamName(name, key)).at(-1)?.event.id ?? id

  const act = (action: Action): Effect.Effect<unknown, CommitError, Services | Transaction> => {
    switch (action._tag) {
      case "SetDeadline":
        return Effect.gen(function* () {
          const definition = definitions.get(action.event._tag) as Event.Any
          const encoded = yield* Effect.fromResult(Event.encode(definition, action.event))
          const due = DateTime.isDateTime(action.due) ? action.due : DateTime.addDuration(recorded.recordedAt, action.due)
          const id = yield* makeId
          yield* note(handled, () => [DeadlineSet.make({ schemaVersion: 1, published: false, tags: [], ...encoded, due, id })])
        })
      case "CancelDeadline": {
        const { type } = action
        return note(handled, ({ deadlines }) => (deadlines.has(type) ? [DeadlineCancelled.make({ type })] : []))
      }
      case "Send": {
        const isRejection = Schema.is(action.command.errorSchema)
        return MessageBus.execute(action.command, action.payload as never).pipe(
          Effect.provideService(MessageBus.CurrentMessage, { id: handled, correlationId }),
          Effect.provideService(CurrentMetadata, inherited),
          Effect.catchIf(isRejection, (error) => actAll(action.onRejected(error as never)))
        )
      }
    }
  }
  const actAll = (actions: ReadonlyArray<Action>) => Effect.forEach(actions, act, { discard: true })

  const react = process.react as Record<string, (state: unknown, event: Tagged, source: Source) => ReadonlyArray<Action>>
  yield* actAll(react[type]?.(state, event, { key, recorded }) ?? [])
})

// -----------------------------------------------------------------------------
// deadlines
// -----------------------------------------------------------------------------

type WatchError = AppendError | Event.EventDecodeError | CheckpointError | CheckpointFencedError

interface Pending {
  readonly position: number
  readonly due: number
  readonly stream: string
  readonly event: NewEvent
}

/**
 * Records the deadlines that are due. The checkpoint stays before the oldest that is still set, so that a restart finds all of
 * them; the lease spares others the same work, and no more: the event of a deadline has its id since it was set, so it is
 * recorded once by whoever tries.
 */
const watchDeadlines = Effect.fnUntraced(function* ({ deadlines, events, name }: Any, ttl: Duration.Input) {
  const store = yield* EventStore
  const checkpoints = yield* Checkpoints
  const owner = yield* makeId
  const filter: Filter = { categories: [name], types: [DeadlineSet.type, DeadlineCancelled.type, ...typesOf(deadlines)] }

  /** Waits until the process has reacted to all that stands up to the position, here or elsewhere. */
  const reactedTo = (position: number) => {
    const reacted = Effect.gen(function* () {
      const checkpoint = yield* checkpoints.get(`subscription:process:${name}`)
      if (Option.isNone(checkpoint)) return false
      const open = store.readAll({ after: checkpoint.value.position, filter: { types: typesOf(events) }, limit: 1 })
      return (yield* Stream.runCollect(open)).every((event) => event.position > position)
    })
    const steps = Stream.catch(Subscription.changes(`process:${name}`), () => Stream.empty)
    return Stream.merge(steps, Stream.tick("1 second")).pipe(
      Stream.mapEffect(() => reacted),
      Stream.takeUntil((done) => done),
      Stream.runDrain
    )
  }

  const watch = Effect.fnUntraced(function* (lease: Lease, progress: () => void): Effect.fn.Return<never, WatchError> {
    let current = lease
    let seen = lease.position
    /** By stream and type, in the order of positions. */
    const pending = new Map<string, Pending>()
    /** No deadline is due before. */
    let next = Infinity

    const look = Effect.fnUntraced(function* (recorded: RecordedEvent) {
      const { metadata, position, stream } = recorded
      seen = position
      if (recorded.type === DeadlineSet.type) {
        const { due, type, ...event } = yield* Effect.fromResult(Event.decode(DeadlineSet, recorded))
        const { _tag, ...stored } = event
        const place = `${stream}\u0000${type}`
        pending.delete(place)
        pending.set(place, {
          position,
          due: DateTime.toEpochMillis(due),
          stream,
          event: { ...stored, type, metadata: { ...metadata, causationId: recorded.id } }
        })
        next = Math.min(next, DateTime.toEpochMillis(due))
      } else if (recorded.type === DeadlineCancelled.type) {
        const { type } = yield* Effect.fromResult(Event.decode(DeadlineCancelled, recorded))
        pending.delete(`${stream}\u0000${type}`)
      } else {
        const place = `${stream}\u0000${recorded.type}`
        if (pending.get(place)?.event.id === recorded.id) pending.delete(place)
      }
    })

    const lookAround = Effect.gen(function* () {
      const head = yield* store.head
      yield* Stream.runForEach(store.readAll({ after: seen, filter }), look)
      seen = Math.max(seen, head)
    })

    while (true) {
      yield* lookAround
      const now = yield* Clock.currentTimeMillis
      if (next <= now) {
        // It may have been cancelled, by what is known already or by what the process has not come to yet.
        yield* reactedTo(seen)
        yield* lookAround
        const due = Array.from(pending).filter(([, deadline]) => deadline.due <= now)
        for (const [place, { event, stream }] of due.sort(([, a], [, b]) => a.due - b.due)) {
          yield* store.append(stream, [event])
          pending.delete(place)
          progress()
        }
        next = Array.from(pending.values()).reduce((first, { due }) => Math.min(first, due), Infinity)
      }
      const oldest = pending.values().next().value
      const settled = oldest === undefined ? seen : oldest.position - 1
      if (settled > current.position) current = yield* checkpoints.advance(current, settled)
      const news = Stream.runDrain(Stream.take(store.subscribe({ after: seen, filter }), 1))
      // The clock is looked at once an hour: it may be put forward, and timers stand still while a machine sleeps.
      yield* next === Infinity ? news : Effect.raceFirst(news, Effect.sleep(Duration.millis(Math.min(next - now, 3_600_000))))
    }
  })

  const attempt = (progress: () => void): Effect.Effect<never, WatchError, Checkpoints> =>
    withLease(`deadlines:${name}`, { owner, ttl }, (lease) => watch(lease, progress)).pipe(
      Effect.catchTag("CheckpointHeldError", () => Effect.delay(attempt(progress), beat(ttl)))
    )

  return yield* restarting(attempt, {
    schedule: defaultRestart,
    onFailure: (cause) =>
      Effect.logWarning(`eventfold: the watch over the deadlines of "${name}" failed and starts again`, cause),
    onEnd: Effect.void
  })
})
