/** Requests in a table beside the events: PostgreSQL, PGlite or SQLite. Their times are the database's, or on SQLite those of the machine. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Fragment } from "effect/sql/Statement"
import { answered } from "../../sql/answering.ts"
import { isUniqueViolation } from "../../sql/errors.ts"
import { quoted } from "../../sql/names.ts"
import { number as sqlNumber, storable } from "../../sql/table.ts"
import { createOperations, operationTable } from "../../store/operations.ts"
import { openSide, tablesFor } from "../../store/tables.ts"
import { Act } from "../contract/acts.ts"
import { keptFor, leaseTime, lookedFor, type Requests, silentAfter, type Standing } from "./requests.ts"

interface Row {
  readonly id: string
  readonly target: string
  readonly act: string
  readonly by_whom: string
  readonly reason: string | null
  readonly asked_at: number
  readonly patience: number
  readonly owner: string | null
  readonly lease_until: number
  readonly at: number | null
  readonly upto: number | null
  readonly state: "done" | "refused" | "nobody" | null
  readonly outcome: string | null
  readonly now: number
}

const ActText = Schema.fromJsonString(Act)
const encodeAct = Schema.encodeSync(ActText)
const decodeAct = Schema.decodeUnknownResult(ActText)

const toStanding = (row: Row, act: Act): Standing => ({
  id: row.id,
  target: row.target,
  act,
  by: row.by_whom,
  reason: row.reason ?? undefined,
  askedAt: row.asked_at,
  isLate: row.now > row.asked_at + row.patience,
  isHalfLate: row.now > row.asked_at + row.patience / 2,
  owner: row.owner ?? undefined,
  isSilent: row.owner !== null && row.lease_until <= row.now - silentAfter,
  isAbandoned: row.owner !== null && row.lease_until <= row.now - keptFor,
  progress: row.at === null || row.upto === null ? undefined : { position: row.at, target: row.upto },
  end: row.state === null ? undefined : { state: row.state, outcome: row.outcome ?? "" }
})

/** What a row asks for; nothing where it is an act of a later release, which this one cannot do. */
const standingIn = (row: Row | undefined): ReadonlyArray<Standing> => {
  const act = row === undefined ? undefined : Result.getOrUndefined(decodeAct(row.act))
  return row === undefined || act === undefined ? [] : [toStanding(row, act)]
}

/** How long what has ended stays in the table, beside the record: longer than anybody watches it. */
const cleaned = 10 * keptFor

/** Opens the table, or makes it. */
export const makeOnSql = Effect.fnUntraced(function* (): Effect.fn.Return<
  Requests<unknown>,
  SqlError | Error,
  SqlClient.SqlClient
> {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const { prefix, schema } = yield* tablesFor(sql)
  const name = quoted({ schema, name: `${prefix}${operationTable}` })
  const statements = createOperations(name, `${prefix}operation_alone`)
  const table = yield* openSide(
    {},
    {
      name: operationTable,
      columns: ["id"],
      create: () => Effect.forEach(statements, (text) => sql.unsafe(text), { discard: true })
    }
  )
  const number = (value: number) => sqlNumber(sql, value)
  const isPg = sql.onDialectOrElse({ pg: () => true, orElse: () => false })
  const time = (millis: number) => (isPg ? sql`(extract(epoch from clock_timestamp())::double precision * 1000)` : number(millis))
  const at = <A, E>(statement: (now: Fragment) => Effect.Effect<A, E>): Effect.Effect<A, E | SqlError> =>
    Effect.flatMap(Clock.currentTimeMillis, (millis) => answered(sql, statement(time(millis))))
  const isAny = (rows: ReadonlyArray<unknown>) => rows.length > 0
  const select = (now: Fragment) =>
    sql`select id, target, act, by_whom, reason, asked_at, patience, owner, lease_until, at, upto, state, outcome, ${now} as now from ${table}`
  return {
    looked: lookedFor,
    put: ({ act, by, id, reason, target }, within) =>
      at((now) =>
        Effect.andThen(
          sql`delete from ${table} where ended_at < ${now} - ${number(cleaned)}`,
          sql`insert into ${table} (id, target, act, kind, by_whom, reason, asked_at, patience, turn, lease_until)
            values (${id}, ${target}, ${encodeAct(act)}, ${act._tag}, ${by}, ${reason ?? null}, ${now}, ${number(within)}, ${number(0)}, ${number(0)})
            on conflict (id) do nothing`
        )
      ),
    get: (id) => at((now) => Effect.map(sql<Row>`${select(now)} where id = ${id}`, ([row]) => standingIn(row)[0])),
    current: at((now) =>
      Effect.map(
        sql<Row>`${select(now)} where ended_at is null or (kind in ('Pause', 'Resume') and ended_at > ${now} - ${number(keptFor)})
          order by asked_at, id limit 100`,
        (rows) => rows.flatMap(standingIn)
      )
    ),
    take: (id, owner) =>
      at(
        (now) =>
          sql<{ readonly turn: number }>`
          update ${table} set owner = ${owner}, turn = turn + 1, lease_until = ${now} + ${number(leaseTime)}
           where id = ${id} and ended_at is null
             and ((owner is null and asked_at + patience >= ${now}) or (owner is not null and lease_until <= ${now}))
          returning turn`
      ).pipe(
        Effect.map(([row]) => row && { id, owner, turn: row.turn }),
        Effect.catchIf(isUniqueViolation, () => Effect.undefined)
      ),
    renew: ({ id, owner, turn }, progress) =>
      at(
        (now) =>
          sql`update ${table} set lease_until = ${now} + ${number(leaseTime)}
            ${progress === undefined ? sql`` : sql`, at = ${number(progress.position)}, upto = ${number(progress.target)}`}
           where id = ${id} and owner = ${owner} and turn = ${number(turn)} and ended_at is null returning 1`
      ).pipe(Effect.map(isAny)),
    finish: ({ id, owner, turn }, { outcome, state }) =>
      at(
        (now) =>
          sql`update ${table} set ended_at = ${now}, state = ${state}, outcome = ${storable(outcome)}
           where id = ${id} and owner = ${owner} and turn = ${number(turn)} and ended_at is null returning 1`
      ).pipe(Effect.map(isAny)),
    release: ({ id, owner, turn }) =>
      at(
        (now) =>
          sql`update ${table} set lease_until = ${now}
             where id = ${id} and owner = ${owner} and turn = ${number(turn)} and ended_at is null`
      ),
    giveUp: (id, { outcome, state }) =>
      at(
        (now) =>
          sql`update ${table} set ended_at = ${now}, state = ${state}, outcome = ${storable(outcome)}
           where id = ${id} and ended_at is null
             and (owner is null or lease_until <= ${now} - ${number(keptFor)}) returning 1`
      ).pipe(Effect.map(isAny))
  }
})
