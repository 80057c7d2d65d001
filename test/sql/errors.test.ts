import { describe, expect, it } from "vitest"
import {
  AuthenticationError,
  AuthorizationError,
  classifySqliteError,
  ConnectionError,
  ConstraintError,
  DeadlockError,
  LockTimeoutError,
  SerializationError,
  SqlError,
  SqlSyntaxError,
  StatementTimeoutError,
  UniqueViolation,
  UnknownError
} from "effect/sql/SqlError"
import { Checkpoints, EventStore } from "eventfold"
import * as Errors from "../../src/sql/errors.ts"

const failed = (Reason: typeof UnknownError | typeof ConnectionError, cause: unknown, operation = "query") =>
  new SqlError({ reason: new Reason({ cause, message: "PgConnection: Query failed", operation }) })

/** An error of PostgreSQL, for which the driver knows no reason of its own. */
const postgres = (code: string) => failed(UnknownError, Object.assign(new Error("on purpose"), { code }))

/** As `node:sqlite` says it, and as others do. */
const sqlite = (errcode: number, code: string) => [
  new SqlError({
    reason: classifySqliteError(Object.assign(new Error("on purpose"), { code: "ERR_SQLITE_ERROR", errcode, errno: errcode }))
  }),
  new SqlError({ reason: classifySqliteError(Object.assign(new Error("on purpose"), { code })) }),
  failed(UnknownError, Object.assign(new Error("on purpose"), { code: errcode })),
  failed(UnknownError, Object.assign(new Error("on purpose"), { errno: errcode, code }))
]

/** What all predicates say of an error: its class, and whether it is known that nothing was written. */
const said = (error: unknown) => ({
  class: [
    ...(Errors.isConflict(error) ? ["isConflict"] : []),
    ...(Errors.isRefusal(error) ? ["isRefusal"] : []),
    ...(Errors.isOutage(error) ? ["isOutage"] : [])
  ],
  rolledBack: Errors.wasRolledBack(error)
})

const conflict = { class: ["isConflict"], rolledBack: true }
const refusal = { class: ["isRefusal"], rolledBack: true }
const outage = { class: ["isOutage"], rolledBack: true }
const lost = { class: ["isOutage"], rolledBack: false }
const corrupted = { class: ["isRefusal"], rolledBack: false }

const sqlStates = [
  ["08000", lost],
  ["08003", lost],
  ["08006", lost],
  ["08P01", lost],
  ["22P05", refusal],
  ["23505", refusal],
  ["23514", refusal],
  ["25001", refusal],
  ["25006", outage],
  ["25P02", refusal],
  ["25P03", outage],
  ["25P04", outage],
  ["26000", refusal],
  ["28000", refusal],
  ["28P01", refusal],
  ["3D000", refusal],
  ["40000", conflict],
  ["40001", conflict],
  ["40002", refusal],
  ["40P01", conflict],
  ["42501", refusal],
  ["42P01", refusal],
  ["53000", outage],
  ["53100", outage],
  ["53200", outage],
  ["53300", outage],
  ["53400", outage],
  ["54000", refusal],
  ["55000", refusal],
  ["55P03", conflict],
  ["57014", outage],
  ["57P01", lost],
  ["57P02", lost],
  ["57P03", outage],
  ["57P04", refusal],
  ["57P05", lost],
  ["58000", outage],
  ["58030", outage],
  ["58P01", refusal],
  ["P0001", refusal],
  ["XX000", refusal]
] as const

describe("SQLSTATEs", () => {
  it.each(sqlStates)("%s", (code, expected) => {
    expect(said(postgres(code))).toEqual(expected)
  })
})

const resultCodes = [
  ["SQLITE_ERROR", 1, refusal],
  ["SQLITE_PERM", 3, refusal],
  ["SQLITE_BUSY", 5, conflict],
  ["SQLITE_BUSY_SNAPSHOT", 517, conflict],
  ["SQLITE_BUSY_TIMEOUT", 773, conflict],
  ["SQLITE_LOCKED", 6, conflict],
  ["SQLITE_LOCKED_SHAREDCACHE", 262, conflict],
  ["SQLITE_NOMEM", 7, outage],
  ["SQLITE_READONLY", 8, outage],
  ["SQLITE_READONLY_DIRECTORY", 1544, outage],
  ["SQLITE_INTERRUPT", 9, outage],
  ["SQLITE_IOERR", 10, lost],
  ["SQLITE_IOERR_FSYNC", 1034, lost],
  ["SQLITE_CORRUPT", 11, corrupted],
  ["SQLITE_FULL", 13, outage],
  ["SQLITE_CANTOPEN", 14, outage],
  ["SQLITE_CANTOPEN_ISDIR", 526, outage],
  ["SQLITE_PROTOCOL", 15, outage],
  ["SQLITE_TOOBIG", 18, refusal],
  ["SQLITE_CONSTRAINT", 19, refusal],
  ["SQLITE_CONSTRAINT_UNIQUE", 2067, refusal],
  ["SQLITE_CONSTRAINT_PRIMARYKEY", 1555, refusal],
  ["SQLITE_MISMATCH", 20, refusal],
  ["SQLITE_AUTH", 23, refusal],
  ["SQLITE_NOTADB", 26, corrupted]
] as const

describe("result codes of SQLite", () => {
  it.each(resultCodes)("%s", (name, number, expected) => {
    expect(sqlite(number, name).map(said)).toEqual([expected, expected, expected, expected])
  })
})

it("every code of the table is one of those above", () => {
  const tested = [...sqlStates, ...resultCodes].map(([code]) => code)
  expect(Object.keys(Errors.codes).filter((entry) => !tested.some((code) => code.startsWith(entry)))).toEqual([])
})

describe("without a code", () => {
  const cause = new Error("on purpose")
  it.each([
    [new ConnectionError({ cause, operation: "connect" }), outage],
    [new ConnectionError({ cause, operation: "query" }), lost],
    [new ConnectionError({ cause: Object.assign(new Error("write EPIPE"), { code: "EPIPE", errno: -32 }) }), lost],
    [new AuthenticationError({ cause }), refusal],
    [new AuthorizationError({ cause }), refusal],
    [new SqlSyntaxError({ cause }), refusal],
    [new UniqueViolation({ cause, constraint: "unknown" }), refusal],
    [new ConstraintError({ cause }), refusal],
    [new DeadlockError({ cause }), conflict],
    [new SerializationError({ cause: undefined }), conflict],
    [new LockTimeoutError({ cause }), conflict],
    [new StatementTimeoutError({ cause }), outage],
    [new UnknownError({ cause }), { class: ["isRefusal"], rolledBack: false }],
    [new UnknownError({ cause: "no error at all" }), { class: ["isRefusal"], rolledBack: false }],
    [new UnknownError({ cause: new Error("COMMIT rolled back an aborted transaction"), operation: "commit" }), refusal]
  ])("%s", (reason, expected) => {
    expect(said(new SqlError({ reason }))).toEqual(expected)
  })
})

it("an error that wraps a failure of the database is of its class; what did not come from a database is of none", () => {
  const wrapped = (cause: unknown) => [
    cause,
    new Checkpoints.CheckpointError({ operation: "advance", checkpoint: "x", cause }),
    new EventStore.EventStoreError({ reason: new EventStore.StoreFailure({ operation: "append", detail: "", cause }) })
  ]
  expect(wrapped(postgres("40001")).map(said)).toEqual([conflict, conflict, conflict])
  expect(wrapped(postgres("25006")).map(said)).toEqual([outage, outage, outage])
  const none = { class: [], rolledBack: false }
  const endless: { cause?: unknown } = new Error("its own cause")
  endless.cause = endless
  for (const error of [new Error("x"), "text", undefined, null, { code: "40001" }, endless]) {
    expect(wrapped(error).map(said)).toEqual([none, none, none])
  }
})

it("what is asked beside the class", () => {
  const unique = new SqlError({ reason: new UniqueViolation({ cause: undefined, constraint: "key" }) })
  expect([unique, postgres("23514")].map(Errors.isUniqueViolation)).toEqual([true, false])
  const made = [unique, ...["42P07", "42P06", "42710", "23514", "42P01"].map(postgres)]
  expect(["42P01", "42P07"].map((code) => Errors.isUnknownTable(postgres(code)))).toEqual([true, false])
  expect(made.map(Errors.isMadeMeanwhile)).toEqual([true, true, true, true, false, false])
  expect([postgres("25P02"), postgres("25001")].map(Errors.isAborted)).toEqual([true, false])
  expect([postgres("22P05"), postgres("54000"), postgres("23505")].map(Errors.isUnstorable)).toEqual([true, true, false])
})

it("a right that is missing has a hint, and nothing else has it", () => {
  expect([postgres("42501"), postgres("42P01"), new Error("no")].map(Errors.isForbidden)).toEqual([true, false, false])
  expect(Errors.forbiddenHint).toContain("PgRights.grants")
})

describe("why it failed", () => {
  it.each([
    ["on purpose [42501]", postgres("42501")],
    ["on purpose [SQLITE_CONSTRAINT]", sqlite(2067, "SQLITE_CONSTRAINT_UNIQUE")[0]],
    ["on purpose [SQLITE_CONSTRAINT_UNIQUE]", sqlite(2067, "SQLITE_CONSTRAINT_UNIQUE")[1]],
    ["on purpose", failed(UnknownError, new Error("on purpose"))],
    ["PgConnection: Query failed", failed(UnknownError, undefined)],
    [
      "connect ECONNREFUSED 127.0.0.1:1, connect ECONNREFUSED ::1:1",
      failed(
        ConnectionError,
        Object.assign(
          new AggregateError([new Error("connect ECONNREFUSED 127.0.0.1:1"), new Error("connect ECONNREFUSED ::1:1")]),
          { code: "ECONNREFUSED" }
        )
      )
    ],
    ["is bad", new Error("is bad")],
    ["a text", "a text"],
    ["", undefined]
  ])("%s", (text, error) => {
    expect(Errors.describe(error)).toBe(text)
    const hint = Errors.isForbidden(error) ? Errors.forbiddenHint : ""
    expect(new Checkpoints.CheckpointError({ operation: "claim", checkpoint: "a", cause: error ?? "" }).message).toBe(
      `The checkpoint "a" failed to claim: ${text}${hint}`
    )
  })
})
