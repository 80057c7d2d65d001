/** Reading what a decision is made on: several filters, as of one position. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { inspect } from "node:util"
import type { RecordedEvent } from "../../definitions/stored.ts"
import type * as EventStore from "../../store/EventStore.ts"
import * as Kit from "../../store/kit/index.ts"
import { range } from "../suite.ts"
import { badCounts, badNames, filters, variety } from "./samples.ts"
import {
  collect,
  concurrently,
  enrolled,
  event,
  every,
  numbered,
  plain,
  positionsOf,
  refusal,
  shared,
  type Store,
  untyped
} from "./words.ts"

const places = (events: ReadonlyArray<RecordedEvent>) => events.map(({ position }) => position)

/** The position, and those of the events that answer each question. */
const answersOf = Effect.fnUntraced(function* (
  store: Store,
  queries: ReadonlyArray<EventStore.BoundaryQuery>,
  options?: EventStore.ReadBoundaryOptions
) {
  const { answers, position } = yield* store.readBoundary(queries, options)
  for (const [index, { complete, events }] of answers.entries()) {
    const size = queries[index]?.newest === true ? 1 : (options?.size ?? 256)
    assert.ok(events.length <= size, "no more than what was asked for")
    assert.ok(complete || events.length === size, "an answer that is not full is complete")
    assert.ok(events.every((event) => event.position <= position))
  }
  return { position, answers: answers.map(({ events }) => places(events)) }
})

/**
 * Reads while others append facts that belong together: each enrolment stands under its course and, in the same append, under its student.
 * Whoever reads both must see both or none, and nothing may come later at or below the position that was told.
 */
const readWhileAppending = (writers: ReadonlyArray<Store>, readers: ReadonlyArray<Store>) =>
  Effect.gen(function* () {
    const total = 160
    const writing = yield* Effect.forkChild(
      concurrently(range(1, 8), (writer) =>
        Effect.forEach(range(1, total / 8), (n) => {
          const store = writers[writer % writers.length] as Store
          const parts = [
            { stream: `Course-${n % 3}`, events: [enrolled("1"), event({ type: "Other" })] },
            { stream: `Student-${writer}`, events: [event({ type: "Enrolled", tags: ["student:1"] })] }
          ]
          return Effect.andThen(store.appendAll(n % 2 === 0 ? parts : parts.toReversed()), Effect.yieldNow)
        })
      )
    )
    const queries = [
      { filter: { tags: ["course:1"] } },
      { filter: { tags: ["student:1"] } },
      { filter: { tags: ["course:1"] }, newest: true },
      { filter: { types: ["Other"], categories: ["Course"] } },
      { filter: [{ tags: ["student:1"], types: ["Enrolled"] }, { types: ["Other"] }] }
    ]
    const reads: Array<EventStore.Boundary> = []
    const read = (turn: number) => (readers[turn % readers.length] as Store).readBoundary(queries, { size: 1000 })
    for (let turn = 0; writing.pollUnsafe() === undefined; turn++) {
      reads.push(...(yield* concurrently(range(1, 3), () => read(turn))))
      yield* Effect.yieldNow
    }
    yield* Fiber.join(writing)
    reads.push(...(yield* concurrently(readers, (_, index) => read(index))))
    assert.equal(reads.at(-1)?.position, total * 3)
    const all = Array.from(yield* Stream.runCollect((readers[0] as Store).readAll()))
    for (const { answers, position } of reads) {
      for (const [index, { complete, events }] of answers.entries()) {
        const query = queries[index]
        assert.ok(query !== undefined && complete)
        const wanted = all.filter((event) => event.position <= position && Kit.matches(query.filter, event))
        assert.deepEqual(places(events), places(query.newest === true ? wanted.slice(-1) : wanted))
      }
      assert.equal(answers[0]?.events.length, answers[1]?.events.length, "what belongs together is seen together")
    }
  })

export const readBoundary = [
  every(
    "answers each question with what passes its filter, by position, and tells of the position that it is as of",
    function* (store) {
      assert.deepEqual(yield* store.readBoundary([]), { position: 0, answers: [] })
      assert.deepEqual(yield* store.readBoundary([{ filter: {} }]), { position: 0, answers: [{ events: [], complete: true }] })
      yield* store.appendAll(variety)
      const all = yield* collect(store.readAll())
      const { answers, position } = yield* store.readBoundary([{ filter: {} }])
      assert.equal(position, 8)
      assert.deepEqual(answers[0]?.events.map(plain), all, "whole events")
      // All at once, and each by itself.
      const wanted = filters.map(([, positions]) => positions)
      assert.deepEqual(
        yield* answersOf(
          store,
          filters.map(([filter]) => ({ filter }))
        ),
        { position: 8, answers: wanted }
      )
      for (const [filter, positions] of filters) {
        const what = inspect(filter)
        assert.deepEqual(yield* answersOf(store, [{ filter }]), { position: 8, answers: [positions] }, what)
        const queries = [
          { filter, newest: true },
          { filter, after: 3 },
          { filter, after: 3, newest: true },
          { filter, newest: false }
        ]
        const late = positions.filter((n) => n > 3)
        assert.deepEqual(
          yield* answersOf(store, queries),
          { position: 8, answers: [positions.slice(-1), late, late.slice(-1), positions] },
          what
        )
        const early = positions.filter((n) => n <= 5)
        assert.deepEqual(
          yield* answersOf(store, queries, { upTo: 5 }),
          {
            position: 5,
            answers: [early.slice(-1), early.filter((n) => n > 3), early.filter((n) => n > 3).slice(-1), early]
          },
          what
        )
        for (const size of [1, 2, 3]) {
          assert.deepEqual(
            yield* answersOf(store, queries, { size }),
            { position: 8, answers: [positions.slice(-1), late.slice(0, size), late.slice(-1), positions.slice(0, size)] },
            what
          )
        }
      }
    }
  ),

  every("begins after one position, does not go beyond another, and says whether there is more", function* (store) {
    for (let n = 1; n <= 5; n++) yield* store.append(`Account-${n % 2}`, numbered(2))
    const everything = { filter: {} }
    type Wanted = readonly [
      query: EventStore.BoundaryQuery,
      options: EventStore.ReadBoundaryOptions,
      position: number,
      events: ReadonlyArray<number>,
      complete: boolean
    ]
    const reads: ReadonlyArray<Wanted> = [
      [everything, {}, 10, range(1, 10), true],
      [everything, { size: 11 }, 10, range(1, 10), true],
      [everything, { size: 9 }, 10, range(1, 9), false],
      [everything, { size: 1 }, 10, [1], false],
      [everything, { upTo: 4 }, 4, range(1, 4), true],
      [everything, { upTo: 4, size: 3 }, 4, range(1, 3), false],
      [everything, { upTo: 0 }, 0, [], true],
      [everything, { upTo: 99 }, 10, range(1, 10), true],
      [{ filter: {}, after: 4 }, {}, 10, range(5, 10), true],
      [{ filter: {}, after: 4 }, { upTo: 7 }, 7, [5, 6, 7], true],
      [{ filter: {}, after: 4 }, { upTo: 7, size: 2 }, 7, [5, 6], false],
      [{ filter: {}, after: 7 }, { upTo: 4 }, 4, [], true],
      [{ filter: {}, after: 10 }, {}, 10, [], true],
      [{ filter: {}, after: 99 }, {}, 10, [], true],
      [{ filter: {}, newest: true }, {}, 10, [10], true],
      [{ filter: {}, newest: true }, { size: 5 }, 10, [10], true],
      [{ filter: {}, newest: true }, { upTo: 4 }, 4, [4], true],
      [{ filter: {}, newest: true, after: 4 }, { upTo: 4 }, 4, [], true],
      [{ filter: { categories: ["Other"] }, newest: true }, {}, 10, [], true],
      [{ filter: { categories: ["Other"] } }, { size: 1 }, 10, [], true],
      [{ filter: [] }, {}, 10, [], true],
      [{ filter: [], newest: true }, {}, 10, [], true],
      [{ filter: {}, after: undefined, newest: undefined }, { upTo: undefined, size: undefined }, 10, range(1, 10), true]
    ]
    for (const [query, options, position, wanted, complete] of reads) {
      const answer = yield* store.readBoundary([query], options)
      const what = inspect([query, options])
      assert.deepEqual([answer.position, answer.answers.map(({ events }) => places(events))], [position, [wanted]], what)
      assert.equal(answer.answers[0]?.complete, complete, what)
    }
    // Each question by itself, and `upTo` for all of them.
    const together = yield* store.readBoundary(
      reads.map(([query]) => query),
      { upTo: 7, size: 3 }
    )
    assert.equal(together.position, 7)
    for (const [index, [query]] of reads.entries()) {
      const alone = yield* store.readBoundary([query], { upTo: 7, size: 3 })
      assert.deepEqual(together.answers[index]?.events.map(plain), alone.answers[0]?.events.map(plain), inspect(query))
      assert.equal(together.answers[index]?.complete, alone.answers[0]?.complete, inspect(query))
    }
  }),

  every(
    "what is not in an answer that is incomplete, a read up to its position gives, whatever has been appended since",
    function* (store) {
      const tagged = (count: number) => range(1, count).map((n) => event({ tags: n % 3 === 0 ? ["a", "b"] : ["a"] }))
      yield* store.append("A-1", tagged(700))
      for (const filter of [
        { tags: ["a"] },
        { tags: ["b", "a"] },
        { types: ["Happened"] },
        [{ tags: ["b"] }, { types: ["Absent"] }]
      ]) {
        const wanted = yield* positionsOf(store.readAll({ filter }))
        for (const size of [undefined, 1, 100]) {
          const { answers, position } = yield* store.readBoundary([{ filter }], size === undefined ? {} : { size })
          const [answer] = answers
          assert.ok(answer !== undefined)
          assert.equal(answer.complete, wanted.length < (size ?? 256), inspect([filter, size]))
          yield* store.append("A-1", tagged(3))
          const rest = yield* positionsOf(store.readAll({ filter, after: answer.events.at(-1)?.position, upTo: position }))
          const seen = [...places(answer.events), ...(answer.complete ? [] : rest)]
          assert.deepEqual(
            seen,
            (yield* positionsOf(store.readAll({ filter }))).filter((n) => n <= position),
            inspect([filter, size])
          )
          wanted.push(...range(1, 3))
        }
      }
    }
  ),

  every("answers what is rare as well as what is common, behind thousands of others", function* (store) {
    const rare = event({ type: "Rare", tags: ["rare", "busy"] })
    const busy = (count: number) => range(1, count).map((n) => event({ type: "Common", tags: ["busy", `own:${n % 7}`] }))
    yield* store.append("Rare-1", [rare, ...busy(2999)])
    yield* store.append("Common-1", busy(3000))
    yield* store.append("Rare-1", [rare, ...busy(2999)])
    yield* store.append("Common-1", busy(3001))
    const queries = [
      { filter: { tags: ["rare"] } },
      { filter: { tags: ["busy"], types: ["Rare"] } },
      { filter: { types: ["Rare"] } },
      { filter: { categories: ["Rare"], types: ["Rare"] } },
      { filter: { tags: ["busy", "rare"] }, after: 1 },
      { filter: [{ tags: ["absent"] }, { types: ["Rare"], tags: ["busy"] }] },
      { filter: { types: ["Rare"] }, newest: true },
      { filter: { tags: ["busy"], types: ["Rare"] }, newest: true },
      { filter: { types: ["Absent"] }, newest: true },
      { filter: { tags: ["busy"], types: ["Absent"] } }
    ]
    const both = [1, 6001]
    const wanted = [both, both, both, both, [6001], both, [6001], [6001], [], []]
    assert.deepEqual(yield* answersOf(store, queries), { position: 12_001, answers: wanted })
    assert.deepEqual(yield* answersOf(store, queries, { upTo: 6000 }), {
      position: 6000,
      answers: wanted
        .map((positions) => (positions.length === 0 || positions[0] === 6001 ? [] : [1]))
        .with(6, [1])
        .with(7, [1])
    })
    assert.deepEqual(yield* answersOf(store, queries, { size: 2 }), { position: 12_001, answers: wanted })
  }),

  every("a thousand questions are answered like one, each with what it asks for", function* (store) {
    yield* store.append(
      "A-1",
      range(1, 200).map((n) => event({ tags: [`thing:${n}`, "all"] }))
    )
    const queries = range(1, 1000).map((n) => ({
      filter: n % 5 === 0 ? [{ tags: [`thing:${n}`] }, { tags: ["all", `thing:${n + 1}`] }] : { tags: [`thing:${n}`] },
      after: n % 7 === 0 ? 100 : 0,
      newest: n % 2 === 0
    }))
    const wanted = queries.map(({ after, newest }, index) => {
      const n = index + 1
      const found = [n, ...(n % 5 === 0 ? [n + 1] : [])].filter((position) => position > after && position <= 200)
      return newest ? found.slice(-1) : found
    })
    assert.deepEqual(yield* answersOf(store, queries), { position: 200, answers: wanted })
    const filter = queries.flatMap(({ filter }) => filter)
    assert.deepEqual(yield* answersOf(store, [{ filter }, { filter, newest: true }]), {
      position: 200,
      answers: [range(1, 200), [200]]
    })
  }),

  every("sees as of one position, whoever appends meanwhile", function* (store) {
    yield* readWhileAppending([store], [store])
  }),

  every("a decision that reads so and appends behind it never misses a fact", function* (store) {
    // Each takes the next number. Whoever decides on what is no longer so is refused, and decides anew.
    const filter = { tags: ["series:1"] }
    const next = Effect.gen(function* () {
      const { answers, position } = yield* store.readBoundary([{ filter, newest: true }, { filter: { tags: ["closed:1"] } }])
      const [last, closed] = answers.map(({ events }) => events.at(-1))
      assert.equal(closed, undefined)
      const number = last === undefined ? 1 : untyped<number>(last.payload) + 1
      yield* store.appendAll([{ stream: `Invoice-${number % 4}`, events: [event({ payload: number, tags: ["series:1"] })] }], {
        unless: { filter, after: position }
      })
      return number
    })
    const numbers = yield* concurrently(range(1, 12), () =>
      Effect.retry(next, { while: ({ _tag }) => _tag === "AppendConditionError" })
    )
    assert.deepEqual(
      numbers.toSorted((a, b) => a - b),
      range(1, 12)
    )
    assert.deepEqual(
      (yield* collect(store.readAll())).map(({ payload }) => payload),
      range(1, 12)
    )
  }),

  every("a question that makes no sense fails with InvalidRead, and says which it is", function* (store) {
    yield* store.append("Account-1", numbered(3))
    const good = { filter: {} }
    type Attempt = readonly [what: string, queries: ReadonlyArray<EventStore.BoundaryQuery>, EventStore.ReadBoundaryOptions?]
    const attempts: ReadonlyArray<Attempt> = [
      ["size", [good], { size: 0 }],
      ["size", [], { size: 0 }],
      ...badCounts.flatMap((count): ReadonlyArray<Attempt> => [
        ["upTo", [good], { upTo: count }],
        ["upTo", [], { upTo: count }],
        ["size", [good], { size: count }],
        ["queries[0].after", [{ filter: {}, after: count }]],
        ["queries[2].after", [good, good, { filter: {}, after: count }, { filter: {}, after: -1 }]]
      ]),
      ...badNames.flatMap(([, name]): ReadonlyArray<Attempt> => [
        ["queries[1].filter", [good, { filter: { types: [name] } }]],
        ["queries[0].filter", [{ filter: [{}, { tags: ["good", name] }] }, good]]
      ]),
      ["queries[0].filter", [{ filter: untyped(undefined) }]],
      ["queries[0].filter", [{ filter: { tags: untyped("course:1") } }]],
      ["queries[1].newest", [good, { filter: {}, newest: untyped("yes") }]]
    ]
    for (const [what, queries, options] of attempts) {
      const { _tag, reason } = untyped<{ _tag: string; reason: { _tag: string; operation: string; detail: string } }>(
        yield* refusal(store.readBoundary(queries, options))
      )
      const where = inspect([queries, options], { depth: 5 })
      assert.deepEqual([_tag, reason._tag, reason.operation], ["EventStoreError", "InvalidRead", "readBoundary"], where)
      assert.ok(reason.detail.startsWith(`${what} `), `${reason.detail}: ${where}`)
    }
    assert.deepEqual(yield* answersOf(store, [good]), { position: 3, answers: [[1, 2, 3]] })
  }),

  shared("sees as of one position, also what another instance appends", function* ([left, right]) {
    for (let n = 1; n <= 5; n++) {
      const [writer, reader] = n % 2 === 0 ? [left, right] : [right, left]
      yield* writer.append("Before-1", [event({ type: "Before" })])
      const { answers, position } = yield* reader.readBoundary([{ filter: { types: ["Before"] }, newest: true }])
      assert.deepEqual([position, answers.map(({ events }) => places(events))], [n, [[n]]])
    }
  }),

  shared("facts that belong together are seen together, whichever instance appends and whichever reads", function* (stores) {
    yield* readWhileAppending(stores, stores)
  })
]
