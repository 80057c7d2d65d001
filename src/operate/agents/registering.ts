/** Tools and resources of agents over a client of the operations, wherever these run. */
import * as McpSchema from "effect/ai/McpSchema"
import * as McpServer from "effect/ai/McpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { FromGroup } from "effect/rpc/RpcClient"
import type { RpcClientError } from "effect/rpc/RpcClientError"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { makeId } from "../../internal/ids.ts"
import { printable } from "../../internal/printable.ts"
import type { Act, ActStep } from "../contract/acts.ts"
import type { EventRow } from "../contract/events.ts"
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

/** How long an agent waits for an act, in seconds: what takes longer goes on without it. */
const patience = 30

/** An answer with all of its text as it can be shown. */
const clean = <A>(value: A): A => {
  if (typeof value === "string") return printable(value) as A
  if (Array.isArray(value)) return value.map(clean) as A
  // Times and the like are no records.
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, clean(item)])) as A
}

/** What an operation answers, or a sentence on what it fails with. */
const told = <A, E extends { readonly _tag: string; readonly message: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.mapBoth(effect, {
    onSuccess: clean,
    onFailure: (error) => ({ tag: error._tag, message: printable(error.message) })
  })

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

const looking = (client: Client) =>
  Looking.toLayer({
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
    list_followers: () =>
      told(
        Effect.map(Stream.runCollect(Stream.take(client.Followers({}), 1)), (found) => ({
          items: found.flat().map(({ failure, lags: _lags, partitions: _partitions, ...follower }) => ({
            ...follower,
            failure: failure === null ? null : { ...failure, cause: brief(failure.cause) }
          }))
        }))
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
    list_projections: (asked) => told(Effect.map(client.Projections(asked), (items) => ({ items }))),
    system_map: () => told(client.Map({})),
    doctor: () => told(Effect.map(client.Doctor({}), (items) => ({ items })))
  })

/** Asks for an act, and waits for its end, but not for ever. */
const perform = (client: Client, act: Act, reason: string) =>
  Effect.gen(function* () {
    const id = yield* makeId
    const steps: Array<ActStep> = []
    yield* client.Act({ id, act, reason }).pipe(
      Stream.runForEach((step) => Effect.sync(() => steps.push(step))),
      Effect.timeoutOption(`${patience} seconds`)
    )
    const last = steps.at(-1)
    return last?._tag === "Done"
      ? { id, state: "done" as const, outcome: printable(last.outcome) }
      : { id, state: "under-way" as const, outcome: null }
  })

const acting = (client: Client) => Acting.toLayer({ act: ({ act, reason }) => told(perform(client, act, reason)) })

const asText = (value: unknown): string => printable(JSON.stringify(value))

const resources = (client: Client) =>
  Layer.mergeAll(
    McpServer.resource({
      uri: "eventfold://overview",
      name: "The store",
      mimeType: "application/json",
      content: Effect.map(client.Overview({}), asText)
    }),
    McpServer.resource`eventfold://streams/${McpSchema.param("stream", Schema.String)}`({
      name: "A stream",
      description: "The newest 50 events of a stream",
      mimeType: "application/json",
      content: (_, stream) =>
        Effect.map(client.StreamEvents({ stream, direction: "backward", limit: 50 }), (page) => asText(lines(page)))
    }),
    McpServer.resource`eventfold://events/${McpSchema.param("id", Schema.String)}`({
      name: "An event",
      description: "One event with what caused it and what it caused",
      mimeType: "application/json",
      content: (_, id) => Effect.map(detail(client, { id }), asText)
    })
  )

/** Registers what agents may ask for with the `McpServer`: acts only where they are allowed. */
export const register = (client: Client, acts: boolean): Layer.Layer<never, never, McpServer.McpServer> => {
  const looks = Layer.merge(Layer.provide(McpServer.toolkit(Looking), looking(client)), resources(client))
  return acts ? Layer.merge(looks, Layer.provide(McpServer.toolkit(Acting), acting(client))) : looks
}
