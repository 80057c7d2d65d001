/** What a request came to, wherever and whenever it is sent again. */
import assert from "node:assert/strict"
import { NodeCrypto } from "@effect/platform-node"
import { describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Fiber, Layer, Schema, Stream } from "effect"
import { ShardingConfig, SingleRunner, TestRunner } from "effect/cluster"
import { TestClock } from "effect/testing"
import { Aggregate, Command, Event, EventStore, Keys, MessageBus, Personal, Repository, UnitOfWork } from "eventfold"
import { ClusterBus } from "eventfold/cluster"
import { SqliteClient, SqliteEventStore } from "eventfold/sqlite"
import { makeActivation } from "../../src/cluster/activation.ts"
import { eventually, numbers } from "../support/words.ts"
import { requestOf } from "./requests.ts"

const Joined = Event.make("Joined", {
  whose: Schema.String,
  name: Personal.field(Schema.String, { subject: "whose", whenForgotten: "(forgotten)" })
})
const Club = Aggregate.make("Club", {
  events: [Joined],
  state: Schema.Array(Schema.String),
  initial: [],
  evolve: { Joined: (names, { name }) => [...names, name] }
})
const club = { club: Schema.NonEmptyString }
/** Answers with who has joined, in the open and as personal data. */
const Join = Command.make("Join", { payload: { ...club, name: Schema.String }, success: Schema.Array(Schema.String) })
const JoinMany = Command.make("JoinMany", { payload: { ...club, times: Schema.Int }, success: Schema.Int })
const Show = Command.make("Show", {
  payload: { ...club, name: Schema.String },
  success: Schema.Struct({ ...club, name: Personal.field(Schema.String, { subject: "club" }) })
})
const Rename = Command.make("Rename", { payload: { ...club, name: Personal.input(Schema.String, { subject: "club" }) } })
const commands = [Join, JoinMany, Show, Rename] as const

const joining = (club: string, ...names: ReadonlyArray<string>) =>
  Repository.execute(Club, club, () => names.map((name) => Joined.make({ whose: club.slice(0, 100), name })))

const JoinLive = MessageBus.handle(Join, ({ club, name }) => Effect.map(joining(club, name), ({ state }) => state))
const Handlers = Layer.mergeAll(
  JoinLive,
  MessageBus.handle(JoinMany, ({ club, times }) =>
    Effect.map(joining(club, ...numbers(times).map(String)), ({ state }) => state.length)
  ),
  MessageBus.handle(Show, ({ club, name }) => Effect.as(joining(club, name), { club, name })),
  MessageBus.handle(Rename, ({ club }) => Effect.asVoid(joining(club, "-")))
)

const idOf = ({ club }: { readonly club: string }) => club
const id = { Join: idOf, JoinMany: idOf, Show: idOf, Rename: idOf }

const Store = Personal.layer.pipe(
  Layer.provideMerge(EventStore.layerMemory),
  Layer.provideMerge(Keys.layerMemory),
  Layer.provideMerge(Personal.layerCrypto)
)
const Bus = MessageBus.layer.pipe(Layer.provideMerge(UnitOfWork.layer), Layer.provideMerge(Store))

const written = Effect.map(Stream.runCollect(EventStore.read("Club-a")), (events) => events.length)

describe("the owner of an aggregate, asked again", () => {
  const Live = Layer.provideMerge(Handlers as unknown as Layer.Layer<MessageBus.Handler<string>>, Bus)
  const owner = makeActivation({ aggregate: Club, id: () => "a", stream: "Club-a" }, 64)
  const request = <C extends Command.Any>(command: C, requestId: string, payload: Command.Payload<C>) =>
    Effect.map(Clock.currentTimeMillis, (madeAt) => requestOf(command, requestId, payload, madeAt))
  const join = (name: string) => request(Join, name, { club: "a", name })

  it.effect("knows what a request came to however many it has answered since, and however late that is", () =>
    Effect.gen(function* () {
      const decide = yield* owner
      const ada = yield* join("ada")
      const first = yield* decide(ada)
      for (const minute of numbers(3)) {
        yield* TestClock.adjust("1 minute")
        const more = (n: number) => Effect.flatMap(request(JoinMany, `${minute}-${n}`, { club: "a", times: 1 }), decide)
        yield* Effect.forEach(numbers(200), more, { concurrency: "unbounded" })
      }
      const again = yield* decide(ada)
      assert.deepEqual([again.value, again.position], [first.value, yield* EventStore.head])
      assert.equal(yield* written, 601)
    }).pipe(Effect.scoped, Effect.provide(Live))
  )

  it.effect("knows what another owner has answered before it, however many events that wrote", () =>
    Effect.gen(function* () {
      const before = yield* owner
      const [ada, many] = [yield* join("ada"), yield* request(JoinMany, "many", { club: "a", times: 2000 })]
      const first = yield* before(ada)
      const last = yield* before(many)
      const after = yield* owner
      assert.deepEqual([(yield* after(ada)).value, (yield* after(many)).value], [first.value, last.value])
      assert.equal(yield* written, 2001)
    }).pipe(Effect.scoped, Effect.provide(Live))
  )

  it.effect("reads a new aggregate once", () =>
    Effect.gen(function* () {
      const store = yield* EventStore.EventStore
      let reads = 0
      const counting: typeof store.read = (...args) => Stream.unwrap(Effect.sync(() => (reads++, store.read(...args))))
      const first = yield* Effect.provideService(owner, EventStore.EventStore, { ...store, read: counting })
      assert.deepEqual((yield* first(yield* join("ada"))).value, ["ada"])
      assert.equal(reads, 1)
    }).pipe(Effect.scoped, Effect.provide(Live))
  )

  it.effect("reads few events of a long history for a request that was made just now", () =>
    Effect.gen(function* () {
      const before = yield* owner
      yield* before(yield* request(JoinMany, "many", { club: "a", times: 5000 }))
      yield* TestClock.adjust("1 minute")
      const store = yield* EventStore.EventStore
      let backward = 0
      const counting: typeof store.read = (stream, options) =>
        options?.direction === "backward"
          ? Stream.tap(store.read(stream, options), () => Effect.sync(() => backward++))
          : store.read(stream, options)
      const after = yield* Effect.provideService(owner, EventStore.EventStore, { ...store, read: counting })
      yield* after(yield* join("ada"))
      assert.ok(backward > 0 && backward < 2000, `${backward}`)
    }).pipe(Effect.scoped, Effect.provide(Live))
  )

  it.live("finds out what became of an append whose answer was lost, and says that it is unknown as long as nobody can", () =>
    Effect.gen(function* () {
      const store = yield* EventStore.EventStore
      let isAway = false
      let lost: "written" | "not written" | undefined
      const gone = { operation: "append", detail: "gone" } as const
      const failing = (reason: EventStore.EventStoreErrorReason) => Effect.fail(new EventStore.EventStoreError({ reason }))
      const Failing = Layer.succeed(EventStore.EventStore, {
        ...store,
        read: (...args) => (isAway ? Stream.fromEffect(failing(new EventStore.StoreUnavailable(gone))) : store.read(...args)),
        appendAll: (...args) => {
          const isLost = lost
          lost = undefined
          if (isLost === undefined) return store.appendAll(...args)
          return Effect.andThen(
            isLost === "written" ? store.appendAll(...args) : Effect.void,
            failing(new EventStore.OutcomeUnknown(gone))
          )
        }
      })
      const Over = Handlers.pipe(
        Layer.provideMerge(MessageBus.layer),
        Layer.provideMerge(Layer.fresh(UnitOfWork.layer)),
        Layer.provideMerge(Failing)
      ) as unknown as Layer.Layer<
        EventStore.EventStore | UnitOfWork.UnitOfWork | MessageBus.MessageBus | MessageBus.Handler<string>
      >
      const decide = yield* Effect.provideContext(owner, yield* Layer.build(Over))
      lost = "written"
      assert.deepEqual((yield* decide(yield* join("ada"))).value, ["ada"])
      lost = "not written"
      assert.deepEqual((yield* decide(yield* join("ben"))).value, ["ada", "ben"])
      assert.equal(yield* written, 2)
      lost = "not written"
      isAway = true
      const error = yield* Effect.flip(decide(yield* join("cyd")))
      assert.ok(error._tag === "EventStoreError" && error.reason._tag === "OutcomeUnknown", String(error))
      isAway = false
      assert.deepEqual((yield* decide(yield* join("dan"))).value, ["ada", "ben", "dan"])
    }).pipe(Effect.scoped, Effect.provide(Live))
  )

  it.effect("gives a large answer again, which does not stand beside each event", () =>
    Effect.gen(function* () {
      const [decide, other] = [yield* owner, yield* owner]
      const long = yield* request(Join, "long", { club: "a", name: "x".repeat(2_000_000) })
      const first = yield* decide(long)
      assert.deepEqual([(yield* decide(long)).value, (yield* other(long)).value], [first.value, first.value])
      assert.equal(yield* written, 1)
    }).pipe(Effect.scoped, Effect.provide(Live))
  )

  it.effect(
    "keeps no personal data in the clear, neither in the log nor in memory, and gives them again until they are forgotten",
    () =>
      Effect.gen(function* () {
        const decide = yield* owner
        const show = yield* request(Show, "show", { club: "a", name: "planted" })
        const first = yield* decide(show)
        assert.match(JSON.stringify(first.value), /planted/)
        assert.match(JSON.stringify((yield* decide(show)).value), /planted/)
        const stored = EventStore.asStored(yield* EventStore.EventStore)
        assert.doesNotMatch(JSON.stringify(yield* Stream.runCollect(stored.readAll())), /planted/)
        yield* Personal.forget("a")
        assert.doesNotMatch(JSON.stringify((yield* decide(show)).value), /planted/)
        yield* Keys.Keys.use(({ readmit }) => readmit("a"))
        assert.deepEqual((yield* decide(yield* join("ben"))).value, ["(forgotten)", "ben"])
      }).pipe(Effect.scoped, Effect.provide(Layer.provideMerge(Personal.layerEraser, Live)))
  )
})

describe("durable commands", () => {
  const Sql = MessageBus.layer.pipe(
    Layer.provideMerge(UnitOfWork.layerSql),
    Layer.provideMerge(Personal.layer),
    Layer.provideMerge(Keys.layerMemory),
    Layer.provideMerge(Personal.layerCrypto),
    Layer.provideMerge(SqliteEventStore.layer),
    Layer.provideMerge(
      SingleRunner.layer({
        shardingConfig: { shardsPerGroup: 3, simulateRemoteSerialization: false, entityMessagePollInterval: "50 millis" },
        runnerStorage: "memory"
      })
    ),
    Layer.provideMerge(SqliteClient.layer({ filename: ":memory:" })),
    Layer.provide([NodeCrypto.layerDigest, ShardingConfig.layerDefaults])
  )
  const Runner = Layer.provide(ClusterBus.layerRunner(Club, commands, { id, delivery: "durable" }), Handlers)
  const Client = ClusterBus.layerClient(Club, commands, { id, delivery: "durable", patience: "300 millis" })

  it.live("take effect also where their caller has gone while another one was being decided", () =>
    Effect.gen(function* () {
      const [begun, go] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const slow = Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(go))
      const SlowLive = MessageBus.handle(JoinMany, ({ club }) => Effect.as(Effect.andThen(slow, joining(club, "slow")), 1))
      const Slow = ClusterBus.layerRunner(Club, [Join, JoinMany], { id, delivery: "durable" })
      yield* Layer.build(Layer.provide(Slow, [SlowLive, JoinLive]))
      const first = yield* Effect.forkChild(Effect.flip(MessageBus.execute(JoinMany, { club: "a", times: 1 })))
      yield* Deferred.await(begun)
      for (const error of [yield* Fiber.join(first), yield* Effect.flip(MessageBus.execute(Join, { club: "a", name: "ada" }))]) {
        assert.ok(error instanceof Command.CommandElsewhereError && error.reason === "unanswered", String(error))
      }
      assert.equal(yield* written, 0)
      yield* Deferred.succeed(go, undefined)
      yield* eventually(
        "both have taken effect",
        Effect.map(written, (count) => count === 2)
      )
    }).pipe(Effect.scoped, Effect.provide(Client.pipe(Layer.provideMerge(TestRunner.layer), Layer.provideMerge(Bus))))
  )

  /** The answers in the log, each by the id of its execution. */
  const kept = Effect.map(Stream.runCollect(EventStore.readAll({ filter: { types: ["$CommandAnswered"] } })), (events) =>
    events.map(({ payload }) => (payload as { readonly id: string }).id)
  )
  const twice = Effect.gen(function* () {
    yield* MessageBus.execute(Join, { club: "a", name: "ada" })
    yield* MessageBus.execute(Join, { club: "a", name: "ben" }, { id: "own" })
    assert.equal(yield* written, 2)
    return yield* kept
  })

  it.live("stand in the log with their answers where their events are part of no transaction of the cluster", () =>
    Effect.gen(function* () {
      const [request = "", own] = yield* twice
      assert.match(request, /^\$request:\d+-[\da-f]{12}$/)
      // Apart from those of ids that callers give: retention need not keep it as long.
      assert.equal(yield* EventStore.version(`$request-Join/${request.slice("$request:".length)}`), 1)
      assert.equal(own, "own")
    }).pipe(Effect.provide(Layer.mergeAll(Runner, Client).pipe(Layer.provideMerge(TestRunner.layer), Layer.provideMerge(Bus))))
  )

  it.live("have their answers in the tables of the cluster alone where they commit with the events", () =>
    Effect.gen(function* () {
      assert.deepEqual(yield* twice, ["own"])
    }).pipe(Effect.provide(Layer.mergeAll(Runner, Client).pipe(Layer.provideMerge(Sql))))
  )

  it.live("with personal data in them, or in their answers, are refused, for the cluster would keep them in the clear", () =>
    Effect.gen(function* () {
      const asked = yield* Effect.flip(MessageBus.execute(Rename, { club: "a", name: "ada" }))
      assert.match(
        asked.message,
        /Rename\.payload.*name is personal data, which the tables of the cluster would keep in the clear/
      )
      const answered = yield* Effect.flip(MessageBus.execute(Show, { club: "a", name: "ada" }))
      assert.match(answered.message, /Show\.success.*name is personal data, which the tables of the cluster would keep/)
      assert.equal(yield* written, 0)
    }).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(Runner, Client).pipe(Layer.provideMerge(Sql))))
  )
})

describe("aggregates with any id", () => {
  const Live = Layer.merge(
    Layer.provide(ClusterBus.layerRunner(Club, commands, { id }), Handlers),
    ClusterBus.layerClient(Club, commands, { id })
  ).pipe(Layer.provideMerge(TestRunner.layer), Layer.provideMerge(Bus))

  it.live("are owned under it, and what is no id is refused by name", () =>
    Effect.gen(function* () {
      const ids = ["a/b", "a:b", "a%2Fb", " ", "ä🎈", "-", "__proto__", "x".repeat(250)]
      for (const club of ids) {
        assert.deepEqual(yield* MessageBus.execute(Join, { club, name: club }), [club])
        assert.deepEqual(yield* MessageBus.execute(Join, { club, name: "2" }), [club, "2"])
      }
      for (const club of ["x".repeat(251), "\0", "\ud800"]) {
        assert.equal((yield* Effect.flip(MessageBus.execute(Join, { club, name: club })))._tag, "AggregateIdError")
      }
    }).pipe(Effect.provide(Live))
  )
})
