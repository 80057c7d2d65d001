/**
 * The conformance suite for transports: what every broker must do behind the `Transport` port, as cases that any test runner can
 * run.
 *
 * A case that cannot come to an end (a message that never arrives) hangs: give the runner a time-out.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { TestClock } from "effect/testing"
 * import { Transport } from "eventfold"
 * import { TransportConformance } from "eventfold/testing"
 *
 * const cases = TransportConformance.cases({
 *   storage: Effect.succeed(Transport.layerMemory), // each build of this Layer is a new broker
 *   abilities: { clock: "test", deduplicates: true, history: true, durable: false, shared: false }
 * })
 *
 * // With a runner: for (const { name, run } of cases) it.effect(name, () => run)
 * const some = Effect.forEach(cases.slice(0, 3), ({ run }) => Effect.scoped(run), { discard: true })
 * await Effect.runPromise(Effect.provide(some, TestClock.layer()))
 * ```
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Transport } from "../transport/Transport.ts"
import * as Suite from "./suite.ts"
import { arrival } from "./transport/arrival.ts"
import { consumers } from "./transport/consumers.ts"
import { durability } from "./transport/durability.ts"
import { faults } from "./transport/faults.ts"
import { forgetting } from "./transport/forgetting.ts"
import { groups } from "./transport/groups.ts"
import { interruption } from "./transport/interruption.ts"
import { leaving } from "./transport/leaving.ts"
import { order } from "./transport/order.ts"
import { repetition } from "./transport/repetition.ts"
import { settling } from "./transport/settling.ts"
import { sharing } from "./transport/sharing.ts"
import { types } from "./transport/types.ts"
import { makeWorld } from "./transport/words.ts"

/**
 * Makes a new, empty broker (or a part of one that nothing else uses) and returns the Layer that connects to it.
 *
 * With the ability `durable` or `shared`, building the Layer again connects to the same broker again. Each build is made with a
 * new memo map, so whatever the Layer is made of is built anew too.
 *
 * @category models
 * @since 0.1.0
 */
export type Storage = Effect.Effect<Layer.Layer<Transport, unknown>, unknown, Scope.Scope>

/**
 * What not every broker can do. A case that needs an ability which is `false` is not among the cases.
 *
 * @category models
 * @since 0.1.0
 */
export interface Abilities {
  /** What delays run by: Effect's `Clock` (the cases then move a `TestClock`), or a clock that nobody can move. */
  readonly clock: "test" | "live"
  /** A message whose id has been published before is not delivered again. */
  readonly deduplicates: boolean
  /** A new group begins at the first message ever. Otherwise at its first subscription. */
  readonly history: boolean
  /** What was published and not acknowledged is delivered after the Layer has been closed and built again. */
  readonly durable: boolean
  /** Two Layers built at once are connected to one broker. */
  readonly shared: boolean
  /** Attempts are counted over the end of the Layer that delivered them. Default: true. */
  readonly counts?: boolean | undefined
  /**
   * What the members of several Layers share: each message goes to any of them, or those of one subject all go to one. With `"subjects"`
   * order is that of each subject, and what waits before it comes again lets the rest of its subject wait. Default: `"messages"`.
   */
  readonly spreads?: "messages" | "subjects" | undefined
}

/**
 * What can be done to the broker from outside. A case that needs a fault which is not offered is not among the cases.
 *
 * @category models
 * @since 0.1.0
 */
export interface Faults {
  /** Cuts all connections to the broker that are open, as a network does that fails; new ones are welcome at once. */
  readonly interrupt?: Effect.Effect<void, unknown> | undefined
  /** Ends the broker without a farewell and starts it again on the same data; succeeds when it answers again. */
  readonly restart?: Effect.Effect<void, unknown> | undefined
  /**
   * Whether what a member had in hand when a fault came may be delivered again after newer messages. What is delivered for the
   * first time must come in order even so. Default: false.
   */
  readonly overtakes?: boolean | undefined
}

export type { Case } from "./suite.ts"

const definitions = [
  ...arrival,
  ...order,
  ...groups,
  ...forgetting,
  ...types,
  ...settling,
  ...leaving,
  ...repetition,
  ...interruption,
  ...consumers,
  ...sharing,
  ...durability,
  ...faults
]

/**
 * The cases that a transport with these abilities must pass. Those that need a fault must not run beside others on one broker.
 *
 * @category constructors
 * @since 0.1.0
 */
export const cases = (options: {
  /** Makes a new, empty broker for each case. */
  readonly storage: Storage
  /** What this transport can do. */
  readonly abilities: Abilities
  /** What can be done to the broker. A case that needs a fault which is absent is not among the cases. Default: none. */
  readonly faults?: Faults | undefined
}): ReadonlyArray<Suite.Case> => {
  const { abilities, faults: { interrupt, overtakes = false, restart } = {}, storage } = options
  const { counts = true, spreads = "messages" } = abilities
  const offered = { ...(interrupt === undefined ? {} : { interrupt }), ...(restart === undefined ? {} : { restart }) }
  return Suite.cases(definitions, {
    storage,
    can: (need) => (need === "interrupt" || need === "restart" ? need in offered : abilities[need]),
    world: (layer) => makeWorld(layer, { ...abilities, counts, spreads, overtakes }, offered)
  })
}
