/** What must not be shown: secrets are taken as text or `Redacted`, and struck from whatever a client says. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { unavailable } from "./failing.ts"
import type { TransportError } from "./service.ts"

/**
 * A secret, or an address that may have one: as it is, or `Redacted`, which no log shows.
 *
 * @category models
 * @since 0.2.0
 */
export type Secret = string | Redacted.Redacted<string>

/** The text itself, for the client alone. */
export const reveal = (secret: Secret): string => (Redacted.isRedacted(secret) ? Redacted.value(secret) : secret)

/** The parts of an address that must not be shown: who logs in, with what, whether or not it is a URL. */
export const secretsIn = (address: string): ReadonlyArray<string> => {
  const login = /^(?:[^:/?#]+:\/\/)?([^/?#]*)@/.exec(address)?.[1]
  if (login === undefined) return []
  const password = login.slice(login.indexOf(":") + 1)
  return [address, login, password, decoded(password)]
}

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/**
 * Strikes secrets from what an operation fails with. What the client threw is left out: nobody knows what it keeps in its fields.
 *
 * @category errors
 * @since 0.2.0
 */
export const withoutSecrets =
  (secrets: ReadonlyArray<string>) =>
  <A, R>(effect: Effect.Effect<A, TransportError, R>): Effect.Effect<A, TransportError, R> => {
    // The longest first: one may be a part of another.
    const hidden = secrets.filter((secret) => secret !== "").toSorted((a, b) => b.length - a.length)
    if (hidden.length === 0) return effect
    return Effect.mapError(effect, ({ reason }) =>
      unavailable(
        reason.operation,
        hidden.reduce((detail, secret) => detail.replaceAll(secret, "<redacted>"), reason.detail)
      )
    )
  }
