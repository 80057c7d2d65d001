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
 * - `chain` (on the last line of an append, where `chain` was asked for) is the digest of a link of the hash chain.
 * - `crc` comes last: the CRC-32 (as in zlib and PNG, eight hexadecimal digits) of the line's bytes before `,"crc"`.
 *
 * Appends that wait while the disk is busy are written together: one write and one fsync for all of them. In memory the store
 * keeps an index of the file (some hundred bytes an event, no payloads).
 *
 * **The index is kept** beside the file, in `<path>.eventfold-index`, when the store is closed and much has been written since it was
 * kept last, and on opening when much had to be looked through. The next opening reads it, compares the CRC-32 of all that it is of
 * with the file, and looks through what was appended behind that alone. An index that does not fit to the last byte (the file was
 * changed, or restored; the process was killed) or is damaged is not used: the file is looked through from its beginning. It says
 * nothing that the file does not, is readable by whoever may read the file, and may be deleted at any time. A copy of the file needs
 * none.
 *
 * **After a crash** the file may end in the middle of an append. Opening it for writing cuts that beginning off, logs a warning
 * and calls `onRepair`; nothing that was acknowledged is lost. Any other line that does not fit (its checksum, its position, its
 * version) is damage: opening fails with `StoreCorrupted`, which names the line, and the file is left as it is.
 *
 * **Where events are removed** (`Retention`), the file is written anew with tombstones in their place, beside it, in
 * `<path>.eventfold-rewrite`, and takes its place with one `rename`. Appends and readers go on meanwhile.
 *
 * **One writer, many readers.** A file named after its owner, `<path>.lock-<pid>-<start>-<host>`, keeps other writers out until
 * the Layer is closed; when the owner is dead, the next writer takes over. (Of a process on another host nothing can be known:
 * should it be dead, remove its file by hand.) With `access: "read"` any number of other processes follow the file while it
 * grows. They may see an event a moment before the disk has it.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { pausing } from "../internal/lasting.ts"
import { realSleep } from "../internal/realTime.ts"
import { makeSignal } from "../internal/signal.ts"
import * as EventStore from "../store/EventStore.ts"
import { type Driver, readsOfIndex, storeUntilClosed } from "../store/kit/index.ts"
import { linkBefore, links, openChain } from "./chain.ts"
import { failAs, lock, syncDirectory } from "./file.ts"
import { besideOf, discard, keep, readKept } from "./kept.ts"
import { fetchPage, load, type Log, makeLog, nothingIndexed, replaceSource, type Progress } from "./log.ts"
import { anewOf, openSource, rewrite } from "./rewriting.ts"
import { makeAppend, repair, type Repair } from "./writing.ts"

export type { Progress } from "./log.ts"
export type { Repair } from "./writing.ts"

/**
 * Which file, and what this process does with it.
 *
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
  /**
   * Whether to keep a hash chain over the events from now on, which `EventStore.verify` checks: the last line of each append has a `chain`. Once it
   * has begun it goes on, whoever opens the file. Default: as the file has it.
   */
  readonly chain?: boolean | undefined
  /** Called again and again while the file is looked through on opening: from its beginning again, if an index turns out not to fit. Default: nobody is told. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
  /** Called when the unfinished append at the end of the file has been cut off. Default: nobody is told. */
  readonly onRepair?: ((repair: Repair) => Effect.Effect<void>) | undefined
}

/**
 * Makes the store in the file at `path`.
 *
 * **When to use**: for a program with several stores; {@link layer} provides one.
 *
 * **Gotchas**: of the scope depends the lock of the file: another writer can open it when the scope is closed.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<EventStore.EventStore["Service"], EventStore.EventStoreError, FileSystem.FileSystem | Scope.Scope> {
  const fs = yield* FileSystem.FileSystem
  const { path } = options
  const writable = options.access !== "read"
  const { close, file } = yield* failAs("open", openSource(fs, path, { flag: writable ? "a+" : "r" }))
  yield* Effect.addFinalizer(() => Effect.suspend(() => log?.source.close ?? close))
  let log: Log | undefined
  if (writable) yield* lock(fs, path)

  // One file has one index, by whatever name it is opened.
  const place = yield* failAs("open", fs.realPath(path))
  const beside = besideOf(place)
  const kept = yield* readKept(fs, beside, file, options.onProgress)
  if (writable && kept === undefined) yield* discard(fs, beside)
  const opened = (log = makeLog(path, file, writable, kept ?? nothingIndexed(), close))
  const size = yield* load(opened, options.onProgress)
  return yield* writable ? openForWriting(fs, opened, place, size, kept?.end ?? 0, options) : openForReading(fs, opened, options)
})

const openForWriting = Effect.fnUntraced(function* (
  fs: FileSystem.FileSystem,
  log: Log,
  place: string,
  size: number,
  keptEnd: number,
  { chain: wanted = false, onRepair, path }: Options
): Effect.fn.Return<EventStore.EventStore["Service"], EventStore.EventStoreError, Scope.Scope> {
  const beside = besideOf(place)
  if (size > log.end) yield* repair(log, size, onRepair)
  // What a process was writing anew when it was ended.
  yield* Effect.ignore(fs.remove(anewOf(place), { force: true }))
  // The directory must know the file before an append is acknowledged.
  yield* failAs("open", syncDirectory(fs, path))
  const chain = yield* openChain(log, wanted)
  let known = yield* keep(fs, beside, log, keptEnd)
  // When nothing is written any more, and the file is still locked.
  yield* Effect.addFinalizer(() => keep(fs, beside, log, known))
  const signal = makeSignal()
  signal.notify(log.index.standing.head)
  const turn = Semaphore.makeUnsafe(1)
  const rewriting = Semaphore.makeUnsafe(1)
  const store = EventStore.make({
    ...readsOfIndex(log.index, (entries, operation) => fetchPage(log, entries, operation)),
    append: yield* makeAppend(log, signal, chain, turn),
    awaitBeyond: signal.beyond,
    heard: signal.position,
    maintenance: {
      // The whole file is written anew each time.
      batch: 100_000,
      tombstone: (removals, { closed }) =>
        Effect.tap(rewriting.withPermit(rewrite(fs, log, place, turn, removals, closed)), () => {
          // It has the tags of what is gone.
          known = 0
          return discard(fs, beside)
        }),
      links: (after, size) => links(log, after, size),
      linkBefore: (upTo) => linkBefore(log, upTo)
    }
  })
  return yield* storeUntilClosed(store)
})

/** A reader looks for what the writer has added; the writer itself knows. */
const openForReading = Effect.fnUntraced(function* (
  fs: FileSystem.FileSystem,
  log: Log,
  { path, pollInterval = "50 millis" }: Options
): Effect.fn.Return<EventStore.EventStore["Service"], EventStore.EventStoreError, Scope.Scope> {
  const signal = makeSignal()
  signal.notify(log.index.standing.head)
  const loading = Semaphore.makeUnsafe(1)
  let own = (yield* failAs("open", log.source.file.stat)).ino
  const look = Effect.gen(function* () {
    // The writer has removed events: another file stands there.
    const { ino } = yield* failAs("open", fs.stat(path))
    if (Option.getOrUndefined(ino) !== Option.getOrUndefined(own)) {
      const { close, file } = yield* failAs("open", openSource(fs, path, { flag: "r" }))
      const next = makeLog(path, file, false, nothingIndexed(), close)
      const stat = yield* Effect.onError(Effect.andThen(load(next), failAs("open", file.stat)), () => close)
      yield* replaceSource(log, next)
      own = stat.ino
    }
    yield* load(log)
    signal.notify(log.index.standing.head)
  })
  const refresh = loading.withPermit(look)
  const poll = Effect.forever(Effect.andThen(refresh, realSleep(pausing("JsonlEventStore: pollInterval", pollInterval))))
  const store = EventStore.make({
    ...readsOfIndex(log.index, (entries, operation) => fetchPage(log, entries, operation), refresh),
    append: refuseAppend(path),
    awaitBeyond: (position) => Effect.raceFirst(signal.beyond(position), poll),
    maintenance: {
      tombstone: () => refusal("tombstone", path),
      links: (after, size) => Effect.andThen(refresh, links(log, after, size)),
      linkBefore: (upTo) => Effect.andThen(refresh, linkBefore(log, upTo))
    }
  })
  return yield* storeUntilClosed(store)
})

const refusal = (operation: string, path: string) =>
  Effect.fail(
    new EventStore.EventStoreError({
      reason: new EventStore.StoreFailure({ operation, detail: `${path} has been opened for reading alone` })
    })
  )

const refuseAppend =
  (path: string): Driver["append"] =>
  (prepared) =>
    Effect.andThen(prepared, refusal("append", path))

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

/**
 * {@link layer} with options that come from the configuration: each of them, or all at once, is a `Config`.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<EventStore.EventStore, EventStore.EventStoreError | Config.ConfigError, FileSystem.FileSystem> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layer))
