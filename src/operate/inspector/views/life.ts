/** The versions of one stream, in windows: with states where the program that answers knows how to fold them. */
import * as Effect from "effect/Effect"
import type { EventRow, States } from "../../Operations.ts"
import { useEffect } from "preact/hooks"
import { useAnswer } from "../link/answer.ts"
import { now } from "../link/live.ts"
import type { Client } from "../link/link.ts"
import { versionWindow } from "../pure/rows.ts"

export interface Step {
  readonly version: number
  readonly event: EventRow
  readonly state: unknown
  readonly problem: string | null
}

export interface Life {
  /** By what it is folded; `null` where nobody knows. */
  readonly aggregate: string | null
  readonly latest: number
  readonly before: unknown
  readonly steps: ReadonlyArray<Step>
  /** Why there are no states. */
  readonly note: string | null
}

const folded = (states: States): Life => ({ ...states, steps: states.states, note: null })

const plainEvents = (events: ReadonlyArray<EventRow>, latest: number, note: string): Life => ({
  aggregate: null,
  latest,
  before: null,
  steps: events.map((event) => ({ version: event.version, event, state: null, problem: null })),
  note
})

/** The newest versions of a stream. */
const newest = (link: Client, stream: string) =>
  link.States({ stream }).pipe(
    Effect.map(folded),
    Effect.catchTag("NotRegisteredError", ({ message }) =>
      Effect.map(link.StreamEvents({ stream, direction: "backward", limit: 50 }), ({ items }) =>
        plainEvents(items.toReversed(), items[0]?.version ?? 0, message)
      )
    )
  )

/** A window of versions. */
const between = (link: Client, stream: string, from: number, to: number, latest: number) =>
  link.States({ stream, from, to }).pipe(
    Effect.map(folded),
    Effect.catchTag("NotRegisteredError", ({ message }) =>
      Effect.map(link.StreamEvents({ stream, from, limit: to - from + 1 }), ({ items }) => plainEvents(items, latest, message))
    )
  )

const holds = ({ steps }: Life, version: number) => {
  const first = steps[0]?.version ?? 1
  return version >= first && version <= (steps.at(-1)?.version ?? 0)
}

/** How often it is looked whether a stream has grown, in milliseconds. */
const beat = 2000

/** The life of a stream around a version; around the newest where none is chosen. It grows as the stream does. */
export const useLife = (stream: string, wanted: number | undefined) => {
  const first = useAnswer(stream, (link) => newest(link, stream))
  const latest = first.value?.latest ?? 0
  const version = Math.max(1, Math.min(wanted ?? latest, latest))
  const { from, to } = versionWindow(version, latest)
  // A life of up to 200 versions is there whole; of a longer one what is around the version.
  const elsewhere =
    first.value !== undefined && (latest <= 200 ? first.value.steps.length < latest : !holds(first.value, version))
  const around = useAnswer(elsewhere ? `${stream} ${from}–${to} of ${latest}` : undefined, (link) =>
    between(link, stream, from, to, latest)
  )
  const grown = useAnswer(
    first.value === undefined ? undefined : `${stream} after ${latest} at ${Math.floor(now.value / beat)}`,
    (link) => link.StreamEvents({ stream, from: latest + 1, limit: 1 })
  )
  const more = grown.value?.items.some((event) => event.version > latest) === true
  useEffect(() => {
    if (more) first.again()
  }, [more])
  const life = [elsewhere ? around.value : undefined, first.value].find((life) => life !== undefined && holds(life, version))
  const index = life?.steps.findIndex((step) => step.version === version) ?? -1
  return {
    life,
    latest,
    version,
    aggregate: first.value?.aggregate ?? null,
    step: life?.steps[index],
    before: index > 0 ? life?.steps[index - 1]?.state : life?.before,
    problem: first.problem ?? around.problem
  }
}
