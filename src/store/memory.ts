import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import { makeSignal } from "../internal/signal.ts"
import { linkText } from "./chain.ts"
import type { AppendError } from "./errors.ts"
import { decide, type Write } from "./kit/decide.ts"
import { matchesPrepared } from "./kit/filter.ts"
import { makeIndex, readsOfIndex } from "./kit/log.ts"
import { make } from "./kit/make.ts"
import { stillClosed } from "./kit/maintaining.ts"
import type { PreparedAppend } from "./kit/prepare.ts"
import { eventPage, type StoredEvent, storedEvent } from "./kit/recorded.ts"
import type { ChainLink } from "./maintenance.ts"
import type { AppendResult } from "./model.ts"
import { EventStore } from "./service.ts"
import { digestsOf, keptDigests, tombstoneType } from "./tombstone.ts"

/** An event, and what of its metadata is looked up. */
interface Row extends StoredEvent {
  readonly correlationId: string | undefined
}

const rowOf = (write: Write): Row => Object.assign(storedEvent(write), { correlationId: write.event.correlationId })

/** What a tombstone changes of a row. The index finds it still by its old tags; that it does not have them is seen there. */
const removedRow = (payload: string): Partial<Row> => ({
  type: tombstoneType,
  payload,
  metadata: "{}",
  tags: [],
  published: false
})

/**
 * Options of a store in memory.
 *
 * @category models
 * @since 0.2.0
 */
export interface MemoryOptions {
  /** Whether to keep a hash chain over the events: see `EventStore.verify`. Default: `false`. */
  readonly chain?: boolean | undefined
}

/** The links of a chain in memory, and how the next one is made. */
const makeChain = () => {
  const links: Array<ChainLink> = []
  return {
    links: (after: number, size: number) => Effect.sync(() => links.filter(({ position }) => position > after).slice(0, size)),
    linkBefore: (upTo: number) => Effect.sync(() => links.findLast(({ position }) => position <= upTo)),
    add: (writes: ReadonlyArray<Write>) =>
      Effect.map(
        Effect.flatMap(keptDigests(writes.map(storedEvent)), (digests) => digestsOf([linkText(links.at(-1)?.digest, digests)])),
        ([digest = ""]): void => {
          const [after, position] = [(writes[0]?.position ?? 1) - 1, writes.at(-1)?.position ?? 0]
          links.push({ after, position, digest })
        }
      )
  }
}

/**
 * Makes a store in memory, empty each time.
 *
 * **When to use**: for a program with several stores; {@link layerMemory} provides one.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   const [one, other] = [yield* EventStore.makeMemory, yield* EventStore.makeMemory]
 *   yield* one.append("Account-1", [{ type: "AccountOpened", payload: {} }])
 *   return [yield* one.head, yield* other.head]
 * })
 *
 * await Effect.runPromise(program) // => [1, 0]
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const makeMemory: Effect.Effect<EventStore["Service"]> = Effect.suspend(() => makeMemoryWith({}))

/**
 * {@link makeMemory} with options.
 *
 * @category constructors
 * @since 0.2.0
 */
export const makeMemoryWith = (options: MemoryOptions): Effect.Effect<EventStore["Service"]> =>
  Effect.sync(() => makeStore(options))

const makeStore = ({ chain: chained = false }: MemoryOptions): EventStore["Service"] => {
  const chain = chained ? makeChain() : undefined
  // A link is made of what comes before it.
  const writing = Semaphore.makeUnsafe(1)
  const index = makeIndex<Row>(matchesPrepared, ({ correlationId }) => correlationId)
  const signal = makeSignal()
  let newestTombstone = 0
  const append = (append: PreparedAppend): Effect.Effect<ReadonlyArray<AppendResult>, AppendError> => {
    const verdict = decide(append, index.standing)
    if (Result.isFailure(verdict)) return Effect.fail(verdict.failure)
    const { results, writes } = verdict.success
    const add = () => {
      for (const write of writes) {
        index.add(rowOf(write))
        if (write.event.type === tombstoneType) newestTombstone = write.position
      }
      signal.notify(index.standing.head)
      return results
    }
    // At once: nobody shall come between the verdict and what it is of.
    return chain === undefined || writes.length === 0 ? Effect.succeed(add()) : Effect.map(chain.add(writes), add)
  }
  return make({
    ...readsOfIndex(index, (rows) => Effect.sync(() => eventPage(rows))),
    append: (prepared) =>
      Effect.flatMap(prepared, (prepared) =>
        chain === undefined
          ? append(prepared)
          : writing.withPermit(Effect.uninterruptible(Effect.suspend(() => append(prepared))))
      ),
    awaitBeyond: signal.beyond,
    heard: signal.position,
    maintenance: {
      tombstone: (removals, { closed }) =>
        Effect.sync(() => {
          let changed = 0
          for (const { id, payload } of stillClosed(removals, closed, (stream) => index.standing.newest(stream).version)) {
            const row = index.standing.locate(id)
            if (row === undefined || row.type === tombstoneType) continue
            Object.assign(row, removedRow(payload))
            newestTombstone = Math.max(newestTombstone, row.position)
            changed++
          }
          return changed
        }),
      newestTombstone: Effect.sync(() => newestTombstone),
      ...(chain === undefined ? {} : { links: chain.links, linkBefore: chain.linkBefore })
    }
  })
}

/**
 * A store in memory: as strict as any other, and gone with its Layer.
 *
 * **When to use**: in tests and first programs, and as the smallest example of a store.
 *
 * **Details**: payloads go through the same JSON text as everywhere, and each read makes new objects, so nothing can be changed from
 * outside.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<EventStore> = Layer.effect(EventStore, makeMemory)

/**
 * {@link layerMemory} with options.
 *
 * **Gotchas**: each call is another Layer, and is built for itself. Keep the result in a constant where it is provided more than once.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerMemoryWith = (options: MemoryOptions): Layer.Layer<EventStore> =>
  Layer.effect(EventStore, makeMemoryWith(options))

const noEvents = Effect.succeed({ items: [], bytes: 0 })

/**
 * A store that checks what it is given, and forgets it.
 *
 * **When to use**: for programs whose events nobody reads.
 *
 * **Gotchas**: appends succeed whatever version they expect; every stream stays empty.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSinkhole: Layer.Layer<EventStore> = Layer.succeed(
  EventStore,
  make({
    append: (prepared) =>
      Effect.map(prepared, ({ appends }) =>
        appends.map(({ events, stream }) => ({ stream, version: events.length, position: 0, deduplicated: false }))
      ),
    pages: {
      stream: () => noEvents,
      versionAt: () => Effect.succeed(0),
      all: () => noEvents,
      streams: () => Effect.succeed([])
    },
    head: Effect.succeed(0),
    awaitBeyond: () => Effect.never
  })
)
