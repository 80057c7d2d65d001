/** Promise 8: conditions are checked under the same lock as the append. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { inspect } from "node:util"
import type * as EventStore from "../../store/EventStore.ts"
import * as Kit from "../../store/kit/index.ts"
import { range } from "../suite.ts"
import {
  Any,
  Exists,
  NoStream,
  collect,
  concurrently,
  conditionError,
  enrolled,
  event,
  every,
  lockError,
  race,
  refused,
  verdict
} from "./words.ts"

export const conditions = [
  every("two students enrol at once for the last seat of a course: one gets it", function* (store) {
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
  }),

  every("of 20 decisions over the same facts exactly one commits, over disjoint facts all do", function* (store) {
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
  }),

  every("conditions that look at types and categories are held under concurrency too", function* (store) {
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
  }),

  every("a condition looks beyond the position that the decision has seen, and names the newest match", function* (store) {
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
  }),

  every("an append that a condition refuses writes nothing, in any of its streams", function* (store) {
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
  }),

  every("a repetition succeeds although its condition no longer holds: its own events stand there", function* (store) {
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
  }),

  every("whatever is appended at once, no committed decision missed a fact, and no refusal was for nothing", function* (store) {
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
  })
]
