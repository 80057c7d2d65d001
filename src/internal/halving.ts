/**
 * Many who come again and again are best served in two halves that take turns: one is on its way to the storage while the other is answered and comes back, so
 * that neither the storage nor the process waits for the other. But two halves go twice, each with all that a way costs whatever goes: a flush, and the
 * network. Where that takes longer than it takes to answer them all, they go together.
 */

export interface Halving {
  /** How many of so many callers go next, those who wait and who are to be answered: half of them, or all. */
  readonly share: (callers: number) => number
  /** Whether so many go together, so that those who are to be answered are answered first, and come back. */
  readonly isTogether: (callers: number) => boolean
  /** What some of them took that have gone together, in milliseconds. */
  readonly took: (went: { readonly size: number; readonly callers: number; readonly millis: number }) => void
}

export const makeHalving = ({
  each,
  from
}: {
  /** From how many on they may go in halves. */
  readonly from: number
  /** About how many milliseconds one takes by itself: in the storage, and in the process until it comes again. */
  readonly each: number
}): Halving => {
  let isShort = false
  return {
    share: (callers) => (isShort && callers >= from ? Math.ceil(callers / 2) : callers),
    isTogether: (callers) => !isShort && callers >= from,
    took: ({ callers, millis, size }) => {
      const way = millis - size * each
      isShort = way < callers * each
    }
  }
}
