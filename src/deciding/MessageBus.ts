/**
 * The message bus: commands to their one handler, events to any number of listeners, all in one unit of work.
 *
 * A command runs its handler; the events that the handler stages go to their listeners, which may stage more, first in, first
 * out, breadth first; then everything commits by one atomic append. A failing handler or listener rolls everything back.
 *
 * Handlers are Layers and a command that is executed requires its handler, so a forgotten handler does not compile.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Event from "../definitions/Event.ts"
import { isRecordOfCommand } from "../definitions/metadata.ts"
import type { Metadata, RecordedEvent } from "../definitions/stored.ts"
import { EventStore, type Filter } from "../store/EventStore.ts"
import { makeTurns } from "../internal/turns.ts"
import { Answers, inLog } from "./Answers.ts"
import { type Handler, handlerKey, type Listener, MessageBus, type Record } from "./bus.ts"
import { deliver, dispatching, message } from "./dispatching.ts"
import { type CommitError, Transaction, UnitOfWork } from "./transaction.ts"
import { transact } from "./UnitOfWork.ts"

export {
  type Call,
  CurrentMessage,
  DuplicateHandlerError,
  type Envelope,
  type Handler,
  MessageBus,
  type Record,
  type Reply
} from "./bus.ts"
export { TooManyMessagesError } from "./transaction.ts"
export { execute } from "./executing.ts"
export { type CommandHandler, handle, handleElsewhere, listen } from "./handlers.ts"
export { publicErrors, type PublicErrorsOptions, publicErrorsWith, serve, type ServingOptions, toRpcHandlers } from "./serving.ts"

/**
 * Whether a command is handled elsewhere, where it is part of nothing that is going on here.
 *
 * @internal
 */
export const isElsewhere = <Tag extends string>(command: { readonly _tag: Tag }): Effect.Effect<boolean, never, Handler<Tag>> =>
  Effect.map(handlerKey<Tag>(command._tag), ({ _tag }) => _tag === "Elsewhere")

/**
 * Publishes an event on the bus itself: one that belongs to no aggregate. It is stored in the stream of its conversation,
 * `$bus-<correlationId>`, goes to its listeners, and leaves the process if its definition says `published`.
 *
 * @category accessors
 * @since 0.1.0
 */
export const publish = <E extends Event.Any>(
  definition: E,
  event: E["Type"],
  options?: {
    /** Names the conversation. Default: that of the message being handled or of `UnitOfWork.CurrentMetadata`, else a new id. */
    readonly correlationId?: string | undefined
    /** Stored with the event and with every event that follows from it, beside `UnitOfWork.CurrentMetadata`. Default: none. */
    readonly metadata?: Metadata | undefined
  }
): Effect.Effect<void, CommitError, MessageBus> =>
  Effect.gen(function* () {
    const recorded = (yield* MessageBus).record !== "none" || definition.published
    const written = yield* Effect.fromResult(Event.write(definition, event))
    return yield* message({ _tag: "Event", type: definition.type, ...written, options, transient: !recorded }, Effect.void)
  })

/**
 * Lets the listeners that take part in replays (`MessageBus.listen(…, …, { replay: true })`) hear what stands in the store, in
 * position order, as it was when the replay began. Each event, flagged by `envelope.replay`, is handled in a unit of work of its
 * own; nothing is written save what its listeners stage and execute themselves, which other listeners hear as usual.
 *
 * Gives each event that was heard once its unit of work has been committed: for a progress bar, a count, or a later replay `after`
 * it. A failure rolls back the event in hand and ends the replay before it.
 *
 * ```ts
 * import { Effect, Layer, Schema, Stream } from "effect"
 * import { Event, EventStore, MessageBus, UnitOfWork } from "eventfold"
 *
 * const Deposited = Event.make("Deposited", { amount: Schema.Int })
 *
 * let total = 0
 * const Total = MessageBus.listen(Deposited, ({ amount }) => Effect.sync(() => (total += amount)), { replay: true })
 *
 * const program = Effect.gen(function* () {
 *   yield* EventStore.append("Account-ada", [
 *     { type: "Deposited", payload: { amount: 5 } },
 *     { type: "Deposited", payload: { amount: 6 } }
 *   ])
 *   const heard = yield* Stream.runCount(MessageBus.replay())
 *   return [heard, total]
 * })
 *
 * const Live = Total.pipe(
 *   Layer.provideMerge(MessageBus.layer),
 *   Layer.provideMerge(UnitOfWork.layer),
 *   Layer.provideMerge(EventStore.layerMemory)
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => [2, 11]
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const replay = (options?: {
  /** Only events beyond this position. Default: 0. */
  readonly after?: number | undefined
  /** Only events up to this position (inclusive). Default: all. */
  readonly until?: number | undefined
  /** Which of the events. Default: all that have a listener which takes part in replays. */
  readonly filter?: Filter | undefined
}): Stream.Stream<RecordedEvent, CommitError, MessageBus | EventStore> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const bus = yield* MessageBus
      const store = yield* EventStore
      const { after, filter = {}, until } = options ?? {}
      const heard = bus.replayed()
      const queries = [filter]
        .flat()
        .map((query) => ({ ...query, types: query.types?.filter((type) => heard.includes(type)) ?? heard }))
        .filter(({ types }) => types.length > 0)
      if (queries.length === 0) return Stream.empty
      return store.readAll({ after, upTo: until, filter: queries }).pipe(
        // The record of a command may be called as an event is.
        Stream.filter(({ metadata }) => !isRecordOfCommand(metadata)),
        Stream.tap((recorded) =>
          transact(
            Transaction.use((transaction) => {
              const { stream, version } = recorded
              return dispatching(bus, transaction, deliver(bus, { _tag: "Untyped", event: recorded, stream, version }, true))
            })
          ).pipe(Effect.provideService(UnitOfWork, bus.unitOfWork))
        )
      )
    })
  )

/**
 * {@link layer} with options.
 *
 * **Gotchas**: each call is another Layer, and is built for itself. Keep the result in a constant where it is provided more than once.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerWith = (options: {
  /** Which messages are stored with the commit, and whether what commands say is. Default: `"names"`. */
  readonly record?: Record | undefined
  /** How many messages (commands, and events that have listeners) one unit of work may handle. Default: 10 000. */
  readonly maxMessages?: number | undefined
}): Layer.Layer<MessageBus, never, UnitOfWork> =>
  Layer.effect(
    MessageBus,
    Effect.gen(function* () {
      const unitOfWork = yield* UnitOfWork
      const answers = Option.getOrElse(yield* Effect.serviceOption(Answers), () => inLog(unitOfWork.store))
      const maxMessages = options.maxMessages ?? 10_000
      if (!(maxMessages >= 1)) throw new RangeError(`MessageBus: maxMessages must be a number from 1, not ${maxMessages}`)
      const byType = new Map<string, ReadonlyArray<Listener>>()
      const listeners = (type: string) => byType.get(type) ?? []
      return {
        record: options.record ?? "names",
        maxMessages,
        unitOfWork,
        answers,
        turns: makeTurns(),
        listeners,
        replayed: () => Array.from(byType.keys()).filter((type) => listeners(type).some(({ replay }) => replay)),
        subscribe: (listener) =>
          Effect.sync(() => {
            for (const type of listener.types) byType.set(type, [...listeners(type), listener])
            return Effect.sync(() => {
              for (const type of listener.types) {
                byType.set(
                  type,
                  listeners(type).filter((other) => other !== listener)
                )
              }
            })
          })
      }
    })
  )

/**
 * The message bus over a unit of work.
 *
 * **Gotchas**: a listener that publishes what it hears would run for ever. A unit of work that comes to more than `maxMessages` fails with
 * `TooManyMessagesError`, which names the last of them, and writes nothing.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<MessageBus, never, UnitOfWork> = layerWith({})
