/** A long list: only the rows in the window are drawn. Rows are of one height. */
import { signal } from "@preact/signals"
import type { ComponentChildren } from "preact"
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks"
import { rowWindow, scrollFor } from "../pure/rows.ts"

export interface Choice {
  readonly move: (by: number) => void
}

/** The list that `j` and `k` move in: the last one that asked for them. */
export const mainList = signal<Choice | undefined>(undefined)

interface Options {
  readonly rows: number
  readonly rowHeight: number
  readonly row: (index: number) => ComponentChildren
  readonly label: string
  readonly class?: string
  /** The row that is chosen; -1 for none. It is kept in the window when it changes. Absent: rows are not chosen, and may hold buttons. */
  readonly chosen?: number
  readonly onChoose?: (index: number) => void
  /** Asked for when the end comes into sight. */
  readonly onEnd?: (() => void) | undefined
  /** Told when the list leaves its top, and when it is there again. */
  readonly onTop?: ((atTop: boolean) => void) | undefined
  /** Whether `j` and `k` move in it from anywhere. */
  readonly main?: boolean
  readonly rowClass?: (index: number) => string
  readonly keyOf?: (index: number) => string | number
}

/** Where a list is scrolled to, and how high it is. */
const useViewport = () => {
  const box = useRef<HTMLDivElement>(null)
  const [place, setPlace] = useState({ top: 0, height: 600 })
  const look = () => {
    const { current } = box
    if (current !== null) setPlace({ top: current.scrollTop, height: current.clientHeight })
  }
  useLayoutEffect(() => {
    const { current } = box
    if (current === null) return
    const observer = new ResizeObserver(look)
    observer.observe(current)
    return () => observer.disconnect()
  }, [])
  return { box, look, ...place }
}

export const List = (options: Options) => {
  const { chosen, keyOf = String, onChoose, onEnd, onTop, row, rowClass, rowHeight, rows } = options
  const { box, height, look, top } = useViewport()
  const shown = rowWindow(top, height, rowHeight, rows)
  const choice = useRef<Choice>({ move: () => {} })
  choice.current = {
    move: (by) => {
      const next = Math.max(0, Math.min(rows - 1, (chosen ?? -1) + by))
      if (rows > 0 && next !== chosen) onChoose?.(next)
    }
  }
  useEffect(() => {
    if (options.main !== true) return
    const mine = { move: (by: number) => choice.current.move(by) }
    mainList.value = mine
    return () => {
      if (mainList.value === mine) mainList.value = undefined
    }
  }, [options.main])
  useEffect(() => {
    const { current } = box
    if (chosen === undefined || chosen < 0 || current === null) return
    const place = scrollFor(chosen, current.scrollTop, current.clientHeight, rowHeight)
    if (place !== undefined) current.scrollTop = place
  }, [chosen, rows > 0, rowHeight])
  useEffect(() => {
    if (rows > 0 && shown.end >= rows) onEnd?.()
  }, [shown.end, rows])
  useEffect(() => onTop?.(top < rowHeight), [top < rowHeight])
  const choosable = onChoose !== undefined
  const onKeyDown = (event: KeyboardEvent) => {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key]
    if (by === undefined || !choosable) return
    event.preventDefault()
    choice.current.move(by)
  }
  const indices = Array.from({ length: shown.end - shown.first }, (_, index) => shown.first + index)
  return (
    <div
      class={`list ${options.class ?? ""}`}
      ref={box}
      onScroll={look}
      onKeyDown={onKeyDown}
      tabIndex={0}
      role={choosable ? "listbox" : "list"}
      aria-label={options.label}
    >
      <div class="list-all" role="presentation" style={{ height: `${shown.height}px` }}>
        {indices.map((index) => (
          <div
            key={keyOf(index)}
            class={`row ${rowClass?.(index) ?? ""}`}
            style={{ transform: `translateY(${index * rowHeight}px)`, height: `${rowHeight}px` }}
            role={choosable ? "option" : "listitem"}
            aria-selected={choosable ? index === chosen : undefined}
            aria-setsize={rows}
            aria-posinset={index + 1}
            onClick={choosable ? () => onChoose(index) : undefined}
          >
            {row(index)}
          </div>
        ))}
      </div>
    </div>
  )
}
