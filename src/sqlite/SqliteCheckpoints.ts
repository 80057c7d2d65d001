/**
 * Checkpoints on SQLite, beside the events.
 *
 * Inside a transaction of the same `SqlClient`, everything is part of that transaction: a view and its checkpoint commit together.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError } from "effect/sql/SqlError"
import { Checkpoints } from "../store/Checkpoints.ts"
import { refuseLeftCheckpoints } from "../sql/firstRelease.ts"
import { EventStoreError, StoreFailure } from "../store/EventStore.ts"
import { makeOnSql } from "../store/kit/index.ts"
import { tablesFor, usualSqlite } from "../store/tables.ts"
import { makeCheckpointSql } from "./checkpointSql.ts"
import { toEventStoreError } from "./errors.ts"
import { openTables, plainNumbers } from "./tables.ts"

/**
 * What the tables are called.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** What the names of all tables begin with. Default: as the store that is provided, or else `"eventfold_"`. */
  readonly tablePrefix?: string | undefined
}

/**
 * Checkpoints in the database of the `SqlClient` of the environment (which must be one of SQLite), whose tables are made or
 * migrated first. Leases run by the fiber's `Clock`: all processes that use the file are on one machine. Where its clock is set back, the lease of a process that
 * died before lasts until the clock has come that far again: `reset` of `Checkpoints`, to the position where it stands, takes it at once.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Checkpoints["Service"], EventStoreError, SqlClient.SqlClient> {
  const client = yield* SqlClient.SqlClient
  const found = yield* tablesFor(client)
  const prefix = options.tablePrefix ?? found.prefix
  yield* openTables(prefix)
  if (options.tablePrefix === undefined && found.isOfStore) {
    yield* Effect.mapError(refuseLeftCheckpoints(client, found, usualSqlite), (error) =>
      isSqlError(error)
        ? toEventStoreError("open", error)
        : new EventStoreError({ reason: new StoreFailure({ operation: "open", detail: error.message, cause: error }) })
    )
  }
  return makeOnSql(client, {
    statements: makeCheckpointSql(prefix).statements,
    run: (text, parameters) => plainNumbers(client.unsafe(text, parameters).values),
    number: (value) => value,
    lease: (ttl) => Effect.map(Clock.currentTimeMillis, (now) => [Math.ceil(Duration.toMillis(ttl)), now]),
    now: Effect.map(Clock.currentTimeMillis, (now) => [now])
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
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Checkpoints } from "eventfold"
 * import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
 *
 * const program = Effect.gen(function* () {
 *   const checkpoints = yield* Checkpoints.Checkpoints
 *   const lease = yield* checkpoints.claim("emails", { owner: "a", ttl: "10 seconds" })
 *   return yield* checkpoints.advance(lease, 42)
 * })
 *
 * const Live = Layer.provideMerge(SqliteCheckpoints.layer, SqliteEventStore.layerFile({ filename: ":memory:" }))
 * const lease = await Effect.runPromise(Effect.provide(program, Live))
 * lease.position // => 42
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Checkpoints, EventStoreError, SqlClient.SqlClient> = layerWith({})
