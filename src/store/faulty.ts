import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { inject, isDelay, makeFaults } from "../internal/faults.ts"
import { type AppendError, EventStoreError, OutcomeUnknown, StoreUnavailable } from "./errors.ts"
import { EventStore } from "./service.ts"

/**
 * What {@link layerFaulty} does to one call.
 *
 * - `"none"`: nothing;
 * - `"unavailable"`: the call is not made, and fails with `StoreUnavailable`;
 * - `"lost"`: the call is made and its answer is lost. An append stands, and fails with `OutcomeUnknown`; a read ends after its first
 *   event at the latest, with `StoreUnavailable`;
 * - `{ delay }`: the call is made that much later, by the `Clock`; after `Infinity` it never is;
 * - an error: the call is not made, and fails with it.
 *
 * @category models
 * @since 0.1.0
 */
export type Fault = "none" | "unavailable" | "lost" | { readonly delay: Duration.Input } | EventStoreError

/**
 * A store that fails as it is told, over any other: for tests of what a program does then.
 *
 * The n-th call gets the n-th fault of its list; when a list is through, calls go through unharmed. An `Iterable` may be endless
 * (`Faults.seeded` of `eventfold/testing` draws faults at random, reproducibly). Each build of the Layer begins anew.
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { EventStore } from "eventfold"
 *
 * const Store = EventStore.layerFaulty({ append: ["lost"] }).pipe(Layer.provide(EventStore.layerMemory))
 *
 * const program = Effect.gen(function* () {
 *   const append = EventStore.append("Account-1", [{ type: "AccountOpened", payload: {}, id: "1" }])
 *   const error = yield* Effect.flip(append)
 *   const { deduplicated, version } = yield* append // the same id again
 *   return [error._tag === "EventStoreError" && error.reason._tag, version, deduplicated]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Store)) // => ["OutcomeUnknown", 1, true]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFaulty = (faults: {
  /** Of `append` and `appendAll`. */
  readonly append?: Iterable<Fault> | undefined
  /** Of all else. A stream takes its fault when it is run. */
  readonly read?: Iterable<Fault> | undefined
}): Layer.Layer<EventStore, never, EventStore> =>
  Layer.effect(
    EventStore,
    EventStore.useSync((store) => {
      const nextOfAppend = makeFaults(faults.append)
      const nextOfRead = makeFaults(faults.read)
      const injected = (operation: string) => ({ operation, detail: "a fault was injected" })
      const unavailable = (operation: string) => new EventStoreError({ reason: new StoreUnavailable(injected(operation)) })

      const appending = <A>(call: Effect.Effect<A, AppendError>): Effect.Effect<A, AppendError> =>
        Effect.flatMap(nextOfAppend, (fault) =>
          inject(fault, call, {
            unavailable: unavailable("append"),
            lost: new EventStoreError({ reason: new OutcomeUnknown(injected("append")) })
          })
        )
      const asking = <A>(operation: string, call: Effect.Effect<A, EventStoreError>): Effect.Effect<A, EventStoreError> =>
        Effect.flatMap(nextOfRead, (fault) =>
          inject(fault, call, { unavailable: unavailable(operation), lost: unavailable(operation) })
        )
      const reading = <A>(operation: string, stream: Stream.Stream<A, EventStoreError>): Stream.Stream<A, EventStoreError> =>
        Stream.unwrap(
          Effect.map(nextOfRead, (fault) => {
            if (fault === "none") return stream
            if (fault === "lost") return Stream.concat(Stream.take(stream, 1), Stream.fail(unavailable(operation)))
            if (isDelay(fault)) return Stream.unwrap(Effect.as(Effect.sleep(fault.delay), stream))
            return Stream.fail(fault === "unavailable" ? unavailable(operation) : fault)
          })
        )

      return EventStore.of({
        append: (stream, events, options) => appending(store.append(stream, events, options)),
        appendAll: (appends, options) => appending(store.appendAll(appends, options)),
        read: (stream, options) => reading("read", store.read(stream, options)),
        readAll: (options) => reading("readAll", store.readAll(options)),
        readPage: (options) => asking("readPage", store.readPage(options)),
        readBoundary: (queries, options) => asking("readBoundary", store.readBoundary(queries, options)),
        subscribe: (options) => reading("subscribe", store.subscribe(options)),
        streams: (options) => reading("streams", store.streams(options)),
        version: (stream) => asking("version", store.version(stream)),
        find: (id) => asking("find", store.find(id)),
        exists: (stream) => asking("exists", store.exists(stream)),
        head: asking("head", store.head),
        ...(store.transactionService === undefined ? {} : { transactionService: store.transactionService }),
        ...(store.late === undefined ? {} : { late: store.late }),
        ...(store.tables === undefined ? {} : { tables: store.tables }),
        ...(store.tenant === undefined ? {} : { tenant: store.tenant }),
        ...(store.gaps === undefined ? {} : { gaps: store.gaps }),
        ...(store.maintenance === undefined ? {} : { maintenance: store.maintenance })
      })
    })
  )
