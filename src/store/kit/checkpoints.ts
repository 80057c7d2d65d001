import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import { textFault } from "../../internal/json.ts"
import { byCodePoint } from "../../internal/order.ts"
import {
  type Checkpoint,
  CheckpointError,
  CheckpointFencedError,
  CheckpointHeldError,
  Checkpoints,
  type Lease
} from "../lease.ts"

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
 * The service over checkpoints in memory, as they are in `Checkpoints.layerMemory`; for a storage of one process that keeps them
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
