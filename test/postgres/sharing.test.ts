/** Many follow one store in one process: what that costs the server, counted, and what becomes of checkpoints that move together. */
import assert from "node:assert/strict"
import { PgClient } from "@effect/sql-pg"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Logger, Redacted, References, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Checkpoints, EventStore, Subscription } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { inject } from "vitest"
import { eventually, numbers, start } from "../support/words.ts"
import { counting, isPage } from "./counting.ts"
import { begin, type Child, child, connect } from "./harness.ts"
import { freshSchema } from "./support.ts"

/** A client that notes the statements that go over it, by what they begin with. */
const counted = Effect.gen(function* () {
  const context = yield* Layer.build(
    Layer.fresh(PgClient.layer({ url: Redacted.make(inject("postgresUrl")), maxConnections: 6 }))
  )
  const client = Context.get(context, PgClient.PgClient)
  const statements: Array<string> = []
  const noting = counting(client, (statement) => statements.push(statement))
  const services = Context.make(PgClient.PgClient, noting).pipe(Context.add(SqlClient.SqlClient, noting))
  return { statements, services }
})

const opened = Effect.gen(function* () {
  const { services, statements } = yield* counted
  const schema = freshSchema()
  const store = yield* Effect.provide(PgEventStore.make({ schema }), services)
  const checkpoints = yield* Effect.provide(PgCheckpoints.make({ schema }), services)
  const provided = Context.make(EventStore.EventStore, store).pipe(Context.add(Checkpoints.Checkpoints, checkpoints))
  return { schema, statements, checkpoints, provided }
})

describe("many subscriptions of one process", () => {
  it.live("cost a handful of statements an event together, and all checkpoints move", () =>
    Effect.gen(function* () {
      const { checkpoints, provided, statements } = yield* opened
      const many = 100
      const test = Effect.gen(function* () {
        const seen = new Map<string, number>()
        const layers = numbers(many).map((n) =>
          Subscription.layer({
            name: `s${n}`,
            lease: "10 minutes",
            filter: n % 2 === 0 ? { types: ["Counted", `T${n}`] } : undefined,
            handler: ({ position }, { subscription }) => Effect.sync(() => seen.set(subscription, position))
          })
        )
        const at = (position: number) =>
          eventually(
            `all are at ${position}`,
            Effect.map(checkpoints.list, (all) => all.length === many && all.every((one) => one.position === position))
          )
        yield* EventStore.append("Count-1", [{ type: "Counted", payload: {} }])
        for (const layer of layers) yield* start(layer)
        yield* at(1)
        const appends = 10
        statements.length = 0
        for (const n of numbers(appends)) {
          yield* EventStore.append("Count-1", [{ type: "Counted", payload: {} }])
          yield* eventually(
            `all have seen ${n + 1}`,
            Effect.sync(() => Array.from(seen.values()).every((at) => at === n + 1))
          )
        }
        yield* at(appends + 1)
        const moves = statements.filter((text) => text.startsWith("update") && text.includes("checkpoint"))
        const reads = statements.filter(isPage)
        // Each by itself would be a thousand of both.
        assert.ok(moves.length <= appends * 8, `${moves.length} moves`)
        assert.ok(reads.length <= appends * 3, `${reads.length} reads`)
      })
      yield* Effect.provide(Effect.provideService(test, Subscription.Registry, new Map()), provided)
    }).pipe(Effect.scoped)
  )

  it.live("of checkpoints that move together one that is fenced fails alone, and one that is locked waits alone", () =>
    Effect.gen(function* () {
      const { checkpoints, schema, statements } = yield* opened
      const { advance, claim, get, renew, reset } = checkpoints
      const leases = yield* Effect.forEach(numbers(20), (n) => claim(`s${n}`, { owner: "a", ttl: "1 minute" }))
      const [fenced, locked] = [leases[3], leases[5]] as [Checkpoints.Lease, Checkpoints.Lease]
      yield* reset(fenced.name, 0)
      const admin = yield* connect(inject("postgresUrl"))
      const held = yield* begin(admin, `select from "${schema}".checkpoint where name = '${locked.name}' for update`)
      statements.length = 0
      const done = new Map<string, Exit.Exit<unknown, unknown>>()
      const moving = yield* Effect.forkChild(
        Effect.forEach(
          leases,
          (lease) =>
            Effect.tap(Effect.exit(advance(lease, 7, { position: 7, id: "e7" })), (exit) =>
              Effect.sync(() => done.set(lease.name, exit))
            ),
          { concurrency: "unbounded" }
        )
      )
      yield* eventually(
        "all but one have an answer",
        Effect.sync(() => done.size === leases.length - 1)
      )
      assert.equal(done.has(locked.name), false)
      // The first by itself, the others together, and what was left again by itself.
      assert.equal(statements.filter((text) => text.startsWith("update")).length, 4)
      yield* held.rollback
      yield* eventually(
        "all have an answer",
        Effect.sync(() => done.size === leases.length)
      )
      yield* Fiber.join(moving)
      for (const lease of leases) {
        const exit = done.get(lease.name)
        if (lease === fenced) {
          assert.ok(exit !== undefined && Exit.isFailure(exit))
          assert.match(String(exit.cause), /CheckpointFencedError/)
        } else {
          assert.deepEqual(exit, Exit.succeed({ ...lease, position: 7, seen: { position: 7, id: "e7" } }))
          const known = yield* get(lease.name)
          assert.ok(known._tag === "Some" && known.value.position === 7 && known.value.seen?.id === "e7")
        }
      }
      // Two of one lease, and from one that has moved: one is moved, the others are fenced.
      const next = leases.filter((lease) => lease !== fenced).map((lease) => ({ ...lease, position: 7 }))
      const twice = yield* Effect.forEach([...next, ...next], (lease) => Effect.exit(advance(lease, 9)), {
        concurrency: "unbounded"
      })
      assert.equal(twice.filter(Exit.isSuccess).length, next.length)
      const renewed = yield* Effect.forEach(leases, (lease) => Effect.exit(renew(lease)), { concurrency: "unbounded" })
      assert.deepEqual(
        renewed.map((exit, index) => (Exit.isFailure(exit) ? index : undefined)).filter((index) => index !== undefined),
        [3]
      )
    }).pipe(Effect.scoped)
  )
})

describe("checkpoints that the database refuses to move together", () => {
  it.live("are moved each by itself, which is told: only the culprit fails", () =>
    Effect.gen(function* () {
      const { checkpoints, schema, statements } = yield* opened
      const leases = yield* Effect.forEach(numbers(10), (n) => checkpoints.claim(`s${n}`, { owner: "a", ttl: "1 minute" }))
      const admin = yield* connect(inject("postgresUrl"))
      yield* admin.unsafe(`create function "${schema}".refuse() returns trigger language plpgsql as $$
        begin raise exception 'not this one'; end $$`)
      yield* admin.unsafe(`create trigger refuse before update on "${schema}".checkpoint for each row
        when (new.name = 's4') execute function "${schema}".refuse()`)
      const lines: Array<string> = []
      const logger = Logger.make(
        ({ logLevel, message }) => void lines.push([logLevel, ...[message].flat().map(String)].join(" "))
      )
      statements.length = 0
      const exits = yield* Effect.forEach(leases, (lease) => Effect.exit(checkpoints.advance(lease, 7)), {
        concurrency: "unbounded"
      }).pipe(Effect.provide(Logger.layer([logger])), Effect.provideService(References.MinimumLogLevel, "Debug"))
      assert.deepEqual(
        exits.map((exit) => (Exit.isSuccess(exit) ? exit.value.position : "failed")),
        numbers(10).map((n) => (n === 4 ? "failed" : 7))
      )
      assert.match(String(exits[3]), /CheckpointError/)
      assert.deepEqual(
        (yield* checkpoints.list).map(({ name, position }) => [name, position]).sort(),
        leases.map(({ name }) => [name, name === "s4" ? 0 : 7]).sort()
      )
      // One by itself, nine together, and each of these again.
      assert.equal(statements.filter((text) => text.startsWith("update")).length, 11)
      const told = lines.filter((line) => line.includes("eventfold: "))
      assert.equal(told.length, 1)
      assert.match(told[0] ?? "", /^Debug eventfold: 9 checkpoints could not be moved together, so each is moved by itself/)
    }).pipe(Effect.scoped)
  )
})

/** Two processes with the same subscriptions, and what they have done. */
const twoProcesses = Effect.gen(function* () {
  const schema = freshSchema()
  const url = inject("postgresUrl")
  const { services } = yield* counted
  const store = yield* Effect.provide(PgEventStore.make({ schema }), services)
  yield* Effect.provide(PgCheckpoints.make({ schema }), services)
  const sql = yield* connect(url)
  yield* sql`create table ${sql(schema)}.view
    (n bigserial, subscription text, position int, who text)`
  const many = numbers(12)
  const rows = sql<{ subscription: string; position: number; who: string }>`
    select subscription, position, who from ${sql(schema)}.view order by n`
  return {
    many,
    rows,
    append: (count: number, type = "Counted") =>
      store.append(
        "Count-1",
        Array.from({ length: count }, () => ({ type, payload: {} }))
      ),
    process: (name: string) => child("sharing", { url, schema, name, many: many.length }),
    all: (process: Child, state: string) => Effect.forEach(many, (n) => process.says(`s${n} ${state}`)),
    /** Everything up to the position is in the view, once and in order. */
    applied: Effect.fnUntraced(function* (position: number) {
      yield* eventually(
        `all are at ${position}`,
        Effect.map(rows, (rows) => rows.length === many.length * position)
      )
      for (const n of many) {
        const own = (yield* rows).filter(({ subscription }) => subscription === `s${n}`)
        assert.deepEqual(
          own.map(({ position }) => position),
          numbers(position)
        )
      }
    })
  }
})

describe("two processes in which many follow one log", () => {
  it.live("one is stopped while it is served of what is read for all: the other goes on exactly behind it, and back again", () =>
    Effect.gen(function* () {
      const { all, append, applied, many, process, rows } = yield* twoProcesses
      const first = yield* process("first")
      yield* all(first, "live")
      const pages = Effect.fnUntraced(function* (process: Child) {
        const before = process.lines.length
        process.process.kill("SIGUSR2")
        const said = () => process.lines.slice(before).find((line) => line.startsWith("pages "))
        yield* eventually(
          "it says how many pages it has read",
          Effect.sync(() => said() !== undefined)
        )
        return Number(said()?.slice("pages ".length))
      })
      /**
       * Appends events one by one; each is read for all: each by itself would read as many pages as there are subscriptions. Until all of them keep
       * up each reads by itself, once more perhaps than it had to: as when the process has just begun, or taken over.
       */
      const wave = Effect.fnUntraced(function* (process: Child, from: number, count: number) {
        const before = yield* pages(process)
        for (const n of numbers(count)) {
          yield* Effect.andThen(append(1), applied(from + n))
          // Once it answers it has gone on behind what it has committed: all of them wait for the next event again.
          yield* pages(process)
        }
        const read = (yield* pages(process)) - before
        assert.ok(read <= many.length + 3 * count, `${read} pages of ${count} events`)
      })
      yield* append(1)
      yield* applied(1)
      yield* wave(first, 1, 4)
      yield* append(1)
      yield* append(1, "Held")
      yield* append(2)
      // One is in the midst of a transaction, and its neighbours are wherever they are.
      yield* first.says("s1 at 7")
      // Not before: it would be given some of them, and s1 perhaps.
      const second = yield* process("second")
      yield* all(second, "standby")
      first.process.kill("SIGSTOP")
      yield* applied(9)
      // Also of those that had nothing left to do when it was stopped.
      yield* all(second, "live")
      const before = (yield* rows).filter(({ who }) => who === "first")
      first.process.kill("SIGCONT")
      yield* all(first, "standby")
      yield* wave(second, 9, 5)
      // What was handled while it stood still was handled by the other alone. Behind that it may have been given some back.
      assert.deepEqual(
        (yield* rows).filter(({ position, who }) => who === "first" && position <= 9),
        before
      )
      // Whoever was held had not committed.
      assert.ok(before.every(({ position, subscription }) => subscription !== "s1" || position < 7))
      yield* second.end
      yield* append(1)
      yield* applied(15)
      yield* wave(first, 15, 5)
      const last = (yield* rows).slice(-many.length * 6)
      assert.ok(last.every(({ who }) => who === "first"))
      yield* first.end
    }).pipe(Effect.scoped)
  )
})

/** How many heads a poll asks for. */
const headsIn = (text = ""): number => text.split('newest_position"()::float8)').length - 1

describe("many stores of one client", () => {
  it.live("are polled in one statement; one that is gone is polled by itself, and closes by itself", () =>
    Effect.gen(function* () {
      const { services, statements } = yield* counted
      const options = { listen: false, pollInterval: "20 millis" } as const
      const schemas = numbers(12).map(() => freshSchema())
      const open = (schema: string) => Effect.provide(PgEventStore.make({ ...options, schema }), services)
      const seen = new Map<string, number>()
      const follow = (schema: string, store: EventStore.EventStore["Service"]) =>
        Stream.runForEach(store.subscribe(), ({ position }) => Effect.sync(() => seen.set(schema, position)))
      for (const schema of schemas) yield* Effect.forkScoped(follow(schema, yield* open(schema)))
      const polls = (count: number) =>
        eventually(
          `${count} polls`,
          Effect.sync(() => statements.length >= count)
        )
      yield* eventually(
        "all are asked about",
        Effect.sync(() => headsIn(statements.at(-1)) === 12)
      )
      statements.length = 0
      yield* polls(10)
      assert.equal(new Set(statements).size, 1)
      // Another process appends.
      const [first, last] = [schemas[0], schemas[11]] as [string, string]
      const other = yield* counted
      for (const schema of [first, last]) {
        const store = yield* Effect.provide(PgEventStore.make({ ...options, schema }), other.services)
        yield* store.append("Count-1", [{ type: "Counted", payload: {} }])
      }
      yield* eventually(
        "both have heard",
        Effect.sync(() => seen.get(first) === 1 && seen.get(last) === 1)
      )
      // A store whose tables are gone keeps nobody from hearing.
      const admin = yield* connect(inject("postgresUrl"))
      yield* admin.unsafe(`drop schema "${schemas[5]}" cascade`)
      yield* eventually(
        "it is left out",
        Effect.sync(() => headsIn(statements.at(-1)) === 11)
      )
      const again = yield* Effect.provide(PgEventStore.make({ ...options, schema: last }), other.services)
      yield* again.append("Count-1", [{ type: "Counted", payload: {} }])
      yield* eventually(
        "it has heard",
        Effect.sync(() => seen.get(last) === 2)
      )
    }).pipe(Effect.scoped)
  )

  it.live("nobody is polled for when all have closed", () =>
    Effect.gen(function* () {
      const { services, statements } = yield* counted
      yield* Effect.scoped(
        Effect.gen(function* () {
          for (const schema of [freshSchema(), freshSchema()]) {
            const store = yield* Effect.provide(PgEventStore.make({ schema, listen: false, pollInterval: "10 millis" }), services)
            yield* Effect.forkScoped(Stream.runDrain(store.subscribe()))
          }
          yield* eventually(
            "they are polled",
            Effect.sync(() => headsIn(statements.at(-1)) === 2)
          )
        })
      )
      statements.length = 0
      const options = { schema: freshSchema(), listen: false, pollInterval: "10 millis" } as const
      const store = yield* Effect.provide(PgEventStore.make(options), services)
      const seen: Array<number> = []
      yield* Effect.forkScoped(Stream.runForEach(store.subscribe(), ({ position }) => Effect.sync(() => seen.push(position))))
      const other = yield* Effect.provide(PgEventStore.make(options), (yield* counted).services)
      yield* other.append("Count-1", [{ type: "Counted", payload: {} }])
      yield* eventually(
        "the next has heard",
        Effect.sync(() => seen.length === 1)
      )
      assert.deepEqual(
        statements.filter((text) => headsIn(text) > 1),
        []
      )
    }).pipe(Effect.scoped)
  )
})
