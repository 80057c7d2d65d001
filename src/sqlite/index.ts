/**
 * The event store and the checkpoints on SQLite, and a client on `node:sqlite`.
 *
 * @module eventfold/sqlite
 * @since 0.1.0
 */
export * as SqliteCheckpoints from "./SqliteCheckpoints.ts"
export * as SqliteClient from "./SqliteClient.ts"
export * as SqliteEventStore from "./SqliteEventStore.ts"
