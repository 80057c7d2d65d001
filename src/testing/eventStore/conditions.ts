/** Promise 8: conditions are checked under the same lock as the append. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { inspect } from "node:util"
import type { NewEvent } from "../../definitions/stored.ts"
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
  untyped,
  verdict
} from "./words.ts"

export const conditions = [
  every("two students enrol at once for the last seat of a course: one gets it", function* (store) {
    const seats = Effect.fnUntraced(function* (course: string) {
      const taken = yield* collect(store.readAll({ filter: { tags: [`course:${course}`] } }))
      return { free: 2 - taken.length, seen: taken.at(-1)?.position ?? 0 }
    })
    const full = (course: string, seen: number) => ({ filter: { tags: [`course:${course}`] }, after: seen })
    const enrol = (course: string, student: string, seen: number) =>
      store.appendAll([{ stream: `Student-${student}`, events: [enrolled(course)] }], { unless: full(course, seen) })
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
    assert.deepEqual(lost, [conditionError(winner?.position ?? 0, full("1", ada.seen))])
    assert.equal((yield* seats("1")).free, 0)
  }),

  every("of 20 decisions over the same facts exactly one commits, over disjoint facts all do", function* (store) {
    for (let round = 1; round <= 3; round++) {
      const seen = yield* store.head
      const unless = { filter: { tags: ["course:full"] }, after: seen }
      const same = yield* race(
        range(1, 20).map((n) => store.appendAll([{ stream: `Student-${round}-${n}`, events: [enrolled("full")] }], { unless }))
      )
      assert.deepEqual(
        same.won.map(([result]) => result?.position),
        [seen + 1]
      )
      assert.deepEqual(
        same.lost,
        range(1, 19).map(() => conditionError(seen + 1, unless))
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
      const unless = { filter, after: yield* store.head }
      const { lost, won } = yield* race(
        range(1, 12).map((n) =>
          store.appendAll([{ stream: `Period-${what}-${n}`, events: [event({ type: "Closed" })] }], { unless })
        )
      )
      assert.equal(won.length, 1, what)
      assert.deepEqual(
        lost,
        range(1, 11).map(() => conditionError(unless.after + 1, unless)),
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
        position === undefined ? "written" : conditionError(position, { filter, after: after ?? 0 }),
        inspect({ filter, after })
      )
    }
    const head = yield* store.head
    assert.deepEqual(yield* attempt({}, head - 1), conditionError(head, { filter: {}, after: head - 1 }))
    assert.deepEqual(yield* attempt({}, head), "written")
  }),

  every("an append that a condition refuses writes nothing, in any of its streams", function* (store) {
    yield* store.append("A-1", [enrolled("1")])
    const part = (stream: string, expected: EventStore.ExpectedVersion) => ({ stream, events: [enrolled("1")], expected })
    const append = (after: number) =>
      store.appendAll([part("A-1", 1), part("B-1", NoStream), part("C-1", Any)], {
        unless: { filter: { tags: ["course:1"] }, after }
      })
    assert.deepEqual(yield* refused(store, append(0)), conditionError(1, { filter: { tags: ["course:1"] } }))
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

  every("several conditions, each with a position of its own, must all hold", function* (store) {
    yield* store.append("A-1", [enrolled("1"), enrolled("2"), event({ type: "Closed" }), enrolled("1")])
    const on = (course: string, after: number) => ({ filter: { tags: [`course:${course}`] }, after })
    const closed = (after: number) => ({ filter: { types: ["Closed"] }, after })
    type Attempt = readonly [unless: ReadonlyArray<EventStore.AppendCondition>, position?: number, broken?: number]
    const attempts: ReadonlyArray<Attempt> = [
      [[]],
      [[on("1", 4)]],
      [[on("1", 4), on("2", 2)]],
      [[on("1", 4), on("2", 2), closed(3), { filter: { tags: ["course:3"] } }]],
      [[on("1", 4), on("2", 1)], 2, 1],
      [[on("2", 1), on("1", 4)], 2, 0],
      [[on("1", 3), on("2", 2)], 4, 0],
      // The newest of all matches is told of, and whose it is.
      [[on("2", 0), closed(0), on("1", 0)], 4, 2],
      [[on("1", 0), on("2", 0), closed(0)], 4, 0],
      [[on("2", 0), closed(0)], 3, 1],
      // Of two that one event breaks, the first.
      [[on("2", 2), on("1", 3), on("1", 0)], 4, 1],
      [[on("1", 0), { filter: { categories: ["A"] } }], 4, 0],
      // What no event can pass holds always, and does not shift the others.
      [[{ filter: [] }, { filter: { types: [] } }]],
      [[{ filter: [] }, on("1", 3)], 4, 1],
      [
        [
          { filter: [], after: 7 },
          { filter: [{ types: [] }, { tags: ["course:2"] }], after: 1 }
        ],
        2,
        1
      ]
    ]
    for (const [unless, position, broken] of attempts) {
      const append = store.appendAll([{ stream: "Probe-1", events: [event({ type: "Probed" })] }], { unless })
      if (position === undefined) assert.equal((yield* append)[0]?.deduplicated, false, inspect(unless, { depth: 5 }))
      else {
        const condition = unless[broken ?? 0]
        assert.ok(condition !== undefined)
        assert.deepEqual(yield* refused(store, append), conditionError(position, condition), inspect(unless, { depth: 5 }))
      }
    }
    assert.equal(yield* store.version("Probe-1"), 5, "one for each list that holds")
  }),

  every("a condition that stands for itself is a list of one", function* (store) {
    yield* store.append("A-1", [enrolled("1")])
    const unless = { filter: { tags: ["course:1"] }, after: 0 }
    const append = (unless: EventStore.AppendCondition | ReadonlyArray<EventStore.AppendCondition>) =>
      store.appendAll([{ stream: "B-1", events: [event()] }], { unless })
    assert.deepEqual(yield* refused(store, append(unless)), conditionError(1, unless))
    assert.deepEqual(yield* refused(store, append([unless])), conditionError(1, unless))
    const loose = { filter: [{ ...unless.filter, types: undefined }], after: undefined }
    assert.deepEqual(yield* refused(store, append(untyped<EventStore.AppendCondition>(loose))), conditionError(1, unless))
  }),

  every("of two appends at once that exclude each other one is refused, with the position of the other", function* (store) {
    /** Pairs of what one append writes and what excludes it, in all that a filter may look at. */
    const kinds: ReadonlyArray<readonly [what: string, fact: Partial<NewEvent>, stream: string, filter: EventStore.Filter]> = [
      ["tag", { tags: ["seat:1"] }, "Seat-1", { tags: ["seat:1"] }],
      ["tags", { tags: ["seat:2", "row:1"] }, "Seat-2", { tags: ["row:1", "seat:2"] }],
      ["tag and type", { type: "Taken", tags: ["seat:3"] }, "Seat-3", { types: ["Freed", "Taken"], tags: ["seat:3"] }],
      ["type", { type: "Opened4" }, "Seat-4", { types: ["Opened4"] }],
      ["category", {}, "Hall5-1", { categories: ["Hall5"] }],
      ["correlation", { metadata: { correlationId: "c6" } }, "Seat-6", { correlationId: "c6" }],
      ["published", { type: "Sold7", published: true }, "Seat-7", { types: ["Sold7"], published: true }],
      ["any of two", { tags: ["seat:8"] }, "Seat-8", [{ types: ["Absent"] }, { tags: ["seat:8"] }]]
    ]
    const rounds = 4
    for (let round = 0; round < rounds; round++) {
      const seen = yield* store.head
      // All at once, and others between them, so that they come to stand in one batch.
      const attempts = kinds.flatMap(([what, fact, stream, filter]) =>
        range(1, 3).map((n) => {
          const condition = { filter, after: seen }
          const unless = n === 2 ? [{ filter: { tags: ["absent"] } }, condition] : [condition]
          const append = store.appendAll([{ stream, events: [event(), event(fact)] }], { unless })
          return { what, condition, append: Effect.result(append) }
        })
      )
      const others = range(1, 24).map((n) => store.append(`Other-${n % 3}`, [event()]))
      const outcomes = yield* concurrently(attempts, ({ append }, index) => Effect.andThen(others[index] ?? Effect.void, append))
      for (const [what] of kinds) {
        const own = attempts.flatMap((attempt, index) =>
          attempt.what === what ? [{ ...attempt, outcome: outcomes[index] }] : []
        )
        const won = own.flatMap(({ outcome }) => (outcome?._tag === "Success" ? [outcome.success] : []))
        assert.equal(won.length, 1, what)
        const position = won[0]?.[0]?.position ?? 0
        for (const { condition, outcome } of own) {
          if (outcome?._tag !== "Failure") continue
          assert.deepEqual({ ...outcome.failure }, conditionError(position, condition), what)
        }
      }
    }
    assert.equal(yield* store.head, rounds * (24 + kinds.length * 2))
  }),

  every("what is refused is in nobody's way, and who excludes what nobody writes is not refused", function* (store) {
    yield* store.append(
      "Old-1",
      range(1, 20).map((n) => event({ tags: [`old:${n}`] }))
    )
    const outcomes = yield* concurrently(range(1, 60), (n) => {
      const own = Math.ceil(n / 3)
      const fact = [event({ tags: [`new:${own}`, `student:${own}`] })]
      switch (n % 3) {
        case 1: // is refused for what stands
          return verdict(store.appendAll([{ stream: `A-${n}`, events: fact }], { unless: { filter: { tags: [`old:${own}`] } } }))
        case 2: // is refused for its version
          return verdict(store.append("Old-1", fact, { expected: 3 }))
        default: // would be, if those were written
          return verdict(
            Effect.as(
              store.appendAll([{ stream: `B-${n}`, events: [event({ tags: [`own:${own}`] })] }], {
                unless: [
                  { filter: { tags: [`new:${own}`] } },
                  { filter: { tags: [`student:${own}`], types: ["Happened"] }, after: 20 },
                  { filter: { tags: [`own:${own}`] } }
                ]
              }),
              "written"
            )
          )
      }
    })
    for (const [index, outcome] of outcomes.entries()) {
      const own = Math.ceil((index + 1) / 3)
      const wanted = [conditionError(own, { filter: { tags: [`old:${own}`] } }), lockError("Old-1", 3, 20), "written"]
      assert.deepEqual(outcome, wanted[index % 3])
    }
  }),

  every(
    "a hundred conditions in a filter, a hundred filters in a list, and a hundred tags are as good as one",
    function* (store) {
      const many = range(1, 700)
      yield* store.append("A-1", [enrolled("350"), event({ type: "Type-600" })])
      const append = (unless: EventStore.AppendCondition | ReadonlyArray<EventStore.AppendCondition>) =>
        store.appendAll([{ stream: "B-1", events: [event()] }], { unless })
      const courses = { filter: many.map((n) => ({ tags: [`course:${n}`] })) }
      assert.deepEqual(yield* refused(store, append(courses)), conditionError(1, courses))
      assert.equal((yield* append({ ...courses, after: 1 })).length, 1)
      const types = { filter: { types: many.map((n) => `Type-${n}`) }, after: 1 }
      assert.deepEqual(yield* refused(store, append(types)), conditionError(2, types))
      const list = many.map((n) => ({ filter: { tags: [`course:${n}`] }, after: n % 2 }))
      assert.deepEqual(yield* refused(store, append(list)), conditionError(1, { filter: { tags: ["course:350"] } }))
      assert.equal((yield* append(list.map(({ filter }) => ({ filter, after: 1 })))).length, 1)
      // More tags than an event can have.
      assert.equal((yield* append({ filter: { tags: ["course:350", ...many.map((n) => `other:${n}`)] } })).length, 1)
      const alike = { filter: { tags: many.map(() => "course:350") } }
      assert.deepEqual(yield* refused(store, append(alike)), conditionError(1, alike))
    }
  ),

  every("a condition says which event it was made on: where that stands there no more, it does not hold", function* (store) {
    yield* store.append("Student-1", [enrolled("1", { id: "a" }), enrolled("1", { id: "b" }), enrolled("2", { id: "c" })])
    const parts = {
      one: [{ stream: "Probe-1", events: [event({ type: "Probed" })] }],
      several: [
        { stream: "Probe-1", events: [event({ type: "Probed" }), event({ type: "Probed", tags: ["course:3"] })] },
        { stream: "Probe-2", events: [event({ type: "Probed" })] }
      ]
    }
    for (const [name, appends] of Object.entries(parts)) {
      const attempt = (unless: EventStore.AppendCondition | ReadonlyArray<EventStore.AppendCondition>) =>
        Effect.as(store.appendAll(appends, { unless }), "written")
      const head = yield* store.head
      for (const filter of [{ tags: ["course:1"] }, { tags: ["course:1"], types: ["Enrolled"] }, { types: ["Left"] }, []]) {
        const made = { filter, after: 2, afterId: "b" }
        const other = { ...made, afterId: "a" }
        const unknown = { ...made, afterId: "nowhere" }
        const beyond = { ...made, after: head + 100, afterId: "b" }
        for (const broken of [other, unknown, beyond]) {
          assert.deepEqual(yield* refused(store, attempt(broken)), conditionError(broken.after, broken), name)
          assert.deepEqual(yield* refused(store, attempt([made, broken])), conditionError(broken.after, broken), name)
        }
        assert.equal(yield* attempt(made), "written", `${name}, ${inspect(filter)}`)
      }
      // The newest of what stands against it is named.
      const newer = { filter: { tags: ["course:1"] }, after: 1, afterId: "nowhere" }
      assert.deepEqual(yield* refused(store, attempt(newer)), conditionError(2, newer))
      const good = { filter: { tags: ["course:2"] }, after: 3, afterId: "c" }
      assert.deepEqual(yield* refused(store, attempt([good, newer])), conditionError(2, newer))
    }
    // One among many fails by itself.
    const before = yield* store.head
    const { lost, won } = yield* race(
      range(1, 24).map((n) =>
        store.appendAll([{ stream: `Own-${n}`, events: [enrolled(`own-${n}`)] }], {
          unless: { filter: { tags: [`course:own-${n}`] }, after: 1, afterId: n % 3 === 0 ? "b" : "a" }
        })
      )
    )
    assert.deepEqual([won.length, lost.length], [16, 8])
    for (const error of lost) assert.ok("position" in error && error.position === 1)
    assert.equal(yield* store.head, before + 16)
    // What is written in the same batch stands behind it.
    const repeated = store.appendAll([{ stream: "Own-1", events: [enrolled("1", { id: "again" })] }], {
      unless: { filter: { tags: ["course:1"] }, after: 2, afterId: "b" }
    })
    const [first] = yield* repeated
    assert.deepEqual(yield* repeated, [{ ...first, deduplicated: true }])
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
