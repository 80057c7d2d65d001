/** What only maintenance does to a store. */
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { RecordedEvent } from "../definitions/stored.ts"
import type { AppendError, EventStoreError } from "./errors.ts"
import type { AppendResult, ReadAllOptions, ReadOptions, StreamAppend } from "./model.ts"

/**
 * A link of the hash chain: of the events behind `after` and up to `position`.
 *
 * @category integrity
 * @since 0.2.0
 */
export interface ChainLink {
  readonly after: number
  readonly position: number
  /** The SHA-256, in hexadecimal, of the digest of the link before (empty for the first) and those of the events, a line each. */
  readonly digest: string
}

/**
 * What a store can do beside appending and reading, for retention, copies and verification. Handlers have no business with it.
 *
 * @category retention
 * @since 0.2.0
 */
export interface Maintenance {
  /** What is stored of a stream, as it is stored, whatever stands over the store: an archive that is read through, keys that open what is sealed. */
  readonly read: (stream: string, options?: ReadOptions) => Stream.Stream<RecordedEvent, EventStoreError>
  /** The same of all streams. */
  readonly readAll: (options?: ReadAllOptions) => Stream.Stream<RecordedEvent, EventStoreError>
  /**
   * Puts tombstones in the place of these events, as `read` and `readAll` of this maintenance give them, all or nothing; durable when it succeeds. What is a tombstone already is
   * left as it is. Of streams in `closed` nothing is changed unless they are at the version there: no append comes between that look and the
   * removal. Gives how many were changed.
   */
  readonly tombstone: (
    events: ReadonlyArray<RecordedEvent>,
    options: {
      /** Why: it stands in the tombstone, for whoever reads it. */
      readonly reason: string
      /** The name of the archive that they were moved to. Default: they are nowhere else. */
      readonly archive?: string | undefined
      /** The version that each of these streams must still be at, by its name: of one that has gone on nothing is removed. Default: none is looked at. */
      readonly closed?: ReadonlyMap<string, number> | undefined
    }
  ) => Effect.Effect<number, EventStoreError>
  /** An event that was read as its row has it: digests are made of that. Where a store is a part of another one, names are longer there. */
  readonly stored: (event: RecordedEvent) => RecordedEvent
  /** The position of the newest tombstone, found without looking through the log; 0 where there is none. */
  readonly newestTombstone: Effect.Effect<number, EventStoreError>
  /** About how many events one call of `tombstone` shall have: a store that writes its file anew wants many. */
  readonly batch: number
  /** `appendAll` for copies: there may be tombstones among the events. */
  readonly copyAll: (appends: ReadonlyArray<StreamAppend>) => Effect.Effect<ReadonlyArray<AppendResult>, AppendError>
  /** The links of the hash chain that end behind `after`, at most `size`, the first of them first. There are none where no chain is kept. */
  readonly links: (after: number, size: number) => Effect.Effect<ReadonlyArray<ChainLink>, EventStoreError>
  /** The newest link of the hash chain that does not end behind `upTo`. */
  readonly linkBefore: (upTo: number) => Effect.Effect<ChainLink | undefined, EventStoreError>
}
