import type * as DateTime from "effect/DateTime"
import { nameLength } from "../definitions/names.ts"
import type { NewEvent, RecordedEvent } from "../definitions/stored.ts"

/**
 * What an append expects of its stream before it writes.
 *
 * A number is the exact version of the last event (0 means: no stream). The default of every append is `ExpectedVersion.Any`.
 *
 * @category models
 * @since 0.1.0
 */
export type ExpectedVersion = number | ExpectedVersion.Any | ExpectedVersion.NoStream | ExpectedVersion.Exists

/**
 * The expectations that are not a number.
 *
 * @category models
 * @since 0.1.0
 */
export const ExpectedVersion = {
  /** No check: the append never conflicts, whatever the concurrency. */
  Any: "any",
  /** The stream must not exist; the same as expecting version 0. */
  NoStream: "no-stream",
  /** The stream must have at least one event. */
  Exists: "exists"
} as const

/**
 * The types of the expectations that are not a number.
 *
 * @category models
 * @since 0.1.0
 */
export declare namespace ExpectedVersion {
  /** No check at all. */
  export type Any = "any"
  /** The stream must not exist. */
  export type NoStream = "no-stream"
  /** The stream must have at least one event. */
  export type Exists = "exists"
}

/**
 * One stream's part of an `appendAll`.
 *
 * A stream may come more than once: each part sees the versions that the parts before it made. A part without events is a guard: what it
 * expects must hold where other parts write. Of an append that writes nothing nothing is checked, and a repetition succeeds all the same.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamAppend {
  readonly stream: string
  readonly events: ReadonlyArray<NewEvent>
  /** Default: `ExpectedVersion.Any`. */
  readonly expected?: ExpectedVersion
}

/**
 * What an append did to one stream.
 *
 * @category models
 * @since 0.1.0
 */
export interface AppendResult {
  readonly stream: string
  /** The version of the last event of the append; of the stream when the append was empty. */
  readonly version: number
  /** The position of that event, 0 when the stream is empty. */
  readonly position: number
  /** Whether the very same events stood in the stream already, so that nothing was written. */
  readonly deduplicated: boolean
}

/**
 * Which events: all given keys must hold (AND).
 *
 * @category models
 * @since 0.1.0
 */
export interface Query {
  /** Any of these stream categories. */
  readonly categories?: ReadonlyArray<string>
  /** Any of these event types. */
  readonly types?: ReadonlyArray<string>
  /** All of these tags. */
  readonly tags?: ReadonlyArray<string>
  /** Those that leave the process through a transport, or those that do not. */
  readonly published?: boolean
  /** This correlation id in the metadata. */
  readonly correlationId?: string
}

/**
 * One query, or several of which any must hold (OR).
 *
 * @category models
 * @since 0.1.0
 */
export type Filter = Query | ReadonlyArray<Query>

/**
 * What must not stand in the store for an append to succeed: an event newer than `after` that passes the filter. An append may have several
 * such conditions, each with its own `after`, and all must hold.
 *
 * @category models
 * @since 0.1.0
 */
export interface AppendCondition {
  readonly filter: Filter
  /** The newest position that the decision has seen. Default: 0, nothing at all. */
  readonly after?: number
  /**
   * The id of the event that was seen at `after`. Where that stands there no more, because the log was restored from a backup since, the condition does not
   * hold, whatever has come. Default: that is not checked.
   */
  readonly afterId?: string | undefined
}

/**
 * A stream that exists.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamInfo {
  readonly stream: string
  /** The part of the name before the first `-`. */
  readonly category: string
  /** The version of the newest event. */
  readonly version: number
  /** The position of the newest event. */
  readonly position: number
  /** The type of the newest event; `"$Tombstone"` where that was removed. */
  readonly type: string
  /** When the newest event was recorded: on the store's clock, in milliseconds. */
  readonly recordedAt: DateTime.Utc
}

/**
 * What a read of one stream returns: everything, from the first event on, unless told otherwise.
 *
 * A read returns what stands in the store when it begins, so it ends even if its consumer appends.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReadOptions {
  /** The lowest version to return (inclusive). Default: 1. */
  readonly from?: number | undefined
  /** The highest version to return (inclusive). Default: the newest. */
  readonly to?: number | undefined
  /**
   * The stream as it was at that instant: its events up to the last one recorded by then. Order is by version, never by time:
   * where a clock went backwards the result still is a prefix of the stream. Default: as it is now.
   */
  readonly until?: DateTime.Utc | undefined
  /** `"backward"` returns the newest event first. Default: `"forward"`. */
  readonly direction?: "forward" | "backward" | undefined
  /** The most events to return. Default: no bound. */
  readonly limit?: number | undefined
}

/**
 * What a read of the whole store returns: everything in position order, unless told otherwise.
 *
 * A read returns what stands in the store when it begins, so it ends even if its consumer appends.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReadAllOptions {
  /** Only events beyond this position; read backward, only events before it. Default: from the end where the read begins. */
  readonly after?: number | undefined
  /** Only events up to this position (inclusive). Default: the newest. */
  readonly upTo?: number | undefined
  /** Which events to return. Default: all. */
  readonly filter?: Filter | undefined
  /** `"backward"` returns the newest event first. Default: `"forward"`. */
  readonly direction?: "forward" | "backward" | undefined
  /** The most events to return: what passed the filter is counted. Default: no bound. */
  readonly limit?: number | undefined
}

/**
 * What a subscription delivers: the whole history and what comes after it, unless told otherwise.
 *
 * @category models
 * @since 0.1.0
 */
export interface SubscribeOptions {
  /** Start after this position, or at the present `"end"`. Default: 0, the whole history first. */
  readonly after?: number | "end" | undefined
  /** Which events to deliver. Default: all. */
  readonly filter?: Filter | undefined
}

/**
 * Which part of the log {@link EventStore.readPage} reads.
 *
 * @category models
 * @since 0.2.0
 */
export interface ReadPageOptions {
  /** The position behind which the page begins (exclusive). Default: 0, the beginning of the log. */
  readonly after?: number | undefined
  /** The position that the page does not go beyond (inclusive). Default: the head. */
  readonly upTo?: number | undefined
  /** Which events the page shall hold. Default: all. */
  readonly filter?: Filter | undefined
  /** The most events of the page, at least 1: what passed the filter is counted. Default: 64. */
  readonly size?: number | undefined
}

/**
 * A page of the log, and how far it has read.
 *
 * @category models
 * @since 0.2.0
 */
export interface Page {
  /** What passes the filter, by position: every such event beyond `after` and up to `position`. */
  readonly events: ReadonlyArray<RecordedEvent>
  /**
   * How far the log has been read: where the next page begins. Never below `after`. A page that is not full may end before the head: it
   * looks for half a second at most, and what comes next may take longer to find.
   */
  readonly position: number
  /**
   * The position of the newest event when the page was read, 0 when the store is empty. The log is read to its end when `position` is
   * not below it. A `head` below `after` says that the log ends before `after`: it is not the log that `after` was taken from.
   */
  readonly head: number
}

/**
 * One question of {@link EventStore.readBoundary}.
 *
 * @category models
 * @since 0.2.0
 */
export interface BoundaryQuery {
  /** Which events. */
  readonly filter: Filter
  /** Only events beyond this position. Default: 0, from the beginning. */
  readonly after?: number | undefined
  /** Whether the newest of them alone is wanted. Default: `false`. */
  readonly newest?: boolean | undefined
}

/**
 * How much {@link EventStore.readBoundary} reads.
 *
 * @category models
 * @since 0.2.0
 */
export interface ReadBoundaryOptions {
  /** The position that is not gone beyond (inclusive). Default: the head. */
  readonly upTo?: number | undefined
  /** The most events that answer one question, at least 1. Default: 256. */
  readonly size?: number | undefined
}

/**
 * What passes several filters as of one position of the log: what a decision is made on.
 *
 * @category models
 * @since 0.2.0
 */
export interface Boundary {
  /**
   * The position of the newest event when all of this was read, or `upTo`, if that is less: every event that passes a filter and is not
   * among the answers lies beyond it.
   */
  readonly position: number
  /** What answers each question, in the order of the questions. */
  readonly answers: ReadonlyArray<{
    /** By position; the first of them where there are more than `size`. */
    readonly events: ReadonlyArray<RecordedEvent>
    /** Whether there are no more: otherwise `readAll` up to `position` gives those that come after the last of these. */
    readonly complete: boolean
  }>
}

/**
 * Which streams are listed: all, unless told otherwise.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamsOptions {
  /** Only streams of this category. Default: of all. */
  readonly category?: string | undefined
  /** Only streams whose name sorts after this one (by code point). Default: from the first name on. */
  readonly after?: string | undefined
  /** The most streams to list. Default: no bound. */
  readonly limit?: number | undefined
}

/**
 * The bounds that every store enforces alike.
 *
 * @category models
 * @since 0.1.0
 */
export const limits = {
  /** Characters (UTF-16 code units) of a stream's name, an event's id, a type or a tag. */
  nameLength,
  /** Bytes (UTF-8) of a payload as JSON text. */
  payloadBytes: 8 * 1024 * 1024,
  /** Bytes (UTF-8) of the metadata as JSON text. */
  metadataBytes: 1024 * 1024,
  /** Bytes (UTF-8) of all payloads and metadata of one append. */
  appendBytes: 256 * 1024 * 1024,
  /** Tags of one event. */
  tags: 64
} as const
