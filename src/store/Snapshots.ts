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
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { parseJson, writeJson } from "../internal/exactJson.ts"
import { answered } from "../sql/answering.ts"
import { describe } from "../sql/errors.ts"
import { maxName } from "../sql/names.ts"

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
    return `Snapshots failed to ${this.operation}: ${describe(this.cause)}`
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
    /** Keeps a snapshot in place of an older one; a newer one stays, unless `replace` (default: `false`) says that it is of another stream. */
    readonly save: (
      snapshot: Snapshot,
      options?: { readonly replace?: boolean | undefined }
    ) => Effect.Effect<void, SnapshotError>
    /** Drops what was saved before an instant, such as the snapshots of states whose shape has changed since; returns how many. */
    readonly prune: (before: DateTime.Utc) => Effect.Effect<number, SnapshotError>
  }
>()("eventfold/Snapshots") {}

/**
 * Snapshots in memory: gone with the Layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<Snapshots> = Layer.sync(Snapshots, () => {
  const rows = new Map<string, { readonly text: string; readonly version: number; readonly savedAt: number }>()
  const key = (stream: string, fingerprint: string) => `${fingerprint} ${stream}`
  return Snapshots.of({
    load: (stream, fingerprint) =>
      Effect.sync(() =>
        // A copy, as from any storage: nothing can be changed from outside.
        Option.map(Option.fromUndefinedOr(rows.get(key(stream, fingerprint))), ({ text }) => parseJson(text) as Snapshot)
      ),
    save: (snapshot, options) =>
      Effect.map(Clock.currentTimeMillis, (savedAt) => {
        const at = key(snapshot.stream, snapshot.fingerprint)
        if (options?.replace === true || (rows.get(at)?.version ?? 0) < snapshot.version)
          rows.set(at, { text: writeJson(snapshot), version: snapshot.version, savedAt })
      }),
    prune: (before) =>
      Effect.sync(() => {
        let pruned = 0
        for (const [at, { savedAt }] of rows) {
          if (savedAt < before.epochMilliseconds && rows.delete(at)) pruned++
        }
        return pruned
      })
  })
})

const failedTo = (operation: string) => Effect.mapError((cause: unknown) => new SnapshotError({ operation, cause }))

interface Row {
  readonly version: unknown
  readonly event_id: string
  readonly state: string
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

const makeTable = (sql: SqlClient.SqlClient, name: string): Effect.Effect<unknown, SnapshotError> =>
  Migrator.make({})({
    table: `${name}_migration`,
    loader: Migrator.fromRecord({
      "0001_snapshots": sql`
        create table ${sql(name)} (
          stream text not null,
          fingerprint text not null,
          version bigint not null,
          event_id text not null,
          saved_at bigint not null,
          state text not null,
          primary key (stream, fingerprint)
        )`
    })
  }).pipe(
    Effect.mapError((error) => (isSqlError(error) ? error : (error.cause ?? error))),
    failedTo("open"),
    Effect.provideService(SqlClient.SqlClient, sql)
  )

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
  /** The name of the table. Default: `"eventfold_snapshot"`. */
  readonly table?: string | undefined
}): Layer.Layer<Snapshots, SnapshotError, SqlClient.SqlClient> =>
  Layer.effect(
    Snapshots,
    Effect.gen(function* () {
      const sql = (yield* SqlClient.SqlClient).withoutTransforms()
      const name = options.table ?? "eventfold_snapshot"
      const table = sql(name)
      // The table of its migrations has a longer name.
      if (new TextEncoder().encode(name.slice(name.lastIndexOf(".") + 1)).length >= maxName) {
        const cause = new Error(
          `the table cannot be called ${name}: PostgreSQL would cut the names of its tables to ${maxName} bytes`
        )
        return yield* new SnapshotError({ operation: "open", cause })
      }

      /** A statement that fails would end the transaction on PostgreSQL that it is in: there it gets a savepoint of its own. */
      const apart = <A, E, R>(statement: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
        sql.onDialectOrElse({
          pg: () =>
            Effect.flatMap(Effect.serviceOption(sql.transactionService), (transaction): Effect.Effect<A, E | SqlError, R> =>
              Option.isSome(transaction) ? sql.withTransaction(statement) : statement
            ),
          orElse: () => statement
        })

      const failed =
        (operation: string) =>
        <A, E, R>(effect: Effect.Effect<A, E, R>) =>
          failedTo(operation)(answered(sql, effect))

      yield* makeTable(sql, name)

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
            sql`
              insert into ${table} (stream, fingerprint, version, event_id, saved_at, state)
              values (${stream}, ${fingerprint}, ${version}, ${eventId}, ${savedAt}, ${writeJson(state)})
              on conflict (stream, fingerprint) do update
                 set version = excluded.version, event_id = excluded.event_id, saved_at = excluded.saved_at, state = excluded.state
               where ${table}.version < ${options?.replace === true ? sql`excluded.version or true` : sql`excluded.version`}`.pipe(
              apart,
              Effect.asVoid,
              failed("save")
            )
          ),
        prune: (before) =>
          sql`delete from ${table} where saved_at < ${before.epochMilliseconds} returning 1 as one`.pipe(
            Effect.map((rows) => rows.length),
            failed("prune")
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
