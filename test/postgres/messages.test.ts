import { PgClient } from "@effect/sql-pg"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { Transport } from "eventfold"
import { PgCheckpoints, PgEventStore, PgTransport } from "eventfold/postgres"
import { inject } from "vitest"
import { failureOf, message, openings, sideTables, writes } from "../support/failing.ts"
import { connect } from "./harness.ts"
import { freshSchema } from "./support.ts"

const url = () => inject("postgresUrl")

const clientOf = (href: string) => Layer.fresh(PgClient.layer({ url: Redacted.make(href), maxConnections: 4 }))

const all = {
  ...writes,
  TransportError: ["message", Transport.publish([message])]
} as const

const everything = (schema: string) =>
  Layer.mergeAll(PgCheckpoints.layerWith({ schema }), PgTransport.layerWith({ schema }), sideTables(`${schema}.`)).pipe(
    Layer.provideMerge(PgEventStore.layerWith({ schema })),
    Layer.provideMerge(clientOf(url()))
  )

/** The store, its checkpoints and the transport, whose tables somebody else has made. */
const opened = (schema: string) => {
  const options = { schema, migrate: false }
  return Layer.mergeAll(PgCheckpoints.layerWith(options), PgTransport.layerWith(options), PgEventStore.layerWith(options))
}

const sabotaged = (statement: (table: string) => string) =>
  Effect.gen(function* () {
    const schema = freshSchema()
    const work = Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      return yield* Effect.forEach(Object.values(all), ([table, write]) =>
        Effect.andThen(
          sql.unsafe(statement(`"${schema}".${table}`)),
          failureOf<unknown, unknown, Layer.Success<ReturnType<typeof everything>>>(write)
        )
      )
    })
    return { schema, messages: yield* Effect.provide(work, everything(schema)) }
  })

const said = (reason: (table: string) => string) => [
  `EventStoreError: StoreFailure during append: ${reason("event")}`,
  `CheckpointError: The checkpoint "emails" failed to claim: ${reason("checkpoint")}`,
  `SnapshotError: Snapshots failed to save: ${reason("snapshot")}`,
  `ParkedEventsError: The parked events failed to park: ${reason("parked")}`,
  `DeadLettersError: The dead letters failed to park: ${reason("letter")}`,
  `InboxError: The inbox failed to handle a message once: ${reason("inbox")}`,
  `TransportError: TransportUnavailable during publish: ${reason("message")}`
]

const hint = " (is it the right schema, and have the migrations run?)"

const lacking =
  " (the role lacks a right: PgRights.grants writes the script that gives it; tables are made and updated in a role that owns the schema)"

describe("a message says what PostgreSQL said", () => {
  it.live("of a table that is missing", () =>
    Effect.gen(function* () {
      const { messages, schema } = yield* sabotaged((table) => `drop table ${table} cascade`)
      const hinted = ["event", "message"]
      expect(messages).toEqual(
        said((table) => `relation "${schema}.${table}" does not exist [42P01]${hinted.includes(table) ? hint : ""}`)
      )
    })
  )

  it.live("of a constraint", () =>
    Effect.gen(function* () {
      const { messages } = yield* sabotaged((table) => `alter table ${table} add constraint refuses check (false) not valid`)
      expect(messages).toEqual(said((table) => `new row for relation "${table}" violates check constraint "refuses" [23514]`))
    })
  )

  it.live("of a right that its role does not have", () =>
    Effect.gen(function* () {
      const schema = freshSchema()
      const admin = yield* connect(url())
      yield* Effect.scoped(Layer.build(everything(schema)))
      const role = `${schema}_role`
      yield* admin.unsafe(`create role "${role}" login`)
      yield* Effect.addFinalizer(() => Effect.ignore(admin.unsafe(`drop owned by "${role}"; drop role "${role}"`)))
      yield* admin.unsafe(`grant usage on schema "${schema}" to "${role}"`)
      yield* admin.unsafe(`grant select on all tables in schema "${schema}" to "${role}"`)
      const limited = new URL(url())
      limited.username = role
      const client = clientOf(limited.href)
      const messages = yield* Effect.forEach([all.EventStoreError, all.CheckpointError, all.TransportError], ([, write]) =>
        failureOf<unknown, unknown, Layer.Success<ReturnType<typeof opened>>>(write)
      ).pipe(Effect.provide(Layer.provide(opened(schema), client)))
      expect(messages).toEqual([
        `EventStoreError: StoreFailure during append: permission denied for table event [42501]${lacking}`,
        `CheckpointError: The checkpoint "emails" failed to claim: permission denied for table checkpoint [42501]${lacking}`,
        `TransportError: TransportUnavailable during publish: permission denied for table transport_head [42501]${lacking}`
      ])
      const reason = `failed to open: permission denied for schema public [42501]${lacking}`
      expect(yield* Effect.provide(openings, client)).toEqual([
        `SnapshotError: Snapshots ${reason}`,
        `ParkedEventsError: The parked events ${reason}`,
        `DeadLettersError: The dead letters ${reason}`,
        `InboxError: The inbox ${reason}`
      ])
      const name = new URL(url()).pathname.slice(1)
      expect(yield* failureOf(Effect.provide(Layer.build(PgEventStore.layerWith({ schema: freshSchema() })), client))).toBe(
        `EventStoreError: StoreFailure during migrate: permission denied for database ${name} [42501]${lacking}`
      )
      expect(yield* failureOf(Effect.provide(Layer.build(PgTransport.layerWith({ schema: freshSchema() })), client))).toBe(
        `TransportError: TransportUnavailable during open: permission denied for database ${name} [42501]${lacking}`
      )
    })
  )
})
