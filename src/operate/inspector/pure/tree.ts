/** A conversation as a tree: what an event or a command caused stands below it. */
export interface Message {
  readonly id: string
  readonly position: number
  readonly type: string
  readonly causationId: string | null
}

export interface Branch<M extends Message> {
  readonly message: M
  readonly depth: number
  /** The lines that lead to it, as `│  └─ `. */
  readonly twigs: string
  /** How many housekeeping messages below it were left out. */
  readonly folded: number
}

/** Notes that the library keeps for itself: their types begin with `$`. */
export const isNote = (type: string): boolean => type.startsWith("$")

/**
 * Messages as the rows of a tree, in the order of positions. Whose cause is not among them is a root. With `fold`, housekeeping without
 * effects of its own is left out and counted where it belongs.
 */
export const branches = <M extends Message>(messages: ReadonlyArray<M>, fold = false): ReadonlyArray<Branch<M>> => {
  const known = new Set<string>()
  const below = new Map<string, Array<M>>()
  const sorted = [...messages].sort((a, b) => a.position - b.position)
  for (const message of sorted) {
    // A cause comes before its effect, so whoever names another forms no circle.
    const cause = message.causationId !== null && known.has(message.causationId) ? message.causationId : ""
    known.add(message.id)
    const siblings = below.get(cause)
    if (siblings === undefined) below.set(cause, [message])
    else siblings.push(message)
  }
  const rows: Array<Branch<M>> = []
  interface Item {
    readonly message: M
    readonly depth: number
    readonly indent: string
    readonly last: boolean
  }
  const childrenOf = (id: string) => {
    const all = below.get(id) ?? []
    const shown = fold ? all.filter(({ id, type }) => !isNote(type) || below.has(id)) : all
    return { shown, folded: all.length - shown.length }
  }
  const itemsOf = (messages: ReadonlyArray<M>, depth: number, indent: string): ReadonlyArray<Item> =>
    messages.map((message, index) => ({ message, depth, indent, last: index === messages.length - 1 }))
  const waiting: Array<Item> = [...itemsOf(below.get("") ?? [], 0, "")].reverse()
  for (let item = waiting.pop(); item !== undefined; item = waiting.pop()) {
    const { depth, indent, last, message } = item
    const { folded, shown } = childrenOf(message.id)
    rows.push({ message, depth, twigs: depth === 0 ? "" : `${indent}${last ? "└─ " : "├─ "}`, folded })
    const deeper = depth === 0 ? "" : `${indent}${last ? "   " : "│  "}`
    for (const item of [...itemsOf(shown, depth + 1, deeper)].reverse()) waiting.push(item)
  }
  return rows
}
