/**
 * Definitions of commands. A command **is** an `Rpc` definition of `effect/rpc`: the message bus handles it in process, and the
 * same definition can be served over HTTP, sockets or the cluster.
 *
 * @since 0.1.0
 */
import * as Rpc from "effect/rpc/Rpc"
import type * as Schema from "effect/Schema"

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
  }
): Command<Tag, Payload extends Schema.Struct.Fields ? Schema.Struct<Payload> : Payload, Success, Error> => Rpc.make(tag, options)
