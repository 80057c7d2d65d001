/**
 * Rows that are kept in memory while the events of a batch are handled one by one in one transaction: what a handler reads is read once,
 * what handlers write is written at the end of the batch, or before anybody else's statement reaches the database. What handlers see is
 * what they would see without.
 *
 * Whose rows are kept? Those of the projection's own tables, unless the database does more with a row than keep it: then all statements
 * are sent as they come. Where it only refuses some rows, these are read once and written as they come, so that it refuses the same ones.
 *
 * Whatever goes wrong with a write that was kept back fails the batch: its events are then handled each in a transaction of its own, with
 * nothing kept, and what the database refuses is refused to the event that brings it.
 */
import type * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import { serviceIn } from "../internal/serviceIn.ts"
import { transactionIn, type Watch, watching } from "../sql/watching.ts"
import { EventStore } from "../store/EventStore.ts"
import { tablesFor } from "../store/tables.ts"
import { type Column, returned, type Sent } from "./columns.ts"
import type { Foresight } from "./foresight.ts"
import { type AnyTable, type Projection, Run, type RunService } from "./model.ts"
import { placed } from "./place.ts"
import { rulesOf } from "./rules.ts"
import { deleteRows, getRows, type Given, sendRows } from "./sending.ts"
import type { Statements } from "./sql.ts"

/** More than this is not kept: rows, and about so many characters of them. */
const mostRows = 10_000
const mostSize = 8 * 1024 * 1024

/** Texts that are longer may be more than an index takes (2704 bytes on PostgreSQL): then the row is written as it comes. */
const longText = 600

/** A row as it is known: as it was read, or as it is to be written; neither where there is none. */
interface Entry {
  given: ReadonlyArray<unknown> | undefined
  readonly sent: Sent | undefined
}

/** What is to become of a row: whether it is deleted first, and the row that is then to be there. */
interface Pending {
  readonly deleted: boolean
  readonly row: Sent | undefined
}

/** The rows of a table, as far as they are kept. */
export interface Kept {
  /** The row of a key, where it is known: `null` where it is known that there is none. */
  readonly hit: (key: string) => ReadonlyArray<unknown> | null | undefined
  /** The rows of keys, by their JSON form; `asked` are the keys as they were asked for. */
  readonly get: (keys: ReadonlyArray<string>, asked: ReadonlyArray<unknown>) => Effect.Effect<Given, SqlError>
  readonly write: (rows: ReadonlyMap<string, Sent>) => Effect.Effect<void, SqlError>
  readonly delete: (keys: ReadonlyArray<string>) => Effect.Effect<void, SqlError>
  /** A statement that reads this table, and no other. */
  readonly reading: <A, E, R>(statement: Effect.Effect<A, E, R>) => Effect.Effect<A, E | SqlError, R>
}

/** What keeps rows in one transaction. */
interface Keeper {
  readonly run: RunService
  readonly store: EventStore["Service"] | undefined
  readonly tables: ReadonlyMap<AnyTable["statements"], Kept>
  /** Whether nothing is kept any more. */
  readonly isOver: () => boolean
}

/** By the connection as it is seen in the transaction: who is in it finds them, and nobody else. */
const keepers = new WeakMap<Connection, Keeper>()

/** The rows that are kept of a table where one is: `undefined` where its statements go to the database. */
export const keptIn = (
  sql: SqlClient.SqlClient,
  { statements }: Pick<AnyTable, "statements">,
  context: Context.Context<never>
): Kept | undefined => {
  const transaction = transactionIn(sql, context)
  const keeper = transaction && keepers.get(transaction[0])
  if (keeper === undefined || keeper.isOver()) return undefined
  // Another version, or another store, has tables of its own.
  const isOwn = serviceIn(context, Run) === keeper.run && serviceIn(context, EventStore) === keeper.store
  return isOwn ? keeper.tables.get(statements) : undefined
}

/** Keeps the rows of a projection's tables while its handlers do their work, and writes them in the end. */
export const keeping = <A, E, R, R2, D>(
  projection: Projection<R2, D>,
  run: RunService,
  foresight: Foresight,
  work: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> =>
  Effect.contextWith((context: Context.Context<R>) => {
    const sql = serviceIn(context as Context.Context<never>, SqlClient.SqlClient)
    if (sql === undefined || projection.tables.length === 0) return work
    return Effect.gen(function* () {
      const found = yield* tablesFor(sql)
      const own = projection.tables.map((table) => ({
        table,
        statements: table.statements(sql, found, projection.version),
        place: placed(sql, found, table.name, projection.version)
      }))
      const rules = yield* rulesOf(sql, own)
      const state = makeState(sql, foresight)
      for (const [index, { statements, table }] of own.entries()) {
        const rule = rules[index]
        if (rule !== "more") state.add(table, statements, rule === "refuses")
      }
      if (state.tables.size === 0) return yield* work
      const keeper: Keeper = {
        run,
        store: serviceIn(context as Context.Context<never>, EventStore),
        tables: state.tables,
        isOver: state.isOver
      }
      return yield* watching(
        sql,
        state.watch,
        (connection, past) => {
          state.past = past
          keepers.set(connection, keeper)
          return Effect.tap(work, state.end)
        },
        work
      )
    })
  })

/** A table, and what is known of its rows. */
interface Table {
  readonly columns: ReadonlyArray<Column>
  readonly keyAt: number
  readonly statements: Statements
  readonly isLong: (row: Sent) => boolean
  readonly peek: (key: unknown) => string | undefined
  /** Whether the database may refuse rows that it gets after others. */
  readonly refuses: boolean
  readonly known: Map<string, Entry>
  pending: Map<string, Pending>
}

const nothing: Entry = { given: undefined, sent: undefined }

const isRollback = (text: string): boolean => /^\s*rollback\b/i.test(text)

/** What may change what the database does with rows. */
const isDefinition = (text: string): boolean => /\b(create|alter|drop)\b/i.test(text)

const makeState = (sql: SqlClient.SqlClient, foresight: Foresight) => {
  const isSorted = sql.onDialectOrElse({ pg: () => true, orElse: () => false })
  const all: Array<Table> = []
  const tables = new Map<AnyTable["statements"], Kept>()
  /** Writes and reads of what is kept take turns. */
  const turn = Semaphore.makeUnsafe(1)
  let size = 0
  let over = false
  let failed: Cause.Cause<SqlError> | undefined
  /** How often it was forgotten: what was read before that is not noted after it. */
  let times = 0

  const forget = () => {
    times++
    size = 0
    for (const { known } of all) known.clear()
    foresight.forgotten()
  }

  const flush = (table: Table): Effect.Effect<void, SqlError> =>
    Effect.suspend(() => {
      const { pending, statements } = table
      if (pending.size === 0) return Effect.void
      table.pending = new Map()
      const deleted: Array<string> = []
      const rows = new Map<string, Sent>()
      for (const [key, { deleted: isDeleted, row }] of pending) {
        if (isDeleted) deleted.push(key)
        if (row !== undefined) rows.set(key, row)
      }
      return state.past(Effect.andThen(deleteRows(sql, statements, deleted), sendRows(sql, statements, rows))).pipe(
        Effect.onError((cause) => Effect.sync(() => (failed ??= cause))),
        Effect.asVoid
      )
    })

  const flushAll = turn.withPermit(Effect.suspend(() => Effect.forEach(all, flush, { discard: true })))

  /** Lets nothing grow without bound. */
  const bounded: Effect.Effect<void, SqlError> = Effect.suspend(() => {
    let rows = 0
    for (const { known, pending } of all) rows += Math.max(known.size, pending.size)
    return rows > mostRows || size > mostSize ? Effect.andThen(flushAll, Effect.sync(forget)) : Effect.void
  })

  const note = (table: Table, key: string, entry: Entry) => {
    table.known.set(key, entry)
    size += sizeOf(entry.sent ?? entry.given) + key.length
  }

  /** The row of a key as the database has it, or will have it: `undefined` where only the database can say. */
  const valuesOf = ({ columns }: Table, entry: Entry): ReadonlyArray<unknown> | undefined => {
    const { sent } = entry
    if (entry.given === undefined && sent !== undefined) {
      const values = columns.map((column, index) => returned(column, sent[index] ?? null, isSorted))
      if (values.includes(undefined)) return undefined
      entry.given = values
    }
    return entry.given
  }

  const load = (table: Table, keys: ReadonlyArray<string>, asked: ReadonlyArray<unknown>): Effect.Effect<Given, SqlError> =>
    turn.withPermit(
      Effect.gen(function* () {
        const { keyAt, known, peek, statements } = table
        if (keys.some((key) => table.pending.has(key))) yield* flush(table)
        const wanted = new Set(keys)
        for (const one of asked) {
          for (const key of foresight.ahead(statements.table, one)) {
            const text = peek(key)
            if (text !== undefined && !known.has(text) && !table.pending.has(text)) wanted.add(text)
          }
        }
        const before = times
        const rows = yield* state.past(getRows(sql, statements, Array.from(wanted)))
        const found = new Map(rows.map((row) => [row[keyAt] as string, row]))
        if (before === times) {
          const sizeBefore = size
          for (const key of wanted) {
            if (known.has(key) || table.pending.has(key)) continue
            const given = found.get(key)
            note(table, key, given === undefined ? nothing : { given, sent: undefined })
          }
          foresight.read(statements.table, wanted.size, size - sizeBefore)
        }
        return keys.flatMap((key) => {
          const row = found.get(key)
          return row === undefined ? [] : [row]
        })
      })
    )

  const put = (table: Table, key: string, row: Sent | undefined) => {
    const before = table.pending.get(key)
    table.pending.set(key, { deleted: row === undefined || before?.deleted === true, row })
    note(table, key, row === undefined ? nothing : { given: undefined, sent: row })
  }

  /** What is written at once is written before anybody goes on. */
  const written = (table: Table, atOnce: boolean) =>
    atOnce || table.refuses ? Effect.andThen(turn.withPermit(flush(table)), bounded) : bounded

  const keptOf = (table: Table): Kept => ({
    hit: (key) => {
      const entry = table.known.get(key)
      return entry === nothing ? null : entry && valuesOf(table, entry)
    },
    get: (keys, asked) =>
      Effect.suspend(() => {
        const rows: Array<ReadonlyArray<unknown>> = []
        const missing: Array<string> = []
        const missingAsked: Array<unknown> = []
        for (const [index, key] of keys.entries()) {
          const entry = table.known.get(key)
          const values = entry && valuesOf(table, entry)
          if (values !== undefined) rows.push(values)
          else if (entry !== nothing) {
            table.known.delete(key)
            missing.push(key)
            missingAsked.push(asked[index])
          }
        }
        if (missing.length === 0) return Effect.succeed(rows)
        return Effect.tap(
          Effect.map(load(table, missing, missingAsked), (loaded) => [...rows, ...loaded]),
          bounded
        )
      }),
    write: (rows) =>
      Effect.suspend(() => {
        let isLong = false
        for (const [key, row] of rows) {
          put(table, key, row)
          isLong ||= table.isLong(row)
        }
        return written(table, isLong)
      }),
    delete: (keys) =>
      Effect.suspend(() => {
        for (const key of keys) put(table, key, undefined)
        return written(table, false)
      }),
    reading: (statement) =>
      Effect.andThen(
        turn.withPermit(flush(table)),
        Effect.suspend(() => state.past(statement))
      )
  })

  const watch: Watch = {
    before: (text) =>
      Effect.suspend(() => {
        if (!isRollback(text)) return Effect.andThen(flushAll, Effect.sync(forget))
        // What was kept back came after the savepoint: that one was a statement, too.
        for (const table of all) table.pending = new Map()
        forget()
        return Effect.void
      }),
    after: (text) => {
      forget()
      if (isDefinition(text)) over = true
    }
  }

  const state = {
    tables,
    watch,
    isOver: () => over,
    past: <B, F, S>(own: Effect.Effect<B, F, S>): Effect.Effect<B, F, S> => own,
    add: (table: AnyTable, statements: Statements, refuses: boolean) => {
      const { columns, key, peek } = table
      const inIndex = new Set([key, ...table.indexes.flatMap((index) => index.columns.map(({ name }) => name))])
      const texts = columns.flatMap(({ kind, name }, index) => (kind === "text" && inIndex.has(name) ? [index] : []))
      const own: Table = {
        columns,
        keyAt: columns.findIndex(({ name }) => name === key),
        statements,
        isLong: (row) => texts.some((at) => String(row[at] ?? "").length > longText),
        peek,
        refuses,
        known: new Map(),
        pending: new Map()
      }
      all.push(own)
      tables.set(table.statements, keptOf(own))
    },
    /** Writes what was kept back. Fails also where that has failed before, whatever the handler has made of it. */
    end: Effect.suspend(() => (failed === undefined ? flushAll : Effect.failCause(failed)))
  }
  return state
}

/** About how many characters a row is. */
const sizeOf = (values: ReadonlyArray<unknown> | undefined): number => {
  let size = 32
  for (const value of values ?? []) size += typeof value === "string" ? value.length + 8 : 8
  return size
}
