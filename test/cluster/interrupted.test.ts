/** The owner of an aggregate is interrupted, and its caller is not. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Logger, Stream } from "effect"
import { ClusterError, EntityAddress, EntityId, Sharding, Snowflake, TestRunner } from "effect/cluster"
import { Command, EventStore, MessageBus, Repository, UnitOfWork } from "eventfold"
import { ClusterBus } from "eventfold/cluster"
import { PgEventStore } from "eventfold/postgres"
import { inject } from "vitest"
import { connect } from "../postgres/harness.ts"
import { freshSchema } from "../postgres/support.ts"
import { freePort, nodeOf } from "../support/clusterNode.ts"
import { Add, Added, Counter, options } from "./counter.ts"

const add = MessageBus.execute(Add, { counter: "a", call: "1" })
const written = Effect.map(Stream.runCollect(EventStore.read("Counter-a")), (events) => events.length)

/** Adds as it does elsewhere, when `before` has ended. */
const handlers = (before: Effect.Effect<void>) =>
  MessageBus.handle(Add, ({ call, counter }) =>
    Effect.andThen(
      before,
      Effect.map(
        Repository.execute(Counter, counter, () => Added.make({ call })),
        ({ state }) => state
      )
    )
  )

/** Caller and owner in one process. */
const clusterOf = (
  Handlers: ReturnType<typeof handlers>,
  settings: Partial<ClusterBus.ClientOptions<typeof Counter, readonly [typeof Add]>> = {},
  Store: Layer.Layer<EventStore.EventStore> = EventStore.layerMemory
) =>
  Layer.merge(
    ClusterBus.layerRunner(Counter, [Add], { ...options, delivery: settings.delivery }).pipe(Layer.provide(Handlers)),
    ClusterBus.layerClient(Counter, [Add], { ...options, ...settings })
  ).pipe(
    Layer.provideMerge(TestRunner.layer),
    Layer.provideMerge(MessageBus.layer.pipe(Layer.provideMerge(UnitOfWork.layer), Layer.provideMerge(Store)))
  )

describe("a command whose owner is interrupted", () => {
  it.live("before it has decided: is decided again, and the caller sees nothing of it", () => {
    let runs = 0
    const once = Effect.suspend(() => (runs++ === 0 ? Effect.interrupt : Effect.void))
    return Effect.gen(function* () {
      assert.equal(yield* add, 1)
      assert.deepEqual([runs, yield* written], [2, 1])
    }).pipe(Effect.provide(clusterOf(handlers(once))))
  })

  it.live("behind its commit: takes effect once, and is answered with what it came to", () => {
    let appends = 0
    const Interrupted = Layer.effect(
      EventStore.EventStore,
      Effect.map(EventStore.EventStore, (store) => ({
        ...store,
        appendAll: (...args: Parameters<typeof store.appendAll>) =>
          Effect.andThen(
            store.appendAll(...args),
            Effect.suspend(() => (appends++ === 0 ? Effect.interrupt : store.appendAll(...args)))
          )
      }))
    ).pipe(Layer.provide(EventStore.layerMemory))
    return Effect.gen(function* () {
      assert.equal(yield* add, 1)
      assert.deepEqual([appends, yield* written], [1, 1])
    }).pipe(Effect.provide(clusterOf(handlers(Effect.void), {}, Interrupted)))
  })

  it.live("time and again: says so, as an error, and has not waited for its patience", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(add)
      assert.ok(error instanceof Command.CommandElsewhereError && error.reason === "unanswered", String(error))
      assert.match(error.message, /who owns eventfold\/Counter "a" was interrupted\. It may have taken effect/)
      assert.equal(yield* written, 0)
    }).pipe(Effect.provide(clusterOf(handlers(Effect.interrupt), { patience: "50 seconds" })))
  )

  it.live("and its caller as well: ends with its caller", () =>
    Effect.gen(function* () {
      const entered = yield* Deferred.make<void>()
      const waits = Effect.andThen(Deferred.succeed(entered, undefined), Effect.never)
      yield* Effect.gen(function* () {
        const calling = yield* Effect.forkChild(add)
        yield* Deferred.await(entered)
        yield* Fiber.interrupt(calling)
        const exit = yield* Fiber.await(calling)
        assert.ok(Exit.hasInterrupts(exit), String(exit))
      }).pipe(Effect.provide(clusterOf(handlers(waits))))
    })
  )
})

describe("a command that its owner has in hand already, by a number of the cluster", () => {
  /** A cluster whose owners say so of what they are sent, so many times; and what they were sent. */
  const busyFor = (times: number, settings: Parameters<typeof clusterOf>[1] = {}) => {
    const sent: Array<unknown> = []
    const Busy = Layer.effect(
      Sharding.Sharding,
      Effect.map(Sharding.Sharding, (sharding) =>
        Sharding.Sharding.of({
          ...sharding,
          makeClient: (entity) =>
            Effect.map(sharding.makeClient(entity), (make) => (id) => {
              type Client = ReturnType<typeof make> & { readonly execute: (message: unknown) => Effect.Effect<unknown, unknown> }
              const client = make(id) as Client
              const address = {
                entityType: entity.type,
                entityId: EntityId.make(id),
                shardId: sharding.getShardId(EntityId.make(id), "default")
              }
              const execute = (message: unknown) =>
                Effect.suspend(() =>
                  sent.push(message) <= times
                    ? Effect.fail(
                        new ClusterError.AlreadyProcessingMessage({
                          envelopeId: Snowflake.Snowflake(1n),
                          address: new EntityAddress.EntityAddress(address)
                        })
                      )
                    : client.execute(message)
                )
              return { ...client, execute }
            })
        })
      )
    )
    const Live = Layer.merge(
      ClusterBus.layerRunner(Counter, [Add], { ...options, delivery: settings.delivery }).pipe(
        Layer.provide(handlers(Effect.void))
      ),
      Layer.provide(ClusterBus.layerClient(Counter, [Add], { ...options, ...settings }), Busy)
    ).pipe(
      Layer.provideMerge(TestRunner.layer),
      Layer.provideMerge(MessageBus.layer.pipe(Layer.provideMerge(UnitOfWork.layer), Layer.provideMerge(EventStore.layerMemory)))
    )
    return { sent, Live }
  }

  it.live("is sent again, as the same request, until that has ended", () => {
    const { Live, sent } = busyFor(2)
    return Effect.gen(function* () {
      assert.equal(yield* add, 1)
      assert.equal(yield* written, 1)
      assert.equal(sent.length, 3)
      assert.deepEqual(sent[1], sent[0])
      assert.deepEqual(sent[2], sent[0])
    }).pipe(Effect.provide(Live))
  })

  it.live("and does not come to an end of it: says that nobody knows", () => {
    const { Live, sent } = busyFor(Infinity)
    return Effect.gen(function* () {
      const error = yield* Effect.flip(add)
      assert.ok(error instanceof Command.CommandElsewhereError && error.reason === "unanswered", String(error))
      assert.ok(sent.length > 3)
      assert.equal(yield* written, 0)
    }).pipe(Effect.provide(Live))
  })

  it.live("and is kept by the cluster: is not sent again", () => {
    const { Live, sent } = busyFor(Infinity, { delivery: "durable" })
    return Effect.gen(function* () {
      const error = yield* Effect.flip(add)
      assert.ok(error instanceof Command.CommandElsewhereError && error.reason === "unanswered", String(error))
      assert.equal(sent.length, 1)
    }).pipe(Effect.provide(Live))
  })
})

describe("a runner that loses its shards amid a command", () => {
  it.live(
    "leaves its caller waiting for the next owner, which decides it once",
    () =>
      Effect.gen(function* () {
        const schema = freshSchema()
        const url = inject("postgresUrl")
        const admin = yield* connect(url)
        const entered = yield* Deferred.make<void>()
        let runs = 0
        const first = Effect.suspend(() =>
          runs++ === 0 ? Effect.andThen(Deferred.succeed(entered, undefined), Effect.never) : Effect.void
        )
        const own = new URL(url)
        own.searchParams.set("application_name", schema)
        const Live = Layer.merge(
          ClusterBus.layerRunner(Counter, [Add], options).pipe(Layer.provide(handlers(first))),
          ClusterBus.layerClient(Counter, [Add], options)
        ).pipe(
          Layer.provideMerge(MessageBus.layer),
          Layer.provideMerge(UnitOfWork.layer),
          Layer.provideMerge(PgEventStore.layerWith({ schema })),
          Layer.provideMerge(nodeOf({ url: String(own), schema, port: yield* freePort }))
        )
        yield* Effect.gen(function* () {
          const calling = yield* Effect.forkChild(add)
          yield* Deferred.await(entered)
          const ended = yield* admin`
            select pg_terminate_backend(pid) from pg_stat_activity
            where application_name = ${schema} and pid in (select pid from pg_locks where locktype = 'advisory' and objsubid = 2)`
          assert.ok(ended.length > 0)
          assert.equal(yield* Fiber.join(calling), 1)
          assert.deepEqual([runs, yield* written], [2, 1])
        }).pipe(Effect.provide(Live))
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))),
    120_000
  )
})
