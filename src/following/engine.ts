/**
 * The engine that follows, for other wings: what has a checkpoint runs on {@link makeFollower}; what has none settles, is steered and
 * is found in the same way.
 */
export { type Name } from "./follower.ts"
export { changesOf, makeRegistries, type Registered, type Registry, stoppedBy } from "./followers.ts"
export { allFollowers, findFollower, findSubscription, type LogFollower, register, statusNow } from "./registry.ts"
export { type WorkContext, type Status } from "./body.ts"
export { Inside, StillHeld } from "./handling.ts"
export { StillRunningError } from "./model.ts"
export { discardAll, type RemoveOptions, retire, seize } from "./retiring.ts"
export { checkSubscription } from "./checking.ts"
export { isOutage } from "./outages.ts"
export { readingOf } from "./reading.ts"
export { reasonOf, tellFailure } from "../sql/reasons.ts"
export { missedBeyond } from "./removed.ts"
export { makeFollower } from "./running.ts"
export { Failed, handling, isFailed, retrying, settle, telling, Unavailable, unlessInHandler } from "./settling.ts"
export { makeOwner } from "./spreading.ts"
