/** Followers: what this process runs, and what the checkpoints say of those of others. */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { Group } from "../../consuming/members.ts"
import { type LogFollower, reasonOf, type Status, statusNow } from "../../following/engine.ts"
import { consumerCheckpoint, parseCheckpoint, subscriptionCheckpoint } from "../../following/names.ts"
import type { Checkpoint } from "../../store/Checkpoints.ts"
import type { Follower, FollowerFailure } from "../contract/followers.ts"
import type { Payloads } from "../contract/events.ts"
import { orUnavailable, type Parts } from "../parts.ts"
import { makeRows } from "./rows.ts"

/** What is known of a follower at one moment; what is known of it over time comes from the sampler. */
export type Moment = Omit<Follower, "lags" | "rate" | "since" | "failure"> & {
  readonly failure: (Omit<FollowerFailure, "since"> & { readonly since: DateTime.Utc | undefined }) | undefined
  readonly movedAt: DateTime.Utc | undefined
}

/** What a checkpoint is for, where nobody here runs it: by its name, which is all there is. */
const guess = (checkpoint: string): Pick<Moment, "kind" | "title"> | undefined => {
  const parsed = parseCheckpoint(checkpoint)
  switch (parsed._tag) {
    case "Relay":
      return { kind: "relay", title: parsed.name }
    case "Deadlines":
      return { kind: "deadlines", title: parsed.process }
    case "Subscription":
    case "Partition": {
      const [, kind, title] = /^(projection|process):(.+)$/s.exec(parsed.name) ?? []
      return kind === undefined || title === undefined
        ? { kind: "subscription", title: parsed.name }
        : { kind: kind as "projection" | "process", title }
    }
    default:
      return undefined
  }
}

const known = (follower: LogFollower): Pick<Moment, "kind" | "title"> => ({
  kind: follower.part === "subscription" ? follower.runs : follower.part,
  title: follower.title
})

/** The name that a follower's events are parked under. */
export const parkedUnder = (checkpoint: string): string => {
  const parsed = parseCheckpoint(checkpoint)
  return parsed._tag === "Subscription" || parsed._tag === "Partition" ? parsed.name : checkpoint
}

const failureOf = ({ cause, failed }: Status): Moment["failure"] =>
  Option.match(cause, {
    onNone: () => undefined,
    onSome: (cause) => ({
      cause: reasonOf(cause),
      position: failed?.position ?? null,
      stream: failed?.stream ?? null,
      type: failed?.type ?? null,
      attempts: failed?.attempts ?? 0,
      since: failed?.since
    })
  })

const ownerOf = ({ owner }: Checkpoint): string | null => Option.getOrNull(owner)

/** How far a checkpoint stands; a watch over deadlines has seen more than it says. */
const reachOf = (checkpoint: Checkpoint): number =>
  parseCheckpoint(checkpoint.name)._tag === "Deadlines"
    ? Math.max(checkpoint.position, checkpoint.seen?.position ?? 0)
    : checkpoint.position

const partsOf = (checkpoints: ReadonlyArray<Checkpoint>, status: Status | undefined, now: number, head: number) => {
  const here = (status as { readonly partitions?: ReadonlyArray<Status> } | undefined)?.partitions
  return checkpoints.flatMap((row) => {
    const parsed = parseCheckpoint(row.name)
    if (parsed._tag !== "Partition") return []
    const own = here?.[parsed.index]
    const state = own !== undefined && own.state !== "standby" ? own.state : stateOf(row, now)
    return [{ index: parsed.index, state, position: row.position, lag: Math.max(0, head - row.position), owner: ownerOf(row) }]
  })
}

/** What can be told of one that another process runs, if any does. */
const stateOf = (row: Checkpoint, now: number): Follower["state"] => {
  if (row.paused === true) return "paused"
  return Option.isSome(row.owner) && row.expiresAt.epochMilliseconds > now ? "unknown" : "stopped"
}

/** All checkpoints of one follower, by the name of the whole. */
const wholeOf = (checkpoint: string): string => {
  const parsed = parseCheckpoint(checkpoint)
  return parsed._tag === "Partition" ? subscriptionCheckpoint(parsed.name) : checkpoint
}

const momentOf = (
  name: string,
  rows: ReadonlyArray<Checkpoint>,
  follower: LogFollower | undefined,
  now: number,
  head: number,
  parked: ReadonlyMap<string, number>
): Moment | undefined => {
  const about = follower === undefined ? guess(name) : known(follower)
  if (about === undefined) return undefined
  const status = follower === undefined ? undefined : statusNow(follower)
  const [first] = rows
  const position = rows.length === 0 ? (status?.position ?? 0) : Math.min(...rows.map(({ position }) => position))
  const reach = rows.length === 0 ? position : Math.min(...rows.map(reachOf))
  const isElsewhere = status === undefined || status.state === "standby"
  const elsewhere = first === undefined ? "stopped" : stateOf(first, now)
  return {
    name,
    ...about,
    // Who stands by here says nothing of whoever works.
    state: isElsewhere && (status === undefined || elsewhere === "paused") ? elsewhere : (status?.state ?? "stopped"),
    position,
    lag: Math.max(0, head - reach),
    owner: rows.map(ownerOf).find((owner) => owner !== null) ?? null,
    here: follower !== undefined,
    parked: parked.get(parkedUnder(name)) ?? 0,
    failure: status === undefined ? undefined : failureOf(status),
    partitions: partsOf(rows, status, now, head),
    movedAt: first?.updatedAt
  }
}

/** Whether this process has consumers of a group: one whose consumers have ended is still known. */
export const isHere = (groups: ReadonlyMap<string, Group>, group: string): boolean => (groups.get(group)?.members.size ?? 0) > 0

/** A group of consumers that is paused, and that this process has no consumers of. */
const pausedGroup = (group: string, letters: ReadonlyMap<string, number>, movedAt: DateTime.Utc): Moment => ({
  name: consumerCheckpoint(group),
  title: group,
  kind: "consumer",
  state: "paused",
  position: 0,
  lag: 0,
  owner: null,
  here: false,
  parked: letters.get(group) ?? 0,
  failure: undefined,
  partitions: [],
  movedAt
})

/** A group of consumers, as a follower. */
const consumerMoment = (group: Group, letters: ReadonlyMap<string, number>): Moment => {
  const { cause, state } = SubscriptionRef.getUnsafe(group.status)
  return {
    name: consumerCheckpoint(group.name),
    title: group.name,
    kind: "consumer",
    state,
    position: 0,
    lag: 0,
    owner: null,
    here: true,
    parked: letters.get(group.name) ?? 0,
    failure: Option.match(cause, {
      onNone: () => undefined,
      onSome: (cause: Cause.Cause<unknown>) => ({
        cause: reasonOf(cause),
        position: null,
        stream: null,
        type: null,
        attempts: 0,
        since: undefined
      })
    }),
    partitions: [],
    movedAt: undefined
  }
}

/** Followers as an operator may see them: why one stands may quote the event that it stands at. */
export const toldTo = <
  F extends { readonly failure: { readonly cause: string; readonly position: number | null } | null | undefined }
>(
  parts: Parts,
  payloads: Payloads,
  followers: ReadonlyArray<F>
): Effect.Effect<ReadonlyArray<F>> => {
  if (payloads === "shown") return Effect.succeed(followers)
  const { saying } = makeRows(parts, payloads)
  return Effect.forEach(followers, (follower) => {
    const { failure } = follower
    if (failure === null || failure === undefined) return Effect.succeed(follower)
    const told =
      failure.position === null ? Effect.succeed(saying.other(failure.cause)) : saying.about(failure.cause, failure.position)
    return Effect.map(told, (cause): F => ({ ...follower, failure: { ...failure, cause } }))
  })
}

const none: ReadonlyMap<string, number> = new Map()

/** All followers at this moment, by name. `lenient`: also where what they have set aside cannot be counted. */
export const followersNow = Effect.fnUntraced(function* (parts: Parts, { lenient = false } = {}) {
  const counted = <E>(counts: Effect.Effect<ReadonlyMap<string, number>, E> | undefined) => {
    const all = counts ?? Effect.succeed(none)
    return lenient ? Effect.orElseSucceed(all, () => none) : all
  }
  const { checkpoints, letters, parking, store } = parts
  const [rows, versions, head, parked, dead, here, groups, now] = yield* orUnavailable(
    Effect.all([
      checkpoints.list,
      checkpoints.versions.list(),
      store.head,
      counted(parking?.counts),
      counted(letters?.counts),
      parts.followers,
      parts.groups,
      Clock.currentTimeMillis
    ])
  )
  // What is behind no event is no follower: versions that run inline or were dropped.
  const still = new Set(
    versions.flatMap(({ mode, projection, version }) =>
      mode === "async" ? [] : [subscriptionCheckpoint(`projection:${projection}@${version}`)]
    )
  )
  const byName = new Map<string, Array<Checkpoint>>(Array.from(here.keys(), (name) => [name, []]))
  const elsewhere: Array<Moment> = []
  for (const row of rows) {
    const parsed = parseCheckpoint(row.name)
    if (parsed._tag === "Seat") continue
    if (parsed._tag === "Consumer") {
      if (row.paused === true && !isHere(groups, parsed.group)) elsewhere.push(pausedGroup(parsed.group, dead, row.updatedAt))
      continue
    }
    const name = wholeOf(row.name)
    byName.set(name, [...(byName.get(name) ?? []), row])
  }
  const moments = Array.from(byName, ([name, rows]) =>
    still.has(name) && !here.has(name) ? undefined : momentOf(name, rows, here.get(name), now, head, parked)
  ).filter((moment) => moment !== undefined)
  const told = new Set(elsewhere.map(({ title }) => title))
  const consumers = Array.from(groups.values())
    .filter(({ name }) => !told.has(name))
    .map((group) => consumerMoment(group, dead))
  return { head, now, moments: [...moments, ...consumers, ...elsewhere].sort((a, b) => (a.name < b.name ? -1 : 1)) }
})
