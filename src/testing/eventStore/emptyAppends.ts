/** Promise 5: an append without events does nothing and reports the version. */
import assert from "node:assert/strict"
import { NoStream, contents, every, numbered } from "./words.ts"

export const emptyAppends = [
  every("an append without events does nothing and reports where the stream is", function* (store) {
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
  }),

  every("parts without events may stand among parts with events", function* (store) {
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
]
