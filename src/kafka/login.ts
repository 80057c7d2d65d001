/** How one logs in. It names no type of the client, so that whoever checks all declarations need not have it. */
import type { Secret } from "../transport/kit.ts"

/**
 * How to log in: a mechanism, and what it needs. Text, or `Redacted`; no error shows the password or the token.
 *
 * @category models
 * @since 0.2.0
 */
export interface Login {
  readonly mechanism: "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" | "OAUTHBEARER"
  /** Who logs in. Default: nobody. */
  readonly username?: Secret | undefined
  /** The password. Default: none. */
  readonly password?: Secret | undefined
  /** The token of `OAUTHBEARER`. Default: none. */
  readonly token?: Secret | undefined
}
