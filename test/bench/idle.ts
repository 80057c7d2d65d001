/**
 * What subscriptions cost while nothing happens: `npm run bench:idle`, or `npm run bench:idle -- <seconds>`.
 *
 * For so many subscriptions in one process, on a PostgreSQL server of its own: transactions a second as the server counts them (each
 * statement outside of a transaction is one), and the share of one core that this process takes. The first line is that of a store
 * alone, which polls its head when somebody waits for it.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { EventStore, Subscription } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { startPostgres } from "../support/postgres-server.ts"
import { serverConnection } from "./lab.ts"

const seconds = Number(process.argv[2] ?? 15)

const server = Effect.acquireRelease(
  Effect.promise(() => startPostgres({})),
  ({ dispose }) => Effect.promise(dispose)
)

const measure = (url: string, schema: string, subscriptions: number, partitions: number | undefined) =>
  Effect.gen(function* () {
    const { query } = yield* serverConnection(url)
    const transactions = Effect.map(
      query(
        "select (pg_stat_clear_snapshot() is null)::text, (xact_commit)::float8 from pg_stat_database where datname = current_database()"
      ),
      (rows) => rows[0]?.[1] as number
    )
    yield* EventStore.append("Count-1", [{ type: "Counted", payload: null }])
    for (let n = 0; n < subscriptions; n++) {
      yield* Layer.build(Subscription.layer({ name: `s${n}`, partitions, handler: () => Effect.void }))
    }
    yield* Effect.sleep("6 seconds") // until all have caught up
    const before = yield* transactions
    const cpu = process.cpuUsage()
    const start = performance.now()
    yield* Effect.sleep(`${seconds} seconds`)
    const spent = process.cpuUsage(cpu)
    const elapsed = performance.now() - start
    const after = yield* transactions
    const rate = ((after - before) / elapsed) * 1000
    const share = (spent.user + spent.system) / elapsed / 10
    const what = partitions === undefined ? `${subscriptions} subscriptions` : `${subscriptions} of ${partitions} partitions`
    console.log(`${what.padEnd(24)} ${rate.toFixed(1).padStart(8)} transactions/s ${share.toFixed(1).padStart(6)} % of a core`)
  }).pipe(
    Effect.scoped,
    Effect.provide(
      Layer.mergeAll(PgEventStore.layerWith({ schema }), PgCheckpoints.layerWith({ schema })).pipe(
        Layer.provide(Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 10 })))
      )
    ),
    Effect.provideService(Subscription.Registry, new Map())
  )

await Effect.runPromise(
  Effect.gen(function* () {
    const { url } = yield* server
    for (const [index, [subscriptions, partitions]] of [
      [0, undefined],
      [1, undefined],
      [10, undefined],
      [100, undefined],
      [1, 16]
    ].entries()) {
      yield* measure(url, `idle_${index}`, subscriptions as number, partitions)
    }
  }).pipe(Effect.scoped)
)
