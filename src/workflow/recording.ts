import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Activity from "effect/workflow/Activity"
import * as Workflow from "effect/workflow/Workflow"
import type { WorkflowEngine, WorkflowInstance } from "effect/workflow/WorkflowEngine"
import * as Event from "../definitions/Event.ts"
import { defaultRestart } from "../internal/lifecycle.ts"
import { EventStore } from "../store/EventStore.ts"
import { inTransaction } from "./activities.ts"

/**
 * The first event of an execution, in the stream of {@link streamOf}.
 *
 * @category definitions
 * @since 0.2.0
 */
export const Started = Event.make("WorkflowStarted", {
  /** The name of the workflow. */
  workflow: Schema.String,
  /** Tells the executions of all workflows apart. */
  execution: Schema.String
})

/**
 * The last event of an execution, behind all that its compensations have done.
 *
 * @category definitions
 * @since 0.2.0
 */
export const Ended = Event.make("WorkflowEnded", {
  /** The name of the workflow. */
  workflow: Schema.String,
  /** As of the event by which it started. */
  execution: Schema.String,
  /** Whether it gave a result, failed (by an error of its own, or a defect), or was interrupted by somebody. */
  outcome: Schema.Literals(["succeeded", "failed", "interrupted"]),
  /** The tag of the error that it failed with, or the name of the defect; none otherwise. Never what they hold. */
  reason: Schema.NullOr(Schema.String)
})

/**
 * The stream that the start and the end of an execution stand in: `$workflow-<name>/<execution>`, where a `/` or a `%` in the name is escaped as in a URL.
 *
 * @category accessors
 * @since 0.2.0
 */
export const streamOf = (workflow: Workflow.Any, execution: string): string =>
  `$workflow-${workflow._tag.replaceAll("%", "%25").replaceAll("/", "%2F")}/${execution}`

const endOf = (exit: Exit.Exit<unknown, unknown>): Pick<typeof Ended.Type, "outcome" | "reason"> => {
  if (Exit.isSuccess(exit)) return { outcome: "succeeded", reason: null }
  if (Cause.hasInterruptsOnly(exit.cause)) return { outcome: "interrupted", reason: null }
  const error = Cause.squash(exit.cause)
  const isTagged = typeof error === "object" && error !== null && "_tag" in error && typeof error._tag === "string"
  return { outcome: "failed", reason: isTagged ? String(error._tag) : error instanceof Error ? error.name : typeof error }
}

/** Writes an event of an execution: by its id it is there once. Where the execution, run again, ends in another way, the first word stands. */
const append = <E extends Event.Any>(workflow: Workflow.Any, execution: string, definition: E, event: E["Type"]) =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const encoded = Result.getOrThrow(Event.encode(definition, event))
    const id = `${execution}/${definition.type}`
    yield* store.append(streamOf(workflow, execution), [{ ...encoded, id, metadata: { correlationId: execution } }]).pipe(
      Effect.retry({ while: ({ _tag }) => _tag === "EventStoreError", schedule: defaultRestart, times: 8 }),
      Effect.catchTag("DuplicateEventError", () => Effect.void),
      Effect.orDie
    )
  })

/** What is written first is an activity: an execution that is run again does not ask the store. */
const recordStart = (workflow: Workflow.Any, execution: string) =>
  Activity.make({
    name: `eventfold/${Started.type}`,
    annotations: inTransaction,
    execute: append(workflow, execution, Started, Started.make({ workflow: workflow._tag, execution }))
  })

/**
 * What is written last is none: a node that gives up the shard of an execution takes no new activity for it, and waits until what the execution
 * has begun has ended. A finalizer that waits for an activity then would keep the shard for ever. So it can be interrupted, too: another node
 * runs the execution to its end.
 */
const recordEnd = (workflow: Workflow.Any, execution: string, exit: Exit.Exit<unknown, unknown>) =>
  Effect.interruptible(append(workflow, execution, Ended, Ended.make({ workflow: workflow._tag, execution, ...endOf(exit) })))

/**
 * `workflow.toLayer`, with the start and the end of each execution as events ({@link Started}, {@link Ended}), so that they can be followed, projected and
 * audited as any others. Each stands in the log once, however often the execution was interrupted and run again. Their correlation id is
 * that of the execution, as it is for what its {@link commandActivity commands} write: `EventStore.readAll({ filter: { correlationId } })` is all
 * of it, in order.
 *
 * ```ts
 * import { Effect, Layer, Schema, Stream } from "effect"
 * import { Workflow, WorkflowEngine } from "effect/workflow"
 * import { EventStore } from "eventfold"
 * import { Workflows } from "eventfold/workflow"
 *
 * const Fulfil = Workflow.make("Fulfil", { payload: { order: Schema.String }, idempotencyKey: ({ order }) => order })
 * const Live = Workflows.toLayer(Fulfil, ({ order }) => (order === "none" ? Effect.die("no order") : Effect.void)).pipe(
 *   Layer.provideMerge(WorkflowEngine.layerMemory),
 *   Layer.provideMerge(EventStore.layerMemory)
 * )
 *
 * const program = Effect.gen(function* () {
 *   yield* Fulfil.execute({ order: "1" })
 *   yield* Fulfil.execute({ order: "1" })
 *   return (yield* Stream.runCollect(EventStore.readAll())).map(({ type }) => type)
 * })
 * await Effect.runPromise(Effect.provide(program, Live)) // => ["WorkflowStarted", "WorkflowEnded"]
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const toLayer = <
  Tag extends string,
  Payload extends Workflow.AnyStructSchema,
  Success extends Schema.Top,
  Error extends Schema.Top,
  R
>(
  workflow: Workflow.Workflow<Tag, Payload, Success, Error>,
  execute: (payload: Payload["Type"], executionId: string) => Effect.Effect<Success["Type"], Error["Type"], R>
): Layer.Layer<
  never,
  never,
  | EventStore
  | WorkflowEngine
  | Exclude<R, WorkflowEngine | WorkflowInstance | Workflow.Execution<Tag> | Scope.Scope>
  | Payload["DecodingServices"]
  | Payload["EncodingServices"]
  | Success["DecodingServices"]
  | Success["EncodingServices"]
  | Error["DecodingServices"]
  | Error["EncodingServices"]
> =>
  workflow.toLayer((payload, execution) =>
    Effect.gen(function* () {
      // What was added first is done last.
      yield* Workflow.addFinalizer((exit) => recordEnd(workflow, execution, exit))
      yield* recordStart(workflow, execution)
      return yield* execute(payload, execution)
    })
  )
