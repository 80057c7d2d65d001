/** Many follow one store in one process: the log is read once for all that keep up, and nobody is the worse for the others. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Layer, Result, type Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Checkpoints, EventStore, Subscription } from "eventfold"
import * as Kit from "eventfold/kit"
import { makeTogether } from "../../src/internal/together.ts"
import { union } from "../../src/store/kit/tail.ts"
import { logs } from "../support/logs.ts"
import { numbers, rest, start, until } from "../support/words.ts"

type Request = Parameters<Kit.Pages["all"]>[0]

/** A store in memory whose pages are counted, take a turn, and may fail; a reader gets what it is asked to. */
const makeCounted = () => {
  const index = Kit.makeIndex<Kit.StoredEvent>(Kit.matchesPrepared)
  const signal = Kit.makeSignal()
  const reads = Kit.readsOfIndex(index, (rows) => Effect.sync(() => Kit.eventPage(rows)))
  const requests: Array<Request> = []
  const faults = { of: (request: Request): boolean => request.size < 1 }
  const store = EventStore.make({
    ...reads,
    pages: {
      ...reads.pages,
      all: (request) => {
        requests.push(request)
        const read = faults.of(request)
          ? Effect.fail(
              new EventStore.EventStoreError({
                reason: new EventStore.StoreUnavailable({ operation: "readAll", detail: "away" })
              })
            )
          : reads.pages.all(request)
        return Effect.andThen(Effect.yieldNow, read)
      }
    },
    append: (prepared) =>
      Effect.flatMap(prepared, (append) => {
        const verdict = Kit.decide(append, index.standing)
        if (Result.isFailure(verdict)) return Effect.fail(verdict.failure)
        for (const write of verdict.success.writes) index.add(Kit.storedEvent(write))
        signal.notify(index.standing.head)
        return Effect.succeed(verdict.success.results)
      }),
    awaitBeyond: signal.beyond,
    heard: signal.position
  })
  return { store, requests, faults }
}

const sharing = <A, E>(
  test: (
    counted: ReturnType<typeof makeCounted>
  ) => Effect.Effect<A, E, EventStore.EventStore | Checkpoints.Checkpoints | Scope.Scope>
) =>
  Effect.suspend(() => {
    const counted = makeCounted()
    return test(counted).pipe(
      Effect.provideService(EventStore.EventStore, counted.store),
      Effect.provide(Layer.fresh(Checkpoints.layerMemory)),
      Effect.provideService(Subscription.Registry, new Map()),
      Effect.scoped
    )
  })

const append = (count: number, type = "Counted", stream = "Count-1") =>
  EventStore.append(
    stream,
    numbers(count).map((n) => ({ type, payload: { n } }))
  )

/** A subscription that notes positions. */
const noting = (name: string, options?: Partial<Subscription.RawOptions<unknown, never, "halt", false>>) => {
  const seen: Array<number> = []
  const layer = Subscription.layer({ name, handler: ({ position }) => Effect.sync(() => seen.push(position)), ...options })
  return { seen, layer }
}

const stateOf = (name: string) => Effect.map(Subscription.status(name), ({ state }) => state)

describe("the tail of the log", () => {
  it.effect("is compared with what all of them have seen by one look, after a quiet time", () =>
    sharing(({ requests }) =>
      Effect.gen(function* () {
        const all = numbers(50).map((n) => noting(`all-${n}`))
        for (const { layer } of all) yield* start(layer)
        yield* append(3)
        yield* until(() => all.every(({ seen }) => seen.length === 3))
        yield* TestClock.adjust("1 hour")
        yield* rest
        requests.length = 0
        yield* append(1)
        yield* until(() => all.every(({ seen }) => seen.length === 4))
        const looks = requests.filter(({ after, size }) => after === 2 && size === 1)
        assert.ok(looks.length >= 1 && looks.length <= 3, `${looks.length} looks for 50`)
      })
    )
  )

  it.effect("is read once for all that keep up, whatever their filters, and nobody looks behind a page", () =>
    sharing(({ requests }) =>
      Effect.gen(function* () {
        const all = numbers(50).map((n) => noting(`all-${n}`))
        const rare = numbers(20).map((n) => noting(`rare-${n}`, { filter: { types: [n % 2 === 0 ? "Rare" : "Scarce"] } }))
        for (const { layer } of [...all, ...rare]) yield* start(layer)
        yield* until(Effect.map(stateOf("rare-20"), (state) => state === "live"))
        yield* rest
        requests.length = 0
        for (const [index, type] of ["Counted", "Rare", "Scarce", "Counted"].entries()) {
          yield* append(3, type)
          yield* until(() => all.every(({ seen }) => seen.length === 3 * (index + 1)))
          yield* rest
        }
        assert.deepEqual(new Set(all.map(({ seen }) => seen.join())), new Set([numbers(12).join()]))
        assert.deepEqual(new Set(rare.map(({ seen }) => seen.join())), new Set(["4,5,6", "7,8,9"]))
        assert.deepEqual(
          requests.map(({ after, upTo }) => [after, upTo]),
          [
            [0, 3],
            [3, 6],
            [6, 9],
            [9, 12]
          ]
        )
      })
    )
  )

  it.effect("goes on without one that is paused, one that is slow, one that fails and one that is far behind", () =>
    sharing(({ requests }) =>
      Effect.gen(function* () {
        logs(/halts/)
        yield* append(6000)
        const late = noting("late")
        const held = Latch.makeUnsafe(false)
        const slow = noting("slow", {
          from: "end",
          handler: ({ position }) =>
            Effect.andThen(
              held.await,
              Effect.sync(() => slow.seen.push(position))
            )
        })
        const paused = noting("paused", { from: "end" })
        const failing = noting("failing", { from: "end", retry: undefined, handler: () => Effect.die("broken") })
        const first = noting("first", { from: "end" })
        const second = noting("second", { from: "end" })
        for (const { layer } of [slow, paused, failing, first, second]) yield* start(layer)
        yield* until(Effect.map(stateOf("second"), (state) => state === "live"))
        yield* Subscription.pause("paused")
        const beyond = (count: number) => numbers(count, 6001)
        for (const n of numbers(10)) {
          yield* append(1)
          yield* until(() => first.seen.length === n && second.seen.length === n)
        }
        yield* start(late.layer)
        yield* until(() => late.seen.length === 6010)
        yield* append(5000)
        yield* until(() => [first, second].every(({ seen }) => seen.length === 5010))
        assert.deepEqual([paused.seen, slow.seen], [[], []])
        held.openUnsafe()
        yield* Subscription.resume("paused")
        yield* until(() => [paused, slow].every(({ seen }) => seen.length === 5010))
        yield* until(() => late.seen.length === 11_010)
        for (const { seen } of [first, second, paused, slow]) assert.deepEqual(seen, beyond(5010))
        assert.deepEqual(late.seen, numbers(11_010))
        for (const _ of numbers(6)) yield* Effect.andThen(TestClock.adjust("10 seconds"), rest)
        assert.equal(yield* stateOf("failing"), "halted")
        // What is kept is bounded, so none of them has asked for more than a page.
        assert.ok(requests.every(({ size }) => size <= 1024))
      })
    )
  )

  it.effect("gives each reader events of its own", () =>
    sharing(() =>
      Effect.gen(function* () {
        const payloads: Array<unknown> = []
        const spoiling = Subscription.layer({
          name: "spoiling",
          handler: (event) => Effect.sync(() => Object.assign(event.payload as object, { n: -1, more: true }))
        })
        const reading = Subscription.layer({
          name: "reading",
          handler: ({ payload }) => Effect.sync(() => payloads.push(payload))
        })
        for (const layer of [spoiling, reading]) yield* start(layer)
        yield* rest
        yield* append(2)
        yield* until(() => payloads.length === 2)
        yield* append(1)
        yield* until(() => payloads.length === 3)
        assert.deepEqual(payloads, [{ n: 1 }, { n: 2 }, { n: 1 }])
      })
    )
  )

  it.effect("a read that fails for all is read by each for itself, and fails only whom it concerns", () =>
    sharing(({ faults }) =>
      Effect.gen(function* () {
        logs(/starts again/)
        const one = noting("one", { filter: { types: ["One"] } })
        const other = noting("other", { filter: { types: ["Other"] } })
        for (const { layer } of [one, other]) yield* start(layer)
        yield* rest
        // Whoever asks for events of the type "Other" gets none.
        faults.of = ({ filter }) => filter.some(({ types }) => types?.includes("Other") === true)
        yield* append(1, "One")
        yield* append(1, "Other")
        yield* append(1, "One")
        yield* until(() => one.seen.length === 2)
        yield* until(Effect.map(stateOf("other"), (state) => state === "backing-off"))
        faults.of = () => false
        yield* TestClock.adjust("1 second")
        yield* until(() => other.seen.length === 1)
        assert.deepEqual([one.seen, other.seen], [[1, 3], [2]])
      })
    )
  )

  it.effect("one that ends, begins anew or takes over misses nothing and gets nothing twice", () =>
    sharing(() =>
      Effect.gen(function* () {
        const others = numbers(3).map((n) => noting(`other-${n}`))
        for (const { layer } of others) yield* start(layer)
        const again = noting("again")
        for (const n of numbers(20)) {
          const stop = yield* start(again.layer)
          yield* append(n % 3, "Counted", `Count-${n}`)
          yield* until(() => others.every(({ seen }) => seen.length === others[0]?.seen.length))
          yield* stop
        }
        yield* start(again.layer)
        yield* append(1)
        const head = yield* EventStore.head
        yield* until(() => [again, ...others].every(({ seen }) => seen.at(-1) === head))
        for (const { seen } of [again, ...others]) assert.deepEqual(seen, numbers(head))
      })
    )
  )

  it.effect("plain subscriptions share it too, and each has its own filter and place", () =>
    sharing(({ requests }) =>
      Effect.gen(function* () {
        const take = (options: EventStore.SubscribeOptions, count: number) =>
          Effect.forkChild(
            Stream.runCollect(Stream.take(EventStore.subscribe(options), count)).pipe(
              Effect.map((events) => events.map(({ position }) => position))
            ),
            { startImmediately: true }
          )
        yield* append(4)
        const fibers = [
          yield* take({ after: "end" }, 3),
          yield* take({ after: 4, filter: { types: ["Rare"] } }, 1),
          yield* take({ after: 4, filter: { categories: ["None"] } }, 1),
          yield* take({ after: 2 }, 5)
        ]
        yield* rest
        requests.length = 0
        yield* append(2)
        yield* rest
        yield* append(1, "Rare")
        const got = yield* Effect.forEach([0, 1, 3], (index) => Fiber.join(fibers[index] as (typeof fibers)[number]))
        assert.deepEqual(got, [[5, 6, 7], [7], [3, 4, 5, 6, 7]])
        assert.equal(requests.length, 2)
        yield* Fiber.interrupt(fibers[2] as (typeof fibers)[number])
      })
    )
  )

  it("asks for what one of the filters lets through, and for all where that is simpler", () => {
    assert.deepEqual(union([[{ types: ["A"] }], [{ types: ["B", "A"] }]]), [{ types: ["A", "B"] }])
    assert.deepEqual(union([[{ types: ["A"] }], [{ tags: ["t"] }], [{ tags: ["t"] }]]), [{ types: ["A"] }, { tags: ["t"] }])
    assert.deepEqual(union([[{ types: ["A"], published: true }], [{ types: ["A"] }]]), [
      { types: ["A"] },
      { types: ["A"], published: true }
    ])
    assert.deepEqual(union([[{ types: ["A"] }], [{}]]), [{}])
    assert.deepEqual(union(numbers(9).map((n) => [{ tags: [`${n}`] }])), [{}])
    assert.deepEqual(union([[], [{ types: ["A"] }]]), [{ types: ["A"] }])
    assert.deepEqual(union([[]]), [])
  })
})

describe("what is asked for together", () => {
  const setUp = (most = 100) => {
    const calls: Array<ReadonlyArray<number>> = []
    const go = Latch.makeUnsafe(false)
    let interrupted = 0
    const ask = makeTogether<number, number, string>({
      most,
      call: (requests) => {
        calls.push(requests)
        const answers = requests.map((n) => (n < 0 ? Exit.fail(`no ${n}`) : Exit.succeed(n * 2)))
        return Effect.onInterrupt(Effect.as(go.await, answers), () => Effect.sync(() => interrupted++))
      }
    })
    return { calls, go, ask, interrupted: () => interrupted }
  }
  const fork = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })

  it.effect("goes into one call in each turn, and one while another is under way; each has its own answer", () =>
    Effect.gen(function* () {
      const { ask, calls, go } = setUp(3)
      const first = yield* Effect.forEach([1, 2], (n) => fork(ask(n)))
      yield* rest
      const second = yield* Effect.forEach([3, -4, 5, 6], (n) => fork(Effect.exit(ask(n))))
      yield* rest
      assert.deepEqual(calls, [[1, 2]])
      go.openUnsafe()
      assert.deepEqual(yield* Effect.forEach(first, Fiber.join), [2, 4])
      assert.deepEqual(yield* Effect.forEach(second, Fiber.join), [
        Exit.succeed(6),
        Exit.fail("no -4"),
        Exit.succeed(10),
        Exit.succeed(12)
      ])
      assert.deepEqual(calls, [[1, 2], [3, -4, 5], [6]])
    })
  )

  it.effect("one that is interrupted is taken back; a call ends when nobody waits for it", () =>
    Effect.gen(function* () {
      const { ask, calls, go, interrupted } = setUp()
      const first = yield* Effect.forEach([1, 2], (n) => fork(ask(n)))
      yield* rest
      const [third, fourth] = [yield* fork(ask(3)), yield* fork(ask(4))]
      yield* Fiber.interrupt(third)
      yield* Fiber.interrupt(first[0] as Fiber.Fiber<unknown>)
      assert.equal(interrupted(), 0)
      yield* Fiber.interrupt(first[1] as Fiber.Fiber<unknown>)
      assert.equal(interrupted(), 1)
      go.openUnsafe()
      assert.equal(yield* Fiber.join(fourth), 8)
      assert.deepEqual(calls, [[1, 2], [4]])
    })
  )
})
