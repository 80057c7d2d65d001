/** Lines of numbers. */
import { areaPoints, linePoints } from "../pure/chart.ts"
import { count } from "../pure/text.ts"

/** A line as large as a word. */
export const Spark = ({
  height = 14,
  values,
  width = 44
}: {
  values: ReadonlyArray<number>
  width?: number
  height?: number
}) => (
  <svg class="spark" width={width} height={height} viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
    <polygon points={areaPoints(values, width, height, 60)} />
    <polyline points={linePoints(values, width, height, 60)} />
  </svg>
)

/** The lag of the last minute, with its scale. */
export const LagChart = ({ values }: { readonly values: ReadonlyArray<number> }) => {
  const top = Math.max(10, ...values)
  return (
    <figure class="lag-chart">
      <svg viewBox="0 0 360 74" preserveAspectRatio="none" role="img" aria-label={`Lag, now ${count(values.at(-1) ?? 0)}`}>
        <path class="grid" d="M0 1H360M0 37H360M0 73H360" />
        <polygon points={areaPoints(values, 360, 74, 60)} />
        <polyline points={linePoints(values, 360, 74, 60)} />
      </svg>
      <figcaption>
        <span>{count(top)}</span>
        <span>{count(Math.round(top / 2))}</span>
        <span>0</span>
      </figcaption>
      <p class="quiet">positions behind, last minute</p>
    </figure>
  )
}
