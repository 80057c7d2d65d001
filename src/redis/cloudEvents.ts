/**
 * CloudEvents as entries of a stream. They have no binding for Redis: an entry has a document in its field `event`, or, as in the
 * binary mode of other brokers, a field for each attribute and one for the data.
 */
import * as Result from "effect/Result"
import { decodeBinary, decodeText } from "../transport/kit.ts"
import type { CloudEvent } from "../transport/Transport.ts"

/** What the names of attributes may begin with, as in other bindings. The script that filters by types knows them, too. */
export const prefixes = ["ce-", "ce_", "cloudEvents_", "cloudEvents:", ""] as const

/** An entry: its document, or its fields, each a name and a value. */
export type Entry = string | ReadonlyArray<string>

/** Reads either mode. The failure says what is wrong. */
export const decode = (entry: Entry): Result.Result<CloudEvent, string> => {
  if (typeof entry === "string") return decodeText(entry)
  const fields = new Map<string, string>()
  for (let index = 0; index + 1 < entry.length; index += 2) fields.set(entry[index] ?? "", entry[index + 1] ?? "")
  const prefix = prefixes.find((prefix) => fields.has(`${prefix}specversion`))
  if (prefix === undefined) return Result.fail('it has neither a field "event" nor one for its specversion')
  const attributes: Record<string, string> = {}
  for (const [name, value] of fields) if (name.startsWith(prefix)) attributes[name.slice(prefix.length)] = value
  const contentType = fields.get("content-type")
  if (contentType !== undefined) attributes["datacontenttype"] ??= contentType
  const base64 = fields.get("data_base64")
  const data = base64 === undefined ? (fields.get("data") ?? "") : new Uint8Array(Buffer.from(base64, "base64"))
  for (const name of ["data", "data_base64", "content-type"]) delete attributes[name]
  return decodeBinary(attributes, data)
}

/** The text of an entry, for whoever has to look at what is no message. */
export const bodyOf = (entry: Entry): string => (typeof entry === "string" ? entry : JSON.stringify(entry))
