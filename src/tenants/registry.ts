/** Which tenants there are, where each has its data, and whether it may be used. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { tenantFault } from "../definitions/tenant.ts"
import { TenantError, TenantRegistryError } from "./model.ts"

/**
 * What the registry knows of a tenant.
 *
 * @category models
 * @since 0.2.0
 */
export interface TenantEntry {
  readonly id: string
  /** Where its data is, in words of the program: a database, a schema, a file. It is given to `store` of {@link layerMap}. */
  readonly place: string
  readonly state: "active" | "suspended" | "moving" | "erased"
  /** How often it has come to a place: 1, and one more for each move. */
  readonly epoch: number
}

/**
 * The registry of tenants: a small table, the same for all processes.
 *
 * @category services
 * @since 0.2.0
 */
export class TenantRegistry extends Context.Service<
  TenantRegistry,
  {
    readonly get: (id: string) => Effect.Effect<Option.Option<TenantEntry>, TenantRegistryError>
    /** All of them, the erased among them, by id in code point order. */
    readonly list: Effect.Effect<ReadonlyArray<TenantEntry>, TenantRegistryError>
    /** Puts an entry in the place of `before` (none: it must not be there). Whether `before` was what stood there. */
    readonly replace: (entry: TenantEntry, before: TenantEntry | undefined) => Effect.Effect<boolean, TenantRegistryError>
  }
>()("eventfold/TenantRegistry") {}

const isSame = (one: TenantEntry | undefined, other: TenantEntry | undefined): boolean =>
  one?.place === other?.place && one?.state === other?.state && one?.epoch === other?.epoch

/**
 * A registry in memory: gone with its Layer.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerRegistryMemory: Layer.Layer<TenantRegistry> = Layer.effect(
  TenantRegistry,
  Effect.sync(() => {
    const entries = new Map<string, TenantEntry>()
    return TenantRegistry.of({
      get: (id) => Effect.sync(() => Option.fromUndefinedOr(entries.get(id))),
      list: Effect.sync(() => Array.from(entries.values()).sort((a, b) => (a.id < b.id ? -1 : 1))),
      replace: (entry, before) =>
        Effect.sync(() => {
          if (!isSame(entries.get(entry.id), before)) return false
          entries.set(entry.id, entry)
          return true
        })
    })
  })
)

/**
 * Registers a tenant at a place. Registered there already, it stays as it is.
 *
 * **Details**: an id has 1 to 63 letters, digits, `.`, `_` or `-`, and begins with a letter or digit. A tenant that is elsewhere is
 * refused with {@link TenantRegistryError}, one that was erased with {@link TenantError}.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Tenants } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   yield* Tenants.add("acme", "schema_1")
 *   yield* Tenants.suspend("acme")
 *   return (yield* Tenants.list).map(({ id, state }) => `${id}: ${state}`)
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Tenants.layerRegistryMemory)) // => ["acme: suspended"]
 * ```
 *
 * @category registry
 * @since 0.2.0
 */
export const add = (id: string, place: string): Effect.Effect<TenantEntry, TenantError | TenantRegistryError, TenantRegistry> =>
  TenantRegistry.use(
    Effect.fnUntraced(function* (registry) {
      const fault = tenantFault(id)
      if (fault !== undefined) return yield* refused("add", id, `an id such as ${fault}`)
      if (place === "") return yield* refused("add", id, "its place must not be empty")
      const entry: TenantEntry = { id, place, state: "active", epoch: 1 }
      if (yield* registry.replace(entry, undefined)) return entry
      const found = yield* entryOf(id)
      if (found.state === "erased") return yield* new TenantError({ tenant: id, reason: "erased" })
      if (found.place === place) return found
      return yield* refused("add", id, `it is at the place ${JSON.stringify(found.place)}: Tenants.move brings it elsewhere`)
    })
  )

const refused = (operation: string, tenant: string, detail: string): TenantRegistryError =>
  new TenantRegistryError({ operation, tenant: String(tenant), detail })

/** The entry of a tenant that there is. */
export const entryOf = (id: string): Effect.Effect<TenantEntry, TenantError | TenantRegistryError, TenantRegistry> =>
  TenantRegistry.use((registry) =>
    Effect.flatMap(registry.get(id), (found) =>
      Option.isSome(found) ? Effect.succeed(found.value) : Effect.fail(new TenantError({ tenant: String(id), reason: "unknown" }))
    )
  )

/** How often a change is tried anew when another has come between. */
const mostTries = 20

/** Changes the entry of a tenant; what others change meanwhile is seen. */
export const change = <E>(
  operation: string,
  id: string,
  next: (entry: TenantEntry) => Effect.Effect<TenantEntry, E>
): Effect.Effect<TenantEntry, E | TenantError | TenantRegistryError, TenantRegistry> =>
  TenantRegistry.use(
    Effect.fnUntraced(function* (registry) {
      for (let tries = 0; tries < mostTries; tries++) {
        const before = yield* entryOf(id)
        const entry = yield* next(before)
        if (isSame(before, entry) || (yield* registry.replace(entry, before))) return entry
      }
      return yield* refused(operation, id, "others change it all the time: try again")
    })
  )

const turn = (operation: string, state: "active" | "suspended") => (id: string) =>
  change(operation, id, (entry): Effect.Effect<TenantEntry, TenantError> => {
    if (entry.state === "erased" || entry.state === "moving")
      return Effect.fail(new TenantError({ tenant: id, reason: entry.state }))
    return Effect.succeed({ ...entry, state })
  })

/**
 * Lets nobody have the store of a tenant any more. What holds it goes on until it gives it back; other processes hear of it within the
 * `freshness` of their {@link layerMap}.
 *
 * @category registry
 * @since 0.2.0
 */
export const suspend: (id: string) => Effect.Effect<TenantEntry, TenantError | TenantRegistryError, TenantRegistry> = turn(
  "suspend",
  "suspended"
)

/**
 * Lets a tenant that was suspended go on.
 *
 * @category registry
 * @since 0.2.0
 */
export const resume: (id: string) => Effect.Effect<TenantEntry, TenantError | TenantRegistryError, TenantRegistry> = turn(
  "resume",
  "active"
)

/**
 * All tenants that the registry knows, the erased among them, by id.
 *
 * @category registry
 * @since 0.2.0
 */
export const list: Effect.Effect<ReadonlyArray<TenantEntry>, TenantRegistryError, TenantRegistry> = TenantRegistry.use(
  ({ list }) => list
)
