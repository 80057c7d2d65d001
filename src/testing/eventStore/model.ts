/** Any sequence of appends and reads is answered as the memory store answers it. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import assert from "node:assert/strict"
import { inspect } from "node:util"
import type { NewEvent } from "../../definitions/stored.ts"
import * as EventStore from "../../store/EventStore.ts"
import { build } from "../suite.ts"
import { Any, Exists, NoStream, collect, contents, every, plain, type Store, untyped, verdict } from "./words.ts"

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

const streams = ["A-1", "A-2", "A-3", "B-1", "B-2", "C"]

const expected: Effect.Effect<EventStore.ExpectedVersion> = Effect.gen(function* () {
  return yield* oneOf<EventStore.ExpectedVersion>([Any, Any, Any, Exists, NoStream, yield* Random.nextIntBetween(0, 40)])
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
    return { stream: yield* oneOf(streams), events, expected: yield* expected }
  })
  // Those that hold often stand beside what is written, also to the same stream.
  const guard = Effect.gen(function* () {
    return { stream: yield* oneOf([...streams, "Absent"]), events: [], expected: yield* oneOf([yield* expected, Exists, Any]) }
  })
  const parts = yield* Effect.all(Array.from({ length: yield* oneOf([1, 1, 1, 2, 3]) }, () => part))
  return yield* oneOf([parts, parts, [yield* guard, ...parts], [...parts, yield* guard], [yield* guard, ...parts, yield* guard]])
})

const randomConditions = Effect.fnUntraced(function* (
  head: number
): Effect.fn.Return<EventStore.AppendCondition | ReadonlyArray<EventStore.AppendCondition>> {
  const condition = Effect.gen(function* () {
    return { filter: yield* randomFilter, after: yield* oneOf([head, Math.max(0, head - 2), Math.max(0, head - 5), 0]) }
  })
  const list = yield* Effect.all(Array.from({ length: yield* oneOf([0, 1, 2, 3]) }, () => condition))
  return yield* oneOf([yield* condition, list])
})

const boundaryOf = (store: Store, queries: ReadonlyArray<EventStore.BoundaryQuery>, upTo: number | undefined) =>
  Effect.map(store.readBoundary(queries, { upTo, size: 10_000 }), ({ answers, position }) => ({
    position,
    answers: answers.map(({ complete, events }) => ({ complete, events: events.map(plain) }))
  }))

export const model = [
  every("a long random sequence of appends and reads is answered just as the memory store answers it", function* (store) {
    const model = yield* build(EventStore.layerMemory, EventStore.EventStore)
    const sequence = Effect.gen(function* () {
      const seen: Record<string, number> = {}
      let last: ReadonlyArray<EventStore.StreamAppend> = []
      for (let step = 1; step <= 400; step++) {
        const appends = step % 7 === 0 ? last : yield* randomAppends
        last = appends
        const head = yield* model.head
        const options = yield* oneOf([{}, {}, { unless: yield* randomConditions(head) }])
        const what = `step ${step}: ${inspect({ appends, options }, { depth: 9 })}`
        const answer = yield* verdict(model.appendAll(appends, options))
        assert.deepEqual(yield* verdict(store.appendAll(appends, options)), answer, what)
        const guarded = appends.some(({ events, expected }) => events.length === 0 && expected !== Any)
        const kind = Array.isArray(answer)
          ? answer.some(({ deduplicated }) => deduplicated)
            ? "repeated"
            : guarded
              ? "written under a guard"
              : "written"
          : untyped<{ _tag: string }>(answer)._tag
        seen[kind] = (seen[kind] ?? 0) + 1
        if (step % 4 !== 0) continue
        const readAll: EventStore.ReadAllOptions = {
          filter: yield* randomFilter,
          after: yield* oneOf([undefined, Math.floor(head / 2)]),
          direction: yield* oneOf(["forward", "backward"] as const),
          upTo: yield* oneOf([undefined, undefined, Math.floor(head / 3)]),
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
        const question = Effect.gen(function* () {
          return { filter: yield* randomFilter, after: yield* oneOf([undefined, head >> 1]), newest: yield* Random.nextBoolean }
        })
        const queries = [yield* question, yield* question]
        const upTo = yield* oneOf([undefined, Math.floor((head * 2) / 3)])
        const boundary = yield* boundaryOf(model, queries, upTo)
        assert.deepEqual(yield* boundaryOf(store, queries, upTo), boundary, inspect({ queries, upTo }, { depth: 5 }))
      }
      return seen
    })
    const seen = yield* Random.withSeed(sequence, "eventfold")
    assert.deepEqual(yield* contents(store), yield* contents(model))
    const refusals = ["AppendConditionError", "DuplicateEventError", "OptimisticLockError"]
    const kinds = [...refusals, "repeated", "written", "written under a guard"]
    assert.deepEqual(Object.keys(seen).toSorted(), kinds, "the sequence comes to every kind of answer")
  })
]
