/**
 * Indexes of the events that the options of a store ask for. They are no migrations: each program has those that it asks for, and one that
 * is made later is made beside the appends.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { realSleep } from "../internal/realTime.ts"
import { EventStoreError, StoreFailure } from "../store/EventStore.ts"
import { toEventStoreError } from "./errors.ts"
import type { Names } from "./sql.ts"
import { createIndex, type EventIndex, eventIndexes, nameOfIndex } from "./sql/eventIndexes.ts"
import { render } from "./sql/statement.ts"
import { poolingOf } from "./pooling.ts"

/** An index that is not there, or was left unfinished. */
interface Missing {
  readonly isLeft: boolean
  readonly create: (how: string) => string
  readonly drop: string
}

/** Those that are not there as they should be. It takes no right but to read. */
const missingOf = (
  sql: PgClient.PgClient,
  names: Names,
  wanted: ReadonlySet<EventIndex>
): Effect.Effect<ReadonlyArray<Missing>, SqlError> => {
  const indexes = eventIndexes.filter(({ index }) => wanted.has(index))
  const found = sql.unsafe(
    `select c.relname, i.indisvalid from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = $1 and c.relname = any ($2::text[])`,
    [names.schema, `{${indexes.map(({ index }) => nameOfIndex(names.prefix, index)).join(",")}}`]
  ).values
  return Effect.map(found, (rows) => {
    const isValid = new Map(rows.map(([name, isValid]) => [name, isValid === true]))
    return indexes.flatMap((definition): ReadonlyArray<Missing> => {
      const name = nameOfIndex(names.prefix, definition.index)
      if (isValid.get(name) === true) return []
      return [
        {
          isLeft: isValid.has(name),
          create: (how) => render(createIndex(definition, how), names),
          drop: `drop index concurrently if exists "${names.schema}"."${name}"`
        }
      ]
    })
  })
}

/** How often one looks whether another has made them. */
const lookInterval = "200 millis"

/**
 * Holds the lock of those who make indexes of a store until the scope closes, if nobody else does. It is one of a transaction, so that it also
 * holds behind a pooler, and that transaction sees nothing: who makes an index waits for all transactions that may see what was before it.
 * Nobody waits for it in the database either: whoever did would be such a transaction.
 */
const tryLock = (sql: PgClient.PgClient, { prefix, schema }: Names): Effect.Effect<boolean, SqlError, Scope.Scope> =>
  Effect.gen(function* () {
    const holder = yield* PgConnection.make(sql.config)
    yield* Effect.acquireRelease(holder.query("begin isolation level read committed", [], false), () =>
      Effect.ignore(holder.query("rollback", [], false))
    )
    // Servers before 17 do not know it.
    yield* holder.query(`select set_config(name, '0', true) from pg_settings where name = 'transaction_timeout'`, [], false)
    const [row] = yield* holder.queryValues(
      "select pg_try_advisory_xact_lock(hashtextextended($1, 0))",
      [`eventfold indexes ${schema}.${prefix}`],
      false
    )
    // And the snapshot of the last query goes with the statement behind it.
    yield* holder.query("set local idle_in_transaction_session_timeout = 0", [], false)
    return row?.[0] === true
  })

/** Makes them one after the other, on a connection that is not of the pool. What was left unfinished by a process that was ended is made anew. */
const makeAll = Effect.fnUntraced(function* (
  sql: PgClient.PgClient,
  missing: ReadonlyArray<Missing>
): Effect.fn.Return<void, SqlError, Scope.Scope> {
  const connection = yield* PgConnection.make(sql.config)
  const run = (text: string) => connection.query(text, [], false)
  const { byTransaction } = yield* poolingOf(sql)
  // Through a pooler it would be for others, too.
  if (!byTransaction) yield* run("set statement_timeout = 0")
  for (const { create, drop, isLeft } of missing) {
    if (isLeft) yield* run(drop)
    const text = create("concurrently")
    yield* Effect.logInfo(`eventfold: making an index before the store opens: ${text}`)
    yield* run(text)
  }
})

/** Makes what is missing, or waits until another process has. */
const make = (sql: PgClient.PgClient, names: Names, wanted: ReadonlySet<EventIndex>): Effect.Effect<void, SqlError> =>
  Effect.flatMap(missingOf(sql, names, wanted), (missing) => {
    if (missing.length === 0) return Effect.void
    const once = Effect.scoped(
      Effect.flatMap(tryLock(sql, names), (locked) =>
        locked ? Effect.flatMap(missingOf(sql, names, wanted), (missing) => makeAll(sql, missing)) : realSleep(lookInterval)
      )
    )
    return Effect.andThen(once, make(sql, names, wanted))
  })

/** On a database that is this process's alone there is no appending meanwhile. */
const makeAlone = (sql: PgClient.PgClient, missing: ReadonlyArray<Missing>): Effect.Effect<void, SqlError> =>
  Effect.forEach(missing, ({ create }) => sql.unsafe(create("if not exists")), { discard: true })

/** Makes the indexes that are wanted and not there, or says how to. */
export const makeIndexes = Effect.fnUntraced(function* (
  sql: PgClient.PgClient,
  names: Names,
  wanted: ReadonlySet<EventIndex>,
  mayMake: boolean
): Effect.fn.Return<void, EventStoreError> {
  if (wanted.size === 0) return
  const known = eventIndexes.map(({ index }) => index)
  for (const index of wanted) {
    if (known.includes(index)) continue
    const detail = `indexes has ${JSON.stringify(index)}, which is none of ${known.join(", ")}`
    return yield* new EventStoreError({ reason: new StoreFailure({ operation: "open", detail }) })
  }
  const failed = Effect.mapError((error: SqlError) => toEventStoreError("migrate", error, false))
  const missing = yield* failed(missingOf(sql, names, wanted))
  if (missing.length === 0) return
  if (!mayMake) {
    const statements = missing.flatMap(({ create, drop, isLeft }) => [...(isLeft ? [drop] : []), create("concurrently")])
    const detail = `indexes are missing, and migrate is false: run ${statements.join("; ")}`
    return yield* new EventStoreError({ reason: new StoreFailure({ operation: "open", detail }) })
  }
  // An embedded database brings its streams itself, and has one session.
  yield* failed(sql.config.stream === undefined ? make(sql, names, wanted) : makeAlone(sql, missing))
})
