/**
 * Snapshots: folded states, kept so that a long stream need not be folded from its beginning. A cache, never a truth.
 *
 * A snapshot belongs to a stream and to the fingerprint of what made it: the aggregate's name, its events and folds, and the state's
 * schema. When one of these changes, its old snapshots are not found any more, and the stream is replayed. Whatever goes wrong with a snapshot means replay too, and is counted.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Fragment } from "effect/sql/Statement"
import { rollOut } from "../internal/rollOut.ts"
import { parseJson, writeJson } from "../internal/exactJson.ts"
import { answered } from "../sql/answering.ts"
import { describeOwn } from "../sql/errors.ts"
import { openSide } from "./tables.ts"

/**
 * The folded state of one stream, as of one version.
 *
 * @category models
 * @since 0.1.0
 */
export interface Snapshot {
  /** The name of the stream. */
  readonly stream: string
  /** Tells states apart that are not made alike: see `Aggregate.SnapshotPolicy`. */
  readonly fingerprint: string
  /** The version of the last event that is folded into the state. */
  readonly version: number
  /** The id of that event: a stream that has another one there is not the stream that the snapshot was made from. */
  readonly eventId: string
  /** The state, as JSON. */
  readonly state: Schema.Json
  /**
   * Of one that is loaded: whether something in it has been forgotten since it was saved. The stream is folded anew then, and begun with the
   * snapshot only where its history has been removed. Default: `false`.
   */
  readonly forgotten?: boolean | undefined
}

/**
 * A snapshot that is kept, without its state.
 *
 * @category models
 * @since 0.2.0
 */
export interface KeptSnapshot extends Pick<Snapshot, "stream" | "fingerprint" | "version"> {
  /** When it was saved; no more than 30 days before other folds took its place, if they did. */
  readonly savedAt: DateTime.Utc
  /** How long the state is as JSON: in characters. */
  readonly size: number
}

/**
 * The storage of the snapshots failed. Whoever loads an aggregate replays its stream instead.
 *
 * @category errors
 * @since 0.1.0
 */
export class SnapshotError extends Schema.TaggedError<SnapshotError>("eventfold/Snapshots/SnapshotError")("SnapshotError", {
  operation: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `Snapshots failed to ${this.operation}: ${describeOwn(this.cause)}`
  }
}

/**
 * The snapshots service. Where it is provided, `Repository` uses it for the aggregates that say so (`Aggregate.make(…, { snapshot })`).
 *
 * @category services
 * @since 0.1.0
 */
export class Snapshots extends Context.Service<
  Snapshots,
  {
    /** The newest snapshot of a stream with this fingerprint. */
    readonly load: (stream: string, fingerprint: string) => Effect.Effect<Option.Option<Snapshot>, SnapshotError>
    /**
     * Keeps a snapshot in place of an older one; a newer one stays, unless `replace` (default: `false`) says that it is of another stream. With the first of
     * a fingerprint, the one that was the newest of the stream until then counts as saved 30 days before, where that was longer ago: programs that use it may still run.
     */
    readonly save: (
      snapshot: Snapshot,
      options?: { readonly replace?: boolean | undefined }
    ) => Effect.Effect<void, SnapshotError>
    /**
     * What is kept, by stream and fingerprint, without the states: of one stream or all, behind a place, at most `limit` (default: 1000).
     */
    readonly list: (options?: {
      /** Only what is kept of this stream. Default: of all. */
      readonly stream?: string | undefined
      /** The place that the list begins behind. Default: before the first. */
      readonly after?: Pick<Snapshot, "stream" | "fingerprint"> | undefined
      /** The most of them. Default: 1000. */
      readonly limit?: number | undefined
    }) => Effect.Effect<ReadonlyArray<KeptSnapshot>, SnapshotError>
    /**
     * Drops what others have taken the place of, such as the snapshots of states whose shape has changed since; returns how many. That is: what is not the
     * newest of its stream, was saved more than 30 days before an instant, and has a fingerprint of which no stream has had one saved since. A run of
     * `Retention` does it for 30 days ago.
     */
    readonly prune: (before: DateTime.Utc) => Effect.Effect<number, SnapshotError>
    /** Drops what is kept of a stream; returns how many. */
    readonly remove: (stream: string) => Effect.Effect<number, SnapshotError>
  }
>()("eventfold/Snapshots") {}

type Place = Pick<Snapshot, "stream" | "fingerprint">

const byPlace = (a: Place, b: Place): number =>
  a.stream === b.stream
    ? a.fingerprint === b.fingerprint
      ? 0
      : a.fingerprint < b.fingerprint
        ? -1
        : 1
    : a.stream < b.stream
      ? -1
      : 1

/** What is kept in memory of one stream and fingerprint. */
interface Held extends Place {
  readonly text: string
  readonly version: number
  readonly savedAt: number
}

/** The newest of a stream: the state of most, then what was saved last. */
const newestOf = <Row extends Pick<Held, "fingerprint" | "version" | "savedAt">>(rows: Iterable<Row>): Row | undefined => {
  let newest: Row | undefined
  for (const row of rows) {
    const { fingerprint, savedAt, version } = newest ?? row
    if ((row.version - version || row.savedAt - savedAt || (row.fingerprint > fingerprint ? 1 : 0)) >= 0) newest = row
  }
  return newest
}

/**
 * Snapshots in memory: gone with the Layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<Snapshots> = Layer.sync(Snapshots, () => {
  /** By stream and fingerprint. */
  const streams = new Map<string, Map<string, Held>>()
  const all = () => Array.from(streams.values(), (rows) => Array.from(rows.values())).flat()
  return Snapshots.of({
    load: (stream, fingerprint) =>
      Effect.sync(() =>
        // A copy, as from any storage: nothing can be changed from outside.
        Option.map(Option.fromUndefinedOr(streams.get(stream)?.get(fingerprint)), ({ text }) => parseJson(text) as Snapshot)
      ),
    save: (snapshot, options) =>
      Effect.map(Clock.currentTimeMillis, (savedAt) => {
        const { fingerprint, stream, version } = snapshot
        const rows = streams.get(stream) ?? new Map<string, Held>()
        streams.set(stream, rows)
        const before = rows.get(fingerprint)
        const newest = before === undefined ? newestOf(rows.values()) : undefined
        if (newest !== undefined)
          rows.set(newest.fingerprint, { ...newest, savedAt: Math.max(newest.savedAt, savedAt - rollOut - 1) })
        if (options?.replace === true || (before?.version ?? 0) < version)
          rows.set(fingerprint, { stream, fingerprint, version, savedAt, text: writeJson(snapshot) })
      }),
    list: ({ after, limit = 1000, stream } = {}) =>
      Effect.sync(() =>
        all()
          .filter((kept) => (stream === undefined || kept.stream === stream) && (after === undefined || byPlace(kept, after) > 0))
          .sort(byPlace)
          .slice(0, limit)
          .map(({ fingerprint, savedAt, stream, text, version }): KeptSnapshot => {
            const size = writeJson((parseJson(text) as Snapshot).state).length
            return { stream, fingerprint, version, savedAt: DateTime.makeUnsafe(savedAt), size }
          })
      ),
    prune: (before) =>
      Effect.sync(() => {
        const newest = new Set(Array.from(streams.values(), (rows) => newestOf(rows.values())))
        const since = before.epochMilliseconds
        const inUse = new Set(all().flatMap(({ fingerprint, savedAt }) => (savedAt < since ? [] : [fingerprint])))
        const dropped = all().filter(
          (held) => held.savedAt < since - rollOut && !newest.has(held) && !inUse.has(held.fingerprint)
        )
        for (const { fingerprint, stream } of dropped) streams.get(stream)?.delete(fingerprint)
        return dropped.length
      }),
    remove: (stream) =>
      Effect.sync(() => {
        const removed = streams.get(stream)?.size ?? 0
        streams.delete(stream)
        return removed
      })
  })
})

const failedTo = (operation: string) => Effect.mapError((cause: unknown) => new SnapshotError({ operation, cause }))

interface Row {
  readonly version: unknown
  readonly event_id: string
  readonly state: string
}

interface KeptRow {
  readonly stream: string
  readonly fingerprint: string
  readonly version: unknown
  readonly at: unknown
  readonly size: unknown
}

const fromRow = (stream: string, fingerprint: string, row: Row): Effect.Effect<Option.Option<Snapshot>, unknown> =>
  Effect.try({
    try: () =>
      Option.some({
        stream,
        fingerprint,
        version: Number(row.version),
        eventId: row.event_id,
        state: parseJson(row.state) as Schema.Json
      }),
    catch: (cause) => cause
  })

const side = {
  name: "snapshot",
  columns: ["stream", "fingerprint", "version", "event_id", "saved_at", "state"],
  create: (sql: SqlClient.SqlClient, table: Fragment) => sql`create table if not exists ${table} (
    stream text not null,
    fingerprint text not null,
    version bigint not null,
    event_id text not null,
    saved_at bigint not null,
    state text not null,
    primary key (stream, fingerprint)
  )`
}

/**
 * {@link layerSql} with options.
 *
 * **Gotchas**: each call is another Layer, and is built for itself. Keep the result in a constant where it is provided more than once.
 *
 * A server that does not answer within 30 seconds is a `SnapshotError`.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerSqlWith = (options: {
  /**
   * Letters, digits and `_`, with the schema before a `.` if need be; on PostgreSQL in lower case. Default: `snapshot` in the schema of
   * the store that is provided, behind its prefix; without a store `eventfold.snapshot`, on SQLite `eventfold_snapshot`.
   */
  readonly table?: string | undefined
  /** Whether to make the table when it is not there. Default: as the store that is provided does, or else `true`. */
  readonly migrate?: boolean | undefined
}): Layer.Layer<Snapshots, SnapshotError, SqlClient.SqlClient> =>
  Layer.effect(
    Snapshots,
    Effect.gen(function* () {
      const sql = (yield* SqlClient.SqlClient).withoutTransforms()
      const failed =
        (operation: string) =>
        <A, E, R>(effect: Effect.Effect<A, E, R>) =>
          failedTo(operation)(answered(sql, effect))
      const table = yield* failed("open")(openSide(options, side))

      /** A statement that fails would end the transaction on PostgreSQL that it is in: there it gets a savepoint of its own. */
      const apart = <A, E, R>(statement: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
        sql.onDialectOrElse({
          pg: () =>
            Effect.flatMap(Effect.serviceOption(sql.transactionService), (transaction): Effect.Effect<A, E | SqlError, R> =>
              Option.isSome(transaction) ? sql.withTransaction(statement) : statement
            ),
          orElse: () => statement
        })

      /** Whether another of the stream is newer: the state of more, or saved later. */
      const hasNewer = (kept: Fragment) => sql`exists (
        select 1 from ${table} as newer where newer.stream = ${kept}.stream
           and (newer.version, newer.saved_at, newer.fingerprint) > (${kept}.version, ${kept}.saved_at, ${kept}.fingerprint))`
      const one = sql.literal("one")

      return Snapshots.of({
        load: (stream, fingerprint) =>
          sql<Row>`
            select version, event_id, state from ${table} where stream = ${stream} and fingerprint = ${fingerprint}`.pipe(
            apart,
            Effect.flatMap(([row]) => (row === undefined ? Effect.succeedNone : fromRow(stream, fingerprint, row))),
            failed("load")
          ),
        save: ({ eventId, fingerprint, state, stream, version }, options) =>
          Effect.flatMap(Clock.currentTimeMillis, (savedAt) =>
            Effect.andThen(
              sql`
              update ${table} set saved_at = ${savedAt - rollOut - 1}
               where stream = ${stream} and saved_at < ${savedAt - rollOut - 1} and fingerprint = (
                 select fingerprint from ${table} where stream = ${stream}
                  order by version desc, saved_at desc, fingerprint desc limit 1
               ) and not exists (select 1 from ${table} where stream = ${stream} and fingerprint = ${fingerprint})`,
              sql`
              insert into ${table} (stream, fingerprint, version, event_id, saved_at, state)
              values (${stream}, ${fingerprint}, ${version}, ${eventId}, ${savedAt}, ${writeJson(state)})
              on conflict (stream, fingerprint) do update
                 set version = excluded.version, event_id = excluded.event_id, saved_at = excluded.saved_at, state = excluded.state
               where ${table}.version < ${options?.replace === true ? sql`excluded.version or true` : sql`excluded.version`}`
            ).pipe(apart, Effect.asVoid, failed("save"))
          ),
        list: ({ after, limit = 1000, stream } = {}) =>
          sql<KeptRow>`
            select stream, fingerprint, version, saved_at as at, length(state) as size from ${table}
             where (stream, fingerprint) > (${after?.stream ?? ""}, ${after?.fingerprint ?? ""})
               ${stream === undefined ? sql`` : sql`and stream = ${stream}`}
             order by stream, fingerprint limit cast(${String(limit)} as integer)`.pipe(
            apart,
            Effect.map((rows) =>
              rows.map(({ at, fingerprint, size, stream, version }): KeptSnapshot => ({
                stream,
                fingerprint,
                version: Number(version),
                savedAt: DateTime.makeUnsafe(Number(at)),
                size: Number(size)
              }))
            ),
            failed("list")
          ),
        prune: (before) =>
          sql`
            delete from ${table} as one where one.saved_at < ${before.epochMilliseconds - rollOut} and ${hasNewer(one)}
               and one.fingerprint not in (select fingerprint from ${table} where saved_at >= ${before.epochMilliseconds})
            returning 1 as dropped`.pipe(
            Effect.map((rows) => rows.length),
            failed("prune")
          ),
        remove: (stream) =>
          sql`delete from ${table} where stream = ${stream} returning 1 as one`.pipe(
            Effect.map((rows) => rows.length),
            failed("remove")
          )
      })
    })
  )

/**
 * Snapshots in a table of the `SqlClient` of the environment: PostgreSQL, PGlite or SQLite. The table is made when it is absent.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSql: Layer.Layer<Snapshots, SnapshotError, SqlClient.SqlClient> = layerSqlWith({})
