import assert from "node:assert/strict"
import { describe } from "@effect/vitest"
import { DateTime, Deferred, Effect, Fiber, Layer, Option, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import { Answers, AuditTrail, Command, Event, EventStore, MessageBus, Repository, UnitOfWork } from "eventfold"
import { Scenario } from "eventfold/testing"
import { Account, ada, ben, deposit, Deposited, Overdrawn, withdraw, Withdraw } from "./support/bank.ts"
import { until } from "./support/words.ts"
import { core, elsewhere, makeWirings, type SqlWired, type Suite, TestSchema, type Wired } from "./support/wirings.ts"

const { concurrently, everywhere, inEverySql, onEveryStore, onServer } = makeWirings()

const Receipt = Schema.Struct({ balance: Schema.Int, at: Schema.DateTimeUtc })
const Pay = Command.make("Pay", { payload: { account: Schema.String, amount: Schema.Int }, success: Receipt })
const at = DateTime.makeUnsafe("2030-01-01T00:00:00Z")

/** Handlers that count how often they ran. */
const makeHandlers = () => {
  const runs = { Pay: 0, Withdraw: 0 }
  const layer = Layer.mergeAll(
    MessageBus.handle(Pay, ({ amount }) =>
      Effect.map(deposit(ada, amount), ({ state }) => (runs.Pay++, { balance: state.balance, at }))
    ),
    MessageBus.handle(Withdraw, ({ account, amount }) =>
      Effect.map(
        Effect.tap(withdraw(account, amount), () => Effect.sync(() => runs.Withdraw++)),
        ({ state }) => state.balance
      )
    )
  )
  return { runs, layer }
}

const withBus =
  <A, E, R, E3, R3>(messaging: Layer.Layer<A, E, R>, bus: Layer.Layer<MessageBus.MessageBus, E3, R3>) =>
  <B, E2, R2>(effect: Effect.Effect<B, E2, R2>) =>
    Effect.provide(effect, Layer.provideMerge(messaging, bus))

/** A bus that keeps answers in the log. */
const onLog = MessageBus.layerWith({ record: "none" })

/** A bus that keeps answers in a table. */
const onTable = onLog.pipe(
  Layer.provide(
    Layer.unwrap(
      Effect.map(Effect.serviceOption(TestSchema), (schema) =>
        Answers.layerSqlWith(Option.isSome(schema) ? { table: `${schema.value}.answer` } : { table: "answer" })
      )
    )
  )
)

const pay = (id: string, amount = 5) => MessageBus.execute(Pay, { account: "ada", amount }, { id })
const take = (id: string, amount: number) => MessageBus.execute(Withdraw, { account: ada, amount }, { id })

/** What stands in the streams of aggregates. */
const facts = Effect.map(Stream.runCollect(EventStore.readAll({ filter: { categories: ["Account"] } })), (events) =>
  events.map(({ type }) => type)
)

/** What has to hold wherever the answers are kept. */
const promises = <R>(
  over: (suite: (test: Suite<Wired | R>) => void) => void,
  bus: Layer.Layer<MessageBus.MessageBus, unknown, Wired | R>
) => {
  over((test) => {
    test("a repetition gives what the first gave, typed, and runs and writes nothing", () => {
      const { layer, runs } = makeHandlers()
      return Effect.gen(function* () {
        const first = yield* pay("k-1")
        const head = yield* EventStore.head
        assert.deepEqual(yield* pay("k-1"), first)
        assert.ok(DateTime.isDateTime((yield* pay("k-1")).at))
        assert.deepEqual([runs.Pay, yield* EventStore.head], [1, head])
        assert.equal((yield* pay("k-2")).balance, 10)
        assert.deepEqual(yield* facts, ["Deposited", "Deposited"])
      }).pipe(withBus(layer, bus))
    })

    test("a repetition fails as the first did, though it would succeed by now", () => {
      const { layer, runs } = makeHandlers()
      return Effect.gen(function* () {
        const first = yield* Effect.flip(take("k-1", 7))
        assert.deepEqual(first, new Overdrawn({ missing: 7 }))
        yield* pay("k-1", 10)
        const again = yield* Effect.flip(take("k-1", 7))
        assert.ok(again instanceof Overdrawn)
        assert.equal(again.missing, 7)
        assert.equal(yield* take("k-2", 7), 3)
        assert.deepEqual(runs, { Pay: 1, Withdraw: 1 })
      }).pipe(withBus(layer, bus))
    })

    test("an id goes with one payload of one command", () => {
      const { layer, runs } = makeHandlers()
      return Effect.gen(function* () {
        yield* pay("k-1", 5)
        const error = yield* Effect.flip(pay("k-1", 6))
        assert.deepEqual(error, new Command.CommandIdReusedError({ command: "Pay", id: "k-1" }))
        assert.equal(yield* take("k-1", 2), 3)
        assert.equal(runs.Pay, 1)
        for (const id of ["", "x".repeat(300), "a\u0000"]) {
          const refused = yield* Effect.flip(pay(id))
          assert.ok(refused instanceof Command.CommandDecodeError)
          assert.equal(refused.path, "id")
        }
      }).pipe(withBus(layer, bus))
    })

    test("what is rolled back leaves no answer: the repetition executes", () => {
      const { layer, runs } = makeHandlers()
      let healthy = false
      const Fails = MessageBus.listen(Deposited, () =>
        healthy ? Effect.void : Effect.fail(new EventStore.AppendConditionError({ position: 1 }))
      )
      return Effect.gen(function* () {
        assert.ok((yield* Effect.flip(pay("k-1"))) instanceof EventStore.AppendConditionError)
        assert.equal(yield* EventStore.head, 0)
        healthy = true
        assert.equal((yield* pay("k-1")).balance, 5)
        assert.equal(runs.Pay, 2)
      }).pipe(withBus(Layer.merge(layer, Fails), bus))
    })

    test("20 at once: the handler runs once, all get its answer", () => {
      const { layer, runs } = makeHandlers()
      return Effect.gen(function* () {
        const all = yield* Effect.all(
          Array.from({ length: 20 }, () => pay("k-1")),
          { concurrency: "unbounded" }
        )
        assert.deepEqual(new Set(all.map(({ balance }) => balance)), new Set([5]))
        assert.equal(runs.Pay, 1)
        assert.deepEqual(yield* facts, ["Deposited"])
      }).pipe(withBus(layer, bus))
    })

    test("inside a unit of work the answer is part of it", () => {
      const { layer, runs } = makeHandlers()
      const twice = Effect.all([pay("k-1"), pay("k-1"), Effect.flip(take("k-2", 100)), Effect.flip(take("k-2", 100))])
      return Effect.gen(function* () {
        yield* Effect.exit(UnitOfWork.transact(Effect.andThen(twice, Effect.die("rolled back"))))
        assert.equal(yield* EventStore.head, 0)
        const [one, same, refused, again] = yield* UnitOfWork.transact(twice)
        assert.deepEqual(one, same)
        assert.deepEqual(refused, again)
        assert.equal(runs.Pay, 2)
        // Another unit of work finds them.
        assert.deepEqual(yield* pay("k-1"), one)
        assert.deepEqual(yield* Effect.flip(take("k-2", 100)), refused)
        assert.deepEqual(yield* facts, ["Deposited"])
        assert.equal(runs.Pay, 2)
      }).pipe(withBus(layer, bus))
    })

    test("a view can be waited for after a repetition as after the first", () => {
      const { layer } = makeHandlers()
      return Effect.gen(function* () {
        const first = yield* UnitOfWork.committed(pay("k-1"))
        const last = (yield* Stream.runCollect(EventStore.readAll({ filter: { types: ["Deposited"] } }))).at(-1)
        assert.ok(last !== undefined && first.position >= last.position)
        const again = yield* UnitOfWork.committed(pay("k-1"))
        assert.deepEqual(again.value, first.value)
        assert.ok(again.position >= last.position && again.position <= (yield* EventStore.head))
      }).pipe(withBus(layer, bus))
    })
  })
}

/** What has to hold where two processes execute at once. */
const races = <R>(
  over: (suite: (test: Suite<Wired | R>) => void) => void,
  bus: Layer.Layer<MessageBus.MessageBus, unknown, Wired | R>
) => {
  over((test) => {
    test("of two processes at once one commits, and the other gives its answer", () => {
      let running = 0
      let events = 0
      return Effect.gen(function* () {
        const both = yield* Deferred.make<void>()
        /** A process: a bus of its own, whose handler waits for that of the other. */
        const process = (answer: number) =>
          Effect.gen(function* () {
            const handler = MessageBus.handle(Withdraw, () =>
              Effect.gen(function* () {
                const missing = yield* Effect.as(deposit(ada, answer), answer)
                if (++running === 2) yield* Deferred.succeed(both, undefined)
                yield* Deferred.await(both)
                events++
                return missing
              })
            )
            return yield* Effect.provide(take("k-1", 1), Layer.fresh(Layer.provideMerge(handler, bus)))
          })
        const [one, other] = yield* Effect.all([process(1), process(2)], { concurrency: "unbounded" })
        assert.equal(one, other)
        assert.equal(events, 2)
        assert.deepEqual(yield* facts, ["Deposited"])
        assert.equal((yield* Repository.read(Account, ada)).state.balance, one)
      })
    })

    test("a refusal that another process has overtaken gives that one's answer", () => {
      const Succeeds = MessageBus.handle(Withdraw, () => Effect.map(deposit(ben, 1), () => 42))
      return Effect.gen(function* () {
        const other = yield* elsewhere(withBus(Succeeds, Layer.fresh(bus))(take("k-1", 1)))
        const Refused = MessageBus.handle(Withdraw, () =>
          Effect.andThen(Effect.orDie(other.go), Effect.fail(new Overdrawn({ missing: 1 })))
        )
        assert.equal(yield* withBus(Refused, bus)(take("k-1", 1)), 42)
        assert.deepEqual(yield* facts, ["Deposited"])
      })
    })
  })
}

describe("answers in the log", () => {
  promises<never>(onEveryStore, onLog)

  races(concurrently, onLog)

  everywhere((test) => {
    test("an answer is part of the conversation, and its bytes are those of the log", () => {
      const { layer } = makeHandlers()
      return Effect.gen(function* () {
        yield* MessageBus.execute(
          Pay,
          { account: "ada", amount: 5 },
          { id: "k/1", correlationId: "c", metadata: { by: "greta" } }
        )
        const events = yield* Stream.runCollect(EventStore.readAll({ filter: { correlationId: "c" } }))
        assert.deepEqual(
          events.map(({ metadata, stream, type }) => [stream, type, metadata["messageKind"], metadata["by"]]),
          [
            ["Account-ada", "Deposited", undefined, "greta"],
            ["$command-Pay/k/1", "$CommandAnswered", "answer", "greta"]
          ]
        )
        const [line] = AuditTrail.formatTree(events.slice(1), { who: () => undefined })
        assert.match(line ?? "", /\$CommandAnswered {2}\$command-Pay\/k\/1 v1 {2}success of Pay$/)
      }).pipe(withBus(layer, onLog))
    })

    test("an answer whose schema has changed since is a typed error that says where it stands", () => {
      const { layer } = makeHandlers()
      const Changed = Command.make("Pay", { payload: Pay.payloadSchema.fields, success: Schema.Struct({ total: Schema.String }) })
      return Effect.gen(function* () {
        yield* pay("k-1")
        const error = yield* Effect.flip(MessageBus.execute(Changed, { account: "ada", amount: 5 }, { id: "k-1" }))
        assert.ok(error instanceof Event.EventDecodeError)
        assert.deepEqual([error.stream, error.type], ["$command-Pay/k-1", "$CommandAnswered"])
      }).pipe(withBus(layer, onLog))
    })
  })
})

describe("answers in a table", () => {
  promises<SqlClient.SqlClient | UnitOfWork.SqlTransactions>(inEverySql, onTable)
  races<SqlWired>(onServer, onTable)

  inEverySql((test) => {
    test("commit with the events, and are deleted a week later: the id is a new one from then on", () => {
      const { layer, runs } = makeHandlers()
      return Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const schema = yield* Effect.serviceOption(TestSchema)
        const table = sql.literal(Option.isSome(schema) ? `"${schema.value}".answer` : "answer")
        const rows = Effect.map(sql`select id from ${table} order by id`, (rows) => rows.map(({ id }) => id))
        yield* pay("k-1")
        yield* TestClock.adjust("4 days")
        yield* pay("k-2")
        assert.deepEqual(yield* rows, ["k-1", "k-2"])
        assert.deepEqual(yield* facts, ["Deposited", "Deposited"])
        assert.equal(yield* EventStore.head, 2)
        yield* TestClock.adjust("4 days")
        yield* pay("k-2")
        yield* until(Effect.map(rows, (ids) => ids.length === 1))
        assert.deepEqual(yield* rows, ["k-2"])
        assert.equal((yield* pay("k-1")).balance, 15)
        assert.equal(runs.Pay, 3)
      }).pipe(withBus(layer, onTable))
    })

    test("are deleted as well where every execution is part of a transaction", () => {
      const { layer } = makeHandlers()
      return Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const schema = yield* Effect.serviceOption(TestSchema)
        const table = sql.literal(Option.isSome(schema) ? `"${schema.value}".answer` : "answer")
        const rows = Effect.map(sql`select id from ${table}`, (rows) => rows.map(({ id }) => id))
        yield* sql.withTransaction(pay("k-1"))
        yield* TestClock.adjust("8 days")
        yield* sql.withTransaction(pay("k-2"))
        yield* until(Effect.map(rows, (ids) => ids.length === 1))
        assert.deepEqual(yield* rows, ["k-2"])
      }).pipe(withBus(layer, onTable))
    })
  })
})

core.describe("the id of an execution", () => {
  const Memory = UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))

  core.it.effect("is the primary key of the command, where it has one and none is given", () => {
    const Ship = Command.make("Ship", {
      payload: { order: Schema.String, to: Schema.String },
      success: Schema.Int,
      primaryKey: ({ order }) => order
    })
    let runs = 0
    const ShipLive = MessageBus.handle(Ship, () => Effect.sync(() => ++runs))
    const ship = (order: string, to: string, id?: string) => MessageBus.execute(Ship, { order, to }, { id })
    return Effect.gen(function* () {
      assert.equal(yield* ship("o-1", "Berlin"), 1)
      assert.equal(yield* ship("o-1", "Berlin"), 1)
      assert.equal(yield* ship("o-2", "Berlin"), 2)
      assert.equal(yield* ship("o-2", "Berlin", "other"), 3)
      const error = yield* Effect.flip(ship("o-1", "Paris"))
      assert.equal(error._tag, "CommandIdReusedError")
    }).pipe(withBus(ShipLive, onLog), Effect.provide(Memory))
  })

  core.it.effect("tells commands apart whose names and ids run together", () => {
    const name = (tag: string) => Command.make(tag, { success: Schema.String })
    const [One, Other] = [name("a/b"), name("a")]
    const Live = Layer.merge(
      MessageBus.handle(One, () => Effect.succeed("one")),
      MessageBus.handle(Other, () => Effect.succeed("other"))
    )
    return Effect.gen(function* () {
      assert.equal(yield* MessageBus.execute(One, undefined, { id: "c" }), "one")
      assert.equal(yield* MessageBus.execute(Other, undefined, { id: "b/c" }), "other")
    }).pipe(withBus(Live, onLog), Effect.provide(Memory))
  })

  core.it.effect("turns a commit whose answer was lost into the answer", () => {
    const { layer, runs } = makeHandlers()
    const Lossy = UnitOfWork.layer.pipe(
      Layer.provideMerge(EventStore.layerFaulty({ append: ["lost"] })),
      Layer.provide(EventStore.layerMemory)
    )
    return Effect.gen(function* () {
      assert.equal((yield* pay("k-1")).balance, 5)
      assert.deepEqual([runs.Pay, yield* facts], [1, ["Deposited"]])
    }).pipe(withBus(layer, onLog), Effect.provide(Lossy))
  })

  core.it.effect("a refusal that could not be kept is not told: the error of the store is", () => {
    const { layer } = makeHandlers()
    const Down = UnitOfWork.layer.pipe(
      Layer.provideMerge(EventStore.layerFaulty({ append: ["unavailable"] })),
      Layer.provide(EventStore.layerMemory)
    )
    return Effect.gen(function* () {
      assert.equal((yield* Effect.flip(take("k-1", 5)))._tag, "EventStoreError")
      assert.equal((yield* Effect.flip(take("k-1", 5)))._tag, "Overdrawn")
    }).pipe(withBus(layer, onLog), Effect.provide(Down))
  })

  core.it.effect("leaves scenarios as they are: an answer is no event of the domain", () => {
    const { layer } = makeHandlers()
    return Scenario.bus(layer)
      .when(pay("k-1"))
      .then(Scenario.stream(Account, ada, [Deposited.make({ amount: 5 })]))
  })

  core.it.effect("an interrupted caller leaves its turn to the next", () =>
    Effect.gen(function* () {
      const never = yield* Deferred.make<void>()
      const begun = yield* Deferred.make<void>()
      let first = true
      const Slow = MessageBus.handle(Withdraw, () =>
        first ? Effect.andThen(Deferred.succeed(begun, undefined), Effect.as(Deferred.await(never), 1)) : Effect.succeed(2)
      )
      yield* Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(take("k-1", 1))
        yield* Deferred.await(begun)
        const waiting = yield* Effect.forkChild(take("k-1", 1))
        yield* Effect.yieldNow
        first = false
        yield* Fiber.interrupt(fiber)
        assert.equal(yield* Fiber.join(waiting), 2)
      }).pipe(withBus(Slow, onLog))
    }).pipe(Effect.provide(Memory))
  )
})
