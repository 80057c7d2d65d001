/**
 * The conformance suite for checkpoints: what every storage of them must do, as cases that any test runner can run.
 *
 * A case that cannot come to an end hangs: give the runner a time-out.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { TestClock } from "effect/testing"
 * import { Checkpoints } from "eventfold"
 * import { CheckpointsConformance } from "eventfold/testing"
 *
 * const cases = CheckpointsConformance.cases({
 *   storage: Effect.succeed(Checkpoints.layerMemory), // each build of this Layer is new and empty
 *   abilities: { clock: "test", durable: false, shared: false }
 * })
 *
 * // With a runner: for (const { name, run } of cases) it.effect(name, () => run)
 * const all = Effect.forEach(cases, ({ run }) => Effect.scoped(run), { discard: true })
 * await Effect.runPromise(Effect.provide(all, TestClock.layer()))
 * ```
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Checkpoints } from "../store/Checkpoints.ts"
import { advancing } from "./checkpoints/advancing.ts"
import { badInput } from "./checkpoints/badInput.ts"
import { deadlines } from "./checkpoints/deadlines.ts"
import { claiming } from "./checkpoints/claiming.ts"
import { durability } from "./checkpoints/durability.ts"
import { fencing } from "./checkpoints/fencing.ts"
import { interruption } from "./checkpoints/interruption.ts"
import { pausing } from "./checkpoints/pausing.ts"
import { removing } from "./checkpoints/removing.ts"
import { resetting } from "./checkpoints/resetting.ts"
import { runningOut } from "./checkpoints/runningOut.ts"
import { seen } from "./checkpoints/seen.ts"
import { sharing } from "./checkpoints/sharing.ts"
import { versions } from "./checkpoints/versions.ts"
import { makeWorld } from "./checkpoints/words.ts"
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
export type Storage = Effect.Effect<Layer.Layer<Checkpoints, unknown>, unknown, Scope.Scope>

/**
 * What not every storage can do. A case that needs an ability which is `false` is not among the cases.
 *
 * @category models
 * @since 0.1.0
 */
export interface Abilities {
  /** What leases run by: Effect's `Clock` (the cases then move a `TestClock`), or a clock that nobody can move. */
  readonly clock: "test" | "live"
  /** What was acknowledged is there after the Layer has been closed and built again. */
  readonly durable: boolean
  /** Two Layers built over the same storage at once see each other's checkpoints. */
  readonly shared: boolean
  /** The deadlines that are set are kept beside the checkpoints (`Checkpoints.deadlines`). Default: `false`. */
  readonly deadlines?: boolean | undefined
}

export type { Case } from "./suite.ts"

const definitions = [
  ...claiming,
  ...runningOut,
  ...advancing,
  ...fencing,
  ...resetting,
  ...seen,
  ...removing,
  ...pausing,
  ...versions,
  ...deadlines,
  ...badInput,
  ...interruption,
  ...sharing,
  ...durability
]

/**
 * The cases that a storage with these abilities must pass.
 *
 * @category constructors
 * @since 0.1.0
 */
export const cases = (options: {
  /** Makes new, empty storage for each case. */
  readonly storage: Storage
  /** What this storage can do. */
  readonly abilities: Abilities
}): ReadonlyArray<Suite.Case> =>
  Suite.cases(definitions, {
    storage: options.storage,
    can: (need) => options.abilities[need] === true,
    world: (layer) => makeWorld(layer, options.abilities.clock)
  })
