/**
 * An archive: where events are moved to, and read from again.
 *
 * `Retention` moves closed streams, or what is behind snapshots, to the `Archive` that is provided; in the store a tombstone stays, which names
 * it. Where {@link layer} is provided over the store, reads go on through the archive.
 *
 * @since 0.2.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { RecordedEvent } from "../definitions/stored.ts"
import { EventStoreError, StoreCorrupted, StoreUnavailable } from "./errors.ts"
import { followOf, subscribeBy } from "./follow.ts"
import { queriesOf } from "./kit/checks.ts"
import { matches } from "./kit/filter.ts"
import type { BoundaryQuery, Filter, Page } from "./model.ts"
import type { ChainLink } from "./maintenance.ts"
import { EventStore } from "./service.ts"
import { eventDigests, isTombstone, toldBy, tombstoneType } from "./tombstone.ts"

/**
 * The archive cannot be read or written, or does not hold what was put there. Nothing is removed from the store then.
 *
 * @category errors
 * @since 0.2.0
 */
export class ArchiveError extends Schema.TaggedError<ArchiveError>("eventfold/Archive/ArchiveError")("ArchiveError", {
  archive: Schema.String,
  /** Whether what stands there is not what was written; otherwise it could not be reached. */
  isDamaged: Schema.Boolean,
  problem: Schema.String,
  cause: Schema.optional(Schema.Defect())
}) {
  override get message(): string {
    return `The archive "${this.archive}" ${this.isDamaged ? "is damaged" : "failed"}: ${this.problem}. Nothing was removed from the store${this.isDamaged ? ": restore the archive from its backup" : ": try again"}`
  }
}

/**
 * The service: {@link layerStore} keeps it in another store, `JsonlArchive.layer` of `eventfold/jsonl` in compressed files.
 *
 * @category services
 * @since 0.2.0
 */
export class Archive extends Context.Service<
  Archive,
  {
    /** What tombstones call it. Part of the storage format: an archive keeps its name. */
    readonly name: string
    /**
     * Keeps events: parts of streams, each in the order of its versions and behind what the archive has of it. Durable when it succeeds; what is
     * there already is left.
     */
    readonly write: (
      events: ReadonlyArray<RecordedEvent>,
      options?: {
        /** The newest link of the hash chain of their store. Default: it keeps none. */
        readonly chain?: ChainLink | undefined
      }
    ) => Effect.Effect<void, ArchiveError>
    /**
     * The links that the hash chain of the store ended with when events were moved here, by position: for `heads` of `EventStore.verify`, which
     * finds by them a chain that was made anew. Absent where an archive keeps none.
     */
    readonly heads?: Effect.Effect<ReadonlyArray<ChainLink>, ArchiveError> | undefined
    /** The events of a stream with a version in `[from, to]` that are there, in order. What is damaged is an error, and nothing is left out. */
    readonly read: (
      stream: string,
      range: { readonly from: number; readonly to: number }
    ) => Effect.Effect<ReadonlyArray<RecordedEvent>, ArchiveError>
  }
>()("eventfold/Archive") {}

/**
 * Makes an archive in another store: the streams have the same names and versions there, so it can be read as any store.
 *
 * **Details**: positions are those of the other store.
 *
 * @category constructors
 * @since 0.2.0
 */
export const makeStore = (name: string, store: EventStore["Service"]): Archive["Service"] => {
  const failed = (error: { readonly message: string }) =>
    new ArchiveError({ archive: name, isDamaged: false, problem: error.message, cause: error })
  return {
    name,
    write: (events) =>
      Effect.gen(function* () {
        const streams = new Map<string, Array<RecordedEvent>>()
        for (const event of events) streams.set(event.stream, [...(streams.get(event.stream) ?? []), event])
        for (const [stream, all] of streams) {
          const version = yield* store.version(stream)
          const behind = all.filter((event) => event.version > version)
          const [first] = behind
          if (first === undefined) continue
          if (first.version !== version + 1) {
            const problem = `its "${stream}" ends at version ${version}, and what would come next is version ${first.version}: the versions between were removed before, so take an archive of files`
            return yield* new ArchiveError({ archive: name, isDamaged: false, problem })
          }
          const append = store.maintenance?.copyAll ?? store.appendAll
          yield* append([{ stream, expected: version, events: behind }])
        }
      }).pipe(Effect.mapError((error) => (error._tag === "ArchiveError" ? error : failed(error)))),
    read: (stream, range) => Effect.mapError(Stream.runCollect(store.read(stream, range)), failed)
  }
}

/**
 * An archive in another store: see {@link makeStore}.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerStore = (name: string, store: EventStore["Service"]): Layer.Layer<Archive> =>
  Layer.succeed(Archive, makeStore(name, store))

/** What the archive has of these tombstones, each as the event that it was, by position. `stored` is that of the store's maintenance. */
export const fetchArchived = Effect.fnUntraced(function* (
  archive: Archive["Service"],
  tombstones: ReadonlyArray<RecordedEvent>,
  stored: (event: RecordedEvent) => RecordedEvent = (event) => event
): Effect.fn.Return<ReadonlyMap<number, RecordedEvent>, ArchiveError> {
  const streams = new Map<string, Array<RecordedEvent>>()
  for (const event of tombstones) streams.set(event.stream, [...(streams.get(event.stream) ?? []), event])
  const found = new Map<number, RecordedEvent>()
  for (const [stream, wanted] of streams) {
    const versions = wanted.map(({ version }) => version)
    const read = yield* archive.read(stream, { from: Math.min(...versions), to: Math.max(...versions) })
    const known = new Map(read.map((event) => [event.version, event]))
    const events: Array<RecordedEvent> = []
    for (const { position, version } of wanted) {
      const event = known.get(version)
      const damaged = (problem: string) => new ArchiveError({ archive: archive.name, isDamaged: true, problem })
      if (event === undefined) return yield* damaged(`version ${version} of "${stream}" is not there`)
      events.push({ ...event, position })
    }
    const digests = yield* eventDigests(events.map(stored))
    for (const [index, event] of events.entries()) {
      const { digest } = toldBy(wanted[index] as RecordedEvent)
      if (digests[index] !== digest) {
        const problem = `version ${event.version} of "${stream}" is not the event that was moved there`
        return yield* new ArchiveError({ archive: archive.name, isDamaged: true, problem })
      }
      found.set(event.position, event)
    }
  }
  return found
})

const failure = (operation: string) => (error: ArchiveError) =>
  new EventStoreError({
    reason: new (error.isDamaged ? StoreCorrupted : StoreUnavailable)({ operation, detail: error.message, cause: error })
  })

/** The filter, and tombstones of its categories: what was moved may be among them. */
const widened = (filter: Filter): Filter => {
  const queries = queriesOf(filter)
  const categories = queries.every((query) => query.categories !== undefined)
    ? { categories: Array.from(new Set(queries.flatMap(({ categories = [] }) => categories))) }
    : {}
  return queries.length === 0 ? queries : [...queries, { types: [tombstoneType], ...categories }]
}

/** A store that reads on through an archive. */
const through = (store: EventStore["Service"], archive: Archive["Service"]): EventStore["Service"] => {
  /** Puts events in the place of the archive's tombstones; gives what passes the filter. */
  const put = (
    operation: string,
    events: ReadonlyArray<RecordedEvent>,
    filter?: Filter
  ): Effect.Effect<ReadonlyArray<RecordedEvent>, EventStoreError> => {
    const isMoved = (event: RecordedEvent) => isTombstone(event) && event.payload.archive === archive.name
    const moved = events.filter(isMoved)
    const passing = (all: ReadonlyArray<RecordedEvent>) =>
      filter === undefined ? all : all.filter((event) => matches(filter, event))
    if (moved.length === 0) return Effect.succeed(passing(events))
    return Effect.gen(function* () {
      const found = Array.from(
        (yield* Effect.mapError(fetchArchived(archive, moved, store.maintenance?.stored), failure(operation))).values()
      )
      const opened = store.sealed === undefined ? found : yield* store.sealed.open(operation, found)
      const known = new Map(opened.map((event) => [event.position, event]))
      return passing(events.map((event) => known.get(event.position) ?? event))
    })
  }
  const reading = (operation: string, events: Stream.Stream<RecordedEvent, EventStoreError>, filter?: Filter) =>
    Stream.flattenIterable(Stream.mapEffect(Stream.chunks(events), (page) => put(operation, page, filter)))
  const page = (found: Page, filter: Filter | undefined) =>
    Effect.map(put("readPage", found.events, filter), (events): Page => ({ ...found, events }))
  const follow = followOf(store)
  return EventStore.of({
    ...store,
    ...(store.sealed === undefined ? {} : { sealed: { ...store.sealed, store: through(store.sealed.store, archive) } }),
    read: (stream, options) => reading("read", store.read(stream, options)),
    readAll: (options = {}) => {
      const { filter, limit, ...rest } = options
      if (filter === undefined) return reading("readAll", store.readAll(options))
      const all = reading("readAll", store.readAll({ ...rest, filter: widened(filter) }), filter)
      return limit === undefined ? all : Stream.take(all, limit)
    },
    readPage: (options = {}) =>
      Effect.flatMap(
        store.readPage(options.filter === undefined ? options : { ...options, filter: widened(options.filter) }),
        (found) => page(found, options.filter)
      ),
    // Whoever goes on where an answer ends would go on through the archive.
    readBoundary: (queries, options) =>
      Effect.flatMap(store.readBoundary(queries, options), ({ answers, position }) =>
        Effect.map(
          Effect.forEach(answers, ({ complete, events }, index) => {
            if (complete || queries[index]?.newest === true) return Effect.succeed({ complete, events })
            const { filter, after = 0 } = queries[index] as BoundaryQuery
            const rest = store.readAll({ filter, after: events.at(-1)?.position ?? after, upTo: position })
            return Effect.map(Stream.runCollect(rest), (more) => ({ complete: true, events: [...events, ...more] }))
          }),
          (answers) => ({ answers, position })
        )
      ),
    find: (id) =>
      Effect.flatMap(store.find(id), (found) =>
        Option.isNone(found)
          ? Effect.succeedNone
          : Effect.map(put("find", [found.value]), ([event]) => Option.fromUndefinedOr(event))
      ),
    subscribe:
      follow === undefined
        ? (options = {}) =>
            reading(
              "subscribe",
              store.subscribe(options.filter === undefined ? options : { ...options, filter: widened(options.filter) }),
              options.filter
            )
        : subscribeBy({
            heard: follow.heard,
            follow: (options) =>
              Stream.mapEffect(
                follow.follow(options.filter === undefined ? options : { ...options, filter: widened(options.filter) }),
                (found) => page(found, options.filter)
              )
          })
  })
}

/**
 * A store whose reads go on through the archive: `read`, `readAll`, `readPage`, `find` and `subscribe` give the events that were moved there, as
 * they were. What uses it (repositories, subscriptions, rebuilds of projections) notices nothing.
 *
 * **Details**: what is read is compared with the digest that its tombstone has. An archive that cannot be reached is `StoreUnavailable`, a
 * damaged one `StoreCorrupted`. Tombstones of other archives, or of none, stay tombstones.
 *
 * **Gotchas**: `readBoundary`, so decisions, and the conditions of appends see what is in the store alone: what a rule still asks for is not to be
 * archived.
 *
 * ```ts
 * import { Duration, Effect, Layer, Stream } from "effect"
 * import { Archive, Checkpoints, EventStore, Retention } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   yield* EventStore.append("Order-1", [{ type: "OrderPlaced", payload: { total: 5 } }])
 *   yield* Retention.run
 *   const [event] = yield* Stream.runCollect(EventStore.read("Order-1"))
 *   return event?.type
 * })
 *
 * const archived = Effect.map(EventStore.makeMemory, (cold) => Archive.layerStore("cold", cold))
 * const Live = Retention.layer({ policies: { Order: { keep: Duration.zero, afterwards: "archive" } } }).pipe(
 *   Layer.provideMerge(Archive.layer),
 *   Layer.provideMerge(Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory, Layer.unwrap(archived)))
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => "OrderPlaced"
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layer: Layer.Layer<EventStore, never, EventStore | Archive> = Layer.effect(
  EventStore,
  Effect.gen(function* () {
    return through(yield* EventStore, yield* Archive)
  })
)
