/**
 * An `effect/sql` client on Node's own SQLite (`node:sqlite`): one connection to one file, which other processes may use too.
 *
 * Nothing blocks the thread while another process holds the write lock: the client tries again until `busyTimeout` has passed.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { classifySqliteError, ConnectionError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite"
import { lasting } from "../internal/lasting.ts"
import { realSleep } from "../internal/realTime.ts"

/**
 * Which file, and how durable and how patient its connection is.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The path of the database file, which is made when it does not exist, or `":memory:"`. Its directory must exist. */
  readonly filename: string
  /**
   * What a commit waits for. `"FULL"`: until the disk has it. `"NORMAL"` does not wait: a crash of the process loses nothing, but
   * **a power failure or a crash of the operating system may lose the commits of the last seconds**, acknowledged or not; the file
   * stays consistent. Default: `"FULL"`.
   */
  readonly synchronous?: "FULL" | "NORMAL" | undefined
  /** How long to wait for the write lock of another process before a `LockTimeoutError`. Default: 5 seconds. */
  readonly busyTimeout?: Duration.Input | undefined
  /** Makes a column's name out of a name in a query. Default: they are the same. */
  readonly transformQueryNames?: ((name: string) => string) | undefined
  /** Makes a name in a result out of a column's name. Default: they are the same. */
  readonly transformResultNames?: ((name: string) => string) | undefined
}

/**
 * Makes a client, as {@link layer} provides it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<SqlClient.SqlClient, SqlError, Scope.Scope | Reactivity.Reactivity> {
  const connection = yield* connect(options)
  return yield* SqlClient.make({
    ...SqlClient.makeSqliteAcquirers({
      connection: Effect.succeed(connection),
      semaphore: Semaphore.makeUnsafe(1),
      isTransaction: ({ database }) => database.isTransaction
    }),
    compiler: Statement.makeCompilerSqlite(options.transformQueryNames),
    driver: "sqlite-node",
    spanAttributes: [["db.system.name", "sqlite"]],
    prepareTransactionControls: true,
    // A deferred transaction that has read cannot write any more once another process has written.
    beginTransaction: "BEGIN IMMEDIATE",
    releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
    transformRows:
      options.transformResultNames === undefined ? undefined : Statement.defaultTransforms(options.transformResultNames).array
  })
})

/**
 * Opens the file in WAL mode.
 *
 * Transactions begin with `BEGIN IMMEDIATE`: they wait for the write lock at their beginning and nowhere else. For one that only
 * reads provide `SqlClient.BeginTransaction` with `"BEGIN DEFERRED"`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<SqlClient.SqlClient, SqlError> =>
  Layer.provide(Layer.effect(SqlClient.SqlClient, make(options)), Reactivity.layer)

/**
 * {@link layer} with options that come from the configuration: each of them, or all at once, is a `Config`.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerConfig = (options: Config.Wrap<Options>): Layer.Layer<SqlClient.SqlClient, SqlError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layer))

interface SqliteConnection extends Connection {
  readonly database: DatabaseSync
}

/** Prepares statements, and keeps the newest of them. */
const preparing = (database: DatabaseSync) => {
  const prepared = new Map<string, StatementSync>()
  return (sql: string): StatementSync => {
    let statement = prepared.get(sql)
    if (statement === undefined) {
      statement = database.prepare(sql)
      if (prepared.size === preparedStatements) prepared.delete(prepared.keys().next().value as string)
      prepared.set(sql, statement)
    }
    return statement
  }
}

/**
 * Does something with the database; again, while another process has locked it and no transaction has begun, for `busyTimeout`
 * milliseconds.
 */
const attempting =
  (database: DatabaseSync, busyTimeout: number) =>
  <A>(operation: string, run: () => A): Effect.Effect<A, SqlError> => {
    let deadline: number | undefined
    const loop: Effect.Effect<A, SqlError> = Effect.suspend(() => {
      try {
        return Effect.succeed(run())
      } catch (cause) {
        if (!isBusy(cause) || database.isTransaction) return Effect.fail(sqlError(operation)(cause))
        deadline ??= performance.now() + busyTimeout
        return performance.now() >= deadline ? Effect.fail(sqlError(operation)(cause)) : Effect.andThen(pause, loop)
      }
    })
    return loop
  }

const connect = Effect.fnUntraced(function* (options: Options): Effect.fn.Return<SqliteConnection, SqlError, Scope.Scope> {
  const busyTimeout = Duration.toMillis(lasting("SqliteClient: busyTimeout", options.busyTimeout ?? "5 seconds"))
  const database = yield* Effect.acquireRelease(
    Effect.try({ try: () => new DatabaseSync(options.filename), catch: sqlError("open") }),
    (database) => Effect.sync(() => database.close())
  )
  const prepare = preparing(database)
  const attempt = attempting(database, busyTimeout)

  const execute = <Row>(
    statement: () => StatementSync,
    params: ReadonlyArray<unknown>
  ): Effect.Effect<ReadonlyArray<Row>, SqlError> =>
    Effect.withFiber((fiber) =>
      attempt("execute", () => {
        const ready = statement()
        ready.setReadBigInts(fiber.getRef(SqlClient.SafeIntegers))
        return ready.all(...toInput(params)) as Array<Row>
      })
    )

  const values = (sql: string, params: ReadonlyArray<unknown>): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> =>
    execute(() => {
      // Not a cached statement: those return objects.
      const statement = database.prepare(sql)
      statement.setReturnArrays(true)
      return statement
    }, params)

  const executeRows: Connection["execute"] = (sql, params, transformRows) => {
    const rows = execute<object>(() => prepare(sql), params)
    return transformRows === undefined ? rows : Effect.map(rows, transformRows)
  }

  const result: SqliteConnection = {
    database,
    execute: executeRows,
    executeUnprepared: executeRows,
    executeRaw: (sql, params) => attempt("execute", () => prepare(sql).run(...toInput(params))),
    executeValues: values,
    executeValuesUnprepared: values,
    executeStream: (sql, params, transformRows) =>
      Stream.unwrap(
        Effect.map(
          Effect.acquireRelease(
            attempt("execute", () => database.prepare(sql).iterate(...toInput(params))),
            (rows) => Effect.sync(() => rows.return?.())
          ),
          (rows) =>
            Stream.paginate(undefined, () =>
              attempt("execute", () => {
                const page: Array<object> = []
                while (page.length < streamedRows) {
                  const next = rows.next()
                  if (next.done === true) break
                  page.push(next.value)
                }
                return [
                  transformRows === undefined ? page : transformRows(page),
                  page.length < streamedRows ? Option.none<undefined>() : Option.some(undefined)
                ] as const
              })
            )
        )
      )
  }

  yield* result.executeUnprepared(`PRAGMA synchronous = ${options.synchronous ?? "FULL"}`, [], undefined)
  // On macOS an fsync alone does not reach the disk.
  yield* result.executeUnprepared("PRAGMA fullfsync = ON", [], undefined)
  // Without it, INSERT OR REPLACE deletes rows past the triggers that refuse it.
  yield* result.executeUnprepared("PRAGMA recursive_triggers = ON", [], undefined)
  const [mode] = yield* result.executeValuesUnprepared("PRAGMA journal_mode = WAL", [])
  if (mode?.[0] !== "wal" && mode?.[0] !== "memory") {
    const message = `${options.filename} cannot be put into WAL mode, only ${mode?.[0]}: is it on a network file system?`
    return yield* new SqlError({ reason: new ConnectionError({ message, operation: "open", cause: undefined }) })
  }
  return result
})

/**
 * The parameters of a statement as SQLite has them. Node takes a first one that is an object for a set of named parameters, and
 * binds each number as a float, which a text column keeps as `"99.0"`.
 */
const toInput = (params: ReadonlyArray<unknown>): Array<SQLInputValue> => params.map(toInputValue)

const toInputValue = (value: unknown, index: number): SQLInputValue => {
  switch (typeof value) {
    case "string":
    case "bigint":
      return value
    case "number":
      return Number.isInteger(value) && Math.abs(value) < 2 ** 63 && !Object.is(value, -0) ? BigInt(value) : value
    case "boolean":
      return value ? 1n : 0n
    case "object":
      if (value === null || ArrayBuffer.isView(value)) return value as SQLInputValue
      // What SQLite's own functions for dates read, and what sorts by time.
      if (value instanceof Date && !Number.isNaN(value.getTime())) return value.toISOString()
  }
  throw new TypeError(
    `Parameter ${index + 1} is ${describe(value)}, which SQLite cannot store: give a string, a number, a bigint, a boolean, a Date, bytes or null`
  )
}

const describe = (value: unknown): string => {
  if (typeof value !== "object" || value === null) return value === undefined ? "undefined" : `a ${typeof value}`
  return value instanceof Date ? "an invalid Date" : `an object (${value.constructor?.name ?? "without a class"})`
}

const preparedStatements = 256
const streamedRows = 128

/** Short and of random length: a lock that is free for microseconds between two commits is met all the same. */
const pause = Effect.suspend(() => realSleep(1 + Math.random() * 3))

const codeOf = (cause: unknown): number =>
  cause instanceof Error && "errcode" in cause && typeof cause.errcode === "number" ? cause.errcode : 0

const SQLITE_BUSY = 5
const SQLITE_BUSY_SNAPSHOT = 517

const isBusy = (cause: unknown): boolean => {
  const code = codeOf(cause)
  return (code & 0xff) === SQLITE_BUSY && code !== SQLITE_BUSY_SNAPSHOT
}

/** `classifySqliteError` looks for the result code in `errno`; `node:sqlite` says `errcode`. */
const sqlError =
  (operation: string) =>
  (cause: unknown): SqlError =>
    new SqlError({
      reason: classifySqliteError(cause instanceof Error ? Object.assign(cause, { errno: codeOf(cause) }) : cause, {
        message: cause instanceof Error ? cause.message : String(cause),
        operation
      })
    })
