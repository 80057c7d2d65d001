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

const sizeOf = ({ name }: Map["nodes"][number]) => ({ width: Math.min(220, 40 + name.length * 7), height: 30 })

/** What is connected with nothing stands in rows above, where it takes little room. */
const above = (nodes: Map["nodes"]): { readonly boxes: ReadonlyArray<Box>; readonly height: number } => {
  const boxes: Array<Box> = []
  let [x, y] = [16, 16]
  for (const node of nodes) {
    const size = sizeOf(node)
    if (x + size.width > 1080) [x, y] = [16, y + 42]
    boxes.push({ id: node.id, x, y, ...size })
    x += size.width + 12
  }
  return { boxes, height: boxes.length === 0 ? 0 : y + 42 }
}

/** Boxes and lines from left to right: commands, what they are about, events, what follows them. */
export const draw = ({ edges, nodes: all }: Map): Drawing => {
  const joined = new Set(edges.flatMap(({ from, to }) => [from, to]))
  const nodes = all.filter(({ id }) => joined.has(id))
  const alone = above(all.filter(({ id }) => !joined.has(id)))
  const graph = new Graph({ multigraph: true })
  graph.setGraph({ rankdir: "LR", nodesep: 12, ranksep: 64, marginx: 16, marginy: 16 })
  graph.setDefaultEdgeLabel(() => ({}))
  for (const node of nodes) graph.setNode(node.id, sizeOf(node))
  const known = new Set(nodes.map(({ id }) => id))
  const drawn = edges.filter(({ from, to }) => known.has(from) && known.has(to))
  for (const { from, kind, to } of drawn) graph.setEdge(from, to, { kind }, kind)
  layout(graph)
  const laid = nodes.map(({ id }) => {
    const { height, width, x, y } = graph.node(id) as Required<Box>
    return { id, x: x - width / 2, y: y - height / 2 + alone.height, width, height }
  })
  const drawnBoxes = [...alone.boxes, ...laid]
  const boxes = new Map(drawnBoxes.map((box) => [box.id, box]))
  return {
    width: Math.max(0, ...drawnBoxes.map(({ width, x }) => x + width)) + 16,
    height: Math.max(0, ...drawnBoxes.map(({ height, y }) => y + height)) + 16,
    boxes,
    edges: drawn.map(({ from, kind, to }) => {
      const { points } = graph.edge({ v: from, w: to, name: kind }) as { readonly points: ReadonlyArray<Point> }
      return { from, to, kind, path: pathOf(points.map(({ x, y }) => ({ x, y: y + alone.height }))) }
    })
  }
}
