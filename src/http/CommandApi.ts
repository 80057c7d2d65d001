/**
 * Commands as endpoints of an `HttpApi`: what server and callers share. It knows no handler and no store, so a browser may have it.
 *
 * @since 0.2.0
 */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import type * as Rpc from "effect/rpc/Rpc"
import * as Schema from "effect/Schema"
import { type Any, CommandFailure, type FailureKind } from "../definitions/Command.ts"

/**
 * The headers of a call. `idempotency-key` is the `id` of the execution, under which it may be repeated.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Headers = Schema.Struct({ "idempotency-key": Schema.optionalKey(Schema.String) })

const failure = (kind: FailureKind) =>
  CommandFailure.check(Schema.makeFilter((error) => error.kind === kind)).annotate({
    httpApiStatus: new CommandFailure({ kind }).status
  })

const failures = [failure("invalid"), failure("conflict"), failure("unavailable"), failure("unknown"), failure("fault")] as const

/** The errors of a command one by one: an endpoint has a status for each of the list, and one for a union as a whole. */
const membersOf = (schema: Schema.Constraint): ReadonlyArray<Schema.Constraint> => {
  const { members } = schema as { readonly members?: ReadonlyArray<Schema.Constraint> }
  return members === undefined || schema.ast.annotations?.["httpApiStatus"] !== undefined ? [schema] : members.flatMap(membersOf)
}

/**
 * `Command.CommandFailure` with the status of each kind.
 *
 * @category schemas
 * @since 0.2.0
 */
export type Failure = (typeof failures)[number]

/**
 * The endpoint of a command: `POST` to its name, with the payload as JSON.
 *
 * @category models
 * @since 0.2.0
 */
export type Endpoint<C> =
  C extends Rpc.Rpc<infer Tag, infer Payload, infer Success, infer Error, infer _Middleware, infer _Requires>
    ? HttpApiEndpoint.HttpApiEndpoint<Tag, "POST", `/${Tag}`, never, never, Payload, typeof Headers, Success, Error | Failure>
    : never

/**
 * A group of an `HttpApi` that has an endpoint for each of the commands. The errors of a command have the status that they are annotated with
 * (`httpApiStatus`), each of a union its own, 500 without; what the service comes to beside them is a `Command.CommandFailure`.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { HttpApi } from "effect/http-api"
 * import { Command } from "eventfold"
 * import { CommandApi } from "eventfold/http"
 *
 * const Deposit = Command.make("Deposit", { payload: { account: Schema.String, amount: Schema.Int }, success: Schema.Int })
 *
 * class Api extends HttpApi.make("shop").add(CommandApi.group("bank", [Deposit]).prefix("/bank")) {}
 *
 * Api.groups.bank.endpoints.Deposit.path // => "/bank/Deposit"
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const group = <const Name extends string, const Commands extends readonly [Any, ...Array<Any>]>(
  name: Name,
  commands: Commands
): HttpApiGroup.HttpApiGroup<Name, Endpoint<Commands[number]>> => {
  const endpoints = commands.map((command) =>
    HttpApiEndpoint.post(command._tag, `/${command._tag}`, {
      payload: command.payloadSchema,
      headers: Headers,
      success: command.successSchema,
      error: [...membersOf(command.errorSchema), ...failures]
    } as never)
  )
  // An endpoint for each command, of its types.
  return HttpApiGroup.make(name).add(...(endpoints as never)) as never
}
