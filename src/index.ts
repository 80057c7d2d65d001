/**
 * Event sourcing for Effect: definitions, event stores, units of work, the message bus, and all that follows the log.
 *
 * @module eventfold
 * @since 0.1.0
 */
export * as Aggregate from "./definitions/Aggregate.ts"
export * as Answers from "./deciding/Answers.ts"
export * as Archive from "./store/Archive.ts"
export * as AuditTrail from "./store/AuditTrail.ts"
export * as Checkpoints from "./store/Checkpoints.ts"
export * as Command from "./definitions/Command.ts"
export * as Consumer from "./consuming/Consumer.ts"
export * as DeadLetters from "./consuming/DeadLetters.ts"
export * as Decider from "./definitions/Decider.ts"
export * as Decision from "./deciding/Decision.ts"
export * as Event from "./definitions/Event.ts"
export * as EventStore from "./store/EventStore.ts"
export * as Inbox from "./consuming/Inbox.ts"
export * as Keys from "./personal/Keys.ts"
export * as MessageBus from "./deciding/MessageBus.ts"
export * as ParkedEvents from "./store/ParkedEvents.ts"
export * as Personal from "./personal/Personal.ts"
export * as ProcessManager from "./processManager/ProcessManager.ts"
export * as Projection from "./projection/Projection.ts"
export * as Relay from "./following/Relay.ts"
export * as Repository from "./deciding/Repository.ts"
export * as Retention from "./retention/Retention.ts"
export * as Snapshots from "./store/Snapshots.ts"
export * as Subscription from "./following/Subscription.ts"
export * as Tag from "./definitions/Tag.ts"
export * as Tenants from "./tenants/Tenants.ts"
export * as Transport from "./consuming/Transport.ts"
export * as UnitOfWork from "./deciding/UnitOfWork.ts"
