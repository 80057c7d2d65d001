/** Documents about all events of a program: AsyncAPI for what is published, a page for people, and SARIF for a code host. */
import type * as Schema from "effect/Schema"
import type * as Event from "../../definitions/Event.ts"
import type { Module } from "../modules.ts"
import type { Finding } from "./checking.ts"
import { describeEvent, type Described, type JsonSchema } from "./describing.ts"

const attribute = (description: string): JsonSchema => ({ type: "string", description })

/** The attributes of the CloudEvents that leave a program, as headers. */
const headers: JsonSchema = {
  type: "object",
  properties: {
    specversion: { const: "1.0" },
    id: attribute("The id of the event: what comes twice has it twice"),
    source: attribute("The program that has published it"),
    tenant: attribute("The tenant whose event it is, where the program has tenants"),
    type: attribute("The type of the event"),
    subject: attribute("The stream of the event"),
    time: { type: "string", format: "date-time" },
    schemaversion: { type: "integer", description: "The version of the payload's schema" },
    position: attribute("Its place in the log of its program"),
    correlationid: attribute("The conversation that it belongs to"),
    causationid: attribute("The message that caused it")
  },
  required: ["specversion", "id", "source", "type", "subject", "time", "schemaversion", "position"]
}

const isList = (value: Schema.Json): value is ReadonlyArray<Schema.Json> => Array.isArray(value)

/** References of a document that has become a part of another. */
const moved = (value: Schema.Json, base: string): Schema.Json => {
  if (isList(value)) return value.map((item) => moved(item, base))
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) =>
      key === "$ref" && typeof item === "string" ? [key, item.replace(/^#\//, `${base}/`)] : [key, moved(item, base)]
    )
  )
}

/** Names of an AsyncAPI document may have these characters alone. */
const keyOf = (type: string): string => type.replace(/[^A-Za-z0-9._-]/g, "_")

/** AsyncAPI 3.0: one channel with all types that are published. */
export const asyncApi = (events: ReadonlyArray<Event.Any>, title: string, version: string): JsonSchema => {
  const published = events.map(describeEvent).filter((event) => event.published)
  const message = ({ document, type, version }: Described) => {
    const { $schema: _, ...payload } = document
    return {
      name: type,
      title: `${type}, version ${version}`,
      contentType: "application/json",
      headers: { $ref: "#/components/schemas/CloudEventAttributes" },
      payload: {
        schemaFormat: "application/schema+json;version=draft-2020-12",
        schema: moved(payload, `#/components/messages/${keyOf(type)}/payload/schema`)
      }
    }
  }
  const references = (base: string) => published.map(({ type }) => ({ $ref: `${base}/${keyOf(type)}` }))
  return {
    asyncapi: "3.0.0",
    info: { title, version },
    defaultContentType: "application/json",
    channels: {
      events: {
        address: null,
        description: "Published events, in the order of the log",
        messages: Object.fromEntries(published.map(({ type }) => [keyOf(type), { $ref: `#/components/messages/${keyOf(type)}` }]))
      }
    },
    operations: {
      publish: { action: "send", channel: { $ref: "#/channels/events" }, messages: references("#/channels/events/messages") }
    },
    components: {
      messages: Object.fromEntries(published.map((event) => [keyOf(event.type), message(event)])),
      schemas: { CloudEventAttributes: headers }
    }
  }
}

/** Text in Markdown that is text, whatever it says. */
const text = (value: string): string => value.replace(/[\\`*_{}[\]<>()#+!|~-]/g, "\\$&").replace(/\s+/g, " ")

const typeOf = (schema: unknown): string => {
  if (typeof schema !== "object" || schema === null) return "anything"
  const { $ref, anyOf, enum: values, items, type } = schema as Readonly<Record<string, unknown>>
  if (typeof $ref === "string") return $ref.split("/").at(-1) ?? ""
  if (Array.isArray(anyOf)) return Array.from(new Set(anyOf.map(typeOf))).join(" or ")
  if (Array.isArray(values)) return values.map((value) => JSON.stringify(value)).join(" or ")
  if (type === "array") return items === undefined ? "list" : `list of ${typeOf(items)}`
  return typeof type === "string" ? type : "anything"
}

const section = ({ document, published, type, version }: Described): ReadonlyArray<string> => {
  const properties = Object.entries((document["properties"] ?? {}) as Readonly<Record<string, unknown>>)
  const required = new Set(document["required"] as ReadonlyArray<string> | undefined)
  const rows = properties.map(([name, schema]) => {
    const about = (schema as { readonly description?: unknown }).description
    return `| ${text(name)} | ${text(typeOf(schema))} | ${required.has(name) ? "yes" : "no"} | ${typeof about === "string" ? text(about) : ""} |`
  })
  return [
    `### ${text(type)}`,
    "",
    `Version ${version}${published ? ", published" : ""}.`,
    "",
    ...(rows.length === 0 ? ["It carries nothing."] : ["| Field | Type | Always | |", "| --- | --- | --- | --- |", ...rows]),
    ""
  ]
}

/** A page of Markdown: aggregates and process managers with their events, and each type with its fields. */
export const catalogue = (module: Pick<Module, "aggregates" | "processes">, events: ReadonlyArray<Event.Any>): string => {
  const owners = [
    ...module.aggregates.map(({ events, name }) => ({ kind: "aggregate", name, events })),
    ...module.processes.map(({ events, name }) => ({ kind: "process manager", name, events }))
  ]
  const links = (types: ReadonlyArray<Event.Any>) =>
    types.flatMap((event) => (events.includes(event) ? [text(event.type)] : [])).join(", ")
  return [
    "# Events",
    "",
    ...(owners.length === 0
      ? []
      : [
          "| | | Events |",
          "| --- | --- | --- |",
          ...owners.map(({ events, kind, name }) => `| ${text(name)} | ${kind} | ${links(events)} |`),
          ""
        ]),
    "## Types",
    "",
    ...events.map(describeEvent).flatMap(section)
  ].join("\n")
}

const levels = { none: "none", note: "note", warning: "warning", error: "error" } as const

/** The findings as SARIF 2.1.0. */
export const sarif = (findings: ReadonlyArray<Finding>, folder: string, version: string): JsonSchema => {
  const told = findings.filter(({ level }) => level !== "none")
  const rules = Array.from(new Set(told.map(({ verdict }) => verdict)), (id) => ({ id: `schema/${id}` }))
  return {
    $schema: "https://json.schemastore.org/sarif-2.1.0.json",
    version: "2.1.0",
    runs: [
      {
        tool: { driver: { name: "eventfold", version, rules } },
        results: told.map(({ file, level, message, type, verdict }) => ({
          ruleId: `schema/${verdict}`,
          level: levels[level],
          message: { text: `${type}: ${message}.` },
          locations: [{ physicalLocation: { artifactLocation: { uri: `${folder.replace(/\/$/, "")}/${file}` } } }]
        }))
      }
    ]
  }
}
