import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { NewEvent, RecordedEvent } from "../definitions/stored.ts"
import { canonicalRow, makeRowDigest, type RowDigest } from "./digest.ts"
import type { EventStoreError } from "./errors.ts"
import type { EventStore } from "./service.ts"

/**
 * How far a {@link copy} is.
 *
 * @category copying
 * @since 0.1.0
 */
export interface CopyProgress {
  /** `"comparing"` what stands in the target already, `"copying"` the rest, `"verifying"` what was copied. */
  readonly phase: "comparing" | "copying" | "verifying"
  /** The position that the phase has reached. */
  readonly position: number
  /** The position that the copy ends with. */
  readonly head: number
}

/**
 * What a {@link copy} has done.
 *
 * @category copying
 * @since 0.1.0
 */
export interface CopyResult {
  /** How many events both stores hold, up to the position where the copy ended. */
  readonly events: number
  /** How many of them this copy wrote; the others stood in the target already. */
  readonly copied: number
  /** A SHA-256 over all of them, with everything that they carry: equal contents have equal digests, in any store. */
  readonly digest: string
}

/**
 * The target does not hold what the source holds, and cannot be made to.
 *
 * @category errors
 * @since 0.1.0
 */
export class CopyError extends Schema.TaggedError<CopyError>("eventfold/EventStore/CopyError")("CopyError", {
  /** The position up to which the target holds what the source holds, as far as that is known. */
  position: Schema.Number,
  problem: Schema.String
}) {
  override get message(): string {
    return `Copy stopped after position ${this.position}: ${this.problem}`
  }
}

/**
 * Copies everything that stands in one store into another: streams, versions, positions, ids, times, tags, metadata and payloads
 * stay what they are.
 *
 * **When to use**: to move to another store, or to make a backup in a file of JSON lines.
 *
 * **Details**: a copy that was cut short goes on where it stopped when it is started again. At the end the target is read again and
 * compared with the source, by number and by digest.
 *
 * **Gotchas**: the target must be empty, or hold the beginning of the source and nothing else, and nobody else may write to it. Events that
 * are appended to the source meanwhile are left for the next copy.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   const from = yield* EventStore.makeMemory
 *   const to = yield* EventStore.makeMemory // or SqliteEventStore.makeFile, JsonlEventStore.make, PgEventStore.make, …
 *   yield* from.append("Account-1", [{ type: "AccountOpened", payload: { owner: "Ada" } }])
 *   return yield* EventStore.copy(from, to)
 * })
 *
 * const result = await Effect.runPromise(program)
 * result.copied // => 1
 * ```
 *
 * @category copying
 * @since 0.1.0
 */
export const copy = <E = never, R = never>(
  from: EventStore["Service"],
  to: EventStore["Service"],
  options?: {
    /** The most events of one append to the target; it is all or nothing. Default: 1000. */
    readonly batchSize?: number | undefined
    /** Called after each batch. Default: nobody is told. */
    readonly onProgress?: ((progress: CopyProgress) => Effect.Effect<void, E, R>) | undefined
  }
): Effect.Effect<CopyResult, CopyError | EventStoreError | E, R> =>
  Effect.gen(function* () {
    const batchSize = Math.max(1, options?.batchSize ?? 1000)
    const onProgress = options?.onProgress ?? (() => Effect.void)
    const head = yield* from.head
    const present = yield* to.head
    if (present > head) {
      return yield* new CopyError({
        position: 0,
        problem: `the target holds ${present} events, more than the ${head} of the source`
      })
    }
    const source = yield* makeRowDigest
    const target = yield* makeRowDigest

    /** Goes through the events of a store with a position in `(after, upTo]`, a batch at a time. */
    const walk = <E2, R2>(
      store: EventStore["Service"],
      phase: CopyProgress["phase"],
      after: number,
      upTo: number,
      digest: RowDigest,
      each: (events: ReadonlyArray<RecordedEvent>) => Effect.Effect<void, E2, R2>
    ) =>
      Effect.gen(function* () {
        let position = after
        if (upTo > after) {
          yield* Stream.runForEachArray(
            store.readAll({ after, limit: upTo - after }),
            Effect.fnUntraced(function* (events) {
              for (const { batch, rows } of copyBatches(events, batchSize)) {
                yield* digest.add(rows)
                yield* each(batch)
                position += batch.length
                yield* onProgress({ phase, position, head })
              }
            })
          )
        }
        if (position === upTo) return
        return yield* new CopyError({ position: after, problem: `there are ${upTo - position} events less than positions` })
      })

    const same = Effect.fnUntraced(function* (position: number, problem: string) {
      if ((yield* source.value) !== (yield* target.value)) return yield* new CopyError({ position, problem })
    })

    yield* walk(from, "comparing", 0, present, source, () => Effect.void)
    yield* walk(to, "comparing", 0, present, target, () => Effect.void)
    yield* same(0, `the ${present} events of the target are not the first ${present} of the source`)

    yield* walk(from, "copying", present, head, source, (events) => appendCopies(to, events))
    yield* walk(to, "verifying", present, head, target, () => Effect.void)
    yield* same(present, "what was written to the target reads differently from the source")
    const reached = yield* to.head
    if (reached !== head) {
      return yield* new CopyError({ position: head, problem: `the target is at position ${reached}: somebody else writes to it` })
    }
    return { events: head, copied: head - present, digest: yield* source.value }
  }).pipe(Effect.provide(Digest.layerWebCrypto))

/** About how many characters of JSON one append of a copy may have. */
const copyBatchLength = 4 * 1024 * 1024

const copyBatches = function* (events: ReadonlyArray<RecordedEvent>, size: number) {
  let batch: Array<RecordedEvent> = []
  let rows: Array<string> = []
  let length = 0
  for (const event of events) {
    const row = canonicalRow(event)
    if (batch.length === size || (batch.length > 0 && length + row.length > copyBatchLength)) {
      yield { batch, rows }
      batch = []
      rows = []
      length = 0
    }
    batch.push(event)
    rows.push(row)
    length += row.length
  }
  if (batch.length > 0) yield { batch, rows }
}

const appendCopies = (
  to: EventStore["Service"],
  events: ReadonlyArray<RecordedEvent>
): Effect.Effect<void, CopyError | EventStoreError> => {
  const appends: Array<{ readonly stream: string; readonly events: Array<NewEvent>; readonly expected: number }> = []
  for (const { position: _, stream, version, ...event } of events) {
    const last = appends.at(-1)
    if (last?.stream === stream) last.events.push(event)
    else appends.push({ stream, events: [event], expected: version - 1 })
  }
  const before = (events[0] as RecordedEvent).position - 1
  const stopped = (problem: string) => new CopyError({ position: before, problem })
  return to.appendAll(appends).pipe(
    Effect.mapError((error) => (error._tag === "EventStoreError" ? error : stopped(error.message))),
    Effect.flatMap((results) =>
      results.at(-1)?.position === before + events.length
        ? Effect.void
        : Effect.fail(stopped("the target gave the events other positions: somebody else writes to it"))
    )
  )
}
