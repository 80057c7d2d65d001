/**
 * The file written anew, with tombstones in the place of events: what they said shall not stand in it any more.
 *
 * Appends go on while what stands is copied, and wait only while what has come since is copied behind it and the new file takes the place of
 * the old: with one `rename`, when it is on the disk. So after a crash there is one of the two, whole.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import * as Scope from "effect/Scope"
import type * as Semaphore from "effect/Semaphore"
import type { EventStoreError } from "../store/EventStore.ts"
import { type Removal, stillClosed, tombstoneType } from "../store/kit/index.ts"
import { corrupted, failAs, readAt, syncDirectory, writeAll } from "./file.ts"
import { decodeLine, tombstoneLine } from "./line.ts"
import { load, type Log, makeLog, nothingIndexed, replaceSource } from "./log.ts"

const operation = "tombstone"
const chunkBytes = 1024 * 1024

/** Where a file is written anew: what stands there is of no use to anybody else. */
export const anewOf = (path: string): string => `${path}.eventfold-rewrite`

/** A file of a log that is closed by itself. */
export const openSource = Effect.fnUntraced(function* (
  fs: FileSystem.FileSystem,
  path: string,
  options: Parameters<FileSystem.FileSystem["open"]>[1]
) {
  const scope = yield* Scope.make()
  const file = yield* Effect.onError(Scope.provide(fs.open(path, options), scope), () => Scope.close(scope, Exit.void))
  return { file, close: Scope.close(scope, Exit.void) }
})

/** Copies what stands in `[from, to)` of a file behind another one. */
const copyBytes = Effect.fnUntraced(function* (
  from: FileSystem.File,
  to: FileSystem.File,
  begin: number,
  end: number
): Effect.fn.Return<void, EventStoreError> {
  for (let at = begin; at < end; at += chunkBytes) {
    const chunk = yield* readAt(operation, from, at, Math.min(chunkBytes, end - at))
    yield* failAs(operation, writeAll(to, chunk))
  }
})

/** Copies the events up to `end`, some of them as tombstones. Gives how many. */
const copyWithout = Effect.fnUntraced(function* (
  { path, source: { file, lookup } }: Log,
  to: FileSystem.File,
  removals: ReadonlyArray<Removal>,
  end: number
): Effect.fn.Return<number, EventStoreError> {
  let at = 0
  let changed = 0
  for (const { id, payload, position } of removals) {
    if (position > lookup.standing.head) continue
    const { length, offset } = lookup.at(position)
    if (offset + length > end) continue
    const line = decodeLine(yield* readAt(operation, file, offset, length))
    if (typeof line === "string") return yield* corrupted(operation, `line ${position} of ${path} is damaged: ${line}`)
    if (line.id !== id || line.type === tombstoneType) continue
    yield* copyBytes(file, to, at, offset)
    yield* failAs(operation, to.writeAll(Buffer.from(tombstoneLine(line, payload))))
    at = offset + length + 1
    changed++
  }
  yield* copyBytes(file, to, at, end)
  return changed
})

export const rewrite = (
  fs: FileSystem.FileSystem,
  log: Log,
  path: string,
  turn: Semaphore.Semaphore,
  wanted: ReadonlyArray<Removal>,
  closed: ReadonlyMap<string, number>
): Effect.Effect<number, EventStoreError> =>
  Effect.gen(function* () {
    const closedNow = () => stillClosed(wanted, closed, (stream) => log.source.lookup.standing.newest(stream).version)
    const removals = closedNow()
    const anew = anewOf(path)
    const { mode } = yield* failAs(operation, log.source.file.stat)
    yield* failAs(operation, fs.remove(anew, { force: true }))
    const { close, file } = yield* failAs(operation, openSource(fs, anew, { flag: "a+", mode: mode & 0o777 }))
    const next = makeLog(log.path, file, false, nothingIndexed(), close)
    let isInPlace = false
    const writing = Effect.gen(function* () {
      const end = log.end
      const changed = yield* copyWithout(log, file, removals, end)
      if (changed === 0) return 0
      yield* load(next)
      yield* failAs(operation, file.sync)
      const isDone = yield* turn.withPermit(
        Effect.uninterruptible(
          Effect.gen(function* () {
            // A stream was appended to meanwhile: it stays.
            if (closedNow().length < removals.length) return false
            yield* copyBytes(log.source.file, file, end, log.end)
            yield* load(next)
            yield* failAs(operation, file.sync)
            yield* failAs(operation, fs.rename(anew, path))
            isInPlace = true
            yield* replaceSource(log, next)
            return true
          })
        )
      )
      if (!isDone) return undefined
      yield* failAs(operation, syncDirectory(fs, path))
      return changed
    })
    const giveUp = Effect.suspend(() =>
      isInPlace ? Effect.void : Effect.andThen(Effect.ignore(fs.remove(anew, { force: true })), close)
    )
    const changed = yield* Effect.ensuring(writing, giveUp)
    return changed ?? (yield* rewrite(fs, log, path, turn, wanted, closed))
  })
