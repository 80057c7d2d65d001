/**
 * Checkpoints: how far a follower of the log has come, and who may say so.
 *
 * A name has one owner at a time. Whoever claims it gets a lease with an epoch of its own, one higher than any before; every
 * later step is compare-and-set on that epoch and on the position, so that a superseded owner can commit nothing, however long
 * it slept. A lease that is neither renewed nor advanced runs out, and another may claim the name.
 *
 * The registry of the versions of projections is part of the service: it must commit with the checkpoints.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { makeInMemory } from "./kit/memoryCheckpoints.ts"
import { Checkpoints } from "./lease.ts"

/**
 * Checkpoints in memory, for programs that build services themselves: each call makes new ones.
 *
 * @category constructors
 * @since 0.2.0
 */
export const makeMemory: Effect.Effect<Checkpoints["Service"]> = Effect.sync(() => makeInMemory())

/**
 * Checkpoints in memory: gone with the Layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<Checkpoints> = Layer.effect(Checkpoints, makeMemory)
export {
  type Checkpoint,
  type Lease,
  type SeenEvent,
  CheckpointHeldError,
  CheckpointFencedError,
  CheckpointAheadError,
  CheckpointContradictedError,
  CheckpointError,
  Checkpoints,
  withLease,
  beat
} from "./lease.ts"
export { type DeadlineChange, type KeptDeadline, type KeptDeadlines } from "./deadlines.ts"
export { type ProjectionVersion, type ProjectionVersions, ProjectionVersionChangedError } from "./versions.ts"
