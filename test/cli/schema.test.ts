import assert from "node:assert/strict"
import { join } from "node:path"
import { describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Event, Personal } from "eventfold"
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises"
import { check, type Kept } from "../../src/cli/schema/checking.ts"
import { readingFaults } from "../../src/cli/schema/comparing.ts"
import { describeEvent, fileOf, type JsonSchema } from "../../src/cli/schema/describing.ts"
import { asyncApi, catalogue, sarif } from "../../src/cli/schema/publishing.ts"
import { temporaryDirectory } from "../support/files.ts"
import { eventfold } from "./support.ts"

type Fields = NonNullable<Parameters<typeof Event.make>[1]>

const keep = (event: Event.Any): Kept => {
  const described = describeEvent(event)
  return { file: fileOf(described), type: described.type, version: described.version, document: described.document }
}

const Money = Schema.Struct({ cents: Schema.Int, currency: Schema.Literals(["EUR", "USD"]) })
const fields = { order: Schema.String, total: Money, note: Schema.optionalKey(Schema.String) }
const Placed = Event.make("Placed", fields, { published: true })
const placed = (changed: Fields, options: object = {}) => Event.make("Placed", changed, { published: true, ...options })

describe("the verdict of schema --check", () => {
  const upcast = { 1: (old: unknown) => old as Schema.Json }
  const cases: ReadonlyArray<readonly [string, ReadonlyArray<Event.Any>, ReadonlyArray<Event.Any>, string, string, RegExp]> = [
    ["nothing has changed", [Placed], [Placed], "same", "none", /as it was/],
    ["a type that no file has", [], [Placed], "new", "note", /write one/],
    [
      "a description",
      [Placed],
      [placed({ ...fields, order: Schema.String.annotate({ description: "x" }) })],
      "compatible",
      "note",
      /anew/
    ],
    [
      "an optional field",
      [Placed],
      [placed({ ...fields, gift: Schema.optionalKey(Schema.Boolean) })],
      "compatible",
      "note",
      /anew/
    ],
    [
      "a field that is required now",
      [Placed],
      [placed({ ...fields, gift: Schema.Boolean })],
      "old-readers",
      "error",
      /gift may be missing/
    ],
    [
      "a field that is optional now",
      [Placed],
      [placed({ ...fields, order: Schema.optionalKey(Schema.String) })],
      "old-writers",
      "warning",
      /order may be missing/
    ],
    ["a field that is gone", [Placed], [placed({ total: Money })], "old-writers", "warning", /order may be missing/],
    [
      "another type",
      [Placed],
      [placed({ ...fields, order: Schema.Int })],
      "neither",
      "error",
      /order: string is written, integer is read/
    ],
    [
      "a wider number",
      [Placed],
      [placed({ ...fields, total: Schema.Struct({ ...Money.fields, cents: Schema.Finite }) })],
      "old-writers",
      "warning",
      /total\.cents: number is written/
    ],
    [
      "a literal more",
      [Placed],
      [placed({ ...fields, total: Schema.Struct({ ...Money.fields, currency: Schema.Literals(["EUR", "USD", "CHF"]) }) })],
      "old-writers",
      "warning",
      /"CHF" is written/
    ],
    [
      "a literal less",
      [Placed],
      [placed({ ...fields, total: Schema.Struct({ ...Money.fields, currency: Schema.Literals(["EUR"]) }) })],
      "old-readers",
      "error",
      /"USD" is written/
    ],
    [
      "a tighter bound",
      [Placed],
      [placed({ ...fields, order: Schema.String.check(Schema.isMaxLength(8)) })],
      "old-readers",
      "error",
      /maxLength 8/
    ],
    [
      "a new version with its upcast",
      [Placed],
      [placed({ id: Schema.String }, { version: 2, upcast })],
      "upcast",
      "note",
      /version 2/
    ],
    [
      "a new version without one",
      [Placed],
      [placed({ id: Schema.String }, { version: 2 })],
      "upcast-missing",
      "error",
      /from version 1 to 2/
    ],
    [
      "a gap in the upcasts",
      [Placed],
      [placed({ id: Schema.String }, { version: 3, upcast })],
      "upcast-missing",
      "error",
      /from version 2 to 3/
    ],
    ["an older definition", [placed(fields, { version: 2, upcast })], [Placed], "older", "error", /version 2/],
    ["a type that is gone", [Placed], [], "removed", "error", /Event\.retired/],
    [
      "a type that was renamed",
      [Placed],
      [Event.make("Ordered", fields, { published: true, aliases: ["Placed"] })],
      "compatible",
      "note",
      /anew/
    ]
  ]

  it.each(cases)("%s", (_, kept, events, verdict, level, message) => {
    const [finding, ...others] = check(events, kept.map(keep))
    assert.deepEqual([finding?.verdict, finding?.level, others], [verdict, level, []])
    assert.match(finding?.message ?? "", message)
  })

  it("passes over a type that is retired", () => {
    assert.deepEqual(check([Event.retired("Placed")], [keep(Placed)]), [])
  })

  it("knows what is in personal fields, and that they are read in an envelope alone", () => {
    const event = (name: Fields[string]) =>
      Event.make("Registered", { customer: Schema.String, data: Schema.Array(Schema.Struct({ customer: Schema.String, name })) })
    const verdict = (now: Fields[string], old: Fields[string]) => {
      const [finding] = check([event(now)], [keep(event(old))])
      return [finding?.verdict, finding?.message.replace(/.*: (data|old)/, "$1").replace(/\. Raise.*/, "")]
    }
    const personal = (schema: Fields[string]) => Personal.field(schema, { subject: "customer" })
    const text = personal(Schema.String)
    assert.deepEqual(describeEvent(event(text)).vague, [])
    assert.deepEqual(verdict(text, text), ["same", "as it was"])
    assert.deepEqual(verdict(Personal.field(Schema.String, { subject: "customer", whenForgotten: "" }), text), [
      "same",
      "as it was"
    ])
    assert.deepEqual(verdict(personal(Schema.Int), text), [
      "neither",
      "data[].name.$personal.value: string is written, integer is read"
    ])
    assert.deepEqual(verdict(personal(Schema.NullOr(Schema.String)), text)[0], "old-writers")
    const withDefault = text.pipe(Schema.withDecodingDefaultKey(Effect.succeed({ $personal: { forgotten: true } })))
    assert.deepEqual(verdict(withDefault, text)[0], "old-writers")
    const more = (data?: Fields[string]) => Event.make("E", { customer: Schema.String, ...(data === undefined ? {} : { data }) })
    assert.equal(check([more(withDefault)], [keep(more())])[0]?.verdict, "compatible")
    assert.deepEqual(verdict(text, Schema.String), ["neither", "data[].name: string is written, object is read"])
    assert.deepEqual(verdict(Schema.String, text), ["neither", "data[].name: object is written, string is read"])
  })

  it("does not warn of old readers where nobody else reads", () => {
    const inside = (changed: Fields) => Event.make("Inside", changed)
    const [finding] = check([inside({ a: Schema.optionalKey(Schema.String) })], [keep(inside({ a: Schema.String }))])
    assert.deepEqual([finding?.verdict, finding?.level], ["old-writers", "note"])
  })
})

describe("who can read what is written", () => {
  const doc = (schema: Fields[string]): JsonSchema => describeEvent(Event.make("E", { value: schema })).document
  class Tree extends Schema.Class<Tree>("Tree")({
    name: Schema.String,
    below: Schema.Array(
      Schema.suspend((): Schema.Codec<Tree, { readonly name: string; readonly below: ReadonlyArray<unknown> }> => Tree as never)
    )
  }) {}
  const cases: ReadonlyArray<readonly [string, Fields[string], Fields[string], boolean]> = [
    ["a choice of more", Schema.Union([Schema.String, Schema.Int]), Schema.String, true],
    ["a choice of less", Schema.String, Schema.Union([Schema.String, Schema.Int]), false],
    ["null as well", Schema.NullOr(Schema.String), Schema.String, true],
    ["null no more", Schema.String, Schema.NullOr(Schema.String), false],
    ["a list of what is read", Schema.Array(Schema.Finite), Schema.Array(Schema.Int), true],
    ["a list of something else", Schema.Array(Schema.Int), Schema.Array(Schema.String), false],
    ["a pair for a list", Schema.Array(Schema.String), Schema.Tuple([Schema.String, Schema.String]), true],
    ["a list for a pair", Schema.Tuple([Schema.String, Schema.String]), Schema.Array(Schema.String), false],
    ["a record of what is read", Schema.Record(Schema.String, Schema.Finite), Schema.Record(Schema.String, Schema.Int), true],
    ["a record of something else", Schema.Record(Schema.String, Schema.Int), Schema.Record(Schema.String, Schema.String), false],
    ["anything", Schema.Json, Schema.String, true],
    ["something, of anything", Schema.String, Schema.Json, false],
    ["another pattern", Schema.BigInt, Schema.String, false],
    ["what contains itself", Tree, Tree, true]
  ]
  it.each(cases)("%s", (_, reader, writer, can) => {
    assert.equal(readingFaults(doc(reader), doc(writer)).length === 0, can)
  })
})

describe("what schema writes", () => {
  const Shipped = Event.make("Shipped *now*", { tree: Schema.declare((value): value is Date => value instanceof Date) })

  it("describes what is stored, without the tag, and says what it cannot describe", () => {
    const { document, vague } = describeEvent(Placed)
    assert.deepEqual(Object.keys(document["properties"] as object), ["order", "total", "note"])
    assert.deepEqual(
      [document["required"], document["title"], document["x-version"], vague],
      [["order", "total"], "Placed", 1, []]
    )
    assert.deepEqual(describeEvent(Shipped).vague, ["tree"])
    assert.equal(fileOf(describeEvent(Shipped)), "Shipped%20%2Anow%2A.v1.json")
  })

  it("is AsyncAPI of what is published, and of nothing else", () => {
    const api = asyncApi([Placed, Shipped], "Shop", "1.0.0") as unknown as {
      readonly asyncapi: string
      readonly channels: { readonly events: { readonly messages: object } }
      readonly components: { readonly messages: Readonly<Record<string, { readonly payload: { readonly schema: JsonSchema } }>> }
    }
    assert.equal(api.asyncapi, "3.0.0")
    assert.deepEqual(Object.keys(api.channels.events.messages), ["Placed"])
    assert.deepEqual(Object.keys(api.components.messages), ["Placed"])
    assert.equal(api.components.messages["Placed"]?.payload.schema["title"], "Placed")
  })

  it("is a page in which names are text", () => {
    const page = catalogue({ aggregates: [], processes: [] }, [Placed, Shipped])
    assert.match(page, /### Placed\n\nVersion 1, published\./)
    assert.match(page, /\| order \| string \| yes \| {2}\|/)
    assert.match(page, /### Shipped \\\*now\\\*/)
  })

  it("is SARIF of what is to be done", () => {
    const findings = check([placed({ ...fields, order: Schema.Int })], [keep(Placed)])
    const { runs } = sarif(findings, "schemas/", "1.2.3") as unknown as {
      readonly runs: ReadonlyArray<{ readonly results: ReadonlyArray<Readonly<Record<string, unknown>>> }>
    }
    const [result] = runs[0]?.results ?? []
    assert.deepEqual([result?.["ruleId"], result?.["level"]], ["schema/neither", "error"])
    assert.match(JSON.stringify(result), /schemas\/Placed\.v1\.json/)
  })

  it.effect("is what schema --check finds again", () =>
    Effect.gen(function* () {
      const folder = join(yield* temporaryDirectory, "schemas")
      const module = "test/cli/processes/shop.ts"
      assert.equal((yield* eventfold(["schema", module, "--check", folder])).code, 4)
      assert.equal((yield* eventfold(["schema", module, "--out", folder])).code, 0)
      assert.deepEqual((yield* Effect.promise(() => readdir(folder))).toSorted(), [
        "Paid.v1.json",
        "Placed.v1.json",
        "asyncapi.json",
        "catalogue.md"
      ])
      const same = yield* eventfold(["schema", module, "--check", folder, "--json"])
      assert.deepEqual([same.code, same.err], [0, ""])
      const file = join(folder, "Paid.v1.json")
      const text = yield* Effect.promise(() => readFile(file, "utf8"))
      yield* Effect.promise(() => writeFile(file, text.replace('"type": "string"', '"type": "integer"')))
      const report = join(folder, "report.sarif")
      const differs = yield* eventfold(["schema", module, "--check", folder, "--sarif", report])
      assert.deepEqual([differs.code, differs.err], [5, `eventfold: 1 type of 2 differ from ${folder}.\n`])
      assert.match(differs.out, /Paid +1 +neither/)
      assert.match(yield* Effect.promise(() => readFile(report, "utf8")), /schema\/neither/)
      yield* Effect.promise(() => mkdir(join(folder, "empty")))
      assert.equal((yield* eventfold(["schema", module, "--check", join(folder, "empty")])).code, 5)
      yield* Effect.promise(() => writeFile(file, "no JSON"))
      assert.match((yield* eventfold(["schema", module, "--check", folder])).err, /Paid\.v1\.json is no JSON/)
      assert.equal((yield* eventfold(["schema", module, "--sarif", report])).code, 2)
    }).pipe(Effect.scoped)
  )
})
