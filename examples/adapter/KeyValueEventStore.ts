/**
 * An event store over any `KeyValueStore` of Effect: files, Web Storage of a browser, a SQL table, memory. The example of
 * `src/guides/adapters.md`.
 *
 * Each append is one value, so it is all or nothing where `set` is. The index of all events is kept in memory and read back when the
 * Layer is built. It is for one process, and as durable as the store beneath.
 */
import { Effect, Layer, Schema, Semaphore } from "effect"
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
/** The events of one append. */
const Rows = Schema.fromJsonString(Schema.Array(Row))
const encodeRows = Schema.encodeSync(Rows)
const decodeRows = Schema.decodeUnknownEffect(Rows)

const keyOf = (batch: number) => `events/${batch}`
const failure = (reason: EventStore.EventStoreErrorReason) => new EventStore.EventStoreError({ reason })

/** Makes the store. Keys are `events/1`, `events/2`, …: prefix the `KeyValueStore` where it has other things in it. */
export const make = Effect.gen(function* () {
  const kv = yield* KeyValueStore.KeyValueStore
  const index = Kit.makeIndex<Kit.StoredEvent>(Kit.matchesPrepared)
  const writing = yield* Semaphore.make(1)
  let batches = 0

  // 1. What stands in the storage.
  for (;;) {
    const key = keyOf(batches + 1)
    const text = yield* Effect.mapError(kv.get(key), (cause) =>
      failure(new EventStore.StoreUnavailable({ operation: "open", detail: cause.message, cause }))
    )
    if (text === undefined) break
    const rows = yield* Effect.mapError(decodeRows(text), (cause) =>
      failure(new EventStore.StoreCorrupted({ operation: "open", detail: `${key} does not hold events`, cause }))
    )
    rows.forEach(index.add)
    batches++
  }

  const signal = Kit.makeSignal(index.standing.head)

  // 2. Writing: `decide` says what a checked append means, under the write lock.
  const write = Effect.fnUntraced(function* (append: Kit.PreparedAppend) {
    const { results, writes } = yield* Effect.fromResult(Kit.decide(append, index.standing))
    if (writes.length === 0) return results
    const rows = writes.map(Kit.storedEvent)
    // Where it fails and stands nevertheless, the next append takes its key: what the index does not know is never read.
    yield* Effect.mapError(kv.set(keyOf(batches + 1), encodeRows(rows)), (cause) =>
      failure(new EventStore.OutcomeUnknown({ operation: "append", detail: cause.message, cause }))
    )
    batches++
    rows.forEach(index.add)
    signal.notify(index.standing.head)
    return results
  })

  return EventStore.make({
    // Who waits for the lock can be interrupted; who writes is not, so that the index never misses what was written.
    append: (prepared) => Effect.flatMap(prepared, (append) => writing.withPermit(Effect.uninterruptible(write(append)))),
    // 3. Reading: pages out of the index, from which eventfold makes the streams.
    ...Kit.readsOfIndex(index, (rows) => Effect.sync(() => Kit.eventPage(rows))),
    awaitBeyond: signal.beyond
  })
})

export const layer: Layer.Layer<EventStore.EventStore, EventStore.EventStoreError, KeyValueStore.KeyValueStore> = Layer.effect(
  EventStore.EventStore,
  make
)
