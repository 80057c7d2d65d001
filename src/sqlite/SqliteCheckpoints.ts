/**
 * Checkpoints on SQLite, beside the events.
 *
 * Inside a transaction of the same `SqlClient`, `advance` is part of that transaction: a view and its checkpoint commit together.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
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
import { openTables, plainNumbers } from "./tables.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** What the names of all tables begin with: that of the event store. Default: `"eventfold_"`. */
  readonly tablePrefix?: string | undefined
}

/**
 * Checkpoints in the database of the `SqlClient` of the environment (which must be one of SQLite), whose tables are made or
 * migrated first. Leases run by the fiber's `Clock`: all processes that use the file are on one machine.
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
 * const Live = Layer.provideMerge(SqliteCheckpoints.layer(), SqliteEventStore.layerFile({ filename: ":memory:" }))
 * const lease = await Effect.runPromise(Effect.provide(program, Live))
 * lease.position // => 42
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Checkpoints, EventStoreError, SqlClient.SqlClient> =>
  Layer.effect(
    Checkpoints,
    Effect.gen(function* () {
      const client = yield* SqlClient.SqlClient
      const statements = (yield* openTables(options.tablePrefix)).checkpoints

      const query = (operation: string, name: string, text: string, parameters: ReadonlyArray<string | number> = []) =>
        plainNumbers(
          Effect.mapError(client.unsafe(text, parameters).values, (cause) => new CheckpointError({ operation, name, cause }))
        )

      const toCheckpoint = (row: ReadonlyArray<unknown>): Checkpoint => ({
        name: row[0] as string,
        position: row[1] as number,
        epoch: row[2] as number,
        owner: Option.fromNullOr(row[3] as string | null),
        expiresAt: DateTime.makeUnsafe(row[4] as number),
        updatedAt: DateTime.makeUnsafe(row[5] as number)
      })

      const get: Checkpoints["Service"]["get"] = (name) =>
        Effect.map(
          Effect.flatMap(prepareCheckpointName("get", name), () => query("get", name, statements.get, [name])),
          (rows) => Option.map(Option.fromUndefinedOr(rows[0]), toCheckpoint)
        )

      const expiry = (now: number, ttl: Duration.Duration) => Math.ceil(now + Duration.toMillis(ttl))

      const fenced = (name: string, epoch: number) => Effect.fail(new CheckpointFencedError({ name, epoch }))

      return Checkpoints.of({
        claim: Effect.fnUntraced(function* (name, options) {
          const { from, owner, ttl } = yield* prepareClaim(name, options)
          while (true) {
            const now = yield* Clock.currentTimeMillis
            const [row] = yield* query("claim", name, statements.claim, [name, from, owner, expiry(now, ttl), now])
            if (row !== undefined) return { name, owner, ttl, epoch: row[0] as number, position: row[1] as number }
            const holder = Option.flatMap(yield* get(name), ({ owner }) => owner)
            if (Option.isSome(holder)) return yield* new CheckpointHeldError({ name, owner: holder.value })
            // It has been released meanwhile.
          }
        }),
        get,
        renew: Effect.fnUntraced(function* ({ epoch, name, ttl }) {
          const now = yield* Clock.currentTimeMillis
          const rows = yield* query("renew", name, statements.renew, [name, epoch, expiry(now, ttl)])
          if (rows.length === 0) return yield* fenced(name, epoch)
        }),
        advance: Effect.fnUntraced(function* (lease, to) {
          const { epoch, name, position: from, ttl } = lease
          const position = yield* prepareAdvance(lease, to)
          const now = yield* Clock.currentTimeMillis
          const parameters = [name, epoch, from, position, expiry(now, ttl), now]
          const rows = yield* query("advance", name, statements.advance, parameters)
          return rows.length === 0 ? yield* fenced(name, epoch) : { ...lease, position }
        }),
        release: ({ epoch, name }) => Effect.asVoid(query("release", name, statements.release, [name, epoch])),
        list: Effect.map(query("list", "*", statements.list), (rows) => rows.map(toCheckpoint)),
        transactionService: client.transactionService
      })
    })
  )
