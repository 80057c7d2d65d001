import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { NewEvent, RecordedEvent } from "../definitions/stored.ts"
import { wholeOrEndless } from "../internal/counting.ts"
import { canonicalRow, makeRowDigest, type RowDigest } from "./digest.ts"
import type { EventStoreError } from "./errors.ts"
import type { ChainLink } from "./maintenance.ts"
import { asStored, type EventStore } from "./service.ts"
import { isTombstone, type Tombstone } from "./tombstone.ts"

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
 * **When to use**: to move to another store, to make a backup in a file of JSON lines, or to give a past `tags` that it lacks.
 *
 * **Details**: a copy that was cut short goes on where it stopped when it is started again. At the end the target is read again and
 * compared with the source, by number and by digest.
 *
 * **Personal data** stay sealed: of a store that is provided through `Personal.layer` what is stored is copied, and no key is needed.
 *
 * Tombstones are copied as they are.
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
  source: EventStore["Service"],
  target: EventStore["Service"],
  options?: {
    /** The most events of one append to the target; it is all or nothing. Default: 1000. */
    readonly batchSize?: number | undefined
    /**
     * `"same"`: each event has the position that it has in the source, which must have no gaps. `"anew"`: events have the same order and the
     * positions that the target gives them, and the two are compared by that order: so the part that a tenant has of a store which others share
     * comes to a store of its own, or from there to one. Checkpoints are to be set by what they stand behind then. Default: `"same"`.
     */
    readonly positions?: "same" | "anew" | undefined
    /**
     * `"same"`: the target, whose hash chain is empty, gets the links that the source has, so that heads which were kept elsewhere stay good. That
     * is an append for each link, and not to be had with other `tags`. `"anew"`: it makes its own chain of what is written. Default: `"anew"`.
     */
    readonly chain?: "same" | "anew" | undefined
    /**
     * The tags that an event has in the target, for a past that lacks some: all else stays what it is. It is given what is stored, in which personal data are
     * sealed, and no tombstones, which have none. A copy that goes on where one was cut short is given the same function. Default: those that it has.
     */
    readonly tags?: ((event: RecordedEvent) => ReadonlyArray<string>) | undefined
    /** Called after each batch. Default: nobody is told. */
    readonly onProgress?: ((progress: CopyProgress) => Effect.Effect<void, E, R>) | undefined
  }
): Effect.Effect<CopyResult, CopyError | EventStoreError | E, R> => copyStored(asStored(source), asStored(target), options)

/** How far a store has been gone through: so many events, up to a position. */
interface Place {
  readonly nth: number
  readonly position: number
}

const copyStored = <E, R>(
  from: EventStore["Service"],
  to: EventStore["Service"],
  options: Parameters<typeof copy<E, R>>[2]
): Effect.Effect<CopyResult, CopyError | EventStoreError | E, R> =>
  Effect.gen(function* () {
    const batchSize = wholeOrEndless(1, "EventStore.copy: batchSize", options?.batchSize ?? 1000)
    const onProgress = options?.onProgress ?? (() => Effect.void)
    const anew = options?.positions === "anew"
    const tagsOf = options?.tags
    if (tagsOf !== undefined && options?.chain === "same") {
      const problem = `events with other tags have other digests, so the target cannot have the hash chain of the source`
      return yield* new CopyError({ position: 0, problem })
    }
    /** An event of the source, as the target has it. */
    const tagged = (event: RecordedEvent): RecordedEvent =>
      tagsOf === undefined || isTombstone(event) ? event : { ...event, tags: Array.from(new Set(tagsOf(event))) }
    const head = yield* from.head
    const source = yield* makeRowDigest
    const target = yield* makeRowDigest

    /** Goes through the events of a store behind a place, a batch at a time. Gives how far it has come. */
    const walk = <E2, R2>(
      store: EventStore["Service"],
      phase: CopyProgress["phase"],
      begin: Place,
      { count, upTo }: { readonly count?: number; readonly upTo?: number },
      digest: RowDigest,
      each: (events: ReadonlyArray<RecordedEvent>) => Effect.Effect<void, E2, R2>
    ): Effect.Effect<Place, CopyError | EventStoreError | E | E2, R | R2> =>
      Effect.gen(function* () {
        let { nth, position } = begin
        if (count === 0) return begin
        yield* Stream.runForEachArray(
          store.readAll({ after: position, limit: count, upTo }),
          Effect.fnUntraced(function* (found) {
            const events = store === from ? found.map(tagged) : found
            const first = nth
            // Without their gaps, positions are the order in which the events stand.
            const numbered = anew ? events.map((event, index) => ({ ...event, position: first + index + 1 })) : events
            for (const { batch, rows } of copyBatches(numbered, batchSize)) {
              // Where others append between, positions would be others: nothing of that is written.
              const gap = batch.findIndex((event, index) => event.position !== nth + index + 1)
              if (gap >= 0) {
                const before = nth + gap
                const problem = `behind position ${before} comes ${batch[gap]?.position}: events of a store that others share would get other positions`
                return yield* new CopyError({ position: nth, problem })
              }
              yield* digest.add(rows)
              yield* each(batch)
              nth += batch.length
              position = events[nth - first - 1]?.position ?? position
              yield* onProgress({ phase, position, head })
            }
          })
        )
        if (anew || count === undefined || nth === begin.nth + count) return { nth, position }
        return yield* new CopyError({
          position: begin.nth,
          problem: `there are ${begin.nth + count - nth} events less than positions`
        })
      })

    const same = Effect.fnUntraced(function* (position: number, problem: string) {
      if ((yield* source.value) !== (yield* target.value)) return yield* new CopyError({ position, problem })
    })
    const nothing = () => Effect.void
    const outset: Place = { nth: 0, position: 0 }
    const refuseMore = (present: number, all: number) =>
      new CopyError({ position: 0, problem: `the target holds ${present} events, more than the ${all} of the source` })

    let there = outset
    let here = outset
    if (anew) {
      there = yield* walk(to, "comparing", outset, {}, target, nothing)
      here = yield* walk(from, "comparing", outset, { count: there.nth, upTo: head }, source, nothing)
      if (here.nth < there.nth) return yield* refuseMore(there.nth, here.nth)
    } else {
      const present = yield* to.head
      if (present > head) return yield* refuseMore(present, head)
      here = yield* walk(from, "comparing", outset, { count: present }, source, nothing)
      there = yield* walk(to, "comparing", outset, { count: present }, target, nothing)
    }
    const present = there.nth
    yield* same(0, `the ${present} events of the target are not the first ${present} of the source`)

    const write = options?.chain === "same" ? byLinks(from, to, present) : (events: Events) => appendCopies(to, events, anew)
    const { nth: all } = yield* walk(from, "copying", here, anew ? { upTo: head } : { count: head - present }, source, write)
    if (options?.chain === "same") yield* sameChain(from, to, head)
    const { nth: reached } = yield* walk(to, "verifying", there, anew ? {} : { count: head - present }, target, nothing)
    yield* same(present, "what was written to the target reads differently from the source")
    const last = anew ? reached : yield* to.head
    if (last !== all) {
      return yield* new CopyError({ position: all, problem: `the target is at position ${last}: somebody else writes to it` })
    }
    return { events: all, copied: all - present, digest: yield* source.value }
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

type Events = ReadonlyArray<RecordedEvent>

/** How many links are asked for at once. */
const linksAtOnce = 500

/** Writes events as they were committed in the source: of each append of the target its hash chain makes a link, the same as there. */
const byLinks = (from: EventStore["Service"], to: EventStore["Service"], begin: number) => {
  let [links, held, written]: [Array<ChainLink>, Array<RecordedEvent>, number] = [[], [], begin]
  return Effect.fnUntraced(function* (events: Events): Effect.fn.Return<void, CopyError | EventStoreError> {
    for (const event of events) {
      if (links.length === 0) links = Array.from(yield* from.maintenance?.links(written, linksAtOnce) ?? Effect.succeed([]))
      const [link] = links
      if (link?.after !== written) {
        const problem = `no link of the hash chain of the source begins there: only a chain that begins with the log is copied, a link at a time`
        return yield* new CopyError({ position: written, problem })
      }
      held.push(event)
      if (event.position < link.position) continue
      yield* appendCopies(to, held, false)
      written = link.position
      links.shift()
      held = []
    }
  })
}

/** Whether both chains end alike: then all of their links are alike. */
const sameChain = Effect.fnUntraced(function* (
  from: EventStore["Service"],
  to: EventStore["Service"],
  head: number
): Effect.fn.Return<void, CopyError | EventStoreError> {
  const [one, other] = [
    yield* from.maintenance?.linkBefore(head) ?? Effect.undefined,
    yield* to.maintenance?.linkBefore(head) ?? Effect.undefined
  ]
  if (one?.digest === other?.digest) return
  const problem = `the target ${other === undefined ? "keeps no hash chain" : "has another hash chain"}: it must be new, and have the option chain`
  return yield* new CopyError({ position: 0, problem })
})

const appendCopies = (
  to: EventStore["Service"],
  events: ReadonlyArray<RecordedEvent>,
  anew: boolean
): Effect.Effect<void, CopyError | EventStoreError> => {
  const appends: Array<{ readonly stream: string; readonly events: Array<NewEvent>; readonly expected: number }> = []
  for (const { position: _, stream, version, ...event } of events) {
    const last = appends.at(-1)
    if (last?.stream === stream) last.events.push(event)
    else appends.push({ stream, events: [event], expected: version - 1 })
  }
  const before = (events[0] as RecordedEvent).position - 1
  const stopped = (problem: string) => new CopyError({ position: before, problem })
  const moved = anew ? events.find((event) => isTombstone(event) && event.payload.archive !== undefined) : undefined
  if (moved !== undefined) {
    const { archive } = moved.payload as unknown as Tombstone
    const problem = `version ${moved.version} of "${moved.stream}" is in the archive "${archive}", which knows it by its old position`
    return Effect.fail(stopped(problem))
  }
  const append = events.some(isTombstone) ? (to.maintenance?.copyAll ?? to.appendAll) : to.appendAll
  return append(appends).pipe(
    Effect.mapError((error) => (error._tag === "EventStoreError" ? error : stopped(error.message))),
    Effect.flatMap((results) =>
      anew || results.at(-1)?.position === before + events.length
        ? Effect.void
        : Effect.fail(stopped("the target gave the events other positions: somebody else writes to it"))
    )
  )
}
