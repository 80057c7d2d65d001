/** Rows in any order, by any conditions, page after page. */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import type * as Event from "../definitions/Event.ts"
import { type Column, isNull, toText, valueFault } from "./columns.ts"
import type { Row, TableError } from "./model.ts"
import { type Order, type Statements, type Test } from "./sql.ts"

type Present<T> = Exclude<T, null | undefined>

type IsOrderable<S extends { readonly Type: unknown; readonly Encoded: unknown }> = [Present<S["Type"]>] extends [never]
  ? false
  : [Present<S["Type"]>, Present<S["Encoded"]>] extends
        | [string, string]
        | [number, number]
        | [boolean, boolean]
        | [Date, Date]
        | [DateTime.Utc, DateTime.Utc]
    ? true
    : false

/**
 * The fields by which rows can be put in order: text, finite numbers, booleans, instants. Not JSON, and not `numeric`, whose order SQLite
 * does not know.
 *
 * @category models
 * @since 0.2.0
 */
export type Orderable<F extends Event.Fields> = {
  [P in keyof F & string]: IsOrderable<F[P]> extends true ? P : never
}[keyof F & string]

/**
 * What a row must meet: `["owner", "=", "Ada"]`. `null` and absent values are equal to themselves (`["closed", "=", null]`), differ from all
 * others, and lie in no range.
 *
 * @category models
 * @since 0.2.0
 */
export type Condition<F extends Event.Fields> = {
  [P in keyof F & string]:
    | readonly [field: P, is: "=" | "!=", value: Row<F>[P & keyof Row<F>]]
    | readonly [field: P, is: "in", values: ReadonlyArray<Row<F>[P & keyof Row<F>]>]
    | (P extends Orderable<F>
        ?
            | readonly [field: P, is: "<" | "<=" | ">" | ">=", value: Present<F[P]["Type"]>]
            | readonly [field: P, is: "between", low: Present<F[P]["Type"]>, high: Present<F[P]["Type"]>]
        : never)
}[keyof F & string]

/**
 * Which rows, and in what order.
 *
 * @category models
 * @since 0.2.0
 */
export interface Query<F extends Event.Fields> {
  /** A row must meet all of these. Default: all rows. */
  readonly where?: ReadonlyArray<Condition<F>> | undefined
  /**
   * By what the rows are put in order: a field, or a field and a direction, `["amount", "desc"]`; rows that are alike in all of these by
   * their key. Text is in code point order, and an absent value or `null` is less than all others, on every database. Default: by key.
   */
  readonly order?: ReadonlyArray<Orderable<F> | readonly [Orderable<F>, "asc" | "desc"]> | undefined
}

/**
 * Rows, and where the next ones begin.
 *
 * @category models
 * @since 0.2.0
 */
export interface Page<A> {
  readonly rows: ReadonlyArray<A>
  /** For the next page; none when this is the last one. Text that may be handed out: it tells the values of the last row's order. */
  readonly cursor: Option.Option<string>
}

/**
 * A cursor is not one of this table in this order: it was cut or changed on its way, or the order is another one. Begin without one.
 *
 * @category errors
 * @since 0.2.0
 */
export class InvalidCursorError extends Schema.TaggedError<InvalidCursorError>("eventfold/Projection/InvalidCursorError")(
  "InvalidCursorError",
  { table: Schema.String, cursor: Schema.String }
) {
  override get message(): string {
    return `Table "${this.table}": ${JSON.stringify(this.cursor.slice(0, 100))} is no cursor of rows in this order: give that of the page before, with the same order`
  }
}

/** What queries need of a table. */
export interface Source<F extends Event.Fields> {
  readonly name: string
  readonly key: string
  readonly columns: ReadonlyArray<Column>
  readonly encodeField: (field: string, value: unknown) => Effect.Effect<unknown, Schema.SchemaError>
  readonly check: (column: Column, value: unknown, key: string | undefined) => Effect.Effect<void, TableError>
  /** Inside a handler the table of its version, elsewhere the view of the active one. */
  readonly here: Effect.Effect<{ readonly sql: SqlClient.SqlClient; readonly statements: Statements }, never, SqlClient.SqlClient>
  /** Runs a statement that gives rows. */
  readonly read: (
    sql: SqlClient.SqlClient,
    text: string,
    parameters: ReadonlyArray<string>
  ) => Effect.Effect<Array<Row<F>>, TableError>
  /** Runs a statement. */
  readonly values: (
    sql: SqlClient.SqlClient,
    text: string,
    parameters: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, TableError>
}

export const queriesOf = <F extends Event.Fields>(source: Source<F>) => {
  const { check, columns, encodeField, here, key, name, read, values } = source
  const columnOf = (field: string): Column => {
    const column = columns.find(({ name }) => name === field)
    if (column === undefined) throw new RangeError(`Projection: the table ${name} has no field ${field}`)
    return column
  }
  const orderable = (field: string): Column => {
    const column = columnOf(field)
    if (column.type !== "jsonb" && column.type !== "numeric") return column
    const hint = column.type === "jsonb" ? ": Schema.Finite and Schema.Int have one" : ""
    throw new RangeError(`Projection: the field ${field} of the table ${name} is ${column.type} and has no order${hint}`)
  }
  const orderOf = ({ order = [] }: Query<F>): ReadonlyArray<Order> => {
    const given = order.map((item): Order => {
      const [field, direction] = typeof item === "string" ? [item, "asc" as const] : item
      return { column: orderable(field), direction }
    })
    const keyed = given.some(({ column }) => column.name === key)
    return keyed ? given : [...given, { column: columnOf(key), direction: given.at(-1)?.direction ?? "asc" }]
  }
  /** The text of a value in a statement; `null` where its column is NULL. */
  const textOf = Effect.fnUntraced(function* (column: Column, value: unknown) {
    // Absent, where the field may be.
    if (value === undefined) return null
    const encoded = yield* encodeField(column.name, value)
    yield* check(column, encoded, undefined)
    return isNull(column, encoded) ? null : toText(column, encoded)
  })
  const testsOf = ({ where = [] }: Query<F>) =>
    Effect.forEach(where as ReadonlyArray<readonly [string, string, unknown, unknown?]>, ([field, is, value, high]) =>
      Effect.gen(function* (): Effect.fn.Return<Test, TableError> {
        const column = columnOf(field)
        if (is === "in") {
          return { column, is, values: yield* Effect.forEach(value as ReadonlyArray<unknown>, (value) => textOf(column, value)) }
        }
        if (is === "=" || is === "!=") return { column, is, values: [yield* textOf(column, value)] }
        orderable(field)
        if (is === "between") return { column, is, values: [yield* textOf(column, value), yield* textOf(column, high)] }
        if (is !== "<" && is !== "<=" && is !== ">" && is !== ">=")
          throw new RangeError(`Projection: there is no condition ${is}`)
        return { column, is, values: [yield* textOf(column, value)] }
      })
    )
  const beyond = (order: ReadonlyArray<Order>, cursor: string) => {
    const found = decodeCursor(order, cursor)
    return found === undefined ? Effect.fail(new InvalidCursorError({ table: name, cursor })) : Effect.succeed(found)
  }
  const page = Effect.fnUntraced(function* ({
    cursor,
    limit = 100,
    ...query
  }: Query<F> & { readonly limit?: number | undefined; readonly cursor?: string | undefined } = {}) {
    if (!Number.isSafeInteger(limit) || limit < 1 || limit > 1_000_000) {
      throw new RangeError(`Projection: a page has 1 to 1000000 rows, not ${limit}`)
    }
    const order = orderOf(query)
    const { sql, statements } = yield* here
    const tests = yield* testsOf(query)
    const after = cursor === undefined ? undefined : yield* beyond(order, cursor)
    const { parameters, text } = statements.page(tests, order, after, limit + 1)
    const found = yield* read(sql, text, parameters)
    const rows = found.slice(0, limit)
    const last = found.length > limit ? (rows.at(-1) as { readonly [name: string]: unknown } | undefined) : undefined
    if (last === undefined) return { rows, cursor: Option.none<string>() }
    const place = yield* Effect.forEach(order, ({ column }) => textOf(column, last[column.name]))
    return { rows, cursor: Option.some(encodeCursor(order, place)) }
  })
  return {
    page,
    count: Effect.fnUntraced(function* (query: Pick<Query<F>, "where"> = {}) {
      const { sql, statements } = yield* here
      const { parameters, text } = statements.count(yield* testsOf(query))
      const [row] = yield* values(sql, text, parameters)
      return Number(row?.[0])
    }),
    stream: ({ pageSize = 1000, ...query }: Query<F> & { readonly pageSize?: number | undefined } = {}) =>
      Stream.paginate(undefined as string | undefined, (cursor) =>
        Effect.map(
          // Its cursors are its own.
          Effect.catchTag(page({ ...query, limit: pageSize, cursor }), "InvalidCursorError", Effect.die),
          ({ cursor, rows }) => [rows, cursor] as const
        )
      )
  }
}

const signature = (order: ReadonlyArray<Order>): string =>
  order.map(({ column, direction }) => `${column.name} ${direction}`).join()

/** Text that may stand in an address. */
const Cursor = Schema.StringFromBase64Url.pipe(
  Schema.decodeTo(Schema.fromJsonString(Schema.NonEmptyArray(Schema.NullOr(Schema.String))))
)
const toCursor = Schema.encodeSync(Cursor)
const fromCursor = Schema.decodeUnknownOption(Cursor)

const encodeCursor = (order: ReadonlyArray<Order>, place: ReadonlyArray<string | null>): string =>
  toCursor([signature(order), ...place])

/** The place that a cursor tells: nothing that a database would stumble over. */
const decodeCursor = (order: ReadonlyArray<Order>, cursor: string): ReadonlyArray<string | null> | undefined => {
  const parsed = Option.getOrUndefined(fromCursor(cursor))
  if (parsed === undefined) return undefined
  const [signed, ...place] = parsed
  const fits = order.every(({ column }, index) => {
    const text = place[index]
    if (text === null) return true
    if (text === undefined) return false
    if (column.kind === "boolean") return text === "true" || text === "false"
    return valueFault(column, column.kind === "number" ? Number(text) : text) === undefined
  })
  return fits && signed === signature(order) && place.length === order.length
    ? (place as ReadonlyArray<string | null>)
    : undefined
}
