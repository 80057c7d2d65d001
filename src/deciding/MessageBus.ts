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
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import type * as Command from "../definitions/Command.ts"
import * as Event from "../definitions/Event.ts"
import { executionKeys, provideBuilt } from "../definitions/services.ts"
import type { Metadata, NewEvent, RecordedEvent } from "../definitions/stored.ts"
import { makeId } from "../internal/ids.ts"
import { EventStore, ExpectedVersion, type Filter, InvalidAppendError } from "../store/EventStore.ts"
import { type CommitError, CurrentMetadata, type StagedEvent, transact, Transaction, UnitOfWork } from "./UnitOfWork.ts"

/**
 * The handler of the command `Tag`, in the requirements of whoever executes that command.
 *
 * @category models
 * @since 0.1.0
 */
export interface Handler<in out Tag extends string> {
  readonly _: unique symbol
  readonly tag: Tag
}

interface HandlerService {
  readonly run: (payload: unknown) => Effect.Effect<unknown, unknown, Transaction>
}

const handlerKey = <Tag extends string>(tag: Tag) =>
  Context.Service<Handler<Tag>, HandlerService>(`eventfold/MessageBus/Handler/${tag}`)

/**
 * What a listener is told beside the event itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface Envelope {
  /** The event's id. */
  readonly id: string
  readonly stream: string
  /** The version the event will have, where it is known before the commit. */
  readonly version: number | undefined
  readonly metadata: Metadata
  readonly correlationId: string
  /** The message that caused the event. */
  readonly causationId: string | undefined
  /** Whether the event was recorded long ago and is heard once more, by {@link replay}. */
  readonly replay: boolean
}

/**
 * A message of the bus as it is being handled: the events staged meanwhile are caused by it.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentMessage: Context.Reference<{ readonly id: string; readonly correlationId: string } | undefined> =
  Context.Reference<{ readonly id: string; readonly correlationId: string } | undefined>(executionKeys.message, {
    defaultValue: () => undefined
  })

/**
 * The queue that a message is being handled in: which transaction's it is (known by what all its levels share), and the spans of
 * the messages handled so far, by id.
 */
const CurrentDispatch = Context.Reference<
  { readonly transaction: object; readonly spans: Map<string, Tracer.AnySpan> } | undefined
>(executionKeys.dispatch, { defaultValue: () => undefined })

interface Listener {
  readonly type: string
  /** Whether it takes part in replays. */
  readonly replay: boolean
  readonly run: (staged: Staged, envelope: Envelope) => Effect.Effect<unknown, CommitError, Transaction>
}

/** An event on its way to its listeners: typed, or (where it was staged without its type) as it will be, or is, stored. */
interface Staged {
  readonly value: unknown
  readonly stored: NewEvent & { readonly position?: number }
}

/**
 * What the bus keeps of the messages that it handles, in the stream `$bus-<correlationId>`, written by the very commit.
 *
 * Events of aggregates stand in their own streams and are not stored twice: they bear the correlation id, so
 * `EventStore.readAll({ filter: { correlationId } })` is the whole conversation in order.
 *
 * - `"all"`: commands, and events published on the bus itself;
 * - `"events"`: events published on the bus itself;
 * - `"none"`: of the latter only those that leave the process, because leaving is done from the store.
 *
 * @category models
 * @since 0.1.0
 */
export type Record = "all" | "events" | "none"

/**
 * The message bus service.
 *
 * @category services
 * @since 0.1.0
 */
export class MessageBus extends Context.Service<
  MessageBus,
  {
    readonly record: Record
    readonly unitOfWork: UnitOfWork["Service"]
    /** The listeners of an event type, in the order in which their Layers were built. */
    readonly listeners: (type: string) => ReadonlyArray<Listener>
    /** The event types that have listeners which take part in replays. */
    readonly replayed: () => ReadonlyArray<string>
    /** Adds a listener; the returned effect removes it. */
    readonly subscribe: (listener: Listener) => Effect.Effect<Effect.Effect<void>>
  }
>()("eventfold/MessageBus") {}

/**
 * A command has two handlers. It is thrown (as a defect) when the second one's Layer is built.
 *
 * @category errors
 * @since 0.1.0
 */
export class DuplicateHandlerError extends Schema.TaggedError<DuplicateHandlerError>(
  "eventfold/MessageBus/DuplicateHandlerError"
)("DuplicateHandlerError", { command: Schema.String }) {
  override get message(): string {
    return `The command "${this.command}" has two handlers: a command has exactly one, so remove a MessageBus.handle(${this.command}, …) Layer`
  }
}

/** The commands that have a handler in one build of Layers. */
const handled = new WeakMap<Layer.MemoMap, Set<string>>()

/**
 * The handler of a command, as a Layer. Building two handlers of one command together is a defect (`DuplicateHandlerError`).
 *
 * What the handler needs is required by the Layer, save the transaction, which each execution brings. It may fail with the
 * command's own error, and with what a unit of work fails with.
 *
 * @category layers
 * @since 0.1.0
 */
export const handle = <C extends Command.Any, R>(
  command: C,
  handler: (payload: Command.Payload<C>) => Effect.Effect<Command.Success<C>, Command.Error<C> | CommitError, R>
): Layer.Layer<Handler<C["_tag"]>, never, Exclude<R, Transaction>> =>
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
      return Context.make(handlerKey(tag), {
        run: (payload) => provide(handler(payload as Command.Payload<C>))
      })
    })
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
): Layer.Layer<never, never, MessageBus | Exclude<R, Transaction>> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const provide = provideBuilt<R, Transaction>(yield* Effect.context<Exclude<R, Transaction>>())
      const bus = yield* MessageBus
      yield* Effect.acquireRelease(
        bus.subscribe({
          type: event.type,
          replay: options?.replay ?? false,
          run: ({ stored, value }, envelope) => {
            const typed: Result.Result<E["Type"], CommitError> =
              value === undefined
                ? Event.decode(event, {
                    schemaVersion: 1,
                    position: 0,
                    ...stored,
                    stream: envelope.stream,
                    version: envelope.version ?? 0
                  })
                : Result.succeed(value as E["Type"])
            return Result.isFailure(typed) ? Effect.fail(typed.failure) : provide(listener(typed.success, envelope))
          }
        }),
        (remove) => remove
      )
    })
  )

/**
 * Executes a command in a unit of work, and gives its handler's result once everything has been committed.
 *
 * Inside a unit of work it joins it: the handler runs at once, and the listeners of its events when their turn comes.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Aggregate, Command, Event, EventStore, MessageBus, Repository, UnitOfWork } from "eventfold"
 *
 * const Deposited = Event.make("Deposited", { amount: Schema.Int })
 * const Account = Aggregate.make("Account", {
 *   events: [Deposited],
 *   initial: 0,
 *   evolve: { Deposited: (balance, { amount }) => balance + amount }
 * })
 * const Deposit = Command.make("Deposit", {
 *   payload: { account: Schema.NonEmptyString, amount: Schema.Int },
 *   success: Schema.Int
 * })
 *
 * const DepositLive = MessageBus.handle(Deposit, ({ account, amount }) =>
 *   Repository.execute(Account, account, () => Effect.succeed([Deposited.make({ amount })])).pipe(Effect.map(({ state }) => state))
 * )
 *
 * const program = MessageBus.execute(Deposit, { account: "ada", amount: 5 })
 *
 * const Live = DepositLive.pipe(
 *   Layer.provideMerge(MessageBus.layer()),
 *   Layer.provideMerge(UnitOfWork.layer),
 *   Layer.provideMerge(EventStore.layerMemory)
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => 5
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const execute = <C extends Command.Any>(
  command: C,
  payload: Command.PayloadInput<C>,
  options?: {
    /** Names the conversation. Default: that of the message being handled, else a new id. */
    readonly correlationId?: string | undefined
    /** Stored with the command and with every event that follows from it. */
    readonly metadata?: Metadata | undefined
  }
): Effect.Effect<Command.Success<C>, Command.Error<C> | CommitError, MessageBus | Handler<C["_tag"]>> =>
  Effect.gen(function* () {
    const handler: HandlerService = yield* handlerKey<C["_tag"]>(command._tag)
    const codec = commandCodec(command)
    const value = yield* codec.make(payload)
    const recorded = (yield* MessageBus).record === "all"
    return yield* message(
      {
        kind: "command",
        options,
        stored: { type: command._tag, payload: recorded ? yield* Effect.fromResult(codec.encode(value)) : null },
        recorded,
        value: noValue
      },
      // What the handler of this command fails with is typed by `handle`.
      handler.run(value) as Effect.Effect<Command.Success<C>, Command.Error<C> | CommitError, Transaction>
    )
  })

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
  options?: { readonly correlationId?: string | undefined; readonly metadata?: Metadata | undefined }
): Effect.Effect<void, CommitError, MessageBus> =>
  Effect.gen(function* () {
    const recorded = (yield* MessageBus).record !== "none" || definition.published
    return yield* message(
      { kind: "event", options, stored: yield* Effect.fromResult(Event.encode(definition, event)), recorded, value: event },
      Effect.void
    )
  })

interface Message {
  readonly kind: "command" | "event"
  readonly options: { readonly correlationId?: string | undefined; readonly metadata?: Metadata | undefined } | undefined
  /** What is stored of it. */
  readonly stored: NewEvent
  /** Whether it is stored. */
  readonly recorded: boolean
  /** The typed event, for its listeners. */
  readonly value: unknown
}

/** Handles a message that comes in: opens or joins a unit of work, and sees to it that all that follows is dispatched. */
const message = <A, E>(
  incoming: Message,
  body: Effect.Effect<A, E, Transaction>
): Effect.Effect<A, E | CommitError, MessageBus> =>
  Effect.gen(function* () {
    const bus = yield* MessageBus
    const parent = yield* CurrentMessage
    const id = yield* makeId
    const {
      kind,
      options,
      stored: { type }
    } = incoming
    const inherited = yield* CurrentMetadata
    const correlationId = options?.correlationId ?? parent?.correlationId ?? inherited.correlationId ?? id
    const own: Metadata = {
      ...inherited,
      ...options?.metadata,
      correlationId,
      ...(parent === undefined ? {} : { causationId: parent.id })
    }
    const handling = Effect.gen(function* () {
      const transaction = yield* Transaction
      const { recorded, value } = incoming
      if (recorded || kind === "event") {
        const event = { ...incoming.stored, id, metadata: { ...own, messageKind: kind } }
        yield* transaction.stage(`$bus-${correlationId}`, [{ event, value, transient: !recorded }], ExpectedVersion.Any)
      }
      const current = { id, correlationId, causationId: own.causationId }
      const run = kind === "event" ? body : observed(kind, type, current, withMessage(current, own, body))
      return yield* dispatching(bus, transaction, run)
    })
    return yield* transact(handling).pipe(Effect.provideService(UnitOfWork, bus.unitOfWork))
  })

/** Stands for the typed value of a recorded command, which no listener hears of. */
const noValue = Symbol.for("eventfold/MessageBus/noValue")

/** Sees to it that what `run` stages is dispatched. */
const dispatching = <A, E, R>(
  bus: MessageBus["Service"],
  transaction: Transaction["Service"],
  run: Effect.Effect<A, E, R>
): Effect.Effect<A, E | CommitError, R | Transaction> =>
  Effect.flatMap(CurrentDispatch, (current) =>
    // Only the outermost message of a unit of work dispatches: what is staged within it takes its turn in the one queue.
    current?.transaction === transaction.loaded
      ? run
      : run.pipe(
          Effect.tap(() => dispatchStaged(bus, transaction)),
          Effect.provideService(CurrentDispatch, { transaction: transaction.loaded, spans: new Map() })
        )
  )

/** First in, first out: what a listener stages is dispatched after what stood before it. */
const dispatchStaged = Effect.fnUntraced(function* (bus: MessageBus["Service"], transaction: Transaction["Service"]) {
  let staged: StagedEvent | undefined
  while ((staged = transaction.next()) !== undefined) {
    if (staged.value !== noValue) yield* deliver(bus, staged)
  }
})

const deliver = (
  bus: MessageBus["Service"],
  { event, stream, value, version }: StagedEvent,
  replay = false
): Effect.Effect<void, CommitError, Transaction> => {
  const { id, metadata, type } = event
  const listeners = replay ? bus.listeners(type).filter((listener) => listener.replay) : bus.listeners(type)
  if (listeners.length === 0) return Effect.void
  const message = { id, correlationId: metadata.correlationId ?? id, causationId: metadata.causationId }
  const envelope: Envelope = { ...message, stream, version, metadata, replay }
  const run = Effect.forEach(listeners, (listener) => listener.run({ value, stored: event }, envelope), { discard: true })
  return observed("event", type, message, withMessage(message, metadata, run))
}

/** What is staged by `effect` is caused by the message, and bears the other metadata that came with it; logs tell the conversation. */
const withMessage = <A, E, R>(
  current: { readonly id: string; readonly correlationId: string },
  metadata: Metadata,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => {
  const { messageKind: _kind, ...inherited } = metadata
  return effect.pipe(
    Effect.annotateLogs("correlationId", current.correlationId),
    Effect.provideService(CurrentMessage, { id: current.id, correlationId: current.correlationId }),
    Effect.provideService(CurrentMetadata, { ...inherited, correlationId: current.correlationId, causationId: current.id })
  )
}

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
 *   Layer.provideMerge(MessageBus.layer()),
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
  /** Only events up to this position (inclusive). */
  readonly until?: number | undefined
  readonly filter?: Filter | undefined
}): Stream.Stream<RecordedEvent, CommitError, MessageBus | EventStore> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const bus = yield* MessageBus
      const store = yield* EventStore
      const { after, filter = {}, until = Infinity } = options ?? {}
      const heard = bus.replayed()
      const queries = [filter]
        .flat()
        .map((query) => ({ ...query, types: query.types?.filter((type) => heard.includes(type)) ?? heard }))
        .filter(({ types }) => types.length > 0)
      if (queries.length === 0) return Stream.empty
      return store.readAll({ after, filter: queries }).pipe(
        Stream.takeWhile(({ position }) => position <= until),
        // The record of a command may be called as an event is.
        Stream.filter(({ metadata }) => metadata["messageKind"] !== "command"),
        Stream.tap((recorded) =>
          transact(
            Transaction.use((transaction) => {
              const { stream, version } = recorded
              return dispatching(
                bus,
                transaction,
                deliver(bus, { event: recorded, stream, version, value: undefined, transient: false }, true)
              )
            })
          ).pipe(Effect.provideService(UnitOfWork, bus.unitOfWork))
        )
      )
    })
  )

const messages = Metric.counter("eventfold_bus_messages", {
  description: "Messages handled, by kind (command, event), type and outcome",
  incremental: true
})
const durations = Metric.timer("eventfold_bus_handler_duration", {
  description: "How long the handler of a command, or all listeners of an event, took"
})

const makeMetrics = (kind: string, type: string) => ({
  success: Metric.withAttributes(messages, { kind, type, outcome: "success" }),
  failure: Metric.withAttributes(messages, { kind, type, outcome: "failure" }),
  duration: Metric.withAttributes(durations, { kind, type })
})

const metrics = new Map<string, ReturnType<typeof makeMetrics>>()

const metricsOf = (kind: string, type: string) => {
  const key = `${kind}:${type}`
  let found = metrics.get(key)
  if (found === undefined) metrics.set(key, (found = makeMetrics(kind, type)))
  return found
}

/** The handling of one message, with its span (a child of the span of the message that caused it), its count, and its duration. */
const observed = <A, E, R>(
  kind: "command" | "event",
  type: string,
  message: { readonly id: string; readonly correlationId: string; readonly causationId: string | undefined },
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    const { duration, failure, success } = metricsOf(kind, type)
    const spans = fiber.getRef(CurrentDispatch)?.spans
    const parent = message.causationId === undefined ? undefined : spans?.get(message.causationId)
    return Effect.withFiber((inner) => {
      const span = Context.getOrUndefined(inner.context, Tracer.ParentSpan)
      if (span !== undefined) spans?.set(message.id, span)
      const start = inner.getRef(Clock.Clock).currentTimeNanosUnsafe()
      return Effect.onExit(effect, (exit) =>
        Effect.flatMap(Clock.currentTimeNanos, (end) =>
          Effect.andThen(
            Metric.update(duration, Duration.nanos(end - start)),
            Metric.update(exit._tag === "Success" ? success : failure, 1)
          )
        )
      )
    }).pipe(
      Effect.withSpan(`process ${type}`, {
        kind: "consumer",
        ...(parent === undefined ? {} : { parent }),
        attributes: {
          "messaging.system": "eventfold",
          "messaging.operation.name": "process",
          "messaging.operation.type": "process",
          "messaging.destination.name": type,
          "messaging.message.id": message.id,
          "messaging.message.conversation_id": message.correlationId,
          ...(message.causationId === undefined ? {} : { "eventfold.message.causation_id": message.causationId }),
          "eventfold.message.kind": kind
        }
      })
    )
  })

interface CommandCodec {
  readonly make: (payload: unknown) => Effect.Effect<unknown, InvalidAppendError>
  readonly encode: (payload: unknown) => Result.Result<Schema.Json, InvalidAppendError>
}

const formatIssue = SchemaIssue.makeFormatterDefault()

const commandCodecs = new WeakMap<object, CommandCodec>()

/** Built once per command definition. */
const commandCodec = (command: Command.Any): CommandCodec => {
  const known = commandCodecs.get(command)
  if (known !== undefined) return known
  const schema = command.payloadSchema as Schema.Codec<unknown, unknown>
  const encode = SchemaParser.encodeUnknownResult(Schema.toCodecJson(schema))
  const refuse = (issue: SchemaIssue.Issue) =>
    new InvalidAppendError({
      stream: "$bus",
      field: `${command._tag}.payload`,
      problem: `does not fit its schema: ${formatIssue(issue)}`
    })
  const codec: CommandCodec = {
    make: (payload) => Effect.mapError(schema.makeEffect(payload), refuse),
    encode: (payload) =>
      Result.mapError(
        Result.map(encode(payload), (json) => json ?? null),
        refuse
      )
  }
  commandCodecs.set(command, codec)
  return codec
}

/**
 * The message bus over a unit of work. `record` says which messages are stored with the commit; default: `"all"`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: { readonly record?: Record | undefined }): Layer.Layer<MessageBus, never, UnitOfWork> =>
  Layer.effect(
    MessageBus,
    UnitOfWork.useSync((unitOfWork) => {
      const byType = new Map<string, ReadonlyArray<Listener>>()
      const listeners = (type: string) => byType.get(type) ?? []
      return {
        record: options?.record ?? "all",
        unitOfWork,
        listeners,
        replayed: () => Array.from(byType.keys()).filter((type) => listeners(type).some(({ replay }) => replay)),
        subscribe: (listener) =>
          Effect.sync(() => {
            byType.set(listener.type, [...listeners(listener.type), listener])
            return Effect.sync(() => {
              byType.set(
                listener.type,
                listeners(listener.type).filter((other) => other !== listener)
              )
            })
          })
      }
    })
  )
