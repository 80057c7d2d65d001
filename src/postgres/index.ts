/**
 * The event store, the checkpoints and the transport on PostgreSQL and PGlite.
 *
 * @module eventfold/postgres
 * @since 0.1.0
 */
export * as PgCheckpoints from "./PgCheckpoints.ts"
export * as PgEventStore from "./PgEventStore.ts"
export * as PgLite from "./PgLite.ts"
export * as PgRights from "./PgRights.ts"
export * as PgTenants from "./PgTenants.ts"
export * as PgTransport from "./PgTransport.ts"
