/**
 * What a text of SQL in this folder is.
 *
 * It is written for no schema in particular: `{event}` stands for the table (or function) of that name in the schema of the store,
 * `{schema}` for the schema, `{prefix}` for what the names of the tables begin with, and `{channel}` for both, as the names of
 * channels have it. A file holds one object (a set of tables, a function, a trigger) or a few statements; the statements that make an
 * object are a script which `psql` runs as it is, once {@link render} has put in the names.
 *
 * They are modules and not `.sql` files so that they are where the program is: in `dist` and in whatever a bundler makes of it,
 * without a file system to read them from.
 */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Result from "effect/Result"

/** What the tables of one store are called. */
export interface Names {
  readonly schema: string
  readonly prefix: string
}

/** The text with the names in it. */
export const render = (text: string, { prefix, schema }: Names): string =>
  text.replace(/\{([a-z_]+)\}/g, (_, name: string) => {
    switch (name) {
      case "schema":
        return `"${schema}"`
      case "prefix":
        return prefix
      case "channel":
        return `${schema}.${prefix}`
      default:
        return `"${schema}"."${prefix}${name}"`
    }
  })

/** Rows as the driver gives them: the values in the order of the columns. */
export type Rows = ReadonlyArray<ReadonlyArray<unknown>>

/** A statement, and what its rows say. */
export interface Statement<A> {
  readonly text: string
  readonly read: (rows: Rows) => A
}

/**
 * A statement whose columns are those of `Row`, in this order. The driver knows nothing of their types, so whoever writes the text
 * vouches for them, here and nowhere else.
 */
export const statement = <Row extends ReadonlyArray<unknown>, A>(
  text: string,
  read: (rows: ReadonlyArray<Row>) => A
): Statement<A> => ({ text, read: read as (rows: Rows) => A })

/**
 * The same statement within a transaction of somebody else, who keeps what it has locked until that ends: from now on the server ends it where
 * its process gives no sign for so many milliseconds, unless the session has a limit of its own. The row is the same, with a column more.
 */
export const ending = <A>({ read, text }: Statement<A>, millis: number): Statement<A> => ({
  read,
  text: `select held.*, case when current_setting('idle_in_transaction_session_timeout') = '0'
    then set_config('idle_in_transaction_session_timeout', '${millis}', true) end from (${text}) held`
})

/** The same statement in a transaction that is flushed behind its commit, which therefore does not wait for the disk. */
export const committedLate = <A>({ read, text }: Statement<A>): Statement<A> => ({
  read,
  text: `select late.*, set_config('synchronous_commit', 'off', true) from (${text}) late`
})

/** A statement of whose rows only the number matters. */
export const command = (text: string): Statement<number> => ({ text, read: (rows) => rows.length })

/** A column: how many milliseconds a statement outside of a transaction has taken by then. */
export const millisTaken = "(extract(epoch from clock_timestamp() - now()) * 1000)::float8"

/** The statements with the names in them. */
export const renderAll = <S extends Readonly<Record<string, Statement<unknown>>>>(statements: S, names: Names): S =>
  Object.fromEntries(Object.entries(statements).map(([key, { read, text }]) => [key, { text: render(text, names), read }])) as S

/** An array as one parameter. */
export const array = (values: ReadonlyArray<unknown>, oid: number): PgTypes.Parameter =>
  Result.getOrThrow(PgTypes.array(values, oid))

export const textArray = (values: ReadonlyArray<string | null>): PgTypes.Parameter => array(values, PgTypes.OID.text)

/** An array of texts as PostgreSQL writes it: for arrays of arrays, whose elements need not have one length. */
export const arrayLiteral = (values: ReadonlyArray<string>): string =>
  values.length === 0 ? "{}" : `{${values.map((value) => `"${value.replace(/["\\]/g, "\\$&")}"`).join(",")}}`
