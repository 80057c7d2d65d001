/**
 * The index beside the file, `<path>.eventfold-index`: what has been looked through once is not looked through again.
 *
 * It is of the bytes from the beginning of the file to some `end`, and says their CRC-32. It counts where these bytes stand in the file
 * to the last one, and the index is whole by a CRC-32 of its own; otherwise, or when it is absent, the file is looked through from its
 * beginning. So whatever happens to either, nothing is answered by an index that is not of this file. It holds nothing that the file does
 * not, needs no sync, and may be deleted at any time.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import type * as Scope from "effect/Scope"
import { crc32 } from "node:zlib"
import type { EventStoreError } from "../store/EventStore.ts"
import { sizeOf } from "./columns.ts"
import { failAs, readInto, writeAll } from "./file.ts"
import type { Indexed, Log, Progress } from "./log.ts"
import { columnsOf, makeColumns } from "./lookup.ts"

/** Of what the file is, and in which version. */
const magic = Buffer.from("eventfold-index1")
/** How much of the file is read at once. */
const chunkBytes = 1024 * 1024
/** Less of a file than this, and less than this part of what an index is of, is looked through as fast as an index is kept. */
const worthKeeping = { bytes: 256 * 1024, part: 1 / 50 }

/** Where the index of a file is. */
export const besideOf = (path: string): string => `${path}.eventfold-index`

/** The numbers after the magic: end, digest, seed, and how long each column is. */
const headOf = ({ columns, digest, end, seed }: Indexed): Uint8Array<ArrayBuffer> =>
  new Uint8Array(Float64Array.of(end, digest, seed, ...columnsOf(columns).map(({ length }) => length)).buffer)

const checksumBytes = 4

/** Whether an index that is of nothing beyond `kept` is out of date. */
const isWorthKeeping = ({ end }: Log, kept: number): boolean =>
  end - kept >= Math.max(worthKeeping.bytes, kept * worthKeeping.part)

/**
 * Keeps the index of a log: `known` is the end of the one that is kept. Returns where it ends. That it cannot be kept is nothing but a
 * slower opening.
 */
export const keep = (fs: FileSystem.FileSystem, beside: string, log: Log, known: number): Effect.Effect<number> =>
  Effect.suspend(() => {
    if (!isWorthKeeping(log, known)) return Effect.succeed(known)
    const { end } = log
    const { file } = log.source
    const next = `${beside}.next`
    const parts = [magic, headOf(log), ...columnsOf(log.columns).map((column) => column.bytes())]
    const checksum = Buffer.alloc(checksumBytes)
    checksum.writeUInt32LE(parts.reduce((crc, part) => crc32(part, crc), 0))
    return file.stat.pipe(
      // Nobody shall read there who may not read the events.
      Effect.flatMap(({ mode }) => fs.open(next, { flag: "w", mode: mode & 0o777 })),
      Effect.flatMap((file) => Effect.forEach([...parts, checksum], (part) => writeAll(file, part), { discard: true })),
      Effect.scoped,
      Effect.andThen(fs.rename(next, beside)),
      Effect.as(end),
      Effect.catch((error) => Effect.as(Effect.logDebug(`eventfold: the index ${beside} cannot be kept`, error), known))
    )
  })

/** Removes what is kept and does not fit. */
export const discard = (fs: FileSystem.FileSystem, beside: string): Effect.Effect<void> =>
  Effect.ignore(fs.remove(beside, { force: true }))

/** The index that is kept beside a file, if it is one of this file. */
export const readKept = Effect.fnUntraced(function* (
  fs: FileSystem.FileSystem,
  beside: string,
  file: FileSystem.File,
  onChunk: (progress: Progress) => Effect.Effect<void> = () => Effect.void
): Effect.fn.Return<Indexed | undefined, EventStoreError> {
  const read = Effect.scoped(Effect.flatMap(fs.open(beside), readBeside))
  const indexed = yield* Effect.catch(read, () => Effect.undefined)
  if (indexed === undefined) return undefined
  return (yield* isOf(indexed, file, onChunk)) ? indexed : undefined
})

/** Reads an index, if it is one and whole. */
const readBeside = Effect.fnUntraced(function* (
  file: FileSystem.File
): Effect.fn.Return<Indexed | undefined, PlatformError, Scope.Scope> {
  const columns = makeColumns()
  const kinds = columnsOf(columns)
  const head = new Float64Array(3 + kinds.length)
  const begin = yield* readInto(file, new Uint8Array(magic.length), 0)
  yield* readInto(file, new Uint8Array(head.buffer), magic.length)
  if (!magic.equals(begin)) return undefined
  const [end = 0, digest = 0, seed = 0, ...lengths] = head
  if (!lengths.every((length) => Number.isSafeInteger(length) && length >= 0)) return undefined
  const sizes = kinds.map(({ kind }, index) => sizeOf[kind] * (lengths[index] ?? 0))
  const first = magic.length + head.byteLength
  const total = sizes.reduce((sum, size) => sum + size, first)
  // This many bytes are there, so there may be memory for them.
  if (Number((yield* file.stat).size) !== total + checksumBytes) return undefined
  let crc = crc32(new Uint8Array(head.buffer), crc32(magic))
  let offset = first
  for (const [index, column] of kinds.entries()) {
    column.clear(lengths[index] ?? 0)
    const bytes = yield* readInto(file, column.bytes(), offset)
    crc = crc32(bytes, crc)
    offset += bytes.length
  }
  const checksum = Buffer.alloc(checksumBytes)
  yield* readInto(file, checksum, offset)
  return checksum.readUInt32LE() === crc ? { columns, seed, end, digest } : undefined
})

/** Whether a file begins with the bytes that an index is of. */
const isOf = Effect.fnUntraced(function* (
  { columns: { ends }, digest, end }: Indexed,
  file: FileSystem.File,
  onChunk: (progress: Progress) => Effect.Effect<void>
) {
  const totalBytes = Number((yield* failAs("open", file.stat)).size)
  if (totalBytes < end) return false
  let crc = 0
  let events = 0
  // One part is read while the one before it is looked at.
  const [one, other] = [Buffer.allocUnsafe(chunkBytes), Buffer.allocUnsafe(chunkBytes)]
  const readNext = (offset: number, buffer: Buffer) =>
    failAs("open", readInto(file, buffer.subarray(0, Math.min(chunkBytes, end - offset)), offset))
  let chunk = yield* readNext(0, one)
  for (let bytes = 0; bytes < end;) {
    if (chunk.length === 0) return false
    const [seen, offset] = [chunk, bytes + chunk.length]
    const look = Effect.suspend(() => {
      crc = crc32(seen, crc)
      while (events < ends.length && ends.at(events) <= offset) events++
      return onChunk({ bytes: offset, totalBytes, events })
    })
    const reading = readNext(offset, seen.buffer === one.buffer ? other : one)
    chunk = yield* Effect.zipWith(reading, look, (read) => read, { concurrent: true })
    bytes = offset
  }
  return crc === digest
})
