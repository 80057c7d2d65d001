import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { CloudEvent } from "cloudevents"
import { DateTime, Result, Schema } from "effect"
import type { Transport } from "eventfold"
import * as Kit from "eventfold/kit"
import { samples } from "../support/cloudEvents.ts"

const message: Transport.Message = {
  specversion: "1.0",
  id: "1",
  source: "/shop",
  type: "Placed",
  subject: "Order-1",
  time: DateTime.makeUnsafe("2026-02-03T04:05:06.789Z"),
  datacontenttype: "application/json",
  data: { n: 1 },
  schemaversion: 2,
  position: 7
}

const required = { specversion: "1.0", id: "1", source: "/s", type: "T" }

const read = (document: object) => Result.getOrThrow(Kit.decodeText(JSON.stringify(document)))
const faultOf = (result: Result.Result<unknown, string>) => (Result.isFailure(result) ? result.failure : "it was read")

describe("CloudEvents of other producers", () => {
  describe.each(samples)("$name", ({ binary, document, expected }) => {
    it("are CloudEvents", () => {
      assert.equal(new CloudEvent(document).validate(), true)
    })

    it("are read in structured mode, as text or bytes", () => {
      const text = JSON.stringify(document)
      assert.deepEqual(Kit.decodeText(text), Result.succeed(expected))
      assert.deepEqual(Kit.decodeText(new TextEncoder().encode(text)), Result.succeed(expected))
    })

    it("are read in binary mode", () => {
      assert.deepEqual(Kit.decodeBinary(binary.attributes, binary.body), Result.succeed(expected))
    })

    it("are read back equal from the document that is kept of them", () => {
      assert.deepEqual(Kit.decodeText(Kit.documentOf(expected)), Result.succeed(expected))
    })
  })

  it("may have attributes of null, which are not set, and extensions of each type", () => {
    const document = { ...required, subject: null, time: null, flag: true, count: -3, name: "x", data: null }
    assert.deepEqual(read(document), { ...required, extensions: { flag: true, count: -3, name: "x" }, data: null })
  })

  it("may say attributes of eventfold's otherwise: then they are extensions", () => {
    assert.deepEqual(read({ ...required, schemaversion: "v2", position: true, correlationid: 5 }), {
      ...required,
      correlationid: "5",
      extensions: { schemaversion: "v2", position: true }
    })
  })

  it("have bytes as they are where nothing says what they are", () => {
    const data = new Uint8Array([1, 200])
    assert.deepEqual(read({ ...required, data_base64: "Acg=" }).data, data)
    assert.deepEqual(read({ ...required, data_base64: Buffer.from("{}").toString("base64") }).data, new Uint8Array([123, 125]))
    assert.deepEqual(Result.getOrThrow(Kit.decodeBinary(required, data)).data, data)
    assert.deepEqual(Result.getOrThrow(Kit.decodeBinary(required, "no JSON")).data, new TextEncoder().encode("no JSON"))
  })

  it("have text in the character set of their content type", () => {
    const latin = Kit.decodeBinary({ ...required, datacontenttype: 'text/csv; charset="iso-8859-1"' }, new Uint8Array([228]))
    assert.equal(Result.getOrThrow(latin).data, "ä")
    const broken = Kit.decodeBinary({ ...required, datacontenttype: "text/plain" }, new Uint8Array([228]))
    assert.deepEqual(Result.getOrThrow(broken).data, new Uint8Array([228]))
  })

  it.each([
    ["2026-02-03T04:05:06Z", "2026-02-03T04:05:06.000Z"],
    ["2026-02-03t04:05:06.7z", "2026-02-03T04:05:06.700Z"],
    ["2026-02-03T04:05:06.123456789-08:00", "2026-02-03T12:05:06.123Z"],
    ["2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"],
    ["0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00.000Z"]
  ])("are of %s: the instant %s", (time, instant) => {
    const read = Result.getOrThrow(Kit.decodeText(JSON.stringify({ ...required, time })))
    assert.equal(read.time && DateTime.formatIso(read.time), instant)
  })

  it.each<readonly [object | string, RegExp]>([
    ["no JSON", /is not JSON/],
    ["[]", /no JSON object/],
    [{}, /no specversion/],
    [{ ...required, specversion: "0.3" }, /specversion is "0.3"/],
    [{ specversion: "1.0", type: "T" }, /no id, no source/],
    [{ ...required, id: "" }, /no id/],
    [{ ...required, time: "yesterday" }, /time "yesterday"/],
    [{ ...required, time: "2026-02-30T00:00:00" }, /time/],
    [{ ...required, ext: { deep: 1 } }, /attribute "ext"/],
    [{ ...required, ext: "a\u0000" }, /U\+0000/],
    [{ ...required, data_base64: "*" }, /Base64/],
    [{ ...required, data_base64: "Acg=", datacontenttype: "application/json" }, /data is not JSON/]
  ])("are none: %j", (document, fault) => {
    assert.match(faultOf(Kit.decodeText(typeof document === "string" ? document : JSON.stringify(document))), fault)
  })

  it("come one by one: batches and other formats are named", () => {
    assert.match(Kit.formatFault("application/cloudevents-batch+json") ?? "", /cloudevents-batch/)
    assert.match(Kit.formatFault("application/cloudevents+avro") ?? "", /avro/)
    for (const type of ["application/cloudevents+json; charset=utf-8", "application/json"])
      assert.equal(Kit.formatFault(type), undefined)
  })
})

describe("what eventfold writes", () => {
  const Text = Schema.String.pipe(
    Schema.check(Schema.makeFilter((text: string) => text.isWellFormed() && !text.includes("\u0000")))
  )
  const Filled = Text.pipe(Schema.check(Schema.isMinLength(1)))
  const Extensions = Schema.Record(Schema.String.pipe(Schema.check(Schema.isPattern(/^x[a-z0-9]{0,19}$/))), Text)

  it.prop(
    "is read back equal, in each mode",
    [Filled, Filled, Schema.Json, Schema.Int, Extensions],
    ([id, subject, data, position, extensions]) => {
      const sent: Transport.Message = {
        ...message,
        id,
        subject,
        data: JSON.parse(JSON.stringify(data)) as Schema.Json,
        position: position === 0 ? 0 : position,
        ...(Object.keys(extensions).length > 0 && { extensions: { ...extensions } })
      }
      assert.deepEqual(Result.flatMap(Kit.encodeText(sent), Kit.decodeText), Result.succeed(sent))
      const { attributes, data: body } = Result.getOrThrow(Kit.encodeBinary(sent))
      assert.deepEqual(Kit.decodeBinary(attributes, body), Result.succeed(sent))
      const texts = Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, String(value)]))
      assert.deepEqual(Kit.decodeBinary(texts, new TextEncoder().encode(body)), Result.succeed(sent))
    }
  )

  it.each<readonly [Partial<Record<keyof Transport.Message, unknown>>, RegExp]>([
    [{ id: "" }, /id is empty/],
    [{ subject: undefined }, /subject is no text/],
    [{ schemaversion: undefined }, /schemaversion/],
    [{ position: Number.NaN }, /position/],
    [{ time: "now" }, /time/],
    [{ datacontenttype: "text/plain" }, /datacontenttype/],
    [{ data: undefined }, /data is no JSON/],
    [{ data: Number.NaN }, /data is no JSON/],
    [{ data: new Uint8Array(1) }, /data is no JSON/],
    [{ correlationid: "\ud800" }, /correlationid contains a lone surrogate/],
    [{ extensions: { tenantId: "a" } }, /"tenantId" cannot be the name/],
    [{ extensions: { abcdefghijklmnopqrstu: "a" } }, /1 to 20/],
    [{ extensions: { subject: "a" } }, /"subject" is an attribute/],
    [{ extensions: { region: 5 } }, /"region" is no text/],
    [{ tenant: "a/b" }, /its tenant "a\/b" must be/],
    [{ extensions: { tenant: "acme" } }, /"tenant" is an attribute/]
  ])("is strict: %j is refused", (more, fault) => {
    // What has no types may come.
    const sent = { ...message, ...more } as Transport.Message
    assert.match(faultOf(Kit.encodeText(sent)), fault)
    assert.match(faultOf(Kit.encodeBinary(sent)), fault)
  })
})
