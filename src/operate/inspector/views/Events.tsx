/** Events of all streams, the newest first, as they come; by filter, and from any time or position on. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type { EventRow, Filter } from "../../Operations.ts"
import { useMemo, useRef, useState } from "preact/hooks"
import { useAnswer, usePages } from "../link/answer.ts"
import { head, now, utc } from "../link/live.ts"
import { choose, route } from "../link/place.ts"
import { Clock, Empty, Problem, StreamLink, StreamName, Text, Title } from "../parts/basic.tsx"
import { List } from "../parts/List.tsx"
import { Gist } from "../parts/Payload.tsx"
import { count } from "../pure/text.ts"
import { instantOf } from "../pure/time.ts"
import { isNote } from "../pure/tree.ts"
import { isCommand } from "./message.ts"
import { EventCard } from "./Stream.tsx"
import { useTail } from "./tail.ts"

const words = (text: string) => text.split(/[\s,]+/).filter((word) => word !== "")

type Params = Readonly<Record<string, string>>

/** The filter of an address; `15m` and the like are counted from when it was written. */
const filterOf = ({
  category = "",
  correlation = "",
  published = "",
  since = "",
  tag = "",
  type = "",
  until = ""
}: Params): Filter => {
  const instant = (text: string) => instantOf(text, now.peek(), utc.peek())
  const from = instant(since)
  const to = instant(until)
  return {
    ...(type === "" ? {} : { types: words(type) }),
    ...(category === "" ? {} : { categories: words(category) }),
    ...(tag === "" ? {} : { tags: words(tag) }),
    ...(correlation === "" ? {} : { correlationId: correlation }),
    ...(published === "" ? {} : { published: true }),
    ...(from === undefined ? {} : { since: DateTime.makeUnsafe(from) }),
    ...(to === undefined ? {} : { until: DateTime.makeUnsafe(to) })
  }
}

const Field = ({ label, name, placeholder }: { readonly name: string; readonly label: string; readonly placeholder: string }) => {
  const value = route.value.params[name] ?? ""
  const wrong = (name === "since" || name === "until") && value !== "" && instantOf(value, 0, true) === undefined
  return (
    <label>
      <span>{label}</span>
      <input
        name={name}
        value={value}
        placeholder={placeholder}
        aria-invalid={wrong}
        title={wrong ? "A day, a day and a time, or 15m, 2h, 3d" : undefined}
        onChange={({ currentTarget }) => choose({ [name]: currentTarget.value.trim(), at: "" })}
      />
    </label>
  )
}

const Filters = ({ params }: { readonly params: Params }) => (
  <form class="filters" onSubmit={(event) => event.preventDefault()} aria-label="Filter">
    <Field name="type" label="type" placeholder="OrderPlaced …" />
    <Field name="category" label="category" placeholder="Order" />
    <Field name="tag" label="tag" placeholder="name:value" />
    <Field name="correlation" label="conversation" placeholder="id" />
    <Field name="since" label="since" placeholder="15m, 2026-01-31" />
    <Field name="until" label="until" placeholder="2026-01-31 12:00" />
    <button
      type="button"
      class="plain"
      aria-pressed={params["published"] === "yes"}
      onClick={() => choose({ published: params["published"] === "yes" ? "" : "yes" })}
    >
      published
    </button>
    {Object.keys(params).some((key) => key !== "at" && key !== "until") ? (
      <button type="button" class="plain" onClick={() => choose(Object.fromEntries(Object.keys(params).map((key) => [key, ""])))}>
        clear
      </button>
    ) : null}
  </form>
)

/** The log as a line: whoever lets go of the bar reads back from that position. */
const Rail = ({ onPosition, position }: { readonly position: number; readonly onPosition: (position: number) => void }) => {
  const [held, hold] = useState<number>()
  return (
    <label class="log-rail">
      <span class="quiet">#1</span>
      <input
        type="range"
        min={1}
        max={Math.max(1, head.value)}
        value={held ?? position}
        aria-label="Position in the log"
        aria-valuetext={`Position ${held ?? position}`}
        onInput={({ currentTarget }) => hold(Number(currentTarget.value))}
        onChange={({ currentTarget }) => {
          hold(undefined)
          onPosition(Number(currentTarget.value))
        }}
      />
      <output class="number">#{count(held ?? position)}</output>
    </label>
  )
}

const Row = ({ event }: { readonly event: EventRow }) => (
  <>
    <span class="number">#{count(event.position)}</span>
    <span class="mono quiet">
      <Clock at={event.recordedAt} />
    </span>
    <span class={isCommand(event) ? "command" : isNote(event.type) ? "note" : "event"}>
      <Text>{event.type}</Text>
      {event.published ? <i class="published" title="Published" role="img" aria-label="published" /> : null}
    </span>
    <span>
      <StreamName stream={event.stream} version={event.version} />
    </span>
    <span class="gist">{event.problem === null ? <Gist event={event} /> : <span class="bad">cannot be read</span>}</span>
  </>
)

/** One event whole, with what caused it and what it caused. */
const Detail = ({ position }: { readonly position: number }) => {
  const answer = useAnswer(`event at ${position}`, (link) => link.Event({ at: position }))
  if (answer.problem !== undefined) return <Problem>{answer.problem}</Problem>
  if (answer.value === undefined) return <Empty>…</Empty>
  const { cause, complete, effects, event } = answer.value
  const other = (event: EventRow) => (
    <li key={event.id}>
      <a href="#" onClick={(click) => (click.preventDefault(), choose({ at: String(event.position) }))}>
        <Text>{event.type}</Text>
      </a>{" "}
      <StreamLink stream={event.stream} version={event.version} />
    </li>
  )
  return (
    <aside class="detail" aria-label="Event">
      <p class="detail-place">
        <StreamLink stream={event.stream} version={event.version} />
        <button type="button" class="plain right" aria-label="Close" onClick={() => choose({ at: "" })}>
          ×
        </button>
      </p>
      <EventCard event={event} />
      <h2>Caused by</h2>
      <ul>
        {cause === null ? (
          <li class="quiet">{event.causationId === null ? "nothing that is recorded" : "what is no event"}</li>
        ) : (
          other(cause)
        )}
      </ul>
      <h2>It caused</h2>
      <ul>
        {effects.length === 0 ? <li class="quiet">nothing that is recorded</li> : effects.map(other)}
        {complete ? null : <li class="quiet">and more</li>}
      </ul>
    </aside>
  )
}

/** Pages back from the newest, or from a time, and what has come since. */
const useEvents = (params: Params) => {
  const { at: _, live, ...wanted } = params
  const filter = useMemo(() => filterOf(wanted), [JSON.stringify(wanted)])
  const [begun, setBegun] = useState<{ readonly key: string; readonly head: number }>()
  const key = `events ${JSON.stringify(wanted)}`
  const pages = usePages(
    key,
    (link, after) =>
      link
        .Events({ filter, direction: "backward", limit: 200, ...(after === undefined ? {} : { after }) })
        .pipe(Effect.tap((page) => Effect.sync(() => after === undefined && setBegun({ key, head: page.head })))),
    true
  )
  const follows = live !== "no" && (wanted["until"] ?? "") === ""
  const tail = useTail(`${key} ${begun?.head}`, follows && begun?.key === key ? begun.head : undefined, filter)
  return { pages, tail, follows }
}

export const Events = () => {
  const { params } = route.value
  const { follows, pages, tail } = useEvents(params)
  const [atTop, setAtTop] = useState(true)
  const still = useRef(0)
  if (atTop) still.current = tail.items[0]?.position ?? 0
  // What comes while somebody reads further down waits above.
  const fresh = atTop ? tail.items : tail.items.filter(({ position }) => position <= still.current)
  const waiting = tail.items.length - fresh.length
  const items = tail.overflow ? fresh : [...fresh, ...pages.items]
  const at = Number(params["at"] ?? "")
  const jump = useAnswer(params["jump"] === undefined ? undefined : `jump ${params["jump"]}`, (link) =>
    link.Event({ at: Number(params["jump"]) })
  )
  const landed = jump.current ? jump.value?.event : undefined
  if (landed !== undefined) {
    const until = new Date(landed.recordedAt.epochMilliseconds + 1).toISOString().replace("Z", "")
    queueMicrotask(() => choose({ jump: "", at: String(landed.position), until: `${until}Z` }, true))
  }
  return (
    <main class="events">
      <Title name="Events" more={`${count(items.length)}${pages.more ? "+" : ""} shown`}>
        {waiting > 0 ? (
          <button type="button" class="fresh" onClick={() => document.querySelector(".list.log")?.scrollTo({ top: 0 })}>
            {count(waiting)} new ↑
          </button>
        ) : null}
        {tail.overflow ? (
          <button type="button" class="plain" onClick={pages.again}>
            load anew
          </button>
        ) : null}
        <button
          type="button"
          class="plain live"
          aria-pressed={follows}
          onClick={() => choose({ live: follows ? "no" : "", until: "" })}
        >
          live
        </button>
      </Title>
      <Filters params={params} />
      <Problem>{pages.problem ?? jump.problem}</Problem>
      <div class="with-detail">
        <List
          class="log"
          label="Events"
          rows={items.length}
          rowHeight={28}
          main
          chosen={at > 0 ? items.findIndex(({ position }) => position === at) : -1}
          onChoose={(index) => choose({ at: String(items[index]?.position ?? "") }, at > 0)}
          onEnd={pages.load}
          onTop={setAtTop}
          keyOf={(index) => items[index]?.position ?? index}
          row={(index) => {
            const event = items[index]
            return event === undefined ? null : <Row event={event} />
          }}
        />
        {at > 0 ? <Detail position={at} /> : null}
      </div>
      {items.length === 0 && !pages.loading ? <Empty>No event fits.</Empty> : null}
      <Rail position={items[0]?.position ?? head.value} onPosition={(position) => choose({ jump: String(position) }, true)} />
    </main>
  )
}
