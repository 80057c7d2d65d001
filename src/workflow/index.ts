/**
 * Events and commands for the workflows of `effect/workflow`.
 *
 * @module eventfold/workflow
 * @since 0.2.0
 */
export * as Workflows from "./Workflows.ts"
