export * as PgCheckpoints from "./PgCheckpoints.ts"
export * as PgEventStore from "./PgEventStore.ts"
export * as PgLite from "./PgLite.ts"
export * as PgTransport from "./PgTransport.ts"
