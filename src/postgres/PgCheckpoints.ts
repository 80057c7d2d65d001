/**
 * Checkpoints on PostgreSQL, beside the events.
 *
 * Inside a transaction of the same `SqlClient`, everything is part of that transaction: a view and its checkpoint commit together.
 *
 * @since 0.1.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError } from "effect/sql/SqlError"
import { pausing } from "../internal/lasting.ts"
import { answered } from "../sql/answering.ts"
import { refuseLeftCheckpoints } from "../sql/firstRelease.ts"
import { Checkpoints } from "../store/Checkpoints.ts"
import { EventStoreError, StoreFailure } from "../store/EventStore.ts"
import { makeOnSql } from "../store/kit/index.ts"
import { usualPostgres } from "../store/tables.ts"
import { encodeMoves, makeCheckpointSql } from "./checkpointSql.ts"
import { toEventStoreError } from "./errors.ts"
import { migrate } from "./migrations.ts"
import { namesBeside } from "./names.ts"
import { poolingFault } from "./pooling.ts"

/**
 * Where the tables are, and who makes them.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * The database schema (namespace) of the tables: that of the event store. Default: with `tablePrefix`, `"eventfold"`; where neither is
   * said, that of the store that is provided, and its prefix.
   */
  readonly schema?: string | undefined
  /** What the names of the tables begin with. Default: nothing, with `schema`; where neither is said, as the store that is provided. */
  readonly tablePrefix?: string | undefined
  /** Whether to make or update the tables when the Layer is built. Default: as the store that is provided does, or else `true`. */
  readonly migrate?: boolean | undefined
  /**
   * How long to wait for the answer to a statement, for example from a host that has vanished without a word. Then its connection is
   * given up, and the operation fails with a `CheckpointError`. Default: 30 seconds.
   */
  readonly timeout?: Duration.Input | undefined
}

const isPgClient = (sql: SqlClient.SqlClient): sql is PgClient.PgClient => PgClient.TypeId in sql

/**
 * Checkpoints in the database of the `SqlClient` of the environment (which must be PostgreSQL or PGlite). Leases run by the clock
 * of the database, so the clocks of the processes do not matter.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Checkpoints["Service"], EventStoreError, SqlClient.SqlClient> {
  const sql = yield* SqlClient.SqlClient
  const { follows, migrate: isToMigrate, names } = yield* namesBeside(sql, options)
  const fault = isPgClient(sql) ? yield* poolingFault(sql) : undefined
  if (fault !== undefined) return yield* new EventStoreError({ reason: new StoreFailure({ operation: "open", detail: fault }) })
  if (isToMigrate) yield* migrate(names)
  if (follows) {
    yield* Effect.mapError(refuseLeftCheckpoints(sql, names, usualPostgres), (error) =>
      isSqlError(error)
        ? toEventStoreError("open", error, false)
        : new EventStoreError({ reason: new StoreFailure({ operation: "open", detail: error.message, cause: error }) })
    )
  }
  const timeout = pausing("PgCheckpoints: timeout", options.timeout ?? "30 seconds")
  const { moveAll, statements } = makeCheckpointSql(names)
  const run = (text: string, parameters: ReadonlyArray<unknown>) => answered(sql, sql.unsafe(text, parameters).values, timeout)
  return makeOnSql(sql, {
    statements,
    run,
    moveAll: (moves) =>
      Effect.map(run(moveAll, encodeMoves(moves)), (rows) => rows.map((row) => (row as readonly [nth: number])[0] - 1)),
    timeout,
    number: String,
    lease: (ttl) => Effect.succeed([PgTypes.float8(Duration.toSeconds(ttl))]),
    now: Effect.succeed([])
  })
})

/**
 * {@link layer} with options.
 *
 * **Gotchas**: each call is another Layer, and is built for itself. Keep the result in a constant where it is provided more than once.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerWith = (options: Options): Layer.Layer<Checkpoints, EventStoreError, SqlClient.SqlClient> =>
  Layer.effect(Checkpoints, make(options))

/**
 * The Layer of {@link make}.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Checkpoints, EventStoreError, SqlClient.SqlClient> = layerWith({})
