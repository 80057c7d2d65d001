import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type * as Event from "../definitions/Event.ts"
import { type AnyTable, type Row, RowRefusedError, Run, type Table, type TableError, TableUnlistedError } from "./model.ts"
import { columnsFault, folded, quoted, type TableName, tableNameFault } from "../sql/names.ts"
import { type Found, tablesFor } from "../store/tables.ts"
import { placed } from "./place.ts"
import { type Column, type ColumnType, fromValues, isNull, type Sent, toText, toValues, valueFault } from "./columns.ts"
import { type IndexOptions, indexesOf } from "./indexes.ts"
import { type Kept, keptIn } from "./keeping.ts"
import { queriesOf, type Source } from "./query.ts"
import { deleteRows, getRows, type Given, sendRows, valuesOf } from "./sending.ts"
import { type Statements, statementsOf, tableOf } from "./sql.ts"

/**
 * Defines a table: its name (letters, digits and `_`, with the database schema before a `.` if it is not to be the store's), its fields,
 * and which of them is the key, which must be text. Any word is a name, reserved ones too; on PostgreSQL the names of tables are in lower case. Names that
 * PostgreSQL or SQLite could not tell apart are refused with a `RangeError`.
 *
 * A field becomes a column of its name and of a real type, here as PostgreSQL has it: `Schema.DateTimeUtc` and `Schema.Date` are `timestamptz`,
 * `Schema.Int` is `bigint` (`integer` where its checks bound it to 32 bits), `Schema.Finite` is `double precision`, `Schema.BigInt` and
 * `Schema.BigDecimal` are `numeric` (a `BigInt` that checks bound to 64 bits is `bigint`), booleans are `boolean`, what is written as text is
 * `text` (in code point order), and all else `jsonb`: also `Schema.Number`, which may be `NaN`. SQLite has `integer`, `real` and text for
 * these. `columns` says otherwise. What a type cannot hold, such as an instant beyond the year 9999, is refused with a `RowRefusedError`.
 * A table that is there keeps the types that it was made with, also those of 0.1.0, and works: a new version has the new ones. Where it lacks
 * a column, needs one that is not in `fields`, has another key, or types that do not take the values, {@link layer} and whatever else makes tables fail with an
 * `EventStoreError` (`StoreFailure`) that says so: raise `version`.
 *
 * Absent, `undefined` and `null` come back as what they were; a field for which one column cannot tell them apart is refused with a `RangeError`. Works on PostgreSQL, PGlite
 * and SQLite; {@link layer}, {@link inline} and {@link rebuild} make the tables of the projections that list them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const table = <
  const F extends Event.Fields,
  const K extends { [P in keyof F & string]: F[P]["Encoded"] extends string ? P : never }[keyof F & string]
>(
  name: string,
  options: {
    /** The name of the field that is the key: one whose JSON form is text. */
    readonly key: K
    /** The Schemas of the columns, by name. */
    readonly fields: F
    /** The types of columns that are not to have the one of their field. A value that such a column cannot hold is refused. Default: none. */
    readonly columns?: { readonly [P in keyof F & string]?: ColumnType } | undefined
    /**
     * Indexes beside that of the key, such as `[["owner"], { on: ["mail"], unique: true }]`. They are made when the projection starts, also of
     * a table that stands already (PostgreSQL lets nobody write meanwhile); one that is taken out of the list stays until the version is
     * dropped. Not of JSON, nor for texts of more than 2700 bytes, which PostgreSQL refuses in an index.
     *
     * A row that would be a second one under a unique index fails the handler with a `SqlError` whose reason is `UniqueViolation`, and nothing
     * is written: it is the event's own fault, so that an async projection halts or parks it by its `onFailure`, and inline the unit of work
     * fails with an `EventStoreError` (`StoreFailure`). Default: none.
     */
    readonly indexes?: ReadonlyArray<IndexOptions<keyof F & string>> | undefined
    /**
     * What becomes of rows with data of a person who is forgotten (`Personal.forget`): projections that list the table follow
     * `SubjectForgotten` by themselves. Default: they stay as they are.
     */
    readonly personal?: ForgettingOptions<F> | undefined
  }
): Table<F, K> => {
  const { columns: told = {}, fields, indexes = [], key, personal } = options
  const fault = tableNameFault(name) ?? (/(^|\.)\w{51,}$/.test(name) ? "it is longer than 50 characters" : undefined)
  if (fault !== undefined) throw new RangeError(`Projection: a table cannot be called ${name}: ${fault}`)
  const odd = columnsFault(Object.keys(fields))
  if (odd !== undefined) throw new RangeError(`Projection: a column of the table ${name} ${odd}`)
  const storage = storageOf(name, key, fields, told)
  const writes = writesTo(storage)
  const { here, statements } = storage
  const queries = queriesOf(storage)
  if (personal !== undefined && !Object.hasOwn(fields, personal.subject))
    throw new RangeError(`Projection: the table ${name} has no field "${personal.subject}" that could name the subject`)
  return {
    name,
    key,
    fields,
    statements,
    columns: storage.columns,
    peek: storage.peek,
    indexes: indexesOf(name, key, storage.columns, indexes),
    identifier: Effect.map(here, ({ sql, statements }) => sql.literal(statements.table)),
    ...writes,
    patch: patchBy(writes.fold),
    get: getOf(storage),
    list: listOf(storage),
    ...queries,
    forget: personal === undefined || personal.onForget === "keep" ? undefined : forgetBy(personal, key, queries, writes)
  }
}

/**
 * What becomes of the rows of who is forgotten.
 *
 * @category models
 * @since 0.2.0
 */
export interface ForgettingOptions<F extends Event.Fields> {
  /** The field that says whose row it is: one whose JSON form is text. */
  readonly subject: { [P in keyof F & string]: F[P]["Encoded"] extends string ? P : never }[keyof F & string]
  /** The rows are deleted, or kept as they are; or what their columns have from then on, such as `{ email: null }`. */
  readonly onForget: "delete" | "keep" | Partial<Row<F>>
}

const forgetBy = <F extends Event.Fields, K extends keyof F & string>(
  { onForget, subject }: ForgettingOptions<F>,
  key: K,
  { stream }: Pick<Table<F, K>, "stream">,
  writes: Pick<Table<F, K>, "fold">
): AnyTable["forget"] => {
  const keyOf = (row: Row<F>) => (row as { readonly [P in K]: F[K]["Type"] })[key]
  return (value) =>
    // What a condition takes is the decoded value of a field; the subject is known by its JSON form, which is text.
    stream({ where: [[subject, "=", value]] as never }).pipe(
      Stream.runForEachArray((rows) =>
        writes.fold(rows, {
          key: keyOf,
          evolve: (row) => (row === undefined || onForget === "delete" ? undefined : { ...row, ...(onForget as Partial<Row<F>>) })
        })
      )
    )
}

/** What reads and writes of a table share: its statements, and its rows as they come and go. */
interface Storage<F extends Event.Fields, K extends keyof F & string>
  extends Omit<ReturnType<typeof tableOf>, "columns" | "encodeField">, Source<F> {
  readonly key: K
  readonly encodeKey: (value: unknown) => Effect.Effect<string, TableError>
  /** Refuses the JSON form of a column's value if no database would store it as it is. */
  readonly check: (column: Column, value: unknown, key: string | undefined) => Effect.Effect<void, RowRefusedError>
  readonly keyOf: (row: Row<F>) => unknown
  /** The rows that are kept where one is, if any are. */
  readonly keptHere: (context: Context.Context<SqlClient.SqlClient>) => Kept | undefined
  readonly decodeOne: (values: ReadonlyArray<unknown>) => Effect.Effect<Row<F>, Schema.SchemaError>
  readonly statements: (sql: SqlClient.SqlClient, found: Found, version: number) => Statements
  readonly values: (
    ...statement: Parameters<Source<F>["values"]>
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError>
  /** The JSON form of a key, where it has one. */
  readonly peek: (key: unknown) => string | undefined
  /** The rows of keys, by their JSON form; `asked` are the keys themselves. */
  readonly rowsOf: (
    keys: ReadonlyArray<string>,
    asked: ReadonlyArray<unknown>
  ) => Effect.Effect<Array<Row<F>>, TableError, SqlClient.SqlClient>
}

const storageOf = <F extends Event.Fields, K extends keyof F & string>(
  name: string,
  key: K,
  fields: F,
  told: { readonly [name: string]: ColumnType | undefined }
): Storage<F, K> => {
  const table = tableOf(name, key, fields, told)
  const { columns, decode, encodeField } = table
  const cache = new WeakMap<SqlClient.SqlClient, Map<string, Statements>>()
  const statementsFor = (sql: SqlClient.SqlClient, place: TableName) => {
    const physical = quoted(place)
    const known = cache.get(sql) ?? new Map<string, Statements>()
    cache.set(sql, known)
    const statements = known.get(physical) ?? statementsOf(sql, physical, columns, key)
    known.set(physical, statements)
    return statements
  }
  const statements: Storage<F, K>["statements"] = (sql, found, version) => statementsFor(sql, placed(sql, found, name, version))
  const here = Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const run = Option.getOrUndefined(yield* Effect.serviceOption(Run))
    return { sql, statements: statementsFor(sql, placed(sql, yield* tablesFor(sql), name, run?.version)) }
  })
  const check: Storage<F, K>["check"] = (column, value, key) => {
    const problem = valueFault(column, value)
    if (problem === undefined) return Effect.void
    return Effect.fail(new RowRefusedError({ table: name, key, column: column.name, problem }))
  }
  const keyColumn = columns.find(({ name }) => name === key) as Column
  /** Runs a statement that reads the table, past which no row is kept. */
  const values: Storage<F, K>["values"] = (sql, text, parameters) =>
    Effect.contextWith((context) => {
      const statement = valuesOf(sql, text, parameters)
      return keptIn(sql, { statements }, context)?.reading(statement) ?? statement
    })
  const decodeOne: Storage<F, K>["decodeOne"] = (values) =>
    decode(fromValues(columns, values)) as Effect.Effect<Row<F>, Schema.SchemaError>
  const decodeAll = (rows: Given) => Effect.forEach(rows, decodeOne)
  const keptHere: Storage<F, K>["keptHere"] = (context) =>
    keptIn(Context.get(context, SqlClient.SqlClient), { statements }, context as Context.Context<never>)
  const read: Storage<F, K>["read"] = (sql, text, parameters) => Effect.flatMap(values(sql, text, parameters), decodeAll)
  return {
    ...table,
    name,
    key,
    // The type of `table` lets only those fields be keys whose JSON form is text.
    encodeKey: (value) =>
      Effect.tap(encodeField(key, value) as Effect.Effect<string, Schema.SchemaError>, (text) => check(keyColumn, text, text)),
    check,
    keptHere,
    decodeOne,
    keyOf: (row) => (row as { readonly [K in string]: unknown })[key],
    statements,
    here,
    read,
    values,
    peek: (value) => {
      const encoded = encodeField(key, value)
      return Exit.isExit(encoded) && Exit.isSuccess(encoded) && valueFault(keyColumn, encoded.value) === undefined
        ? (encoded.value as string)
        : undefined
    },
    rowsOf: (keys, asked) =>
      Effect.contextWith((context: Context.Context<SqlClient.SqlClient>) => {
        const kept = keptHere(context)
        const rows = kept?.get(keys, asked) ?? Effect.flatMap(here, ({ sql, statements }) => getRows(sql, statements, keys))
        return Effect.flatMap(rows, decodeAll)
      })
  }
}

const getOf = <F extends Event.Fields, K extends keyof F & string>({
  decodeOne,
  encodeKey,
  keptHere,
  peek,
  rowsOf
}: Storage<F, K>): Table<F, K>["get"] => {
  const load = (key: F[K]["Type"]) =>
    Effect.map(
      Effect.flatMap(encodeKey(key), (text) => rowsOf([text], [key])),
      ([row]) => Option.fromUndefinedOr(row)
    )
  return (key) =>
    Effect.contextWith((context: Context.Context<SqlClient.SqlClient>) => {
      const kept = keptHere(context)
      const text = kept && peek(key)
      const hit = text === undefined ? undefined : kept?.hit(text)
      if (hit === undefined) return load(key)
      return hit === null ? Effect.succeedNone : Effect.asSome(decodeOne(hit))
    })
}

const writesTo = <F extends Event.Fields, K extends keyof F & string>({
  check,
  columns,
  encode,
  encodeKey,
  here,
  key,
  keptHere,
  keyOf,
  name,
  rowsOf
}: Storage<F, K>): Pick<Table<F, K>, "upsert" | "delete" | "fold"> => {
  /** Only who lists the table writes it; by its name, for a projection may have several definitions of it. */
  const mayWrite = Effect.flatMap(Run, ({ projection, tables }) =>
    tables === undefined || tables.some((table) => folded(table.name) === folded(name))
      ? Effect.void
      : Effect.die(new TableUnlistedError({ table: name, projection }))
  )
  const kept = Effect.contextWith((context: Context.Context<SqlClient.SqlClient>) => Effect.succeed(keptHere(context)))
  const upsertAll = Effect.fnUntraced(function* (rows: ReadonlyArray<Row<F>>) {
    yield* mayWrite
    if (rows.length === 0) return
    const values = new Map<string, Sent>()
    for (const row of rows) {
      const encoded = yield* encode(row)
      const refused = columns.find((column) => valueFault(column, encoded[column.name]) !== undefined)
      if (refused !== undefined) yield* check(refused, encoded[refused.name], encoded[key] as string)
      values.set(encoded[key] as string, toValues(columns, encoded))
    }
    yield* (yield* kept)?.write(values) ?? Effect.flatMap(here, ({ sql, statements }) => sendRows(sql, statements, values))
  })
  const removeAll = Effect.fnUntraced(function* (keys: ReadonlyArray<F[K]["Type"]>) {
    yield* mayWrite
    if (keys.length === 0) return
    const encoded = yield* Effect.forEach(keys, encodeKey)
    yield* (yield* kept)?.delete(encoded) ?? Effect.flatMap(here, ({ sql, statements }) => deleteRows(sql, statements, encoded))
  })
  const fold: Table<F, K>["fold"] = Effect.fnUntraced(function* (things, { evolve, key: keyOfThing }) {
    yield* mayWrite
    const keys = yield* Effect.forEach(things, (thing) => encodeKey(keyOfThing(thing)))
    if (keys.length === 0) return
    const asked = new Map(keys.map((text, index) => [text, keyOfThing(things[index] as (typeof things)[number])]))
    const before = yield* rowsOf(Array.from(asked.keys()), Array.from(asked.values()))
    const rows = new Map<string, Row<F> | undefined>()
    for (const row of before) rows.set(yield* encodeKey(keyOf(row)), row)
    const gone = new Map<string, F[K]["Type"]>()
    for (const [index, thing] of things.entries()) {
      const at = keys[index] as string
      const row = evolve(rows.get(at), thing)
      rows.set(at, row)
      if (row === undefined) gone.set(at, keyOfThing(thing))
      else gone.delete(at)
    }
    // As arrays: there may be more of them than a function takes arguments.
    yield* removeAll(Array.from(gone.values()))
    yield* upsertAll(Array.from(rows.values()).filter((row) => row !== undefined))
  })
  return { upsert: (...rows) => upsertAll(rows), fold, delete: (...keys) => removeAll(keys) }
}

const patchBy = <F extends Event.Fields, K extends keyof F & string>(fold: Table<F, K>["fold"]): Table<F, K>["patch"] =>
  Effect.fnUntraced(function* (key, change) {
    let found = false
    yield* fold([key], {
      key: (key) => key,
      evolve: (row) => {
        found = row !== undefined
        return row === undefined ? undefined : { ...row, ...change(row) }
      }
    })
    return found
  })

const listOf = <F extends Event.Fields, K extends keyof F & string>({
  check,
  columns,
  encodeField,
  encodeKey,
  here,
  read
}: Storage<F, K>): Table<F, K>["list"] =>
  Effect.fnUntraced(function* ({ after, limit = 1000, where = {} } = {}) {
    const { sql, statements } = yield* here
    const conditions = yield* Effect.forEach(
      columns.filter(({ name }) => name in where),
      (column) =>
        Effect.gen(function* () {
          const value = yield* encodeField(column.name, (where as { readonly [name: string]: unknown })[column.name])
          yield* check(column, value, undefined)
          return { column, isNull: isNull(column, value), value: toText(column, value) }
        })
    )
    const beyond = after === undefined ? [] : [yield* encodeKey(after)]
    const values = conditions.flatMap(({ isNull, value }) => (isNull ? [] : [value]))
    return yield* read(sql, statements.list(beyond.length > 0, conditions), [String(limit), ...beyond, ...values])
  })
