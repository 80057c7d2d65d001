/**
 * Indexes of the events that the options of a store ask for. They are no migrations: each program has those that it asks for, and one that
 * is made later is made beside the appends.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { realSleep } from "../internal/realTime.ts"
import { answered } from "../sql/answering.ts"
import { EventStoreError, StoreFailure, StoreUnavailable } from "../store/EventStore.ts"
import { toEventStoreError } from "./errors.ts"
import type { Names } from "./sql.ts"
import { createIndex, type EventIndex, eventIndexes, nameOfIndex } from "./sql/eventIndexes.ts"
import { render } from "./sql/statement.ts"
import { poolingOf } from "./pooling.ts"

/** Which indexes are wanted, where, and how long is waited for them. */
interface Wanted {
  readonly sql: PgClient.PgClient
  readonly names: Names
  readonly indexes: ReadonlySet<EventIndex>
  /** For an answer to what takes no time. */
  readonly timeout: Duration.Duration
  /** For all of them to be there. */
  readonly indexTimeout: Duration.Duration
}

/** An index that is not there, or was left unfinished. */
interface Missing {
  readonly name: string
  readonly isLeft: boolean
  readonly create: (how: string) => string
  readonly drop: string
}

/** The statements that make them, and drop what was left of them first. */
const statementsOf = (missing: ReadonlyArray<Missing>): ReadonlyArray<string> =>
  missing.flatMap(({ create, drop, isLeft }) => [...(isLeft ? [drop] : []), create("concurrently")])

/** Those that are not there as they should be. It takes no right but to read. */
const missingOf = ({ indexes: wanted, names, sql, timeout }: Wanted): Effect.Effect<ReadonlyArray<Missing>, SqlError> => {
  const indexes = eventIndexes.filter(({ index }) => wanted.has(index))
  const found = sql.unsafe(
    `select c.relname, i.indisvalid from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = $1 and c.relname = any ($2::text[])`,
    [names.schema, `{${indexes.map(({ index }) => nameOfIndex(names.prefix, index)).join(",")}}`]
  ).values
  return Effect.map(answered(sql, found, timeout), (rows) => {
    const isValid = new Map(rows.map(([name, isValid]) => [name, isValid === true]))
    return indexes.flatMap((definition): ReadonlyArray<Missing> => {
      const name = nameOfIndex(names.prefix, definition.index)
      if (isValid.get(name) === true) return []
      return [
        {
          name,
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
const tryLock = ({ names: { prefix, schema }, sql, timeout }: Wanted): Effect.Effect<boolean, SqlError, Scope.Scope> =>
  Effect.gen(function* () {
    const holder = yield* PgConnection.make(sql.config)
    const run = (text: string) => answered(sql, holder.query(text, [], false), timeout)
    yield* Effect.acquireRelease(run("begin isolation level read committed"), () =>
      // Where nobody answers, the end of the connection is the end of the transaction.
      Effect.ignore(answered(sql, holder.query("rollback", [], false), Duration.seconds(1)))
    )
    // Servers before 17 do not know it.
    yield* run(`select set_config(name, '0', true) from pg_settings where name = 'transaction_timeout'`)
    const [row] = yield* answered(
      sql,
      holder.queryValues(
        "select pg_try_advisory_xact_lock(hashtextextended($1, 0))",
        [`eventfold indexes ${schema}.${prefix}`],
        false
      ),
      timeout
    )
    // And the snapshot of the last query goes with the statement behind it.
    yield* run("set local idle_in_transaction_session_timeout = 0")
    return row?.[0] === true
  })

/** Makes them one after the other, on a connection that is not of the pool. What was left unfinished by a process that was ended is made anew. */
const makeAll = Effect.fnUntraced(function* (
  { sql }: Wanted,
  missing: ReadonlyArray<Missing>
): Effect.fn.Return<void, SqlError, Scope.Scope> {
  const connection = yield* PgConnection.make(sql.config)
  const { byTransaction } = yield* poolingOf(sql)
  // Through a pooler it would be for others, too.
  if (!byTransaction) yield* connection.query("set statement_timeout = 0", [], false)
  for (const text of statementsOf(missing)) {
    yield* Effect.logInfo(`eventfold: making an index before the store opens: ${text}`)
    yield* connection.query(text, [], false)
  }
})

/** When it is interrupted, nobody waits for its end: where nobody answers, the driver takes seconds to find out. */
const unattended = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.forkDetach(Effect.interruptible(effect)), (fiber) =>
      Effect.onInterrupt(restore(Fiber.join(fiber)), () => Effect.sync(() => fiber.interruptUnsafe()))
    )
  )

/** Makes what is missing, or waits until another process has. Meanwhile the server is asked how far it is, so its silence is noticed. */
const make = Effect.fnUntraced(function* (wanted: Wanted): Effect.fn.Return<void, SqlError> {
  const look = Effect.andThen(realSleep(lookInterval), missingOf(wanted))
  let missing = yield* missingOf(wanted)
  let isTold = false
  const making = unattended(Effect.flatMap(missingOf(wanted), (missing) => Effect.scoped(makeAll(wanted, missing))))
  while (missing.length > 0) {
    const isMaker = yield* Effect.scoped(
      Effect.tap(tryLock(wanted), (locked) =>
        locked ? Effect.raceFirst(making, Effect.forever(look, { disableYield: true })) : Effect.void
      )
    )
    if (!isMaker && !isTold) {
      isTold = true
      const names = missing.map(({ name }) => name).join(", ")
      yield* Effect.logInfo(
        `eventfold: another process is making an index; the store opens once it is there, in ${Duration.format(wanted.indexTimeout)} at most: ${names}`
      )
    }
    missing = yield* look
  }
})

/** Gives up what takes too long. What is being made is left unfinished, and is made anew the next time. */
const inTime = (wanted: Wanted, making: Effect.Effect<void, EventStoreError>): Effect.Effect<void, EventStoreError> =>
  Effect.raceFirst(
    making,
    Effect.andThen(
      realSleep(wanted.indexTimeout),
      Effect.suspend(() => {
        const names = Array.from(wanted.indexes, (index) => nameOfIndex(wanted.names.prefix, index)).join(", ")
        const detail = `the indexes were not there within ${Duration.format(wanted.indexTimeout)} (${names}): whoever makes them waits for transactions that are older, or needs more time; give indexTimeout more, or make them beforehand: with migrate: false the error has the statements`
        return Effect.fail(new EventStoreError({ reason: new StoreUnavailable({ operation: "migrate", detail }) }))
      })
    )
  )

/** On a database that is this process's alone there is no appending meanwhile. */
const makeAlone = (sql: PgClient.PgClient, missing: ReadonlyArray<Missing>): Effect.Effect<void, SqlError> =>
  Effect.forEach(missing, ({ create }) => sql.unsafe(create("if not exists")), { discard: true })

/** Makes the indexes that are wanted and not there, or says how to. */
export const makeIndexes = Effect.fnUntraced(function* (
  wanted: Wanted,
  mayMake: boolean
): Effect.fn.Return<void, EventStoreError> {
  const { indexes, sql } = wanted
  if (indexes.size === 0) return
  const known = eventIndexes.map(({ index }) => index)
  for (const index of indexes) {
    if (known.includes(index)) continue
    const detail = `indexes has ${JSON.stringify(index)}, which is none of ${known.join(", ")}`
    return yield* new EventStoreError({ reason: new StoreFailure({ operation: "open", detail }) })
  }
  const failed = Effect.mapError((error: SqlError) => toEventStoreError("migrate", error, false))
  const missing = yield* failed(missingOf(wanted))
  if (missing.length === 0) return
  if (!mayMake) {
    const detail = `indexes are missing, and migrate is false: run ${statementsOf(missing).join("; ")}`
    return yield* new EventStoreError({ reason: new StoreFailure({ operation: "open", detail }) })
  }
  // An embedded database brings its streams itself, and has one session.
  yield* sql.config.stream === undefined ? inTime(wanted, failed(make(wanted))) : failed(makeAlone(sql, missing))
})
