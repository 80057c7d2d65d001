import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Mac from "effect/crypto/Mac"
import * as Effect from "effect/Effect"
import * as Hex from "effect/encoding/Hex"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { fromBase64, toBytes } from "./bytes.ts"

/**
 * The key of pseudonyms is no 32 bytes in base64.
 *
 * @category errors
 * @since 0.2.0
 */
export class PseudonymKeyError extends Schema.TaggedError<PseudonymKeyError>("eventfold/Personal/PseudonymKeyError")(
  "PseudonymKeyError",
  { problem: Schema.String }
) {
  override get message(): string {
    return `The key of pseudonyms ${this.problem}: make one with "openssl rand -base64 32", and keep it as long as the log`
  }
}

/**
 * Makes pseudonyms: see {@link pseudonym}.
 *
 * @category services
 * @since 0.2.0
 */
export class Pseudonyms extends Context.Service<
  Pseudonyms,
  {
    /** The pseudonym of a value. */
    readonly of: (value: string) => Effect.Effect<string>
  }
>()("eventfold/Personal/Pseudonyms") {}

const keyLength = 32

/** So many bytes of the HMAC are the pseudonym. */
const length = 16

/**
 * Pseudonyms by HMAC-SHA-256 with a key: 32 random bytes in base64.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerPseudonyms = (
  key: Redacted.Redacted<string> | Config.Config<Redacted.Redacted<string>>
): Layer.Layer<Pseudonyms, PseudonymKeyError, Mac.Mac> =>
  Layer.effect(
    Pseudonyms,
    Effect.gen(function* () {
      const mac = yield* Mac.Mac
      const given = Config.isConfig(key)
        ? yield* Effect.mapError(key, ({ message }) => new PseudonymKeyError({ problem: `cannot be read: ${message}` }))
        : key
      const bytes = fromBase64(Redacted.value(given))
      if (bytes.length !== keyLength) return yield* new PseudonymKeyError({ problem: `is not ${keyLength} bytes in base64` })
      const macKey = yield* Effect.orDie(Mac.key(Mac.hmacSha256, bytes))
      return {
        of: (value) => Effect.orDie(Effect.map(mac.sign(macKey, toBytes(value)), (tag) => Hex.encode(tag.subarray(0, length))))
      }
    })
  )

/**
 * A name that says nothing to who does not have the key, and is the same each time: for the ids of streams and subjects, and for tags, made of
 * what is personal itself, such as a mail address. 32 hexadecimal digits.
 *
 * **Gotchas**: whoever has the key can try values for ever, also those of who is forgotten. Where an address is looked up, a table with a random id
 * for each address is better: to forget is to delete its row.
 *
 * ```ts
 * import { Effect, Layer, Redacted } from "effect"
 * import { Personal } from "eventfold"
 *
 * const program = Effect.all([Personal.pseudonym("ada@example.org"), Personal.pseudonym("ada@example.org")])
 *
 * const Live = Personal.layerPseudonyms(Redacted.make(btoa("k".repeat(32)))).pipe(Layer.provide(Personal.layerCrypto))
 * const [one, two] = await Effect.runPromise(Effect.provide(program, Live))
 * one === two && one.length // => 32
 * ```
 *
 * @category accessors
 * @since 0.2.0
 */
export const pseudonym = (value: string): Effect.Effect<string, never, Pseudonyms> => Pseudonyms.use(({ of }) => of(value))
