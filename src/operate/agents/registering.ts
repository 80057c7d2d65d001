/** Tools and resources of agents over a client of the operations, wherever these run. */
import * as McpSchema from "effect/ai/McpSchema"
import * as McpServer from "effect/ai/McpServer"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { FromGroup } from "effect/rpc/RpcClient"
import type { RpcClientError } from "effect/rpc/RpcClientError"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { makeId } from "../../internal/ids.ts"
import { printable } from "../../internal/printable.ts"
import type { Act, ActStep } from "../contract/acts.ts"
import { UnavailableError } from "../contract/errors.ts"
import type { EventRow } from "../contract/events.ts"
import type { SystemMap } from "../contract/views.ts"
import type { Operations } from "../Operations.ts"
import { eventLine, jsonText, payloadText } from "./rows.ts"
import { Acting, Looking } from "./tools.ts"

/** A client of the operations. */
export type Client = FromGroup<typeof Operations, RpcClientError>

/** How many rows a list has where nothing else is asked for, and the longest trail. */
const [usual, longest] = [20, 200]

/** So many characters of a cause are told in a list. */
const longestCause = 500

const brief = (cause: string): string =>
  cause.length <= longestCause ? cause : `${cause.slice(0, longestCause)}… (${cause.length} characters)`

/** How long an agent waits for an answer where nothing else is said, and for an act: what takes longer goes on without it. */
const patience = Duration.seconds(30)

/** An answer with all of its text as it can be shown. */
const clean = <A>(value: A): A => {
  if (typeof value === "string") return printable(value) as A
  if (Array.isArray(value)) return value.map(clean) as A
  // Times and the like are no records.
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, clean(item)])) as A
}

/** What went wrong, by its kind and in a sentence. */
interface Failing {
  readonly _tag: string
  readonly message: string
}

/** What an operation answers, or a sentence on what it fails with. */
const said = <A, R>(effect: Effect.Effect<A, Failing, R>) =>
  Effect.mapBoth(effect, {
    onSuccess: clean,
    onFailure: ({ _tag, message }) => ({ tag: _tag, message: printable(message) })
  })

/** Fails where there is no answer in time: whoever is asked may be frozen. */
const inTime =
  (within: Duration.Duration) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | UnavailableError, R> =>
    Effect.timeoutOrElse(effect, {
      duration: within,
      orElse: () => Effect.fail(new UnavailableError({ detail: `there was no answer within ${Duration.format(within)}` }))
    })

/** A part of what is all there, in the order of its keys; a place is the key of the last one before it. */
const pageOf = <A>(
  all: ReadonlyArray<A>,
  keyOf: (item: A) => string,
  { after, limit = usual }: { readonly after?: string | undefined; readonly limit?: number | undefined }
): { readonly items: ReadonlyArray<A>; readonly next: string | null } => {
  const keyed = all.map((item) => ({ key: keyOf(item), item })).filter(({ key }) => after === undefined || key > after)
  const page = keyed.toSorted((one, other) => (one.key < other.key ? -1 : 1)).slice(0, limit)
  return { items: page.map(({ item }) => item), next: page.length < keyed.length ? (page.at(-1)?.key ?? null) : null }
}

const lines = ({ items, next }: { readonly items: ReadonlyArray<EventRow>; readonly next: string | null }) => ({
  items: items.map((event) => eventLine(event)),
  next
})

const detail = (client: Client, asked: { readonly id?: string; readonly at?: number }) =>
  Effect.map(client.Event(asked), ({ cause, effects, event, metadata }) => ({
    event: eventLine(event, true),
    metadata: payloadText(metadata, false),
    cause: cause === null ? null : eventLine(cause),
    effects: effects.map((effect) => eventLine(effect))
  }))

const state = (client: Client, stream: string, version: number | undefined) =>
  Effect.flatMap(client.States({ stream, ...(version === undefined ? {} : { from: version, to: version }) }), (found) => {
    const at = found.states.at(-1)
    const before = found.states.at(-2)?.state ?? found.before
    return at === undefined
      ? Effect.fail({ _tag: "NotFoundError", message: `${stream} has no such version` })
      : Effect.succeed({
          aggregate: found.aggregate,
          version: at.version,
          event: eventLine(at.event),
          before: jsonText(before),
          state: jsonText(at.state),
          problem: at.problem === null ? null : printable(at.problem)
        })
  })

/** Nodes come before edges, which name them. */
const mapPage = ({ edges, nodes }: SystemMap, after: string | undefined) => {
  const all = [
    ...nodes.map((node) => ({ key: `0 ${node.id}`, node })),
    ...edges.map((edge) => ({ key: `1 ${edge.from} ${edge.kind} ${edge.to}`, edge }))
  ]
  const { items, next } = pageOf(all, ({ key }) => key, { after, limit: longest })
  return {
    nodes: items.flatMap((item) => ("node" in item ? [item.node] : [])),
    edges: items.flatMap((item) => ("edge" in item ? [item.edge] : [])),
    next
  }
}

const looking = (client: Client, within: Duration.Duration) => {
  const told = <A, R>(effect: Effect.Effect<A, Failing, R>) => said(inTime(within)(effect))
  return Looking.toLayer({
    overview: () => told(client.Overview({})),
    list_streams: ({ limit = usual, newest, ...asked }) =>
      told(client.Streams({ ...asked, limit, order: newest === true ? "newest" : "name" })),
    read_stream: ({ backward, limit = usual, ...asked }) =>
      told(
        Effect.map(client.StreamEvents({ ...asked, limit, direction: backward === true ? "backward" : "forward" }), (page) => {
          // A stream goes on at a version.
          const last = page.items.at(-1)
          const next = page.next === null || last === undefined ? null : String(last.version + (backward === true ? -1 : 1))
          return { ...lines(page), next }
        })
      ),
    find_events: ({ after, limit = usual, ...filter }) =>
      told(Effect.map(client.Events({ filter, limit, direction: "backward", ...(after === undefined ? {} : { after }) }), lines)),
    get_event: ({ id, position }) =>
      told(detail(client, { ...(id === undefined ? {} : { id }), ...(position === undefined ? {} : { at: position }) })),
    get_trail: (asked) => told(Effect.map(client.Trail({ ...asked, limit: longest }), lines)),
    get_state: ({ stream, version }) => told(state(client, stream, version)),
    list_followers: (asked) =>
      told(
        Effect.map(Stream.runCollect(Stream.take(client.Followers({}), 1)), (found) => {
          const { items, next } = pageOf(found.flat(), ({ name }) => name, asked)
          return {
            items: items.map(({ failure, lags: _lags, partitions: _partitions, ...follower }) => ({
              ...follower,
              failure: failure === null ? null : { ...failure, cause: brief(failure.cause) }
            })),
            next
          }
        })
      ),
    list_parked: ({ limit = usual, ...asked }) =>
      told(
        Effect.map(client.Parked({ ...asked, limit }), ({ items, next }) => ({
          items: items.map((parked) => ({ ...parked, cause: brief(parked.cause) })),
          next
        }))
      ),
    list_dead_letters: ({ limit = usual, ...asked }) =>
      told(
        Effect.map(client.DeadLetters({ ...asked, limit }), ({ items, next }) => ({
          items: items.map((letter) => ({
            ...letter,
            cause: brief(letter.cause),
            payload: payloadText(letter.payload, false)
          })),
          next
        }))
      ),
    list_deadlines: ({ limit = usual, ...asked }) => told(client.Deadlines({ ...asked, limit })),
    list_projections: ({ after, limit, ...asked }) =>
      told(
        Effect.map(client.Projections(asked), (all) =>
          pageOf(all, ({ projection, version }) => `${projection}@${String(version).padStart(16, "0")}`, { after, limit })
        )
      ),
    system_map: ({ after }) => told(Effect.map(client.Map({}), (map) => mapPage(map, after))),
    doctor: () => told(Effect.map(client.Doctor({}), (items) => ({ items })))
  })
}

/** Asks for an act, and waits for its end, but not for ever. Where nobody can say what became of it, that is said. */
const perform = (client: Client, act: Act, reason: string) =>
  Effect.gen(function* () {
    const id = yield* makeId
    const steps: Array<ActStep> = []
    const inDoubt = (why: string) =>
      new UnavailableError({
        detail: `the act ${id} was asked for, and may have been done, or be done yet (${why}): the stream $operations has its record when it has ended`
      })
    yield* client.Act({ id, act, reason }).pipe(
      Stream.runForEach((step) => Effect.sync(() => steps.push(step))),
      Effect.timeoutOption(patience),
      Effect.mapError((error) =>
        error._tag === "UnavailableError" || error._tag === "RpcClientError" ? inDoubt(error.message) : error
      )
    )
    const last = steps.at(-1)
    if (last === undefined) return yield* inDoubt(`there was no answer within ${Duration.format(patience)}`)
    return last._tag === "Done"
      ? { id, state: "done" as const, outcome: printable(last.outcome) }
      : { id, state: "under-way" as const, outcome: null }
  })

const acting = (client: Client) => Acting.toLayer({ act: ({ act, reason }) => said(perform(client, act, reason)) })

const asText = (value: unknown): string => printable(JSON.stringify(value))

const resources = (client: Client, within: Duration.Duration) => {
  const answered = inTime(within)
  return Layer.mergeAll(
    McpServer.resource({
      uri: "eventfold://overview",
      name: "The store",
      mimeType: "application/json",
      content: Effect.map(answered(client.Overview({})), asText)
    }),
    McpServer.resource`eventfold://streams/${McpSchema.param("stream", Schema.String)}`({
      name: "A stream",
      description: "The newest 50 events of a stream",
      mimeType: "application/json",
      content: (_, stream) =>
        Effect.map(answered(client.StreamEvents({ stream, direction: "backward", limit: 50 })), (page) => asText(lines(page)))
    }),
    McpServer.resource`eventfold://events/${McpSchema.param("id", Schema.String)}`({
      name: "An event",
      description: "One event with what caused it and what it caused",
      mimeType: "application/json",
      content: (_, id) => Effect.map(answered(detail(client, { id })), asText)
    })
  )
}

/** Registers what agents may ask for with the `McpServer`: acts only where they are allowed. What looks is answered within so long, or fails. */
export const register = (
  client: Client,
  acts: boolean,
  within: Duration.Duration = patience
): Layer.Layer<never, never, McpServer.McpServer> => {
  const looks = Layer.merge(Layer.provide(McpServer.toolkit(Looking), looking(client, within)), resources(client, within))
  return acts ? Layer.merge(looks, Layer.provide(McpServer.toolkit(Acting), acting(client))) : looks
}
