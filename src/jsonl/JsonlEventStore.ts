/**
 * The event store in one append-only file of JSON lines: durable without any database, and a format for export and backup that
 * `cat`, `grep` and `jq` read.
 *
 * One event is one line, and line n holds the event at position n (here broken for the page):
 *
 * ```json
 * {"position":3,"stream":"Account-1","version":2,"id":"01890a5d-ac96-774b-bcce-b302099a8057","type":"MoneyDeposited",
 *  "schemaVersion":1,"published":false,"tags":["large"],"recordedAt":"2026-01-31T12:00:00.000Z",
 *  "metadata":{"correlationId":"c-1"},"payload":{"amount":20000},"commit":4,"crc":"5d41402a"}
 * ```
 *
 * - `commit` is the position of the last event of the same append. An append stands in the file as a whole or not at all: where
 *   its last line is missing, its other lines do not count.
 * - `crc` comes last: the CRC-32 (as in zlib and PNG, eight hexadecimal digits) of the line's bytes before `,"crc"`.
 *
 * Appends that wait while the disk is busy are written together: one write and one fsync for all of them. In memory the store
 * keeps an index of the file (some hundred bytes an event, no payloads), which is rebuilt when it is opened.
 *
 * **After a crash** the file may end in the middle of an append. Opening it for writing cuts that beginning off, logs a warning
 * and calls `onRepair`; nothing that was acknowledged is lost. Any other line that does not fit (its checksum, its position, its
 * version) is damage: opening fails with `StoreCorrupted`, which names the line, and the file is left as it is.
 *
 * **One writer, many readers.** A file named after its owner, `<path>.lock-<pid>-<start>-<host>`, keeps other writers out until
 * the Layer is closed; when the owner is dead, the next writer takes over. (Of a process on another host nothing can be known:
 * should it be dead, remove its file by hand.) With `access: "read"` any number of other processes follow the file while it
 * grows. They may see an event a moment before the disk has it.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { Metadata, RecordedEvent } from "../definitions/stored.ts"
import { makeGroupCommit, type Submitted, takeUpTo } from "../internal/groupCommit.ts"
import { realSleep } from "../internal/realTime.ts"
import { makeSignal } from "../internal/signal.ts"
import * as EventStore from "../store/EventStore.ts"
import * as Kit from "../store/kit/index.ts"
import { corrupted, failAs, lock, syncDirectory, unavailable } from "./file.ts"
import { decodeLine, encodeLine, recordedEvent } from "./line.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The path of the file. It is made when it does not exist; its directory must exist. */
  readonly path: string
  /**
   * `"write"`: the only writer. `"read"`: one of any number of readers, in this or other processes; the file must exist, appends
   * fail, and nothing is ever written or repaired. Default: `"write"`.
   */
  readonly access?: "write" | "read" | undefined
  /** With `access: "read"`, how often a subscription that has seen everything looks for more. Default: 50 milliseconds. */
  readonly pollInterval?: Duration.Input | undefined
  /** Called again and again while the index is built on opening. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
  /** Called when the unfinished append at the end of the file has been cut off. */
  readonly onRepair?: ((repair: Repair) => Effect.Effect<void>) | undefined
}

/**
 * How far the opening of a file is.
 *
 * @category models
 * @since 0.1.0
 */
export interface Progress {
  readonly bytes: number
  readonly totalBytes: number
  readonly events: number
}

/**
 * What was cut off from the end of a file: an append that a crash had interrupted, and that was never acknowledged.
 *
 * @category models
 * @since 0.1.0
 */
export interface Repair {
  readonly path: string
  /** The first line that is gone. */
  readonly line: number
  /** Where it began: now the length of the file. */
  readonly offset: number
  /** How many bytes are gone. */
  readonly bytes: number
}

/**
 * The store in the file at `path`.
 *
 * ```ts
 * import { NodeFileSystem } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import { EventStore } from "eventfold"
 * import { JsonlEventStore } from "eventfold/jsonl"
 * import { mkdtempSync } from "node:fs"
 * import { join } from "node:path"
 * import { tmpdir } from "node:os"
 *
 * const path = join(mkdtempSync(join(tmpdir(), "eventfold-")), "events.jsonl")
 * const Store = Layer.provide(JsonlEventStore.layer({ path }), NodeFileSystem.layer)
 *
 * const program = EventStore.append("Account-1", [{ type: "AccountOpened", payload: { owner: "Ada" } }])
 *
 * const result = await Effect.runPromise(Effect.provide(program, Store))
 * result.position // => 1
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<EventStore.EventStore, EventStore.EventStoreError, FileSystem.FileSystem> =>
  Layer.effect(EventStore.EventStore, make(options))

type Request = Submitted<Kit.PreparedAppend, ReadonlyArray<EventStore.AppendResult>, EventStore.AppendError>

/** What the index knows of an event: all that a filter looks at, and where its line stands. */
interface Entry extends Kit.Indexable, Kit.Matchable {
  readonly offset: number
  /** Bytes, without the newline. */
  readonly length: number
}

const noTags: ReadonlyArray<string> = []
const noMetadata: Metadata = {}

const newline = 0x0a
/** How much of the file is read at once when the index is built. */
const chunkBytes = 1024 * 1024
/** Lines that stand no farther apart are fetched with one read … */
const gapBytes = 16 * 1024
/** … as long as that is no longer. */
const readBytes = 4 * 1024 * 1024

const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<EventStore.EventStore["Service"], EventStore.EventStoreError, FileSystem.FileSystem | Scope.Scope> {
  const fs = yield* FileSystem.FileSystem
  const { path } = options
  const writable = options.access !== "read"
  const file = yield* failAs("open", fs.open(path, { flag: writable ? "a+" : "r" }))
  if (writable) yield* lock(fs, path)

  const index = Kit.makeIndex<Entry>(Kit.matches)
  const signal = makeSignal()
  /** Where the last whole append ends. What is behind does not count. */
  let end = 0

  const names = new Map<string, string>()
  /** One string for all that are equal: a parsed line has copies of its own. */
  const intern = (name: string): string => {
    const known = names.get(name)
    if (known === undefined) names.set(name, name)
    return known ?? name
  }

  const makeEntry = (event: Omit<Entry, "offset" | "length">, offset: number, length: number): Entry => ({
    stream: intern(event.stream),
    version: event.version,
    position: event.position,
    id: event.id,
    type: intern(event.type),
    published: event.published,
    tags: event.tags.length === 0 ? noTags : event.tags.map(intern),
    metadata: event.metadata.correlationId === undefined ? noMetadata : { correlationId: event.metadata.correlationId },
    recordedAt: event.recordedAt,
    offset,
    length
  })

  // ---------------------------------------------------------------------------
  // reading the file
  // ---------------------------------------------------------------------------

  const readAt = Effect.fnUntraced(function* (operation: string, offset: number, length: number) {
    const buffer = Buffer.allocUnsafe(length)
    let filled = 0
    while (filled < length) {
      const read = yield* failAs(operation, file.read(buffer.subarray(filled), { position: BigInt(offset + filled) }))
      if (read === 0) break
      filled += read
    }
    return buffer.subarray(0, filled)
  })

  const damaged = (operation: string, line: number, offset: number, problem: string) =>
    corrupted(operation, `line ${line} of ${path} (at byte ${offset}) is damaged: ${problem}`)

  /** Adds to the index what the file holds beyond `end`. Returns the length of the file. */
  const load = Effect.fnUntraced(function* (
    onChunk: (progress: Progress) => Effect.Effect<void> = () => Effect.void
  ): Effect.fn.Return<number, EventStore.EventStoreError> {
    const operation = "open"
    const size = Number((yield* failAs(operation, file.stat)).size)
    if (size < end) return yield* corrupted(operation, `${path} has become shorter than it was: ${size} bytes instead of ${end}`)
    const unfinished: Array<Entry> = [] // the lines of an append whose last one is still to come
    let rest = Buffer.alloc(0) // the beginning of a line
    let offset = end // where it stands

    /** Takes in one line. Returns what is wrong with it. */
    const take = (bytes: Buffer): string | undefined => {
      const line = decodeLine(bytes)
      if (typeof line === "string") return line
      const due = index.standing.head + unfinished.length + 1
      if (line.position !== due) return `it says that its position is ${line.position}`
      unfinished.push(makeEntry({ ...line, recordedAt: Date.parse(line.recordedAt) }, offset, bytes.length))
      if (line.commit > due) return undefined
      for (const entry of unfinished) {
        const { version } = index.standing.newest(entry.stream)
        if (entry.version !== version + 1) return `version ${entry.version} of ${entry.stream} follows version ${version}`
        if (index.standing.locate(entry.id) !== undefined) return `its id is in use: ${entry.id}`
        index.add(entry)
      }
      unfinished.length = 0
      end = offset + bytes.length + 1
      return undefined
    }

    for (let at = end; at < size;) {
      const chunk = yield* readAt(operation, at, Math.min(chunkBytes, size - at))
      if (chunk.length === 0) break
      at += chunk.length
      const buffer = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      let begin = 0
      for (;;) {
        const stop = buffer.indexOf(newline, begin)
        if (stop === -1) break
        const line = index.standing.head + unfinished.length + 1
        const problem = take(buffer.subarray(begin, stop))
        if (problem !== undefined) return yield* damaged(operation, line, offset, problem)
        offset += stop - begin + 1
        begin = stop + 1
      }
      rest = buffer.subarray(begin)
      yield* onChunk({ bytes: at, totalBytes: size, events: index.standing.head })
    }
    // Nothing but the newline is missing: the write was that near to its end, or an editor has dropped it.
    if (!writable || typeof decodeLine(rest) === "string") return size
    const line = index.standing.head + unfinished.length + 1
    const problem = take(rest)
    if (problem !== undefined) return yield* damaged(operation, line, offset, problem)
    if (end < size) return size
    yield* failAs("repair", Effect.andThen(file.writeAll(Buffer.of(newline)), file.sync))
    return end
  })

  const repair = Effect.fnUntraced(function* (size: number) {
    const repaired: Repair = { path, line: index.standing.head + 1, offset: end, bytes: size - end }
    yield* failAs("repair", Effect.andThen(file.truncate(end), file.sync))
    yield* Effect.logWarning(
      `Cut off the ${repaired.bytes} bytes of an unfinished append from the end of ${path}, at line ${repaired.line}`
    )
    if (options.onRepair !== undefined) yield* options.onRepair(repaired)
  })

  const size = yield* load(options.onProgress)
  if (writable) {
    if (size > end) yield* repair(size)
    // The directory must know the file before an append is acknowledged.
    yield* syncDirectory(fs, path)
  }
  signal.notify(index.standing.head)

  // ---------------------------------------------------------------------------
  // writing
  // ---------------------------------------------------------------------------

  let broken = false

  /** After a failed write: takes back what may stand in the file already. */
  const takeBack = (error: EventStore.EventStoreError): Effect.Effect<EventStore.EventStoreError> =>
    Effect.match(Effect.andThen(file.truncate(end), file.sync), {
      onSuccess: () => error,
      onFailure: (cause) => {
        broken = true
        return new EventStore.EventStoreError({
          reason: new EventStore.OutcomeUnknown({ operation: "append", detail: error.reason.detail, cause })
        })
      }
    })

  /** Writes a batch. Its callers are answered while the next one is on its way. */
  const write = (requests: ReadonlyArray<Request>): Effect.Effect<() => void> =>
    Effect.suspend(() => {
      const refuse = (error: EventStore.EventStoreError) =>
        Effect.succeed(() => requests.forEach(({ answer }) => answer(Exit.fail(error))))
      if (broken) return refuse(unavailable("append", `a write to ${path} failed and could not be undone: open the store again`))
      const batch = Kit.makeBatch(index.standing)
      const entries: Array<Entry> = []
      const lines: Array<string> = []
      let offset = end
      const verdicts = requests.map(({ request }) => {
        const verdict = batch.decide(request)
        const commit = batch.writes.at(-1)?.position ?? 0
        for (const write of batch.writes.slice(lines.length)) {
          const line = encodeLine(write, commit)
          const length = Buffer.byteLength(line) - 1
          const { event, position, stream, version } = write
          const { id, published, recordedAt, tags, type } = event
          const metadata = event.metadata === "{}" ? noMetadata : (JSON.parse(event.metadata) as Metadata)
          entries.push(makeEntry({ stream, version, position, id, type, published, tags, metadata, recordedAt }, offset, length))
          lines.push(line)
          offset += length + 1
        }
        return verdict
      })
      const answerAll = () => requests.forEach(({ answer }, n) => answer(verdicts[n] as (typeof verdicts)[number]))
      if (lines.length === 0) return Effect.succeed(answerAll)
      return Effect.matchEffect(
        failAs(
          "append",
          Effect.andThen(
            Effect.suspend(() => file.writeAll(Buffer.from(lines.join("")))),
            file.sync
          )
        ),
        {
          onSuccess: () =>
            Effect.sync(() => {
              entries.forEach(index.add)
              end = offset
              signal.notify(index.standing.head)
              return answerAll
            }),
          onFailure: (error) => Effect.flatMap(takeBack(error), refuse)
        }
      )
    })

  const writer = yield* makeGroupCommit<Kit.PreparedAppend, ReadonlyArray<EventStore.AppendResult>, EventStore.AppendError>({
    capacity: 8192,
    maxBatch: 512,
    take: takeUpTo(4 * 1024 * 1024),
    overlaps: true,
    write,
    closed: () => unavailable("append", "the store has been closed")
  })

  const appendAll: EventStore.EventStore["Service"]["appendAll"] = (appends, options) => {
    const prepared = Kit.prepare(appends, options?.unless)
    return writable
      ? writer.submit(prepared)
      : Effect.andThen(
          prepared,
          Effect.fail(
            new EventStore.EventStoreError({
              reason: new EventStore.StoreFailure({ operation: "append", detail: `${path} has been opened for reading alone` })
            })
          )
        )
  }

  // ---------------------------------------------------------------------------
  // reading
  // ---------------------------------------------------------------------------

  const loading = Semaphore.makeUnsafe(1)

  /** A reader looks for what the writer has added; the writer itself knows. */
  const refresh: Effect.Effect<void, EventStore.EventStoreError> = writable
    ? Effect.void
    : loading.withPermit(Effect.map(load(), () => signal.notify(index.standing.head)))

  const ask = <A>(answer: () => A): Effect.Effect<A, EventStore.EventStoreError> => Effect.map(refresh, answer)

  const fetch = Effect.fnUntraced(function* (
    operation: string,
    entries: ReadonlyArray<Entry>
  ): Effect.fn.Return<Kit.EventPage, EventStore.EventStoreError> {
    const events = new Map<number, RecordedEvent>()
    const waiting = entries.toSorted((a, b) => b.offset - a.offset)
    while (waiting.length > 0) {
      const first = waiting.at(-1) as Entry
      const run: Array<Entry> = []
      let stop = first.offset
      for (;;) {
        const entry = waiting.at(-1)
        if (entry === undefined || entry.offset - stop > gapBytes) break
        if (run.length > 0 && entry.offset + entry.length - first.offset > readBytes) break
        run.push(entry)
        waiting.pop()
        stop = entry.offset + entry.length
      }
      const bytes = yield* readAt(operation, first.offset, stop - first.offset)
      for (const { length, offset, position } of run) {
        const line = decodeLine(bytes.subarray(offset - first.offset, offset - first.offset + length))
        if (typeof line === "string") return yield* damaged(operation, position, offset, line)
        if (line.position !== position) {
          return yield* damaged(operation, position, offset, `it says that its position is ${line.position}`)
        }
        events.set(position, recordedEvent(line))
      }
    }
    return {
      items: entries.map(({ position }) => events.get(position) as RecordedEvent),
      bytes: entries.reduce((sum, { length }) => sum + length, 0)
    }
  })

  const head = ask(() => index.standing.head)

  const poll = Effect.forever(Effect.andThen(refresh, realSleep(options.pollInterval ?? "50 millis")))

  const pages: Kit.Pages = {
    stream: (request) =>
      Effect.flatMap(
        ask(() => index.stream(request)),
        (entries) => fetch("read", entries)
      ),
    versionAt: (stream, until) => ask(() => index.versionAt(stream, until)),
    all: (request) =>
      Effect.flatMap(
        ask(() => index.all(request)),
        (entries) => fetch("readAll", entries)
      ),
    streams: (request) => ask(() => index.streams(request)),
    head,
    awaitBeyond: (position) => (writable ? signal.beyond(position) : Effect.raceFirst(signal.beyond(position), poll))
  }

  const version = (operation: string, stream: string) =>
    Effect.andThen(
      Kit.prepareName(operation, stream),
      ask(() => index.standing.newest(stream).version)
    )

  return EventStore.EventStore.of({
    ...Kit.readsFromPages(pages),
    appendAll,
    append: (stream, events, options) =>
      Effect.map(
        appendAll([{ stream, events, expected: options?.expected ?? EventStore.ExpectedVersion.Any }]),
        (results) => results[0] as EventStore.AppendResult
      ),
    version: (stream) => version("version", stream),
    exists: (stream) => Effect.map(version("exists", stream), (version) => version > 0),
    head
  })
})
