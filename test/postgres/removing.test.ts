import { Effect, Layer } from "effect"
import { PgEventStore } from "eventfold/postgres"
import { inject } from "vitest"
import { survivesKills } from "../support/removing.ts"
import { freshSchema, serverOfFile } from "./support.ts"

const server = serverOfFile()

survivesKills("PostgreSQL", () =>
  Effect.sync(() => {
    const schema = freshSchema()
    const layer = Layer.provide(PgEventStore.layerWith({ schema, chain: true }), server)
    return { input: { schema, url: inject("postgresUrl") }, layer }
  })
)
