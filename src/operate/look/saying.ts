/** What an operator is told of causes: sentences that others have written, which may quote what is stored. */
import * as Effect from "effect/Effect"
import * as SchemaIssue from "effect/SchemaIssue"
import type { RecordedEvent } from "../../definitions/stored.ts"
import type { EventStore } from "../../store/EventStore.ts"
import type { Payloads } from "../contract/events.ts"
import { mask } from "./payloads.ts"

/** What is said in place of a sentence that may quote what is hidden. */
export const unsaid = "hidden from you, for it may quote what is stored"

/** Values so short stand in other words, too: only where they stand by themselves they are taken out. */
const short = 3

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)

/** How a value may stand in a sentence: as it is, as JSON has it, or on one line. */
const formsOf = (value: string): ReadonlyArray<string> =>
  [value, JSON.stringify(value).slice(1, -1), value.replace(/\s+/g, " ").trim()].filter((form) => form !== "")

/** A sentence without values that may not be seen, the longest first: one may be part of another. */
export const withoutValues = (text: string, values: ReadonlyArray<string>): string =>
  Array.from(new Set(values.flatMap(formsOf)))
    .sort((a, b) => b.length - a.length)
    .reduce(
      (text, value) =>
        value.length < short
          ? text.replace(new RegExp(`(?<![\\p{L}\\p{N}])${escaped(value)}(?![\\p{L}\\p{N}])`, "gu"), mask)
          : text.replaceAll(value, mask),
      text
    )

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === "object" && value !== null

const issueIn = (error: unknown, depth = 0): SchemaIssue.Issue | undefined => {
  if (!isRecord(error) || depth > 8) return undefined
  const { cause, issue } = error
  return SchemaIssue.isIssue(issue) ? issue : SchemaIssue.isIssue(error) ? error : issueIn(cause, depth + 1)
}

/** The places in a payload that do not fit, as JSON pointers: the issue itself quotes what stands there. */
const placesOf = (issue: unknown, at = ""): ReadonlyArray<string> => {
  if (!isRecord(issue)) return [at]
  const { issue: inner, issues, path } = issue
  const here = Array.isArray(path) ? `${at}${path.map((part) => `/${String(part)}`).join("")}` : at
  if (Array.isArray(issues)) return issues.flatMap((each) => placesOf(each, here))
  return inner === undefined ? [here] : placesOf(inner, here)
}

/** Why an event cannot be read, without a word of what stands in it. */
export const withoutQuotes = ({ position, stream, type, version }: RecordedEvent, error: unknown): string => {
  const places = Array.from(new Set(placesOf(issueIn(error)).filter((place) => place !== "")))
  const where =
    places.length === 0 ? "its payload does not fit its definition" : `what stands at ${places.join(", ")} does not fit`
  return `Event ${version} of stream "${stream}" (${type}, position ${position}) could not be decoded: ${where}`
}

/** How sentences are told to an operator. `hiddenIn` gives the values of an event that may not be seen. */
export const makeSaying = (
  store: EventStore["Service"],
  payloads: Payloads,
  hiddenIn: (event: RecordedEvent) => ReadonlyArray<string>
) => {
  /** A sentence about the event at a position; of what cannot be looked up nobody knows what it would quote. */
  const about = (text: string, position: number): Effect.Effect<string> => {
    if (payloads === "shown") return Effect.succeed(text)
    if (payloads === "hidden") return Effect.succeed(unsaid)
    return store.readPage({ after: position - 1, upTo: position, size: 1 }).pipe(
      Effect.map(({ events: [event] }) => (event === undefined ? unsaid : withoutValues(text, hiddenIn(event)))),
      Effect.orElseSucceed(() => unsaid)
    )
  }
  /** A sentence about no event that is known; `values` are those that it may quote. */
  const other = (text: string, values: ReadonlyArray<string> = []): string =>
    payloads === "hidden" ? unsaid : payloads === "shown" ? text : withoutValues(text, values)
  return { about, other }
}
