/**
 * What the transports have in common: the cases of each, told with its Layer and with the bare client that does the same.
 *
 * Relays move a log of published events to the broker: raw reads the same pages and publishes each with the bare client. The time
 * from commit to consumer is that of events appended at a steady rate, whoever waits for them: from the answer to the append
 * until the handler has the decoded event. Raw appends with the store's own statement, reads what is new when it is notified, and
 * publishes it.
 */
import { PgConnection } from "@effect/sql-pg"
import { Array, Context, DateTime, Effect, Latch, Layer, Queue, Redacted, Result, Schema, type Scope, Stream } from "effect"
import { Checkpoints, DeadLetters, Event, EventStore, Relay, Transport } from "eventfold"
import { PgCheckpoints } from "eventfold/postgres"
import { eventColumns } from "../../src/postgres/sql/eventPage.ts"
import { consumer, layerWith } from "./adapter.ts"
import { type Case, collectGarbage, concurrently, type Sample } from "./harness.ts"
import { type Lab } from "./lab.ts"
import { appendCall } from "./raw.ts"

/** The bare client. */
export interface RawTransport {
  readonly publish: (batch: Array.NonEmptyReadonlyArray<Transport.Message>) => Effect.Effect<unknown, unknown>
  /** Takes so many messages of a group and acknowledges each, and says the id of each as it comes. */
  readonly consume: (
    group: string,
    concurrency: number,
    count: number,
    arrived: (id: string) => void
  ) => Effect.Effect<unknown, unknown>
}

/** A broker of one run's own. */
export interface Broker {
  readonly layer: Layer.Layer<Transport.Transport, unknown>
  readonly raw: Effect.Effect<RawTransport, unknown, Scope.Scope>
}

const batchSize = 500

const OrderPlaced = Event.make(
  "OrderPlaced",
  { customer: Schema.String, total: Schema.Int, items: Schema.Array(Schema.Int) },
  { published: true }
)

const dataOf = (n: number) => ({ customer: "ada", total: n, items: [1, 2, 3] })

const makeBatch = (nth: number) =>
  Array.makeBy(batchSize, (n): Transport.Message => ({
    specversion: "1.0",
    id: crypto.randomUUID(),
    source: "/shop",
    type: "OrderPlaced",
    subject: `Order-${n % 50}`,
    time: DateTime.makeUnsafe("2026-01-01T00:00:00Z"),
    datacontenttype: "application/json",
    data: dataOf(n),
    schemaversion: 1,
    correlationid: crypto.randomUUID(),
    causationid: crypto.randomUUID(),
    position: nth * batchSize + n + 1
  }))

const ignored = () => {}

/** The same deeds through the Layer. */
const made = ({ layer }: Broker): Effect.Effect<RawTransport, unknown, Scope.Scope> =>
  Effect.map(Layer.build(layer), (context) => {
    const { publish, subscribe } = Context.get(context, Transport.Transport)
    return {
      publish,
      consume: (group, concurrency, count) =>
        subscribe({ group, concurrency }).pipe(
          Stream.mapEffect(({ ack }) => ack, { concurrency: "unbounded" }),
          Stream.take(count),
          Stream.runDrain
        )
    }
  })

type Side = Effect.Effect<RawTransport, unknown, Scope.Scope>

const publishing = (side: Side, times: number): Effect.Effect<Sample, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const { publish } = yield* side
    const batches = Array.makeBy(times, makeBatch)
    yield* publish(makeBatch(times))
    yield* collectGarbage
    const measured = yield* concurrently(1, times, (_, nth) => publish(batches[nth] ?? makeBatch(nth)))
    return { ...measured, units: times * batchSize, events: 0 }
  })

const consuming = (side: Side, concurrency: number, times: number): Effect.Effect<Sample, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const { consume, publish } = yield* side
    // What a side has in hand when it has enough goes back, so a little more is there than is counted.
    for (let nth = 0; nth < times + 2; nth++) yield* publish(makeBatch(nth))
    const units = times * batchSize
    yield* consume("group", concurrency, Math.min(units, batchSize), ignored)
    yield* collectGarbage
    const start = performance.now()
    yield* consume("group", concurrency, units, ignored)
    const millis = performance.now() - start
    return { units, millis, latencies: [millis / units], events: 0 }
  })

// -----------------------------------------------------------------------------
// relays
// -----------------------------------------------------------------------------

/** A page of the stores. */
const pageSize = 1024

const event = (n: number): EventStore.NewEvent => ({
  ...Result.getOrThrow(Event.encode(OrderPlaced, OrderPlaced.make(dataOf(n)))),
  published: true,
  metadata: { correlationId: crypto.randomUUID() }
})

/** Appends so many pages of published events. */
const seed = (pages: number) =>
  Effect.forEach(
    Array.range(1, pages),
    () =>
      EventStore.appendAll(
        Array.makeBy(16, () => ({ stream: `Order-${crypto.randomUUID()}`, events: Array.makeBy(pageSize / 16, event) }))
      ),
    { discard: true }
  )

/** Moves a first page, and then as many as are measured. */
const moving = <E, R>(from: From, pages: number, move: Effect.Effect<unknown, E, R>) =>
  Effect.gen(function* () {
    yield* seed(1)
    yield* move
    yield* seed(pages)
    yield* collectGarbage
    const measured = yield* concurrently(1, 1, () => move)
    return { ...measured, units: pages * pageSize, events: from === "postgres" ? (pages + 1) * pageSize : 0 }
  })

type From = "postgres" | "memory"

const relaying =
  (from: From, pages: number) =>
  (broker: Broker, { address: { schema }, store }: Lab): Effect.Effect<Sample, unknown, Scope.Scope> => {
    const move = moving(from, pages, Relay.drain({ name: "bench" }))
    return from === "postgres"
      ? Effect.provide(move, Layer.merge(broker.layer, layerWith(PgCheckpoints)({ schema })).pipe(Layer.provideMerge(store)))
      : Effect.provide(move, Layer.mergeAll(broker.layer, Checkpoints.layerMemory, Layer.fresh(EventStore.layerMemory)))
  }

/** The columns of the store. */
type Stored = readonly [
  version: unknown,
  position: number,
  stream: string,
  id: string,
  type: string,
  schemaVersion: number,
  published: unknown,
  tags: unknown,
  payload: string,
  metadata: string,
  seconds: number
]

/** What a relay does with a row. */
const messageOf = (row: ReadonlyArray<unknown>): Transport.Message => {
  const [, position, stream, id, type, schemaVersion, , , payload, metadata, seconds] = row as Stored
  const { correlationId } = JSON.parse(metadata) as { readonly correlationId?: string }
  return {
    specversion: "1.0",
    id,
    source: "/bench",
    type,
    subject: stream,
    time: DateTime.makeUnsafe(seconds * 1000),
    datacontenttype: "application/json",
    data: JSON.parse(payload) as Schema.Json,
    schemaversion: schemaVersion,
    ...(correlationId === undefined ? {} : { correlationid: correlationId }),
    position
  }
}

/** Publishes what stands behind the position that it has come to, page by page; it can be called again. */
const rawMover = ({ connect, sql }: Lab, { publish }: RawTransport) =>
  Effect.map(connect, ({ query }) => {
    let after = 0
    const page = Effect.suspend(() =>
      query(
        `select ${eventColumns} from ${sql.names.event} e where e.position > $1::bigint and e.published order by e.position limit $2::bigint`,
        [String(after), String(pageSize)]
      )
    )
    return Effect.gen(function* () {
      for (let rows = yield* page; Array.isReadonlyArrayNonEmpty(rows); rows = yield* page) {
        yield* publish(Array.map(rows, messageOf))
        after = rows.at(-1)?.[1] as number
      }
    })
  })

const rawRelaying =
  (from: From, pages: number) =>
  (broker: Broker, lab: Lab): Effect.Effect<Sample, unknown, Scope.Scope> =>
    Effect.gen(function* () {
      const raw = yield* broker.raw
      if (from === "postgres") return yield* Effect.provide(moving(from, pages, yield* rawMover(lab, raw)), lab.store)
      let after = 0
      const move = Effect.gen(function* () {
        const events = yield* Stream.runCollect(EventStore.readAll({ after }))
        for (const page of Array.chunksOf(events, pageSize)) {
          yield* raw.publish(Array.map(page, (event) => Transport.toMessage(event, "/bench")))
        }
        after += events.length
      })
      return yield* Effect.provide(moving(from, pages, move), Layer.fresh(EventStore.layerMemory))
    })

// -----------------------------------------------------------------------------
// from commit to consumer
// -----------------------------------------------------------------------------

const perSecond = 200

/** Appends at a steady rate, whoever waits for what came before, until all have arrived; a tenth more at the beginning warms up. */
const steadily = Effect.fnUntraced(function* <R>(
  times: number,
  append: (n: number, id: string) => Effect.Effect<unknown, unknown, R>,
  follow: (count: number, arrived: (id: string) => void) => Effect.Effect<unknown, unknown, R>
) {
  const committed = new Map<string, number>()
  const arrivals = new Map<string, number>()
  const ids = Array.makeBy(times + Math.ceil(times / 10), () => crypto.randomUUID())
  const all = yield* Latch.make()
  yield* follow(ids.length, (id) => {
    arrivals.set(id, performance.now())
    if (arrivals.size === ids.length) all.openUnsafe()
  })
  const start = performance.now()
  yield* Effect.forEach(
    ids,
    (id, n) =>
      Effect.sleep(Math.max(0, start + (n * 1000) / perSecond - performance.now())).pipe(
        Effect.andThen(append(n, id)),
        Effect.andThen(Effect.sync(() => committed.set(id, performance.now())))
      ),
    { concurrency: "unbounded", discard: true }
  )
  yield* all.await
  const latencies = ids
    .slice(-times)
    // What arrives before its writer has been answered waits for nothing.
    .map((id) => Math.max(0, (arrivals.get(id) as number) - (committed.get(id) as number)))
  return { units: times, millis: performance.now() - start, latencies, events: ids.length } satisfies Sample
})

const arriving =
  (times: number) =>
  (broker: Broker, { store }: Lab): Effect.Effect<Sample, unknown, Scope.Scope> =>
    steadily(
      times,
      (n, id) => EventStore.append(`Order-${n % 50}`, [{ ...event(n), id }]),
      (_, arrived) =>
        Layer.build(
          Layer.merge(
            Relay.layer({ name: "bench" }),
            consumer(
              [OrderPlaced],
              { OrderPlaced: (_, { message }) => Effect.sync(() => arrived(message.id)) },
              { group: "group", concurrency: inHand }
            )
          )
        )
    ).pipe(
      Effect.scoped,
      Effect.provide(
        Layer.mergeAll(broker.layer, Checkpoints.layerMemory, DeadLetters.layerMemory).pipe(Layer.provideMerge(store))
      )
    )

const inHand = 16

const rawArriving =
  (times: number) =>
  (broker: Broker, lab: Lab): Effect.Effect<Sample, unknown, Scope.Scope> =>
    Effect.gen(function* () {
      const raw = yield* broker.raw
      const { query } = yield* lab.connect
      const listener = yield* PgConnection.make({ url: Redacted.make(lab.address.url) })
      const notifications = yield* listener.listen(lab.sql.channel)
      const move = yield* rawMover(lab, raw)
      return yield* steadily(
        times,
        (n, id) =>
          Effect.andThen(
            query(lab.sql.append.text, appendCall([[rawPart(n, id)]])),
            query("select pg_notify($1, '')::text", [lab.sql.channel])
          ),
        (count, arrived) =>
          Effect.andThen(
            Effect.forkScoped(Effect.forever(Effect.andThen(Queue.takeAll(notifications), move), { disableYield: true })),
            Effect.forkScoped(raw.consume("group", inHand, count, arrived))
          )
      )
    })

const rawPart = (n: number, id: string) => ({
  stream: `Order-${n % 50}`,
  expected: -1,
  type: "OrderPlaced",
  payloads: [JSON.stringify(dataOf(n))],
  publishedAs: id
})

// -----------------------------------------------------------------------------
// all
// -----------------------------------------------------------------------------

/** The cases of a transport. */
export const transportCases = (
  name: string,
  make: (lab: Lab) => Effect.Effect<Broker, unknown, Scope.Scope>,
  some: (times: number) => number,
  options: { readonly place: From; readonly inHand: ReadonlyArray<number> }
): ReadonlyArray<Case> => {
  type Work = (broker: Broker, lab: Lab) => Effect.Effect<Sample, unknown, Scope.Scope>
  const one = (title: string, ours: Work, raw: Work, more: Partial<Case> = {}): Case => ({
    name: `${name}: ${title}`,
    place: options.place,
    unit: "events",
    ours: (lab) => Effect.flatMap(make(lab), (broker) => ours(broker, lab)),
    raw: (lab) => Effect.flatMap(make(lab), (broker) => raw(broker, lab)),
    ...more
  })
  const both = (title: string, work: (side: Side) => ReturnType<Work>) =>
    one(
      title,
      (broker) => work(made(broker)),
      ({ raw }) => work(raw)
    )
  return [
    both("publish in batches of 500", (side) => publishing(side, some(100))),
    ...options.inHand.map((count) =>
      both(`consume, ${count === 1 ? "one at a time" : `${count} in hand`}`, (side) =>
        consuming(side, count, count === 1 ? Math.ceil(some(20) / 10) : some(50))
      )
    ),
    one("relay from PostgreSQL", relaying("postgres", some(50)), rawRelaying("postgres", some(50)), { place: "postgres" }),
    one("relay from memory", relaying("memory", some(50)), rawRelaying("memory", some(50))),
    one("from commit to consumer, 200 events/s", arriving(some(1000)), rawArriving(some(1000)), {
      place: "postgres",
      unit: "latency"
    })
  ]
}
