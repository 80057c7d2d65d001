import * as Arr from "effect/Array"
import * as Config from "effect/Config"
import type * as KeyWrap from "effect/crypto/KeyWrap"
import * as Mac from "effect/crypto/Mac"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import type { Fragment } from "effect/sql/Statement"
import { wholeOrEndless } from "../internal/counting.ts"
import { lasting } from "../internal/lasting.ts"
import { answered } from "../sql/answering.ts"
import { describeOwn } from "../sql/errors.ts"
import { flushWithCommit } from "../sql/transaction.ts"
import { openSide } from "../store/tables.ts"
import { toBase64 } from "./bytes.ts"
import { makeKeyCache, now } from "./keyCache.ts"
import { type Masters, withMasters, type Wrapping } from "./masters.ts"
import {
  gone,
  idLength,
  Keys,
  type KeysError,
  keyOf,
  KeysUnavailable,
  secretLength,
  type Standing,
  WrongMasterKey
} from "./subjectKeys.ts"

interface Row {
  readonly id: string
  readonly subject: string
  readonly generation: number
  /** `null` where the key is gone. */
  readonly wrapped: string | null
  readonly master: string
  readonly closed: number
}

/** Rows are never deleted: one without a key is the fence that keeps who is forgotten from being given another. */
const side = {
  name: "personal_key",
  columns: ["id", "subject", "generation", "wrapped", "master", "closed"],
  create: (sql: SqlClient.SqlClient, table: Fragment) => sql`create table if not exists ${table} (
    id text not null primary key,
    subject text not null,
    generation integer not null,
    wrapped text,
    master text not null,
    closed integer not null,
    unique (subject, generation)
  )`
}

/**
 * Where keys are kept, and what wraps them.
 *
 * @category models
 * @since 0.2.0
 */
export interface SqlOptions {
  /** The master keys, as they are or from a `Config` such as `Keys.masters("MASTER_KEYS")`; or what wraps elsewhere, such as a key management service. */
  readonly masters: Masters | Config.Config<Masters> | Wrapping
  /** How long a process may use a key that it has asked for: so long `Personal.forget` waits. Default: 10 seconds. */
  readonly bound?: Duration.Input | undefined
  /** How many keys a process keeps at most. Default: 10 000. */
  readonly capacity?: number | undefined
  /**
   * Letters, digits and `_`, with the schema before a `.` if need be; on PostgreSQL in lower case. Default: `personal_key` in the schema of
   * the store that is provided, behind its prefix; without a store `eventfold.personal_key`, on SQLite `eventfold_personal_key`.
   */
  readonly table?: string | undefined
  /** Whether to make the table when it is not there. Default: as the store that is provided does, or else `true`. */
  readonly migrate?: boolean | undefined
}

/** So many subjects are asked for in one statement. */
const most = 500

const chunksOf = <A>(all: ReadonlyArray<A>): ReadonlyArray<Arr.NonEmptyReadonlyArray<A>> =>
  Arr.isReadonlyArrayNonEmpty(all) ? Arr.chunksOf(all, most) : []

const wrappingOf = ({ masters }: SqlOptions): Effect.Effect<Wrapping, KeysError, KeyWrap.KeyWrap> => {
  if ("wrap" in masters) return Effect.succeed(masters)
  if (!Config.isConfig(masters)) return withMasters(masters)
  return Effect.flatMap(
    Effect.mapError(masters, (cause) => new WrongMasterKey({ master: "", problem: `cannot be read: ${cause.message}` })),
    withMasters
  )
}

/** The statements on the table. */
const openTable = Effect.fnUntraced(function* (options: Pick<SqlOptions, "table" | "migrate">) {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const doing =
    (operation: string) =>
    <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.mapError(answered(sql, effect), (cause) => new KeysUnavailable({ operation, detail: describeOwn(cause), cause }))
  const table = yield* doing("open")(openSide(options, side))
  const columns = sql.literal("id, subject, generation, wrapped, master, closed")
  return {
    sql,
    /** The rows of subjects, or those with ids. */
    find: (operation: string, by: "subject" | "id", names: ReadonlyArray<string>) =>
      Effect.map(
        Effect.forEach(chunksOf(names), (names) =>
          doing(operation)(
            sql<Row>`select ${columns} from ${table} where ${sql.in(by, names)} and generation > 0 order by subject, generation`
          )
        ),
        (chunks) => chunks.flat()
      ),
    /** The rows of master keys, which are of no subject, whatever that is called. */
    probes: (ids: ReadonlyArray<string>) =>
      Effect.map(doing("open")(sql<Row>`select ${columns} from ${table} where ${sql.in("id", ids)} and generation = 0`), (rows) =>
        Array.from(rows)
      ),
    /** Adds rows, save where somebody else was faster; gives the ids of those that were added. */
    add: (operation: string, rows: ReadonlyArray<Row>) =>
      Effect.map(
        // A key that a crash takes back must have sealed nothing.
        Effect.andThen(
          flushWithCommit(sql),
          Effect.forEach(chunksOf(rows), (rows) =>
            doing(operation)(
              sql<Pick<Row, "id">>`insert into ${table} ${sql.insert(Arr.map(rows, (row) => ({ ...row })))}
              on conflict do nothing returning id`
            )
          )
        ),
        (chunks) => new Set(chunks.flatMap((rows) => rows.map(({ id }) => id)))
      ),
    close: (subject: string, generation: number) =>
      doing("forget")(
        sql`update ${table} set closed = 1 where subject = ${subject} and generation between 1 and ${generation} and closed = 0`
      ),
    destroy: (subject: string, generation: number) =>
      doing("forget")(
        sql<Pick<Row, "id">>`update ${table} set closed = 1, wrapped = null
          where subject = ${subject} and generation between 1 and ${generation} returning id`
      ),
    /** Rows that another master key than this has wrapped, by their ids. */
    wrappedByOthers: (master: string, after: string) =>
      doing("rewrap")(
        sql<Row>`select ${columns} from ${table} where master <> ${master} and wrapped is not null and id > ${after}
          order by id limit cast(${String(most)} as integer)`
      ),
    /** Whether the row was as it was read: it may have been forgotten meanwhile. */
    rewrap: ({ id, wrapped }: Row, again: string, master: string) =>
      Effect.map(
        doing("rewrap")(
          sql`update ${table} set wrapped = ${again}, master = ${master} where id = ${id} and wrapped = ${wrapped} returning 1 as one`
        ),
        (rows) => rows.length > 0
      )
  }
})

type Table = Effect.Success<ReturnType<typeof openTable>>

/** How many keys are wrapped or unwrapped at once: they may be elsewhere. */
const atOnce = 16

/** By this row a process knows a master key that is another one under the same name. */
const probeOf = (master: string) => `$master:${master}`

const checkMasters = Effect.fnUntraced(function* (table: Table, wrapping: Wrapping, secret: Uint8Array) {
  const { current, others = [] } = wrapping
  const id = probeOf(current)
  const ids = [id, ...others.map(probeOf)]
  const found = yield* table.probes(ids)
  if (!found.some((probe) => probe.id === id)) {
    const wrapped = yield* wrapping.wrap(secret)
    yield* table.add("open", [{ id, subject: id, generation: 0, wrapped, master: current, closed: 1 }])
    // Somebody else may have been faster.
    found.push(...(yield* table.probes([id])))
  }
  for (const { master, wrapped } of found) if (wrapped !== null) yield* wrapping.unwrap(wrapped, master)
})

const isDestroyed = ({ closed, wrapped }: Row): boolean => wrapped === null && closed !== 0

/** The newest of each subject: rows are in the order of generations. */
const newest = (rows: ReadonlyArray<Row>): ReadonlyMap<string, Row> => new Map(rows.map((row) => [row.subject, row]))

const makeKeys = Effect.fnUntraced(function* (
  options: SqlOptions
): Effect.fn.Return<Keys["Service"], KeysError, SqlClient.SqlClient | KeyWrap.KeyWrap | Mac.Mac | SecureRandom.SecureRandom> {
  const mac = yield* Mac.Mac
  const random = yield* SecureRandom.SecureRandom
  const wrapping = yield* wrappingOf(options)
  const table = yield* openTable(options)
  yield* checkMasters(table, wrapping, yield* random.randomBytes(secretLength))
  const bound = lasting("Keys: bound", options.bound ?? "10 seconds")
  const capacity = wholeOrEndless(1, "Keys: capacity", options.capacity ?? 10_000)
  const bySubject = makeKeyCache(Duration.toMillis(bound), capacity)
  const byId = makeKeyCache(Duration.toMillis(bound), capacity)

  const derived = (operation: string, id: string, secret: Uint8Array): Effect.Effect<Standing, KeysError> =>
    Effect.mapError(keyOf(mac, id, secret), (cause) => new KeysUnavailable({ operation, detail: cause.message, cause }))

  const unwrap = Effect.fnUntraced(function* ({ id, master, wrapped }: Row): Effect.fn.Return<Standing, KeysError> {
    if (wrapped === null) return gone
    const known = byId.unwrapped(id, wrapped)
    if (known !== undefined) return known
    return yield* derived("open", id, yield* wrapping.unwrap(wrapped, master))
  })

  /** What a transaction sees, or does, may not come to be: the process knows of it once that has committed. */
  const whenCommitted = (change: () => void) => table.sql.afterCommit(Effect.sync(change))

  /** Keeps what was asked for at an instant. */
  const keep = (all: ReadonlyArray<readonly [Row, Standing]>, asked: number) =>
    whenCommitted(() => {
      for (const [{ id, wrapped }, standing] of all) byId.set(id, standing, wrapped ?? undefined, asked)
    })

  /** The keys of rows that were asked for at an instant. */
  const keysOf = Effect.fnUntraced(function* (rows: Iterable<Row>, asked: number) {
    const all = yield* Effect.forEach(rows, (row) => Effect.map(unwrap(row), (standing) => [row, standing] as const), {
      concurrency: atOnce
    })
    yield* keep(all, asked)
    return all
  })

  /**
   * Makes keys for subjects that have none; gives the rows of those that somebody else was not faster with. Subjects are in one order in all
   * processes, so that none waits for another in a circle.
   */
  const make = Effect.fnUntraced(function* (subjects: ReadonlyArray<string>, generationOf: (subject: string) => number) {
    const made = yield* Effect.forEach(
      subjects.toSorted(),
      Effect.fnUntraced(function* (subject) {
        const id = toBase64(yield* random.randomBytes(idLength))
        const secret = yield* random.randomBytes(secretLength)
        const wrapped = yield* wrapping.wrap(secret)
        const row: Row = { id, subject, generation: generationOf(subject), wrapped, master: wrapping.current, closed: 0 }
        return [row, yield* derived("seal", id, secret)] as const
      }),
      { concurrency: atOnce }
    )
    const rows = made.map(([row]) => row)
    const added = yield* table.add("seal", rows)
    return made.filter(([{ id }]) => added.has(id))
  })

  const lookUp = Effect.fnUntraced(function* (subjects: ReadonlyArray<string>) {
    const asked = yield* now
    const rows = newest(yield* table.find("seal", "subject", subjects))
    const found = yield* keysOf(rows.values(), asked)
    const absent = subjects.filter((subject) => !rows.has(subject))
    const standings = new Map<string, Standing>()
    const add = (all: ReadonlyArray<readonly [Row, Standing]>) => {
      for (const [{ closed, subject }, standing] of all) standings.set(subject, closed === 0 ? standing : gone)
    }
    add(found)
    if (absent.length > 0) {
      const made = yield* make(absent, () => 1)
      yield* keep(made, asked)
      add(made)
      // Of these somebody else has made a key meanwhile.
      const others = absent.filter((subject) => !standings.has(subject))
      if (others.length > 0) add(yield* keysOf(newest(yield* table.find("seal", "subject", others)).values(), asked))
    }
    yield* whenCommitted(() => {
      for (const [subject, standing] of standings) bySubject.set(subject, standing, undefined, asked)
    })
    return standings
  })

  const findAll = Effect.fnUntraced(function* (ids: ReadonlyArray<string>) {
    const asked = yield* now
    const found = yield* keysOf(yield* table.find("open", "id", ids), asked)
    return new Map(found.map(([{ id }, standing]) => [id, standing]))
  })

  /** Gives what is kept, and looks up the rest: in a transaction by itself, otherwise with what others wait for at the same time. */
  const together = (
    cache: KeyCache,
    find: (names: ReadonlyArray<string>) => Effect.Effect<ReadonlyMap<string, Standing>, KeysError>
  ) => {
    const wanted = new Set<string>()
    const turns = Semaphore.makeUnsafe(1)
    const look = Effect.fnUntraced(function* ({
      found,
      missing
    }: Known): Effect.fn.Return<ReadonlyMap<string, Standing>, KeysError> {
      const add = (more: ReadonlyMap<string, Standing>) => new Map([...found, ...more])
      if (Option.isSome(yield* Effect.serviceOption(table.sql.transactionService))) return add(yield* find(missing))
      for (const name of missing) wanted.add(name)
      return yield* turns.withPermit(
        Effect.gen(function* () {
          // Whoever had the turn before may have looked them up.
          const again = known(cache, new Set(missing), yield* now)
          if (again.missing.length === 0) return add(again.found)
          const all = Array.from(new Set([...again.missing, ...wanted]))
          wanted.clear()
          const looked = yield* find(all)
          const own = new Map(again.found)
          for (const name of again.missing) {
            const standing = looked.get(name)
            if (standing !== undefined) own.set(name, standing)
          }
          return add(own)
        })
      )
    })
    return (names: ReadonlySet<string>) =>
      Effect.flatMap(now, (now) => {
        const all = known(cache, names, now)
        return all.missing.length === 0 ? Effect.succeed(all.found) : look(all)
      })
  }

  /** Keeps nothing of what is destroyed. */
  const drop = (subjects: ReadonlyArray<string>, destroyed: ReadonlyArray<Pick<Row, "id">>) =>
    whenCommitted(() => {
      for (const { id } of destroyed) byId.forget(id)
      for (const subject of subjects) bySubject.delete(subject)
    })

  return {
    bound,
    sealing: together(bySubject, lookUp),
    opening: together(byId, findAll),
    close: Effect.fnUntraced(function* (subject, generation) {
      const rows = yield* table.find("forget", "subject", [subject])
      const last = rows.at(-1)?.generation ?? 0
      const upTo = generation ?? Math.max(last, 1)
      if (last < upTo) {
        const id = toBase64(yield* random.randomBytes(idLength))
        yield* table.add("forget", [{ id, subject, generation: upTo, wrapped: null, master: wrapping.current, closed: 1 }])
      }
      yield* table.close(subject, upTo)
      yield* whenCommitted(() => bySubject.delete(subject))
      return upTo
    }),
    destroy: Effect.fnUntraced(function* (subject, generation) {
      const rows = (yield* table.find("forget", "subject", [subject])).filter((row) => row.generation <= generation)
      // It may be done again, by whoever has forgotten and by all that follow: nothing is written again.
      const destroyed = rows.every(isDestroyed) ? rows : yield* table.destroy(subject, generation)
      yield* drop([subject], destroyed)
    }),
    unfinished: Effect.fnUntraced(function* (forgotten) {
      const rows = yield* table.find("forget", "subject", Array.from(forgotten.keys()))
      const last = newest(rows)
      const upTo = (subject: string) => forgotten.get(subject) ?? 0
      const covered = rows.filter(({ generation, subject }) => generation <= upTo(subject))
      // What a restored backup has brought back is there again; and where it knows nothing of a subject, nothing keeps a new key from being made.
      const left = new Set(covered.filter((row) => !isDestroyed(row)).map(({ subject }) => subject))
      for (const [subject, generation] of forgotten) if ((last.get(subject)?.generation ?? 0) < generation) left.add(subject)
      const done = Array.from(forgotten.keys()).filter((subject) => !left.has(subject))
      yield* drop(
        done,
        covered.filter(({ subject }) => !left.has(subject))
      )
      return left
    }),
    readmit: Effect.fnUntraced(function* (subject) {
      const last = (yield* table.find("readmit", "subject", [subject])).at(-1)
      if (last === undefined || last.closed === 0) return
      yield* make([subject], () => last.generation + 1)
      yield* whenCommitted(() => bySubject.delete(subject))
    })
  }
})

type KeyCache = ReturnType<typeof makeKeyCache>

/** What a process has of the keys that are asked for, and what it has to look up. */
interface Known {
  readonly found: ReadonlyMap<string, Standing>
  readonly missing: ReadonlyArray<string>
}

const known = (cache: KeyCache, names: ReadonlySet<string>, at: number): Known => {
  const found = new Map<string, Standing>()
  const missing: Array<string> = []
  for (const name of names) {
    const standing = cache.get(name, at)
    if (standing === undefined) missing.push(name)
    else found.set(name, standing)
  }
  return { found, missing }
}

/**
 * Keys in a table of the `SqlClient` of the environment, PostgreSQL, PGlite or SQLite, wrapped by a master key that is elsewhere.
 *
 * **Details**: what a process has asked for it keeps for `bound`; so long after an erasure another process may still read. `Personal.forget` waits
 * for it. In a transaction of the same client a new key commits with the events, and is kept only then. A key of this process that is
 * destroyed while a read is under way is not kept again beyond the bound.
 *
 * **Gotchas**: best in a database of its own, whose backups live shorter than those of the log: a backup of the keys with the master key that
 * they are wrapped with brings back what was forgotten ({@link rewrap}, and then destroy the old master key, ends that). Each call is another
 * Layer, with a cache of its own.
 *
 * ```ts
 * import { Layer, Redacted } from "effect"
 * import { Keys, Personal } from "eventfold"
 * import { SqliteClient } from "eventfold/sqlite"
 *
 * const masters = { current: "2030", keys: { "2030": Redacted.make(btoa("a".repeat(32))) } } // or Keys.masters("MASTER_KEYS")
 *
 * const KeysLive = Keys.layerSql({ masters }).pipe(
 *   Layer.provide(SqliteClient.layer({ filename: ":memory:" })),
 *   Layer.provide(Personal.layerCrypto)
 * )
 * Layer.isLayer(KeysLive) // => true
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layerSql = (
  options: SqlOptions
): Layer.Layer<Keys, KeysError, SqlClient.SqlClient | KeyWrap.KeyWrap | Mac.Mac | SecureRandom.SecureRandom> =>
  Layer.effect(Keys, makeKeys(options))

/**
 * Wraps all keys with the master key that is in use, those that are wrapped with it already aside. Gives how many it has wrapped again.
 *
 * **Details**: it may run beside all else, in several processes, and be cut off and started again; what is forgotten meanwhile stays so. When it
 * gives 0, no key needs the old master key any more. Until then all processes must have both.
 *
 * @category maintenance
 * @since 0.2.0
 */
export const rewrap = Effect.fnUntraced(function* (
  options: Pick<SqlOptions, "masters" | "table" | "migrate">
): Effect.fn.Return<number, KeysError, SqlClient.SqlClient | KeyWrap.KeyWrap> {
  const wrapping = yield* wrappingOf(options)
  const table = yield* openTable(options)
  let wrapped = 0
  let after = ""
  for (;;) {
    const rows = yield* table.wrappedByOthers(wrapping.current, after)
    const last = rows.at(-1)
    if (last === undefined) return wrapped
    const done = yield* Effect.forEach(
      rows,
      (row) =>
        Effect.gen(function* () {
          const secret = yield* wrapping.unwrap(row.wrapped ?? "", row.master)
          return yield* table.rewrap(row, yield* wrapping.wrap(secret), wrapping.current)
        }),
      { concurrency: atOnce }
    )
    wrapped += done.filter(Boolean).length
    after = last.id
  }
})
