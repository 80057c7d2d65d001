import { Effect, Exit, Layer, Stream } from "effect"
import { Event, EventStore, UnitOfWork } from "eventfold"

/** Lets others run. */
const pause = Effect.forEach(Array.from({ length: 20 }), () => Effect.yieldNow, { discard: true })

/** The store of the environment; who has read a boundary from it lets others run before going on, so that all who start at once decide on the same. */
export const slowReads = Layer.effect(
  EventStore.EventStore,
  EventStore.EventStore.useSync((store) =>
    EventStore.EventStore.of({
      ...store,
      readBoundary: (...args) => Effect.tap(store.readBoundary(...args), () => pause)
    })
  )
)

/** Starts all at once, each again on a conflict, and tells how each ended. */
export const race = <A, E, R>(all: Iterable<Effect.Effect<A, E, R>>): Effect.Effect<ReadonlyArray<Exit.Exit<A, E>>, never, R> =>
  Effect.forEach(all, (one) => Effect.exit(UnitOfWork.retryConflicts(one, { times: 100 })), { concurrency: "unbounded" })

/** How many succeeded. */
export const successes = (exits: ReadonlyArray<Exit.Exit<unknown, unknown>>): number => exits.filter(Exit.isSuccess).length

/** All that stands in the store, in position order: `A-1@1 Happened`. */
export const log = Effect.map(Stream.runCollect(EventStore.readAll()), (events) =>
  events.map(({ stream, type, version }) => `${stream}@${version} ${type}`)
)

/** The events of a definition that stand in the store, in position order. */
export const recorded = <E extends Event.Any>(definition: E) =>
  Effect.flatMap(Stream.runCollect(EventStore.readAll({ filter: { types: [definition.type] } })), (events) =>
    Effect.forEach(events, (event) => Effect.fromResult(Event.decode(definition, event)))
  )
