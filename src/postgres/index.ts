export * as PgEventStore from "./PgEventStore.ts"
export * as PgLite from "./PgLite.ts"
