import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Schema, Stream } from "effect"
import {
  Aggregate,
  Checkpoints,
  Command,
  Consumer,
  DeadLetters,
  Event,
  EventStore,
  MessageBus,
  ProcessManager,
  Projection,
  Relay,
  Subscription,
  Tenants,
  Transport,
  UnitOfWork
} from "eventfold"
import { ClusterBus } from "eventfold/cluster"
import { KafkaTransport } from "eventfold/kafka"
import { NatsTransport } from "eventfold/nats"
import { RabbitMqTransport } from "eventfold/rabbitmq"
import { SqliteClient, SqliteEventStore } from "eventfold/sqlite"

// What can never work is refused when the Layer is built: it is no outage, and nothing is followed in silence.

const Placed = Event.make("Placed", { total: Schema.Int }, { published: true })
const Process = ProcessManager.make("Billing", {
  events: [Placed],
  correlate: { Placed: () => "1" },
  initial: {},
  evolve: { Placed: (state) => state },
  react: { Placed: () => [] }
})
const Totals = Projection.make("totals", { version: 1, events: [Placed], handlers: { Placed: () => Effect.void } })

const Live = MessageBus.layer.pipe(
  Layer.provideMerge(UnitOfWork.layer),
  Layer.provideMerge(
    Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory, Transport.layerMemory, DeadLetters.layerMemory)
  )
)

type Followers = Layer.Layer<never, unknown, Layer.Success<typeof Live>>

const refused = (layer: Followers, expected: RegExp) =>
  Effect.gen(function* () {
    const exit = yield* Effect.exit(Effect.scoped(Layer.build(Layer.provide(layer, Live))))
    assert.ok(Exit.isFailure(exit), `it was built, and should have said ${expected}`)
    const [reason] = exit.cause.reasons
    assert.ok(reason !== undefined && Cause.isDieReason(reason), Cause.pretty(exit.cause))
    assert.ok(reason.defect instanceof RangeError)
    assert.match(reason.defect.message, expected)
  })

const built = (layer: Followers) => Effect.scoped(Layer.build(Layer.provide(layer, Live)))

const handler = () => Effect.void
const subscription = (options: Partial<Subscription.Options<"halt", false>>) =>
  Subscription.layer({ name: "mails", handler, ...options })

describe("a follower is refused when its Layer is built", () => {
  const counts = [Number.NaN, 0, -1, 1.5] as const
  it.effect("where batch, concurrency or partitions are no whole number from 1", () =>
    Effect.gen(function* () {
      for (const value of counts) {
        const says = (whose: string, option: string) =>
          new RegExp(`^${whose}: ${option} must be a whole number from 1, not ${String(value).replace(".", "\\.")}$`)
        for (const option of ["batch", "concurrency", "partitions"] as const)
          yield* refused(subscription({ [option]: value }), says('Subscription "mails"', option))
        yield* refused(subscription({ partitions: 2, batch: value }), says('Subscription "mails"', "batch"))
        yield* refused(ProcessManager.layer(Process, { batch: value }), says('ProcessManager "Billing"', "batch"))
        yield* refused(ProcessManager.layer(Process, { concurrency: value }), says('ProcessManager "Billing"', "concurrency"))
        yield* refused(Projection.layer(Totals, { transactional: false, batch: value }), says('Projection "totals@1"', "batch"))
        for (const option of ["concurrency", "maxAttempts"] as const)
          yield* refused(
            Consumer.layer([Placed], { Placed: handler }, { group: "g", [option]: value }),
            says('Consumer "g"', option)
          )
      }
      yield* refused(subscription({ partitions: Number.POSITIVE_INFINITY }), /partitions must be .*, not Infinity/)
      yield* refused(subscription({ batch: "5" as never }), /batch must be a whole number from 1, not "5"/)
    })
  )

  it.effect("where the lease is none, or never ends", () =>
    Effect.gen(function* () {
      for (const [lease, told] of [
        [0, "0"],
        [Number.NaN, "NaN"],
        [-1, "-1"],
        ["Infinity", '"Infinity"'],
        ["soon", '"soon"']
      ] as const) {
        const options = { lease: lease as number }
        const says = (whose: string) =>
          new RegExp(`^${whose}: lease must be a duration longer than nothing, and finite, not ${told}$`)
        yield* refused(subscription(options), says('Subscription "mails"'))
        yield* refused(subscription({ ...options, partitions: 2 }), says('Subscription "mails"'))
        yield* refused(ProcessManager.layer(Process, options), says('ProcessManager "Billing"'))
        yield* refused(Projection.layer(Totals, { transactional: false, ...options }), says('Projection "totals@1"'))
        yield* refused(Relay.layer({ name: "shop", ...options }), says('Relay "shop"'))
      }
      yield* refused(
        Consumer.layer([Placed], { Placed: handler }, { group: "g", grace: Number.NaN }),
        /^Consumer "g": grace must be a duration from 0, not NaN$/
      )
    })
  )

  it.effect("where it is to begin at what is no position", () =>
    Effect.gen(function* () {
      for (const from of [-1, 0.5, Number.NaN])
        yield* refused(
          subscription({ from }),
          new RegExp(`^Subscription "mails": from must be "start", "end" or a position, .* not ${from}$`)
        )
    })
  )

  it.effect("where no checkpoint can have its name", () =>
    Effect.gen(function* () {
      const long = "m".repeat(300)
      yield* refused(subscription({ name: long }), /^Subscription "m{59}…": the name .* has 313 characters, more than 255$/)
      yield* refused(subscription({ name: "m".repeat(240), partitions: 12 }), /more than 255$/)
      yield* refused(subscription({ name: "a\u0000b" }), /^Subscription "a\\u0000b": the name .* contains the character U\+0000$/)
      yield* refused(Relay.layer({ name: long }), /^Relay "m{59}…": the name .* has 306 characters/)
    })
  )

  it.effect("and not with what does work", () =>
    Effect.gen(function* () {
      yield* built(
        subscription({ batch: Number.POSITIVE_INFINITY, concurrency: Number.POSITIVE_INFINITY, from: 7, lease: "1 minute" })
      )
      yield* built(subscription({ batch: 1, partitions: 1, from: "end" }))
      yield* built(subscription({ name: "m".repeat(240) }))
      yield* built(Consumer.layer([Placed], { Placed: handler }, { group: "g", maxAttempts: Number.POSITIVE_INFINITY, grace: 0 }))
    })
  )
})

describe("beside followers", () => {
  it.effect("a rebuild is refused before it empties anything", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(Stream.runDrain(Projection.rebuild(Totals, { transactional: false, batch: Number.NaN })))
      assert.match(String(Exit.isFailure(exit) && Cause.pretty(exit.cause)), /Projection "totals@1": batch must be/)
      assert.deepEqual(yield* Checkpoints.Checkpoints.use(({ list }) => list), [])
    }).pipe(Effect.provide(Live))
  )

  it.effect("a subscription to a transport, and a relay that drains, are", () =>
    Effect.gen(function* () {
      for (const concurrency of [Number.NaN, 0, 1.5]) {
        const exit = yield* Effect.exit(Stream.runDrain(Transport.subscribe({ group: "g", concurrency })))
        assert.match(
          String(Exit.isFailure(exit) && Cause.pretty(exit.cause)),
          /concurrency of the group "g" must be a whole number/
        )
      }
      const exit = yield* Effect.exit(Relay.drain({ name: "shop", lease: 0 }))
      assert.match(String(Exit.isFailure(exit) && Cause.pretty(exit.cause)), /Relay "shop": lease must be/)
    }).pipe(Effect.provide(Live))
  )

  it.effect("a store that would poll without a pause, and transports that would wait for nothing, are", () =>
    Effect.gen(function* () {
      yield* refused(
        Layer.effectDiscard(Layer.build(SqliteEventStore.layerFile({ filename: ":memory:", pollInterval: Number.NaN }))),
        /^SqliteEventStore: pollInterval must be a duration longer than nothing, not NaN$/
      )
      yield* refused(
        Layer.effectDiscard(KafkaTransport.make({ timeout: 0 })),
        /^KafkaTransport: timeout must be a duration longer than nothing, not 0$/
      )
      yield* refused(
        Layer.effectDiscard(RabbitMqTransport.make({ url: "amqp://localhost", heartbeat: Number.NaN })),
        /^RabbitMqTransport: heartbeat must be a duration longer than nothing, and finite, not NaN$/
      )
      yield* refused(
        Layer.effectDiscard(NatsTransport.make({ timeout: Number.NaN })),
        /^NatsTransport: timeout must be a duration longer than nothing, not NaN$/
      )
    })
  )

  it.effect("units of work, tenants, clients of SQLite and owners of aggregates are", () =>
    Effect.gen(function* () {
      yield* refused(UnitOfWork.layerWith({ maxTurn: Number.NaN }), /^UnitOfWork: maxTurn must be a duration from 0, not NaN$/)
      for (const option of ["freshness", "idleTimeToLive"] as const)
        yield* refused(
          Tenants.layerMap({ store: () => EventStore.layerMemory, [option]: -1 }).pipe(
            Layer.provide(Tenants.layerRegistryMemory)
          ),
          new RegExp(`^Tenants.layerMap: ${option} must be a duration from 0, not -1$`)
        )
      yield* refused(
        Layer.orDie(SqliteClient.layer({ filename: ":memory:", busyTimeout: Number.NaN })),
        /^SqliteClient: busyTimeout must be a duration from 0, not NaN$/
      )
      const Opened = Command.make("Open", { payload: { account: Schema.String } })
      const Account = Aggregate.make("Account", { events: [Placed], initial: {}, evolve: { Placed: (state) => state } })
      const ids = { id: { Open: ({ account }: { readonly account: string }) => account } }
      assert.throws(() => ClusterBus.layerClient(Account, [Opened], { ...ids, patience: Number.NaN }), {
        message: "ClusterBus: patience must be a duration longer than nothing, not NaN"
      })
      assert.throws(() => ClusterBus.layerRunner(Account, [Opened], { ...ids, maxBatch: Number.NaN }), {
        message: "ClusterBus: maxBatch must be a whole number from 1, not NaN"
      })
      assert.throws(() => ClusterBus.layerRunner(Account, [Opened], { ...ids, maxIdleTime: -1 }), {
        message: "ClusterBus: maxIdleTime must be a duration from 0, not -1"
      })
    })
  )

  it.effect("what would be tried again without a number, and a wait that would not be one, are", () =>
    Effect.gen(function* () {
      assert.throws(() => UnitOfWork.retryConflicts(Effect.void, { times: Number.NaN }), {
        message: "UnitOfWork.retryConflicts: times must be a whole number from 0, not NaN"
      })
      yield* UnitOfWork.retryConflicts(Effect.void, { times: Number.POSITIVE_INFINITY })
      const waited = yield* Effect.exit(Projection.awaitPosition(Totals, 1, { timeout: Number.NaN }))
      assert.match(
        String(Exit.isFailure(waited) && Cause.pretty(waited.cause)),
        /Projection.awaitPosition: timeout must be a duration from 0, not NaN/
      )
      const replayed = yield* Effect.exit(
        Stream.runDrain(MessageBus.replay({ until: Number.NaN })).pipe(
          Effect.provide(Layer.provideMerge(MessageBus.listen(Placed, handler, { replay: true }), Live))
        )
      )
      assert.match(String(Exit.isFailure(replayed) && Cause.pretty(replayed.cause)), /upTo must be a whole number .*, not NaN/)
    }).pipe(Effect.provide(Live))
  )
})
