import { PgClient } from "@effect/sql-pg"
import { DateTime, Effect, Layer, Redacted } from "effect"
import { RpcTest } from "effect/rpc"
import { Checkpoints } from "eventfold"
import { PgEventStore } from "eventfold/postgres"
import { type Case, collectGarbage, concurrently, type Run } from "./harness.ts"
import { databaseOnce, serverConnection } from "./lab.ts"

const schema = "eventfold"

type Indexes = PgEventStore.Options["indexes"]

const store = (url: string, indexes: Indexes) =>
  Layer.fresh(
    PgEventStore.layerWith({ schema, indexes }).pipe(
      Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 }))
    )
  )

const every: Indexes = ["type", "category", "correlation"]

/**
 * So many events, by one statement: streams of twenty events, five of which grow at a time, in three categories, and conversations of
 * ten events, each of which caused the next. One in 100 000 has a rare type, one a rare tag, and one stream in 50 000 a rare category.
 */
const fill = (url: string, events: number) =>
  Effect.gen(function* () {
    yield* Effect.scoped(Layer.build(store(url, [])))
    const { query } = yield* serverConnection(url)
    // It is only read from: what is not in the write-ahead log is written in half of the time.
    for (const table of ["event", "tag"]) yield* query(`alter table ${schema}.${table} set unlogged`)
    yield* query(`
      with e as (
        insert into ${schema}.event (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
        select p, (p - 1) % 100 / 5 + 1, timestamptz '2020-01-01' + p * interval '1 second', 1, p % 10 = 0,
               case when s % 50000 = 7 then 'Refund' else (array['Order', 'Payment', 'Stock'])[s % 3 + 1] end || '-' || s, 'id-' || p,
               case when p % 100000 = 3 then 'Rare' else 'T' || p % 7 end,
               array['subject:' || s] || case when p % 100000 = 5 then array['rare'] else '{}' end,
               json_build_object('sku', 'tea-' || p % 50, 'quantity', p % 9, 'price', p % 1000, 'customer', 'customer-' || s),
               json_build_object('correlationId', 'c' || (p - 1) / 10, 'causationId', case when p % 10 = 1 then null else 'id-' || p - 1 end)
          from (select p, (p - 1) / 100 * 5 + (p - 1) % 5 as s from generate_series(1, ${events}) p)
        returning tags, position
      )
      insert into ${schema}.tag select unnest(e.tags), e.position from e`)
    yield* Effect.scoped(Layer.build(store(url, every)))
  })

type Client = Effect.Success<ReturnType<typeof clientOn>>

const clientOn = Effect.fnUntraced(function* (url: string) {
  // Not above: builds of before had no operations.
  const { Operate, Operations } = yield* Effect.promise(() => import("eventfold/operate"))
  const handlers = Operate.layerHandlers({}).pipe(Layer.provide(Layer.merge(store(url, every), Checkpoints.layerMemory)))
  const services = yield* Layer.build(Layer.merge(handlers, Operate.layerOperator({ name: "ada" })))
  return yield* Effect.provideContext(RpcTest.makeClient(Operations.Operations), services)
})

/** What an operator looks at, somewhere in the log. */
const looks: Readonly<Record<string, (client: Client, place: number) => Effect.Effect<unknown, unknown>>> = {
  "the newest 100 events": (client) => client.Events({ limit: 100 }),
  "100 events from the middle": (client, place) =>
    client.Events({ limit: 100, filter: { until: DateTime.makeUnsafe(Date.UTC(2020, 0, 1) + place * 1000) } }),
  "100 events of a type": (client) => client.Events({ limit: 100, filter: { types: ["T3"] } }),
  "events of a rare type": (client) => client.Events({ limit: 100, filter: { types: ["Rare"] } }),
  "100 events of a category": (client) => client.Events({ limit: 100, filter: { categories: ["Order"] } }),
  "events of a rare category": (client) => client.Events({ limit: 100, filter: { categories: ["Refund"] } }),
  "events of a tag": (client, place) => client.Events({ limit: 100, filter: { tags: [`subject:${Math.floor(place / 20)}`] } }),
  "events of a rare tag": (client) => client.Events({ limit: 100, filter: { tags: ["rare"] } }),
  "the newest 50 streams": (client) => client.Streams({ limit: 50, order: "newest" }),
  "50 streams of a prefix": (client, place) => client.Streams({ limit: 50, prefix: `Order-${Math.floor(place / 20)}` }),
  "an event with its cause and effects": (client, place) => client.Event({ at: place }),
  "a conversation": (client, place) => client.Trail({ correlationId: `c${Math.floor(place / 10)}`, limit: 100 })
}

const looking =
  (look: (client: Client, place: number) => Effect.Effect<unknown, unknown>, events: number, times: number): Run =>
  (lab) =>
    Effect.gen(function* () {
      const url = yield* databaseOnce(lab.address.url, `looks_${events}`, (url) => fill(url, events))
      const client = yield* clientOn(url)
      // Other places each time: a step that has no divisor in common with the length of the log.
      const once = (nth: number) => look(client, 1 + ((nth * 1_000_003) % events))
      yield* Effect.forEach(Array.from({ length: 10 }).keys(), once, { discard: true })
      yield* collectGarbage
      const measured = yield* concurrently(1, times, (_, nth) => once(nth + 10))
      return { ...measured, units: times, events }
    })

/** What operators look at, over five million events; `scale` shortens the log. */
export const lookCases = (scale: number): ReadonlyArray<Case> =>
  Object.entries(looks).map(([name, look]) => ({
    name: `looks: ${name}`,
    place: "databases",
    unit: "latency",
    ours: looking(look, 5_000_000 * scale, 30),
    group: "looks"
  }))
