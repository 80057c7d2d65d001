/** The shop's Layers. The store is one of them: swapping it is one line, and nothing above it changes. */
import { NodeFileSystem } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Layer, Redacted } from "effect"
import { Checkpoints, EventStore, MessageBus, Transport, UnitOfWork } from "eventfold"
import { JsonlCheckpoints, JsonlEventStore } from "eventfold/jsonl"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import * as Application from "./application.ts"

/** The database schema of the shop's tables, so that it keeps to itself in a database with other things. */
const schema = "eventfold_orders"

/** The event store, and where the relay notes how far it has come. */
export const stores = {
  memory: Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory),

  /** A SQLite file. */
  sqlite: (filename: string) => SqliteCheckpoints.layer.pipe(Layer.provideMerge(SqliteEventStore.layerFile({ filename }))),

  /** A file of JSON lines, and another one beside it for the checkpoints. */
  jsonl: (path: string) =>
    Layer.merge(JsonlEventStore.layer({ path }), JsonlCheckpoints.layer({ path: `${path}.checkpoints` })).pipe(
      Layer.provide(NodeFileSystem.layer)
    ),

  /** PostgreSQL embedded in this process, in a folder on disk; without one in memory. */
  pglite: (dataDir?: string) =>
    PgCheckpoints.layerWith({ schema }).pipe(Layer.provideMerge(PgEventStore.layerEmbeddedWith({ schema, dataDir }))),

  /** A PostgreSQL server. */
  postgres: (url: string) =>
    Layer.merge(PgEventStore.layerWith({ schema }), PgCheckpoints.layerWith({ schema })).pipe(
      Layer.provide(PgClient.layer({ url: Redacted.make(url) }))
    )
}

/** The shop: handlers and listeners over bus, unit of work, a transport, and whichever store. */
export const shop = <E, R>(store: Layer.Layer<EventStore.EventStore | Checkpoints.Checkpoints, E, R>) =>
  Application.layer.pipe(
    Layer.provideMerge(MessageBus.layer),
    Layer.provideMerge(UnitOfWork.layer),
    Layer.provideMerge(Transport.layerMemory),
    Layer.provideMerge(store)
  )
