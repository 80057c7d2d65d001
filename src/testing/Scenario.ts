/**
 * Given these events, when this is decided, then those events follow: tests of a domain in its own words.
 *
 * {@link aggregate} tests a decision with the aggregate's own fold and the definitions' own codecs, without a store.
 * {@link bus} tests handlers and listeners as they run in production, on a store in memory. {@link process} tests a process manager over
 * time, and {@link projection} the tables of a view. What differs is shown by an
 * `AssertionError`, as a defect of the effect, so any test runner reports it with a diff.
 *
 * ```ts
 * import { Effect, Result, Schema } from "effect"
 * import { Aggregate, Event } from "eventfold"
 * import { Scenario } from "eventfold/testing"
 *
 * class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { missing: Schema.Int }) {}
 * const Deposited = Event.make("Deposited", { amount: Schema.Int })
 * const Withdrawn = Event.make("Withdrawn", { amount: Schema.Int })
 * const Account = Aggregate.make("Account", {
 *   events: [Deposited, Withdrawn],
 *   initial: 0,
 *   evolve: {
 *     Deposited: (balance, { amount }) => balance + amount,
 *     Withdrawn: (balance, { amount }) => balance - amount
 *   }
 * })
 *
 * const withdraw = (balance: number, amount: number) =>
 *   balance < amount
 *     ? Result.fail(new Overdrawn({ missing: amount - balance }))
 *     : Result.succeed([Withdrawn.make({ amount })])
 *
 * const withFive = Scenario.aggregate(Account).given([Deposited.make({ amount: 5 })])
 *
 * // With a runner: it.effect("…", () => withFive.when(…).then([…]))
 * await Effect.runPromise(withFive.when((balance) => withdraw(balance, 3)).then([Withdrawn.make({ amount: 3 })]))
 * await Effect.runPromise(withFive.when((balance) => withdraw(balance, 3)).thenState(2))
 * await Effect.runPromise(withFive.when((balance) => withdraw(balance, 7)).thenFails(new Overdrawn({ missing: 2 })))
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as MessageBus from "../deciding/MessageBus.ts"
import * as Repository from "../deciding/Repository.ts"
import * as UnitOfWork from "../deciding/UnitOfWork.ts"
import * as Aggregate from "../definitions/Aggregate.ts"
import { eventsOf } from "../definitions/decided.ts"
import * as Event from "../definitions/Event.ts"
import { definitionsOf, readersOf } from "../definitions/listing.ts"
import type { NewEvent } from "../definitions/stored.ts"
import * as EventStore from "../store/EventStore.ts"
import { failed, same, succeeded } from "./same.ts"
import { layerSealedMemory } from "./sealedMemory.ts"

export { decision, type DecisionOutcome, type DecisionScenario } from "./decisionScenario.ts"
export { projection, type ProjectionScenario } from "./projectionScenario.ts"
export { command, process, type ProcessScenario, type Sent } from "./processScenario.ts"

/**
 * A scenario of one aggregate.
 *
 * @category models
 * @since 0.1.0
 */
export interface AggregateScenario<A extends Aggregate.Any> {
  /** The same, with these events in the aggregate's past, after those that it has already. */
  readonly given: (events: ReadonlyArray<Aggregate.EventOf<A>>) => AggregateScenario<A>
  /** Decides on the state that the past has folded to: what `Repository.execute` is given. */
  readonly when: <const D extends Aggregate.AnyDecided<Aggregate.EventOf<A>>>(
    decide: (state: Aggregate.State<A>) => D
  ) => AggregateOutcome<A, Aggregate.DecidedError<D>, Aggregate.DecidedServices<D>>
}

/**
 * The events that follow from a command, or the error that refuses it.
 *
 * @deprecated `Aggregate.Decided` is the same for any aggregate.
 * @category models
 * @since 0.1.0
 */
export type Decision<A extends Aggregate.Any, E, R> = Aggregate.Decided<Aggregate.EventOf<A>, E, R>

/**
 * What a decision must have come to. Each effect decides anew, and dies with an `AssertionError` when it came to something else.
 *
 * @category models
 * @since 0.1.0
 */
export interface AggregateOutcome<A extends Aggregate.Any, E, R> {
  /** Exactly these events, in this order; none is `[]`. */
  readonly then: (events: ReadonlyArray<Aggregate.EventOf<A>>) => Effect.Effect<void, never, R>
  /** This error: of the same class, with equal fields. */
  readonly thenFails: (error: E | Event.EventEncodeError | Event.EventDecodeError) => Effect.Effect<void, never, R>
  /** This state, once the new events are folded as well. */
  readonly thenState: (state: Aggregate.State<A>) => Effect.Effect<void, never, R>
}

/**
 * Events of one stream, in order: see {@link stream} and {@link messages}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Events {
  /** The stream's name, `$bus` for the streams of the message bus. */
  readonly stream: string
  readonly definitions: ReadonlyMap<string, Event.Any>
  readonly events: ReadonlyArray<{ readonly _tag: string }>
  /** @internal */
  readonly readers: Event.Readers
}

/**
 * A scenario of the message bus, over a store in memory that holds what is given, and nothing else. `Provided` is what it provides.
 *
 * @category models
 * @since 0.1.0
 */
export interface BusScenario<Provided, R> {
  /** The same, with these events in the store, after those that stand there already. */
  readonly given: (...events: ReadonlyArray<Events>) => BusScenario<Provided, R>
  /** Runs a command (`MessageBus.execute(…)`), or whatever else uses the bus, units of work or the store. */
  readonly when: <A, E, R2>(effect: Effect.Effect<A, E, R2>) => BusOutcome<A, E, R | Exclude<R2, Provided>>
}

/**
 * What a command must have come to. Each effect runs it anew on a store of its own, and dies with an `AssertionError` when it came
 * to something else.
 *
 * @category models
 * @since 0.1.0
 */
export interface BusOutcome<A, E, R> {
  /**
   * Success, and exactly these events in the store, stream by stream, beside what was given. The order among streams does not
   * matter, nor do the records of the commands themselves and of their answers.
   */
  readonly then: (...events: ReadonlyArray<Events>) => Effect.Effect<void, never, R>
  /** This error: of the same class, with equal fields; and nothing written. */
  readonly thenFails: (error: E) => Effect.Effect<void, never, R>
  /** Success, and the aggregate in this state. */
  readonly thenState: <Agg extends Aggregate.Any>(
    aggregate: Agg,
    id: Aggregate.Id<Agg>,
    state: Aggregate.State<Agg>
  ) => Effect.Effect<void, never, R>
  /** Success with this value. */
  readonly thenReturns: (value: A) => Effect.Effect<void, never, R>
}

/**
 * What a {@link bus} scenario provides to the effect under test, beside the handlers.
 *
 * @category models
 * @since 0.1.0
 */
export type Environment = MessageBus.MessageBus | UnitOfWork.UnitOfWork | EventStore.EventStore

/**
 * A scenario of one aggregate, which has no past yet.
 *
 * Given events and decided ones are encoded and decoded by their definitions, so an event that could not be stored is a failure
 * here as it is in production.
 *
 * @category constructors
 * @since 0.1.0
 */
export const aggregate = <A extends Aggregate.Any>(aggregate: A): AggregateScenario<A> => aggregateScenario(aggregate, [])

const aggregateScenario = <A extends Aggregate.Any>(
  aggregate: A,
  past: ReadonlyArray<Aggregate.EventOf<A>>
): AggregateScenario<A> => ({
  given: (events) => aggregateScenario(aggregate, [...past, ...events]),
  when: <const D extends Aggregate.AnyDecided<Aggregate.EventOf<A>>>(
    decide: (state: Aggregate.State<A>) => D
  ): AggregateOutcome<A, Aggregate.DecidedError<D>, Aggregate.DecidedServices<D>> => {
    const outcome = Effect.gen(function* () {
      const before = Aggregate.fold(aggregate, yield* Effect.orDie(asStored(aggregate, past)))
      const decided = Effect.suspend(() => eventsOf<Aggregate.EventOf<A>, D>(decide(before)))
      const result = yield* Effect.result(Effect.flatMap(decided, (events) => asStored(aggregate, events)))
      return { before, result }
    })
    return {
      // oxlint-disable-next-line unicorn/no-thenable
      then: (events) => Effect.map(outcome, ({ result }) => same("The decision", "unexpected events", succeeded(result), events)),
      thenFails: (error) =>
        Effect.map(outcome, ({ result }) => same("The decision", "an unexpected error", failed(result), error)),
      thenState: (state) =>
        Effect.map(outcome, ({ before, result }) =>
          same("The decision", "an unexpected state", Aggregate.fold(aggregate, succeeded(result), before), state)
        )
    }
  }
})

/** The events as a store would give them back. */
const asStored = <A extends Aggregate.Any>(
  aggregate: A,
  events: ReadonlyArray<Aggregate.EventOf<A>>
): Effect.Effect<ReadonlyArray<Aggregate.EventOf<A>>, Event.EventEncodeError | Event.EventDecodeError> =>
  Effect.forEach(events, (event, index) => {
    const definition = aggregate.definitions.get(event._tag)
    if (definition === undefined) {
      const cause = new Error(`the aggregate "${aggregate.name}" has no event of this type`)
      return Effect.fail(new Event.EventEncodeError({ type: event._tag, cause }))
    }
    return Effect.fromResult(
      Result.flatMap(Event.encode(definition, event), ({ payload }) =>
        Event.decode(definition, {
          stream: aggregate.name,
          version: index + 1,
          position: 0,
          type: definition.type,
          schemaVersion: definition.version,
          payload
        })
      )
    )
  })

/**
 * A scenario of the message bus with these handlers and listeners, on an empty store.
 *
 * A command whose handler is not among the Layers stays in the requirements, so it does not compile where they must be met.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Aggregate, Command, Event, MessageBus, Repository } from "eventfold"
 * import { Scenario } from "eventfold/testing"
 *
 * const Deposited = Event.make("Deposited", { amount: Schema.Int })
 * const Account = Aggregate.make("Account", {
 *   events: [Deposited],
 *   initial: 0,
 *   evolve: { Deposited: (balance, { amount }) => balance + amount }
 * })
 * const Deposit = Command.make("Deposit", {
 *   payload: { account: Schema.NonEmptyString, amount: Schema.Int },
 *   success: Schema.Int
 * })
 * const DepositLive = MessageBus.handle(Deposit, ({ account, amount }) =>
 *   Repository.execute(Account, account, () => Effect.succeed([Deposited.make({ amount })])).pipe(Effect.map(({ state }) => state))
 * )
 *
 * const deposit = Scenario.bus(DepositLive)
 *   .given(Scenario.stream(Account, "ada", [Deposited.make({ amount: 5 })]))
 *   .when(MessageBus.execute(Deposit, { account: "ada", amount: 2 }))
 *
 * await Effect.runPromise(deposit.then(Scenario.stream(Account, "ada", [Deposited.make({ amount: 2 })])))
 * await Effect.runPromise(deposit.thenReturns(7))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const bus = <Handlers, E, R>(
  handlers: Layer.Layer<Handlers, E, R>
): BusScenario<Handlers | Environment, Exclude<R, Environment>> => {
  const Live = handlers.pipe(
    Layer.provideMerge(MessageBus.layer),
    Layer.provideMerge(UnitOfWork.layer),
    Layer.provideMerge(layerSealedMemory),
    Layer.orDie
  )
  return busScenario((effect) => Effect.provide(effect, Live, { local: true }), [])
}

type Run<Provided, R> = <A, E, R2>(effect: Effect.Effect<A, E, R2>) => Effect.Effect<A, E, R | Exclude<R2, Provided>>

const busScenario = <Provided, R>(run: Run<Provided, R>, past: ReadonlyArray<Events>): BusScenario<Provided, R> => ({
  given: (...events) => busScenario(run, [...past, ...events]),
  when: <A, E, R2>(effect: Effect.Effect<A, E, R2>): BusOutcome<A, E, R | Exclude<R2, Provided>> => {
    /** Runs it, and then looks at the store. */
    const outcome = <B, R3>(look: (result: Result.Result<A, E>, head: number) => Effect.Effect<B, never, R3>) =>
      run(
        Effect.gen(function* () {
          for (const events of past) yield* Effect.orDie(append(events))
          const head = yield* Effect.orDie(EventStore.head)
          return yield* look(yield* Effect.result(effect), head)
        })
      ) as Effect.Effect<B, never, R | Exclude<R2, Provided>>
    return {
      // oxlint-disable-next-line unicorn/no-thenable
      then: (...events) =>
        outcome((result, head) => {
          succeeded(result)
          return Effect.map(written(head, events), (actual) => same("The command", "unexpected events", actual, byStream(events)))
        }),
      thenFails: (error) =>
        outcome((result, head) => {
          same("The command", "an unexpected error", failed(result), error)
          return Effect.map(written(head, []), (actual) => same("The refused command", "unexpected events", actual, {}))
        }),
      thenState: (aggregate, id, state) =>
        outcome((result) => {
          succeeded(result)
          return Effect.map(Effect.orDie(Repository.read(aggregate, id)), (actual) =>
            same("The command", "an unexpected state", actual.state, state)
          )
        }),
      thenReturns: (value) =>
        outcome((result) => Effect.sync(() => same("The command", "an unexpected value", succeeded(result), value)))
    }
  }
})

/**
 * Events in the stream of an aggregate: a past that is given, or what must have been appended.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stream = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<A>,
  events: ReadonlyArray<Aggregate.EventOf<A>>
): Events => ({
  stream: EventStore.streamName(aggregate.name, Result.getOrThrow(aggregate.encodeId(id))),
  definitions: aggregate.definitions,
  readers: aggregate.readers,
  events
})

/**
 * Events published on the bus itself (`MessageBus.publish`), which belong to no aggregate: all of them, of all conversations.
 *
 * @category constructors
 * @since 0.1.0
 */
export const messages = <const Definitions extends ReadonlyArray<Event.Any>>(
  definitions: Definitions,
  events: ReadonlyArray<Definitions[number]["Type"]>
): Events => ({
  stream: busStream,
  definitions: definitionsOf(definitions),
  readers: readersOf("Scenario.messages", definitions),
  events
})

const busStream = "$bus"

const append = ({ definitions, events, stream }: Events) =>
  Effect.gen(function* () {
    const encoded: Array<NewEvent> = []
    for (const event of events) {
      const definition = definitions.get(event._tag)
      if (definition === undefined) throw new TypeError(`"${stream}" has no event "${event._tag}"`)
      encoded.push(yield* Effect.fromResult(Event.encode(definition, event)))
    }
    return yield* EventStore.append(stream, encoded)
  })

type ByStream = { readonly [stream: string]: ReadonlyArray<unknown> }

/** What must have been written; a stream may come more than once, and without events it says nothing. */
const byStream = (expected: ReadonlyArray<Events>): ByStream => {
  const streams: Record<string, Array<unknown>> = {}
  for (const { events, stream } of expected) for (const event of events) (streams[stream] ??= []).push(event)
  return sorted(streams)
}

/** What was written after a position: typed, where somebody said how to read it, and as stored where nobody did. */
const written = (after: number, expected: ReadonlyArray<Events>): Effect.Effect<ByStream, never, EventStore.EventStore> =>
  Effect.map(Effect.orDie(Stream.runCollect(EventStore.readAll({ after }))), (recorded) => {
    const streams: Record<string, Array<unknown>> = {}
    for (const event of recorded) {
      const kind = event.metadata["messageKind"]
      if (kind === "command" || kind === "answer") continue
      const stream = event.stream.startsWith(`${busStream}-`) ? busStream : event.stream
      const readers = expected.find((part) => part.stream === stream && part.readers.has(event.type))?.readers
      const typed =
        readers === undefined
          ? [{ _tag: event.type, payload: event.payload }]
          : Result.getOrThrow(Event.readAll(readers, event)).map(({ event }) => event)
      ;(streams[stream] ??= []).push(...typed)
    }
    return sorted(streams)
  })

const sorted = (streams: ByStream): ByStream =>
  Object.fromEntries(
    Object.keys(streams)
      .sort()
      .map((stream) => [stream, streams[stream] ?? []])
  )
