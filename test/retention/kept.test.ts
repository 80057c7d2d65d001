/** What is kept in memory of events that are removed meanwhile, in this process or in another. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Layer, Schema, Stream } from "effect"
import {
  Aggregate,
  Archive,
  Checkpoints,
  Decision,
  Event,
  EventStore,
  Repository,
  Retention,
  Snapshots,
  Tag,
  UnitOfWork
} from "eventfold"
import { logs } from "../support/logs.ts"

const user = Tag.make("user")
const options = { tags: ({ name }: { readonly name: string }) => [user(name)] }
const Registered = Event.make("Registered", { name: Schema.String }, options)
const Seen = Event.make("Seen", { name: Schema.String }, options)
const Account = Aggregate.make("Account", {
  events: [Registered, Seen],
  state: Schema.Int,
  initial: 0,
  evolve: { Registered: (events) => events + 1, Seen: (events) => events + 1 },
  snapshot: { every: 5 }
})
const Claimed = Decision.make("Claimed", {
  tags: { user },
  events: [Registered, Seen],
  initial: false,
  evolve: { Registered: () => true, Seen: (claimed: boolean) => claimed }
})

const ada = { name: "ada" }
const base = UnitOfWork.layer.pipe(
  Layer.provideMerge(Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory, Snapshots.layerMemory))
)

const cold = Layer.unwrap(Effect.map(EventStore.makeMemory, (store) => Archive.layerStore("cold", store)))

/** A cache that nothing of this process empties: as it is where another one removes. */
const elsewhere = Layer.sync(Repository.StateCache, () => {
  const kept = new Map<string, Repository.Folded<Aggregate.Any>>()
  return Repository.StateCache.of({
    get: (_store, _aggregate, stream) => kept.get(stream) as never,
    set: (_store, _aggregate, stream, folded) => void kept.set(stream, folded),
    clear: () => kept.clear()
  })
})

describe("a state that is kept in memory", () => {
  it.effect("is not decided on where an event that it was made of has been removed", () =>
    Effect.gen(function* () {
      yield* Repository.append(Account, "1", [Registered.make(ada)])
      const look = UnitOfWork.transact(Decision.execute(Claimed({ user: "ada" }), "Log-1", () => Seen.make(ada)))
      assert.equal((yield* look).state, true)
      assert.equal((yield* Decision.read(Claimed({ user: "ada" }))).state, true)
      assert.equal((yield* Repository.read(Account, "1")).state, 1)
      yield* Retention.tombstone("Account-1", { reason: "closed" })
      assert.equal((yield* Decision.read(Claimed({ user: "ada" }))).state, false)
      const removed = yield* Effect.flip(Repository.read(Account, "1"))
      assert.equal(removed._tag === "EventStoreError" && removed.reason._tag, "EventsRemoved")
    }).pipe(Effect.provide(Layer.provideMerge(Layer.merge(Decision.layerCache, Repository.layerCache), base)))
  )

  it.effect("ends with an event that another process has removed: then the stream says what there is", () =>
    Effect.gen(function* () {
      yield* Repository.append(Account, "1", [Registered.make(ada)])
      assert.equal((yield* Repository.read(Account, "1")).state, 1)
      yield* Retention.tombstone("Account-1", { reason: "closed" })
      const command = UnitOfWork.transact(Repository.execute(Account, "1", () => Seen.make(ada)))
      for (const effect of [Repository.read(Account, "1"), command]) {
        const removed = yield* Effect.flip(effect)
        assert.equal(removed._tag === "EventStoreError" && removed.reason._tag, "EventsRemoved")
      }
    }).pipe(Effect.provide(Layer.provideMerge(elsewhere, base)))
  )

  it.effect("or that it has removed behind a snapshot: then that is gone on from", () =>
    Effect.gen(function* () {
      const seen = (count: number) => Array.from({ length: count }, () => Seen.make(ada))
      yield* Repository.append(Account, "1", seen(3))
      assert.equal((yield* Repository.read(Account, "1")).state, 3)
      // Another process saves the snapshot, and removes what is behind it.
      yield* Repository.append(Account, "1", seen(4))
      yield* Effect.provide(
        UnitOfWork.transact(Repository.execute(Account, "1", () => seen(4))),
        Layer.sync(Repository.StateCache, () => Repository.makeStateCache(1))
      )
      const policies = { Account: { keep: Retention.behindSnapshot(1) } }
      yield* Effect.scoped(Effect.flatMap(Retention.make({ policies, every: "never", pace: 1e9 }), ({ run }) => run))
      const left = yield* EventStore.EventStore.use((store) => store.version("Account-1"))
      assert.equal(left, 11)
      assert.deepEqual(yield* Repository.read(Account, "1"), { state: 11, version: 11 })
    }).pipe(Effect.provide(Layer.provideMerge(elsewhere, base)))
  )
})

describe("a decision over an archive", () => {
  it.effect("sees what is in the store alone, however much that is", () =>
    Effect.gen(function* () {
      const Newest = Decision.make("Newest", {
        tags: { user },
        events: [Registered, Seen],
        read: "last",
        initial: "",
        evolve: { Registered: () => "Registered", Seen: () => "Seen" }
      })
      const Counted = Decision.make("Counted", {
        tags: { user },
        events: [Registered, Seen],
        initial: 0,
        evolve: { Registered: (count) => count + 1, Seen: (count: number) => count + 1 }
      })
      const append = (stream: string, events: ReadonlyArray<(typeof Seen)["Type"]>) => Repository.append(Account, stream, events)
      yield* append(
        "first",
        Array.from({ length: 5 }, () => Seen.make(ada))
      )
      // More than one answer has.
      for (let page = 0; page < 3; page++)
        yield* append(
          "middle",
          Array.from({ length: 400 }, () => Seen.make(ada))
        )
      yield* Repository.append(Account, "last", [Registered.make(ada)])
      yield* Retention.archive("Account-first", { reason: "closed" })
      yield* Retention.archive("Account-last", { reason: "closed" })
      assert.equal((yield* Decision.read(Counted({ user: "ada" }))).state, 1200)
      assert.equal((yield* Decision.read(Newest({ user: "ada" }))).state, "Seen")
      assert.equal(yield* Stream.runCount(EventStore.readAll({ filter: { tags: ["user:ada"] } })), 1206)
    }).pipe(Effect.provide(Archive.layer.pipe(Layer.provideMerge(Layer.merge(cold, base)))))
  )
})

describe("a decision over an archive that another process moves to", () => {
  /** A cache that nothing of this process empties. */
  const keeping = Layer.sync(Decision.BoundaryCache, () => {
    const kept = new Map<string, Decision.Kept>()
    return Decision.BoundaryCache.of({
      optimistic: false,
      get: (_store, _model, key) => kept.get(key),
      set: (_store, _model, key, value) => void kept.set(key, value),
      clear: () => kept.clear()
    })
  })
  const Counted = Decision.make("Counted", {
    tags: { user },
    events: [Registered, Seen],
    initial: 0,
    evolve: { Registered: (count) => count + 1, Seen: (count: number) => count + 1 }
  })
  const Live = Archive.layer.pipe(Layer.provideMerge(Layer.merge(cold, base)))

  it.effect("sees the same whether it has something in memory or not", () =>
    Effect.gen(function* () {
      const seen = (count: number) => Array.from({ length: count }, () => Seen.make(ada))
      yield* Repository.append(Account, "1", seen(300))
      yield* Repository.append(Account, "2", seen(300))
      const read = Effect.map(Decision.read(Counted({ user: "ada" })), ({ state }) => state)
      const cached = yield* Layer.build(keeping)
      assert.equal(yield* Effect.provideContext(read, cached), 600)
      yield* Retention.archive("Account-2", { reason: "closed" })
      for (let time = 0; time < 2; time++) assert.equal(yield* Effect.provideContext(read, cached), 300)
      assert.equal(yield* read, 300)
    }).pipe(Effect.scoped, Effect.provide(Live))
  )

  it.effect("and of the newest alone, where that is none of its own", () =>
    Effect.gen(function* () {
      // Of what is read out of another type, some is none of it.
      const Named = Event.make("Named", { name: Schema.String }, { ...options, from: { Left: () => undefined } })
      const Last = Decision.make("Last", {
        tags: { user },
        events: [Named],
        read: "last",
        initial: "nobody",
        evolve: { Named: (_: string, { name }) => name }
      })
      const append = (stream: string, type: string, name: string) =>
        EventStore.append(stream, [{ type, payload: { name }, tags: ["user:ada"] }])
      yield* append("Account-1", "Named", "one")
      for (let time = 0; time < 3; time++) yield* append("Account-2", "Named", "two")
      yield* append("Account-3", "Left", "three")
      const read = Effect.map(Decision.read(Last({ user: "ada" })), ({ state }) => state)
      assert.equal(yield* read, "two")
      yield* Retention.archive("Account-2", { reason: "closed" })
      assert.equal(yield* read, "one")
      yield* Retention.archive("Account-1", { reason: "closed" })
      assert.equal(yield* read, "nobody")
    }).pipe(Effect.provide(Live))
  )
})

describe("a snapshot whose history has been removed", () => {
  const of = { events: [Registered, Seen], snapshot: { every: 5 } } as const
  const Next = Aggregate.make("Account", {
    ...of,
    state: Schema.Number,
    initial: 0,
    evolve: { Registered: (events) => events, Seen: (events) => 1 + events }
  })
  const Other = Aggregate.make("Account", {
    ...of,
    state: Schema.String,
    initial: "",
    evolve: { Registered: (names) => names, Seen: (names, { name }) => names + name }
  })
  const prepared = Effect.gen(function* () {
    for (let count = 0; count < 12; count++) {
      yield* UnitOfWork.transact(Repository.execute(Account, "1", () => Seen.make(ada)))
    }
    const policies = { Account: { keep: Retention.behindSnapshot(1) } }
    yield* Effect.scoped(Effect.flatMap(Retention.make({ policies, every: "never", pace: 1e9 }), ({ run }) => run))
    const types = Effect.map(Stream.runCollect(EventStore.read("Account-1")), (all) => all.map(({ type }) => type))
    assert.equal((yield* types)[0], "$Tombstone")
  })

  it.effect("stands for it in a release whose folds were changed, and that is said", () =>
    Effect.gen(function* () {
      logs(/the history of "Account-1" has been removed, and aggregate "Account" has been changed .* at version 10/)
      yield* prepared
      assert.deepEqual(yield* Repository.read(Next, "1"), { state: 12, version: 12 })
      const decided = yield* UnitOfWork.transact(Repository.execute(Next, "1", () => Seen.make(ada)))
      assert.deepEqual([decided.state, decided.version], [13, 13])
    }).pipe(Effect.provide(base))
  )

  it.effect("and does not where the state is another", () =>
    Effect.gen(function* () {
      yield* prepared
      const removed = yield* Effect.flip(Repository.read(Other, "1"))
      assert.equal(removed._tag === "EventStoreError" && removed.reason._tag, "EventsRemoved")
    }).pipe(Effect.provide(base))
  )

  it.effect("and where it cannot be had just then, nothing is said to be gone for good", () =>
    Effect.gen(function* () {
      yield* prepared
      let down = true
      const snapshots = yield* Snapshots.Snapshots
      const failing = new Snapshots.SnapshotError({ operation: "load", cause: new Error("no connection") })
      const unsteady = Snapshots.Snapshots.of({
        ...snapshots,
        load: (...place) => (down ? Effect.fail(failing) : snapshots.load(...place)),
        list: (options) => (down ? Effect.fail(failing) : snapshots.list(options))
      })
      const read = Effect.provideService(Repository.read(Account, "1"), Snapshots.Snapshots, unsteady)
      const error = yield* Effect.flip(read)
      assert.equal(error._tag === "EventStoreError" && error.reason._tag, "StoreUnavailable")
      assert.match(error.message, /the history of "Account-1" has been removed, and the snapshots .*no connection/)
      down = false
      assert.equal((yield* read).version, 12)
    }).pipe(Effect.provide(base))
  )
})
