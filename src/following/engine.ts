/**
 * The engine that follows, for other wings: what has a checkpoint runs on {@link makeFollower}; what has none settles, is steered and
 * is found in the same way.
 */
export { type Name } from "./follower.ts"
export { changesOf, type Controls, makeRegistries, type Registered, type Registry, stoppedBy } from "./followers.ts"
export { findFollower, findSubscription, followers, type LogFollower } from "./registry.ts"
export { type Follower, type Hand, makeFollower, type Status } from "./running.ts"
export { Failed, handling, isFailed, settle } from "./settling.ts"
