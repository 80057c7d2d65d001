/** Operators by their tokens: in a header, or in the cookie that a page gets for one. */
import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import type { Headers } from "effect/http/Headers"
import * as Redacted from "effect/Redacted"
import { type Operator } from "../contract/authentication.ts"
import { UnauthorizedError } from "../contract/errors.ts"
import type { Payloads } from "../contract/events.ts"

/**
 * An operator, and the token by which that person is known.
 *
 * @category models
 * @since 0.2.0
 */
export interface TokenOperator {
  /** What is recorded as the author of acts. */
  readonly name: string
  /** A secret of at least 16 characters. It is compared in constant time. */
  readonly token: Redacted.Redacted
  /** Whether the operator may act, where acts are allowed. Default: `false`. */
  readonly mayAct?: boolean | undefined
  /** How much of payloads the operator sees. Default: `"masked"`. */
  readonly payloads?: Payloads | undefined
}

/** What the cookie of a page is called. */
export const cookie = "eventfold_operator"

/** Whose request it is, by what its headers say. */
export interface Tokens {
  readonly of: (headers: Headers) => Effect.Effect<Operator["Service"], UnauthorizedError>
  /** The cookie that stands for a token; `undefined` where nobody has that token. */
  readonly cookieFor: (token: string) => Effect.Effect<string | undefined>
}

/** Whether two texts of one length are the same, in a time that does not say where they differ. */
const isSame = (one: string, other: string): boolean => {
  let differs = one.length ^ other.length
  for (let index = 0; index < one.length; index++) differs |= one.charCodeAt(index) ^ (other.charCodeAt(index) || 0)
  return differs === 0
}

const cookieIn = (headers: Headers): string | undefined =>
  headers["cookie"]
    ?.split(";")
    .map((pair) => pair.trim().split("="))
    .find(([name]) => name === cookie)?.[1]

const bearerIn = (headers: Headers): string | undefined => /^bearer (.+)$/i.exec(headers["authorization"] ?? "")?.[1]

const unknown = new UnauthorizedError({
  detail: "no operator is known by that token, or none was given: send it as Authorization: Bearer, or log in"
})

/** Makes the look-up. Tokens that are too short are a defect: anybody could guess them. */
export const makeTokens = Effect.fnUntraced(function* (
  operators: ReadonlyArray<TokenOperator>
): Effect.fn.Return<Tokens, never, Digest.Digest> {
  const digest = yield* Digest.Digest
  const encoder = new TextEncoder()
  const hash = (text: string) => Effect.orDie(digest.digestHex(Digest.sha256, encoder.encode(text)))
  // A cookie says nothing of the token that it was given for.
  const cookieOf = (token: string) => hash(`eventfold operator cookie ${token}`)
  const known: Array<{ readonly token: string; readonly cookie: string; readonly operator: Operator["Service"] }> = []
  for (const { mayAct = false, name, payloads = "masked", token } of operators) {
    const secret = Redacted.value(token)
    if (secret.length < 16)
      yield* Effect.die(new RangeError(`The token of the operator "${name}" must have at least 16 characters`))
    known.push({ token: yield* hash(secret), cookie: yield* cookieOf(secret), operator: { name, mayAct, payloads } })
  }
  /** All are compared, so that the time does not say which one it is. */
  const find = (what: "token" | "cookie", value: string) =>
    known.reduce<(typeof known)[number] | undefined>((found, one) => (isSame(one[what], value) ? one : found), undefined)
  return {
    of: Effect.fnUntraced(function* (headers) {
      const [bearer, given] = [bearerIn(headers), cookieIn(headers)]
      const found =
        bearer !== undefined ? find("token", yield* hash(bearer)) : given === undefined ? undefined : find("cookie", given)
      return found === undefined ? yield* unknown : found.operator
    }),
    cookieFor: Effect.fnUntraced(function* (token) {
      return find("token", yield* hash(token))?.cookie
    })
  }
})
