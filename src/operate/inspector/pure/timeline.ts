/** Instants on a line, where long pauses take little room and moments some. */
export interface Timeline {
  /** Where each instant stands, from 0 to 1, in the order that was given. */
  readonly places: ReadonlyArray<number>
  /** Pauses that are worth a word: between which places, and how long. */
  readonly pauses: ReadonlyArray<{ readonly from: number; readonly to: number; readonly milliseconds: number }>
}

/** What a pause takes on the line: 1 for what happens at once, and about one more each ten times that it is longer. */
const weight = (milliseconds: number) => 1 + Math.log10(1 + milliseconds) / 1.5

/** Places for instants; equal ones share a place. */
export const timeline = (instants: ReadonlyArray<number>): Timeline => {
  const order = Array.from(new Set(instants)).sort((a, b) => a - b)
  const at = new Map<number, number>()
  const steps: Array<{ readonly from: number; readonly to: number; readonly milliseconds: number }> = []
  let along = 0
  for (const [index, instant] of order.entries()) {
    const milliseconds = index === 0 ? 0 : instant - (order[index - 1] ?? instant)
    const from = along
    if (index > 0) along += weight(milliseconds)
    at.set(instant, along)
    if (index > 0) steps.push({ from, to: along, milliseconds })
  }
  const whole = along || 1
  return {
    places: instants.map((instant) => (at.get(instant) ?? 0) / whole),
    pauses: steps
      .filter(({ milliseconds }) => milliseconds >= 1000)
      .map(({ from, milliseconds, to }) => ({ from: from / whole, to: to / whole, milliseconds }))
  }
}
