/** Promise 7: bad input gets a typed error that says what and where, and its neighbours survive. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { inspect } from "node:util"
import type { NewEvent } from "../../definitions/stored.ts"
import * as EventStore from "../../store/EventStore.ts"
import { range } from "../suite.ts"
import { badCounts, badNames } from "./samples.ts"
import {
  NoStream,
  collect,
  concurrently,
  conditionError,
  contents,
  duplicate,
  event,
  every,
  lockError,
  named,
  numbered,
  positionsOf,
  refusal,
  refused,
  untyped,
  verdict,
  versionsOf
} from "./words.ts"

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
  ["payload", { payload: { toJSON: () => "text" } }],
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

export const badInput = [
  every("a stream's name is refused when it is empty, too long or not text", function* (store) {
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
  }),

  every("an expected version is refused when it is no version", function* (store) {
    for (const expected of [...badCounts, untyped<number>("none"), untyped<number>({})]) {
      const error = yield* refused(store, store.append("Account-1", [event()], { expected }))
      assert.deepEqual(
        { ...error, problem: "" },
        { _tag: "InvalidAppendError", stream: "Account-1", field: "expected", problem: "" },
        inspect(expected)
      )
    }
  }),

  every("an event is refused with the path of what is wrong in it", function* (store) {
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
  }),

  every("an append condition is refused when it makes no sense", function* (store) {
    const attempts: ReadonlyArray<readonly [field: string, unless: EventStore.AppendCondition]> = [
      ...badCounts.map((after) => ["after", { filter: {}, after }] as const),
      ["afterId", { filter: {}, afterId: "without-a-position" }],
      ...badNames.flatMap(([, name]) => [
        ...(name === undefined ? [] : [["afterId", { filter: {}, after: 1, afterId: name }] as const]),
        ["filter", { filter: { types: ["Good", name] } }] as const,
        ["filter", { filter: { tags: [name] } }] as const,
        ["filter", { filter: [{}, { categories: [name] }] }] as const
      ]),
      ["filter", { filter: { correlationId: "" } }],
      ["filter", { filter: { published: untyped("yes") } }],
      ["filter", { filter: { tags: untyped("course:1") } }],
      ["filter", { filter: { types: untyped({}) } }],
      ["filter", { filter: untyped("course:1") }],
      ["filter", { filter: [{}, untyped(null)] }],
      ["filter", untyped({})]
    ]
    for (const [field, unless] of attempts) {
      const good = { filter: { tags: ["absent"] }, after: 0 }
      for (const [path, conditions] of [
        ["unless", unless],
        ["unless[0]", [unless]],
        ["unless[1]", [good, unless, { filter: {}, after: -1 }]],
        ["unless[2]", [{ filter: [] }, good, unless]]
      ] as const) {
        const append = store.appendAll([{ stream: "Account-1", events: [event()] }], { unless: conditions })
        const error = yield* refused(store, append)
        assert.deepEqual(
          { ...error, problem: "" },
          { _tag: "InvalidAppendError", stream: "Account-1", field: `${path}.${field}`, problem: "" },
          inspect(unless)
        )
      }
    }
  }),

  every("a read that makes no sense fails with InvalidRead", function* (store) {
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
      yield* invalid("readAll", what, Stream.runCollect(store.readAll({ upTo: count })))
      yield* invalid("readAll", what, Stream.runCollect(store.readAll({ upTo: count, direction: "backward" })))
      yield* invalid("streams", what, Stream.runCollect(store.streams({ limit: count })))
      yield* invalid("readAll", what, Stream.runHead(store.subscribe({ after: count })))
    }
    yield* invalid("read", "direction", Stream.runCollect(store.read("Account-1", { direction: untyped("up") })))
    yield* invalid("readAll", "direction", Stream.runCollect(store.readAll({ direction: untyped("up") })))
    yield* invalid("readAll", "filter", Stream.runHead(store.subscribe({ filter: { types: [""] } })))
    for (const filter of [untyped<EventStore.Filter>("a"), { tags: untyped<[]>("a") }, [untyped<EventStore.Query>(null)]]) {
      yield* invalid("readAll", "filter", Stream.runCollect(store.readAll({ filter })))
    }
    assert.deepEqual(yield* versionsOf(store.read("Account-1")), [1, 2, 3])
  }),

  every("odd names are names like any other, each its own", function* (store) {
    const eventOf = (name: string): NewEvent => ({
      type: name,
      id: name,
      payload: { [`key ${name}`]: name },
      tags: [name],
      metadata: { correlationId: name, causationId: name }
    })
    const first = yield* store.appendAll(oddNames.map((name) => ({ stream: name, expected: NoStream, events: [eventOf(name)] })))
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
        assert.deepEqual(yield* positionsOf(store.readAll({ filter })), [position], inspect(filter))
      }
      assert.equal(yield* store.version(name), 1)
    }
    const again = yield* concurrently(oddNames, (name) => store.append(name, [eventOf(name)]))
    assert.ok(again.every(({ deduplicated }) => deduplicated))
  }),

  every("an event of the largest size in all its parts is stored whole", function* (store) {
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
  }),

  every("each of many concurrent appends gets its own verdict, whatever its neighbours are", function* (store) {
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
        conditionError(1, { filter: { categories: ["Taken"] } }),
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
]
