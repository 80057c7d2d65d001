import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, Clock, Deferred, Effect, Exit, Fiber, Hash, Layer, Logger, Metric, Schedule, Stream } from "effect"
import { SqlClient, SqlError } from "effect/sql"
import { TestClock } from "effect/testing"
import { EventStore, Repository, UnitOfWork } from "eventfold"
import { Account, ada, Deposited, withdraw } from "./support/bank.ts"
import { elsewhere, makeWirings, notes, servers, TestSchema } from "./support/wirings.ts"

const { concurrently, everywhere, inSql, onServer } = makeWirings()

const event = (type: string): EventStore.NewEvent => ({ type, payload: {} })

/** Stages one event, without a check. */
const stage = (stream: string, type: string) => UnitOfWork.stage(stream, [event(type)])

/** All that stands in the store, in position order: `A-1@1 Happened`. */
const log = Effect.map(Stream.runCollect(EventStore.readAll()), (events) =>
  events.map(({ stream, type, version }) => `${stream}@${version} ${type}`)
)

/** Runs an effect and collects what it logs. */
const logged = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const messages: Array<string> = []
    const logger = Logger.make(({ cause, message }) => {
      messages.push(`${String(message)}: ${String(Cause.squash(cause))}`)
    })
    return Effect.map(Effect.provide(effect, Logger.layer([logger])), () => messages)
  })

/** A list that effects write into, to see what ran and in which order. */
const makeTrace = () => {
  const seen: Array<string> = []
  return { seen, mark: (what: string) => Effect.sync(() => void seen.push(what)) }
}

describe("transact", () => {
  everywhere((test) => {
    test("commits what was staged in one append, in the order in which it was staged", () =>
      Effect.gen(function* () {
        // given a unit of work that stages in two streams, to and fro
        const value = yield* UnitOfWork.transact(
          Effect.gen(function* () {
            yield* stage("A-1", "first")
            yield* stage("B-1", "second")
            yield* stage("A-1", "third")
            // when it is still under way, nothing stands in the store
            assert.equal(yield* EventStore.head, 0)
            return "done"
          })
        )
        // then its value comes back, and positions are in the order of staging
        assert.equal(value, "done")
        assert.deepEqual(yield* log, ["A-1@1 first", "B-1@1 second", "A-1@2 third"])
      }))

    test("is all or nothing across streams", () =>
      Effect.gen(function* () {
        // given a stream that is further than the unit of work expects
        yield* EventStore.append("B-1", [event("before")])
        const error = yield* Effect.flip(
          UnitOfWork.transact(
            Effect.gen(function* () {
              yield* stage("A-1", "lost")
              yield* UnitOfWork.stage("B-1", [event("lost")], { expected: 0 })
              yield* stage("C-1", "lost")
            })
          )
        )
        // then the error says where the stream really is, and none of the three is written
        assert.ok(error instanceof EventStore.OptimisticLockError)
        assert.deepEqual({ ...error }, { _tag: "OptimisticLockError", stream: "B-1", expected: 0, actual: 1 })
        assert.deepEqual(yield* log, ["B-1@1 before"])
      }))

    test("that stages nothing writes nothing", () =>
      Effect.gen(function* () {
        assert.equal(yield* UnitOfWork.transact(Effect.succeed(7)), 7)
        assert.equal(yield* EventStore.head, 0)
      }))

    test("rolls back on a failure, a defect and an interruption, and leaks nothing into the next", () =>
      Effect.gen(function* () {
        const attempt = (end: Effect.Effect<never, string>) =>
          Effect.exit(UnitOfWork.transact(Effect.andThen(stage("A-1", "lost"), end)))
        // given three units of work that end badly
        const failed = yield* attempt(Effect.fail("no"))
        const died = yield* attempt(Effect.die("oops"))
        const interrupted = yield* attempt(Effect.interrupt)
        // when one more commits
        yield* UnitOfWork.transact(stage("A-1", "kept"))
        // then each ended as its effect did, and only the last one has been written
        assert.deepEqual(failed, Exit.fail("no"))
        assert.deepEqual(Exit.isFailure(died) && Cause.squash(died.cause), "oops")
        assert.ok(Exit.isFailure(interrupted) && Cause.hasInterruptsOnly(interrupted.cause))
        assert.deepEqual(yield* log, ["A-1@1 kept"])
      }))

    test("can be interrupted wherever its effect can", () =>
      Effect.gen(function* () {
        const nothing: Effect.Effect<unknown, UnitOfWork.CommitError, UnitOfWork.Transaction | UnitOfWork.UnitOfWork> =
          Effect.void
        for (const before of [nothing, stage("A-1", "lost"), UnitOfWork.transact(stage("A-1", "lost"))]) {
          // given a unit of work that waits for ever, after nothing, a staged event or a nested unit of work
          const waiting = yield* Deferred.make<void>()
          const fiber = yield* Effect.forkChild(
            UnitOfWork.transact(before.pipe(Effect.andThen(Deferred.succeed(waiting, undefined)), Effect.andThen(Effect.never)))
          )
          yield* Deferred.await(waiting)
          // when it is interrupted, then it ends
          yield* Fiber.interrupt(fiber)
        }
        assert.deepEqual(yield* log, [])
        yield* UnitOfWork.transact(stage("A-1", "kept"))
        assert.deepEqual(yield* log, ["A-1@1 kept"])
      }))

    test("fibers that outlive their unit of work cannot stage events that nobody would write", () =>
      Effect.gen(function* () {
        // given a fiber that was forked in a unit of work and is still there when that has ended
        const ended = yield* Deferred.make<void>()
        const fork = <E, R>(late: Effect.Effect<unknown, E, R>) =>
          Effect.forkDetach(Effect.andThen(Deferred.await(ended), Effect.asVoid(late)))
        const fibers = yield* UnitOfWork.transact(
          Effect.all([
            fork(stage("A-1", "late")),
            fork(UnitOfWork.transact(stage("A-1", "late"))),
            fork(UnitOfWork.afterCommit(Effect.void)),
            fork(UnitOfWork.afterRollback(Effect.void))
          ])
        )
        yield* Deferred.succeed(ended, undefined)
        // when it goes on, then that is a defect that says so
        for (const fiber of fibers) {
          const exit = yield* Fiber.await(fiber)
          assert.match(
            String(Exit.isFailure(exit) && Cause.squash(exit.cause)),
            /the (unit of work|transaction) has (ended already|already ended)/
          )
        }
        assert.deepEqual(yield* log, [])
      }))

    test("metadata of the context is merged into each event, under its own", () =>
      Effect.gen(function* () {
        yield* UnitOfWork.transact(
          UnitOfWork.stage("A-1", [{ ...event("a"), metadata: { who: "ben", what: 1 } }, event("b")]).pipe(
            Effect.provideService(UnitOfWork.CurrentMetadata, { correlationId: "c", who: "ada" })
          )
        )
        const metadata = Effect.map(Stream.runCollect(EventStore.read("A-1")), (events) => events.map(({ metadata }) => metadata))
        assert.deepEqual(yield* metadata, [
          { correlationId: "c", who: "ben", what: 1 },
          { correlationId: "c", who: "ada" }
        ])
      }))
  })

  concurrently((test) => {
    test("two units of work that race for a stream: one commits, the other gets the actual version", () =>
      Effect.gen(function* () {
        // given two units of work that have both read the stream at version 0
        const bothHaveRead = yield* Deferred.make<void>()
        let readers = 0
        const racer = UnitOfWork.transact(
          Repository.execute(Account, ada, () =>
            Effect.gen(function* () {
              if (++readers === 2) yield* Deferred.succeed(bothHaveRead, undefined)
              yield* Deferred.await(bothHaveRead)
              return [Deposited.make({ amount: 1 })]
            })
          )
        )
        const exits = yield* Effect.all([Effect.exit(racer), Effect.exit(racer)], { concurrency: "unbounded" })
        // then one is written
        const errors = exits.filter(Exit.isFailure).map(({ cause }) => Cause.squash(cause))
        assert.deepEqual(errors, [new EventStore.OptimisticLockError({ stream: "Account-ada", expected: 0, actual: 1 })])
        assert.deepEqual(yield* log, ["Account-ada@1 Deposited"])
      }))
  })

  /** The store of the environment, whose next `appendAll` is done but not answered before `go`. */
  const makeSlowCommits = Effect.gen(function* () {
    const store = yield* EventStore.EventStore
    const committing = yield* Deferred.make<void>()
    const go = yield* Deferred.make<void>()
    const slow = EventStore.EventStore.of({
      ...store,
      appendAll: (...args) =>
        Deferred.succeed(committing, undefined).pipe(Effect.andThen(Deferred.await(go)), Effect.andThen(store.appendAll(...args)))
    })
    return { committing, go, layer: Layer.succeed(EventStore.EventStore, slow) }
  })

  it.effect("once its commit is under way it is completed, interruption or not", () =>
    Effect.gen(function* () {
      const { mark, seen } = makeTrace()
      const { committing, go, layer } = yield* makeSlowCommits
      const body = Effect.all([
        stage("A-1", "kept"),
        UnitOfWork.afterCommit(mark("committed")),
        UnitOfWork.afterRollback(mark("rolled back"))
      ])
      const fiber = yield* Effect.forkChild(Effect.provide(UnitOfWork.transact(body), Layer.provide(UnitOfWork.layer, layer)))
      // given a commit that is under way
      yield* Deferred.await(committing)
      // when the unit of work is interrupted
      fiber.interruptUnsafe()
      yield* Deferred.succeed(go, undefined)
      const exit = yield* Fiber.await(fiber)
      // then the commit is completed, its hooks run, and the interruption is obeyed after that
      assert.deepEqual(yield* log, ["A-1@1 kept"])
      assert.deepEqual(seen, ["committed"])
      assert.ok(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
    }).pipe(Effect.provide(EventStore.layerMemory))
  )

  inSql((test) => {
    test("interrupted while it appends, it rolls back: COMMIT has not been sent", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const { committing, go, layer } = yield* makeSlowCommits
        const body = Effect.all([
          stage("A-1", "lost"),
          UnitOfWork.afterCommit(mark("committed")),
          UnitOfWork.afterRollback(mark("rolled back"))
        ])
        const fiber = yield* Effect.forkChild(
          Effect.provide(UnitOfWork.transact(body), Layer.provide(Layer.fresh(UnitOfWork.layerSql), layer))
        )
        yield* Deferred.await(committing)
        fiber.interruptUnsafe()
        yield* Deferred.succeed(go, undefined)
        yield* Fiber.await(fiber)
        assert.deepEqual(yield* log, [])
        assert.deepEqual(seen, ["rolled back"])
        yield* UnitOfWork.transact(stage("A-1", "kept"))
        assert.deepEqual(yield* log, ["A-1@1 kept"])
      }))
  })
})

describe("nested units of work", () => {
  everywhere((test) => {
    test("join the outer one: all commits together, or nothing does", () =>
      Effect.gen(function* () {
        const outer = <E>(end: Effect.Effect<void, E>) =>
          UnitOfWork.transact(
            Effect.gen(function* () {
              yield* stage("A-1", "outer")
              const inner = yield* UnitOfWork.transact(Effect.as(UnitOfWork.transact(stage("A-1", "inner")), "value"))
              assert.equal(inner, "value")
              // the inner ones have ended, and yet nothing is written
              assert.equal(yield* EventStore.head, 0)
              yield* end
            })
          )
        yield* Effect.flip(outer(Effect.fail("no")))
        assert.deepEqual(yield* log, [])
        yield* outer(Effect.void)
        assert.deepEqual(yield* log, ["A-1@1 outer", "A-1@2 inner"])
      }))

    test("that fail drop their own part alone, if the failure is caught", () =>
      Effect.gen(function* () {
        yield* UnitOfWork.transact(
          Effect.gen(function* () {
            yield* stage("A-1", "first")
            const exit = yield* Effect.exit(
              UnitOfWork.transact(
                Effect.gen(function* () {
                  yield* UnitOfWork.transact(stage("A-1", "lost"))
                  yield* stage("B-1", "lost")
                  return yield* Effect.fail("no")
                })
              )
            )
            assert.deepEqual(exit, Exit.fail("no"))
            yield* stage("A-1", "second")
          })
        )
        assert.deepEqual(yield* log, ["A-1@1 first", "A-1@2 second"])
      }))

    test("that roll back on purpose drop their own part, and give their value", () =>
      Effect.gen(function* () {
        const value = yield* UnitOfWork.transact(
          Effect.gen(function* () {
            yield* stage("A-1", "first")
            return yield* UnitOfWork.transact(stage("A-1", "lost").pipe(Effect.andThen(UnitOfWork.rollback), Effect.as("inner")))
          })
        )
        assert.equal(value, "inner")
        assert.deepEqual(yield* log, ["A-1@1 first"])
      }))

    test("may run concurrently: those that fail drop their own part", () =>
      Effect.gen(function* () {
        yield* UnitOfWork.transact(
          Effect.forEach(
            Array.from({ length: 20 }, (_, index) => index),
            (index) =>
              Effect.exit(
                UnitOfWork.transact(
                  stage(`A-${index}`, "staged").pipe(
                    Effect.andThen(Effect.yieldNow),
                    Effect.andThen(index % 2 === 0 ? Effect.void : Effect.fail("odd"))
                  )
                )
              ),
            { concurrency: "unbounded" }
          )
        )
        const streams = (yield* log).map((line) => line.split("@")[0])
        assert.deepEqual(streams.sort(), Array.from({ length: 10 }, (_, index) => `A-${index * 2}`).sort())
      }))
  })
})

describe("staging", () => {
  everywhere((test) => {
    test("an expected version counts what has been staged before", () =>
      Effect.gen(function* () {
        yield* EventStore.append("A-1", [event("before")])
        yield* UnitOfWork.transact(
          Effect.gen(function* () {
            const first = yield* UnitOfWork.stage("A-1", [event("a"), event("b")], { expected: 1 })
            assert.deepEqual(
              first.map(({ version }) => version),
              [2, 3]
            )
            yield* stage("A-1", "c")
            yield* UnitOfWork.stage("A-1", [event("d")], { expected: 4 })
          })
        )
        assert.deepEqual(yield* log, ["A-1@1 before", "A-1@2 a", "A-1@3 b", "A-1@4 c", "A-1@5 d"])
      }))

    test("an expectation that the unit of work itself has overtaken fails at once", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(
          UnitOfWork.transact(
            UnitOfWork.stage("A-1", [event("a")], { expected: 0 }).pipe(
              Effect.andThen(UnitOfWork.stage("A-1", [event("b")], { expected: EventStore.ExpectedVersion.NoStream }))
            )
          )
        )
        assert.deepEqual(error, new EventStore.OptimisticLockError({ stream: "A-1", expected: "no-stream", actual: 1 }))
        assert.deepEqual(yield* log, [])
      }))

    test("an expectation that comes after events without one is checked by the commit", () =>
      Effect.gen(function* () {
        const unit = (expected: number) =>
          UnitOfWork.transact(Effect.andThen(stage("A-1", "a"), UnitOfWork.stage("A-1", [event("b")], { expected })))
        assert.equal((yield* Effect.flip(unit(7)))._tag, "OptimisticLockError")
        assert.deepEqual(yield* log, [])
        yield* unit(1)
        assert.deepEqual(yield* log, ["A-1@1 a", "A-1@2 b"])
      }))

    test("bad input is a typed error of the commit that names the field, and nothing is written", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(
          UnitOfWork.transact(
            Effect.andThen(stage("A-1", "good"), UnitOfWork.stage("B-1", [{ type: "Bad", payload: { name: "a\u0000" } }]))
          )
        )
        assert.ok(error instanceof EventStore.InvalidAppendError)
        assert.deepEqual([error.stream, error.field], ["B-1", "events[0].payload.name"])
        assert.deepEqual(yield* log, [])
      }))
  })
})

describe("what is staged", () => {
  everywhere((test) => {
    test("keeps the ids it was given, and gets one where it has none", () =>
      Effect.gen(function* () {
        const staged = yield* UnitOfWork.transact(
          Effect.gen(function* () {
            yield* UnitOfWork.stage("A-1", [event("first"), { ...event("second"), id: "mine" }, event("third")])
            yield* stage("B-1", "other")
            const transaction = yield* UnitOfWork.Transaction
            const streams = transaction.staged().map(({ stream }) => stream)
            assert.deepEqual(streams, ["A-1", "A-1", "A-1", "B-1"])
            return transaction.staged("A-1")
          })
        )
        const ids = staged.map(({ event }) => event.id)
        assert.equal(ids[1], "mine")
        assert.equal(new Set(ids).size, 3)
        const stored = yield* Stream.runCollect(EventStore.read("A-1"))
        assert.deepEqual(
          stored.map(({ id }) => id),
          ids
        )
      }))

    test("in a stream that has been loaded expects the version that was seen, and what was staged after it", () =>
      Effect.gen(function* () {
        yield* EventStore.append("Account-ada", [{ type: "Opened", payload: { owner: "Ada" } }])
        const twice = Effect.gen(function* () {
          yield* Repository.load(Account, ada)
          for (const amount of [1, 2]) yield* UnitOfWork.stage("Account-ada", [{ type: "Deposited", payload: { amount } }])
        })
        yield* UnitOfWork.transact(twice)
        assert.deepEqual(yield* log, ["Account-ada@1 Opened", "Account-ada@2 Deposited", "Account-ada@3 Deposited"])
      }))

    test("is refused at the commit where the stream must exist and does not", () =>
      Effect.gen(function* () {
        const expected = EventStore.ExpectedVersion.Exists
        const error = yield* Effect.flip(UnitOfWork.transact(UnitOfWork.stage("A-1", [event("lost")], { expected })))
        assert.deepEqual(error, new EventStore.OptimisticLockError({ stream: "A-1", expected, actual: 0 }))
        assert.deepEqual(yield* log, [])
      }))

    test("goes through what has been added before the commit, which may refuse all of it, until that is removed", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const units = yield* UnitOfWork.UnitOfWork
        const types = (staged: ReadonlyArray<UnitOfWork.StagedEvent>) => staged.map(({ event }) => event.type).join()
        const removeFirst = yield* units.beforeCommit((staged) => mark(`first: ${types(staged)}`))
        const refusal = new EventStore.AppendConditionError({ position: 7 })
        const removeSecond = yield* units.beforeCommit((staged) =>
          types(staged) === "unwanted" ? Effect.fail(refusal) : mark(`second: ${types(staged)}`)
        )
        // what goes to listeners alone is not shown
        const shown = UnitOfWork.Transaction.use((transaction) =>
          transaction.stage("A-1", [{ _tag: "Untyped", event: event("shown"), transient: true }], EventStore.ExpectedVersion.Any)
        )
        yield* UnitOfWork.transact(Effect.all([stage("A-1", "a"), shown, stage("B-1", "b")]))
        yield* UnitOfWork.transact(shown)
        yield* UnitOfWork.transact(Effect.void)
        assert.equal(yield* Effect.flip(UnitOfWork.transact(stage("A-1", "unwanted"))), refusal)
        assert.deepEqual(seen.splice(0), ["first: a,b", "second: a,b", "first: unwanted"])
        yield* removeSecond
        yield* UnitOfWork.transact(stage("A-1", "unwanted"))
        yield* removeFirst
        yield* UnitOfWork.transact(stage("A-1", "c"))
        assert.deepEqual(seen, ["first: unwanted"])
        assert.deepEqual(yield* log, ["A-1@1 a", "B-1@1 b", "A-1@2 unwanted", "A-1@3 c"])
      }))
  })

  concurrently((test) => {
    test("in a stream that has been loaded conflicts with what others have appended since", () =>
      Effect.gen(function* () {
        const other = yield* elsewhere(EventStore.append("Account-ada", [{ type: "Opened", payload: { owner: "Ada" } }]))
        const error = yield* Effect.flip(
          UnitOfWork.transact(
            Effect.gen(function* () {
              yield* Repository.load(Account, ada)
              yield* other.go
              yield* UnitOfWork.stage("Account-ada", [{ type: "Deposited", payload: { amount: 1 } }])
            })
          )
        )
        assert.deepEqual(error, new EventStore.OptimisticLockError({ stream: "Account-ada", expected: 0, actual: 1 }))
        assert.deepEqual(yield* log, ["Account-ada@1 Opened"])
      }))
  })
})

describe("rollback", () => {
  everywhere((test) => {
    test("ends the unit of work with its value and writes nothing, neither from before nor from after", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const value = yield* UnitOfWork.transact(
          Effect.gen(function* () {
            yield* stage("A-1", "before")
            yield* UnitOfWork.afterCommit(mark("committed"))
            yield* UnitOfWork.afterRollback(mark("rolled back"))
            yield* UnitOfWork.rollback
            yield* stage("A-1", "after")
            yield* UnitOfWork.transact(stage("A-1", "nested"))
            return 42
          })
        )
        assert.equal(value, 42)
        assert.deepEqual(seen, ["rolled back"])
        assert.deepEqual(yield* log, [])
      }))
  })
})

describe("hooks", () => {
  const hooks = (mark: (what: string) => Effect.Effect<void>, name: string) =>
    Effect.andThen(UnitOfWork.afterCommit(mark(`${name} committed`)), UnitOfWork.afterRollback(mark(`${name} rolled back`)))

  everywhere((test) => {
    test("afterCommit runs once, in order, after the outermost commit", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const seesCommit = Effect.flatMap(log, (lines) => mark(`sees ${lines.length} event`))
        yield* UnitOfWork.transact(
          Effect.gen(function* () {
            yield* UnitOfWork.afterCommit(seesCommit)
            yield* hooks(mark, "outer")
            yield* UnitOfWork.transact(Effect.andThen(hooks(mark, "inner"), stage("A-1", "e")))
            assert.deepEqual(seen, [])
          })
        )
        assert.deepEqual(seen, ["sees 1 event", "outer committed", "inner committed"])
      }))

    test("afterCommit is told the position of the last event, and so is whoever asks with committed", () =>
      Effect.gen(function* () {
        const told: Array<number> = []
        const hook = UnitOfWork.afterCommit(({ position }) => Effect.sync(() => told.push(position)))
        const two = Effect.asVoid(UnitOfWork.stage("A-1", [event("e"), event("f")]))
        const one = UnitOfWork.transact(Effect.andThen(Effect.andThen(hook, UnitOfWork.transact(hook)), two))
        assert.deepEqual(yield* UnitOfWork.committed(Effect.as(one, "done")), { value: "done", position: 2 })
        // the last of several, also where one asks within another
        const twice = UnitOfWork.committed(Effect.andThen(one, UnitOfWork.committed(one)))
        assert.deepEqual(yield* twice, { value: { value: undefined, position: 6 }, position: 6 })
        assert.deepEqual(told, [2, 2, 4, 4, 6, 6])
        // what writes nothing, or is undone, commits nothing
        assert.equal((yield* UnitOfWork.committed(UnitOfWork.transact(Effect.void))).position, 0)
        const undone = UnitOfWork.transact(Effect.andThen(stage("A-1", "g"), UnitOfWork.rollback))
        assert.equal((yield* UnitOfWork.committed(undone)).position, 0)
        yield* UnitOfWork.transact(hook)
        assert.equal(told.at(-1), 0)
      }))

    test("inside a unit of work nothing is committed: asking for it is a defect that says so", () =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(UnitOfWork.transact(UnitOfWork.committed(stage("A-1", "e"))))
        assert.match(String(Exit.isFailure(exit) && Cause.squash(exit.cause)), /inside a unit of work nothing is committed yet/)
        assert.equal(yield* EventStore.head, 0)
      }))

    test("afterRollback runs once, after a failure, a defect, an interruption and a commit that fails; afterCommit never", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const conflict = UnitOfWork.stage("A-1", [event("e")], { expected: 7 })
        const ends: ReadonlyArray<Effect.Effect<unknown, unknown, UnitOfWork.Transaction>> = [
          Effect.fail("no"),
          Effect.die("oops"),
          Effect.interrupt,
          conflict
        ]
        for (const end of ends) {
          yield* Effect.exit(UnitOfWork.transact(Effect.andThen(hooks(mark, "it"), end)))
        }
        assert.deepEqual(
          seen,
          Array.from({ length: 4 }, () => "it rolled back")
        )
      }))

    test("of an inner unit of work that fails afterCommit is dropped, and afterRollback runs when the outer one has ended", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        yield* UnitOfWork.transact(
          Effect.gen(function* () {
            yield* hooks(mark, "outer")
            yield* Effect.exit(UnitOfWork.transact(Effect.andThen(hooks(mark, "inner"), Effect.fail("no"))))
            assert.deepEqual(seen, [])
          })
        )
        assert.deepEqual(seen, ["outer committed", "inner rolled back"])
      }))

    test("of an inner unit of work that succeeds afterRollback runs if the outer one fails", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        yield* Effect.exit(
          UnitOfWork.transact(
            hooks(mark, "outer").pipe(
              Effect.andThen(UnitOfWork.transact(hooks(mark, "inner"))),
              Effect.andThen(Effect.fail("no"))
            )
          )
        )
        assert.deepEqual(seen, ["outer rolled back", "inner rolled back"])
      }))

    test("a hook that fails or dies is reported, the others run, and the outcome stands", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const messages = yield* logged(
          UnitOfWork.transact(
            Effect.gen(function* () {
              yield* stage("A-1", "kept")
              yield* UnitOfWork.afterCommit(Effect.fail("a failure"))
              yield* UnitOfWork.afterCommit(Effect.die("a defect"))
              yield* UnitOfWork.afterCommit(mark("ran"))
            })
          )
        )
        const rolledBack = yield* logged(
          Effect.exit(UnitOfWork.transact(Effect.andThen(UnitOfWork.afterRollback(Effect.die("a defect")), Effect.fail("no"))))
        )
        const report = (when: string, what: string) =>
          `eventfold: an ${when} hook failed; the outcome of the unit of work stands: ${what}`
        assert.deepEqual(messages, [report("afterCommit", "a failure"), report("afterCommit", "a defect")])
        assert.deepEqual(rolledBack, [report("afterRollback", "a defect")])
        assert.deepEqual(seen, ["ran"])
        assert.deepEqual(yield* log, ["A-1@1 kept"])
      }))

    test("a hook is outside of the unit of work: it may open another one, which commits by itself", () =>
      Effect.gen(function* () {
        const another = (type: string) => UnitOfWork.transact(stage("B-1", type))
        yield* UnitOfWork.transact(
          Effect.gen(function* () {
            yield* stage("A-1", "e")
            yield* UnitOfWork.afterCommit(another("after commit"))
            yield* Effect.exit(
              UnitOfWork.transact(Effect.andThen(UnitOfWork.afterRollback(another("after rollback")), Effect.fail("no")))
            )
          })
        )
        yield* Effect.exit(
          UnitOfWork.transact(
            stage("A-1", "lost").pipe(
              Effect.andThen(UnitOfWork.afterRollback(another("after rollback"))),
              Effect.andThen(Effect.fail("no"))
            )
          )
        )
        assert.deepEqual(yield* log, ["A-1@1 e", "B-1@1 after commit", "B-1@2 after rollback", "B-1@3 after rollback"])
      }))
  })

  it.effect("units of work are counted by outcome", () =>
    Effect.gen(function* () {
      yield* UnitOfWork.transact(UnitOfWork.transact(stage("A-1", "e")))
      yield* UnitOfWork.transact(Effect.exit(UnitOfWork.transact(Effect.fail("no"))))
      yield* Effect.exit(UnitOfWork.transact(Effect.fail("no")))
      const counts = (yield* Metric.snapshot)
        .filter(({ id }) => id === "eventfold_units_of_work")
        .map(({ attributes, state }) => [attributes?.["outcome"], "count" in state && state.count])
      assert.deepEqual(counts.sort(), [
        ["committed", 2],
        ["rolled_back", 1]
      ])
    }).pipe(
      Effect.provideService(Metric.MetricRegistry, new Map()),
      Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory)))
    )
  )
})

describe("retryConflicts", () => {
  everywhere((test) => {
    test("reruns the whole effect on fresh state", () =>
      Effect.gen(function* () {
        yield* Repository.append(Account, ada, [Deposited.make({ amount: 10 })])
        let tries = 0
        // given a withdrawal whose first try is overtaken by another one, between the decision and the commit
        const seen: Array<number> = []
        const result = yield* UnitOfWork.transact(
          Effect.gen(function* () {
            const loaded = yield* Repository.load(Account, ada)
            seen.push(loaded.state.balance)
            if (++tries === 1) return yield* new EventStore.OptimisticLockError({ stream: "Account-ada", expected: 1, actual: 2 })
            return yield* withdraw(ada, 4)
          })
        ).pipe(
          Effect.tapError(() => Repository.append(Account, ada, [Deposited.make({ amount: -3 })])),
          UnitOfWork.retryConflicts({ times: 1 })
        )
        assert.deepEqual(seen, [10, 7])
        assert.deepEqual([result.state.balance, result.version], [3, 3])
      }))

    test("gives up after so many repetitions with the last error, and its actual version", () =>
      Effect.gen(function* () {
        let tries = 0
        // given a unit of work that always expects too little, of a stream that grows by one between the tries
        const losing = UnitOfWork.transact(
          Effect.suspend(() => {
            tries++
            return UnitOfWork.stage("A-1", [event("lost")], { expected: 0 })
          })
        )
        const error = yield* EventStore.append("A-1", [event("theirs")]).pipe(
          Effect.andThen(losing),
          UnitOfWork.retryConflicts({ times: 3 }),
          Effect.flip
        )
        assert.equal(tries, 4)
        assert.deepEqual(error, new EventStore.OptimisticLockError({ stream: "A-1", expected: 0, actual: 4 }))
      }))
  })

  it.effect("repeats what may go well next time, and nothing else", () =>
    Effect.gen(function* () {
      const about = { operation: "append", detail: "" }
      const triesOf = (error: unknown) =>
        Effect.suspend(() => {
          let tries = 0
          const failing = Effect.suspend(() => {
            tries++
            return Effect.fail(error)
          })
          return Effect.map(Effect.exit(UnitOfWork.retryConflicts({ times: 2 })(failing)), () => tries)
        })
      const sqlError = (
        Reason: typeof SqlError.SerializationError | typeof SqlError.DeadlockError | typeof SqlError.UnknownError
      ) => new SqlError.SqlError({ reason: new Reason({ cause: undefined }) })
      const repeated = [
        new EventStore.OptimisticLockError({ stream: "A-1", expected: 1, actual: 2 }),
        new EventStore.AppendConditionError({ position: 1 }),
        new EventStore.EventStoreError({ reason: new EventStore.TransactionConflict(about) }),
        sqlError(SqlError.SerializationError),
        sqlError(SqlError.DeadlockError)
      ]
      const others = [
        new EventStore.DuplicateEventError({ stream: "A-1", id: "x" }),
        new EventStore.InvalidAppendError({ stream: "A-1", field: "stream", problem: "is bad" }),
        new EventStore.EventStoreError({ reason: new EventStore.StoreUnavailable(about) }),
        new EventStore.EventStoreError({ reason: new EventStore.OutcomeUnknown(about) }),
        sqlError(SqlError.UnknownError),
        "a domain error"
      ]
      assert.deepEqual(yield* Effect.forEach(repeated, triesOf), [3, 3, 3, 3, 3])
      assert.deepEqual(yield* Effect.forEach(others, triesOf), [1, 1, 1, 1, 1, 1])
      assert.equal(yield* triesOf(repeated[0]), 3)
    })
  )

  it.effect("waits as its schedule says", () =>
    Effect.gen(function* () {
      const tried: Array<number> = []
      const failing = Effect.flatMap(Clock.currentTimeMillis, (now) => {
        tried.push(now)
        return Effect.fail(new EventStore.AppendConditionError({ position: 1 }))
      })
      const fiber = yield* Effect.forkChild(
        Effect.exit(UnitOfWork.retryConflicts({ times: 2, schedule: Schedule.exponential("10 millis") })(failing))
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      assert.deepEqual(tried, [0, 10, 30])
    })
  )
})

servers.describe("layerSql", () => {
  inSql((test) => {
    test("the user's rows commit together with the events", () =>
      Effect.gen(function* () {
        const { add, all } = yield* notes
        yield* UnitOfWork.transact(
          Effect.gen(function* () {
            yield* add("before")
            yield* stage("A-1", "e")
            yield* add("after")
          })
        )
        assert.deepEqual(yield* all, ["after", "before"])
        assert.deepEqual(yield* log, ["A-1@1 e"])
      }))

    test("SQL that fails is the user's own SqlError, and the events go with it", () =>
      Effect.gen(function* () {
        const { add, all } = yield* notes
        yield* add("taken")
        const error = yield* Effect.flip(
          UnitOfWork.transact(
            Effect.gen(function* () {
              yield* stage("A-1", "lost")
              yield* add("lost")
              yield* add("taken")
            })
          )
        )
        assert.ok(SqlError.isSqlError(error))
        assert.equal(error.reason._tag, "UniqueViolation")
        assert.deepEqual(yield* all, ["taken"])
        assert.deepEqual(yield* log, [])
      }))

    test("events that conflict take the rows with them", () =>
      Effect.gen(function* () {
        const { add, all } = yield* notes
        const error = yield* Effect.flip(
          UnitOfWork.transact(Effect.andThen(add("lost"), UnitOfWork.stage("A-1", [event("lost")], { expected: 3 })))
        )
        assert.deepEqual(error, new EventStore.OptimisticLockError({ stream: "A-1", expected: 3, actual: 0 }))
        assert.deepEqual(yield* all, [])
        assert.deepEqual(yield* log, [])
      }))

    test("rollback on purpose, a defect and an interruption take the rows too", () =>
      Effect.gen(function* () {
        const { add, all } = yield* notes
        for (const end of [UnitOfWork.rollback, Effect.die("oops"), Effect.interrupt]) {
          yield* Effect.exit(UnitOfWork.transact(add("lost").pipe(Effect.andThen(stage("A-1", "lost")), Effect.andThen(end))))
        }
        assert.deepEqual(yield* all, [])
        assert.deepEqual(yield* log, [])
      }))

    test("nested ones are savepoints: what fails takes its own rows and events, and the rest commits", () =>
      Effect.gen(function* () {
        const { add, all } = yield* notes
        yield* UnitOfWork.transact(
          Effect.gen(function* () {
            yield* add("outer")
            const error = yield* UnitOfWork.transact(
              add("inner").pipe(Effect.andThen(stage("A-1", "lost")), Effect.andThen(add("outer")))
            ).pipe(Effect.flip)
            assert.ok(SqlError.isSqlError(error))
            yield* UnitOfWork.transact(Effect.andThen(add("second inner"), stage("A-1", "kept")))
          })
        )
        assert.deepEqual(yield* all, ["outer", "second inner"])
        assert.deepEqual(yield* log, ["A-1@1 kept"])
      }))

    test("a COMMIT that a deferred constraint refuses is an EventStoreError that says so; nothing is written, and no hook runs", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const { add, all } = yield* notes
        const error = yield* Effect.flip(
          UnitOfWork.transact(
            Effect.gen(function* () {
              yield* UnitOfWork.afterCommit(mark("committed"))
              yield* UnitOfWork.afterRollback(mark("rolled back"))
              yield* add("child", "no such parent")
              yield* stage("A-1", "lost")
            })
          )
        )
        assert.ok(error instanceof EventStore.EventStoreError)
        assert.deepEqual([error.reason._tag, error.reason.operation], ["StoreFailure", "commit"])
        assert.match(error.message, /violates foreign key constraint/)
        assert.deepEqual(seen, ["rolled back"])
        assert.deepEqual(yield* all, [])
        assert.deepEqual(yield* log, [])
      }))

    test("inside a transaction of the user's own, the unit of work is part of it and afterCommit waits for it", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const sql = yield* SqlClient.SqlClient
        const { add, all } = yield* notes
        const outer = <E>(name: string, end: Effect.Effect<void, E>) =>
          sql.withTransaction(
            Effect.gen(function* () {
              yield* add(`${name}, before`)
              yield* UnitOfWork.transact(
                stage("A-1", name).pipe(
                  Effect.andThen(add(`${name}, inside`)),
                  Effect.andThen(UnitOfWork.afterCommit(mark(`${name} committed`)))
                )
              )
              assert.deepEqual(seen, [])
              yield* end
            })
          )
        yield* Effect.flip(outer("lost", Effect.fail("no")))
        yield* outer("kept", Effect.void)
        assert.deepEqual(seen, ["kept committed"])
        assert.deepEqual(yield* all, ["kept, before", "kept, inside"])
        assert.deepEqual(yield* log, ["A-1@1 kept"])
      }))

    test("inside a transaction of the user's own, a unit of work that fails can be caught, and its hooks can use the database", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const { add, all } = yield* notes
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* add("before")
            yield* Effect.exit(
              UnitOfWork.transact(
                add("lost").pipe(
                  Effect.andThen(UnitOfWork.afterRollback(add("from the hook"))),
                  Effect.andThen(Effect.fail("no"))
                )
              )
            )
            yield* add("after")
          })
        )
        assert.deepEqual(yield* all, ["after", "before", "from the hook"])
      }))

    test("hooks use the database outside of the transaction, on one connection too", () =>
      Effect.gen(function* () {
        const { add, all } = yield* notes
        const hooks = (name: string) =>
          Effect.andThen(UnitOfWork.afterCommit(add(`${name} committed`)), UnitOfWork.afterRollback(add(`${name} rolled back`)))
        yield* UnitOfWork.transact(
          Effect.gen(function* () {
            yield* hooks("first")
            yield* Effect.exit(UnitOfWork.transact(Effect.andThen(hooks("inner"), Effect.fail("no"))))
          })
        )
        yield* Effect.exit(UnitOfWork.transact(Effect.andThen(hooks("second"), Effect.fail("no"))))
        assert.deepEqual(yield* all, ["first committed", "inner rolled back", "second rolled back"])
      }))

    test("over a store that does not live in the client's database it is refused when it is built", () =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(
          Layer.build(UnitOfWork.layerSql.pipe(Layer.provide(EventStore.layerMemory), (layer) => Layer.fresh(layer)))
        )
        assert.match(String(Exit.isFailure(exit) && Cause.squash(exit.cause)), /does not append through the SqlClient/)
      }))
  })

  inSql((test) => {
    test("who waits for a connection can be interrupted", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        // given a transaction that holds a connection (on PGlite, the only one)
        const held = yield* Deferred.make<void>()
        const release = yield* Deferred.make<void>()
        const holder = yield* Effect.forkChild(
          sql.withTransaction(Effect.andThen(Deferred.succeed(held, undefined), Deferred.await(release)))
        )
        yield* Deferred.await(held)
        // when a unit of work is interrupted meanwhile, then it ends although the connection is still held
        const waiting = yield* Effect.forkChild(UnitOfWork.transact(Effect.never), { startImmediately: true })
        yield* Fiber.interrupt(waiting)
        yield* Deferred.succeed(release, undefined)
        yield* Fiber.join(holder)
        yield* UnitOfWork.transact(stage("A-1", "kept"))
        assert.deepEqual(yield* log, ["A-1@1 kept"])
      }))
  })

  onServer((test) => {
    test("an append that collides under REPEATABLE READ is a TransactionConflict, and is retried", () =>
      Effect.gen(function* () {
        const { add, all } = yield* notes
        let tries = 0
        // given a transaction that has its snapshot when somebody else appends
        const { go } = yield* elsewhere(EventStore.append("B-1", [event("theirs")]))
        const unit = UnitOfWork.transact(
          Effect.gen(function* () {
            tries++
            yield* add(`note ${(yield* all).length}`)
            if (tries === 1) yield* go
            yield* stage("A-1", "ours")
          })
        ).pipe(Effect.provideService(SqlClient.BeginTransaction, "BEGIN ISOLATION LEVEL REPEATABLE READ"))
        const error = yield* Effect.flip(unit)
        assert.ok(error instanceof EventStore.EventStoreError)
        assert.equal(error.reason._tag, "TransactionConflict")
        assert.deepEqual(yield* all, [])
        // when it is retried, then it goes well
        tries = 0
        yield* UnitOfWork.retryConflicts({ times: 1 })(unit)
        assert.deepEqual(yield* all, ["note 0"])
        assert.deepEqual(yield* log, ["B-1@1 theirs", "A-1@1 ours"])
      }))

    test("a COMMIT that collides under SERIALIZABLE is a TransactionConflict, and is retried", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const { add, all } = yield* notes
        const countAndAdd = (name: string) => Effect.flatMap(all, (rows) => add(`${name} ${rows.length}`))
        const serializable = Effect.provideService(SqlClient.BeginTransaction, "BEGIN ISOLATION LEVEL SERIALIZABLE")
        // given two transactions that have each counted before they saw the row of the other
        const { go } = yield* elsewhere(serializable(sql.withTransaction(countAndAdd("theirs"))))
        let tries = 0
        const conflicts: Array<string> = []
        yield* UnitOfWork.transact(
          Effect.gen(function* () {
            yield* countAndAdd("ours")
            if (++tries === 1) yield* go
          })
        ).pipe(
          serializable,
          Effect.tapError((error) =>
            Effect.sync(() => {
              if (error._tag === "EventStoreError") conflicts.push(`${error.reason._tag} during ${error.reason.operation}`)
            })
          ),
          UnitOfWork.retryConflicts({ times: 1 })
        )
        assert.deepEqual(conflicts, ["TransactionConflict during commit"])
        assert.deepEqual(yield* all, ["ours 1", "theirs 0"])
      }))

    test("a COMMIT that is under way is completed, interruption or not", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const { mark, seen } = makeTrace()
        const { add, all } = yield* notes
        const schema = yield* TestSchema
        const lock = 1_000_000 + Math.abs(Hash.string(schema) % 1_000_000)
        // given a table whose rows make COMMIT wait for a lock that somebody holds
        yield* sql.unsafe(
          `create function "${schema}".wait() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(${lock}); return null; end $$`
        )
        yield* sql.unsafe(
          `create constraint trigger wait after insert on "${schema}".note deferrable initially deferred for each row execute function "${schema}".wait()`
        )
        const locked = yield* Deferred.make<void>()
        const unlock = yield* Deferred.make<void>()
        const holder = yield* Effect.forkChild(
          sql.withTransaction(
            sql
              .unsafe(`select pg_advisory_xact_lock(${lock})`)
              .pipe(Effect.andThen(Deferred.succeed(locked, undefined)), Effect.andThen(Deferred.await(unlock)))
          )
        )
        yield* Deferred.await(locked)
        const body = Effect.all([
          add("kept"),
          stage("A-1", "kept"),
          UnitOfWork.afterCommit(mark("committed")),
          UnitOfWork.afterRollback(mark("rolled back"))
        ])
        const fiber = yield* Effect.forkChild(UnitOfWork.transact(body))
        const waiting = sql.unsafe(`select 1 from pg_locks where locktype = 'advisory' and objid = ${lock} and not granted`)
        yield* Effect.repeat(waiting, { until: (rows) => rows.length === 1 })
        // when the unit of work is interrupted in the middle of its COMMIT
        fiber.interruptUnsafe()
        yield* Deferred.succeed(unlock, undefined)
        yield* Fiber.join(holder)
        const exit = yield* Fiber.await(fiber)
        // then all is there, the hooks have run, and the interruption is obeyed after that
        assert.deepEqual(yield* all, ["kept"])
        assert.deepEqual(yield* log, ["A-1@1 kept"])
        assert.deepEqual(seen, ["committed"])
        assert.ok(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      }))

    test("a connection that breaks inside is a typed error, and the next unit of work is served", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const { go } = yield* elsewhere(
          sql.unsafe(
            "select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle in transaction' and query like '%victim%'"
          )
        )
        const exit = yield* Effect.exit(
          UnitOfWork.transact(sql.unsafe("select 'victim'").pipe(Effect.andThen(stage("A-1", "lost")), Effect.andThen(go)))
        )
        const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        assert.ok(error instanceof EventStore.EventStoreError, String(error))
        yield* UnitOfWork.transact(stage("A-1", "kept"))
        assert.deepEqual(yield* log, ["A-1@1 kept"])
      }))
  })
})

servers.describe("150 000", () => {
  const many = Array.from({ length: 150_000 }, () => event("many"))
  const inMemory = Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory)))

  servers.it.effect("events are staged and committed by one unit of work", () =>
    Effect.gen(function* () {
      yield* UnitOfWork.transact(UnitOfWork.stage("A-1", many))
      assert.equal(yield* EventStore.version("A-1"), many.length)
    }).pipe(inMemory)
  )

  servers.it.effect("hooks of a nested unit of work are forgotten by a commit, and run by a rollback", () =>
    Effect.gen(function* () {
      let undone = 0
      const nested = UnitOfWork.transact(
        Effect.forEach(many, () => UnitOfWork.afterRollback(Effect.sync(() => void undone++)), { discard: true })
      )
      yield* UnitOfWork.transact(nested)
      assert.equal(undone, 0)
      assert.equal(yield* Effect.flip(UnitOfWork.transact(Effect.andThen(nested, Effect.fail("no")))), "no")
      assert.equal(undone, many.length)
    }).pipe(inMemory)
  )
})
