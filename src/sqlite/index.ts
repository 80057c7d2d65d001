export * as SqliteCheckpoints from "./SqliteCheckpoints.ts"
export * as SqliteClient from "./SqliteClient.ts"
export * as SqliteEventStore from "./SqliteEventStore.ts"
