/**
 * Conformance suites for adapters, and what helps to test a program of one's own.
 *
 * @module eventfold/testing
 * @since 0.1.0
 */
export * as CheckpointsConformance from "./CheckpointsConformance.ts"
export * as EventStoreConformance from "./EventStoreConformance.ts"
export * as Faults from "./Faults.ts"
export * as Scenario from "./Scenario.ts"
export * as TestIds from "./TestIds.ts"
export * as TransportConformance from "./TransportConformance.ts"
