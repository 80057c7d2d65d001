/** The map of what a program consists of, as far as it has told of it. */
import * as Effect from "effect/Effect"
import type * as Event from "../../definitions/Event.ts"
import { categoryOf, type Filter, type Query } from "../../store/EventStore.ts"
import type { SystemMap } from "../contract/views.ts"
import { orUnavailable, type Parts } from "../parts.ts"

type Node = SystemMap["nodes"][number]
type Edge = SystemMap["edges"][number]

/** An event type, and where its events stand. */
interface KnownEvent {
  readonly type: string
  readonly categories: Set<string>
  readonly definitions: ReadonlyArray<Event.Any>
}

const idOf = (kind: Node["kind"], name: string) => `${kind}:${name}`

const passes = (query: Query, { categories, definitions, type }: KnownEvent): boolean =>
  (query.types === undefined || query.types.includes(type)) &&
  (query.categories === undefined || categories.size === 0 || query.categories.some((category) => categories.has(category))) &&
  (query.published === undefined ||
    definitions.length === 0 ||
    definitions.some(({ published }) => published === query.published))

const isMany = (filter: Filter): filter is ReadonlyArray<Query> => Array.isArray(filter)

const queriesOf = (filter: Filter | undefined): ReadonlyArray<Query> =>
  filter === undefined ? [{}] : isMany(filter) ? filter : [filter]

/** How many of the newest events are looked at for what commands do. */
const newest = 1000

/** Which commands a process has sent, and on which aggregates commands were executed: seen among the newest events, for nothing else tells. */
const seenOf = Effect.fnUntraced(function* ({ aggregates, commands, processes, store }: Parts) {
  const head = yield* orUnavailable(store.head)
  const { events } = yield* orUnavailable(store.readPage({ after: Math.max(0, head - newest), size: newest }))
  const byId = new Map(events.map((event) => [event.id, event]))
  const known = new Set(commands)
  const isCommand = ({ stream, type }: { readonly stream: string; readonly type: string }) =>
    stream.startsWith("$bus-") && known.has(type)
  return events.flatMap((event): ReadonlyArray<Edge> => {
    const cause = byId.get(event.metadata.causationId ?? "")
    if (cause === undefined) return []
    const [from, to] = [categoryOf(cause.stream), categoryOf(event.stream)]
    if (isCommand(cause) && aggregates.has(to)) {
      return [{ from: idOf("command", cause.type), to: idOf("aggregate", to), kind: "executes" }]
    }
    return isCommand(event) && processes.has(from)
      ? [{ from: idOf("process", from), to: idOf("command", event.type), kind: "sends" }]
      : []
  })
})

/** Draws it. */
export const drawMap = Effect.fnUntraced(function* (parts: Parts) {
  const { aggregates, bus, commands, processes } = parts
  const nodes = new Map<string, Node>()
  const edges = new Map<string, Edge>()
  const events = new Map<string, KnownEvent>()
  const add = (kind: Node["kind"], name: string, follower: string | null = null) => {
    const id = idOf(kind, name)
    if (!nodes.has(id)) nodes.set(id, { id, kind, name, follower })
    return id
  }
  const connect = (from: string, to: string, kind: Edge["kind"]) => void edges.set(`${from} ${to} ${kind}`, { from, to, kind })
  const know = (type: string, definition?: Event.Any, category?: string) => {
    const known = events.get(type) ?? { type, categories: new Set<string>(), definitions: [] }
    if (category !== undefined) known.categories.add(category)
    events.set(type, definition === undefined ? known : { ...known, definitions: [...known.definitions, definition] })
    return add("event", type)
  }
  const handle = (queries: ReadonlyArray<Query>, to: string, kind: Edge["kind"]) => {
    for (const type of queries.flatMap(({ types = [] }) => types)) if (!type.startsWith("$")) know(type)
    for (const event of events.values()) {
      if (queries.some((query) => passes(query, event))) connect(idOf("event", event.type), to, kind)
    }
  }
  for (const command of commands) add("command", command)
  for (const { events, name } of aggregates.values()) {
    const aggregate = add("aggregate", name)
    for (const event of events) connect(aggregate, know(event.type, event, name), "records")
  }
  for (const { deadlines, name } of processes.values()) {
    const process = add("process", name, `subscription:process:${name}`)
    for (const deadline of deadlines) connect(process, know(deadline.type, deadline, name), "records")
  }
  for (const event of Array.from(events.keys())) {
    const listeners = bus?.listeners(event).length ?? 0
    if (listeners === 0) continue
    connect(idOf("event", event), add("listener", `${event} (${listeners})`), "handles")
  }
  for (const [name, follower] of yield* parts.followers) {
    if (follower.part === "deadlines") continue
    const node = add(follower.part === "relay" ? "relay" : follower.runs, follower.title, name)
    handle(queriesOf(follower.filter), node, follower.part === "relay" ? "publishes" : "handles")
  }
  for (const { members, name } of (yield* parts.groups).values()) {
    const consumer = add("consumer", name, `consumer:${name}`)
    for (const { types } of members) for (const type of types) connect(know(type), consumer, "handles")
  }
  for (const { from, kind, to } of yield* seenOf(parts)) connect(from, to, kind)
  const map: SystemMap = { nodes: Array.from(nodes.values()), edges: Array.from(edges.values()) }
  return map
})
