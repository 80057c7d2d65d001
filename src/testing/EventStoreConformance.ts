/**
 * The conformance suite for event stores: every promise of the `EventStore` module as cases that any test runner can run.
 *
 * The cases never wait for time to pass, so they run under a test clock and under the real one alike. A case that cannot come
 * to an end (an append that dead-locks, a subscription that is never woken) hangs: give the runner a time-out.
 *
 * How to write a store is told in `src/guides/adapters.md`.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore } from "eventfold"
 * import { EventStoreConformance } from "eventfold/testing"
 *
 * const cases = EventStoreConformance.cases({
 *   storage: Effect.succeed(EventStore.layerMemory), // each build of this Layer is a new, empty store
 *   abilities: { durable: false, shared: false }
 * })
 *
 * // With a runner: for (const { name, run } of cases) it.effect(name, () => run)
 * await Effect.runPromise(Effect.forEach(cases.slice(0, 3), ({ run }) => Effect.scoped(run), { discard: true }))
 * ```
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { EventStore } from "../store/EventStore.ts"
import { atomicity } from "./eventStore/atomicity.ts"
import { badInput } from "./eventStore/badInput.ts"
import { conditions } from "./eventStore/conditions.ts"
import { chain } from "./eventStore/chain.ts"
import { closing, durability } from "./eventStore/durability.ts"
import { emptyAppends } from "./eventStore/emptyAppends.ts"
import { find } from "./eventStore/find.ts"
import { guards } from "./eventStore/guards.ts"
import { interruption } from "./eventStore/interruption.ts"
import { model } from "./eventStore/model.ts"
import { positions } from "./eventStore/positions.ts"
import { read } from "./eventStore/read.ts"
import { readAll } from "./eventStore/readAll.ts"
import { readBoundary } from "./eventStore/readBoundary.ts"
import { readPage } from "./eventStore/readPage.ts"
import { repetition } from "./eventStore/repetition.ts"
import { roundTrip } from "./eventStore/roundTrip.ts"
import { sharing } from "./eventStore/sharing.ts"
import { streams } from "./eventStore/streams.ts"
import { subscribe } from "./eventStore/subscribe.ts"
import { tombstones } from "./eventStore/tombstones.ts"
import { versions } from "./eventStore/versions.ts"
import * as Suite from "./suite.ts"

/**
 * Makes new, empty storage and returns the Layer that opens it.
 *
 * With the ability `durable` or `shared`, building the Layer again opens the same storage again. Each build is made with a new
 * memo map, so whatever the Layer is made of is built anew too.
 *
 * @category models
 * @since 0.1.0
 */
export type Storage = Effect.Effect<Layer.Layer<EventStore, unknown>, unknown, Scope.Scope>

/**
 * What not every store can do. A case that needs an ability which is `false` is not among the cases.
 *
 * @category models
 * @since 0.1.0
 */
export interface Abilities {
  /** What was acknowledged is there after the Layer has been closed and built again. */
  readonly durable: boolean
  /** Two Layers built over the same storage at once see each other's events. */
  readonly shared: boolean
  /** Events can be removed: `EventStore.maintenance` is there. Default: `false`. */
  readonly removes?: boolean | undefined
  /** The store was told to keep a hash chain. Default: `false`. */
  readonly chain?: boolean | undefined
}

/**
 * One thing that a store must do. It fails or dies (with an `AssertionError`) when the store does not.
 *
 * @category models
 * @since 0.1.0
 */
export interface Case {
  /** `"1"` to `"9"`, the promises of the `EventStore` module, or the behaviour that the case shows. */
  readonly promise: string
  /** A sentence, unique among the cases. */
  readonly name: string
  /** Makes storage of its own, so cases may run in any order and at once. All is closed with the scope. */
  readonly run: Effect.Effect<void, unknown, Scope.Scope>
}

const promises = [
  ["1", versions],
  ["2", positions],
  ["3", atomicity],
  ["3", guards],
  ["4", repetition],
  ["5", emptyAppends],
  ["7", badInput],
  ["8", conditions],
  ["read", read],
  ["readAll", readAll],
  ["readPage", readPage],
  ["readBoundary", readBoundary],
  ["find", find],
  ["streams", streams],
  ["subscribe", subscribe],
  ["tombstones", tombstones],
  ["chain", chain],
  ["round trip", roundTrip],
  ["9", interruption],
  ["9", closing],
  ["model", model],
  ["6", durability],
  ["shared", sharing]
] as const

/**
 * The cases that a store with these abilities must pass.
 *
 * @category constructors
 * @since 0.1.0
 */
export const cases = (options: {
  /** Makes new, empty storage for each case. */
  readonly storage: Storage
  /** What this store can do. */
  readonly abilities: Abilities
}): ReadonlyArray<Case> =>
  promises.flatMap(([promise, definitions]) =>
    Suite.cases(definitions, {
      storage: options.storage,
      can: (need) => options.abilities[need] ?? false,
      world: (layer) => ({ open: Suite.build(layer, EventStore) })
    }).map((testCase) => ({ promise, ...testCase }))
  )
