import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type * as Command from "../definitions/Command.ts"
import * as Event from "../definitions/Event.ts"
import { isSame, mayBeOf } from "../definitions/listing.ts"
import { provideBuilt } from "../definitions/services.ts"
import {
  type Call,
  DuplicateHandlerError,
  type Envelope,
  type Handler,
  handlerKey,
  type HandlerService,
  MessageBus,
  type Reply
} from "./bus.ts"
import type { Around, CommitError, Transaction } from "./transaction.ts"

/** The commands that have a handler in one build of Layers. */
const handled = new WeakMap<Layer.MemoMap, Set<string>>()

/**
 * What handles a command.
 *
 * @category models
 * @since 0.2.0
 */
export type CommandHandler<C extends Command.Any, R> = (
  payload: Command.Payload<C>
) => Effect.Effect<Command.Success<C>, Command.Error<C> | CommitError, R>

/**
 * The handler of a command, as a Layer. Building two handlers of one command together is a defect (`DuplicateHandlerError`).
 *
 * What the handler needs is required by the Layer, save the transaction, which each execution brings. The services are those that
 * the Layer was built with, whatever the caller has; spans, clock, log annotations and other references are the caller's. It may
 * fail with the command's own error, and with what a unit of work fails with. Where it requires a `SqlClient`, the Layer requires
 * `UnitOfWork.layerSql` as well, so that its rows commit with the events.
 *
 * An Effect that gives the handler is run once, when the Layer is built, in the Layer's scope: for what all executions share.
 *
 * ```ts
 * import { Effect, Layer, Ref, Schema } from "effect"
 * import { Command, EventStore, MessageBus, UnitOfWork } from "eventfold"
 *
 * const Draw = Command.make("Draw", { success: Schema.Int })
 *
 * const DrawLive = MessageBus.handle(
 *   Draw,
 *   Effect.gen(function* () {
 *     const number = yield* Ref.make(0)
 *     return () => Ref.updateAndGet(number, (n) => n + 1)
 *   })
 * )
 *
 * const program = Effect.andThen(MessageBus.execute(Draw, undefined), MessageBus.execute(Draw, undefined))
 *
 * const Live = DrawLive.pipe(
 *   Layer.provideMerge(MessageBus.layer),
 *   Layer.provideMerge(UnitOfWork.layer),
 *   Layer.provideMerge(EventStore.layerMemory)
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => 2
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const handle = <C extends Command.Any, R = never, E = never, RX = never>(
  command: C,
  handler: CommandHandler<C, R> | Effect.Effect<CommandHandler<C, R>, E, RX>
): Layer.Layer<Handler<C["_tag"]>, E, Around<R> | Exclude<RX, Scope.Scope>> =>
  Layer.fromBuildMemo((memoMap, scope) =>
    Effect.gen(function* () {
      const context = yield* Effect.context<Exclude<R, Transaction>>()
      const tag: C["_tag"] = command._tag
      const tags = handled.get(memoMap) ?? new Set()
      handled.set(memoMap, tags)
      if (tags.has(tag)) return yield* Effect.die(new DuplicateHandlerError({ command: tag }))
      tags.add(tag)
      yield* Scope.addFinalizer(
        scope,
        Effect.sync(() => tags.delete(tag))
      )
      const provide = provideBuilt<R, Transaction>(context)
      const run = Effect.isEffect(handler) ? yield* Scope.provide(handler, scope) : handler
      return Context.make(handlerKey(tag), {
        _tag: "Here",
        run: (payload) => provide(run(payload as Command.Payload<C>))
      })
    })
  )

/**
 * Declares that a command is handled elsewhere, as a Layer that takes the place of {@link handle}: `send` takes it there, and gives what became of it.
 * `ClusterBus.layerClient` of `eventfold/cluster` is made of it.
 *
 * The caller opens no unit of work for it, and the bus stores nothing of it here: both are done where it is handled. Inside of a unit of work it could not
 * be undone with it, and is refused: `CommandElsewhereError`, with the reason `inside`.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Command, EventStore, MessageBus, UnitOfWork } from "eventfold"
 *
 * const Greet = Command.make("Greet", { payload: { name: Schema.String }, success: Schema.String })
 *
 * const Elsewhere = MessageBus.handleElsewhere(Greet, ({ payload }) =>
 *   Effect.succeed({ outcome: "success" as const, value: `Hello, ${payload.name}`, position: 0 })
 * )
 * const program = Effect.gen(function* () {
 *   const greet = MessageBus.execute(Greet, { name: "Ada" })
 *   const refused = yield* Effect.flip(UnitOfWork.transact(greet))
 *   return [yield* greet, refused._tag]
 * })
 *
 * const Live = Elsewhere.pipe(
 *   Layer.provideMerge(MessageBus.layer),
 *   Layer.provideMerge(UnitOfWork.layer),
 *   Layer.provideMerge(EventStore.layerMemory)
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => ["Hello, Ada", "CommandElsewhereError"]
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const handleElsewhere = <C extends Command.Any, R = never>(
  command: C,
  send: (call: Call<Command.Payload<C>>) => Effect.Effect<Reply, CommitError, R>
): Layer.Layer<Handler<C["_tag"]>, never, R> =>
  Layer.effect(
    handlerKey<C["_tag"]>(command._tag),
    Effect.contextWith((context: Context.Context<R>) =>
      Effect.succeed<HandlerService>({
        _tag: "Elsewhere",
        // What this command is called with is typed by `execute`.
        send: (call) => Effect.provideContext(send(call as Call<Command.Payload<C>>), context)
      })
    )
  )

/**
 * A listener of an event, as a Layer: it runs in the transaction that staged the event, before the commit.
 *
 * It may stage more events and execute commands; its failure rolls everything back. Listeners of one event run one after the
 * other, in the order in which their Layers were built. For what shall happen after the commit, follow the log instead.
 *
 * Listeners hear of the events that are staged while the bus handles a message (a command, a published event, an event that went to
 * its listeners). What a unit of work stages without the bus has no listeners.
 *
 * It hears what was staged with the very definition that it listens to, and nothing of another definition that has the same type.
 * Events that were staged untyped, and those of a replay, are told apart as `Event.make` says.
 *
 * With `replay: true` it also hears the events of a {@link replay}; without, what it does is never repeated by one.
 *
 * @category layers
 * @since 0.1.0
 */
export const listen = <E extends Event.Any, A, Err extends CommitError, R>(
  event: E,
  listener: (event: E["Type"], envelope: Envelope) => Effect.Effect<A, Err, R>,
  options?: {
    /** Whether it takes part in replays. Default: `false`. */
    readonly replay?: boolean | undefined
  }
): Layer.Layer<never, never, MessageBus | Around<R>> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const provide = provideBuilt<R, Transaction>(yield* Effect.context<Exclude<R, Transaction>>())
      const bus = yield* MessageBus
      yield* Effect.acquireRelease(
        bus.subscribe({
          types: Event.storedTypes(event),
          replay: options?.replay ?? false,
          hears: (heard) =>
            heard._tag === "Event"
              ? isSame(heard.definition, event)
              : mayBeOf(event, { stream: heard.stream, type: heard.event.type }),
          run: (heard, envelope) => {
            const typed: Result.Result<E["Type"] | undefined, CommitError> =
              heard._tag === "Event"
                ? Result.succeed(heard.value as E["Type"])
                : Event.read(event, {
                    schemaVersion: 1,
                    position: 0,
                    ...heard.event,
                    stream: heard.stream,
                    version: heard.version ?? 0
                  })
            if (Result.isFailure(typed)) return Effect.fail(typed.failure)
            // What is stored under a type that it is split from may be none of its events.
            return typed.success === undefined ? Effect.void : provide(listener(typed.success, envelope))
          }
        }),
        (remove) => remove
      )
    })
  )
