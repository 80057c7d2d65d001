export * as EventStoreConformance from "./EventStoreConformance.ts"
