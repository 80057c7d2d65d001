import { describe, expect, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { inject } from "vitest"
import { constraints, kindOf, toEventStoreError } from "../../src/postgres/errors.ts"
import { connect, event, open, reasonOf } from "./harness.ts"
import { freshSchema } from "./support.ts"

/** What each kind is called where an append is at stake, and where nothing can have been written. */
const reasons = {
  outage: ["StoreUnavailable", "StoreUnavailable"],
  lost: ["OutcomeUnknown", "StoreUnavailable"],
  conflict: ["TransactionConflict", "TransactionConflict"],
  corrupted: ["StoreCorrupted", "StoreCorrupted"],
  refusal: ["StoreFailure", "StoreFailure"]
} as const

const expected: Readonly<Record<string, keyof typeof reasons>> = {
  "08006": "lost",
  "22P05": "refusal",
  "23514": "refusal",
  "25006": "outage",
  "25P02": "refusal",
  "25P03": "outage",
  "25P04": "outage",
  "28000": "refusal",
  "3D000": "refusal",
  "40001": "conflict",
  "40P01": "conflict",
  "42501": "refusal",
  "42P01": "refusal",
  "53100": "refusal",
  "53200": "outage",
  "53300": "outage",
  "55P03": "conflict",
  "57014": "outage",
  "57P01": "lost",
  "57P02": "lost",
  "57P03": "outage",
  "57P05": "lost",
  "58030": "refusal",
  EF001: "corrupted",
  EF002: "refusal",
  XX000: "refusal"
}

/** The error that a statement of the database raises. */
const raised = (using: string) =>
  Effect.gen(function* () {
    const admin = yield* connect(inject("postgresUrl"))
    return yield* Effect.flip(admin.unsafe(`do $$ begin raise exception 'on purpose' using ${using}; end $$`))
  })

describe("from SQLSTATE to error", () => {
  it.live.each(Object.entries(expected))("%s means %s", ([code, kind]) =>
    Effect.gen(function* () {
      const error = yield* raised(`errcode = '${code}'`)
      expect(kindOf(error)).toBe(kind)
      const [written, unwritten] = reasons[kind]
      expect(toEventStoreError("append", error, true).reason._tag).toBe(written)
      expect(toEventStoreError("read", error, false).reason).toMatchObject({
        _tag: unwritten,
        operation: "read",
        detail: expect.stringContaining(`on purpose [${code}]`),
        cause: error
      })
    })
  )

  it("the constraints are those of the table of events", () => {
    expect(constraints).toEqual(["event_pkey", "event_stream_version_key", "event_id_key"])
  })

  it.live.each(constraints)("a violation of %s means corrupted, whatever the prefix of the tables", (name) =>
    Effect.gen(function* () {
      for (const prefix of ["", "shop_"]) {
        const error = yield* raised(`errcode = '23505', constraint = '${prefix}${name}'`)
        expect(kindOf(error)).toBe("corrupted")
      }
      expect(kindOf(yield* raised(`errcode = '23505', constraint = 'of_the_user'`))).toBe("refusal")
      expect(kindOf(yield* raised(`errcode = '23503', constraint = '${name}'`))).toBe("refusal")
    })
  )

  it("a connection that could not be made has written nothing; one that broke may have", () => {
    const broken = (operation: string) =>
      new SqlError({ reason: new ConnectionError({ cause: new Error("broken"), message: "broken", operation }) })
    expect(toEventStoreError("append", broken("connect"), true).reason._tag).toBe("StoreUnavailable")
    expect(toEventStoreError("append", broken("query"), true).reason._tag).toBe("OutcomeUnknown")
    expect(toEventStoreError("read", broken("query"), false).reason._tag).toBe("StoreUnavailable")
  })

  it.live("missing tables and a position that is taken come with a hint", () =>
    Effect.gen(function* () {
      const missing = toEventStoreError("read", yield* raised("errcode = '42P01'"), false)
      expect(missing.message).toContain("have the migrations run?")
      const taken = toEventStoreError("append", yield* raised("errcode = '23505', constraint = 'event_pkey'"), true)
      expect(taken.message).toContain("something else writes to the table of the events")
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
      yield* lock.executeUnprepared(`select "${schema}".append_lock()`, [], undefined)
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
