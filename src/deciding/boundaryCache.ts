import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import type { EventStore } from "../store/EventStore.ts"
import { makeKeptValues } from "./kept.ts"

/** What a model has folded, and the newest event that is in it. */
export interface Kept {
  readonly state: unknown
  readonly position: number
  readonly eventId: string
  /** Whether nothing of others had come when that was last looked at. */
  readonly isAlone: boolean
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
    /** Whether a decision may begin with what is kept before it has asked whether anything came after. */
    readonly optimistic: boolean
    /** What is kept of a model, with the tags that `key` names, in a store. */
    readonly get: (store: EventStore["Service"], model: object, key: string) => Kept | undefined
    /** Keeps what was folded, in place of what is kept. */
    readonly set: (store: EventStore["Service"], model: object, key: string, kept: Kept) => void
    /** Forgets all. */
    readonly clear: () => void
  }
>()("eventfold/Decision/BoundaryCache") {}

/**
 * {@link layerCache} of another size, or one that does not ask first.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Decision, Event, EventStore, Tag, UnitOfWork } from "eventfold"
 *
 * const series = Tag.make("series")
 * const Issued = Event.make("Issued", { series: Schema.String }, { tags: (event) => [series(event.series)] })
 * const Count = Decision.make("Count", { tags: { series }, events: [Issued], initial: 0, evolve: { Issued: (n) => n + 1 } })
 *
 * const issue = Decision.execute(Count({ series: "A" }), "Series-A", () => Issued.make({ series: "A" })).pipe(UnitOfWork.transact)
 *
 * const program = Effect.gen(function* () {
 *   yield* issue // reads the log
 *   yield* issue // does not: nobody else has written
 *   yield* EventStore.append("Series-A", [{ type: "Issued", payload: { series: "A" }, tags: ["series:A"] }])
 *   return (yield* issue).state // finds out at the commit, and decides anew
 * })
 *
 * const Live = Layer.mergeAll(Decision.layerCacheWith({ optimistic: true }), UnitOfWork.layer).pipe(Layer.provideMerge(EventStore.layerMemory))
 * await Effect.runPromise(Effect.provide(program, Live)) // => 4
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layerCacheWith = (options: {
  /** How many states are kept. Default: 1 000. */
  readonly capacity?: number | undefined
  /**
   * Whether a decision begins with what is kept without asking what came after: one round trip in place of two, where one process mostly decides
   * alone on a thing. It is as right as one that asks: nobody hears of it before that has been found true, by what the commit checks, or by a
   * read where nothing is written (a refusal, say). **What was not true runs again**, once and as a whole, with all that the unit of work does beside
   * deciding. Where others were first, the next decision asks. Default: false.
   */
  readonly optimistic?: boolean | undefined
}): Layer.Layer<BoundaryCache> =>
  Layer.sync(BoundaryCache, () => ({
    ...makeKeptValues<Kept>("Decision", options.capacity ?? 1000),
    optimistic: options.optimistic === true
  }))

/**
 * Keeps the states of the models that were read last in memory, so that a decision reads the new events alone: for models with many
 * events, or much used. No decision becomes wrong, because what came after is always read, and the commit checks the same as before. A
 * thousand states are kept; {@link layerCacheWith} keeps more or fewer.
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
