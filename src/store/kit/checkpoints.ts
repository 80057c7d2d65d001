import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { textFault } from "../../internal/json.ts"
import { CheckpointError, type Checkpoints, type Lease, type SeenEvent } from "../lease.ts"
import type { ProjectionVersion } from "../versions.ts"

const refuse = (operation: string, name: string, problem: string) =>
  Effect.fail(new CheckpointError({ operation, checkpoint: name, cause: new Error(problem) }))

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
export const prepareAdvance = (
  { name, position: before }: Lease,
  position: number,
  seen?: SeenEvent
): Effect.Effect<number, CheckpointError> => {
  const problem =
    (isPosition(position) && (position >= before || position === 0)
      ? undefined
      : `position must be a position from ${before} on, or 0, not ${position}`) ??
    (seen === undefined || (isPosition(seen.position) && seen.position > 0)
      ? undefined
      : `the position of the event that was seen must be that of an event, not ${seen.position}`) ??
    (seen === undefined ? undefined : nameProblem("the id of the event that was seen", seen.id))
  return problem === undefined ? Effect.succeed(position) : refuse("advance", name, problem)
}

/**
 * What is kept at a position of the event that was seen: at the beginning of the log, none.
 *
 * @category adapters
 * @since 0.2.0
 */
export const seenAt = (position: number, seen: SeenEvent | undefined): { readonly seen?: SeenEvent } =>
  seen === undefined || position === 0 ? {} : { seen: { position: seen.position, id: seen.id } }

/**
 * Checks the input of a reset.
 *
 * @category adapters
 * @since 0.2.0
 */
export const prepareReset = (name: string, position: number): Effect.Effect<number, CheckpointError> => {
  const problem =
    nameProblem("the name", name) ?? (isPosition(position) ? undefined : `position must be a position, not ${position}`)
  return problem === undefined ? Effect.succeed(position) : refuse("reset", name, problem)
}

const isVersion = (value: number): boolean => Number.isSafeInteger(value) && value >= 1

const versionProblem = (projection: string, version: number): string | undefined =>
  nameProblem("the name of the projection", projection) ??
  (isVersion(version) ? undefined : `version must be a whole number from 1, not ${version}`)

/**
 * Refuses what cannot be the version of a projection.
 *
 * @category adapters
 * @since 0.2.0
 */
export const prepareVersion = (operation: string, projection: string, version: number): Effect.Effect<void, CheckpointError> => {
  const problem = versionProblem(projection, version)
  return problem === undefined ? Effect.void : refuse(operation, projection, problem)
}

/**
 * Checks what is to be written of a version.
 *
 * @category adapters
 * @since 0.2.0
 */
export const prepareVersionPut = ({
  heard,
  projection,
  revision,
  target,
  version
}: Pick<ProjectionVersion, "heard" | "projection" | "revision" | "target" | "version">): Effect.Effect<void, CheckpointError> => {
  const problem =
    versionProblem(projection, version) ??
    (isPosition(heard) ? undefined : `heard must be a position, not ${heard}`) ??
    (Option.exists(target, (target) => !isPosition(target)) ? "target must be a position" : undefined) ??
    (isPosition(revision) ? undefined : `revision must be that of a row, or 0, not ${revision}`)
  return problem === undefined ? Effect.void : refuse("put", projection, problem)
}
