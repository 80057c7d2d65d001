import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Layer, Option, Schedule, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Checkpoints, EventStore, ParkedEvents, Subscription } from "eventfold"
import { logs } from "./support/logs.ts"
import { rest, until } from "./support/words.ts"

const name = "view"
const lease = "15 seconds"
const stores = Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory, ParkedEvents.layerMemory)

const following = <E>(
  test: Effect.Effect<void, E, EventStore.EventStore | Checkpoints.Checkpoints | ParkedEvents.ParkedEvents | Scope.Scope>
) => Effect.provide(test, stores)

const streams = Array.from({ length: 40 }, (_, n) => `Count-${n}`)

/** One event to each stream. */
const round = Effect.forEach(streams, (stream) => EventStore.append(stream, [{ type: "Counted", payload: null }]), {
  discard: true
})

interface Handled {
  readonly member: string
  readonly stream: string
  readonly version: number
  readonly position: number
}

/** Starts a process of the group, as far as the checkpoints can tell, with a registry of its own. */
const makeGroup = (options: Omit<Partial<Subscription.RawOptions<unknown, never, "halt" | "park", false>>, "handler"> = {}) => {
  const handled: Array<Handled> = []
  const join = Effect.fnUntraced(function* (
    member: string,
    before: (event: EventStore.RecordedEvent) => Effect.Effect<unknown, unknown> = () => Effect.void
  ) {
    const registry = new Map<string, Subscription.Controls>()
    const scope = yield* Scope.fork(yield* Effect.scope)
    const layer = Subscription.layer<unknown, never, "halt" | "park", false>({
      name,
      lease,
      partitions: 4,
      ...options,
      handler: (event) =>
        Effect.andThen(
          before(event),
          Effect.sync(() => handled.push({ member, stream: event.stream, version: event.version, position: event.position }))
        )
    })
    yield* Layer.buildWithScope(layer, scope).pipe(Effect.provideService(Subscription.Registry, registry))
    const here = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideService(effect, Subscription.Registry, registry)
    const status = here(Subscription.status(name))
    return {
      here,
      status,
      /** The partitions that it holds. */
      holds: Effect.map(status, ({ partitions = [] }) =>
        partitions.flatMap(({ state }, index) => (state === "standby" || state === "stopped" ? [] : [index]))
      ),
      leave: Scope.close(scope, Exit.void)
    }
  })
  return { handled, join }
}

/** Each event once, and each stream in order. */
const assertSound = (handled: ReadonlyArray<Handled>, rounds: number) => {
  assert.equal(handled.length, streams.length * rounds)
  for (const stream of streams) {
    assert.deepEqual(
      handled.filter((one) => one.stream === stream).map(({ version }) => version),
      Array.from({ length: rounds }, (_, index) => index + 1)
    )
  }
}

const checkpoints = Effect.map(
  Effect.flatMap(Checkpoints.Checkpoints, ({ list }) => list),
  (all) => all.map(({ name, owner, position }) => ({ name, position, held: Option.isSome(owner) }))
)

describe("a group", () => {
  it.effect("of one process handles all partitions, each with a checkpoint of its own", () =>
    following(
      Effect.gen(function* () {
        const { handled, join } = makeGroup()
        const one = yield* join("one")
        yield* round
        yield* round
        yield* until(() => handled.length === 80)
        assert.deepEqual(yield* one.holds, [0, 1, 2, 3])
        yield* TestClock.adjust("5 seconds")
        assertSound(handled, 2)
        assert.deepEqual(
          yield* checkpoints,
          [0, 1, 2, 3].map((k) => ({ name: `subscription:view:${k}/4`, position: 80, held: true }))
        )
        assert.deepEqual((yield* Subscription.lag).length, 4)
        const { lag, partitions, position, state } = yield* one.status
        assert.deepEqual([state, position, lag], ["live", 80, 0])
        assert.deepEqual(
          partitions?.map(({ name, position, state }) => ({ name, position, state })),
          [0, 1, 2, 3].map((k) => ({ name: `view:${k}/4`, position: 80, state: "live" }))
        )
        yield* one.leave
        assert.deepEqual((yield* one.status).state, "stopped")
        assert.ok((yield* checkpoints).every(({ held }) => !held))
      })
    )
  )

  it.effect("whose log cannot be read says so, and goes on when it can", () =>
    following(
      Effect.gen(function* () {
        logs(/"view.*starts again \(.*the 7th line is torn/)
        const store: EventStore.EventStore["Service"] = yield* EventStore.EventStore
        const reason = new EventStore.StoreCorrupted({ operation: "subscribe", detail: "the 7th line is torn" })
        let torn = true
        const subscribe: typeof store.subscribe = (options) =>
          Stream.suspend(() => (torn ? Stream.fail(new EventStore.EventStoreError({ reason })) : store.subscribe(options)))
        const { handled, join } = makeGroup()
        const one = yield* Effect.provideService(join("one"), EventStore.EventStore, { ...store, subscribe })
        yield* round
        yield* until(Effect.map(one.status, ({ state }) => state === "backing-off"))
        assert.match(Cause.pretty(Option.getOrThrow((yield* one.status).cause)), /the 7th line is torn/)
        torn = false
        yield* TestClock.adjust("1 second")
        yield* until(() => handled.length === 40)
        assertSound(handled, 1)
        yield* until(Effect.map(one.status, ({ state }) => state === "live"))
      })
    )
  )

  it.effect("shares the partitions out when others join and leave; nothing is lost or doubled, each stream in order", () =>
    following(
      Effect.gen(function* () {
        const { handled, join } = makeGroup()
        const one = yield* join("one")
        yield* round
        const two = yield* join("two")
        yield* round
        yield* TestClock.adjust("15 seconds")
        yield* rest
        assert.deepEqual([(yield* one.holds).length, (yield* two.holds).length], [2, 2])
        yield* round
        yield* until(() => handled.length === 120)
        assert.ok(handled.slice(80).some(({ member }) => member === "one"))
        assert.ok(handled.slice(80).some(({ member }) => member === "two"))
        const three = yield* join("three")
        yield* TestClock.adjust("15 seconds")
        yield* round
        const four = yield* join("four")
        yield* TestClock.adjust("15 seconds")
        yield* rest
        const all = [one, two, three, four]
        const held = yield* Effect.forEach(all, ({ holds }) => holds)
        assert.deepEqual(
          held.map(({ length }) => length),
          [1, 1, 1, 1]
        )
        assert.deepEqual(held.flat().sort(), [0, 1, 2, 3])
        const five = yield* join("five")
        yield* TestClock.adjust("1 minute")
        assert.deepEqual([yield* five.holds, (yield* five.status).state], [[], "standby"])
        assert.deepEqual(yield* Effect.forEach(all, ({ holds }) => holds), held)
        yield* round
        yield* one.leave
        yield* two.leave
        yield* TestClock.adjust("30 seconds")
        yield* round
        yield* rest
        assert.deepEqual(
          (yield* Effect.forEach([three, four, five], ({ holds }) => holds)).map(({ length }) => length).sort(),
          [1, 1, 2]
        )
        assertSound(handled, 6)
      })
    )
  )

  it.effect("finishes the event in hand before it gives a partition back, and begins no other", () =>
    following(
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { handled, join } = makeGroup({ partitions: 2, lease: "30 seconds" })
        let begun = 0
        const one = yield* join("one", () => Effect.suspend(() => (++begun, Deferred.await(gate))))
        yield* rest
        yield* round
        yield* round
        yield* until(() => begun === 2)
        const two = yield* join("two")
        yield* TestClock.adjust("10 seconds")
        yield* rest
        assert.deepEqual([yield* one.holds, yield* two.holds, handled], [[0, 1], [], []])
        yield* Deferred.succeed(gate, undefined)
        yield* TestClock.adjust("20 seconds")
        yield* until(() => handled.length === 80)
        assert.deepEqual([(yield* one.holds).length, (yield* two.holds).length], [1, 1])
        assertSound(handled, 2)
      })
    )
  )

  it.effect("lets a partition halt while the others go on, and stay where it is until it is resumed", () =>
    following(
      Effect.gen(function* () {
        logs(/ halts/)
        let broken = true
        const { handled, join } = makeGroup({ retry: Schedule.recurs(0) })
        const one = yield* join("one", ({ stream }) =>
          Effect.suspend(() => (broken && stream === "Count-7" ? Effect.fail("no") : Effect.void))
        )
        yield* round
        yield* round
        yield* TestClock.adjust("1 minute")
        const { cause, partitions = [], state } = yield* one.status
        assert.deepEqual([state, Option.map(cause, Cause.squash)], ["halted", Option.some("no")])
        assert.deepEqual(partitions.map(({ state }) => state).sort(), ["halted", "live", "live", "live"])
        assert.ok(handled.length > 40)
        broken = false
        yield* one.here(Subscription.resume(name))
        yield* TestClock.adjust("1 second")
        yield* until(() => handled.length === 80)
        assertSound(handled, 2)
        assert.equal((yield* one.status).state, "live")
      })
    )
  )

  it.effect("shares out what goes on, also with a process that holds nothing but what has halted", () =>
    following(
      Effect.gen(function* () {
        logs(/ halts/)
        const { handled, join } = makeGroup({ retry: Schedule.recurs(0) })
        const fails = ({ stream }: EventStore.RecordedEvent) => (stream === "Count-7" ? Effect.fail("no") : Effect.void)
        const one = yield* join("one", fails)
        yield* round
        yield* TestClock.adjust("15 seconds")
        assert.equal((yield* one.status).state, "halted")
        const two = yield* join("two", fails)
        yield* TestClock.adjust("30 seconds")
        yield* round
        yield* TestClock.adjust("5 seconds")
        assert.equal((yield* two.holds).length, 2)
        assert.deepEqual(new Set(handled.slice(-20).map(({ member }) => member)), new Set(["one", "two"]))
      })
    )
  )

  it.effect("of which two processes have begun with different numbers halts altogether", () =>
    following(
      Effect.gen(function* () {
        logs(/ halts/)
        const { handled, join } = makeGroup()
        const one = yield* join("one")
        yield* round
        yield* until(() => handled.length === 40)
        // As if both had begun at the same moment, when there was no checkpoint yet.
        const { claim } = yield* Checkpoints.Checkpoints
        yield* claim("subscription:view:0/2", { owner: "other", ttl: lease })
        yield* TestClock.adjust("15 seconds")
        yield* round
        yield* TestClock.adjust("1 minute")
        assert.deepEqual([(yield* one.status).state, yield* one.holds, handled.length], ["halted", [], 40])
      })
    )
  )

  it.effect("parks and replays under the name of the subscription", () =>
    following(
      Effect.gen(function* () {
        logs(/has parked the event/)
        let broken = true
        const { handled, join } = makeGroup({ retry: Schedule.recurs(0), onFailure: "park" })
        const one = yield* join("one", ({ position }) =>
          Effect.suspend(() => (broken && position === 5 ? Effect.fail("no") : Effect.void))
        )
        yield* round
        yield* until(() => handled.length === 39)
        yield* rest
        const parked = yield* ParkedEvents.ParkedEvents
        assert.deepEqual(
          (yield* parked.list(name)).map(({ position }) => position),
          [5]
        )
        broken = false
        yield* one.here(Subscription.retry(name, 5))
        assertSound(handled, 1)
        assert.deepEqual(yield* parked.list(name), [])
      })
    )
  )

  it.effect("is paused and resumed as a whole, also what it takes over meanwhile", () =>
    following(
      Effect.gen(function* () {
        const { handled, join } = makeGroup()
        const one = yield* join("one")
        const two = yield* join("two")
        yield* TestClock.adjust("30 seconds")
        yield* one.here(Subscription.pause(name))
        assert.equal((yield* one.status).state, "paused")
        yield* two.leave
        yield* TestClock.adjust("30 seconds")
        assert.deepEqual(yield* one.holds, [0, 1, 2, 3])
        yield* round
        yield* rest
        assert.deepEqual([handled, (yield* one.status).state], [[], "paused"])
        yield* one.here(Subscription.resume(name))
        yield* until(() => handled.length === 40)
        assertSound(handled, 1)
      })
    )
  )

  it.effect("reads the log once for all partitions that keep up", () =>
    following(
      Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        let read = 0
        const counted = Layer.succeed(EventStore.EventStore, {
          ...store,
          subscribe: (options) => {
            read++
            return store.subscribe(options)
          }
        })
        const { handled, join } = makeGroup({ partitions: 16 })
        yield* Effect.provide(join("one"), counted)
        for (let n = 1; n <= 10; n++) {
          yield* round
          yield* until(() => handled.length === n * streams.length)
        }
        assertSound(handled, 10)
        assert.equal(read, 1)
      })
    )
  )

  it.effect("lets a slow partition fall behind and come up again by itself", () =>
    following(
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { handled, join } = makeGroup()
        yield* join("one", ({ stream }) => (stream === "Count-3" ? Deferred.await(gate) : Effect.void))
        for (let n = 1; n <= 20; n++) {
          yield* round
          yield* rest
        }
        const before = handled.length
        assert.ok(before > 400 && before < 800)
        yield* Deferred.succeed(gate, undefined)
        yield* until(() => handled.length === 800)
        yield* round
        yield* until(() => handled.length === 840)
        assertSound(handled, 21)
      })
    )
  )

  it.effect("takes over what a process held that died, within its lease and a third", () =>
    following(
      Effect.gen(function* () {
        const { handled, join } = makeGroup()
        const { claim } = yield* Checkpoints.Checkpoints
        for (const k of [0, 1, 2, 3]) yield* claim(`subscription:view:${k}/4`, { owner: "dead", ttl: lease })
        yield* round
        const one = yield* join("one")
        yield* TestClock.adjust("14 seconds")
        assert.deepEqual([yield* one.holds, handled], [[], []])
        yield* TestClock.adjust("6 seconds")
        yield* until(() => handled.length === 40)
        assert.deepEqual(yield* one.holds, [0, 1, 2, 3])
      })
    )
  )

  for (const [before, now] of [
    [4, 8],
    [undefined, 4],
    [4, undefined]
  ]) {
    it.effect(`that ran with ${before ?? "no"} partitions halts with ${now ?? "none"}, and handles nothing`, () =>
      following(
        Effect.gen(function* () {
          logs(/ halts/)
          const first = makeGroup({ partitions: before })
          yield* round
          const one = yield* first.join("one")
          yield* until(() => first.handled.length === 40)
          yield* rest
          yield* one.leave
          const second = makeGroup({ partitions: now })
          const two = yield* second.join("two")
          yield* TestClock.adjust("1 minute")
          const { cause, state } = yield* two.status
          const error = Option.getOrUndefined(Option.map(cause, Cause.squash))
          assert.ok(error instanceof Subscription.PartitionsChangedError)
          assert.deepEqual([state, error.before, second.handled], ["halted", Option.fromUndefinedOr(before), []])
          assert.ok(error.position > 0 && error.position <= 40)
        })
      )
    )
  }
})
