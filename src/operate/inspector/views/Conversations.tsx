/** Conversations that were heard of lately, and the one that is chosen. */
import type { EventRow } from "../../Operations.ts"
import { useMemo } from "preact/hooks"
import { usePages } from "../link/answer.ts"
import { choose, route } from "../link/place.ts"
import { Clock, Empty, Problem, Swatch, Text } from "../parts/basic.tsx"
import { List } from "../parts/List.tsx"
import { categoryOf, plural } from "../pure/text.ts"
import { Conversation } from "./Conversation.tsx"
import { isCommand } from "./message.ts"

interface Heard {
  readonly id: string
  /** The oldest and the newest of its messages that were seen. */
  readonly first: EventRow
  readonly last: EventRow
  readonly messages: number
  readonly categories: ReadonlyArray<string>
}

/** Conversations of events that come the newest first. */
const heardIn = (events: ReadonlyArray<EventRow>): ReadonlyArray<Heard> => {
  const heard = new Map<string, Heard>()
  for (const event of events) {
    if (event.correlationId === null) continue
    const before = heard.get(event.correlationId)
    const category = isCommand(event) ? [] : [categoryOf(event.stream)]
    heard.set(event.correlationId, {
      id: event.correlationId,
      first: event,
      last: before?.last ?? event,
      messages: (before?.messages ?? 0) + 1,
      categories: Array.from(new Set([...(before?.categories ?? []), ...category]))
    })
  }
  return Array.from(heard.values())
}

export const Conversations = () => {
  const { event = "", id } = route.value.params
  const pages = usePages("conversations", (link, after) =>
    link.Events({ direction: "backward", limit: 200, ...(after === undefined ? {} : { after }) })
  )
  const heard = useMemo(() => heardIn(pages.items), [pages.items])
  const shown = id ?? heard[0]?.id
  return (
    <main class="streams wide">
      <section class="side" aria-label="Conversations">
        <div class="list-head">
          <div class="list-title">
            <h1>Conversations</h1>
            <small>lately</small>
          </div>
        </div>
        <Problem>{pages.problem}</Problem>
        {heard.length === 0 && !pages.loading ? <Empty>No event has a correlation id.</Empty> : null}
        <List
          label="Conversations"
          rows={heard.length}
          rowHeight={46}
          chosen={heard.findIndex((one) => one.id === shown)}
          onChoose={(index) => choose({ id: heard[index]?.id ?? "", event: "" })}
          onEnd={pages.load}
          main
          keyOf={(index) => heard[index]?.id ?? index}
          row={(index) => {
            const one = heard[index]
            return one === undefined ? null : (
              <div class="two-lines">
                <strong>
                  <Text>{one.first.type}</Text>
                  <span class="right">
                    {one.categories.map((category) => (
                      <Swatch key={category} category={category} />
                    ))}
                  </span>
                </strong>
                <small>
                  <Clock at={one.last.recordedAt} /> · {plural(one.messages, "message")} · <Text>{one.id}</Text>
                </small>
              </div>
            )
          }}
        />
      </section>
      <section class="conversation alone" aria-label="Conversation">
        {shown === undefined ? <Empty>Choose a conversation.</Empty> : <Conversation key={shown} id={shown} chosen={event} />}
      </section>
    </main>
  )
}
