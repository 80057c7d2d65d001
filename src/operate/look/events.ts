/** Looking at streams and events. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { nameFault } from "../../definitions/names.ts"
import type { RecordedEvent } from "../../definitions/stored.ts"
import { categoryOf, type StreamInfo } from "../../store/EventStore.ts"
import { Operator } from "../contract/authentication.ts"
import { InvalidRequestError, NotFoundError } from "../contract/errors.ts"
import type { EventDetail } from "../contract/events.ts"
import type { Filter } from "../contract/page.ts"
import { orUnreadable, orUnavailable, type Parts, unreadable } from "../parts.ts"
import { type Asking, cursorOf, limitOf, pageOf, placeIn } from "./paging.ts"
import { makeRows } from "./rows.ts"
import { boundsOf, type Found, lookBackward, lookForward, positionAt, queryOf } from "./scanning.ts"

/** The most effects of an event that are shown with it. */
const mostEffects = 200

const rowsFor = (parts: Parts) => Effect.map(Operator, ({ payloads }) => makeRows(parts, payloads))

/** A cursor over the log is a position. */
const positionIn = (asking: Asking, cursor: string | undefined): Effect.Effect<number | undefined, InvalidRequestError> =>
  Effect.map(placeIn(asking, cursor), (place) => (typeof place?.[0] === "number" ? place[0] : undefined))

/** A page over the log. */
const logPage = Effect.fnUntraced(function* (parts: Parts, asking: Asking, { ended, events, head, read }: Found) {
  const { row } = yield* rowsFor(parts)
  return { items: events.map((event) => row(event)), next: ended ? null : cursorOf(asking, [read]), head, read }
})

const isIn = ({ since, until }: Filter, { recordedAt }: RecordedEvent): boolean =>
  (since === undefined || DateTime.isGreaterThanOrEqualTo(recordedAt, since)) &&
  (until === undefined || DateTime.isLessThan(recordedAt, until))

interface Paged {
  readonly after?: string
  readonly limit?: number
}

const streamsByName = Effect.fnUntraced(function* (
  { store }: Parts,
  asking: Asking,
  { after, category, limit: asked, prefix = "" }: Paged & { readonly category?: string; readonly prefix?: string }
) {
  const limit = yield* limitOf(asked)
  const place = yield* placeIn(asking, after)
  const from = typeof place?.[0] === "string" ? place[0] : undefined
  const fault = [category, prefix === "" ? undefined : prefix].map((name) => name && nameFault(name)).find(Boolean)
  if (fault !== undefined) return yield* new InvalidRequestError({ detail: `a category or prefix ${fault}` })
  const head = yield* orUnavailable(store.head)
  const listed = store.streams({ category, after: from ?? (prefix === "" ? undefined : prefix), limit: limit + 1 })
  const found = yield* orUnreadable(Stream.runCollect(Stream.takeWhile(listed, ({ stream }) => stream.startsWith(prefix))))
  // What is listed comes behind the name that it begins with.
  const exact = from === undefined && prefix !== "" ? yield* streamCalled(store, prefix, category) : []
  return pageOf(asking, [...exact, ...found], limit, head, ({ stream }) => [stream], infoOf)
})

const streamCalled = Effect.fnUntraced(function* (store: Parts["store"], stream: string, category: string | undefined) {
  if (category !== undefined && categoryOf(stream) !== category) return []
  const newest = store.read(stream, { direction: "backward", limit: 1 })
  const [event] = yield* orUnreadable(Stream.runCollect(newest))
  return event === undefined ? [] : [infoOf(event)]
})

/** What is told of a stream. */
type Listed = Pick<StreamInfo, "category" | "position" | "stream" | "version">

const infoOf = ({ position, stream, version }: Pick<StreamInfo, "position" | "stream" | "version">): Listed => ({
  stream,
  category: categoryOf(stream),
  version,
  position
})

/** How many events are walked over at once and at most for a page of the newest streams. */
const [walked, mostWalked] = [256, 4096]

/** The streams by their newest events: the log is walked from its end, and an event is shown where it is the newest of its stream. */
const streamsByTime = Effect.fnUntraced(function* (
  { store }: Parts,
  asking: Asking,
  { after, category, limit: asked, prefix = "" }: Paged & { readonly category?: string; readonly prefix?: string }
) {
  const limit = yield* limitOf(asked)
  const place = yield* positionIn(asking, after)
  const head = yield* orUnavailable(store.head)
  const end = (yield* Clock.currentTimeMillis) + 500
  const found = new Map<string, Listed>()
  const seen = new Set<string>()
  let before = place ?? head + 1
  let over = 0
  const filter: Filter = category === undefined ? {} : { categories: [category] }
  while (before > 1 && found.size < limit && over < mostWalked && (yield* Clock.currentTimeMillis) < end) {
    const { ended, events, read } = yield* orUnreadable(lookBackward(store, filter, before, walked))
    over += events.length
    before = ended ? 1 : read
    for (const event of events) {
      if (found.size === limit) {
        before = event.position + 1
        break
      }
      if (seen.has(event.stream) || !event.stream.startsWith(prefix)) continue
      seen.add(event.stream)
      // On a page behind the first, the newest event of the stream may have been on one before.
      if ((yield* orUnreadable(store.version(event.stream))) === event.version) found.set(event.stream, infoOf(event))
    }
  }
  const next = before > 1 ? cursorOf(asking, [before]) : null
  return { items: Array.from(found.values()), next, head, read: before }
})

/** One event, by its id or position. */
const findEvent = Effect.fnUntraced(function* ({ store }: Parts, { at, id }: { readonly at?: number; readonly id?: string }) {
  if ((id === undefined) === (at === undefined)) {
    return yield* new InvalidRequestError({ detail: "say either the id of the event or its position (at)" })
  }
  if (id !== undefined) {
    const event = Option.getOrUndefined(yield* orUnreadable(store.find(id)))
    return event ?? (yield* new NotFoundError({ detail: `there is no event "${id}"` }))
  }
  const position = at ?? 0
  const { events } =
    position < 1 ? { events: [] } : yield* orUnreadable(store.readPage({ after: position - 1, upTo: position, size: 1 }))
  return events[0] ?? (yield* new NotFoundError({ detail: `there is no event at position ${position}` }))
})

const eventDetail = Effect.fnUntraced(function* (parts: Parts, asked: { readonly at?: number; readonly id?: string }) {
  const { store } = parts
  const { metadata, row } = yield* rowsFor(parts)
  const event = yield* findEvent(parts, asked)
  const { causationId, correlationId } = event.metadata
  const cause = typeof causationId === "string" ? yield* orUnreadable(store.find(causationId)) : Option.none<RecordedEvent>()
  const effects: Array<RecordedEvent> = []
  let complete = typeof correlationId === "string"
  if (typeof correlationId === "string") {
    // What an event has caused stands behind it, in its conversation.
    const { ended, events } = yield* orUnreadable(lookForward(store, { correlationId }, event.position, 5 * mostEffects))
    effects.push(...events.filter((other) => other.metadata.causationId === event.id))
    complete = ended && effects.length <= mostEffects
  }
  const detail: EventDetail = {
    event: row(event, true),
    metadata: metadata(event),
    cause: Option.getOrNull(Option.map(cause, (event) => row(event))),
    effects: effects.slice(0, mostEffects).map((event) => row(event)),
    complete
  }
  return detail
})

const streamEvents = Effect.fnUntraced(function* (
  parts: Parts,
  asked: {
    readonly stream: string
    readonly from?: number
    readonly direction?: "forward" | "backward"
    readonly limit?: number
  }
) {
  const { direction = "forward", stream } = asked
  const { store } = parts
  const limit = yield* limitOf(asked.limit)
  const fault = nameFault(stream)
  if (fault !== undefined) return yield* new InvalidRequestError({ detail: `the name of a stream ${fault}` })
  const from = asked.from ?? (direction === "forward" ? 1 : Number.MAX_SAFE_INTEGER)
  if (from < 1) return yield* new InvalidRequestError({ detail: `from must be a version, from 1 on, not ${from}` })
  const bounds = direction === "forward" ? { from } : { to: from }
  const [head, latest] = yield* orUnreadable(Effect.all([store.head, store.version(stream)]))
  if (latest === 0) return yield* new NotFoundError({ detail: `there is no stream "${stream}"` })
  const events = yield* orUnreadable(Stream.runCollect(store.read(stream, { ...bounds, direction, limit })))
  const last = events.at(-1)?.version
  const following = last === undefined ? undefined : direction === "forward" ? last + 1 : last - 1
  const { row } = yield* rowsFor(parts)
  const isMore = following !== undefined && following >= 1 && following <= latest
  // Of one stream the next page begins at a version: `from` takes it.
  return { items: events.map((event) => row(event)), next: isMore ? String(following) : null, head, read: null }
})

const tail = (parts: Parts, { after, filter = {} }: { readonly after: number | "end"; readonly filter?: Filter }) =>
  Stream.unwrap(
    Effect.gen(function* () {
      if (typeof after === "number" && after < 0) {
        return yield* new InvalidRequestError({ detail: `after must be a position, not ${after}` })
      }
      const { row } = yield* rowsFor(parts)
      const { floor } = yield* orUnreadable(boundsOf(parts.store, filter))
      const from = after === "end" ? after : Math.max(after, floor)
      return parts.store.subscribe({ after: from, filter: queryOf(filter) }).pipe(
        Stream.filter((event) => isIn(filter, event)),
        Stream.map((event) => row(event)),
        Stream.groupedWithin(200, "150 millis"),
        Stream.mapError(unreadable)
      )
    })
  )

export const lookAtEvents = (parts: Parts) => ({
  Streams: (asked: Paged & { readonly category?: string; readonly prefix?: string; readonly order?: "name" | "newest" }) => {
    const { category, order = "name", prefix } = asked
    const asking: Asking = { operation: "Streams", arguments: { category, order, prefix } }
    return order === "name" ? streamsByName(parts, asking, asked) : streamsByTime(parts, asking, asked)
  },
  StreamEvents: (asked: Parameters<typeof streamEvents>[1]) => streamEvents(parts, asked),
  Events: Effect.fnUntraced(function* ({
    after,
    direction = "backward",
    filter = {},
    limit
  }: Paged & { readonly filter?: Filter; readonly direction?: "forward" | "backward" }) {
    const asking: Asking = { operation: "Events", arguments: { direction, filter } }
    const place = yield* positionIn(asking, after)
    const most = yield* limitOf(limit)
    const look = direction === "forward" ? lookForward : lookBackward
    const found = yield* orUnreadable(look(parts.store, filter, place, most))
    return yield* logPage(parts, asking, { ...found, events: found.events.filter((event) => isIn(filter, event)) })
  }),
  Event: (asked: { readonly at?: number; readonly id?: string }) => eventDetail(parts, asked),
  Trail: Effect.fnUntraced(function* ({ after, correlationId, limit }: Paged & { readonly correlationId: string }) {
    const asking: Asking = { operation: "Trail", arguments: { correlationId } }
    const place = yield* positionIn(asking, after)
    const most = yield* limitOf(limit)
    const found = yield* orUnreadable(lookForward(parts.store, { correlationId }, place, most))
    return yield* logPage(parts, asking, found)
  }),
  PositionAt: ({ at }: { readonly at: DateTime.Utc }) =>
    orUnreadable(Effect.all({ position: positionAt(parts.store, at), head: parts.store.head })),
  Tail: (asked: Parameters<typeof tail>[1]) => tail(parts, asked)
})
