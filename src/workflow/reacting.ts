import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import type * as Schema from "effect/Schema"
import * as DurableDeferred from "effect/workflow/DurableDeferred"
import type * as Workflow from "effect/workflow/Workflow"
import type { WorkflowEngine } from "effect/workflow/WorkflowEngine"
import type * as Event from "../definitions/Event.ts"
import * as Subscription from "../following/Subscription.ts"

/**
 * How the log is followed: as of `Subscription.layer`, and never in a transaction, which the engine of the workflows would not be part of.
 *
 * @category models
 * @since 0.2.0
 */
export interface FollowingOptions<P extends Subscription.OnFailure> extends Omit<
  Subscription.Options<P, false>,
  "transactional"
> {}

/**
 * How events start a workflow: see {@link startedBy}.
 *
 * @category models
 * @since 0.2.0
 */
export interface StartedByOptions<
  Ev extends Event.Any,
  Payload extends Workflow.AnyStructSchema,
  P extends Subscription.OnFailure
> extends FollowingOptions<P> {
  /** What the workflow is started with; nothing where the event starts none. Its `idempotencyKey` tells one execution from another. */
  readonly payload: (event: Ev["Type"], delivery: Subscription.Delivery) => Payload["~type.make.in"] | undefined
}

/**
 * How events complete what workflows wait for: see {@link completedBy}.
 *
 * @category models
 * @since 0.2.0
 */
export interface CompletedByOptions<
  Ev extends Event.Any,
  Success extends Schema.Constraint,
  Error extends Schema.Constraint,
  P extends Subscription.OnFailure
> extends FollowingOptions<P> {
  /** Which execution waits for the event; none where nobody does. `DurableDeferred.tokenFromPayload` finds it by what its workflow was started with. */
  readonly token: (
    event: Ev["Type"],
    delivery: Subscription.Delivery
  ) => Effect.Effect<DurableDeferred.Token> | DurableDeferred.Token | undefined
  /** What it has waited for, or what that failed with. */
  readonly exit: (event: Ev["Type"], delivery: Subscription.Delivery) => Exit.Exit<Success["Type"], Error["Type"]>
}

const follow = <Ev extends Event.Any, P extends Subscription.OnFailure, R>(
  event: Ev,
  options: FollowingOptions<P>,
  handle: (event: Ev["Type"], delivery: Subscription.Delivery) => Effect.Effect<unknown, never, R>
): Layer.Layer<never, never, Subscription.Requirements<R, P, false>> => {
  const typed = { ...options, transactional: false, events: [event], handlers: { [event.type]: handle } }
  // One event, and one handler under its type.
  return Subscription.layer(typed as never) as never
}

/**
 * Starts a workflow for each event, as long as the Layer is open: a subscription with a checkpoint of its own. An event may be delivered again,
 * and the execution is still one: that of the workflow's `idempotencyKey`.
 *
 * It does not wait for the workflow. What the engine cannot take now, because its storage is away, is tried again until it can.
 *
 * ```ts
 * import { Effect, Layer, Queue, Schema } from "effect"
 * import { Workflow, WorkflowEngine } from "effect/workflow"
 * import { Checkpoints, Event, EventStore } from "eventfold"
 * import { Workflows } from "eventfold/workflow"
 *
 * const Placed = Event.make("Placed", { total: Schema.Int })
 * const Fulfil = Workflow.make("Fulfil", {
 *   payload: { order: Schema.String, total: Schema.Int },
 *   idempotencyKey: ({ order }) => order
 * })
 *
 * const program = Effect.gen(function* () {
 *   const fulfilled = yield* Queue.unbounded<string>()
 *   const Live = Workflows.startedBy(Fulfil, Placed, {
 *     name: "fulfilment",
 *     payload: ({ total }, { event }) => ({ order: event.stream, total })
 *   }).pipe(
 *     Layer.provideMerge(Fulfil.toLayer(({ order }) => Queue.offer(fulfilled, order).pipe(Effect.asVoid))),
 *     Layer.provideMerge(WorkflowEngine.layerMemory)
 *   )
 *   yield* Layer.build(Live)
 *   yield* EventStore.append("Order-1", [{ type: "Placed", payload: { total: 5 } }])
 *   return yield* Queue.take(fulfilled)
 * })
 *
 * const Stores = Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory)
 * await Effect.runPromise(Effect.scoped(Effect.provide(program, Stores))) // => "Order-1"
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const startedBy = <
  const Tag extends string,
  Payload extends Workflow.AnyStructSchema,
  Success extends Schema.Top,
  Error extends Schema.Top,
  Ev extends Event.Any,
  const P extends Subscription.OnFailure = "halt"
>(
  workflow: Workflow.Workflow<Tag, Payload, Success, Error>,
  event: Ev,
  { payload, ...options }: StartedByOptions<Ev, Payload, P>
): Layer.Layer<
  never,
  never,
  Subscription.Requirements<
    WorkflowEngine | Payload["EncodingServices"] | Success["DecodingServices"] | Error["DecodingServices"],
    P,
    false
  >
> =>
  follow(event, options, (event, delivery) => {
    const started = payload(event, delivery)
    return started === undefined ? Effect.void : workflow.execute(started, { discard: true })
  })

/**
 * Completes a `DurableDeferred` by an event, and so wakes the execution that waits for it, as long as the Layer is open: a subscription
 * with a checkpoint of its own. The first completion stands: an event that is delivered again changes nothing. One that comes before the
 * workflow waits for it is found when it does.
 *
 * ```ts
 * import { Effect, Exit, Layer, Schema } from "effect"
 * import { DurableDeferred, Workflow, WorkflowEngine } from "effect/workflow"
 * import { Checkpoints, Event, EventStore } from "eventfold"
 * import { Workflows } from "eventfold/workflow"
 *
 * const Paid = Event.make("Paid", { amount: Schema.Int })
 * const Payment = DurableDeferred.make("payment", { success: Schema.Int })
 * const Fulfil = Workflow.make("Fulfil", {
 *   payload: { order: Schema.String },
 *   success: Schema.Int,
 *   idempotencyKey: ({ order }) => order
 * })
 *
 * const Live = Workflows.completedBy(Payment, Paid, {
 *   name: "payments",
 *   token: (_, { event }) => DurableDeferred.tokenFromPayload(Payment, { workflow: Fulfil, payload: { order: event.stream } }),
 *   exit: ({ amount }) => Exit.succeed(amount)
 * }).pipe(
 *   Layer.provideMerge(Fulfil.toLayer(() => DurableDeferred.await(Payment))),
 *   Layer.provideMerge(WorkflowEngine.layerMemory),
 *   Layer.provideMerge(Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory))
 * )
 *
 * const program = Effect.gen(function* () {
 *   yield* Fulfil.execute({ order: "Order-1" }, { discard: true })
 *   yield* EventStore.append("Order-1", [{ type: "Paid", payload: { amount: 5 } }])
 *   return yield* Fulfil.execute({ order: "Order-1" })
 * })
 * await Effect.runPromise(Effect.provide(program, Live)) // => 5
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const completedBy = <
  Success extends Schema.Constraint,
  Error extends Schema.Constraint,
  Ev extends Event.Any,
  const P extends Subscription.OnFailure = "halt"
>(
  deferred: DurableDeferred.DurableDeferred<Success, Error>,
  event: Ev,
  { exit, token, ...options }: CompletedByOptions<Ev, Success, Error, P>
): Layer.Layer<
  never,
  never,
  Subscription.Requirements<WorkflowEngine | Success["EncodingServices"] | Error["EncodingServices"], P, false>
> =>
  follow(event, options, (event, delivery) =>
    Effect.gen(function* () {
      const found = token(event, delivery)
      if (found === undefined) return
      const whose = Effect.isEffect(found) ? yield* found : found
      yield* DurableDeferred.done(deferred, { token: whose, exit: exit(event, delivery) })
    })
  )
