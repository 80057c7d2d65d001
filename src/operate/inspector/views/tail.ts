/** Events as they come, above those that were there. */
import type { EventRow, Filter } from "../../Operations.ts"
import { useEffect, useRef, useState } from "preact/hooks"
import { client, connections, listen } from "../link/link.ts"
import { visible } from "../link/live.ts"

/** New events that are kept; whoever wants more loads the list anew. */
const most = 2000

export interface Tail {
  /** The newest first. */
  readonly items: ReadonlyArray<EventRow>
  /** Whether more have come than are kept. */
  readonly overflow: boolean
}

const nothing: Tail = { items: [], overflow: false }

/**
 * Listens after a position, and after a lost connection goes on after the last event that came. It rests while nobody looks. `after`
 * `undefined` listens to nothing.
 */
export const useTail = (key: string, after: number | undefined, filter: Filter): Tail => {
  const [state, setState] = useState<Tail & { readonly key: string }>({ ...nothing, key })
  const last = useRef({ key: "", position: 0 })
  const link = client.value
  const connected = connections.value
  const seen = visible.value
  useEffect(() => {
    if (link === undefined || connected === 0 || after === undefined || !seen) return
    if (last.current.key !== key) {
      last.current = { key, position: after }
      setState({ ...nothing, key })
    }
    return listen(link.Tail({ after: last.current.position, filter }, { asQueue: true }), {
      onValue: (events) => {
        const fresh = events.filter(({ position }) => position > last.current.position)
        if (fresh.length === 0) return
        last.current.position = fresh.at(-1)?.position ?? last.current.position
        setState(({ items, overflow }) => {
          const all = [...fresh.toReversed(), ...items]
          return { key, items: all.slice(0, most), overflow: overflow || all.length > most }
        })
      }
    })
  }, [key, link, connected, after, seen])
  return state.key === key ? state : nothing
}
