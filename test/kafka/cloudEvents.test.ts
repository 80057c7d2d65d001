import { Result } from "effect"
import assert from "node:assert/strict"
import { describe, it } from "vitest"
import { decode } from "../../src/kafka/cloudEvents.ts"

const record = (headers: ReadonlyArray<readonly [string, string]>, value = "{}") => ({
  value: Buffer.from(value),
  headers: headers.map(([name, text]) => [Buffer.from(name), Buffer.from(text)] as const)
})

const required = [
  ["ce_specversion", "1.0"],
  ["ce_id", "1"],
  ["ce_source", "/shop"],
  ["ce_type", "Placed"]
] as const

describe("records of Kafka as CloudEvents", () => {
  it("are read by the names of their headers, whatever stood in these places before", () => {
    const long = `ce_${"x".repeat(80)}`
    const many = Array.from({ length: 50 }, (_, n) => [`ce_a${n}`, `${n}`] as const)
    const records = [
      record([...required, ["ce_subject", "one"]]),
      record([["ce_subject", "two"], ...required]),
      record([...required.toReversed(), ["Content-Type", "application/json"], [long, "yes"]]),
      record([...many, ...required]),
      record([...required, ["ce_subjecu", "three"]]),
      record([...required, ["ce_subject", "one"]])
    ]
    const seen = [...records, ...records.toReversed()].map((one) => Result.getOrThrow(decode(one)))
    for (const event of seen) assert.deepEqual([event.id, event.source, event.type], ["1", "/shop", "Placed"])
    assert.deepEqual(
      seen.slice(0, records.length).map(({ subject }) => subject),
      ["one", "two", undefined, undefined, undefined, "one"]
    )
    assert.deepEqual(seen[2]?.extensions, { [long.slice(3)]: "yes" })
    assert.equal(seen[2]?.datacontenttype, "application/json")
    assert.equal(seen[3]?.extensions?.["a49"], "49")
    assert.deepEqual(seen[4]?.extensions, { subjecu: "three" })
    assert.deepEqual(seen.slice(records.length), seen.slice(0, records.length).toReversed())
  })

  it("keep nothing of the bytes that were fetched", () => {
    const bytes = record([...required, ["ce_subject", "one"]])
    const before = Result.getOrThrow(decode(bytes))
    for (const [name, text] of bytes.headers) {
      name.fill(0)
      text.fill(0)
    }
    assert.equal(before.subject, "one")
    assert.equal(Result.getOrThrow(decode(record([...required, ["ce_subject", "two"]]))).subject, "two")
  })
})
