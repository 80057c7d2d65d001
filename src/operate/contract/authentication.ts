import * as Context from "effect/Context"
import * as RpcMiddleware from "effect/rpc/RpcMiddleware"
import { UnauthorizedError } from "./errors.ts"
import type { Payloads } from "./events.ts"

/**
 * Who asks, and what that person may do.
 *
 * @category services
 * @since 0.2.0
 */
export class Operator extends Context.Service<
  Operator,
  {
    /** What is recorded as the author of acts. */
    readonly name: string
    /** Whether acts are allowed. Looking always is. */
    readonly mayAct: boolean
    readonly payloads: Payloads
  }
>()("eventfold/Operations/Operator") {}

/**
 * Says for each request who asks. A server provides it: `Operate.layer` makes one of tokens, or takes one of the program's own.
 *
 * @category services
 * @since 0.2.0
 */
export class Authentication extends RpcMiddleware.Service<Authentication, { provides: Operator }>()(
  "eventfold/Operations/Authentication",
  { error: UnauthorizedError }
) {}
