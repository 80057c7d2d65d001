/** Words that the command line says of what it was given. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { DateTime } from "effect"
import type { Operations } from "eventfold/operate"
import { maskedTarget } from "../../src/cli/failure.ts"
import { tree } from "../../src/cli/output/events.ts"
import { hinted, quoted } from "../../src/cli/target.ts"
import { parseJson } from "../../src/internal/exactJson.ts"
import { shownAs } from "../../src/operate/look/payloads.ts"

describe("the target of a verb", () => {
  it("is told without what nobody may see, whatever stands in it", () => {
    const secret = "hun ter2"
    for (const url of [
      `postgres://u:${secret}@127.0.0.1:4499/db`,
      `postgres://u:a@b${secret}@127.0.0.1/db`,
      `http://u:${secret}@127.0.0.1/`,
      `http://${secret}@127.0.0.1/`,
      `postgres://127.0.0.1/db?user=u&password=${secret}`,
      `postgres://127.0.0.1/db?password=${secret}&user=u`
    ]) {
      assert.doesNotMatch(maskedTarget(url), /hun|ter2/, url)
      assert.equal(hinted(url), "<url>")
    }
    assert.equal(maskedTarget("sqlite:a b@c:d"), "sqlite:a b@c:d")
  })

  it("stands in a proposed command as a shell takes it for one word", () => {
    assert.equal(hinted("sqlite:a/b.db"), "sqlite:a/b.db")
    assert.equal(hinted("sqlite:a b.db"), "'sqlite:a b.db'")
    assert.equal(quoted("subscription:a$(touch x)'b"), "'subscription:a$(touch x)'\\''b'")
  })
})

describe("the tree of a conversation", () => {
  const event = (position: number, id: string, causationId: string | null): Operations.EventRow => ({
    position,
    id,
    causationId,
    correlationId: "c",
    type: "T",
    schemaVersion: 1,
    stream: "A-1",
    version: position,
    recordedAt: DateTime.makeUnsafe(0),
    published: false,
    by: null,
    tags: [],
    payload: { _tag: "Hidden", bytes: 1 },
    problem: null
  })
  const ids = (events: ReadonlyArray<Operations.EventRow>) => tree(events, 80, (_, text) => text)

  it("leaves out no event, whatever causes which", () => {
    assert.equal(ids([event(1, "a", "b"), event(2, "b", "a"), event(3, "c", "c")]).length, 3)
    assert.deepEqual(
      ids([event(1, "a", null), event(2, "b", "a"), event(3, "c", "a"), event(4, "d", "b")]).map((line) =>
        line.replace(/^[^T├└│]*/, "").slice(0, 8)
      ),
      ["T       ", "├─ T    ", "│  └─ T ", "└─ T    "]
    )
  })

  it("is as deep as the events are", () => {
    const chain = Array.from({ length: 20_000 }, (_, n) => event(n + 1, `e${n}`, n === 0 ? null : `e${n - 1}`))
    assert.equal(ids(chain).length, 20_000)
  })
})

describe("numbers that no double holds", () => {
  const value = parseJson('{"n":12345678901234567890123,"all":[1,98765432109876543210987]}')

  it("are shown as the text that they are", () => {
    const shown = shownAs("shown", value, [], true)
    assert.deepEqual(shown._tag === "Shown" && shown.value, {
      n: "12345678901234567890123",
      all: [1, "98765432109876543210987"]
    })
  })

  it("are masked as one value", () => {
    const shown = shownAs("masked", value, [], true)
    assert.deepEqual(shown._tag === "Shown" && shown.value, { n: "•••", all: ["•••", "•••"] })
  })
})
