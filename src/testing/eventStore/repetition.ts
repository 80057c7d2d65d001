/** Promise 4: the same append again succeeds and writes nothing; any other use of a known id is refused. */
import * as DateTime from "effect/DateTime"
import assert from "node:assert/strict"
import type { NewEvent } from "../../definitions/stored.ts"
import { range } from "../suite.ts"
import { NoStream, collect, concurrently, contents, duplicate, event, every, named, numbered, race, refused } from "./words.ts"

export const repetition = [
  every("the same append sent twice is written once, and answered alike", function* (store) {
    const append = store.append("Account-1", named("a"), { expected: NoStream })
    const first = yield* append
    const { events } = yield* contents(store)
    assert.deepEqual(yield* append, { ...first, deduplicated: true })
    assert.deepEqual((yield* contents(store)).events, events)
  }),

  every("a repetition is answered with the first places, also long after and with a version gone stale", function* (store) {
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
  }),

  every("a repetition is known as one however much it is, by itself and beside others", function* (store) {
    const large = { text: "x".repeat(1_500_000) }
    const one = () =>
      store.append(
        "Large-1",
        ["a", "b", "c", "d"].map((id) => event({ id, payload: large })),
        { expected: NoStream }
      )
    const many = () =>
      concurrently(range(1, 300), (n) =>
        store.append("Many-1", [event({ id: `m-${n}`, payload: { text: "y".repeat(20_000), n } })])
      )
    const since = { filter: { types: ["None"] }, after: 1, afterId: "a" }
    const on = () =>
      store.appendAll([{ stream: "On-1", events: named("on") }], { unless: [since, { ...since, after: 4, afterId: "d" }] })
    const first = [yield* one(), ...(yield* many()), ...(yield* on())]
    const head = yield* store.head
    const again = [yield* one(), ...(yield* many()), ...(yield* on())]
    assert.deepEqual(
      again,
      first.map((answer) => ({ ...answer, deduplicated: true }))
    )
    assert.equal(yield* store.head, head)
  }),

  every("a repetition has the same types and payloads; of all else what was written first stays", function* (store) {
    const payload = { b: [1, { x: null, y: "é" }], a: 2, "10": -0, "9": 1.5e300 }
    yield* store.append("Account-1", [event({ id: "a", payload, tags: ["first"], metadata: { user: 1 } })])
    const before = yield* contents(store)
    const again = yield* store.append(
      "Account-1",
      [
        event({
          id: "a",
          payload: { a: 2, "9": 1.5e300, b: [1, { y: "é", x: null }], "10": 0 },
          tags: ["second"],
          metadata: { user: 2 },
          published: true,
          schemaVersion: 2,
          recordedAt: DateTime.makeUnsafe(0)
        })
      ],
      { expected: 99 }
    )
    assert.deepEqual(again, { stream: "Account-1", version: 1, position: 1, deduplicated: true })
    assert.deepEqual(yield* contents(store), before)
  }),

  every("another event under an id in use is refused: it would be acknowledged and never stored", function* (store) {
    const first = { id: "a", type: "First", payload: { n: 1, list: [1, 2], none: null } }
    yield* store.append("Account-1", [first, event({ id: "b" })])
    const others: ReadonlyArray<NewEvent> = [
      { ...first, type: "Second" },
      { ...first, type: "first" },
      { ...first, payload: { n: 2, list: [1, 2], none: null } },
      { ...first, payload: { n: "1", list: [1, 2], none: null } },
      { ...first, payload: { n: 1, list: [2, 1], none: null } },
      { ...first, payload: { n: 1, list: [1, 2] } },
      { ...first, payload: { n: 1, list: [1, 2], none: null, more: null } },
      { ...first, payload: [] },
      { ...first, payload: null }
    ]
    for (const other of others) {
      assert.deepEqual(yield* refused(store, store.append("Account-1", [other])), duplicate("Account-1", "a"))
      assert.deepEqual(yield* refused(store, store.append("Account-1", [other, event({ id: "b" })])), duplicate("Account-1", "a"))
    }
    assert.deepEqual(
      yield* refused(store, store.append("Account-1", [first, event({ id: "b", type: "Other" })])),
      duplicate("Account-1", "a")
    )
    assert.equal((yield* store.append("Account-1", [first, event({ id: "b" })])).deduplicated, true)
  }),

  every("of different events with one id, sent at once, one is written and the others are refused", function* (store) {
    const { lost, won } = yield* race(
      range(1, 10).map((n) => store.append("Account-1", [event({ id: "contested", payload: { n } })]))
    )
    assert.deepEqual(
      won.map(({ deduplicated }) => deduplicated),
      [false]
    )
    assert.deepEqual(
      lost,
      range(1, 9).map(() => duplicate("Account-1", "contested"))
    )
  }),

  every("what stands in a row in the stream may be repeated in a row", function* (store) {
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
  }),

  every("any other use of a known id is refused with the stream and the id", function* (store) {
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
  }),

  every("across streams too, only the whole append is a repetition", function* (store) {
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
  }),

  every("the same append sent many times at once is written once", function* (store) {
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
  }),

  every("one id sent to many streams at once is written to one", function* (store) {
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
  }),

  every("events without ids get new ones, so equal events are different events", function* (store) {
    yield* store.append("Account-1", [event(), event({ id: "mine" }), event()])
    yield* store.append("Account-1", [event()])
    yield* store.append("Account-1", [event()])
    const ids = (yield* collect(store.read("Account-1"))).map(({ id }) => id)
    assert.equal(new Set(ids).size, 5)
    assert.equal(ids[1], "mine")
    for (const id of ids.toSpliced(1, 1))
      assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    assert.deepEqual(
      yield* refused(store, store.append("Account-1", [event(), event({ id: "mine" }), event()])),
      duplicate("Account-1", "mine")
    )
  })
]
