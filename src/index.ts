export * as Aggregate from "./Aggregate.ts"
export * as Command from "./Command.ts"
export * as Event from "./Event.ts"
export * as EventStore from "./EventStore.ts"
