import assert from "node:assert/strict"
import { PgClient } from "@effect/sql-pg"
import { describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Redacted, Schema, Stream } from "effect"
import { Consumer, DeadLetters, Event, Transport } from "eventfold"
import { PgTransport } from "eventfold/postgres"
import { TransportConformance } from "eventfold/testing"
import { afterAll, beforeAll, inject } from "vitest"
import { assertReadsAll, garbage, Sampled } from "../support/cloudEvents.ts"
import { logs } from "../support/logs.ts"
import { type PostgresServer, startPostgres } from "../support/postgres-server.ts"
import type { Client } from "./databases.ts"
import { begin, child, connect, message, terminate, until, untilWaiting, waiting } from "./harness.ts"
import { client as sharedClient, freshSchema, pgLiteOfFile } from "./support.ts"

const abilities = { clock: "live", deduplicates: true, history: true, durable: true, shared: true } as const

describe("conformance of PgTransport on a server", () => {
  let server: PostgresServer
  beforeAll(async () => {
    // The server ends and the machine does not, so what has been handed to the system is as good as on the disk.
    server = await startPostgres({ fsync: "off" })
  }, 60_000)
  afterAll(() => server.dispose())

  const client = (options: { readonly maxConnections: number }) => PgClient.layer({ url: Redacted.make(server.url), ...options })
  const storage = Effect.sync(() =>
    // What a member had in hand when the server ended is free when its lease is over: soon.
    PgTransport.layerWith({ schema: freshSchema(), lease: "2 seconds" }).pipe(
      Layer.provide(Layer.suspend(() => client({ maxConnections: 4 })))
    )
  )
  const interrupt = Effect.gen(function* () {
    const sql = yield* PgClient.PgClient
    yield* sql`select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()`
  }).pipe(Effect.provide(Layer.suspend(() => client({ maxConnections: 1 }))), Effect.asVoid)
  const restart = Effect.promise(() => server.stop("immediate").then(() => server.restart()))

  for (const { name, run } of TransportConformance.cases({ storage, abilities, faults: { interrupt, restart } })) {
    it.live(name, () => run, 300_000)
  }
})

describe("conformance of PgTransport on PGlite", () => {
  const pgLite = pgLiteOfFile()
  const storage = Effect.sync(() => PgTransport.layerWith({ schema: freshSchema() }).pipe(Layer.provide(pgLite)))
  for (const { name, run } of TransportConformance.cases({ storage, abilities })) {
    it.live(name, () => run, 300_000)
  }
})

// -----------------------------------------------------------------------------
// beyond what every transport does
// -----------------------------------------------------------------------------

/** A schema of its own, with a transport and a client of this process. */
const opened = Effect.fnUntraced(function* (options: PgTransport.Options = {}, client: Client = Layer.fresh(sharedClient())) {
  const schema = options.schema ?? freshSchema()
  const context = yield* Layer.build(PgTransport.layerWith({ schema, ...options }).pipe(Layer.provideMerge(client)))
  return { schema, sql: Context.get(context, PgClient.PgClient), ...Context.get(context, Transport.Transport) }
})

describe("messages that are large", () => {
  it.live("are refused by name when they are published, and nothing of their batch is", () =>
    Effect.gen(function* () {
      const { publish, subscribe } = yield* opened()
      const error = yield* Effect.flip(publish([message(1), message(2, { data: "x".repeat(17 * 1024 * 1024) })]))
      assert.ok(error.reason._tag === "MessageRefused", error.message)
      assert.match(error.reason.detail, /15728640 are allowed/)
      assert.equal(error.reason.id, "2")
      const largest = message(3, { data: "é".repeat(7 * 1024 * 1024) })
      yield* publish([largest])
      const [delivery] = yield* acknowledge(1)(subscribe({ group: "g" }))
      assert.equal(delivery?.message.data, largest.data)
    })
  )

  it.live("come page by page to whoever may have many of them at once, in order", () =>
    Effect.gen(function* () {
      const { publish, subscribe } = yield* opened()
      const data = "x".repeat(3 * 1024 * 1024)
      for (let n = 1; n <= 6; n++) yield* publish([message(n, { data: n % 2 === 0 ? data : n })])
      const received = yield* Stream.runCollect(Stream.take(subscribe({ group: "g", concurrency: 100 }), 6))
      assert.deepEqual(
        received.map(({ attempt, message: { data, position } }) => [position, attempt, typeof data]),
        [1, 2, 3, 4, 5, 6].map((n) => [n, 1, n % 2 === 0 ? "string" : "number"])
      )
    })
  )

  it.live("and have been there before there was a limit hold up nobody: they are set aside, or dead letters", () =>
    Effect.gen(function* () {
      logs(/the message 1 is no CloudEvent, .* its 1\d{4} bytes are more than the 10000/, /is a dead letter/)
      const { schema, subscribe } = yield* Effect.tap(opened(), ({ publish }) =>
        publish([message(1, { data: "x".repeat(10_000) }), message(2)])
      )
      const small = yield* opened({ schema, maxMessageBytes: 10_000 })
      assert.deepEqual(idsOf(yield* acknowledge(1)(small.subscribe({ group: "bare" }))), ["2"])
      const handled = yield* Deferred.make<void>()
      const consuming = yield* Effect.forkChild(
        Effect.provideService(
          Consumer.run(
            [Event.make("Placed", { n: Schema.Int })],
            { Placed: () => Deferred.succeed(handled, undefined) },
            { group: "g" }
          ),
          Transport.Transport,
          small
        )
      )
      yield* Effect.raceFirst(Fiber.join(consuming), Deferred.await(handled))
      yield* Fiber.interrupt(consuming)
      const [letter, ...rest] = yield* DeadLetters.DeadLetters.use(({ list }) => list("g"))
      assert.deepEqual(rest, [])
      assert.match(letter?.cause ?? "", /bytes are more than the 10000/)
      assert.ok(letter?.message.data instanceof Uint8Array && letter.message.data.length === 1000)
      assert.deepEqual(idsOf(yield* acknowledge(1)(subscribe({ group: "all" }))), ["1"])
    }).pipe(Effect.provide(DeadLetters.layerMemory))
  )
})

describe("what other producers write into the table", () => {
  const added = ({ schema, sql }: Effect.Success<ReturnType<typeof opened>>) => {
    let count = 0
    return (body: string) =>
      sql.unsafe(
        `with h as (update "${schema}".transport_head set seq = seq + 1 returning seq)
        insert into "${schema}".message (seq, id, type, body) select seq, $1, $2, $3::json from h`,
        [`foreign ${++count}`, Sampled.type, body]
      )
  }

  it.live("is handled, or becomes a dead letter with its cause", () =>
    Effect.gen(function* () {
      logs(/is a dead letter/)
      const transport = yield* opened()
      const add = added(transport)
      yield* assertReadsAll(transport, { structured: add, garbage: add, texts: garbage.slice(1) })
    })
  )

  it.live("is set aside for a bare subscriber where it is no CloudEvent, and the next one comes", () =>
    Effect.gen(function* () {
      logs(/the message 1 is no CloudEvent, and is set aside by the group "g": it is no document/)
      const transport = yield* opened()
      yield* added(transport)("[1]")
      yield* transport.publish([message(7)])
      const [delivery] = yield* Stream.runCollect(Stream.take(transport.subscribe({ group: "g" }), 1))
      assert.equal(delivery?.message.id, "7")
    })
  )

  it.live("of two sources with one id, each message is there once, however often and with whom it is published", () =>
    Effect.gen(function* () {
      const { publish, subscribe } = yield* opened()
      const others = message(1, { source: "/other", position: 2, data: { text: "\u0000" } })
      yield* publish([message(1)])
      yield* publish([message(1), others, others])
      yield* publish([others, message(1), message(3)])
      const received = yield* Stream.runCollect(Stream.take(subscribe({ group: "g", concurrency: 3 }), 3))
      assert.deepEqual(
        received.map(({ message }) => message.position),
        [1, 2, 3]
      )
    })
  )
})

const idsOf = (deliveries: ReadonlyArray<Transport.Delivery>) => deliveries.map(({ message }) => message.id)

const acknowledge = (count: number) => (stream: Stream.Stream<Transport.Delivery, Transport.TransportError>) =>
  Stream.runCollect(Stream.tap(Stream.take(stream, count), ({ ack }) => ack))

describe("PgTransport", () => {
  it.live(
    "a process that is killed between the handler's commit and the acknowledgement: one effect",
    () =>
      Effect.gen(function* () {
        const { publish, schema, sql } = yield* opened()
        yield* sql`create table ${sql(`${schema}.effect`)} (id text)`
        yield* publish([message(1)])
        const input = { url: inject("postgresUrl"), schema, lease: 500 }
        const first = yield* child("consumer", { ...input, stall: true })
        yield* first.says("committed")
        yield* first.kill
        const second = yield* child("consumer", input)
        const rows = Effect.map(sql`select from ${sql(`${schema}.delivery`)}`, ({ length }) => length)
        yield* until(
          "the message is acknowledged",
          Effect.map(rows, (count) => count === 0)
        )
        // The message came again, and was not handled again; the next one is.
        yield* publish([message(2)])
        yield* second.says("2 1")
        yield* second.end
        assert.deepEqual(first.lines, ["1 1", "committed"])
        assert.deepEqual(second.lines, ["2 1"])
        assert.deepEqual(yield* sql`select id from ${sql(`${schema}.effect`)} order by id`, [{ id: "1" }, { id: "2" }])
      }),
    60_000
  )

  it.live("a member's lease is renewed while it works, so that nobody else gets what it has in hand", () =>
    Effect.gen(function* () {
      const { publish, subscribe } = yield* opened({ lease: "1 second", pollInterval: "20 millis" })
      yield* publish([message(1), message(2)])
      const attempts: Array<string> = []
      const slow = ({ ack, attempt, message }: Transport.Delivery) =>
        Effect.andThen(
          Effect.sync(() => attempts.push(`${message.id}.${attempt}`)),
          Effect.andThen(Effect.sleep("3 seconds"), ack) // three leases of work
        )
      const member = Stream.runForEach(Stream.take(subscribe({ group: "g" }), 1), slow)
      yield* Effect.all([member, member], { concurrency: 2 })
      assert.deepEqual(attempts.toSorted(), ["1.1", "2.1"])
    })
  )

  it.live("when an acknowledgement fails, its message comes again, and what was claimed meanwhile does not overtake it", () =>
    Effect.gen(function* () {
      const { publish, schema, subscribe } = yield* opened()
      const admin = yield* connect(inject("postgresUrl"))
      const handled: Array<string> = []
      yield* publish([message(1), message(2)])
      const handle = ({ ack, message }: Transport.Delivery) =>
        Effect.gen(function* () {
          handled.push(message.id)
          const lock = yield* begin(admin, `select from "${schema}".delivery for update`)
          const acknowledging = yield* Effect.forkChild(Effect.flip(ack))
          yield* untilWaiting(admin, schema, 1, "settle")
          yield* until(
            "the next is claimed",
            Effect.map(admin`select from ${admin(`${schema}.delivery`)}`, ({ length }) => length === 2)
          )
          yield* terminate(admin, yield* waiting(admin, schema, "settle"))
          const error = yield* Fiber.join(acknowledging)
          assert.equal(error.reason._tag, "TransportUnavailable")
          yield* lock.rollback
        })
      // Its consumer thinks nothing of it, and waits for the next.
      const error = yield* subscribe({ group: "g" }).pipe(
        Stream.mapEffect(handle, { concurrency: "unbounded" }),
        Stream.runDrain,
        Effect.flip
      )
      assert.ok(error instanceof Transport.TransportError && error.isRetryable)
      assert.deepEqual(handled, ["1"])
      const again = yield* acknowledge(2)(subscribe({ group: "g" }))
      assert.deepEqual(
        again.map(({ attempt, message }) => [message.id, attempt]),
        [
          ["1", 2],
          ["2", 1]
        ]
      )
    }).pipe(Effect.scoped)
  )

  it.live("what has been acknowledged costs later claims nothing, also before it is vacuumed", () =>
    Effect.gen(function* () {
      const count = 200
      // What a transaction might still see stays in the indexes, and each snapshot reckons with those of all databases of the server.
      const server = yield* Effect.acquireRelease(
        Effect.promise(() => startPostgres()),
        ({ dispose }) => Effect.promise(dispose)
      )
      const client: Client = Layer.fresh(PgClient.layer({ url: Redacted.make(server.url), maxConnections: 6 }))
      const { publish, schema, sql } = yield* opened({}, client)
      yield* sql`alter table ${sql(`${schema}.delivery`)} set (autovacuum_enabled = off)`
      yield* publish([message(1), ...Array.from({ length: count - 1 }, (_, n) => message(n + 2))])
      // Whoever comes later makes other plans. A connection that closes tells the server what it has counted.
      const half = Effect.scoped(
        Effect.flatMap(opened({ schema }, client), ({ subscribe }) => acknowledge(count / 2)(subscribe({ group: "g" })))
      )
      yield* Effect.andThen(half, half)
      const used = Effect.map(
        sql<{ deleted: number; read: number; scans: number }>`
          select t.n_tup_del::int as deleted, t.seq_scan::int as scans,
                 (select sum(i.idx_tup_read) from pg_stat_user_indexes i where i.relid = t.relid)::int as read
            from pg_stat_user_tables t where t.schemaname = ${schema} and t.relname = 'delivery'`,
        ([row]) => row as { deleted: number; read: number; scans: number }
      )
      yield* until(
        "the server has counted",
        Effect.map(used, ({ deleted }) => deleted === count)
      )
      const { read, scans } = yield* used
      assert.ok(read < 10 * count, `${read} entries of indexes were read for ${count} messages`)
      assert.ok(scans < 20, `the table was looked through ${scans} times for ${count} messages`)
    })
  )

  it.live("a type that is asked for later comes with its history, and holds nothing up until then", () =>
    Effect.gen(function* () {
      const { publish, subscribe } = yield* opened()
      yield* publish([message(1), message(2, { type: "Shipped" }), message(3)])
      assert.deepEqual(idsOf(yield* acknowledge(2)(subscribe({ group: "g", types: ["Placed"] }))), ["1", "3"])
      yield* publish([message(4, { type: "Shipped" })])
      assert.deepEqual(idsOf(yield* acknowledge(2)(subscribe({ group: "g", types: ["Placed", "Shipped"] }))), ["2", "4"])
    })
  )

  it.live("old messages are deleted once every group has acknowledged what it asked for, and by age in any case", () =>
    Effect.gen(function* () {
      const schema = freshSchema()
      const { publish, sql, subscribe } = yield* opened({ schema })
      const left = Effect.map(sql<{ id: string }>`select id from ${sql(`${schema}.message`)} order by seq`, (rows) =>
        rows.map(({ id }) => id)
      )
      const pruned = (options: PgTransport.Options, rest: ReadonlyArray<string>) =>
        Effect.andThen(
          opened({ schema, ...options }),
          until(
            `${rest.length} are left`,
            Effect.map(left, (ids) => ids.join() === rest.join())
          )
        )
      yield* publish([message(1), message(2, { type: "Shipped" }), message(3), message(4)])
      yield* acknowledge(2)(subscribe({ group: "some", types: ["Placed"] }))
      yield* acknowledge(1)(subscribe({ group: "all" }))
      yield* pruned({ keep: 0 }, ["2", "3", "4"])
      yield* acknowledge(3)(subscribe({ group: "all" }))
      yield* pruned({ keep: 0 }, ["4"])
      // As if a claim had come between a message and its end.
      yield* sql`insert into ${sql(`${schema}.delivery`)} (consumer_group, seq, type, asked, attempts, due_at)
        values ('all', 1, 'Placed', true, 1, now())`
      yield* pruned({ keep: "1 hour", discardAfter: 0 }, [])
      assert.deepEqual(yield* sql`select seq from ${sql(`${schema}.delivery`)}`, [])
    })
  )

  it.live("publishing in a transaction is part of it", () =>
    Effect.gen(function* () {
      const { publish, sql, subscribe } = yield* opened()
      yield* Effect.exit(sql.withTransaction(Effect.andThen(publish([message(1)]), Effect.fail("rolled back"))))
      yield* sql.withTransaction(publish([message(2)]))
      assert.deepEqual(idsOf(yield* acknowledge(1)(subscribe({ group: "g" }))), ["2"])
    })
  )

  it.live("what cannot be stored is refused by its id, and its neighbours are not", () =>
    Effect.gen(function* () {
      const { publish, subscribe } = yield* opened()
      const error = yield* Effect.flip(publish([message(1), message(2, { type: "a\u0000b" })]))
      assert.ok(error.reason._tag === "MessageRefused" && error.reason.id === "2")
      yield* publish([message(3)])
      assert.deepEqual(idsOf(yield* acknowledge(1)(subscribe({ group: "g" }))), ["3"])
    })
  )
})
