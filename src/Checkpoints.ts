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
import * as Semaphore from "effect/Semaphore"
import type * as SqlClient from "effect/sql/SqlClient"
import { textFault } from "./internal/json.ts"
import { byCodePoint } from "./internal/order.ts"

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
 * The lease has been superseded: the name has been claimed anew or released, or the checkpoint is no longer at the lease's
 * position. Nothing was written, and nothing more may be done for it.
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
 * The log ends before the checkpoint, as when the store was restored from a backup and the checkpoints were not. What is appended up
 * to there would pass for handled, so a subscription or a relay halts. Nothing was handled. Restore the checkpoints, too, or go on
 * under a new name: a subscription `from` the position up to which its handlers know the log as it is, a relay from the beginning,
 * for a message that is published again bears the same id; a projection is rebuilt.
 *
 * @category errors
 * @since 0.1.0
 */
export class CheckpointAheadError extends Schema.TaggedError<CheckpointAheadError>("eventfold/Checkpoints/CheckpointAheadError")(
  "CheckpointAheadError",
  {
    name: Schema.String,
    /** The checkpoint. */
    position: Schema.Number,
    /** The position of the newest event. */
    head: Schema.Number
  }
) {
  override get message(): string {
    return `The checkpoint "${this.name}" is at position ${this.position}, and the log ends at ${this.head}`
  }
}

/**
 * The storage of the checkpoints failed, or refused what makes no sense, such as an empty name; `cause` says which. Nothing was
 * written, unless the connection was lost on the way.
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
    /**
     * Takes the lease of `name`, if it is free, has run out, or is the owner's own. A new name begins at `from` (default: 0).
     *
     * A name has 1 to 255 characters; `ttl` is finite and longer than nothing.
     */
    readonly claim: (
      name: string,
      options: { readonly owner: string; readonly ttl: Duration.Input; readonly from?: number | undefined }
    ) => Effect.Effect<Lease, CheckpointHeldError | CheckpointError>
    /** Makes the lease last for its whole time from now. A lease that has run out is still good until another claims the name. */
    readonly renew: (lease: Lease) => Effect.Effect<void, CheckpointFencedError | CheckpointError>
    /**
     * Moves the checkpoint from the lease's position to `position`, which must not be lower, and renews the lease. What it
     * returns takes the lease's place: advancing twice from the same one is fenced. Position 0 says that all work is to be done
     * anew, and may always be taken.
     */
    readonly advance: (lease: Lease, position: number) => Effect.Effect<Lease, CheckpointFencedError | CheckpointError>
    /** Gives the name back, so that another may claim it at once. Does nothing when the lease has been superseded or released. */
    readonly release: (lease: Lease) => Effect.Effect<void, CheckpointError>
    /** What is known of `name`; none when it has never been claimed. */
    readonly get: (name: string) => Effect.Effect<Option.Option<Checkpoint>, CheckpointError>
    /** All names, in code point order. */
    readonly list: Effect.Effect<ReadonlyArray<Checkpoint>, CheckpointError>
    /**
     * Present where they are kept in a SQL database: inside a transaction of the client with this transaction service, what is
     * done is part of that transaction.
     */
    readonly transactionService?: SqlClient.SqlClient["transactionService"]
  }
>()("eventfold/Checkpoints") {}

/**
 * Holds a name while `work` runs: claims it, renews the lease three times in the time that it lasts, and gives it back at the
 * end. When the lease turns out to be lost, `work` is interrupted.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Checkpoints } from "eventfold"
 *
 * const program = Checkpoints.withLease("emails", { owner: "a", ttl: "15 seconds" }, (lease) =>
 *   Effect.succeed(`from ${lease.position} on, nobody but ${lease.owner}`)
 * )
 *
 * await Effect.runPromise(Effect.provide(program, Checkpoints.layerMemory)) // => "from 0 on, nobody but a"
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const withLease = <A, E, R>(
  name: string,
  options: Parameters<Checkpoints["Service"]["claim"]>[1],
  work: (lease: Lease) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | CheckpointHeldError | CheckpointFencedError | CheckpointError, R | Checkpoints> =>
  Checkpoints.use((checkpoints) =>
    Effect.acquireUseRelease(
      checkpoints.claim(name, options),
      (lease) => {
        const heartbeat = Effect.forever(Effect.andThen(Effect.sleep(beat(lease.ttl)), checkpoints.renew(lease)))
        // Whoever finds first that the lease is lost ends the other.
        return Effect.raceFirst(work(lease), heartbeat)
      },
      (lease) => Effect.ignore(checkpoints.release(lease))
    )
  )

/**
 * A third of a lease's time: how often {@link withLease} renews it, and how often others may ask for it.
 *
 * @category accessors
 * @since 0.1.0
 */
export const beat = (ttl: Duration.Input): Duration.Duration => Duration.times(Duration.fromInputUnsafe(ttl), 1 / 3)

const refuse = (operation: string, name: string, problem: string) =>
  Effect.fail(new CheckpointError({ operation, name, cause: new Error(problem) }))

const isPosition = (value: number): boolean => Number.isSafeInteger(value) && value >= 0

const nameProblem = (what: string, text: string): string | undefined => {
  const problem = text.length < 1 || text.length > 255 ? "must have 1 to 255 characters" : textFault(text)
  return problem === undefined ? undefined : `${what} ${problem}`
}

/**
 * Refuses what no storage would take as a name. For whoever builds another storage, like {@link prepareClaim} and
 * {@link prepareAdvance}: they make all storages equally strict.
 *
 * @category adapters
 * @since 0.1.0
 */
export const prepareName = (operation: string, name: string): Effect.Effect<string, CheckpointError> => {
  const problem = nameProblem("the name", name)
  return problem === undefined ? Effect.succeed(name) : refuse(operation, name, problem)
}

/**
 * Checks the input of a claim, and fills in what was not given.
 *
 * @category adapters
 * @since 0.1.0
 */
export const prepareClaim = (
  name: string,
  options: Parameters<Checkpoints["Service"]["claim"]>[1]
): Effect.Effect<Pick<Lease, "name" | "owner" | "ttl"> & { readonly from: number }, CheckpointError> => {
  const { from = 0, owner } = options
  const ttl = Duration.fromInputUnsafe(options.ttl)
  const problem =
    nameProblem("the name", name) ??
    nameProblem("the owner", owner) ??
    (Duration.isFinite(ttl) && Duration.isPositive(ttl)
      ? undefined
      : `ttl must be finite and longer than nothing, not ${Duration.format(ttl)}`) ??
    (isPosition(from) ? undefined : `from must be a position, not ${from}`)
  return problem === undefined ? Effect.succeed({ name, owner, ttl, from }) : refuse("claim", name, problem)
}

/**
 * Checks the input of an advance.
 *
 * @category adapters
 * @since 0.1.0
 */
export const prepareAdvance = (lease: Lease, position: number): Effect.Effect<number, CheckpointError> =>
  isPosition(position) && (position >= lease.position || position === 0)
    ? Effect.succeed(position)
    : refuse("advance", lease.name, `position must be a position from ${lease.position} on, or 0, not ${position}`)

/**
 * The service over checkpoints in memory, as they are in {@link layerMemory}; for a storage of one process that keeps them
 * elsewhere as well, such as a file. Leases run by the fiber's `Clock`.
 *
 * @category adapters
 * @since 0.1.0
 */
export const makeInMemory = (options?: {
  /** What was kept before. */
  readonly initial?: ReadonlyArray<Checkpoint> | undefined
  /**
   * Keeps all checkpoints, in code point order of their names, as they shall be; a change takes effect when this has succeeded.
   * Called for one change at a time, and not for renewals. Never interrupted.
   */
  readonly keep?: ((all: ReadonlyArray<Checkpoint>) => Effect.Effect<void, unknown>) | undefined
}): Checkpoints["Service"] => {
  const rows = new Map(options?.initial?.map((checkpoint) => [checkpoint.name, checkpoint]))
  const turn = Semaphore.makeUnsafe(1)
  const sorted = (rows: ReadonlyMap<string, Checkpoint>) => Array.from(rows.values()).sort((a, b) => byCodePoint(a.name, b.name))

  const change = <E>(
    operation: string,
    name: string,
    decide: (row: Checkpoint | undefined, now: number) => Effect.Effect<Checkpoint, E>
  ): Effect.Effect<Checkpoint, E | CheckpointError> =>
    turn.withPermit(
      Effect.uninterruptible(
        Effect.gen(function* () {
          const next = yield* decide(rows.get(name), yield* Clock.currentTimeMillis)
          if (options?.keep !== undefined && operation !== "renew") {
            yield* Effect.mapError(
              options.keep(sorted(new Map(rows).set(name, next))),
              (cause) => new CheckpointError({ operation, name, cause })
            )
          }
          rows.set(name, next)
          return next
        })
      )
    )

  const isOf = (row: Checkpoint | undefined, lease: Lease): row is Checkpoint =>
    row?.epoch === lease.epoch && Option.isSome(row.owner)
  const fenced = ({ epoch, name }: Lease) => Effect.fail(new CheckpointFencedError({ name, epoch }))
  const expiry = (now: number, ttl: Duration.Duration) => DateTime.makeUnsafe(now + Duration.toMillis(ttl))

  return Checkpoints.of({
    claim: Effect.fnUntraced(function* (name, options) {
      const { from, owner, ttl } = yield* prepareClaim(name, options)
      const { epoch, position } = yield* change("claim", name, (row, now): Effect.Effect<Checkpoint, CheckpointHeldError> => {
        const holder = row === undefined ? undefined : Option.getOrUndefined(row.owner)
        if (holder !== undefined && holder !== owner && DateTime.toEpochMillis((row as Checkpoint).expiresAt) > now) {
          return Effect.fail(new CheckpointHeldError({ name, owner: holder }))
        }
        return Effect.succeed({
          name,
          position: row?.position ?? from,
          epoch: (row?.epoch ?? 0) + 1,
          owner: Option.some(owner),
          expiresAt: expiry(now, ttl),
          updatedAt: DateTime.makeUnsafe(now)
        })
      })
      return { name, owner, epoch, position, ttl }
    }),
    renew: (lease) =>
      Effect.asVoid(
        change("renew", lease.name, (row, now) =>
          isOf(row, lease) ? Effect.succeed({ ...row, expiresAt: expiry(now, lease.ttl) }) : fenced(lease)
        )
      ),
    advance: Effect.fnUntraced(function* (lease, to) {
      const position = yield* prepareAdvance(lease, to)
      yield* change("advance", lease.name, (row, now) =>
        isOf(row, lease) && row.position === lease.position
          ? Effect.succeed({ ...row, position, expiresAt: expiry(now, lease.ttl), updatedAt: DateTime.makeUnsafe(now) })
          : fenced(lease)
      )
      return { ...lease, position }
    }),
    release: (lease) =>
      change("release", lease.name, (row) =>
        isOf(row, lease) ? Effect.succeed({ ...row, owner: Option.none() }) : fenced(lease)
      ).pipe(
        Effect.catchTag("CheckpointFencedError", () => Effect.void),
        Effect.asVoid
      ),
    get: (name) => Effect.map(prepareName("get", name), () => Option.fromUndefinedOr(rows.get(name))),
    list: Effect.sync(() => sorted(rows))
  })
}

/**
 * Checkpoints in memory: gone with the Layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<Checkpoints> = Layer.sync(Checkpoints, () => makeInMemory())
