/**
 * What all rooms of the store share: its client, its statements, and how rows come out of them.
 */
import * as Effect from "effect/Effect"
import type { MigrationError } from "effect/sql/Migrator"
import type * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import type { Signal } from "../internal/signal.ts"
import type { EventStoreError } from "../store/EventStore.ts"
import { toEventStoreError } from "./errors.ts"
import type { Param, Sql } from "./sql.ts"
import { plainNumbers } from "./tables.ts"

export interface Database {
  readonly client: SqlClient.SqlClient
  readonly sql: Sql
  /** Told of the head by whoever commits, or finds that another process has. */
  readonly signal: Signal
}

/** Fails with the store's error, which says what was being done. */
export const failAs = <A, R>(
  operation: string,
  effect: Effect.Effect<A, SqlError | MigrationError, R>
): Effect.Effect<A, EventStoreError, R> => Effect.mapError(effect, (error) => toEventStoreError(operation, error))

/** The rows of a statement on a connection that the caller holds. What they are, `sql.ts` says. */
export const rowsOn = <Row extends object>(
  connection: Connection,
  text: string,
  params: ReadonlyArray<Param> = []
): Effect.Effect<ReadonlyArray<Row>, SqlError> =>
  connection.execute(text, params, undefined) as Effect.Effect<ReadonlyArray<Row>, SqlError>

/** The rows of a statement that reads, in the transaction of the fiber if there is one. What they are, `sql.ts` says. */
export const rowsOf = <Row extends object>(
  { client }: Database,
  operation: string,
  text: string,
  params: ReadonlyArray<Param> = []
): Effect.Effect<ReadonlyArray<Row>, EventStoreError> =>
  failAs(operation, plainNumbers(client.unsafe<Row>(text, params).withoutTransform))

/** The only row of a statement, or one without its columns where there is none. */
export const rowOf = <Row extends object>(
  database: Database,
  operation: string,
  text: string,
  params?: ReadonlyArray<Param>
): Effect.Effect<Partial<Row>, EventStoreError> =>
  Effect.map(rowsOf<Row>(database, operation, text, params), (rows): Partial<Row> => rows[0] ?? {})
