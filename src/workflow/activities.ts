import * as ClusterSchema from "effect/cluster/ClusterSchema"
import * as Effect from "effect/Effect"
import type * as Rpc from "effect/rpc/Rpc"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Activity from "effect/workflow/Activity"
import { WorkflowInstance } from "effect/workflow/WorkflowEngine"
import * as MessageBus from "../deciding/MessageBus.ts"
import { CommitError, retryConflicts } from "../deciding/UnitOfWork.ts"
import type * as Command from "../definitions/Command.ts"
import { isInTransaction } from "../store/inTransaction.ts"

/** What an engine on a SQL database keeps of the activity commits with what the activity does in that database. */
export const inTransaction = ClusterSchema.WithTransaction.context(true)

const isCommitError = Schema.is(CommitError)

/** Whether it is worth a try a little later. */
const isOutage = (error: unknown): boolean => {
  if (!isCommitError(error)) return false
  if (error._tag === "CommandElsewhereError") return error.reason === "full" || error.reason === "unanswered"
  return error._tag === "EventStoreError" && ["StoreUnavailable", "OutcomeUnknown"].includes(error.reason._tag)
}

/** Half a minute, all in all. */
const patience = Schedule.max([Schedule.exponential("100 millis"), Schedule.recurs(8)])

/**
 * A command as an activity of a workflow. It takes effect once in each execution of the workflow, however often that is interrupted and run
 * again.
 *
 * Where the engine keeps its messages in the database of the event store (`SqlMessageStorage` and `UnitOfWork.layerSql` on one `SqlClient`),
 * the events and the result of the activity are one commit. With another store, or a command that is handled elsewhere (`MessageBus.handleElsewhere`,
 * `ClusterBus.layerClient`), the command is executed under an id, as of `MessageBus.execute`: the answer stands with the events, and a repetition finds it. Which of
 * both it is, is seen by itself.
 *
 * The command's own error is the activity's, and is kept as its result. What lost a race is decided again, up to ten times; a store that is away,
 * or somebody elsewhere who does not answer, is asked again for half a minute. What a unit of work fails with beyond that is a defect of the workflow.
 *
 * **Gotchas**: an execution tells its activities apart by their names, so each has one of its own. A handler that runs here may hold a
 * transaction: nothing that takes long belongs in it. In a compensation or a finalizer it stands in `Effect.interruptible`, so that the node can give the shard of
 * the execution to another one.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Workflow, WorkflowEngine } from "effect/workflow"
 * import { Command, EventStore, MessageBus, UnitOfWork } from "eventfold"
 * import { Workflows } from "eventfold/workflow"
 *
 * const Reserve = Command.make("Reserve", { payload: { order: Schema.String }, success: Schema.Int })
 * const ReserveLive = MessageBus.handle(Reserve, ({ order }) => Effect.succeed(order.length))
 *
 * const Fulfil = Workflow.make("Fulfil", {
 *   payload: { order: Schema.String },
 *   success: Schema.Int,
 *   idempotencyKey: ({ order }) => order
 * })
 * const FulfilLive = Fulfil.toLayer(({ order }) => Workflows.commandActivity("reserve", Reserve, { order }))
 *
 * const Live = FulfilLive.pipe(
 *   Layer.provideMerge(WorkflowEngine.layerMemory),
 *   Layer.provideMerge(ReserveLive),
 *   Layer.provideMerge(MessageBus.layer),
 *   Layer.provideMerge(UnitOfWork.layer),
 *   Layer.provideMerge(EventStore.layerMemory)
 * )
 * await Effect.runPromise(Effect.provide(Fulfil.execute({ order: "1234" }), Live)) // => 4
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const commandActivity = <C extends Command.Any>(
  /** Names the activity within an execution of the workflow. */
  name: string,
  command: C,
  payload: Command.PayloadInput<C>
): Activity.Activity<Rpc.SuccessSchema<C>, Rpc.ErrorSchema<C>, MessageBus.MessageBus | MessageBus.Handler<C["_tag"]>> => {
  const isOwn = Schema.is(command.errorSchema)
  const execute = Effect.gen(function* () {
    const { executionId } = yield* WorkflowInstance
    const attempt = yield* Activity.CurrentAttempt
    const { unitOfWork } = yield* MessageBus.MessageBus
    const isPart = isInTransaction(unitOfWork.store, yield* Effect.context<never>()) && !(yield* MessageBus.isElsewhere(command))
    const id = isPart ? undefined : `${executionId}/${name}/${attempt}`
    const decided = retryConflicts(MessageBus.execute(command, payload, { id, correlationId: executionId }), { times: 10 })
    // Its transaction is broken: the engine begins another.
    const executed = isPart ? decided : Effect.retry(decided, { while: isOutage, schedule: patience })
    return yield* Effect.catch(executed, (error) => (isOwn(error) ? Effect.fail(error) : Effect.die(error)))
  })
  return Activity.make({
    name,
    success: command.successSchema as Rpc.SuccessSchema<C>,
    error: command.errorSchema as Rpc.ErrorSchema<C>,
    annotations: inTransaction,
    execute
  })
}
