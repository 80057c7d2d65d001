/**
 * CloudEvents on the wire, for all brokers. What is written is strict: a {@link Message}, whole. What is read is all of CloudEvents
 * 1.0: both modes, each attribute in its own type or as text, and data of any content type.
 */
import * as DateTime from "effect/DateTime"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { tenantFault } from "../definitions/tenant.ts"
import { parseJson, writeJson } from "../internal/exactJson.ts"
import { textFault } from "../internal/json.ts"
import { bytesOf, dataOf, textOf, toBase64 } from "./data.ts"
import { type CloudEvent, extensionFault, isOwn, type Message } from "./message.ts"

/**
 * The attributes of a CloudEvent by name. `schemaversion` is a number, all others are text.
 *
 * @category models
 * @since 0.2.0
 */
export type Attributes = Readonly<Record<string, string | number>>

/**
 * A message in CloudEvents' binary mode: the attributes, for the headers of the broker, and the data as text of JSON.
 *
 * @category models
 * @since 0.2.0
 */
export interface Binary {
  readonly attributes: Attributes
  readonly data: string
}

// -----------------------------------------------------------------------------
// writing
// -----------------------------------------------------------------------------

const required = ["id", "source", "type", "subject"] as const
/** The attributes whose text is anybody's choice. */
const free = [...required, "correlationid", "causationid"] as const
const isJson = Schema.is(Schema.Json)

/**
 * Why a message cannot be published; `undefined` when it can.
 *
 * @category encoding
 * @since 0.2.0
 */
export const messageFault = (message: Message): string | undefined => {
  const { data, datacontenttype, extensions = {}, position, schemaversion, specversion, tenant, time } = message
  if (specversion !== "1.0") return `its specversion is ${String(specversion)}, and not 1.0`
  for (const name of required) {
    if (typeof message[name] !== "string") return `its ${name} is no text`
    if (message[name] === "") return `its ${name} is empty`
  }
  if (tenant !== undefined && tenantFault(tenant) !== undefined) return `its tenant ${tenantFault(tenant)}`
  if (!DateTime.isDateTime(time)) return "its time is no instant"
  if (datacontenttype !== "application/json") return "its datacontenttype is not application/json"
  if (!Number.isInteger(schemaversion)) return "its schemaversion is no integer"
  if (!Number.isFinite(position)) return "its position is no finite number"
  for (const name of free) {
    const fault = textFault(message[name] ?? "")
    if (fault !== undefined) return `an attribute is malformed: its ${name} ${fault}`
  }
  for (const [name, value] of Object.entries(extensions)) {
    const fault = extensionFault(name)
    if (fault !== undefined) return fault
    if (typeof value !== "string") return `its extension "${name}" is no text`
    const malformed = textFault(value)
    if (malformed !== undefined) return `an attribute is malformed: its extension "${name}" ${malformed}`
  }
  return isJson(data) ? undefined : "its data is no JSON"
}

/**
 * Whether an event that was received is as eventfold publishes it: it has a position, and it may be published again.
 *
 * @category guards
 * @since 0.2.0
 */
export const isMessage = (event: CloudEvent): event is Message => messageFault(event as Message) === undefined

/** All attributes of an event, as they are written. */
const attributesOf = (event: CloudEvent): Record<string, string | number | boolean> => {
  const { extensions, causationid, correlationid, datacontenttype, dataschema, position, schemaversion, subject, tenant, time } =
    event
  return {
    specversion: event.specversion,
    id: event.id,
    source: event.source,
    // Behind the source: a transport that looks for both in a document finds them together.
    ...(tenant !== undefined && { tenant }),
    type: event.type,
    ...(subject !== undefined && { subject }),
    ...(time !== undefined && { time: DateTime.formatIso(time) }),
    ...(datacontenttype !== undefined && { datacontenttype }),
    ...(dataschema !== undefined && { dataschema }),
    ...(schemaversion !== undefined && { schemaversion }),
    ...(correlationid !== undefined && { correlationid }),
    ...(causationid !== undefined && { causationid }),
    // Integers of CloudEvents have 32 bits.
    ...(position !== undefined && { position: String(position) }),
    ...extensions
  }
}

/** Writes a message that has no fault. */
const writing = <A>(message: Message, write: () => A): Result.Result<A, string> =>
  Result.flatMap(
    Result.try({ try: () => messageFault(message), catch: (cause) => `it is no message: ${String(cause)}` }),
    (fault) => (fault === undefined ? Result.succeed(write()) : Result.fail(fault))
  )

/**
 * The message in binary mode. Fails, with what is wrong, when it is no message that anybody could read.
 *
 * @category encoding
 * @since 0.2.0
 */
export const encodeBinary = (message: Message): Result.Result<Binary, string> =>
  writing(message, () => ({
    // A message has no other attributes than text, and its schema version.
    attributes: attributesOf(message) as Attributes,
    data: writeJson(message.data)
  }))

/**
 * The message in structured mode: its document as text of JSON. Fails as {@link encodeBinary} does.
 *
 * @category encoding
 * @since 0.2.0
 */
export const encodeText = (message: Message): Result.Result<string, string> => writing(message, () => documentOf(message))

/**
 * The document of any event, in the JSON format. It is read back equal.
 *
 * @category encoding
 * @since 0.2.0
 */
export const documentOf = (event: CloudEvent): string => {
  const { data } = event
  const body = data === undefined ? {} : data instanceof Uint8Array ? { data_base64: toBase64(data) } : { data }
  return writeJson({ ...attributesOf(event), ...body })
}

// -----------------------------------------------------------------------------
// reading
// -----------------------------------------------------------------------------

type Value = string | number | boolean

/** The day, the time, the fraction of a second, and the offset. */
const rfc3339 = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:)(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/

/** A timestamp as we write it, of no leap second. */
const usual = /^\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d\.\d{3}Z$/

/** The instant of a timestamp, to the millisecond. A leap second is the one that comes after it. */
const instantOf = (text: string): DateTime.Utc | undefined => {
  if (usual.test(text)) {
    const millis = Date.parse(text)
    return Number.isNaN(millis) ? undefined : DateTime.makeUnsafe(millis)
  }
  const [, day, minutes, seconds, fraction = "", offset = ""] = rfc3339.exec(text) ?? []
  if (day === undefined || minutes === undefined || seconds === undefined) return undefined
  const leap = seconds === "60"
  const millis = Date.parse(`${day}T${minutes}${leap ? "59" : seconds}${fraction.slice(0, 4)}${offset.toUpperCase()}`)
  return Number.isNaN(millis) ? undefined : DateTime.makeUnsafe(leap ? Math.floor(millis / 1000) * 1000 + 1000 : millis)
}

const integerOf = (value: Value): number | undefined =>
  value !== "" && typeof value !== "boolean" && Number.isSafeInteger(Number(value)) ? Number(value) : undefined

const finiteOf = (value: Value): number | undefined =>
  value !== "" && typeof value !== "boolean" && Number.isFinite(Number(value)) ? Number(value) : undefined

const isValue = (value: unknown): value is Value =>
  typeof value === "string" || typeof value === "number" || typeof value === "boolean"

/** An event while it is read. */
type Draft = { -readonly [Name in keyof CloudEvent]: CloudEvent[Name] }

/** What an attribute says, if it says anything; what is wrong with it is told. */
const valueOf = (name: string, value: unknown, fail: (why: string) => void): Value | undefined => {
  if (value === undefined || value === null) return undefined
  if (value instanceof Uint8Array) return toBase64(value)
  if (!isValue(value)) return void fail(`its attribute "${name}" is neither text nor a number nor a boolean`)
  const fault = typeof value === "string" ? textFault(value) : undefined
  return fault === undefined ? value : void fail(`its attribute "${name}" ${fault}`)
}

/** Everything of an event but its data, for which `isDocument` says whether it stands among the attributes. */
const readHead = (attributes: Readonly<Record<string, unknown>>, isDocument: boolean): Result.Result<Draft, string> => {
  const head: Draft = { specversion: "1.0", id: "", source: "", type: "" }
  const extensions: Array<readonly [string, Value]> = []
  let specversion = ""
  let timestamp = ""
  let fault: string | undefined
  const fail = (why: string) => (fault ??= why)
  for (const name of Object.keys(attributes)) {
    if (isDocument && (name === "data" || name === "data_base64")) continue
    const value = valueOf(name, attributes[name], fail)
    if (fault !== undefined) return Result.fail(fault)
    if (value === undefined) continue
    switch (name) {
      case "specversion":
        specversion = String(value)
        break
      case "time":
        timestamp = String(value)
        break
      case "id":
      case "source":
      case "type":
        head[name] = String(value)
        break
      case "subject":
      case "datacontenttype":
      case "dataschema":
        // Attributes that may not be empty are absent where they are.
        if (value !== "") head[name] = String(value)
        break
      case "tenant":
        // What others use for something else is theirs.
        if (typeof value === "string" && tenantFault(value) === undefined) head.tenant = value
        else extensions.push([name, value])
        break
      case "correlationid":
      case "causationid":
        head[name] = String(value)
        break
      case "schemaversion":
      case "position": {
        const number = name === "position" ? finiteOf(value) : integerOf(value)
        // What others use for something else is theirs.
        if (number === undefined) extensions.push([name, value])
        else head[name] = number
        break
      }
      default:
        if (!isOwn(name)) extensions.push([name, value])
    }
  }
  const missing = faultOf(head, specversion)
  if (missing !== undefined) return Result.fail(missing)
  if (timestamp !== "") {
    const time = instantOf(timestamp)
    if (time === undefined) return Result.fail(`its time "${timestamp}" is no timestamp of RFC 3339`)
    head.time = time
  }
  if (extensions.length > 0) head.extensions = Object.fromEntries(extensions)
  return Result.succeed(head)
}

/** What an event lacks that each must have. */
const faultOf = ({ id, source, type }: Draft, specversion: string): string | undefined => {
  if (specversion === "") return "it has no specversion"
  if (specversion !== "1.0") return `its specversion is "${specversion}", and not "1.0"`
  if (id !== "" && source !== "" && type !== "") return undefined
  const missing = Object.entries({ id, source, type }).flatMap(([name, value]) => (value === "" ? [name] : []))
  return `it has no ${missing.join(", no ")}`
}

/** An event with its data, as far as it has some. */
const withData = (head: Draft, data: CloudEvent["data"]): CloudEvent => {
  if (data !== undefined) head.data = data
  return head
}

/**
 * The event of attributes and data: binary mode. An attribute may have either form that the bindings allow: its own type, or text.
 * Fails, with what is wrong, when it is no CloudEvent, or its data is not what its content type says.
 *
 * @category encoding
 * @since 0.2.0
 */
export const decodeBinary = (
  attributes: Readonly<Record<string, unknown>>,
  data: string | Uint8Array
): Result.Result<CloudEvent, string> =>
  Result.flatMap(readHead(attributes, false), (head) =>
    Result.map(dataOf(bytesOf(data), head.datacontenttype, true), (read) => withData(head, read))
  )

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/**
 * The event of a document in the JSON format: structured mode. Fails as {@link decodeBinary} does.
 *
 * @category encoding
 * @since 0.2.0
 */
export const decodeText = (document: string | Uint8Array): Result.Result<CloudEvent, string> => {
  const parsed = Result.try({
    try: (): unknown => parseJson(textOf(document)),
    catch: (cause) => `it is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`
  })
  return Result.flatMap(parsed, (value) => {
    if (!isRecord(value)) return Result.fail("it is no document of a CloudEvent: it is no JSON object")
    const { data, data_base64: base64 } = value
    return Result.flatMap(readHead(value, true), (head) => {
      // What has been parsed is JSON.
      if (base64 === undefined || base64 === null) return Result.succeed(withData(head, data as Schema.Json | undefined))
      if (typeof base64 !== "string") return Result.fail("its data_base64 is no text")
      return Result.flatMap(bytesOfBase64(base64), (bytes) =>
        Result.map(dataOf(bytes, head.datacontenttype, false), (read) => withData(head, read))
      )
    })
  })
}

const bytesOfBase64 = (text: string): Result.Result<Uint8Array, string> =>
  /^[A-Za-z0-9+/_-]*={0,2}$/.test(text)
    ? Result.succeed(new Uint8Array(Buffer.from(text, "base64")))
    : Result.fail("its data_base64 is no Base64")

/**
 * Whether a content type says that the body is the whole event: the structured mode, in the JSON format.
 *
 * @category encoding
 * @since 0.2.0
 */
export const isStructured = (contentType: string): boolean => /^application\/cloudevents(\+json)?\s*(;|$)/i.test(contentType)

/**
 * What a content type says of an event that is in no mode that is read here: a batch, or a format other than JSON.
 *
 * @category encoding
 * @since 0.2.0
 */
export const formatFault = (contentType: string): string | undefined =>
  /^application\/cloudevents/i.test(contentType) && !isStructured(contentType)
    ? `it is in the format "${contentType}", and CloudEvents are read one by one, in binary mode or in the JSON format`
    : undefined

/**
 * What an event is known by: its source and its id together, and its tenant where it has one, as one text.
 *
 * @category accessors
 * @since 0.2.0
 */
export const keyOf = ({ id, source, tenant }: Pick<CloudEvent, "id" | "source" | "tenant">): string =>
  JSON.stringify(tenant === undefined ? [source, id] : [source, id, tenant])

/**
 * What is no CloudEvent, as one, so that it can be kept and looked at: its bytes are the data.
 *
 * @category encoding
 * @since 0.2.0
 */
export const wrap = (found: {
  /** Where it was found: the broker's name for the place. */
  readonly source: string
  /** What the broker knows it by. */
  readonly id: string
  /** The type under which it came. Default: `"unreadable"`. */
  readonly type?: string | undefined
  readonly body: string | Uint8Array
}): CloudEvent => ({
  specversion: "1.0",
  id: found.id,
  source: found.source,
  type: found.type || "unreadable",
  data: new Uint8Array(bytesOf(found.body))
})
