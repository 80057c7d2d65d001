import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Logger, Schema } from "effect"
import { RpcGroup, RpcMiddleware, RpcTest } from "effect/rpc"
import { TestClock } from "effect/testing"
import { Aggregate, Command, Event, EventStore, MessageBus, Tag, UnitOfWork } from "eventfold"
import { ada, deposit, Deposit, Overdrawn, withdraw, Withdraw } from "./support/bank.ts"
import { logs } from "./support/logs.ts"

const secret = "postgres://admin:hunter2@10.0.0.7:5432/bank"
const reason = { operation: "append", detail: `could not connect to ${secret}`, cause: new Error(secret) }
const store = (reason: EventStore.EventStoreErrorReason) => new EventStore.EventStoreError({ reason })

/** All that a unit of work can fail with, and what its caller is told. */
const told: ReadonlyArray<readonly [error: UnitOfWork.CommitError, kind: Command.FailureKind, log?: RegExp]> = [
  [new Command.CommandDecodeError({ command: "Deposit", path: "amount", problem: "Expected an integer" }), "invalid"],
  [new Command.CommandIdReusedError({ command: "Deposit", id: "1" }), "invalid"],
  [new Command.CommandElsewhereError({ command: "Deposit", reason: "full", detail: secret }), "unavailable"],
  [new Command.CommandElsewhereError({ command: "Deposit", reason: "unanswered", detail: secret }), "unknown", /incident/],
  [new Command.CommandElsewhereError({ command: "Deposit", reason: "inside", detail: secret }), "fault", /incident/],
  [new Aggregate.AggregateIdError({ aggregate: "Account", problem: "must not be empty" }), "invalid"],
  [new Tag.TagError({ tag: "course", problem: "it is empty" }), "invalid"],
  [new EventStore.OptimisticLockError({ stream: `Account-${secret}`, expected: 1, actual: 2 }), "conflict"],
  [new EventStore.AppendConditionError({ position: 1 }), "conflict"],
  [store(new EventStore.TransactionConflict(reason)), "conflict"],
  [store(new EventStore.StoreUnavailable(reason)), "unavailable", /not available/],
  [store(new EventStore.OutcomeUnknown(reason)), "unknown", /incident/],
  [store(new EventStore.StoreFailure(reason)), "fault", /incident/],
  [store(new EventStore.StoreCorrupted(reason)), "fault", /incident/],
  [store(new EventStore.InvalidRead(reason)), "fault", /incident/],
  [new EventStore.DuplicateEventError({ stream: secret, id: "1" }), "fault", /incident/],
  [new EventStore.InvalidAppendError({ stream: secret, field: "tags", problem: secret }), "fault", /incident/],
  [new Event.EventEncodeError({ type: "Deposited", cause: new Error(secret) }), "fault", /incident/],
  [
    new Event.EventDecodeError({ stream: secret, version: 1, position: 1, type: "x", cause: new Error(secret) }),
    "fault",
    /incident/
  ],
  [new Event.UnknownEventTypeError({ stream: secret, version: 1, position: 1, type: "x" }), "fault", /incident/],
  [new MessageBus.TooManyMessagesError({ limit: 1, recent: [secret] }), "fault", /incident/]
]

const status: { readonly [Kind in Command.FailureKind]: number } = {
  invalid: 400,
  conflict: 409,
  unavailable: 503,
  unknown: 504,
  fault: 500
}

const encode = Schema.encodeUnknownSync(Schema.toCodecJson(Command.CommandFailure))

describe("publicErrors", () => {
  it.effect("makes one error of all that a unit of work can fail with, and nothing of the service's insides leaves", () =>
    Effect.gen(function* () {
      logs(/not available/, /incident/)
      for (const [error, kind, log] of told) {
        const failure = yield* Effect.flip(MessageBus.publicErrors(Effect.fail(error)))
        assert.deepEqual([failure.kind, failure.status], [kind, status[kind]], error._tag)
        assert.equal(failure.incident !== undefined, log?.source === "incident", error._tag)
        assert.doesNotMatch(
          JSON.stringify(encode(failure)) + failure.message + String(failure.cause),
          /hunter2|10\.0\.0\.7|Account-/
        )
      }
      // all of them
      assert.equal(new Set(told.map(([error]) => error._tag)).size, UnitOfWork.CommitError.members.length)
    })
  )

  it.effect("a defect is a fault, for it may hold whatever a driver has said; an interruption stays one", () =>
    Effect.gen(function* () {
      logs(/incident/)
      const failure = yield* Effect.flip(MessageBus.publicErrors(Effect.die(new Error(secret))))
      assert.equal(failure.kind, "fault")
      assert.doesNotMatch(JSON.stringify(encode(failure)), /hunter2/)
      const exit = yield* Effect.exit(MessageBus.publicErrors(Effect.interrupt))
      assert.ok(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
    })
  )

  it.effect("leaves the command's own errors as they are", () =>
    Effect.gen(function* () {
      const error = new Overdrawn({ missing: 1 })
      const own: Effect.Effect<never, Overdrawn | Command.CommandFailure> = MessageBus.publicErrors(Effect.fail(error))
      assert.equal(yield* Effect.flip(own), error)
    })
  )

  it.effect("tries conflicts again first, as often as it is told", () =>
    Effect.gen(function* () {
      let tries = 0
      const racing = (wins: number) =>
        Effect.suspend(() =>
          tries++ < wins ? Effect.fail(new EventStore.AppendConditionError({ position: 1 })) : Effect.succeed(tries)
        )
      assert.equal(yield* MessageBus.publicErrors(racing(5)), 6)
      tries = 0
      assert.equal((yield* Effect.flip(racing(3).pipe(MessageBus.publicErrorsWith({ times: 2 })))).kind, "conflict")
      assert.equal(tries, 3)
    })
  )
})

it.effect("of a store that is not available the log is told once a bus, not for each command, and once when it is again", () =>
  Effect.gen(function* () {
    const lines: Array<string> = []
    const logger = Logger.make<unknown, void>(({ cause, logLevel, message }) => {
      lines.push(`${logLevel} ${String(message)}${cause.reasons.length === 0 ? "" : " with its cause"}`)
    })
    const Beep = Command.make("Beep", {})
    let isAway = true
    const BeepLive = MessageBus.handle(Beep, () =>
      isAway ? Effect.fail(store(new EventStore.StoreUnavailable({ operation: "append", detail: "gone" }))) : Effect.void
    )
    const Live = BeepLive.pipe(
      Layer.provideMerge(MessageBus.layer),
      Layer.provide(UnitOfWork.layer),
      Layer.provide(EventStore.layerMemory)
    )
    yield* Effect.gen(function* () {
      const beep = MessageBus.serve(Beep, undefined, {})
      for (let second = 0; second < 600; second++) {
        assert.equal((yield* Effect.flip(beep)).kind, "unavailable")
        yield* TestClock.adjust("1 second")
      }
      isAway = false
      yield* beep
      yield* beep
    }).pipe(Effect.provide(Live), Effect.provide(Logger.layer([logger])))
    assert.equal(lines.length, 5)
    assert.match(lines[0] ?? "", /^Warn eventfold: commands fail, because the store is not available \(.*gone.*\)$/)
    assert.match(lines[3] ?? "", /not available, \d+ times in 7m/)
    assert.match(lines[4] ?? "", /^Info eventfold: the execution of commands goes on, after 600 failures/)
  })
)

class Caller extends RpcMiddleware.Service<Caller>()("test/Caller") {}
class Bank extends RpcGroup.make(Deposit, Withdraw).middleware(Caller).middleware(Command.CommandFailures) {}

const Handlers = Layer.merge(
  MessageBus.handle(Deposit, ({ account, amount }) => Effect.map(deposit(account, amount), ({ state }) => state.balance)),
  MessageBus.handle(Withdraw, ({ account, amount }) => Effect.map(withdraw(account, amount), ({ state }) => state.balance))
)

const withService = (options?: MessageBus.ServingOptions) => {
  const Service = Layer.mergeAll(
    Layer.provide(MessageBus.toRpcHandlers(Bank, options), Layer.provideMerge(Handlers, MessageBus.layer)),
    Layer.succeed(Caller, (call, { headers }) =>
      Effect.provideService(call, UnitOfWork.CurrentMetadata, { by: headers["caller"] ?? "nobody", tenant: "t" })
    )
  ).pipe(Layer.provide(UnitOfWork.layer), Layer.provideMerge(EventStore.layerMemory))
  return <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.scoped(Effect.provide(effect, Service))
}

describe("toRpcHandlers", () => {
  it.effect("executes each command of a group on the bus, with its errors", () =>
    Effect.gen(function* () {
      const bank = yield* RpcTest.makeClient(Bank)
      assert.equal(yield* bank.Deposit({ account: ada, amount: 5 }), 5)
      assert.deepEqual(yield* Effect.flip(bank.Withdraw({ account: ada, amount: 7 })), new Overdrawn({ missing: 2 }))
      assert.equal(yield* EventStore.version("Account-ada"), 1)
    }).pipe(withService())
  )

  it.effect("a header names the execution, for each caller by itself", () =>
    Effect.gen(function* () {
      const bank = yield* RpcTest.makeClient(Bank)
      const pay = (caller: string, key: string) =>
        bank.Deposit({ account: ada, amount: 5 }, { headers: { caller, "Request-Id": key } })
      assert.deepEqual(yield* Effect.all([pay("a", "b/c"), pay("a", "b/c"), pay("a/b", "c"), pay("ben", "b/c")]), [5, 5, 10, 15])
    }).pipe(withService({ header: "Request-Id" }))
  )

  it.effect("whose an id is can be said", () =>
    Effect.gen(function* () {
      const bank = yield* RpcTest.makeClient(Bank)
      const pay = (caller: string) => bank.Deposit({ account: ada, amount: 5 }, { headers: { caller, "idempotency-key": "k" } })
      assert.deepEqual(yield* Effect.all([pay("ada"), pay("ben")]), [5, 5])
    }).pipe(withService({ caller: ({ tenant }) => String(tenant) }))
  )

  it.effect("calls at once under one id are one execution", () =>
    Effect.gen(function* () {
      const bank = yield* RpcTest.makeClient(Bank)
      const pay = bank.Deposit({ account: ada, amount: 5 }, { headers: { "idempotency-key": "k" } })
      const all = yield* Effect.all(
        Array.from({ length: 10 }, () => pay),
        { concurrency: "unbounded" }
      )
      assert.deepEqual(new Set(all), new Set([5]))
    }).pipe(withService())
  )
})
