import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import type { EventStore } from "../store/EventStore.ts"

/** What a model has folded, and the newest event that is in it. */
export interface Kept {
  readonly state: unknown
  readonly position: number
  readonly eventId: string
}

/**
 * What models have folded, kept in memory. Where it is provided, `Decision` begins with what is kept and reads the events that came after,
 * and the newest one that it knows: when that is another event now, all is read.
 *
 * @category services
 * @since 0.2.0
 */
export class BoundaryCache extends Context.Service<
  BoundaryCache,
  {
    /** What is kept of a model, with the tags that `key` names, in a store. */
    readonly get: (store: EventStore["Service"], model: object, key: string) => Kept | undefined
    /** Keeps what was folded, in place of what is kept. */
    readonly set: (store: EventStore["Service"], model: object, key: string, kept: Kept) => void
  }
>()("eventfold/Decision/BoundaryCache") {}

let models = 0
/** Tells models apart within a key. */
const numbers = new WeakMap<object, number>()

const numberOf = (model: object): number => {
  const known = numbers.get(model)
  if (known !== undefined) return known
  numbers.set(model, ++models)
  return models
}

/** A cache of what was read last of each store. */
const makeBoundaryCache = (capacity: number): BoundaryCache["Service"] => {
  if (!(capacity >= 1)) throw new RangeError(`Decision: the capacity of a cache must be a number from 1, not ${capacity}`)
  // What was used last stands at the end.
  const stores = new WeakMap<object, Map<string, Kept>>()
  const nameOf = (model: object, key: string) => `${numberOf(model)} ${key}`
  return {
    get: (store, model, key) => stores.get(store)?.get(nameOf(model, key)),
    set: (store, model, key, kept) => {
      const all = stores.get(store) ?? new Map<string, Kept>()
      stores.set(store, all)
      const name = nameOf(model, key)
      all.delete(name)
      all.set(name, kept)
      const [oldest] = all.keys()
      if (all.size > capacity && oldest !== undefined) all.delete(oldest)
    }
  }
}

/**
 * {@link layerCache} of another size.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerCacheWith = (options: {
  /** How many states of each store are kept. Default: 1 000. */
  readonly capacity?: number | undefined
}): Layer.Layer<BoundaryCache> => Layer.sync(BoundaryCache, () => makeBoundaryCache(options.capacity ?? 1000))

/**
 * Keeps the states of the models that were read last in memory, so that a decision reads the new events alone: for models with many
 * events, or much used. No decision becomes wrong, because what came after is always read, and the commit checks the same as before. A
 * thousand states of each store are kept; {@link layerCacheWith} keeps more or fewer.
 *
 * States are kept by model and values of tags. A model that is made anew for each decision, within a function, is another one each time,
 * so nothing kept of it is ever used; nor is anything kept of models with `read: "last"`, which read one event.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Decision, Event, EventStore, Tag, UnitOfWork } from "eventfold"
 *
 * const shop = Tag.make("shop")
 * const Sold = Event.make("Sold", { shop: Schema.String, pieces: Schema.Int }, { tags: (event) => [shop(event.shop)] })
 * const Pieces = Decision.make("Pieces", {
 *   tags: { shop },
 *   events: [Sold],
 *   initial: 0,
 *   evolve: { Sold: (total, { pieces }) => total + pieces }
 * })
 *
 * const sell = (pieces: number) =>
 *   UnitOfWork.transact(Decision.execute(Pieces({ shop: "1" }), "Shop-1", () => Sold.make({ shop: "1", pieces })))
 *
 * const program = Effect.gen(function* () {
 *   yield* sell(2)
 *   yield* sell(3) // reads the first one
 *   return (yield* sell(4)).state // reads the second one, and whether the first one is in place
 * })
 *
 * const Live = Layer.mergeAll(Decision.layerCache, UnitOfWork.layer).pipe(Layer.provideMerge(EventStore.layerMemory))
 * await Effect.runPromise(Effect.provide(program, Live)) // => 9
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layerCache: Layer.Layer<BoundaryCache> = layerCacheWith({})
