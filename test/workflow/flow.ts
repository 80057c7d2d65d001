/**
 * The workflow that is run by processes which are killed: two commands, and between them an event that it waits for. Who approves may refuse, too: then
 * the first command is taken back by a third.
 */
import { Effect, Exit, Layer, Schema } from "effect"
import { DurableDeferred, Workflow } from "effect/workflow"
import { Aggregate, Command, Event, MessageBus, Repository } from "eventfold"
import { Workflows } from "eventfold/workflow"

const Requested = Event.make("Requested", {})
const Approved = Event.make("Approved", { by: Schema.String })
const Reserved = Event.make("Reserved", {})
const Released = Event.make("Released", {})
const Paid = Event.make("Paid", { approvedBy: Schema.String })

const Order = Aggregate.make("Order", {
  events: [Requested, Approved, Reserved, Released, Paid],
  initial: 0,
  evolve: { Requested: (n) => n, Approved: (n) => n, Reserved: (n) => n + 1, Released: (n) => n - 1, Paid: (n) => n + 1 }
})

const Reserve = Command.make("Reserve", { payload: { order: Schema.String } })
const Release = Command.make("Release", { payload: { order: Schema.String } })
const Pay = Command.make("Pay", { payload: { order: Schema.String, approvedBy: Schema.String }, success: Schema.Int })

export const Handlers = Layer.mergeAll(
  MessageBus.handle(Reserve, ({ order }) => Effect.asVoid(Repository.execute(Order, order, () => Reserved.make({})))),
  MessageBus.handle(Release, ({ order }) => Effect.asVoid(Repository.execute(Order, order, () => Released.make({})))),
  MessageBus.handle(Pay, ({ approvedBy, order }) =>
    Effect.map(
      Repository.execute(Order, order, () => Paid.make({ approvedBy })),
      ({ state }) => state
    )
  )
)

const Approval = DurableDeferred.make("approval", { success: Schema.String })
const Fulfil = Workflow.make("Fulfil", {
  payload: { order: Schema.String },
  success: Schema.Int,
  error: Schema.Literal("refused"),
  idempotencyKey: ({ order }) => order
})

const orderOf = (stream: string) => stream.slice("Order-".length)

export const Flows = Layer.mergeAll(
  Workflows.startedBy(Fulfil, Requested, {
    name: "starts",
    lease: "2 seconds",
    payload: (_, { event }) => ({ order: orderOf(event.stream) })
  }),
  Workflows.completedBy(Approval, Approved, {
    name: "approvals",
    lease: "2 seconds",
    token: (_, { event }) =>
      DurableDeferred.tokenFromPayload(Approval, { workflow: Fulfil, payload: { order: orderOf(event.stream) } }),
    exit: ({ by }) => Exit.succeed(by)
  })
).pipe(
  Layer.provideMerge(
    Workflows.toLayer(Fulfil, ({ order }) =>
      Effect.gen(function* () {
        yield* Workflows.commandActivity("reserve", Reserve, { order }).pipe(
          Workflow.withCompensation(() =>
            Effect.interruptible(Effect.orDie(Workflows.commandActivity("release", Release, { order })))
          )
        )
        const approvedBy = yield* DurableDeferred.await(Approval)
        if (approvedBy === "nobody") return yield* Effect.fail("refused" as const)
        return yield* Workflows.commandActivity("pay", Pay, { order, approvedBy })
      })
    )
  )
)
