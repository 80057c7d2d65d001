/**
 * The event store and the checkpoints in files of JSON lines.
 *
 * @module eventfold/jsonl
 * @since 0.1.0
 */
export * as JsonlCheckpoints from "./JsonlCheckpoints.ts"
export * as JsonlEventStore from "./JsonlEventStore.ts"
