/** Promise 1: versions are 1-based and dense in each stream, and an append may say which one it expects. */
import assert from "node:assert/strict"
import { Any, Exists, NoStream, collect, contents, event, every, lockError, numbered, refused } from "./words.ts"

export const versions = [
  every("an empty store has no event, no stream and head 0", function* (store) {
    assert.deepEqual(yield* contents(store), { head: 0, events: [], streams: [] })
    assert.deepEqual(yield* collect(store.readAll({ direction: "backward" })), [])
    assert.deepEqual(yield* collect(store.read("Absent-1")), [])
    assert.deepEqual(yield* collect(store.read("Absent-1", { direction: "backward" })), [])
    assert.equal(yield* store.version("Absent-1"), 0)
    assert.equal(yield* store.exists("Absent-1"), false)
  }),

  every("the first event, appended expecting no stream, gets version 1 and position 1", function* (store) {
    const result = yield* store.append("Account-1", [event()], { expected: NoStream })
    assert.deepEqual(result, { stream: "Account-1", version: 1, position: 1, deduplicated: false })
    assert.equal(yield* store.version("Account-1"), 1)
    assert.equal(yield* store.exists("Account-1"), true)
    assert.equal(yield* store.exists("Account-2"), false)
    assert.equal(yield* store.head, 1)
  }),

  every("versions count the events of one stream, positions those of the store", function* (store) {
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
  }),

  every("expecting 0 and expecting no stream mean the same", function* (store) {
    yield* store.append("Zero-1", [event()], { expected: 0 })
    yield* store.append("None-1", [event()], { expected: NoStream })
    for (const expected of [0, NoStream] as const) {
      for (const stream of ["Zero-1", "None-1"]) {
        assert.deepEqual(yield* refused(store, store.append(stream, [event()], { expected })), lockError(stream, expected, 1))
      }
    }
  }),

  every("an existing stream cannot be appended to expecting no stream", function* (store) {
    yield* store.append("Account-1", numbered(3))
    const error = yield* refused(store, store.append("Account-1", [event()], { expected: NoStream }))
    assert.deepEqual(error, lockError("Account-1", NoStream, 3))
  }),

  every("expecting that the stream exists fails on an absent stream, and only there", function* (store) {
    const append = store.append("Account-1", [event()], { expected: Exists })
    assert.deepEqual(yield* refused(store, append), lockError("Account-1", Exists, 0))
    yield* store.append("Account-2", [event()])
    assert.deepEqual(yield* refused(store, append), lockError("Account-1", Exists, 0))
    yield* store.append("Account-1", [event()])
    assert.equal((yield* append).version, 2)
  }),

  every("expecting version n succeeds at n and conflicts above and below", function* (store) {
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
  }),

  every("expecting anything, which is the default, fits every stream", function* (store) {
    const versions = [
      yield* store.append("Account-1", [event()]),
      yield* store.append("Account-1", [event()], {}),
      yield* store.append("Account-1", [event()], { expected: undefined }),
      yield* store.append("Account-1", [event()], { expected: Any }),
      yield* store.append("Account-2", [event()], { expected: Any })
    ].map(({ version }) => version)
    assert.deepEqual(versions, [1, 2, 3, 4, 1])
  })
]
