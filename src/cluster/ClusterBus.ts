/**
 * Aggregates as entities of `effect/cluster`: each has one owner among the runners, which keeps its state, decides what comes for it one after the other, and
 * writes what it has decided in one append.
 *
 * ```text
 *   MessageBus.execute ──▶ layerClient ──▶ the runner that owns the aggregate ──▶ layerRunner ──▶ MessageBus.handle
 * ```
 *
 * The handlers stay as they are, and so does the program that executes commands: it is given `layerClient` in place of the handlers.
 *
 * It is for aggregates that are much used from several processes, and for long ones. Where many aggregates are each used a little, execution in any process
 * is as fast, for the database is shared in any case. In one process no cluster is needed: `UnitOfWork.layer` has queues of its own.
 *
 * `effect/cluster` is marked unstable: this may have to follow it in a minor release.
 *
 * @since 0.2.0
 */
export { type ClientOptions, layerClient } from "./client.ts"
export { type IdsOf, type Options } from "./options.ts"
export { layerPruning, prune, type PruneOptions } from "./pruning.ts"
export { layerRunner, type RunnerOptions } from "./runner.ts"
