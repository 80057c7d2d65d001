import * as Snowflake from "effect/cluster/Snowflake"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { lasting } from "../internal/lasting.ts"

/**
 * What is deleted of the messages that the cluster has kept.
 *
 * @category models
 * @since 0.2.0
 */
export interface PruneOptions {
  /** How long an answered command is kept: so long its repetition is answered with what it came to. Default: 7 days. */
  readonly keep?: Duration.Input | undefined
  /** What the names of the tables begin with, as of `SqlMessageStorage.layerWith`. Default: `cluster`. */
  readonly prefix?: string | undefined
}

/** So many are deleted by one statement. */
const page = 1000

/**
 * Deletes the durable commands that were answered long ago, and their answers, from the tables of the cluster: it keeps them for ever by itself. Gives
 * how many. What belongs to workflows, and what has not been answered, is left alone.
 *
 * ```ts
 * import { NodeCrypto } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import { SqlMessageStorage, ShardingConfig } from "effect/cluster"
 * import { ClusterBus } from "eventfold/cluster"
 * import { SqliteClient } from "eventfold/sqlite"
 *
 * const Live = SqlMessageStorage.layer.pipe(
 *   Layer.provide([NodeCrypto.layerDigest, ShardingConfig.layer()]),
 *   Layer.provideMerge(SqliteClient.layer({ filename: ":memory:" }))
 * )
 * await Effect.runPromise(Effect.provide(ClusterBus.prune({ keep: "1 day" }), Live)) // => 0
 * ```
 *
 * @category accessors
 * @since 0.2.0
 */
export const prune = (options: PruneOptions = {}): Effect.Effect<number, SqlError, SqlClient.SqlClient> =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const messages = sql(`${options.prefix ?? "cluster"}_messages`)
    const replies = sql(`${options.prefix ?? "cluster"}_replies`)
    const keep = Duration.toMillis(lasting("ClusterBus.prune: keep", options.keep ?? "7 days"))
    const timestamp = Math.max((yield* Clock.currentTimeMillis) - keep, Snowflake.constEpochMillis)
    // Ids grow with time; the machine is the lowest digits of one, and none comes before 0.
    const before = String(Snowflake.make({ timestamp, machineId: 0 as never, sequence: 0 }))
    let pruned = 0
    for (;;) {
      const old = yield* sql<{ readonly id: string }>`select cast(id as varchar(20)) id from ${messages}
        where entity_type like 'eventfold/durable/%' and processed = ${sql.onDialectOrElse({ pg: () => sql`true`, orElse: () => sql`1` })}
          and id < cast(${before} as bigint) order by id limit ${sql.literal(String(page))}`
      if (old.length === 0) return pruned
      const ids = sql.literal(old.map(({ id }) => BigInt(id)).join(", "))
      yield* sql.withTransaction(
        Effect.andThen(
          sql`delete from ${replies} where request_id in (${ids})`,
          sql`delete from ${messages} where request_id in (${ids}) or id in (${ids})`
        )
      )
      pruned += old.length
    }
  })

/**
 * Does {@link prune} when it is built, and every hour from then on. One runner is enough, and several do no harm.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerPruning = (options: PruneOptions = {}): Layer.Layer<never, never, SqlClient.SqlClient> =>
  Layer.effectDiscard(
    prune(options).pipe(
      Effect.catchCause((cause) => Effect.logWarning("eventfold: the messages of the cluster could not be pruned", cause)),
      Effect.andThen(Effect.sleep("1 hour")),
      Effect.forever,
      Effect.forkScoped
    )
  )
