/** What the program consists of, as it is registered: commands, events, and what follows them. */
import type { SystemMap } from "../../Operations.ts"
import type * as drawing from "./drawing.ts"
import { useEffect, useMemo, useState } from "preact/hooks"
import { useAnswer } from "../link/answer.ts"
import { followers } from "../link/live.ts"
import { choose, route, to } from "../link/place.ts"
import { Dot, Empty, Problem, Text, Title } from "../parts/basic.tsx"
import { plain, plural } from "../pure/text.ts"

type Drawing = typeof drawing
type Node = (typeof SystemMap.Type)["nodes"][number]

/** The drawing's code, once it is there. */
const useDrawing = (): Drawing | undefined => {
  const [drawing, setDrawing] = useState<Drawing>()
  useEffect(() => {
    let wanted = true
    void import("./drawing.ts").then((loaded) => wanted && setDrawing(loaded))
    return () => {
      wanted = false
    }
  }, [])
  return drawing
}

const kinds = ["command", "aggregate", "event", "listener", "subscription", "projection", "process", "relay", "consumer"] as const

/** What is one step from a node, with it. */
const around = (map: typeof SystemMap.Type, id: string | undefined): ReadonlySet<string> | undefined =>
  id === undefined
    ? undefined
    : new Set([id, ...map.edges.flatMap(({ from, to }) => (from === id ? [to] : to === id ? [from] : []))])

const stateOf = ({ follower }: Node): string | undefined => followers.value.find(({ name }) => name === follower)?.state

const Chosen = ({ node }: { readonly node: Node }) => {
  const { follower, kind, name } = node
  const state = stateOf(node)
  return (
    <p class="map-chosen">
      <i class="kind" data-kind={kind} />
      <strong>
        <Text>{name}</Text>
      </strong>
      <span class="quiet">{kind}</span>
      {state === undefined ? null : <Dot state={state} />}
      {follower === null ? null : <a href={to("followers", { name: follower })}>follower</a>}
      {kind === "event" || kind === "command" ? <a href={to("events", { type: name })}>events</a> : null}
      {kind === "aggregate" ? <a href={to("streams", { category: name })}>streams</a> : null}
      {kind === "process" ? <a href={to("processes", { process: name })}>instances</a> : null}
    </p>
  )
}

const Drawn = ({ drawing, map }: { readonly map: typeof SystemMap.Type; readonly drawing: Drawing }) => {
  const drawn = useMemo(() => drawing.draw(map), [map])
  const { node: chosen, zoom = "1" } = route.value.params
  const lit = around(map, chosen)
  const pick = (id: string) => choose({ node: id === chosen ? "" : id }, true)
  const scale = Number(zoom) || 1
  return (
    <svg width={drawn.width * scale} height={drawn.height * scale} viewBox={`0 0 ${drawn.width} ${drawn.height}`}>
      <defs>
        <marker id="tip" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" markerHeight="6" orient="auto">
          <path d="M0 0L6 3L0 6z" />
        </marker>
      </defs>
      {drawn.edges.map(({ from, kind, path, to }) => (
        <path
          key={`${from} ${to} ${kind}`}
          class="edge"
          d={path}
          data-kind={kind}
          marker-end="url(#tip)"
          data-lit={lit === undefined ? undefined : from === chosen || to === chosen}
        />
      ))}
      {map.nodes.map((node) => {
        const box = drawn.boxes.get(node.id)
        if (box === undefined) return null
        const state = stateOf(node)
        return (
          <g
            key={node.id}
            class="node"
            data-kind={node.kind}
            data-lit={lit?.has(node.id)}
            tabIndex={0}
            role="button"
            aria-pressed={node.id === chosen}
            aria-label={plain(`${node.kind} ${node.name}${state === undefined ? "" : `, ${state}`}`)}
            onClick={() => pick(node.id)}
            onKeyDown={(event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), pick(node.id))}
          >
            <rect x={box.x} y={box.y} width={box.width} height={box.height} rx={node.kind === "command" ? 15 : 6} />
            <text x={box.x + 14} y={box.y + 19}>
              {plain(node.name.length > 26 ? `${node.name.slice(0, 25)}…` : node.name)}
            </text>
            {state === undefined ? null : (
              <circle class="state" data-state={state} cx={box.x + box.width - 12} cy={box.y + 15} r="4" />
            )}
          </g>
        )
      })}
    </svg>
  )
}

export const MapView = () => {
  const answer = useAnswer("map", (link) => link.Map({}))
  const drawing = useDrawing()
  const map = answer.value
  const { node: chosen, zoom = "1" } = route.value.params
  const node = map?.nodes.find(({ id }) => id === chosen)
  const zoomTo = (by: number) =>
    choose({ zoom: String(Math.max(0.4, Math.min(2, Math.round((Number(zoom) + by) * 10) / 10))) }, true)
  return (
    <main class="map">
      <Title
        name="Map"
        more={map === undefined ? "" : `${plural(map.nodes.length, "thing")}, as registered where this is answered`}
      >
        <button type="button" class="plain" aria-label="Smaller" onClick={() => zoomTo(-0.2)}>
          −
        </button>
        <button type="button" class="plain" aria-label="Larger" onClick={() => zoomTo(0.2)}>
          +
        </button>
      </Title>
      <Problem>{answer.problem}</Problem>
      <div class="map-legend">
        {kinds
          .filter((kind) => map?.nodes.some((node) => node.kind === kind))
          .map((kind) => (
            <span key={kind}>
              <i class="kind" data-kind={kind} /> {kind}
            </span>
          ))}
        {node === undefined ? null : <Chosen node={node} />}
      </div>
      <div class="map-scroll" tabIndex={0} role="region" aria-label="Map">
        {map === undefined || drawing === undefined ? (
          <Empty>…</Empty>
        ) : map.nodes.length === 0 ? (
          <Empty>Nothing is registered in the process that answers.</Empty>
        ) : (
          <Drawn map={map} drawing={drawing} />
        )}
      </div>
    </main>
  )
}
