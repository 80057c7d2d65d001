import type * as CryptoError from "effect/crypto/CryptoError"
import * as Signature from "effect/crypto/Signature"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { EventStoreError, StoreFailure } from "./errors.ts"
import { EventStore } from "./service.ts"

/**
 * The newest link of a hash chain, signed: kept elsewhere, it proves later that all up to its position is what it was. It is encoded to JSON.
 *
 * @category integrity
 * @since 0.2.0
 */
export class SignedHead extends Schema.Class<SignedHead>("eventfold/EventStore/SignedHead")({
  position: Schema.Int,
  /** The digest of the link that ends there. */
  digest: Schema.String,
  /** In base64url. */
  signature: Schema.String
}) {}

const signedBytes = ({ digest, position }: Pick<SignedHead, "position" | "digest">): Uint8Array =>
  new TextEncoder().encode(`eventfold chain\n${position}\n${digest}`)

/**
 * Signs the newest link of the store's hash chain.
 *
 * **When to use**: every hour, or day; keep what it gives where those who can write to the store cannot. {@link verify} takes it as one of its
 * `heads`, and {@link isSignedBy} tells whose it is.
 *
 * **Details**: it fails where the store has no chain, or nothing was appended since it was begun. Nothing is written to the store.
 *
 * **Example**
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { SecureRandom, Signature } from "effect/crypto"
 * import { EventStore } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   const { privateKey, publicKey } = yield* Signature.Signature.use((signature) => signature.generateKeyPair(Signature.ed25519))
 *   yield* EventStore.append("Account-1", [{ type: "AccountOpened", payload: { owner: "Ada" } }])
 *   const head = yield* EventStore.signHead(privateKey)
 *   yield* EventStore.verify({ heads: [head] })
 *   return yield* EventStore.isSignedBy(publicKey, head)
 * })
 *
 * const Crypto = Signature.layerWebCrypto.pipe(Layer.provide(SecureRandom.layerWebCrypto))
 * const Live = Layer.merge(Crypto, EventStore.layerMemoryWith({ chain: true }))
 * await Effect.runPromise(Effect.provide(program, Live)) // => true
 * ```
 *
 * @category integrity
 * @since 0.2.0
 */
export const signHead = Effect.fnUntraced(function* (
  privateKey: Signature.PrivateKey
): Effect.fn.Return<SignedHead, EventStoreError | CryptoError.CryptoError, EventStore | Signature.Signature> {
  const store = yield* EventStore
  const signature = yield* Signature.Signature
  const link = yield* store.maintenance?.linkBefore(Number.MAX_SAFE_INTEGER) ?? Effect.undefined
  if (link === undefined) {
    const detail = "the store keeps no hash chain, or nothing was appended since it was begun: see the option chain of its Layer"
    return yield* new EventStoreError({ reason: new StoreFailure({ operation: "signHead", detail }) })
  }
  const bytes = yield* signature.sign(privateKey, signedBytes(link))
  return new SignedHead({ position: link.position, digest: link.digest, signature: Base64Url.encode(bytes) })
})

/**
 * Whether a head was signed with the private key of this public one.
 *
 * @category integrity
 * @since 0.2.0
 */
export const isSignedBy = (
  publicKey: Signature.PublicKey,
  head: SignedHead
): Effect.Effect<boolean, CryptoError.CryptoError, Signature.Signature> =>
  Signature.Signature.use((signature) => {
    const bytes = Base64Url.decode(head.signature)
    return Result.isFailure(bytes) ? Effect.succeed(false) : signature.verify(publicKey, bytes.success, signedBytes(head))
  })
