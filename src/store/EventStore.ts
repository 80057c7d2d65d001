/**
 * The event store: an append-only log of events, grouped in streams.
 *
 * What every store promises, whatever it is built on (the conformance suite in `eventfold/testing` asserts each line):
 *
 * 1. Versions are 1-based and dense per stream; an absent stream has version 0.
 * 2. Positions are 1-based, dense and in commit order: no gap ever, also after rollbacks and crashes. A reader that has seen
 *    position n has seen all below n.
 * 3. An append is all or nothing, across streams too. Of two appends that expect the same version exactly one wins.
 *    `ExpectedVersion.Any` never conflicts.
 * 4. An append whose every id already stands, in this order, in this stream succeeds and writes nothing, so a retry after a
 *    lost answer is safe. Any other reuse of an id is a `DuplicateEventError`.
 * 5. An append of no events is a no-op that reports the current version. A failed append writes nothing.
 * 6. Acknowledged means durable, for the stores that are durable.
 * 7. Bad input gets a typed error that says what is wrong and where.
 * 8. An append condition is checked under the same lock as the append.
 * 9. Interruption at any point leaks nothing and leaves the store usable.
 *
 * @since 0.1.0
 */
export {
  ExpectedVersion,
  type StreamAppend,
  type AppendResult,
  type Query,
  type Filter,
  type AppendCondition,
  type StreamInfo,
  type ReadOptions,
  type ReadAllOptions,
  type SubscribeOptions,
  type ReadPageOptions,
  type Page,
  type StreamsOptions,
  limits,
  streamName,
  categoryOf
} from "./model.ts"
export type { Metadata, NewEvent, RecordedEvent } from "../definitions/stored.ts"
export {
  OptimisticLockError,
  AppendConditionError,
  DuplicateEventError,
  InvalidAppendError,
  StoreUnavailable,
  OutcomeUnknown,
  TransactionConflict,
  StoreCorrupted,
  InvalidRead,
  StoreFailure,
  type EventStoreErrorReason,
  EventStoreError,
  type AppendError
} from "./errors.ts"
export { EventStore, append, appendAll, read, readAll, readPage, subscribe, version, exists, head, streams } from "./service.ts"
export { type CopyProgress, type CopyResult, CopyError, copy } from "./copy.ts"
export { make } from "./kit/make.ts"
export { makeMemory, layerMemory, layerSinkhole } from "./memory.ts"
export { type Fault, layerFaulty } from "./faulty.ts"
