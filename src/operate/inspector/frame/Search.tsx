/** The search: a position, an event's id, the beginning of a stream's name, a conversation. */
import { useEffect, useRef, useState } from "preact/hooks"
import { useAnswer } from "../link/answer.ts"
import { go } from "../link/place.ts"
import { StreamName, Text } from "../parts/basic.tsx"
import type { View } from "../pure/route.ts"
import { plain } from "../pure/text.ts"

interface Hit {
  readonly key: string
  readonly kind: string
  readonly name: string
  readonly view: View
  readonly params: Readonly<Record<string, string>>
}

/** How long nothing is typed before the store is asked, in milliseconds. */
const quiet = 120

const positionOf = (text: string): number | undefined => {
  const digits = /^#?(\d[\d,]*)$/.exec(text)?.[1]?.replaceAll(",", "")
  const position = Number(digits ?? "")
  return position > 0 && Number.isSafeInteger(position) ? position : undefined
}

/** What is found, the surest first, and whether that is all that there is. */
const useHits = (text: string): { readonly hits: ReadonlyArray<Hit>; readonly settled: boolean } => {
  const position = positionOf(text)
  const asked = text === "" ? undefined : text
  const streams = useAnswer(asked && `streams ${asked}`, (link) => link.Streams({ prefix: text, limit: 8 }), quiet)
  const mayBeId = /^[\w-]{8,}$/.test(text)
  const event = useAnswer(asked && mayBeId ? `event ${asked}` : undefined, (link) => link.Event({ id: text }), quiet)
  if (asked === undefined) return { hits: [], settled: true }
  const found = event.current ? event.value?.event : undefined
  const exact = (streams.current ? (streams.value?.items ?? []) : []).map(({ stream }): Hit => ({
    key: `stream ${stream}`,
    kind: "stream",
    name: stream,
    view: "streams",
    params: { stream }
  }))
  const hits: ReadonlyArray<Hit> = [
    ...(position === undefined
      ? []
      : [{ key: "position", kind: "position", name: `#${position}`, view: "events", params: { at: String(position) } } as const]),
    ...(found === undefined
      ? []
      : [
          {
            key: "event",
            kind: "event",
            name: found.type,
            view: "streams",
            params: { stream: found.stream, version: String(found.version) }
          } as const
        ]),
    ...exact,
    { key: "conversation", kind: "conversation", name: text, view: "conversations", params: { id: text } },
    { key: "type", kind: "events of type", name: text, view: "events", params: { type: text } }
  ]
  return { hits, settled: position !== undefined || (streams.current && (event.current || !mayBeId)) }
}

export const Search = () => {
  const [text, setText] = useState("")
  const [active, setActive] = useState(0)
  const [open, setOpen] = useState(false)
  const input = useRef<HTMLInputElement>(null)
  const { hits, settled } = useHits(text.trim())
  // Whoever is faster than the store gets what is found first, not what was there before.
  const hasty = useRef(false)
  const shown = open && hits.length > 0
  const chosen = Math.min(active, hits.length - 1)
  const follow = (hit: Hit | undefined) => {
    if (hit === undefined) return
    go(hit.view, hit.params)
    setText("")
    setOpen(false)
    input.current?.blur()
  }
  useEffect(() => {
    if (!settled || !hasty.current) return
    hasty.current = false
    follow(hits[0])
  })
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter" && !settled) return (event.preventDefault(), void (hasty.current = true))
    hasty.current = false
    if (event.key === "Escape") return (setOpen(false), input.current?.blur())
    if (event.key === "Enter") return (event.preventDefault(), follow(hits[chosen]))
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (by === undefined || hits.length === 0) return
    event.preventDefault()
    setActive((chosen + by + hits.length) % hits.length)
  }
  return (
    <div class="search" role="search">
      <kbd aria-hidden="true">/</kbd>
      <input
        ref={input}
        id="search"
        role="combobox"
        aria-label="Search"
        aria-expanded={shown}
        aria-controls="hits"
        aria-autocomplete="list"
        aria-activedescendant={shown ? `hit-${chosen}` : undefined}
        placeholder="Stream, event id, conversation, #position"
        autocomplete="off"
        spellcheck={false}
        value={text}
        onFocus={() => setOpen(true)}
        onBlur={() => setOpen(false)}
        onInput={({ currentTarget }) => (setText(currentTarget.value), setActive(0), setOpen(true))}
        onKeyDown={onKeyDown}
      />
      <div id="hits" class="hits" role="listbox" aria-label="Found" hidden={!shown}>
        {hits.map((hit, index) => (
          <div
            key={hit.key}
            id={`hit-${index}`}
            role="option"
            aria-selected={index === chosen}
            aria-label={plain(`${hit.kind} ${hit.name}`)}
            onPointerDown={(event) => (event.preventDefault(), follow(hit))}
          >
            {hit.kind === "stream" ? <StreamName stream={hit.name} /> : <Text>{hit.name}</Text>}
            <small>{hit.kind}</small>
          </div>
        ))}
      </div>
    </div>
  )
}
