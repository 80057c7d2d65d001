/**
 * What the files have in common: errors, the lock, and a directory that remembers.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import { dirname } from "node:path"
import * as EventStore from "../store/EventStore.ts"
import { acquireLock } from "./lock.ts"

/** What the system's errors mean to the store. All others are a `StoreFailure`. */
const reasons: { readonly [Tag in PlatformError["reason"]["_tag"]]?: typeof EventStore.StoreUnavailable } = {
  Busy: EventStore.StoreUnavailable,
  NotFound: EventStore.StoreUnavailable,
  TimedOut: EventStore.StoreUnavailable,
  WouldBlock: EventStore.StoreUnavailable
}

/** What the system calls it, as in `ENOSPC`. */
const codeOf = (error: unknown): string | undefined => {
  for (let cause = error; typeof cause === "object" && cause !== null; cause = (cause as { readonly cause?: unknown }).cause) {
    if ("code" in cause && typeof cause.code === "string") return cause.code
  }
  return undefined
}

export const failAs = <A, R>(
  operation: string,
  effect: Effect.Effect<A, PlatformError, R>
): Effect.Effect<A, EventStore.EventStoreError, R> =>
  Effect.mapError(effect, (error) => {
    const Reason = reasons[error.reason._tag] ?? EventStore.StoreFailure
    const code = codeOf(error)
    const detail = code === undefined || error.message.includes(code) ? error.message : `${error.message}: ${code}`
    return new EventStore.EventStoreError({ reason: new Reason({ operation, detail, cause: error }) })
  })

export const unavailable = (operation: string, detail: string) =>
  new EventStore.EventStoreError({ reason: new EventStore.StoreUnavailable({ operation, detail }) })

export const corrupted = (operation: string, detail: string) =>
  new EventStore.EventStoreError({ reason: new EventStore.StoreCorrupted({ operation, detail }) })

/** Keeps other writers out of a file, which must exist, until the scope closes. */
export const lock = (fs: FileSystem.FileSystem, path: string): Effect.Effect<void, EventStore.EventStoreError, Scope.Scope> =>
  Effect.flatMap(fs.realPath(path), (path) => acquireLock(fs, path)).pipe(
    Effect.catchTag("Locked", ({ lockFile, owner }) =>
      Effect.fail(unavailable("open", `${path} is open for writing in ${owner}, says ${lockFile}: it has one writer at a time`))
    ),
    Effect.catchTag("PlatformError", (error) => failAs("open", Effect.fail(error)))
  )

/** What a disk says that has failed, or is full. */
const faults: ReadonlyArray<unknown> = ["EIO", "ENOSPC", "EDQUOT"]

/** Makes the directory remember the file under its name. Not every platform lets one sync a directory: it then does so by itself. */
export const syncDirectory = (fs: FileSystem.FileSystem, path: string): Effect.Effect<void, PlatformError> =>
  Effect.catchIf(
    Effect.scoped(Effect.flatMap(fs.open(dirname(path)), (directory) => directory.sync)),
    ({ reason: { cause } }) => !(Predicate.hasProperty(cause, "code") && faults.includes(cause.code)),
    () => Effect.void
  )

/** The most bytes that are asked of a file at once. */
const mostBytes = 64 * 1024 * 1024

/** Fills a buffer from a place of a file on. Returns what was read: less where the file ends. */
export const readInto = Effect.fnUntraced(function* (file: FileSystem.File, buffer: Uint8Array, offset: number) {
  let filled = 0
  while (filled < buffer.length) {
    const read = yield* file.read(buffer.subarray(filled, filled + mostBytes), { position: BigInt(offset + filled) })
    if (read === 0) break
    filled += read
  }
  return buffer.subarray(0, filled)
})

/** Writes a buffer of any size at the end of a file. */
export const writeAll = (file: FileSystem.File, buffer: Uint8Array): Effect.Effect<void, PlatformError> => {
  const parts = Array.from({ length: Math.ceil(buffer.length / mostBytes) }, (_, nth) =>
    buffer.subarray(nth * mostBytes, (nth + 1) * mostBytes)
  )
  return Effect.forEach(parts, (part) => file.writeAll(part), { discard: true })
}

/** What stands in a file from a place on. */
export const readAt = (
  operation: string,
  file: FileSystem.File,
  offset: number,
  length: number
): Effect.Effect<Buffer, EventStore.EventStoreError> =>
  Effect.suspend(() => {
    const buffer = Buffer.allocUnsafe(length)
    return Effect.map(failAs(operation, readInto(file, buffer, offset)), ({ length }) => buffer.subarray(0, length))
  })
