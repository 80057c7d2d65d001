/**
 * Definitions of commands. A command **is** an `Rpc` definition of `effect/rpc`: the message bus handles it in process, and the
 * same definition can be served over HTTP, sockets or the cluster.
 *
 * @since 0.1.0
 */
import * as Rpc from "effect/rpc/Rpc"
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
