import assert from "node:assert/strict"
import { createContext, Script } from "node:vm"
import { describe, it } from "@effect/vitest"
import { jsonFault } from "../../src/internal/json.ts"

describe("what JSON text carries", () => {
  it("a key called toJSON is data, a method of that name is not", () => {
    assert.equal(jsonFault(JSON.parse(`{ "toJSON": "x" }`)), undefined)
    assert.equal(jsonFault({ a: [{ toJSON: null }] }), undefined)
    assert.equal(jsonFault({ toJSON: () => "x" })?.problem, "has a toJSON method: encode it first")
  })

  it("plain objects of another realm are plain, and its classes are classes", () => {
    const run = (code: string): unknown => new Script(code).runInContext(createContext({}))
    assert.equal(jsonFault(run(`({ a: [{ b: 1 }], c: Object.create(null) })`)), undefined)
    assert.equal(jsonFault(run(`JSON.parse('{ "a": { "__proto__": [1] } }')`)), undefined)
    for (const code of ["new Map()", "new Date(0)", "new (class Point {})()", "({ at: new Date(0) })"]) {
      assert.notEqual(jsonFault(run(code)), undefined, code)
    }
  })
})
