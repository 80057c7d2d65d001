import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { Aggregate, Event, ProcessManager } from "eventfold"
import { Account, Deposited, Opened, Withdrawn } from "./support/bank.ts"

const AccountEvents = Schema.Array(Schema.Union([Opened, Deposited, Withdrawn]))

describe("fold", () => {
  it("of no events is the initial state", () => {
    assert.equal(Aggregate.fold(Account, []), Account.initial)
  })

  it("applies each event in order", () => {
    const events = [Opened.make({ owner: "Ada" }), Deposited.make({ amount: 5 }), Withdrawn.make({ amount: 2 })]
    assert.deepEqual(Aggregate.fold(Account, events), { owner: "Ada", balance: 3 })
    assert.deepEqual(Aggregate.fold(Account, new Set(events)), { owner: "Ada", balance: 3 })
  })

  it.prop(
    "of two runs of events is the fold of the second from the fold of the first",
    [AccountEvents, AccountEvents],
    ([xs, ys]) => {
      assert.deepEqual(Aggregate.fold(Account, [...xs, ...ys]), Aggregate.fold(Account, ys, Aggregate.fold(Account, xs)))
    }
  )

  it.prop("leaves events and the state it starts from alone", [AccountEvents], ([events]) => {
    const from = Object.freeze({ owner: "Ben", balance: 1 })
    for (const event of events) Object.freeze(event)
    Object.freeze(events)
    // what is frozen and written to throws
    assert.doesNotThrow(() => Aggregate.fold(Account, events, from))
  })

  it("goes on from a state that is undefined, where undefined is a state", () => {
    // given an aggregate that is gone once it has been deleted
    const Deleted = Event.make("Deleted")
    const Renamed = Event.make("Renamed", { name: Schema.String })
    const Note = Aggregate.make("Note", {
      events: [Renamed, Deleted],
      initial: "untitled" as string | undefined,
      evolve: { Renamed: (state, { name }) => state && name, Deleted: () => undefined }
    })
    const first = [Deleted.make({})]
    const second = [Renamed.make({ name: "again" })]
    assert.equal(Aggregate.fold(Note, [...first, ...second]), undefined)
    assert.equal(Aggregate.fold(Note, second, Aggregate.fold(Note, first)), undefined)
  })

  it("throws on an event that the aggregate does not have, whatever its name", () => {
    for (const type of ["Other", "toString", "constructor", "__proto__"]) {
      const Other = Event.make(type)
      assert.throws(() => Aggregate.fold(Account, [Other.make({}) as unknown as typeof Deposited.Type]), {
        name: "TypeError",
        message: `Aggregate "Account" has no event "${type}"`
      })
    }
  })
})

describe("evolve", () => {
  it("is one step of fold", () => {
    assert.deepEqual(Aggregate.evolve(Account, { owner: "Ada", balance: 3 }, Deposited.make({ amount: 4 })), {
      owner: "Ada",
      balance: 7
    })
  })
})

describe("make", () => {
  const make = (name: string) => Aggregate.make(name, { events: [], initial: 0, evolve: {} })

  it("refuses a name that could not be a category", () => {
    for (const name of ["", "a-b", "-", "$bus"]) {
      const message = `Aggregate "${name}": a name must not be empty, contain "-" or begin with "$"`
      assert.throws(() => make(name), { name: "RangeError", message })
    }
    for (const name of ["a", "Zoë", "a b", "a$"]) assert.equal(make(name).name, name)
  })

  it("refuses an event type that is listed twice", () => {
    const Twice = Event.make("Deposited", { other: Schema.String })
    assert.throws(
      () => Aggregate.make("Account", { events: [Deposited, Twice], initial: 0, evolve: { Deposited: (state) => state } }),
      { name: "RangeError", message: 'Aggregate "Account": the event type "Deposited" is listed twice' }
    )
  })

  it("gives states of different shapes, and policies of different versions, different fingerprints", () => {
    const fingerprint = (state: Schema.ConstraintCodec<{ n: number }, unknown, never, never>, version?: number) => {
      const { snapshot } = Aggregate.make("A", {
        events: [],
        initial: { n: 0 },
        evolve: {},
        snapshot: { state, every: 1, version }
      })
      return snapshot?.fingerprint ?? ""
    }
    const shapes = [Schema.Struct({ n: Schema.Number }), Schema.Struct({ n: Schema.Int }), Schema.Struct({ n: Schema.Finite })]
    const fingerprints = shapes.flatMap((shape) => [1, 2, 3, 4, 5].map((version) => fingerprint(shape, version)))
    assert.equal(new Set(fingerprints).size, 15)
    for (const one of fingerprints) assert.match(one, /^[0-9a-f]{16}$/)
    assert.equal(fingerprint(Schema.Struct({ n: Schema.Number })), fingerprints[0])
    assert.equal(make("A").snapshot, undefined)
  })

  it("keeps snapshots by the Schema of its state, as if it were said a second time", () => {
    const state = Schema.Struct({ status: Schema.Literals(["open", "closed"]), balance: Schema.BigInt })
    const evolve = { Deposited: (before: typeof state.Type) => before }
    const initial: typeof state.Type = { status: "open", balance: 0n }
    const once = Aggregate.make("A", { state, events: [Deposited], initial, evolve, snapshot: { every: 3 } })
    const twice = Aggregate.make("A", { events: [Deposited], initial, evolve, snapshot: { state, every: 3 } })
    // What was kept before `state` was said is found after it.
    assert.equal(once.snapshot?.fingerprint, twice.snapshot?.fingerprint)
    assert.deepEqual(once.snapshot?.encode(initial), Result.succeed({ status: "open", balance: "0" }))
    assert.deepEqual(once.snapshot?.decode({ status: "open", balance: "0" }), Result.succeed(initial))
    assert.equal(once.state, state)
    assert.equal(twice.state, undefined)
  })

  it("refuses an initial state that its Schema could not store", () => {
    const state = Schema.Struct({ count: Schema.Int })
    const named = (message: RegExp) => ({ name: "RangeError", message })
    assert.throws(
      () => Aggregate.make("A", { state, events: [], initial: { count: 0.5 }, evolve: {} }),
      named(/^Aggregate "A": the initial state does not fit its Schema: /)
    )
    assert.throws(
      () => ProcessManager.make("P", { state, events: [], correlate: {}, initial: { count: 0.5 }, evolve: {}, react: {} }),
      named(/^ProcessManager "P": the initial state does not fit its Schema: /)
    )
  })

  it("knows its events by type, and takes any non-empty string as id by default", () => {
    assert.deepEqual(Array.from(Account.definitions.keys()), ["Opened", "Deposited", "Withdrawn"])
    assert.equal(Account.definitions.get("Opened"), Opened)
    assert.equal(make("A").id, Schema.NonEmptyString)
  })
})
