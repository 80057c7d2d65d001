/** What can go wrong, looked at: each in a sentence, with what to do. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { Operator } from "../contract/authentication.ts"
import type { Diagnosis } from "../contract/views.ts"
import type { Parts } from "../parts.ts"
import { ok, problem, section, sections, warning } from "./diagnosis.ts"
import { onPostgres } from "./doctorPostgres.ts"
import { followersNow, type Moment, toldTo } from "./followers.ts"

const onSqlite = (sql: SqlClient.SqlClient): Effect.Effect<ReadonlyArray<Diagnosis>, SqlError> =>
  Effect.gen(function* () {
    const [row] = yield* sql<{ readonly mode: string }>`select journal_mode as mode from pragma_journal_mode()`
    const mode = row?.mode ?? "unknown"
    return [
      mode === "wal" || mode === "memory"
        ? ok("journal", `the journal is ${mode}`)
        : warning(
            "journal",
            `the journal is ${mode}: readers and the writer wait for each other`,
            "open the file with PRAGMA journal_mode = WAL"
          )
    ]
  })

const onFollower = ({ failure, kind, lag, name, state, parked }: Moment): ReadonlyArray<Diagnosis> => {
  const check = `follower ${name}`
  const at =
    failure === undefined || failure.position === null ? "" : ` at #${failure.position} ${failure.type} of ${failure.stream}`
  const stands =
    state === "halted"
      ? [problem(check, `it has halted${at}: ${failure?.cause ?? "no reason is known"}`, "mend the cause, then resume it")]
      : state === "backing-off"
        ? [
            warning(
              check,
              `it backs off${at}: ${failure?.cause ?? "no reason is known"}`,
              "it goes on by itself when the cause is gone"
            )
          ]
        : state === "paused"
          ? [warning(check, `it is paused, ${lag} positions behind`, "resume it when it is to go on")]
          : state === "stopped" && lag > 0 && kind !== "consumer"
            ? [
                warning(
                  check,
                  `no process runs it, and it is ${lag} positions behind`,
                  "start a process that runs it, or remove it"
                )
              ]
            : []
  const aside =
    parked > 0
      ? [warning(check, `${parked} of its events are set aside`, "look at their causes, then retry or discard them")]
      : []
  return [...stands, ...aside]
}

const onFollowers = Effect.fnUntraced(function* (parts: Parts) {
  const { payloads } = yield* Operator
  const now = yield* followersNow(parts, { lenient: true })
  const moments = yield* toldTo(parts, payloads, now.moments)
  // Read after them: none is ahead of a log that goes on meanwhile.
  const head = Option.getOrUndefined(yield* Effect.option(parts.store.head))
  const ahead = moments.filter(({ position }) => head !== undefined && position > head)
  const followers = moments.flatMap(onFollower)
  return [
    ...ahead.map(({ name, position }) =>
      problem(
        `checkpoint ${name}`,
        `it stands at ${position}, and the log ends at ${head}: the store was restored, and the checkpoints were not`,
        "restore the checkpoints too, or reset this one to where both logs are the same"
      )
    ),
    ...(followers.length === 0 ? [ok("followers", `none of ${moments.length} stands still`)] : followers)
  ]
})

/** What is set aside is told of with its follower: here it is only seen whether that could be looked at. */
const isReadable = <E>(check: string, counts: Effect.Effect<unknown, E> | undefined) =>
  counts === undefined ? [] : [section(check, Effect.as(counts, []))]

/** Looks at everything that operations can see, each thing by itself. */
export const diagnose = (parts: Parts): Effect.Effect<ReadonlyArray<Diagnosis>, never, Operator> =>
  Effect.gen(function* () {
    const { letters, parking, sql, store, transport } = parts
    let head: number | undefined
    const onStore = yield* section(
      "store",
      Effect.map(store.head, (position) => {
        head = position
        return [ok("store", `the store answers, and its newest event is at position ${position}`)]
      })
    )
    const onDatabase =
      sql === undefined
        ? []
        : sql.onDialectOrElse({
            pg: () => onPostgres(sql, store.tables, head ?? 0),
            orElse: () => [section("journal", onSqlite(sql))]
          })
    const rest = yield* sections([
      ...onDatabase,
      section("followers", onFollowers(parts)),
      ...(transport?.findings === undefined ? [] : [section("broker", transport.findings)]),
      ...isReadable("parked events", parking?.counts),
      ...isReadable("dead letters", letters?.counts)
    ])
    return [...onStore, ...rest]
  })
