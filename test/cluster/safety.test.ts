/** What an owner's kept state, its mailbox and the numbers of a cluster must not come to. */
import assert from "node:assert/strict"
import { NodeCrypto } from "@effect/platform-node"
import { describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Layer, Redacted, Result, Schema, Scope, Stream } from "effect"
import { Sharding, ShardingConfig, SingleRunner, Snowflake, TestRunner } from "effect/cluster"
import { Aggregate, Command, Event, EventStore, MessageBus, Repository, UnitOfWork } from "eventfold"
import { ClusterBus } from "eventfold/cluster"
import { SqliteClient } from "eventfold/sqlite"
import { makeActivation, type Request } from "../../src/cluster/activation.ts"
import { eventually, numbers } from "../support/words.ts"
import { requestOf } from "./requests.ts"

class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { balance: Schema.Int }) {}
const Booked = Event.make("Booked", { amount: Schema.Int })
const Account = Aggregate.make("Account", {
  events: [Booked],
  initial: 0,
  evolve: { Booked: (balance, { amount }) => balance + amount }
})
const payload = { account: Schema.NonEmptyString, amount: Schema.Int }
const Book = Command.make("Book", { payload, success: Schema.Int, error: Overdrawn })
const Transfer = Command.make("Transfer", { payload: { ...payload, to: Schema.NonEmptyString }, error: Overdrawn })
const Balance = Command.make("Balance", { payload: { account: Schema.NonEmptyString }, success: Schema.Int })
const Hang = Command.make("Hang", { payload: { account: Schema.NonEmptyString } })
const commands = [Book, Transfer, Balance, Hang] as const

/** Opens when a command begins that does not end. */
const hung = Latch.makeUnsafe(false)

const booking = (account: string, amount: number) =>
  Effect.map(
    Repository.execute(Account, account, (balance) =>
      balance + amount < 0 ? new Overdrawn({ balance }) : Booked.make({ amount })
    ),
    ({ state }) => state
  )
const Handlers = Layer.mergeAll(
  MessageBus.handle(Book, ({ account, amount }) => booking(account, amount)),
  MessageBus.handle(Transfer, ({ account, amount, to }) =>
    Effect.andThen(booking(account, -amount), Effect.asVoid(booking(to, amount)))
  ),
  MessageBus.handle(Balance, ({ account }) => Effect.map(Repository.load(Account, account), ({ state }) => state)),
  MessageBus.handle(Hang, () => Effect.andThen(hung.open, Effect.never))
)
const idOf = ({ account }: { readonly account: string }) => account
const id = { Book: idOf, Transfer: idOf, Balance: idOf, Hang: idOf }

const Bus = MessageBus.layer.pipe(Layer.provideMerge(UnitOfWork.layer), Layer.provideMerge(EventStore.layerMemory))
const Runner = Layer.provide(ClusterBus.layerRunner(Account, commands, { id }), Handlers)
const Client = ClusterBus.layerClient(Account, commands, { id, patience: "2 seconds" })
const cluster = () => Layer.merge(Runner, Client).pipe(Layer.provideMerge(TestRunner.layer), Layer.provideMerge(Bus))

/** An owner by itself, which takes the handlers of whatever commands come. */
const Owning = Layer.provideMerge(Handlers as unknown as Layer.Layer<MessageBus.Handler<string>>, Bus)
const owner = makeActivation({ aggregate: Account, id: () => "a", stream: "Account-a" }, 64)
const request = (name: string, amount: number) => requestOf(Book, name, { account: "a", amount })

const book = (account: string, amount: number, id?: string) => MessageBus.execute(Book, { account, amount }, { id })
const written = (account: string) => Effect.map(Stream.runCollect(EventStore.read(`Account-${account}`)), ({ length }) => length)

describe("a refusal, and an answer for which nothing is written", () => {
  it.live("is decided on what others have written to the stream", () =>
    Effect.gen(function* () {
      yield* book("a", 100)
      yield* book("b", 1)
      yield* MessageBus.execute(Transfer, { account: "a", to: "b", amount: 50 })
      assert.equal(yield* MessageBus.execute(Balance, { account: "b" }), 51)
      assert.equal(yield* book("b", -40, "once"), 11)
      yield* UnitOfWork.transact(booking("b", -11))
      assert.deepEqual(yield* Effect.flip(book("b", -1)), new Overdrawn({ balance: 0 }))
    }).pipe(Effect.provide(cluster()))
  )

  it.live("is not that of an owner which lives on beside its successor", () =>
    Effect.gen(function* () {
      const first = yield* owner
      yield* first(request("1", 1))
      const second = yield* owner
      yield* second(request("2", 60))
      const third = request("3", -60)
      assert.equal((yield* second(third)).value, 1)
      // It took effect, though the first owner would refuse it by what it has kept.
      assert.equal((yield* first(third)).value, 1)
      yield* second(request("4", 60))
      assert.equal((yield* first(request("5", -60))).outcome, "success")
    }).pipe(Effect.scoped, Effect.provide(Owning))
  )
})

describe("callers of a cluster", () => {
  it.live("that have one number of the cluster are answered each with its own", () => {
    const same = Layer.effect(
      Sharding.Sharding,
      Sharding.Sharding.useSync((sharding) => ({ ...sharding, getSnowflake: Effect.sync(() => Snowflake.make(alike)) }))
    )
    const alike = { timestamp: Date.now(), machineId: 7 as never, sequence: 0 }
    return Effect.gen(function* () {
      const balances = yield* Effect.forEach(numbers(20), () => book("a", 1), { concurrency: "unbounded" })
      assert.deepEqual(
        balances.toSorted((a, b) => a - b),
        numbers(20)
      )
      assert.equal(yield* written("a"), 20)
    }).pipe(
      Effect.provide(
        Layer.merge(Runner, Layer.provide(Client, same)).pipe(Layer.provideMerge(TestRunner.layer), Layer.provideMerge(Bus))
      )
    )
  })

  it.live("that left it are told so", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(cluster(), scope)
      yield* Scope.close(scope, Exit.void)
      const error = yield* Effect.flip(Effect.provide(book("a", 1), context))
      assert.ok(error instanceof Command.CommandElsewhereError && error.reason === "unanswered", String(error))
      assert.match(error.message, /this process left the cluster before eventfold\/Account "a" had answered/)
    })
  )

  it.live("whose metadata is no JSON are told so, as they are without one", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        MessageBus.execute(Book, { account: "a", amount: 1 }, { metadata: { a: { b: Number.NaN } } as never })
      )
      assert.match(error.message, /metadata\.a\.b is NaN/)
      assert.equal(yield* written("a"), 0)
    }).pipe(Effect.provide(cluster()))
  )

  it.live("that have gone are waited for neither by others, nor is done what they have asked for", () =>
    Effect.gen(function* () {
      const decide = yield* owner
      const asking = (asked: Request) => Effect.forkChild(decide(asked), { startImmediately: true })
      const hanging = yield* asking(requestOf(Hang, "hang", { account: "a" }))
      yield* hung.await
      const gone = yield* Effect.forEach(numbers(3), (n) => asking(request(`${n}`, 1)))
      const staying = yield* asking(request("staying", 10))
      yield* Fiber.interruptAll(gone)
      yield* Fiber.interrupt(hanging)
      assert.equal((yield* Fiber.join(staying)).value, 10)
      assert.equal(yield* written("a"), 1)
    }).pipe(Effect.scoped, Effect.provide(Owning))
  )

  it.live("that have given up a command which does not end leave the aggregate to others", () =>
    Effect.gen(function* () {
      const hanging = yield* Effect.flip(MessageBus.execute(Hang, { account: "a" }))
      assert.equal(hanging._tag, "CommandElsewhereError")
      yield* eventually("another one is decided", Effect.map(Effect.result(book("a", 1)), Result.isSuccess))
    }).pipe(Effect.provide(cluster()))
  )
})

describe("a command with a Schema.Redacted", () => {
  const Rotate = Command.make("Rotate", {
    payload: { account: Schema.NonEmptyString, token: Schema.Redacted(Schema.String) },
    success: Schema.Redacted(Schema.String)
  })
  const RotateLive = MessageBus.handle(Rotate, ({ account, token }) =>
    Effect.as(
      Repository.execute(Account, account, () => Booked.make({ amount: 1 })),
      token
    )
  )
  const options = { id: { Rotate: idOf } }

  it.live("stands nowhere in the log", () =>
    Effect.gen(function* () {
      const token = yield* MessageBus.execute(Rotate, { account: "a", token: Redacted.make("hunter2") })
      assert.equal(Redacted.value(token), "hunter2")
      const log = JSON.stringify(yield* Stream.runCollect(EventStore.readAll()))
      assert.match(log, /Booked/)
      assert.doesNotMatch(log, /hunter2/)
    }).pipe(
      Effect.provide(
        Layer.merge(
          Layer.provide(ClusterBus.layerRunner(Account, [Rotate], options), RotateLive),
          ClusterBus.layerClient(Account, [Rotate], options)
        ).pipe(
          Layer.provideMerge(
            SingleRunner.layer({
              runnerStorage: "memory",
              shardingConfig: { shardsPerGroup: 3, simulateRemoteSerialization: true }
            })
          ),
          Layer.provide([SqliteClient.layer({ filename: ":memory:" }), NodeCrypto.layerDigest, ShardingConfig.layerDefaults]),
          Layer.provideMerge(Bus)
        )
      )
    )
  )

  it("is not kept by a cluster", () => {
    const durable = { ...options, delivery: "durable" } as const
    assert.throws(() => ClusterBus.layerClient(Account, [Rotate], durable), /"Rotate" has a Schema\.Redacted/)
    assert.throws(() => ClusterBus.layerRunner(Account, [Rotate], durable), /let it be "volatile"/)
  })
})
