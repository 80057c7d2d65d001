/**
 * Definitions of commands. A command **is** an `Rpc` definition of `effect/rpc`: the message bus handles it in process, and the
 * same definition can be served over HTTP, sockets or the cluster.
 *
 * @since 0.1.0
 */
import * as Rpc from "effect/rpc/Rpc"
import * as RpcMiddleware from "effect/rpc/RpcMiddleware"
import * as Schema from "effect/Schema"
import type * as Struct from "effect/Struct"

/**
 * A command definition: its name, and the Schemas of its payload, success and error.
 *
 * @category models
 * @since 0.1.0
 */
export interface Command<
  in out Tag extends string,
  out Payload extends Schema.Top = Schema.Void,
  out Success extends Schema.Top = Schema.Void,
  out Error extends Schema.Top = Schema.Never
> extends Rpc.Rpc<Tag, Payload, Success, Error> {}

/**
 * What all commands have in common.
 *
 * @category models
 * @since 0.1.0
 */
export interface Any extends Rpc.AnyWithProps {}

/**
 * What a handler of the command receives.
 *
 * @category models
 * @since 0.1.0
 */
export type Payload<C> = Rpc.Payload<C>

/**
 * What a caller of the command passes: fields with a constructor default may be left out.
 *
 * @category models
 * @since 0.1.0
 */
export type PayloadInput<C> = Rpc.PayloadConstructor<C>

/**
 * What the command gives when it has succeeded.
 *
 * @category models
 * @since 0.1.0
 */
export type Success<C> = Rpc.Success<C>

/**
 * What the command itself can fail with.
 *
 * @category models
 * @since 0.1.0
 */
export type Error<C> = Rpc.Error<C>

/**
 * What was passed for a command does not fit its Schema, so its handler did not run: the caller's mistake, as HTTP's 400 is.
 *
 * @category errors
 * @since 0.2.0
 */
export class CommandDecodeError extends Schema.TaggedError<CommandDecodeError>("eventfold/Command/CommandDecodeError")(
  "CommandDecodeError",
  {
    command: Schema.String,
    /** Where in the payload it is: `items[0].amount`, empty for the payload as a whole; `id` for the id of the execution. */
    path: Schema.String,
    /** What is wrong there. */
    problem: Schema.String
  }
) {
  override get message(): string {
    const where = this.path === "" ? "the payload" : `"${this.path}"`
    return `Command "${this.command}": ${where} does not fit: ${this.problem}`
  }
}

/**
 * The id of an execution has been used before, by one with another payload: it is no repetition, and was not executed.
 *
 * @category errors
 * @since 0.2.0
 */
export class CommandIdReusedError extends Schema.TaggedError<CommandIdReusedError>("eventfold/Command/CommandIdReusedError")(
  "CommandIdReusedError",
  { command: Schema.String, id: Schema.String }
) {
  override get message(): string {
    return `Command "${this.command}": the id ${JSON.stringify(this.id)} has been used with another payload: repeat that one, or give this one an id of its own`
  }
}

/**
 * A command that is handled elsewhere (`MessageBus.handleElsewhere`, `ClusterBus.layerClient`) was not executed, or nobody has answered.
 *
 * | reason | what happened | what to do |
 * |---|---|---|
 * | `inside` | it was executed inside a unit of work, which it cannot be part of; nothing was done | execute it outside: before it, or behind the log, in the handler of a subscription, under the id of the event. A process manager reacts in a unit of work, and cannot send it |
 * | `unhandled` | whoever received it has no handler for it; nothing was done | run the same commands everywhere |
 * | `settings` | whoever received it has other settings, so that one id could have two owners; nothing was done | give all programs the same |
 * | `full` | whoever owns it has too much in hand; nothing was done | repeat it later |
 * | `unanswered` | nobody answered in time, or what came does not fit: it may have taken effect | repeat it **under the same id**, or look first |
 *
 * @category errors
 * @since 0.2.0
 */
export class CommandElsewhereError extends Schema.TaggedError<CommandElsewhereError>("eventfold/Command/CommandElsewhereError")(
  "CommandElsewhereError",
  {
    command: Schema.String,
    /** What happened: see the table. */
    reason: Schema.Literals(["inside", "unhandled", "settings", "full", "unanswered"]),
    /** Where, and what is to be done. */
    detail: Schema.String
  }
) {
  override get message(): string {
    return `Command "${this.command}" is handled elsewhere: ${this.detail}`
  }
}

/**
 * How an execution failed that did not come to an answer of the command's own, for whoever called it from elsewhere. `status` is that of HTTP.
 *
 * | kind | status | what happened | what to do |
 * |---|---|---|---|
 * | `invalid` | 400 | what was sent fits no execution; `path` says where it is wrong | mend the request |
 * | `conflict` | 409 | others were faster, each time it was tried; nothing was written | repeat it |
 * | `unavailable` | 503 | the store could not be reached; nothing was written | repeat it later |
 * | `unknown` | 504 | the answer of the store was lost: it may have taken effect | repeat it **under the same id**, or look first |
 * | `fault` | 500 | a mistake of the service; `incident` is in its log | tell the service's people |
 *
 * @category models
 * @since 0.2.0
 */
export type FailureKind = "invalid" | "conflict" | "unavailable" | "unknown" | "fault"

const failures: { readonly [Kind in FailureKind]: { readonly status: number; readonly text: string } } = {
  invalid: { status: 400, text: "The request does not fit" },
  conflict: { status: 409, text: "Others were faster, and nothing was written: repeat it" },
  unavailable: { status: 503, text: "The service is not available for now, and nothing was written: repeat it later" },
  unknown: { status: 504, text: "Whether it took effect is not known: repeat it under the same id, or look first" },
  fault: { status: 500, text: "The service has made a mistake" }
}

/**
 * The one error that a service shows of all that a unit of work, or a defect, can come to: it can be encoded, and tells nothing of the service's insides.
 * `MessageBus.publicErrors` makes it.
 *
 * @category errors
 * @since 0.2.0
 */
export class CommandFailure extends Schema.TaggedError<CommandFailure>("eventfold/Command/CommandFailure")("CommandFailure", {
  /** How it failed: see {@link FailureKind}. */
  kind: Schema.Literals(["invalid", "conflict", "unavailable", "unknown", "fault"]),
  /** Of `invalid`: where in the request it is, as of `CommandDecodeError`. */
  path: Schema.optionalKey(Schema.String),
  /** Of `invalid`: what is wrong there. */
  problem: Schema.optionalKey(Schema.String),
  /** Of `fault` and `unknown`: what the service's log calls it. */
  incident: Schema.optionalKey(Schema.String)
}) {
  override get message(): string {
    const { text } = failures[this.kind]
    if (this.problem !== undefined) return `${text}: ${this.path ? `"${this.path}" ` : ""}${this.problem}`
    return this.incident === undefined ? text : `${text} (incident ${this.incident})`
  }

  /** The status of HTTP. */
  get status(): number {
    return failures[this.kind].status
  }

  /** Whether repeating the very same may succeed, and is safe. Of `unknown` that is so under the same id alone. */
  get isRetryable(): boolean {
    return this.kind === "conflict" || this.kind === "unavailable"
  }
}

/**
 * Adds {@link CommandFailure} to the errors of all commands of an `RpcGroup`, for callers: `RpcGroup.make(Deposit, Withdraw).middleware(Command.CommandFailures)`.
 * `MessageBus.toRpcHandlers` provides it to the server.
 *
 * @category middleware
 * @since 0.2.0
 */
export class CommandFailures extends RpcMiddleware.Service<CommandFailures>()("eventfold/Command/CommandFailures", {
  error: CommandFailure
}) {}

/**
 * Defines a command.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Command } from "eventfold"
 *
 * class AccountClosed extends Schema.TaggedError<AccountClosed>()("AccountClosed", { account: Schema.String }) {}
 *
 * const Deposit = Command.make("Deposit", {
 *   payload: { account: Schema.NonEmptyString, amount: Schema.Int },
 *   success: Schema.Int,
 *   error: AccountClosed
 * })
 *
 * Deposit._tag // => "Deposit"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <
  const Tag extends string,
  Payload extends Schema.Top | Schema.Struct.Fields = Schema.Void,
  Success extends Schema.Top = Schema.Void,
  Error extends Schema.Top = Schema.Never
>(
  tag: Tag,
  options?: {
    /** What the command says: a Schema, or the fields of a struct. Default: nothing. */
    readonly payload?: Payload
    /** What its handler answers. Default: nothing. */
    readonly success?: Success
    /** What its handler may fail with. Default: nothing. */
    readonly error?: Error
    /**
     * What tells one execution from another, for a payload that is given as fields: `MessageBus.execute` then takes it for the `id`
     * of each execution, so that a repetition is answered with what the first one came to. Default: none.
     */
    readonly primaryKey?: [Payload] extends [Schema.Struct.Fields]
      ? (payload: Payload extends Schema.Struct.Fields ? Struct.Simplify<Schema.Struct<Payload>["Type"]> : never) => string
      : never
  }
): Command<Tag, Payload extends Schema.Struct.Fields ? Schema.Struct<Payload> : Payload, Success, Error> =>
  Rpc.make<Tag, Payload, Success, Error>(tag, options as Parameters<typeof Rpc.make<Tag, Payload, Success, Error>>[1])
