/** Counts what goes over a client. */
import type { PgClient } from "@effect/sql-pg"
import type { SqlClient } from "effect/sql"

/** The client; `note` is told of each statement that goes over it. */
export const counting = (client: PgClient.PgClient, note: (statement: string) => void): PgClient.PgClient =>
  new Proxy(client, {
    get: (target, key, receiver) =>
      key === "unsafe"
        ? (...args: Parameters<SqlClient.SqlClient["unsafe"]>) => {
            note(args[0].trim())
            return target.unsafe(...args)
          }
        : Reflect.get(target, key, receiver)
  })

/** Whether a statement reads a page of the log. */
export const isPage = (statement: string): boolean => statement.startsWith("select e.version")
