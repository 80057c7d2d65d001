/** A database that is away for some seconds, with all that follows it at work. */
import { assert, describe, it } from "@effect/vitest"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Logger, Redacted, Schedule, Schema } from "effect"
import { SqlClient } from "effect/sql"
import {
  Command,
  Consumer,
  DeadLetters,
  Event,
  EventStore,
  MessageBus,
  ParkedEvents,
  ProcessManager,
  Projection,
  Relay,
  Subscription,
  Transport,
  UnitOfWork
} from "eventfold"
import { PgCheckpoints, PgEventStore, PgTransport } from "eventfold/postgres"
import { afterAll, beforeAll } from "vitest"
import { type PostgresServer, startPostgres } from "../support/postgres-server.ts"
import { start } from "../support/words.ts"
import { connect, until } from "./harness.ts"
import { freshSchema } from "./support.ts"

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres()
})
afterAll(() => server.dispose())

const Counted = Event.make("Counted", { n: Schema.Int }, { published: true })
const Noted = Event.make("Noted", { n: Schema.Int })
const Due = Event.make("Due", {})
const Note = Command.make("Note", { payload: { n: Schema.Int } })

const noting = ProcessManager.make("Noting", {
  events: [Counted],
  correlate: { Counted: ({ n }) => String(n) },
  deadlines: [Due],
  initial: {},
  evolve: { Counted: (state) => state, Due: (state) => state },
  react: {
    Counted: (_, { n }) => [ProcessManager.send(Note, { n }), ProcessManager.setDeadline(Due.make({}), "1 second")],
    Due: (_, __, { key }) => [ProcessManager.send(Note, { n: -Number(key) })]
  }
})
const NoteLive = MessageBus.handle(Note, ({ n }) => MessageBus.publish(Noted, Noted.make({ n })))

/** All kinds of followers, each of which writes what it has seen; nothing is tried twice that counts. */
const followers = (seen: string) => {
  const see = (who: string, n: number) => SqlClient.SqlClient.use((sql) => sql`insert into ${sql(seen)} values (${who}, ${n})`)
  const strict = { retry: Schedule.recurs(0), onFailure: "park" } as const
  const position = (who: string) => (event: EventStore.RecordedEvent) => see(who, event.position)
  const filter = { types: ["Counted"] }
  const view = Projection.make("view", {
    version: 1,
    events: [Counted],
    handlers: { Counted: ({ n }) => see("projection", n) }
  })
  return Layer.mergeAll(
    Subscription.layer({ name: "parks", filter, ...strict, handler: position("parks") }),
    Subscription.layer({ name: "halts", filter, retry: Schedule.recurs(0), handler: position("halts") }),
    Subscription.layer({ name: "transactional", filter, ...strict, transactional: true, handler: position("transactional") }),
    Subscription.layer({ name: "group", filter, ...strict, partitions: 4, handler: position("group") }),
    Projection.layer(view, strict),
    ProcessManager.layer(noting, { retry: Schedule.recurs(0) }),
    Relay.layer({ name: "shop" }),
    Consumer.layer([Counted], { Counted: ({ n }) => see("consumer", n) }, { group: "mails", maxAttempts: 1 })
  )
}

const seers = ["parks", "halts", "transactional", "group", "projection", "consumer"]

/** Appends while something goes wrong, and asserts that all is done in the end, nothing given up, and little said. */
const world = (transport: "memory" | "PostgreSQL", disturb: (seen: string) => Effect.Effect<unknown, unknown>) => {
  const schema = freshSchema()
  const seen = `${schema}_seen`
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ cause, logLevel, message }) => {
    lines.push(`${logLevel} ${String(message)}${cause.reasons.length === 0 ? "" : " with its cause"}`)
  })
  // What was in hand when its connections broke comes again when the lease has run out.
  const Transports = transport === "memory" ? Transport.layerMemory : PgTransport.layerWith({ schema, lease: "3 seconds" })
  const Live = NoteLive.pipe(
    Layer.provideMerge(MessageBus.layer),
    Layer.provideMerge(UnitOfWork.layerSql),
    Layer.provideMerge(
      Layer.mergeAll(
        Transports,
        PgCheckpoints.layerWith({ schema }),
        ParkedEvents.layerSqlWith({ table: `${schema}_parked` }),
        DeadLetters.layerSqlWith({ table: `${schema}_letter` })
      )
    ),
    Layer.provideMerge(PgEventStore.layerWith({ schema })),
    Layer.provideMerge(Layer.fresh(PgClient.layer({ url: Redacted.make(server.url), maxConnections: 20 })))
  )
  return Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* sql`create table ${sql(seen)} (who text not null, n int not null)`
    const appending = (from: number) =>
      EventStore.appendAll(
        Array.from({ length: 20 }, (_, index) => ({
          stream: `Count-${from + index}`,
          // The answer may be lost: the same again is written once.
          events: [{ id: `${seen}-${from + index}`, type: "Counted", payload: { n: from + index }, published: true }]
        }))
      ).pipe(Effect.retry(Schedule.spaced("100 millis")))
    yield* appending(1)
    yield* start(followers(seen))
    yield* until(
      "all are at work",
      Effect.map(sql<{ who: string }>`select distinct who from ${sql(seen)}`, (rows) => rows.length === seers.length)
    )
    // Half of them while it lasts, the others afterwards.
    yield* Effect.all([disturb(seen), Effect.delay(appending(21), "1 second")], { concurrency: 2 })
    yield* appending(41)
    const count = (who: string) =>
      Effect.map(
        sql<{ n: number }>`select distinct n from ${sql(seen)} where who = ${who}`.pipe(Effect.orElseSucceed(() => [])),
        ({ length }) => length
      )
    for (const who of seers) {
      yield* until(
        `${who} has seen all`,
        Effect.map(count(who), (all) => all === 60)
      )
    }
    const notes = EventStore.EventStore.use((store) => store.readPage({ after: 0, filter: { types: ["Noted"] }, size: 1000 }))
    yield* until(
      "the process manager has noted all, and all deadlines have come",
      Effect.map(notes, ({ events }) => events.length >= 120)
    )
    assert.equal((yield* notes).events.length, 120)
    const { list } = yield* ParkedEvents.ParkedEvents
    const parked = yield* Effect.forEach(["parks", "transactional", "group", "projection:view@1"], (name) => list(name))
    assert.deepEqual(parked.flat(), [])
    const letters = yield* DeadLetters.DeadLetters
    assert.deepEqual(yield* letters.list("mails"), [])
    const failures = lines.filter((line) => !line.startsWith("Info"))
    assert.ok(failures.length >= 1, "nothing was said")
    // Of each that failed one line, and a second where it took longer than a minute.
    const said = Map.groupBy(failures, (line) => line.replace(/(, \d+ times in .*)? \(.*$/s, ""))
    for (const [what, all] of said) assert.ok(all.length <= 2, `said ${all.length} times: ${what}\n${failures.join("\n")}`)
    assert.deepEqual(
      lines.filter((line) => line.includes("\n")),
      []
    )
  }).pipe(
    Effect.scoped,
    Effect.provide(Live),
    Effect.provide(Logger.layer([logger])),
    Effect.provideService(Subscription.Registry, new Map()),
    Effect.provideService(Consumer.Registry, new Map())
  )
}

describe("a database that is away for some seconds is held against nothing", () => {
  it.live.each(["memory", "PostgreSQL"] as const)(
    "stopped, and started again, with a transport on %s",
    (transport) =>
      world(transport, () =>
        Effect.gen(function* () {
          yield* Effect.promise(() => server.stop("fast"))
          yield* Effect.sleep("6 seconds")
          yield* Effect.promise(() => server.restart())
        })
      ),
    120_000
  )

  it.live(
    "read-only, as during a failover",
    () =>
      world("memory", () =>
        Effect.gen(function* () {
          const sql = yield* connect(server.url)
          const all = (value: string) =>
            Effect.andThen(sql.unsafe(`alter system set default_transaction_read_only = ${value}`), sql`select pg_reload_conf()`)
          yield* all("on")
          yield* Effect.sleep("5 seconds")
          yield* all("off")
        }).pipe(Effect.scoped)
      ),
    120_000
  )

  it.live(
    "with no room left on its disk, for what handlers write",
    () =>
      world("memory", (seen) =>
        Effect.gen(function* () {
          const sql = yield* connect(server.url)
          const full = `${seen}_full`
          yield* sql.unsafe(`create function "${full}"() returns trigger language plpgsql as $$
          begin raise exception 'could not extend file' using errcode = '53100'; end $$`)
          yield* sql.unsafe(`create trigger full_disk before insert on "${seen}" for each row execute function "${full}"()`)
          yield* Effect.sleep("4 seconds")
          yield* sql.unsafe(`drop trigger full_disk on "${seen}"`)
        }).pipe(Effect.scoped)
      ),
    120_000
  )

  it.live(
    "which ends all sessions, again and again",
    () =>
      world("PostgreSQL", () =>
        Effect.gen(function* () {
          const sql = yield* connect(server.url)
          const all = sql`select pg_terminate_backend(pid) from pg_stat_activity
          where backend_type = 'client backend' and application_name <> 'admin'`
          yield* Effect.repeat(all, { times: 10, schedule: Schedule.spaced("300 millis") })
        }).pipe(Effect.scoped)
      ),
    120_000
  )
})
