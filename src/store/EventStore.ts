/**
 * The event store: an append-only log of events, grouped in streams.
 *
 * What every store promises, whatever it is built on (the conformance suite in `eventfold/testing` asserts each line):
 *
 * 1. Versions are 1-based and dense per stream; an absent stream has version 0.
 * 2. Positions are 1-based, dense and in commit order: no gap ever, also after rollbacks and crashes. A reader that has seen
 *    position n has seen all below n.
 * 3. An append is all or nothing, across streams too. Of two appends that expect the same version exactly one wins.
 *    `ExpectedVersion.Any` never conflicts. What a part without events expects must hold where other parts write.
 * 4. The same append again (the same ids, with the same types and payloads, in this order, in this stream) succeeds and writes
 *    nothing, so a retry after a lost answer is safe. Any other reuse of an id is a `DuplicateEventError`. Tags, metadata, schema
 *    version and time do not count, nor does the order of a payload's keys: what was written first stays.
 * 5. An append of no events is a no-op that reports the current version. A failed append writes nothing.
 * 6. Acknowledged means durable, for the stores that are durable.
 * 7. Bad input gets a typed error that says what is wrong and where.
 * 8. Append conditions are checked under the same lock as the append; of several all must hold.
 * 9. Interruption at any point leaks nothing and leaves the store usable.
 *
 * @since 0.1.0
 */
// The service, and its operations as functions.
export {
  EventStore,
  append,
  appendAll,
  exists,
  find,
  head,
  read,
  readAll,
  readBoundary,
  readPage,
  streams,
  subscribe,
  version
} from "./service.ts"
export { asStored } from "./service.ts"
export type { Sealed, StoreTables } from "./service.ts"
export type { ChainLink, Maintenance } from "./maintenance.ts"
export { isTombstone, type Tombstone } from "./tombstone.ts"

// What is appended, and what comes back.
export type { Metadata, NewEvent, RecordedEvent } from "../definitions/stored.ts"
export { categoryOf } from "../definitions/stored.ts"
export { streamName } from "../definitions/names.ts"
export { ExpectedVersion, limits } from "./model.ts"
export type { AppendCondition, AppendResult, Filter, Query, StreamAppend, StreamInfo } from "./model.ts"
export type { Boundary, BoundaryQuery, ReadBoundaryOptions } from "./model.ts"
export type { Page, ReadAllOptions, ReadOptions, ReadPageOptions, StreamsOptions, SubscribeOptions } from "./model.ts"

// What an append is refused for, and how the storage fails.
export { AppendConditionError, DuplicateEventError, InvalidAppendError, OptimisticLockError } from "./errors.ts"
export {
  EventsArchived,
  EventsRemoved,
  EventStoreError,
  InvalidRead,
  OutcomeUnknown,
  StoreCorrupted,
  StoreFailure
} from "./errors.ts"
export { StoreUnavailable, TransactionConflict } from "./errors.ts"
export type { AppendError, EventStoreErrorReason } from "./errors.ts"

// Stores.
export { layerMemory, layerMemoryWith, layerSinkhole, makeMemory, makeMemoryWith, type MemoryOptions } from "./memory.ts"
export { layerFaulty, type Fault } from "./faulty.ts"
export { copy, CopyError, type CopyProgress, type CopyResult } from "./copy.ts"
export { make } from "./kit/make.ts"

// Whether a store holds what was appended to it.
export { type Finding, IntegrityError, type Verification, verify, type VerifyOptions } from "./verify.ts"
export { isSignedBy, SignedHead, signHead } from "./signing.ts"
