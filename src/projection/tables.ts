/** The tables of a projection's versions in their database: how they are made, and by whom. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { describeOwn, isForbidden } from "../sql/errors.ts"
import { refuseUndecided } from "../sql/firstRelease.ts"
import { isThere, makeSchema, makeUnless } from "../sql/table.ts"
import { quoted, type TableName } from "../sql/names.ts"
import { EventStoreError, StoreFailure } from "../store/EventStore.ts"
import { type Found, tablesFor } from "../store/tables.ts"
import type { AnyTable, Projection } from "./model.ts"
import { indexOf } from "./indexes.ts"
import { own } from "./owning.ts"
import { placed, placeFault } from "./place.ts"
import { standingFault } from "./standing.ts"
import { pointTo, type statementsOf } from "./sql.ts"

/** Where the tables are, in which database. */
export interface Where {
  readonly sql: SqlClient.SqlClient
  readonly found: Found
}

export type TablesError = SqlError | EventStoreError

const failure = (projection: string, cause: unknown): EventStoreError =>
  new EventStoreError({
    reason: new StoreFailure({
      operation: `open the tables of the projection "${projection}"`,
      detail: describeOwn(cause),
      cause
    })
  })

/** Does something about each table of a version. */
export const forEachTable = <R, D>(
  { name, tables }: Projection<R, D>,
  work: (where: Where, table: AnyTable) => Effect.Effect<unknown, TablesError>
): Effect.Effect<void, TablesError> =>
  Effect.gen(function* () {
    if (tables.length === 0) return
    const sql = Option.getOrUndefined(yield* Effect.serviceOption(SqlClient.SqlClient))
    if (sql === undefined) return yield* Effect.die(new Error("Projection: tables need a SqlClient"))
    const where = { sql, found: yield* tablesFor(sql) }
    yield* Effect.forEach(tables, (table) => work(where, table), { discard: true })
  }).pipe(Effect.mapError((error) => (isSqlError(error) && isForbidden(error) ? failure(name, error) : error)))

/** Runs statements for each table of a version. */
export const forTables = <R, D>(
  projection: Projection<R, D>,
  statements: (all: ReturnType<typeof statementsOf>, table: AnyTable, where: Where) => ReadonlyArray<string>
) =>
  forEachTable(projection, (where, table) =>
    Effect.forEach(
      statements(table.statements(where.sql, where.found, projection.version), table, where),
      (text) => where.sql.unsafe(text).values
    )
  )

/** Makes what is not there, or says who has to. */
const unlessThere = (
  projection: string,
  { found, sql }: Where,
  table: TableName,
  make: Effect.Effect<unknown, SqlError>,
  may: boolean
) =>
  may || found.migrate
    ? makeUnless(isThere(sql, table), make)
    : Effect.flatMap(isThere(sql, table), (there) =>
        there
          ? Effect.void
          : Effect.fail(
              failure(
                projection,
                new Error(`there is no ${quoted(table)}: call Projection.prepare once, in a role that may make tables`)
              )
            )
      )

/** Takes the tables of a version for its projection and makes those that are not there. `may` says that tables are made whatever the store says. */
export const makeTables = <R, D>(projection: Projection<R, D>, hasRun: boolean, may: boolean) =>
  forEachTable(projection, (where, definition) =>
    Effect.gen(function* () {
      const { found, sql } = where
      const { indexes, key, name, statements } = definition
      const fault = placeFault(sql, found, name, projection.version)
      if (fault !== undefined) return yield* failure(projection.name, new Error(fault))
      const table = placed(sql, found, name, projection.version)
      if (may || found.migrate) yield* makeSchema(sql, table.schema)
      // A definition that names a schema finds its table there, whoever made it.
      if (hasRun && found.isOfStore && !name.includes(".")) {
        yield* Effect.mapError(refuseUndecided(sql, name, projection.version, table, found), (error) =>
          isSqlError(error) ? error : failure(projection.name, error)
        )
      }
      yield* own(where, name, projection.name, (owners, make) => unlessThere(projection.name, where, owners, make, may))
      const { create } = statements(sql, found, projection.version)
      yield* unlessThere(projection.name, where, table, sql.unsafe(create), may)
      const changed = yield* standingFault(sql, table, definition)
      if (changed !== undefined) return yield* failure(projection.name, new Error(changed))
      for (const index of indexes) {
        const { create, name } = indexOf(sql, table, key, index)
        yield* unlessThere(projection.name, where, name, sql.unsafe(create), may)
      }
    })
  )

/** What has been granted on a view, as statements that grant it on another of its name. */
const grantsOn = (sql: SqlClient.SqlClient, view: TableName): Effect.Effect<ReadonlyArray<string>, SqlError> =>
  sql.onDialectOrElse({
    pg: () =>
      Effect.map(
        sql`select format('grant %s on %s to %s%s', a.privilege_type, c.oid::regclass,
                          case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
                          case when a.is_grantable then ' with grant option' else '' end)
              from pg_class c, aclexplode(c.relacl) a
             where c.oid = to_regclass(${quoted(view)}) and a.grantee <> c.relowner`.values,
        (rows) => rows.map(([text]) => String(text))
      ),
    orElse: () => Effect.succeed([])
  })

/** Lets the view of a name show the table of a version. Who could read it before, can. */
const point = ({ found, sql }: Where, name: string, version: number): Effect.Effect<void, SqlError> => {
  const view = placed(sql, found, name)
  return Effect.flatMap(grantsOn(sql, view), (grants) =>
    Effect.forEach([...pointTo(view, placed(sql, found, name, version)), ...grants], (text) => sql.unsafe(text).values, {
      discard: true
    })
  )
}

/** Lets readers see the tables of a version by their names. */
export const show = <R, D>(projection: Projection<R, D>) =>
  forEachTable(projection, (where, { name }) => point(where, name, projection.version))

/** Makes the views that are not there. */
export const showUnlessThere = <R, D>(projection: Projection<R, D>, may: boolean) =>
  forEachTable(projection, (where, { name }) => {
    const view = placed(where.sql, where.found, name)
    return unlessThere(projection.name, where, view, point(where, name, projection.version), may)
  })

/** Whether nobody makes tables in passing here. */
export const isForbiddenToMake = Effect.gen(function* () {
  const sql = yield* Effect.serviceOption(SqlClient.SqlClient)
  return Option.isSome(sql) && !(yield* tablesFor(sql.value)).migrate
})

/** Whether a table of a version is not there. */
export const isIncomplete = <R, D>(projection: Projection<R, D>) =>
  anyTable(projection, ({ found, sql }, { name }) =>
    Effect.map(isThere(sql, placed(sql, found, name, projection.version)), (there) => !there)
  )

/** Whether a version has written anything into its tables. */
export const hasRows = <R, D>(projection: Projection<R, D>) =>
  anyTable(projection, ({ found, sql }, { statements }) =>
    Effect.map(sql.unsafe(statements(sql, found, projection.version).any).values, (rows) => rows.length > 0)
  )

/** Whether something is so of one of the tables. */
const anyTable = <R, D>(
  projection: Projection<R, D>,
  isSo: (where: Where, table: AnyTable) => Effect.Effect<boolean, SqlError>
) =>
  Effect.gen(function* () {
    let found = false
    yield* forEachTable(projection, (where, table) => Effect.map(isSo(where, table), (so) => void (found ||= so)))
    return found
  })
