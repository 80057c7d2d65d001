import * as Context from "effect/Context"
import * as Aead from "effect/crypto/Aead"
import type { CryptoError } from "effect/crypto/CryptoError"
import * as Mac from "effect/crypto/Mac"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { textFault } from "../internal/json.ts"
import { toBytes } from "./bytes.ts"

/**
 * The key of one subject.
 *
 * @category models
 * @since 0.2.0
 */
export interface SubjectKey {
  readonly _tag: "Key"
  /** What names it: it stands with what it seals. */
  readonly id: string
  /** What data are sealed with. */
  readonly seal: Aead.Key<Aead.AesGcm>
  /** What the nonces of events that have an id are made with, so that the same event again is sealed alike. */
  readonly nonces: Mac.Key
}

/**
 * What has become of a subject's key: it is there, or it is gone for good.
 *
 * @category models
 * @since 0.2.0
 */
export type Standing = SubjectKey | { readonly _tag: "Forgotten" }

/** The longest id of a subject: it has its place in the name of a stream, in which the id of a tenant (63 characters) may stand as well. */
const longestSubject = 180

/** What is wrong with the id of a subject; `undefined` where nothing is. */
export const subjectFault = (subject: string): string | undefined =>
  typeof subject === "string" && subject !== "" && subject.length <= longestSubject && textFault(subject) === undefined
    ? undefined
    : `must be text of 1 to ${longestSubject} characters`

/** The one value that says so. */
export const gone: Standing = { _tag: "Forgotten" }

/**
 * The keys cannot be had for now, which says nothing of whether they are there: an outage, after which the same will succeed.
 *
 * @category errors
 * @since 0.2.0
 */
export class KeysUnavailable extends Schema.TaggedError<KeysUnavailable>("eventfold/Keys/KeysUnavailable")("KeysUnavailable", {
  /** What was being done: `open`, `seal`, `forget`, … */
  operation: Schema.String,
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect())
}) {
  override get message(): string {
    return `The keys of personal data were not available to ${this.operation}: ${this.detail}. Nothing is forgotten by that: try again later`
  }
}

/**
 * The keys are wrapped by a master key that is another one here, or not among those that are given. Nothing is forgotten by that.
 *
 * @category errors
 * @since 0.2.0
 */
export class WrongMasterKey extends Schema.TaggedError<WrongMasterKey>("eventfold/Keys/WrongMasterKey")("WrongMasterKey", {
  /** The name of the master key. */
  master: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `The master key ${JSON.stringify(this.master)} ${this.problem}. Nothing is forgotten by that: give this process the master key that the keys are wrapped with`
  }
}

/**
 * How the service of the keys can fail.
 *
 * @category errors
 * @since 0.2.0
 */
export type KeysError = KeysUnavailable | WrongMasterKey

/**
 * The keys of subjects: one a subject, made when the first of its data is sealed, and destroyed when it is forgotten.
 *
 * **Details**: what is forgotten leaves a fence behind, so that no new key is made for it. A subject that is let in anew (`readmit`) is given
 * another key, of the next *generation*; what was sealed with the one before stays forgotten.
 *
 * **Gotchas**: one service for all stores of a system: copies carry the ids of keys from one to the other, and whoever is forgotten is so in all.
 *
 * @category services
 * @since 0.2.0
 */
export class Keys extends Context.Service<
  Keys,
  {
    /** The key that new data of each subject is sealed with; it is made where there is none. */
    readonly sealing: (subjects: ReadonlySet<string>) => Effect.Effect<ReadonlyMap<string, Standing>, KeysError>
    /** Keys by their ids. One that is not in the answer is not known: it is neither there nor forgotten. */
    readonly opening: (ids: ReadonlySet<string>) => Effect.Effect<ReadonlyMap<string, Standing>, KeysError>
    /**
     * The first step of forgetting: nothing new is sealed, what stands is still read. Gives the generation that is closed: the newest, or all
     * up to the one that is given.
     */
    readonly close: (subject: string, generation?: number) => Effect.Effect<number, KeysError>
    /** The last step: the keys up to a generation are gone for good. */
    readonly destroy: (subject: string, generation: number) => Effect.Effect<void, KeysError>
    /**
     * Of subjects, with the generation up to which each is forgotten, those to whom the last step has not come yet. Of the others this process keeps
     * nothing that it may have had. Default: all of them, and each is done again.
     */
    readonly unfinished?: (forgotten: ReadonlyMap<string, number>) => Effect.Effect<ReadonlySet<string>, KeysError>
    /** Lets one who is forgotten in anew, with another key. Does nothing for others. */
    readonly readmit: (subject: string) => Effect.Effect<void, KeysError>
    /** How long after `destroy` a process may still have the key. */
    readonly bound: Duration.Duration
  }
>()("eventfold/Keys") {}

const sealLabel = toBytes("eventfold/1 seal")
const nonceLabel = toBytes("eventfold/1 nonce")

/** How long the secret of a subject is, in bytes: its keys are derived from it. */
export const secretLength = 32

/** The key of a subject, out of its secret. */
export const keyOf = Effect.fnUntraced(function* (
  mac: Mac.Mac["Service"],
  id: string,
  secret: Uint8Array
): Effect.fn.Return<SubjectKey, CryptoError> {
  const root = yield* Mac.key(Mac.hmacSha256, secret)
  const seal = yield* Aead.key(Aead.aes256Gcm, yield* mac.sign(root, sealLabel))
  const nonces = yield* Mac.key(Mac.hmacSha256, yield* mac.sign(root, nonceLabel))
  return { _tag: "Key", id, seal, nonces }
})

/** How long the id of a key is, in bytes. */
export const idLength = 12
