import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import {
  Cause,
  Context,
  Deferred,
  Effect,
  Exit,
  Layer,
  Logger,
  Metric,
  Option,
  Redacted,
  References,
  Schema,
  Scope,
  Stream,
  type Tracer
} from "effect"
import { SqlError } from "effect/sql"
import { Aggregate, Command, Event, EventStore, MessageBus, Repository, UnitOfWork } from "eventfold"
import { Account, ada, ben, Deposit, deposit, Deposited, Overdrawn, withdraw, Withdraw, Withdrawn } from "./support/bank.ts"
import { core, elsewhere, makeWirings, notes, type Wired, servers } from "./support/wirings.ts"
import { recordingSpans } from "./support/spans.ts"

const { concurrently, everywhere, inSql } = makeWirings()

const DepositLive = MessageBus.handle(Deposit, ({ account, amount }) =>
  Effect.map(deposit(account, amount), ({ state }) => state.balance)
)
const WithdrawLive = MessageBus.handle(Withdraw, ({ account, amount }) =>
  Effect.map(withdraw(account, amount), ({ state }) => state.balance)
)

const execute = (amount: number) => MessageBus.execute(Deposit, { account: ada, amount })

/** Provides the bus and what is built upon it: handlers and listeners. */
const withBus =
  <A, E, R>(messaging: Layer.Layer<A, E, R>, options: Parameters<typeof MessageBus.layerWith>[0] = {}) =>
  <B, E2, R2>(effect: Effect.Effect<B, E2, R2>) =>
    Effect.provide(effect, Layer.provideMerge(messaging, MessageBus.layerWith(options)))

/** All that stands in the store, in position order. */
const recorded = Stream.runCollect(EventStore.readAll())
const types = Effect.map(recorded, (events) => events.map(({ type }) => type))

const makeTrace = () => {
  const seen: Array<string> = []
  return { seen, mark: (what: string) => Effect.sync(() => void seen.push(what)) }
}

/** An event of the tests that belongs to no aggregate. */
const Noted = Event.make("Noted", { text: Schema.String })
const Announced = Event.make("Announced", { text: Schema.String }, { published: true })

describe("execute", () => {
  everywhere((test) => {
    test("gives the handler's typed result once everything has been committed", () =>
      Effect.gen(function* () {
        assert.equal(yield* execute(5), 5)
        assert.equal(yield* execute(6), 11)
        assert.deepEqual(yield* types, ["Deposit", "Deposited", "Deposit", "Deposited"])
      }).pipe(withBus(DepositLive)))

    test("gives the handler's typed error, and writes nothing", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(MessageBus.execute(Withdraw, { account: ada, amount: 5 }))
        assert.deepEqual(error, new Overdrawn({ missing: 5 }))
        assert.deepEqual(yield* types, [])
      }).pipe(withBus(WithdrawLive)))

    test("inside a unit of work joins it: its events commit with the rest, or not at all", () =>
      Effect.gen(function* () {
        const both = <E>(end: Effect.Effect<void, E>) =>
          UnitOfWork.transact(
            Effect.gen(function* () {
              yield* UnitOfWork.stage("A-1", [{ type: "Before", payload: {} }])
              assert.equal(yield* execute(5), 5)
              assert.equal(yield* EventStore.head, 0)
              yield* end
            })
          )
        yield* Effect.flip(both(Effect.fail("no")))
        assert.deepEqual(yield* types, [])
        yield* both(Effect.void)
        assert.deepEqual(yield* types, ["Before", "Deposit", "Deposited"])
      }).pipe(withBus(DepositLive)))

    test("rollback in a handler ends the unit of work with its result, and writes nothing", () =>
      Effect.gen(function* () {
        assert.equal(yield* execute(5), 5)
        assert.deepEqual(yield* types, [])
      }).pipe(
        withBus(
          MessageBus.handle(Deposit, ({ account, amount }) =>
            Effect.map(Effect.tap(deposit(account, amount), UnitOfWork.rollback), ({ state }) => state.balance)
          )
        )
      ))

    test("a defect of the handler rolls back and stays a defect", () =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(execute(5))
        assert.equal(Exit.isFailure(exit) && Cause.squash(exit.cause), "oops")
        assert.deepEqual(yield* types, [])
      }).pipe(
        withBus(MessageBus.handle(Deposit, ({ account, amount }) => Effect.andThen(deposit(account, amount), Effect.die("oops"))))
      ))

    test("a payload that does not fit is a CommandDecodeError that names the field; the handler does not run", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(execute(1.5))
        assert.ok(error instanceof Command.CommandDecodeError)
        assert.deepEqual([error.command, error.path, error.problem], ["Deposit", "amount", "Expected an integer"])
        assert.equal(error.message, 'Command "Deposit": "amount" does not fit: Expected an integer')
        assert.deepEqual(yield* types, [])
      }).pipe(withBus(MessageBus.handle(Deposit, () => Effect.die("the handler ran")))))

    test("a command within a handler or a listener joins, and the events it stages take their turn", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const Both = Command.make("Both")
        const Messaging = Layer.mergeAll(
          MessageBus.handle(Both, () =>
            Effect.gen(function* () {
              yield* mark("Both begins")
              const balance = yield* execute(5)
              yield* mark(`Both has deposited ${balance}`)
              yield* Effect.orDie(withdraw(ada, 1))
              yield* mark("Both ends")
            })
          ),
          MessageBus.listen(Deposited, ({ amount }) =>
            Effect.andThen(
              mark(`Deposited ${amount}`),
              amount === 5 ? Effect.asVoid(MessageBus.execute(Deposit, { account: ben, amount: 7 })) : Effect.void
            )
          ),
          MessageBus.listen(Withdrawn, ({ amount }) => mark(`Withdrawn ${amount}`))
        ).pipe(Layer.provideMerge(DepositLive))
        yield* MessageBus.execute(Both, undefined).pipe(withBus(Messaging))
        assert.deepEqual(seen, ["Both begins", "Both has deposited 5", "Both ends", "Deposited 5", "Withdrawn 1", "Deposited 7"])
        assert.deepEqual(yield* types, ["Both", "Deposit", "Deposited", "Withdrawn", "Deposit", "Deposited"])
      }))

    test("a command that fails within a handler, and is caught, takes its own part alone", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const Try = Command.make("Try", { success: Schema.String })
        const Messaging = Layer.mergeAll(
          MessageBus.handle(Try, () =>
            Effect.gen(function* () {
              yield* deposit(ada, 3)
              return yield* MessageBus.execute(Withdraw, { account: ada, amount: 5 }).pipe(
                Effect.map(String),
                Effect.catchTag("Overdrawn", ({ _tag }) => Effect.succeed(_tag))
              )
            })
          ),
          MessageBus.listen(Deposited, () => mark("Deposited")),
          MessageBus.listen(Withdrawn, () => mark("Withdrawn"))
        ).pipe(
          Layer.provideMerge(
            MessageBus.handle(Withdraw, ({ account, amount }) =>
              // given a handler that has staged something when it fails
              Repository.execute(Account, account, () => Effect.succeed([Withdrawn.make({ amount })])).pipe(
                Effect.andThen(Effect.fail(new Overdrawn({ missing: 1 })))
              )
            )
          )
        )
        assert.equal(yield* MessageBus.execute(Try, undefined).pipe(withBus(Messaging)), "Overdrawn")
        assert.deepEqual(seen, ["Deposited"])
        assert.deepEqual(yield* types, ["Try", "Deposited"])
      }))

    test("several commands at once in one unit of work: the events of each go to their listeners", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        // given a handler that is still busy when the other one has been handled and dispatched
        const firstIsDone = yield* Deferred.make<void>()
        const Messaging = Layer.mergeAll(
          MessageBus.handle(Deposit, ({ account, amount }) =>
            Effect.as(
              amount === 1 ? deposit(account, 1) : Effect.andThen(Deferred.await(firstIsDone), deposit(account, amount)),
              amount
            )
          ),
          MessageBus.listen(Deposited, ({ amount }) => mark(`Deposited ${amount}`))
        )
        yield* UnitOfWork.transact(
          Effect.all(
            [
              MessageBus.execute(Deposit, { account: ada, amount: 1 }).pipe(
                Effect.andThen(Deferred.succeed(firstIsDone, undefined))
              ),
              MessageBus.execute(Deposit, { account: ben, amount: 2 })
            ],
            // SQL runs nested transactions one after the other, so the one that is awaited comes first
            { concurrency: "unbounded" }
          )
        ).pipe(withBus(Messaging))
        assert.deepEqual(seen, ["Deposited 1", "Deposited 2"])
      }))
  })

  concurrently((test) => {
    test("a conflict at the commit reruns the handler on fresh state with retryConflicts", () =>
      Effect.gen(function* () {
        const balances: Array<number> = []
        const { go } = yield* elsewhere(Repository.append(Account, ada, [Deposited.make({ amount: 100 })]))
        const Messaging = MessageBus.handle(Deposit, ({ account, amount }) =>
          Repository.execute(Account, account, ({ balance }) => {
            balances.push(balance)
            return Effect.as(balances.length === 1 ? go : Effect.void, [Deposited.make({ amount })])
          }).pipe(Effect.map(({ state }) => state.balance))
        )
        assert.equal(yield* execute(5).pipe(UnitOfWork.retryConflicts({ times: 1 }), withBus(Messaging)), 105)
        assert.deepEqual(balances, [0, 100])
        assert.deepEqual(yield* types, ["Deposited", "Deposit", "Deposited"])
      }))
  })

  const twoHundred = Effect.gen(function* () {
    yield* Effect.forEach(Array.from({ length: 200 }), () => UnitOfWork.retryConflicts({ times: 200 })(execute(1)), {
      concurrency: "unbounded",
      discard: true
    }).pipe(withBus(DepositLive))
    assert.deepEqual(yield* Repository.read(Account, ada), { state: { owner: "", balance: 200 }, version: 200 })
  })

  it.effect("200 at once on one aggregate all succeed with retryConflicts", () =>
    Effect.provide(twoHundred, Layer.provideMerge(UnitOfWork.layer, EventStore.layerMemory))
  )

  inSql((test) => {
    test("200 at once on one aggregate all succeed with retryConflicts", () => twoHundred)
  })
})

describe("listen", () => {
  everywhere((test) => {
    test("dispatches first in, first out, breadth first, listeners in the order of their Layers; all in one commit", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const Tree = Event.make("Tree", { path: Schema.String })
        const Forest = Aggregate.make("Forest", { events: [Tree], initial: 0, evolve: { Tree: (count) => count + 1 } })
        const grow = (...paths: ReadonlyArray<string>) =>
          Repository.execute(Forest, "1", () => Effect.succeed(paths.map((path) => Tree.make({ path }))))
        const Plant = Command.make("Plant")
        // given two listeners that each stage more, over three levels
        const listener = (name: string) =>
          MessageBus.listen(Tree, ({ path }) =>
            Effect.andThen(mark(`${name} ${path}`), path.length < 3 ? Effect.asVoid(grow(path + name)) : Effect.void)
          )
        const Messaging = Layer.mergeAll(
          MessageBus.handle(Plant, () => Effect.asVoid(grow("1", "2"))),
          listener("x"),
          listener("y")
        )
        yield* MessageBus.execute(Plant, undefined).pipe(withBus(Messaging))
        const order = ["1", "2", "1x", "1y", "2x", "2y", "1xx", "1xy", "1yx", "1yy", "2xx", "2xy", "2yx", "2yy"]
        assert.deepEqual(
          seen,
          order.flatMap((path) => [`x ${path}`, `y ${path}`])
        )
        const events = yield* Stream.runCollect(Repository.events(Forest, "1"))
        assert.deepEqual(
          events.map(({ event }) => event.path),
          order
        )
      }))

    test("hands over the event with what will be stored of it", () =>
      Effect.gen(function* () {
        const envelopes: Array<MessageBus.Envelope> = []
        const Messaging = Layer.merge(
          DepositLive,
          MessageBus.listen(Deposited, (event, envelope) =>
            Effect.sync(() => {
              assert.deepEqual(event, Deposited.make({ amount: 5 }))
              envelopes.push(envelope)
            })
          )
        )
        yield* MessageBus.execute(Deposit, { account: ada, amount: 5 }, { metadata: { who: "me" } }).pipe(withBus(Messaging))
        const [command, event] = yield* recorded
        assert.deepEqual(envelopes, [
          {
            id: event?.id,
            stream: "Account-ada",
            version: 1,
            metadata: event?.metadata,
            correlationId: command?.id,
            causationId: command?.id,
            replay: false
          }
        ])
        assert.equal(event?.metadata["who"], "me")
      }))

    test("a listener that fails or dies rolls everything back, and later listeners do not run", () =>
      Effect.gen(function* () {
        const error = new EventStore.AppendConditionError({ position: 9 })
        const fail = Effect.fail(error)
        for (const end of [fail, Effect.die(error)]) {
          const { mark, seen } = makeTrace()
          const Messaging = Layer.mergeAll(
            DepositLive,
            MessageBus.listen(Deposited, () => Effect.andThen(mark("first"), end)),
            MessageBus.listen(Deposited, () => mark("second"))
          )
          const exit = yield* Effect.exit(execute(5)).pipe(withBus(Messaging))
          assert.ok(Exit.isFailure(exit))
          assert.equal(Cause.squash(exit.cause), error)
          assert.equal(Cause.hasDies(exit.cause), end !== fail)
          assert.deepEqual(seen, ["first"])
          assert.deepEqual(yield* types, [])
        }
      }))

    test("hears of events that were staged without their type, decoded, and fails typed where they do not fit", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const Raw = Command.make("Raw", { payload: Schema.Json })
        const Messaging = Layer.merge(
          MessageBus.handle(Raw, (payload) => Effect.asVoid(UnitOfWork.stage("A-1", [{ type: "Noted", payload }]))),
          MessageBus.listen(Noted, ({ text }) => mark(text))
        )
        yield* Effect.gen(function* () {
          yield* MessageBus.execute(Raw, { text: "hello" })
          assert.deepEqual(seen, ["hello"])
          const error = yield* Effect.flip(MessageBus.execute(Raw, { text: 1 }))
          assert.ok(error instanceof Event.EventDecodeError)
          assert.deepEqual(yield* types, ["Raw", "Noted"])
        }).pipe(withBus(Messaging))
      }))

    test("does not hear of what a unit of work stages without the bus, nor of commands", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const Like = Event.make("Deposit", { amount: Schema.Int })
        const Messaging = Layer.mergeAll(
          DepositLive,
          MessageBus.listen(Deposited, ({ amount }) => mark(`Deposited ${amount}`)),
          MessageBus.listen(Like, () => mark("Deposit"))
        )
        yield* UnitOfWork.transact(
          Effect.gen(function* () {
            yield* deposit(ben, 1)
            yield* execute(2)
            yield* deposit(ben, 3)
          })
        ).pipe(withBus(Messaging))
        assert.deepEqual(seen, ["Deposited 2"])
      }))

    test("a hook of a message may execute a command, whose events go to their listeners", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const Messaging = Layer.mergeAll(
          MessageBus.handle(Withdraw, ({ account, amount }) =>
            Effect.gen(function* () {
              yield* UnitOfWork.afterCommit(MessageBus.execute(Deposit, { account: ben, amount }))
              return (yield* Repository.execute(Account, account, () => Effect.succeed([Withdrawn.make({ amount })]))).version
            })
          ),
          MessageBus.listen(Withdrawn, () => mark("Withdrawn")),
          MessageBus.listen(Deposited, () => mark("Deposited"))
        ).pipe(Layer.provideMerge(DepositLive))
        yield* MessageBus.execute(Withdraw, { account: ada, amount: 5 }).pipe(withBus(Messaging))
        assert.deepEqual(seen, ["Withdrawn", "Deposited"])
        const events = yield* recorded
        assert.deepEqual(
          events.map(({ type }) => type),
          ["Withdraw", "Withdrawn", "Deposit", "Deposited"]
        )
        // the command of the hook is part of the conversation
        assert.deepEqual(events[2]?.metadata, {
          correlationId: events[0]?.id,
          causationId: events[0]?.id,
          messageKind: "command"
        })
      }))
  })

  it.effect("a listener is removed when its scope closes", () =>
    Effect.gen(function* () {
      const { mark, seen } = makeTrace()
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(
        MessageBus.listen(Deposited, ({ amount }) => mark(`${amount}`)),
        scope
      )
      yield* execute(1)
      yield* Scope.close(scope, Exit.void)
      yield* execute(2)
      assert.deepEqual(seen, ["1"])
    }).pipe(withBus(DepositLive), Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))))
  )

  inSql((test) => {
    test("what handler and listener write in SQL commits with the events, or not at all", () =>
      Effect.gen(function* () {
        const { add, all } = yield* notes
        const Messaging = Layer.mergeAll(
          MessageBus.handle(Deposit, ({ account, amount }) =>
            Effect.as(Effect.andThen(Effect.orDie(add(`handler ${amount}`)), deposit(account, amount)), amount)
          ),
          MessageBus.listen(Deposited, ({ amount }) => Effect.orDie(add(`listener ${amount}`))),
          MessageBus.listen(Deposited, ({ amount }) =>
            amount > 10 ? Effect.fail(new EventStore.AppendConditionError({ position: 1 })) : Effect.void
          )
        )
        yield* Effect.gen(function* () {
          yield* execute(1)
          assert.equal((yield* Effect.flip(execute(11)))._tag, "AppendConditionError")
          assert.deepEqual(yield* all, ["handler 1", "listener 1"])
          const taken = yield* Effect.exit(execute(1))
          assert.ok(Exit.isFailure(taken) && SqlError.isSqlError(Cause.squash(taken.cause)))
          assert.deepEqual(yield* types, ["Deposit", "Deposited"])
        }).pipe(withBus(Messaging))
      }))
  })
})

describe("replay", () => {
  everywhere((test) => {
    test("lets those that opted in hear what stands there, in order, and writes nothing", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const hear =
          (who: string) =>
          (event: { readonly amount: number }, { replay, version }: MessageBus.Envelope) =>
            mark(`${who}: ${event.amount} v${version} ${replay ? "again" : "now"}`)
        const Messaging = Layer.mergeAll(
          DepositLive,
          WithdrawLive,
          MessageBus.listen(Deposited, hear("a"), { replay: true }),
          MessageBus.listen(Deposited, hear("b")),
          MessageBus.listen(Withdrawn, hear("c"), { replay: true })
        )
        yield* Effect.gen(function* () {
          yield* execute(5)
          yield* MessageBus.execute(Withdraw, { account: ada, amount: 2 })
          yield* execute(7)
          assert.deepEqual(seen.splice(0), ["a: 5 v1 now", "b: 5 v1 now", "c: 2 v2 now", "a: 7 v3 now", "b: 7 v3 now"])
          const before = yield* recorded
          const heard = yield* Stream.runCollect(MessageBus.replay())
          assert.deepEqual(seen.splice(0), ["a: 5 v1 again", "c: 2 v2 again", "a: 7 v3 again"])
          assert.deepEqual(
            heard.map(({ position }) => position),
            [2, 4, 6]
          )
          assert.deepEqual(yield* recorded, before)

          // what nobody hears again is not replayed, whether it is asked for or not
          yield* EventStore.append("Account-ben", [{ type: "Opened", payload: { owner: "Ben" } }])
          const positions = (options: Parameters<typeof MessageBus.replay>[0]) =>
            Effect.map(Stream.runCollect(MessageBus.replay(options)), (heard) => heard.map(({ position }) => position))
          assert.deepEqual(yield* positions({ after: 2 }), [4, 6])
          assert.deepEqual(yield* positions({ until: 4 }), [2, 4])
          assert.deepEqual(yield* positions({ filter: { types: ["Withdrawn", "Opened"] } }), [4])
          assert.deepEqual(yield* positions({ filter: [{ types: ["Opened"] }, { categories: ["Account"] }] }), [2, 4, 6])
          assert.deepEqual(yield* positions({ filter: { types: ["Opened"] } }), [])
        }).pipe(withBus(Messaging))
      }))

    test("what a listener stages is caused by the event it heard again, and goes to all listeners", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const Messaging = Layer.mergeAll(
          MessageBus.listen(Deposited, ({ amount }) => MessageBus.publish(Noted, Noted.make({ text: String(amount) })), {
            replay: true
          }),
          MessageBus.listen(Noted, ({ text }, { replay }) => mark(`${text} ${replay}`))
        )
        yield* EventStore.append("Account-ada", [{ type: "Deposited", payload: { amount: 5 }, metadata: { by: "me" } }])
        yield* Stream.runDrain(MessageBus.replay()).pipe(withBus(Messaging))
        assert.deepEqual(seen, ["5 false"])
        const [event, noted] = yield* recorded
        assert.deepEqual(noted?.metadata, {
          by: "me",
          messageKind: "event",
          correlationId: event?.id,
          causationId: event?.id
        })
      }))

    test("a failure rolls back the event in hand and ends it there; it goes on after the last one", () =>
      Effect.gen(function* () {
        let broken = true
        const error = new EventStore.AppendConditionError({ position: 9 })
        const Messaging = MessageBus.listen(
          Deposited,
          ({ amount }) =>
            UnitOfWork.stage("Copy-1", [{ type: "Copied", payload: { amount } }]).pipe(
              Effect.andThen(amount === 2 && broken ? Effect.fail(error) : Effect.void)
            ),
          { replay: true }
        )
        const copies = Effect.map(Stream.runCollect(EventStore.read("Copy-1")), (events) => events.map(({ payload }) => payload))
        yield* EventStore.append(
          "Account-ada",
          [1, 2, 3].map((amount) => ({ type: "Deposited", payload: { amount } }))
        )
        yield* Effect.gen(function* () {
          let last = 0
          const replay = Effect.suspend(() =>
            Stream.runForEach(MessageBus.replay({ after: last }), ({ position }) => Effect.sync(() => void (last = position)))
          )
          assert.equal(yield* Effect.flip(replay), error)
          assert.deepEqual([last, yield* copies], [1, [{ amount: 1 }]])
          broken = false
          yield* replay
          assert.deepEqual([last, yield* copies], [3, [{ amount: 1 }, { amount: 2 }, { amount: 3 }]])
        }).pipe(withBus(Messaging))
      }))

    test("what cannot be decoded is a typed error that says where; the record of a command is no event", () =>
      Effect.gen(function* () {
        const Deposited = Event.make("Deposit", { amount: Schema.Int })
        const { mark, seen } = makeTrace()
        const Messaging = Layer.merge(
          DepositLive,
          MessageBus.listen(Deposited, ({ amount }) => mark(String(amount)), { replay: true })
        )
        yield* Effect.gen(function* () {
          yield* execute(5)
          assert.equal(yield* Stream.runCount(MessageBus.replay()), 0)
          yield* EventStore.append("Account-ben", [{ type: "Deposit", payload: { amount: "5" } }])
          const error = yield* Effect.flip(Stream.runDrain(MessageBus.replay()))
          assert.ok(error._tag === "EventDecodeError")
          assert.deepEqual([error.stream, error.version, error.position], ["Account-ben", 1, 3])
          assert.deepEqual(seen, [])
        }).pipe(withBus(Messaging))
      }))
  })
})

core.describe("the Layer of the bus", () => {
  core.it.effect("is one, wherever it is named: listeners hear what handlers stage that know nothing of them", () =>
    Effect.gen(function* () {
      const { mark, seen } = makeTrace()
      const Bus = Layer.provideMerge(MessageBus.layer, UnitOfWork.layer)
      const Listening = Layer.provide(
        MessageBus.listen(Deposited, ({ amount }) => mark(`heard ${amount}`)),
        Bus
      )
      const Live = Layer.merge(Listening, Layer.provideMerge(DepositLive, Bus)).pipe(Layer.provideMerge(EventStore.layerMemory))
      yield* Effect.provide(execute(5), Live)
      assert.deepEqual(seen, ["heard 5"])
    })
  )
})

describe("publish", () => {
  everywhere((test) => {
    test("stores the event in its conversation, hands it to its listeners, and says whether it leaves", () =>
      Effect.gen(function* () {
        const { mark, seen } = makeTrace()
        const Messaging = Layer.merge(
          MessageBus.listen(Noted, ({ text }, { stream }) => mark(`${text} ${stream}`)),
          MessageBus.listen(Announced, ({ text }) => mark(text))
        )
        yield* Effect.gen(function* () {
          yield* MessageBus.publish(Noted, Noted.make({ text: "a" }), { correlationId: "c", metadata: { who: "me" } })
          yield* MessageBus.publish(Announced, Announced.make({ text: "b" }), { correlationId: "c" })
        }).pipe(withBus(Messaging))
        assert.deepEqual(seen, ["a $bus-c", "b"])
        assert.deepEqual(
          (yield* recorded).map(({ metadata, payload, published, stream, type }) => ({
            metadata,
            payload,
            published,
            stream,
            type
          })),
          [
            {
              metadata: { who: "me", correlationId: "c", messageKind: "event" },
              payload: { text: "a" },
              published: false,
              stream: "$bus-c",
              type: "Noted"
            },
            {
              metadata: { correlationId: "c", messageKind: "event" },
              payload: { text: "b" },
              published: true,
              stream: "$bus-c",
              type: "Announced"
            }
          ]
        )
      }))

    test("of an event that does not fit is a typed error", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(MessageBus.publish(Noted, { _tag: "Noted", text: 1 as unknown as string }))
        assert.ok(error instanceof Event.EventEncodeError)
        assert.deepEqual(yield* types, [])
      }).pipe(withBus(Layer.empty)))
  })
})

describe("record", () => {
  const Speak = Command.make("Speak")
  const SpeakLive = MessageBus.handle(Speak, () =>
    Effect.gen(function* () {
      yield* deposit(ada, 5)
      yield* MessageBus.publish(Noted, Noted.make({ text: "private" }))
      yield* Effect.orDie(withdraw(ada, 1))
      yield* MessageBus.publish(Announced, Announced.make({ text: "public" }))
    })
  )

  everywhere((test) => {
    for (const [record, expected] of [
      ["all", ["$bus Speak", "Account Deposited", "$bus Noted", "Account Withdrawn", "$bus Announced"]],
      ["names", ["$bus Speak", "Account Deposited", "$bus Noted", "Account Withdrawn", "$bus Announced"]],
      ["events", ["Account Deposited", "$bus Noted", "Account Withdrawn", "$bus Announced"]],
      ["none", ["Account Deposited", "Account Withdrawn", "$bus Announced"]]
    ] as const) {
      test(`"${record}" stores no more than that, and listeners hear the same in the same order`, () =>
        Effect.gen(function* () {
          const { mark, seen } = makeTrace()
          const Messaging = Layer.mergeAll(
            SpeakLive,
            MessageBus.listen(Noted, () => mark("Noted")),
            MessageBus.listen(Announced, () => mark("Announced")),
            MessageBus.listen(Deposited, () => mark("Deposited")),
            MessageBus.listen(Withdrawn, () => mark("Withdrawn"))
          )
          yield* MessageBus.execute(Speak, undefined, { correlationId: "c" }).pipe(withBus(Messaging, { record }))
          assert.deepEqual(seen, ["Deposited", "Noted", "Withdrawn", "Announced"])
          const events = yield* recorded
          assert.deepEqual(
            events.map(({ stream, type }) => `${EventStore.categoryOf(stream)} ${type}`),
            expected
          )
          // what leaves the process is what its definitions say
          assert.deepEqual(
            events.filter(({ published }) => published).map(({ type }) => type),
            ["Withdrawn", "Announced"]
          )
          // and the whole conversation can be found by its id
          const conversation = yield* Stream.runCollect(EventStore.readAll({ filter: { correlationId: "c" } }))
          assert.deepEqual(conversation, events)
        }))
    }
  })

  it.effect("what a command says is not written unless that is asked for, and a secret in it never", () =>
    Effect.gen(function* () {
      const SignUp = Command.make("SignUp", {
        payload: { password: Schema.Redacted(Schema.String, { disallowJsonEncode: true }) },
        success: Schema.Int
      })
      const signUp = MessageBus.execute(SignUp, { password: Redacted.make("secret") })
      const SignUpLive = MessageBus.handle(SignUp, ({ password }) => Effect.succeed(Redacted.value(password).length))
      assert.equal(yield* signUp.pipe(withBus(SignUpLive, { record: "events" })), 6)
      assert.deepEqual(yield* types, [])
      // and where they are, its name alone is: the secret is never written
      for (const record of [undefined, "names", "all"] as const) {
        assert.equal(yield* signUp.pipe(withBus(SignUpLive, { record })), 6)
      }
      const records = yield* Stream.runCollect(EventStore.readAll())
      assert.deepEqual(
        records.map(({ payload, type }) => [type, payload]),
        Array.from({ length: 3 }, () => ["SignUp", null])
      )
      // An execution with an id is known again by what it says: that cannot be told of a secret.
      const again = MessageBus.execute(SignUp, { password: Redacted.make("secret") }, { id: "1" })
      const error = yield* Effect.flip(again).pipe(withBus(SignUpLive))
      assert.equal(error._tag === "InvalidAppendError" && error.field, "SignUp.payload")
      assert.doesNotMatch(String(error), /secret/)
    }).pipe(Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))))
  )
})

describe("correlation and causation", () => {
  everywhere((test) => {
    test("are stamped on every hop", () =>
      Effect.gen(function* () {
        // given a command, whose event makes a listener execute a command, whose event makes a listener publish one
        const Messaging = Layer.mergeAll(
          WithdrawLive,
          MessageBus.listen(Deposited, ({ amount }) =>
            Effect.orDie(Effect.asVoid(MessageBus.execute(Withdraw, { account: ada, amount })))
          ),
          MessageBus.listen(Withdrawn, () => MessageBus.publish(Noted, Noted.make({ text: "done" })))
        ).pipe(Layer.provideMerge(DepositLive), Layer.provideMerge(WithdrawLive))
        yield* execute(5).pipe(withBus(Messaging))
        const events = yield* recorded
        const ids = events.map(({ id }) => id)
        assert.deepEqual(
          events.map(({ metadata, type }) => [type, metadata.correlationId, metadata.causationId]),
          [
            ["Deposit", ids[0], undefined],
            ["Deposited", ids[0], ids[0]],
            ["Withdraw", ids[0], ids[1]],
            ["Withdrawn", ids[0], ids[2]],
            ["Noted", ids[0], ids[3]]
          ]
        )
        // the bus's own messages stand in the stream of the conversation
        assert.deepEqual(
          (yield* Stream.runCollect(EventStore.read(`$bus-${ids[0]}`))).map(({ metadata, type }) => [
            type,
            metadata["messageKind"]
          ]),
          [
            ["Deposit", "command"],
            ["Withdraw", "command"],
            ["Noted", "event"]
          ]
        )
      }))

    test("a correlation id may be given, and two executions without one are two conversations", () =>
      Effect.gen(function* () {
        yield* MessageBus.execute(Deposit, { account: ada, amount: 1 }, { correlationId: "mine" })
        yield* execute(2)
        yield* execute(3)
        const correlations = (yield* recorded).map(({ metadata }) => metadata.correlationId)
        assert.deepEqual(correlations.slice(0, 2), ["mine", "mine"])
        assert.equal(new Set(correlations).size, 3)
      }).pipe(withBus(DepositLive)))
  })
})

describe("wiring", () => {
  class Greeting extends Context.Service<Greeting, string>()("test/Greeting") {}
  const Greet = Command.make("Greet", { payload: Schema.String, success: Schema.String })
  const GreetLive = MessageBus.handle(Greet, (name) => Effect.map(Greeting, (greeting) => `${greeting} ${name}`))

  const memory = Layer.provideMerge(UnitOfWork.layer, EventStore.layerMemory)

  it.effect("a handler sees the services of its Layer, whatever the caller has under the same key", () =>
    Effect.gen(function* () {
      const greet = MessageBus.execute(Greet, "Ada")
      const Hello = Layer.provide(GreetLive, Layer.succeed(Greeting, "Hello"))
      assert.equal(yield* greet.pipe(withBus(Hello)), "Hello Ada")
      assert.equal(yield* greet.pipe(Effect.provideService(Greeting, "Bye"), withBus(Hello)), "Hello Ada")
      // and so does one that another handler, which has the service too, executes
      const Relay = Command.make("Relay", { success: Schema.String })
      const RelayLive = MessageBus.handle(Relay, () =>
        Effect.gen(function* () {
          return `${yield* Greeting}: ${yield* MessageBus.execute(Greet, "Ben")}`
        })
      ).pipe(Layer.provide(Layer.succeed(Greeting, "Bye")), Layer.provideMerge(Hello))
      assert.equal(yield* MessageBus.execute(Relay, undefined).pipe(withBus(RelayLive)), "Bye: Hello Ben")
    }).pipe(Effect.provide(memory))
  )

  it.effect("a handler runs in the execution of its caller, whatever its Layer was built in", () =>
    Effect.gen(function* () {
      const Ask = Command.make("Ask", { success: Schema.Array(Schema.String) })
      const AskLive = MessageBus.handle(Ask, () =>
        Effect.gen(function* () {
          yield* UnitOfWork.stage("A-1", [{ type: "Asked", payload: {} }])
          return Object.entries(yield* References.CurrentLogAnnotations).map(([key, value]) => `${key} ${String(value)}`)
        })
      )
      // given a Layer that is built in a unit of work, with an annotation and metadata
      const built = yield* Layer.build(Layer.provideMerge(AskLive, MessageBus.layer)).pipe(
        UnitOfWork.transact,
        Effect.annotateLogs("at", "building"),
        Effect.provideService(UnitOfWork.CurrentMetadata, { correlationId: "building" })
      )
      // when a command is executed, it is told of its caller, and none of that
      const options = { correlationId: "c" }
      const told = yield* MessageBus.execute(Ask, undefined, options).pipe(
        Effect.annotateLogs("by", "caller"),
        Effect.provideContext(built)
      )
      assert.deepEqual(told.toSorted(), ["by caller", "correlationId c"])
      const [, asked] = yield* recorded
      assert.deepEqual([asked?.type, asked?.metadata.correlationId], ["Asked", "c"])
    }).pipe(Effect.provide(memory))
  )

  it.effect("two handlers of one command are refused when they are built, however deep", () =>
    Effect.gen(function* () {
      const second = () => MessageBus.handle(Deposit, () => Effect.succeed(0))
      const Twice: ReadonlyArray<Layer.Layer<MessageBus.Handler<"Deposit"> | MessageBus.MessageBus, unknown, Wired>> = [
        Layer.mergeAll(DepositLive, second(), MessageBus.layer),
        Layer.merge(
          Layer.mergeAll(MessageBus.layer, Layer.provideMerge(WithdrawLive, DepositLive)),
          Layer.unwrap(Effect.succeed(second()))
        ),
        Layer.provideMerge(second(), Layer.merge(MessageBus.layer, DepositLive))
      ]
      for (const layer of Twice) {
        const exit = yield* Effect.exit(Effect.provide(execute(5), layer))
        const defect = Exit.isFailure(exit) && Cause.squash(exit.cause)
        assert.ok(defect instanceof MessageBus.DuplicateHandlerError)
        assert.match(defect.message, /The command "Deposit" has two handlers/)
      }
      assert.deepEqual(yield* types, [])
    }).pipe(Effect.provide(memory))
  )

  it.effect("the same Layer may be used twice, and built again once its scope has closed", () =>
    Effect.gen(function* () {
      const Twice = Layer.merge(Layer.provideMerge(WithdrawLive, DepositLive), DepositLive)
      const memoMap = yield* Layer.makeMemoMap
      for (const balance of [5, 10]) {
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithMemoMap(Layer.provideMerge(Twice, MessageBus.layer), memoMap, scope)
        assert.equal(yield* Effect.provideContext(execute(5), context), balance)
        yield* Scope.close(scope, Exit.void)
        // another handler of the command is no second one any more
        yield* Effect.scoped(Layer.build(MessageBus.handle(Deposit, () => Effect.succeed(0))))
      }
    }).pipe(Effect.provide(memory))
  )
})

describe("spans and metrics", () => {
  const Messaging = Layer.mergeAll(
    MessageBus.listen(Deposited, ({ amount }) =>
      amount > 10
        ? Effect.fail(new EventStore.AppendConditionError({ position: 1 }))
        : Effect.orDie(Effect.asVoid(MessageBus.execute(Withdraw, { account: ada, amount })))
    ),
    MessageBus.listen(Deposited, () => Effect.void),
    MessageBus.listen(Withdrawn, () => Effect.void)
  ).pipe(Layer.provideMerge(DepositLive), Layer.provideMerge(WithdrawLive))

  everywhere((test) => {
    test("a span a message, beneath the span of the message that caused it, with its ids", () =>
      Effect.gen(function* () {
        const { spans, tracer } = recordingSpans()
        yield* execute(5).pipe(Effect.withSpan("caller"), Effect.withTracer(tracer), withBus(Messaging))
        /** The nearest span above, apart from those of the database. */
        const parentOf = (span: Tracer.NativeSpan): string | undefined => {
          const id = Option.map(span.parent, ({ spanId }) => spanId)
          const parent = spans.find(({ spanId }) => Option.contains(id, spanId))
          return parent?.name.startsWith("sql.") === true ? parentOf(parent) : parent?.name
        }
        const own = spans.filter(({ name }) => name.startsWith("process "))
        assert.deepEqual(
          own.map((span) => [span.name, parentOf(span)]),
          [
            ["process Deposit", "caller"],
            ["process Deposited", "process Deposit"],
            ["process Withdraw", "process Deposited"],
            ["process Withdrawn", "process Withdraw"]
          ]
        )
        const events = yield* recorded
        const attribute = (name: string) => own.map(({ attributes }) => attributes.get(name))
        assert.deepEqual(
          attribute("messaging.message.id"),
          events.map(({ id }) => id)
        )
        assert.deepEqual(
          attribute("messaging.message.conversation_id"),
          events.map(({ metadata }) => metadata.correlationId)
        )
        assert.deepEqual(
          attribute("eventfold.message.causation_id"),
          events.map(({ metadata }) => metadata.causationId)
        )
        assert.deepEqual(attribute("eventfold.message.kind"), ["command", "event", "command", "event"])
        assert.ok(own.every(({ kind, status }) => kind === "consumer" && status._tag === "Ended" && Exit.isSuccess(status.exit)))
      }))
  })

  it.effect("what a handler or listener logs tells the conversation", () => {
    const logged: Array<unknown> = []
    const logger = Logger.make(({ fiber, message }) => {
      logged.push([message, fiber.getRef(References.CurrentLogAnnotations)["correlationId"]])
    })
    const Logging = Layer.merge(
      MessageBus.handle(Deposit, ({ account, amount }) =>
        Effect.as(Effect.andThen(Effect.log("handled"), deposit(account, amount)), amount)
      ),
      MessageBus.listen(Deposited, () => Effect.log("heard"))
    )
    return MessageBus.execute(Deposit, { account: ada, amount: 5 }, { correlationId: "c-1" }).pipe(
      withBus(Logging),
      Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))),
      Effect.provide(Logger.layer([logger])),
      Effect.andThen(
        Effect.sync(() =>
          assert.deepEqual(logged, [
            [["handled"], "c-1"],
            [["heard"], "c-1"]
          ])
        )
      )
    )
  })

  it.effect("messages are counted by kind, type and outcome, and their handling is timed", () =>
    Effect.gen(function* () {
      yield* Effect.gen(function* () {
        yield* execute(5)
        yield* Effect.flip(execute(11))
        yield* Effect.flip(MessageBus.execute(Withdraw, { account: ben, amount: 1 }))
      }).pipe(withBus(Messaging))
      const snapshot = yield* Metric.snapshot
      const of = (id: string) =>
        snapshot
          .filter((metric) => metric.id === id)
          .map(({ attributes, state }) => {
            const { kind, outcome, type } = attributes as Record<string, string>
            return [kind, type, outcome, "count" in state && state.count].filter((part) => part !== undefined).join(" ")
          })
          .sort()
      assert.deepEqual(of("eventfold_bus_messages"), [
        "command Deposit success 2",
        "command Withdraw failure 1",
        "command Withdraw success 1",
        "event Deposited failure 1",
        "event Deposited success 1",
        "event Withdrawn success 1"
      ])
      assert.deepEqual(of("eventfold_bus_handler_duration"), [
        "command Deposit 2",
        "command Withdraw 2",
        "event Deposited 2",
        "event Withdrawn 1"
      ])
    }).pipe(
      Effect.provideService(Metric.MetricRegistry, new Map()),
      Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory)))
    )
  )
})

describe("the messages of one unit of work are bounded", () => {
  const Ping = Event.make("Ping", { n: Schema.Int })
  const Pong = Event.make("Pong", { n: Schema.Int })
  const pinging = Layer.mergeAll(
    MessageBus.listen(Ping, ({ n }) => MessageBus.publish(Pong, Pong.make({ n }))),
    MessageBus.listen(Pong, ({ n }) => MessageBus.publish(Ping, Ping.make({ n: n + 1 })))
  )
  const publish = MessageBus.publish(Ping, Ping.make({ n: 1 }))

  everywhere((test) => {
    test("a circle of listeners ends with an error that names it, and nothing is written", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(publish)
        assert.ok(error instanceof MessageBus.TooManyMessagesError)
        assert.equal(error.limit, 50)
        assert.deepEqual(error.recent, ["Pong", "Ping", "Pong", "Ping", "Pong", "Ping", "Pong", "Ping", "Pong", "Ping"])
        assert.match(error.message, /more than 50 messages, the last of them "Pong", "Ping"/)
        assert.equal(yield* EventStore.head, 0)
      }).pipe(withBus(pinging, { maxMessages: 50 })))

    test("so does a circle of a command and an event", () => {
      const Again = Command.make("Again", { payload: { n: Schema.Int } })
      const Next = Event.make("Next", { n: Schema.Int })
      const AgainLive = MessageBus.handle(Again, ({ n }) => MessageBus.publish(Next, Next.make({ n: n + 1 })))
      const Circle = Layer.provideMerge(
        MessageBus.listen(Next, ({ n }) => MessageBus.execute(Again, { n })),
        AgainLive
      )
      return Effect.gen(function* () {
        const error = yield* Effect.flip(MessageBus.execute(Again, { n: 1 }))
        assert.ok(error instanceof MessageBus.TooManyMessagesError)
        assert.equal(yield* EventStore.head, 0)
      }).pipe(withBus(Circle, { maxMessages: 50 }))
    })

    test("as many as are allowed are handled, and each unit of work counts anew", () =>
      Effect.gen(function* () {
        const three = UnitOfWork.transact(Effect.forEach([1, 2, 3], () => execute(1), { discard: true }))
        yield* three
        yield* three
        const four = UnitOfWork.transact(Effect.andThen(three, execute(1)))
        assert.equal((yield* Effect.flip(four))._tag, "TooManyMessagesError")
        assert.equal(yield* execute(1), 7)
      }).pipe(Effect.provide(UnitOfWork.layer), withBus(DepositLive, { maxMessages: 3, record: "none" })))
  })

  servers.it.effect("by 10 000, where nothing else is said; events that nobody listens to do not count", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(publish)
      assert.equal(error._tag === "TooManyMessagesError" && error.limit, 10_000)
      yield* UnitOfWork.transact(
        Effect.forEach(Array.from({ length: 10_001 }), () => MessageBus.publish(Noted, Noted.make({ text: "" })), {
          discard: true
        })
      )
      assert.equal(yield* EventStore.head, 10_001)
    }).pipe(withBus(pinging), Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))))
  )

  it.effect("a bound that is none is refused", () =>
    Effect.gen(function* () {
      for (const maxMessages of [0, -1, NaN]) {
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(MessageBus.layerWith({ maxMessages }))))
        assert.match(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", /maxMessages must be a number from 1/)
      }
    }).pipe(Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))))
  )
})
