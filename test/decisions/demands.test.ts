import assert from "node:assert/strict"
import { describe } from "@effect/vitest"
import { Effect, Exit, Layer, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { Decision, Event, EventStore, Repository, Tag, UnitOfWork } from "eventfold"
import { Account, ada, deposit, Deposited } from "../support/bank.ts"
import { core, elsewhere, makeWirings } from "../support/wirings.ts"
import { log } from "./support.ts"

const { concurrentlyOnEveryStore, inEverySql, onEveryStore } = makeWirings()
const { guard, transact, unless } = UnitOfWork

const event = (type: string, ...tags: ReadonlyArray<string>): EventStore.NewEvent => ({ type, payload: {}, tags })
const stage = (stream: string, type: string) => UnitOfWork.stage(stream, [event(type)])

/** The tag of the error that a unit of work fails with. */
const refusal = <E extends { readonly _tag: string }, R>(effect: Effect.Effect<unknown, E, R>) =>
  Effect.match(effect, { onSuccess: () => "committed", onFailure: (error) => error._tag })

describe("unless", () => {
  onEveryStore((test) => {
    test("holds each condition with its own position, and names the newest event in the way", () =>
      Effect.gen(function* () {
        yield* EventStore.append("A-1", [event("a", "x"), event("b", "y"), event("c", "x")])
        const attempt = (...conditions: ReadonlyArray<EventStore.AppendCondition>) =>
          transact(Effect.andThen(Effect.forEach(conditions, unless), stage("B-1", "written")))
        yield* attempt({ filter: { tags: ["x"] }, after: 3 }, { filter: { tags: ["z"] } }, { filter: { types: ["b"] }, after: 2 })
        const error = yield* Effect.flip(
          attempt({ filter: { tags: ["z"] } }, { filter: { types: ["a"] }, after: 0 }, { filter: { tags: ["x"] }, after: 2 })
        )
        assert.ok(error instanceof EventStore.AppendConditionError)
        assert.equal(error.position, 3)
        assert.deepEqual(yield* log, ["A-1@1 a", "A-1@2 b", "A-1@3 c", "B-1@1 written"])
      }))

    test("what the unit of work itself stages is in nobody's way", () =>
      Effect.gen(function* () {
        yield* transact(
          Effect.gen(function* () {
            yield* unless({ filter: { types: ["own"] } })
            yield* stage("A-1", "own")
          })
        )
        assert.deepEqual(yield* log, ["A-1@1 own"])
      }))

    test("a condition that makes no sense is refused at the commit", () =>
      Effect.gen(function* () {
        const refused = transact(Effect.andThen(unless({ filter: { tags: [""] } }), stage("A-1", "lost")))
        assert.equal(yield* refusal(refused), "InvalidAppendError")
        assert.deepEqual(yield* log, [])
      }))

    test("nothing staged, nothing checked", () =>
      Effect.gen(function* () {
        yield* EventStore.append("A-1", [event("a")])
        yield* transact(Effect.andThen(unless({ filter: {} }), guard("A-1", 7)))
        assert.deepEqual(yield* log, ["A-1@1 a"])
      }))

    test("a nested unit of work that fails, or rolls back, takes its conditions and guards with it", () =>
      Effect.gen(function* () {
        yield* EventStore.append("A-1", [event("a")])
        const outer = (nested: Effect.Effect<unknown, string, UnitOfWork.Transaction>) =>
          refusal(
            transact(
              Effect.gen(function* () {
                yield* Effect.exit(transact(nested))
                yield* stage("B-1", "written")
              })
            )
          )
        const demands = [unless({ filter: { types: ["a"] } }), guard("A-1", 0)]
        for (const demand of demands) {
          assert.equal(yield* outer(Effect.andThen(demand, Effect.fail("no"))), "committed")
          assert.equal(yield* outer(Effect.andThen(demand, UnitOfWork.rollback)), "committed")
          assert.notEqual(yield* outer(demand), "committed")
        }
        assert.equal((yield* log).length, 5)
      }))
  })
})

describe("guard", () => {
  onEveryStore((test) => {
    test("a stream that is not written to must stand where it stood", () =>
      Effect.gen(function* () {
        yield* EventStore.append("A-1", [event("a")])
        yield* transact(Effect.all([guard("A-1", 1), guard("C-1", EventStore.ExpectedVersion.NoStream), stage("B-1", "b")]))
        const error = yield* Effect.flip(transact(Effect.all([stage("B-1", "lost"), guard("A-1", 0)])))
        assert.deepEqual(error, new EventStore.OptimisticLockError({ stream: "A-1", expected: 0, actual: 1 }))
        assert.deepEqual(yield* log, ["A-1@1 a", "B-1@1 b"])
      }))

    test("one that is written to as well must have stood there before", () =>
      Effect.gen(function* () {
        yield* EventStore.append("A-1", [event("a")])
        // However it is written to: whatever its version, or by an aggregate.
        yield* transact(Effect.all([stage("A-1", "b"), guard("A-1", 1), stage("A-1", "c")]))
        yield* Repository.append(Account, ada, [Deposited.make({ amount: 1 })])
        yield* transact(Effect.all([deposit(ada, 1), guard("Account-ada", 1), deposit(ada, 1)]))
        assert.equal(yield* refusal(transact(Effect.all([stage("A-1", "d"), guard("A-1", 4)]))), "OptimisticLockError")
        assert.equal(yield* EventStore.version("A-1"), 3)
        assert.equal(yield* EventStore.version("Account-ada"), 3)
      }))
  })

  concurrentlyOnEveryStore((test) => {
    test("somebody who moves the stream meanwhile spoils the commit", () =>
      Effect.gen(function* () {
        yield* EventStore.append("A-1", [event("a")])
        const other = yield* elsewhere(EventStore.append("A-1", [event("b")]))
        const guarded = transact(Effect.all([guard("A-1", 1), stage("B-1", "lost"), other.go]))
        assert.equal(yield* refusal(guarded), "OptimisticLockError")
        assert.deepEqual(yield* log, ["A-1@1 a", "A-1@2 b"])
      }))
  })
})

describe("in a SQL transaction", () => {
  const name = Tag.make("name")
  const Named = Event.make("Named", { name: Schema.String }, { tags: (event) => [name(event.name)] })
  const Claimed = Decision.make("Claimed", { tags: { name }, events: [Named], initial: false, evolve: { Named: () => true } })

  inEverySql((test) => {
    test("rows commit with the decision, and roll back with it", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table claim (name text not null)`
        const claim = (of: string, demand: Effect.Effect<void, never, UnitOfWork.Transaction> = Effect.void) =>
          transact(
            Effect.gen(function* () {
              yield* sql`insert into claim (name) values (${of})`
              yield* demand
              yield* Decision.execute(Claimed({ name: of }), `Name-${of}`, (claimed) =>
                claimed ? Effect.fail("taken" as const) : Named.make({ name: of })
              )
            })
          )
        yield* claim("ada")
        assert.equal(yield* Effect.flip(claim("ada")), "taken")
        const exits = yield* Effect.forEach([unless({ filter: { types: ["Named"] } }), guard("Name-ada", 0)], (demand) =>
          Effect.exit(claim("ben", demand))
        )
        assert.deepEqual(exits.map(Exit.isFailure), [true, true])
        // A savepoint takes its demands with it.
        yield* transact(
          Effect.andThen(Effect.exit(claim("eve", Effect.andThen(guard("Name-ada", 0), Effect.die("no")))), claim("joe"))
        )
        const rows = yield* sql<{ name: string }>`select name from claim order by name`
        assert.deepEqual(
          rows.map(({ name }) => name),
          ["ada", "joe"]
        )
        assert.deepEqual(yield* log, ["Name-ada@1 Named", "Name-joe@1 Named"])
      }).pipe(Effect.ensuring(SqlClient.SqlClient.use((sql) => Effect.orDie(sql`drop table claim`)))))
  })
})

core.describe("retryConflicts", () => {
  core.it.effect("knows conflicts by their tags: of another copy of the package they are conflicts as well", () =>
    Effect.gen(function* () {
      const attempt = (error: unknown) => {
        let tries = 0
        const failing = Effect.suspend(() => Effect.fail((tries++, error)))
        return Effect.as(Effect.exit(UnitOfWork.retryConflicts(failing, { times: 2 })), () => tries)
      }
      const tries = yield* Effect.forEach(
        [
          { _tag: "OptimisticLockError" },
          { _tag: "AppendConditionError" },
          { _tag: "EventStoreError", reason: { _tag: "TransactionConflict" } },
          { _tag: "EventStoreError", reason: { _tag: "StoreUnavailable" } },
          { _tag: "EventStoreError" },
          "OptimisticLockError",
          null
        ],
        attempt
      )
      assert.deepEqual(
        tries.map((count) => count()),
        [3, 3, 3, 1, 1, 1, 1]
      )
    }).pipe(Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))))
  )
})
