/** What a policy would remove now. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { RecordedEvent } from "../definitions/stored.ts"
import type { EventStore, EventStoreError, Maintenance, StreamInfo } from "../store/EventStore.ts"
import { isTombstone } from "../store/EventStore.ts"
import { rollOut } from "../internal/rollOut.ts"
import type { KeptSnapshot, SnapshotError, Snapshots } from "../store/Snapshots.ts"
import { type Policy, RetentionFailed } from "./model.ts"

/** The part of a stream that goes: its versions up to `to`. */
export interface Part {
  readonly stream: string
  readonly to: number
  /** The position of the event with that version. */
  readonly position: number
  /** The version of the stream when it was looked at, where the stream goes as a whole. */
  readonly whole: number | undefined
}

export interface Planning {
  readonly store: EventStore["Service"]
  readonly maintenance: Maintenance
  readonly snapshots: Snapshots["Service"] | undefined
  /** See {@link inUse}: looked up once, where a stream asks for it. */
  readonly inUse: Effect.Effect<ReadonlySet<string>, SnapshotError>
  /** As of when all is planned, in milliseconds since the epoch. */
  readonly now: number
  /** Whether streams of this category are those of a process manager. */
  readonly isProcess: boolean
}

const eventAt = ({ maintenance }: Planning, stream: string, version: number) =>
  Effect.map(Stream.runHead(maintenance.read(stream, { from: version, to: version })), (found): RecordedEvent | undefined =>
    found._tag === "Some" ? found.value : undefined
  )

/** Whether a process waits for a deadline: its history is what the deadline is read from. */
const isWaiting = ({ maintenance }: Planning, stream: string): Effect.Effect<boolean, EventStoreError> => {
  const set = new Map<string, string>()
  return Effect.map(
    Stream.runForEach(maintenance.read(stream), (event) =>
      Effect.sync(() => {
        const { id, type } = event.payload as { readonly id?: string; readonly type?: string }
        if (type === undefined) return
        if (event.type === "$DeadlineSet" && id !== undefined) set.set(type, id)
        else if (event.type === "$DeadlineCancelled" || (event.type === "$EventHandled" && set.get(type) === id)) set.delete(type)
      })
    ),
    () => set.size > 0
  )
}

/** What goes of one stream: nothing where it is `undefined`. */
type PartOf = (info: StreamInfo) => Effect.Effect<Part | undefined, EventStoreError | RetentionFailed>

/** All of a stream that nothing has been appended to since an instant. */
const closedBefore =
  (planning: Planning, before: number): PartOf =>
  ({ recordedAt, position, stream, type, version }) => {
    const part = { stream, to: version, position, whole: version }
    if (isTombstone({ type }) || recordedAt.epochMilliseconds > before) return Effect.undefined
    return planning.isProcess
      ? Effect.map(isWaiting(planning, stream), (waits) => (waits ? undefined : part))
      : Effect.succeed(part)
  }

const upTo = (last: RecordedEvent | undefined): Part | undefined =>
  last === undefined || isTombstone(last)
    ? undefined
    : { stream: last.stream, to: last.version, position: last.position, whole: undefined }

/** What was recorded before an instant, up to the first event that was not. */
const recordedBefore =
  (planning: Planning, before: number): PartOf =>
  ({ stream }) =>
    Effect.map(
      Stream.runFold(
        Stream.takeWhile(planning.maintenance.read(stream), (event) => event.recordedAt.epochMilliseconds <= before),
        (): RecordedEvent | undefined => undefined,
        (last, event) => (isTombstone(event) ? last : event)
      ),
      upTo
    )

/** How many snapshots are listed at once. */
const snapshotsAtOnce = 1000

/** The newest of a stream: the state of most, then what was saved last. */
const isNewer = (one: KeptSnapshot, other: KeptSnapshot): boolean =>
  (one.version - other.version || one.savedAt.epochMilliseconds - other.savedAt.epochMilliseconds) > 0

/** The fingerprints of which a snapshot was saved within the time of a roll-out: programs save such ones. It is what `Snapshots.prune` goes by. */
export const inUse = Effect.fnUntraced(function* (snapshots: Snapshots["Service"], now: number) {
  const found = new Set<string>()
  let page: ReadonlyArray<KeptSnapshot> = []
  do {
    page = yield* snapshots.list({ after: page.at(-1), limit: snapshotsAtOnce })
    for (const { fingerprint, savedAt } of page) if (savedAt.epochMilliseconds >= now - rollOut) found.add(fingerprint)
  } while (page.length === snapshotsAtOnce)
  return found
})

/** What is so far behind the oldest snapshot of its stream that a program may begin with. */
const behindSnapshots =
  (planning: Planning, category: string, versions: number): PartOf =>
  ({ stream }) =>
    Effect.gen(function* () {
      const { now, snapshots } = planning
      if (snapshots === undefined) {
        return yield* new RetentionFailed({ problem: `the policy of ${category} needs Snapshots, which are not provided` })
      }
      const failed = (cause: SnapshotError) =>
        new RetentionFailed({ problem: `the snapshots of "${stream}" cannot be listed: ${cause.message}`, cause })
      const kept = yield* Effect.mapError(snapshots.list({ stream }), failed)
      const newest = kept.reduce<KeptSnapshot | undefined>((last, one) => (last && !isNewer(one, last) ? last : one), undefined)
      const isOld = ({ savedAt }: KeptSnapshot) => savedAt.epochMilliseconds < now - 2 * rollOut
      const used = kept.some((one) => one !== newest && isOld(one)) ? yield* Effect.mapError(planning.inUse, failed) : undefined
      const counting = kept.filter((one) => one === newest || !isOld(one) || used?.has(one.fingerprint))
      const to = Math.min(...counting.map(({ version }) => version)) - versions
      return kept.length === 0 || to < 1 ? undefined : upTo(yield* eventAt(planning, stream, to))
    })

/** How many streams are looked at at once, where each takes a round trip to a database. */
const atOnce = 4

/** What goes by a policy, stream by stream. */
export const partsOf = (
  planning: Planning,
  category: string,
  { keep }: Policy
): Stream.Stream<Part, EventStoreError | RetentionFailed> => {
  if (keep === "for ever") return Stream.empty
  const before = (duration: Duration.Duration) => planning.now - Duration.toMillis(duration)
  const partOf =
    typeof keep !== "object" || !("_tag" in keep)
      ? closedBefore(planning, before(Duration.fromInputUnsafe(keep as Duration.Input)))
      : keep._tag === "BehindSnapshot"
        ? behindSnapshots(planning, category, keep.versions)
        : recordedBefore(planning, before(keep.duration))
  const parts = Stream.mapEffect(planning.store.streams({ category }), partOf, { concurrency: atOnce })
  return Stream.filter(parts, (part) => part !== undefined)
}

/** The events of a part that are still there. */
export const standingOf = ({ maintenance }: Pick<Planning, "maintenance">, { stream, to }: Pick<Part, "stream" | "to">) =>
  Stream.filter(maintenance.read(stream, { to }), (event) => !isTombstone(event))
