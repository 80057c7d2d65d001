/** Personal data: a table beside the events, so that forgetting somebody is a `DELETE`. */
import { Effect, Layer, Option, Schema } from "effect"
import { SqlClient } from "effect/sql"
import type { CustomerId } from "./domain/values.ts"

export const fields = { name: Schema.NonEmptyString, email: Schema.NonEmptyString }

export const Contact = Schema.Struct(fields)
type Contact = typeof Contact.Type

/** Makes the table, if there is none. */
export const layer = Layer.effectDiscard(
  SqlClient.SqlClient.use(
    (sql) => sql`
    CREATE TABLE IF NOT EXISTS contact (customer TEXT PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL)`
  )
)

export const put = (customer: CustomerId, { email, name }: Contact) =>
  SqlClient.SqlClient.use((sql) => sql`INSERT INTO contact ${sql.insert({ customer, name, email })}`).pipe(
    Effect.asVoid,
    Effect.orDie
  )

export const remove = (customer: CustomerId) =>
  SqlClient.SqlClient.use((sql) => sql`DELETE FROM contact WHERE customer = ${customer}`).pipe(Effect.asVoid, Effect.orDie)

export const find = (customer: CustomerId) =>
  SqlClient.SqlClient.use((sql) => sql<Contact>`SELECT name, email FROM contact WHERE customer = ${customer}`).pipe(
    Effect.map(([contact]) => Option.fromUndefinedOr(contact))
  )
