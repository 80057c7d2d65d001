/**
 * What authors of stores and checkpoints need.
 *
 * @since 0.2.0
 */
export {
  prepareName as prepareCheckpointName,
  prepareClaim,
  prepareAdvance,
  seenAt,
  prepareReset,
  prepareVersion,
  prepareVersionPut
} from "./checkpoints.ts"
export { type KeptCheckpoints, makeInMemory } from "./memoryCheckpoints.ts"
export { type CheckpointStatements, type CheckpointDialect, type CheckpointMove, makeOnSql } from "./sqlCheckpoints.ts"
export { nameFault } from "./checks.ts"
export { closedStore, storeUntilClosed } from "./lifetime.ts"
export type { Driver } from "./make.ts"
export { type MaintenanceDriver, type Removal, stillClosed } from "./maintaining.ts"
export { linkText } from "../chain.ts"
export { digestText, keptDigest, tombstoneType } from "../tombstone.ts"
export type { ChainLink } from "../maintenance.ts"
export type { Pages } from "./reads.ts"
export { type PreparedAppend, type PreparedCondition, type PreparedEvent, type PreparedPart, prepare } from "./prepare.ts"
export type { PreparedBoundaryQuery, PreparedReadBoundary } from "./prepareRead.ts"
export { decide, type Located, makeBatch, type Standing, type Write } from "./decide.ts"
export { isFound } from "./scan.ts"
export { type Matchable, matches, matchesPrepared } from "./filter.ts"
export { type Index, type Indexable, infoOf, makeIndex, readsOfIndex } from "./log.ts"
export { cutToPage, type EventPage, pageBytes, pageCutBelow } from "./pages.ts"
export { eventPage, parseMetadata, parsePayload, recordedEvent, type StoredEvent, storedEvent, writePayload } from "./recorded.ts"
export { findNewest } from "./scan.ts"
export { makeSignal, type Signal } from "../../internal/signal.ts"
export { byMark, partition, type PartitionKind, type PartitionNames, partitionNames } from "./partition.ts"
