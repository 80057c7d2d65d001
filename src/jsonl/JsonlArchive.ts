/**
 * An archive in a folder of compressed files of JSON lines.
 *
 * Each write makes a file of its events, `<first position>-<last position>-<digest>.jsonl.zst`, and then a manifest beside it, `….json`, which says
 * how many there are, the SHA-256 of the lines, which versions of which streams, and what the hash chain of the store ended with, where it keeps one. A line is as one of `JsonlEventStore`, with its checksum.
 * A file without a manifest does not count: its writer was ended before it was whole. The same events again make the same file.
 *
 * `zstd -d`, or `gunzip` where Node has no zstd (then the files end with `.gz`), makes lines of it that `grep` and `jq` read.
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type { PlatformError } from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import { join } from "node:path"
import * as zlib from "node:zlib"
import type { RecordedEvent } from "../definitions/stored.ts"
import { Archive, ArchiveError } from "../store/Archive.ts"
import { writePayload } from "../store/kit/index.ts"
import { syncDirectory } from "./file.ts"
import { decodeLine, encodeLine, recordedEvent } from "./line.ts"

/**
 * Where an archive is.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /** What tombstones call it: it stays what it is. */
  readonly name: string
  /** The folder, which is made when it does not exist. An archive has one; nothing else stands there. */
  readonly directory: string
}

const Manifest = Schema.fromJsonString(
  Schema.Struct({
    format: Schema.Literal("eventfold-archive-1"),
    archive: Schema.String,
    file: Schema.String,
    count: Schema.Int,
    first: Schema.Int,
    last: Schema.Int,
    sha256: Schema.String,
    streams: Schema.Array(Schema.Struct({ stream: Schema.String, from: Schema.Int, to: Schema.Int })),
    /** The newest link of the store's hash chain when this was written. */
    chain: Schema.optionalKey(Schema.Struct({ after: Schema.Int, position: Schema.Int, digest: Schema.String }))
  })
)
type Manifest = typeof Manifest.Type

const decodeManifest = Schema.decodeUnknownResult(Manifest)
const encodeManifest = Schema.encodeSync(Manifest)

const hasZstd = typeof zlib.zstdCompressSync === "function"
const compress = (bytes: Buffer): Buffer => (hasZstd ? zlib.zstdCompressSync(bytes) : zlib.gzipSync(bytes))
const ending = hasZstd ? "zst" : "gz"
const decompress = (file: string, bytes: Uint8Array): Buffer =>
  file.endsWith(".gz") ? zlib.gunzipSync(bytes) : zlib.zstdDecompressSync(bytes)

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex")

const lineOf = (event: RecordedEvent): string => {
  const { position, stream, version, ...rest } = event
  return encodeLine(
    {
      position,
      stream,
      version,
      event: {
        ...rest,
        payload: writePayload(event.payload),
        metadata: writePayload(event.metadata as RecordedEvent["payload"]),
        recordedAt: event.recordedAt.epochMilliseconds
      }
    },
    position
  )
}

/** The runs of versions without a gap, of events in the order of streams and versions. */
const runsOf = (events: ReadonlyArray<RecordedEvent>): Manifest["streams"] => {
  const runs: Array<{ readonly stream: string; readonly from: number; to: number }> = []
  for (const { stream, version } of events) {
    const last = runs.at(-1)
    if (last?.stream === stream && last.to === version - 1) last.to = version
    else runs.push({ stream, from: version, to: version })
  }
  return runs
}

/** How many files are kept in memory as they were read last. */
const mostKept = 4

/**
 * Makes an archive in the folder.
 *
 * **Details**: it keeps in memory which streams its files have, some dozen bytes for a part of a stream. Several processes may read one folder,
 * and write to it: where one is asked for what it does not know, it looks at the folder again.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function* ({
  directory,
  name
}: Options): Effect.fn.Return<Archive["Service"], ArchiveError, FileSystem.FileSystem> {
  const fs = yield* FileSystem.FileSystem
  const failed = <A, R>(what: string, effect: Effect.Effect<A, PlatformError, R>): Effect.Effect<A, ArchiveError, R> =>
    Effect.mapError(
      effect,
      (cause) => new ArchiveError({ archive: name, isDamaged: false, problem: `${what}: ${cause.message}`, cause })
    )
  const damaged = (problem: string) => new ArchiveError({ archive: name, isDamaged: true, problem })
  /** Of each stream: its parts, and the file that has each. */
  const parts = new Map<string, Array<{ readonly from: number; readonly to: number; readonly manifest: Manifest }>>()
  const known = new Set<string>()
  /** The manifests that have been read. */
  const looked = new Set<string>()
  const heads = new Map<number, NonNullable<Manifest["chain"]>>()
  const learn = (manifest: Manifest): void => {
    if (known.has(manifest.file)) return
    known.add(manifest.file)
    if (manifest.chain !== undefined) heads.set(manifest.chain.position, manifest.chain)
    for (const { from, stream, to } of manifest.streams) {
      const own = parts.get(stream)
      if (own === undefined) parts.set(stream, [{ from, to, manifest }])
      else own.push({ from, to, manifest })
    }
  }
  /** Reads the manifests that have not been read: others may have written some since. */
  const look = Effect.gen(function* () {
    for (const file of yield* failed(`${directory} cannot be read`, fs.readDirectory(directory))) {
      if (!file.endsWith(".json") || looked.has(file)) continue
      const manifest = decodeManifest(yield* failed(`${file} cannot be read`, fs.readFileString(join(directory, file))))
      if (Result.isFailure(manifest)) return yield* damaged(`${file} is no manifest: ${manifest.failure.message}`)
      if (manifest.success.archive !== name) return yield* damaged(`${file} is of the archive "${manifest.success.archive}"`)
      looked.add(file)
      learn(manifest.success)
    }
  })
  yield* failed(`${directory} cannot be made`, fs.makeDirectory(directory, { recursive: true }))
  yield* look

  const kept = new Map<string, ReadonlyMap<string, RecordedEvent>>()
  const key = (stream: string, version: number) => `${version} ${stream}`
  const open = Effect.fnUntraced(function* (manifest: Manifest) {
    const { count, file } = manifest
    const before = kept.get(file)
    if (before !== undefined) return before
    const bytes = yield* failed(`${file} cannot be read`, fs.readFile(join(directory, file)))
    const text = yield* Effect.try({
      try: () => decompress(file, bytes),
      catch: () => damaged(`${file} cannot be decompressed`)
    })
    if (sha256(text) !== manifest.sha256) return yield* damaged(`${file} has not the digest that its manifest says`)
    const events = new Map<string, RecordedEvent>()
    let begin = 0
    while (begin < text.length) {
      const end = text.indexOf(0x0a, begin)
      const line = decodeLine(text.subarray(begin, end === -1 ? text.length : end))
      if (typeof line === "string") return yield* damaged(`a line of ${file}: ${line}`)
      events.set(key(line.stream, line.version), recordedEvent(line))
      begin = end === -1 ? text.length : end + 1
    }
    if (events.size !== count) return yield* damaged(`${file} has ${events.size} events, and its manifest says ${count}`)
    kept.set(file, events)
    const [oldest] = kept.keys()
    if (kept.size > mostKept && oldest !== undefined) kept.delete(oldest)
    return events
  })

  /** One name is one content, so whoever comes second writes the same. */
  const put = (file: string, bytes: Uint8Array) => {
    const path = join(directory, file)
    const next = `${path}.${process.pid}-${Math.random().toString(36).slice(2)}.next`
    const write = Effect.flatMap(fs.open(next, { flag: "w" }), (opened) => Effect.andThen(opened.writeAll(bytes), opened.sync))
    return failed(
      `${file} cannot be written`,
      Effect.onError(Effect.andThen(Effect.scoped(write), fs.rename(next, path)), () =>
        Effect.ignore(fs.remove(next, { force: true }))
      )
    )
  }

  const partOf = (stream: string, version: number) => parts.get(stream)?.find(({ from, to }) => from <= version && version <= to)

  /** The parts of a stream that have something of a range, in order; and whether they have all of it. */
  const partsIn = (stream: string, from: number, to: number) => {
    const own = (parts.get(stream) ?? []).filter((part) => part.from <= to && part.to >= from).sort((a, b) => a.from - b.from)
    const next = own.reduce((next, part) => (part.from <= next ? Math.max(next, part.to + 1) : next), from)
    return { own, isAll: next > to }
  }

  return Archive.of({
    name,
    heads: Effect.map(look, () => Array.from(heads.values()).sort((a, b) => a.position - b.position)),
    write: Effect.fnUntraced(function* (all, { chain } = {}) {
      const events = all
        .filter(({ stream, version }) => partOf(stream, version) === undefined)
        .sort((a, b) => (a.stream === b.stream ? a.version - b.version : a.stream < b.stream ? -1 : 1))
      if (events.length === 0) return
      // One text of all may be longer than any text can be.
      const bytes = Buffer.concat(events.map((event) => Buffer.from(lineOf(event))))
      const digest = sha256(bytes)
      const positions = events.map(({ position }) => position)
      const first = positions.reduce((a, b) => Math.min(a, b))
      const last = positions.reduce((a, b) => Math.max(a, b))
      const title = `${first}-${last}-${digest.slice(0, 16)}.jsonl`
      const file = `${title}.${ending}`
      const manifest: Manifest = {
        format: "eventfold-archive-1",
        archive: name,
        file,
        count: events.length,
        first,
        last,
        sha256: digest,
        streams: runsOf(events),
        ...(chain === undefined ? {} : { chain })
      }
      yield* put(file, compress(bytes))
      yield* put(`${title}.json`, Buffer.from(`${encodeManifest(manifest)}\n`))
      yield* failed(`${directory} may forget ${file}`, syncDirectory(fs, join(directory, file)))
      learn(manifest)
    }),
    read: Effect.fnUntraced(function* (stream, { from, to }) {
      const found: Array<RecordedEvent> = []
      if (!partsIn(stream, from, to).isAll) yield* look
      const { own } = partsIn(stream, from, to)
      // Two processes may have written the same.
      let next = from
      for (const part of own) {
        if (part.to < next) continue
        const events = yield* open(part.manifest)
        for (let version = Math.max(next, part.from); version <= Math.min(to, part.to); version++) {
          const event = events.get(key(stream, version))
          if (event === undefined) return yield* damaged(`${part.manifest.file} has not version ${version} of "${stream}"`)
          found.push(event)
          next = version + 1
        }
      }
      return found
    })
  })
})

/**
 * The Layer of {@link make}.
 *
 * ```ts
 * import { NodeFileSystem } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import { Archive, Checkpoints, EventStore, Retention } from "eventfold"
 * import { JsonlArchive } from "eventfold/jsonl"
 * import { mkdtempSync } from "node:fs"
 * import { join } from "node:path"
 * import { tmpdir } from "node:os"
 *
 * const directory = join(mkdtempSync(join(tmpdir(), "eventfold-")), "cold")
 *
 * const program = Effect.gen(function* () {
 *   yield* EventStore.append("Order-1", [{ type: "OrderPlaced", payload: { total: 5 } }])
 *   yield* Retention.archive("Order-1", { reason: "closed" })
 *   const archive = yield* Archive.Archive
 *   return (yield* archive.read("Order-1", { from: 1, to: 1 })).map(({ type }) => type)
 * })
 *
 * const Live = Layer.mergeAll(
 *   EventStore.layerMemory,
 *   Checkpoints.layerMemory,
 *   Layer.provide(JsonlArchive.layer({ name: "cold", directory }), NodeFileSystem.layer)
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => ["OrderPlaced"]
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = (options: Options): Layer.Layer<Archive, ArchiveError, FileSystem.FileSystem> =>
  Layer.effect(Archive, make(options))
