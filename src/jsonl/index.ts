/**
 * The event store, the checkpoints and the archive in files of JSON lines.
 *
 * @module eventfold/jsonl
 * @since 0.1.0
 */
export * as JsonlArchive from "./JsonlArchive.ts"
export * as JsonlCheckpoints from "./JsonlCheckpoints.ts"
export * as JsonlEventStore from "./JsonlEventStore.ts"
