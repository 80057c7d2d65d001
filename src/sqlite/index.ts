export * as SqliteClient from "./SqliteClient.ts"
export * as SqliteEventStore from "./SqliteEventStore.ts"
