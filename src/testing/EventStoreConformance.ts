/**
 * The conformance suite for event stores: every promise of the `EventStore` module as cases that any test runner can run.
 *
 * The cases never wait for time to pass, so they run under a test clock and under the real one alike. A case that cannot come
 * to an end (an append that dead-locks, a subscription that is never woken) hangs: give the runner a time-out.
 *
 * How to write a store is told in `src/guides/adapters.md`.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore } from "eventfold"
 * import { EventStoreConformance } from "eventfold/testing"
 *
 * const cases = EventStoreConformance.cases({
 *   storage: Effect.succeed(EventStore.layerMemory), // each build of this Layer is a new, empty store
 *   abilities: { durable: false, shared: false }
 * })
 *
 * // With a runner: for (const { name, run } of cases) it.effect(name, () => run)
 * await Effect.runPromise(Effect.forEach(cases.slice(0, 3), ({ run }) => Effect.scoped(run), { discard: true }))
 * ```
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { inspect } from "node:util"
import type { NewEvent, RecordedEvent } from "../definitions/stored.ts"
import * as EventStore from "../store/EventStore.ts"
import * as Kit from "../store/kit/index.ts"

/**
 * Makes new, empty storage and returns the Layer that opens it.
 *
 * With the ability `durable` or `shared`, building the Layer again opens the same storage again. Each build is made with a new
 * memo map, so whatever the Layer is made of is built anew too.
 *
 * @category models
 * @since 0.1.0
 */
export type Storage = Effect.Effect<Layer.Layer<EventStore.EventStore, unknown>, unknown, Scope.Scope>

/**
 * What not every store can do. A case that needs an ability which is `false` is not among the cases.
 *
 * @category models
 * @since 0.1.0
 */
export interface Abilities {
  /** What was acknowledged is there after the Layer has been closed and built again. */
  readonly durable: boolean
  /** Two Layers built over the same storage at once see each other's events. */
  readonly shared: boolean
}

/**
 * One thing that a store must do. It fails or dies (with an `AssertionError`) when the store does not.
 *
 * @category models
 * @since 0.1.0
 */
export interface Case {
  /** `"1"` to `"9"`, the promises of the `EventStore` module, or the behaviour that the case shows. */
  readonly promise: string
  /** A sentence, unique among the cases. */
  readonly name: string
  /** Makes storage of its own, so cases may run in any order and at once. All is closed with the scope. */
  readonly run: Effect.Effect<void, unknown, Scope.Scope>
}

type Store = EventStore.EventStore["Service"]
type Open = Effect.Effect<Store, unknown, Scope.Scope>

interface Definition {
  readonly promise: string
  readonly name: string
  readonly needs: keyof Abilities | undefined
  readonly run: (open: Open) => Effect.Effect<void, unknown, Scope.Scope>
}

/**
 * The cases that a store with these abilities must pass.
 *
 * @category constructors
 * @since 0.1.0
 */
export const cases = (options: { readonly storage: Storage; readonly abilities: Abilities }): ReadonlyArray<Case> =>
  definitions
    .filter(({ needs }) => needs === undefined || options.abilities[needs])
    .map(({ name, promise, run }) => ({
      promise,
      name,
      run: Effect.flatMap(options.storage, (layer) => run(build(layer)))
    }))

const build = (layer: Layer.Layer<EventStore.EventStore, unknown>): Open =>
  Effect.flatMap(Effect.scope, (scope) =>
    Effect.map(Layer.buildWithMemoMap(layer, Layer.makeMemoMapUnsafe(), scope), Context.get(EventStore.EventStore))
  )

const definitions: Array<Definition> = []

type Body<A> = (input: A) => Generator<Effect.Effect<unknown, unknown, Scope.Scope>, void, never>

/** A case for every store. When its body is through, what stands in the store must still be sound. */
const everyStore = (promise: string, name: string, body: Body<Store>): void => {
  const run = (open: Open) =>
    Effect.gen(function* () {
      const store = yield* open
      yield* Effect.gen(() => body(store))
      yield* sound(store)
    })
  definitions.push({ promise, name, needs: undefined, run })
}

/** A case that opens the store itself: each `open` builds the Layer over the same storage, and closes with the scope it is given. */
const reopenedStore = (needs: keyof Abilities, promise: string, name: string, body: Body<Open>): void => {
  definitions.push({ promise, name, needs, run: (open) => Effect.gen(() => body(open)) })
}

/** A case for two instances over the same storage. */
const sharedStore = (promise: string, name: string, body: Body<readonly [Store, Store]>): void => {
  const run = (open: Open) =>
    Effect.gen(function* () {
      const stores = [yield* open, yield* open] as const
      yield* Effect.gen(() => body(stores))
      yield* sound(stores[0])
      yield* sound(stores[1])
    })
  definitions.push({ promise, name, needs: "shared", run })
}

const { Any, Exists, NoStream } = EventStore.ExpectedVersion

const event = (more: Partial<NewEvent> = {}): NewEvent => ({ type: "Happened", payload: {}, ...more })

/** Events with the payloads `{ n: from }`, `{ n: from + 1 }`, … */
const numbered = (count: number, from = 1): ReadonlyArray<NewEvent> =>
  Array.from({ length: count }, (_, index) => ({ type: "Numbered", payload: { n: from + index } }))

/** Events with these ids. */
const named = (...ids: ReadonlyArray<string>): ReadonlyArray<NewEvent> => ids.map((id) => event({ id }))

const range = (from: number, to: number): ReadonlyArray<number> =>
  Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i)

/** What a program without types could pass. */
const untyped = <A>(value: unknown): A => value as A

const concurrently = <A, B, E, R>(items: Iterable<A>, f: (item: A, index: number) => Effect.Effect<B, E, R>) =>
  Effect.forEach(items, f, { concurrency: "unbounded" })

/** An event with its instant as a number, for comparison. */
const plain = (event: RecordedEvent) => ({ ...event, recordedAt: DateTime.toEpochMillis(event.recordedAt) })

const collect = <E>(events: Stream.Stream<RecordedEvent, E>) =>
  Effect.map(Stream.runCollect(events), (events) => events.map(plain))

const versions = <E>(events: Stream.Stream<RecordedEvent, E>) =>
  Effect.map(Stream.runCollect(events), (events) => events.map(({ version }) => version))

const positions = <E>(events: Stream.Stream<RecordedEvent, E>) =>
  Effect.map(Stream.runCollect(events), (events) => events.map(({ position }) => position))

/** Everything that stands in the store. */
const contents = Effect.fnUntraced(function* (store: Store) {
  return {
    head: yield* store.head,
    events: yield* collect(store.readAll()),
    streams: yield* Stream.runCollect(store.streams())
  }
})

/** What must hold of every store at every moment of rest: returns the events. */
const sound = Effect.fnUntraced(function* (store: Store) {
  const { events, head, streams } = yield* contents(store)
  assert.deepEqual(
    events.map(({ position }) => position),
    range(1, head),
    "positions are dense and ascend"
  )
  const newest = new Map<string, EventStore.StreamInfo>()
  for (const { position, stream, version } of events) {
    assert.equal(version, (newest.get(stream)?.version ?? 0) + 1, `versions of ${stream} are dense in position order`)
    newest.set(stream, { stream, category: EventStore.categoryOf(stream), version, position })
  }
  assert.deepEqual(
    streams,
    Array.from(newest.values()).sort((a, b) => compareCodePoints(a.stream, b.stream)),
    "streams() tells of each"
  )
  assert.equal(new Set(events.map(({ id }) => id)).size, events.length, "ids are unique")
  return events
})

const compareCodePoints = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))

/** The error of an effect that must fail, as a plain object. */
const refusal = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<object, never, R> =>
  Effect.matchEffect(effect, {
    onFailure: (error) => Effect.succeed(facts(error)),
    onSuccess: (value) => Effect.die(new assert.AssertionError({ message: `It succeeded, with ${inspect(value)}` }))
  })

const facts = (error: unknown): object => {
  assert.ok(error instanceof Error, `an error, not ${inspect(error)}`)
  return { ...error }
}

/** The same, of an append: it must also have written nothing. */
const refused = Effect.fnUntraced(function* <A, E>(store: Store, append: Effect.Effect<A, E>) {
  const before = yield* contents(store)
  const error = yield* refusal(append)
  assert.deepEqual(yield* contents(store), before, "a refused append writes nothing")
  return error
})

/** What an append comes to, as plain objects that can be compared. */
const verdict = <A, E, R>(append: Effect.Effect<A, E, R>): Effect.Effect<unknown, never, R> =>
  Effect.match(append, { onFailure: facts, onSuccess: (value) => value })

const lockError = (stream: string, expected: EventStore.ExpectedVersion, actual: number) => ({
  _tag: "OptimisticLockError",
  stream,
  expected,
  actual
})
const duplicate = (stream: string, id: string) => ({ _tag: "DuplicateEventError", stream, id })
const conditionError = (position: number) => ({ _tag: "AppendConditionError", position })

/** Numbers the outcomes of a race by kind, and insists that its losers lost in the way they should. */
const race = <A, E>(attempts: ReadonlyArray<Effect.Effect<A, E>>) =>
  Effect.map(concurrently(attempts, Effect.result), (results) => ({
    won: results.filter(Result.isSuccess).map(({ success }) => success),
    lost: results.filter(Result.isFailure).map(({ failure }) => facts(failure))
  }))

/** Lets other fibers, and what the machine has to do, come to their turn. */
const turns = (count: number): Effect.Effect<void> => Effect.forEach(range(1, count), () => Effect.yieldNow, { discard: true })

everyStore("1", "an empty store has no event, no stream and head 0", function* (store) {
  assert.deepEqual(yield* contents(store), { head: 0, events: [], streams: [] })
  assert.deepEqual(yield* collect(store.readAll({ direction: "backward" })), [])
  assert.deepEqual(yield* collect(store.read("Absent-1")), [])
  assert.deepEqual(yield* collect(store.read("Absent-1", { direction: "backward" })), [])
  assert.equal(yield* store.version("Absent-1"), 0)
  assert.equal(yield* store.exists("Absent-1"), false)
})

everyStore("1", "the first event, appended expecting no stream, gets version 1 and position 1", function* (store) {
  const result = yield* store.append("Account-1", [event()], { expected: NoStream })
  assert.deepEqual(result, { stream: "Account-1", version: 1, position: 1, deduplicated: false })
  assert.equal(yield* store.version("Account-1"), 1)
  assert.equal(yield* store.exists("Account-1"), true)
  assert.equal(yield* store.exists("Account-2"), false)
  assert.equal(yield* store.head, 1)
})

everyStore("1", "versions count the events of one stream, positions those of the store", function* (store) {
  const results = [
    yield* store.append("A-1", numbered(3)),
    yield* store.append("B-1", numbered(2)),
    yield* store.append("A-1", numbered(1))
  ]
  assert.deepEqual(results, [
    { stream: "A-1", version: 3, position: 3, deduplicated: false },
    { stream: "B-1", version: 2, position: 5, deduplicated: false },
    { stream: "A-1", version: 4, position: 6, deduplicated: false }
  ])
  const events = yield* collect(store.readAll())
  assert.deepEqual(
    events.map(({ stream, version, position, payload }) => [stream, version, position, payload]),
    [
      ["A-1", 1, 1, { n: 1 }],
      ["A-1", 2, 2, { n: 2 }],
      ["A-1", 3, 3, { n: 3 }],
      ["B-1", 1, 4, { n: 1 }],
      ["B-1", 2, 5, { n: 2 }],
      ["A-1", 4, 6, { n: 1 }]
    ]
  )
  assert.deepEqual(
    yield* collect(store.read("A-1")),
    events.filter(({ stream }) => stream === "A-1")
  )
  assert.deepEqual(
    yield* collect(store.read("B-1")),
    events.filter(({ stream }) => stream === "B-1")
  )
})

everyStore("1", "expecting 0 and expecting no stream mean the same", function* (store) {
  yield* store.append("Zero-1", [event()], { expected: 0 })
  yield* store.append("None-1", [event()], { expected: NoStream })
  for (const expected of [0, NoStream] as const) {
    for (const stream of ["Zero-1", "None-1"]) {
      assert.deepEqual(yield* refused(store, store.append(stream, [event()], { expected })), lockError(stream, expected, 1))
    }
  }
})

everyStore("1", "an existing stream cannot be appended to expecting no stream", function* (store) {
  yield* store.append("Account-1", numbered(3))
  const error = yield* refused(store, store.append("Account-1", [event()], { expected: NoStream }))
  assert.deepEqual(error, lockError("Account-1", NoStream, 3))
})

everyStore("1", "expecting that the stream exists fails on an absent stream, and only there", function* (store) {
  const append = store.append("Account-1", [event()], { expected: Exists })
  assert.deepEqual(yield* refused(store, append), lockError("Account-1", Exists, 0))
  yield* store.append("Account-2", [event()])
  assert.deepEqual(yield* refused(store, append), lockError("Account-1", Exists, 0))
  yield* store.append("Account-1", [event()])
  assert.equal((yield* append).version, 2)
})

everyStore("1", "expecting version n succeeds at n and conflicts above and below", function* (store) {
  yield* store.append("Account-1", numbered(4))
  for (const expected of [1, 3, 5, 400, Number.MAX_SAFE_INTEGER]) {
    const error = yield* refused(store, store.append("Account-1", [event()], { expected }))
    assert.deepEqual(error, lockError("Account-1", expected, 4))
  }
  assert.deepEqual(yield* refused(store, store.append("Absent-1", [event()], { expected: 4 })), lockError("Absent-1", 4, 0))
  assert.deepEqual(yield* store.append("Account-1", numbered(2), { expected: 4 }), {
    stream: "Account-1",
    version: 6,
    position: 6,
    deduplicated: false
  })
  assert.deepEqual(yield* refused(store, store.append("Account-1", [event()], { expected: 4 })), lockError("Account-1", 4, 6))
})

everyStore("1", "expecting anything, which is the default, fits every stream", function* (store) {
  const versions = [
    yield* store.append("Account-1", [event()]),
    yield* store.append("Account-1", [event()], {}),
    yield* store.append("Account-1", [event()], { expected: undefined }),
    yield* store.append("Account-1", [event()], { expected: Any }),
    yield* store.append("Account-2", [event()], { expected: Any })
  ].map(({ version }) => version)
  assert.deepEqual(versions, [1, 2, 3, 4, 1])
})

everyStore("2", "50 concurrent appends to one stream all succeed, with dense versions and positions", function* (store) {
  const results = yield* concurrently(range(1, 50), (n) => store.append("Hot-1", [event({ payload: { n } })], { expected: Any }))
  const sorted = results.toSorted((a, b) => a.version - b.version)
  assert.deepEqual(
    sorted,
    range(1, 50).map((n) => ({ stream: "Hot-1", version: n, position: n, deduplicated: false }))
  )
  // Each caller was told of the place where its own event stands.
  const events = yield* collect(store.read("Hot-1"))
  assert.deepEqual(
    events.map(({ payload }) => payload),
    sorted.map((result) => ({ n: results.indexOf(result) + 1 }))
  )
})

everyStore("2", "refused appends leave no gap, whatever they are refused for", function* (store) {
  yield* store.append("Account-1", named("a"))
  const attempts = yield* race(
    range(1, 60).map((n): Effect.Effect<unknown, EventStore.AppendError> => {
      const id = `event-${n}`
      switch (n % 6) {
        case 1:
          return store.append("Account-1", named(id), { expected: 777 })
        case 2:
          return store.append("Account-1", named(id, "a"))
        case 3:
          return store.append("Account-1", [event({ id }), event({ payload: Number.NaN })])
        case 4:
          return store.appendAll(
            [
              { stream: `Other-${n}`, events: named(id) },
              { stream: "Account-1", events: named(`${id}b`), expected: NoStream }
            ],
            { unless: { filter: {} } }
          )
        default:
          return store.append(`Account-${n % 4}`, named(id, `${id}b`))
      }
    })
  )
  assert.equal(attempts.won.length, 20)
  assert.equal(yield* store.head, 41)
  const result = yield* store.append("Account-1", named("last"))
  assert.equal(result.position, 42)
})

everyStore("2", "three events, the second of them invalid: none is visible, and the next position is dense", function* (store) {
  yield* store.append("Account-1", [event()])
  const error = yield* refused(store, store.append("Account-1", [event(), event({ payload: untyped(undefined) }), event()]))
  assert.deepEqual(
    { ...error, problem: "" },
    { _tag: "InvalidAppendError", stream: "Account-1", field: "events[1].payload", problem: "" }
  )
  assert.deepEqual(yield* store.append("Account-1", [event()]), {
    stream: "Account-1",
    version: 2,
    position: 2,
    deduplicated: false
  })
})

everyStore("2", "appends over several streams in opposite orders do not dead-lock", function* (store) {
  const streams = range(1, 6).map((n) => `S-${n}`)
  const results = yield* concurrently(range(1, 40), (n) =>
    store.appendAll((n % 2 === 0 ? streams : streams.toReversed()).map((stream) => ({ stream, events: numbered(2) })))
  )
  assert.equal(yield* store.head, 40 * 12)
  for (const [index, parts] of results.entries()) {
    assert.deepEqual(
      parts.map(({ stream }) => stream),
      index % 2 === 1 ? streams : streams.toReversed()
    )
    const first = parts[0]?.position ?? 0
    assert.deepEqual(
      parts.map(({ position }) => position),
      range(0, 5).map((n) => first + 2 * n),
      "one append stands in one piece"
    )
  }
})

everyStore("2", "a reader who has seen a position has seen all below it, at any moment", function* (store) {
  const writers = yield* Effect.forkChild(
    concurrently(range(1, 4), (writer) =>
      Effect.forEach(range(1, 25), (n) =>
        Effect.andThen(store.append(`Writer-${writer}`, numbered(1 + (n % 3), n)), Effect.yieldNow)
      )
    )
  )
  let seen: ReadonlyArray<string> = []
  while (writers.pollUnsafe() === undefined) {
    const events = yield* collect(store.readAll())
    assert.deepEqual(
      events.map(({ position }) => position),
      range(1, events.length)
    )
    const ids = events.map(({ id }) => id)
    assert.deepEqual(ids.slice(0, seen.length), seen, "what was read once stands for ever")
    assert.ok((yield* store.head) >= events.length)
    seen = ids
    yield* Effect.yieldNow
  }
  yield* Fiber.join(writers)
})

everyStore("2", "whoever was told that an append succeeded sees it in every way of reading", function* (store) {
  yield* concurrently(range(1, 20), (n) =>
    Effect.gen(function* () {
      const stream = `Own-${n}`
      for (let version = 1; version <= 5; version++) {
        const id = `${n}/${version}`
        const result = yield* store.append(stream, named(id), { expected: version - 1 })
        assert.equal(yield* store.version(stream), version)
        assert.equal(yield* store.exists(stream), true)
        assert.ok((yield* store.head) >= result.position)
        const own = yield* collect(store.read(stream, { direction: "backward", limit: 1 }))
        const all = yield* collect(store.readAll({ after: result.position - 1, limit: 1 }))
        assert.deepEqual(
          own.map(({ id, position }) => [id, position]),
          [[id, result.position]]
        )
        assert.deepEqual(all, own)
      }
    })
  )
})

everyStore("3", "of 20 appends that expect the same version exactly one wins", function* (store) {
  for (let version = 0; version < 4; version++) {
    const { lost, won } = yield* race(range(1, 20).map(() => store.append("Hot-1", [event()], { expected: version })))
    assert.deepEqual(won, [{ stream: "Hot-1", version: version + 1, position: version + 1, deduplicated: false }])
    assert.deepEqual(
      lost,
      range(1, 19).map(() => lockError("Hot-1", version, version + 1))
    )
  }
})

everyStore("3", "of 20 appends that each begin the same stream exactly one wins", function* (store) {
  const { lost, won } = yield* race(range(1, 20).map((n) => store.append("New-1", numbered(n), { expected: NoStream })))
  assert.equal(won.length, 1)
  const version = won[0]?.version ?? 0
  assert.deepEqual(
    lost,
    range(1, 19).map(() => lockError("New-1", NoStream, version))
  )
  assert.equal(yield* store.version("New-1"), version)
})

everyStore("3", "appends that expect nothing never conflict with those that expect a version", function* (store) {
  const { lost, won } = yield* race(
    range(1, 40).map((n) => store.append("Hot-1", named(`${n}`), { expected: n % 4 === 0 ? 0 : Any }))
  )
  assert.ok(won.length >= 30)
  for (const error of lost) assert.deepEqual({ ...error, actual: 0 }, lockError("Hot-1", 0, 0))
  assert.equal(yield* store.version("Hot-1"), won.length)
})

everyStore("3", "a conflict in any of several streams writes to none", function* (store) {
  yield* store.append("A-1", numbered(2))
  yield* store.append("B-1", numbered(3))
  const part = (stream: string, expected: EventStore.ExpectedVersion) => ({ stream, events: [event()], expected })
  const attempts: ReadonlyArray<readonly [ReadonlyArray<EventStore.StreamAppend>, object]> = [
    [[part("A-1", 2), part("B-1", 2)], lockError("B-1", 2, 3)],
    [[part("A-1", 1), part("B-1", 3)], lockError("A-1", 1, 2)],
    [[part("C-1", NoStream), part("B-1", NoStream), part("D-1", 0)], lockError("B-1", NoStream, 3)],
    [[part("A-1", Any), part("C-1", Exists)], lockError("C-1", Exists, 0)]
  ]
  for (const [appends, error] of attempts) assert.deepEqual(yield* refused(store, store.appendAll(appends)), error)
  assert.deepEqual(yield* store.appendAll([part("B-1", 3), part("A-1", 2), part("C-1", NoStream)]), [
    { stream: "B-1", version: 4, position: 6, deduplicated: false },
    { stream: "A-1", version: 3, position: 7, deduplicated: false },
    { stream: "C-1", version: 1, position: 8, deduplicated: false }
  ])
})

everyStore("3", "an append over several streams answers in the order in which it was asked", function* (store) {
  const results = yield* store.appendAll([
    { stream: "Z-1", events: numbered(2) },
    { stream: "A-1", events: numbered(1) },
    { stream: "M-1", events: numbered(3) }
  ])
  assert.deepEqual(results, [
    { stream: "Z-1", version: 2, position: 2, deduplicated: false },
    { stream: "A-1", version: 1, position: 3, deduplicated: false },
    { stream: "M-1", version: 3, position: 6, deduplicated: false }
  ])
  assert.deepEqual(
    (yield* collect(store.readAll())).map(({ stream, version }) => `${stream} ${version}`),
    ["Z-1 1", "Z-1 2", "A-1 1", "M-1 1", "M-1 2", "M-1 3"]
  )
})

everyStore("3", "a stream may come several times in one append: later parts see what earlier ones wrote", function* (store) {
  yield* store.append("A-1", numbered(1))
  const results = yield* store.appendAll([
    { stream: "A-1", events: numbered(2, 2), expected: 1 },
    { stream: "B-1", events: numbered(1), expected: NoStream },
    { stream: "A-1", events: numbered(1, 4), expected: 3 },
    { stream: "B-1", events: numbered(1, 2), expected: Exists },
    { stream: "A-1", events: numbered(1, 5), expected: Any }
  ])
  assert.deepEqual(results, [
    { stream: "A-1", version: 3, position: 3, deduplicated: false },
    { stream: "B-1", version: 1, position: 4, deduplicated: false },
    { stream: "A-1", version: 4, position: 5, deduplicated: false },
    { stream: "B-1", version: 2, position: 6, deduplicated: false },
    { stream: "A-1", version: 5, position: 7, deduplicated: false }
  ])
  assert.deepEqual(
    (yield* collect(store.read("A-1"))).map(({ payload }) => payload),
    range(1, 5).map((n) => ({ n }))
  )
  const error = yield* refused(
    store,
    store.appendAll([
      { stream: "C-1", events: [event()], expected: NoStream },
      { stream: "C-1", events: [event()], expected: NoStream }
    ])
  )
  assert.deepEqual({ ...error, actual: 0 }, lockError("C-1", NoStream, 0))
})

everyStore("3", "a concurrent reader sees all of an append or nothing of it", function* (store) {
  const writers = yield* Effect.forkChild(
    concurrently(range(1, 4), (writer) =>
      Effect.forEach(range(1, 15), (n) =>
        Effect.andThen(
          store.appendAll(["Left-1", "Right-1", `Own-${writer}`].map((stream) => ({ stream, events: numbered(2, n) }))),
          Effect.yieldNow
        )
      )
    )
  )
  while (writers.pollUnsafe() === undefined) {
    const events = yield* collect(store.readAll())
    assert.equal(events.length % 6, 0)
    assert.equal((yield* store.head) % 6, 0)
    assert.equal((yield* store.version("Left-1")) % 2, 0)
    yield* Effect.yieldNow
  }
  yield* Fiber.join(writers)
})

everyStore("4", "the same append sent twice is written once, and answered alike", function* (store) {
  const append = store.append("Account-1", named("a"), { expected: NoStream })
  const first = yield* append
  const { events } = yield* contents(store)
  assert.deepEqual(yield* append, { ...first, deduplicated: true })
  assert.deepEqual((yield* contents(store)).events, events)
})

everyStore(
  "4",
  "a repetition is answered with the first places, also long after and with a version gone stale",
  function* (store) {
    yield* store.append("Before-1", numbered(2))
    const single = store.append("Account-1", named("a"), { expected: NoStream })
    const several = store.append("Account-1", named("b", "c", "d"), { expected: 1 })
    const across = store.appendAll([
      { stream: "Account-1", events: named("e", "f"), expected: 4 },
      { stream: "Empty-1", events: [] },
      { stream: "Account-2", events: named("g"), expected: NoStream },
      { stream: "Account-1", events: named("h") }
    ])
    const answers = [yield* single, yield* several, ...(yield* across)]
    yield* store.append("Account-1", numbered(5))
    yield* store.append("Account-2", numbered(5))
    yield* store.append("Later-1", numbered(5))
    const before = yield* contents(store)
    const again = [yield* single, yield* several, ...(yield* across)]
    assert.deepEqual(
      again,
      answers.map((answer) => ({ ...answer, deduplicated: answer.stream !== "Empty-1" }))
    )
    assert.deepEqual(
      again.map(({ version, position }) => [version, position]),
      [
        [1, 3],
        [4, 6],
        [6, 8],
        [0, 0],
        [1, 9],
        [7, 10]
      ]
    )
    assert.deepEqual(yield* contents(store), before)
  }
)

everyStore("4", "it is the ids that make a repetition: what was written first stays", function* (store) {
  yield* store.append("Account-1", [event({ id: "a", payload: { first: true }, tags: ["first"] })])
  const before = yield* contents(store)
  const again = yield* store.append("Account-1", [event({ id: "a", type: "Other", payload: { first: false } })], { expected: 99 })
  assert.deepEqual(again, { stream: "Account-1", version: 1, position: 1, deduplicated: true })
  assert.deepEqual(yield* contents(store), before)
})

everyStore("4", "what stands in a row in the stream may be repeated in a row", function* (store) {
  yield* store.append("Account-1", named("a", "b", "c"))
  yield* store.append("Account-1", named("d"))
  const before = yield* contents(store)
  for (const [ids, version] of [
    [["b", "c"], 3],
    [["a"], 1],
    [["c", "d"], 4],
    [["a", "b", "c", "d"], 4]
  ] as const) {
    const result = yield* store.append("Account-1", named(...ids))
    assert.deepEqual(result, { stream: "Account-1", version, position: version, deduplicated: true })
  }
  assert.deepEqual(yield* contents(store), before)
})

everyStore("4", "any other use of a known id is refused with the stream and the id", function* (store) {
  yield* store.append("Account-1", named("a", "b", "c"))
  yield* store.append("Account-2", named("d"))
  const attempts: ReadonlyArray<readonly [ids: ReadonlyArray<string>, stream: string, id: string]> = [
    [["new", "a"], "Account-1", "a"],
    [["a", "new"], "Account-1", "a"],
    [["c", "new"], "Account-1", "c"],
    [["a", "b", "c", "new"], "Account-1", "a"],
    [["b", "a"], "Account-1", "b"],
    [["a", "c"], "Account-1", "a"],
    [["a"], "Account-2", "a"],
    [["a"], "Account-3", "a"],
    [["d", "a"], "Account-2", "d"],
    [["new", "new"], "Account-1", "new"],
    [["new", "other", "new"], "Account-3", "new"],
    [["a", "a"], "Account-1", "a"]
  ]
  for (const [ids, stream, id] of attempts) {
    assert.deepEqual(yield* refused(store, store.append(stream, named(...ids))), duplicate(stream, id), `${ids} to ${stream}`)
  }
  // The ids of refused appends are not taken.
  assert.equal((yield* store.append("Account-1", named("new", "other"))).version, 5)
})

everyStore("4", "across streams too, only the whole append is a repetition", function* (store) {
  const parts = (...streams: ReadonlyArray<readonly [stream: string, ...ids: ReadonlyArray<string>]>) =>
    store.appendAll(streams.map(([stream, ...ids]) => ({ stream, events: named(...ids) })))
  yield* parts(["A-1", "a", "b"], ["B-1", "c"])
  const attempts = [
    [parts(["A-1", "a", "b"], ["B-1", "new"]), "A-1", "a"],
    [parts(["A-1", "new"], ["B-1", "c"]), "B-1", "c"],
    [parts(["A-1", "c"], ["B-1", "a", "b"]), "A-1", "c"],
    [parts(["A-1", "a", "b", "c"]), "A-1", "a"],
    [parts(["C-1", "new"], ["D-1", "new"]), "D-1", "new"],
    [parts(["A-1", "a", "b"], ["B-1", "c"], ["A-1", "a"]), "A-1", "a"]
  ] as const
  for (const [append, stream, id] of attempts) assert.deepEqual(yield* refused(store, append), duplicate(stream, id))
  assert.deepEqual(yield* parts(["B-1", "c"], ["A-1", "a", "b"]), [
    { stream: "B-1", version: 1, position: 3, deduplicated: true },
    { stream: "A-1", version: 2, position: 2, deduplicated: true }
  ])
})

everyStore("4", "the same append sent many times at once is written once", function* (store) {
  const append = store.append("Account-1", named("a", "b"), { expected: NoStream })
  const across = store.appendAll([
    { stream: "Account-2", events: named("c") },
    { stream: "Account-3", events: named("d", "e"), expected: 0 }
  ])
  const single = yield* concurrently(range(1, 10), () => append)
  const multiple = yield* concurrently(range(1, 10), () => across)
  assert.equal(single.filter(({ deduplicated }) => !deduplicated).length, 1)
  for (const result of single) {
    assert.deepEqual({ ...result, deduplicated: false }, { stream: "Account-1", version: 2, position: 2, deduplicated: false })
  }
  assert.equal(multiple.filter((parts) => parts.every(({ deduplicated }) => !deduplicated)).length, 1)
  assert.equal(multiple.filter((parts) => parts.every(({ deduplicated }) => deduplicated)).length, 9)
  assert.equal(yield* store.head, 5)
})

everyStore("4", "one id sent to many streams at once is written to one", function* (store) {
  const { lost, won } = yield* race(range(1, 20).map((n) => store.append(`Account-${n}`, named(`own-${n}`, "contested"))))
  assert.equal(won.length, 1)
  const winner = won[0]?.stream
  assert.deepEqual(
    lost,
    range(1, 20)
      .map((n) => `Account-${n}`)
      .filter((stream) => stream !== winner)
      .map((stream) => duplicate(stream, "contested"))
  )
})

everyStore("4", "events without ids get new ones, so equal events are different events", function* (store) {
  yield* store.append("Account-1", [event(), event({ id: "mine" }), event()])
  yield* store.append("Account-1", [event()])
  yield* store.append("Account-1", [event()])
  const ids = (yield* collect(store.read("Account-1"))).map(({ id }) => id)
  assert.equal(new Set(ids).size, 5)
  assert.equal(ids[1], "mine")
  for (const id of ids.toSpliced(1, 1)) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  assert.deepEqual(
    yield* refused(store, store.append("Account-1", [event(), event({ id: "mine" }), event()])),
    duplicate("Account-1", "mine")
  )
})

everyStore("5", "an append without events does nothing and reports where the stream is", function* (store) {
  assert.deepEqual(yield* store.append("Account-1", []), { stream: "Account-1", version: 0, position: 0, deduplicated: false })
  assert.equal(yield* store.exists("Account-1"), false)
  yield* store.append("Account-1", numbered(2))
  yield* store.append("Account-2", numbered(1))
  const before = yield* contents(store)
  const answer = { stream: "Account-1", version: 2, position: 2, deduplicated: false }
  assert.deepEqual(yield* store.append("Account-1", []), answer)
  assert.deepEqual(yield* store.append("Account-1", [], { expected: NoStream }), answer, "there is nothing to be in conflict")
  assert.deepEqual(yield* store.appendAll([]), [])
  assert.deepEqual(yield* store.appendAll([{ stream: "Account-1", events: [] }], { unless: { filter: {} } }), [answer])
  assert.deepEqual(yield* contents(store), before)
})

everyStore("5", "parts without events may stand among parts with events", function* (store) {
  yield* store.append("A-1", numbered(1))
  const results = yield* store.appendAll([
    { stream: "B-1", events: [] },
    { stream: "A-1", events: numbered(2) },
    { stream: "A-1", events: [] },
    { stream: "B-1", events: numbered(1), expected: NoStream },
    { stream: "C-1", events: [] }
  ])
  assert.deepEqual(results, [
    { stream: "B-1", version: 0, position: 0, deduplicated: false },
    { stream: "A-1", version: 3, position: 3, deduplicated: false },
    { stream: "A-1", version: 3, position: 3, deduplicated: false },
    { stream: "B-1", version: 1, position: 4, deduplicated: false },
    { stream: "C-1", version: 0, position: 0, deduplicated: false }
  ])
  assert.equal(yield* store.exists("C-1"), false)
})

const badNames: ReadonlyArray<readonly [what: string, name: string]> = [
  ["empty", ""],
  ["256 characters", "n".repeat(256)],
  ["U+0000", "a\u0000b"],
  ["a high surrogate alone", "a\ud800"],
  ["a low surrogate alone", "\udc00a"],
  ["undefined", untyped(undefined)],
  ["a number", untyped(42)]
]

const badCounts = [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, untyped<number>("1")]

const oddNames = [
  "a'b",
  'a"b',
  "a`b",
  "$1",
  "x; drop table events; --",
  "100%",
  "a_c",
  "a\\b",
  "\\",
  "a\nb",
  "a\tb",
  " padded ",
  "a,b",
  "{a}",
  '{"a"}',
  "NULL",
  "null",
  "*",
  ">",
  "a.b",
  "../../etc",
  "/",
  "#",
  "?",
  ":",
  "Case",
  "case",
  "CASE",
  "\u00e9",
  "e\u0301",
  "\uff5e",
  "\u{1f600}",
  "\u{1d4b3}",
  "\u00df",
  "\u0130",
  "\u200b",
  "\u0001",
  "\u007f",
  "__proto__",
  "constructor",
  "toString",
  "n".repeat(255),
  "\u{1f600}".repeat(127)
]

everyStore("7", "a stream's name is refused when it is empty, too long or not text", function* (store) {
  for (const [what, stream] of badNames) {
    const error = yield* refused(store, store.append(stream, [event()]))
    assert.deepEqual(
      { ...error, problem: "" },
      { _tag: "InvalidAppendError", stream: String(stream), field: "stream", problem: "" },
      what
    )
    const empty = yield* refused(
      store,
      store.appendAll([
        { stream: "Good-1", events: [event()] },
        { stream, events: [] }
      ])
    )
    assert.deepEqual({ ...empty, problem: "" }, { ...error, problem: "" }, what)
  }
})

everyStore("7", "an expected version is refused when it is no version", function* (store) {
  for (const expected of [...badCounts, untyped<number>("none"), untyped<number>({})]) {
    const error = yield* refused(store, store.append("Account-1", [event()], { expected }))
    assert.deepEqual(
      { ...error, problem: "" },
      { _tag: "InvalidAppendError", stream: "Account-1", field: "expected", problem: "" },
      inspect(expected)
    )
  }
})

class Point {
  readonly x = 1
}

const cycle: { self?: unknown } = {}
cycle.self = cycle

const badEvents: ReadonlyArray<readonly [field: string, bad: unknown]> = [
  ...badNames.filter(([what]) => what !== "undefined").map(([, id]) => ["id", { id }] as const),
  ...badNames.map(([, type]) => ["type", { type }] as const),
  ...[0, 2 ** 31, ...badCounts].map((schemaVersion) => ["schemaVersion", { schemaVersion }] as const),
  ...badNames.map(([, tag]) => ["tags", { tags: ["good", tag] }] as const),
  ["tags", { tags: range(1, 65).map((n) => `tag:${n}`) }],
  ["published", { published: "yes" }],
  ["metadata", { metadata: [] }],
  ["metadata", { metadata: "text" }],
  ["metadata", { metadata: new Point() }],
  ["metadata.correlationId", { metadata: { correlationId: "" } }],
  ["metadata.causationId", { metadata: { causationId: "n".repeat(256) } }],
  ["metadata.correlationId", { metadata: { correlationId: 42 } }],
  ["metadata.user.age", { metadata: { user: { age: Number.NaN } } }],
  ["metadata.note", { metadata: { note: "\u0000" } }],
  ["metadata", { metadata: { text: "\u00e9".repeat(4 * 1024 * 1024) } }],
  ["recordedAt", { recordedAt: DateTime.makeUnsafe(-62_135_596_800_001) }],
  ["recordedAt", { recordedAt: DateTime.makeUnsafe(253_402_300_800_000) }],
  ["recordedAt", { recordedAt: new Date(0) }],
  ["recordedAt", { recordedAt: "2024-01-01T00:00:00Z" }],
  ["payload", { payload: Number.NaN }],
  ["payload", { payload: Number.NEGATIVE_INFINITY }],
  ["payload", { payload: undefined }],
  ["payload", { payload: 1n }],
  ["payload", { payload: Symbol("s") }],
  ["payload", { payload: () => 1 }],
  ["payload", { payload: new Date(0) }],
  ["payload", { payload: new Map([[1, 2]]) }],
  ["payload", { payload: new Uint8Array(2) }],
  ["payload", { payload: new Point() }],
  ["payload", { payload: { toJSON: "text" } }],
  ["payload", { payload: { "a\u0000": 1 } }],
  ["payload", { payload: { "\ud800": 1 } }],
  ["payload", { payload: "a\u0000" }],
  ["payload", { payload: "\udfff\ud800" }],
  ["payload.items[2].price", { payload: { items: [{ price: 1 }, { price: 2 }, { price: Number.NaN }] } }],
  ["payload.a.b[1]", { payload: { a: { b: [1, undefined] } } }],
  // oxlint-disable-next-line no-sparse-arrays
  ["payload[1]", { payload: [1, , 3] }],
  ["payload.at", { payload: { at: new Date(0) } }],
  ["payload.name", { payload: { name: "caf\ud83d" } }],
  ["payload", { payload: "a".repeat(EventStore.limits.payloadBytes - 1) }],
  ["payload", { payload: { text: "\u00e9".repeat(4 * 1024 * 1024) } }]
]

everyStore("7", "an event is refused with the path of what is wrong in it", function* (store) {
  yield* store.append("Account-1", [event()])
  const before = yield* contents(store)
  for (const [field, bad] of badEvents) {
    const events = [event(), { ...event(), ...untyped<Partial<NewEvent>>(bad) }, event()]
    const { problem, ...error } = untyped<{ problem: string }>(yield* refusal(store.append("Account-1", events)))
    assert.deepEqual(
      error,
      { _tag: "InvalidAppendError", stream: "Account-1", field: `events[1].${field}` },
      inspect(bad).slice(0, 200)
    )
    assert.ok(problem.length > 0)
  }
  const error = untyped<{ field: string }>(yield* refusal(store.append("Account-1", [event({ payload: untyped(cycle) })])))
  assert.ok(error.field.startsWith("events[0].payload.self.self"), "a cycle is refused, and not followed for ever")
  const across = yield* refusal(
    store.appendAll([
      { stream: "Account-1", events: [event()] },
      { stream: "Account-2", events: [event(), event({ type: "" })] }
    ])
  )
  assert.deepEqual(
    { ...across, problem: "" },
    { _tag: "InvalidAppendError", stream: "Account-2", field: "events[1].type", problem: "" }
  )
  assert.deepEqual(yield* contents(store), before)
})

everyStore("7", "an append condition is refused when it makes no sense", function* (store) {
  const attempts: ReadonlyArray<readonly [field: string, unless: EventStore.AppendCondition]> = [
    ...badCounts.map((after) => ["unless.after", { filter: {}, after }] as const),
    ...badNames.flatMap(([, name]) => [
      ["unless.filter", { filter: { types: ["Good", name] } }] as const,
      ["unless.filter", { filter: { tags: [name] } }] as const,
      ["unless.filter", { filter: [{}, { categories: [name] }] }] as const
    ]),
    ["unless.filter", { filter: { correlationId: "" } }],
    ["unless.filter", { filter: { published: untyped("yes") } }]
  ]
  for (const [field, unless] of attempts) {
    const error = yield* refused(store, store.appendAll([{ stream: "Account-1", events: [event()] }], { unless }))
    assert.deepEqual(
      { ...error, problem: "" },
      { _tag: "InvalidAppendError", stream: "Account-1", field, problem: "" },
      inspect(unless)
    )
  }
})

everyStore("7", "a read that makes no sense fails with InvalidRead", function* (store) {
  yield* store.append("Account-1", numbered(3))
  const invalid = Effect.fnUntraced(function* <A, E>(operation: string, what: string, read: Effect.Effect<A, E>) {
    const { _tag, reason } = untyped<{ _tag: string; reason: { _tag: string; operation: string; detail: string } }>(
      yield* refusal(read)
    )
    assert.deepEqual([_tag, reason._tag, reason.operation], ["EventStoreError", "InvalidRead", operation], what)
    assert.ok(reason.detail.length > 0)
  })
  for (const [what, name] of badNames) {
    yield* invalid("read", what, Stream.runCollect(store.read(name)))
    yield* invalid("version", what, store.version(name))
    yield* invalid("exists", what, store.exists(name))
    for (const filter of [{ types: [name] }, { categories: [name] }, [{}, { tags: ["good", name] }]]) {
      yield* invalid("readAll", what, Stream.runCollect(store.readAll({ filter })))
    }
    if (name !== undefined) {
      yield* invalid("readAll", what, Stream.runCollect(store.readAll({ filter: { correlationId: name } })))
      yield* invalid("streams", what, Stream.runCollect(store.streams({ category: name })))
      if (name !== "") yield* invalid("streams", what, Stream.runCollect(store.streams({ after: name })))
    }
  }
  for (const count of badCounts) {
    const what = inspect(count)
    yield* invalid("read", what, Stream.runCollect(store.read("Account-1", { from: count })))
    yield* invalid("read", what, Stream.runCollect(store.read("Account-1", { to: count })))
    yield* invalid("read", what, Stream.runCollect(store.read("Account-1", { limit: count })))
    yield* invalid("readAll", what, Stream.runCollect(store.readAll({ after: count })))
    yield* invalid("readAll", what, Stream.runCollect(store.readAll({ limit: count })))
    yield* invalid("streams", what, Stream.runCollect(store.streams({ limit: count })))
    yield* invalid("readAll", what, Stream.runHead(store.subscribe({ after: count })))
  }
  yield* invalid("read", "direction", Stream.runCollect(store.read("Account-1", { direction: untyped("up") })))
  yield* invalid("readAll", "direction", Stream.runCollect(store.readAll({ direction: untyped("up") })))
  yield* invalid("readAll", "filter", Stream.runHead(store.subscribe({ filter: { types: [""] } })))
  assert.deepEqual(yield* versions(store.read("Account-1")), [1, 2, 3])
})

everyStore("7", "odd names are names like any other, each its own", function* (store) {
  const first = yield* store.appendAll(
    oddNames.map((name) => ({
      stream: name,
      expected: NoStream,
      events: [
        {
          type: name,
          id: name,
          payload: { [`key ${name}`]: name },
          tags: [name],
          metadata: { correlationId: name, causationId: name }
        }
      ]
    }))
  )
  assert.deepEqual(
    first.map(({ position, stream, version }) => [stream, version, position]),
    oddNames.map((name, index) => [name, 1, index + 1])
  )
  for (const [index, name] of oddNames.entries()) {
    const position = index + 1
    const [found] = yield* collect(store.read(name))
    assert.deepEqual(
      [found?.stream, found?.type, found?.id, found?.payload, found?.tags, found?.metadata, found?.position],
      [name, name, name, { [`key ${name}`]: name }, [name], { correlationId: name, causationId: name }, position]
    )
    for (const filter of [
      { types: [name] },
      { tags: [name] },
      { correlationId: name },
      { categories: [EventStore.categoryOf(name)] }
    ]) {
      assert.deepEqual(yield* positions(store.readAll({ filter })), [position], inspect(filter))
    }
    assert.equal(yield* store.version(name), 1)
  }
  const again = yield* concurrently(oddNames, (name) => store.append(name, [event({ id: name })]))
  assert.ok(again.every(({ deduplicated }) => deduplicated))
})

everyStore("7", "an event of the largest size in all its parts is stored whole", function* (store) {
  const text = "a".repeat(EventStore.limits.payloadBytes - 2)
  const metadata = { text: "b".repeat(EventStore.limits.metadataBytes - 11) }
  const tags = range(1, EventStore.limits.tags).map((n) => `${n}`.padEnd(EventStore.limits.nameLength, "\u20ac"))
  yield* store.append("Large-1", [event({ payload: text, metadata, tags })])
  const [found] = yield* collect(store.read("Large-1"))
  assert.ok(found?.payload === text && found.metadata["text"] === metadata.text)
  assert.deepEqual(found.tags, tags)
  yield* store.append(
    "Large-1",
    range(1, 12).map((n) => event({ payload: `${n}${"\u00e9".repeat(500_000)}` }))
  )
  const payloads = (yield* collect(store.readAll({ after: 1 }))).map(({ payload }) => payload)
  assert.deepEqual(
    payloads.map((payload) => String(payload).length - 500_000),
    [1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2]
  )
})

everyStore("7", "each of many concurrent appends gets its own verdict, whatever its neighbours are", function* (store) {
  yield* store.append("Taken-1", named("taken"))
  const results = yield* concurrently(range(0, 59), (n) => {
    const good = event({ payload: { n } })
    switch (n % 5) {
      case 0:
        return verdict(store.append(`Account-${n}`, [good, event({ payload: "\u0000" })]))
      case 1:
        return verdict(store.append("Taken-1", [good], { expected: 7 }))
      case 2:
        return verdict(store.append(`Account-${n}`, [good, event({ id: "taken" })]))
      case 3:
        return verdict(
          store.appendAll([{ stream: `Account-${n}`, events: [good] }], { unless: { filter: { categories: ["Taken"] } } })
        )
      default:
        return verdict(Effect.map(store.append(`Account-${n}`, [good]), ({ stream, version }) => ({ stream, version })))
    }
  })
  for (const [n, result] of results.entries()) {
    const stream = `Account-${n}`
    const wanted = [
      { _tag: "InvalidAppendError", stream, field: "events[1].payload", problem: "contains the character U+0000" },
      lockError("Taken-1", 7, 1),
      duplicate(stream, "taken"),
      conditionError(1),
      { stream, version: 1 }
    ]
    assert.deepEqual(result, wanted[n % 5])
  }
  assert.deepEqual(
    (yield* collect(store.readAll({ after: 1 }))).map(({ stream }) => stream).toSorted(),
    range(0, 59)
      .filter((n) => n % 5 === 4)
      .map((n) => `Account-${n}`)
      .toSorted()
  )
})

const enrolled = (course: string, more: Partial<NewEvent> = {}) =>
  event({ type: "Enrolled", tags: [`course:${course}`], ...more })

everyStore("8", "two students enrol at once for the last seat of a course: one gets it", function* (store) {
  const seats = Effect.fnUntraced(function* (course: string) {
    const taken = yield* collect(store.readAll({ filter: { tags: [`course:${course}`] } }))
    return { free: 2 - taken.length, seen: taken.at(-1)?.position ?? 0 }
  })
  const enrol = (course: string, student: string, seen: number) =>
    store.appendAll([{ stream: `Student-${student}`, events: [enrolled(course)] }], {
      unless: { filter: { tags: [`course:${course}`] }, after: seen }
    })
  yield* store.append("Student-0", [enrolled("1"), enrolled("2"), enrolled("3")])
  // Each has made its decision before any acts on it.
  const [ada, ben, cy, dee] = yield* Effect.all([seats("1"), seats("1"), seats("2"), seats("3")], { concurrency: "unbounded" })
  assert.deepEqual([ada.free, ben.free, cy.free, dee.free], [1, 1, 1, 1])
  const { lost, won } = yield* race([
    enrol("1", "ada", ada.seen),
    enrol("1", "ben", ben.seen),
    enrol("2", "cy", cy.seen),
    enrol("3", "dee", dee.seen)
  ])
  assert.equal(won.length, 3)
  const winner = won.flat().find(({ stream }) => stream === "Student-ada" || stream === "Student-ben")
  assert.deepEqual(lost, [conditionError(winner?.position ?? 0)])
  assert.equal((yield* seats("1")).free, 0)
})

everyStore("8", "of 20 decisions over the same facts exactly one commits, over disjoint facts all do", function* (store) {
  for (let round = 1; round <= 3; round++) {
    const seen = yield* store.head
    const same = yield* race(
      range(1, 20).map((n) =>
        store.appendAll([{ stream: `Student-${round}-${n}`, events: [enrolled("full")] }], {
          unless: { filter: { tags: ["course:full"] }, after: seen }
        })
      )
    )
    assert.deepEqual(
      same.won.map(([result]) => result?.position),
      [seen + 1]
    )
    assert.deepEqual(
      same.lost,
      range(1, 19).map(() => conditionError(seen + 1))
    )
  }
  const disjoint = yield* race(
    range(1, 20).map((n) =>
      store.appendAll([{ stream: `Student-${n}`, events: [enrolled(`own-${n}`)] }], {
        unless: { filter: { tags: [`course:own-${n}`] } }
      })
    )
  )
  assert.equal(disjoint.won.length, 20)
})

everyStore("8", "conditions that look at types and categories are held under concurrency too", function* (store) {
  for (const [what, filter] of Object.entries({
    types: { types: ["Closed"] },
    categories: { categories: ["Period"] },
    everything: {},
    several: [{ types: ["Absent"] }, { types: ["Closed"], categories: ["Period"], published: false }]
  })) {
    const seen = yield* store.head
    const { lost, won } = yield* race(
      range(1, 12).map((n) =>
        store.appendAll([{ stream: `Period-${what}-${n}`, events: [event({ type: "Closed" })] }], {
          unless: { filter, after: seen }
        })
      )
    )
    assert.equal(won.length, 1, what)
    assert.deepEqual(
      lost,
      range(1, 11).map(() => conditionError(seen + 1)),
      what
    )
  }
})

everyStore(
  "8",
  "a condition looks beyond the position that the decision has seen, and names the newest match",
  function* (store) {
    yield* store.append("A-1", [
      event(),
      enrolled("1"),
      event(),
      event({ type: "Left", tags: ["course:1", "course:2"] }),
      enrolled("2", { published: true, metadata: { correlationId: "c" } })
    ])
    yield* store.append("B-1", [event({ type: "Left" })])
    const attempt = (filter: EventStore.Filter, after?: number) => {
      const unless = after === undefined ? { filter } : { filter, after }
      return verdict(
        Effect.as(store.appendAll([{ stream: "Probe-1", events: [event({ type: "Probed" })] }], { unless }), "written")
      )
    }
    const both = [{ tags: ["course:1"] }, { tags: ["course:2"], types: ["Enrolled"] }]
    const attempts: ReadonlyArray<readonly [filter: EventStore.Filter, after: number | undefined, position: number | undefined]> =
      [
        [{ tags: ["course:1"] }, undefined, 4],
        [{ tags: ["course:1"] }, 0, 4],
        [{ tags: ["course:1"] }, 2, 4],
        [{ tags: ["course:1"] }, 3, 4],
        [{ tags: ["course:1"] }, 4, undefined],
        [{ tags: ["course:1", "course:2"] }, 0, 4],
        [{ tags: ["course:1"], types: ["Enrolled"] }, 0, 2],
        [{ tags: ["course:1"], types: ["Enrolled"] }, 2, undefined],
        [both, 0, 5],
        [both.toReversed(), 0, 5],
        [both, 4, 5],
        [both, 5, undefined],
        [{ types: ["Left", "Absent"] }, 0, 6],
        [{ types: ["Left"], categories: ["A"] }, 0, 4],
        [{ categories: ["B", "Absent"] }, 0, 6],
        [{ categories: ["Absent"] }, 0, undefined],
        [{ published: true }, 0, 5],
        [{ correlationId: "c" }, 0, 5],
        [{ correlationId: "c" }, 5, undefined],
        [{ tags: ["course:3"] }, 0, undefined],
        [{ types: [] }, 0, undefined],
        [[], 0, undefined],
        [{}, Number.MAX_SAFE_INTEGER, undefined]
      ]
    for (const [filter, after, position] of attempts) {
      assert.deepEqual(
        yield* attempt(filter, after),
        position === undefined ? "written" : conditionError(position),
        inspect({ filter, after })
      )
    }
    const head = yield* store.head
    assert.deepEqual(yield* attempt({}, head - 1), conditionError(head))
    assert.deepEqual(yield* attempt({}, head), "written")
  }
)

everyStore("8", "an append that a condition refuses writes nothing, in any of its streams", function* (store) {
  yield* store.append("A-1", [enrolled("1")])
  const part = (stream: string, expected: EventStore.ExpectedVersion) => ({ stream, events: [enrolled("1")], expected })
  const append = (after: number) =>
    store.appendAll([part("A-1", 1), part("B-1", NoStream), part("C-1", Any)], {
      unless: { filter: { tags: ["course:1"] }, after }
    })
  assert.deepEqual(yield* refused(store, append(0)), conditionError(1))
  assert.deepEqual(
    yield* refused(
      store,
      store.appendAll([part("A-1", 1), part("B-1", Exists)], { unless: { filter: { tags: ["course:1"] }, after: 1 } })
    ),
    lockError("B-1", Exists, 0),
    "expected versions count beside a condition that holds"
  )
  // What an append writes itself is not in its own way.
  assert.deepEqual(
    (yield* append(1)).map(({ position }) => position),
    [2, 3, 4]
  )
})

everyStore("8", "a repetition succeeds although its condition no longer holds: its own events stand there", function* (store) {
  const append = store.appendAll([{ stream: "Student-1", events: [enrolled("1", { id: "a" })], expected: NoStream }], {
    unless: { filter: { tags: ["course:1"] } }
  })
  const [first] = yield* append
  yield* store.append("Student-1", [enrolled("1")])
  assert.deepEqual(yield* append, [{ ...first, deduplicated: true }])
  assert.equal(yield* store.head, 2)
  const many = store.appendAll([{ stream: "Student-2", events: [enrolled("2", { id: "b" })] }], {
    unless: { filter: { tags: ["course:2"] } }
  })
  const results = yield* concurrently(range(1, 8), () => many)
  assert.equal(results.flat().filter(({ deduplicated }) => !deduplicated).length, 1)
})

everyStore(
  "8",
  "whatever is appended at once, no committed decision missed a fact, and no refusal was for nothing",
  function* (store) {
    const tags = ["course:1", "course:2", "student:1", "student:2"]
    for (let round = 0; round < 4; round++) {
      const seen = yield* store.head
      const attempts = range(1, 24).map((n) => {
        const tagged = [tags[n % 4] ?? "", ...(n % 3 === 0 ? ["student:2"] : [])]
        const filter = n % 5 === 0 ? [{ tags: ["course:1"] }, { tags: ["student:2"] }] : { tags: [tags[(n * 7) % 4] ?? ""] }
        return { filter, append: { stream: `S-${n % 6}`, events: [event({ tags: tagged }), event()] }, free: n % 8 === 0 }
      })
      const outcomes = yield* concurrently(attempts, ({ append, filter, free }) =>
        Effect.result(store.appendAll([append], free ? {} : { unless: { filter, after: seen } }))
      )
      const events = yield* Stream.runCollect(store.readAll({ after: seen }))
      for (const [index, outcome] of outcomes.entries()) {
        const attempt = attempts[index]
        assert.ok(attempt !== undefined)
        const facts = events.filter((event) => Kit.matches(attempt.filter, event)).map(({ position }) => position)
        if (Result.isFailure(outcome)) {
          assert.ok(outcome.failure._tag === "AppendConditionError" && !attempt.free)
          assert.ok(facts.includes(outcome.failure.position), "the position is that of a fact that was not seen")
        } else if (!attempt.free) {
          const own = (outcome.success[0]?.position ?? 0) - 1
          assert.deepEqual(
            facts.filter((position) => position < own),
            [],
            "no fact stood between the decision and its commit"
          )
        }
      }
    }
  }
)

everyStore("read", "bounds are inclusive at both ends, and a limit counts from where the read begins", function* (store) {
  yield* store.append("Other-1", numbered(3))
  yield* store.append("Account-1", numbered(10))
  yield* store.append("Other-1", numbered(3))
  const reads: ReadonlyArray<readonly [options: EventStore.ReadOptions, versions: ReadonlyArray<number>]> = [
    [{}, range(1, 10)],
    [{ from: 0 }, range(1, 10)],
    [{ from: 1, to: 10 }, range(1, 10)],
    [{ from: 4 }, range(4, 10)],
    [{ from: 10 }, [10]],
    [{ from: 11 }, []],
    [{ to: 4 }, range(1, 4)],
    [{ to: 1 }, [1]],
    [{ to: 0 }, []],
    [{ to: 99 }, range(1, 10)],
    [{ from: 4, to: 4 }, [4]],
    [{ from: 5, to: 4 }, []],
    [{ from: 3, to: 6 }, [3, 4, 5, 6]],
    [{ from: Number.MAX_SAFE_INTEGER }, []],
    [{ limit: 0 }, []],
    [{ limit: 3 }, [1, 2, 3]],
    [{ limit: 99 }, range(1, 10)],
    [{ from: 4, limit: 2 }, [4, 5]],
    [{ from: 4, to: 5, limit: 9 }, [4, 5]],
    [{ direction: "forward", from: 8 }, [8, 9, 10]],
    [{ direction: "backward" }, range(1, 10).toReversed()],
    [{ direction: "backward", limit: 2 }, [10, 9]],
    [{ direction: "backward", limit: 0 }, []],
    [{ direction: "backward", from: 9 }, [10, 9]],
    [{ direction: "backward", to: 2 }, [2, 1]],
    [{ direction: "backward", from: 3, to: 6 }, [6, 5, 4, 3]],
    [{ direction: "backward", from: 3, to: 6, limit: 2 }, [6, 5]],
    [{ direction: "backward", from: 11 }, []],
    [{ direction: "backward", to: 0 }, []],
    [{ direction: "backward", from: 6, to: 5 }, []],
    [{ from: undefined, to: undefined, direction: undefined, limit: undefined, until: undefined }, range(1, 10)]
  ]
  for (const [options, wanted] of reads) {
    assert.deepEqual(yield* versions(store.read("Account-1", options)), wanted, inspect(options))
    assert.deepEqual(yield* versions(store.read("Absent-1", options)), [], inspect(options))
  }
})

everyStore("read", "until an instant a stream is what stood by then, whatever way the clock moved", function* (store) {
  // The third clock was an hour behind, the fifth one ahead: the order is that of versions.
  const at = [1000, 2000, 500, 3000, 9000, 4000]
  yield* store.append(
    "Account-1",
    at.map((time) => event({ recordedAt: DateTime.makeUnsafe(time) }))
  )
  yield* store.append("Other-1", [event({ recordedAt: DateTime.makeUnsafe(2500) })])
  const reads: ReadonlyArray<readonly [until: number, version: number]> = [
    [499, 0],
    [500, 3],
    [999, 3],
    [2999, 3],
    [3000, 4],
    [3999, 4],
    [4000, 6],
    [9000, 6]
  ]
  for (const [until, version] of reads) {
    const options = { until: DateTime.makeUnsafe(until) }
    assert.deepEqual(yield* versions(store.read("Account-1", options)), range(1, version), `until ${until}`)
    assert.deepEqual(
      yield* versions(store.read("Account-1", { ...options, direction: "backward", limit: 2 })),
      range(1, version).toReversed().slice(0, 2)
    )
    assert.deepEqual(yield* versions(store.read("Account-1", { ...options, from: 2, to: 3 })), range(2, Math.min(3, version)))
    assert.deepEqual(yield* versions(store.read("Absent-1", options)), [])
  }
})

everyStore("read", "ten thousand events are the same sequence in pages of any size", function* (store) {
  for (let from = 1; from <= 10_000; from += 1000) {
    yield* store.appendAll(
      range(0, 9).map((part) => ({ stream: part % 2 === 0 ? "Long-1" : "Long-2", events: numbered(100, from + part * 100) }))
    )
  }
  const all = range(1, 10_000)
  const long = all.filter((n) => Math.floor((n - 1) / 100) % 2 === 0)
  const numbers = <E>(events: Stream.Stream<RecordedEvent, E>) =>
    Effect.map(Stream.runCollect(events), (events) => events.map(({ payload }) => untyped<{ n: number }>(payload).n))
  for (const size of [1, 7, 1000]) {
    assert.deepEqual(yield* numbers(Stream.rechunk(store.readAll(), size)), all)
    assert.deepEqual(yield* numbers(Stream.rechunk(store.read("Long-1"), size)), long)
  }
  assert.deepEqual(yield* numbers(store.readAll({ direction: "backward" })), all.toReversed())
  assert.deepEqual(yield* numbers(store.read("Long-1", { direction: "backward" })), long.toReversed())
  assert.deepEqual(yield* positions(store.readAll({ filter: { categories: ["Long"] }, limit: 5000 })), range(1, 5000))
  for (const [limit, last] of [
    [1, 150],
    [7, 1500],
    [1000, 10_000]
  ] as const) {
    const pages: Array<number> = []
    while (pages.length < last) pages.push(...(yield* numbers(store.readAll({ after: pages.length, limit }))))
    assert.deepEqual(pages, all.slice(0, pages.length))
    const own: Array<number> = []
    while (own.length < last / 2) own.push(...(yield* numbers(store.read("Long-1", { from: own.length + 1, limit }))))
    assert.deepEqual(own, long.slice(0, own.length))
  }
})

everyStore(
  "read",
  "a consumer that appends while it reads gets what stood when it began, and comes to an end",
  function* (store) {
    for (const count of [10, 100]) {
      const stream = `Growing-${count}`
      yield* store.append(stream, numbered(count))
      const more = () => store.append(stream, numbered(5))
      const own = yield* store.read(stream).pipe(Stream.tap(more), Stream.take(5 * count), versions)
      assert.deepEqual(own, range(1, count))
      const head = yield* store.head
      const all = yield* store.readAll().pipe(Stream.tap(more), Stream.take(5 * head), positions)
      assert.deepEqual(all, range(1, head))
      const newest = yield* store.version(stream)
      const backward = yield* store.read(stream, { direction: "backward", limit: 80 }).pipe(Stream.tap(more), versions)
      assert.deepEqual(backward, range(1, newest).toReversed().slice(0, 80))
    }
  }
)

everyStore("read", "a reader that stops early, or fails, leaves the store as it was", function* (store) {
  yield* store.append("Account-1", numbered(200))
  for (let n = 1; n <= 70; n++) {
    assert.deepEqual(yield* store.read("Account-1").pipe(Stream.take(1), versions), [1])
    assert.deepEqual(yield* store.readAll({ direction: "backward" }).pipe(Stream.take(2), positions), [200, 199])
    const error = yield* Effect.flip(store.readAll().pipe(Stream.runForEach(() => Effect.fail("enough" as const))))
    assert.equal(error, "enough")
  }
})

everyStore("readAll", "goes by position, forward beyond a position and backward before it", function* (store) {
  for (let n = 1; n <= 5; n++) yield* store.append(`Account-${n % 2}`, numbered(2))
  const reads: ReadonlyArray<readonly [options: EventStore.ReadAllOptions, positions: ReadonlyArray<number>]> = [
    [{}, range(1, 10)],
    [{ after: 0 }, range(1, 10)],
    [{ after: 4 }, range(5, 10)],
    [{ after: 9 }, [10]],
    [{ after: 10 }, []],
    [{ after: 99 }, []],
    [{ limit: 0 }, []],
    [{ limit: 3 }, [1, 2, 3]],
    [{ after: 4, limit: 2 }, [5, 6]],
    [{ direction: "backward" }, range(1, 10).toReversed()],
    [{ direction: "backward", limit: 3 }, [10, 9, 8]],
    [{ direction: "backward", after: 4 }, [3, 2, 1]],
    [{ direction: "backward", after: 4, limit: 2 }, [3, 2]],
    [{ direction: "backward", after: 1 }, []],
    [{ direction: "backward", after: 0 }, []],
    [{ direction: "backward", after: 99 }, range(1, 10).toReversed()],
    [{ after: undefined, filter: undefined, direction: undefined, limit: undefined }, range(1, 10)]
  ]
  for (const [options, wanted] of reads) assert.deepEqual(yield* positions(store.readAll(options)), wanted, inspect(options))
})

/** Eight events that differ in all that a query can ask for. */
const variety: ReadonlyArray<EventStore.StreamAppend> = [
  { stream: "Account-1", events: [event({ type: "Opened", published: true, tags: ["a"], metadata: { correlationId: "x" } })] },
  { stream: "Account-1", events: [event({ type: "Paid", tags: ["a", "b"] })] },
  {
    stream: "Account-2",
    events: [event({ type: "Opened", tags: ["b", "c", "a"], metadata: { correlationId: "y", other: "x" } })]
  },
  { stream: "Order-1", events: [event({ type: "Opened", published: true })] },
  { stream: "Order-1", events: [event({ type: "Paid", tags: ["c"], metadata: { correlationId: "x", causationId: "y" } })] },
  { stream: "Order", events: [event({ type: "paid", tags: ["A"] })] },
  { stream: "Orders-1", events: [event({ type: "Closed", published: true, tags: ["a", "c"], metadata: { causationId: "x" } })] },
  { stream: "Account-1-1", events: [event({ type: "Closed", tags: ["ab"] })] }
]

const filters: ReadonlyArray<readonly [filter: EventStore.Filter, positions: ReadonlyArray<number>]> = [
  [{}, range(1, 8)],
  [[{}], range(1, 8)],
  [[], []],
  [{ types: ["Opened"] }, [1, 3, 4]],
  [{ types: ["Paid", "Closed"] }, [2, 5, 7, 8]],
  [{ types: ["Absent"] }, []],
  [{ types: [] }, []],
  [{ categories: ["Account"] }, [1, 2, 3, 8]],
  [{ categories: ["Order"] }, [4, 5, 6]],
  [{ categories: ["Orders", "Account"] }, [1, 2, 3, 7, 8]],
  [{ categories: ["Account-1"] }, []],
  [{ categories: [] }, []],
  [{ tags: ["a"] }, [1, 2, 3, 7]],
  [{ tags: ["a", "c"] }, [3, 7]],
  [{ tags: ["c", "a"] }, [3, 7]],
  [{ tags: ["a", "a"] }, [1, 2, 3, 7]],
  [{ tags: ["a", "b", "c"] }, [3]],
  [{ tags: ["a", "absent"] }, []],
  [{ tags: [] }, range(1, 8)],
  [{ published: true }, [1, 4, 7]],
  [{ published: false }, [2, 3, 5, 6, 8]],
  [{ correlationId: "x" }, [1, 5]],
  [{ correlationId: "absent" }, []],
  [{ types: ["Opened"], tags: ["a"] }, [1, 3]],
  [{ types: ["Opened"], categories: ["Order"] }, [4]],
  [{ types: ["Opened", "Closed"], categories: ["Account"], published: false, tags: ["b"] }, [3]],
  [{ correlationId: "x", published: false }, [5]],
  [{ types: ["Opened"], categories: ["Orders"] }, []],
  [
    [{ types: ["Paid"] }, { tags: ["ab"] }],
    [2, 5, 8]
  ],
  [
    [{ types: ["Opened"] }, { tags: ["a"] }],
    [1, 2, 3, 4, 7]
  ],
  [
    [{ tags: ["a"] }, { tags: ["c"] }],
    [1, 2, 3, 5, 7]
  ],
  [
    [{ types: ["Opened"], categories: ["Order"] }, { correlationId: "y" }, { types: ["Absent"] }],
    [3, 4]
  ],
  [[{ types: [] }, { categories: ["Orders"] }], [7]],
  [[{ types: ["Absent"] }, {}], range(1, 8)]
]

everyStore("readAll", "a query means all of its keys, a filter any of its queries", function* (store) {
  yield* store.appendAll(variety)
  for (const [filter, wanted] of filters) {
    const what = inspect(filter)
    assert.deepEqual(yield* positions(store.readAll({ filter })), wanted, what)
    assert.deepEqual(yield* positions(store.readAll({ filter, direction: "backward" })), wanted.toReversed(), what)
    assert.deepEqual(
      yield* positions(store.readAll({ filter, after: 3 })),
      wanted.filter((n) => n > 3),
      what
    )
    assert.deepEqual(
      yield* positions(store.readAll({ filter, after: 5, direction: "backward" })),
      wanted.filter((n) => n < 5).toReversed(),
      what
    )
    assert.deepEqual(
      yield* positions(store.readAll({ filter, after: 1, limit: 2 })),
      wanted.filter((n) => n > 1).slice(0, 2),
      what
    )
  }
})

everyStore("readAll", "a limit counts what passed the filter", function* (store) {
  yield* store.append(
    "Mixed-1",
    range(1, 3000).map((n) => event({ type: n % 100 === 0 ? "Rare" : "Common", tags: n % 500 === 0 ? ["rarer"] : [] }))
  )
  const rare = range(1, 30).map((n) => n * 100)
  const read = (options: EventStore.ReadAllOptions) => positions(store.readAll({ filter: { types: ["Rare"] }, ...options }))
  assert.deepEqual(yield* read({ limit: 25 }), rare.slice(0, 25))
  assert.deepEqual(yield* read({}), rare)
  assert.deepEqual(yield* read({ limit: 30 }), rare)
  assert.deepEqual(yield* read({ limit: 4, after: 1000 }), [1100, 1200, 1300, 1400])
  assert.deepEqual(yield* read({ limit: 4, direction: "backward" }), [3000, 2900, 2800, 2700])
  assert.deepEqual(yield* read({ filter: { tags: ["rarer"] }, limit: 2, after: 500 }), [1000, 1500])
  assert.deepEqual(yield* read({ filter: [{ tags: ["rarer"] }, { types: ["Rare"] }], limit: 100 }), rare)
  assert.deepEqual(
    yield* read({ filter: { types: ["Common"] }, after: 98, limit: 200 }),
    range(99, 400)
      .filter((n) => n % 100 !== 0)
      .slice(0, 200)
  )
})

everyStore("readAll", "what is rare is found behind thousands of others, from either end and by a subscriber", function* (store) {
  const rare = event({ type: "Rare" })
  yield* store.append("Rare-1", [rare, ...numbered(2999)])
  yield* store.append("Common-1", numbered(3000))
  yield* store.append("Rare-1", [rare])
  const filter = { types: ["Rare"] }
  assert.deepEqual(yield* positions(store.readAll({ filter })), [1, 6001])
  assert.deepEqual(yield* positions(store.readAll({ filter, direction: "backward" })), [6001, 1])
  assert.deepEqual(yield* positions(store.readAll({ filter, after: 1, limit: 1 })), [6001])
  assert.deepEqual(yield* positions(Stream.take(store.subscribe({ filter }), 2)), [1, 6001])
  assert.deepEqual(yield* positions(Stream.take(store.subscribe({ after: 1 }), 6000)), range(2, 6001))
})

everyStore("streams", "lists streams in code point order, with their newest versions and positions", function* (store) {
  // In UTF-16 order the surrogates of U+1F600 would come before U+FF5E.
  const names = [
    "a-1",
    "A",
    "A-1",
    "A-10",
    "A-2",
    "A--",
    "-",
    "Z-1",
    "\u00e9-1",
    "\uff5e-1",
    "\u{1f600}-1",
    "\u{1f600}",
    "\uffff-1",
    "A-\u{10ffff}"
  ]
  yield* store.appendAll(names.map((stream) => ({ stream, events: numbered(1) })))
  yield* store.append("A-1", numbered(3))
  const sorted = names.toSorted(compareCodePoints)
  const infos = yield* Stream.runCollect(store.streams())
  assert.deepEqual(
    infos.map(({ stream }) => stream),
    sorted
  )
  assert.deepEqual(
    infos.find(({ stream }) => stream === "A-1"),
    {
      stream: "A-1",
      category: "A",
      version: 4,
      position: names.length + 3
    }
  )
  const list = (options: EventStore.StreamsOptions) =>
    Effect.map(Stream.runCollect(store.streams(options)), (infos) => infos.map(({ stream }) => stream))
  assert.deepEqual(yield* list({ category: "A" }), ["A", "A--", "A-1", "A-10", "A-2", "A-\u{10ffff}"])
  assert.deepEqual(yield* list({ category: "A", after: "A-1" }), ["A-10", "A-2", "A-\u{10ffff}"])
  assert.deepEqual(yield* list({ category: "A", after: "A-1", limit: 1 }), ["A-10"])
  assert.deepEqual(yield* list({ category: "\u{1f600}" }), ["\u{1f600}", "\u{1f600}-1"])
  assert.deepEqual(yield* list({ category: "Absent" }), [])
  assert.deepEqual(yield* list({ limit: 0 }), [])
  assert.deepEqual(yield* list({ limit: 3 }), sorted.slice(0, 3))
  assert.deepEqual(yield* list({ after: "\uff5e-1" }), ["\uffff-1", "\u{1f600}", "\u{1f600}-1"])
  assert.deepEqual(
    yield* list({ after: "A-11" }),
    sorted.filter((name) => compareCodePoints(name, "A-11") > 0)
  )
  for (const [index, after] of sorted.entries()) {
    assert.deepEqual(yield* list({ after, limit: 2 }), sorted.slice(index + 1, index + 3), `after ${after}`)
  }
})

everyStore("streams", "lists more streams than fit into one page", function* (store) {
  const names = range(1, 1500).map((n) => `${n % 3 === 0 ? "Third" : "Other"}-${n}`)
  yield* store.appendAll(names.map((stream) => ({ stream, events: [event()] })))
  const sorted = names.toSorted(compareCodePoints)
  const list = (options?: EventStore.StreamsOptions) =>
    Effect.map(Stream.runCollect(store.streams(options)), (infos) => infos.map(({ stream }) => stream))
  assert.deepEqual(yield* list(), sorted)
  assert.deepEqual(
    yield* list({ category: "Third" }),
    sorted.filter((name) => name.startsWith("Third"))
  )
  assert.deepEqual(yield* list({ limit: 700, after: sorted[99] }), sorted.slice(100, 800))
})

everyStore(
  "subscribe",
  "a subscriber at the start sees every position once, in order, while four writers append",
  function* (store) {
    const total = 4 * 40 * 2
    yield* store.append("Before-1", numbered(3))
    const half = yield* Deferred.make<void>()
    const follow = (options: EventStore.SubscribeOptions, count: number) =>
      Effect.forkChild(collect(Stream.take(store.subscribe(options), count)))
    const early = [yield* follow({}, total + 3), yield* follow({}, total + 3)]
    const later = yield* follow({ after: 50 }, total + 3 - 50)
    const writers = yield* Effect.forkChild(
      concurrently(range(1, 4), (writer) =>
        Effect.forEach(range(1, 40), (n) =>
          store
            .append(`Writer-${writer}`, numbered(1 + 2 * (n % 2), n))
            .pipe(Effect.andThen(Effect.yieldNow), Effect.andThen(n === 20 ? Deferred.succeed(half, undefined) : Effect.void))
        )
      )
    )
    yield* Deferred.await(half)
    const midway = yield* follow({ after: 0 }, total + 3)
    yield* Fiber.join(writers)
    const log = yield* collect(store.readAll())
    assert.equal(log.length, total + 3)
    for (const fiber of [...early, midway]) assert.deepEqual(yield* Fiber.join(fiber), log)
    assert.deepEqual(yield* Fiber.join(later), log.slice(50))
  }
)

everyStore("subscribe", "each event wakes a subscriber that has seen all before it", function* (store) {
  const pull = yield* Stream.toPull(Stream.rechunk(store.subscribe(), 1))
  for (let n = 1; n <= 20; n++) {
    // The subscriber waits on every other event before it is appended.
    const waiting = n % 2 === 0 ? yield* Effect.forkChild(pull) : undefined
    yield* turns(n)
    yield* store.append(`Account-${n % 3}`, [event({ id: `${n}` })])
    const [next] = yield* waiting === undefined ? pull : Fiber.join(waiting)
    assert.deepEqual([next.position, next.id], [n, `${n}`])
  }
})

everyStore("subscribe", "from the end a subscriber sees only what comes later", function* (store) {
  yield* store.append("Account-1", numbered(100))
  const pull = yield* Stream.toPull(Stream.rechunk(store.subscribe({ after: "end" }), 1))
  const first = yield* Effect.forkChild(pull)
  // Where its end was is known from what it sees first, so events come until it has seen one.
  while (first.pollUnsafe() === undefined) {
    yield* store.append("Account-1", [event()])
    yield* Effect.yieldNow
  }
  const [seen] = yield* Fiber.join(first)
  assert.ok(seen.position > 100)
  yield* store.append("Account-1", numbered(3))
  for (let n = 1; n <= 3; n++) assert.equal((yield* pull)[0].position, seen.position + n)
})

everyStore("subscribe", "a position that is not reached yet is waited for", function* (store) {
  yield* store.append("Account-1", numbered(2))
  const beyond = yield* Effect.forkChild(positions(Stream.take(store.subscribe({ after: 5 }), 3)))
  const atHead = yield* Effect.forkChild(positions(Stream.take(store.subscribe({ after: 2 }), 3)))
  yield* turns(3)
  for (let n = 1; n <= 8; n++) yield* store.append("Account-1", [event()])
  assert.deepEqual(yield* Fiber.join(beyond), [6, 7, 8])
  assert.deepEqual(yield* Fiber.join(atHead), [3, 4, 5])
})

everyStore("subscribe", "a filter holds for history and for what comes live", function* (store) {
  const some = (from: number, to: number) =>
    store.append(
      "Mixed-1",
      range(from, to).map((n) =>
        event({ type: n % 50 === 0 ? "Rare" : "Common", tags: [`mod:${n % 3}`], published: n % 7 === 0 })
      )
    )
  yield* some(1, 500)
  const follow = (options: EventStore.SubscribeOptions, count: number) =>
    Effect.forkChild(positions(Stream.take(store.subscribe(options), count)))
  const rare = yield* follow({ filter: { types: ["Rare"] } }, 20)
  const tagged = yield* follow({ filter: { tags: ["mod:1"], published: true }, after: 200 }, 30)
  const either = yield* follow({ filter: [{ types: ["Rare"] }, { categories: ["Other"] }], after: 400 }, 13)
  const live = yield* follow({ filter: { categories: ["Other"] } }, 1)
  for (let from = 501; from <= 1000; from += 25) {
    yield* some(from, from + 24)
    yield* turns(1)
  }
  yield* store.append("Other-1", [event()])
  assert.deepEqual(
    yield* Fiber.join(rare),
    range(1, 20).map((n) => n * 50)
  )
  assert.deepEqual(
    yield* Fiber.join(tagged),
    range(201, 1000)
      .filter((n) => n % 3 === 1 && n % 7 === 0)
      .slice(0, 30)
  )
  assert.deepEqual(yield* Fiber.join(either), [...range(9, 20).map((n) => n * 50), 1001])
  assert.deepEqual(yield* Fiber.join(live), [1001])
})

everyStore("subscribe", "a subscriber that does not pull hinders nobody, and misses nothing", function* (store) {
  yield* store.append("Account-1", numbered(10))
  const idle = yield* concurrently(range(1, 20), () => Stream.toPull(store.subscribe()))
  const [first] = idle
  assert.ok(first !== undefined)
  const seen = (yield* first).map(({ position }) => position)
  yield* concurrently(range(1, 50), (n) => store.append(`Account-${n % 5}`, numbered(100)))
  assert.equal(yield* store.head, 5010)
  while (seen.length < 5010) seen.push(...(yield* first).map(({ position }) => position))
  assert.deepEqual(seen, range(1, 5010))
})

everyStore("subscribe", "a subscriber may append to the store it follows", function* (store) {
  yield* store.append("Ping-0", [event({ type: "Ping" })])
  const seen = yield* store.subscribe().pipe(
    Stream.tap(({ position }) => store.append(`Pong-${position}`, [event({ type: "Pong" })], { expected: NoStream })),
    Stream.take(100),
    positions
  )
  assert.deepEqual(seen, range(1, 100))
  assert.equal(yield* store.head, 101)
})

everyStore("subscribe", "a subscription never ends by itself, and ends when it is interrupted", function* (store) {
  yield* store.append("Account-1", numbered(3))
  let seen = 0
  const caughtUp = yield* Deferred.make<void>()
  const fibers = yield* Effect.forEach(range(1, 10), () =>
    Effect.forkChild(
      Stream.runForEach(store.subscribe(), () => (++seen === 30 ? Deferred.succeed(caughtUp, undefined) : Effect.void))
    )
  )
  yield* Deferred.await(caughtUp)
  yield* turns(5)
  for (const fiber of fibers) assert.equal(fiber.pollUnsafe(), undefined)
  yield* Fiber.interruptAll(fibers)
  for (const fiber of fibers) {
    const exit = yield* Fiber.await(fiber)
    assert.ok(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
  }
  yield* store.append("Account-1", numbered(1))
  assert.equal(seen, 30)
})

const deep = (levels: number): Schema.Json =>
  levels === 0 ? "bottom" : levels % 2 === 0 ? { inner: deep(levels - 1) } : [deep(levels - 1)]

const payloads: ReadonlyArray<Schema.Json> = [
  null,
  true,
  false,
  0,
  -0,
  1,
  -1.5,
  0.1 + 0.2,
  Number.MAX_SAFE_INTEGER,
  Number.MIN_SAFE_INTEGER,
  2 ** 60 + 2 ** 8,
  1e21,
  Number.MAX_VALUE,
  Number.MIN_VALUE,
  "",
  " ",
  "text",
  "null",
  "Gr\u00fc\u00dfe, \u4e16\u754c \u{1f468}\u200d\u{1f469}\u200d\u{1f467}\u{1f3fd} e\u0301 \u0001 \u001f \u007f \u2028 \u2029 \ufeff \uffff \u{10ffff}",
  "quotes ' \" ` back\\slash \\u0000 \\n new\nline \r\n tab\t $1 %s {} []",
  [],
  {},
  [[]],
  [null, [], {}, "", 0, false],
  [1, "a", { b: [2, { c: null }] }],
  { z: 1, a: 2, M: 3, "\u00e9": 4, "": 5, " ": 6 },
  { a: {}, b: [], c: null, d: "", e: 0, f: false },
  { "2": "b", "1": "a", "-1": "c", "01": "d" },
  { 'quote"': 1, "back\\slash": 2, "new\nline": 3, "a.b": 4, $type: 5, "\u{1f600}": 6 },
  JSON.parse('{"__proto__":{"polluted":true},"constructor":{"prototype":1},"toString":"x","hasOwnProperty":null,"length":3}'),
  { when: "2024-02-29T12:00:00.000Z", big: "12345678901234567890", bytes: "AAEC" },
  deep(500),
  Object.fromEntries(range(1, 1000).map((n) => [`key${(n * 7919) % 1000}`, n]))
]

everyStore("round trip", "payloads come back as JSON gives them, key order and all", function* (store) {
  yield* store.append(
    "Round-1",
    payloads.map((payload) => event({ payload }))
  )
  yield* concurrently(payloads, (payload, index) => store.append(`Single-${index}`, [event({ payload })]))
  const texts = payloads.map((payload) => JSON.stringify(payload))
  for (const read of [
    store.read("Round-1"),
    store.readAll({ limit: payloads.length }),
    Stream.take(store.subscribe(), payloads.length)
  ]) {
    const found = yield* collect(read)
    assert.deepEqual(
      found.map(({ payload }) => JSON.stringify(payload)),
      texts
    )
    assert.deepEqual(
      found.map(({ payload }) => payload),
      texts.map((text) => JSON.parse(text))
    )
  }
  for (const [index, text] of texts.entries()) {
    const [found] = yield* collect(store.read(`Single-${index}`))
    assert.equal(JSON.stringify(found?.payload), text)
  }
  assert.equal(untyped<{ polluted?: boolean }>({}).polluted, undefined)
})

everyStore("round trip", "all that was given with an event comes back, and the rest has its defaults", function* (store) {
  const metadata = { correlationId: "c", causationId: "a", user: { id: 1, roles: ["x", null] }, z: null, a: "\u{1f600}" }
  const tags = range(1, 64).map((n) => `tag:${(n * 37) % 64}`)
  yield* store.append("Account-1", [
    event({
      type: "Full",
      id: "mine",
      schemaVersion: 2 ** 31 - 1,
      published: true,
      tags: ["b", "a", "b", "c", "a"],
      metadata,
      payload: { p: 1 }
    }),
    event({ type: "Bare", id: "bare" }),
    event({ tags: [], metadata: {}, published: false, schemaVersion: 1 }),
    event({ tags })
  ])
  const [full, bare, empty, tagged] = yield* collect(store.read("Account-1"))
  assert.ok(full !== undefined && bare !== undefined && empty !== undefined && tagged !== undefined)
  const { recordedAt, ...rest } = full
  assert.equal(typeof recordedAt, "number")
  assert.deepEqual(rest, {
    stream: "Account-1",
    version: 1,
    position: 1,
    id: "mine",
    type: "Full",
    schemaVersion: 2 ** 31 - 1,
    published: true,
    tags: ["b", "a", "c"],
    payload: { p: 1 },
    metadata
  })
  assert.deepEqual(Object.keys(rest.metadata), Object.keys(metadata))
  const defaults = { schemaVersion: 1, published: false, tags: [], metadata: {}, payload: {}, stream: "Account-1" }
  assert.deepEqual({ ...bare, recordedAt: 0 }, { ...defaults, type: "Bare", id: "bare", version: 2, position: 2, recordedAt: 0 })
  assert.deepEqual(
    { ...empty, id: "", recordedAt: 0 },
    { ...defaults, type: "Happened", id: "", version: 3, position: 3, recordedAt: 0 }
  )
  assert.deepEqual(tagged.tags, tags)
  for (const tag of tags) assert.deepEqual(yield* positions(store.readAll({ filter: { tags: [tag] } })), [4])
})

everyStore("round trip", "a given instant is kept to the millisecond, otherwise the caller's clock is asked", function* (store) {
  const instants = [
    "0001-01-01T00:00:00.000Z",
    "1066-10-14T09:00:00.001Z",
    "1582-10-10T12:00:00.000Z",
    "1969-12-31T23:59:59.999Z",
    "1970-01-01T00:00:00.000Z",
    "1970-01-01T00:00:00.001Z",
    "2016-12-31T23:59:59.999Z",
    "2024-02-29T01:02:03.457Z",
    "2038-01-19T03:14:08.123Z",
    "9999-12-31T23:59:59.999Z"
  ].map((text) => Date.parse(text))
  yield* store.append(
    "Times-1",
    instants.map((instant) => event({ recordedAt: DateTime.makeUnsafe(instant) }))
  )
  const found = yield* Stream.runCollect(store.read("Times-1"))
  assert.deepEqual(
    found.map(({ recordedAt }) => DateTime.toEpochMillis(recordedAt)),
    instants
  )
  assert.ok(found.every(({ recordedAt }) => DateTime.isUtc(recordedAt)))
  const now = 1_234_567_890_123
  yield* Effect.flatMap(Clock.clockWith(Effect.succeed), (clock) => {
    const still: Clock.Clock = Object.assign(Object.create(clock), {
      currentTimeMillisUnsafe: () => now,
      currentTimeMillis: Effect.succeed(now)
    })
    return Effect.provideService(store.append("Times-2", [event(), event()]), Clock.Clock, still)
  })
  assert.deepEqual(
    (yield* collect(store.read("Times-2"))).map(({ recordedAt }) => recordedAt),
    [now, now]
  )
})

everyStore("round trip", "what the caller holds is not what the store holds", function* (store) {
  const payload = { list: [1, 2], inner: { text: "before" } }
  const tags = ["kept"]
  const metadata = { correlationId: "c", inner: { text: "before" } }
  const given = { type: "Happened", payload, tags, metadata }
  yield* store.append("Account-1", [given])
  yield* store.append("Account-1", [event()])
  const before = yield* contents(store)
  payload.list.push(3)
  payload.inner.text = "after"
  tags.push("added")
  metadata.inner.text = "after"
  assert.deepEqual(yield* contents(store), before)
  const once = yield* Stream.runCollect(store.read("Account-1"))
  const twice = yield* Stream.runCollect(store.read("Account-1"))
  assert.deepEqual(once, twice)
  for (const [index, event] of once.entries()) {
    const other = twice[index]
    assert.ok(other !== undefined && event !== other && event.payload !== other.payload)
    assert.ok(event.metadata !== other.metadata && event.tags !== other.tags)
    untyped<Array<string>>(event.tags).push("added")
    Object.assign(event.metadata, { correlationId: "changed" })
    Object.assign(untyped<object>(event.payload), { list: null })
    Object.assign(event, { type: "Changed", version: 9 })
  }
  assert.deepEqual(yield* contents(store), before)
  assert.deepEqual(yield* positions(store.readAll({ filter: { tags: ["added"] } })), [])
})

everyStore("9", "an interrupted append is written whole or not at all, and may be repeated", function* (store) {
  for (let round = 0; round < 8; round++) {
    const appends = range(0, 23).map((n) => {
      const id = `${round}/${n}`
      return store.appendAll([
        { stream: `Shared-${n % 3}`, events: named(`${id}/a`, `${id}/b`) },
        { stream: `Round-${round}`, events: named(`${id}/c`) }
      ])
    })
    const fibers = yield* Effect.forEach(appends, (append) => Effect.forkChild(append))
    yield* turns(round * round)
    const interrupted = new Set((yield* Random.shuffle(fibers).pipe(Random.withSeed(round))).slice(12))
    yield* Fiber.interruptAll(interrupted)
    const exits = yield* Fiber.awaitAll(fibers)
    const standing = new Set((yield* collect(store.readAll())).map(({ id }) => id))
    for (const [n, exit] of exits.entries()) {
      const there = ["a", "b", "c"].filter((part) => standing.has(`${round}/${n}/${part}`)).length
      if (Exit.isSuccess(exit)) assert.equal(there, 3, "what succeeded is there")
      else {
        assert.ok(Cause.hasInterruptsOnly(exit.cause), inspect(exit.cause))
        assert.ok(interrupted.has(fibers[n] as (typeof fibers)[number]), "only what was interrupted did not succeed")
        assert.ok(there === 0 || there === 3, "all or nothing")
      }
    }
    const again = yield* concurrently(appends, (append) => append)
    for (const [n, exit] of exits.entries())
      if (Exit.isSuccess(exit)) assert.ok(again[n]?.every(({ deduplicated }) => deduplicated))
    assert.equal(yield* store.head, (round + 1) * 24 * 3, "each is there once")
  }
})

everyStore("9", "interrupted reads and subscriptions leave a store that works", function* (store) {
  yield* store.append("Account-1", numbered(2000))
  for (let round = 0; round < 5; round++) {
    const fibers = yield* Effect.forEach(range(1, 15), (n) =>
      Effect.forkChild(
        n % 3 === 0
          ? Stream.runDrain(store.subscribe({ after: n % 2 === 0 ? "end" : 0 }))
          : n % 3 === 1
            ? Stream.runDrain(store.readAll({ filter: { types: ["Numbered"] } }))
            : Stream.runDrain(store.read("Account-1", { direction: "backward" }))
      )
    )
    yield* turns(round * 5)
    const probes = yield* Effect.forEach(range(1, 5), () =>
      Effect.forkChild(Effect.all([store.head, store.version("Account-1")]))
    )
    yield* turns(round % 2)
    yield* Fiber.interruptAll([...fibers, ...probes])
    for (const exit of yield* Fiber.awaitAll<Fiber.Fiber<unknown, unknown>>([...fibers, ...probes])) {
      assert.ok(Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause), "interrupted, or done before")
    }
    yield* concurrently(range(1, 20), () => store.append("Account-1", [event()]))
    assert.equal(yield* store.version("Account-1"), 2000 + (round + 1) * 20)
  }
  assert.deepEqual(yield* positions(Stream.take(store.subscribe({ after: 1990 }), 110)), range(1991, 2100))
})

everyStore("9", "a writer interrupted between any two appends leaves the other writers to go on", function* (store) {
  const acknowledged: Array<string> = []
  const writer = (name: string) =>
    Effect.forEach(range(1, 30), (n) =>
      store
        .append("Shared-1", named(`${name}/${n}`))
        .pipe(Effect.andThen(Effect.sync(() => acknowledged.push(`${name}/${n}`))), Effect.andThen(Effect.yieldNow))
    )
  const fibers = yield* Effect.forEach(range(1, 8), (n) => Effect.forkChild(writer(`${n}`)))
  for (const [index, fiber] of fibers.entries()) {
    if (index % 2 === 1) continue
    yield* turns(index)
    yield* Fiber.interrupt(fiber)
  }
  yield* Fiber.awaitAll(fibers)
  const ids = (yield* collect(store.read("Shared-1"))).map(({ id }) => id)
  assert.deepEqual(
    acknowledged.filter((id) => !ids.includes(id)),
    [],
    "what was acknowledged is there"
  )
  for (const n of [2, 4, 6, 8]) {
    const own = ids.filter((id) => id.startsWith(`${n}/`))
    assert.deepEqual(
      own,
      range(1, 30).map((step) => `${n}/${step}`),
      "in the order in which its writer appended"
    )
  }
})

const oneOf = <A>(items: ReadonlyArray<A>) =>
  Effect.map(Random.nextIntBetween(0, items.length, { halfOpen: true }), (index) => items[index] as A)

const randomFilter: Effect.Effect<EventStore.Filter> = Effect.gen(function* () {
  const query = Effect.gen(function* () {
    const keys: ReadonlyArray<EventStore.Query> = [
      { types: yield* oneOf([["T1"], ["T2", "T3"], ["T1", "Absent"]]) },
      { tags: yield* oneOf([["x"], ["y"], ["x", "y"], ["z"]]) },
      { categories: yield* oneOf([["A"], ["B"], ["A", "B"]]) },
      { published: yield* Random.nextBoolean },
      { correlationId: yield* oneOf(["c1", "c2"]) }
    ]
    return { ...(yield* oneOf(keys)), ...(yield* oneOf([{}, yield* oneOf(keys)])) }
  })
  return yield* oneOf<EventStore.Filter>([yield* query, [yield* query, yield* query]])
})

const randomAppends: Effect.Effect<ReadonlyArray<EventStore.StreamAppend>> = Effect.gen(function* () {
  const part = Effect.gen(function* () {
    const events: Array<NewEvent> = []
    const count = yield* oneOf([0, 1, 1, 1, 2, 3])
    // Few ids, and often in a row: some appends repeat an earlier one, some repeat part of one.
    let id = yield* Random.nextIntBetween(1, 600)
    for (let n = 0; n < count; n++) {
      events.push({
        id: `id-${id++}`,
        type: yield* oneOf(["T1", "T2", "T3"]),
        payload: { n: yield* Random.nextIntBetween(0, 1000) },
        published: yield* Random.nextBoolean,
        tags: yield* oneOf([[], ["x"], ["y", "x"], ["z", "y"]]),
        metadata: yield* oneOf([{}, { correlationId: "c1" }, { correlationId: "c2", n }]),
        recordedAt: DateTime.makeUnsafe(yield* Random.nextIntBetween(0, 10_000))
      })
    }
    const stream = yield* oneOf(["A-1", "A-2", "A-3", "B-1", "B-2", "C"])
    const expected = yield* oneOf<EventStore.ExpectedVersion>([
      Any,
      Any,
      Any,
      Exists,
      NoStream,
      yield* Random.nextIntBetween(0, 40)
    ])
    return { stream, events, expected }
  })
  return yield* Effect.all(Array.from({ length: yield* oneOf([1, 1, 1, 2, 3]) }, () => part))
})

everyStore(
  "model",
  "a long random sequence of appends and reads is answered just as the memory store answers it",
  function* (store) {
    const model = yield* build(EventStore.layerMemory)
    const sequence = Effect.gen(function* () {
      const seen: Record<string, number> = {}
      let last: ReadonlyArray<EventStore.StreamAppend> = []
      for (let step = 1; step <= 400; step++) {
        const appends = step % 7 === 0 ? last : yield* randomAppends
        last = appends
        const head = yield* model.head
        const options = yield* oneOf<{ readonly unless?: EventStore.AppendCondition }>([
          {},
          {},
          { unless: { filter: yield* randomFilter, after: yield* oneOf([head, Math.max(0, head - 5), 0]) } }
        ])
        const what = `step ${step}: ${inspect({ appends, options }, { depth: 9 })}`
        const answer = yield* verdict(model.appendAll(appends, options))
        assert.deepEqual(yield* verdict(store.appendAll(appends, options)), answer, what)
        const kind = Array.isArray(answer)
          ? answer.some(({ deduplicated }) => deduplicated)
            ? "repeated"
            : "written"
          : untyped<{ _tag: string }>(answer)._tag
        seen[kind] = (seen[kind] ?? 0) + 1
        if (step % 4 !== 0) continue
        const readAll: EventStore.ReadAllOptions = {
          filter: yield* randomFilter,
          after: yield* oneOf([undefined, Math.floor(head / 2)]),
          direction: yield* oneOf(["forward", "backward"] as const),
          limit: yield* oneOf([undefined, 3])
        }
        assert.deepEqual(yield* collect(store.readAll(readAll)), yield* collect(model.readAll(readAll)), inspect(readAll))
        const read: EventStore.ReadOptions = {
          from: yield* oneOf([undefined, 2, 5]),
          to: yield* oneOf([undefined, 4, 20]),
          until: yield* oneOf([undefined, DateTime.makeUnsafe(5000)]),
          direction: yield* oneOf(["forward", "backward"] as const),
          limit: yield* oneOf([undefined, 2])
        }
        assert.deepEqual(yield* collect(store.read("A-1", read)), yield* collect(model.read("A-1", read)), inspect(read))
      }
      return seen
    })
    const seen = yield* Random.withSeed(sequence, "eventfold")
    assert.deepEqual(yield* contents(store), yield* contents(model))
    const kinds = ["AppendConditionError", "DuplicateEventError", "OptimisticLockError", "repeated", "written"]
    assert.deepEqual(Object.keys(seen).toSorted(), kinds, "the sequence comes to every kind of answer")
  }
)

/** One life of a store: opened, used, closed. */
const life = <A, E>(open: Open, use: (store: Store) => Effect.Effect<A, E, Scope.Scope>) =>
  Effect.scoped(Effect.flatMap(open, use))

reopenedStore("durable", "6", "everything is there after the store was closed and opened again", function* (open) {
  const before = yield* life(open, (store) =>
    Effect.gen(function* () {
      yield* store.appendAll(variety)
      yield* store.append(
        "Payloads-1",
        payloads.map((payload) => event({ payload, recordedAt: DateTime.makeUnsafe(-1) }))
      )
      yield* concurrently(range(1, 50), (n) => store.append(`Account-${n % 7}`, numbered(3)))
      yield* refusal(store.append("Account-1", numbered(2), { expected: NoStream }))
      return {
        ...(yield* contents(store)),
        texts: (yield* collect(store.read("Payloads-1"))).map(({ payload }) => JSON.stringify(payload))
      }
    })
  )
  for (let again = 0; again < 2; again++) {
    yield* life(open, (store) =>
      Effect.gen(function* () {
        const { texts, ...rest } = before
        assert.deepEqual(yield* contents(store), rest)
        assert.deepEqual(
          (yield* collect(store.read("Payloads-1"))).map(({ payload }) => JSON.stringify(payload)),
          texts
        )
        assert.deepEqual(yield* collect(Stream.take(store.subscribe(), rest.head)), rest.events)
        for (const [filter] of filters) {
          const wanted = rest.events.filter((event) => Kit.matches(filter, event)).map(({ position }) => position)
          assert.deepEqual(yield* positions(store.readAll({ filter })), wanted, inspect(filter))
        }
      })
    )
  }
})

reopenedStore("durable", "6", "a store opened again knows versions, ids and facts, and goes on densely", function* (open) {
  const append = (store: Store) =>
    store.appendAll(
      [
        { stream: "Account-1", events: named("a", "b"), expected: NoStream },
        { stream: "Student-1", events: [enrolled("1", { id: "c" })] }
      ],
      { unless: { filter: { tags: ["course:1"] } } }
    )
  const first = yield* life(open, append)
  for (let again = 1; again <= 3; again++) {
    yield* life(open, (store) =>
      Effect.gen(function* () {
        assert.deepEqual(
          yield* append(store),
          first.map((result) => ({ ...result, deduplicated: true }))
        )
        assert.deepEqual(yield* refused(store, store.append("Account-1", named("b", "new"))), duplicate("Account-1", "b"))
        assert.deepEqual(
          yield* refused(store, store.append("Account-1", [event()], { expected: again })),
          lockError("Account-1", again, again + 1)
        )
        const unless = { filter: { tags: ["course:1"] } }
        assert.deepEqual(
          yield* refused(store, store.appendAll([{ stream: "B-1", events: [event()] }], { unless })),
          conditionError(3)
        )
        assert.deepEqual(yield* store.append("Account-1", [event()], { expected: again + 1 }), {
          stream: "Account-1",
          version: again + 2,
          position: again + 3,
          deduplicated: false
        })
        yield* sound(store)
      })
    )
  }
})

reopenedStore("durable", "6", "what was acknowledged before the store was closed amid appends is there", function* (open) {
  const acknowledged: Array<string> = []
  for (let round = 1; round <= 3; round++) {
    const wanted = acknowledged.length + round * 10
    yield* life(open, (store) =>
      Effect.gen(function* () {
        const enough = yield* Deferred.make<void>()
        const write = (writer: number, n: number) => {
          const id = `${round}/${writer}/${n}`
          return store.append(`Account-${writer % 3}`, named(`${id}/a`, `${id}/b`)).pipe(
            Effect.tap(() => {
              acknowledged.push(`${id}/a`, `${id}/b`)
              return acknowledged.length >= wanted ? Deferred.succeed(enough, undefined) : Effect.yieldNow
            })
          )
        }
        yield* Effect.forEach(range(1, 8), (writer) => Effect.forkScoped(Effect.forEach(range(1, 1000), (n) => write(writer, n))))
        yield* Deferred.await(enough)
      })
    )
    const events = yield* life(open, sound)
    const ids = new Set(events.map(({ id }) => id))
    assert.deepEqual(
      acknowledged.filter((id) => !ids.has(id)),
      []
    )
    assert.equal(events.filter(({ id }) => id.endsWith("/a")).length, events.filter(({ id }) => id.endsWith("/b")).length)
  }
})

sharedStore("shared", "what one instance has appended the other sees, and continues", function* ([left, right]) {
  for (let n = 1; n <= 10; n++) {
    const [writer, reader] = n % 2 === 0 ? [left, right] : [right, left]
    const result = yield* writer.append("Account-1", named(`${n}`), { expected: n - 1 })
    assert.deepEqual(result, { stream: "Account-1", version: n, position: n, deduplicated: false })
    assert.equal(yield* reader.version("Account-1"), n)
    assert.equal(yield* reader.exists("Account-1"), true)
    assert.equal(yield* reader.head, n)
    assert.deepEqual(yield* contents(reader), yield* contents(writer))
    assert.deepEqual(yield* reader.append("Account-1", named(`${n}`), { expected: n - 1 }), { ...result, deduplicated: true })
    assert.deepEqual(
      yield* refused(reader, reader.append("Account-1", [event()], { expected: n - 1 })),
      lockError("Account-1", n - 1, n)
    )
    assert.deepEqual(yield* refused(reader, reader.append("Other-1", named(`${n}`))), duplicate("Other-1", `${n}`))
  }
})

sharedStore(
  "shared",
  "two instances append at once: versions and positions are dense, and nothing conflicts",
  function* (stores) {
    const results = yield* concurrently(range(0, 79), (n) => {
      const store = stores[(n % 2) as 0 | 1]
      return n % 4 < 2
        ? store.append("Shared-1", numbered(1 + (n % 3)))
        : Effect.map(
            store.appendAll(
              (n % 8 < 4 ? ["Shared-1", "Shared-2"] : ["Shared-2", "Shared-1"]).map((stream) => ({ stream, events: numbered(1) }))
            ),
            (parts) => parts.at(-1)
          )
    })
    assert.equal(new Set(results.map((result) => result?.position)).size, 80)
    assert.deepEqual(yield* contents(stores[0]), yield* contents(stores[1]))
  }
)

sharedStore(
  "shared",
  "a version has one winner, an id one copy and a fact one decision, over both instances",
  function* (stores) {
    const both = range(0, 15).map((n) => stores[(n % 2) as 0 | 1])
    for (let version = 0; version < 4; version++) {
      const { lost, won } = yield* race(both.map((store) => store.append("Hot-1", [event()], { expected: version })))
      assert.deepEqual(
        won.map((result) => result.version),
        [version + 1]
      )
      assert.deepEqual(
        lost,
        range(1, 15).map(() => lockError("Hot-1", version, version + 1))
      )

      const same = yield* race(both.map((store) => store.append("Same-1", named(`same-${version}`))))
      assert.equal(same.won.length, 16)
      assert.equal(same.won.filter(({ deduplicated }) => !deduplicated).length, 1)

      const contested = yield* race(both.map((store, n) => store.append(`Own-${n}`, named(`contested-${version}`))))
      assert.equal(contested.won.length, 1)
      assert.deepEqual(
        contested.lost.map((error) => ({ ...error, stream: "" })),
        range(1, 15).map(() => duplicate("", `contested-${version}`))
      )

      const seen = yield* stores[0].head
      const decided = yield* race(
        both.map((store, n) =>
          store.appendAll([{ stream: `Student-${n}`, events: [enrolled("1")] }], {
            unless: { filter: { tags: ["course:1"] }, after: seen }
          })
        )
      )
      assert.deepEqual(
        decided.won.map(([result]) => result?.position),
        [seen + 1]
      )
      assert.deepEqual(
        decided.lost,
        range(1, 15).map(() => conditionError(seen + 1))
      )
    }
  }
)

sharedStore("shared", "a subscriber of one instance follows what both append", function* ([left, right]) {
  yield* left.append("Account-1", numbered(5))
  const pull = yield* Stream.toPull(Stream.rechunk(right.subscribe(), 1))
  for (let n = 1; n <= 5; n++) assert.equal((yield* pull)[0].position, n)
  for (let n = 6; n <= 15; n++) {
    const waiting = yield* Effect.forkChild(pull)
    yield* turns(n % 4)
    yield* (n % 3 === 0 ? right : left).append("Account-1", [event()])
    assert.equal((yield* Fiber.join(waiting))[0].position, n)
  }
  const all = yield* Effect.forkChild(positions(Stream.take(left.subscribe({ after: 15 }), 60)))
  yield* concurrently(range(1, 60), (n) => (n % 2 === 0 ? left : right).append(`Account-${n % 4}`, [event()]))
  assert.deepEqual(yield* Fiber.join(all), range(16, 75))
})

reopenedStore("shared", "shared", "an instance that is closed takes nothing of the other with it", function* (open) {
  const left = yield* open
  const following = yield* Effect.forkChild(positions(Stream.take(left.subscribe(), 21)))
  yield* left.append("Account-1", numbered(1))
  for (let n = 1; n <= 10; n++) {
    yield* life(open, (right) => right.append("Account-1", numbered(1), { expected: 2 * n - 1 }))
    yield* left.append("Account-1", numbered(1), { expected: 2 * n })
  }
  assert.deepEqual(yield* Fiber.join(following), range(1, 21))
  yield* sound(left)
})

/** All pages of the log from `after` on, until nothing is left. */
const walk = Effect.fnUntraced(function* (store: Store, options: EventStore.ReadPageOptions, after = 0) {
  const pages: Array<EventStore.Page & { readonly after: number }> = []
  for (;;) {
    const page = yield* store.readPage({ ...options, after })
    pages.push({ ...page, after })
    if (page.position >= Math.min(page.head, options.upTo ?? Infinity)) return pages
    assert.ok(page.position > after, `a page that is not the last one gets on: ${inspect(page)}`)
    after = page.position
  }
})

const places = (events: ReadonlyArray<RecordedEvent>) => events.map(({ position }) => position)

everyStore("readPage", "holds what passes the filter up to the position that it says it has read", function* (store) {
  assert.deepEqual(yield* store.readPage(), { events: [], position: 0, head: 0 })
  assert.deepEqual(yield* store.readPage({ after: 7 }), { events: [], position: 7, head: 0 })
  yield* store.appendAll(variety)
  const all = yield* collect(store.readAll())
  assert.deepEqual((yield* store.readPage()).events.map(plain), all)
  for (const [filter, wanted] of filters) {
    for (const size of [undefined, 1, 2, 3, 7, 8, 9]) {
      const pages = yield* walk(store, { filter, size })
      for (const { after, events, head, position } of pages) {
        assert.deepEqual(
          places(events),
          wanted.filter((n) => n > after && n <= position),
          inspect([filter, size, after])
        )
        assert.ok(events.length <= (size ?? 64))
        assert.equal(head, 8)
      }
      assert.equal(pages.at(-1)?.position, 8, "past what the filter drops at the end")
      assert.ok(pages.length <= Math.floor(wanted.length / (size ?? 64)) + 1, "a page that is not full is the last one")
    }
  }
})

everyStore("readPage", "begins after one position, and does not go beyond another", function* (store) {
  for (let n = 1; n <= 5; n++) yield* store.append(`Account-${n % 2}`, numbered(2))
  type Wanted = readonly [options: EventStore.ReadPageOptions, events: ReadonlyArray<number>, position: number]
  const pages: ReadonlyArray<Wanted> = [
    [{}, range(1, 10), 10],
    [{ after: 4 }, range(5, 10), 10],
    [{ after: 4, size: 3 }, [5, 6, 7], 7],
    [{ after: 4, upTo: 6 }, [5, 6], 6],
    [{ after: 4, upTo: 6, size: 1 }, [5], 5],
    [{ after: 4, upTo: 6, size: 2 }, [5, 6], 6],
    [{ after: 4, upTo: 99 }, range(5, 10), 10],
    [{ after: 4, upTo: 4 }, [], 4],
    [{ after: 4, upTo: 2 }, [], 4],
    [{ after: 10 }, [], 10],
    [{ after: 99 }, [], 99],
    [{ filter: { categories: ["Other"] } }, [], 10],
    [{ filter: { categories: ["Other"] }, after: 3, upTo: 8 }, [], 8],
    [{ filter: [], after: 3 }, [], 10],
    [{ after: undefined, upTo: undefined, filter: undefined, size: undefined }, range(1, 10), 10]
  ]
  for (const [options, wanted, reached] of pages) {
    const { events, head, position } = yield* store.readPage(options)
    assert.deepEqual([places(events), position, head], [wanted, reached, 10], inspect(options))
  }
})

everyStore("readPage", "passes over thousands of events that its filter drops", function* (store) {
  const rare = event({ type: "Rare" })
  yield* store.append("Common-1", [rare, ...numbered(2999)])
  yield* store.append("Common-1", [...numbered(3000), rare])
  yield* store.append("Common-1", numbered(3000))
  const pages = yield* walk(store, { filter: { types: ["Rare"] }, size: 1 })
  assert.deepEqual(
    pages.map(({ events, position }) => [places(events), position]),
    [
      [[1], 1],
      [[6001], 6001],
      [[], 9001]
    ]
  )
  const whole = yield* walk(store, { size: 1000 })
  assert.deepEqual(places(whole.flatMap(({ events }) => events)), range(1, 9001))
})

everyStore("readPage", "nothing comes later at a position that a page has passed, whoever appends", function* (store) {
  const filter = { types: ["Wanted"] }
  const writing = yield* Effect.forkChild(
    concurrently(range(1, 8), (writer) =>
      Effect.forEach(range(1, 25), (n) =>
        Effect.andThen(
          store.append(`Account-${writer % 3}`, [event({ type: (n + writer) % 5 === 0 ? "Wanted" : "Other" }), event()]),
          Effect.yieldNow
        )
      )
    )
  )
  const seen: Array<number> = []
  const passed: Array<readonly [after: number, position: number, events: ReadonlyArray<number>]> = []
  let after = 0
  while (after < 400) {
    const { events, head, position } = yield* store.readPage({ after, filter, size: 3 })
    assert.ok(position >= after && position <= head, "a page says how far it is")
    seen.push(...places(events))
    passed.push([after, position, places(events)])
    after = position
    yield* Effect.yieldNow
  }
  yield* Fiber.join(writing)
  const wanted = yield* positions(store.readAll({ filter }))
  assert.equal(wanted.length, 40)
  assert.deepEqual(seen, wanted)
  for (const [after, position, events] of passed) {
    assert.deepEqual(
      events,
      wanted.filter((n) => n > after && n <= position)
    )
  }
})

everyStore("readPage", "a page that makes no sense fails with InvalidRead", function* (store) {
  yield* store.append("Account-1", numbered(3))
  const bad: Array<EventStore.ReadPageOptions> = [{ size: 0 }]
  for (const count of badCounts) bad.push({ after: count }, { upTo: count }, { size: count })
  for (const [, name] of badNames) bad.push({ filter: { types: [name] } }, { filter: [{}, { tags: ["good", name] }] })
  for (const options of bad) {
    const { _tag, reason } = untyped<{ _tag: string; reason: { _tag: string; operation: string } }>(
      yield* refusal(store.readPage(options))
    )
    assert.deepEqual([_tag, reason._tag, reason.operation], ["EventStoreError", "InvalidRead", "readPage"], inspect(options))
  }
})

sharedStore("readPage", "tells of what another instance has appended", function* ([left, right]) {
  let after = 0
  for (let n = 1; n <= 10; n++) {
    const [writer, reader] = n % 2 === 0 ? [left, right] : [right, left]
    yield* writer.append("Account-1", numbered(3))
    const { events, head, position } = yield* reader.readPage({ after })
    assert.deepEqual([places(events), position, head], [range(after + 1, after + 3), after + 3, after + 3])
    after = position
  }
})
