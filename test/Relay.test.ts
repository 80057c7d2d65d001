import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import {
  Cause,
  Context,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Metric,
  Option,
  Schedule,
  Schema,
  type Scope,
  Stream
} from "effect"
import { TestClock } from "effect/testing"
import {
  Aggregate,
  Checkpoints,
  Command,
  Event,
  EventStore,
  MessageBus,
  ParkedEvents,
  Relay,
  Repository,
  Subscription,
  Transport,
  UnitOfWork
} from "eventfold"
import { type Broker, fails, hangs, losesAnswer, makeBroker, refuses, takes, takesHalf, unavailable } from "./support/broker.ts"
import { logs } from "./support/logs.ts"
import { rest, start as startLayer, until } from "./support/words.ts"

// -----------------------------------------------------------------------------
// what the tests are told with
// -----------------------------------------------------------------------------

const lease = "15 seconds"
const name = "shop"

/** Published events with the ids `from`, `from + 1`, … */
const published = (count: number, from = 1): ReadonlyArray<EventStore.NewEvent> =>
  Array.from({ length: count }, (_, index) => ({
    type: "Placed",
    id: `${from + index}`,
    payload: { n: from + index },
    published: true
  }))

const ids = (count: number, from = 1) => published(count, from).map(({ id }) => id)
const idsOf = (messages: ReadonlyArray<Transport.Message>) => messages.map(({ id }) => id)

/** Gives all other fibers their turn until the condition holds. The test's time-out is the end of its patience. */
const position = Effect.gen(function* () {
  const { get } = yield* Checkpoints.Checkpoints
  return Option.match(yield* get(`relay:${name}`), { onNone: () => 0, onSome: ({ position }) => position })
})

const owner = Effect.gen(function* () {
  const { get } = yield* Checkpoints.Checkpoints
  return Option.getOrUndefined(Option.flatMap(yield* get(`relay:${name}`), ({ owner }) => owner))
})

/** Runs a relay against a broker, as in a process of its own, until the returned effect (or the test's scope) ends it. */
const start = (broker: Broker, options: Partial<Relay.Options> = {}) =>
  Effect.provideService(
    startLayer(Layer.provide(Relay.layer({ name, lease, ...options }), broker.layer)),
    Subscription.Registry,
    new Map()
  )

/** Store and checkpoints in memory. */
const stores = Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory)

/** A test of a relay over a store and checkpoints in memory. */
const relayed = <E>(
  test: (broker: Broker) => Effect.Effect<void, E, EventStore.EventStore | Checkpoints.Checkpoints | Scope.Scope>
) => Effect.suspend(() => Effect.provide(test(makeBroker()), stores))

/** Somebody else takes the lease away from whoever has it, as after a long pause of its process. */
const steal = Effect.gen(function* () {
  const { claim, get, release } = yield* Checkpoints.Checkpoints
  const { epoch, position } = Option.getOrThrow(yield* get(`relay:${name}`))
  yield* release({ name: `relay:${name}`, owner: "", epoch, position, ttl: Duration.zero })
  return yield* claim(`relay:${name}`, { owner: "thief", ttl: lease })
})

/** Collects what is logged, as level and text. */
const capture = () => {
  const logs: Array<readonly [level: string, text: string]> = []
  const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
    logs.push([logLevel, String(message)])
  })
  return { logs, layer: Logger.layer([logger]) }
}

// -----------------------------------------------------------------------------
// what leaves
// -----------------------------------------------------------------------------

describe("what leaves", () => {
  it.effect("published events alone, in position order, with their ids, whichever stream they are in", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        const private_ = { type: "Checked", payload: {} }
        yield* EventStore.append("Order-1", [private_, ...published(2)])
        yield* start(broker, { source: "/shop" })
        yield* EventStore.appendAll([
          { stream: "Order-2", events: [...published(1, 3), private_] },
          { stream: "Order-1", events: [{ type: "Shipped", payload: [1, "é", null], published: true, schemaVersion: 3 }] }
        ])
        yield* until(() => broker.taken.length === 4)
        yield* rest
        const events = yield* Stream.runCollect(EventStore.readAll({ filter: { published: true } }))
        assert.deepEqual(
          broker.taken,
          events.map((event) => Transport.toMessage(event, "/shop"))
        )
        assert.deepEqual(
          broker.taken.map(({ position }) => position),
          [2, 3, 4, 6]
        )
        assert.equal(yield* position, 6)
      })
    )
  )

  it.effect("what the filter lets through", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        yield* start(broker, { filter: { categories: ["Order"], types: ["Placed"] } })
        yield* EventStore.append("Invoice-1", published(1))
        yield* EventStore.append("Order-1", [
          ...published(1, 2),
          { type: "Shipped", payload: {}, published: true },
          ...published(1, 3)
        ])
        yield* EventStore.append("Order-1", [{ type: "Placed", payload: {} }])
        yield* until(() => broker.taken.length === 2)
        yield* rest
        assert.deepEqual(idsOf(broker.taken), ids(2, 2))
      })
    )
  )

  it.effect("many events, page by page", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        for (let n = 0; n < 5; n++) yield* EventStore.append(`Order-${n}`, published(1000, n * 1000 + 1))
        yield* start(broker)
        yield* until(() => broker.taken.length === 5000)
        yield* rest
        assert.deepEqual(idsOf(broker.taken), ids(5000))
        assert.ok(broker.calls.length > 1)
        assert.equal(yield* position, 5000)
      })
    )
  )

  it.effect("the source is a URI reference, whatever the relay is called", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        const named = Relay.layer({ name: "my shop/ä" }).pipe(Layer.provide(broker.layer))
        yield* Layer.build(named)
        yield* EventStore.append("Order-1", published(1))
        yield* until(() => broker.taken.length === 1)
        assert.equal(broker.taken[0]?.source, "/my%20shop%2F%C3%A4")
      })
    )
  )

  const Deposited = Event.make("Deposited", { amount: Schema.Int }, { published: true })
  const Counted = Event.make("Counted", {})
  const Account = Aggregate.make("Account", {
    events: [Deposited, Counted],
    initial: 0,
    evolve: { Deposited: (balance, { amount }) => balance + amount, Counted: (balance) => balance }
  })
  const Deposit = Command.make("Deposit", { payload: { amount: Schema.Int }, error: Schema.Literal("refused") })
  const DepositLive = MessageBus.handle(Deposit, ({ amount }) =>
    Effect.gen(function* () {
      yield* Repository.execute(Account, "1", () => Effect.succeed([Counted.make({}), Deposited.make({ amount })]))
      if (amount < 0) return yield* Effect.fail("refused" as const)
    })
  )
  const bus = DepositLive.pipe(Layer.provideMerge(MessageBus.layer), Layer.provideMerge(UnitOfWork.layer))

  it.effect("of a command, its events and a private one: exactly the published event; the store keeps all in order", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        yield* start(broker)
        yield* MessageBus.execute(Deposit, { amount: 5 }, { correlationId: "c1" })
        yield* until(() => broker.taken.length === 1)
        yield* rest
        const stored = yield* Stream.runCollect(EventStore.readAll({ filter: { correlationId: "c1" } }))
        assert.deepEqual(stored.map(({ type }) => type).sort(), ["Counted", "Deposit", "Deposited"])
        assert.deepEqual(
          broker.taken.map(({ correlationid, data, type }) => ({ correlationid, data, type })),
          [{ type: "Deposited", correlationid: "c1", data: { amount: 5 } }]
        )
      }).pipe(Effect.provide(bus))
    )
  )

  it.effect("nothing of what was rolled back, neither then nor with the next commit", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        yield* start(broker)
        assert.equal(yield* Effect.flip(MessageBus.execute(Deposit, { amount: -1 })), "refused")
        yield* rest
        yield* MessageBus.execute(Deposit, { amount: 7 })
        yield* until(() => broker.taken.length === 1)
        yield* rest
        assert.deepEqual(
          broker.taken.map(({ data }) => data),
          [{ amount: 7 }]
        )
      }).pipe(Effect.provide(bus))
    )
  )
})

// -----------------------------------------------------------------------------
// what fails
// -----------------------------------------------------------------------------

describe("when the transport fails", () => {
  it.effect("the relay waits as its schedule says, and nothing is lost or passed over", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        logs(/starts again/)
        broker.next(fails, fails, fails)
        yield* EventStore.append("Order-1", published(3))
        yield* start(broker)
        for (const [calls, wait] of [
          [1, 100],
          [2, 200],
          [3, 400]
        ] as const) {
          yield* until(() => broker.calls.length === calls)
          yield* TestClock.adjust(wait - 1)
          assert.deepEqual([broker.calls.length, yield* position], [calls, 0])
          yield* TestClock.adjust(1)
        }
        yield* until(() => broker.taken.length === 3)
        assert.deepEqual(idsOf(broker.taken), ids(3))
        yield* rest
        assert.equal(yield* position, 3)
      })
    )
  )

  it.effect("the wait never grows beyond ten seconds", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        logs(/starts again/)
        broker.next(...Array.from({ length: 20 }, () => fails))
        yield* EventStore.append("Order-1", published(1))
        yield* start(broker)
        yield* TestClock.adjust("1 minute")
        const calls = broker.calls.length
        yield* TestClock.adjust("10 seconds")
        assert.equal(broker.calls.length, calls + 1)
        yield* TestClock.adjust("10 minutes")
        assert.deepEqual(idsOf(broker.taken), ids(1))
      })
    )
  )

  it.effect("the schedule begins anew once something has been published, and only then", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        logs(/starts again/)
        yield* start(broker)
        broker.next(fails, fails, fails, takes, fails, takes)
        yield* EventStore.append("Order-1", published(1))
        yield* TestClock.adjust(100 + 200 + 400)
        yield* until(() => broker.taken.length === 1)
        yield* EventStore.append("Order-1", published(1, 2))
        yield* until(() => broker.calls.length === 5)
        yield* TestClock.adjust(100)
        yield* until(() => broker.taken.length === 2)
        assert.deepEqual(idsOf(broker.taken), ids(2))
      })
    )
  )

  it.effect("after it has taken half, the whole is published again with the same ids, in order", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        logs(/starts again/)
        broker.next(takesHalf, losesAnswer)
        yield* EventStore.append("Order-1", published(4))
        yield* start(broker)
        yield* TestClock.adjust("1 second")
        yield* until(() => broker.taken.length === 10)
        assert.deepEqual(idsOf(broker.taken), [...ids(2), ...ids(4), ...ids(4)])
        yield* rest
        assert.equal(yield* position, 4)
      })
    )
  )

  it.effect("a schedule that ends, ends the relay with the last failure, and says so", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        const { layer, logs } = capture()
        broker.next(fails, fails, fails, fails, fails)
        yield* EventStore.append("Order-1", published(1))
        const running = Relay.run({ name, lease, restart: Schedule.recurs(2) })
        assert.equal(yield* Effect.flip(Effect.provide(running, [broker.layer, layer])), unavailable)
        assert.equal(broker.calls.length, 3)
        assert.deepEqual(logs.at(-1), ["Error", `eventfold: the relay "shop" gives up`])
        assert.equal(yield* owner, undefined)
      })
    )
  )

  it.effect("a log that ends before the checkpoint halts it: what is appended up to there would never leave", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        const { layer, logs } = capture()
        const { advance, claim, release } = yield* Checkpoints.Checkpoints
        const before = yield* claim(`relay:${name}`, { owner: "before the log was restored", ttl: lease })
        yield* release(yield* advance(before, 3))
        yield* EventStore.append("Order-1", published(2))
        yield* Effect.gen(function* () {
          yield* start(broker)
          yield* until(() => logs.length > 0)
          const [[level, text] = []] = logs
          assert.equal(level, "Error")
          assert.match(text ?? "", /the relay "shop" halts.*at position 3, and the log ends at 2/)
          yield* EventStore.append("Order-1", published(2, 3))
          yield* TestClock.adjust("1 minute")
          assert.deepEqual([logs.length, broker.calls.length, yield* position, yield* owner], [1, 0, 3, undefined])
        }).pipe(Effect.provide(layer))
      })
    )
  )

  it.effect("a message that is refused for good is an error in the log with its id, and holds up what is behind it", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        const { layer, logs } = capture()
        broker.next(refuses, refuses)
        yield* EventStore.append("Order-1", published(2))
        yield* Effect.gen(function* () {
          yield* startLayer(Layer.provide(Relay.layer({ name, lease }), broker.layer))
          yield* until(() => broker.calls.length === 1)
          yield* TestClock.adjust(100)
          yield* until(() => broker.calls.length === 2)
          yield* rest
          const refused = `eventfold: the broker refuses the message "1", and the relay "shop" cannot pass it`
          // Said once, however often it is tried.
          assert.deepEqual(logs, [["Error", `${refused} (MessageRefused during publish: too large)`]])
          assert.deepEqual([broker.taken.length, yield* position], [0, 0])
          const { cause, failed, state } = yield* Relay.status(name)
          assert.deepEqual([state, Option.isSome(cause)], ["backing-off", true])
          assert.deepEqual([failed?.position, failed?.stream, failed?.attempts], [1, "Order-1", 2])
          yield* TestClock.adjust(200)
          yield* until(() => broker.taken.length === 2)
          yield* rest
          assert.equal((yield* Relay.status(name)).failed, undefined)
        }).pipe(Effect.provide(layer))
      })
    )
  )

  it.effect("defects and interruptions inside it are failures like others", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        const { layer, logs } = capture()
        broker.next(
          () => Effect.die(new Error("a bug")),
          () => {
            throw new Error("another bug")
          },
          () => Effect.interrupt
        )
        yield* EventStore.append("Order-1", published(2))
        yield* Effect.provide(start(broker), layer)
        yield* TestClock.adjust("1 second")
        yield* until(() => broker.taken.length === 2)
        assert.equal(broker.calls.length, 4)
        assert.deepEqual(logs, [
          ["Warn", `eventfold: the relay "shop" failed and starts again (a bug)`],
          ["Info", `eventfold: the relay "shop" goes on, after 3 failures and 1s`]
        ])
      })
    )
  )
})

describe("when store or checkpoints fail", () => {
  /** The store, whose subscriptions break off after some events, `times` times, and which does not tell its head every other time. */
  const brokenStore = (times: number, after: number) =>
    Layer.effect(
      EventStore.EventStore,
      Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        const reason = new EventStore.StoreUnavailable({ operation: "subscribe", detail: "connection lost" })
        const lost = Stream.fail(new EventStore.EventStoreError({ reason }))
        let left = times
        let asked = 0
        return EventStore.EventStore.of({
          ...store,
          head: Effect.suspend(() => (asked++ % 2 === 0 ? store.head : Effect.fail(new EventStore.EventStoreError({ reason })))),
          subscribe: (options) =>
            Stream.suspend(() =>
              left-- > 0 ? Stream.concat(Stream.take(store.subscribe(options), after), lost) : store.subscribe(options)
            )
        })
      })
    )

  it.effect("a subscription that breaks off is taken up again where it was", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        logs(/starts again/)
        yield* EventStore.append("Order-1", published(10))
        yield* Effect.provide(start(broker), brokenStore(3, 2))
        yield* TestClock.adjust("1 minute")
        yield* until(() => broker.taken.length === 10)
        assert.deepEqual(idsOf(broker.taken), ids(10))
        yield* rest
        assert.equal(yield* position, 10)
      })
    )
  )

  /** The checkpoints, which do something else first. */
  const checkpointsThat = (
    change: (checkpoints: Checkpoints.Checkpoints["Service"]) => Partial<Checkpoints.Checkpoints["Service"]>
  ) =>
    Layer.effect(
      Checkpoints.Checkpoints,
      Effect.map(Checkpoints.Checkpoints, (checkpoints) => ({ ...checkpoints, ...change(checkpoints) }))
    )

  const lost = (operation: string) => new Checkpoints.CheckpointError({ operation, checkpoint: `relay:${name}`, cause: "lost" })

  it.effect("what was published and not checkpointed is published again, with the same ids", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        logs(/starts again/)
        let failures = 2
        const broken = checkpointsThat(({ advance }) => ({
          advance: (lease, position) => (failures-- > 0 ? Effect.fail(lost("advance")) : advance(lease, position))
        }))
        yield* EventStore.append("Order-1", published(3))
        yield* Effect.provide(start(broker), broken)
        yield* TestClock.adjust("1 second")
        yield* until(() => broker.taken.length === 9)
        yield* rest
        assert.deepEqual(idsOf(broker.taken), [...ids(3), ...ids(3), ...ids(3)])
        assert.equal(yield* position, 3)
      })
    )
  )

  it.effect("claims that fail wait longer and longer, also after something has been published", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        logs(/starts again/)
        let claims = 0
        const broken = checkpointsThat(({ claim }) => ({
          claim: (name, options) => (claims++ > 0 ? Effect.fail(lost("claim")) : claim(name, options))
        }))
        yield* EventStore.append("Order-1", published(1))
        yield* Effect.provide(start(broker), broken)
        yield* until(() => broker.taken.length === 1)
        broker.next(fails)
        yield* EventStore.append("Order-1", published(1, 2))
        yield* until(() => broker.calls.length === 2)
        yield* rest
        for (const wait of [100, 200, 400, 800]) {
          const before = claims
          yield* TestClock.adjust(wait - 1)
          assert.equal(claims, before)
          yield* TestClock.adjust(1)
          assert.equal(claims, before + 1)
        }
      })
    )
  )

  it.effect("the checkpoint never passes what was not published", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        logs(/starts again/)
        const behaviours = [takes, fails, takesHalf, takes, losesAnswer]
        broker.next(...Array.from({ length: 100 }, (_, n) => behaviours[(n * 7) % 5] ?? takes))
        const passed: Array<number> = []
        const watched = checkpointsThat(({ advance }) => ({
          advance: (lease, position) => {
            const taken = new Set(broker.taken.map(({ position }) => position))
            for (let n = 1; n <= position; n++) if (!taken.has(n)) passed.push(n)
            return advance(lease, position)
          }
        }))
        yield* Effect.provide(start(broker), watched)
        for (let n = 0; n < 50; n++) {
          yield* EventStore.append("Order-1", published(4, n * 4 + 1))
          yield* TestClock.adjust(100)
        }
        yield* TestClock.adjust("1 minute")
        assert.equal(yield* position, 200)
        assert.deepEqual(passed, [])
        assert.ok(broker.taken.length > 200)
        // In order, once repetitions are left out.
        assert.deepEqual(Array.from(new Set(idsOf(broker.taken))), ids(200))
      })
    )
  )
})

// -----------------------------------------------------------------------------
// who works
// -----------------------------------------------------------------------------

describe("two relays of one name", () => {
  it.effect("one works and the other stands by; when the first ends, the other takes over", () =>
    relayed((first) =>
      Effect.gen(function* () {
        const second = makeBroker()
        const { layer, logs } = capture()
        const stop = yield* start(first)
        yield* rest
        yield* Effect.provide(start(second), layer)
        yield* EventStore.append("Order-1", published(2))
        yield* TestClock.adjust("1 minute")
        assert.deepEqual([idsOf(first.taken), idsOf(second.taken)], [ids(2), []])
        yield* stop
        yield* EventStore.append("Order-1", published(2, 3))
        yield* TestClock.adjust("5 seconds")
        yield* until(() => second.taken.length === 2)
        assert.deepEqual([idsOf(first.taken), idsOf(second.taken)], [ids(2), ids(2, 3)])
        assert.deepEqual(logs, [], "standing by is no failure")
      })
    )
  )

  it.effect("the lease of one that died is left alone until it has run out", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        const { claim } = yield* Checkpoints.Checkpoints
        yield* claim(`relay:${name}`, { owner: "died", ttl: lease })
        yield* EventStore.append("Order-1", published(1))
        yield* start(broker)
        yield* TestClock.adjust(14_999)
        assert.equal(broker.calls.length, 0)
        yield* TestClock.adjust("5 seconds")
        yield* until(() => broker.taken.length === 1)
        assert.deepEqual(idsOf(broker.taken), ids(1))
      })
    )
  )

  it.effect("a busy relay keeps its lease however long the broker takes", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        const answer = yield* Deferred.make<void>()
        broker.next((messages, take) => Effect.andThen(Deferred.await(answer), take(messages)))
        yield* EventStore.append("Order-1", published(1))
        yield* start(broker)
        const other = makeBroker()
        yield* start(other)
        yield* TestClock.adjust("10 minutes")
        yield* Deferred.succeed(answer, undefined)
        yield* until(() => broker.taken.length === 1)
        yield* rest
        assert.deepEqual([yield* position, broker.calls.length, other.calls.length], [1, 1, 0])
      })
    )
  )

  it.effect("one whose lease was taken commits nothing more, and stands by", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        logs(/starts again/)
        const answer = yield* Deferred.make<void>()
        broker.next((messages, take) => Effect.andThen(Deferred.await(answer), take(messages)))
        yield* EventStore.append("Order-1", published(2))
        yield* start(broker)
        yield* until(() => broker.calls.length === 1)
        const stolen = yield* steal
        yield* Deferred.succeed(answer, undefined)
        yield* until(() => broker.taken.length === 2)
        yield* EventStore.append("Order-1", published(2, 3))
        yield* TestClock.adjust("10 seconds")
        assert.deepEqual([yield* position, yield* owner, broker.calls.length], [0, "thief", 1])
        // The thief dies, and the relay is back.
        const { advance } = yield* Checkpoints.Checkpoints
        yield* advance(stolen, 3)
        yield* TestClock.adjust("20 seconds")
        yield* until(() => broker.taken.length === 3)
        assert.deepEqual(idsOf(broker.taken), [...ids(2), ...ids(1, 4)])
      })
    )
  )

  it.effect("one whose lease was taken gives up a broker that does not answer", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        logs(/starts again/)
        let interrupted = false
        broker.next(() => Effect.onInterrupt(Effect.never, () => Effect.sync(() => (interrupted = true))))
        yield* EventStore.append("Order-1", published(1))
        yield* start(broker)
        yield* until(() => broker.calls.length === 1)
        yield* steal
        yield* TestClock.adjust(4_999)
        assert.equal(interrupted, false)
        yield* TestClock.adjust(1)
        assert.equal(interrupted, true)
        yield* rest
        assert.deepEqual([yield* position, yield* owner], [0, "thief"])
      })
    )
  )
})

// -----------------------------------------------------------------------------
// how it ends
// -----------------------------------------------------------------------------

describe("when its scope closes", () => {
  it.effect("it finishes the batch in hand, and the next one starts at once behind it", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        const answer = yield* Deferred.make<void>()
        broker.next((messages, take) => Effect.andThen(Deferred.await(answer), take(messages)))
        yield* EventStore.append("Order-1", published(2))
        const stop = yield* start(broker)
        yield* until(() => broker.calls.length === 1)
        const stopping = yield* Effect.forkChild(stop)
        yield* EventStore.append("Order-1", published(2, 3))
        yield* TestClock.adjust("4 seconds")
        assert.equal(stopping.pollUnsafe(), undefined)
        yield* Deferred.succeed(answer, undefined)
        yield* Fiber.join(stopping)
        assert.deepEqual([yield* position, yield* owner, broker.calls.length], [2, undefined, 1])
        yield* start(broker)
        yield* until(() => broker.taken.length === 4)
        assert.deepEqual(idsOf(broker.taken), ids(4))
      })
    )
  )

  it.effect("it does not wait for ever for a broker that hangs, and the next one publishes again", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        broker.next(hangs)
        yield* EventStore.append("Order-1", published(2))
        const stop = yield* start(broker)
        yield* until(() => broker.calls.length === 1)
        const stopping = yield* Effect.forkChild(stop)
        yield* TestClock.adjust(4_999)
        assert.equal(stopping.pollUnsafe(), undefined)
        yield* TestClock.adjust(1)
        yield* Fiber.join(stopping)
        assert.deepEqual([yield* position, yield* owner], [0, undefined])
        yield* start(broker)
        yield* until(() => broker.taken.length === 2)
        assert.deepEqual(broker.calls, [ids(2), ids(2)])
      })
    )
  )

  it.effect("idle, standing by or waiting to try again, it ends at once", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        logs(/starts again/)
        const stopIdle = yield* start(broker)
        yield* rest
        const stopStandby = yield* start(makeBroker())
        yield* rest
        const failing = makeBroker()
        failing.next(fails)
        yield* EventStore.append("Order-1", published(1))
        const stopFailing = yield* start(failing, { name: "other" })
        yield* until(() => failing.calls.length === 1)
        yield* rest
        yield* stopStandby
        yield* stopIdle
        yield* stopFailing
        assert.equal(yield* owner, undefined)
      })
    )
  )

  it.effect("run ends as interrupted", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        const running = yield* Effect.forkChild(Effect.provide(Relay.run({ name, lease }), broker.layer))
        yield* EventStore.append("Order-1", published(1))
        yield* until(() => broker.taken.length === 1)
        yield* Fiber.interrupt(running)
        const exit = yield* Fiber.await(running)
        assert.ok(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
        assert.deepEqual([yield* position, yield* owner], [1, undefined])
      })
    )
  )
})

// -----------------------------------------------------------------------------
// drain, metrics
// -----------------------------------------------------------------------------

describe("drain", () => {
  const drain = (broker: Broker, options: Partial<Relay.Options> = {}) =>
    Effect.provide(Relay.drain({ name, lease, ...options }), broker.layer)

  it.effect("publishes what is waiting, once, and ends", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        yield* drain(broker)
        yield* EventStore.append("Order-1", [...published(3), { type: "Checked", payload: {} }])
        yield* drain(broker)
        yield* drain(broker)
        assert.deepEqual(broker.calls, [ids(3)])
        yield* EventStore.append("Order-1", published(500, 4))
        yield* drain(broker, { filter: { types: ["Placed"] } })
        assert.deepEqual(idsOf(broker.taken), ids(503))
        assert.deepEqual([yield* position, yield* owner], [504, undefined])
      })
    )
  )

  it.effect("fails where the log ends before the checkpoint", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        const { advance, claim, release } = yield* Checkpoints.Checkpoints
        yield* release(yield* advance(yield* claim(`relay:${name}`, { owner: "before", ttl: lease }), 3))
        yield* EventStore.append("Order-1", published(2))
        const error = yield* Effect.flip(drain(broker))
        assert.deepEqual({ ...error }, { _tag: "CheckpointAheadError", checkpoint: "relay:shop", position: 3, head: 2 })
        assert.equal(broker.calls.length, 0)
      })
    )
  )

  it.effect("fails while somebody else holds the checkpoint, and with the first thing that goes wrong", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        yield* EventStore.append("Order-1", published(3))
        broker.next(takesHalf)
        assert.equal(yield* Effect.flip(drain(broker)), unavailable)
        assert.deepEqual([yield* position, yield* owner], [0, undefined])
        const { claim } = yield* Checkpoints.Checkpoints
        yield* claim(`relay:${name}`, { owner: "somebody", ttl: lease })
        assert.deepEqual(
          { ...(yield* Effect.flip(drain(broker))) },
          { _tag: "CheckpointHeldError", checkpoint: "relay:shop", owner: "somebody" }
        )
        assert.equal(broker.calls.length, 1)
      })
    )
  )

  it.effect("ends with an error when its lease is taken meanwhile", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        yield* EventStore.append("Order-1", published(1))
        broker.next(hangs)
        const draining = yield* Effect.forkChild(drain(broker))
        yield* until(() => broker.calls.length === 1)
        yield* steal
        yield* TestClock.adjust("10 seconds")
        assert.equal((yield* Effect.flip(Fiber.join(draining)))._tag, "CheckpointFencedError")
        assert.deepEqual([yield* position, yield* owner], [0, "thief"])
      })
    )
  )
})

it.effect("the checkpoint moves over what stays inside, which is no lag, and never over what waits", () =>
  relayed((broker) =>
    Effect.gen(function* () {
      const metric = Effect.map(
        Metric.snapshot,
        (all) => all.find((one) => one.id === "eventfold_relay_lag" && one.attributes?.["relay"] === name)?.state
      )
      const private_ = { type: "Checked", payload: {} }
      yield* EventStore.append("Order-1", [...published(1), private_, private_])
      const stop = yield* start(broker, { filter: { categories: ["Order"] } })
      yield* until(() => broker.taken.length === 1)
      yield* rest
      assert.equal(yield* position, 3)
      yield* EventStore.append("Invoice-1", published(1, 2))
      yield* TestClock.adjust("5 seconds")
      yield* rest
      assert.deepEqual([yield* position, yield* metric], [4, { value: 0 }])
      broker.next(hangs)
      yield* EventStore.append("Order-1", [private_, ...published(1, 3), private_])
      yield* until(() => broker.calls.length === 2)
      yield* TestClock.adjust("1 minute")
      assert.equal(yield* position, 4)
      const stopping = yield* Effect.forkChild(stop)
      yield* Effect.andThen(rest, TestClock.adjust("5 seconds"))
      yield* Fiber.join(stopping)
      yield* Relay.drain({ name, lease, filter: { categories: ["Order"] } }).pipe(Effect.provide(broker.layer))
      assert.deepEqual([idsOf(broker.taken), yield* position, yield* metric], [["1", "3"], 7, { value: 0 }])
    }).pipe(
      Effect.provideServiceEffect(
        Metric.MetricRegistry,
        Effect.sync(() => new Map())
      )
    )
  )
)

describe("metrics", () => {
  it.effect("count what was published, and tell how far behind the checkpoint is, by relay", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        logs(/starts again/)
        const metric = (id: string) =>
          Effect.map(Metric.snapshot, (all) => all.find((one) => one.id === id && one.attributes?.["relay"] === name)?.state)
        broker.next(takes, fails, takes)
        yield* EventStore.append("Order-1", published(3))
        yield* start(broker)
        yield* until(() => broker.taken.length === 3)
        yield* rest
        assert.deepEqual(yield* metric("eventfold_relay_published_messages"), { count: 3, incremental: true })
        assert.deepEqual(yield* metric("eventfold_relay_lag"), { value: 0 })
        yield* EventStore.append("Order-1", published(5, 4))
        yield* until(() => broker.calls.length === 2)
        yield* EventStore.append("Order-1", [{ type: "Checked", payload: {} }])
        broker.next(hangs)
        yield* TestClock.adjust(100)
        yield* until(() => broker.taken.length === 8)
        yield* rest
        assert.deepEqual(yield* metric("eventfold_relay_published_messages"), { count: 8, incremental: true })
        assert.deepEqual(yield* metric("eventfold_relay_lag"), { value: 0 })
      }).pipe(
        Effect.provideServiceEffect(
          Metric.MetricRegistry,
          Effect.sync(() => new Map())
        )
      )
    )
  )
})

// -----------------------------------------------------------------------------
// what the broker refuses
// -----------------------------------------------------------------------------

/** Refuses these ids for good, each by itself. */
const picky = (broker: Broker, bad: ReadonlySet<string>): Broker => ({
  ...broker,
  layer: Layer.effect(
    Transport.Transport,
    Effect.map(
      Effect.map(Layer.build(broker.layer), Context.get(Transport.Transport)),
      ({ forget, publish, subscribe }): Transport.Transport["Service"] => ({
        subscribe,
        forget,
        publish: (messages) => {
          const id = messages.find(({ id }) => bad.has(id))?.id
          return id === undefined
            ? publish(messages)
            : Effect.fail(
                new Transport.TransportError({
                  reason: new Transport.MessageRefused({ operation: "publish", id, detail: "too large" })
                })
              )
        }
      })
    )
  )
})

describe("what the broker refuses", () => {
  it.effect("is parked with its cause by policy, does not hold up the rest, and can be replayed", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        logs(/the broker refuses the event/)
        const bad = new Set(["2", "4", "5"])
        const relay = { name, onRefused: "park" } as const
        const { layer } = picky(broker, bad)
        yield* EventStore.append("Order-1", published(6))
        yield* Layer.build(Layer.provide(Relay.layer(relay), layer))
        yield* until(() => broker.taken.length === 3)
        assert.deepEqual(idsOf(broker.taken), ["1", "3", "6"])
        const { list } = yield* ParkedEvents.ParkedEvents
        const parked = yield* list(`relay:${name}`)
        assert.deepEqual(
          parked.map(({ attempts, position, stream, type }) => [position, stream, type, attempts]),
          [2, 4, 5].map((n) => [n, "Order-1", "Placed", 1])
        )
        assert.match(parked[0]?.cause ?? "", /too large/)
        yield* EventStore.append("Order-1", published(1, 7))
        yield* until(() => broker.taken.length === 4)

        const refused = yield* Effect.flip(Effect.provide(Relay.retry(relay, 2), layer))
        assert.equal(refused._tag, "TransportError")
        assert.equal((yield* list(`relay:${name}`)).length, 3)
        bad.clear()
        yield* Effect.provide(Relay.retry(relay, 2), layer)
        assert.deepEqual(idsOf(broker.taken), ["1", "3", "6", "7", "2"])
        assert.deepEqual(
          (yield* list(`relay:${name}`)).map(({ position }) => position),
          [4, 5]
        )
        for (const position of [2, 1, 99]) {
          assert.equal((yield* Effect.flip(Effect.provide(Relay.retry(relay, position), layer)))._tag, "NotParkedError")
        }
      }).pipe(Effect.provide(ParkedEvents.layerMemory))
    )
  )

  it.effect("holds up what is behind it otherwise", () =>
    relayed((broker) =>
      Effect.gen(function* () {
        logs(/the broker refuses/)
        yield* EventStore.append("Order-1", published(3))
        yield* Layer.build(Layer.provide(Relay.layer({ name, lease }), picky(broker, new Set(["2"])).layer))
        for (let round = 0; round < 5; round++) yield* TestClock.adjust("1 minute")
        assert.deepEqual(idsOf(broker.taken), [])
        assert.equal(yield* position, 0)
      })
    )
  )
})

it.effect("while the broker is away nothing grows in memory: a page or two are read, however much waits", () =>
  relayed((broker) =>
    Effect.gen(function* () {
      logs(/starts again/)
      yield* EventStore.append("Order-1", published(20_000))
      const store = yield* EventStore.EventStore
      let events = 0
      let attempts = 0
      const counting = EventStore.EventStore.of({
        ...store,
        subscribe: (options) => {
          attempts++
          events = 0
          return Stream.mapArray(store.subscribe(options), (page) => {
            events += page.length
            return page
          })
        }
      })
      let most = 0
      broker.next(...Array.from({ length: 20 }, () => fails))
      yield* Layer.build(
        Relay.layer({ name, lease }).pipe(
          Layer.provide(broker.layer),
          Layer.provide(Layer.succeed(EventStore.EventStore, counting))
        )
      )
      while (broker.calls.length < 20) {
        yield* rest
        most = Math.max(most, events)
        yield* TestClock.adjust("10 seconds")
      }
      assert.equal(attempts, 20)
      assert.ok(most > 0 && most <= 2000, `${most} events were read while the broker was away`)
      yield* rest
      yield* TestClock.adjust("10 seconds")
      yield* until(() => broker.taken.length === 20_000)
    })
  )
)
