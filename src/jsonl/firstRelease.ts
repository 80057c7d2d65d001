/**
 * What 0.1.0 kept of the versions of projections: the owner of the checkpoint `projection:<name>` was the active version, the position
 * of `projection:<name>@<version>` what had been heard of, and its owner the target, `inline` or `dropped`.
 */
import * as Option from "effect/Option"
import type { Checkpoint, ProjectionVersion } from "../store/Checkpoints.ts"
import type { KeptCheckpoints } from "../store/kit/index.ts"

/** A whole number from 1, if the text is one. */
const numberIn = (text: string | undefined): number | undefined =>
  text !== undefined && /^[1-9]\d{0,15}$/.test(text) ? Number(text) : undefined

/** What a checkpoint of 0.1.0 says of a version; nothing, when it is a checkpoint like any other. */
const readOld = (checkpoint: Checkpoint) => {
  const [, projection, suffix] = /^projection:([^@]+)(?:@(.*))?$/s.exec(checkpoint.name) ?? []
  const owner = Option.getOrUndefined(checkpoint.owner)
  const version = numberIn(suffix ?? owner)
  return projection === undefined || version === undefined
    ? undefined
    : { projection, version, isPointer: suffix === undefined, owner, checkpoint }
}
type Old = NonNullable<ReturnType<typeof readOld>>

/** What 0.1.0 has written, as it is kept today; nothing, when none of it is from 0.1.0. */
export const fromFirstRelease = ({ checkpoints, versions }: KeptCheckpoints): KeptCheckpoints | undefined => {
  const old = checkpoints.map(readOld).filter((old) => old !== undefined)
  if (old.length === 0) return undefined
  const key = ({ projection, version }: Pick<ProjectionVersion, "projection" | "version">) => `${version} ${projection}`
  const found = new Map(versions.map((row) => [key(row), row]))
  for (const each of old) if (!each.isPointer) found.set(key(each), toVersion(each))
  for (const each of old) {
    if (!each.isPointer) continue
    const row = found.get(key(each)) ?? { ...toVersion(each), target: Option.none() }
    found.set(key(each), { ...row, active: true, mode: row.mode === "dropped" ? "async" : row.mode })
  }
  return {
    checkpoints: checkpoints.filter((checkpoint) => readOld(checkpoint) === undefined),
    versions: Array.from(found.values())
  }
}

const toVersion = ({ checkpoint, owner, projection, version }: Old): ProjectionVersion => ({
  projection,
  version,
  mode: owner === "inline" || owner === "dropped" ? owner : "async",
  active: false,
  target: Option.fromUndefinedOr(numberIn(owner)),
  heard: checkpoint.position,
  revision: 1,
  updatedAt: checkpoint.updatedAt
})
