import * as Effect from "effect/Effect"
import { EventStoreError, StoreFailure } from "../store/EventStore.ts"
import type { Names } from "./sql.ts"

/**
 * Checks the names of schema and tables: they become part of SQL text and of a channel's name.
 */
export const checkNames = (options: {
  readonly schema?: string | undefined
  readonly tablePrefix?: string | undefined
}): Effect.Effect<Names, EventStoreError> => {
  const { schema = "eventfold", tablePrefix = "" } = options
  const problem = !/^[A-Za-z_][A-Za-z0-9_]{0,29}$/.test(schema)
    ? `schema ${JSON.stringify(schema)} must be 1 to 30 letters, digits or _, and not begin with a digit`
    : !/^[A-Za-z0-9_]{0,20}$/.test(tablePrefix)
      ? `tablePrefix ${JSON.stringify(tablePrefix)} must be at most 20 letters, digits or _`
      : undefined
  return problem === undefined
    ? Effect.succeed({ schema, prefix: tablePrefix })
    : Effect.fail(new EventStoreError({ reason: new StoreFailure({ operation: "open", detail: problem }) }))
}
