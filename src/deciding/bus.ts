import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Tracer from "effect/Tracer"
import type * as Event from "../definitions/Event.ts"
import { executionKeys } from "../definitions/services.ts"
import type { Metadata, NewEvent } from "../definitions/stored.ts"
import type { Turns } from "../internal/turns.ts"
import type { Answers } from "./Answers.ts"
import type { CommitError, Transaction, UnitOfWork } from "./transaction.ts"

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

/**
 * A command on its way to where it is handled.
 *
 * @category models
 * @since 0.2.0
 */
export interface Call<out Payload> {
  readonly payload: Payload
  /** The same as JSON. */
  readonly encoded: Schema.Json
  /** Names the execution, as of `MessageBus.execute`: `undefined` where it has none. */
  readonly id: string | undefined
  readonly correlationId: string | undefined
  readonly metadata: Metadata
}

/**
 * What became of a command where it was handled.
 *
 * @category models
 * @since 0.2.0
 */
export interface Reply {
  /** Whether the handler succeeded, or failed with the command's own error. */
  readonly outcome: "success" | "failure"
  /** What it gave or failed with, as JSON. */
  readonly value: Schema.Json
  /** A position by which all that it wrote stands in the log; 0 where that is nothing. */
  readonly position: number
}

export type HandlerService =
  | { readonly _tag: "Here"; readonly run: (payload: unknown) => Effect.Effect<unknown, unknown, Transaction> }
  /** Is part of no unit of work. */
  | { readonly _tag: "Elsewhere"; readonly send: (call: Call<unknown>) => Effect.Effect<Reply, CommitError> }

export const handlerKey = <Tag extends string>(tag: Tag) =>
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

/** The queue that a message is being handled in: the id of its transaction, and the spans of the messages handled so far, by id. */
export const CurrentDispatch = Context.Reference<
  { readonly transaction: number; readonly spans: Map<string, Tracer.AnySpan> } | undefined
>(executionKeys.dispatch, { defaultValue: () => undefined })

export interface Listener {
  /** The types that its events are stored under. */
  readonly types: ReadonlyArray<string>
  /** Whether an event of its type is one of its definition. */
  readonly hears: (heard: Heard) => boolean
  /** Whether it takes part in replays. */
  readonly replay: boolean
  readonly run: (heard: Heard, envelope: Envelope) => Effect.Effect<unknown, CommitError, Transaction>
}

/** An event on its way to its listeners: typed, or (where it was staged without its type) as it will be, or is, stored. */
export type Heard = (
  | { readonly _tag: "Event"; readonly definition: Event.Any; readonly value: unknown }
  | { readonly _tag: "Untyped" }
) & {
  readonly event: NewEvent & { readonly id: string; readonly metadata: Metadata; readonly position?: number }
  readonly stream: string
  readonly version: number | undefined
}

/**
 * What the bus keeps of the messages that it handles, in the stream `$bus-<correlationId>`, written by the very commit.
 *
 * Events of aggregates stand in their own streams and are not stored twice: they bear the correlation id, so
 * `EventStore.readAll({ filter: { correlationId } })` is the whole conversation in order.
 *
 * - `"names"`: commands by their names, without what they say, and events published on the bus itself;
 * - `"all"`: commands with their payloads as well, so that whoever reads the log reads what callers have sent. Of a command whose payload has
 *   a `Schema.Redacted` in it the name alone is written;
 * - `"events"`: events published on the bus itself;
 * - `"none"`: of the latter only those that leave the process, because leaving is done from the store.
 *
 * @category models
 * @since 0.1.0
 */
export type Record = "all" | "names" | "events" | "none"

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
    /** How many messages one unit of work may handle. */
    readonly maxMessages: number
    readonly unitOfWork: UnitOfWork["Service"]
    /** What executions with an id came to. */
    readonly answers: Answers["Service"]
    /** Executions of one command with one id run one after the other. */
    readonly turns: Turns
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
