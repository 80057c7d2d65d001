/** How a tenant comes to another place, and how it goes for good. Every step can be done again, so what was cut short is repeated. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { asStored, CopyError, type CopyResult, copy, EventStore, type EventStoreError } from "../store/EventStore.ts"
import { type CheckpointError, Checkpoints } from "../store/Checkpoints.ts"
import type { AppendError } from "../store/EventStore.ts"
import { sealEvent } from "./bound.ts"
import type { Having, LayerMapOptions, Needs, Services } from "./layerMap.ts"
import { TenantError, type TenantRegistryError } from "./model.ts"
import { change, entryOf, type TenantEntry, type TenantRegistry } from "./registry.ts"

type Store = EventStore["Service"]

type Failure = AppendError | CheckpointError | CopyError | EventStoreError | TenantError | TenantRegistryError

/** What a tenant has at a place, not bound to it: built for itself, and closed with the scope. */
const openAt = <S extends Having<EventStore>, B extends Having<never>>(
  { beside, store }: Pick<LayerMapOptions<S, B>, "beside" | "store">,
  entry: TenantEntry
) => {
  const own = store(entry) as Having<EventStore>
  const all = beside === undefined ? own : Layer.provideMerge(beside as Having<never>, own)
  return Layer.build(Layer.fresh(all as Layer.Layer<EventStore, Layer.Error<S> | Layer.Error<B>, Needs<S, B>>))
}

/**
 * Where both sides keep checkpoints, those of the one are set on the other. Where positions are others there, one stands behind the same event as
 * it did.
 */
const copyCheckpoints = Effect.fnUntraced(function* (
  source: Context.Context<EventStore>,
  target: Context.Context<EventStore>,
  positions: "same" | "anew"
): Effect.fn.Return<void, CheckpointError | CopyError | EventStoreError> {
  const [checkpoints, others] = [source, target].map((context) => Context.getOrUndefined(context, Checkpoints))
  if (checkpoints === undefined || others === undefined) return
  const [from, to] = [source, target].map((context) => asStored(Context.get(context, EventStore))) as [Store, Store]
  const positionOf = Effect.fnUntraced(function* (name: string, position: number) {
    const last = yield* Stream.runHead(from.readAll({ after: position + 1, direction: "backward", limit: 1 }))
    if (Option.isNone(last)) return 0
    const found = yield* to.find(last.value.id)
    if (Option.isSome(found)) return found.value.position
    return yield* new CopyError({ position, problem: `the event before the checkpoint "${name}" is not at the new place` })
  })
  for (const { name, position } of yield* checkpoints.list) {
    yield* others.reset(name, positions === "same" || position === 0 ? position : yield* positionOf(name, position))
  }
})

/** How often a copy is repeated while the tenant appends: until little is left for the moment in which it must not. */
const [mostCopies, little] = [5, 1_000]

/**
 * Brings a tenant to another place, while it is used.
 *
 * **Details**: its log is copied, then its old place is sealed: whoever still holds its store there can append no more, in whatever process,
 * and fails as `StoreUnavailable`. What came meanwhile is copied too, all is compared by digest, the checkpoints are set where both sides
 * keep them, and the registry says where the tenant is. From the sealing until then its store is not to be had
 * ({@link TenantError} `moving`): that takes as long as both logs take to be read once. Cut short, it goes on when it is run again. Returns what was copied.
 *
 * What else stands beside the store at its old place (snapshots, tables of projections, parked events) is left there; `also` is run at
 * the end of the copy to take along what cannot be made anew. The old place is not removed.
 *
 * From tables that tenants share, or a store that they share by a tag, and to such, the events keep their order and get other positions; a
 * checkpoint stands behind the same event as before. Events of it that are in an `Archive` are refused there: it knows them by their positions.
 *
 * **Gotchas**: the new place must be empty, or hold what an earlier run has copied. The stream `$tenant` of the log says that it was
 * sealed.
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { EventStore, Tenants } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   const places = { one: yield* EventStore.makeMemory, two: yield* EventStore.makeMemory } // say, two databases
 *   const options = {
 *     store: ({ place }: Tenants.TenantEntry) =>
 *       Layer.succeed(EventStore.EventStore, place === "one" ? places.one : places.two)
 *   }
 *   yield* Tenants.add("acme", "one")
 *   yield* places.one.append("Account-1", [{ type: "AccountOpened", payload: {} }])
 *   yield* Tenants.move("acme", "two", options)
 *   return yield* places.two.version("Account-1")
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Tenants.layerRegistryMemory)) // => 1
 * ```
 *
 * @category registry
 * @since 0.2.0
 */
export const move = <S extends Having<EventStore>, B extends Having<never> = Layer.Layer<never>, E = never, R = never>(
  id: string,
  place: string,
  options: Pick<LayerMapOptions<S, B>, "beside" | "store"> & {
    /** Takes along what stands beside the store, and can be repeated. Default: the checkpoints alone are. */
    readonly also?:
      | ((from: Context.Context<Services<S, B>>, to: Context.Context<Services<S, B>>) => Effect.Effect<void, E, R>)
      | undefined
  }
): Effect.Effect<CopyResult, E | Failure | Layer.Error<S> | Layer.Error<B>, R | TenantRegistry | Needs<S, B>> =>
  Effect.scoped(
    Effect.gen(function* () {
      const entry = yield* entryOf(id)
      if (entry.state === "erased" || entry.state === "suspended") {
        return yield* new TenantError({ tenant: id, reason: entry.state })
      }
      if (entry.place === place) {
        return yield* new CopyError({ position: 0, problem: `the tenant is at the place ${JSON.stringify(place)} already` })
      }
      const next: TenantEntry = { id, place, state: "active", epoch: entry.epoch + 1 }
      const source = yield* openAt(options, entry)
      const target = yield* openAt(options, next)
      const [from, to] = [Context.get(source, EventStore), Context.get(target, EventStore)]
      // The part that a tenant has of a store which others share has gaps, and so it gets where it goes to one.
      const positions = from.gaps === undefined && to.gaps === undefined ? "same" : "anew"
      for (let copies = 0; copies < mostCopies && (yield* copy(from, to, { positions })).copied > little; copies++);

      const isStill = (now: TenantEntry) => now.place === entry.place && now.epoch === entry.epoch
      yield* change("move", id, (now) =>
        isStill(now) && (now.state === "active" || now.state === "moving")
          ? Effect.succeed({ ...now, state: "moving" as const })
          : Effect.fail(new TenantError({ tenant: id, reason: now.state === "active" ? "moving" : now.state }))
      )
      yield* from.appendAll([sealEvent(entry)])
      const copied = yield* copy(from, to, { positions })
      yield* copyCheckpoints(source as Context.Context<EventStore>, target as Context.Context<EventStore>, positions)
      if (options.also !== undefined) {
        yield* options.also(source as Context.Context<Services<S, B>>, target as Context.Context<Services<S, B>>)
      }
      yield* change("move", id, (now) =>
        isStill(now) && now.state === "moving"
          ? Effect.succeed(next)
          : Effect.fail(new TenantError({ tenant: id, reason: now.state === "active" ? "moving" : now.state }))
      )
      return copied
    })
  )

/**
 * Erases a tenant for good: nobody gets its store any more, whoever still holds it can append no more, and `remove` takes its data away.
 *
 * **Details**: cut short, it goes on when it is run again, so `remove` must be one that may be run twice, such as
 * `DROP SCHEMA IF EXISTS … CASCADE`. The id stays in the registry, and is not given to another tenant.
 *
 * **Gotchas**: what left for elsewhere (brokers, backups, other places that the tenant has been moved from) is not reached.
 *
 * @category registry
 * @since 0.2.0
 */
export const erase = <S extends Having<EventStore>, E, R>(
  id: string,
  options: Pick<LayerMapOptions<S>, "store"> & {
    /** Takes away the data of a tenant at its place. */
    readonly remove: (tenant: TenantEntry) => Effect.Effect<void, E, R>
  }
): Effect.Effect<
  void,
  AppendError | E | TenantError | TenantRegistryError | Layer.Error<S>,
  R | TenantRegistry | Layer.Services<S>
> =>
  Effect.gen(function* () {
    const entry = yield* change("erase", id, (now) =>
      now.state === "moving"
        ? Effect.fail(new TenantError({ tenant: id, reason: "moving" }))
        : Effect.succeed({ ...now, state: "erased" as const })
    )
    yield* Effect.scoped(
      Effect.flatMap(openAt<S, Layer.Layer<never>>({ store: options.store }, entry), (context) =>
        Context.get(context, EventStore).appendAll([sealEvent(entry)])
      )
    )
    yield* options.remove(entry)
  }) as Effect.Effect<
    void,
    AppendError | E | TenantError | TenantRegistryError | Layer.Error<S>,
    R | TenantRegistry | Layer.Services<S>
  >
