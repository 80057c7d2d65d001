/** A process that appends in a transaction of its own, prints "held", and then does nothing: it holds the head lock. At its end it commits, or prints "undone". */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore } from "eventfold"
import { PgEventStore } from "eventfold/postgres"

const { schema, url } = JSON.parse(process.argv[2] as string) as { readonly url: string; readonly schema: string }

const program = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql.withTransaction(
    Effect.gen(function* () {
      yield* EventStore.append("Held-1", [{ type: "Held", payload: null, id: "held" }])
      console.log("held")
      yield* Effect.callback<void>((resume) => {
        process.stdin.on("end", () => resume(Effect.void)).resume()
      })
    })
  )
})

await Effect.runPromise(
  Effect.provide(
    Effect.catch(program, () => Effect.sync(() => console.log("undone"))),
    PgEventStore.layerWith({ schema, listen: false }).pipe(
      Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 2 }))
    )
  )
)
process.stdin.destroy()
