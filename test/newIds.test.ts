import assert from "node:assert/strict"
import { join } from "node:path"
import { NodeFileSystem } from "@effect/platform-node"
import { describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlClient } from "effect/sql"
import { Event, EventStore, MessageBus, Repository, UnitOfWork } from "eventfold"
import { JsonlEventStore } from "eventfold/jsonl"
import * as Kit from "eventfold/kit"
import { SqliteClient, SqliteEventStore } from "eventfold/sqlite"
import { TestIds } from "eventfold/testing"
import { Account, ada, ben, Deposit, deposit, Deposited } from "./support/bank.ts"
import { temporaryDirectory } from "./support/files.ts"
import { makeWirings } from "./support/wirings.ts"

const { concurrently } = makeWirings()

/** The store, and for each append what was known of the ids of its events. */
const seeing = (fresh: Array<boolean>, change = (event: EventStore.NewEvent) => event) =>
  Layer.effect(
    EventStore.EventStore,
    EventStore.EventStore.useSync((store) =>
      EventStore.EventStore.of({
        ...store,
        appendAll: (appends, options) => {
          const changed = appends.map((part) => ({ ...part, events: part.events.map(change) }))
          return Effect.flatMap(Kit.prepare(changed, options?.unless), (prepared) => {
            for (const { events } of prepared.appends) for (const event of events) fresh.push(event.fresh)
            return store.appendAll(changed, options)
          })
        }
      })
    )
  )

/** Sends an append again, the same in all, when nobody knows what became of it: as a careful program does. */
const insisting = Layer.effect(
  EventStore.EventStore,
  EventStore.EventStore.useSync((store) =>
    EventStore.EventStore.of({
      ...store,
      appendAll: (appends, options) =>
        Effect.retry(store.appendAll(appends, options), {
          times: 3,
          while: (error) => error._tag === "EventStoreError" && error.reason._tag === "OutcomeUnknown"
        })
    })
  )
)

const log = Effect.map(Stream.runCollect(EventStore.readAll()), (events) =>
  events.map(({ position, stream, type, version }) => `${position} ${stream}@${version} ${type}`)
)

describe("an id that nobody has seen", () => {
  const units = (fresh: Array<boolean>, change?: (event: EventStore.NewEvent) => EventStore.NewEvent) =>
    UnitOfWork.layer.pipe(Layer.provideMerge(seeing(fresh, change)), Layer.provideMerge(EventStore.layerMemory))

  it.effect("is known as such where the event is written for the first time, and not the second time", () => {
    const fresh: Array<boolean> = []
    return Effect.gen(function* () {
      const [first, second] = yield* UnitOfWork.transact(
        Effect.gen(function* () {
          yield* deposit(ada, 1)
          yield* UnitOfWork.stage("A-1", [{ type: "Given", payload: {}, id: "mine" }])
          return (yield* UnitOfWork.Transaction).staged().map(({ event }) => event)
        })
      )
      assert.deepEqual(fresh.splice(0), [true, false])
      // the events as they were staged, once more
      const store = yield* EventStore.EventStore
      const again = [first, second].flatMap((event) => (event === undefined ? [] : [event]))
      const repeated = yield* store.appendAll(
        again.map((event, n) => ({ stream: n === 0 ? "Account-ada" : "A-1", events: [event] }))
      )
      assert.deepEqual(fresh, [false, false])
      assert.deepEqual(
        repeated.map(({ deduplicated }) => deduplicated),
        [true, true]
      )
    }).pipe(Effect.provide(units(fresh)))
  })

  it.effect("is so in a copy of the event as well", () => {
    const fresh: Array<boolean> = []
    return Effect.gen(function* () {
      yield* UnitOfWork.transact(deposit(ada, 1))
      assert.deepEqual(fresh, [true])
    }).pipe(Effect.provide(units(fresh, (event) => ({ ...structuredClone(event), tags: ["changed"] }))))
  })

  it.effect("has been seen once somebody else has written it, before the commit", () => {
    const fresh: Array<boolean> = []
    return Effect.gen(function* () {
      const exit = yield* Effect.exit(
        UnitOfWork.transact(
          Effect.gen(function* () {
            yield* deposit(ada, 1)
            const id = (yield* UnitOfWork.Transaction).staged()[0]?.event.id ?? ""
            yield* EventStore.appendAll([{ stream: "A-1", events: [{ type: "Taken", payload: {}, id }] }])
          })
        )
      )
      assert.deepEqual(fresh, [true, false])
      assert.ok(Exit.isFailure(exit))
      assert.deepEqual(yield* log, ["1 A-1@1 Taken"])
    }).pipe(Effect.provide(units(fresh)))
  })

  it.effect("is forgotten with a unit of work that is not committed", () => {
    const fresh: Array<boolean> = []
    return Effect.gen(function* () {
      const ids: Array<string> = []
      const staged = Effect.gen(function* () {
        yield* deposit(ada, 1)
        for (const { event } of (yield* UnitOfWork.Transaction).staged()) ids.push(event.id)
      })
      yield* Effect.exit(UnitOfWork.transact(Effect.andThen(staged, Effect.fail("no"))))
      yield* Effect.exit(UnitOfWork.transact(Effect.andThen(staged, Effect.die("no"))))
      yield* UnitOfWork.transact(Effect.andThen(staged, UnitOfWork.rollback))
      yield* UnitOfWork.transact(Effect.ignore(UnitOfWork.transact(Effect.andThen(staged, Effect.fail("no")))))
      assert.equal(new Set(ids).size, 4)
      yield* EventStore.appendAll([{ stream: "A-1", events: ids.map((id) => ({ type: "Kept", payload: {}, id })) }])
      assert.deepEqual(fresh, [false, false, false, false])
    }).pipe(Effect.provide(units(fresh)))
  })

  it.effect("is forgotten after the commit, whatever the store has looked at", () => {
    const careless = Layer.effect(
      EventStore.EventStore,
      EventStore.EventStore.useSync((store) => EventStore.EventStore.of({ ...store, appendAll: () => Effect.succeed([]) }))
    )
    return Effect.gen(function* () {
      const id = yield* UnitOfWork.transact(
        Effect.andThen(
          deposit(ada, 1),
          UnitOfWork.Transaction.useSync((transaction) => transaction.staged()[0]?.event.id ?? "")
        )
      )
      const prepared = yield* Kit.prepare([{ stream: "A-1", events: [{ type: "Kept", payload: {}, id }] }])
      assert.deepEqual(
        prepared.appends[0]?.events.map(({ fresh }) => fresh),
        [false]
      )
    }).pipe(Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(careless), Layer.provideMerge(EventStore.layerMemory))))
  })

  it.effect("is made by the process alone: a generator that is provided may make the same again", () => {
    const fresh: Array<boolean> = []
    return Effect.gen(function* () {
      const once = UnitOfWork.transact(deposit(ada, 1)).pipe(Effect.provide(TestIds.layer))
      yield* once
      yield* Effect.exit(once)
      assert.deepEqual(fresh, [false, false])
      assert.deepEqual(yield* log, ["1 Account-ada@1 Deposited"])
    }).pipe(Effect.provide(units(fresh)))
  })

  it.effect("is that of a command's record and of a published event, too", () => {
    const fresh: Array<boolean> = []
    const Noted = Event.make("Noted", {})
    const DepositLive = MessageBus.handle(Deposit, ({ account, amount }) =>
      Effect.map(deposit(account, amount), ({ state }) => state.balance)
    )
    return Effect.gen(function* () {
      yield* MessageBus.execute(Deposit, { account: ada, amount: 1 })
      yield* MessageBus.publish(Noted, Noted.make({}))
      assert.deepEqual(fresh, [true, true, true])
    }).pipe(Effect.provide(Layer.provideMerge(DepositLive, Layer.provideMerge(MessageBus.layer, units(fresh)))))
  })
})

describe("a unit of work whose answer is lost, and that is sent again", () => {
  const twice = UnitOfWork.transact(Effect.all([deposit(ada, 1), deposit(ben, 2), deposit(ada, 3)]))
  const written = ["1 Account-ada@1 Deposited", "2 Account-ben@1 Deposited", "3 Account-ada@2 Deposited"]
  const faulty = (store: typeof EventStore.EventStore.Service) =>
    UnitOfWork.layer.pipe(
      Layer.provideMerge(insisting),
      Layer.provideMerge(EventStore.layerFaulty({ append: ["lost", "lost"] })),
      Layer.provide(Layer.succeed(EventStore.EventStore, store))
    )
  const once = Effect.gen(function* () {
    const store = yield* EventStore.EventStore
    yield* Effect.provide(twice, Layer.fresh(faulty(store)))
    assert.deepEqual(yield* log, written)
    // one event alone, which has a shorter way in some stores
    yield* Effect.provide(UnitOfWork.transact(deposit(ada, 4)), Layer.fresh(faulty(store)))
    assert.deepEqual(yield* log, [...written, "4 Account-ada@3 Deposited"])
  })

  concurrently((test) => {
    test("is written once", () => once)
  })

  it.effect("is written once: SQLite", () => Effect.provide(once, SqliteEventStore.layerFile({ filename: ":memory:" })))

  it.effect("is written once: JSON lines", () =>
    Effect.flatMap(temporaryDirectory, (directory) =>
      Effect.provide(once, JsonlEventStore.layer({ path: join(directory, "events.jsonl") }))
    ).pipe(Effect.provide(NodeFileSystem.layer))
  )
})

describe("the statements of SQLite", () => {
  /** The client, and all that its connections are told while nobody has them in a transaction of his own. */
  const spied = (statements: Array<string>) =>
    Layer.effect(
      SqlClient.SqlClient,
      Effect.map(
        SqliteClient.make({ filename: ":memory:" }),
        (client) =>
          new Proxy(client, {
            get: (target, key, receiver) =>
              key !== "reserve"
                ? (Reflect.get(target, key, receiver) as unknown)
                : Effect.map(target.reserve, (connection) => ({
                    ...connection,
                    execute: (...args: Parameters<typeof connection.execute>) => {
                      statements.push(args[0].trim().split(/\s+/).slice(0, 2).join(" "))
                      return connection.execute(...args)
                    }
                  }))
          })
      )
    ).pipe(Layer.provide(Reactivity.layer))

  const DepositLive = MessageBus.handle(Deposit, ({ account, amount }) =>
    Effect.map(deposit(account, amount), ({ state }) => state.balance)
  )

  it.effect("one command that makes one event is one statement", () => {
    const statements: Array<string> = []
    return Effect.gen(function* () {
      yield* MessageBus.execute(Deposit, { account: ada, amount: 1 })
      statements.length = 0
      yield* MessageBus.execute(Deposit, { account: ada, amount: 1 })
      assert.deepEqual(statements, ["WITH given"])
      assert.deepEqual(yield* log, ["1 Account-ada@1 Deposited", "2 Account-ada@2 Deposited"])
      // an id of the caller's own is looked for
      statements.length = 0
      yield* Repository.append(Account, ada, [Deposited.make({ amount: 1 })])
      assert.deepEqual(statements.splice(0), ["WITH given"])
      yield* EventStore.append("A-1", [{ type: "Given", payload: {}, id: "mine" }])
      assert.equal(statements[0], "BEGIN IMMEDIATE")
    }).pipe(
      Effect.provide(
        DepositLive.pipe(
          Layer.provideMerge(MessageBus.layerWith({ record: "events" })),
          Layer.provideMerge(UnitOfWork.layer),
          Layer.provideMerge(SqliteEventStore.layer),
          Layer.provideMerge(spied(statements))
        )
      )
    )
  })
})
