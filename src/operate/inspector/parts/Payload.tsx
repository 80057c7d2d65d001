/** What an event says: as far as the operator may see it. */
import type { EventRow, Payload as PayloadType } from "../../Operations.ts"
import { useAnswer } from "../link/answer.ts"
import { type Cell, difference, gist, type Line, most } from "../pure/diff.ts"
import { bytes, plain, short } from "../pure/text.ts"
import { Problem, Text } from "./basic.tsx"

const signs = { same: "", added: "+", removed: "−", changed: "~" } as const

const Value = ({ cell }: { readonly cell: Cell }) => (
  <span class="cell" data-mark={cell.mark}>
    {cell.key === "" ? null : (
      <span class="key">
        <Text>{cell.key}</Text>
      </span>
    )}
    {cell.was === undefined ? null : (
      <>
        <del>
          <Text>{cell.was}</Text>
        </del>
        <span class="quiet"> → </span>
      </>
    )}
    <span class={cell.text === "•••" ? "masked" : cell.kind} title={cell.text === "•••" ? "This is masked" : undefined}>
      <Text>{cell.text}</Text>
    </span>
  </span>
)

/** A tree of values, a line each, with marks where something has changed. */
export const Lines = ({ label, lines }: { readonly lines: ReadonlyArray<Line>; readonly label: string }) => (
  <div class="lines" tabIndex={0} role="region" aria-label={label}>
    {lines.map((line, index) => (
      <div class="line" data-mark={line.mark} key={index}>
        <span
          class="sign"
          aria-label={line.mark === "same" ? undefined : line.mark}
          role={line.mark === "same" ? undefined : "img"}
        >
          {signs[line.mark]}
        </span>
        <span class="line-text" style={{ paddingLeft: `${line.depth * 18}px` }}>
          {line.key === "" ? null : (
            <span class="key">
              <Text>{line.key}</Text>
            </span>
          )}
          {line.cells.map((cell, index) => (
            <Value cell={cell} key={index} />
          ))}
        </span>
      </div>
    ))}
    {lines.length >= most ? <p class="empty">There is more; the first {short(most)} lines are shown.</p> : null}
  </div>
)

/** A payload in one line. */
export const Gist = ({ event }: { readonly event: Pick<EventRow, "payload" | "stream" | "type"> }) => {
  const { payload } = event
  if (payload._tag === "Hidden") return <span class="quiet">hidden, {bytes(payload.bytes)}</span>
  if (payload._tag === "Cut") return <Text>{payload.text}</Text>
  return <Text>{gist(payload.value, event.stream)}</Text>
}

/** A payload whole; what was too large for a list is asked for. */
export const Payload = ({
  id,
  label,
  payload
}: {
  readonly payload: PayloadType
  readonly label: string
  readonly id?: string
}) => {
  const cut = payload._tag === "Cut" && id !== undefined
  const whole = useAnswer(cut ? `event ${id}` : undefined, (link) => link.Event(id === undefined ? {} : { id }))
  const shown = cut && whole.current && whole.value !== undefined ? whole.value.event.payload : payload
  switch (shown._tag) {
    case "Hidden":
      return <p class="empty">The payload is hidden: {bytes(shown.bytes)}.</p>
    case "Cut":
      return (
        <>
          <pre tabIndex={0}>{plain(shown.text)}…</pre>
          <Problem>{whole.problem}</Problem>
        </>
      )
    case "Shown": {
      const lines = difference(undefined, shown.value)
      return lines.length === 0 ? <p class="empty">It says nothing beside its type.</p> : <Lines lines={lines} label={label} />
    }
  }
}
