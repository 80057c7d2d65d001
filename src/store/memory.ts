import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Metadata, RecordedEvent } from "../definitions/stored.ts"
import { makeSignal } from "../internal/signal.ts"
import { decide } from "./kit/decide.ts"
import { matchesPrepared } from "./kit/filter.ts"
import { makeIndex } from "./kit/log.ts"
import {
  prepare,
  type PreparedEvent,
  prepareName,
  prepareRead,
  prepareReadAll,
  prepareReadPage,
  prepareStreams
} from "./kit/prepare.ts"
import { type EventPage, type Pages, readsFromPages } from "./kit/reads.ts"
import { type AppendResult, ExpectedVersion } from "./model.ts"
import { EventStore } from "./service.ts"

interface Row extends PreparedEvent {
  readonly stream: string
  readonly version: number
  readonly position: number
}

const recordedEvent = (row: Row): RecordedEvent => ({
  stream: row.stream,
  version: row.version,
  position: row.position,
  id: row.id,
  type: row.type,
  schemaVersion: row.schemaVersion,
  published: row.published,
  tags: row.tags.slice(),
  payload: JSON.parse(row.payload) as Schema.Json,
  metadata: JSON.parse(row.metadata) as Metadata,
  recordedAt: DateTime.makeUnsafe(row.recordedAt)
})

/**
 * A store in memory, for tests and as the smallest example of a store: as strict as any other, and gone with its Layer.
 *
 * Payloads go through the same JSON text as everywhere, and each read makes new objects, so nothing can be changed from outside.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<EventStore> = Layer.effect(
  EventStore,
  Effect.sync(() => {
    const index = makeIndex<Row>(matchesPrepared)
    const signal = makeSignal()

    const appendAll: EventStore["Service"]["appendAll"] = (appends, options) =>
      Effect.flatMap(prepare(appends, options?.unless), (append) => {
        const verdict = decide(append, index.standing)
        if (Result.isFailure(verdict)) return Effect.fail(verdict.failure)
        for (const { event, position, stream, version } of verdict.success.writes)
          index.add({ ...event, stream, version, position })
        signal.notify(index.standing.head)
        return Effect.succeed(verdict.success.results)
      })

    const page = (rows: ReadonlyArray<Row>): EventPage => ({
      items: rows.map(recordedEvent),
      bytes: rows.reduce((sum, row) => sum + row.payload.length, 0)
    })

    const pages: Pages = {
      stream: (request) => Effect.sync(() => page(index.stream(request))),
      versionAt: (stream, until) => Effect.sync(() => index.versionAt(stream, until)),
      all: (request) => Effect.sync(() => page(index.all(request))),
      streams: (request) => Effect.sync(() => index.streams(request)),
      head: Effect.sync(() => index.standing.head),
      awaitBeyond: (position) => signal.beyond(position)
    }

    return EventStore.of({
      ...readsFromPages(pages),
      appendAll,
      append: (stream, events, options) =>
        Effect.map(
          appendAll([{ stream, events, expected: options?.expected ?? ExpectedVersion.Any }]),
          (results) => results[0] as AppendResult
        ),
      version: (stream) => Effect.map(prepareName("version", stream), (stream) => index.standing.newest(stream).version),
      exists: (stream) => Effect.map(prepareName("exists", stream), (stream) => index.standing.newest(stream).version > 0),
      head: pages.head
    })
  })
)

/**
 * A store that checks what it is given, and forgets it: for programs whose events nobody reads.
 *
 * Appends succeed whatever version they expect; every stream stays empty.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSinkhole: Layer.Layer<EventStore> = Layer.succeed(
  EventStore,
  EventStore.of({
    append: (stream, events, options) =>
      Effect.map(prepare([{ stream, events, expected: options?.expected ?? ExpectedVersion.Any }]), () =>
        swallowed(stream, events.length)
      ),
    appendAll: (appends, options) =>
      Effect.map(prepare(appends, options?.unless), () => appends.map(({ events, stream }) => swallowed(stream, events.length))),
    read: (stream, options) => Stream.unwrap(Effect.as(prepareRead(stream, options), Stream.empty)),
    readAll: (options) => Stream.unwrap(Effect.as(prepareReadAll(options), Stream.empty)),
    readPage: (options) => Effect.map(prepareReadPage(options), ({ after }) => ({ events: [], position: after, head: 0 })),
    subscribe: (options) =>
      Stream.unwrap(
        Effect.as(prepareReadAll({ filter: options?.filter, after: options?.after === "end" ? 0 : options?.after }), Stream.never)
      ),
    version: (stream) => Effect.as(prepareName("version", stream), 0),
    exists: (stream) => Effect.as(prepareName("exists", stream), false),
    head: Effect.succeed(0),
    streams: (options) => Stream.unwrap(Effect.as(prepareStreams(options), Stream.empty))
  })
)

const swallowed = (stream: string, version: number): AppendResult => ({ stream, version, position: 0, deduplicated: false })
