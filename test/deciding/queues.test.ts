import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Aggregate, Decision, Event, EventStore, Repository, Tag, UnitOfWork } from "eventfold"
import { SqliteClient, SqliteEventStore } from "eventfold/sqlite"
import { Account, ada, ben, deposit, Deposited, withdraw } from "../support/bank.ts"

/** One call of the store that waits for leave to be carried out. */
interface Call {
  readonly appends: ReadonlyArray<EventStore.StreamAppend>
  /** Carries it out, or fails as told. */
  readonly go: (error?: EventStore.AppendError) => Effect.Effect<void>
}

const unavailable = new EventStore.EventStoreError({
  reason: new EventStore.StoreUnavailable({ operation: "append", detail: "the test says so" })
})

/** Lets a call be carried out, or fail as told. */
const go = (calls: ReadonlyArray<Call>, nth: number, error?: EventStore.AppendError) =>
  Effect.suspend(() => (calls[nth] as Call).go(error))

/** Lets all others run until they wait for something. */
const others = Effect.forEach(Array.from({ length: 30 }), () => Effect.yieldNow, { discard: true })

/** A store in memory that appends when the test says so; what it had from the beginning stands in ada's account. */
const held = (
  test: (
    calls: Array<Call>,
    store: EventStore.EventStore["Service"]
  ) => Effect.Effect<void, unknown, UnitOfWork.UnitOfWork | EventStore.EventStore>
) =>
  Effect.gen(function* () {
    const store = yield* EventStore.makeMemory
    yield* store.append("Account-ada", [{ type: "Deposited", payload: { amount: 3 } }])
    const calls: Array<Call> = []
    const waiting = EventStore.EventStore.of({
      ...store,
      appendAll: (appends, options) =>
        Effect.gen(function* () {
          const leave = yield* Deferred.make<void, EventStore.AppendError>()
          calls.push({
            appends,
            go: (error) =>
              Effect.andThen(error === undefined ? Deferred.succeed(leave, undefined) : Deferred.fail(leave, error), others)
          })
          yield* Deferred.await(leave)
          return yield* store.appendAll(appends, options)
        })
    })
    yield* Effect.provide(
      test(calls, store),
      UnitOfWork.layer.pipe(Layer.provideMerge(Layer.succeed(EventStore.EventStore, waiting)))
    )
  })

/** Starts what begins with units of work on one aggregate, each after the other. */
const started = <A, E, R>(all: ReadonlyArray<Effect.Effect<A, E, R>>) =>
  Effect.tap(
    Effect.forEach(all, (one) => Effect.tap(Effect.forkChild(one), () => others)),
    () => others
  )

const withdrawing = (amount = 1) =>
  Effect.map(UnitOfWork.transact(withdraw(ada, amount)), ({ state, version }) => [state.balance, version])

/** What came of it, as text or value. */
const outcome = <A, E>(fiber: Fiber.Fiber<A, E>) =>
  Effect.map(Fiber.await(fiber), (exit) => {
    if (Exit.isSuccess(exit)) return exit.value
    const error = Cause.squash(exit.cause) as { readonly _tag?: string }
    return Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : (error._tag ?? String(error))
  })
const outcomes = <A, E>(fibers: ReadonlyArray<Fiber.Fiber<A, E>>) => Effect.forEach(fibers, outcome)

/** Lets be carried out whatever is called, until all have come to their end, which is no failure. */
const allSucceed = <A, E>(calls: ReadonlyArray<Call>, fibers: ReadonlyArray<Fiber.Fiber<A, E>>) =>
  Effect.gen(function* () {
    for (let nth = 0; nth < calls.length; nth++) {
      yield* go(calls, nth)
      yield* others
    }
    for (const fiber of fibers) yield* Fiber.join(fiber)
  })

const partsOf = ({ appends }: Call) => appends.map(({ events, expected, stream }) => [stream, expected, events.length])

const balance = Effect.map(Repository.read(Account, ada), ({ state, version }) => [state.balance, version])

describe("units of work that command one aggregate", () => {
  it.effect("decide one after the other, and what they come to goes into one append", () =>
    held((calls) =>
      Effect.gen(function* () {
        const fibers = yield* started(Array.from({ length: 3 }, () => UnitOfWork.committed(withdrawing())))
        // The first one's append is on its way: the others have decided.
        assert.deepEqual(calls.map(partsOf), [[["Account-ada", 1, 1]]])
        yield* go(calls, 0)
        assert.deepEqual(calls.slice(1).map(partsOf), [
          [
            ["Account-ada", 2, 1],
            ["Account-ada", 3, 1]
          ]
        ])
        assert.ok(fibers[0]?.pollUnsafe() !== undefined)
        assert.ok(fibers[1]?.pollUnsafe() === undefined && fibers[2]?.pollUnsafe() === undefined)
        yield* go(calls, 1)
        assert.deepEqual(yield* outcomes(fibers), [
          { value: [2, 2], position: 2 },
          { value: [1, 3], position: 3 },
          { value: [0, 4], position: 4 }
        ])
      })
    )
  )

  it.effect("are told nothing before what it stands on is durable, also where they write nothing", () =>
    held((calls) =>
      Effect.gen(function* () {
        const refused = withdrawing(1)
        const looking = UnitOfWork.transact(
          Effect.map(
            Repository.execute(Account, ada, () => []),
            ({ state }) => [state.balance]
          )
        )
        const backing = UnitOfWork.transact(Effect.andThen(deposit(ada, 100), Effect.as(UnitOfWork.rollback, [0])))
        const dying = UnitOfWork.transact(Effect.andThen(withdraw(ada, 0), Effect.die("a defect")))
        const fibers = yield* started([withdrawing(3), refused, looking, backing, dying])
        assert.deepEqual(
          fibers.map((fiber) => fiber.pollUnsafe()),
          Array.from({ length: 5 }, () => undefined)
        )
        yield* go(calls, 0)
        assert.deepEqual(yield* outcomes(fibers), [[0, 2], "Overdrawn", [0], [0], "a defect"])
        assert.deepEqual(calls.length, 1)
      })
    )
  )

  it.effect("have decided nothing where what they decided on is not written", () =>
    held((calls) =>
      Effect.gen(function* () {
        const seeing = UnitOfWork.transact(
          Effect.map(
            Repository.execute(Account, ada, () => []),
            ({ state }) => [state.balance]
          )
        )
        const fibers = yield* started<unknown, unknown, UnitOfWork.UnitOfWork | EventStore.EventStore>([
          withdrawing(3),
          withdrawing(1),
          seeing,
          UnitOfWork.transact(deposit(ada, 1))
        ])
        // One that is still deciding when it comes out.
        const latch = yield* Deferred.make<void>()
        const late = yield* Effect.forkChild(
          UnitOfWork.transact(
            Repository.execute(Account, ada, ({ balance }) =>
              Effect.as(Deferred.await(latch), [Deposited.make({ amount: balance })])
            )
          )
        )
        yield* others
        yield* go(calls, 0, unavailable)
        yield* Deferred.succeed(latch, undefined)
        yield* others
        assert.deepEqual(yield* outcomes<unknown, unknown>([...fibers, late]), [
          "EventStoreError",
          ...Array.from({ length: 4 }, () => "OptimisticLockError")
        ])
        assert.equal(calls.length, 1)
        assert.deepEqual(yield* balance, [3, 1])
        // And the next one begins with what stands.
        const next = yield* Effect.forkChild(withdrawing(1))
        yield* others
        yield* go(calls, 1)
        assert.deepEqual(yield* outcome(next), [2, 2])
      })
    )
  )

  it.effect("lose against a writer elsewhere together, and decide anew where they are told to", () =>
    held((calls, store) =>
      Effect.gen(function* () {
        const again = UnitOfWork.retryConflicts({ times: 1 })
        const fibers = yield* started([withdrawing(1), withdrawing(1), again(withdrawing(1)), again(withdrawing(3))])
        yield* go(calls, 0)
        assert.deepEqual(calls[1]?.appends.length, 2)
        yield* store.append("Account-ada", [{ type: "Withdrawn", payload: { amount: 1 } }])
        yield* go(calls, 1)
        yield* go(calls, 2)
        assert.deepEqual(yield* outcomes(fibers), [[2, 2], "OptimisticLockError", [0, 4], "Overdrawn"])
        assert.deepEqual(yield* balance, [0, 4])
        const lost = yield* Fiber.await(fibers[1] as (typeof fibers)[number])
        assert.deepEqual(lost, Exit.fail(new EventStore.OptimisticLockError({ stream: "Account-ada", expected: 2, actual: 3 })))
      })
    )
  )

  it.effect("do not suffer for one whose append is refused, unless they have decided on it", () =>
    held((calls) =>
      Effect.gen(function* () {
        const wrong = UnitOfWork.transact(
          Effect.andThen(withdraw(ada, 0), UnitOfWork.stage("Other-1", [{ type: "", payload: {} }]))
        )
        const fibers = yield* started<unknown, unknown, UnitOfWork.UnitOfWork | EventStore.EventStore>([
          withdrawing(1),
          withdrawing(1),
          wrong,
          withdrawing(0),
          UnitOfWork.retryConflicts(withdrawing(0), { times: 1 })
        ])
        yield* go(calls, 0)
        for (let nth = 1; nth < 5; nth++) yield* go(calls, nth)
        assert.deepEqual(yield* outcomes(fibers), [[2, 2], [1, 3], "InvalidAppendError", "OptimisticLockError", [1, 4]])
      })
    )
  )

  it.effect("write what may stand already by itself, and nobody decides on it before", () =>
    held((calls) =>
      Effect.gen(function* () {
        const own = UnitOfWork.transact(
          Effect.andThen(withdraw(ada, 1), UnitOfWork.stage("Other-1", [{ type: "Noted", payload: {}, id: "own" }]))
        )
        const guarded = UnitOfWork.transact(Effect.andThen(UnitOfWork.guard("Other-1", 1), withdraw(ada, 1)))
        const fibers = yield* started<unknown, unknown, UnitOfWork.UnitOfWork | EventStore.EventStore>([
          own,
          own,
          guarded,
          withdrawing(1)
        ])
        yield* go(calls, 0)
        assert.equal(calls.length, 2)
        yield* go(calls, 1)
        yield* go(calls, 2)
        assert.equal(calls.length, 4)
        yield* go(calls, 3)
        const [first, second, third, fourth] = yield* outcomes(fibers)
        assert.deepEqual([Array.isArray(first), second, third !== undefined, fourth], [true, "DuplicateEventError", true, [0, 4]])
      })
    )
  )

  it.effect("that are interrupted leave their places to others; what is on its way is written", () =>
    held((calls) =>
      Effect.gen(function* () {
        const stuck = UnitOfWork.transact(Effect.andThen(withdraw(ada, 1), Effect.never))
        const fibers = yield* started<unknown, unknown, UnitOfWork.UnitOfWork | EventStore.EventStore>([
          withdrawing(1),
          stuck,
          withdrawing(1),
          withdrawing(1)
        ])
        assert.equal(calls.length, 1)
        // One that waits, and the one that has the turn.
        yield* Effect.forkChild(Fiber.interrupt(fibers[2] as (typeof fibers)[number]))
        yield* Effect.forkChild(Fiber.interrupt(fibers[1] as (typeof fibers)[number]))
        yield* others
        // And one whose append is decided.
        const interrupting = yield* Effect.forkChild(Fiber.interrupt(fibers[3] as (typeof fibers)[number]))
        yield* others
        yield* go(calls, 0)
        yield* go(calls, 1)
        yield* Fiber.await(interrupting)
        const [first, second, third] = yield* outcomes(fibers)
        assert.deepEqual([first, second, third], [[2, 2], "interrupted", "interrupted"])
        assert.deepEqual(yield* balance, [1, 3])
      })
    )
  )

  it.effect("see nothing of a nested unit of work that was dropped", () =>
    held((calls) =>
      Effect.gen(function* () {
        const dropping = UnitOfWork.transact(
          Effect.gen(function* () {
            yield* withdraw(ada, 1)
            yield* Effect.ignore(UnitOfWork.transact(Effect.andThen(withdraw(ada, 2), Effect.fail("dropped"))))
          })
        )
        const fibers = yield* started<unknown, unknown, UnitOfWork.UnitOfWork | EventStore.EventStore>([dropping, withdrawing(2)])
        yield* go(calls, 0)
        yield* go(calls, 1)
        assert.deepEqual(yield* outcomes(fibers), [undefined, [0, 3]])
      })
    )
  )

  it.effect("see what was staged in place of what was dropped", () =>
    held((calls) =>
      Effect.gen(function* () {
        const dropping = UnitOfWork.transact(
          Effect.gen(function* () {
            yield* Repository.load(Account, ben)
            yield* Effect.ignore(UnitOfWork.transact(Effect.andThen(withdraw(ada, 2), Effect.fail("dropped"))))
            yield* UnitOfWork.stage("Account-ada", [{ type: "Deposited", payload: { amount: 5 } }])
          })
        )
        const fibers = yield* started<unknown, unknown, UnitOfWork.UnitOfWork | EventStore.EventStore>([dropping, withdrawing(1)])
        yield* go(calls, 0)
        yield* go(calls, 1)
        assert.deepEqual(yield* outcomes(fibers), [undefined, [7, 3]])
      })
    )
  )

  it.effect("are shown what others wrote before they came", () =>
    held((calls, store) =>
      Effect.gen(function* () {
        const latch = yield* Deferred.make<void>()
        const looking = (until: Effect.Effect<void>) =>
          UnitOfWork.transact(
            Effect.map(
              Repository.execute(Account, ada, () => Effect.as(until, [])),
              ({ state }) => [state.balance]
            )
          )
        const fibers = yield* started([withdrawing(1), looking(Deferred.await(latch))])
        yield* go(calls, 0)
        yield* store.append("Account-ada", [{ type: "Deposited", payload: { amount: 10 } }])
        const late = yield* started([looking(Effect.void)])
        yield* Deferred.succeed(latch, undefined)
        assert.deepEqual(yield* outcomes([...fibers, ...late]), [[2, 2], [2], [12]])
      })
    )
  )

  it.effect("are read by each aggregate of the stream by itself", () =>
    held((calls) =>
      Effect.gen(function* () {
        const Count = Aggregate.make("Account", { events: [Deposited], initial: 0, evolve: { Deposited: (n) => n + 1 } })
        const counting = UnitOfWork.transact(
          Effect.gen(function* () {
            const { state } = yield* Repository.execute(Count, "ada", (n) => [Deposited.make({ amount: n })])
            return [state, (yield* Repository.load(Account, ada)).state.balance]
          })
        )
        const depositing = Effect.map(UnitOfWork.transact(deposit(ada, 1)), ({ state }) => [state.balance])
        const fibers = yield* started([depositing, counting, depositing])
        yield* go(calls, 0)
        yield* go(calls, 1)
        yield* go(calls, 2)
        assert.deepEqual(yield* outcomes(fibers), [[4], [3, 6], [7]])
      })
    )
  )

  it.effect("of which the answer is lost are all in doubt, and the next one sees what stands", () =>
    held((calls, store) =>
      Effect.gen(function* () {
        const fibers = yield* started(Array.from({ length: 3 }, () => withdrawing()))
        yield* go(calls, 0)
        const late = yield* started([withdrawing()])
        yield* store.appendAll((calls[1] as Call).appends)
        const reason = new EventStore.OutcomeUnknown({ operation: "append", detail: "the test says so" })
        yield* go(calls, 1, new EventStore.EventStoreError({ reason }))
        assert.deepEqual(yield* outcomes([...fibers, ...late]), [
          [2, 2],
          "EventStoreError",
          "EventStoreError",
          "OptimisticLockError"
        ])
        const next = yield* started([UnitOfWork.transact(deposit(ada, 1))])
        yield* go(calls, 2)
        const [last] = yield* outcomes(next)
        assert.equal((last as { readonly version: number }).version, 5)
      })
    )
  )

  it.effect("of others do not wait", () =>
    held((calls) =>
      Effect.gen(function* () {
        const stuck = yield* Effect.forkChild(UnitOfWork.transact(Effect.andThen(withdraw(ada, 1), Effect.never)))
        yield* others
        const fibers = yield* started([
          Effect.map(UnitOfWork.transact(deposit(ben, 1)), ({ version }) => version),
          Effect.map(UnitOfWork.transact(Repository.load(Account, ada)), ({ version }) => version),
          Effect.map(Repository.read(Account, ada), ({ version }) => version)
        ])
        yield* go(calls, 0)
        assert.deepEqual(yield* outcomes(fibers), [1, 1, 1])
        yield* Fiber.interrupt(stuck)
      })
    )
  )
})

describe("a turn ends in time", () => {
  const short = UnitOfWork.layerWith({ maxTurn: "20 millis" }).pipe(Layer.provideMerge(EventStore.layerMemory))

  it.effect("where a handler never ends: it loses, and nobody else does", () =>
    Effect.gen(function* () {
      yield* Repository.append(Account, ada, [Deposited.make({ amount: 3 })])
      const latch = yield* Deferred.make<void>()
      const frozen = yield* Effect.forkChild(UnitOfWork.transact(Effect.andThen(withdraw(ada, 1), Deferred.await(latch))))
      yield* others
      const fibers = yield* started([withdrawing(), withdrawing()])
      assert.deepEqual(yield* outcomes(fibers), [
        [2, 2],
        [1, 3]
      ])
      yield* Deferred.succeed(latch, undefined)
      assert.equal(yield* outcome(frozen), "OptimisticLockError")
    }).pipe(Effect.provide(short))
  )

  it.effect("where one waits for another that waits for its turn", () =>
    Effect.gen(function* () {
      yield* Repository.append(Account, ada, [Deposited.make({ amount: 3 })])
      const outside = yield* Effect.context<UnitOfWork.UnitOfWork | EventStore.EventStore>()
      const outer = UnitOfWork.transact(
        Effect.gen(function* () {
          yield* withdraw(ada, 1)
          return yield* Effect.promise(() => Effect.runPromiseWith(outside)(withdrawing(2)))
        })
      )
      assert.deepEqual(yield* outcome(yield* Effect.forkChild(outer)), "OptimisticLockError")
      assert.deepEqual(yield* balance, [1, 2])
    }).pipe(Effect.provide(short))
  )

  it.effect("at once with `maxTurn: 0`: nobody waits, and versions decide", () =>
    Effect.gen(function* () {
      yield* Repository.append(Account, ada, [Deposited.make({ amount: 3 })])
      const latch = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(UnitOfWork.transact(Effect.andThen(withdraw(ada, 1), Deferred.await(latch))))
      yield* others
      assert.deepEqual(yield* withdrawing(), [2, 2])
      yield* Deferred.succeed(latch, undefined)
      assert.equal(yield* outcome(fiber), "OptimisticLockError")
    }).pipe(Effect.provide(UnitOfWork.layerWith({ maxTurn: 0 }).pipe(Layer.provideMerge(EventStore.layerMemory))))
  )
})

describe("rules over what the events of one aggregate bear, beside others that command it", () => {
  const shop = Tag.make("shop")
  const Sold = Event.make("Sold", { shop: Schema.String }, { tags: (event) => [shop(event.shop)] })
  const Till = Aggregate.make("Till", { events: [Sold], initial: 0, evolve: { Sold: (count) => count + 1 } })
  const Sales = Decision.make("Sales", { tags: { shop }, events: [Sold], initial: 0, evolve: { Sold: (count) => count + 1 } })
  const sales = Sales({ shop: "a" })
  const sell = Repository.execute(Till, "1", () => Sold.make({ shop: "a" }))
  const selling = UnitOfWork.transact(sell)
  const again = UnitOfWork.retryConflicts({ times: 1 })

  it.effect("are read once what the unit of work stands on is in the log", () =>
    held((calls) =>
      Effect.gen(function* () {
        const looking = UnitOfWork.transact(Effect.andThen(sell, Decision.load(sales)))
        const deciding = UnitOfWork.transact(
          Effect.map(
            Decision.execute(Decision.all([sales, Decision.aggregate(Till, "1")]), Decision.into(Till, "1"), () =>
              Sold.make({ shop: "a" })
            ),
            ({ state }) => state
          )
        )
        const fibers = yield* started<unknown, unknown, UnitOfWork.UnitOfWork | EventStore.EventStore>([
          selling,
          looking,
          deciding
        ])
        for (let nth = 0; nth < 3; nth++) yield* go(calls, nth)
        const [, looked, decided] = yield* outcomes(fibers)
        assert.deepEqual([looked, decided], [2, [3, 3]])
        assert.deepEqual(calls.map(partsOf), [
          [["Till-1", 0, 1]],
          [["Till-1", 1, 1]],
          [
            ["Till-1", 2, 0],
            ["Till-1", 2, 1]
          ]
        ])
      })
    )
  )

  it.effect("lose once at the most: who is run again has its turn before it reads", () =>
    held((calls) =>
      Effect.gen(function* () {
        // It waits for its turn with what it has read, and those before it come into that.
        const late = UnitOfWork.transact(Effect.andThen(Decision.load(sales), sell)).pipe(again)
        // Who has loaded an aggregate takes no turn at it.
        const loading = UnitOfWork.transact(Effect.andThen(Repository.load(Till, "1"), sell)).pipe(again)
        const fibers = yield* started([selling, selling, late, loading, selling, selling])
        // The first one; the second one; those three, of which one has lost; what was behind that; and that once more.
        yield* allSucceed(calls, fibers)
        assert.equal(yield* EventStore.version("Till-1"), 6)
      })
    )
  )

  it.effect("take no turn at an aggregate that is only looked at", () =>
    held((calls) =>
      Effect.gen(function* () {
        const deciding = (till: string) =>
          UnitOfWork.transact(
            Decision.execute(
              Decision.all([Decision.aggregate(Account, ada), Decision.aggregate(Till, till)]),
              Decision.into(Till, till),
              () => Sold.make({ shop: "b" })
            )
          )
        const fibers = yield* started([deciding("2"), deciding("3")])
        assert.deepEqual(calls.map(partsOf), [
          [
            ["Till-2", 0, 0],
            ["Account-ada", 1, 0],
            ["Till-2", 0, 1]
          ],
          [
            ["Till-3", 0, 0],
            ["Account-ada", 1, 0],
            ["Till-3", 0, 1]
          ]
        ])
        for (const nth of [0, 1]) yield* go(calls, nth)
        assert.ok((yield* Effect.forEach(fibers, Fiber.await)).every(Exit.isSuccess))
      })
    )
  )
})

it.effect("units of work one behind the other that are run again together: each has the turn of its own aggregate", () =>
  Effect.gen(function* () {
    const foreign = { type: "Deposited", payload: { amount: 1 } }
    let runs = 0
    // The second one loads before it executes, and somebody comes between, once.
    const second = Effect.gen(function* () {
      yield* Repository.load(Account, ben)
      if (runs++ === 0) yield* EventStore.append("Account-ben", [foreign])
      yield* deposit(ben, 1)
    })
    const both = Effect.andThen(UnitOfWork.transact(deposit(ada, 1)), UnitOfWork.transact(second))
    yield* both.pipe(UnitOfWork.retryConflicts({ times: 1 }))
    // While it goes on others command the aggregate of the first one, and do not wait.
    const slow = yield* Deferred.make<void>()
    const begun = yield* Deferred.make<void>()
    let tries = 0
    const waiting = Effect.gen(function* () {
      yield* Repository.load(Account, ben)
      if (tries++ === 0) yield* EventStore.append("Account-ben", [foreign])
      else yield* Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(slow))
      yield* deposit(ben, 1)
    })
    const fiber = yield* Effect.andThen(UnitOfWork.transact(deposit(ada, 1)), UnitOfWork.transact(waiting)).pipe(
      UnitOfWork.retryConflicts({ times: 1 }),
      Effect.forkChild
    )
    yield* Deferred.await(begun)
    yield* UnitOfWork.transact(deposit(ada, 1))
    yield* Deferred.succeed(slow, undefined)
    yield* Fiber.join(fiber)
    assert.deepEqual(
      [(yield* Repository.read(Account, ada)).version, (yield* Repository.read(Account, ben)).version],
      [2 + 2 + 1, 2 + 2]
    )
  }).pipe(Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))))
)

it.effect(
  "who has lost by a version that it has read for itself is not first beaten a second time, and spoils nothing for others",
  () =>
    held((calls) =>
      Effect.gen(function* () {
        // It reads of the store alone, so it knows nothing of turns, and writes elsewhere when it is run again.
        let tries = 0
        const reading = Effect.gen(function* () {
          const expected = yield* EventStore.version("Account-ada")
          if (tries++ > 0) return yield* UnitOfWork.stage("Other-1", [{ type: "Seen", payload: { expected } }])
          yield* Effect.yieldNow
          return yield* UnitOfWork.stage("Account-ada", [{ type: "Deposited", payload: { amount: 1 } }], { expected })
        })
        const again = UnitOfWork.transact(reading).pipe(UnitOfWork.retryConflicts({ times: 1 }))
        const depositing = UnitOfWork.transact(deposit(ada, 1))
        const fibers = yield* started<unknown, unknown, UnitOfWork.UnitOfWork | EventStore.EventStore>([
          depositing,
          again,
          depositing,
          depositing,
          depositing
        ])
        yield* allSucceed(calls, fibers)
        assert.equal(tries, 2)
        assert.equal(yield* EventStore.version("Account-ada"), 5)
        // It has seen all that was on its way when its turn came.
        const [seen] = yield* Stream.runCollect(EventStore.readAll({ filter: { types: ["Seen"] } }))
        assert.deepEqual(seen?.payload, { expected: 5 })
      })
    )
)

it.effect("a unit of work in a hook of one that is run again has the turn of its own aggregate", () =>
  Effect.gen(function* () {
    const hooked = UnitOfWork.transact(
      Effect.andThen(deposit(ada, 1), UnitOfWork.afterCommit(UnitOfWork.transact(deposit(ben, 1))))
    ).pipe(UnitOfWork.retryConflicts({ times: 3 }))
    yield* Effect.all(
      Array.from({ length: 20 }, () => hooked),
      { concurrency: "unbounded" }
    )
    assert.deepEqual([(yield* Repository.read(Account, ada)).version, (yield* Repository.read(Account, ben)).version], [20, 20])
  }).pipe(Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))))
)

it.effect("a unit of work within a transaction of the database keeps nobody waiting, and nobody decides on it", () =>
  Effect.gen(function* () {
    yield* Repository.append(Account, ada, [Deposited.make({ amount: 3 })])
    const sql = yield* SqlClient.SqlClient
    const latch = yield* Deferred.make<void>()
    const deciding = UnitOfWork.transact(Effect.andThen(withdraw(ada, 3), Deferred.await(latch)))
    const undone = yield* Effect.forkChild(sql.withTransaction(Effect.andThen(deciding, Effect.fail("undone"))))
    yield* others
    const other = yield* Effect.forkChild(withdrawing(1))
    yield* others
    yield* Deferred.succeed(latch, undefined)
    assert.deepEqual(yield* outcomes<unknown, unknown>([undone, other]), ["undone", [2, 2]])
  }).pipe(
    Effect.provide(
      UnitOfWork.layer.pipe(
        Layer.provideMerge(SqliteEventStore.layer),
        Layer.provideMerge(SqliteClient.layer({ filename: ":memory:" }))
      )
    )
  )
)
