/** What events look like in the store, as JSON Schema (draft 2020-12): from their fields, without the tag, which has a column of its own. */
import * as Schema from "effect/Schema"
import type * as Event from "../../definitions/Event.ts"
import { describedSchema } from "../../definitions/personalField.ts"

export type JsonSchema = Readonly<Record<string, Schema.Json>>

/** A type of events at a version, as its file has it. */
export interface Described {
  readonly type: string
  readonly version: number
  readonly published: boolean
  readonly document: JsonSchema
  /** What of the payload is not described, by its path: a Schema that says nothing to others. */
  readonly vague: ReadonlyArray<string>
}

const isObject = (value: unknown): value is JsonSchema => typeof value === "object" && value !== null && !Array.isArray(value)

/** Where a Schema says nothing: `{}`. */
const vagueIn = (schema: Schema.Json | undefined, path: string): ReadonlyArray<string> => {
  if (!isObject(schema)) return []
  if (Object.keys(schema).length === 0) return [path]
  const below = (key: string) =>
    isObject(schema[key])
      ? Object.entries(schema[key]).flatMap(([name, item]) => vagueIn(item, path === "" ? name : `${path}.${name}`))
      : []
  const choices = [schema["anyOf"], schema["allOf"], schema["prefixItems"]].flatMap((list) => (Array.isArray(list) ? list : []))
  return [
    ...below("properties"),
    ...below("$defs"),
    ...choices.flatMap((choice) => vagueIn(choice as Schema.Json, path)),
    ...vagueIn(schema["items"], `${path}[]`)
  ]
}

/** What an event's payload looks like. */
export const describeEvent = (event: Event.Any): Described => {
  // An event is a struct with a tag, which `Event.Any` does not say.
  const { _tag: _, ...fields } = (event as unknown as { readonly fields: Event.Fields }).fields
  const { definitions, schema } = Schema.toJsonSchemaDocument(describedSchema(Schema.Struct(fields)))
  const body = { ...(schema as JsonSchema), ...(Object.keys(definitions).length > 0 && { $defs: definitions as JsonSchema }) }
  return {
    type: event.type,
    version: event.version,
    published: event.published,
    document: {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      title: event.type,
      "x-version": event.version,
      "x-published": event.published,
      ...(event.aliases.length > 0 && { "x-aliases": event.aliases }),
      ...body
    },
    vague: vagueIn(body, "")
  }
}

/** The name of the file of a type at a version. */
export const fileOf = ({ type, version }: Pick<Described, "type" | "version">): string =>
  `${encodeURIComponent(type).replaceAll("*", "%2A")}.v${version}.json`

/** A document as text that a person may read, and a difference of which is small. */
export const textOf = (document: JsonSchema): string => `${JSON.stringify(document, null, 2)}\n`
