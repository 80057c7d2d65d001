/**
 * How the brokers are reached, and what they say when something is wrong.
 */
import type { BaseOptions } from "@platformatic/kafka"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { attempting, detailOf, inTime, reveal, type Secret, secretsIn, unavailable, withoutSecrets } from "../transport/kit.ts"
import type { TransportError } from "../transport/Transport.ts"
import type { Login } from "./login.ts"

export interface Address {
  readonly brokers: ReadonlyArray<Secret>
  readonly login: Login | undefined
  readonly tls: BaseOptions["tls"] | undefined
  readonly clientId: string
  readonly timeout: Duration.Duration
}

export interface Connection {
  /** What every client is made with. */
  readonly base: BaseOptions
  readonly timeout: Duration.Duration
  /** Asks the brokers, and fails in time, without a secret in what it says. */
  readonly ask: <A>(operation: string, call: () => Promise<A>) => Effect.Effect<A, TransportError>
  /** What a client has thrown, as a failure. */
  readonly failure: (operation: string, cause: unknown) => TransportError
}

/** How often a client asks again before it gives up, and after which time, in milliseconds. */
const retries = 4
const retryDelay = 150

/** A failure of several attempts, or of several brokers, bears theirs. */
const causesOf = (cause: unknown): ReadonlyArray<unknown> => {
  if (typeof cause !== "object" || cause === null) return [cause]
  if ("errors" in cause && Array.isArray(cause.errors)) return cause.errors.flatMap(causesOf)
  return "cause" in cause && cause.cause instanceof Error ? [cause, ...causesOf(cause.cause)] : [cause]
}

const codeOf = (cause: unknown): string | undefined =>
  typeof cause === "object" && cause !== null && "apiId" in cause && typeof cause.apiId === "string" ? cause.apiId : undefined

/** Whether a broker has said one of these: the names are those of Kafka's error codes. */
export const says = (cause: unknown, ...codes: ReadonlyArray<string>): boolean =>
  causesOf(cause).some((cause) => codes.includes(codeOf(cause) ?? ""))

/**
 * Whether a broker is of another age: it says so itself, or the client does of what the broker has not said that it knows, or what came is
 * shorter than what the client reads.
 */
const isForeign = (cause: unknown): boolean =>
  codeOf(cause) === "UNSUPPORTED_VERSION" ||
  (cause instanceof Error &&
    (cause.message === "Out of bounds." || ("code" in cause && cause.code === "PLT_KFK_UNSUPPORTED_API")))

const versionsOf = (cause: unknown): string => {
  const { maxVersion, minVersion } = cause as { readonly minVersion?: unknown; readonly maxVersion?: unknown }
  return typeof maxVersion === "number" ? ` It knows the versions ${String(minVersion)} to ${maxVersion} of it.` : ""
}

/** What is known of it: the last that a broker has said, and otherwise how it could not be asked. */
const wordsOf = (cause: unknown): string => {
  const causes = causesOf(cause)
  const foreign = causes.find(isForeign)
  if (foreign !== undefined) {
    return `the broker is older, or much newer, than the versions of Kafka that this client knows: ${detailOf(foreign)}${versionsOf(foreign)} Which ones it needs stands in the guide src/guides/kafka.md`
  }
  const said = causes.findLast((cause) => codeOf(cause) !== undefined)
  if (said !== undefined) return `${codeOf(said)}: ${detailOf(said)}`
  return Array.from(new Set(causes.map(detailOf))).join("; ")
}

const secretsOf = ({ brokers, login }: Address): ReadonlyArray<string> => [
  ...brokers.map(reveal).flatMap(secretsIn),
  ...[login?.password, login?.token].flatMap((secret) => (secret === undefined ? [] : [reveal(secret)]))
]

const revealed = (login: Login): NonNullable<BaseOptions["sasl"]> => ({
  mechanism: login.mechanism,
  ...(login.username !== undefined && { username: reveal(login.username) }),
  ...(login.password !== undefined && { password: reveal(login.password) }),
  ...(login.token !== undefined && { token: reveal(login.token) })
})

export const makeConnection = (address: Address): Connection => {
  const { brokers, clientId, login, timeout, tls } = address
  const millis = Duration.toMillis(timeout)
  const hide = withoutSecrets(secretsOf(address))
  return {
    base: {
      clientId,
      bootstrapBrokers: brokers.map(reveal),
      connectTimeout: millis,
      requestTimeout: millis,
      timeout: millis,
      retries,
      retryDelay,
      ...(login === undefined ? {} : { sasl: revealed(login) }),
      ...(tls === undefined ? {} : { tls })
    },
    timeout,
    ask: (operation, call) =>
      attempting(operation, call).pipe(
        Effect.mapError(({ reason }) => unavailable(operation, wordsOf(reason.cause), reason.cause)),
        inTime(operation, timeout),
        hide
      ),
    failure: (operation, cause) => Effect.runSync(Effect.flip(hide(Effect.fail(unavailable(operation, wordsOf(cause), cause)))))
  }
}
