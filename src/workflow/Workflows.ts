/**
 * Workflows of `effect/workflow` that are started and woken by events, execute commands, and leave events of their own.
 *
 * A workflow is a procedure that outlives its process: the engine keeps what its activities gave, and after a crash the code runs again
 * from the start, past what is kept. It fits what takes long, waits for others and must be undone; a `ProcessManager` fits what is a fold over
 * the log. The guide "Process manager or workflow" compares them.
 *
 * `effect/workflow` is marked unstable: these functions may have to follow it in a minor release.
 *
 * @since 0.2.0
 */
export { commandActivity } from "./activities.ts"
export { completedBy, type CompletedByOptions, type FollowingOptions, startedBy, type StartedByOptions } from "./reacting.ts"
export { Ended, Started, streamOf, toLayer } from "./recording.ts"
