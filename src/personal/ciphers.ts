/** Ciphertexts of many values at once: without an Effect for each where the cryptography of the environment works at once. */
import * as Aead from "effect/crypto/Aead"
import type { CryptoError } from "effect/crypto/CryptoError"
import * as Mac from "effect/crypto/Mac"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import { allocate, fromBase64, toBase64, toBytes } from "./bytes.ts"
import { keyBytes, workingAtOnce } from "./crypto.ts"
import type { SubjectKey } from "./subjectKeys.ts"

/** What becomes a ciphertext. */
export interface Plaintext {
  readonly key: SubjectKey
  readonly bytes: Uint8Array
  /** What it is bound to. */
  readonly aad: Uint8Array
  /** The id of what it is a part of: the same under the same id is sealed alike. Without one it is sealed otherwise each time. */
  readonly id: string | undefined
}

/** What was sealed, and with what. */
export interface Ciphertext {
  readonly key: SubjectKey
  readonly sealed: string
  readonly aad: Uint8Array
}

export interface Ciphers {
  readonly seal: (all: ReadonlyArray<Plaintext>) => Effect.Effect<ReadonlyArray<string>, CryptoError>
  /** The plaintexts; `undefined` where a key does not open what is said to be sealed with it. */
  readonly open: (all: ReadonlyArray<Ciphertext>) => Effect.Effect<ReadonlyArray<Uint8Array | undefined>, CryptoError>
}

const nonceLength = 12
const noncesAtOnce = 256
const tagLength = 16

/** As the base64 of both together: three bytes are four characters, and a nonce is a multiple of three. */
const textOf = (nonce: Uint8Array, ciphertext: Uint8Array): string => toBase64(nonce) + toBase64(ciphertext)

/** What the nonce of something with an id is made of: all that is sealed, and what it is bound to. */
const nonceInput = ({ aad, bytes }: Plaintext, id: string): Uint8Array => {
  const name = toBytes(`${id}\n`)
  const input = allocate(name.length + aad.length + 1 + bytes.length)
  input.set(name)
  input.set(aad, name.length)
  input[name.length + aad.length] = 0
  input.set(bytes, name.length + aad.length + 1)
  return input
}

/** Random nonces, a page of them at a time. */
const makeNonces = (random: SecureRandom.SecureRandom["Service"]) => {
  let page: Uint8Array = new Uint8Array()
  let taken = 0
  return {
    /** Sees to it that there are so many, for who takes them at once. */
    have: (count: number): Effect.Effect<void, CryptoError> =>
      page.length - taken >= count * nonceLength
        ? Effect.void
        : Effect.map(random.randomBytes(nonceLength * Math.max(count, noncesAtOnce)), (bytes) => {
            page = bytes
            taken = 0
          }),
    take: (): Uint8Array => page.subarray(taken, (taken += nonceLength))
  }
}

export const makeCiphers: Effect.Effect<Ciphers, never, Aead.Aead | Mac.Mac | SecureRandom.SecureRandom> = Effect.gen(
  function* () {
    const aead = yield* Aead.Aead
    const mac = yield* Mac.Mac
    const nonces = makeNonces(yield* SecureRandom.SecureRandom)
    const atOnce = workingAtOnce(aead, mac)

    /** Seals all, or nothing where a key has no bytes. */
    const sealAtOnce = (all: ReadonlyArray<Plaintext>): ReadonlyArray<string> | undefined => {
      if (atOnce === undefined) return undefined
      const texts: Array<string> = []
      for (let index = 0; index < all.length; index++) {
        const plaintext = all[index] as Plaintext
        const { aad, bytes, id, key } = plaintext
        const secret = keyBytes(key.seal)
        const naming = id === undefined ? undefined : keyBytes(key.nonces)
        if (secret === undefined || (id !== undefined && naming === undefined)) return undefined
        const nonce =
          id === undefined || naming === undefined
            ? nonces.take()
            : atOnce.hmac(naming, nonceInput(plaintext, id)).subarray(0, nonceLength)
        texts.push(textOf(nonce, atOnce.gcm.encrypt(secret, nonce, bytes, aad)))
      }
      return texts
    }

    const sealOne = Effect.fnUntraced(function* (plaintext: Plaintext) {
      const { aad, bytes, id, key } = plaintext
      // A nonce of all that is sealed, so that no two texts have one.
      if (id === undefined) yield* nonces.have(1)
      const nonce =
        id === undefined ? nonces.take() : (yield* mac.sign(key.nonces, nonceInput(plaintext, id))).subarray(0, nonceLength)
      return textOf(nonce, yield* aead.encrypt(key.seal, bytes, { nonce, aad }))
    })

    /** Opens all, or nothing where a key has no bytes. */
    const openAtOnce = (all: ReadonlyArray<Ciphertext>): ReadonlyArray<Uint8Array | undefined> | undefined => {
      if (atOnce === undefined) return undefined
      const opened: Array<Uint8Array | undefined> = []
      for (let index = 0; index < all.length; index++) {
        const { aad, key, sealed } = all[index] as Ciphertext
        const secret = keyBytes(key.seal)
        if (secret === undefined) return undefined
        const bytes = fromBase64(sealed)
        opened.push(
          bytes.length < nonceLength + tagLength
            ? undefined
            : atOnce.gcm.decrypt(secret, bytes.subarray(0, nonceLength), bytes.subarray(nonceLength), aad)
        )
      }
      return opened
    }

    const openOne = ({ aad, key, sealed }: Ciphertext): Effect.Effect<Uint8Array | undefined, CryptoError> => {
      const bytes = fromBase64(sealed)
      if (bytes.length < nonceLength + tagLength) return Effect.undefined
      const opened = aead.decrypt(key.seal, bytes.subarray(nonceLength), { nonce: bytes.subarray(0, nonceLength), aad })
      return Effect.catch(opened, (error) => (error.reason._tag === "DecryptionFailed" ? Effect.undefined : Effect.fail(error)))
    }

    return {
      seal: (all) => {
        let random = 0
        for (const { id } of all) if (id === undefined) random++
        return Effect.flatMap(nonces.have(random), () => {
          const texts = sealAtOnce(all)
          return texts === undefined ? Effect.forEach(all, sealOne) : Effect.succeed(texts)
        })
      },
      open: (all) =>
        Effect.suspend(() => {
          const opened = openAtOnce(all)
          return opened === undefined ? Effect.forEach(all, openOne) : Effect.succeed(opened)
        })
    }
  }
)
