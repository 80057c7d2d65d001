import * as Aead from "effect/crypto/Aead"
import type * as Digest from "effect/crypto/Digest"
import * as KeyWrap from "effect/crypto/KeyWrap"
import * as Mac from "effect/crypto/Mac"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { allocate } from "./bytes.ts"

interface Cipher {
  setAAD(aad: Uint8Array): unknown
  update(data: Uint8Array): Uint8Array
  final(): Uint8Array
  getAuthTag(): Uint8Array
  setAuthTag(tag: Uint8Array): unknown
}

/** What is used of `node:crypto`, where the runtime has it: it takes a tenth of the time that a promise of `crypto.subtle` takes. */
interface NodeCrypto {
  createSecretKey(bytes: Uint8Array): object
  createCipheriv(algorithm: string, key: object, nonce: Uint8Array): Cipher
  createDecipheriv(algorithm: string, key: object, nonce: Uint8Array): Cipher
  createHmac(algorithm: string, key: object): { update(data: Uint8Array): { digest(): Uint8Array } }
}

const { process } = globalThis as {
  readonly process?: { readonly getBuiltinModule?: (name: string) => NodeCrypto | undefined }
}
const node = process?.getBuiltinModule?.("node:crypto")

const tagLength = 16

/** AES-256-GCM and HMAC on `node:crypto`. To make a key object takes longer than to use it, so it is kept as long as the key. */
const natively = ({ createCipheriv, createDecipheriv, createHmac, createSecretKey }: NodeCrypto) => {
  const objects = new WeakMap<Uint8Array, object>()
  const objectOf = (key: Uint8Array): object => {
    let object = objects.get(key)
    if (object === undefined) objects.set(key, (object = createSecretKey(key)))
    return object
  }
  const gcm: Aead.Implementation = {
    encrypt: (key, nonce, plaintext, aad) => {
      const cipher = createCipheriv("aes-256-gcm", objectOf(key), nonce)
      cipher.setAAD(aad)
      const sealed = allocate(plaintext.length + tagLength)
      sealed.set(cipher.update(plaintext))
      cipher.final()
      sealed.set(cipher.getAuthTag(), plaintext.length)
      return sealed
    },
    decrypt: (key, nonce, ciphertext, aad) => {
      const end = ciphertext.length - tagLength
      const cipher = createDecipheriv("aes-256-gcm", objectOf(key), nonce)
      cipher.setAAD(aad)
      cipher.setAuthTag(ciphertext.subarray(end))
      const plaintext = cipher.update(ciphertext.subarray(0, end))
      try {
        cipher.final()
        return plaintext
      } catch {
        return undefined
      }
    }
  }
  const names = { MD5: "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512" }
  const hmac: Hmac = (hash, key, data) => createHmac(names[hash], objectOf(key)).update(data).digest()
  return {
    aead: Layer.effect(
      Aead.Aead,
      Effect.map(Aead.Aead, (aead) => Object.assign({ [AtOnce]: gcm }, aead))
    ).pipe(Layer.provide(Aead.layerWebCryptoWith({ implementations: { aes256Gcm: gcm } }))),
    mac: Layer.effect(
      Mac.Mac,
      Effect.map(Mac.Mac, (mac) => Object.assign({ [AtOnce]: hmac }, mac))
    ).pipe(Layer.provide(Mac.layerWebCryptoWith({ hmac })))
  }
}

type Hmac = (hash: Digest.Algorithm["name"], key: Uint8Array, data: Uint8Array) => Uint8Array

/** What a service of this module does at once, for who has a page of values and would need an Effect for each. */
const AtOnce = Symbol("eventfold/Personal/atOnce")

/** What is done at once where both services are of this module. */
export const workingAtOnce = (aead: object, mac: object) => {
  const gcm = (aead as { readonly [AtOnce]?: Aead.Implementation })[AtOnce]
  const hmac = (mac as { readonly [AtOnce]?: Hmac })[AtOnce]
  return gcm === undefined || hmac === undefined
    ? undefined
    : { gcm, hmac: (key: Uint8Array, data: Uint8Array) => hmac("SHA-256", key, data) }
}

const bytesOfKeys = new WeakMap<object, Uint8Array | "none">()

/** The bytes of a key for what {@link workingAtOnce} does; none of a key of another algorithm, or one that keeps its bytes to itself. */
export const keyBytes = (key: Aead.Key | Mac.Key): Uint8Array | undefined => {
  let bytes = bytesOfKeys.get(key)
  if (bytes === undefined) {
    const { name } = key.algorithm
    const exit =
      name === Aead.aes256Gcm.name
        ? Effect.runSyncExit(Aead.toBytes(key as Aead.Key))
        : name === Mac.hmacSha256.name
          ? Effect.runSyncExit(Mac.toBytes(key as Mac.Key))
          : undefined
    bytesOfKeys.set(key, (bytes = exit !== undefined && Exit.isSuccess(exit) ? exit.value : "none"))
  }
  return bytes === "none" ? undefined : bytes
}

const native = node === undefined ? { aead: Aead.layerWebCrypto, mac: Mac.layerWebCrypto } : natively(node)

/**
 * The cryptography that personal data are sealed with, of `effect/crypto`: AES-256-GCM and HMAC on `node:crypto` where the runtime has it, ten
 * times as fast as on `crypto.subtle`, which is used elsewhere. Any other Layer of these services will do as well.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerCrypto: Layer.Layer<Aead.Aead | Mac.Mac | KeyWrap.KeyWrap | SecureRandom.SecureRandom> = Layer.mergeAll(
  native.aead,
  native.mac,
  KeyWrap.layerWebCrypto
).pipe(Layer.provideMerge(SecureRandom.layerWebCrypto))
