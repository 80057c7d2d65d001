/**
 * The names of checkpoints and of what follows under them: all of them are made here, and read back here alone.
 *
 * ```text
 *   subscription:<name>                    a subscription
 *   subscription:<name>:<k>/<n>            a partition of one, k from 0
 *   subscription:<name>:join/<n>           where a process without a partition is seen by those that have them
 *   <checkpoint>:join/1                    where a process that holds few leases is seen by the one that has this one
 *   relay:<name>                           a relay
 *   deadlines:<process manager>            the watch over deadlines; before the oldest that is set
 *   consumer:<group>                       whether a group of consumers is paused: it has no position
 * ```
 *
 * Subscriptions have names of their own: a process manager's is called `process:<name>`, a projection's
 * `projection:<name>@<version>`. All of these are stored, so they never change.
 */

/** The checkpoint of a subscription, also the name under which it is known in its process. */
export const subscriptionCheckpoint = (name: string): string => `subscription:${name}`

/** The checkpoint of one of several partitions, counted from 0. */
export const partitionCheckpoint = (name: string, index: number, count: number): string =>
  subscriptionCheckpoint(partitionName(name, index, count))

/** What a partition is called beside the others of its subscription. */
export const partitionName = (name: string, index: number, count: number): string => `${name}:${index}/${count}`

/** Where a process without a partition is seen by those that have them: as long as it holds this name. */
export const seatCheckpoint = (name: string, count: number): string => `${subscriptionCheckpoint(name)}:join/${count}`

/** Where a process that would take over a checkpoint is seen by the one that has it. */
export const seatOf = (checkpoint: string): string => `${checkpoint}:join/1`

/** Whether a checkpoint is the seat beside another. */
export const isSeat = (checkpoint: string): boolean => /:join\/\d+$/.test(checkpoint)

/** The checkpoint of a relay, and what its parked events stand under. */
export const relayCheckpoint = (name: string): string => `relay:${name}`

/** The checkpoint of the watch over a process manager's deadlines. */
export const deadlinesCheckpoint = (process: string): string => `deadlines:${process}`

/** Where it is said of a group of consumers that it is paused; its place in the messages the broker has. */
export const consumerCheckpoint = (group: string): string => `consumer:${group}`

/** The name of the subscription of a process manager. */
export const processName = (process: string): string => `process:${process}`

/** The name of the subscription that runs a version of a projection, as long as it runs async. */
export const projectionName = (name: string, version: number): string => `projection:${name}@${version}`

/** What a checkpoint is for. */
type Checkpointed =
  | { readonly _tag: "Subscription"; readonly name: string }
  | { readonly _tag: "Partition"; readonly name: string; readonly index: number; readonly count: number }
  | { readonly _tag: "Seat"; readonly name: string; readonly count: number }
  | { readonly _tag: "Relay"; readonly name: string }
  | { readonly _tag: "Deadlines"; readonly process: string }
  | { readonly _tag: "Consumer"; readonly group: string }
  /** None of eventfold's followers: a program's own. */
  | { readonly _tag: "Other"; readonly name: string }

/** A part that a name begins with, and what is behind it. */
const behind = (name: string, prefix: string) => (name.startsWith(prefix) ? name.slice(prefix.length) : undefined)

/** What a checkpoint is for, by its name. */
export const parseCheckpoint = (checkpoint: string): Checkpointed => {
  const subscription = behind(checkpoint, "subscription:")
  if (subscription !== undefined) {
    const [, name = "", place = "", count = ""] = /^(.*):(\d+|join)\/(\d+)$/s.exec(subscription) ?? []
    if (count === "") return { _tag: "Subscription", name: subscription }
    return place === "join"
      ? { _tag: "Seat", name, count: Number(count) }
      : { _tag: "Partition", name, index: Number(place), count: Number(count) }
  }
  const seat = /^(?:relay|deadlines):(.*):join\/(\d+)$/s.exec(checkpoint)
  if (seat !== null) return { _tag: "Seat", name: seat[1] ?? "", count: Number(seat[2]) }
  const relay = behind(checkpoint, "relay:")
  if (relay !== undefined) return { _tag: "Relay", name: relay }
  const process = behind(checkpoint, "deadlines:")
  if (process !== undefined) return { _tag: "Deadlines", process }
  const group = behind(checkpoint, "consumer:")
  if (group !== undefined) return { _tag: "Consumer", group }
  return { _tag: "Other", name: checkpoint }
}
