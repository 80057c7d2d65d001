import assert from "node:assert/strict"
import { join } from "node:path"
import { NodeFileSystem } from "@effect/platform-node"
import { describe, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Stream } from "effect"
import { Archive, Checkpoints, EventStore, Retention } from "eventfold"
import { JsonlEventStore } from "eventfold/jsonl"
import { PgEventStore } from "eventfold/postgres"
import { SqliteEventStore } from "eventfold/sqlite"
import { temporaryDirectory } from "./support/files.ts"

type Store = EventStore.EventStore["Service"]

const stores = {
  memory: EventStore.makeMemory,
  SQLite: Effect.flatMap(temporaryDirectory, (directory) =>
    SqliteEventStore.makeFile({ filename: join(directory, "events.db") })
  ),
  JSONL: Effect.flatMap(temporaryDirectory, (directory) => JsonlEventStore.make({ path: join(directory, "events.jsonl") })).pipe(
    Effect.provide(NodeFileSystem.layer)
  ),
  PGlite: PgEventStore.makeEmbedded()
}

const names = ["memory", "SQLite", "JSONL", "PGlite"] as const

const event = (more: Partial<EventStore.NewEvent> = {}): EventStore.NewEvent => ({ type: "Happened", payload: {}, ...more })

/** A little of everything, in 700 events. */
const fill = Effect.fnUntraced(function* (store: Store) {
  yield* store.appendAll([
    {
      stream: "Account-1",
      events: [
        event({ payload: { z: 1, a: [null, true, 1e21, -0.5, "ä\u2028€😀'\\"], 10: "ten", 9: "nine" } }),
        event({ payload: null, tags: ["b:2", "a:1"], metadata: { zone: "x", correlationId: "c-1", nested: { b: 1, a: 2 } } }),
        event({ payload: "text", schemaVersion: 7, published: true, recordedAt: DateTime.makeUnsafe("1969-07-20T20:17:40.001Z") })
      ]
    },
    { stream: "$bus-1", events: [event({ id: "an id of its own", type: "Ünusual / type" })] },
    { stream: "Account-1", events: [event({ payload: [] })] }
  ])
  for (let n = 0; n < 69; n++) {
    yield* store.append(
      `Many-${n % 11}`,
      Array.from({ length: 10 }, (_, index) => event({ payload: { n, index, filler: "x".repeat((n * index) % 300) } }))
    )
  }
  yield* store.append("Account-1", [event({ payload: { last: true } })])
})

const contents = (store: Store) =>
  Effect.all([Stream.runCollect(store.readAll()), Stream.runCollect(store.streams()), store.head])

const copyError = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => {
    assert.ok(error instanceof EventStore.CopyError, `not a CopyError: ${error}`)
    return error
  })

describe("EventStore.copy", () => {
  for (const from of names) {
    it.live(
      `from ${from} to every store keeps everything, and says so with the same digest`,
      () =>
        Effect.gen(function* () {
          const source = yield* stores[from]
          yield* fill(source)
          const digests = new Set<string>()
          for (const to of names) {
            const target = yield* stores[to]
            const { copied, digest, events } = yield* EventStore.copy(source, target)
            assert.deepEqual([copied, events], [696, 696], to)
            assert.deepEqual(yield* contents(target), yield* contents(source), to)
            digests.add(digest)
            // Nothing is left to be done, and the copy is a store like any other.
            assert.deepEqual(yield* EventStore.copy(source, target), { copied: 0, events: 696, digest })
            assert.equal((yield* target.append("Account-1", [event()], { expected: 5 })).position, 697)
          }
          assert.equal(digests.size, 1)
          assert.match(Array.from(digests)[0] as string, /^[0-9a-f]{64}$/)
        }),
      60_000
    )
  }

  it.effect("goes on where it was cut short, and copies what came later", () =>
    Effect.gen(function* () {
      const [source, target] = [yield* stores.memory, yield* stores.SQLite]
      yield* fill(source)
      let batches = 0
      const failing: Store = {
        ...target,
        appendAll: (appends, options) => (++batches === 4 ? Effect.die("power failure") : target.appendAll(appends, options))
      }
      yield* Effect.exit(EventStore.copy(source, failing, { batchSize: 50 }))
      assert.equal(batches, 4)
      const standing = yield* target.head
      assert.ok(standing > 0 && standing <= 150, `${standing}`)

      const first = yield* EventStore.copy(source, target, { batchSize: 50 })
      assert.deepEqual([first.copied, first.events], [696 - standing, 696])
      yield* source.append("Account-1", [event(), event()])
      const second = yield* EventStore.copy(source, target)
      assert.deepEqual([second.copied, second.events], [2, 698])
      assert.notEqual(second.digest, first.digest)
      assert.deepEqual(yield* contents(target), yield* contents(source))
    })
  )

  for (const to of names) {
    it.live(
      `gives a past other tags, and changes nothing else, in ${to}`,
      () =>
        Effect.gen(function* () {
          const source = yield* stores.memory
          const cold = yield* stores.memory
          const live = Layer.merge(Layer.succeed(EventStore.EventStore, source), Checkpoints.layerMemory)
          yield* fill(source)
          yield* source.append("Account-2", [event(), event()])
          yield* source.append("Account-3", [event()])
          yield* Effect.provide(Retention.tombstone("Account-2", { reason: "closed" }), live)
          yield* Effect.provide(Retention.archive("Account-3", { reason: "cold" }), [live, Archive.layerStore("cold", cold)])
          // One that it has already is no second one.
          const tags = ({ stream, tags }: EventStore.RecordedEvent) => (stream === "Account-1" ? ["new", ...tags, "a:1"] : tags)
          const before = yield* Stream.runCollect(source.readAll())
          const expected = before.map((one) =>
            one.stream === "Account-1" ? { ...one, tags: Array.from(new Set(["new", ...one.tags, "a:1"])) } : one
          )
          const target = yield* stores[to]
          let batches = 0
          const failing: Store = {
            ...target,
            appendAll: (appends, options) => (++batches === 3 ? Effect.die("power failure") : target.appendAll(appends, options))
          }
          yield* Effect.exit(EventStore.copy(source, failing, { batchSize: 50, tags }))
          assert.equal(batches, 3)
          const { copied, digest, events } = yield* EventStore.copy(source, target, { tags })
          assert.deepEqual([copied < events, events], [true, 699])
          assert.deepEqual(yield* Stream.runCollect(target.readAll()), expected)
          assert.deepEqual(before.slice(-3).map(EventStore.isTombstone), [true, true, true])
          const found = yield* Stream.runCollect(target.readAll({ filter: { tags: ["new"] } }))
          assert.deepEqual(
            found.map(({ version }) => version),
            [1, 2, 3, 4, 5]
          )
          assert.notEqual((yield* EventStore.copy(source, yield* stores.memory)).digest, digest)
          const other = yield* copyError(EventStore.copy(source, target))
          assert.match(other.problem, /are not the first 699 of the source/)
          assert.equal((yield* target.append("Account-2", [event()], { expected: 2 })).position, 700)
        }),
      60_000
    )
  }

  it.effect("with other tags there is another hash chain, and a tag that is none is told with its place", () =>
    Effect.gen(function* () {
      const [source, target] = [yield* stores.memory, yield* stores.memory]
      yield* source.append("Account-1", [event(), event()])
      const chained = yield* copyError(EventStore.copy(source, target, { tags: () => [], chain: "same" }))
      assert.match(chained.message, /events with other tags have other digests/)
      const none = yield* copyError(
        EventStore.copy(source, target, { tags: ({ version }) => (version === 2 ? [""] : []), batchSize: 1 })
      )
      assert.equal(none.position, 1)
      assert.match(none.message, /tags/)
      assert.equal(yield* target.head, 1)
    })
  )

  it.effect("tells how far it is", () =>
    Effect.gen(function* () {
      const [source, target] = [yield* stores.memory, yield* stores.memory]
      yield* source.append(
        "A-1",
        Array.from({ length: 25 }, () => event())
      )
      yield* EventStore.copy(source, target)
      yield* source.append(
        "A-1",
        Array.from({ length: 25 }, () => event())
      )
      const steps: Array<EventStore.CopyProgress> = []
      const onProgress = (step: EventStore.CopyProgress) => Effect.sync(() => steps.push(step))
      yield* EventStore.copy(source, target, { batchSize: 10, onProgress })
      assert.ok(steps.every(({ head }) => head === 50))
      const reached = (wanted: string) => steps.filter(({ phase }) => phase === wanted).map(({ position }) => position)
      assert.deepEqual(reached("comparing"), [10, 20, 25, 10, 20, 25])
      assert.deepEqual(reached("copying"), [35, 45, 50])
      assert.deepEqual(reached("verifying"), [35, 45, 50])
      assert.equal(
        yield* Effect.flip(EventStore.copy(source, yield* stores.memory, { onProgress: () => Effect.fail("stop") })),
        "stop"
      )
    })
  )

  it.effect("copies an empty store", () =>
    Effect.gen(function* () {
      const { copied, events } = yield* EventStore.copy(yield* stores.memory, yield* stores.JSONL)
      assert.deepEqual([copied, events], [0, 0])
    })
  )

  it.effect("refuses a target that holds something else, and writes nothing to it", () =>
    Effect.gen(function* () {
      const source = yield* stores.memory
      yield* source.append("A-1", [event({ id: "a" }), event({ id: "b" }), event({ id: "c" })])
      for (const [events, problem] of [
        [[event({ id: "x" })], /the 1 events of the target are not the first 1 of the source/],
        [
          [event({ id: "a", recordedAt: DateTime.makeUnsafe(1) })],
          /the 1 events of the target are not the first 1 of the source/
        ],
        [[event({ id: "a" }), event({ id: "b" }), event({ id: "c" }), event({ id: "d" })], /holds 4 events, more than the 3/]
      ] as const) {
        const target = yield* stores.memory
        yield* target.append("A-1", events)
        const error = yield* copyError(EventStore.copy(source, target))
        assert.equal(error.position, 0)
        assert.match(error.message, problem)
        assert.equal(yield* target.head, events.length)
      }
    })
  )

  it.effect("stops when somebody else writes to the target", () =>
    Effect.gen(function* () {
      const source = yield* stores.memory
      yield* source.append(
        "A-1",
        Array.from({ length: 30 }, (_, n) => event({ id: `${n}` }))
      )
      for (const [stream, id, position] of [
        ["Other-1", "x", 10],
        ["A-1", "x", 10],
        ["Other-1", "15", 10]
      ] as const) {
        const target = yield* stores.memory
        let batches = 0
        const shared: Store = {
          ...target,
          appendAll: (appends, options) =>
            Effect.andThen(
              ++batches === 2 ? target.append(stream, [event({ id })]) : Effect.void,
              target.appendAll(appends, options)
            )
        }
        const error = yield* copyError(EventStore.copy(source, shared, { batchSize: 10 }))
        assert.equal(error.position, position)
      }
      const target = yield* stores.memory
      const late: Store = { ...target, readAll: (options) => Stream.concat(target.readAll(options), added(target)) }
      assert.match((yield* copyError(EventStore.copy(source, late))).message, /target is at position 31: somebody else writes/)
    })
  )

  /** No event, but one more in the store. */
  const added = (store: Store) => Stream.drain(Stream.fromEffect(Effect.orDie(store.append("Late-1", [event()]))))

  it.effect("notices when the target gives back something else than it was given", () =>
    Effect.gen(function* () {
      const source = yield* stores.memory
      yield* source.append("A-1", [event(), event({ payload: { amount: 1 } }), event()])
      for (const [change, problem] of [
        [(all: Stream.Stream<EventStore.RecordedEvent, EventStore.EventStoreError>) => Stream.take(all, 2), /1 events less/],
        [Stream.map((event: EventStore.RecordedEvent) => ({ ...event, payload: {} })), /reads differently from the source/],
        [Stream.map((event: EventStore.RecordedEvent) => ({ ...event, tags: ["a:1"] })), /reads differently from the source/]
      ] as const) {
        const target = yield* stores.memory
        const forgetful: Store = { ...target, readAll: (options) => change(target.readAll(options)) }
        assert.match((yield* copyError(EventStore.copy(source, forgetful))).message, problem)
      }
    })
  )
})
