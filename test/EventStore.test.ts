import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Result, Schema, Stream } from "effect"
import { SecureRandom } from "effect/crypto"
import { TestClock } from "effect/testing"
import { EventStore } from "eventfold"
import * as Kit from "eventfold/kit"
import { conforms } from "./support/conformance.ts"

conforms("the memory store", {
  storage: Effect.succeed(EventStore.layerMemory),
  abilities: { durable: false, shared: false }
})

conforms(
  "the memory store with a hash chain",
  {
    storage: Effect.map(EventStore.makeMemoryWith({ chain: true }), Layer.succeed(EventStore.EventStore)),
    abilities: { durable: true, shared: true, chain: true }
  },
  ({ promise }) => promise !== "6"
)

// One memory store behind Layers that come and go has both abilities, so the cases that need them run here too.
conforms(
  "a memory store that outlives its Layers",
  {
    storage: Effect.map(EventStore.makeMemory, Layer.succeed(EventStore.EventStore)),
    abilities: { durable: true, shared: true }
  },
  ({ promise }) => promise === "6" || promise === "shared"
)

const event = (more: Partial<EventStore.NewEvent> = {}): EventStore.NewEvent => ({ type: "Happened", payload: {}, ...more })

describe("names", () => {
  it("streamName joins category and id, categoryOf splits at the first dash", () => {
    assert.equal(EventStore.streamName("Account", "42"), "Account-42")
    assert.equal(EventStore.streamName("Account", "a-b-c"), "Account-a-b-c")
    for (const [stream, category] of [
      ["Account-42", "Account"],
      ["Account-a-b", "Account"],
      ["Account-", "Account"],
      ["Account", "Account"],
      ["-42", ""],
      ["--", ""],
      ["$bus-1", "$bus"]
    ] as const) {
      assert.equal(EventStore.categoryOf(stream), category)
    }
  })

  it.prop("what streamName joins categoryOf finds again", [Schema.NonEmptyString, Schema.String], ([category, id]) => {
    const plain = category.replaceAll("-", "+")
    assert.equal(EventStore.categoryOf(EventStore.streamName(plain, id)), plain)
  })
})

describe("an index in memory", () => {
  it("looks up what bears a correlation id, without looking at all else", () => {
    let looked = 0
    const index = Kit.makeIndex<Kit.StoredEvent & { readonly correlationId: string | undefined }>(
      (filter, row) => (looked++, Kit.matchesPrepared(filter, row)),
      ({ correlationId }) => correlationId
    )
    for (let position = 1; position <= 10_000; position++) {
      const correlationId = position % 10 === 0 ? undefined : `c${position % 4000}`
      const metadata = JSON.stringify({ correlationId })
      const text = { id: `${position}`, type: `T${position % 2}`, payload: "0", metadata, correlationId, stream: "A-1" }
      index.add({ ...text, version: position, position, schemaVersion: 1, published: false, tags: [], recordedAt: 0 })
    }
    const request = { after: 0, upTo: 10_000, size: 10, backward: false }
    const find = (filter: ReadonlyArray<EventStore.Query>, more = {}) =>
      index.all({ ...request, ...more, filter }).map(({ position }) => position)
    assert.deepEqual(find([{ correlationId: "c7" }]), [7, 4007, 8007])
    assert.deepEqual(find([{ correlationId: "c7" }], { backward: true, size: 2, upTo: 8000 }), [4007, 7])
    assert.deepEqual(find([{ correlationId: "c7", types: ["T0"] }, { correlationId: "c3999" }]), [3999, 7999])
    assert.deepEqual(find([{ correlationId: "c10" }]), [])
    assert.equal(index.standing.newestMatch([{ correlationId: "c7" }], 0), 8007)
    assert.equal(index.standing.newestMatch([{ correlationId: "c7" }], 8007), undefined)
    assert.ok(looked < 20, `${looked} rows were looked at`)
  })
})

describe("accessors", () => {
  it.effect("do what the service does", () =>
    Effect.gen(function* () {
      const { Any, Exists, NoStream } = EventStore.ExpectedVersion
      yield* EventStore.append("A-1", [event(), event()], { expected: NoStream })
      yield* EventStore.appendAll([
        { stream: "A-1", events: [event({ type: "Other" })], expected: Exists },
        { stream: "B-1", events: [event()], expected: Any }
      ])
      const error = yield* Effect.flip(EventStore.appendAll([{ stream: "C-1", events: [event()] }], { unless: { filter: {} } }))
      assert.deepEqual({ ...error }, { _tag: "AppendConditionError", position: 4, condition: { filter: [{}], after: 0 } })
      assert.equal(yield* EventStore.version("A-1"), 3)
      assert.equal(yield* EventStore.exists("A-1"), true)
      assert.equal(yield* EventStore.exists("C-1"), false)
      assert.equal(yield* EventStore.head, 4)
      const positions = Stream.map(({ position }: { readonly position: number }) => position)
      assert.deepEqual(yield* Stream.runCollect(positions(EventStore.read("A-1", { from: 2 }))), [2, 3])
      assert.deepEqual(yield* Stream.runCollect(positions(EventStore.readAll({ filter: { types: ["Other"] } }))), [3])
      assert.deepEqual(yield* Stream.runCollect(positions(Stream.take(EventStore.subscribe({ after: 1 }), 3))), [2, 3, 4])
      assert.deepEqual(yield* Stream.runCollect(positions(EventStore.streams({ category: "B" }))), [4])
      const page = yield* EventStore.readPage({ after: 1, filter: { types: ["Other"] }, size: 9 })
      assert.deepEqual([page.events.map(({ position }) => position), page.position, page.head], [[3], 4, 4])
      const boundary = yield* EventStore.readBoundary([{ filter: { types: ["Other"] } }, { filter: {}, newest: true }], {
        upTo: 3
      })
      assert.deepEqual(
        [boundary.position, boundary.answers.map(({ events }) => events.map(({ position }) => position))],
        [3, [[3], [3]]]
      )
    }).pipe(Effect.provide(EventStore.layerMemory))
  )
})

describe("errors", () => {
  it("say what happened and what to do", () => {
    const messages = [
      new EventStore.OptimisticLockError({ stream: "A-1", expected: 2, actual: 3 }),
      new EventStore.AppendConditionError({ position: 7 }),
      new EventStore.AppendConditionError({
        position: 7,
        condition: { filter: [{ types: ["Enrolled"], tags: ["course:1"] }], after: 5 }
      }),
      new EventStore.AppendConditionError({ position: 7, condition: { filter: [{ tags: ["a".repeat(999)] }], after: 0 } }),
      new EventStore.DuplicateEventError({ stream: "A-1", id: "x" }),
      new EventStore.InvalidAppendError({ stream: `A-${"1".repeat(99)}`, field: "events[0].payload.a", problem: "is NaN" }),
      new EventStore.InvalidAppendError({
        stream: "A-1",
        field: `events[0].payload${".k".repeat(1000)}.last`,
        problem: "is nested too deep"
      }),
      new EventStore.EventStoreError({ reason: new EventStore.StoreFailure({ operation: "append", detail: "no space left" }) })
    ].map(({ message }) => message)
    assert.deepEqual(messages, [
      'Stream "A-1" is at version 3, not at the expected 2: reload it and decide again',
      "An event at position 7 matches the append condition: read the matching events again and decide anew",
      'An event at position 7 matches the append condition (beyond position 5: [{"types":["Enrolled"],"tags":["course:1"]}]): read the matching events again and decide anew',
      `An event at position 7 matches the append condition (beyond position 0: [{"tags":["${"a".repeat(289)}…): read the matching events again and decide anew`,
      'Event id "x", appended to stream "A-1", is already in use: give the event an id of its own, or repeat the whole first append unchanged',
      `Append to stream "A-${"1".repeat(58)}…" refused: events[0].payload.a is NaN`,
      `Append to stream "A-1" refused: events[0].payload${".k".repeat(41)}.…k${".k".repeat(27)}.last is nested too deep`,
      "StoreFailure during append: no space left"
    ])
  })

  it("only what wrote nothing and may pass is retryable", () => {
    const about = { operation: "append", detail: "" }
    const retryable = [
      new EventStore.StoreUnavailable(about),
      new EventStore.OutcomeUnknown(about),
      new EventStore.TransactionConflict(about),
      new EventStore.StoreCorrupted(about),
      new EventStore.InvalidRead(about),
      new EventStore.StoreFailure(about)
    ].filter((reason) => new EventStore.EventStoreError({ reason }).isRetryable)
    assert.deepEqual(
      retryable.map(({ _tag }) => _tag),
      ["StoreUnavailable", "TransactionConflict"]
    )
  })
})

describe("prepare", () => {
  it.effect("fills in what was not given, and writes JSON out", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1234)
      const given = event({
        id: "mine",
        payload: { b: [1, -0], a: "é" },
        tags: ["x", "y", "x"],
        metadata: { correlationId: "c" },
        schemaVersion: 3,
        published: true,
        recordedAt: DateTime.makeUnsafe(-5)
      })
      const { appends, ...rest } = yield* Kit.prepare(
        [
          { stream: "A-1", events: [event(), given, event()] },
          { stream: "B-1", events: [], expected: 4 }
        ],
        { filter: { types: ["T"] } }
      )
      assert.deepEqual(rest, { unless: [{ filter: [{ types: ["T"] }], after: 0 }], count: 3, bytes: 49 })
      assert.deepEqual(
        appends.map(({ expected, stream }) => [stream, expected]),
        [
          ["A-1", "any"],
          ["B-1", 4]
        ]
      )
      const [bare, full, other] = appends[0]?.events ?? []
      assert.deepEqual(full, {
        id: "mine",
        fresh: false,
        type: "Happened",
        schemaVersion: 3,
        published: true,
        tags: ["x", "y"],
        payload: '{"b":[1,-0],"a":"é"}',
        metadata: '{"correlationId":"c"}',
        correlationId: "c",
        recordedAt: -5
      })
      assert.ok(bare !== undefined && other !== undefined && bare.id < other.id, "new ids ascend")
      assert.deepEqual(
        { ...bare, id: "" },
        {
          id: "",
          fresh: true,
          type: "Happened",
          schemaVersion: 1,
          published: false,
          tags: [],
          payload: "{}",
          metadata: "{}",
          correlationId: undefined,
          recordedAt: 1234
        }
      )
    })
  )

  it.effect("takes new ids from the SecureRandom service where there is one", () => {
    const ids = Effect.map(Kit.prepare([{ stream: "A-1", events: [event(), event()] }]), ({ appends }) =>
      appends[0]?.events.map(({ id }) => id)
    ).pipe(
      Effect.provideServiceEffect(
        SecureRandom.SecureRandom,
        Effect.sync(() => {
          let next = 0
          return SecureRandom.make((size) => new Uint8Array(size).fill(++next))
        })
      )
    )
    return Effect.gen(function* () {
      assert.deepEqual(yield* ids, ["00000000-0000-7101-8101-010101010101", "00000000-0000-7101-8101-010202020202"])
      assert.deepEqual(yield* ids, yield* ids)
    })
  })

  it.effect("bounds nesting, tags, and the bytes of one payload and of one append", () =>
    Effect.gen(function* () {
      const prepare = (events: ReadonlyArray<EventStore.NewEvent>) =>
        Effect.match(Kit.prepare([{ stream: "A-1", events }]), {
          onFailure: (error) => ("field" in error ? error.field : error._tag),
          onSuccess: () => "fits"
        })
      const nested = (levels: number) => JSON.parse("[".repeat(levels) + "]".repeat(levels)) as Schema.Json
      assert.equal(yield* prepare([event({ payload: nested(512) })]), "fits")
      assert.equal(yield* prepare([event({ payload: nested(513) })]), `events[0].payload${"[0]".repeat(512)}`)
      const tags = Array.from({ length: EventStore.limits.tags + 1 }, (_, n) => `${n}`)
      assert.equal(yield* prepare([event({ tags: tags.slice(1) })]), "fits")
      assert.equal(yield* prepare([event({ tags: [...tags.slice(1), "1", "2"] })]), "fits")
      assert.equal(yield* prepare([event({ tags })]), "events[0].tags")
      const text = "a".repeat(EventStore.limits.payloadBytes - 2)
      const metadata = { text: "a".repeat(EventStore.limits.metadataBytes - 11) }
      assert.equal(yield* prepare([event({ payload: text, metadata })]), "fits")
      assert.equal(yield* prepare([event({ payload: `${text}a` })]), "events[0].payload")
      assert.equal(yield* prepare([event({ metadata: { text: `${metadata.text}a` } })]), "events[0].metadata")
      assert.equal(yield* prepare([event({ metadata: { text: `é${metadata.text.slice(2)}` } })]), "fits")
      assert.equal(yield* prepare([event({ metadata: { text: `é${metadata.text.slice(1)}` } })]), "events[0].metadata")
      assert.equal(yield* prepare([event({ payload: `é${text.slice(2)}` })]), "fits")
      assert.equal(yield* prepare([event({ payload: `é${text.slice(1)}` })]), "events[0].payload")
      // 28 events of 9 MiB and one of 4 MiB are 256 MiB: not one byte more.
      const large = Array.from({ length: 28 }, () => event({ payload: text, metadata }))
      const rest = "a".repeat(4 * 1024 * 1024 - 4)
      assert.equal(yield* prepare([...large, event({ payload: rest })]), "fits")
      assert.equal(yield* prepare([...large, event({ payload: `${rest}a` })]), "events[28].payload")
    })
  )
})

describe("decide", () => {
  const { payload, type } = event()
  const standing = (
    stored: Record<string, number>,
    ids: Record<string, readonly [stream: string, version: number]>
  ): Kit.Standing => ({
    newest: (stream) => ({ version: stored[stream] ?? 0, position: (stored[stream] ?? 0) * 10 }),
    locate: (id) => {
      const place = ids[id]
      return place === undefined
        ? undefined
        : { stream: place[0], version: place[1], position: place[1] * 10, type, payload: JSON.stringify(payload) }
    },
    newestMatch: ({ length }, after) => (length === 0 || after >= 90 ? undefined : 90),
    head: 100
  })

  it.effect("says where each event goes, in the order of the append", () =>
    Effect.gen(function* () {
      const append = yield* Kit.prepare(
        [
          { stream: "B-1", events: [event({ id: "b1" })], expected: 3 },
          { stream: "A-1", events: [event({ id: "a1" }), event({ id: "a2" })], expected: "no-stream" },
          { stream: "B-1", events: [event({ id: "b2" })], expected: 4 },
          { stream: "A-1", events: [] }
        ],
        { filter: {}, after: 90 }
      )
      const { results, writes } = Result.getOrThrow(Kit.decide(append, standing({ "B-1": 3 }, {})))
      assert.deepEqual(
        writes.map(({ event, position, stream, version }) => [event.id, stream, version, position]),
        [
          ["b1", "B-1", 4, 101],
          ["a1", "A-1", 1, 102],
          ["a2", "A-1", 2, 103],
          ["b2", "B-1", 5, 104]
        ]
      )
      assert.deepEqual(
        results.map(({ deduplicated, position, stream, version }) => [stream, version, position, deduplicated]),
        [
          ["B-1", 4, 101, false],
          ["A-1", 2, 103, false],
          ["B-1", 5, 104, false],
          ["A-1", 2, 103, false]
        ]
      )
    })
  )

  it.effect("looks at ids first, then at versions, then at the condition", () =>
    Effect.gen(function* () {
      const decide = (id: string, expected: number, after: number) =>
        Effect.map(Kit.prepare([{ stream: "A-1", events: [event({ id })], expected }], { filter: {}, after }), (append) => {
          const verdict = Kit.decide(append, standing({ "A-1": 2 }, { mine: ["A-1", 1], theirs: ["B-1", 1] }))
          return Result.isFailure(verdict) ? verdict.failure._tag : verdict.success.writes.length
        })
      assert.equal(yield* decide("mine", 7, 0), 0)
      assert.equal(yield* decide("theirs", 7, 0), "DuplicateEventError")
      assert.equal(yield* decide("new", 7, 0), "OptimisticLockError")
      assert.equal(yield* decide("new", 2, 0), "AppendConditionError")
      assert.equal(yield* decide("new", 2, 90), 1)
    })
  )
})

describe("matches", () => {
  const names = Schema.Array(Schema.Literals(["a", "b", "c"]))
  const Matchable = Schema.Struct({
    stream: Schema.Literals(["a-1", "b-1", "b-1-c", "c", "d-a"]),
    type: Schema.Literals(["a", "b", "c", "d"]),
    tags: names,
    published: Schema.Boolean,
    metadata: Schema.Struct({ correlationId: Schema.optionalKey(Schema.Literals(["a", "b"])) })
  })
  const Query = Schema.Struct({
    categories: Schema.optionalKey(names),
    types: Schema.optionalKey(names),
    tags: Schema.optionalKey(names),
    published: Schema.optionalKey(Schema.Boolean),
    correlationId: Schema.optionalKey(Schema.Literals(["a", "b", "c"]))
  })
  const { matches } = Kit

  it.prop("an event passes {} and never []", [Matchable], ([event]) => {
    assert.equal(matches({}, event), true)
    assert.equal(matches([], event), false)
  })

  it.prop("the keys of a query are joined by AND", [Query, Matchable], ([query, event]) => {
    const alone = Object.entries(query).map(([key, value]) => matches({ [key]: value }, event))
    assert.equal(matches(query, event), alone.every(Boolean))
  })

  it.prop("the queries of a filter are joined by OR", [Schema.Array(Query), Matchable], ([queries, event]) => {
    assert.equal(
      matches(queries, event),
      queries.some((query) => matches(query, event))
    )
  })

  it.prop("categories and types mean any, tags mean all", [names, Matchable], ([names, event]) => {
    const wanted = new Set<string>(names)
    assert.equal(matches({ categories: names }, event), wanted.has(event.stream.split("-")[0] ?? ""))
    assert.equal(matches({ types: names }, event), wanted.has(event.type))
    assert.equal(matches({ tags: names }, event), new Set<string>([...event.tags, ...names]).size === new Set(event.tags).size)
  })

  it.prop(
    "published and correlationId mean just that value",
    [Schema.Boolean, Schema.Literals(["a", "b", "c"]), Matchable],
    (given) => {
      const [published, correlationId, event] = given
      assert.equal(matches({ published }, event), event.published === published)
      assert.equal(matches({ correlationId }, event), event.metadata.correlationId === correlationId)
    }
  )
})

describe("reads out of pages", () => {
  /** A log of `length` events, each of `bytes` bytes, that notes what is fetched from it, and has grown each time that it was asked. */
  const makeLog = (length: number, bytes: number, growth = 0) => {
    const fetched: Array<readonly [from: number, size: number]> = []
    const waits: Array<number> = []
    let head = length
    const recorded = (position: number): EventStore.RecordedEvent => ({
      stream: "A-1",
      version: position,
      position,
      id: `${position}`,
      type: "Happened",
      schemaVersion: 1,
      published: false,
      tags: [],
      payload: position,
      metadata: {},
      recordedAt: DateTime.makeUnsafe(position)
    })
    const page = (from: number, to: number, size: number) =>
      Effect.sync(() => {
        fetched.push([from, size])
        const items = Array.from({ length: Math.max(0, Math.min(to - from + 1, size, head - from + 1)) }, (_, index) =>
          recorded(from + index)
        )
        head += growth
        return { items, bytes: items.length * bytes }
      })
    const reads = EventStore.make({
      append: () => Effect.die("no test appends"),
      pages: {
        stream: ({ backward, from, size, to }) => (backward ? page(head - size + 1, head, size) : page(from, to, size)),
        versionAt: () => Effect.die("no test asks for it"),
        all: ({ after, filter, size, upTo }) =>
          Effect.map(page(after + 1, upTo, size), ({ bytes, items }) => ({
            bytes,
            items: items.filter((item) => Kit.matches(filter, item))
          })),
        streams: () => Effect.die("no test asks for it")
      },
      head: Effect.sync(() => {
        const found = head
        head += growth
        return found
      }),
      awaitBeyond: (position) =>
        Effect.sync(() => {
          waits.push(position)
          head += 10
          return head
        })
    })
    return { fetched, reads, waits }
  }

  it.effect("fetches a page only when its consumer has taken the one before", () =>
    Effect.gen(function* () {
      const { fetched, reads } = makeLog(10_000, 10)
      yield* Stream.runDrain(Stream.take(reads.readAll(), 64))
      assert.deepEqual(fetched, [[1, 64]])
      yield* Stream.runDrain(Stream.take(reads.readAll(), 65))
      assert.deepEqual(fetched.slice(1), [
        [1, 64],
        [65, 256]
      ])
    })
  )

  it.effect("takes small events by larger and larger pages, large ones a few at a time", () =>
    Effect.gen(function* () {
      const small = makeLog(4000, 10)
      yield* Stream.runDrain(small.reads.readAll())
      assert.deepEqual(small.fetched, [
        [1, 64],
        [65, 256],
        [321, 1024],
        [1345, 1024],
        [2369, 1024],
        [3393, 1024]
      ])
      const large = makeLog(80, 2 * 1024 * 1024)
      yield* Stream.runDrain(large.reads.readAll())
      assert.deepEqual(large.fetched.slice(0, 3), [
        [1, 64],
        [65, 2],
        [67, 2]
      ])
      const huge = makeLog(66, 8 * 1024 * 1024)
      yield* Stream.runDrain(huge.reads.readAll())
      assert.deepEqual(huge.fetched.slice(0, 3), [
        [1, 64],
        [65, 1],
        [66, 1]
      ])
    })
  )

  it.effect("asks for no more than the limit, and for nothing where nothing can be", () =>
    Effect.gen(function* () {
      const { fetched, reads } = makeLog(100, 10)
      yield* Stream.runDrain(reads.read("A-1", { limit: 70 }))
      yield* Stream.runDrain(reads.read("A-1", { limit: 3 }))
      yield* Stream.runDrain(reads.readAll({ limit: 7 }))
      yield* Stream.runDrain(reads.read("A-1", { from: 5, to: 4 }))
      yield* Stream.runDrain(reads.read("A-1", { limit: 0 }))
      yield* Stream.runDrain(reads.readAll({ direction: "backward", after: 1 }))
      yield* Stream.runDrain(reads.readAll({ limit: 0 }))
      yield* Stream.runDrain(reads.read("A-1", { from: 90, to: 95 }))
      // The page of one is the newest event: what bounds a read that does not fit into its first page.
      assert.deepEqual(fetched, [
        [1, 64],
        [100, 1],
        [65, 6],
        [1, 3],
        [1, 7],
        [90, 6]
      ])
    })
  )

  it.effect("a page of the log tells of nothing that is appended while it is read", () =>
    Effect.gen(function* () {
      const { reads } = makeLog(50, 10, 5)
      const page = yield* reads.readPage({ after: 47 })
      assert.deepEqual([page.events.map(({ position }) => position), page.position, page.head], [[48, 49, 50], 50, 50])
      assert.deepEqual(yield* reads.readPage({ after: 50, filter: { types: ["Absent"] } }), {
        events: [],
        position: 60,
        head: 60
      })
    })
  )

  it.effect("a boundary tells of nothing that is appended while its questions are answered one after the other", () =>
    Effect.gen(function* () {
      const { reads } = makeLog(50, 10, 5)
      const questions = [{ filter: {}, after: 47 }, { filter: { types: ["Happened"] } }, { filter: {}, after: 49 }]
      const { answers, position } = yield* reads.readBoundary(questions)
      assert.equal(position, 50)
      assert.deepEqual(
        answers.map(({ events }) => events.map(({ position }) => position)),
        [[48, 49, 50], Array.from({ length: 50 }, (_, index) => index + 1), [50]]
      )
    })
  )

  it.effect("a subscription passes over what its filter drops once, and then waits", () =>
    Effect.gen(function* () {
      const { fetched, reads, waits } = makeLog(50, 10)
      const filter = { types: ["Absent"] }
      const fiber = yield* Effect.forkChild(Stream.runDrain(reads.subscribe({ filter })))
      while (waits.length < 3) yield* Effect.yieldNow
      fiber.interruptUnsafe()
      assert.deepEqual(waits.slice(0, 3), [50, 60, 70])
      assert.deepEqual(
        fetched.slice(0, 3).map(([from]) => from),
        [1, 51, 61]
      )
    })
  )
})

describe("EventStore.make", () => {
  const unavailable = new EventStore.EventStoreError({
    reason: new EventStore.StoreUnavailable({ operation: "read", detail: "gone" })
  })

  /** The least that a driver must be: over no events. */
  const driver: Kit.Driver = {
    append: () => Effect.die("no test appends"),
    pages: {
      stream: () => Effect.succeed({ items: [], bytes: 0 }),
      versionAt: () => Effect.succeed(0),
      all: () => Effect.succeed({ items: [], bytes: 0 }),
      streams: () => Effect.succeed([])
    },
    head: Effect.succeed(0),
    awaitBeyond: () => Effect.never
  }

  it.effect("reads on where the driver has begun to answer a boundary, and nowhere else", () =>
    Effect.gen(function* () {
      const memory = yield* EventStore.makeMemory
      yield* memory.append(
        "A-1",
        Array.from({ length: 20 }, () => event({ tags: ["a"] }))
      )
      const events = yield* Stream.runCollect(memory.readAll())
      const asked: Array<readonly [after: number, upTo: number, backward: boolean, size: number]> = []
      const store = EventStore.make({
        ...driver,
        pages: {
          ...driver.pages,
          all: ({ after, backward, size, upTo }) =>
            Effect.sync(() => {
              asked.push([after, upTo, backward, size])
              const items = events.filter(({ position }) => position > after && position <= upTo)
              return { items: (backward ? items.reverse() : items).slice(0, size), bytes: 0 }
            })
        },
        boundary: ({ queries }) =>
          Effect.succeed({
            position: 12,
            answers: queries.map(({ after, newest }) =>
              newest
                ? { items: [], bytes: 0, complete: after > 0 }
                : { items: events.slice(after, after + 3), bytes: 0, complete: after === 9 }
            )
          })
      })
      const filter = { tags: ["a"] }
      const queries = [{ filter }, { filter, after: 9 }, { filter, newest: true }, { filter, newest: true, after: 5 }]
      const read = (size: number) =>
        Effect.map(store.readBoundary(queries, { size }), ({ answers, position }) => [
          position,
          ...answers.map(({ complete, events }) => [events.map(({ position }) => position), complete])
        ])
      const first = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
      assert.deepEqual(yield* read(20), [12, [first, true], [[10, 11, 12], true], [[12], true], [[], true]])
      assert.deepEqual(asked, [
        [3, 12, false, 17],
        [0, 12, true, 1]
      ])
      asked.length = 0
      assert.deepEqual(yield* read(3), [12, [[1, 2, 3], false], [[10, 11, 12], true], [[12], true], [[], true]])
      assert.deepEqual(asked, [[0, 12, true, 1]])
    })
  )

  it.effect("finds a version by the newest event where the driver has no better way", () =>
    Effect.gen(function* () {
      const memory = yield* EventStore.makeMemory
      yield* memory.append("A-1", [event(), event()])
      const store = EventStore.make({
        ...driver,
        pages: {
          ...driver.pages,
          stream: ({ backward, from, size, stream, to }) =>
            Stream.runCollect(memory.read(stream, { from, to, limit: size, direction: backward ? "backward" : "forward" })).pipe(
              Effect.map((items) => ({ items, bytes: 0 }))
            )
        }
      })
      assert.deepEqual([yield* store.version("A-1"), yield* store.version("B-1")], [2, 0])
      assert.deepEqual([yield* store.exists("A-1"), yield* store.exists("B-1")], [true, false])
    })
  )

  it.effect("tells the driver what a version is asked for", () =>
    Effect.gen(function* () {
      const asked: Array<readonly [string, string]> = []
      const store = EventStore.make({
        ...driver,
        version: (stream, operation) => Effect.sync(() => asked.push([stream, operation]))
      })
      assert.equal(yield* store.version("A-1"), 1)
      assert.equal(yield* store.exists("B-1"), true)
      assert.deepEqual(asked, [
        ["A-1", "version"],
        ["B-1", "exists"]
      ])
    })
  )

  it.effect("leaves it to the driver when an append is prepared", () =>
    Effect.gen(function* () {
      const prepared: Array<string> = []
      const busy = EventStore.make({ ...driver, append: () => Effect.fail(unavailable) })
      assert.equal(yield* Effect.flip(busy.append("", [event()])), unavailable)
      const free = EventStore.make({
        ...driver,
        append: (append) =>
          Effect.map(append, ({ appends }) => {
            for (const { events, stream } of appends) prepared.push(`${stream}: ${events.length}`)
            return appends.map(({ stream }) => ({ stream, version: 1, position: 1, deduplicated: false }))
          })
      })
      assert.equal((yield* free.append("A-1", [event()])).stream, "A-1")
      yield* free.appendAll([
        { stream: "B-1", events: [event(), event()] },
        { stream: "C-1", events: [] }
      ])
      assert.equal((yield* Effect.flip(free.append("", [event()])))._tag, "InvalidAppendError")
      assert.deepEqual(prepared, ["A-1: 1", "B-1: 2", "C-1: 0"])
    })
  )

  it.effect("a subscription waits as its driver says, other reads fail", () =>
    Effect.gen(function* () {
      const memory = yield* EventStore.makeMemory
      yield* memory.append("A-1", [event(), event()])
      let failures = 0
      /** Fails each second time. */
      const flaky = <A>(read: Effect.Effect<A, EventStore.EventStoreError>) =>
        Effect.suspend(() => (++failures % 2 === 1 ? Effect.fail(unavailable) : read))
      const store = EventStore.make({
        ...driver,
        pages: {
          ...driver.pages,
          all: ({ after, size, upTo }) =>
            flaky(Effect.map(memory.readPage({ after, upTo, size }), ({ events }) => ({ items: events, bytes: 0 })))
        },
        head: flaky(memory.head),
        untilAnswered: (read) => Effect.retry(read, { times: 1 })
      })
      const events = yield* Stream.runCollect(Stream.take(store.subscribe(), 2))
      assert.deepEqual(
        events.map(({ position }) => position),
        [1, 2]
      )
      assert.equal(failures, 4)
      assert.equal(yield* Effect.flip(store.head), unavailable)
      failures = 0
      assert.equal(yield* Effect.flip(Stream.runDrain(store.readAll())), unavailable)
    })
  )
})

describe("the memory store", () => {
  it.effect("is gone with its Layer", () =>
    Effect.gen(function* () {
      const append = EventStore.append("A-1", [event()]).pipe(Effect.provide(EventStore.layerMemory))
      assert.equal((yield* append).position, 1)
      assert.equal((yield* append).position, 1)
    })
  )
})

describe("the sinkhole", () => {
  const swallowed = <A, E>(effect: Effect.Effect<A, E, EventStore.EventStore>) => Effect.provide(effect, EventStore.layerSinkhole)

  it.effect("takes every append and keeps nothing", () =>
    Effect.gen(function* () {
      const append = EventStore.append("A-1", [event({ id: "a" }), event()], { expected: 17 })
      assert.deepEqual(yield* append, { stream: "A-1", version: 2, position: 0, deduplicated: false })
      assert.deepEqual(yield* append, { stream: "A-1", version: 2, position: 0, deduplicated: false })
      assert.deepEqual(
        yield* EventStore.appendAll([{ stream: "A-1", events: [event()], expected: "exists" }], { unless: { filter: {} } }),
        [{ stream: "A-1", version: 1, position: 0, deduplicated: false }]
      )
      assert.equal(yield* EventStore.version("A-1"), 0)
      assert.equal(yield* EventStore.exists("A-1"), false)
      assert.equal(yield* EventStore.head, 0)
      assert.deepEqual(yield* Stream.runCollect(EventStore.read("A-1")), [])
      assert.deepEqual(yield* Stream.runCollect(EventStore.readAll()), [])
      assert.deepEqual(yield* EventStore.readPage({ after: 3 }), { events: [], position: 3, head: 0 })
      assert.deepEqual(yield* Stream.runCollect(EventStore.streams()), [])
    }).pipe(swallowed)
  )

  it.effect("checks what it is given like any store", () =>
    Effect.gen(function* () {
      const failures = [
        EventStore.append("", [event()]),
        EventStore.append("A-1", [event({ payload: Number.NaN })]),
        EventStore.append("A-1", [event()], { expected: -1 }),
        EventStore.appendAll([{ stream: "A-1", events: [event()] }], { unless: { filter: {}, after: -1 } }),
        Stream.runDrain(EventStore.read("")),
        Stream.runDrain(EventStore.readAll({ after: -1 })),
        Stream.runDrain(EventStore.subscribe({ after: -1 })),
        Stream.runDrain(EventStore.streams({ limit: -1 })),
        EventStore.version(""),
        EventStore.exists(""),
        EventStore.readPage({ size: 0 })
      ]
      const tags = yield* Effect.forEach(
        failures,
        (effect: Effect.Effect<unknown, EventStore.AppendError, EventStore.EventStore>) =>
          Effect.map(Effect.flip(effect), ({ _tag }) => _tag)
      )
      assert.deepEqual(tags, [
        ...Array.from({ length: 4 }, () => "InvalidAppendError"),
        ...Array.from({ length: 7 }, () => "EventStoreError")
      ])
    }).pipe(swallowed)
  )

  it.effect("a subscription to it waits until it is interrupted", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(Stream.runDrain(EventStore.subscribe({ after: "end" })))
      yield* EventStore.append("A-1", [event()])
      yield* Effect.yieldNow
      assert.equal(fiber.pollUnsafe(), undefined)
      fiber.interruptUnsafe()
    }).pipe(swallowed)
  )
})
