import * as Schema from "effect/Schema"
import { Payloads } from "./events.ts"
import { FollowerState } from "./followers.ts"
import { Time } from "./page.ts"

/**
 * What is asked first: which store it is, how far it is, and what the operator may do.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Overview = Schema.Struct({
  /** What the store is, without a secret: `"PostgreSQL, schema eventfold"`, `"memory"`. */
  store: Schema.String,
  head: Schema.Int,
  /** What it takes on disk, in bytes; `null` where it cannot be told at once. */
  bytes: Schema.NullOr(Schema.Int),
  /** The name of the operator who asks. */
  operator: Schema.String,
  mayAct: Schema.Boolean,
  payloads: Payloads,
  /** The version of the library that answers. */
  library: Schema.String,
  /** The number of this contract: it grows when an operation is taken away or changes its meaning, and not when one is added. */
  protocol: Schema.Int
})

/**
 * What is asked first.
 *
 * @category models
 * @since 0.2.0
 */
export type Overview = typeof Overview.Type

/**
 * How much the store holds, and how it grows.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Size = Schema.Struct({
  head: Schema.Int,
  bytes: Schema.NullOr(Schema.Int),
  /** Its tables, the largest first; empty where it has none. `rows` is an estimate of the database, `null` without one. */
  tables: Schema.Array(Schema.Struct({ name: Schema.String, bytes: Schema.NullOr(Schema.Int), rows: Schema.NullOr(Schema.Int) })),
  /** The head as it was an hour, a day, a week and 30 days ago: positions of the newest events that had been recorded by then. */
  growth: Schema.Array(Schema.Struct({ at: Time, position: Schema.Int }))
})

/**
 * How much the store holds, and how it grows.
 *
 * @category models
 * @since 0.2.0
 */
export type Size = typeof Size.Type

/**
 * A version of a projection.
 *
 * @category schemas
 * @since 0.2.0
 */
export const ProjectionRow = Schema.Struct({
  projection: Schema.String,
  version: Schema.Int,
  /** `"absent"`: the answering process has been told of it, and nobody has run or rebuilt it on this store. */
  mode: Schema.Literals(["async", "inline", "dropped", "absent"]),
  /** Whether readers see this version. */
  active: Schema.Boolean,
  /** The position up to which it is rebuilt, while a rebuild goes on; else `null`. */
  target: Schema.NullOr(Schema.Int),
  position: Schema.Int,
  lag: Schema.Int,
  state: FollowerState,
  /** The {@link Follower} that runs it; `null` for one that runs inline, was dropped or is absent. */
  follower: Schema.NullOr(Schema.String),
  /** The names of its tables, as its program calls them, as far as the answering process has been told of it. */
  tables: Schema.Array(Schema.String),
  /** Whether the answering process has been told of this version: else it cannot rebuild, switch or drop it. */
  registered: Schema.Boolean,
  /** `null` for one that is absent. */
  updatedAt: Schema.NullOr(Time)
})

/**
 * A version of a projection.
 *
 * @category models
 * @since 0.2.0
 */
export type ProjectionRow = typeof ProjectionRow.Type

/**
 * A table of a version of a projection.
 *
 * @category schemas
 * @since 0.2.0
 */
export const TableRow = Schema.Struct({
  projection: Schema.String,
  version: Schema.Int,
  table: Schema.String,
  /** Counted up to 100 000. `null` where the table is not there. */
  rows: Schema.NullOr(Schema.Int),
  /** Whether `rows` is all there are. */
  exact: Schema.Boolean
})

/**
 * A table of a version of a projection.
 *
 * @category models
 * @since 0.2.0
 */
export type TableRow = typeof TableRow.Type

/**
 * A snapshot that is kept.
 *
 * @category schemas
 * @since 0.2.0
 */
export const SnapshotRow = Schema.Struct({
  stream: Schema.String,
  fingerprint: Schema.String,
  version: Schema.Int,
  savedAt: Time,
  bytes: Schema.Int
})

/**
 * A snapshot that is kept.
 *
 * @category models
 * @since 0.2.0
 */
export type SnapshotRow = typeof SnapshotRow.Type

/**
 * What a thing of the {@link SystemMap} is.
 *
 * @category schemas
 * @since 0.2.0
 */
export const MapKind = Schema.Literals([
  "command",
  "aggregate",
  "event",
  "listener",
  "subscription",
  "projection",
  "process",
  "relay",
  "consumer"
])

/**
 * What the program consists of, as far as the answering process has been told: things, and what goes from one to the other.
 *
 * @category schemas
 * @since 0.2.0
 */
export const SystemMap = Schema.Struct({
  nodes: Schema.Array(
    Schema.Struct({
      /** Kind and name, `event:OrderPlaced`: what the edges name. */
      id: Schema.String,
      kind: MapKind,
      name: Schema.String,
      /** The {@link Follower} that it is; `null` for what follows nothing. */
      follower: Schema.NullOr(Schema.String)
    })
  ),
  edges: Schema.Array(
    Schema.Struct({
      from: Schema.String,
      to: Schema.String,
      /**
       * `records`: an aggregate its events, a process its notes and deadlines. `handles`: an event goes to what follows it. `publishes`: an event
       * goes out by a relay. `sends`: a process its commands; `executes`: a command to the aggregate whose events it has led to: these two
       * are what was seen among the newest thousand events, where commands are recorded.
       */
      kind: Schema.Literals(["records", "handles", "sends", "publishes", "executes"])
    })
  )
})

/**
 * What the program consists of.
 *
 * @category models
 * @since 0.2.0
 */
export type SystemMap = typeof SystemMap.Type

/**
 * One thing that was looked at, and what to do about it.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Diagnosis = Schema.Struct({
  /** What was looked at, in a word or two: a name that does not change. */
  check: Schema.String,
  level: Schema.Literals(["ok", "warning", "problem"]),
  message: Schema.String,
  /** What to do; `null` where there is nothing to do. */
  remedy: Schema.NullOr(Schema.String)
})

/**
 * One thing that was looked at, and what to do about it.
 *
 * @category models
 * @since 0.2.0
 */
export type Diagnosis = typeof Diagnosis.Type

/**
 * How far a verification is, what it has found, and its end.
 *
 * @category schemas
 * @since 0.2.0
 */
export const VerifyStep = Schema.Union([
  Schema.TaggedStruct("Progress", { position: Schema.Int, head: Schema.Int }),
  /** Something that must not be: a gap in the positions or versions, a checkpoint of another log. */
  Schema.TaggedStruct("Finding", { position: Schema.NullOr(Schema.Int), message: Schema.String }),
  /**
   * All has been read. `removed` is how many of the events are tombstones; `digest` is the same for two stores that hold the same events;
   * `chained` is where the hash chain ends, `null` where none is kept.
   */
  Schema.TaggedStruct("Verified", {
    events: Schema.Int,
    removed: Schema.Int,
    findings: Schema.Int,
    digest: Schema.String,
    chained: Schema.NullOr(Schema.Int)
  })
])

/**
 * How far a verification is, what it has found, and its end.
 *
 * @category models
 * @since 0.2.0
 */
export type VerifyStep = typeof VerifyStep.Type
