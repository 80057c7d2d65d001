/**
 * A subscription with partitions: decides, three times in the time of a lease, how many of them this process may hold.
 *
 * Who else is there is read from the checkpoints: the owners of the partitions, and one process that has none yet and waits in the
 * seat. All of them, in the order of their names, get the same number, the first ones one more if it does not come out even.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { makeEpisodes } from "../internal/episodes.ts"
import { beat, type Checkpoint, type CheckpointError, Checkpoints, type Lease } from "../store/Checkpoints.ts"
import { EventStore } from "../store/EventStore.ts"
import type { Controls } from "./followers.ts"
import type { Handling } from "./handling.ts"
import { type OnFailure, type Options, PartitionsChangedError, type Requirements, type State, type Status } from "./model.ts"
import { parseCheckpoint, partitionCheckpoint, seatCheckpoint, subscriptionCheckpoint } from "./names.ts"
import { makeTail, quotaOf } from "./partitions.ts"
import { Halted } from "./body.ts"
import { reasonOf, tellFailure } from "../sql/reasons.ts"
import { subscribe, type Subscribed } from "./subscribing.ts"
import { leaseTime } from "./work.ts"

/** Fails when a subscription has checkpoints of another number of partitions. */
export const checkPartitions = (name: string, partitions: number | undefined, all: ReadonlyArray<Checkpoint>) => {
  const others = all.flatMap((checkpoint) => {
    const plain = checkpoint.name === subscriptionCheckpoint(name)
    const of = parseCheckpoint(checkpoint.name)
    if (!plain && (of._tag !== "Partition" || of.name !== name)) return []
    const before = of._tag === "Partition" && !plain ? of.count : undefined
    return before === partitions ? [] : [{ before, position: checkpoint.position }]
  })
  const [other] = others
  if (other === undefined) return Effect.void
  const before = Option.fromUndefinedOr(other.before)
  const position = others.reduce((least, { position }) => Math.min(least, position), other.position)
  return Effect.fail(new Halted(Cause.fail(new PartitionsChangedError({ subscription: name, before, position }))))
}

/** The states that a partition of this process can be in, those that need attention first. */
const urgency: ReadonlyArray<State> = ["halted", "backing-off", "starting", "catching-up", "paused", "live", "stopped"]

/** The status of the whole; `refused` is why no partition can be held. */
const summaryOf = (name: string, parts: ReadonlyArray<Subscribed>, refused: Halted | undefined): Status => {
  const partitions = parts.map(({ status }) => SubscriptionRef.getUnsafe(status))
  const held = partitions.filter(({ state }) => state !== "standby")
  const first = urgency.flatMap((state) => held.filter((status) => status.state === state))[0]
  return {
    name,
    state: refused === undefined ? (first?.state ?? "standby") : "halted",
    position: held.reduce((lowest, { position }) => Math.min(lowest, position), held[0]?.position ?? 0),
    lag: held.reduce((greatest, { lag }) => Math.max(greatest, lag), 0),
    cause: refused === undefined ? (first?.cause ?? Option.none()) : Option.some(refused.cause),
    ...(refused === undefined && first?.failed !== undefined && { failed: first.failed }),
    partitions
  }
}

/** What the checkpoints tell of the partitions. */
interface View {
  readonly owner: string
  /** Who holds each partition; nobody whose lease has not been renewed for its whole time. */
  readonly holders: ReadonlyArray<string | undefined>
  /** Whether the lease of each has run out, by the clock of this process. */
  readonly expired: ReadonlyArray<boolean>
  /** Who waits in the seat. */
  readonly waiting: string | undefined
  /** Which of them this process runs, and which of these turned out to be held by others. */
  readonly runs: (index: number) => boolean
  readonly standsBy: (index: number) => boolean
}

/** Which partitions this process begins and ends, and whether it takes the seat or leaves it. */
export const shareOut = ({ expired, holders, owner, runs, standsBy, waiting }: View) => {
  const indices = holders.map((_, index) => index)
  const members = new Set(holders.filter((holder) => holder !== undefined))
  for (const one of [owner, waiting]) if (one !== undefined && members.size < holders.length) members.add(one)
  const quota = quotaOf(owner, members, holders.length)
  const lost = indices.filter((index) => runs(index) && standsBy(index))
  const held = indices.filter((index) => runs(index) && !standsBy(index))
  // Whether a lease has run out decides who keeps it, when it is claimed; here it is a guess by the clock of this process.
  const free = indices.filter((index) => {
    const holder = holders[index]
    return (!runs(index) || standsBy(index)) && (holder === undefined || expired[index] === true || holder === owner)
  })
  const begins = free.slice(0, Math.max(0, quota - held.length))
  const seen = holders.includes(owner)
  return {
    ends: [...lost, ...held.slice(quota)],
    begins,
    // One that holds no lease is not seen, even when what it has taken has halted.
    seat: quota > 0 && !seen && begins.length === 0 ? ("take" as const) : seen ? ("leave" as const) : undefined
  }
}

/** Who holds a checkpoint. A lease that has not been renewed for its whole time is nobody's, whatever the clocks of others say. */
const makeHolder = (ttl: Duration.Duration) => {
  /** When each checkpoint was first seen as it is. */
  const seen = new Map<string, { readonly expiresAt: number; readonly since: number }>()
  return (checkpoint: Checkpoint | undefined, now: number): string | undefined => {
    if (checkpoint === undefined) return undefined
    const expiresAt = DateTime.toEpochMillis(checkpoint.expiresAt)
    const before = seen.get(checkpoint.name)
    const since = before?.expiresAt === expiresAt ? before.since : now
    seen.set(checkpoint.name, { expiresAt, since })
    return now - since < Duration.toMillis(ttl) ? Option.getOrUndefined(checkpoint.owner) : undefined
  }
}

/** What the balance is kept with. */
interface Membership {
  readonly name: string
  readonly owner: string
  readonly ttl: Duration.Duration
  readonly checkpoints: Checkpoints["Service"]
  readonly parts: ReadonlyArray<Subscribed>
  readonly running: FiberMap.FiberMap<number, void>
  readonly holder: ReturnType<typeof makeHolder>
  seat: Lease | undefined
}

/** Begins and ends partitions, so that this process holds its share. */
const balance = Effect.fnUntraced(function* (group: Membership): Effect.fn.Return<void, CheckpointError | Halted> {
  const { checkpoints, holder, name, owner, parts, running, ttl } = group
  const all = yield* checkpoints.list
  yield* checkPartitions(name, parts.length, all)
  const now = yield* Clock.currentTimeMillis
  const known = new Map(all.map((checkpoint) => [checkpoint.name, checkpoint]))
  const rows = parts.map((_, index) => known.get(partitionCheckpoint(name, index, parts.length)))
  const seatName = seatCheckpoint(name, parts.length)
  const { begins, ends, seat } = shareOut({
    owner,
    holders: rows.map((row) => holder(row, now)),
    expired: rows.map((row) => row !== undefined && DateTime.toEpochMillis(row.expiresAt) <= now),
    waiting: holder(known.get(seatName), now),
    runs: (index) => FiberMap.hasUnsafe(running, index),
    standsBy: (index) => SubscriptionRef.getUnsafe((parts[index] as Subscribed).status).state === "standby"
  })
  yield* Effect.forEach(ends, (index) => FiberMap.remove(running, index), { concurrency: "unbounded", discard: true })
  for (const index of begins) {
    const { main, show } = parts[index] as Subscribed
    yield* show("starting")
    yield* FiberMap.run(running, index, Effect.ignore(Effect.ensuring(main, show("standby"))))
  }
  if (seat === "take") {
    group.seat = yield* checkpoints
      .claim(seatName, { owner, ttl })
      .pipe(Effect.catchTag("CheckpointHeldError", () => Effect.undefined))
  } else if (seat === "leave" && group.seat !== undefined) {
    yield* checkpoints.release(group.seat)
    group.seat = undefined
  }
})

/** Runs a subscription with partitions until its scope closes. */
export const makeGroup = Effect.fnUntraced(function* <R, P extends OnFailure, T extends boolean>(
  options: Options<P, T> & { readonly partitions: number },
  handling: Handling<R>,
  { from, owner }: { readonly from: number | undefined; readonly owner: string }
): Effect.fn.Return<
  Controls<Status> & Pick<Subscribed, "retry" | "retryParked"> & { readonly start: Effect.Effect<void, never, Scope.Scope> },
  never,
  Requirements<R, P, T> | Scope.Scope
> {
  const { name, partitions: count } = options
  const ttl = leaseTime(options)
  const store: EventStore["Service"] = yield* EventStore
  const checkpoints: Checkpoints["Service"] = yield* Checkpoints
  const status = yield* SubscriptionRef.make<Status>({ name, state: "starting", position: 0, lag: 0, cause: Option.none() })
  const parts: Array<Subscribed> = []
  let refused: Halted | undefined
  const onChange = SubscriptionRef.update(status, () => summaryOf(name, parts, refused))
  const episodes = makeEpisodes(`the subscription "${name}"`)
  const tail = yield* makeTail((after) => store.subscribe({ after, filter: handling.filter }))
  for (let index = 0; index < count; index++) {
    parts.push(yield* subscribe(options, handling, { from, owner, partition: { index, count, tail, episodes, onChange } }))
  }
  const every = (effect: (part: Subscribed) => Effect.Effect<void>) =>
    Effect.forEach(parts, effect, { concurrency: "unbounded", discard: true })

  const start = Effect.gen(function* () {
    yield* Effect.addFinalizer(() => every(({ show }) => show("stopped")))
    const running = yield* FiberMap.make<number, void>()
    const group: Membership = { name, owner, ttl, checkpoints, parts, running, holder: makeHolder(ttl), seat: undefined }
    const watch = balance(group).pipe(
      Effect.as(undefined),
      Effect.catchIf((error): error is Halted => error instanceof Halted, Effect.succeed),
      Effect.flatMap((halted) => {
        const before = refused
        refused = halted
        if (halted === undefined) return onChange
        const log =
          before === undefined
            ? tellFailure(Effect.logError, `eventfold: the subscription "${name}" halts`, halted.cause)
            : Effect.void
        return Effect.all([FiberMap.clear(running), log, onChange], { discard: true })
      }),
      Effect.andThen(Effect.suspend(() => episodes.recovered(group))),
      Effect.catchCause((cause) => {
        const what = `eventfold: the group of the subscription "${name}" cannot be seen`
        return episodes.failed(group, { what, why: reasonOf(cause), cause })
      })
    )
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => (group.seat === undefined ? Effect.void : Effect.ignore(checkpoints.release(group.seat))))
    )
    yield* watch.pipe(
      Effect.andThen(Effect.sleep(beat(ttl))),
      Effect.forever,
      Effect.annotateLogs({ subscription: name }),
      Effect.forkScoped
    )
  })

  return {
    status,
    pause: every(({ pause }) => pause),
    resume: every(({ resume }) => resume),
    retry: (parts[0] as Subscribed).retry,
    retryParked: (parts[0] as Subscribed).retryParked,
    start
  }
})
