import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import { EventStoreError, StoreFailure } from "../store/EventStore.ts"
import { tablesFor, usualPostgres } from "../store/tables.ts"
import type { Names } from "./sql.ts"

/** Where tables are, if that is said. */
export interface NameOptions {
  readonly schema?: string | undefined
  readonly tablePrefix?: string | undefined
}

/**
 * Checks the names of schema and tables: they become part of SQL text and of a channel's name.
 */
export const checkNames = (options: NameOptions): Effect.Effect<Names, EventStoreError> => {
  const { schema = usualPostgres.schema, tablePrefix = usualPostgres.prefix } = options
  const problem = !/^[A-Za-z_][A-Za-z0-9_]{0,29}$/.test(schema)
    ? `schema ${JSON.stringify(schema)} must be 1 to 30 letters, digits or _, and not begin with a digit`
    : !/^[A-Za-z0-9_]{0,20}$/.test(tablePrefix)
      ? `tablePrefix ${JSON.stringify(tablePrefix)} must be at most 20 letters, digits or _`
      : undefined
  return problem === undefined
    ? Effect.succeed({ schema, prefix: tablePrefix })
    : Effect.fail(new EventStoreError({ reason: new StoreFailure({ operation: "open", detail: problem }) }))
}

/** Where the tables are of what follows the store that is provided, and who makes them. What is said goes before what the store says. */
export const namesBeside = Effect.fnUntraced(function* (
  sql: SqlClient.SqlClient,
  options: NameOptions & { readonly migrate?: boolean | undefined }
): Effect.fn.Return<{ readonly names: Names; readonly migrate: boolean; readonly follows: boolean }, EventStoreError> {
  const found = yield* tablesFor(sql)
  const isSaid = options.schema !== undefined || options.tablePrefix !== undefined
  const names = yield* checkNames(isSaid ? options : { schema: found.schema, tablePrefix: found.prefix })
  return { names, migrate: options.migrate ?? found.migrate, follows: !isSaid && found.isOfStore }
})
