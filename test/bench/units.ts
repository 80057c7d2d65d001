/**
 * Units of work with an insert of one's own beside the event, on one client with 16 connections; beside them the insert alone, in a transaction. With
 * flushes that take a millisecond more, as on the disk of a server that is rented: `commit_delay` of PostgreSQL, in which it sleeps before each.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore, UnitOfWork } from "eventfold"
import { PgEventStore } from "eventfold/postgres"
import { layerWith } from "./adapter.ts"
import { callersText } from "./contest.ts"
import { type Case, collectGarbage, during, type Run, type Span } from "./harness.ts"
import { payloadOf } from "./model.ts"

interface Load {
  readonly callers: number
  /** Whether each flush takes a millisecond more. */
  readonly slow: boolean
  /** Whether the units of work share flushes. */
  readonly together?: boolean
  readonly span: Span
}

const clientOf = (url: string, { slow }: Load) =>
  PgClient.layer({
    url: Redacted.make(url),
    maxConnections: 16,
    startupParameters: slow ? { commit_delay: "1000", commit_siblings: "0" } : {}
  })

const insert = (schema: string, nth: number) =>
  SqlClient.SqlClient.use((sql) => sql`insert into ${sql.literal(`"${schema}".own`)} (nth) values (${nth})`)

const withTable = (schema: string) =>
  SqlClient.SqlClient.use((sql) => Effect.andThen(sql`create table ${sql.literal(`"${schema}".own`)} (nth int)`, collectGarbage))

const units =
  (load: Load): Run =>
  ({ address: { schema, url } }) =>
    Effect.gen(function* () {
      yield* withTable(schema)
      const measured = yield* during(load.callers, load.span, (caller, nth) =>
        UnitOfWork.transact(
          Effect.andThen(
            insert(schema, nth),
            UnitOfWork.stage(`Invoice-${caller}-${nth}`, [{ type: "Invoiced", payload: JSON.parse(payloadOf(nth)) }])
          )
        )
      )
      return { ...measured, events: yield* EventStore.head }
    }).pipe(
      Effect.provide(
        UnitOfWork.layerSql.pipe(
          Layer.provideMerge(layerWith(PgEventStore)({ schema, sharedFlush: load.together === true })),
          Layer.provideMerge(clientOf(url, load))
        )
      )
    )

const alone =
  (load: Load): Run =>
  ({ address: { schema, url } }) =>
    Effect.gen(function* () {
      yield* withTable(schema)
      const sql = yield* SqlClient.SqlClient
      const measured = yield* during(load.callers, load.span, (_, nth) => sql.withTransaction(insert(schema, nth)))
      return { ...measured, events: 0 }
    }).pipe(Effect.provide(clientOf(url, load)))

export const unitCases = (scale: number): ReadonlyArray<Case> => {
  const span = { warmUp: 500 * scale, millis: 2000 * scale }
  const unitCase = (callers: number, slow: boolean, together: boolean): Case => ({
    name: `unit of work with an insert of one's own, ${callersText(callers)}${slow ? ", a flush takes 1 ms more" : ""}${together ? ", flushed together" : ""}; raw inserts alone`,
    place: "postgres",
    unit: "commands",
    ours: units({ callers, slow, together, span }),
    raw: alone({ callers, slow, span })
  })
  return [false, true].flatMap((together) =>
    [false, true].flatMap((slow) => [unitCase(1, slow, together), unitCase(64, slow, together)])
  )
}
