/** What is removed behind snapshots over releases that change a fold: each saves snapshots of its own. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { type Duration, Effect, Layer, Option, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Aggregate, Checkpoints, Event, EventStore, Repository, Retention, Snapshots, UnitOfWork } from "eventfold"
import { logs } from "../support/logs.ts"

const Deposited = Event.make("Deposited", { amount: Schema.Int })
const release = (version: number) =>
  Aggregate.make("Account", {
    events: [Deposited],
    state: Schema.Int,
    initial: 0,
    evolve: { Deposited: (balance, { amount }) => balance + amount },
    snapshot: { every: 10, version }
  })
const [First, Second] = [release(1), release(2)]
/** A release whose state has another shape. */
const Named = Aggregate.make("Account", {
  events: [Deposited],
  state: Schema.Struct({ balance: Schema.Int }),
  initial: { balance: 0 },
  evolve: { Deposited: ({ balance }, { amount }) => ({ balance: balance + amount }) },
  snapshot: { every: 10 }
})

const one = Deposited.make({ amount: 1 })
const deposit = (account: typeof First, id: string, count: number) =>
  Effect.repeat(UnitOfWork.transact(Repository.execute(account, id, () => one)), { times: count - 1 })
const depositNamed = (id: string, count: number) =>
  Effect.repeat(UnitOfWork.transact(Repository.execute(Named, id, () => one)), { times: count - 1 })
const reasonOf = (error: unknown) => (error as EventStore.EventStoreError).reason._tag

const retention = Retention.make({ policies: { Account: { keep: Retention.behindSnapshot(2) } }, every: "never", pace: 1e9 })
const counted = (planned: ReadonlyArray<Retention.Planned>) => planned.reduce((sum, { events }) => sum + events, 0)
/** How many events a run has removed, just as many as were planned. */
const removed = Effect.scoped(
  Effect.gen(function* () {
    const { plan, run } = yield* retention
    const planned = counted(yield* plan)
    const done = counted(yield* run)
    assert.equal(done, planned)
    return done
  })
)
const kept = Effect.map(
  Snapshots.Snapshots.use(({ list }) => list()),
  (all) => all.map(({ stream, version }) => `${stream} ${version}`).sort()
)
const pass = (time: Duration.Input) => TestClock.adjust(time)

const live = UnitOfWork.layer.pipe(
  Layer.provideMerge(Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory, Snapshots.layerMemory))
)

describe("behind snapshots of several releases", () => {
  it.effect("what a release holds up that runs no more goes once a roll-out is over, and its snapshots go as well", () =>
    Effect.gen(function* () {
      yield* deposit(First, "1", 20)
      assert.equal(yield* removed, 18)
      logs(/the history of "Account-1" has been removed, and aggregate "Account" has been changed .* at version 20/)
      yield* deposit(Second, "1", 20)
      assert.deepEqual(yield* kept, ["Account-1 20", "Account-1 40"])
      assert.equal(yield* removed, 0, "the release before may still run")
      yield* pass("20 days")
      yield* deposit(Second, "1", 20)
      assert.equal(yield* removed, 0)
      yield* pass("39 days")
      assert.equal(yield* removed, 0)
      yield* pass("2 days")
      assert.equal(yield* removed, 40)
      assert.deepEqual(yield* kept, ["Account-1 60"])
      assert.equal((yield* Repository.read(Second, "1")).state, 60)
    }).pipe(Effect.provide(live))
  )

  it.effect("a release that comes back goes on from its own, however long nothing had been saved before the next one", () =>
    Effect.gen(function* () {
      yield* deposit(First, "1", 12)
      yield* pass("100 days")
      yield* depositNamed("1", 20)
      assert.deepEqual(yield* kept, ["Account-1 10", "Account-1 30"])
      assert.equal(yield* removed, 8)
      yield* pass("29 days")
      assert.equal(yield* removed, 0)
      assert.deepEqual(yield* Repository.read(First, "1"), { state: 32, version: 32 })
      yield* deposit(First, "1", 10)
      assert.deepEqual(yield* kept, ["Account-1 30", "Account-1 40"])
      assert.equal(yield* removed, 20)
      assert.deepEqual((yield* Repository.read(Named, "1")).state, { balance: 42 })
    }).pipe(Effect.provide(live))
  )

  it.effect("one that has come back for good keeps what it has, as long as it saves any", () =>
    Effect.gen(function* () {
      yield* deposit(First, "1", 12)
      yield* depositNamed("1", 20)
      yield* pass("40 days")
      yield* deposit(First, "2", 10)
      assert.equal(yield* removed, 8 + 8)
      assert.deepEqual(yield* Repository.read(First, "1"), { state: 32, version: 32 })
    }).pipe(Effect.provide(live))
  )

  it.effect("one that runs beside another keeps what it has, though the other is always the last to save", () =>
    Effect.gen(function* () {
      yield* deposit(First, "1", 12)
      yield* depositNamed("1", 20)
      for (let week = 0; week < 12; week++) {
        yield* pass("7 days")
        yield* deposit(First, `n${week}`, 10)
        yield* depositNamed(`n${week}`, 10)
      }
      yield* removed
      assert.deepEqual(yield* Repository.read(First, "1"), { state: 32, version: 32 })
    }).pipe(Effect.provide(live))
  )

  it.effect("one that comes back later goes on from what there is, and says so, or that there is nothing for it", () =>
    Effect.gen(function* () {
      logs(/the history of "Account-1" has been removed, and aggregate "Account" has been changed .* at version 30/)
      yield* deposit(First, "1", 12)
      yield* deposit(Second, "1", 20)
      yield* depositNamed("2", 10)
      yield* deposit(Second, "2", 20)
      yield* pass("61 days")
      assert.equal(yield* removed, 28 + 28)
      assert.deepEqual(yield* kept, ["Account-1 30", "Account-2 30"])
      assert.deepEqual(yield* Repository.read(First, "1"), { state: 32, version: 32 })
      assert.equal(reasonOf(yield* Effect.flip(Repository.read(Named, "2"))), "EventsRemoved")
    }).pipe(Effect.provide(live))
  )

  it.effect("a snapshot that more has been removed behind than it holds gives way to the newest", () =>
    Effect.gen(function* () {
      logs(/the history of "Account-1" has been removed, and aggregate "Account" has been changed .* at version 30/)
      yield* deposit(First, "1", 12)
      const { list, load, save } = yield* Snapshots.Snapshots
      const [{ fingerprint = "" } = {}] = yield* list()
      const early = Option.getOrThrow(yield* load("Account-1", fingerprint))
      yield* deposit(Second, "1", 20)
      yield* pass("61 days")
      assert.equal(yield* removed, 28)
      // As a table of snapshots has it that comes from a backup.
      yield* save(early)
      assert.deepEqual(yield* Repository.read(First, "1"), { state: 32, version: 32 })
    }).pipe(Effect.provide(live))
  )

  it.effect("a run drops what others have taken the place of, whatever the policies are", () =>
    Effect.gen(function* () {
      for (let version = 1; version <= 5; version++) {
        for (const id of ["1", "2"]) yield* deposit(release(version), id, 10)
        yield* pass("61 days")
      }
      assert.equal((yield* kept).length, 10)
      yield* Effect.scoped(Effect.flatMap(Retention.make({ policies: {}, every: "never" }), ({ run }) => run))
      assert.deepEqual(yield* kept, ["Account-1 50", "Account-2 50"])
    }).pipe(Effect.provide(live))
  )
})
