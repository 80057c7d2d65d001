import type * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Event from "../definitions/Event.ts"
import type { Tenant } from "../definitions/tenant.ts"
import type { Name } from "../following/engine.ts"
import { describe } from "../sql/errors.ts"
import type { CloudEvent, Marked, Transport } from "../transport/Transport.ts"
import type { DeadLetters } from "./DeadLetters.ts"
import type { Inbox } from "./Inbox.ts"

/**
 * What a consumer's handler is told beside the event.
 *
 * @category models
 * @since 0.1.0
 */
export interface Received {
  readonly group: string
  readonly message: CloudEvent
  /** How often the message has been tried, from 1: the deliveries that the broker has counted, and the tries made in this process. */
  readonly attempt: number
}

/**
 * One handler per event type.
 *
 * @category models
 * @since 0.1.0
 */
export type Handlers<Events extends ReadonlyArray<Event.Any>> = {
  readonly [Type in Events[number]["type"]]: (
    event: Extract<Events[number], { readonly type: Type }>["Type"],
    received: Received
  ) => Effect.Effect<unknown, unknown, unknown>
}

/**
 * How messages are consumed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<I extends boolean, T extends boolean = false> {
  /** Members of one group, in any number of processes, share its messages; each group gets every message. */
  readonly group: string
  /**
   * How to wait before a message is tried again; its input is the failure. When it ends, the message becomes a dead letter.
   *
   * During waits of up to 5 seconds the message stays in flight, and later ones of its subject wait behind it. For a longer wait it
   * goes back to the broker, and is overtaken. Default: from 100 milliseconds on, doubling up to a minute.
   */
  readonly retry?: Schedule.Schedule<unknown, unknown> | undefined
  /** How often a message is tried before it becomes a dead letter. Default: 5. */
  readonly maxAttempts?: number | undefined
  /** The most messages in flight at once. Those of one subject are handled one after the other all the same. Default: 1. */
  readonly concurrency?: number | undefined
  /** How long the messages in flight have to be finished when the scope closes or the transport fails. Default: 10 seconds. */
  readonly grace?: Duration.Input | undefined
  /**
   * How to wait before subscribing again when the transport has failed; it begins anew once a message has been dealt with. When
   * it ends, so does the consumer. Default: from 100 milliseconds up to 10 seconds, without end.
   */
  readonly restart?: Schedule.Schedule<unknown, unknown> | undefined
  /**
   * Handles each message through the {@link Inbox}, so that what a handler writes by the `SqlClient` of `Inbox.layerSql` takes
   * effect exactly once. Default: `false`.
   */
  readonly inbox?: I | undefined
  /**
   * Provides handlers with the `Tenants.Tenant` that the message says: `Tenants.layerOfTenant` is then its store. A message that says none
   * becomes a dead letter at once, by a `Tenants.NoTenantError`. Default: `false`.
   */
  readonly tenant?: T | undefined
  /**
   * Which attributes of messages become metadata of what their handlers stage and execute: names, or by each key of the metadata the
   * name of its attribute. Whoever may publish to the broker says what is in them. Default: none. All of them are in
   * `message.extensions` in any case.
   */
  readonly metadata?: Marked | undefined
  /**
   * How the span of a message's handling belongs to the span that published it: `"link"` begins a trace of its own (or goes on with
   * that of the consumer) and has a link to it, as the conventions of OpenTelemetry advise; `"parent"` makes it part of its trace.
   * Default: `"link"`.
   */
  readonly trace?: "link" | "parent" | undefined
}

/**
 * What a consumer needs.
 *
 * @category models
 * @since 0.1.0
 */
export type Requirements<R, I extends boolean, T extends boolean = false> =
  | Transport
  | DeadLetters
  | Exclude<Exclude<R, true extends T ? Tenant : never>, Scope.Scope>
  | (true extends I ? Inbox : never)

/**
 * No consumer of this process handles messages of this type for this group.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownConsumerError extends Schema.TaggedError<UnknownConsumerError>("eventfold/Consumer/UnknownConsumerError")(
  "UnknownConsumerError",
  { group: Schema.String, type: Schema.String }
) {
  override get message(): string {
    return `No consumer of this process handles "${this.type}" for the group "${this.group}"`
  }
}

/**
 * The group has no dead letter with this message id, or not any more.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotDeadLetterError extends Schema.TaggedError<NotDeadLetterError>("eventfold/Consumer/NotDeadLetterError")(
  "NotDeadLetterError",
  { group: Schema.String, id: Schema.String }
) {
  override get message(): string {
    return `The group "${this.group}" has no dead letter "${this.id}"`
  }
}

/**
 * What came is no CloudEvent, or its data is not what it says it is. It is the cause of its dead letter.
 *
 * @category errors
 * @since 0.2.0
 */
export class UnreadableMessageError extends Schema.TaggedError<UnreadableMessageError>(
  "eventfold/Consumer/UnreadableMessageError"
)("UnreadableMessageError", {
  group: Schema.String,
  /** Where the broker has it, and under which name: what the dead letter is called. */
  source: Schema.String,
  id: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `The group "${this.group}" cannot read "${this.id}" of "${this.source}" as a CloudEvent: ${this.detail}. Its producer has to mend it; the dead letter has its bytes`
  }
}

/**
 * This process runs no consumer of the group.
 *
 * @category errors
 * @since 0.2.0
 */
export class UnknownGroupError extends Schema.TaggedError<UnknownGroupError>("eventfold/Consumer/UnknownGroupError")(
  "UnknownGroupError",
  { group: Schema.String }
) {
  override get message(): string {
    return `This process runs no consumer of the group "${this.group}"`
  }
}

/**
 * The handler failed again. The message stays a dead letter, with the new cause.
 *
 * @category errors
 * @since 0.1.0
 */
export class MessageRetryError extends Schema.TaggedError<MessageRetryError>("eventfold/Consumer/MessageRetryError")(
  "MessageRetryError",
  {
    group: Schema.String,
    id: Schema.String,
    cause: Schema.Defect()
  }
) {
  override get message(): string {
    return `The group "${this.group}" failed again with "${this.id}": ${describe(this.cause)}`
  }
}

/**
 * Why a message could not be handled, and whether another try makes sense.
 *
 * @category models
 * @since 0.1.0
 */
export interface Failure {
  readonly cause: Cause.Cause<unknown>
  readonly again: boolean
}

/**
 * What is known of the consumers of a group in this process.
 *
 * **Details**: the states are those of subscriptions. A consumer has no position in the log, so there is no lag: the broker knows how much
 * waits. `starting` is a consumer that subscribes, `live` one that has subscribed, `backing-off` one whose transport or storage is
 * away; it never halts, for what cannot be handled becomes a dead letter. Of several consumers of one group the state is that of the
 * one that is in most need of attention.
 *
 * @category models
 * @since 0.2.0
 */
export interface Status {
  readonly group: string
  readonly state: Name
  /** How many messages are in flight. */
  readonly inFlight: number
  /** Why it is backing off. */
  readonly cause: Option.Option<Cause.Cause<unknown>>
}
