/** Names that no store takes are refused where they are given, and not when something is first written. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Aggregate, Command, Event } from "eventfold"

const long = "e".repeat(256)
const nul = "a\u0000b"
const Opened = Event.make("Opened", {})
const aggregate = (name: string) => () => Aggregate.make(name, { events: [Opened], initial: 0, evolve: { Opened: (n) => n } })

describe("a name that cannot be stored", () => {
  it("of an event", () => {
    assert.throws(() => Event.make("", {}), { name: "RangeError", message: "Event: the type must not be empty" })
    assert.throws(() => Event.make(long, {}), {
      message: `Event: the type "${"e".repeat(59)}…" has 256 characters, more than 255`
    })
    assert.throws(() => Event.make(nul, {}), { message: 'Event: the type "a\\u0000b" contains the character U+0000' })
    assert.throws(() => Event.retired(long), { message: /^Event: the type "e{59}…" has 256 characters/ })
    assert.throws(() => Event.make("Opened", {}, { aliases: [nul] }), {
      message: /^Event "Opened": it cannot be read from the type/
    })
  })

  it("of a command", () => {
    assert.throws(() => Command.make(""), { name: "RangeError", message: "Command: the name must not be empty" })
  })

  it("of an aggregate", () => {
    assert.throws(aggregate(long), {
      name: "RangeError",
      message: /^Aggregate: the name "e{59}…" has 256 characters, more than 255$/
    })
    assert.throws(aggregate(nul), { message: /^Aggregate: the name "a\\u0000b" contains/ })
  })

  it("and one that can be is taken", () => {
    assert.equal(Event.make("e".repeat(255), {}).type.length, 255)
    assert.equal(Command.make("Öffne – ‘it’")._tag, "Öffne – ‘it’")
  })
})
