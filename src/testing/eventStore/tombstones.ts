/** Removing events: what stands in their place, and what everybody sees of it. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import * as EventStore from "../../store/EventStore.ts"
import { eventDigests } from "../../store/tombstone.ts"
import { range } from "../suite.ts"
import {
  collect,
  concurrently,
  contents,
  duplicate,
  enrolled,
  event,
  every,
  life,
  lockError,
  numbered,
  plain,
  positionsOf,
  refused,
  refusal,
  reopened,
  shared,
  type Store
} from "./words.ts"

const reason = "no longer wanted"

const maintenanceOf = ({ maintenance }: Store): EventStore.Maintenance => {
  assert.ok(maintenance !== undefined, "the store has a maintenance")
  return maintenance
}

const eventsAt = (store: Store, positions: ReadonlyArray<number>) =>
  Effect.map(Stream.runCollect(store.readAll()), (events) => events.filter(({ position }) => positions.includes(position)))

/** Removes what stands at these positions; gives how many there were. */
const remove = (store: Store, positions: ReadonlyArray<number>, archive?: string) =>
  Effect.flatMap(eventsAt(store, positions), (events) => maintenanceOf(store).tombstone(events, { reason, archive }))

/** Two students, three courses; the second event tells everything that an event can. */
const filled = Effect.fnUntraced(function* (store: Store) {
  yield* store.append("Student-1", [enrolled("a")])
  yield* store.append("Student-2", [
    enrolled("b", {
      id: "the-second",
      published: true,
      schemaVersion: 3,
      payload: { secret: "a word that goes", n: 12345.678, nested: [{ ü: "ö" }] },
      tags: ["course:b", "student:2"],
      metadata: { correlationId: "c-1", causationId: "c-0", who: "Ada" }
    })
  ])
  yield* store.append("Student-1", [enrolled("c"), event({ type: "Left" })])
})

export const tombstones = [
  every(
    "a tombstone has the place, the id and the time of its event, and says what it was; all else of it is gone",
    function* (store) {
      yield* filled(store)
      const before = yield* contents(store)
      const [original] = yield* eventsAt(store, [2])
      const [digest] = yield* eventDigests([maintenanceOf(store).stored(original as EventStore.RecordedEvent)])
      assert.equal(yield* remove(store, [2]), 1)
      const { events, head, streams } = yield* contents(store)
      assert.equal(head, before.head)
      assert.deepEqual(
        streams,
        before.streams.map((info) => (info.stream === "Student-2" ? { ...info, type: "$Tombstone" } : info))
      )
      const { position, recordedAt, schemaVersion, stream, version } = before.events[1] as (typeof before.events)[number]
      assert.deepEqual(events[1], {
        position,
        stream,
        version,
        id: "the-second",
        type: "$Tombstone",
        schemaVersion,
        recordedAt,
        published: false,
        tags: [],
        metadata: {},
        payload: { type: "Enrolled", reason, digest }
      })
      assert.deepEqual(events.toSpliced(1, 1), before.events.toSpliced(1, 1), "its neighbours are as they were")
      const [read] = yield* Stream.runCollect(store.read("Student-2"))
      assert.ok(read !== undefined && EventStore.isTombstone(read))
      assert.deepEqual(plain(read), events[1])
      const found = yield* store.find("the-second")
      assert.deepEqual(Option.map(found, plain), Option.some(events[1]))
    },
    "removes"
  ),

  every(
    "removing once more changes nothing; a tombstone says where its event was moved",
    function* (store) {
      yield* filled(store)
      const originals = yield* eventsAt(store, [1, 3])
      assert.equal(yield* remove(store, [1, 3], "cold"), 2)
      const after = yield* contents(store)
      assert.deepEqual(
        after.events.map(({ payload }) => (payload as { readonly archive?: string }).archive),
        ["cold", undefined, "cold", undefined]
      )
      assert.equal(yield* remove(store, [1, 3]), 0)
      assert.equal(yield* maintenanceOf(store).tombstone(originals, { reason: "again" }), 0, "as they were read before")
      assert.deepEqual(yield* contents(store), after)
    },
    "removes"
  ),

  every(
    "no filter lets a tombstone through for what its event was",
    function* (store) {
      yield* filled(store)
      yield* remove(store, [2])
      const positions = (filter: EventStore.Filter) => positionsOf(store.readAll({ filter }))
      assert.deepEqual(yield* positions({ types: ["Enrolled"] }), [1, 3])
      assert.deepEqual(yield* positions({ tags: ["course:b"] }), [])
      assert.deepEqual(yield* positions({ tags: ["course:b", "student:2"] }), [])
      assert.deepEqual(yield* positions({ published: true }), [])
      assert.deepEqual(yield* positions({ correlationId: "c-1" }), [])
      assert.deepEqual(yield* positions({ types: ["$Tombstone"] }), [2])
      assert.deepEqual(yield* positions({ categories: ["Student"] }), [1, 2, 3, 4])
      assert.deepEqual(yield* positions([{ tags: ["course:b"] }, { tags: ["course:c"] }, { types: ["Left"] }]), [3, 4])
      const page = yield* store.readPage({ filter: { tags: ["course:b"] } })
      assert.deepEqual(page, { events: [], position: 4, head: 4 }, "its position is passed by")
      const boundary = yield* store.readBoundary([
        { filter: { tags: ["course:b"] } },
        { filter: { tags: ["course:a"] } },
        { filter: { correlationId: "c-1" }, newest: true }
      ])
      assert.deepEqual(
        boundary.answers.map(({ events }) => events.map(({ position }) => position)),
        [[], [1], []]
      )
    },
    "removes"
  ),

  every(
    "versions and ids of what was removed stand; conditions no longer meet it",
    function* (store) {
      yield* filled(store)
      yield* remove(store, [1, 2, 3, 4])
      assert.equal(yield* store.version("Student-1"), 3)
      assert.equal(yield* store.exists("Student-2"), true)
      const again = enrolled("b", {
        id: "the-second",
        payload: { secret: "a word that goes", n: 12345.678, nested: [{ ü: "ö" }] }
      })
      assert.deepEqual(yield* refused(store, store.append("Student-2", [again])), duplicate("Student-2", "the-second"))
      assert.deepEqual(
        yield* refused(store, store.append("Student-1", [event()], { expected: "no-stream" })),
        lockError("Student-1", "no-stream", 3)
      )
      const unless = { filter: { tags: ["course:b"] }, after: 0 }
      const [result] = yield* store.appendAll([{ stream: "Student-1", events: [enrolled("b")], expected: 3 }], { unless })
      assert.deepEqual(result, { stream: "Student-1", version: 4, position: 5, deduplicated: false })
      const broken = yield* refused(store, store.appendAll([{ stream: "Student-3", events: [enrolled("b")] }], { unless }))
      assert.equal((broken as { readonly position?: number }).position, 5)
    },
    "removes"
  ),

  every(
    "a subscription gets tombstones in their places, and goes on",
    function* (store) {
      yield* filled(store)
      yield* remove(store, [2, 3])
      const fiber = yield* Effect.forkChild(Stream.runCollect(Stream.take(store.subscribe(), 5)))
      yield* Effect.yieldNow
      yield* store.append("Student-3", [event()])
      const events = yield* Fiber.join(fiber)
      assert.deepEqual(
        events.map(({ position, type }) => [position, type]),
        [
          [1, "Enrolled"],
          [2, "$Tombstone"],
          [3, "$Tombstone"],
          [4, "Left"],
          [5, "Happened"]
        ]
      )
    },
    "removes"
  ),

  every(
    "nobody can append a tombstone, and bad input removes nothing",
    function* (store) {
      yield* filled(store)
      assert.deepEqual(yield* refused(store, store.append("Student-1", [event({ type: "$Tombstone" })])), {
        _tag: "InvalidAppendError",
        stream: "Student-1",
        field: "events[0].type",
        problem: `must not be "$Tombstone": that stands for a removed event`
      })
      const events = yield* eventsAt(store, [1])
      const before = yield* contents(store)
      for (const why of [{ reason: "" }, { reason: "x".repeat(256) }, { reason, archive: "" }]) {
        const error = (yield* refusal(maintenanceOf(store).tombstone(events, why))) as EventStore.EventStoreError
        assert.deepEqual([error._tag, error.reason._tag, error.reason.operation], ["EventStoreError", "InvalidRead", "tombstone"])
      }
      const others = events.map((event) => ({ ...event, id: "of another store" }))
      assert.equal(yield* maintenanceOf(store).tombstone(others, { reason }), 0)
      const beyond = events.map((event) => ({ ...event, id: "x", position: 99 }))
      assert.equal(yield* maintenanceOf(store).tombstone(beyond, { reason }), 0)
      assert.deepEqual(yield* contents(store), before)
    },
    "removes"
  ),

  every(
    "tombstones are copied as they are, and digests are equal",
    function* (store) {
      yield* filled(store)
      yield* remove(store, [2, 4])
      const target = yield* EventStore.makeMemory
      const { copied } = yield* EventStore.copy(store, target)
      assert.equal(copied, 4)
      assert.deepEqual(yield* contents(target), yield* contents(store))
      // And into the store.
      yield* target.append("Student-9", [event()])
      const [added] = yield* eventsAt(target, [5])
      const tombstone = plain((yield* eventsAt(target, [4]))[0] as EventStore.RecordedEvent)
      yield* maintenanceOf(store).copyAll([{ stream: "Student-9", events: [{ ...(added as EventStore.RecordedEvent) }] }])
      yield* maintenanceOf(store).copyAll([
        { stream: "Student-9", events: [{ type: "$Tombstone", payload: tombstone.payload, id: "copied" }] }
      ])
      assert.deepEqual(yield* positionsOf(store.readAll({ filter: { types: ["$Tombstone"] } })), [2, 4, 6])
    },
    "removes"
  ),

  every(
    "events are removed while others are appended: each event is whole, or a tombstone",
    function* (store) {
      yield* store.append("Old-1", numbered(300))
      const old = yield* Stream.runCollect(store.read("Old-1"))
      const append = (writer: number) =>
        Effect.forEach(range(1, 20), (n) => store.append(`New-${writer}`, [event({ payload: { writer, n } })]), { discard: true })
      const removing = Effect.forEach(
        range(0, 2),
        (part) => maintenanceOf(store).tombstone(old.slice(part * 100, part * 100 + 100), { reason }),
        { concurrency: "unbounded" }
      )
      const [changed] = yield* Effect.all([removing, concurrently(range(1, 4), append)], { concurrency: "unbounded" })
      assert.deepEqual(changed, [100, 100, 100])
      const events = yield* collect(store.readAll())
      assert.equal(events.length, 380)
      for (const { stream, type } of events) assert.equal(type === "$Tombstone", stream === "Old-1")
      assert.deepEqual(
        (yield* collect(store.read("New-3"))).map(({ payload }) => (payload as { readonly n: number }).n),
        range(1, 20)
      )
    },
    "removes"
  ),

  every(
    "a reader that has begun goes on while what it reads is removed",
    function* (store) {
      yield* store.append("Old-1", numbered(500))
      const old = yield* Stream.runCollect(store.read("Old-1"))
      const seen: Array<number> = []
      yield* Stream.runForEach(store.readAll(), ({ position }) =>
        Effect.gen(function* () {
          seen.push(position)
          if (position === 10) yield* maintenanceOf(store).tombstone(old, { reason })
        })
      )
      assert.deepEqual(seen, range(1, 500))
    },
    "removes"
  ),

  every(
    "a closed stream that was appended to stays as a whole; others go",
    function* (store) {
      yield* filled(store)
      const events = yield* eventsAt(store, [1, 2, 3, 4])
      const closed = new Map([
        ["Student-1", 3],
        ["Student-2", 1]
      ])
      yield* store.append("Student-1", [event()], { expected: 3 })
      assert.equal(yield* maintenanceOf(store).tombstone(events, { reason, closed }), 1)
      assert.deepEqual(yield* positionsOf(store.readAll({ filter: { types: ["$Tombstone"] } })), [2])
      closed.set("Student-1", 4)
      assert.equal(yield* maintenanceOf(store).tombstone(events, { reason, closed }), 3)
    },
    "removes"
  ),

  every(
    "whoever closes a stream while others append to it removes all of it, or nothing",
    function* (store) {
      const streams = range(1, 20).map((n) => `Old-${n}`)
      yield* store.appendAll(streams.map((stream) => ({ stream, events: numbered(5) })))
      const events = yield* Stream.runCollect(store.readAll())
      const appending = yield* Effect.forkChild(
        concurrently(streams, (stream) => store.append(stream, [event()], { expected: 5 }))
      )
      const removing = (some: ReadonlyArray<string>) =>
        maintenanceOf(store).tombstone(
          events.filter(({ stream }) => some.includes(stream)),
          { reason, closed: new Map(some.map((stream) => [stream, 5])) }
        )
      const counts = yield* concurrently([0, 1, 2, 3], (n) => removing(streams.slice(n * 5, n * 5 + 5)))
      yield* Fiber.join(appending)
      let gone = 0
      for (const stream of streams) {
        const now = yield* Stream.runCollect(store.read(stream))
        const removed = now.map(EventStore.isTombstone)
        assert.deepEqual(removed, [...Array.from({ length: 5 }, () => removed[0]), false], stream)
        if (removed[0] === true) gone += 5
      }
      assert.equal(
        counts.reduce((sum, count) => sum + count, 0),
        gone
      )
    },
    "removes"
  ),

  reopened(
    "what was removed stays removed",
    function* (open) {
      const written = yield* life(
        open,
        Effect.fnUntraced(function* (store) {
          yield* filled(store)
          yield* remove(store, [2], "cold")
          yield* store.append("Student-4", [event()])
          return yield* contents(store)
        })
      )
      yield* life(
        open,
        Effect.fnUntraced(function* (store) {
          assert.deepEqual(yield* contents(store), written)
          assert.deepEqual(
            yield* refused(store, store.append("Student-2", [event({ id: "the-second" })])),
            duplicate("Student-2", "the-second")
          )
          yield* store.append("Student-2", [event()], { expected: 1 })
          assert.deepEqual(yield* positionsOf(store.readAll({ filter: { tags: ["course:b"] } })), [])
        })
      )
    },
    "removes"
  ),

  shared(
    "others see what was removed",
    function* ([one, other]) {
      yield* filled(one)
      assert.equal((yield* contents(other)).head, 4)
      yield* remove(one, [2])
      assert.deepEqual(yield* positionsOf(other.readAll({ filter: { types: ["$Tombstone"] } })), [2])
      assert.deepEqual(yield* positionsOf(other.readAll({ filter: { tags: ["student:2"] } })), [])
      assert.equal(yield* remove(other, [2, 3]), 1)
      assert.deepEqual(yield* contents(one), yield* contents(other))
    },
    "removes"
  )
]
