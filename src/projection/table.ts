import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import type * as Event from "../definitions/Event.ts"
import { writeWithOneZero } from "../internal/exactJson.ts"
import { jsonFault } from "../internal/json.ts"
import { type Row, RowRefusedError, Run, type Table, type TableError } from "./model.ts"
import { answered } from "../sql/answering.ts"
import { columnsFault, tableNameFault } from "../sql/names.ts"
import { physicalName } from "./registry.ts"
import { fromValues, isNull, statementsOf, tableOf, toValues } from "./sql.ts"

/**
 * Defines a table: its name (letters, digits and `_`, with the database schema before a `.` if need be), its fields, and which of them
 * is the key, which must be text. Any word is a name, reserved ones too; on PostgreSQL the names of tables are in lower case. Names that
 * PostgreSQL or SQLite could not tell apart are refused with a `RangeError`.
 *
 * A field becomes a column of its name by what its JSON form is: text, a number, a boolean, or else JSON. Absent, `undefined` and
 * `null` come back as what they were; a field for which one column cannot tell them apart is refused with a `RangeError`. Works on PostgreSQL, PGlite
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
  }
): Table<F, K> => {
  const { fields, key } = options
  const fault = tableNameFault(name) ?? (/(^|\.)\w{51,}$/.test(name) ? "it is longer than 50 characters" : undefined)
  if (fault !== undefined) throw new RangeError(`Projection: a table cannot be called ${name}: ${fault}`)
  const odd = columnsFault(Object.keys(fields))
  if (odd !== undefined) throw new RangeError(`Projection: a column of the table ${name} ${odd}`)
  const storage = storageOf(name, key, fields)
  const writes = writesTo(storage)
  const { encodeKey, rowsOf, statements } = storage
  return {
    name,
    key,
    fields,
    statements,
    ...writes,
    patch: patchBy(writes.fold),
    get: (key) =>
      Effect.map(
        Effect.flatMap(encodeKey(key), (key) => rowsOf([key])),
        ([row]) => Option.fromUndefinedOr(row)
      ),
    list: listOf(storage)
  }
}

/** What reads and writes of a table share: its statements, and its rows as they come and go. */
interface Storage<F extends Event.Fields, K extends keyof F & string> extends ReturnType<typeof tableOf> {
  readonly key: K
  readonly encodeKey: (value: unknown) => Effect.Effect<string, TableError>
  /** Refuses the JSON form of a column's value if no database would store it as it is. */
  readonly check: (column: string, value: unknown, key: string | undefined) => Effect.Effect<void, RowRefusedError>
  readonly keyOf: (row: Row<F>) => unknown
  readonly statements: (sql: SqlClient.SqlClient, version: number) => Statements
  /** Inside a handler the table of its version, elsewhere the view of the active one. */
  readonly here: Effect.Effect<{ readonly sql: SqlClient.SqlClient; readonly statements: Statements }, never, SqlClient.SqlClient>
  /** Runs a statement that gives rows. */
  readonly read: (
    sql: SqlClient.SqlClient,
    text: string,
    parameters: ReadonlyArray<string>
  ) => Effect.Effect<Array<Row<F>>, TableError>
  /** The rows of keys. */
  readonly rowsOf: (keys: ReadonlyArray<string>) => Effect.Effect<Array<Row<F>>, TableError, SqlClient.SqlClient>
}

type Statements = ReturnType<typeof statementsOf>

const storageOf = <F extends Event.Fields, K extends keyof F & string>(name: string, key: K, fields: F): Storage<F, K> => {
  const table = tableOf(name, fields)
  const { columns, decode, encodeField } = table
  const cache = new WeakMap<SqlClient.SqlClient, Map<string, Statements>>()
  const statementsFor = (sql: SqlClient.SqlClient, physical: string) => {
    const known = cache.get(sql) ?? new Map<string, Statements>()
    cache.set(sql, known)
    const statements = known.get(physical) ?? statementsOf(sql, physical, columns, key)
    known.set(physical, statements)
    return statements
  }
  const statements = (sql: SqlClient.SqlClient, version: number) => statementsFor(sql, physicalName(name, version))
  const here = Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const run = Option.getOrUndefined(yield* Effect.serviceOption(Run))
    return { sql, statements: run === undefined ? statementsFor(sql, name) : statements(sql, run.version) }
  })
  const check: Storage<F, K>["check"] = (column, value, key) => {
    const fault = value === undefined ? undefined : jsonFault(value)
    if (fault === undefined) return Effect.void
    const problem = fault.path === "" ? fault.problem : `(${fault.path}) ${fault.problem}`
    return Effect.fail(new RowRefusedError({ table: name, key, column, problem }))
  }
  const read: Storage<F, K>["read"] = (sql, text, parameters) =>
    Effect.flatMap(
      Effect.provideService(answered(sql, sql.unsafe(text, parameters).values), SqlClient.SafeIntegers, false),
      (rows) => Effect.forEach(rows, (values) => decode(fromValues(columns, values)) as Effect.Effect<Row<F>, Schema.SchemaError>)
    )
  return {
    ...table,
    key,
    // The type of `table` lets only those fields be keys whose JSON form is text.
    encodeKey: (value) =>
      Effect.tap(encodeField(key, value) as Effect.Effect<string, Schema.SchemaError>, (text) => check(key, text, text)),
    check,
    keyOf: (row) => (row as { readonly [K in string]: unknown })[key],
    statements,
    here,
    read,
    rowsOf: Effect.fnUntraced(function* (keys) {
      const { sql, statements } = yield* here
      return yield* read(sql, statements.get, [JSON.stringify(keys)])
    })
  }
}

const writesTo = <F extends Event.Fields, K extends keyof F & string>({
  check,
  columns,
  encode,
  encodeKey,
  here,
  key,
  keyOf,
  rowsOf
}: Storage<F, K>): Pick<Table<F, K>, "upsert" | "delete" | "fold"> => {
  const upsertAll = Effect.fnUntraced(function* (rows: ReadonlyArray<Row<F>>) {
    yield* Run
    if (rows.length === 0) return
    const { sql, statements } = yield* here
    const values = new Map<string, ReadonlyArray<unknown>>()
    for (const row of rows) {
      const encoded = yield* encode(row)
      for (const { name } of columns) yield* check(name, encoded[name], encoded[key] as string)
      values.set(encoded[key] as string, toValues(columns, encoded))
    }
    // In one order, so that two who write the same rows do not wait for each other.
    const ordered = Array.from(values).sort(([a], [b]) => (a < b ? -1 : 1))
    yield* answered(sql, sql.unsafe(statements.upsert, [JSON.stringify(ordered.map(([, row]) => row))]).values)
  })
  const removeAll = Effect.fnUntraced(function* (keys: ReadonlyArray<F[K]["Type"]>) {
    yield* Run
    if (keys.length === 0) return
    const { sql, statements } = yield* here
    const encoded = yield* Effect.forEach(keys, encodeKey)
    yield* answered(sql, sql.unsafe(statements.delete, [JSON.stringify(encoded)]).values)
  })
  const fold: Table<F, K>["fold"] = Effect.fnUntraced(function* (things, { evolve, key: keyOfThing }) {
    yield* Run
    const keys = yield* Effect.forEach(things, (thing) => encodeKey(keyOfThing(thing)))
    if (keys.length === 0) return
    const before = yield* rowsOf(Array.from(new Set(keys)))
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
    yield* upsertAll(Array.from(rows.values()).filter((row) => row !== undefined))
    yield* removeAll(Array.from(gone.values()))
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
          yield* check(column.name, value, undefined)
          return {
            column,
            isNull: isNull(column, value),
            value: column.kind === "json" ? writeWithOneZero(value) : String(value)
          }
        })
    )
    const beyond = after === undefined ? [] : [yield* encodeKey(after)]
    const values = conditions.flatMap(({ isNull, value }) => (isNull ? [] : [value]))
    return yield* read(sql, statements.list(beyond.length > 0, conditions), [String(limit), ...beyond, ...values])
  })
