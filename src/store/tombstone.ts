/**
 * What stands where an event was removed: its row stays, with its place, its id, its time and its digest. What it said is gone.
 */
import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { RecordedEvent } from "../definitions/stored.ts"
import { writeJson } from "../internal/exactJson.ts"
import { EventsArchived, EventsRemoved, EventStoreError } from "./errors.ts"

/** The type of every tombstone. */
export const tombstoneType = "$Tombstone"

/**
 * What a tombstone says of the event that it stands for.
 *
 * @category retention
 * @since 0.2.0
 */
export interface Tombstone {
  /** The type of the event. */
  readonly type: string
  /** Why it was removed. */
  readonly reason: string
  /** The SHA-256 of the event as it was stored, in hexadecimal: what the hash chain is made of. */
  readonly digest: string
  /** The name of the archive that has the event; absent where nobody has it any more. */
  readonly archive?: string
}

/**
 * Whether an event is a tombstone: its place, id and time are those of an event that was removed, and its payload says of what type it was,
 * why it was removed, and where it was moved.
 *
 * **When to use**: wherever events are read as they are stored: `read`, `readAll`, `subscribe`. Aggregates, projections, process managers and
 * relays need not ask.
 *
 * **Details**: a tombstone has no tags and no metadata, and is not published, so filters by type, tag, correlation or `published` no longer
 * let it through.
 *
 * ```ts
 * import { Effect, Layer, Stream } from "effect"
 * import { Checkpoints, EventStore, Retention } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   yield* EventStore.append("Cart-1", [{ type: "CartOpened", payload: { customer: "Ada" } }])
 *   yield* Retention.tombstone("Cart-1", { reason: "abandoned" })
 *   const [event] = yield* Stream.runCollect(EventStore.read("Cart-1"))
 *   return event !== undefined && EventStore.isTombstone(event) ? [event.version, event.payload.type, event.payload.reason] : []
 * })
 *
 * const Live = Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory)
 * await Effect.runPromise(Effect.provide(program, Live)) // => [1, "CartOpened", "abandoned"]
 * ```
 *
 * @category retention
 * @since 0.2.0
 */
export const isTombstone = <E extends Pick<RecordedEvent, "type">>(
  event: E
): event is E & { readonly type: typeof tombstoneType; readonly payload: Tombstone & RecordedEvent["payload"] } =>
  event.type === tombstoneType

/** The JSON text of the payload of a tombstone: the same in every store. */
export const tombstoneText = ({ archive, digest, reason, type }: Tombstone): string =>
  JSON.stringify({ type, reason, digest, ...(archive === undefined ? {} : { archive }) })

/** An event as a store keeps it: its JSON as text. */
interface Kept {
  readonly position: number
  readonly version: number
  readonly stream: string
  readonly id: string
  readonly type: string
  readonly schemaVersion: number
  readonly published: boolean
  readonly tags: ReadonlyArray<string>
  /** Milliseconds since the epoch. */
  readonly recordedAt: number
  readonly metadata: string
  readonly payload: string
}

/**
 * The text of which an event's digest is made. It is the same in every store, and PostgreSQL makes it, too: payload and metadata as they are
 * stored, byte for byte.
 *
 * @category adapters
 * @since 0.2.0
 */
export const digestText = (event: Kept): string =>
  `[${event.position},${event.version},${JSON.stringify(event.stream)},${JSON.stringify(event.id)},${JSON.stringify(event.type)},${event.schemaVersion},${event.published},${JSON.stringify(event.tags)},${event.recordedAt},${event.metadata},${event.payload}]`

/** The digest that the tombstone with this payload, JSON text, has of its event. */
const digestOfTombstone = (payload: string): string => String((JSON.parse(payload) as Partial<Tombstone>).digest)

/** The digest of an event as a store keeps it, of a tombstone that of its event, where there is a SHA-256 that does not have to be waited for. */
export const keptDigest = (event: Kept, sha256: (text: string) => string): string =>
  event.type === tombstoneType ? digestOfTombstone(event.payload) : sha256(digestText(event))

/** An event that was read, as a store keeps it. */
const kept = (event: RecordedEvent): Kept => ({
  ...event,
  recordedAt: event.recordedAt.epochMilliseconds,
  metadata: writeJson(event.metadata),
  payload: writeJson(event.payload)
})

/** The digests of events as a store keeps them. */
export const keptDigests = (events: ReadonlyArray<Kept>): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(digestsOf(events.filter(({ type }) => type !== tombstoneType).map(digestText)), (digests) => {
    let next = 0
    return events.map(({ payload, type }) => (type === tombstoneType ? digestOfTombstone(payload) : (digests[next++] as string)))
  })

const encoder = new TextEncoder()

/** What is used of `node:crypto`, where the runtime has it: a promise of `crypto.subtle` takes twenty times as long. */
interface NodeCrypto {
  readonly hash?: (algorithm: "sha256", data: Uint8Array, encoding: "hex") => string
}

const { process } = globalThis as {
  readonly process?: { readonly getBuiltinModule?: (name: string) => NodeCrypto | undefined }
}
const hashAtOnce = process?.getBuiltinModule?.("node:crypto")?.hash

/** The SHA-256 of texts, in hexadecimal: by the `Digest` that is provided, or else by that of the platform. */
export const digestsOf = (texts: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>> =>
  Effect.flatMap(Effect.serviceOption(Digest.Digest), (found) => {
    if (Option.isNone(found) && hashAtOnce !== undefined) {
      return Effect.sync(() => texts.map((text) => hashAtOnce("sha256", encoder.encode(text), "hex")))
    }
    const hash = Effect.flatMap(Digest.Digest, (digest) =>
      Effect.forEach(texts, (text) => digest.digestHex(Digest.sha256, encoder.encode(text)), { concurrency: 64 })
    )
    return Option.isSome(found)
      ? Effect.provideService(hash, Digest.Digest, found.value)
      : Effect.provide(hash, Digest.layerWebCrypto)
  })

/** The digests of events: of a tombstone, that of the event that it stands for. */
export const eventDigests = (events: ReadonlyArray<RecordedEvent>): Effect.Effect<ReadonlyArray<string>> =>
  keptDigests(events.map(kept))

/** What a tombstone says of the event that it stands for. */
export const toldBy = (tombstone: Pick<RecordedEvent, "payload">): Tombstone => tombstone.payload as object as Tombstone

/** Whether this is a {@link removedError}. */
export const isRemoved = (error: { readonly _tag: string }): error is EventStoreError =>
  error instanceof EventStoreError && (error.reason instanceof EventsRemoved || error.reason instanceof EventsArchived)

/** What a reader fails with that cannot do without an event that was removed. */
export const removedError = (operation: string, event: RecordedEvent, advice = ""): EventStoreError => {
  const { archive, reason, type } = toldBy(event)
  const what = `version ${event.version} of "${event.stream}", a "${type}",`
  const place = { operation, stream: event.stream, version: event.version, position: event.position }
  return new EventStoreError({
    reason:
      archive === undefined
        ? new EventsRemoved({ ...place, detail: `${what} was removed (${reason})${advice}` })
        : new EventsArchived({ ...place, archive, detail: `${what} was moved to the archive "${archive}" (${reason})${advice}` })
  })
}
