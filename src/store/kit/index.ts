/**
 * What authors of stores and checkpoints need.
 *
 * @since 0.2.0
 */
export { prepareName as prepareCheckpointName, prepareClaim, prepareAdvance, makeInMemory } from "./checkpoints.ts"
export {
  type PreparedEvent,
  type PreparedAppend,
  prepare,
  type PreparedRead,
  prepareRead,
  type PreparedReadAll,
  prepareReadAll,
  type PreparedReadPage,
  prepareReadPage,
  prepareStreams,
  prepareName
} from "./prepare.ts"
export { type Matchable, matches, matchesPrepared } from "./filter.ts"
export { type Standing, decide, type Write, makeBatch } from "./decide.ts"
export { type Pages, type EventPage, readsFromPages } from "./reads.ts"
export { type Indexable, type Index, makeIndex } from "./log.ts"
