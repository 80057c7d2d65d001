/**
 * An event store over any `KeyValueStore` of Effect: files, Web Storage of a browser, a SQL table, memory. The example of
 * `src/guides/adapters.md`.
 *
 * Each append is one value, so it is all or nothing where `set` is. The index of all events is kept in memory and read back when the
 * Layer is built. It is for one process, and as durable as the store beneath.
 */
import { DateTime, Effect, Layer, Schema, Semaphore } from "effect"
import { KeyValueStore } from "effect/persistence"
import { EventStore } from "eventfold"
import * as Kit from "eventfold/kit"

/** An event as it is kept: its payload and metadata are JSON text. */
const Row = Schema.Struct({
  stream: Schema.String,
  version: Schema.Int,
  position: Schema.Int,
  id: Schema.String,
  type: Schema.String,
  schemaVersion: Schema.Int,
  published: Schema.Boolean,
  tags: Schema.Array(Schema.String),
  payload: Schema.String,
  metadata: Schema.String,
  recordedAt: Schema.Number
})
type Row = typeof Row.Type

/** The events of one append. */
const Rows = Schema.fromJsonString(Schema.Array(Row))
const encodeRows = Schema.encodeSync(Rows)
const decodeRows = Schema.decodeUnknownEffect(Rows)

const json = (text: string) => JSON.parse(text) as Schema.Json

/** Everything in it is new, so nobody can change what the store holds. */
const recorded = ({ metadata, payload, recordedAt, tags, ...row }: Row): EventStore.RecordedEvent => ({
  ...row,
  tags: tags.slice(),
  payload: json(payload),
  metadata: json(metadata) as EventStore.Metadata,
  recordedAt: DateTime.makeUnsafe(recordedAt)
})

const page = (rows: ReadonlyArray<Row>): Kit.EventPage => ({
  items: rows.map(recorded),
  bytes: rows.reduce((sum, { payload }) => sum + payload.length, 0)
})

const failure = (reason: EventStore.EventStoreErrorReason) => new EventStore.EventStoreError({ reason })

/** The store. Keys are `events/1`, `events/2`, …: prefix the `KeyValueStore` where it has other things in it. */
export const layer: Layer.Layer<EventStore.EventStore, EventStore.EventStoreError, KeyValueStore.KeyValueStore> = Layer.effect(
  EventStore.EventStore,
  Effect.gen(function* () {
    const kv = yield* KeyValueStore.KeyValueStore
    const index = Kit.makeIndex<Row>(Kit.matchesPrepared)
    const writing = yield* Semaphore.make(1)
    const waiting = new Set<() => void>()
    let batches = 0

    const keyOf = (batch: number) => `events/${batch}`
    const unavailable = (operation: string) => (cause: KeyValueStore.KeyValueStoreError) =>
      failure(new EventStore.StoreUnavailable({ operation, detail: cause.message, cause }))

    // 1. What stands in the storage.
    while (true) {
      const text = yield* Effect.mapError(kv.get(keyOf(batches + 1)), unavailable("open"))
      if (text === undefined) break
      const rows = yield* Effect.mapError(decodeRows(text), (cause) =>
        failure(new EventStore.StoreCorrupted({ operation: "open", detail: `${keyOf(batches + 1)} does not hold events`, cause }))
      )
      for (const row of rows) index.add(row)
      batches++
    }

    // 2. Writing: `prepare` checks what comes in, `decide` says what it means, under the write lock.
    const write = Effect.fnUntraced(function* (append: Kit.PreparedAppend) {
      const { results, writes } = yield* Effect.fromResult(Kit.decide(append, index.standing))
      if (writes.length === 0) return results
      const rows = writes.map(({ event, ...place }): Row => {
        const { fresh: _, ...kept } = event
        return { ...kept, ...place }
      })
      // Where it fails and stands nevertheless, the next append takes its key: what the index does not know is never read.
      yield* Effect.mapError(kv.set(keyOf(batches + 1), encodeRows(rows)), (cause) =>
        failure(new EventStore.OutcomeUnknown({ operation: "append", detail: cause.message, cause }))
      )
      batches++
      for (const row of rows) index.add(row)
      for (const wake of waiting) wake()
      return results
    })
    const appendAll: EventStore.EventStore["Service"]["appendAll"] = (appends, options) =>
      Effect.flatMap(Kit.prepare(appends, options?.unless), (append) =>
        // Who waits for the lock can be interrupted; who writes is not, so that the index never misses what was written.
        writing.withPermit(Effect.uninterruptible(write(append)))
      )

    // 3. Reading: pages, from which eventfold makes the streams.
    const pages: Kit.Pages = {
      stream: (request) => Effect.sync(() => page(index.stream(request))),
      versionAt: (stream, until) => Effect.sync(() => index.versionAt(stream, until)),
      all: (request) => Effect.sync(() => page(index.all(request))),
      streams: (request) => Effect.sync(() => index.streams(request)),
      head: Effect.sync(() => index.standing.head),
      awaitBeyond: (position) =>
        Effect.callback<number>((resume) => {
          const wake = () => {
            if (index.standing.head <= position) return
            waiting.delete(wake)
            resume(Effect.succeed(index.standing.head))
          }
          waiting.add(wake)
          wake()
          return Effect.sync(() => waiting.delete(wake))
        })
    }

    const versionOf = (operation: string, stream: string) =>
      Effect.map(Kit.prepareName(operation, stream), (stream) => index.standing.newest(stream).version)
    return EventStore.EventStore.of({
      ...Kit.readsFromPages(pages),
      appendAll,
      append: (stream, events, options) =>
        Effect.map(
          appendAll([{ stream, events, expected: options?.expected ?? EventStore.ExpectedVersion.Any }]),
          ([result]) => result as EventStore.AppendResult
        ),
      version: (stream) => versionOf("version", stream),
      exists: (stream) => Effect.map(versionOf("exists", stream), (version) => version > 0),
      head: pages.head
    })
  })
)
