/**
 * The file as it is read: its index in memory, how the index is built, and how events are fetched by it.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import { crc32 } from "node:zlib"
import type { RecordedEvent } from "../definitions/stored.ts"
import type { EventStoreError } from "../store/EventStore.ts"
import { cutToPage, type EventPage, type Index } from "../store/kit/index.ts"
import { corrupted, failAs, readAt } from "./file.ts"
import { decodeLine, type Line, recordedEvent } from "./line.ts"
import { type Columns, type Entry, type Lookup, makeColumns, makeLookup } from "./lookup.ts"

/** The index of a part of a file, from its beginning. */
export interface Indexed {
  readonly columns: Columns
  readonly seed: number
  /** Where the last whole append ends. What is behind does not count. */
  readonly end: number
  /** The CRC-32 of the bytes before `end`: as they were read or written, whatever has become of the file since. */
  readonly digest: number
}

/** A file, and those who read it: when it has been put aside, and the last of them is done, it is closed. */
interface Source {
  readonly file: FileSystem.File
  readonly lookup: Lookup
  readonly close: Effect.Effect<void>
  readers: number
  isAside: boolean
}

export interface Log extends Indexed {
  readonly path: string
  readonly writable: boolean
  /** What is asked of the file as it is now. */
  readonly index: Index<Entry>
  source: Source
  columns: Columns
  seed: number
  end: number
  digest: number
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

const newline = 0x0a
/** How much of the file is read at once when the index is built. */
const chunkBytes = 1024 * 1024
/** Lines that stand no farther apart are fetched with one read … */
const gapBytes = 16 * 1024
/** … as long as that is no longer. */
const readBytes = 4 * 1024 * 1024

/** The index of nothing. */
export const nothingIndexed = (): Indexed => ({
  columns: makeColumns(),
  seed: Math.floor(Math.random() * 2 ** 32),
  end: 0,
  digest: 0
})

/** A log of which as much has been read as is indexed. `close` closes its file. */
export const makeLog = (
  path: string,
  file: FileSystem.File,
  writable: boolean,
  indexed: Indexed,
  close: Effect.Effect<void>
): Log => {
  const lookup = makeLookup(indexed.columns, indexed.seed)
  const log: Log = {
    path,
    writable,
    ...indexed,
    source: { file, lookup, close, readers: 0, isAside: false },
    index: {
      standing: {
        newest: (stream) => log.source.lookup.standing.newest(stream),
        locate: (id) => log.source.lookup.standing.locate(id),
        newestMatch: (filter, after) => log.source.lookup.standing.newestMatch(filter, after),
        get head() {
          return log.source.lookup.standing.head
        }
      },
      add: (row) => log.source.lookup.add(row),
      stream: (request) => log.source.lookup.stream(request),
      all: (request) => log.source.lookup.all(request),
      versionAt: (stream, until) => log.source.lookup.versionAt(stream, until),
      streams: (request) => log.source.lookup.streams(request)
    }
  }
  return log
}

const closeUnused = (source: Source): Effect.Effect<void> =>
  Effect.suspend(() => (source.isAside && source.readers === 0 ? source.close : Effect.void))

/** Puts the file of another log in the place of a log's own, which is closed as soon as nobody reads it any more. */
export const replaceSource = (log: Log, { columns, digest, end, seed, source }: Log): Effect.Effect<void> =>
  Effect.suspend(() => {
    const before = log.source
    Object.assign(log, { columns, digest, end, seed, source })
    before.isAside = true
    return closeUnused(before)
  })

/** Reads a file as it is now, whatever is put in its place meanwhile. */
const reading = <A, E>({ source }: Log, read: (source: Source) => Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.suspend(() => {
    source.readers++
    return Effect.ensuring(
      read(source),
      Effect.suspend(() => {
        source.readers--
        return closeUnused(source)
      })
    )
  })

const damaged = (operation: string, path: string, line: number, offset: number, problem: string) =>
  corrupted(operation, `line ${line} of ${path} (at byte ${offset}) is damaged: ${problem}`)

/** Adds to the index what the file holds beyond `end`. Returns the length of the file. */
export const load = Effect.fnUntraced(function* (
  log: Log,
  onChunk: (progress: Progress) => Effect.Effect<void> = () => Effect.void
): Effect.fn.Return<number, EventStoreError> {
  const operation = "open"
  const { index, path, writable } = log
  const { file } = log.source
  const size = Number((yield* failAs(operation, file.stat)).size)
  if (size < log.end) {
    return yield* corrupted(operation, `${path} has become shorter than it was: ${size} bytes instead of ${log.end}`)
  }
  const lines = makeLineReader(log)
  const refuse = ({ line, offset, problem }: DamagedLine) => damaged(operation, path, line, offset, problem)
  for (let at = log.end; at < size;) {
    const chunk = yield* readAt(operation, file, at, Math.min(chunkBytes, size - at))
    if (chunk.length === 0) break
    at += chunk.length
    const damage = lines.takeChunk(chunk)
    if (damage !== undefined) return yield* refuse(damage)
    yield* onChunk({ bytes: at, totalBytes: size, events: index.standing.head })
  }
  // Nothing but the newline is missing: the write was that near to its end, or an editor has dropped it.
  if (!writable || !lines.restIsWhole()) return size
  const damage = lines.takeRest()
  if (damage !== undefined) return yield* refuse(damage)
  if (log.end < size) return size
  yield* failAs("repair", Effect.andThen(file.writeAll(Buffer.of(newline)), file.sync))
  return log.end
})

interface DamagedLine {
  readonly line: number
  readonly offset: number
  readonly problem: string
}

/** Takes in the lines from the end of a log on, however they are cut into chunks. */
const makeLineReader = (log: Log) => {
  const appends = makeAppendReader(log)
  let rest: Buffer = Buffer.alloc(0) // the beginning of a line
  let offset = log.end // where it stands
  let digest = log.digest // of the bytes before it

  const take = (bytes: Buffer): DamagedLine | undefined => {
    const line = appends.due()
    const problem = appends.take(bytes, offset)
    return problem === undefined ? undefined : { line, offset, problem }
  }

  return {
    takeChunk: (chunk: Buffer): DamagedLine | undefined => {
      const buffer = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      const [first, before] = [offset, log.end]
      let begin = 0
      for (;;) {
        const stop = buffer.indexOf(newline, begin)
        if (stop === -1) break
        const damage = take(buffer.subarray(begin, stop))
        if (damage !== undefined) return damage
        offset += stop - begin + 1
        begin = stop + 1
      }
      const whole = log.end === before ? 0 : log.end - first
      digest = crc32(buffer.subarray(0, whole), digest)
      if (whole > 0) log.digest = digest
      digest = crc32(buffer.subarray(whole, begin), digest)
      rest = buffer.subarray(begin)
      return undefined
    },
    /** Whether the beginning of a line that is left is a line, save its newline. */
    restIsWhole: () => typeof decodeLine(rest) !== "string",
    takeRest: (): DamagedLine | undefined => {
      const damage = take(rest)
      if (log.end > offset) log.digest = crc32(Buffer.of(newline), crc32(rest, digest))
      return damage
    }
  }
}

/** Adds lines to the index as soon as their append is whole. */
const makeAppendReader = (log: Log) => {
  const { index } = log
  const unfinished: Array<Entry> = [] // the lines of an append whose last one is still to come
  /** The position of the next line, which is also its number. */
  const due = (): number => index.standing.head + unfinished.length + 1
  return {
    due,
    /** Takes in the line that begins at `offset`. Returns what is wrong with it. */
    take: (bytes: Buffer, offset: number): string | undefined => {
      const line = decodeLine(bytes)
      if (typeof line === "string") return line
      const position = due()
      if (line.position !== position) return misplaced(line)
      if (!isWellFormed(line)) return "a name in it has a lone surrogate"
      unfinished.push({ ...line, recordedAt: Date.parse(line.recordedAt), offset, length: bytes.length })
      if (line.commit > position) return undefined
      for (const entry of unfinished) {
        const { version } = index.standing.newest(entry.stream)
        if (entry.version !== version + 1) return `version ${entry.version} of ${entry.stream} follows version ${version}`
        if (index.standing.locate(entry.id) !== undefined) return `its id is in use: ${entry.id}`
        index.add(entry)
      }
      unfinished.length = 0
      log.end = offset + bytes.length + 1
      return undefined
    }
  }
}

const misplaced = ({ position }: Line): string => `it says that its position is ${position}`

/** Whether its names can be indexed. All that a store has written can. */
const isWellFormed = ({ id, metadata, stream, tags, type }: Line): boolean =>
  [id, stream, type, metadata.correlationId ?? "", ...tags].every((name) => name.isWellFormed())

/** Reads the lines of entries, in the order of the file, with one read for those that stand near to each other. */
const fetchLines = Effect.fnUntraced(function* (
  path: string,
  { file }: Source,
  entries: ReadonlyArray<Entry>,
  operation: string
): Effect.fn.Return<ReadonlyArray<Line>, EventStoreError> {
  const lines: Array<Line> = []
  for (const { begin, entries: near, stop } of stretchesOf(entries)) {
    const bytes = yield* readAt(operation, file, begin, stop - begin)
    for (const { id, length, offset, position } of near) {
      const line = decodeLine(bytes.subarray(offset - begin, offset - begin + length))
      if (typeof line === "string") return yield* damaged(operation, path, position, offset, line)
      if (line.position !== position) return yield* damaged(operation, path, position, offset, misplaced(line))
      if (line.id !== id)
        return yield* damaged(operation, path, position, offset, "it was another event when the file was opened")
      lines.push(line)
    }
  }
  return lines
})

/** The events of entries, forward or backward. */
const eventsAt = ({ path }: Log, source: Source, found: ReadonlyArray<Entry>, operation: string) => {
  const [first, last] = [found[0], found.at(-1)]
  const backward = first !== undefined && last !== undefined && last.offset < first.offset
  return Effect.map(fetchLines(path, source, backward ? found.toReversed() : found, operation), (lines) => {
    const events = lines.map(recordedEvent)
    return backward ? events.reverse() : events
  })
}

/** Entries as they are in the file as it is now: it may have been replaced since they were found. */
const nowOf = ({ lookup }: Source, entries: ReadonlyArray<Entry>) => entries.map(({ position }) => lookup.at(position))

/** Reads the events of entries, all of them. */
export const fetchAll = (
  log: Log,
  entries: ReadonlyArray<Entry>,
  operation: string
): Effect.Effect<ReadonlyArray<RecordedEvent>, EventStoreError> =>
  reading(log, (source) => eventsAt(log, source, nowOf(source, entries), operation))

/** Reads the events of entries as far as they go into one page. */
export const fetchPage = (
  log: Log,
  entries: ReadonlyArray<Entry>,
  operation: string
): Effect.Effect<EventPage, EventStoreError> =>
  reading(log, (source) => {
    const { bytes, fitting, isCut } = cutToPage(nowOf(source, entries), ({ length }) => length)
    return Effect.map(eventsAt(log, source, fitting, operation), (items) => ({ items, bytes, isCut }))
  })

/** Reads the lines at positions that there are, from one to another, both inclusive. */
export const linesBetween = (
  log: Log,
  from: number,
  to: number,
  operation: string
): Effect.Effect<ReadonlyArray<Line>, EventStoreError> =>
  reading(log, (source) => {
    const count = Math.max(0, Math.min(to, source.lookup.standing.head) - from + 1)
    return fetchLines(
      log.path,
      source,
      Array.from({ length: count }, (_, index) => source.lookup.at(from + index)),
      operation
    )
  })

/** A part of the file that is fetched at once. */
interface Stretch {
  readonly begin: number
  stop: number
  readonly entries: Array<Entry>
}

/** Of entries in the order of the file. */
const stretchesOf = (entries: ReadonlyArray<Entry>): ReadonlyArray<Stretch> => {
  const stretches: Array<Stretch> = []
  let last: Stretch | undefined
  for (const entry of entries) {
    const stop = entry.offset + entry.length
    if (last !== undefined && entry.offset - last.stop <= gapBytes && stop - last.begin <= readBytes) {
      last.entries.push(entry)
      last.stop = stop
    } else {
      last = { begin: entry.offset, stop, entries: [entry] }
      stretches.push(last)
    }
  }
  return stretches
}
