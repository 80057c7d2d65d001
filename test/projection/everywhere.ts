import { it } from "@effect/vitest"
import { Context, Effect, Layer, type Scope } from "effect"
import type { SqlClient } from "effect/sql"
import { type Checkpoints, type EventStore, Subscription, UnitOfWork } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { freshSchema, pgLiteOfFile, serverOfFile } from "../postgres/support.ts"
import { declared } from "../support/wirings.ts"

export type Wired =
  | EventStore.EventStore
  | Checkpoints.Checkpoints
  | SqlClient.SqlClient
  | UnitOfWork.UnitOfWork
  | UnitOfWork.SqlTransactions
  | Prefix
  | Scope.Scope

/** What the names of a test's own tables begin with. */
export class Prefix extends Context.Service<Prefix, string>()("test/Prefix") {}

export const onSqlite = () =>
  Layer.mergeAll(UnitOfWork.layerSql, SqliteCheckpoints.layer, Layer.succeed(Prefix, "")).pipe(
    Layer.provideMerge(SqliteEventStore.layerFile({ filename: ":memory:" }))
  )

/** Declares tests over every database. One server client and one PGlite serve the whole file. */
export const makeEverywhere = () => {
  const databases = { server: serverOfFile(), pglite: pgLiteOfFile() }

  const onPostgres = (name: keyof typeof databases) => {
    const schema = freshSchema()
    return Layer.mergeAll(UnitOfWork.layerSql, PgCheckpoints.layerWith({ schema }), Layer.succeed(Prefix, `${schema}.`)).pipe(
      Layer.provideMerge(PgEventStore.layerWith({ schema, listen: false, pollInterval: "20 millis" })),
      Layer.provideMerge(databases[name])
    )
  }

  const wirings: Record<string, () => Layer.Layer<Exclude<Wired, Scope.Scope>, unknown>> = {
    SQLite: onSqlite,
    PostgreSQL: () => onPostgres("server"),
    PGlite: () => onPostgres("pglite")
  }

  return (title: string, test: () => Effect.Effect<void, unknown, Wired>) => {
    for (const [name, make] of declared(wirings)) {
      it.live(`${name}: ${title}`, () =>
        Effect.scoped(Effect.provide(Effect.scoped(test()), make())).pipe(Effect.provideService(Subscription.Registry, new Map()))
      )
    }
  }
}
