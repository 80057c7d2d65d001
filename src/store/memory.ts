import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { makeSignal } from "../internal/signal.ts"
import { decide, type Write } from "./kit/decide.ts"
import { matchesPrepared } from "./kit/filter.ts"
import { makeIndex, readsOfIndex } from "./kit/log.ts"
import { make } from "./kit/make.ts"
import { eventPage, type StoredEvent, storedEvent } from "./kit/recorded.ts"
import { EventStore } from "./service.ts"

/** An event, and what of its metadata is looked up. */
interface Row extends StoredEvent {
  readonly correlationId: string | undefined
}

const rowOf = (write: Write): Row => Object.assign(storedEvent(write), { correlationId: write.event.correlationId })

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
export const makeMemory: Effect.Effect<EventStore["Service"]> = Effect.sync(() => {
  const index = makeIndex<Row>(matchesPrepared, ({ correlationId }) => correlationId)
  const signal = makeSignal()
  return make({
    ...readsOfIndex(index, (rows) => Effect.sync(() => eventPage(rows))),
    append: (prepared) =>
      Effect.flatMap(prepared, (append) => {
        const verdict = decide(append, index.standing)
        if (Result.isFailure(verdict)) return Effect.fail(verdict.failure)
        for (const write of verdict.success.writes) index.add(rowOf(write))
        signal.notify(index.standing.head)
        return Effect.succeed(verdict.success.results)
      }),
    awaitBeyond: signal.beyond,
    heard: signal.position
  })
})

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
