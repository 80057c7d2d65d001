export * as JsonlEventStore from "./JsonlEventStore.ts"
