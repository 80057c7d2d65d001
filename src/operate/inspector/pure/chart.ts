/** Lines of numbers, drawn into a box. */

/**
 * The points of a line, for `polyline`. The scale begins at `floor`, so that small numbers do not look like an alarm; a line with fewer
 * samples than `slots` ends at the right.
 */
export const linePoints = (values: ReadonlyArray<number>, width: number, height: number, slots: number, floor = 10): string => {
  const top = Math.max(floor, ...values)
  const step = width / Math.max(1, slots - 1)
  const start = width - (values.length - 1) * step
  return values
    .map((value, index) => `${(start + index * step).toFixed(1)},${(height - 1 - (value / top) * (height - 2)).toFixed(1)}`)
    .join(" ")
}

/** The first and last point of {@link linePoints} on the ground, which make an area of the line. */
export const areaPoints = (values: ReadonlyArray<number>, width: number, height: number, slots: number, floor = 10): string => {
  if (values.length === 0) return ""
  const left = width - ((values.length - 1) * width) / Math.max(1, slots - 1)
  return `${left.toFixed(1)},${height} ${linePoints(values, width, height, slots, floor)} ${width},${height}`
}

/** How many a second, by samples of when and how many. */
export const rateOf = (samples: ReadonlyArray<readonly [at: number, value: number]>): number => {
  const first = samples[0]
  const last = samples.at(-1)
  if (first === undefined || last === undefined || last[0] <= first[0]) return 0
  return Math.max(0, ((last[1] - first[1]) * 1000) / (last[0] - first[0]))
}

/** `0`, `0.4`, `12`, `1,234`. */
export const rateText = (rate: number): string =>
  rate >= 10 ? Math.round(rate).toLocaleString("en-US") : rate === 0 ? "0" : rate < 0.05 ? "<0.1" : rate.toFixed(1)
