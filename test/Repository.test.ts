import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, DateTime, Deferred, Effect, Layer, Schema, SchemaTransformation, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Aggregate, Event, EventStore, Repository, UnitOfWork } from "eventfold"
import { Account, ada, ben, deposit, Deposited, Opened, Overdrawn, withdraw, Withdrawn } from "./support/bank.ts"
import { elsewhere, makeWirings } from "./support/wirings.ts"

const { concurrently, everywhere } = makeWirings()

const deposited = (amount: number) => Deposited.make({ amount })

/** What somebody else does meanwhile: outside of whatever transaction the caller is in. */
const appendElsewhere = (id: typeof ada, ...amounts: ReadonlyArray<number>) =>
  Repository.append(Account, id, amounts.map(deposited))

describe("execute", () => {
  everywhere((test) => {
    test("loads, folds, decides and stages: the new state, its version and the events", () =>
      Effect.gen(function* () {
        yield* Repository.append(Account, ada, [Opened.make({ owner: "Ada" }), deposited(10)])
        const result = yield* UnitOfWork.transact(withdraw(ada, 4))
        assert.deepEqual(result, {
          state: { owner: "Ada", balance: 6 },
          version: 3,
          events: [Withdrawn.make({ amount: 4 })]
        })
        assert.deepEqual(yield* Repository.read(Account, ada), { state: { owner: "Ada", balance: 6 }, version: 3 })
      }))

    test("a decision that refuses is the caller's typed error, and nothing is written", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(UnitOfWork.transact(withdraw(ada, 4)))
        assert.deepEqual(error, new Overdrawn({ missing: 4 }))
        assert.equal(yield* EventStore.head, 0)
      }))

    test("a decision without events writes nothing", () =>
      Effect.gen(function* () {
        const result = yield* UnitOfWork.transact(Repository.execute(Account, ada, () => Effect.succeed([])))
        assert.deepEqual(result, { state: Account.initial, version: 0, events: [] })
        assert.equal(yield* EventStore.head, 0)
      }))

    test("sees what its own unit of work has staged before, and no other aggregate's events", () =>
      Effect.gen(function* () {
        const versions = yield* UnitOfWork.transact(
          Effect.gen(function* () {
            const first = yield* deposit(ada, 10)
            yield* deposit(ben, 1)
            const second = yield* withdraw(ada, 10)
            const loaded = yield* Repository.load(Account, ada)
            assert.deepEqual(loaded, { state: { owner: "", balance: 0 }, version: 2 })
            assert.equal((yield* Repository.load(Account, ben)).state.balance, 1)
            return [first.version, second.version]
          })
        )
        assert.deepEqual(versions, [1, 2])
        assert.equal(yield* EventStore.version("Account-ada"), 2)
      }))

    test("sees events that were staged without their type, too", () =>
      Effect.gen(function* () {
        yield* UnitOfWork.transact(
          Effect.gen(function* () {
            yield* UnitOfWork.stage("Account-ada", [{ type: "Deposited", payload: { amount: 10 } }])
            assert.equal((yield* withdraw(ada, 4)).state.balance, 6)
          })
        )
        assert.deepEqual((yield* Repository.read(Account, ada)).state.balance, 6)
      }))

    test("decisions of one unit of work on the same state: the one that was overtaken is refused", () =>
      Effect.gen(function* () {
        yield* Repository.append(Account, ada, [deposited(10)])
        // given two decisions that have both seen a balance of 10
        const bothHaveSeen = yield* Deferred.make<void>()
        let seen = 0
        const withdrawAll = Repository.execute(Account, ada, ({ balance }) =>
          Effect.gen(function* () {
            if (++seen === 2) yield* Deferred.succeed(bothHaveSeen, undefined)
            yield* Deferred.await(bothHaveSeen)
            return [Withdrawn.make({ amount: balance })]
          })
        )
        const error = yield* Effect.flip(
          UnitOfWork.transact(Effect.all([withdrawAll, withdrawAll], { concurrency: "unbounded" }))
        )
        assert.deepEqual(error, new EventStore.OptimisticLockError({ stream: "Account-ada", expected: 1, actual: 2 }))
        // and the same when one decision contains the other
        const inner = yield* Effect.flip(
          UnitOfWork.transact(
            Repository.execute(Account, ada, ({ balance }) =>
              Effect.as(withdraw(ada, balance), [Withdrawn.make({ amount: balance })])
            )
          )
        )
        assert.ok(inner instanceof EventStore.OptimisticLockError)
        assert.deepEqual((yield* Repository.read(Account, ada)).state.balance, 10)
      }))
  })

  concurrently((test) => {
    test("a decision is protected also where the unit of work has staged in the stream without a check", () =>
      Effect.gen(function* () {
        const { go } = yield* elsewhere(appendElsewhere(ada, 1))
        const error = yield* Effect.flip(
          UnitOfWork.transact(
            Effect.gen(function* () {
              yield* UnitOfWork.stage("Account-ada", [{ type: "Deposited", payload: { amount: 10 } }])
              yield* Repository.execute(Account, ada, () => Effect.as(go, [deposited(1)]))
            })
          )
        )
        assert.ok(error instanceof EventStore.OptimisticLockError)
        assert.equal(yield* EventStore.version("Account-ada"), 1)
      }))
  })
})

describe("load", () => {
  concurrently((test) => {
    test("twice in a unit of work gives the same snapshot, whatever others append; the commit finds out", () =>
      Effect.gen(function* () {
        yield* appendElsewhere(ada, 10)
        const { go } = yield* elsewhere(appendElsewhere(ada, 5))
        const error = yield* Effect.flip(
          UnitOfWork.transact(
            Effect.gen(function* () {
              const first = yield* Repository.load(Account, ada)
              yield* go
              const second = yield* Repository.load(Account, ada)
              assert.deepEqual(first, { state: { owner: "", balance: 10 }, version: 1 })
              assert.deepEqual(second, first)
              yield* withdraw(ada, 10)
            })
          )
        )
        assert.deepEqual(error, new EventStore.OptimisticLockError({ stream: "Account-ada", expected: 1, actual: 2 }))
        assert.deepEqual((yield* Repository.read(Account, ada)).state.balance, 15)
      }))

    test("registers the version: events staged later, without an expectation of their own, expect it", () =>
      Effect.gen(function* () {
        const { go } = yield* elsewhere(appendElsewhere(ada, 5))
        const error = yield* Effect.flip(
          UnitOfWork.transact(
            Effect.gen(function* () {
              yield* Repository.load(Account, ada)
              yield* go
              yield* UnitOfWork.stage("Account-ada", [{ type: "Deposited", payload: { amount: 1 } }])
            })
          )
        )
        assert.deepEqual(error, new EventStore.OptimisticLockError({ stream: "Account-ada", expected: 0, actual: 1 }))
      }))

    test("another aggregate on the same stream sees the same version of it", () =>
      Effect.gen(function* () {
        const Total = Aggregate.make("Account", {
          id: Account.id,
          events: [Deposited],
          initial: 0,
          evolve: { Deposited: (total, { amount }) => total + amount }
        })
        const { go } = yield* elsewhere(appendElsewhere(ada, 5))
        const { go: goAgain } = yield* elsewhere(appendElsewhere(ben, 5))
        yield* appendElsewhere(ben, 2)
        yield* UnitOfWork.transact(
          Effect.gen(function* () {
            assert.equal((yield* Repository.load(Account, ada)).version, 0)
            assert.equal((yield* Repository.load(Account, ben)).version, 1)
            yield* go
            yield* goAgain
            assert.deepEqual(yield* Repository.load(Total, ada), { state: 0, version: 0 })
            assert.deepEqual(yield* Repository.load(Total, ben), { state: 2, version: 1 })
          })
        )
      }))
  })

  it.effect("by two fibers at once gives both the same version", () =>
    Effect.gen(function* () {
      // given a store whose first read is slow, so that the second one, which begins later, is there first and sees more
      const store = yield* EventStore.EventStore
      const slow = yield* Deferred.make<void>()
      let reads = 0
      const layer = Layer.succeed(
        EventStore.EventStore,
        EventStore.EventStore.of({
          ...store,
          read: (stream, options) =>
            reads++ === 0
              ? Stream.unwrap(
                  Effect.gen(function* () {
                    const events = yield* Stream.runCollect(store.read(stream, options))
                    yield* Deferred.await(slow)
                    return Stream.fromIterable(events)
                  })
                )
              : store.read(stream, options)
        })
      )
      const load = Repository.load(Account, ada)
      const second = Effect.gen(function* () {
        yield* store.append("Account-ada", [{ type: "Deposited", payload: { amount: 5 } }])
        const loaded = yield* load
        yield* Deferred.succeed(slow, undefined)
        return loaded
      })
      const versions = yield* UnitOfWork.transact(Effect.all([load, second], { concurrency: "unbounded" })).pipe(
        Effect.map((loaded) => loaded.map(({ state, version }) => [version, state.balance])),
        Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(layer)))
      )
      assert.deepEqual(versions, [
        [1, 5],
        [1, 5]
      ])
    }).pipe(Effect.provide(EventStore.layerMemory))
  )
})

describe("read", () => {
  everywhere((test) => {
    test("gives the state now, at each version, and beyond the last", () =>
      Effect.gen(function* () {
        yield* appendElsewhere(ada, 1, 2, 3)
        const at = (version: number) =>
          Effect.map(Repository.read(Account, ada, { version }), ({ state, version }) => [version, state.balance])
        assert.deepEqual(yield* Effect.forEach([0, 1, 2, 3, 4], at), [
          [0, 0],
          [1, 1],
          [2, 3],
          [3, 6],
          [3, 6]
        ])
        assert.deepEqual(yield* Repository.read(Account, ben), { state: Account.initial, version: 0 })
      }))

    test("gives the state as it was at an instant", () =>
      Effect.gen(function* () {
        for (const [time, amount] of [
          [1000, 1],
          [2000, 2],
          [3000, 3]
        ] as const) {
          yield* TestClock.setTime(time)
          yield* appendElsewhere(ada, amount)
        }
        const at = (time: number) =>
          Effect.map(Repository.read(Account, ada, { at: DateTime.makeUnsafe(time) }), ({ state, version }) => [
            version,
            state.balance
          ])
        assert.deepEqual(yield* Effect.forEach([999, 1000, 2999, 3000], at), [
          [0, 0],
          [1, 1],
          [2, 3],
          [3, 6]
        ])
      }))

    test("of a version that makes no sense is a typed error", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Repository.read(Account, ada, { version: -1 }))
        assert.equal(error._tag === "EventStoreError" && error.reason._tag, "InvalidRead")
      }))
  })
})

describe("append", () => {
  everywhere((test) => {
    test("writes typed events with the expected version and the metadata that are given", () =>
      Effect.gen(function* () {
        const options = { expected: EventStore.ExpectedVersion.NoStream, metadata: { correlationId: "c" } }
        const result = yield* Repository.append(Account, ada, [deposited(1), deposited(2)], options)
        assert.deepEqual(result, { stream: "Account-ada", version: 2, position: 2, deduplicated: false })
        const error = yield* Effect.flip(Repository.append(Account, ada, [deposited(3)], options))
        assert.deepEqual(error, new EventStore.OptimisticLockError({ stream: "Account-ada", expected: "no-stream", actual: 2 }))
        yield* Repository.append(Account, ada, [deposited(3)], { expected: 2 })
        assert.deepEqual((yield* Repository.read(Account, ada)).version, 3)
      }))

    test("of an event that does not fit, or that is none of the aggregate's, is a typed error and writes nothing", () =>
      Effect.gen(function* () {
        const unfit = yield* Effect.flip(Repository.append(Account, ada, [deposited(1), { _tag: "Deposited", amount: 1.5 }]))
        assert.match(unfit.message, /Event "Deposited" does not fit its definition/)
        const Foreign = Event.make("Foreign")
        const foreign = Foreign.make({}) as unknown as typeof Deposited.Type
        for (const append of [
          Effect.asVoid(Repository.append(Account, ada, [foreign])),
          Effect.asVoid(UnitOfWork.transact(Repository.execute(Account, ada, () => Effect.succeed([deposited(1), foreign]))))
        ]) {
          const error = yield* Effect.flip(append)
          assert.ok(error instanceof Event.EventEncodeError)
          assert.match(error.message, /"Foreign" does not fit its definition: the aggregate "Account" has no event of this type/)
        }
        assert.equal(yield* EventStore.head, 0)
      }))
  })
})

describe("events", () => {
  everywhere((test) => {
    test("gives the history with what the store knows of each event, within the bounds that are given", () =>
      Effect.gen(function* () {
        yield* TestClock.setTime(5000)
        yield* appendElsewhere(ben, 7)
        yield* Repository.append(Account, ada, [Opened.make({ owner: "Ada" }), deposited(1)], {
          metadata: { correlationId: "c" }
        })
        const history = yield* Stream.runCollect(Repository.events(Account, ada))
        const common = { recordedAt: DateTime.makeUnsafe(5000), metadata: { correlationId: "c" } }
        assert.deepEqual(
          history.map(({ event, metadata, position, recordedAt, version }) => ({
            event,
            metadata,
            position,
            recordedAt,
            version
          })),
          [
            { ...common, event: Opened.make({ owner: "Ada" }), version: 1, position: 2 },
            { ...common, event: deposited(1), version: 2, position: 3 }
          ]
        )
        assert.equal(new Set(history.map(({ id }) => id)).size, 2)
        const newest = yield* Stream.runCollect(Repository.events(Account, ada, { direction: "backward", limit: 1 }))
        assert.deepEqual(newest, history.slice(1))
      }))
  })
})

describe("ids", () => {
  // "A-7" and " a-7 " are one thing
  const Sku = Schema.String.pipe(
    Schema.decodeTo(
      Schema.NonEmptyString,
      SchemaTransformation.transform({ decode: (id) => id, encode: (id) => id.trim().toUpperCase() })
    )
  )
  const Stock = Aggregate.make("Stock", {
    id: Sku,
    events: [Deposited],
    initial: 0,
    evolve: { Deposited: (sum, { amount }) => sum + amount }
  })

  it.effect("go through their schema", () =>
    Effect.gen(function* () {
      yield* Repository.append(Stock, " a-7 ", [deposited(1)])
      yield* Repository.append(Stock, "A-7", [deposited(2)])
      assert.equal(yield* EventStore.version("Stock-A-7"), 2)
      assert.equal((yield* Repository.read(Stock, "a-7")).state, 3)
    }).pipe(Effect.provide(EventStore.layerMemory))
  )

  it.effect("that do not fit are a typed error of every operation, and nothing is written", () =>
    Effect.gen(function* () {
      const long = "x".repeat(300) as typeof ada
      for (const [id, problem] of [
        ["" as typeof ada, /"" does not fit its schema/],
        [long, /the name of its stream has 308 characters, more than 255/],
        ["a\u0000" as typeof ada, /the name of its stream contains the character U\+0000/]
      ] as const) {
        const operations: ReadonlyArray<Effect.Effect<unknown, unknown, EventStore.EventStore | UnitOfWork.UnitOfWork>> = [
          UnitOfWork.transact(Repository.load(Account, id)),
          UnitOfWork.transact(deposit(id, 1)),
          Repository.read(Account, id),
          Repository.append(Account, id, [deposited(1)]),
          Stream.runDrain(Repository.events(Account, id))
        ]
        for (const effect of operations) {
          const error = yield* Effect.flip(effect)
          assert.ok(error instanceof Aggregate.AggregateIdError)
          assert.equal(error.aggregate, "Account")
          assert.match(error.problem, problem)
        }
      }
      assert.equal(yield* EventStore.head, 0)
    }).pipe(Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))))
  )
})

describe("what cannot be decoded", () => {
  everywhere((test) => {
    test("is a typed error with stream, version and position; other streams flow", () =>
      Effect.gen(function* () {
        yield* appendElsewhere(ben, 7)
        yield* EventStore.append("Account-ada", [
          { type: "Deposited", payload: { amount: 1 } },
          { type: "Deposited", payload: { amount: "much" } },
          { type: "Exploded", payload: {} }
        ])
        for (const effect of [
          Repository.read(Account, ada),
          UnitOfWork.transact(Repository.load(Account, ada)),
          UnitOfWork.transact(deposit(ada, 1)),
          Stream.runDrain(Repository.events(Account, ada))
        ]) {
          const error = yield* Effect.flip(effect)
          assert.ok(error instanceof Event.EventDecodeError)
          const { position, stream, type, version } = error
          assert.deepEqual(
            { position, stream, type, version },
            { position: 3, stream: "Account-ada", type: "Deposited", version: 2 }
          )
        }
        const unknown = yield* Effect.flip(Stream.runDrain(Repository.events(Account, ada, { from: 3 })))
        assert.ok(unknown instanceof Event.UnknownEventTypeError)
        assert.deepEqual([unknown.stream, unknown.version, unknown.position, unknown.type], ["Account-ada", 3, 4, "Exploded"])
        assert.deepEqual(yield* Repository.read(Account, ada, { version: 1 }), { state: { owner: "", balance: 1 }, version: 1 })
        assert.equal((yield* UnitOfWork.transact(deposit(ben, 1))).state.balance, 8)
      }))

    test("is a typed error also where it has just been staged, by another aggregate on the stream or without a type", () =>
      Effect.gen(function* () {
        const Audited = Event.make("Audited")
        const Audit = Aggregate.make("Account", {
          id: Account.id,
          events: [Audited],
          initial: 0,
          evolve: { Audited: (count) => count + 1 }
        })
        const unknown = yield* Effect.flip(
          UnitOfWork.transact(
            Effect.gen(function* () {
              yield* Repository.execute(Audit, ada, () => Effect.succeed([Audited.make({})]))
              yield* Repository.load(Account, ada)
            })
          )
        )
        assert.ok(unknown instanceof Event.UnknownEventTypeError, Cause.pretty(Cause.fail(unknown)))
        assert.deepEqual([unknown.stream, unknown.version, unknown.type], ["Account-ada", 1, "Audited"])
        const undecodable = yield* Effect.flip(
          UnitOfWork.transact(
            Effect.gen(function* () {
              yield* UnitOfWork.stage("Account-ada", [{ type: "Deposited", payload: {} }])
              yield* Repository.load(Account, ada)
            })
          )
        )
        assert.ok(undecodable instanceof Event.EventDecodeError)
      }))
  })
})

describe("a cache of states", () => {
  const reading = Effect.gen(function* () {
    const store = yield* EventStore.EventStore
    const versions: Array<number> = []
    const counting = EventStore.EventStore.of({
      ...store,
      read: (stream, options) =>
        Stream.tap(store.read(stream, options), ({ version }) => Effect.sync(() => versions.push(version)))
    })
    const read = <A>(loading: Effect.Effect<A, unknown, EventStore.EventStore | Repository.StateCache>) =>
      Effect.gen(function* () {
        versions.length = 0
        const loaded = yield* Effect.provideService(loading, EventStore.EventStore, counting)
        return [loaded, [...versions]] as const
      })
    return { read, store }
  })
  const balance = (id: typeof ada) => Effect.map(Repository.read(Account, id), ({ state, version }) => [state.balance, version])
  const cached = (capacity?: number) =>
    Effect.provide(Layer.mergeAll(Repository.layerCacheWith({ capacity }), EventStore.layerMemory))

  it.effect("reads what is new, in a unit of work as outside of one, and is never stale", () =>
    Effect.gen(function* () {
      const { read } = yield* reading
      yield* appendElsewhere(ada, 1, 2, 3)
      assert.deepEqual(yield* read(balance(ada)), [
        [6, 3],
        [1, 2, 3]
      ])
      assert.deepEqual(yield* read(balance(ada)), [[6, 3], [3]])
      yield* appendElsewhere(ada, 4)
      assert.deepEqual(yield* read(balance(ada)), [
        [10, 4],
        [3, 4]
      ])
      const withdrawn = UnitOfWork.transact(withdraw(ada, 5)).pipe(Effect.provide(UnitOfWork.layer))
      const [{ state, version }, versions] = yield* read(withdrawn)
      assert.deepEqual([state.balance, version, versions], [5, 5, [4]])
      // What was committed is known, and read again as what it ends with.
      assert.deepEqual(yield* read(balance(ada)), [[5, 5], [5]])
      const refused = UnitOfWork.transact(Effect.andThen(withdraw(ada, 1), UnitOfWork.rollback))
      yield* read(Effect.provide(refused, UnitOfWork.layer))
      assert.deepEqual(yield* read(balance(ada)), [[5, 5], [5]])
      // An older state is folded from the beginning, and takes no newer one's place.
      assert.deepEqual(yield* read(Repository.read(Account, ada, { version: 2 })), [
        { state: { owner: "", balance: 3 }, version: 2 },
        [1, 2]
      ])
      assert.deepEqual(yield* read(balance(ada)), [[5, 5], [5]])
      const [, all] = yield* read(Repository.read(Account, ada, { at: yield* DateTime.now }))
      assert.deepEqual(all, [1, 2, 3, 4, 5])
    }).pipe(cached())
  )

  it.effect("keeps as many streams as it may: those that were used last", () =>
    Effect.gen(function* () {
      const { read } = yield* reading
      yield* appendElsewhere(ada, 1, 2)
      yield* appendElsewhere(ben, 3, 4)
      yield* read(balance(ada))
      yield* read(balance(ben))
      assert.deepEqual(yield* read(balance(ben)), [[7, 2], [2]])
      assert.deepEqual(yield* read(balance(ada)), [
        [3, 2],
        [1, 2]
      ])
    }).pipe(cached(1))
  )

  it.effect("tells stores and aggregates apart, and notices a stream that is another one now", () =>
    Effect.gen(function* () {
      const Count = Aggregate.make("Account", {
        events: [Opened, Deposited, Withdrawn],
        initial: 0,
        evolve: { Opened: (n) => n, Deposited: (n) => n + 1, Withdrawn: (n) => n }
      })
      const other = yield* EventStore.makeMemory
      yield* appendElsewhere(ada, 10, 20)
      yield* Effect.provideService(appendElsewhere(ada, 1, 2), EventStore.EventStore, other)
      assert.deepEqual(yield* balance(ada), [30, 2])
      assert.deepEqual(yield* Effect.provideService(balance(ada), EventStore.EventStore, other), [3, 2])
      assert.deepEqual((yield* Repository.read(Count, ada)).state, 2)
      assert.deepEqual(yield* balance(ada), [30, 2])
      // As after a restore of the store in place: the same service, and other events in its streams.
      const store = yield* EventStore.EventStore
      let now = store
      const restored = EventStore.EventStore.of({ ...store, read: (stream, options) => now.read(stream, options) })
      const seen = Effect.provideService(balance(ada), EventStore.EventStore, restored)
      assert.deepEqual(yield* seen, [30, 2])
      now = other
      assert.deepEqual(yield* seen, [3, 2])
      assert.deepEqual(yield* seen, [3, 2])
    }).pipe(cached())
  )

  it.effect("forgets all when it is told to", () =>
    Effect.gen(function* () {
      const { read } = yield* reading
      yield* appendElsewhere(ada, 1, 2)
      yield* read(balance(ada))
      ;(yield* Repository.StateCache).clear()
      assert.deepEqual(yield* read(balance(ada)), [
        [3, 2],
        [1, 2]
      ])
    }).pipe(cached())
  )

  it.effect("does not grow with definitions that are made anew for each use", () =>
    Effect.gen(function* () {
      const { read } = yield* reading
      yield* appendElsewhere(ada, 1, 2)
      yield* read(balance(ada))
      const anew = Aggregate.make("Account", { events: [Deposited], initial: 0, evolve: { Deposited: (n) => n + 1 } })
      yield* read(Repository.read(anew, ada))
      assert.deepEqual(yield* read(balance(ada)), [
        [3, 2],
        [1, 2]
      ])
    }).pipe(cached(1))
  )

  it("has room for something", () => {
    assert.throws(() => Repository.makeStateCache(0), /capacity of a cache must be a number from 1, not 0/)
  })
})
