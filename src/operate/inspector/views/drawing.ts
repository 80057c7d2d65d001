/** The layout of the map: loaded with its view. */
import { Graph, layout } from "@dagrejs/dagre"
import type { SystemMap } from "../../Operations.ts"

type Map = typeof SystemMap.Type

interface Box {
  readonly id: string
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

interface Drawing {
  readonly width: number
  readonly height: number
  /** Left upper corners, by id. */
  readonly boxes: ReadonlyMap<string, Box>
  readonly edges: ReadonlyArray<{ readonly from: string; readonly to: string; readonly kind: string; readonly path: string }>
}

interface Point {
  readonly x: number
  readonly y: number
}

/** A smooth line through points. */
const pathOf = (points: ReadonlyArray<Point>): string =>
  points
    .map(({ x, y }, index) => {
      const before = points[index - 1]
      if (before === undefined) return `M${x.toFixed(1)} ${y.toFixed(1)}`
      const middle = (before.x + x) / 2
      return `C${middle.toFixed(1)} ${before.y.toFixed(1)} ${middle.toFixed(1)} ${y.toFixed(1)} ${x.toFixed(1)} ${y.toFixed(1)}`
    })
    .join("")

/** Boxes and lines from left to right: commands, what they are about, events, what follows them. */
export const draw = ({ edges, nodes }: Map): Drawing => {
  const graph = new Graph({ multigraph: true })
  graph.setGraph({ rankdir: "LR", nodesep: 12, ranksep: 64, marginx: 16, marginy: 16 })
  graph.setDefaultEdgeLabel(() => ({}))
  for (const { id, name } of nodes) graph.setNode(id, { width: Math.min(220, 40 + name.length * 7), height: 30 })
  const known = new Set(nodes.map(({ id }) => id))
  const drawn = edges.filter(({ from, to }) => known.has(from) && known.has(to))
  for (const { from, kind, to } of drawn) graph.setEdge(from, to, { kind }, kind)
  layout(graph)
  const boxes = new Map(
    nodes.map(({ id }) => {
      const { height, width, x, y } = graph.node(id) as Required<Box>
      return [id, { id, x: x - width / 2, y: y - height / 2, width, height }] as const
    })
  )
  const all = Array.from(boxes.values())
  return {
    width: Math.max(0, ...all.map(({ width, x }) => x + width)) + 16,
    height: Math.max(0, ...all.map(({ height, y }) => y + height)) + 16,
    boxes,
    edges: drawn.map(({ from, kind, to }) => {
      const { points } = graph.edge({ v: from, w: to, name: kind }) as { readonly points: ReadonlyArray<Point> }
      return { from, to, kind, path: pathOf(points) }
    })
  }
}
