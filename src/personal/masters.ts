import * as Aead from "effect/crypto/Aead"
import * as KeyWrap from "effect/crypto/KeyWrap"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { fromBase64, toBase64 } from "./bytes.ts"
import { KeysUnavailable, WrongMasterKey, type KeysError } from "./subjectKeys.ts"

/**
 * Master keys by name: the one that new keys are wrapped with, and those that older ones still are wrapped with. Each is 32 random bytes in
 * base64 (`openssl rand -base64 32`).
 *
 * @category models
 * @since 0.2.0
 */
export interface Masters {
  /** The name of the one that is in use. */
  readonly current: string
  readonly keys: Readonly<Record<string, Redacted.Redacted<string>>>
}

/**
 * What wraps the secrets of subjects: the port to a key management service. Secrets are 32 bytes; each is wrapped once, and unwrapped when it is
 * not in the cache.
 *
 * @category models
 * @since 0.2.0
 */
export interface Wrapping {
  /** The name of the master key that is in use. It is kept beside what it has wrapped. */
  readonly current: string
  /** The names of others that it unwraps with: whether they are the right ones is seen when the keys are opened. Default: none. */
  readonly others?: ReadonlyArray<string> | undefined
  /** Wraps a secret with the master key that is in use; what comes of it is kept as text. */
  readonly wrap: (secret: Uint8Array) => Effect.Effect<string, KeysError>
  /** The secret that a master key has wrapped. `WrongMasterKey` where there is none of that name, or it is another one. */
  readonly unwrap: (wrapped: string, master: string) => Effect.Effect<Uint8Array, KeysError>
}

/**
 * Master keys from a variable: `name:base64`, several divided by commas, the one in use first. So a rotation puts a new one before the old
 * one, runs `Keys.rewrap`, and takes the old one away.
 *
 * ```ts
 * import { ConfigProvider, Effect } from "effect"
 * import { Keys } from "eventfold"
 *
 * const provider = ConfigProvider.fromEnv({ env: { MASTER_KEYS: `2031:${btoa("n".repeat(32))},2030:${btoa("o".repeat(32))}` } })
 *
 * const masters = await Effect.runPromise(Keys.masters("MASTER_KEYS").parse(provider))
 * masters.current // => "2031"
 * ```
 *
 * @category configuration
 * @since 0.2.0
 */
export const masters = (name: string): Config.Config<Masters> =>
  Config.map(Config.Redacted(name), (value): Masters => {
    const keys: Record<string, Redacted.Redacted<string>> = {}
    let current: string | undefined
    for (const part of Redacted.value(value).split(",")) {
      const colon = part.indexOf(":")
      const master = part.slice(0, Math.max(colon, 0)).trim()
      keys[master] = Redacted.make(part.slice(colon + 1).trim())
      current ??= master
    }
    return { current: current ?? "", keys }
  })

const masterLength = 32

/** Wraps by AES key wrap (RFC 3394), with master keys that this process has. */
export const withMasters = Effect.fnUntraced(function* ({
  current,
  keys
}: Masters): Effect.fn.Return<Wrapping, KeysError, KeyWrap.KeyWrap> {
  const keyWrap = yield* KeyWrap.KeyWrap
  const found = new Map<string, KeyWrap.Key>()
  for (const [master, value] of Object.entries(keys)) {
    const bytes = fromBase64(Redacted.value(value))
    if (master === "" || bytes.length !== masterLength) {
      return yield* new WrongMasterKey({ master, problem: `is not a name and ${masterLength} bytes in base64` })
    }
    found.set(master, yield* Effect.orDie(KeyWrap.key(KeyWrap.aes256Kw, bytes)))
  }
  const masterOf = (master: string) =>
    Option.match(Option.fromUndefinedOr(found.get(master)), {
      onNone: () => Effect.fail(new WrongMasterKey({ master, problem: "is not among those that this process has" })),
      onSome: Effect.succeed
    })
  yield* masterOf(current)
  const failed = (operation: string) => (cause: { readonly message: string }) =>
    new KeysUnavailable({ operation, detail: cause.message, cause })
  return {
    current,
    others: Object.keys(keys).filter((master) => master !== current),
    wrap: (secret) =>
      Effect.gen(function* () {
        const key = yield* Effect.mapError(Aead.key(Aead.aes256Gcm, secret), failed("wrap"))
        return toBase64(yield* Effect.mapError(keyWrap.wrap(yield* masterOf(current), key), failed("wrap")))
      }),
    unwrap: (wrapped, master) =>
      Effect.gen(function* () {
        const key = yield* Effect.mapError(
          keyWrap.unwrap(yield* masterOf(master), Aead.aes256Gcm, fromBase64(wrapped)),
          (cause) =>
            cause.reason._tag === "DecryptionFailed"
              ? new WrongMasterKey({ master, problem: "is another one than that which the keys are wrapped with" })
              : failed("unwrap")(cause)
        )
        return yield* Effect.mapError(Aead.toBytes(key), failed("unwrap"))
      })
  }
})
