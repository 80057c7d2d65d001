/**
 * The operations on a store and on what follows it, as a group of Rpcs: what server, command line and page share. It knows no store, so a
 * browser may have it.
 *
 * {@link Look} reads, and changes nothing. {@link Acts} does, and records who did what. Every answer is bounded: a list comes by pages.
 *
 * ```ts
 * import { Operations } from "eventfold/operate"
 *
 * Array.from(Operations.Acts.requests.keys()) // => ["Act"]
 * ```
 *
 * @since 0.2.0
 */
import * as Schema from "effect/Schema"
import * as Rpc from "effect/rpc/Rpc"
import * as RpcGroup from "effect/rpc/RpcGroup"
import { Act, ActStep, AskedRow } from "./contract/acts.ts"
import { Authentication } from "./contract/authentication.ts"
import {
  InvalidRequestError,
  NobodyTookError,
  NotAllowedError,
  NotFoundError,
  NotRegisteredError,
  RefusedError,
  UnavailableError
} from "./contract/errors.ts"
import { EventDetail, EventRow, States, StreamRow } from "./contract/events.ts"
import { DeadLetterRow, DeadlineRow, Follower, GroupRow, LeaseRow, ParkedRow, ProcessRow } from "./contract/followers.ts"
import { direction, Filter, Page, paged, Time } from "./contract/page.ts"
import { Diagnosis, Overview, ProjectionRow, Size, SnapshotRow, SystemMap, TableRow, VerifyStep } from "./contract/views.ts"

/**
 * The number of this contract, which `Overview` says: it grows when an operation is taken away or changes its meaning. A client that
 * knows another one should say so, and ask for nothing else.
 *
 * @category constants
 * @since 0.2.0
 */
export const protocol = 1

/** What a look may fail with. */
const LookError = Schema.Union([UnavailableError, NotFoundError, NotRegisteredError, InvalidRequestError])

const look = <const Tag extends string, const P extends Schema.Struct.Fields, S extends Schema.Top>(
  tag: Tag,
  payload: P,
  success: S
) => Rpc.make(tag, { payload, success, error: LookError })

const watch = <const Tag extends string, const P extends Schema.Struct.Fields, S extends Schema.Top>(
  tag: Tag,
  payload: P,
  success: S
) => Rpc.make(tag, { payload, success, error: LookError, stream: true })

const text = Schema.optionalKey(Schema.String)
const whole = Schema.optionalKey(Schema.Int)
const instant = Schema.optionalKey(Time)

/**
 * Everything that can be looked at. Nothing is changed by it.
 *
 * | Operation | What it answers |
 * | --- | --- |
 * | `Overview` | the store, its head, the operator's rights; to be asked first |
 * | `Size` | bytes and tables of the store, and how it has grown |
 * | `Streams` | streams, by name or newest first; of a category, with a prefix |
 * | `StreamEvents` | one stream's events from a version on |
 * | `Events` | events of all streams by a filter; newest first by default |
 * | `Event` | one event by its id, or by its position (`at`), with cause and effects |
 * | `Trail` | the conversation of a correlation id, by position: `causationId` makes the tree |
 * | `PositionAt` | the position of the newest event that had been recorded at an instant |
 * | `States` | a window of an aggregate's states, folded by the code that is registered |
 * | `Parked` | parked events, of one follower or all |
 * | `DeadLetters` | dead letters, of one group or all |
 * | `Deadlines` | deadlines by their time |
 * | `Processes` | the process managers that are registered |
 * | `Projections` | the versions of projections |
 * | `Tables` | the tables of projections with row counts |
 * | `Snapshots` | snapshots, by stream |
 * | `Leases` | checkpoints with their leases |
 * | `Groups` | consumer groups of the transport |
 * | `Map` | commands, events and what follows them, as registered |
 * | `Asked` | what operators have asked for, the newest first |
 * | `Doctor` | what was checked, and what to do |
 * | `Verify` | reads the whole log, and says what is wrong with it |
 * | `Tail` | events as they come, in arrays |
 * | `Followers` | all followers, at once and then at intervals |
 *
 * @category groups
 * @since 0.2.0
 */
export class Look extends RpcGroup.make(
  look("Overview", {}, Overview),
  look("Size", {}, Size),
  look(
    "Streams",
    { category: text, prefix: text, order: Schema.optionalKey(Schema.Literals(["name", "newest"])), ...paged },
    Page(StreamRow)
  ),
  // `from` is the version that it begins at (inclusive), in either direction. Default: the first, or backward the newest.
  look("StreamEvents", { stream: Schema.String, from: whole, direction, limit: whole }, Page(EventRow)),
  look("Events", { filter: Schema.optionalKey(Filter), direction, ...paged }, Page(EventRow)),
  look("Event", { id: text, at: whole }, EventDetail),
  look("Trail", { correlationId: Schema.String, ...paged }, Page(EventRow)),
  look("PositionAt", { at: Time }, Schema.Struct({ position: Schema.Int, head: Schema.Int })),
  // At most 200 versions, `from` to `to` (both inclusive). Default: the newest 50; with `at` the 50 up to the stream as it was then.
  look("States", { stream: Schema.String, from: whole, to: whole, at: instant }, States),
  look("Parked", { follower: text, ...paged }, Page(ParkedRow)),
  look("DeadLetters", { group: text, ...paged }, Page(DeadLetterRow)),
  look("Deadlines", { process: text, dueBefore: instant, ...paged }, Page(DeadlineRow)),
  look("Processes", {}, Schema.Array(ProcessRow)),
  look("Projections", { projection: text }, Schema.Array(ProjectionRow)),
  look("Tables", { projection: text, version: whole }, Schema.Array(TableRow)),
  look("Snapshots", { stream: text, ...paged }, Page(SnapshotRow)),
  look("Leases", { prefix: text, ...paged }, Page(LeaseRow)),
  look("Groups", {}, Schema.Array(GroupRow)),
  look("Map", {}, SystemMap),
  look("Asked", { ...paged }, Page(AskedRow)),
  look("Doctor", {}, Schema.Array(Diagnosis)),
  watch("Verify", {}, VerifyStep),
  // After a position, or from the end on. Never ends. At most 200 events an array, about seven arrays a second.
  watch(
    "Tail",
    { after: Schema.Union([Schema.Int, Schema.Literal("end")]), filter: Schema.optionalKey(Filter) },
    Schema.Array(EventRow)
  ),
  // Once at once; then every `every` milliseconds, at least 1000. Without `every` it ends after the first.
  watch("Followers", { every: whole }, Schema.Array(Follower))
).middleware(Authentication) {}

/**
 * What an operator can do. One Rpc: `Act`, whose stream tells how it goes.
 *
 * `id` is made by the caller: an act that is asked for twice with one id is done once, and both hear the same. `within` is how long it may
 * take until a process has taken it, in milliseconds: by default 10 000. It is done to its end however long that takes, also where nobody
 * listens any more.
 *
 * @category groups
 * @since 0.2.0
 */
export class Acts extends RpcGroup.make(
  Rpc.make("Act", {
    payload: { id: Schema.String, act: Act, reason: text, within: whole },
    success: ActStep,
    error: Schema.Union([
      UnavailableError,
      InvalidRequestError,
      NotAllowedError,
      NotFoundError,
      NotRegisteredError,
      RefusedError,
      NobodyTookError
    ]),
    stream: true
  })
).middleware(Authentication) {}

/**
 * Both halves.
 *
 * @category groups
 * @since 0.2.0
 */
export class Operations extends Look.merge(Acts) {}

export { Act, ActStep, AskedRow } from "./contract/acts.ts"
export { Authentication, Operator } from "./contract/authentication.ts"
export {
  InvalidRequestError,
  NobodyTookError,
  NotAllowedError,
  NotFoundError,
  NotRegisteredError,
  RefusedError,
  UnauthorizedError,
  UnavailableError
} from "./contract/errors.ts"
export { EventDetail, EventRow, Payload, Payloads, StateAt, States, StreamRow } from "./contract/events.ts"
export {
  DeadLetterRow,
  DeadlineRow,
  Follower,
  FollowerFailure,
  FollowerKind,
  FollowerState,
  GroupRow,
  LeaseRow,
  ParkedRow,
  ProcessRow
} from "./contract/followers.ts"
export { Filter, Page } from "./contract/page.ts"
export {
  Diagnosis,
  MapKind,
  Overview,
  ProjectionRow,
  Size,
  SnapshotRow,
  SystemMap,
  TableRow,
  VerifyStep
} from "./contract/views.ts"
