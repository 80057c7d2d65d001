export * as CheckpointsConformance from "./CheckpointsConformance.ts"
export * as EventStoreConformance from "./EventStoreConformance.ts"
export * as Scenario from "./Scenario.ts"
export * as TransportConformance from "./TransportConformance.ts"
