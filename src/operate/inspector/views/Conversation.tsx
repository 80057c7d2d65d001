/** A conversation: all messages of one correlation id, as a tree of causes and as a timeline. */
import type { EventRow } from "../../Operations.ts"
import { useMemo, useState } from "preact/hooks"
import { usePages } from "../link/answer.ts"
import { Clock, Problem, StreamName, Text } from "../parts/basic.tsx"
import { List } from "../parts/List.tsx"
import { Gist } from "../parts/Payload.tsx"
import { plural } from "../pure/text.ts"
import { branches, isNote } from "../pure/tree.ts"
import { isCommand, open } from "./message.ts"
import { Timeline } from "./Timeline.tsx"

const Tree = ({
  chosen,
  events,
  fold,
  onEnd
}: {
  events: ReadonlyArray<EventRow>
  chosen: string
  fold: boolean
  onEnd: () => void
}) => {
  const rows = useMemo(() => branches(events, fold), [events, fold])
  return (
    <List
      class="tree"
      label="Messages by their causes"
      rows={rows.length}
      rowHeight={22}
      chosen={rows.findIndex(({ message }) => message.id === chosen)}
      onChoose={(index) => {
        const message = rows[index]?.message
        if (message !== undefined) open(message)
      }}
      onEnd={onEnd}
      keyOf={(index) => rows[index]?.message.id ?? index}
      row={(index) => {
        const row = rows[index]
        if (row === undefined) return null
        const { depth, folded, message, twigs } = row
        return (
          <>
            <span class="when">{depth === 0 ? <Clock at={message.recordedAt} /> : null}</span>
            <span class="what">
              <span class="twigs" aria-hidden="true">
                {twigs}
              </span>
              <span class={isCommand(message) ? "command" : isNote(message.type) ? "note" : "event"}>
                <Text>{message.type}</Text>
              </span>
              {folded === 0 ? null : <small class="quiet"> +{folded}</small>}
            </span>
            <span class="where">
              {isCommand(message) ? (
                <span class="quiet">{message.by === null ? "command" : <Text>{`by ${message.by}`}</Text>}</span>
              ) : (
                <StreamName stream={message.stream} version={message.version} />
              )}
            </span>
            <span class="gist">
              <Gist event={message} />
            </span>
          </>
        )
      }}
    />
  )
}

/** The messages of a conversation; the one that is chosen is marked, and in sight. */
export const Conversation = ({ chosen, id }: { readonly id: string; readonly chosen: string }) => {
  const [drawn, setDrawn] = useState<"tree" | "timeline">("tree")
  const [fold, setFold] = useState(false)
  const pages = usePages(`trail ${id}`, (link, after) =>
    link.Trail({ correlationId: id, limit: 200, ...(after === undefined ? {} : { after }) })
  )
  const { items } = pages
  const streams = new Set(items.filter((event) => !isCommand(event)).map(({ stream }) => stream)).size
  return (
    <>
      <header>
        <h2>Conversation</h2>
        <code class="quiet">
          <Text>{id}</Text>
        </code>
        <span class="right">
          <span class="quiet">
            {plural(items.length, "message")} in {plural(streams, "stream")}
            {pages.more ? ", more below" : ""}
            {pages.loading ? " …" : ""}
          </span>
          <button type="button" class="plain" aria-pressed={fold} onClick={() => setFold(!fold)}>
            fold notes
          </button>
          <span class="switch" role="group" aria-label="Drawn as">
            {(["tree", "timeline"] as const).map((way) => (
              <button key={way} type="button" aria-pressed={way === drawn} onClick={() => setDrawn(way)}>
                {way}
              </button>
            ))}
          </span>
        </span>
      </header>
      <Problem>{pages.problem}</Problem>
      {drawn === "tree" ? (
        <Tree events={items} chosen={chosen} fold={fold} onEnd={pages.load} />
      ) : (
        <Timeline events={fold ? items.filter(({ type }) => !isNote(type)) : items} chosen={chosen} />
      )}
    </>
  )
}
