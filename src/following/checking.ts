/**
 * Whether a follower can work at all with the options that it is given: what never can is no outage, and is refused before it begins. Each
 * throws a `RangeError` that names the follower, the option and the value.
 */
import { nameFault } from "../definitions/names.ts"
import { shown, wholeFrom, wholeOrEndless } from "../internal/counting.ts"
import { passing } from "../internal/lasting.ts"
import type { OnFailure, Options } from "./model.ts"
import { partitionCheckpoint, relayCheckpoint, seatCheckpoint, subscriptionCheckpoint } from "./names.ts"

/** What a follower is, and what its user calls it. */
export interface Owner {
  readonly kind: "Subscription" | "Projection" | "ProcessManager" | "Relay"
  readonly title: string
}

/** The name may be what is refused: too long, or nothing that can be shown. */
const ownerOf = ({ kind, title }: Owner): string => {
  const short = title.length > 60 ? `${title.slice(0, 59)}…` : title
  return `${kind} ${JSON.stringify(short)}`
}

const checkName = (owner: Owner, checkpoints: ReadonlyArray<string>): void => {
  for (const checkpoint of checkpoints) {
    const fault = nameFault(checkpoint)
    if (fault === undefined) continue
    throw new RangeError(`${ownerOf(owner)}: the name cannot be that of a follower: its checkpoint's name ${fault}`)
  }
}

/** Of a subscription, or of what runs as one. */
export const checkSubscription = (
  owner: Owner,
  { batch, concurrency, from, lease, name, partitions }: Options<OnFailure, boolean>
): void => {
  const whose = ownerOf(owner)
  if (batch !== undefined) wholeOrEndless(1, `${whose}: batch`, batch)
  if (concurrency !== undefined) wholeOrEndless(1, `${whose}: concurrency`, concurrency)
  if (partitions !== undefined) wholeFrom(1, `${whose}: partitions`, partitions)
  if (lease !== undefined) passing(`${whose}: lease`, lease)
  if (from !== undefined && from !== "start" && from !== "end" && !(Number.isSafeInteger(from) && from >= 0)) {
    throw new RangeError(
      `${whose}: from must be "start", "end" or a position, which is a whole number from 0, not ${shown(from)}`
    )
  }
  checkName(
    owner,
    partitions === undefined
      ? [subscriptionCheckpoint(name)]
      : [partitionCheckpoint(name, partitions - 1, partitions), seatCheckpoint(name, partitions)]
  )
}

/** Of a relay. */
export const checkRelay = ({ lease, name }: Pick<Options<OnFailure, boolean>, "lease" | "name">): void => {
  const owner = { kind: "Relay", title: name } as const
  if (lease !== undefined) passing(`${ownerOf(owner)}: lease`, lease)
  checkName(owner, [relayCheckpoint(name)])
}
