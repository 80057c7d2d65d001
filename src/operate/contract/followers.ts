import * as Schema from "effect/Schema"
import { Payload } from "./events.ts"
import { Time } from "./page.ts"

/**
 * What a follower is.
 *
 * @category schemas
 * @since 0.2.0
 */
export const FollowerKind = Schema.Literals(["subscription", "projection", "process", "deadlines", "relay", "consumer"])

/**
 * Where a follower is in its life. `unknown` is one that another process runs, if any does: its lease says that it lives, and no more.
 *
 * @category schemas
 * @since 0.2.0
 */
export const FollowerState = Schema.Literals([
  "starting",
  "standby",
  "catching-up",
  "live",
  "backing-off",
  "paused",
  "halted",
  "stopped",
  "unknown"
])

/**
 * Why a follower backs off or has halted.
 *
 * @category schemas
 * @since 0.2.0
 */
export const FollowerFailure = Schema.Struct({
  /** The cause in one sentence. */
  cause: Schema.String,
  /** The position of the event that failed; `null` where it was no event, as when the store is away. */
  position: Schema.NullOr(Schema.Int),
  stream: Schema.NullOr(Schema.String),
  type: Schema.NullOr(Schema.String),
  /** How often the event was tried. */
  attempts: Schema.Int,
  /** Since when: when the event failed first; where it was no event, when the state was entered. */
  since: Time
})

/**
 * Why a follower backs off or has halted.
 *
 * @category models
 * @since 0.2.0
 */
export type FollowerFailure = typeof FollowerFailure.Type

/**
 * A follower: what reads the log, or a transport, and does something with it.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Follower = Schema.Struct({
  /** What acts are addressed to: the name of its checkpoint (`subscription:mails`, `relay:orders`), of a consumer `consumer:<group>`. */
  name: Schema.String,
  /** What a person calls it: the name that the program gave it, as `mails`, `Sales@2`. */
  title: Schema.String,
  kind: FollowerKind,
  state: FollowerState,
  /** Up to where all its work is done; 0 for a consumer, whose place the broker has. */
  position: Schema.Int,
  /** How many positions it is behind the head: also those of events that it does not want. */
  lag: Schema.Int,
  /** Positions a second that it has moved lately. */
  rate: Schema.Finite,
  /** The lag at each of the last samples, the oldest first: at most 60, one a second while anybody looks. */
  lags: Schema.Array(Schema.Int),
  /** Who holds its lease; `null` where nobody does. */
  owner: Schema.NullOr(Schema.String),
  /** Whether the process that answers runs it, so that its state is known and acts need no other. */
  here: Schema.Boolean,
  /** Since when it is in its state, as far as this process has seen; elsewhere when its checkpoint was last moved. */
  since: Schema.NullOr(Time),
  /** How many of its events are parked, dead letters for a consumer. */
  parked: Schema.Int,
  failure: Schema.NullOr(FollowerFailure),
  /** Its partitions, in order; empty where it has none. */
  partitions: Schema.Array(
    Schema.Struct({
      index: Schema.Int,
      state: FollowerState,
      position: Schema.Int,
      lag: Schema.Int,
      owner: Schema.NullOr(Schema.String)
    })
  )
})

/**
 * A follower: what reads the log, or a transport, and does something with it.
 *
 * @category models
 * @since 0.2.0
 */
export type Follower = typeof Follower.Type

/**
 * An event that a follower has passed over.
 *
 * @category schemas
 * @since 0.2.0
 */
export const ParkedRow = Schema.Struct({
  /** The name under which it is parked: what the acts `Retry` and `Discard` are addressed to. */
  follower: Schema.String,
  position: Schema.Int,
  stream: Schema.String,
  type: Schema.String,
  cause: Schema.String,
  /** How often it was tried; 0 for one that waits behind another of its stream. */
  attempts: Schema.Int,
  parkedAt: Time
})

/**
 * An event that a follower has passed over.
 *
 * @category models
 * @since 0.2.0
 */
export type ParkedRow = typeof ParkedRow.Type

/**
 * A message that a consumer group could not handle.
 *
 * @category schemas
 * @since 0.2.0
 */
export const DeadLetterRow = Schema.Struct({
  group: Schema.String,
  /** What the acts `RetryLetter` and `DiscardLetter` are addressed to. */
  id: Schema.String,
  source: Schema.String,
  type: Schema.String,
  subject: Schema.NullOr(Schema.String),
  cause: Schema.String,
  attempts: Schema.Int,
  parkedAt: Time,
  payload: Payload
})

/**
 * A message that a consumer group could not handle.
 *
 * @category models
 * @since 0.2.0
 */
export type DeadLetterRow = typeof DeadLetterRow.Type

/**
 * A deadline that is set and has not come.
 *
 * @category schemas
 * @since 0.2.0
 */
export const DeadlineRow = Schema.Struct({
  /** The name of the process manager. */
  process: Schema.String,
  stream: Schema.String,
  /** The type of the event that is recorded when it comes. */
  type: Schema.String,
  due: Time,
  /** The position of the event that has set it. */
  position: Schema.Int
})

/**
 * A deadline that is set and has not come.
 *
 * @category models
 * @since 0.2.0
 */
export type DeadlineRow = typeof DeadlineRow.Type

/**
 * A process manager that the answering process has been told of.
 *
 * @category schemas
 * @since 0.2.0
 */
export const ProcessRow = Schema.Struct({
  name: Schema.String,
  /** The category of its streams: `Streams` lists its instances. */
  category: Schema.String,
  /** The types of the events that it reacts to. */
  reactsTo: Schema.Array(Schema.String),
  /** The types of its deadlines. */
  deadlines: Schema.Array(Schema.String),
  /** The follower that reacts, and the one that watches its deadlines: names of {@link Follower}. */
  follower: Schema.String,
  watch: Schema.NullOr(Schema.String)
})

/**
 * A process manager that the answering process has been told of.
 *
 * @category models
 * @since 0.2.0
 */
export type ProcessRow = typeof ProcessRow.Type

/**
 * The lease of a checkpoint.
 *
 * @category schemas
 * @since 0.2.0
 */
export const LeaseRow = Schema.Struct({
  /** The name of the checkpoint. */
  name: Schema.String,
  owner: Schema.NullOr(Schema.String),
  epoch: Schema.Int,
  position: Schema.Int,
  expiresAt: Time,
  /** Whether it has an owner and has not run out. */
  held: Schema.Boolean,
  updatedAt: Time
})

/**
 * The lease of a checkpoint.
 *
 * @category models
 * @since 0.2.0
 */
export type LeaseRow = typeof LeaseRow.Type

/**
 * A group that consumes from the transport.
 *
 * @category schemas
 * @since 0.2.0
 */
export const GroupRow = Schema.Struct({
  group: Schema.String,
  state: FollowerState,
  /** How many consumers of the group the answering process runs. */
  members: Schema.Int,
  /** The types that these handle. */
  types: Schema.Array(Schema.String),
  inFlight: Schema.Int,
  /**
   * How many messages the group has not done with: not handed out, waiting for another try, or in hand. RabbitMQ counts only what it could hand
   * out at once. `null` where the broker cannot tell: Redis where messages before the group's place were deleted, a transport that never can.
   */
  waiting: Schema.NullOr(Schema.Int),
  deadLetters: Schema.Int,
  cause: Schema.NullOr(Schema.String)
})

/**
 * A group that consumes from the transport.
 *
 * @category models
 * @since 0.2.0
 */
export type GroupRow = typeof GroupRow.Type
