/** Questions of a view, as hooks: the newest question counts, and answers that come late are dropped. */
import type * as Effect from "effect/Effect"
import { useEffect, useRef, useState } from "preact/hooks"
import { ask, type Client, client, connections } from "./link.ts"

export interface Answer<A> {
  /** The newest answer, also while the next one is awaited. */
  readonly value: A | undefined
  readonly problem: string | undefined
  /** Whether the value answers what is asked now. */
  readonly current: boolean
  readonly again: () => void
}

interface Kept<A> {
  readonly key: string
  readonly value?: A
  readonly problem?: string | undefined
}

/**
 * Asks whenever the key changes, and after each time that the connection was made; `undefined` asks nothing. The last value stays until
 * there is another.
 */
export const useAnswer = <A, E>(
  key: string | undefined,
  question: (client: Client) => Effect.Effect<A, E>,
  quiet = 0
): Answer<A> => {
  const [kept, keep] = useState<Kept<A>>({ key: "" })
  const [round, setRound] = useState(0)
  const link = client.value
  const connected = connections.value
  useEffect(() => {
    if (key === undefined || link === undefined || connected === 0) return
    let takeBack = () => {}
    const start = () => {
      takeBack = ask(question(link), {
        onValue: (value) => keep({ key, value }),
        onEnd: (problem) => problem !== undefined && keep((last) => ({ ...last, key, problem }))
      })
    }
    if (quiet === 0) start()
    else {
      const timer = setTimeout(start, quiet)
      takeBack = () => clearTimeout(timer)
    }
    return () => takeBack()
  }, [key, link, connected, round])
  const current = kept.key === key
  return {
    value: key === undefined ? undefined : kept.value,
    problem: current ? kept.problem : undefined,
    current,
    again: () => setRound((round) => round + 1)
  }
}

export interface PageOf<A> {
  readonly items: ReadonlyArray<A>
  readonly next: string | null
  readonly read: number | null
}

export interface Pages<A> {
  readonly items: ReadonlyArray<A>
  readonly problem: string | undefined
  readonly loading: boolean
  /** Whether there is more to be had. */
  readonly more: boolean
  /** How far the log has been looked through, where it is. */
  readonly read: number | null
  readonly load: () => void
  readonly again: () => void
}

/** Rows that a list keeps at most; after these one has to narrow it. */
const mostRows = 5000

interface Read<A> extends PageOf<A> {
  readonly key: string
  readonly problem: string | undefined
  readonly loading: boolean
}

/**
 * Goes through pages, one at a time: the first at once, others by `load`. A new key begins anew; `again` replaces what is there, and so does
 * a new connection, unless they are `lasting`.
 */
export const usePages = <A, E>(
  key: string | undefined,
  question: (client: Client, after: string | undefined) => Effect.Effect<PageOf<A>, E>,
  lasting = false
): Pages<A> => {
  const nothing = { items: [], next: null, read: null, problem: undefined, loading: key !== undefined }
  const [state, setState] = useState<Read<A>>({ ...nothing, key: "" })
  const [round, setRound] = useState(0)
  const takeBack = useRef(() => {})
  const link = client.value
  const connected = connections.value
  const begin = (after: string | undefined, before: ReadonlyArray<A>) => {
    if (link === undefined || key === undefined) return
    takeBack.current()
    setState((last) => ({
      ...(last.key === key ? last : { ...nothing, items: last.items }),
      key,
      loading: true,
      problem: undefined
    }))
    takeBack.current = ask(question(link, after), {
      onValue: ({ items, next, read }) => {
        setState({ key, items: [...before, ...items], next, read, problem: undefined, loading: false })
        // A page of what is rare may be empty and have a successor.
        if (items.length === 0 && next !== null) begin(next, before)
      },
      onEnd: (problem) => problem !== undefined && setState((last) => ({ ...last, key, problem, loading: false }))
    })
  }
  useEffect(() => {
    if (connected > 0) begin(undefined, [])
    return () => takeBack.current()
  }, [key, link, lasting ? connected > 0 : connected, round])
  return {
    items: state.items,
    problem: state.problem,
    loading: state.loading,
    more: state.next !== null && state.items.length < mostRows,
    read: state.read,
    load: () => {
      if (!state.loading && state.next !== null && state.key === key && state.items.length < mostRows) {
        begin(state.next, state.items)
      }
    },
    again: () => setRound((round) => round + 1)
  }
}
