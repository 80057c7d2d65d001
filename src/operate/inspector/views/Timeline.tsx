/** A conversation in time: a lane for each stream, and a line from each cause to its effect. Pauses are drawn short, and named. */
import type { EventRow } from "../../Operations.ts"
import { useLayoutEffect, useRef, useState } from "preact/hooks"
import { colourOf, StreamName } from "../parts/basic.tsx"
import { categoryOf, plain } from "../pure/text.ts"
import { gap } from "../pure/time.ts"
import { timeline } from "../pure/timeline.ts"
import { isNote } from "../pure/tree.ts"
import { isCommand, open } from "./message.ts"

const laneHeight = 26
/** The width of the drawing until it is measured, and at least. */
const narrowest = 480

/** Messages that are drawn: a drawing of more says no more. */
const mostDrawn = 400

const laneOf = (event: EventRow): string => (isCommand(event) ? "commands" : event.stream)

interface Spot {
  readonly x: number
  readonly y: number
}

/** Where each message stands: its instant across, and what happened at one instant side by side. */
const spotsOf = (events: ReadonlyArray<EventRow>, lanes: ReadonlyArray<string>, width: number): ReadonlyMap<string, Spot> => {
  const { places } = timeline(events.map(({ recordedAt }) => recordedAt.epochMilliseconds))
  const taken = new Map<string, number>()
  return new Map(
    events.map((event, index) => {
      const lane = laneOf(event)
      const x = 12 + (places[index] ?? 0) * (width - 60)
      const at = Math.max(x, (taken.get(lane) ?? -100) + 11)
      taken.set(lane, at)
      return [event.id, { x: at, y: lanes.indexOf(lane) * laneHeight + laneHeight / 2 }]
    })
  )
}

const Arc = ({ from, to }: { readonly from: Spot; readonly to: Spot }) => {
  // What happens at once stands below each other: the line goes around what is between.
  const beside = to.x - from.x < 24
  const [away, back] = beside ? [14, 14] : [(to.x - from.x) / 2, (from.x - to.x) / 2]
  return <path class="arc" d={`M${from.x} ${from.y}C${from.x + away} ${from.y} ${to.x + back} ${to.y} ${to.x} ${to.y}`} />
}

const Message = ({ chosen, event, spot }: { readonly event: EventRow; readonly spot: Spot; readonly chosen: boolean }) => (
  <g
    class="spot"
    data-chosen={chosen}
    data-kind={isCommand(event) ? "command" : isNote(event.type) ? "note" : "event"}
    data-colour={colourOf(categoryOf(event.stream))}
    tabIndex={0}
    role="link"
    aria-label={plain(`${event.type} in ${event.stream}`)}
    onClick={() => open(event)}
    onKeyDown={(key) => key.key === "Enter" && open(event)}
  >
    <title>{plain(`${event.type} · ${event.stream} v${event.version}`)}</title>
    {isCommand(event) ? (
      <rect x={spot.x - 4.5} y={spot.y - 4.5} width="9" height="9" rx="2" transform={`rotate(45 ${spot.x} ${spot.y})`} />
    ) : (
      <circle cx={spot.x} cy={spot.y} r={isNote(event.type) ? 3 : 5} />
    )}
  </g>
)

export const Timeline = ({ chosen, events }: { readonly events: ReadonlyArray<EventRow>; readonly chosen: string }) => {
  const drawn = events.slice(0, mostDrawn)
  const lanes = Array.from(new Set(drawn.map(laneOf))).sort((a, b) => Number(b === "commands") - Number(a === "commands"))
  const box = useRef<HTMLDivElement>(null)
  const [width, setWidth] = useState(narrowest)
  useLayoutEffect(() => {
    const { current } = box
    if (current === null) return
    const observer = new ResizeObserver(() => setWidth(Math.max(narrowest, current.clientWidth)))
    observer.observe(current)
    return () => observer.disconnect()
  }, [])
  const spots = spotsOf(drawn, lanes, width)
  const { pauses } = timeline(drawn.map(({ recordedAt }) => recordedAt.epochMilliseconds))
  const height = lanes.length * laneHeight
  return (
    <div class="timeline" tabIndex={0} role="region" aria-label="Messages in time">
      <div class="lanes">
        {lanes.map((lane) => (
          <div class="lane" key={lane} style={{ height: `${laneHeight}px` }}>
            {lane === "commands" ? <span class="command">commands</span> : <StreamName stream={lane} />}
          </div>
        ))}
      </div>
      <div class="drawing" ref={box}>
        <svg width={width} height={height + 18}>
          {lanes.map((lane, index) => (
            <line key={lane} class="grid" x1="0" x2={width} y1={(index + 0.5) * laneHeight} y2={(index + 0.5) * laneHeight} />
          ))}
          {pauses.map(({ from, milliseconds, to }) => (
            <text key={from} class="pause" x={12 + ((from + to) / 2) * (width - 60)} y={height + 12} text-anchor="middle">
              {(to - from) * width < 46 ? "" : gap(milliseconds)}
            </text>
          ))}
          {drawn.map(({ causationId, id }) => {
            const from = spots.get(causationId ?? "")
            const to = spots.get(id)
            return from === undefined || to === undefined ? null : <Arc key={id} from={from} to={to} />
          })}
          {drawn.map((event) => {
            const spot = spots.get(event.id)
            return spot === undefined ? null : <Message key={event.id} event={event} spot={spot} chosen={event.id === chosen} />
          })}
        </svg>
      </div>
    </div>
  )
}
