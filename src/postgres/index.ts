export * as PgEventStore from "./PgEventStore.ts"
