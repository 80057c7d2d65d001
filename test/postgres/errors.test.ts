import { describe, expect, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { inject } from "vitest"
import { constraints, kindOf, sqlStates, toEventStoreError } from "../../src/postgres/errors.ts"
import { connect, event, open, reasonOf } from "./harness.ts"
import { freshSchema } from "./support.ts"

/** What each kind is called where an append is at stake, and where nothing can have been written. */
const reasons = {
  unavailable: ["StoreUnavailable", "StoreUnavailable"],
  lost: ["OutcomeUnknown", "StoreUnavailable"],
  conflict: ["TransactionConflict", "TransactionConflict"],
  corrupted: ["StoreCorrupted", "StoreCorrupted"],
  failure: ["StoreFailure", "StoreFailure"]
} as const

/** A code of each entry: a class stands for all that begin with it. */
const examples: Readonly<Record<string, string>> = { "08": "08006", "28": "28000", "53": "53300" }

const expected: Readonly<Record<string, keyof typeof reasons>> = {
  "08": "lost",
  "28": "failure",
  "3D000": "failure",
  "40001": "conflict",
  "40P01": "conflict",
  "55P03": "conflict",
  "53": "unavailable",
  "53100": "failure",
  "57014": "unavailable",
  "57P01": "lost",
  "57P02": "lost",
  "57P03": "unavailable",
  "57P05": "lost",
  "25P03": "lost",
  EF001: "corrupted",
  EF002: "failure"
}

/** The error that a statement of the database raises. */
const raised = (using: string) =>
  Effect.gen(function* () {
    const admin = yield* connect(inject("postgresUrl"))
    return yield* Effect.flip(admin.unsafe(`do $$ begin raise exception 'on purpose' using ${using}; end $$`))
  })

describe("from SQLSTATE to error", () => {
  it("the table is the one that is tested here", () => {
    expect(sqlStates).toEqual(expected)
    expect(constraints).toEqual({ event_pkey: "corrupted", event_stream_version_key: "corrupted", event_id_key: "corrupted" })
  })

  it.live.each(Object.entries(expected))("%s means %s", ([entry, kind]) =>
    Effect.gen(function* () {
      const error = yield* raised(`errcode = '${examples[entry] ?? entry}'`)
      expect(kindOf(error)).toBe(kind)
      const [written, unwritten] = reasons[kind]
      expect(toEventStoreError("append", error, true).reason._tag).toBe(written)
      expect(toEventStoreError("read", error, false).reason).toMatchObject({
        _tag: unwritten,
        operation: "read",
        detail: expect.stringContaining(`on purpose [${examples[entry] ?? entry}]`),
        cause: error
      })
    })
  )

  it.live.each(["22P05", "23514", "25P02", "42501", "42P01", "XX000"])(
    "%s, which the table does not name, is a failure",
    (code) => Effect.map(raised(`errcode = '${code}'`), (error) => expect(kindOf(error)).toBe("failure"))
  )

  it.live.each(Object.entries(constraints))("a violation of %s means %s, whatever the prefix of the tables", ([name, kind]) =>
    Effect.gen(function* () {
      for (const prefix of ["", "shop_"]) {
        const error = yield* raised(`errcode = '23505', constraint = '${prefix}${name}'`)
        expect(kindOf(error)).toBe(kind)
      }
      expect(kindOf(yield* raised(`errcode = '23505', constraint = 'of_the_user'`))).toBe("failure")
      expect(kindOf(yield* raised(`errcode = '23503', constraint = '${name}'`))).toBe("failure")
    })
  )

  it("a connection that could not be made has written nothing; one that broke may have", () => {
    const broken = (operation: string) =>
      new SqlError({ reason: new ConnectionError({ cause: new Error("broken"), message: "broken", operation }) })
    expect(toEventStoreError("append", broken("connect"), true).reason._tag).toBe("StoreUnavailable")
    expect(toEventStoreError("append", broken("query"), true).reason._tag).toBe("OutcomeUnknown")
    expect(toEventStoreError("read", broken("query"), false).reason._tag).toBe("StoreUnavailable")
  })

  it.live("missing tables and a head behind the events come with a hint", () =>
    Effect.gen(function* () {
      const missing = toEventStoreError("read", yield* raised("errcode = '42P01'"), false)
      expect(missing.message).toContain("have the migrations run?")
      const behind = toEventStoreError("append", yield* raised("errcode = '23505', constraint = 'event_pkey'"), true)
      expect(behind.message).toContain("set head.position to the highest position")
    })
  )
})

describe("provoked for real", () => {
  const url = () => inject("postgresUrl")
  const arena = Effect.gen(function* () {
    const schema = freshSchema()
    const { store } = yield* open({ url: url(), schema })
    yield* store.append("A-1", [event()])
    return { schema, admin: yield* connect(url()) }
  })
  const opening = (change: (url: URL) => void) => {
    const other = new URL(url())
    change(other)
    return Effect.flip(Effect.scoped(open({ url: other.href, schema: freshSchema() })))
  }

  it.live("a database that does not exist", () =>
    Effect.map(
      opening((url) => (url.pathname = "/nowhere")),
      (error) => expect(error).toMatchObject({ reason: { _tag: "StoreFailure", detail: expect.stringContaining("[3D000]") } })
    )
  )

  it.live("a role that does not exist", () =>
    Effect.map(
      opening((url) => (url.username = "nobody_at_all")),
      (error) => expect(error).toMatchObject({ reason: { _tag: "StoreFailure", detail: expect.stringContaining("[28000]") } })
    )
  )

  it.live("a server that is not there", () =>
    Effect.map(
      opening((url) => (url.port = "1")),
      (error) => expect(error).toMatchObject({ isRetryable: true, reason: { _tag: "StoreUnavailable" } })
    )
  )

  it.live("a lock that does not come in time, a statement that takes too long", () =>
    Effect.gen(function* () {
      const { admin, schema } = yield* arena
      const lock = yield* admin.reserve
      yield* lock.executeUnprepared("begin", [], undefined)
      yield* lock.executeUnprepared(`select position from "${schema}".head for update`, [], undefined)
      yield* Effect.addFinalizer(() => Effect.ignore(lock.executeUnprepared("rollback", [], undefined)))
      for (const [setting, reason] of [
        ["lock_timeout", "TransactionConflict"],
        ["statement_timeout", "StoreUnavailable"]
      ] as const) {
        const { store } = yield* open({ url: url(), schema, pool: { startupParameters: { [setting]: "100ms" } } })
        const error = yield* Effect.flip(store.append("A-1", [event()]))
        expect(error).toMatchObject({ isRetryable: true, reason: { _tag: reason } })
        expect(yield* store.version("A-1")).toBe(1)
      }
    })
  )

  it.live("too many connections", () =>
    Effect.gen(function* () {
      const { admin, schema } = yield* arena
      yield* admin.unsafe(`create role "${schema}" login connection limit 1`)
      yield* admin.unsafe(`grant usage on schema "${schema}" to "${schema}"`)
      yield* admin.unsafe(`grant select on all tables in schema "${schema}" to "${schema}"`)
      yield* Effect.addFinalizer(() =>
        Effect.orDie(admin.unsafe(`drop owned by "${schema}"; drop role "${schema}"`).pipe(Effect.ignore))
      )
      const limited = new URL(url())
      limited.username = schema
      const first = yield* connect(limited.href)
      yield* first.reserve
      const second = yield* Effect.flip(Effect.scoped(open({ url: limited.href, schema, migrate: false })))
      expect(second).toMatchObject({
        isRetryable: true,
        reason: { _tag: "StoreUnavailable", detail: expect.stringContaining("[53300]") }
      })
    })
  )

  it.live("a user who may not: to make tables, to append, to read", () =>
    Effect.gen(function* () {
      const { admin, schema } = yield* arena
      yield* admin.unsafe(`create role "${schema}" login`)
      const limited = new URL(url())
      limited.username = schema
      const user = { url: limited.href, schema } as const
      expect(yield* Effect.flip(Effect.scoped(open({ ...user, schema: freshSchema() })))).toMatchObject({
        reason: { _tag: "StoreFailure", operation: "migrate", detail: expect.stringContaining("[42501]") }
      })
      expect(yield* Effect.flip(Effect.scoped(open({ ...user, migrate: false })))).toMatchObject({
        reason: { _tag: "StoreFailure", operation: "open", detail: expect.stringContaining("[42501]") }
      })
      yield* admin.unsafe(`grant usage on schema "${schema}" to "${schema}"`)
      yield* admin.unsafe(`grant select on all tables in schema "${schema}" to "${schema}"`)
      const { store } = yield* open({ ...user, migrate: false })
      expect(yield* store.head).toBe(1)
      expect(yield* reasonOf(store.append("A-1", [event()]))).toBe("StoreFailure")
      // What the documentation of a deployment with a separate owner needs: these rights, and no more.
      yield* admin.unsafe(`grant insert on "${schema}".event, "${schema}".tag to "${schema}"`)
      yield* admin.unsafe(`grant update on "${schema}".head to "${schema}"`)
      expect(yield* store.append("A-1", [event()])).toMatchObject({ version: 2 })
    })
  )

  it.live("a password that is wrong is no secret in the error", () =>
    Effect.gen(function* () {
      const error = yield* opening((url) => {
        url.username = "nobody_at_all"
        url.password = Redacted.value(Redacted.make("s3cret"))
      })
      expect(JSON.stringify(error)).not.toContain("s3cret")
      expect(String(error)).not.toContain("s3cret")
    })
  )
})
