/** One instance of a process manager in time: what it reacted to, what it recorded, and the deadlines that lie ahead. */
import type { DeadlineRow, EventRow } from "../../Operations.ts"
import { useAnswer } from "../link/answer.ts"
import { now } from "../link/live.ts"
import { to } from "../link/place.ts"
import { Clock, Empty, Problem, StreamName, Text } from "../parts/basic.tsx"
import { Gist } from "../parts/Payload.tsx"
import { plain } from "../pure/text.ts"
import { gap } from "../pure/time.ts"
import { timeline } from "../pure/timeline.ts"

type Kind = "reacted" | "set" | "cancelled" | "recorded"

const kindOf = (type: string): Kind =>
  type === "$EventHandled"
    ? "reacted"
    : type === "$DeadlineSet"
      ? "set"
      : type === "$DeadlineCancelled"
        ? "cancelled"
        : "recorded"

const words: Readonly<Record<Kind, string>> = {
  reacted: "reacted to",
  set: "deadline set",
  cancelled: "deadline cancelled",
  recorded: "recorded"
}

/** What a note is about, by its payload: the type of an event or a deadline. */
const aboutOf = ({ payload, type }: Pick<EventRow, "payload" | "type">): string => {
  const value = payload._tag === "Shown" ? (payload.value as { readonly type?: unknown } | null) : null
  return type.startsWith("$") && typeof value?.type === "string" ? value.type : type
}

const width = 1000

const Line = ({ ahead, events }: { readonly events: ReadonlyArray<EventRow>; readonly ahead: ReadonlyArray<DeadlineRow> }) => {
  const at = now.value
  const instants = [
    ...events.map(({ recordedAt }) => recordedAt.epochMilliseconds),
    ...(ahead.length === 0 ? [] : [at, ...ahead.map(({ due }) => due.epochMilliseconds)])
  ]
  const { pauses, places } = timeline(instants)
  const x = (index: number) => 16 + (places[index] ?? 0) * (width - 32)
  const nowAt = x(events.length)
  return (
    <svg class="process-line" viewBox={`0 0 ${width} 74`} role="img" aria-label="The instance in time">
      <line class="past" x1="0" x2={ahead.length === 0 ? width : nowAt} y1="34" y2="34" />
      {ahead.length === 0 ? null : <line class="future" x1={nowAt} x2={width} y1="34" y2="34" />}
      {ahead.length === 0 ? null : (
        <g class="now">
          <line x1={nowAt} x2={nowAt} y1="18" y2="50" />
          <text x={nowAt} y="12" text-anchor="middle">
            now
          </text>
        </g>
      )}
      {pauses.map(({ from, milliseconds, to }) => (
        <text key={from} class="pause" x={16 + ((from + to) / 2) * (width - 32)} y="68" text-anchor="middle">
          {(to - from) * width < 50 ? "" : gap(milliseconds)}
        </text>
      ))}
      {events.map((event, index) => (
        <circle key={event.id} class={kindOf(event.type)} cx={x(index)} cy="34" r={kindOf(event.type) === "reacted" ? 6 : 5}>
          <title>{plain(`${words[kindOf(event.type)]} ${aboutOf(event)}`)}</title>
        </circle>
      ))}
      {ahead.map((deadline, index) => (
        <circle key={deadline.position} class="due" cx={x(events.length + 1 + index)} cy="34" r="6">
          <title>{plain(`${deadline.type} is due`)}</title>
        </circle>
      ))}
    </svg>
  )
}

export const ProcessLife = ({ process, stream }: { readonly stream: string; readonly process: string }) => {
  const beat = Math.floor(now.value / 5000)
  const answer = useAnswer(`${stream} ${beat}`, (link) => link.StreamEvents({ stream, direction: "backward", limit: 100 }))
  const deadlines = useAnswer(`deadlines of ${stream} ${beat}`, (link) => link.Deadlines({ process, limit: 500 }))
  const events = (answer.value?.items ?? []).toReversed()
  const ahead = (deadlines.value?.items ?? []).filter((deadline) => deadline.stream === stream)
  return (
    <article class="process-life" aria-label="Life of the instance">
      <header>
        <h2>
          <a class="quiet-link" href={to("streams", { stream })}>
            <StreamName stream={stream} />
          </a>
        </h2>
        <span class="legend quiet right">
          <i class="reacted" /> reacted <i class="recorded" /> recorded <i class="set" /> deadline set <i class="due" /> to come
        </span>
      </header>
      <Problem>{answer.problem}</Problem>
      {events.length === 0 ? <Empty>…</Empty> : <Line events={events} ahead={ahead} />}
      <ol class="process-events">
        {events.toReversed().map((event) => (
          <li key={event.id} data-kind={kindOf(event.type)}>
            <Clock at={event.recordedAt} />
            <span class="quiet">{words[kindOf(event.type)]}</span>
            <a class="quiet-link" href={to("streams", { stream, version: String(event.version) })}>
              <Text>{aboutOf(event)}</Text>
            </a>
            <span class="gist">
              <Gist event={event} />
            </span>
          </li>
        ))}
      </ol>
    </article>
  )
}
