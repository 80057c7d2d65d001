/**
 * Retention: what is kept for how long. What has had its time is removed, or moved to an archive; positions and versions never move.
 *
 * Where an event was, a tombstone stands: its row, id, type, place and digest stay, what it said is gone. `src/guides/retention.md` tells what
 * every reader makes of that.
 *
 * @since 0.2.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { nameFault } from "../definitions/names.ts"
import { lastingOption } from "../internal/lasting.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import { Archive, type ArchiveError } from "../store/Archive.ts"
import { Checkpoints } from "../store/Checkpoints.ts"
import { categoryOf, EventStore, EventStoreError, isTombstone, type Maintenance, StoreFailure } from "../store/EventStore.ts"
import { ParkedEvents } from "../store/ParkedEvents.ts"
import { rollOut } from "../internal/rollOut.ts"
import { Snapshots } from "../store/Snapshots.ts"
import { behind, type Followers, processCategories } from "./followers.ts"
import {
  eachFor,
  lastingFault,
  type Planned,
  type Policy,
  type RetentionError,
  RetentionFailed,
  RetentionRefused,
  type Status
} from "./model.ts"
import { inUse, type Part, partsOf, type Planning, standingOf } from "./planning.ts"
import { remove } from "./removing.ts"

export {
  type BehindSnapshot,
  behindSnapshot,
  type EachFor,
  eachFor,
  type Planned,
  type Policy,
  type RetentionError,
  RetentionFailed,
  RetentionRefused,
  type Status
} from "./model.ts"

/**
 * What a `Retention` does by itself.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /**
   * What is kept, by category. A category without a policy is kept for ever, save those that eventfold itself writes, see {@link defaults}: name one
   * to have it otherwise.
   */
  readonly policies: Readonly<Record<string, Policy>>
  /** How many events are removed in a second, at most. Default: 500, which leaves the database to those who append. */
  readonly pace?: number | undefined
  /** How often it runs by itself, from when the Layer is built; `"never"` for when {@link run} is called alone. Default: 1 hour. */
  readonly every?: Duration.Input | "never" | undefined
}

/**
 * The policies of what eventfold itself writes to the log. The messages of a conversation (`$bus`), answers to requests of a cluster (`$request`) and the
 * history of a process that waits for nothing go 90 days after their last event; what operators did (`$operations`) after a year, each by itself. Answers to commands with an id
 * (`$command`) are kept for ever, because an id is good for as long as its answer: `Answers.layerSql` keeps them in a table, and not for ever.
 *
 * @category policies
 * @since 0.2.0
 */
export const defaults = {
  $bus: { keep: "90 days" },
  /** So long may a durable command lie in the tables of a cluster before it is sent again, and is known for one that has taken effect. */
  $request: { keep: "90 days" },
  $operations: { keep: eachFor("365 days") },
  /** Of the streams of each process manager that has a checkpoint. */
  processes: { keep: "90 days" }
} as const satisfies Readonly<Record<string, Policy>>

/**
 * The service: {@link layer} provides it.
 *
 * @category services
 * @since 0.2.0
 */
export class Retention extends Context.Service<
  Retention,
  {
    /** What would be removed now, and who is in the way. Nothing is changed. */
    readonly plan: Effect.Effect<ReadonlyArray<Planned>, RetentionError>
    /**
     * Removes what has had its time, and tells what it was. Of a category that a follower has not yet seen nothing is removed, nor of one whose
     * policy cannot be carried out; the others are dealt with, and at the end that is the error. It may be interrupted, killed, and run by
     * several at once. Where `Snapshots` are provided, those that others have taken the place of are dropped after 30 to 60 days: see their `prune`.
     */
    readonly run: Effect.Effect<ReadonlyArray<Planned>, RetentionError>
    /** How far the run of this process is, or what its last one came to. */
    readonly status: Effect.Effect<Status>
  }
>()("eventfold/Retention") {}

/**
 * See the service: the dry run.
 *
 * @category accessors
 * @since 0.2.0
 */
export const plan: Effect.Effect<ReadonlyArray<Planned>, RetentionError, Retention> = Retention.use(({ plan }) => plan)

/**
 * See the service.
 *
 * @category accessors
 * @since 0.2.0
 */
export const run: Effect.Effect<ReadonlyArray<Planned>, RetentionError, Retention> = Retention.use(({ run }) => run)

/**
 * See the service.
 *
 * @category accessors
 * @since 0.2.0
 */
export const status: Effect.Effect<Status, never, Retention> = Retention.use(({ status }) => status)

const failed = (what: string) => (cause: { readonly message: string }) =>
  new RetentionFailed({ problem: `${what}: ${cause.message}`, cause })

const maintenanceOf = (
  { maintenance, tenant }: EventStore["Service"],
  operation: string
): Effect.Effect<Maintenance, EventStoreError> => {
  if (maintenance !== undefined) return Effect.succeed(maintenance)
  const detail =
    tenant === undefined
      ? "this store cannot remove events: its driver has no maintenance"
      : `events of the tenant ${JSON.stringify(tenant)} cannot be removed: it shares a store by a tag, which a tombstone has not. Move it to a store of its own with Tenants.move, or to shared tables`
  return Effect.fail(new EventStoreError({ reason: new StoreFailure({ operation, detail }) }))
}

/** What all of a `Retention` have at hand. */
interface Work {
  readonly store: EventStore["Service"]
  readonly maintenance: Maintenance
  readonly followers: Followers
  readonly snapshots: Snapshots["Service"] | undefined
  readonly archive: Archive["Service"] | undefined
  readonly paced: Pacer
}

/** Removes so many events once those before have had the time that they may take. */
type Pacer = <A, E>(events: number, removal: Effect.Effect<A, E>) => Effect.Effect<A, E>

/** So many events a second at most. */
const makePacer = (pace: number): Pacer => {
  let free = 0
  let taking = 0
  return (events, removal) =>
    Effect.gen(function* () {
      // A clock that was put back makes nobody wait for longer than those before may take.
      const rest = Math.floor(Math.min(free - (yield* Clock.currentTimeMillis), taking))
      if (rest > 0) yield* Effect.sleep(rest)
      taking = (events / pace) * 1000
      free = (yield* Clock.currentTimeMillis) + taking
      return yield* removal
    })
}

/** The policies as they are now: those of process managers by the checkpoints that these have. */
const policiesOf = Effect.fnUntraced(function* (work: Work, { policies }: Options) {
  const processes = yield* processCategories(work.followers)
  const { processes: ofProcesses, ...own } = defaults
  const all: Record<string, Policy> = { ...own }
  for (const category of processes) all[category] = ofProcesses
  return { processes, policies: Object.entries({ ...all, ...policies }).filter(([, { keep }]) => keep !== "for ever") }
})

const afterwardsOf = ({ afterwards = "tombstone" }: Policy) => afterwards

/** What a policy would remove, and who is in the way. */
const planOf = Effect.fnUntraced(function* (
  work: Work,
  planning: Planning,
  category: string,
  policy: Policy
): Effect.fn.Return<Planned & { readonly parts: ReadonlyArray<Part> }, RetentionFailed> {
  const parts: Array<Part> = []
  let events = 0
  yield* Effect.mapError(
    Stream.runForEach(partsOf(planning, category, policy), (part) =>
      Effect.map(Stream.runCount(standingOf(planning, part)), (count) => {
        events += count
        parts.push(part)
      })
    ),
    (error) => (error._tag === "RetentionFailed" ? error : failed(`the streams of ${category} cannot be read`)(error))
  )
  const last = parts.reduce((last, { position }) => Math.max(last, position), 0)
  const blockedBy = parts.length === 0 ? [] : yield* behind(work.followers, last, new Set(parts.map(({ stream }) => stream)))
  return { category, afterwards: afterwardsOf(policy), streams: parts.length, events, blockedBy, parts }
})

const reasonOf = ({ keep }: Policy): string => {
  if (keep === "for ever") return "retention"
  if (typeof keep === "object" && "_tag" in keep && keep._tag === "BehindSnapshot") {
    return `retention: ${keep.versions} versions behind a snapshot`
  }
  const duration =
    typeof keep === "object" && "_tag" in keep && keep._tag === "EachFor"
      ? keep.duration
      : Duration.fromInputUnsafe(keep as Duration.Input)
  return `retention: older than ${Duration.format(duration)}`
}

/** How many events are held in memory at once. */
const mostAtOnce = 20_000

/** Removes the parts of a plan, so many events at a time. */
const carryOut = Effect.fnUntraced(function* (
  work: Work,
  planning: Planning,
  { category, parts }: { readonly category: string; readonly parts: ReadonlyArray<Part> },
  policy: Policy,
  onRemoved: (count: number) => void
): Effect.fn.Return<number, RetentionError | EventStoreError | ArchiveError> {
  const { maintenance, paced, snapshots } = work
  const size = Math.max(1, Math.min(mostAtOnce, maintenance.batch))
  const archive = afterwardsOf(policy) === "archive" ? work.archive : undefined
  if (afterwardsOf(policy) === "archive" && archive === undefined) {
    return yield* new RetentionFailed({ problem: `the policy of ${category} needs an Archive, which is not provided` })
  }
  let removed = 0
  const removeNow = Effect.fnUntraced(function* (events: ReadonlyArray<RecordedEvent>, closed: ReadonlyMap<string, number>) {
    const last = events.reduce((last, { position }) => Math.max(last, position), 0)
    // A checkpoint may have been set back meanwhile.
    const by = yield* behind(work.followers, last, new Set(events.map(({ stream }) => stream)))
    if (by.length > 0) return yield* new RetentionRefused({ of: [category], by })
    const count = yield* remove(maintenance, archive, events, reasonOf(policy), closed)
    removed += count
    onRemoved(count)
    return count
  })
  let held: Array<RecordedEvent> = []
  let closed = new Map<string, number>()
  const flushHeld = Effect.suspend(() => {
    const [events, versions] = [held, closed]
    held = []
    closed = new Map()
    return events.length === 0 ? Effect.succeed(0) : paced(events.length, removeNow(events, versions))
  })
  for (const { stream, to, whole } of parts) {
    const isLong = whole !== undefined && to > mostAtOnce
    if (whole !== undefined && !isLong) {
      // It goes at once.
      if (held.length + to > mostAtOnce) yield* flushHeld
      const found = yield* Stream.runCollect(maintenance.read(stream, { to: to + 1 }))
      // Something was appended to it since: it is not closed.
      if (found.some(({ version }) => version > to)) continue
      const standing = found.filter((event) => !isTombstone(event))
      if (standing.length > 0) closed.set(stream, whole)
      held.push(...standing)
    } else {
      // It goes in pieces, from its beginning; one that was to go as a whole does so by itself.
      if (isLong && whole !== (yield* work.store.version(stream))) continue
      if (isLong) yield* flushHeld
      let begun = false
      yield* Stream.runForEach(standingOf(planning, { stream, to }), (event) => {
        held.push(event)
        // What has been begun is finished, whatever is appended behind it meanwhile.
        if (isLong && !begun) closed.set(stream, whole)
        return held.length < (isLong ? mostAtOnce : size)
          ? Effect.void
          : Effect.map(flushHeld, (count) => void (begun ||= isLong && count > 0))
      })
    }
    if (held.length >= size) yield* flushHeld
  }
  yield* flushHeld
  if (snapshots !== undefined && archive === undefined) {
    // The state of what is gone is gone as well.
    for (const { stream, whole } of parts) {
      if (whole === undefined || whole !== (yield* work.store.version(stream))) continue
      yield* Effect.mapError(snapshots.remove(stream), failed("snapshots cannot be removed"))
    }
  }
  return removed
})

const faultOf = ({ pace, policies }: Options): string | undefined => {
  if (pace !== undefined && !(pace > 0)) return `pace must be a number above 0, not ${pace}`
  for (const [category, { keep }] of Object.entries(policies)) {
    const name = nameFault(category)
    if (name !== undefined) return `the policy of ${JSON.stringify(category)}: its category ${name}`
    const lasting = keep === "for ever" ? undefined : lastingFault(category)
    if (lasting !== undefined) return `the policy of ${JSON.stringify(category)}: ${lasting}`
    if (category.includes("-")) return `the policy of ${JSON.stringify(category)}: a category ends before the first "-"`
    const isOther = keep === "for ever" || (typeof keep === "object" && "_tag" in keep)
    if (!isOther && Option.isNone(lastingOption(keep as Duration.Input))) {
      return `the policy of ${category}: keep is no duration: ${typeof keep === "number" ? keep : JSON.stringify(keep)}`
    }
  }
  return undefined
}

const asRetentionError = (category: string, error: RetentionError | EventStoreError | ArchiveError): RetentionError =>
  error._tag === "RetentionFailed" || error._tag === "RetentionRefused" ? error : failed(`of ${category}`)(error)

/** What became of all categories that were not dealt with to the end, as one error; `undefined` where there is none. */
const errorOf = (errors: ReadonlyArray<RetentionError>): RetentionError | undefined => {
  const refusals = errors.filter((error) => error._tag === "RetentionRefused")
  const refused =
    refusals.length === 0
      ? undefined
      : new RetentionRefused({
          of: refusals.flatMap((error) => error.of),
          by: Array.from(new Set(refusals.flatMap(({ by }) => by)))
        })
  const failures = errors.filter((error) => error._tag === "RetentionFailed")
  const [first] = failures
  if (first === undefined) return refused
  if (failures.length === 1 && refused === undefined) return first
  const problems = failures.map(({ problem }) => problem)
  return new RetentionFailed({
    problem: [...problems, ...(refused === undefined ? [] : [refused.message])].join("; "),
    cause: first
  })
}

/** What is told of a plan. */
const told = ({ afterwards, blockedBy, category, events, streams }: Planned): Planned => ({
  category,
  afterwards,
  streams,
  events,
  blockedBy
})

const makeRuns = (work: Work, options: Options) => {
  /** Programs that use them run no more. */
  const prune = Effect.flatMap(Clock.currentTimeMillis, (now) =>
    Effect.mapError(
      work.snapshots?.prune(DateTime.makeUnsafe(now - rollOut)) ?? Effect.void,
      failed("snapshots cannot be pruned")
    )
  )
  /** One policy that cannot be carried out holds up no other. */
  const planAll = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    const { policies, processes } = yield* policiesOf(work, options)
    const { maintenance, snapshots, store } = work
    const used = yield* Effect.cached(snapshots === undefined ? Effect.succeed(new Set<string>()) : inUse(snapshots, now))
    return yield* Effect.forEach(policies, ([category, policy]) => {
      const planning: Planning = { now, store, maintenance, snapshots, inUse: used, isProcess: processes.has(category) }
      return Effect.map(Effect.result(planOf(work, planning, category, policy)), (planned) => ({ planned, planning, policy }))
    })
  })
  let status: Status = { running: false, category: undefined, removed: 0, planned: 0, error: undefined }
  const once = Effect.gen(function* () {
    status = { running: true, category: undefined, removed: 0, planned: 0, error: undefined }
    const pruned = yield* Effect.result(prune)
    const plans = yield* planAll
    const errors: Array<RetentionError> = Result.isFailure(pruned) ? [pruned.failure] : []
    const free = plans.flatMap(({ planned, ...how }) => {
      if (Result.isFailure(planned)) errors.push(planned.failure)
      else if (planned.success.blockedBy.length === 0) return [{ ...how, planned: planned.success }]
      else errors.push(new RetentionRefused({ of: [planned.success.category], by: planned.success.blockedBy }))
      return []
    })
    status = { ...status, planned: free.reduce((sum, { planned }) => sum + planned.events, 0) }
    const done: Array<Planned> = []
    for (const { planned, planning, policy } of free) {
      const { afterwards, blockedBy, category, streams } = planned
      status = { ...status, category }
      const count = (count: number) => void (status = { ...status, removed: status.removed + count })
      const events = yield* carryOut(work, planning, planned, policy, count).pipe(
        Effect.catchDefect((defect) =>
          Effect.fail(new RetentionFailed({ problem: `of ${category}: ${String(defect)}`, cause: defect }))
        ),
        Effect.result
      )
      if (Result.isFailure(events)) errors.push(asRetentionError(category, events.failure))
      else if (events.success > 0) done.push({ category, afterwards, streams, events: events.success, blockedBy })
    }
    const error = errorOf(errors)
    return error === undefined ? done : yield* error
  }).pipe(
    Effect.tapError((error) => Effect.sync(() => void (status = { ...status, error }))),
    Effect.ensuring(Effect.sync(() => void (status = { ...status, running: false, category: undefined })))
  )
  const turn = Semaphore.makeUnsafe(1)
  return {
    plan: Effect.flatMap(planAll, (plans) => {
      const error = errorOf(plans.flatMap(({ planned }) => (Result.isFailure(planned) ? [planned.failure] : [])))
      if (error !== undefined) return Effect.fail(error)
      const all = plans.flatMap(({ planned }) => (Result.isSuccess(planned) ? [planned.success] : []))
      return Effect.succeed(all.filter(({ streams }) => streams > 0).map(told))
    }),
    run: turn.withPermit(once),
    status: Effect.sync(() => status)
  }
}

/**
 * Makes a `Retention`, which runs by itself every so often, until the scope closes.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function* (options: Options) {
  const fault = faultOf(options)
  if (fault !== undefined) return yield* new RetentionFailed({ problem: fault })
  const store = yield* EventStore
  const maintenance = yield* Effect.mapError(maintenanceOf(store, "retention"), failed("the store"))
  const work: Work = {
    store,
    maintenance,
    followers: { checkpoints: yield* Checkpoints, parked: Option.getOrUndefined(yield* Effect.serviceOption(ParkedEvents)) },
    snapshots: Option.getOrUndefined(yield* Effect.serviceOption(Snapshots)),
    archive: Option.getOrUndefined(yield* Effect.serviceOption(Archive)),
    paced: makePacer(options.pace ?? 500)
  }
  const missing = Object.entries(options.policies).find(
    ([, policy]) => afterwardsOf(policy) === "archive" && work.archive === undefined
  )
  if (missing !== undefined) {
    return yield* new RetentionFailed({ problem: `the policy of ${missing[0]} needs an Archive, which is not provided` })
  }
  const runs = makeRuns(work, options)
  const { every = "1 hour" } = options
  if (every !== "never") {
    const once = Effect.catchCause(runs.run, (cause) => Effect.logWarning("eventfold: a run of retention failed", cause))
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(once, Effect.sleep(every))))
  }
  return runs
})

/**
 * The Layer of {@link make}.
 *
 * **Details**: `Snapshots`, `ParkedEvents` and the `Archive` are used where they are provided. Runs go on in the background; one that fails is
 * logged, and the next one tries again.
 *
 * ```ts
 * import { Duration, Effect, Layer } from "effect"
 * import { Checkpoints, EventStore, Retention } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   yield* EventStore.append("Cart-1", [{ type: "CartOpened", payload: {} }])
 *   const planned = yield* Retention.plan
 *   yield* Retention.run
 *   return [planned.map(({ category, events }) => [category, events]), yield* Retention.plan]
 * })
 *
 * const Live = Retention.layer({ policies: { Cart: { keep: Duration.zero } }, every: "never" }).pipe(
 *   Layer.provideMerge(Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory))
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => [[["Cart", 1]], []]
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = (options: Options): Layer.Layer<Retention, RetentionFailed, EventStore | Checkpoints> =>
  Layer.effect(Retention, make(options))

const removeStream = Effect.fnUntraced(function* (
  stream: string,
  reason: string,
  archive: Archive["Service"] | undefined
): Effect.fn.Return<number, EventStoreError | ArchiveError | RetentionError, EventStore | Checkpoints> {
  const lasting = lastingFault(categoryOf(stream))
  if (lasting !== undefined) return yield* new RetentionFailed({ problem: `${JSON.stringify(stream)}: ${lasting}` })
  const store = yield* EventStore
  const maintenance = yield* maintenanceOf(store, "tombstone")
  const followers: Followers = {
    checkpoints: yield* Checkpoints,
    parked: Option.getOrUndefined(yield* Effect.serviceOption(ParkedEvents))
  }
  const events = yield* Stream.runCollect(standingOf({ maintenance }, { stream, to: Number.MAX_SAFE_INTEGER }))
  const last = events.at(-1)
  if (last === undefined) return 0
  const by = yield* behind(followers, last.position, new Set([stream]))
  if (by.length > 0) return yield* new RetentionRefused({ of: [stream], by })
  const removed = yield* remove(maintenance, archive, events, reason, new Map([[stream, last.version]]))
  if (removed === 0 && (yield* store.version(stream)) !== last.version) {
    return yield* new RetentionFailed({
      problem: `"${stream}" is not closed: it was appended to meanwhile, and nothing of it was removed`
    })
  }
  const snapshots = yield* Effect.serviceOption(Snapshots)
  if (archive === undefined && Option.isSome(snapshots)) {
    yield* Effect.mapError(snapshots.value.remove(stream), failed("snapshots cannot be removed"))
  }
  return removed
})

/**
 * Removes all events of a stream, and its snapshots; gives how many there were.
 *
 * **When to use**: for a stream that is closed. What is read of it from then on is a tombstone; a fold of it fails with `EventsRemoved`.
 *
 * **Details**: it is refused while a follower has not yet seen all of it. Done twice, it does nothing more.
 *
 * @category removing
 * @since 0.2.0
 */
export const tombstone = (
  stream: string,
  { reason }: { readonly reason: string }
): Effect.Effect<number, EventStoreError | RetentionError, EventStore | Checkpoints> =>
  Effect.catchTag(removeStream(stream, reason, undefined), "ArchiveError", Effect.die)

/**
 * Moves all events of a stream to the archive; gives how many there were. What was written there is read back and compared before anything is
 * removed here.
 *
 * @category removing
 * @since 0.2.0
 */
export const archive = (
  stream: string,
  { reason }: { readonly reason: string }
): Effect.Effect<number, EventStoreError | ArchiveError | RetentionError, EventStore | Checkpoints | Archive> =>
  Effect.flatMap(Archive, (archive) => removeStream(stream, reason, archive))
