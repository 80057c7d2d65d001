import type * as Aead from "effect/crypto/Aead"
import type * as Mac from "effect/crypto/Mac"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Masking } from "../internal/masking.ts"
import { asStored, EventStore } from "../store/EventStore.ts"
import { maskCause } from "./masking.ts"
import type { Keys } from "./subjectKeys.ts"
import { makeSealing } from "./sealing.ts"
import { decorated } from "./store.ts"

/**
 * What sealing and opening take: {@link layerCrypto} has all but the keys.
 *
 * @category models
 * @since 0.2.0
 */
export type Requirements = Keys | Aead.Aead | Mac.Mac | SecureRandom.SecureRandom

/**
 * {@link layer} as a value, over a store that is a value. Over one that seals already it seals once, with these keys.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = (beneath: EventStore["Service"]): Effect.Effect<EventStore["Service"], never, Requirements> =>
  Effect.map(makeSealing, (sealing) => decorated(asStored(beneath), sealing))

/**
 * The event store in which personal data are sealed, over any other: what is appended is sealed with the key of its subject, and what is read
 * is opened. Nothing above it changes. A store without it refuses personal data.
 *
 * **Details**: one AES-256-GCM ciphertext an event and subject. The same event again, under its id, is sealed alike, so that it is known as
 * a repetition. Keys that cannot be had are an outage (`StoreUnavailable`), never `Forgotten`; a ciphertext that its key does not open is an
 * `EventDecodeError` of that event alone.
 *
 * Where a handler fails, what is kept of that and logged (parked events, states of followers) has no personal data of its event in it: its values
 * are masked in the texts of the error. A value of less than three characters, or one that the handler has reshaped, is not known there.
 *
 * **Gotchas**: whoever is provided with the store beneath gets what is sealed, and an `EventDecodeError` that says so.
 *
 * @category layers
 * @since 0.2.0
 */
export const layer: Layer.Layer<EventStore, never, EventStore | Requirements> = Layer.merge(
  Layer.effect(EventStore, Effect.flatMap(EventStore, make)),
  Layer.succeed(Masking, maskCause)
)

/**
 * The store beneath: what follows it reads personal data sealed, with definitions that are {@link blind} to it. It needs no keys.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerSealed: Layer.Layer<EventStore, never, EventStore> = Layer.effect(EventStore, Effect.map(EventStore, asStored))
