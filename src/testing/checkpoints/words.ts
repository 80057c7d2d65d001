/** The words in which the cases for checkpoints are written. */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import assert from "node:assert/strict"
import { realSleep } from "../../internal/realTime.ts"
import {
  type Checkpoint,
  type CheckpointError,
  Checkpoints,
  type Lease,
  type ProjectionVersion
} from "../../store/Checkpoints.ts"
import { build, words, type World } from "../suite.ts"

export type Service = Checkpoints["Service"]

/** What the cases know of time. */
interface Time {
  /** How long a lease lasts that a case lets run out. */
  readonly short: Duration.Duration
  /** Lets some time pass: on a clock that can be moved, as much as a short lease lasts. */
  readonly pass: Effect.Effect<void>
}

export interface Timed extends World<Service> {
  readonly time: Time
}

export const { every, opened, reopened, shared } = words<Service, Timed, "deadlines">()

/** The world of a case over one storage, whose leases run by the given clock. */
export const makeWorld = (layer: Layer.Layer<Checkpoints, unknown>, clock: "test" | "live"): Timed => ({
  open: build(layer, Checkpoints),
  time:
    clock === "test"
      ? { short: Duration.seconds(10), pass: TestClock.adjust("10 seconds") }
      : { short: Duration.millis(200), pass: realSleep("10 millis") }
})

export const long = Duration.hours(1)

/** An error as a plain object, for comparison. */
const facts = (error: unknown): object => {
  assert.ok(error instanceof Error, `an error, not ${String(error)}`)
  return { ...error }
}

/** The error of an effect that must fail, as a plain object. */
export const refusal = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<object> =>
  Effect.matchEffect(effect, {
    onFailure: (error) => Effect.succeed(facts(error)),
    onSuccess: (value) => Effect.die(new assert.AssertionError({ message: `It succeeded, with ${JSON.stringify(value)}` }))
  })

export const held = (name: string, owner: string) => ({ _tag: "CheckpointHeldError", checkpoint: name, owner })
export const fenced = ({ epoch, name }: Lease) => ({ _tag: "CheckpointFencedError", checkpoint: name, epoch })
export const changed = (projection: string, version: number) => ({ _tag: "ProjectionVersionChangedError", projection, version })

/** What `refusal` gives of a `CheckpointError`, without its cause. */
export const error = (operation: string, name: string) => ({ _tag: "CheckpointError", operation, checkpoint: name })
export const withoutCause = (refused: object) => ({ ...refused, cause: undefined })

/** What is known of a name, with times as numbers. */
export const known = Effect.fnUntraced(function* (checkpoints: Service, name: string) {
  const checkpoint = Option.getOrThrow(yield* checkpoints.get(name))
  return plain(checkpoint)
})

export const plain = ({ expiresAt, owner, updatedAt, ...rest }: Checkpoint) => ({
  ...rest,
  owner: Option.getOrUndefined(owner),
  expiresAt: DateTime.toEpochMillis(expiresAt),
  updatedAt: DateTime.toEpochMillis(updatedAt)
})

/** A version without its time, for comparison. */
export const entry = ({ active, heard, mode, projection, revision, target, version }: ProjectionVersion) => ({
  projection,
  version,
  mode,
  active,
  target: Option.getOrUndefined(target),
  heard,
  revision
})

/** Claims a name as soon as the lease that stands in the way has run out. */
export const takeOver = (
  checkpoints: Service,
  time: Time,
  ...claim: Parameters<Service["claim"]>
): Effect.Effect<Lease, CheckpointError> =>
  Effect.catchTag(checkpoints.claim(...claim), "CheckpointHeldError", () =>
    Effect.flatMap(time.pass, () => takeOver(checkpoints, time, ...claim))
  )

/** Runs all at once: what the winners got, and the errors of the others. */
export const race = <A, E>(attempts: ReadonlyArray<Effect.Effect<A, E>>) =>
  Effect.map(Effect.forEach(attempts, Effect.result, { concurrency: "unbounded" }), (results) => ({
    won: results.filter(Result.isSuccess).map(({ success }) => success),
    lost: results.filter(Result.isFailure).map(({ failure }) => facts(failure))
  }))
