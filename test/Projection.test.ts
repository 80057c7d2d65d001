import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import {
  BigDecimal,
  Cause,
  DateTime,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Option,
  Schedule,
  Schema,
  type Scope,
  Stream
} from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import {
  Checkpoints,
  Command,
  Event,
  EventStore,
  MessageBus,
  ParkedEvents,
  Projection,
  Subscription,
  UnitOfWork
} from "eventfold"
import * as Kit from "eventfold/kit"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { makeEverywhere, onSqlite, Prefix } from "./projection/everywhere.ts"
import { core, servers } from "./support/wirings.ts"
import { logs } from "./support/logs.ts"
import { numbers, start } from "./support/words.ts"

const Opened = Event.make("Opened", { owner: Schema.String })
const Deposited = Event.make("Deposited", { amount: Schema.Int })
const Closed = Event.make("Closed", {})

const everywhere = makeEverywhere()

const opened = (owner: string): EventStore.NewEvent => ({ type: "Opened", payload: { owner } })
const deposited = (amount: number): EventStore.NewEvent => ({ type: "Deposited", payload: { amount } })
const closed: EventStore.NewEvent = { type: "Closed", payload: {} }

const makeBalance = (prefix: string) =>
  Projection.table(`${prefix}balance`, {
    key: "account",
    fields: { account: Schema.String, owner: Schema.String, amount: Schema.Int, deposits: Schema.Int }
  })

/** A projection with a handler an event. What comes of every event is told to `sent` as a side effect. */
const balances = (prefix: string, version = 1, options: { readonly sent?: Array<number>; readonly factor?: number } = {}) => {
  const { factor = 1, sent = [] } = options
  const Balance = makeBalance(prefix)
  const send = (envelope: Projection.Envelope<unknown>) =>
    Projection.sideEffect(
      envelope,
      Effect.sync(() => void sent.push(envelope.position ?? 0))
    )
  const projection = Projection.make("Balances", {
    version,
    tables: [Balance],
    events: [Opened, Deposited, Closed],
    handlers: {
      Opened: ({ owner }, envelope) =>
        Effect.andThen(Balance.upsert({ account: envelope.stream, owner, amount: 0, deposits: 0 }), send(envelope)),
      Deposited: (event, envelope) =>
        Effect.andThen(
          Balance.patch(envelope.stream, ({ amount, deposits }) => ({
            amount: amount + factor * event.amount,
            deposits: deposits + 1
          })),
          send(envelope)
        ),
      Closed: (_, envelope) => Effect.andThen(Balance.delete(envelope.stream), send(envelope))
    }
  })
  return { Balance, projection }
}

type BalanceRow = Projection.Row<ReturnType<typeof makeBalance>["fields"]>

/** The fold that a view of balances must equal, and the projection's batch as well. */
const evolve = (
  row: BalanceRow | undefined,
  { event, stream }: { readonly event: (typeof Opened | typeof Deposited | typeof Closed)["Type"]; readonly stream: string }
): BalanceRow | undefined => {
  switch (event._tag) {
    case "Opened":
      return { account: stream, owner: event.owner, amount: 0, deposits: 0 }
    case "Deposited":
      return row && { ...row, amount: row.amount + event.amount, deposits: row.deposits + 1 }
    case "Closed":
      return undefined
  }
}

const batched = (prefix: string, version = 1) => {
  const Balance = makeBalance(prefix)
  const projection = Projection.make("Balances", {
    version,
    tables: [Balance],
    events: [Opened, Deposited, Closed],
    batch: (events) => Balance.fold(events, { key: ({ stream }) => stream, evolve })
  })
  return { Balance, projection }
}

/** The view as a fold from scratch makes it. */
const fromScratch = Effect.gen(function* () {
  const rows = new Map<string, BalanceRow>()
  const events = new Map<string, Event.Any>([Opened, Deposited, Closed].map((event) => [event.type, event]))
  for (const recorded of yield* Stream.runCollect(EventStore.readAll({ filter: { types: Array.from(events.keys()) } }))) {
    const event = yield* Effect.fromResult(
      Event.decodeAny<[typeof Opened, typeof Deposited, typeof Closed]>(events as never, recorded)
    )
    const row = evolve(rows.get(recorded.stream), { event, stream: recorded.stream })
    if (row === undefined) rows.delete(recorded.stream)
    else rows.set(recorded.stream, row)
  }
  return Array.from(rows.values()).sort((a, b) => (a.account < b.account ? -1 : 1))
})

const waiting = { timeout: "20 seconds" } as const

const append = (stream: string, ...events: ReadonlyArray<EventStore.NewEvent>) => EventStore.append(stream, events)

/** As another process sees it: one in which no subscription runs. */
const elsewhere = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideService(effect, Subscription.Registry, new Map())

/** Random histories of accounts, the same for the same seed. */
const history = (seed: number, length: number) => {
  let state = seed
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  return Array.from({ length }, () => {
    const kind = random(10)
    const event = kind < 2 ? opened(`owner "${random(9)}" 💶`) : kind < 9 ? deposited(random(2000) - 1000) : closed
    return { stream: `Account-${random(7)}`, events: [event] }
  })
}

describe("a projection that runs async", () => {
  everywhere("folds history and what comes, and can be read by its table", () =>
    Effect.gen(function* () {
      const { Balance, projection } = balances(yield* Prefix)
      yield* EventStore.append("Account-a", [opened("Ada"), deposited(5), deposited(7)])
      yield* start(Projection.layer(projection))
      yield* EventStore.append("Other-1", [{ type: "Noise", payload: {} }])
      yield* EventStore.append("Account-b", [opened("Ben"), deposited(1)])
      const { position } = yield* EventStore.append("Account-a", [deposited(-2)])
      yield* Projection.awaitPosition(projection, position, waiting)
      assert.deepEqual(yield* Balance.list(), [
        { account: "Account-a", owner: "Ada", amount: 10, deposits: 3 },
        { account: "Account-b", owner: "Ben", amount: 1, deposits: 1 }
      ])
      assert.deepEqual(
        yield* Balance.get("Account-b"),
        Option.some({ account: "Account-b", owner: "Ben", amount: 1, deposits: 1 })
      )
      assert.deepEqual(yield* Balance.get("Account-c"), Option.none())
      assert.deepEqual(yield* Projection.active("Balances"), Option.some(1))
    })
  )

  for (const [kind, define] of Object.entries({ handlers: balances, batch: batched })) {
    everywhere(`equals a fold from scratch for random histories, by ${kind}`, () =>
      Effect.gen(function* () {
        const { Balance, projection } = define(yield* Prefix)
        yield* EventStore.appendAll(history(1, 150))
        yield* start(Projection.layer(projection, { batch: 16 }))
        for (let seed = 2; seed < 7; seed++) {
          yield* EventStore.appendAll(history(seed, 40))
          yield* Projection.whenCaughtUp(projection, waiting)
          assert.deepEqual(yield* Balance.list(), yield* fromScratch)
        }
      })
    )
  }

  everywhere("rolls back what a failing handler has written, and parks the event alone", () =>
    Effect.gen(function* () {
      logs(/has parked the event/)
      const Seen = Projection.table(`${yield* Prefix}seen`, { key: "id", fields: { id: Schema.String } })
      const sizes: Array<number> = []
      const projection = Projection.make("Seen", {
        version: 1,
        tables: [Seen],
        events: [Deposited],
        batch: (events) =>
          Effect.gen(function* () {
            sizes.push(events.length)
            yield* Seen.upsert(...events.map(({ position }) => ({ id: String(position) })))
            if (events.some(({ event }) => event.amount < 0)) yield* Effect.fail("below nothing")
          })
      })
      yield* append("Account-a", deposited(1), deposited(-1), deposited(2))
      yield* start(
        Layer.provide(Projection.layer(projection, { onFailure: "park", retry: Schedule.recurs(1) }), ParkedEvents.layerMemory)
      )
      yield* Projection.whenCaughtUp(projection, waiting)
      assert.deepEqual(yield* Seen.list(), [{ id: "1" }, { id: "3" }])
      assert.deepEqual(sizes, [3, 1, 1, 1, 1])
    })
  )

  everywhere("narrows its events down by a filter", () =>
    Effect.gen(function* () {
      const Seen = Projection.table(`${yield* Prefix}seen`, { key: "id", fields: { id: Schema.String } })
      const projection = Projection.make("Seen", {
        version: 1,
        tables: [Seen],
        events: [Deposited],
        filter: { categories: ["Account"] },
        handlers: { Deposited: (_, { id, position }) => Seen.upsert({ id: id === "" ? id : String(position) }) }
      })
      yield* append("Account-a", deposited(1), opened("Ada"))
      yield* append("Purse-a", deposited(1))
      yield* append("Account-b", deposited(1))
      yield* start(Projection.layer(projection))
      yield* Projection.whenCaughtUp(projection, waiting)
      assert.deepEqual(yield* Seen.list(), [{ id: "1" }, { id: "4" }])
    })
  )

  it("refuses definitions that make no sense", () => {
    const define = (name: string, version: number, type = "Deposited") =>
      Projection.make(name, {
        version,
        events: [Deposited],
        filter: { types: [type] },
        handlers: { Deposited: () => Effect.void }
      })
    assert.throws(() => define("", 1), RangeError)
    assert.throws(() => define("a@1", 1), RangeError)
    for (const version of [0, 1.5, -1]) assert.throws(() => define("a", version), RangeError)
    assert.throws(() => define("a", 1, "Opened"), RangeError)
    assert.throws(() => Projection.table("no space", { key: "id", fields: { id: Schema.String } }), RangeError)
    assert.throws(() => Projection.table("t", { key: "id", fields: { id: Schema.String, 'a"b': Schema.String } }), RangeError)
  })
})

describe("waiting", () => {
  everywhere("is for what concerns the projection alone, in this process and in another", () =>
    Effect.gen(function* () {
      const { projection } = balances(yield* Prefix)
      // The lease is so long that nothing moves the checkpoint over other events within this test.
      yield* start(Projection.layer(projection, { lease: "10 minutes" }))
      const here = yield* append("Account-a", opened("Ada"))
      yield* elsewhere(Projection.awaitPosition(projection, here.position, waiting))
      const other = yield* append("Other-a", { type: "Noise", payload: {} })
      yield* Projection.awaitPosition(projection, other.position, waiting)
      yield* elsewhere(Projection.whenCaughtUp(projection, waiting))
    })
  )

  everywhere("ends in time", () =>
    Effect.gen(function* () {
      const { projection } = balances(yield* Prefix)
      const { position } = yield* append("Account-a", opened("Ada"), deposited(1))
      for (const target of [position, 99]) {
        const error = yield* Effect.flip(Projection.awaitPosition(projection, target, { timeout: "10 millis" }))
        assert.deepEqual(error, new Projection.NotCaughtUpError({ projection: "Balances", version: 1, position: 0, target }))
      }
    })
  )
})

describe("a rebuild", () => {
  everywhere("equals a fold from scratch while events are appended and the projection runs, and repeats no side effect", () =>
    Effect.gen(function* () {
      logs(/starts again/)
      const sent: Array<number> = []
      const { Balance, projection } = balances(yield* Prefix, 1, { sent })
      yield* start(Projection.layer(projection, { batch: 5, lease: "300 millis" }))
      yield* EventStore.append("Account-a", [opened("Ada"), ...Array.from({ length: 40 }, () => deposited(1))])
      yield* Projection.whenCaughtUp(projection, waiting)
      const writer = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 30 }), (_, n) => EventStore.append(`Account-${n % 3}`, [opened("x"), deposited(n)]))
      )
      const progress = Array.from(yield* Stream.runCollect(Projection.rebuild(projection, { batch: 7, lease: "300 millis" })))
      yield* Fiber.join(writer)
      yield* Projection.whenCaughtUp(projection, waiting)
      const last = progress.at(-1)
      assert.ok(last !== undefined && last.position >= last.head && last.head >= 41)
      assert.deepEqual(
        progress,
        progress.toSorted((a, b) => a.position - b.position)
      )
      assert.deepEqual(yield* Balance.list(), yield* fromScratch)
      // An event that was in hand when the rebuild began is done again, as in any transaction that is rolled back.
      assert.deepEqual(sent.slice(0, 41), numbers(41))
      assert.deepEqual(
        Array.from(new Set(sent)).toSorted((a, b) => a - b),
        numbers(101)
      )
      assert.equal(sent.filter((position) => position <= 41).length, 41)
    })
  )

  everywhere("one after the other repeats no side effect of a running Layer, whatever comes meanwhile", () =>
    Effect.gen(function* () {
      logs(/starts again/)
      const sent: Array<number> = []
      const { projection } = balances(yield* Prefix, 1, { sent })
      yield* start(Projection.layer(projection, { lease: "300 millis" }))
      yield* append("Account-a", opened("Ada"), ...Array.from({ length: 9 }, () => deposited(1)))
      yield* Projection.whenCaughtUp(projection, waiting)
      for (let time = 0; time < 4; time++) {
        yield* Stream.runDrain(Projection.rebuild(projection, { lease: "300 millis" }))
        yield* append("Account-a", deposited(1))
        yield* Projection.whenCaughtUp(projection, waiting)
      }
      assert.deepEqual(sent, numbers(14))
    })
  )

  everywhere("that is interrupted goes on later, also while appends arrive", () =>
    Effect.gen(function* () {
      const reached = yield* Deferred.make<void>()
      const Balance = makeBalance(yield* Prefix)
      const projection = Projection.make("Balances", {
        version: 1,
        tables: [Balance],
        events: [Opened, Deposited, Closed],
        batch: (events) =>
          Effect.gen(function* () {
            yield* Balance.fold(events, { key: ({ stream }) => stream, evolve })
            if (events.every(({ position }) => position !== 55)) return
            if (yield* Deferred.succeed(reached, undefined)) yield* Effect.never
          })
      })
      yield* EventStore.appendAll(history(9, 300))
      const first = yield* Effect.forkChild(Stream.runDrain(Projection.rebuild(projection, { batch: 10, lease: "300 millis" })))
      yield* Deferred.await(reached)
      yield* Fiber.interrupt(first)
      const checkpoint = yield* Checkpoints.Checkpoints.use(({ get }) => get("subscription:projection:Balances@1"))
      const stopped = Option.getOrThrow(checkpoint).position
      assert.equal(stopped, 50)
      yield* EventStore.appendAll(history(10, 50))
      const second = Array.from(yield* Stream.runCollect(Projection.rebuild(projection, { batch: 10 })))
      assert.ok((second[0]?.position ?? 0) >= stopped)
      const { handled, head, position } = second.at(-1) as Projection.Progress
      assert.deepEqual([head, position], [350, 350])
      assert.equal(handled, 350 - stopped)
      assert.deepEqual(yield* Balance.list(), yield* fromScratch)
      // What is done is done anew.
      const third = Array.from(yield* Stream.runCollect(Projection.rebuild(projection)))
      assert.equal(third.at(-1)?.handled, 350)
      assert.deepEqual(yield* Balance.list(), yield* fromScratch)
    })
  )

  everywhere("that is interrupted beyond where the view was before goes on there, too", () =>
    Effect.gen(function* () {
      const reached = yield* Deferred.make<void>()
      const sent: Array<number> = []
      const { Balance, projection } = balances(yield* Prefix, 1, { sent })
      yield* append("Account-a", opened("Ada"), ...numbers(9).map(deposited))
      const stop = yield* start(Projection.layer(projection))
      yield* Projection.whenCaughtUp(projection, waiting)
      yield* stop
      // Handled by nobody before the rebuild.
      yield* append("Account-a", ...numbers(90).map(deposited))
      const hanging: typeof projection = {
        ...projection,
        handleEvent: (item) =>
          item.position === 55 ? Effect.andThen(Deferred.succeed(reached, undefined), Effect.never) : projection.handleEvent(item)
      }
      const first = yield* Effect.forkChild(Stream.runDrain(Projection.rebuild(hanging, { batch: 10, lease: "1 second" })))
      yield* Deferred.await(reached)
      yield* Fiber.interrupt(first)
      // Behind a whole batch, or where a slow one was committed before its end.
      const checkpoint = yield* Checkpoints.Checkpoints.use(({ get }) => get(`subscription:${projection.subscription}`))
      const done = Option.getOrThrow(checkpoint).position
      assert.equal(done >= 50 && done < 55, true)
      const rest = Array.from(yield* Stream.runCollect(Projection.rebuild(projection)))
      assert.equal(rest.at(-1)?.handled, 100 - done)
      assert.deepEqual(yield* Balance.list(), yield* fromScratch)
      // Those of the batch that was in hand are done again, as whenever a transaction is rolled back.
      assert.deepEqual(sent, [...numbers(54), ...numbers(100).slice(done)])
    })
  )

  everywhere("that is interrupted before its first event repeats no side effect, and keeps those that are still to come", () =>
    Effect.gen(function* () {
      const sent: Array<number> = []
      const { Balance, projection } = balances(yield* Prefix, 1, { sent })
      yield* append("Account-a", opened("Ada"), deposited(1))
      const stop = yield* start(Projection.layer(projection))
      yield* Projection.whenCaughtUp(projection, waiting)
      yield* stop
      yield* append("Account-a", deposited(1), deposited(1))
      yield* Stream.runDrain(Stream.take(Projection.rebuild(projection, { batch: 1 }), 1))
      yield* Stream.runDrain(Projection.rebuild(projection))
      assert.deepEqual(yield* Balance.list(), yield* fromScratch)
      assert.deepEqual(sent, numbers(4))
    })
  )

  everywhere("stands still where a handler fails, and goes on from there", () =>
    Effect.gen(function* () {
      logs(/ halts/)
      const Total = Projection.table(`${yield* Prefix}total`, { key: "id", fields: { id: Schema.String, amount: Schema.Int } })
      let broken = true
      const projection = Projection.make("Total", {
        version: 1,
        tables: [Total],
        events: [Deposited],
        handlers: {
          Deposited: ({ amount }) =>
            Effect.gen(function* () {
              if (broken && amount === 3) return yield* Effect.fail("no threes")
              yield* Total.fold([amount], {
                key: () => "all",
                evolve: (row, amount) => ({ id: "all", amount: (row?.amount ?? 0) + amount })
              })
            })
        }
      })
      yield* append("Account-a", ...[1, 2, 3, 4].map(deposited))
      const rebuild = Stream.runDrain(Projection.rebuild(projection, { retry: Schedule.recurs(0) }))
      const error = yield* Effect.flip(rebuild)
      assert.deepEqual(error, new Projection.RebuildError({ projection: "Total", version: 1, position: 2, cause: "no threes" }))
      broken = false
      yield* rebuild
      assert.deepEqual(yield* Total.list(), [{ id: "all", amount: 10 }])
    })
  )

  everywhere("of what has never run has no side effects; what comes later has", () =>
    Effect.gen(function* () {
      const sent: Array<number> = []
      const { projection } = balances(yield* Prefix, 1, { sent })
      yield* append("Account-a", opened("Ada"), deposited(1))
      yield* Stream.runDrain(Projection.rebuild(projection))
      yield* start(Projection.layer(projection))
      const { position } = yield* append("Account-a", deposited(1))
      yield* Projection.awaitPosition(projection, position, waiting)
      assert.deepEqual(sent, [3])
    })
  )

  everywhere("empties what else the handlers write, also after a drop", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const table = sql.literal(`${yield* Prefix}own`)
      yield* sql`create table ${table} (n integer)`
      const own = (version: number) =>
        Projection.make("Own", {
          version,
          events: [Deposited],
          reset: sql`delete from ${table}`,
          handlers: { Deposited: ({ amount }) => sql`insert into ${table} values (cast(${String(amount)} as integer))` }
        })
      const rows = Effect.map(sql<{ n: number }>`select n from ${table} order by n`, (rows) => rows.map(({ n }) => n))
      yield* append("Account-a", deposited(1), deposited(2))
      for (let time = 0; time < 2; time++) yield* Stream.runDrain(Projection.rebuild(own(1)))
      assert.deepEqual(yield* rows, [1, 2])
      yield* Stream.runDrain(Projection.rebuild(own(2)))
      yield* Projection.drop(own(2))
      yield* Stream.runDrain(Projection.rebuild(own(2)))
      assert.deepEqual(yield* rows, [1, 2])
    })
  )

  everywhere("forgets what had been parked: it is handled with all others, and cannot be replayed into the view", () =>
    Effect.gen(function* () {
      logs(/has parked the event/)
      let broken = true
      const Total = Projection.table(`${yield* Prefix}total`, { key: "id", fields: { id: Schema.String, amount: Schema.Int } })
      const projection = Projection.make("Total", {
        version: 1,
        tables: [Total],
        events: [Deposited],
        handlers: {
          Deposited: ({ amount }) =>
            broken && amount === 2
              ? Effect.fail("no twos")
              : Total.fold([amount], {
                  key: () => "all",
                  evolve: (row, amount) => ({ id: "all", amount: (row?.amount ?? 0) + amount })
                })
        }
      })
      yield* append("Account-a", ...[1, 2, 3].map(deposited))
      const stop = yield* start(Projection.layer(projection, { onFailure: "park", retry: Schedule.recurs(0) }))
      yield* Projection.whenCaughtUp(projection, waiting)
      assert.deepEqual(yield* Total.list(), [{ id: "all", amount: 4 }])
      yield* stop
      broken = false
      yield* Stream.runDrain(Projection.rebuild(projection))
      assert.deepEqual(yield* Total.list(), [{ id: "all", amount: 6 }])
      yield* start(Projection.layer(projection, { onFailure: "park" }))
      assert.equal((yield* Effect.flip(Subscription.replay(projection.subscription, 2)))._tag, "NotParkedError")
      assert.deepEqual(yield* Total.list(), [{ id: "all", amount: 6 }])
    }).pipe(Effect.provide(Layer.fresh(ParkedEvents.layerMemory)))
  )
})

describe("two versions", () => {
  everywhere("live side by side, and the new one serves once it has caught up", () =>
    Effect.gen(function* () {
      const prefix = yield* Prefix
      const sent1: Array<number> = []
      const sent2: Array<number> = []
      const one = balances(prefix, 1, { sent: sent1 })
      const two = balances(prefix, 2, { sent: sent2, factor: 10 })
      const amounts = Effect.map(one.Balance.list(), (rows) => rows.map(({ amount }) => amount))
      const stopOne = yield* start(Projection.layer(one.projection))
      yield* append("Account-a", opened("Ada"), deposited(1))
      yield* Projection.whenCaughtUp(one.projection, waiting)
      const refused = yield* Effect.flip(Projection.switchTo(two.projection))
      assert.deepEqual(refused, new Projection.NotCaughtUpError({ projection: "Balances", version: 2, position: 0, target: 2 }))
      yield* Stream.runDrain(Projection.rebuild(two.projection))
      yield* start(Projection.layer(two.projection))
      yield* append("Account-a", deposited(2))
      yield* Projection.whenCaughtUp(one.projection, waiting)
      yield* Projection.whenCaughtUp(two.projection, waiting)
      assert.deepEqual([yield* amounts, sent1, sent2], [[3], [1, 2, 3], []])
      yield* Projection.switchTo(two.projection, waiting)
      assert.deepEqual([yield* amounts, yield* Projection.active("Balances")], [[30], Option.some(2)])
      yield* append("Account-a", deposited(3))
      yield* Projection.whenCaughtUp(one.projection, waiting)
      yield* Projection.whenCaughtUp(two.projection, waiting)
      assert.deepEqual([yield* amounts, sent1, sent2], [[60], [1, 2, 3], [4]])
      // And back.
      yield* Projection.switchTo(one.projection)
      assert.deepEqual(yield* amounts, [6])
      yield* Projection.switchTo(two.projection)
      yield* stopOne
      const error = yield* Effect.flip(Projection.drop(two.projection))
      assert.deepEqual(error, new Projection.ActiveVersionError({ projection: "Balances", version: 2 }))
      yield* Projection.drop(one.projection)
      assert.deepEqual(yield* amounts, [60])
      assert.equal((yield* Effect.flip(Projection.switchTo(one.projection)))._tag, "NotCaughtUpError")
      // Dropped and started again, it begins anew, beside the other.
      yield* start(Projection.layer(one.projection))
      yield* Projection.whenCaughtUp(one.projection, waiting)
      yield* Projection.switchTo(one.projection)
      assert.deepEqual([yield* amounts, sent1], [[6], [1, 2, 3]])
    })
  )

  everywhere("an old one that starts where nobody runs the active one says once that readers see a view that stands still", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => void (logLevel === "Warn" && lines.push(String(message))))
      const prefix = yield* Prefix
      const [one, two] = [balances(prefix, 1), balances(prefix, 2)]
      const runs = (projection: typeof one.projection) =>
        Effect.scoped(start(Projection.layer(projection))).pipe(Effect.provide(Logger.layer([logger])))
      yield* append("Account-a", opened("Ada"))
      yield* runs(one.projection)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* start(Projection.layer(two.projection))
          yield* Projection.switchTo(two.projection, waiting)
          yield* runs(one.projection)
          assert.deepEqual(lines, [])
        })
      )
      for (let time = 0; time < 2; time++) yield* runs(one.projection)
      yield* runs(two.projection)
      assert.deepEqual(lines.length, 1)
      assert.match(
        String(lines[0]),
        /version 1 of the projection "Balances" starts, but readers see version 2, which nobody runs/
      )
    })
  )

  everywhere("the last one can be dropped when nobody runs it: nothing is left of it, and its name begins anew", () =>
    Effect.gen(function* () {
      const prefix = yield* Prefix
      const sent: Array<number> = []
      const { Balance, projection } = balances(prefix, 1, { sent })
      const amounts = Effect.map(Balance.list(), (rows) => rows.map(({ amount }) => amount))
      const name = `subscription:${projection.subscription}`
      const shown = Effect.map(Subscription.lag, (all) => all.filter(({ checkpoint }) => checkpoint === name))
      yield* append("Account-a", opened("Ada"), deposited(1))
      const stop = yield* start(Projection.layer(projection))
      yield* Projection.whenCaughtUp(projection, waiting)
      const two = balances(prefix, 2)
      const stopTwo = yield* start(Projection.layer(two.projection))
      yield* Projection.whenCaughtUp(two.projection, waiting)
      assert.equal((yield* Effect.flip(Projection.drop(projection)))._tag, "ActiveVersionError")
      assert.equal((yield* Effect.flip(Projection.drop(two.projection)))._tag, "StillRunningError")
      yield* stopTwo
      yield* Projection.drop(two.projection)
      const error = yield* Effect.flip(Projection.drop(projection))
      assert.deepEqual([error._tag, yield* amounts, (yield* shown).length], ["StillRunningError", [1], 1])
      yield* stop
      yield* Projection.drop(projection)
      assert.deepEqual(yield* shown, [])
      assert.deepEqual(yield* Projection.active("Balances"), Option.none())
      assert.ok(Exit.isFailure(yield* Effect.exit(amounts)))
      // Another may have the table, and the name begins anew; but the world has heard.
      const told = sent.length
      yield* start(Projection.layer(projection))
      yield* Projection.whenCaughtUp(projection, waiting)
      assert.deepEqual([yield* amounts, sent.length, (yield* shown).length], [[1], told, 1])
      assert.deepEqual(yield* Projection.active("Balances"), Option.some(1))
    })
  )

  everywhere("can be dropped when the next one has other tables, and is no laggard then; nor is one that runs inline", () =>
    Effect.gen(function* () {
      logs(/ halts/)
      const prefix = yield* Prefix
      const one = balances(prefix, 1)
      const Total = Projection.table(`${prefix}total`, { key: "id", fields: { id: Schema.String, amount: Schema.Int } })
      const two = Projection.make("Balances", {
        version: 2,
        tables: [Total],
        events: [Deposited],
        handlers: { Deposited: ({ amount }) => Total.upsert({ id: "last", amount }) }
      })
      const laggards = Effect.map(Subscription.lag, (all) => all.filter(({ lag }) => lag > 0).map(({ checkpoint }) => checkpoint))
      const read = Effect.exit(one.Balance.list())
      yield* append("Account-a", opened("Ada"), deposited(1))
      const stopOne = yield* start(Projection.layer(one.projection))
      yield* Projection.whenCaughtUp(one.projection, waiting)
      yield* Stream.runDrain(Projection.rebuild(two))
      yield* Projection.switchTo(two)
      yield* stopOne
      assert.ok(Exit.isSuccess(yield* read))
      yield* Projection.drop(one.projection)
      assert.ok(Exit.isFailure(yield* read))
      assert.deepEqual(yield* Total.list(), [{ id: "last", amount: 1 }])
      assert.deepEqual(yield* laggards, [])
      const stopTwo = yield* start(Projection.inline(two))
      yield* UnitOfWork.transact(UnitOfWork.stage("Account-a", [deposited(2)]))
      assert.deepEqual(yield* Total.list(), [{ id: "last", amount: 2 }])
      assert.deepEqual(yield* laggards, [])
      yield* stopTwo
      // Started again, it is as far behind as it is.
      const halted = balances(prefix, 1)
      yield* start(
        Projection.layer({ ...halted.projection, handleEvent: () => Effect.fail("no") }, { batch: 1, retry: Schedule.recurs(0) })
      )
      yield* Subscription.changes(halted.projection.subscription).pipe(
        Stream.takeUntil(({ state }) => state === "halted"),
        Stream.runDrain
      )
      assert.deepEqual(yield* laggards, ["subscription:projection:Balances@1"])
    })
  )

  everywhere("what the one has done beyond its view, the other does not do again when it is switched to", () =>
    Effect.gen(function* () {
      const prefix = yield* Prefix
      const sent1: Array<number> = []
      const sent2: Array<number> = []
      const one = balances(prefix, 1, { sent: sent1 })
      const two = balances(prefix, 2, { sent: sent2 })
      yield* append("Account-a", opened("Ada"))
      yield* start(Projection.layer(one.projection))
      yield* Projection.whenCaughtUp(one.projection, waiting)
      yield* Stream.runDrain(Projection.rebuild(two.projection))
      // The second is done with the log when it is looked at, and behind the first when the switch is made.
      const store = yield* EventStore.EventStore
      const head = yield* store.head
      const { position } = yield* append("Account-a", deposited(1), deposited(1))
      yield* Projection.awaitPosition(one.projection, position, waiting)
      yield* Effect.provideService(Projection.switchTo(two.projection), EventStore.EventStore, {
        ...store,
        head: Effect.succeed(head)
      })
      yield* start(Projection.layer(two.projection))
      const { position: last } = yield* append("Account-a", deposited(1))
      yield* Projection.awaitPosition(two.projection, last, waiting)
      assert.deepEqual([sent1, sent2], [[1, 2, 3], [4]])
    })
  )

  everywhere("of several switches at once each is made or not at all: readers see the active version", () =>
    Effect.gen(function* () {
      const prefix = yield* Prefix
      const versions = numbers(4).map((version) => balances(prefix, version, { factor: version }))
      yield* append("Account-a", opened("Ada"), deposited(1))
      for (const { projection } of versions) yield* start(Projection.layer(projection))
      for (const { projection } of versions) yield* Projection.whenCaughtUp(projection, waiting)
      for (let round = 0; round < 8; round++) {
        yield* Effect.forEach(versions, ({ projection }) => Projection.switchTo(projection), { concurrency: "unbounded" })
        const [row] = yield* makeBalance(prefix).list()
        assert.deepEqual(Option.some(row?.amount), yield* Projection.active("Balances"))
        const entries = yield* Checkpoints.Checkpoints.use((checkpoints) => checkpoints.versions.list("Balances"))
        assert.equal(entries.filter(({ active }) => active).length, 1)
      }
    })
  )

  everywhere("a reader sees one of them at any time", () =>
    Effect.gen(function* () {
      const prefix = yield* Prefix
      const one = balances(prefix, 1)
      const two = balances(prefix, 2, { factor: 10 })
      yield* append("Account-a", opened("Ada"), deposited(1))
      yield* start(Layer.mergeAll(Projection.layer(one.projection), Projection.layer(two.projection)))
      yield* Projection.whenCaughtUp(one.projection, waiting)
      yield* Projection.whenCaughtUp(two.projection, waiting)
      const reader = yield* Effect.forkChild(
        Effect.replicateEffect(
          Effect.map(
            one.Balance.get("Account-a"),
            Option.map(({ amount }) => amount)
          ),
          200
        )
      )
      for (let time = 0; time < 20; time++) yield* Projection.switchTo(time % 2 === 0 ? two.projection : one.projection)
      for (const amount of yield* Fiber.join(reader)) assert.ok(Option.contains(amount, 1) || Option.contains(amount, 10))
    })
  )
})

describe("a projection that runs inline", () => {
  const stage = (stream: string, ...events: ReadonlyArray<EventStore.NewEvent>) => UnitOfWork.stage(stream, events)

  for (const [kind, define] of Object.entries({ handlers: balances, batch: batched })) {
    everywhere(`commits together with the events, by ${kind}`, () =>
      Effect.gen(function* () {
        const { Balance, projection } = define(yield* Prefix)
        yield* start(Projection.inline(projection))
        const { position } = yield* UnitOfWork.transact(
          Effect.gen(function* () {
            yield* stage("Account-a", opened("Ada"), deposited(1))
            yield* stage("Other-a", { type: "Noise", payload: {} })
            yield* UnitOfWork.transact(stage("Account-a", deposited(2)))
            yield* Effect.ignore(UnitOfWork.transact(Effect.andThen(stage("Account-a", deposited(100)), Effect.fail("no"))))
            assert.deepEqual(yield* Balance.list(), [])
            return { position: 3 }
          })
        )
        yield* Projection.awaitPosition(projection, position)
        assert.deepEqual(yield* Balance.list(), yield* fromScratch)
        assert.equal((yield* Balance.list()).length, 1)
        yield* UnitOfWork.transact(Effect.andThen(stage("Account-b", opened("Ben")), UnitOfWork.rollback))
        yield* Effect.ignore(UnitOfWork.transact(Effect.andThen(stage("Account-b", opened("Ben")), Effect.fail("no"))))
        const conflict = yield* Effect.flip(UnitOfWork.transact(UnitOfWork.stage("Account-a", [deposited(100)], { expected: 1 })))
        assert.equal(conflict._tag, "OptimisticLockError")
        assert.deepEqual(yield* Balance.list(), yield* fromScratch)
        assert.equal(yield* EventStore.head, 4)
      })
    )
  }

  everywhere("takes no command for an event of the same name", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const projection = Projection.make("Seen", {
        version: 1,
        events: [Deposited],
        handlers: { Deposited: (event) => Effect.sync(() => void seen.push(event)) }
      })
      const Deposit = Command.make("Deposited", { payload: { amount: Schema.Int } })
      const DepositLive = MessageBus.handle(Deposit, ({ amount }) =>
        Effect.asVoid(UnitOfWork.stage("Account-a", [deposited(2 * amount)]))
      )
      yield* start(Projection.inline(projection))
      yield* MessageBus.execute(Deposit, { amount: 1 }).pipe(Effect.provide(Layer.provideMerge(DepositLive, MessageBus.layer)))
      assert.equal(yield* EventStore.head, 2)
      assert.deepEqual(seen, [Deposited.make({ amount: 2 })])
    })
  )

  everywhere("a handler that fails rolls everything back, and the error says so", () =>
    Effect.gen(function* () {
      const { Balance, projection } = balances(yield* Prefix)
      const failing = Projection.make("Failing", {
        version: 1,
        events: [Deposited],
        handlers: { Deposited: ({ amount }) => (amount < 0 ? Effect.fail(new Error("below nothing")) : Effect.void) }
      })
      yield* start(Layer.mergeAll(Projection.inline(projection), Projection.inline(failing)))
      yield* UnitOfWork.transact(stage("Account-a", opened("Ada"), deposited(1)))
      const error = yield* Effect.flip(UnitOfWork.transact(stage("Account-a", deposited(-1))))
      assert.ok(error._tag === "EventStoreError" && error.reason._tag === "StoreFailure")
      assert.deepEqual([error.reason.operation, error.reason.detail], ["project Failing", "below nothing"])
      assert.deepEqual(
        (yield* Balance.list()).map(({ amount }) => amount),
        [1]
      )
      assert.equal(yield* EventStore.head, 2)
    })
  )

  everywhere("hears of what is about to be written, and of nothing else", () =>
    Effect.gen(function* () {
      const heard: Array<string> = []
      const projection = Projection.make("Heard", {
        version: 1,
        events: [Opened, Deposited],
        batch: (events) =>
          Effect.sync(() => heard.push(...events.map(({ event, stream, version }) => `${stream} ${event._tag} ${version}`)))
      })
      const stop = yield* start(Projection.inline(projection))
      yield* UnitOfWork.transact(UnitOfWork.stage("Account-a", [opened("Ada"), closed, deposited(1)], { expected: 0 }))
      yield* UnitOfWork.transact(Effect.andThen(stage("Account-a", deposited(1)), UnitOfWork.rollback))
      // Without a record, an event on the bus goes to its listeners alone.
      yield* Effect.provide(
        MessageBus.publish(Deposited, Deposited.make({ amount: 1 })),
        MessageBus.layerWith({ record: "none" })
      )
      yield* Effect.provide(
        MessageBus.publish(Deposited, Deposited.make({ amount: 1 }), { correlationId: "c" }),
        MessageBus.layerWith({ record: "events" })
      )
      yield* stop
      yield* UnitOfWork.transact(stage("Account-a", deposited(1)))
      assert.deepEqual(heard, ["Account-a Opened 1", "Account-a Deposited 3", "$bus-c Deposited undefined"])
    })
  )

  everywhere("of units of work that change one row at once, none is lost", () =>
    Effect.gen(function* () {
      const Total = Projection.table(`${yield* Prefix}total`, { key: "id", fields: { id: Schema.String, amount: Schema.Int } })
      const projection = Projection.make("Total", {
        version: 1,
        tables: [Total],
        events: [Deposited],
        batch: (events) =>
          Total.fold(events, {
            key: () => "all",
            evolve: (row, { event }) => ({ id: "all", amount: (row?.amount ?? 0) + event.amount })
          })
      })
      yield* start(Projection.inline(projection))
      yield* Effect.forEach(numbers(24), (n) => UnitOfWork.transact(stage(`Account-${n}`, deposited(n))), { concurrency: 6 })
      assert.deepEqual(yield* Total.list(), [{ id: "all", amount: 300 }])
    })
  )

  const Moved = Event.make("Moved", { from: Schema.String, to: Schema.String })

  everywhere("of units of work that change the same rows in other orders none is in another's way, whatever the views", () =>
    Effect.gen(function* () {
      const prefix = yield* Prefix
      const views = ["one", "two"].map((name) => {
        const Total = Projection.table(`${prefix}${name}`, { key: "id", fields: { id: Schema.String, amount: Schema.Int } })
        const add = (id: string, amount: number) =>
          Total.fold([amount], { key: () => id, evolve: (row) => ({ id, amount: (row?.amount ?? 0) + amount }) })
        const projection = Projection.make(name, {
          version: 1,
          tables: [Total],
          events: [Moved],
          handlers: { Moved: ({ from, to }) => Effect.andThen(add(from, -1), add(to, 1)) }
        })
        return { Total, projection }
      })
      for (const { projection } of views) yield* start(Projection.inline(projection))
      const move = (from: string, to: string): EventStore.NewEvent => ({ type: "Moved", payload: { from, to } })
      const units = numbers(12).map((n) => (n % 2 === 0 ? [move("a", "b"), move("b", "c")] : [move("c", "b"), move("b", "a")]))
      const exits = yield* Effect.forEach(
        units.entries(),
        ([n, events]) => Effect.exit(UnitOfWork.transact(stage(`Unit-${n}`, ...events))),
        { concurrency: 4 }
      )
      assert.deepEqual(
        exits.filter(Exit.isFailure).map(({ cause }) => Cause.pretty(cause)),
        []
      )
      for (const { Total } of views) {
        assert.deepEqual(
          yield* Total.list(),
          ["a", "b", "c"].map((id) => ({ id, amount: 0 }))
        )
      }
    })
  )

  everywhere("of twenty thousand rows it takes no lock each", () =>
    Effect.gen(function* () {
      const Row = Projection.table(`${yield* Prefix}row`, { key: "id", fields: { id: Schema.String } })
      const sql = yield* SqlClient.SqlClient
      const locks = sql.onDialectOrElse({
        pg: () =>
          sql<{ count: unknown }>`select count(*) as count from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'`,
        orElse: () => Effect.succeed([{ count: 0 }])
      })
      const counts: Array<number> = []
      const projection = Projection.make("Rows", {
        version: 1,
        tables: [Row],
        events: [Opened],
        handlers: {
          Opened: () =>
            Effect.gen(function* () {
              yield* Row.fold(numbers(20_000), { key: String, evolve: (_, n) => ({ id: String(n) }) })
              counts.push(Number((yield* locks)[0]?.count))
            })
        }
      })
      yield* start(Projection.inline(projection))
      yield* UnitOfWork.transact(stage("Account-a", opened("Ada")))
      assert.equal((yield* Row.list({ limit: 30_000 })).length, 20_000)
      assert.ok((counts[0] as number) <= 2, String(counts))
    })
  )

  servers.it.live("a unit of work may change 150 000 rows of a table at once", () =>
    Effect.gen(function* () {
      const Row = Projection.table("wide", { key: "id", fields: { id: Schema.String, amount: Schema.Int } })
      const projection = Projection.make("Wide", {
        version: 1,
        tables: [Row],
        events: [Deposited],
        batch: (events) =>
          Effect.gen(function* () {
            const ids = numbers(150_000).map(String)
            const amount = events.length
            yield* Row.fold(ids, { key: (id) => id, evolve: (_, id) => ({ id, amount }) })
            yield* Row.fold(ids, { key: (id) => id, evolve: (row, id) => (id === "150000" ? row : undefined) })
          })
      })
      yield* start(Projection.inline(projection))
      yield* UnitOfWork.transact(stage("Account-1", deposited(1)))
      assert.deepEqual(yield* Row.list(), [{ id: "150000", amount: 1 }])
    }).pipe(Effect.scoped, Effect.provide(onSqlite()), Effect.provideService(Subscription.Registry, new Map()))
  )

  everywhere("begins with all history, and a version runs one way alone", () =>
    Effect.gen(function* () {
      const { Balance, projection } = balances(yield* Prefix)
      yield* append("Account-a", opened("Ada"), deposited(1))
      const early = yield* Effect.flip(Effect.scoped(start(Projection.inline(projection))))
      assert.deepEqual(early, new Projection.NotCaughtUpError({ projection: "Balances", version: 1, position: 0, target: 2 }))
      yield* Stream.runDrain(Projection.rebuild(projection))
      const stop = yield* start(Projection.inline(projection))
      yield* UnitOfWork.transact(stage("Account-a", deposited(1)))
      const inline = new Projection.RunsInlineError({ projection: "Balances", version: 1 })
      assert.deepEqual(yield* Effect.flip(Effect.scoped(start(Projection.layer(projection)))), inline)
      assert.deepEqual(yield* Effect.flip(Stream.runDrain(Projection.rebuild(projection))), inline)
      yield* stop
      yield* UnitOfWork.transact(stage("Account-b", opened("not seen")))
      yield* start(Projection.inline(projection))
      yield* UnitOfWork.transact(stage("Account-a", deposited(1)))
      assert.deepEqual(yield* Balance.list(), [{ account: "Account-a", owner: "Ada", amount: 3, deposits: 3 }])
    })
  )

  it.live("is refused where it would have to forget: it never hears of that", () =>
    Effect.gen(function* () {
      const table = (onForget: { readonly owner: null } | "keep") =>
        Projection.table("person", {
          key: "id",
          fields: { id: Schema.String, owner: Schema.NullOr(Schema.String) },
          personal: { subject: "id", onForget }
        })
      const projection = (onForget: Parameters<typeof table>[0]) =>
        Projection.make("Persons", {
          version: 1,
          tables: [table(onForget)],
          events: [Opened],
          handlers: { Opened: () => Effect.void }
        })
      const exit = yield* Effect.exit(start(Projection.inline(projection({ owner: null }))))
      assert.match(
        Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "",
        /Projection\.inline\(Persons\) would never hear of SubjectForgotten, .* Run it by Projection\.layer/
      )
      yield* start(Projection.inline(projection("keep")))
    }).pipe(
      Effect.scoped,
      Effect.provide(
        Layer.mergeAll(UnitOfWork.layerSql, SqliteCheckpoints.layer).pipe(
          Layer.provideMerge(SqliteEventStore.layerFile({ filename: ":memory:" }))
        )
      )
    )
  )

  it.live("dies in a unit of work that is no transaction of the database", () =>
    Effect.gen(function* () {
      const { projection } = balances("")
      // The Layer of some other unit of work has said so.
      yield* Effect.provideService(start(Projection.inline(projection)), UnitOfWork.SqlTransactions, true)
      const exit = yield* Effect.exit(UnitOfWork.transact(stage("Account-a", opened("Ada"))))
      assert.ok(Exit.isFailure(exit) && /UnitOfWork\.layerSql/.test(Cause.pretty(exit.cause)))
      assert.equal(yield* EventStore.head, 0)
    }).pipe(
      Effect.scoped,
      Effect.provide(
        Layer.mergeAll(UnitOfWork.layer, SqliteCheckpoints.layer).pipe(
          Layer.provideMerge(SqliteEventStore.layerFile({ filename: ":memory:" }))
        )
      )
    )
  )
})

describe("a table", () => {
  everywhere("keeps every kind of field, and finds rows by key and by value", () =>
    Effect.gen(function* () {
      const Id = Schema.String.pipe(Schema.brand("Id"))
      const Thing = Projection.table(`${yield* Prefix}thing`, {
        key: "thingId",
        fields: {
          thingId: Id,
          kind: Schema.Literals(["big", "small"]),
          weight: Schema.Number,
          sold: Schema.Boolean,
          since: Schema.DateTimeUtc,
          parts: Schema.Array(Schema.Struct({ name: Schema.String, "odd key $[0]": Schema.NullOr(Schema.Int) })),
          note: Schema.NullOr(Schema.String),
          place: Schema.optionalKey(Schema.String),
          serial: Schema.BigInt
        }
      })
      type Thing = Projection.Row<(typeof Thing)["fields"]>
      const since = DateTime.makeUnsafe("2030-02-03T04:05:06.789Z")
      const rest = { kind: "big", weight: 1.5, sold: true, since, parts: [], note: null, serial: 2n ** 70n } as const
      const id = (text: string) => Id.make(text)
      const rows: ReadonlyArray<Thing> = [
        { ...rest, thingId: id("") },
        { ...rest, thingId: id("A"), sold: false, parts: [{ name: "'\"\\", "odd key $[0]": null }], note: "null", place: "" },
        { ...rest, thingId: id("a"), kind: "small", weight: 2 ** 53, note: "" },
        { ...rest, thingId: id('it\'s "é" 💶'), weight: Number.NaN }
      ]
      const written = new Map<string, Thing | undefined>()
      const projection = Projection.make("Things", {
        version: 3,
        tables: [Thing],
        events: [Opened, Closed],
        handlers: {
          Opened: () => Thing.upsert(...rows.toReversed(), { ...rows[0], weight: 9 } as Thing, rows[0] as Thing),
          Closed: () =>
            Effect.gen(function* () {
              written.set("A", Option.getOrUndefined(yield* Thing.get(id("A"))))
              yield* Thing.delete(id("a"), id("none"))
              written.set("patched", (yield* Thing.patch(id("none"), () => ({ sold: false }))) ? rows[0] : undefined)
              yield* Thing.upsert()
              yield* Thing.delete()
            })
        }
      })
      yield* start(Projection.layer(projection))
      yield* append("Account-a", opened("Ada"))
      yield* Projection.whenCaughtUp(projection, waiting)
      assert.deepEqual(yield* Thing.list(), rows)
      const ids = (options: Parameters<typeof Thing.list>[0]) =>
        Effect.map(Thing.list(options), (rows) => rows.map(({ thingId }) => thingId))
      assert.deepEqual(yield* ids({ limit: 2 }), ["", "A"])
      assert.deepEqual(yield* ids({ after: id("A"), limit: 1 }), ["a"])
      assert.deepEqual(yield* ids({ where: { sold: false } }), ["A"])
      assert.deepEqual(yield* ids({ where: { note: null, weight: 1.5 } }), [""])
      assert.deepEqual(yield* ids({ where: { kind: "small" }, after: id("A") }), ["a"])
      assert.deepEqual(yield* ids({ where: { since, serial: 2n ** 70n, parts: rows[1]?.parts ?? [] } }), ["A"])
      assert.deepEqual(yield* ids({ where: { weight: Number.NaN } }), [rows[3]?.thingId])
      yield* append("Account-a", closed)
      yield* Projection.whenCaughtUp(projection, waiting)
      assert.deepEqual([written.get("A"), written.get("patched")], [rows[1], undefined])
      assert.deepEqual(yield* ids({}), ["", "A", rows[3]?.thingId])
    })
  )

  class Kept extends Schema.Class<Kept>("test/Kept")({ a: Schema.optional(Schema.String) }) {}
  class Mixed extends Schema.Class<Mixed>("test/Mixed")({ a: Schema.NullishOr(Schema.String) }) {}
  const kinds = {
    String: Schema.String,
    Finite: Schema.Finite,
    Number: Schema.Number,
    Boolean: Schema.Boolean,
    Literals: Schema.Literals(["x", "null"]),
    Json: Schema.Json,
    Null: Schema.Null,
    Undefined: Schema.Undefined,
    Struct: Schema.Struct({ a: Schema.optional(Schema.String), b: Schema.optionalKey(Schema.NullOr(Schema.Int)) }),
    Array: Schema.Array(Schema.NullOr(Schema.Int)),
    Class: Kept,
    MixedClass: Mixed,
    Option: Schema.OptionFromNullishOr(Schema.Int),
    Mixed: Schema.Struct({ a: Schema.Array(Schema.NullishOr(Schema.Int)) })
  }
  const wraps = {
    "": (field: Schema.Top) => field,
    NullOr: Schema.NullOr,
    UndefinedOr: Schema.UndefinedOr,
    NullishOr: Schema.NullishOr,
    optionalKey: Schema.optionalKey,
    optional: Schema.optional,
    "optionalKey NullOr": (field: Schema.Top) => Schema.optionalKey(Schema.NullOr(field)),
    "optional NullOr": (field: Schema.Top) => Schema.optional(Schema.NullOr(field))
  }
  const scalars = ["String", "Finite", "Boolean", "Literals"]

  everywhere(
    "gives back absent, undefined and null as what they were, whatever the kind of field, or refuses it when defined",
    () =>
      Effect.gen(function* () {
        const prefix = yield* Prefix
        const inner: ReadonlyArray<unknown> = [undefined, null, "x", "", "null", 0, 1.5, true, false, {}, { a: "x", b: 1 }]
        const objects = [{ a: undefined }, { b: null }, { a: undefined, b: null }, [], [null, 1], [[null]]]
        const decoded: ReadonlyArray<unknown> = [Option.none(), Option.some(1), new Kept({}), new Kept({ a: undefined })]
        const refused: Array<string> = []
        const define = (field: Schema.Codec<unknown>, nth: number) =>
          Projection.table(`${prefix}t${nth}`, { key: "id", fields: { id: Schema.String, field } })
        const kept: Array<{
          name: string
          table: ReturnType<typeof define>
          rows: ReadonlyArray<{ id: string; field?: unknown }>
        }> = []
        for (const [kind, base] of Object.entries(kinds)) {
          for (const [wrap, make] of Object.entries(wraps)) {
            const field = make(base) as Schema.Codec<unknown>
            const name = `${kind} ${wrap}`.trim()
            try {
              const fits = Schema.is(Schema.Struct({ field }))
              const values = [...inner, ...objects, ...(["Class", "Option"].includes(kind) ? decoded : [])]
              const candidates = [{}, ...values.map((field) => ({ field }))]
              const rows = candidates.filter(fits).map((row, n) => ({ id: String(n).padStart(3, "0"), ...row }))
              kept.push({ name, table: define(field, kept.length), rows })
            } catch (error) {
              assert.ok(error instanceof RangeError && error.message.includes("the field field of the table"))
              refused.push(name)
            }
          }
        }
        const projection = Projection.make("Kinds", {
          version: 1,
          tables: kept.map(({ table }) => table),
          events: [Opened],
          handlers: { Opened: () => Effect.forEach(kept, ({ rows, table }) => table.upsert(...(rows as ReadonlyArray<never>))) }
        })
        yield* append("Account-a", opened("Ada"))
        yield* Stream.runDrain(Projection.rebuild(projection))
        for (const { name, rows, table } of kept) {
          assert.ok(rows.length > 0, name)
          assert.deepEqual(yield* table.list(), rows, name)
          for (const row of rows.filter((row) => "field" in row)) {
            const found = yield* table.list({ where: { field: row.field } as never })
            assert.ok(
              found.some(({ id }) => id === row.id),
              `${name} ${JSON.stringify(row)}`
            )
            const others = found.filter((other) => !("field" in other) || (other.field === null) !== (row.field === null))
            assert.deepEqual(others, [], `${name} ${JSON.stringify(row)}`)
          }
        }
        const isRefused = (kind: string, wrap: string) =>
          ["Mixed", "MixedClass"].includes(kind) ||
          /^(NullishOr|optional NullOr)$/.test(wrap) ||
          (["Null", "Json"].includes(kind) && /^(UndefinedOr|optional)$/.test(wrap)) ||
          (kind === "Undefined" && /NullOr/.test(wrap)) ||
          (kind === "Option" && wrap !== "") ||
          (scalars.includes(kind) && /^optional($|Key N)/.test(wrap))
        assert.deepEqual(
          refused,
          Object.keys(kinds).flatMap((kind) =>
            Object.keys(wraps).flatMap((wrap) => (isRefused(kind, wrap) ? [`${kind} ${wrap}`.trim()] : []))
          )
        )
      })
  )
})

describe("the names of tables", () => {
  const fields = { id: Schema.String, select: Schema.Int, Group: Schema.NullOr(Schema.String) }

  everywhere("may be any words, and are those of the views that readers see", () =>
    Effect.gen(function* () {
      const prefix = yield* Prefix
      const words = ["order", "Select", "user", "table", "1st", "Weird_Case"]
      const tables = words.map((word) => Projection.table(`${prefix}${word}`, { key: "id", fields }))
      const row = { id: "a", select: 1, Group: null }
      const define = (version: number) =>
        Projection.make("Words", {
          version,
          tables,
          events: [Opened, Closed],
          handlers: {
            Opened: () => Effect.forEach(tables, ({ upsert }) => upsert(row, { ...row, id: "b" })),
            Closed: () =>
              Effect.forEach(tables, (table) =>
                Effect.andThen(
                  table.patch("a", () => ({ Group: "g" })),
                  table.delete("b")
                )
              )
          }
        })
      const [one, two] = [define(1), define(2)]
      yield* append("Account-a", opened("Ada"))
      const stop = yield* start(Projection.layer(one))
      yield* append("Account-a", closed)
      yield* Projection.whenCaughtUp(one, waiting)
      yield* start(Projection.layer(two))
      yield* Projection.whenCaughtUp(two, waiting)
      yield* Projection.switchTo(two)
      yield* stop
      yield* Projection.drop(one)
      yield* Stream.runDrain(Projection.rebuild(two))
      const sql = yield* SqlClient.SqlClient
      for (const { list, name } of tables) {
        assert.deepEqual(yield* list({ where: { select: 1 } }), [{ ...row, Group: "g" }])
        // Whoever writes SQL need not know how it is spelled.
        const [schema, word] = prefix === "" ? ["", name] : [prefix, name.slice(prefix.length)]
        const spelled = word === "Weird_Case" ? `${schema}weird_CASE` : undefined
        if (spelled !== undefined) assert.equal((yield* sql.unsafe(`select * from ${spelled}`)).length, 1)
      }
    })
  )

  everywhere("name what 0.1.0 stored under them, which did not quote them", () =>
    Effect.gen(function* () {
      const prefix = yield* Prefix
      const Total = Projection.table(`${prefix}Total`, { key: "id", fields: { id: Schema.String, amount: Schema.Int } })
      const projection = Projection.make("Total", {
        version: 1,
        tables: [Total],
        events: [Deposited],
        handlers: {
          Deposited: ({ amount }) =>
            Total.fold([amount], { key: () => "all", evolve: (row) => ({ id: "all", amount: (row?.amount ?? 0) + amount }) })
        }
      })
      const sql = yield* SqlClient.SqlClient
      const number = sql.onDialectOrElse({ pg: () => "double precision", orElse: () => "real" })
      yield* sql.unsafe(`create table ${prefix}Total_v1 ("id" text primary key, "amount" ${number})`)
      yield* sql.unsafe(`create view ${prefix}Total as select * from ${prefix}Total_v1`)
      yield* sql.unsafe(`insert into ${prefix}Total_v1 values ('all', 5)`)
      const { reset, versions } = yield* Checkpoints.Checkpoints
      const { position } = yield* append("Account-a", deposited(5))
      yield* reset("subscription:projection:Total@1", position)
      yield* versions.activate("Total", 1, Option.none())
      assert.deepEqual(yield* Total.list(), [{ id: "all", amount: 5 }])
      yield* append("Account-a", deposited(2))
      yield* start(Projection.layer(projection))
      yield* Projection.whenCaughtUp(projection, waiting)
      assert.deepEqual(yield* Total.list(), [{ id: "all", amount: 7 }])
    })
  )

  it("are refused where a database could not tell them apart, whichever it is", () => {
    const table = (name: string, columns: ReadonlyArray<string> = []) =>
      Projection.table(name, {
        key: "id",
        fields: { id: Schema.String, ...Object.fromEntries(columns.map((name) => [name, Schema.Int])) }
      })
    const define = (version: number, ...names: ReadonlyArray<string>) =>
      Projection.make("Names", {
        version,
        tables: names.map((name) => table(name)),
        events: [Opened],
        handlers: { Opened: () => Effect.void }
      })
    const long = "x".repeat(50)
    for (const [name, refused] of [
      ["a column but for case", () => table("t", ["amount", "Amount"])],
      ["a column as the key but for case", () => table("t", ["ID"])],
      ["a column of 64 bytes", () => table("t", ["c".repeat(64)])],
      ["a column of the system", () => table("t", ["xmin"])],
      ["a schema of 64 bytes", () => table(`${"s".repeat(64)}.t`)],
      ["a table of SQLite", () => table("sqlite_t")],
      ["a table but for case", () => define(1, "total", "Total")],
      ["a table but for case in a schema", () => define(1, "s.total", "S.Total")],
      ["the table of a version", () => define(2, "total", "Total_V2")],
      ["a table that is cut with its version", () => define(10 ** 12, long)]
    ] as const) {
      assert.throws(refused, RangeError, name)
    }
    table("t", ["amount", "amount2", "c".repeat(63)])
    define(1, "total", "total_v2", "s.total")
    define(10 ** 9, long)
  })
})

describe("a view and a checkpoint that contradict each other", () => {
  const summed = (prefix: string, version = 1) => {
    const Total = Projection.table(`${prefix}sum`, { key: "id", fields: { id: Schema.String, amount: Schema.Int } })
    const sent: Array<number> = []
    const projection = Projection.make("Sums", {
      version,
      tables: [Total],
      events: [Deposited],
      handlers: {
        Deposited: ({ amount }, envelope) =>
          Effect.andThen(
            Total.fold([amount], { key: () => "all", evolve: (row) => ({ id: "all", amount: (row?.amount ?? 0) + amount }) }),
            Projection.sideEffect(
              envelope,
              Effect.sync(() => void sent.push(envelope.position ?? 0))
            )
          )
      }
    })
    const total = Effect.map(Total.get("all"), Option.getOrUndefined)
    return { Total, projection, sent, total }
  }
  const checkpoint = "subscription:projection:Sums@1"
  const unmake = (table: string) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) =>
      sql.onDialectOrElse({
        pg: () => Effect.asVoid(sql.unsafe(`drop table ${table}_v1 cascade`)),
        orElse: () => Effect.andThen(sql.unsafe(`drop view ${table}`), Effect.asVoid(sql.unsafe(`drop table ${table}_v1`)))
      })
    )
  const lost = {
    "its table was dropped": ({ name }: { readonly name: string }) => unmake(name),
    "its checkpoint is gone": () => Checkpoints.Checkpoints.use(({ remove }) => remove(checkpoint)),
    "its checkpoint was set back to the beginning": () => Checkpoints.Checkpoints.use(({ reset }) => reset(checkpoint, 0))
  }
  type Summed = ReturnType<typeof summed>["projection"]
  const ways = {
    layer: (projection: Summed) =>
      Effect.scoped(Effect.andThen(start(Projection.layer(projection)), Projection.whenCaughtUp(projection, waiting))),
    rebuild: (projection: Summed) => Stream.runDrain(Projection.rebuild(projection))
  }
  for (const [what, lose] of Object.entries(lost)) {
    for (const [way, run] of Object.entries(ways)) {
      everywhere(`are never taken for a good view: ${what} while it was stopped, and it goes on by ${way}`, () =>
        Effect.gen(function* () {
          logs(/begins anew/)
          const { Total, projection, sent, total } = summed(yield* Prefix)
          yield* append("Account-a", deposited(1), deposited(1), deposited(1))
          const stop = yield* start(Projection.layer(projection))
          yield* Projection.whenCaughtUp(projection, waiting)
          yield* stop
          yield* lose(Total)
          yield* run(projection)
          yield* Projection.whenCaughtUp(projection, waiting)
          assert.deepEqual(yield* total, { id: "all", amount: 3 })
          const { position } = yield* append("Account-a", deposited(1))
          yield* start(Projection.layer(projection))
          yield* Projection.awaitPosition(projection, position, waiting)
          assert.deepEqual(yield* total, { id: "all", amount: 4 })
          assert.deepEqual(sent, numbers(4))
        })
      )
    }
  }

  everywhere("are not switched to", () =>
    Effect.gen(function* () {
      logs(/begins anew/)
      const { Total, projection } = summed(yield* Prefix)
      const two = summed(yield* Prefix, 2)
      yield* append("Account-a", deposited(1))
      for (const version of [two.projection, projection]) yield* Stream.runDrain(Projection.rebuild(version))
      yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(`drop table ${Total.name}_v1`))
      const error = yield* Effect.flip(Projection.switchTo(projection))
      assert.deepEqual(error, new Projection.NotCaughtUpError({ projection: "Sums", version: 1, position: 0, target: 1 }))
      yield* Stream.runDrain(Projection.rebuild(projection))
      yield* Projection.switchTo(projection)
      assert.deepEqual(yield* two.total, { id: "all", amount: 1 })
    })
  )

  everywhere("of a projection that runs inline are refused until it is rebuilt", () =>
    Effect.gen(function* () {
      const { Total, projection, total } = summed(yield* Prefix)
      const stage = (amount: number) => UnitOfWork.transact(UnitOfWork.stage("Account-a", [deposited(amount)]))
      const stop = yield* start(Projection.inline(projection))
      yield* stage(1)
      yield* stop
      yield* unmake(Total.name)
      const error = yield* Effect.flip(Effect.scoped(start(Projection.inline(projection))))
      assert.deepEqual(error, new Projection.NotCaughtUpError({ projection: "Sums", version: 1, position: 0, target: 1 }))
      yield* Stream.runDrain(Projection.rebuild(projection))
      yield* start(Projection.inline(projection))
      yield* stage(2)
      assert.deepEqual(yield* total, { id: "all", amount: 3 })
    })
  )
})

describe("a table that two projections list", () => {
  everywhere("is refused by name when the second one is built, until the first has given it back", () =>
    Effect.gen(function* () {
      const prefix = yield* Prefix
      const table = (name: string) => Projection.table(`${prefix}${name}`, { key: "id", fields: { id: Schema.String } })
      const [shared, spelled, own] = [table("shared"), table("Shared"), table("own")]
      const define = (name: string, version: number, ...tables: ReadonlyArray<typeof shared>) =>
        Projection.make(name, {
          version,
          tables,
          events: [Opened],
          handlers: { Opened: (_, { stream }) => Effect.forEach(tables, ({ upsert }) => upsert({ id: `${name} ${stream}` })) }
        })
      yield* append("Account-a", opened("Ada"))
      const first = define("First", 1, shared)
      const stop = yield* start(Projection.layer(first))
      yield* Projection.whenCaughtUp(first, waiting)
      const refused = <A, E, R>(effect: Effect.Effect<A, E, R>, name: string) =>
        Effect.map(Effect.exit(effect), (exit) => {
          const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
          assert.ok(error instanceof Projection.TableTakenError, String(error))
          assert.deepEqual([error.table, error.projection, error.owner], [`${prefix}${name}`, "Second", "First"])
        })
      for (const second of [define("Second", 1, own, shared), define("Second", 2, shared)]) {
        yield* refused(Effect.scoped(start(Projection.layer(second))), "shared")
        yield* refused(Stream.runDrain(Projection.rebuild(second)), "shared")
      }
      yield* refused(Stream.runDrain(Projection.rebuild(define("Second", 3, spelled))), "Shared")
      const unheard = Projection.make("Second", {
        version: 4,
        tables: [shared],
        events: [Closed],
        handlers: { Closed: () => Effect.void }
      })
      yield* refused(Effect.scoped(start(Projection.inline(unheard))), "shared")
      yield* refused(Projection.switchTo(unheard), "shared")
      assert.deepEqual(yield* shared.list(), [{ id: "First Account-a" }])
      yield* stop
      yield* Stream.runDrain(Projection.rebuild(define("First", 2, table("other"))))
      yield* Projection.switchTo(define("First", 2, table("other")))
      yield* Projection.drop(first)
      const second = define("Second", 1, own, shared)
      yield* Stream.runDrain(Projection.rebuild(second))
      assert.deepEqual(yield* shared.list(), [{ id: "Second Account-a" }])
    })
  )
})

describe("text that no database stores as it is", () => {
  const bad = { "half an emoji": "ab\ud83d", "the other half": "\ude00", "U+0000": "a\u0000b" }
  const fields = {
    id: Schema.String,
    text: Schema.String,
    json: Schema.optionalKey(Schema.Json)
  }
  const good = { id: "1", text: "ok 😀" }

  everywhere("is refused by name, wherever it stands in a row, and nothing is written", () =>
    Effect.gen(function* () {
      const name = `${yield* Prefix}text`
      const Text = Projection.table(name, { key: "id", fields })
      type Text = Projection.Row<typeof fields>
      const tried: Array<string> = []
      const refused = <R>(
        at: string,
        column: string,
        key: string | undefined,
        effect: Effect.Effect<unknown, Projection.TableError, R>
      ) =>
        Effect.map(Effect.flip(effect), (error) => {
          assert.ok(error._tag === "RowRefusedError", `${at}: ${error._tag}`)
          assert.deepEqual([error.table, error.key, error.column], [name, key, column], at)
          assert.match(error.problem, /U\+0000|lone surrogate/)
          assert.ok(error.message.isWellFormed() && error.message.includes(name) && error.message.includes(`"${column}"`))
          tried.push(at)
        })
      const projection = Projection.make("Text", {
        version: 1,
        tables: [Text],
        events: [Opened],
        handlers: {
          Opened: () =>
            Effect.gen(function* () {
              yield* Text.upsert(good)
              for (const [what, text] of Object.entries(bad)) {
                const rows: ReadonlyArray<readonly [column: string, row: Text]> = [
                  ["id", { id: text, text: "" }],
                  ["text", { id: "2", text }],
                  ["json", { id: "2", text: "", json: text }],
                  ["json", { id: "2", text: "", json: [{ deep: { deeper: text } }] }],
                  ["json", { id: "2", text: "", json: { [text]: 1 } }]
                ]
                for (const [column, row] of rows)
                  yield* refused(`${what} ${JSON.stringify(row)}`, column, row.id, Text.upsert(good, row))
                yield* refused(
                  `${what} patch`,
                  "text",
                  "1",
                  Text.patch("1", () => ({ text }))
                )
                yield* refused(`${what} delete`, "id", text, Text.delete(text))
                yield* refused(`${what} fold`, "id", text, Text.fold([1], { key: () => text, evolve: () => undefined }))
              }
            })
        }
      })
      yield* append("Account-a", opened("Ada"))
      yield* Stream.runDrain(Projection.rebuild(projection))
      for (const [what, text] of Object.entries(bad)) {
        yield* refused(`${what} get`, "id", text, Text.get(text))
        yield* refused(`${what} after`, "id", text, Text.list({ after: text }))
        yield* refused(`${what} where`, "text", undefined, Text.list({ where: { text } }))
      }
      assert.equal(tried.length, 3 * 11)
      assert.deepEqual(yield* Text.list(), [good])
    })
  )
})

describe("numbers that no double holds", () => {
  everywhere("are kept in JSON with all their digits, and are taken for a bigint; -0 is 0", () =>
    Effect.gen(function* () {
      const Numbers = Projection.table(`${yield* Prefix}numbers`, {
        key: "id",
        fields: {
          id: Schema.String,
          json: Schema.Json,
          number: Schema.Number,
          big: Schema.BigInt,
          inner: Schema.Struct({ big: Schema.BigInt, decimal: Schema.BigDecimal })
        }
      })
      const Measured = Event.make("Measured", { json: Schema.Json, big: Schema.BigInt, number: Schema.Number })
      const decimal = BigDecimal.fromStringUnsafe("0.12345678901234567891")
      const projection = Projection.make("Numbers", {
        version: 1,
        tables: [Numbers],
        events: [Measured],
        handlers: { Measured: (row, { stream }) => Numbers.upsert({ ...row, id: stream, inner: { big: row.big, decimal } }) }
      })
      const text = `{"json":[9007199254740993,0.12345678901234567891,-0],"big":-9007199254740993,"number":-0}`
      yield* append("Measure-1", { type: "Measured", payload: Kit.parsePayload(text) })
      yield* append("Measure-2", { type: "Measured", payload: Kit.parsePayload(text.replaceAll("-0", "0")) })
      yield* Stream.runDrain(Projection.rebuild(projection))
      const rows = yield* Numbers.list()
      assert.equal(rows.length, 2)
      for (const { big, inner, json, number } of rows) {
        assert.deepEqual(
          [big, inner.big, BigDecimal.format(inner.decimal)],
          [-9007199254740993n, -9007199254740993n, BigDecimal.format(decimal)]
        )
        assert.equal(JSON.stringify(json), JSON.stringify(Kit.parsePayload("[9007199254740993,0.12345678901234567891,0]")))
        assert.ok(Object.is(number, 0))
      }
      // Of what others have written: numbers where the definition has text of digits.
      const sql = yield* SqlClient.SqlClient
      const table = Numbers.name.replace(/([^.]+)$/, '"$1_v1"')
      yield* sql.unsafe(
        `update ${table} set inner = '{"big":9007199254740993,"decimal":0.12345678901234567891}'`.replace(" inner", ` "inner"`)
      )
      assert.deepEqual(
        (yield* Numbers.list()).map(({ inner }) => [inner.big, BigDecimal.format(inner.decimal)]),
        [
          [9007199254740993n, BigDecimal.format(decimal)],
          [9007199254740993n, BigDecimal.format(decimal)]
        ]
      )
    })
  )
})

core.describe("in memory, without a database", () => {
  const world = <E>(test: Effect.Effect<void, E, EventStore.EventStore | Checkpoints.Checkpoints | Scope.Scope>) =>
    test.pipe(
      Effect.provide(Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory)),
      Effect.provideService(Subscription.Registry, new Map())
    )

  const define = (version: number) => {
    const view = new Map<string, BalanceRow>()
    const projection = Projection.make("Balances", {
      version,
      events: [Opened, Deposited, Closed],
      reset: Effect.sync(() => view.clear()),
      batch: (events) =>
        Effect.sync(() => {
          for (const envelope of events) {
            const row = evolve(view.get(envelope.stream), envelope)
            if (row === undefined) view.delete(envelope.stream)
            else view.set(envelope.stream, row)
          }
        })
    })
    const rows = () => Array.from(view.values()).sort((a, b) => (a.account < b.account ? -1 : 1))
    return { projection, rows }
  }

  it.effect("runs, is rebuilt, and is switched to another version; no time passes", () =>
    world(
      Effect.gen(function* () {
        const one = define(1)
        const two = define(2)
        yield* EventStore.appendAll(history(20, 100))
        const stop = yield* start(Projection.layer(one.projection, { transactional: false }))
        const { position } = yield* append("Account-0", opened("Ada"))
        yield* Projection.awaitPosition(one.projection, position)
        assert.deepEqual(one.rows(), yield* fromScratch)
        yield* stop
        const progress = Array.from(yield* Stream.runCollect(Projection.rebuild(one.projection, { transactional: false })))
        assert.deepEqual(progress.at(-1), { position: 101, head: 101, handled: 101 })
        assert.deepEqual(one.rows(), yield* fromScratch)
        assert.equal((yield* Effect.flip(Projection.switchTo(two.projection)))._tag, "NotCaughtUpError")
        yield* start(Projection.layer(two.projection, { transactional: false }))
        yield* Projection.whenCaughtUp(two.projection)
        yield* Projection.switchTo(two.projection)
        assert.deepEqual([yield* Projection.active("Balances"), two.rows()], [Option.some(2), yield* fromScratch])
        assert.deepEqual(
          (yield* Subscription.lag).map(({ checkpoint }) => checkpoint),
          ["subscription:projection:Balances@1", "subscription:projection:Balances@2"]
        )
      })
    )
  )

  it.effect("is rebuilt, and begun again after a drop, where the log was restored and is shorter than it was", () =>
    world(
      Effect.gen(function* () {
        const one = define(1)
        const two = define(2)
        yield* EventStore.appendAll(history(30, 60))
        for (const { projection } of [one, two]) yield* Stream.runDrain(Projection.rebuild(projection, { transactional: false }))
        yield* Projection.drop(two.projection)
        yield* Effect.gen(function* () {
          yield* EventStore.appendAll(history(31, 20))
          for (const { projection, rows } of [one, two]) {
            yield* Stream.runDrain(Projection.rebuild(projection, { transactional: false }))
            assert.deepEqual(rows(), yield* fromScratch)
          }
          // An earlier rebuild that was to go further than the log is now.
          yield* TestClock.adjust("1 second")
          const { reset, versions } = yield* Checkpoints.Checkpoints
          const version = Option.getOrThrow(yield* versions.get("Balances", 1))
          yield* versions.put({ ...version, heard: 60, target: Option.some(60) })
          yield* reset("subscription:projection:Balances@1", 30)
          yield* Stream.runDrain(Projection.rebuild(one.projection, { transactional: false }))
          assert.deepEqual(one.rows(), yield* fromScratch)
        }).pipe(Effect.provide(Layer.fresh(EventStore.layerMemory)))
      })
    )
  )

  it.effect("who waits is told in time how far it is, and looks for what another process does", () =>
    world(
      Effect.gen(function* () {
        const { projection } = define(1)
        yield* append("Account-a", opened("Ada"), deposited(1))
        const stop = yield* start(Projection.layer(projection, { transactional: false }))
        yield* Projection.whenCaughtUp(projection)
        yield* stop
        yield* append("Account-a", deposited(1))
        const late = yield* Effect.forkChild(Effect.flip(Projection.whenCaughtUp(projection, { timeout: "3 seconds" })))
        yield* TestClock.adjust("3 seconds")
        assert.deepEqual(
          yield* Fiber.join(late),
          new Projection.NotCaughtUpError({ projection: "Balances", version: 1, position: 2, target: 3 })
        )
        const waiting = yield* Effect.forkChild(elsewhere(Projection.whenCaughtUp(projection)))
        yield* TestClock.adjust("2 seconds")
        assert.equal(waiting.pollUnsafe(), undefined)
        yield* start(Projection.layer(projection, { transactional: false }))
        yield* Projection.whenCaughtUp(projection)
        yield* TestClock.adjust("250 millis")
        yield* Fiber.join(waiting)
      })
    )
  )

  it.effect("two switches at once leave one version active", () =>
    world(
      Effect.gen(function* () {
        const versions = [1, 2, 3].map(define)
        yield* Effect.forEach(versions, ({ projection }) => Projection.switchTo(projection), { concurrency: "unbounded" })
        const active = Option.getOrThrow(yield* Projection.active("Balances"))
        assert.ok([1, 2, 3].includes(active))
      })
    )
  )
})
