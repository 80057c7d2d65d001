/**
 * Checkpoints: how far a follower of the log has come, and who may say so.
 *
 * A name has one owner at a time. Whoever claims it gets a lease with an epoch of its own, one higher than any before; every
 * later step is compare-and-set on that epoch and on the position, so that a superseded owner can commit nothing, however long
 * it slept. A lease that is neither renewed nor advanced runs out, and another may claim the name.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/**
 * What is known of a name.
 *
 * @category models
 * @since 0.1.0
 */
export interface Checkpoint {
  readonly name: string
  /** The position up to which all work is done. */
  readonly position: number
  /** How often the name has been claimed. */
  readonly epoch: number
  /** Who holds it; none when it has been released. A lease that has run out is still shown until it is claimed anew. */
  readonly owner: Option.Option<string>
  /** When the lease runs out. */
  readonly expiresAt: DateTime.Utc
  /** When the position was last advanced, or the name claimed. */
  readonly updatedAt: DateTime.Utc
}

/**
 * The right to advance a checkpoint.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lease {
  readonly name: string
  readonly owner: string
  readonly epoch: number
  readonly position: number
  /** How long it lasts after each claim, renewal and advance. */
  readonly ttl: Duration.Duration
}

/**
 * Somebody else holds the name. Try again when the lease has run out.
 *
 * @category errors
 * @since 0.1.0
 */
export class CheckpointHeldError extends Schema.TaggedError<CheckpointHeldError>("eventfold/Checkpoints/CheckpointHeldError")(
  "CheckpointHeldError",
  { name: Schema.String, owner: Schema.String }
) {
  override get message(): string {
    return `The checkpoint "${this.name}" is held by "${this.owner}"`
  }
}

/**
 * The lease has been superseded: somebody else has claimed the name. Nothing was written, and nothing more may be done for it.
 *
 * @category errors
 * @since 0.1.0
 */
export class CheckpointFencedError extends Schema.TaggedError<CheckpointFencedError>(
  "eventfold/Checkpoints/CheckpointFencedError"
)("CheckpointFencedError", { name: Schema.String, epoch: Schema.Number }) {
  override get message(): string {
    return `The lease ${this.epoch} of the checkpoint "${this.name}" has been superseded`
  }
}

/**
 * The storage of the checkpoints failed. Trying again may succeed.
 *
 * @category errors
 * @since 0.1.0
 */
export class CheckpointError extends Schema.TaggedError<CheckpointError>("eventfold/Checkpoints/CheckpointError")(
  "CheckpointError",
  {
    operation: Schema.String,
    name: Schema.String,
    cause: Schema.Defect()
  }
) {
  override get message(): string {
    return `The checkpoint "${this.name}" failed to ${this.operation}: ${this.cause instanceof Error ? this.cause.message : String(this.cause)}`
  }
}

/**
 * The checkpoints service.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Checkpoints } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   const checkpoints = yield* Checkpoints.Checkpoints
 *   const lease = yield* checkpoints.claim("emails", { owner: "a", ttl: "10 seconds" })
 *   yield* checkpoints.advance(lease, 42)
 *   const other = yield* Effect.flip(checkpoints.claim("emails", { owner: "b", ttl: "10 seconds" }))
 *   return [other._tag, (yield* checkpoints.list).map(({ name, position }) => [name, position])]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Checkpoints.layerMemory)) // => ["CheckpointHeldError", [["emails", 42]]]
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Checkpoints extends Context.Service<
  Checkpoints,
  {
    /** Takes the lease of `name`, if it is free, has run out, or is the owner's own. A new name begins at `from` (default: 0). */
    readonly claim: (
      name: string,
      options: { readonly owner: string; readonly ttl: Duration.Input; readonly from?: number | undefined }
    ) => Effect.Effect<Lease, CheckpointHeldError | CheckpointError>
    /** Makes the lease last for its whole time from now. */
    readonly renew: (lease: Lease) => Effect.Effect<void, CheckpointFencedError | CheckpointError>
    /** Moves the checkpoint from the lease's position to `position`, which must not be lower, and renews the lease. */
    readonly advance: (lease: Lease, position: number) => Effect.Effect<Lease, CheckpointFencedError | CheckpointError>
    /** Gives the name back, so that another may claim it at once. Does nothing when the lease has been superseded. */
    readonly release: (lease: Lease) => Effect.Effect<void, CheckpointError>
    readonly get: (name: string) => Effect.Effect<Option.Option<Checkpoint>, CheckpointError>
    /** All names, in order. */
    readonly list: Effect.Effect<ReadonlyArray<Checkpoint>, CheckpointError>
  }
>()("eventfold/Checkpoints") {}

/**
 * Checkpoints in memory: gone with the Layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<Checkpoints> = Layer.sync(Checkpoints, () => {
  interface Row {
    position: number
    epoch: number
    owner: string | undefined
    expiresAt: number
    updatedAt: number
  }
  const rows = new Map<string, Row>()
  const toCheckpoint = (name: string, row: Row): Checkpoint => ({
    name,
    position: row.position,
    epoch: row.epoch,
    owner: Option.fromUndefinedOr(row.owner),
    expiresAt: DateTime.makeUnsafe(row.expiresAt),
    updatedAt: DateTime.makeUnsafe(row.updatedAt)
  })
  /** The row of a lease that still holds, with its time extended. */
  const held = (lease: Lease): Effect.Effect<Row, CheckpointFencedError> =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const row = rows.get(lease.name)
      if (row?.epoch !== lease.epoch || row.owner === undefined) {
        return Effect.fail(new CheckpointFencedError({ name: lease.name, epoch: lease.epoch }))
      }
      row.expiresAt = now + Duration.toMillis(lease.ttl)
      return Effect.succeed(row)
    })
  return Checkpoints.of({
    claim: (name, options) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const ttl = Duration.fromInputUnsafe(options.ttl)
        const row = rows.get(name) ?? { position: options.from ?? 0, epoch: 0, owner: undefined, expiresAt: 0, updatedAt: now }
        if (row.owner !== undefined && row.owner !== options.owner && row.expiresAt > now) {
          return Effect.fail(new CheckpointHeldError({ name, owner: row.owner }))
        }
        row.epoch++
        row.owner = options.owner
        row.expiresAt = now + Duration.toMillis(ttl)
        row.updatedAt = now
        rows.set(name, row)
        return Effect.succeed({ name, owner: options.owner, epoch: row.epoch, position: row.position, ttl })
      }),
    renew: (lease) => Effect.asVoid(held(lease)),
    advance: (lease, position) =>
      Effect.flatMap(held(lease), (row) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) => {
          if (row.position !== lease.position || position < lease.position) {
            return Effect.fail(new CheckpointFencedError({ name: lease.name, epoch: lease.epoch }))
          }
          row.position = position
          row.updatedAt = now
          return Effect.succeed({ ...lease, position })
        })
      ),
    release: (lease) =>
      Effect.sync(() => {
        const row = rows.get(lease.name)
        if (row?.epoch === lease.epoch) row.owner = undefined
      }),
    get: (name) => Effect.sync(() => Option.map(Option.fromUndefinedOr(rows.get(name)), (row) => toCheckpoint(name, row))),
    list: Effect.sync(() =>
      Array.from(rows, ([name, row]) => toCheckpoint(name, row)).sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    )
  })
})
