/** Many follow one store in one process: what that costs the server, counted, and what becomes of checkpoints that move together. */
import assert from "node:assert/strict"
import { PgClient } from "@effect/sql-pg"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Redacted, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Checkpoints, EventStore, Subscription } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { inject } from "vitest"
import { eventually, numbers, start } from "../support/words.ts"
import { begin, connect } from "./harness.ts"
import { freshSchema } from "./support.ts"

/** A client that notes the statements that go over it, by what they begin with. */
const counted = Effect.gen(function* () {
  const context = yield* Layer.build(
    Layer.fresh(PgClient.layer({ url: Redacted.make(inject("postgresUrl")), maxConnections: 6 }))
  )
  const client = Context.get(context, PgClient.PgClient)
  const statements: Array<string> = []
  const counting: PgClient.PgClient = new Proxy(client, {
    get: (target, key, receiver) =>
      key === "unsafe"
        ? (...args: Parameters<SqlClient.SqlClient["unsafe"]>) => {
            statements.push(args[0].trim())
            return target.unsafe(...args)
          }
        : Reflect.get(target, key, receiver)
  })
  const services = Context.make(PgClient.PgClient, counting).pipe(Context.add(SqlClient.SqlClient, counting))
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
        const reads = statements.filter((text) => text.startsWith("select e.version"))
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
        Effect.sync(() => statements.at(-1)?.includes("select 11, ") === true)
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
        Effect.sync(() => statements.at(-1)?.includes("select 10, ") === true)
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
            Effect.sync(() => statements.at(-1)?.includes("union all") === true)
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
        statements.filter((text) => text.includes("union all")),
        []
      )
    }).pipe(Effect.scoped)
  )
})
