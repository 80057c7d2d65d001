import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { MessageRefused, TransportError, TransportUnavailable } from "./service.ts"

const withCause = (cause: unknown): { readonly cause?: unknown } => (cause === undefined ? {} : { cause })

/**
 * The failure of an operation that may succeed when it is tried again: the broker is away, or has not answered.
 *
 * @category errors
 * @since 0.2.0
 */
export const unavailable = (operation: string, detail: string, cause?: unknown): TransportError =>
  new TransportError({ reason: new TransportUnavailable({ operation, detail, ...withCause(cause) }) })

/**
 * The failure to publish the message of this id, whoever tries again and when.
 *
 * @category errors
 * @since 0.2.0
 */
export const refused = (id: string, detail: string, cause?: unknown): TransportError =>
  new TransportError({ reason: new MessageRefused({ operation: "publish", id, detail, ...withCause(cause) }) })

/**
 * What a client says has gone wrong, as one line: the message of an error, or its code where the message is empty.
 *
 * @category errors
 * @since 0.2.0
 */
export const detailOf = (cause: unknown): string =>
  Predicate.hasProperty(cause, "message") && cause.message !== ""
    ? String(cause.message)
    : Predicate.hasProperty(cause, "code")
      ? String(cause.code)
      : String(cause)

/**
 * What a client throws, as the failure of an operation that may succeed later.
 *
 * @category errors
 * @since 0.2.0
 */
export const failAs =
  (operation: string) =>
  (cause: unknown): TransportError =>
    unavailable(operation, detailOf(cause), cause)

/**
 * Calls a client that answers with a promise.
 *
 * @category constructors
 * @since 0.2.0
 */
export const attempting = <A>(operation: string, call: () => Promise<A>): Effect.Effect<A, TransportError> =>
  Effect.tryPromise({ try: call, catch: failAs(operation) })

/**
 * Calls a client that answers at once.
 *
 * @category constructors
 * @since 0.2.0
 */
export const attemptingSync = <A>(operation: string, call: () => A): Effect.Effect<A, TransportError> =>
  Effect.try({ try: call, catch: failAs(operation) })

/**
 * Fails as unavailable when the server has not answered in time. `more` is what else is known then.
 *
 * @category constructors
 * @since 0.2.0
 */
export const inTime =
  (operation: string, timeout: Duration.Duration, more?: () => string | undefined) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | TransportError, R> =>
    Effect.timeoutOrElse(effect, {
      duration: timeout,
      orElse: () => {
        const known = more?.()
        const detail = `the server did not answer within ${Duration.format(timeout)}`
        return Effect.fail(unavailable(operation, known === undefined ? detail : `${detail}: ${known}`))
      }
    })
