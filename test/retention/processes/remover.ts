/** A process that removes and archives what stands in `Gone-…` until it is killed, or all is done; the store and the archive come as JSON. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { PgClient } from "@effect/sql-pg"
import { Duration, Effect, Layer, Redacted } from "effect"
import { Checkpoints, Retention } from "eventfold"
import { JsonlArchive, JsonlEventStore } from "eventfold/jsonl"
import { PgEventStore } from "eventfold/postgres"
import { writeSync } from "node:fs"

const input = JSON.parse(process.argv[2] ?? "") as {
  readonly archive: string
  readonly path?: string
  readonly schema?: string
  readonly url?: string
}

const store =
  input.path === undefined
    ? PgEventStore.layerWith({ schema: input.schema, chain: true }).pipe(
        Layer.provide(PgClient.layer({ url: Redacted.make(input.url ?? ""), maxConnections: 2 }))
      )
    : Layer.provide(JsonlEventStore.layer({ path: input.path, chain: true }), NodeFileSystem.layer)

const retention = Retention.layer({
  every: "never",
  pace: 1_000_000,
  policies: {
    Archived: { keep: Duration.zero, afterwards: "archive" },
    Gone: { keep: Duration.zero }
  }
})

const Live = retention.pipe(
  Layer.provide(Layer.provide(JsonlArchive.layer({ name: "cold", directory: input.archive }), NodeFileSystem.layer)),
  Layer.provide(Layer.merge(store, Checkpoints.layerMemory))
)

const print = (line: string) => Effect.sync(() => void writeSync(1, `${line}\n`))

await Effect.runPromise(
  Effect.provide(
    Effect.gen(function* () {
      yield* print("ready")
      yield* Retention.run
      yield* print("done")
    }),
    Live
  )
)
process.exit(0)
