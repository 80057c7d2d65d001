import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Stream } from "effect"
import { AuditTrail, Checkpoints, EventStore, MessageBus, ProcessManager, Subscription, UnitOfWork } from "eventfold"
import { Collection, Handlers } from "./support/shipping.ts"

const event = (position: number, fields: Partial<EventStore.RecordedEvent> = {}): EventStore.RecordedEvent => ({
  id: `e${position}`,
  type: `T${position}`,
  stream: "A-1",
  version: position,
  position,
  payload: { n: position },
  schemaVersion: 1,
  published: false,
  tags: [],
  metadata: {},
  recordedAt: DateTime.makeUnsafe(position),
  ...fields
})

/** An event that another has caused. */
const caused = (position: number, by: number, fields: Partial<EventStore.RecordedEvent> = {}) =>
  event(position, { metadata: { causationId: `e${by}` }, ...fields })

const shape = (lines: ReadonlyArray<string>) =>
  lines.map((line) => line.slice("1970-01-01T00:00:00.000Z  ".length).split("  A-1")[0])

describe("a line", () => {
  it("says when, where, what, by whom and with which payload", () => {
    assert.equal(
      AuditTrail.formatLine(event(7, { metadata: { by: "ada", correlationId: "c" }, payload: { a: ["x", 1] } })),
      '1970-01-01T00:00:00.007Z  A-1 v7  T7  by ada  {"a":["x",1]}'
    )
    assert.equal(AuditTrail.formatLine(event(7)), '1970-01-01T00:00:00.007Z  A-1 v7  T7  {"n":7}')
    assert.equal(
      AuditTrail.formatLine(event(7, { metadata: { by: 42 }, payload: null })),
      "1970-01-01T00:00:00.007Z  A-1 v7  T7  null"
    )
  })

  it("asks who and what of the caller", () => {
    const who = ({ user }: EventStore.Metadata) => (user === undefined ? undefined : `user ${String(user)}`)
    assert.equal(
      AuditTrail.formatLine(event(7, { metadata: { user: 42 } }), { who, what: ({ id }) => id }),
      "1970-01-01T00:00:00.007Z  A-1 v7  T7  by user 42  e7"
    )
  })

  it("stays one line, whatever stands in the event, and keeps what can be read", () => {
    const line = AuditTrail.formatLine(
      event(1, {
        stream: "A-\u001b[2J",
        type: "T\nforged",
        metadata: { by: "a\u202eb" },
        payload: { text: "\u2028 żółć 👩‍🚀\u009b" }
      })
    )
    assert.equal(
      line,
      '1970-01-01T00:00:00.001Z  A-\\u001b[2J v1  T\\u000aforged  by a\\u202eb  {"text":"\\u2028 żółć 👩‍🚀\\u009b"}'
    )
  })
})

describe("a tree", () => {
  it("shows effects below their causes, in the order of positions, whatever order they come in", () => {
    const events = [caused(6, 2), event(1), caused(2, 1), caused(3, 1), caused(5, 3), caused(4, 2), event(7), caused(8, 7)]
    assert.deepEqual(shape(AuditTrail.formatTree(events)), [
      "T1",
      "├─ T2",
      "│  ├─ T4",
      "│  └─ T6",
      "└─ T3",
      "   └─ T5",
      "T7",
      "└─ T8"
    ])
  })

  it("an event whose cause is not among them stands at the margin; none is lost in a circle", () => {
    const events = [caused(1, 9), caused(2, 3), caused(3, 2), caused(4, 4)]
    assert.deepEqual(shape(AuditTrail.formatTree(events)), ["T1", "T2", "└─ T3", "T4"])
    assert.deepEqual(AuditTrail.formatTree([]), [])
  })

  it("names the place of what is no message of the bus, and who did it where that changes", () => {
    const by = (by: string, causationId?: string) => ({ by, ...(causationId === undefined ? {} : { causationId }) })
    const events = [
      event(1, { stream: "$bus-c", metadata: by("ada") }),
      event(2, { metadata: by("ada", "e1") }),
      event(3, { metadata: by("ben", "e2") })
    ]
    assert.deepEqual(AuditTrail.formatTree(events), [
      '1970-01-01T00:00:00.001Z  T1  by ada  {"n":1}',
      '1970-01-01T00:00:00.002Z  └─ T2  A-1 v2  {"n":2}',
      '1970-01-01T00:00:00.003Z     └─ T3  A-1 v3  by ben  {"n":3}'
    ])
  })

  it("may be as broad as it likes", () => {
    const many = 150_000
    const lines = AuditTrail.formatTree(Array.from({ length: many }, (_, index) => caused(index + 1, index === 0 ? 0 : 1)))
    assert.equal(lines.length, many)
    assert.match(lines.at(-1) ?? "", /^\S+ +└─ T150000 /)
  })

  it("may be as deep as it likes", () => {
    const chain = Array.from({ length: 3000 }, (_, index) => caused(index + 1, index))
    const lines = AuditTrail.formatTree(chain)
    assert.equal(lines.length, 3000)
    assert.match(lines[2999] ?? "", / {3}└─ T3000 /)
  })
})

describe("of a store", () => {
  it.effect("a conversation: commands, events, and what a process made of them", () =>
    Effect.gen(function* () {
      yield* EventStore.append("Parcel-1", [
        { type: "Arrived", payload: { parcel: "1" }, metadata: { by: "greta", correlationId: "Parcel-1" } }
      ])
      yield* EventStore.append("Parcel-2", [{ type: "Other", payload: {} }])
      yield* Stream.runDrain(EventStore.subscribe({ filter: { types: ["$DeadlineSet"] } }).pipe(Stream.take(1)))
      const time = "1970-01-01T00:00:00.000Z"
      assert.deepEqual(yield* AuditTrail.conversation("Parcel-1"), [
        `${time}  Arrived  Parcel-1 v1  by greta  {"parcel":"1"}`,
        `${time}  └─ $EventHandled  Collection-1 v1  Arrived`,
        `${time}     ├─ Remind`,
        `${time}     │  └─ Reminded  Parcel-1 v2  {"parcel":"1","times":1}`,
        `${time}     └─ $DeadlineSet  Collection-1 v2  CollectionDue at 1970-01-02T00:00:00.000Z`
      ])
      assert.deepEqual(yield* AuditTrail.conversation("nobody"), [])
      assert.deepEqual(yield* Stream.runCollect(AuditTrail.stream("Parcel-1", { direction: "backward", limit: 1 })), [
        `${time}  Parcel-1 v2  Reminded  by greta  {"parcel":"1","times":1}`
      ])
      assert.deepEqual(yield* Stream.runCollect(AuditTrail.all({ filter: { types: ["Other"] }, what: () => "!" })), [
        `${time}  Parcel-2 v1  Other  !`
      ])
      assert.equal(yield* Stream.runCount(AuditTrail.all()), 6)
    }).pipe(
      Effect.provide(
        ProcessManager.layer(Collection).pipe(
          Layer.provide(Handlers),
          Layer.provide(MessageBus.layer),
          Layer.provide(UnitOfWork.layer),
          Layer.provideMerge(Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory))
        )
      ),
      Effect.provideService(Subscription.Registry, new Map())
    )
  )
})
