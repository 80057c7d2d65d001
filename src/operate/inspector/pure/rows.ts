/** Which rows of a long list are drawn: those in the window, and a few around it. Rows are of one height. */
export interface RowWindow {
  /** The first row that is drawn, and the one after the last. */
  readonly first: number
  readonly end: number
  /** The height of all rows, and where the first that is drawn begins, in pixels. */
  readonly height: number
  readonly offset: number
}

/** Rows that are drawn beyond each edge, so that scrolling shows no gap. */
const overscan = 8

/** The rows for a place of the scroll bar. */
export const rowWindow = (scrollTop: number, viewport: number, rowHeight: number, rows: number): RowWindow => {
  const end = Math.min(rows, Math.ceil((Math.max(0, scrollTop) + viewport) / rowHeight) + overscan)
  const first = Math.max(0, Math.min(Math.floor(Math.max(0, scrollTop) / rowHeight) - overscan, end))
  return { first, end, height: rows * rowHeight, offset: first * rowHeight }
}

/** Where to scroll so that a row is in the window: no further than needed. `undefined` where it is. */
export const scrollFor = (index: number, scrollTop: number, viewport: number, rowHeight: number): number | undefined => {
  const top = index * rowHeight
  if (top < scrollTop) return Math.max(0, top - rowHeight)
  if (top + rowHeight > scrollTop + viewport) return top + 2 * rowHeight - viewport
  return undefined
}

/** The versions that are loaded around one: at most 200, and the same for neighbours, so that a step needs no call. */
export const versionWindow = (version: number, latest: number): { readonly from: number; readonly to: number } => {
  if (latest <= 200) return { from: 1, to: Math.max(1, latest) }
  const from = Math.max(1, Math.floor((version - 1) / 100) * 100 - 49)
  return { from, to: Math.min(latest, from + 199) }
}
