/**
 * Checkpoints on PostgreSQL, beside the events.
 *
 * Inside a transaction of the same `SqlClient`, `advance` is part of that transaction: a view and its checkpoint commit together.
 *
 * @since 0.1.0
 */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as SqlClient from "effect/sql/SqlClient"
import {
  type Checkpoint,
  CheckpointError,
  CheckpointFencedError,
  CheckpointHeldError,
  Checkpoints
} from "../store/Checkpoints.ts"
import type { EventStoreError } from "../store/EventStore.ts"
import { prepareAdvance, prepareClaim, prepareCheckpointName } from "../store/kit/index.ts"
import { migrate } from "./migrations.ts"
import { checkNames } from "./names.ts"
import { makeSql } from "./sql.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The database schema (namespace) of the tables: that of the event store. Default: `"eventfold"`. */
  readonly schema?: string | undefined
  /** What the names of the tables begin with. Default: nothing. */
  readonly tablePrefix?: string | undefined
  /** Whether to make or update the tables when the Layer is built. Default: `true`. */
  readonly migrate?: boolean | undefined
}

/**
 * Checkpoints in the database of the `SqlClient` of the environment (which must be PostgreSQL or PGlite). Leases run by the clock
 * of the database, so the clocks of the processes do not matter.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Checkpoints, EventStoreError, SqlClient.SqlClient> =>
  Layer.effect(
    Checkpoints,
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const names = yield* checkNames(options)
      const statements = makeSql(names).checkpoints
      if (options.migrate !== false) yield* migrate(names)

      const query = (operation: string, name: string, text: string, parameters: ReadonlyArray<unknown> = []) =>
        Effect.mapError(sql.unsafe(text, parameters).values, (cause) => new CheckpointError({ operation, name, cause }))

      const toCheckpoint = (row: ReadonlyArray<unknown>): Checkpoint => ({
        name: row[0] as string,
        position: row[1] as number,
        epoch: row[2] as number,
        owner: Option.fromNullOr(row[3] as string | null),
        expiresAt: DateTime.makeUnsafe(Math.round((row[4] as number) * 1000)),
        updatedAt: DateTime.makeUnsafe(Math.round((row[5] as number) * 1000))
      })

      const get: Checkpoints["Service"]["get"] = (name) =>
        Effect.map(
          Effect.flatMap(prepareCheckpointName("get", name), () => query("get", name, statements.get, [name])),
          (rows) => Option.map(Option.fromUndefinedOr(rows[0]), toCheckpoint)
        )

      const claim: Checkpoints["Service"]["claim"] = Effect.fnUntraced(function* (name, options) {
        const { from, owner, ttl } = yield* prepareClaim(name, options)
        const parameters = [name, owner, PgTypes.float8(Duration.toSeconds(ttl)), String(from)]
        while (true) {
          const [row] = yield* query("claim", name, statements.claim, parameters)
          if (row !== undefined) return { name, owner, ttl, epoch: row[0] as number, position: row[1] as number }
          const holder = Option.flatMap(yield* get(name), ({ owner }) => owner)
          if (Option.isSome(holder)) return yield* new CheckpointHeldError({ name, owner: holder.value })
          // It has been released meanwhile.
        }
      })

      const fenced = (name: string, epoch: number) => Effect.fail(new CheckpointFencedError({ name, epoch }))

      return Checkpoints.of({
        claim,
        get,
        renew: ({ epoch, name, ttl }) =>
          Effect.flatMap(
            query("renew", name, statements.renew, [name, String(epoch), PgTypes.float8(Duration.toSeconds(ttl))]),
            (rows) => (rows.length === 0 ? fenced(name, epoch) : Effect.void)
          ),
        advance: Effect.fnUntraced(function* (lease, to) {
          const { epoch, name, position: from, ttl } = lease
          const position = yield* prepareAdvance(lease, to)
          const seconds = PgTypes.float8(Duration.toSeconds(ttl))
          const parameters = [name, String(epoch), seconds, String(from), String(position)]
          const rows = yield* query("advance", name, statements.advance, parameters)
          return rows.length === 0 ? yield* fenced(name, epoch) : { ...lease, position }
        }),
        release: ({ epoch, name }) => Effect.asVoid(query("release", name, statements.release, [name, String(epoch)])),
        list: Effect.map(query("list", "*", statements.list), (rows) => rows.map(toCheckpoint)),
        transactionService: sql.transactionService
      })
    })
  )
