/** Compares definitions with the files that a repository keeps of them: what became of each type, and what it means. */
import * as Schema from "effect/Schema"
import type * as Event from "../../definitions/Event.ts"
import { readingFaults } from "./comparing.ts"
import { type Described, describeEvent, fileOf, type JsonSchema, textOf } from "./describing.ts"

/**
 * What became of a type.
 *
 * | Verdict | What it means |
 * | --- | --- |
 * | `same` | nothing has changed |
 * | `new` | no file has it |
 * | `compatible` | old readers read what is written now, and what old writers wrote is read now |
 * | `old-writers` | what old writers wrote is read now; old readers do not read what is written now |
 * | `old-readers` | old readers read what is written now; what was written is not read now |
 * | `neither` | neither the one nor the other |
 * | `upcast` | a new version, and upcasts lead to it from each version that a file has |
 * | `upcast-missing` | a new version, and from one that a file has no upcast leads on |
 * | `older` | a file has a later version than the definition |
 * | `removed` | a file has a type that no definition reads any more |
 */
const Verdict = Schema.Literals([
  "same",
  "new",
  "compatible",
  "old-writers",
  "old-readers",
  "neither",
  "upcast",
  "upcast-missing",
  "older",
  "removed"
])

export const Finding = Schema.Struct({
  type: Schema.String,
  version: Schema.Int,
  verdict: Verdict,
  /** `none` where nothing is to be done, `note` where a file must be written, `warning` where others must know, `error` where events cannot be read. */
  level: Schema.Literals(["none", "note", "warning", "error"]),
  file: Schema.String,
  message: Schema.String
})
export type Finding = typeof Finding.Type

/** A file of a repository. */
export interface Kept {
  readonly file: string
  readonly type: string
  readonly version: number
  readonly document: JsonSchema
}

const list = (faults: ReadonlyArray<string>): string => {
  const more = faults.length > 3 ? `, and ${faults.length - 3} more` : ""
  return `${faults.slice(0, 3).join("; ")}${more}`
}

/** A type whose version is the one of the file. */
const compared = (now: Described, kept: Kept): Omit<Finding, "type" | "version" | "file"> => {
  if (textOf(now.document) === textOf(kept.document)) return { verdict: "same", level: "none", message: "as it was" }
  const unread = readingFaults(now.document, kept.document)
  const unreadable = readingFaults(kept.document, now.document)
  if (unread.length === 0 && unreadable.length === 0) {
    return {
      verdict: "compatible",
      level: "note",
      message: "it has changed, for old readers and old writers alike: write its file anew"
    }
  }
  if (unread.length === 0) {
    const level = now.published ? ("warning" as const) : ("note" as const)
    return { verdict: "old-writers", level, message: `old readers do not read what is written now: ${list(unreadable)}` }
  }
  const verdict = unreadable.length === 0 ? ("old-readers" as const) : ("neither" as const)
  return {
    verdict,
    level: "error",
    message: `what was written at version ${kept.version} is not read now: ${list(unread)}. Raise the version, and add an upcast`
  }
}

/** The version from which no upcast leads on, of all that files have. */
const withoutUpcast = (event: Event.Any, kept: ReadonlyArray<Kept>): number | undefined =>
  kept
    .flatMap(({ version }) => Array.from({ length: Math.max(0, event.version - version) }, (_, index) => version + index))
    .toSorted((one, other) => one - other)
    .find((from) => event.upcasts[from] === undefined)

const judged = (event: Event.Any, kept: ReadonlyArray<Kept>): Finding => {
  const now = describeEvent(event)
  const finding = { type: now.type, version: now.version, file: fileOf(now) }
  const same = kept.find(({ version }) => version === now.version)
  const later = kept.find(({ version }) => version > now.version)
  if (later !== undefined) {
    const message = `${later.file} is of version ${later.version}: events of that version cannot be read`
    return { ...finding, verdict: "older", level: "error", message }
  }
  const from = withoutUpcast(event, kept)
  if (from !== undefined) {
    return {
      ...finding,
      verdict: "upcast-missing",
      level: "error",
      message: `no upcast leads from version ${from} to ${from + 1}`
    }
  }
  if (same !== undefined) return { ...finding, ...compared(now, same) }
  return kept.length === 0
    ? { ...finding, verdict: "new", level: "note", message: "no file has it: write one" }
    : { ...finding, verdict: "upcast", level: "note", message: `upcasts lead to version ${now.version}: write its file` }
}

/** What became of all types: those of the definitions, and those that files alone have. */
export const check = (events: ReadonlyArray<Event.Any>, kept: ReadonlyArray<Kept>): ReadonlyArray<Finding> => {
  const read = new Set(events.flatMap((event) => [nameOf(event), ...event.aliases, ...Object.keys(event.from ?? {})]))
  const current = events.filter(isWritten)
  const removed = new Map(kept.filter(({ type }) => !read.has(type)).map((each) => [each.type, each]))
  return [
    ...current.map((event) =>
      judged(
        event,
        kept.filter(({ type }) => type === event.type || event.aliases.includes(type))
      )
    ),
    ...Array.from(removed.values(), ({ file, type, version }) => ({
      type,
      version,
      file,
      verdict: "removed" as const,
      level: "error" as const,
      message: "no definition reads it: list it as Event.retired, or name it among the aliases of another"
    }))
  ]
}

/** A retired type is read, and written no more. */
export const isWritten = (event: Event.Any): boolean => !("retired" in event)

const nameOf = (event: Event.Any): string => ("retired" in event ? String(event.retired) : event.type)
