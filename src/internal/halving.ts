/**
 * Many who come again and again are best served in two halves that take turns: one is on its way to the storage while the other is answered and comes back, so
 * that neither the storage nor the process waits for the other. But two halves go twice, each with all that a way costs whatever goes: a flush, and the
 * network. Where that takes longer than it takes to answer them all, they go together.
 */

/** From how many on they go in halves. */
const worthHalving = 32

export interface Halving {
  /** How many of so many callers go next: those who wait, and who have just been answered. */
  readonly share: (callers: number) => number
  /** What some of them took that have gone together, in milliseconds. */
  readonly took: (went: { readonly size: number; readonly callers: number; readonly millis: number }) => void
}

/** `each` is about how many milliseconds one takes by itself: in the storage, and in the process until it comes again. */
export const makeHalving = (each: number): Halving => {
  let isShort = true
  return {
    share: (callers) => (isShort && callers >= worthHalving ? Math.ceil(callers / 2) : callers),
    took: ({ callers, millis, size }) => {
      const way = millis - size * each
      isShort = way < callers * each
    }
  }
}
