/** Tenants that share one store of any kind, told apart by a tag: for the few, and no security boundary. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { NewEvent, RecordedEvent } from "../definitions/stored.ts"
import { tenantFault } from "../definitions/tenant.ts"
import { asStored, make, EventStore, type EventStoreError } from "../store/EventStore.ts"
import {
  byMark,
  type Driver,
  type EventPage,
  pageBytes,
  parseMetadata,
  parsePayload,
  partition,
  partitionNames,
  type PreparedEvent,
  writePayload
} from "../store/kit/index.ts"

type Store = EventStore["Service"]

const newEvent = ({ id, metadata, payload, published, recordedAt, schemaVersion, tags, type }: PreparedEvent): NewEvent => ({
  id,
  type,
  schemaVersion,
  published,
  tags,
  payload: parsePayload(payload),
  metadata: parseMetadata(metadata),
  recordedAt: DateTime.makeUnsafe(recordedAt)
})

/** A page of what a stream gives. */
const pageOf = (events: Stream.Stream<RecordedEvent, EventStoreError>): Effect.Effect<EventPage, EventStoreError> =>
  Effect.suspend(() => {
    let bytes = 0
    const isFull = ({ metadata, payload }: RecordedEvent) =>
      (bytes += writePayload(payload).length + JSON.stringify(metadata).length) >= pageBytes
    return Effect.map(Stream.runCollect(Stream.takeUntil(events, isFull)), (items) => ({
      items,
      bytes,
      isCut: bytes >= pageBytes
    }))
  })

/** A store of any kind as the driver of another. It is asked through its public operations alone, and waits for what has the tag. */
const driverOver = (store: Store, tag: string): Driver => ({
  append: (prepared) =>
    Effect.flatMap(prepared, ({ appends, unless }) =>
      store.appendAll(
        appends.map(({ events, ...part }) => ({ ...part, events: events.map(newEvent) })),
        { unless }
      )
    ),
  pages: {
    stream: ({ backward, from, size, stream, to }) =>
      pageOf(store.read(stream, { from, to, limit: size, direction: backward ? "backward" : "forward" })),
    versionAt: (stream, until) =>
      Effect.map(
        Stream.runHead(store.read(stream, { until: DateTime.makeUnsafe(until), direction: "backward", limit: 1 })),
        Option.match({ onNone: () => 0, onSome: ({ version }) => version })
      ),
    all: ({ after, backward, filter, size, upTo }) =>
      backward
        ? pageOf(
            store
              .readAll({
                after: upTo < Number.MAX_SAFE_INTEGER ? upTo + 1 : undefined,
                filter,
                limit: size,
                direction: "backward"
              })
              .pipe(Stream.takeWhile(({ position }) => position > after))
          )
        : pageOf(store.readAll({ after, upTo, filter, limit: size })),
    streams: ({ after, category, size }) => Stream.runCollect(store.streams({ after, category, limit: size }))
  },
  boundary: ({ queries, size, upTo }) =>
    Effect.map(store.readBoundary(queries, { upTo, size }), ({ answers, position }) => ({
      position,
      answers: answers.map(({ complete, events }) => ({ items: events, bytes: 0, complete }))
    })),
  head: store.head,
  version: (stream) => store.version(stream),
  find: (id) => Effect.map(store.find(id), Option.getOrUndefined),
  awaitBeyond: (position) =>
    Effect.flatMap(
      Stream.runHead(store.subscribe({ after: position, filter: { tags: [tag] } })),
      Option.match({ onNone: () => Effect.never, onSome: ({ position }) => Effect.succeed(position) })
    ),
  transactionService: store.transactionService,
  late: store.late,
  tables: store.tables
})

/** 53 bits of a text, as digits and letters: FNV-1a, twice. */
const hashOf = (text: string): string => {
  let [one, other] = [0x811c9dc5, 0xc9dc5118]
  for (let index = 0; index < text.length; index++) {
    one = Math.imul(one ^ text.charCodeAt(index), 0x01000193) >>> 0
    other = Math.imul(other ^ (text.charCodeAt(index) + index), 0x01000193) >>> 0
  }
  return ((one & 0x1fffff) * 2 ** 32 + other).toString(36)
}

/** Tables beside the events that no other tenant has. */
const tablesOf = ({ tables }: Store, tenant: string): Pick<Driver, "tables"> =>
  tables === undefined ? {} : { tables: { ...tables, prefix: `${tables.prefix}t${hashOf(tenant)}_`.slice(-20) } }

/**
 * The part of a store that one tenant has, of any store.
 *
 * **Details**: names of streams, ids and tags are the tenant's own, so two tenants may use the same. Each event bears a tag of its tenant, and
 * every read, subscription and condition asks for it. Positions are those of the whole store: ascending, with gaps where others have
 * appended. What stands beside the events in a SQL database has tables of its own for each tenant.
 *
 * **Gotchas**: it separates by agreement alone: who has the store itself sees all. A stream's name, an id and a tag of a tenant have as many
 * characters less as the tenant's id has, and one, and an event one tag less.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore, Tenants } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   const all = yield* EventStore.makeMemory
 *   const [acme, globex] = [Tenants.tagged(all, "acme"), Tenants.tagged(all, "globex")]
 *   yield* acme.append("Account-1", [{ type: "AccountOpened", payload: {} }])
 *   return [yield* acme.version("Account-1"), yield* globex.version("Account-1")]
 * })
 *
 * await Effect.runPromise(program) // => [1, 0]
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const tagged = (store: Store, tenant: string): Store => {
  const fault = tenantFault(tenant)
  if (fault !== undefined) throw new RangeError(`Tenants.tagged: an id such as ${fault}`)
  const names = partitionNames(tenant)
  const driver = driverOver(asStored(store), names.prefix)
  const own = { ...make({ ...partition(driver, names, byMark(names)), ...tablesOf(store, tenant) }), tenant }
  // What the store of all seals is sealed in the tenant's part as well.
  return store.sealed === undefined ? own : store.sealed.over(own)
}

/**
 * {@link tagged} as a Layer over the store of all, for `store` of {@link layerMap}.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerTagged = ({ id }: { readonly id: string }): Layer.Layer<EventStore, never, EventStore> =>
  Layer.effect(
    EventStore,
    EventStore.useSync((store) => tagged(store, id))
  )
