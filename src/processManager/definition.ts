import * as Aggregate from "../definitions/Aggregate.ts"
import { annotatable, type Definition } from "../definitions/annotations.ts"
import type * as Event from "../definitions/Event.ts"
import { definitionsOf, readersOfAggregate } from "../definitions/listing.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import type { Unlisted } from "../internal/unlisted.ts"
import type { Action, CommandsOf } from "./actions.ts"
import { type Folds, type Journal, makeJournal } from "./journal.ts"

const TypeId = "~eventfold/ProcessManager"

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
export interface Any extends Definition {
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
  readonly readers: Event.Readers
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
  Initial,
  const H extends React<Events, Deadlines, Aggregate.StateOf<S, Initial>>,
  const S extends Aggregate.StateSchema,
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
    /** The Schema of the state: see `Aggregate.Options`. Default: none, the state is what `initial` is. */
    readonly state?: S
    /** The state before the first event. */
    readonly initial: Initial & Aggregate.TypeOf<S>
    /** One fold per type of event and deadline; only what has been reacted to is folded. */
    readonly evolve: Aggregate.Folds<ReadonlyArray<Events[number] | Deadlines[number]>, NoInfer<Aggregate.StateOf<S, Initial>>>
    /** What is done about an event: the state is that before the event. Pure: it may be asked more than once. */
    readonly react: H & Unlisted<H, (Events[number] | Deadlines[number])["type"]>
    /**
     * Keeps snapshots, where the `Snapshots` service is provided, of what a process is folded to, every so many events of its stream: then
     * its whole stream is not read at the first reaction after a start, either. Raise `version` as for an aggregate. Default: none.
     */
    readonly snapshot?: Aggregate.SnapshotOptions<S, NoInfer<Aggregate.StateOf<S, Initial>>> | undefined
  }
): ProcessManager<Name, Events, Deadlines, Aggregate.StateOf<S, Initial>, H> => {
  const { correlate, events, evolve, initial, react, snapshot } = options
  // There is one exactly where the types say so.
  const state = options.state as Aggregate.StateSchema | undefined
  const deadlines = options.deadlines ?? ([] as ReadonlyArray<Event.Any> as Deadlines)
  // An aggregate's rules for names hold, and each type is listed once.
  const all: ReadonlyArray<Event.Any> = [...events, ...deadlines]
  const readers = readersOfAggregate(name, all)
  Aggregate.checkInitial(`ProcessManager "${name}"`, state, initial)
  const journal = makeJournal(name, {
    readers,
    deadlines,
    evolve: evolve as Folds<unknown>,
    initial,
    // One of the two says the state, as the types want it.
    snapshot: snapshot && { ...snapshot, state: (snapshot.state ?? state) as Aggregate.StateSchema }
  })
  return annotatable<ProcessManager<Name, Events, Deadlines, Aggregate.StateOf<S, Initial>, H>>({
    [TypeId]: TypeId,
    name,
    events,
    deadlines,
    initial: initial as Aggregate.StateOf<S, Initial>,
    correlate,
    evolve: evolve as ProcessManager<Name, Events, Deadlines, Aggregate.StateOf<S, Initial>, H>["evolve"],
    react,
    definitions: definitionsOf(all),
    readers,
    journal
  })
}
