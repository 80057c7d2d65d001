export * as JsonlCheckpoints from "./JsonlCheckpoints.ts"
export * as JsonlEventStore from "./JsonlEventStore.ts"
