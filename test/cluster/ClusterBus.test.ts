import assert from "node:assert/strict"
import { NodeCrypto } from "@effect/platform-node"
import { describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Layer, Option, Result, Schedule, Schema, Scope, Stream } from "effect"
import {
  MessageStorage,
  RunnerHealth,
  Runners,
  RunnerStorage,
  Sharding,
  ShardingConfig,
  SingleRunner,
  Snowflake,
  TestRunner
} from "effect/cluster"
import { SqlClient } from "effect/sql"
import {
  Aggregate,
  Checkpoints,
  Command,
  Event,
  EventStore,
  MessageBus,
  ProcessManager,
  Repository,
  Snapshots,
  Subscription,
  UnitOfWork
} from "eventfold"
import { Cluster, ClusterBus } from "eventfold/cluster"
import { SqliteClient, SqliteEventStore } from "eventfold/sqlite"
import { makeActivation } from "../../src/cluster/activation.ts"
import { entityOf } from "../../src/cluster/protocol.ts"
import { inheritedMetadata } from "../../src/definitions/metadata.ts"
import { until } from "../support/child.ts"
import { logs } from "../support/logs.ts"
import { numbers } from "../support/words.ts"
import { requestOf } from "./requests.ts"

class TooMuch extends Schema.TaggedError<TooMuch>()("TooMuch", { total: Schema.Int }) {}

const Added = Event.make("Added", { by: Schema.Int, note: Schema.String })
const Counter = Aggregate.make("Counter", {
  state: Schema.Int,
  events: [Added],
  initial: 0,
  evolve: { Added: (total, { by }) => total + by },
  snapshot: { every: 10 }
})
const Add = Command.make("Add", {
  payload: {
    counter: Schema.NonEmptyString,
    by: Schema.Int,
    note: Schema.String.pipe(Schema.withConstructorDefault(Effect.succeed("")))
  },
  success: Schema.Struct({ total: Schema.Int }),
  error: TooMuch
})
const Nothing = Command.make("Nothing", { payload: { counter: Schema.NonEmptyString } })
const Elsewhere = Command.make("Elsewhere", { payload: { counter: Schema.NonEmptyString } })
const commands = [Add, Nothing, Elsewhere] as const

let runs = 0
const Handlers = Layer.mergeAll(
  MessageBus.handle(Add, ({ by, counter, note }) =>
    Effect.gen(function* () {
      runs++
      const { state } = yield* Repository.execute(Counter, counter, (total) =>
        total + by > 100 ? new TooMuch({ total }) : Added.make({ by, note })
      )
      return { total: state }
    })
  ),
  MessageBus.handle(Nothing, () => Effect.void),
  MessageBus.handle(Elsewhere, () => Effect.asVoid(UnitOfWork.stage("Other-1", [{ type: "Noted", payload: {} }])))
)

const id = {
  Add: ({ counter }: { readonly counter: string }) => counter,
  Nothing: ({ counter }: { readonly counter: string }) => counter,
  Elsewhere: ({ counter }: { readonly counter: string }) => counter
}

const Store = Layer.merge(EventStore.layerMemory, Snapshots.layerMemory)
const Bus = MessageBus.layer.pipe(Layer.provideMerge(UnitOfWork.layer), Layer.provideMerge(Store))

/** One runner, which also has the callers. */
const cluster = (
  options: Partial<ClusterBus.ClientOptions<typeof Counter, typeof commands>> & { readonly maxIdleTime?: string } = {}
) => {
  const { delivery, patience } = options
  const Runner = ClusterBus.layerRunner(Counter, commands, { id, delivery, maxIdleTime: options.maxIdleTime as "5 seconds" })
  const Client = ClusterBus.layerClient(Counter, commands, { id, delivery, patience })
  return Layer.merge(Layer.provide(Runner, Handlers), Client).pipe(Layer.provideMerge(TestRunner.layer), Layer.provideMerge(Bus))
}

const add = (by: number, counter = "a", options?: { readonly id?: string }) => MessageBus.execute(Add, { counter, by }, options)
const stream = (name: string) => Effect.map(Stream.runCollect(EventStore.read(name)), (events) => Array.from(events))

describe("commands that runners handle", () => {
  /** A program that knows of no cluster. */
  const program = Effect.gen(function* () {
    const { position, value } = yield* UnitOfWork.committed(add(1))
    assert.deepEqual(value, { total: 1 })
    assert.equal(position, yield* EventStore.head)
    assert.deepEqual(yield* Effect.flip(add(100)), new TooMuch({ total: 1 }))
    assert.equal(yield* MessageBus.execute(Nothing, { counter: "a" }), undefined)
    const invalid = yield* Effect.flip(MessageBus.execute(Add, { counter: "a", by: 1.5 }))
    assert.equal(invalid._tag, "CommandDecodeError")
    const first = yield* add(2, "a", { id: "once" })
    assert.deepEqual([first, yield* add(2, "a", { id: "once" })], [{ total: 3 }, { total: 3 }])
    assert.equal((yield* Effect.flip(add(3, "a", { id: "once" })))._tag, "CommandIdReusedError")
    assert.deepEqual(yield* Effect.flip(add(98, "a", { id: "refused" })), new TooMuch({ total: 3 }))
    assert.deepEqual(yield* add(-2), { total: 1 })
    assert.deepEqual(yield* Effect.flip(add(98, "a", { id: "refused" })), new TooMuch({ total: 3 }))
    yield* MessageBus.execute(Add, { counter: "b", by: 1 }, { correlationId: "talk", metadata: { by: "ada" } })
    const [event] = yield* stream("Counter-b")
    assert.deepEqual([event?.metadata.correlationId, event?.metadata["by"]], ["talk", "ada"])
    return (yield* stream("Counter-a")).length
  })

  for (const [name, Live] of Object.entries({
    here: Layer.provideMerge(Handlers, Bus),
    "on a cluster": cluster(),
    "on a cluster that keeps them": cluster({ delivery: "durable" })
  })) {
    it.live(`are executed as they are without a cluster: ${name}`, () =>
      Effect.gen(function* () {
        assert.equal(yield* program, 3)
      }).pipe(Effect.provide(Live))
    )
  }

  it.live("are decided in order, many in one append, and a refusal is that of one", () =>
    Effect.gen(function* () {
      const store = yield* EventStore.EventStore
      const before = runs
      const exits = yield* Effect.forEach(numbers(120), () => Effect.exit(add(1)), { concurrency: "unbounded" })
      assert.equal(exits.filter(Exit.isSuccess).length, 100)
      assert.equal(runs - before, 120)
      const events = yield* stream("Counter-a")
      assert.deepEqual(
        events.map(({ version }) => version),
        numbers(100)
      )
      const totals = exits.flatMap((exit) => (Exit.isSuccess(exit) ? [exit.value.total] : []))
      assert.deepEqual(
        totals.toSorted((a, b) => a - b),
        numbers(100)
      )
      // Commands and events, in a few appends: those of one have one time.
      assert.ok(new Set(events.map(({ recordedAt }) => recordedAt.epochMilliseconds)).size < 50)
      assert.ok((yield* store.head) >= 200)
    }).pipe(Effect.provide(cluster()))
  )

  it.live("are refused inside of a unit of work, and leave it as it was", () =>
    Effect.gen(function* () {
      const inside = UnitOfWork.transact(
        Effect.gen(function* () {
          yield* UnitOfWork.stage("Own-1", [{ type: "Noted", payload: {} }])
          return yield* Effect.flip(add(1))
        })
      )
      const refused = yield* inside
      assert.ok(refused instanceof Command.CommandElsewhereError && refused.reason === "inside")
      assert.match(refused.message, /"Add" is handled elsewhere: it cannot be part of the unit of work/)
      assert.equal((yield* stream("Own-1")).length, 1)
      assert.equal((yield* stream("Counter-a")).length, 0)
    }).pipe(Effect.provide(cluster()))
  )

  it.live("follow from events under their ids, by a subscription: a process manager is refused", () =>
    Effect.gen(function* () {
      logs(/"Add" is handled elsewhere: it cannot be part of the unit of work/)
      const Wished = Event.make("Wished", { by: Schema.Int })
      let handled = 0
      const Subscribed = Subscription.layer({
        name: "wishes",
        events: [Wished],
        handlers: {
          // As if its checkpoint had been lost: the same event twice.
          Wished: ({ by }, { event }) =>
            Effect.andThen(
              Effect.replicateEffect(add(by, "a", { id: event.id }), 2),
              Effect.sync(() => handled++)
            )
        }
      })
      const Wishes = ProcessManager.make("Wishes", {
        events: [Wished],
        correlate: { Wished: () => "1" },
        initial: 0,
        evolve: { Wished: (wishes) => wishes + 1 },
        react: { Wished: (_, { by }) => [ProcessManager.send(Add, { counter: "b", by }, () => [])] }
      })
      yield* Layer.build(Layer.merge(Subscribed, ProcessManager.layer(Wishes, { retry: Schedule.recurs(0) })))
      yield* EventStore.append("Wish-1", [{ type: "Wished", payload: { by: 2 } }])
      yield* until(
        "the one has handled it, and the other has halted",
        Effect.map(ProcessManager.status(Wishes), ({ reacting }) => handled === 1 && reacting.state === "halted")
      )
      assert.equal((yield* stream("Counter-a")).length, 1)
      assert.equal((yield* stream("Counter-b")).length, 0)
    }).pipe(Effect.scoped, Effect.provide(Layer.provideMerge(Checkpoints.layerMemory, cluster())))
  )

  it.live("one that writes nothing by which its repetition would be known is a defect, unless it has an id", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(MessageBus.execute(Elsewhere, { counter: "a" }))
      assert.ok(Exit.isFailure(exit) && /has written no event to "Counter-a"/.test(String(exit.cause)), String(exit))
      assert.equal((yield* stream("Other-1")).length, 0)
      yield* MessageBus.execute(Elsewhere, { counter: "a" }, { id: "1" })
      assert.equal((yield* stream("Other-1")).length, 1)
    }).pipe(Effect.provide(cluster()))
  )

  it.live("too much for one append goes one by one, and what is too much by itself is refused by itself", () =>
    Effect.gen(function* () {
      const large = "x".repeat(9 * 1024 * 1024)
      const one = (note: string) => Effect.exit(MessageBus.execute(Add, { counter: "a", by: 1, note }))
      const exits = yield* Effect.all([one("1"), one(large), one("2"), one("3")], { concurrency: "unbounded" })
      assert.deepEqual(exits.map(Exit.isSuccess), [true, false, true, true])
      assert.match(String(exits[1]), /InvalidAppendError|8 MiB|payload/)
      assert.equal((yield* stream("Counter-a")).length, 3)
    }).pipe(Effect.provide(cluster()))
  )
})

describe("the owner of an aggregate", () => {
  const request = (requestId: string, by: number) => requestOf(Add, requestId, Add.payloadSchema.make({ counter: "a", by }))
  const owner = (maxBatch = 64) => makeActivation({ aggregate: Counter, id: () => "a", stream: "Counter-a" }, maxBatch)
  // An activation takes the handlers of whatever commands come.
  const Live = Layer.provideMerge(Handlers as unknown as Layer.Layer<MessageBus.Handler<string>>, Bus)
  const value = (total: number) => ({ total })

  it.live("answers a request that comes again with what it first came to, also after another owner has", () =>
    Effect.gen(function* () {
      const first = yield* owner()
      assert.deepEqual((yield* first(request("1", 1))).value, value(1))
      assert.deepEqual((yield* first(request("2", 2))).value, value(3))
      assert.deepEqual((yield* first(request("1", 1))).value, value(1))
      const second = yield* owner()
      assert.deepEqual((yield* second(request("1", 1))).value, value(1))
      assert.deepEqual((yield* second(request("3", 3))).value, value(6))
      // The first one still lives, as after a freeze: what it keeps is stale, and it decides again.
      assert.deepEqual((yield* first(request("3", 3))).value, value(6))
      assert.deepEqual((yield* first(request("4", 4))).value, value(10))
      const both = yield* Effect.all([first(request("5", 5)), second(request("5", 5))], { concurrency: "unbounded" })
      assert.deepEqual(
        both.map((reply) => reply.value),
        [value(15), value(15)]
      )
      assert.equal((yield* stream("Counter-a")).length, 5)
    }).pipe(Effect.scoped, Effect.provide(Live))
  )

  it.live("of which several live at once make each other decide again, and lose and double nothing", () =>
    Effect.gen(function* () {
      const owners = yield* Effect.forEach(numbers(3), () => owner(8))
      yield* Effect.forEach(
        numbers(60),
        (n) =>
          Effect.forEach(owners, (owner) => Effect.retry(owner(request(`${n}`, 1)), { times: 50 }), { concurrency: "unbounded" }),
        { concurrency: 10 }
      )
      const events = yield* stream("Counter-a")
      assert.equal(events.length, 60)
      assert.equal(new Set(events.map(({ metadata }) => (metadata["request"] as { id: string }).id)).size, 60)
    }).pipe(Effect.scoped, Effect.provide(Live))
  )

  it.live("passes what it noted of a request on to nothing that the event causes", () =>
    Effect.gen(function* () {
      const one = yield* owner()
      yield* one(request("1", 1))
      const [event] = yield* stream("Counter-a")
      assert.deepEqual(event?.metadata["request"], { id: "1", outcome: "success", value: { total: 1 } })
      assert.equal(inheritedMetadata(event?.metadata ?? {})["request"], undefined)
    }).pipe(Effect.scoped, Effect.provide(Live))
  )

  it.live("reads nothing while it keeps the state, and saves snapshots as the aggregate says, and when it is let go", () =>
    Effect.gen(function* () {
      const store = yield* EventStore.EventStore
      const snapshots = yield* Snapshots.Snapshots
      let reads = 0
      const counting = { ...store, read: ((...args) => (reads++, store.read(...args))) as typeof store.read }
      const scope = yield* Scope.make()
      const unitOfWork = Context.get(
        yield* Layer.build(Layer.fresh(Layer.provide(UnitOfWork.layer, Layer.succeed(EventStore.EventStore, counting)))),
        UnitOfWork.UnitOfWork
      )
      const bus = yield* MessageBus.MessageBus
      const one = yield* owner().pipe(
        Effect.provideService(EventStore.EventStore, counting),
        Effect.provideService(UnitOfWork.UnitOfWork, unitOfWork),
        Effect.provideService(MessageBus.MessageBus, { ...bus, unitOfWork }),
        Scope.provide(scope)
      )
      yield* one(request("0", 1))
      const begun = reads
      for (const n of numbers(8)) yield* one(request(`${n}`, 1))
      assert.equal(reads, begun)
      yield* one(request("9", 1))
      yield* Scope.close(scope, Exit.void)
      const saved = yield* snapshots.load("Counter-a", Counter.snapshot?.fingerprint ?? "")
      assert.equal(Option.getOrUndefined(saved)?.version, 10)
    }).pipe(Effect.scoped, Effect.provide(Live))
  )
})

describe("an owner with too much in hand", () => {
  const Runner = Sharding.layer.pipe(
    Layer.provideMerge(Runners.layerNoop),
    Layer.provideMerge(MessageStorage.layerMemory),
    Layer.provide([RunnerStorage.layerMemory, RunnerHealth.layerNoop]),
    Layer.provide(ShardingConfig.layer({ entityMailboxCapacity: 10 }))
  )
  const Live = Layer.merge(
    Layer.provide(ClusterBus.layerRunner(Counter, commands, { id }), Handlers),
    ClusterBus.layerClient(Counter, commands, { id })
  ).pipe(Layer.provideMerge(Runner), Layer.provideMerge(Bus))

  it.live("refuses by name what it cannot take, and does the rest", () =>
    Effect.gen(function* () {
      const results = yield* Effect.forEach(numbers(60), () => Effect.result(add(1)), { concurrency: "unbounded" })
      const done = results.filter(Result.isSuccess).length
      for (const result of results) {
        if (Result.isSuccess(result)) continue
        assert.ok(result.failure instanceof Command.CommandElsewhereError && result.failure.reason === "full", String(result))
      }
      assert.ok(done > 0 && done < 60, `${done}`)
      assert.equal((yield* stream("Counter-a")).length, done)
      assert.deepEqual(yield* add(1), { total: done + 1 })
    }).pipe(Effect.provide(Live))
  )
})

describe("programs that do not fit each other", () => {
  const calls = (Client: Layer.Layer<MessageBus.Handler<"Add">, never, never>) => Effect.flip(Effect.provide(add(1), Client))

  it.live("with other shards, other commands, or another version of one: refused by name", () =>
    Effect.gen(function* () {
      const context = yield* Effect.context<never>()
      const provided = <A, E, R>(layer: Layer.Layer<A, E, R>) =>
        Layer.provide(layer, Layer.succeedContext(context as Context.Context<R>))
      const sharded = entityOf(Counter, "volatile", undefined)
      const client = (yield* sharded.client)("a")
      const message = {
        command: "Add",
        payload: { counter: "a", by: 1, note: "" },
        id: null,
        correlationId: null,
        metadata: {},
        request: Snowflake.Snowflake(1),
        key: "1"
      }
      const shards = yield* Effect.flip(client.execute({ ...message, shard: 0 }))
      assert.ok(shards instanceof Command.CommandElsewhereError && shards.reason === "settings")
      assert.match(shards.message, /belongs to shard 0 by the settings of its caller, and to shard \d+ by those of its runner/)

      const Unknown = Command.make("Unknown", { payload: { counter: Schema.NonEmptyString } })
      const UnknownClient = provided(ClusterBus.layerClient(Counter, [Unknown], { id: { Unknown: id.Nothing } }))
      const unhandled = yield* Effect.flip(Effect.provide(MessageBus.execute(Unknown, { counter: "a" }), UnknownClient))
      assert.ok(unhandled instanceof Command.CommandElsewhereError && unhandled.reason === "unhandled")
      assert.match(unhandled.message, /the runner of eventfold\/Counter "a" handles "Add", "Nothing", "Elsewhere" alone/)

      const Newer = Command.make("Add", { payload: { counter: Schema.NonEmptyString, amount: Schema.Int } })
      const NewerClient = provided(ClusterBus.layerClient(Counter, [Newer], { id: { Add: id.Nothing } }))
      const newer = yield* Effect.flip(Effect.provide(MessageBus.execute(Newer, { counter: "a", amount: 1 }), NewerClient))
      assert.equal(newer._tag, "CommandDecodeError")
      assert.match(String(newer), /at the runner of eventfold\/Counter "a"/)

      const Answered = Command.make("Nothing", { payload: { counter: Schema.NonEmptyString }, success: Schema.Int })
      const AnsweredClient = provided(ClusterBus.layerClient(Counter, [Answered], { id: { Nothing: id.Nothing } }))
      const answered = yield* Effect.flip(Effect.provide(MessageBus.execute(Answered, { counter: "a" }), AnsweredClient))
      assert.ok(answered instanceof Command.CommandElsewhereError && answered.reason === "unanswered")

      const OtherId = provided(ClusterBus.layerClient(Counter, [Add], { id: { Add: ({ counter }) => `${counter}!` } }))
      const other = yield* calls(OtherId)
      assert.ok(other instanceof Command.CommandElsewhereError && other.reason === "settings")
      assert.match(other.message, /it was sent to eventfold\/Counter "a!", and is for "a"/)
    }).pipe(Effect.provide(cluster()))
  )

  it.live("an aggregate has one owner in a program: a second one is a defect, and another one later is none", () =>
    Effect.gen(function* () {
      const runner = (...commands: ReadonlyArray<typeof Add | typeof Nothing>) =>
        Layer.build(Layer.provide(ClusterBus.layerRunner(Counter, commands, { id }), Handlers))
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* runner(Add)
          const exit = yield* Effect.exit(runner(Nothing))
          assert.match(
            String(exit),
            /the aggregate "Counter" has an owner here already \(delivery "volatile"\)\. Name all of its/
          )
        })
      )
      yield* Effect.scoped(runner(Nothing))
    }).pipe(Effect.provide(Layer.provideMerge(TestRunner.layer, Bus)))
  )

  it.live("where nobody owns the aggregate the caller is told so in time", () =>
    Effect.gen(function* () {
      const Client = ClusterBus.layerClient(Counter, [Add], { id: { Add: id.Add }, patience: "300 millis" })
      const error = yield* Effect.flip(Effect.provide(add(1), Client))
      assert.ok(error instanceof Command.CommandElsewhereError && error.reason === "unanswered")
      assert.match(error.message, /nobody who owns eventfold\/Counter "a" \(shard \d+\) has answered in 300ms/)
    }).pipe(Effect.provide(Layer.provideMerge(TestRunner.layer, Bus)))
  )
})

describe("durable commands", () => {
  const Sql = MessageBus.layer.pipe(
    Layer.provideMerge(UnitOfWork.layerSql),
    Layer.provideMerge(SqliteEventStore.layer),
    Layer.provideMerge(
      SingleRunner.layer({ shardingConfig: { shardsPerGroup: 3, simulateRemoteSerialization: false }, runnerStorage: "memory" })
    ),
    Layer.provideMerge(SqliteClient.layer({ filename: ":memory:" })),
    Layer.provide([NodeCrypto.layerDigest, ShardingConfig.layerDefaults])
  )
  const options = { id, delivery: "durable" } as const
  const Live = Layer.merge(
    Layer.provide(ClusterBus.layerRunner(Counter, commands, options), Handlers),
    ClusterBus.layerClient(Counter, commands, options)
  ).pipe(Layer.provideMerge(Sql))

  it.live("commit with their answers, which a repetition gets, and are pruned", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const before = runs
      assert.deepEqual(yield* add(1, "a", { id: "1" }), { total: 1 })
      assert.deepEqual(yield* add(1, "a", { id: "1" }), { total: 1 })
      assert.equal(runs - before, 1)
      assert.deepEqual(yield* add(1), { total: 2 })
      assert.deepEqual(yield* Effect.flip(add(1000)), new TooMuch({ total: 2 }))
      const count = Effect.map(sql<{ n: number }>`select count(*) n from cluster_messages`, ([row]) => row?.n)
      assert.equal(yield* count, 3)
      assert.equal(yield* ClusterBus.prune(), 0)
      assert.equal(yield* ClusterBus.prune({ keep: 0 }), 3)
      assert.equal(yield* count, 0)
      assert.deepEqual((yield* sql<{ n: number }>`select count(*) n from cluster_replies`)[0]?.n, 0)
      assert.deepEqual(yield* add(1), { total: 3 })
    }).pipe(Effect.provide(Live))
  )
})

describe("a follower of a cluster", () => {
  it.live("whose Layer cannot be built is built again until it can", () =>
    Effect.gen(function* () {
      logs(/the follower "numbers" could not begin, and is tried again until it can \(the database is away\)/)
      let tries = 0
      const seen = yield* Deferred.make<void>()
      const Database = Layer.effectDiscard(
        Effect.suspend(() => (++tries < 3 ? Effect.fail(new Error("the database is away")) : Effect.void))
      )
      const Numbers = Subscription.layer({ name: "numbers", handler: () => Deferred.succeed(seen, undefined) })
      const Follower = Cluster.follower("numbers", Layer.provide(Numbers, Database))
      yield* Layer.build(Layer.provideMerge(Follower, TestRunner.layer))
      yield* EventStore.append("Count-1", [{ type: "Counted", payload: null }])
      yield* Deferred.await(seen)
      assert.equal(tries, 3)
    }).pipe(Effect.scoped, Effect.provide(Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory)))
  )

  it.live("runs on it, and ends with it", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const Follower = Cluster.follower(
        "numbers",
        Subscription.layer({
          name: "numbers",
          lease: "3 seconds",
          handler: ({ position }) => Effect.sync(() => seen.push(position))
        })
      )
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(Layer.provideMerge(Follower, TestRunner.layer), scope)
      yield* EventStore.append("Count-1", [{ type: "Counted", payload: null }])
      yield* until(
        "it has seen it",
        Effect.sync(() => seen.length === 1)
      )
      yield* Scope.close(scope, Exit.void)
      const known = yield* Checkpoints.Checkpoints.use(({ get }) => get("subscription:numbers"))
      assert.equal(Option.isSome(known) && Option.isNone(known.value.owner), true)
    }).pipe(Effect.provide(Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory)))
  )
})
