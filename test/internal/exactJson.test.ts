import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { comparable, mayLoseDigits, parseJson, saysMore, writeJson } from "../../src/internal/exactJson.ts"
import { jsonFault } from "../../src/internal/json.ts"

describe("JSON without a digit lost", () => {
  it("keeps as text what no double holds, and reads all else as JSON.parse does", () => {
    for (const text of [
      "9007199254740993",
      "-9007199254740993",
      "9223372036854775807",
      "18446744073709551615",
      "12345678901234567890123456789",
      "1e400",
      "-1E+400",
      `1${"0".repeat(400)}`
    ]) {
      const value = (parseJson(`{"a":${text}}`) as { readonly a: unknown }).a
      assert.deepEqual({ ...(value as object) }, { rawJSON: text })
      assert.equal(writeJson(parseJson(`{"a":[{"b":${text}}]}`)), `{"a":[{"b":${text}}]}`)
      assert.equal(jsonFault(value), undefined)
    }
    for (const text of [
      "9007199254740991",
      "9007199254740992",
      "9223372036854775808", // 2^63, and the next as JavaScript writes it
      "9223372036854776000",
      "1000000000000000000000",
      "3.141592653589793238",
      "0.10000000000000001",
      "1e-400",
      "1.7976931348623157e308",
      "9007199254740993.0",
      "1764384169123456",
      "-0"
    ]) {
      const value = (parseJson(`{"a":${text}}`) as { readonly a: unknown }).a
      assert.ok(Object.is(value, JSON.parse(text)), text)
    }
  })

  it("writes numbers as they were read, unless they have been changed since", () => {
    const text = `{"a":0.10000000000000001,"b":[9223372036854776000,9223372036854775808,{"c":1e-400},-95e-983],"d":0.1,"e":-0}`
    const value = parseJson(text) as { a: number }
    assert.equal(writeJson(value), text)
    value.a = 2
    assert.equal(writeJson(value), text.replace("0.10000000000000001", "2"))
    assert.equal(writeJson([-0, { a: -0 }]), `[-0,{"a":-0}]`)
  })

  it("looks closer where a number may lose digits, and nowhere else", () => {
    const yes = ["1234567890123456", "[1.234567890123456]", `{"a": -1e400}`, `{"a":1E-400}`, `[0,12345678901234.567]`, "1e0400"]
    const no = [
      `{"at":1764384169123,"n":-15.25,"big":1e21}`,
      `{"id":"0190f3b4-7e12-4e123-8def-0123456789ab","card":"1234567890123456","hex":"4e400"}`
    ]
    assert.deepEqual(yes.filter(mayLoseDigits), yes)
    assert.deepEqual(no.filter(mayLoseDigits), [])
  })

  const Digits = Schema.String.check(Schema.isPattern(/^-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?$/))
  it.prop(
    "any number in any place is read as it was written",
    [Schema.Array(Schema.Tuple([Schema.String, Digits]))],
    ([pairs]) => {
      const text = `{"list":[${pairs.map(([name, number]) => `{"n":${number},"name":${JSON.stringify(name)}}`).join(", ")}]}`
      const written = writeJson(parseJson(text))
      assert.deepEqual(comparable(written), comparable(text))
      const numbers = Array.from(written.matchAll(/\{"n":([^,]+),/g), ([, number]) => number)
      assert.equal(numbers.length, pairs.length)
      for (const [index, [, number]] of pairs.entries()) {
        // What is the same double may be written in another way.
        if (numbers[index] === number) continue
        assert.equal(numbers[index], writeJson(Number(number)))
        assert.ok(!saysMore(parseJson(`[${number}]`)), number)
      }
    }
  )

  it("raw JSON that is no number is no payload, nor are keys that are symbols", () => {
    const raw = (JSON as unknown as { rawJSON: (text: string) => object }).rawJSON
    assert.equal(jsonFault({ a: raw(`"\\u0000"`) })?.path, ".a")
    assert.equal(jsonFault({ a: { [Symbol("s")]: 1 } })?.problem, "has a key that is a symbol, which JSON cannot carry")
  })
})
