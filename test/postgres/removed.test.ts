import { Effect, Layer } from "effect"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { refusesWhatWasRemoved } from "../support/removed.ts"
import { freshSchema, serverOfFile } from "./support.ts"

const server = serverOfFile()

refusesWhatWasRemoved(
  "PostgreSQL",
  Layer.unwrap(
    Effect.sync(() => {
      const schema = freshSchema()
      return Layer.provide(Layer.merge(PgEventStore.layerWith({ schema }), PgCheckpoints.layerWith({ schema })), server)
    })
  )
)
