import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import type * as Aggregate from "../definitions/Aggregate.ts"
import type { EventStore } from "../store/EventStore.ts"
import { makeKeptValues } from "./kept.ts"

/** A stream as it was folded up to some version. */
export interface Folded<A extends Aggregate.Any> {
  readonly state: Aggregate.State<A>
  /** 0 when nothing has been folded. */
  readonly version: number
  /** The id of the last event. */
  readonly eventId: string
}

/**
 * States that have been folded, kept in memory. Where it is provided, `Repository` begins with what is kept and reads the events that came
 * after, and the last one that it knows: when that is another event now, the whole stream is folded.
 *
 * @category services
 * @since 0.2.0
 */
export class StateCache extends Context.Service<
  StateCache,
  {
    /** What is kept of a stream of the store, folded by the aggregate. */
    readonly get: <A extends Aggregate.Any>(store: EventStore["Service"], aggregate: A, stream: string) => Folded<A> | undefined
    /** Keeps what was folded, in place of what is kept. */
    readonly set: <A extends Aggregate.Any>(store: EventStore["Service"], aggregate: A, stream: string, folded: Folded<A>) => void
    /** Forgets all. */
    readonly clear: () => void
  }
>()("eventfold/Repository/StateCache") {}

/** A cache of the states that were used last. */
export const makeStateCache = (capacity: number): StateCache["Service"] => {
  const { clear, get, set } = makeKeptValues<Folded<Aggregate.Any>>("Repository", capacity)
  return {
    // What an aggregate has folded is of its own type.
    get: <A extends Aggregate.Any>(store: EventStore["Service"], aggregate: A, stream: string) =>
      get(store, aggregate, stream) as Folded<A> | undefined,
    set,
    clear
  }
}

/**
 * {@link layerCache} of another size.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerCacheWith = (options: {
  /** How many states are kept. Default: 1 000. */
  readonly capacity?: number | undefined
}): Layer.Layer<StateCache> => Layer.sync(StateCache, () => makeStateCache(options.capacity ?? 1000))

/**
 * Keeps the states of the aggregates that were loaded last in memory, so that a load reads the new events alone: for streams that are long
 * or much used. Nothing becomes stale, because what came after is always read, and the commit expects the version as before. What `Repository.execute` has
 * committed is kept as well, so the next command reads one event, however long the stream. A thousand states are kept;
 * {@link layerCacheWith} keeps more or fewer.
 *
 * It is not there unless it is asked for: what was decoded stays decoded. Where the key to a person's data is thrown away, `clear` makes the
 * process forget what it had opened before. And a fold must be pure: one that changes a state in place (which throws in development)
 * would change what is kept.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Aggregate, Event, EventStore, Repository } from "eventfold"
 *
 * const Counted = Event.make("Counted", { by: Schema.Int })
 * const Counter = Aggregate.make("Counter", {
 *   events: [Counted],
 *   initial: 0,
 *   evolve: { Counted: (total, { by }) => total + by }
 * })
 *
 * const program = Effect.gen(function* () {
 *   yield* Repository.append(Counter, "clicks", [Counted.make({ by: 1 }), Counted.make({ by: 2 })])
 *   const first = yield* Repository.read(Counter, "clicks") // reads two events
 *   yield* Repository.append(Counter, "clicks", [Counted.make({ by: 3 })])
 *   return [first.state, (yield* Repository.read(Counter, "clicks")).state] // reads the second and the third
 * })
 *
 * const Live = Layer.merge(Repository.layerCache, EventStore.layerMemory)
 * await Effect.runPromise(Effect.provide(program, Live)) // => [3, 6]
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layerCache: Layer.Layer<StateCache> = layerCacheWith({})
