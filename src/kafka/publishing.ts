/**
 * Publishing: an idempotent producer, which waits until all replicas in sync have what it has sent.
 */
import { Producer } from "@platformatic/kafka"
import * as Effect from "effect/Effect"
import * as RcRef from "effect/RcRef"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { batchesOf, refused } from "../transport/kit.ts"
import type { Message, Transport, TransportError } from "../transport/Transport.ts"
import { encode } from "./cloudEvents.ts"
import { type Connection, says } from "./connection.ts"
import type { Topic } from "./topic.ts"

export interface Settings {
  readonly mode: "binary" | "structured"
  /** What decides the partition of a message. */
  readonly key: (message: Message) => string
}

/** A record as it is sent. */
interface Parcel {
  readonly id: string
  readonly size: number
  readonly topic: string
  readonly key: Buffer
  readonly value: Buffer
  readonly headers: Map<Buffer, Buffer>
}

/** The head of a batch of records. */
const batchOverhead = 100
/** A batch is one answer, and one write of the broker. */
const most = { maxItems: 1000, maxBytes: 1024 * 1024 }

const tooLarge = (id: string, size: number, limit: number): TransportError =>
  refused(id, `its ${size} bytes are more than the ${limit} that the topic takes (max.message.bytes)`)

/** What brokers say of a record that they will never take. */
const lasting = ["MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD", "CORRUPT_MESSAGE"]

export const makePublish = Effect.fnUntraced(function* (
  { ask, base }: Connection,
  { largestBatch, name: topic, open }: Topic,
  { key, mode }: Settings
): Effect.fn.Return<Transport["Service"]["publish"], never, Scope.Scope> {
  const producers = yield* RcRef.make({
    acquire: Effect.acquireRelease(
      Effect.sync(() => new Producer({ ...base, idempotent: true, autocreateTopics: false })),
      (producer) =>
        Effect.ignore(
          Effect.timeoutOption(
            Effect.tryPromise(() => producer.close(true)),
            "2 seconds"
          )
        )
    ),
    idleTimeToLive: "1 hour"
  })

  const toParcel = (message: Message): Result.Result<Parcel, TransportError> =>
    Result.flatMap(
      Result.mapError(encode(message, mode), (fault) => refused(message.id, fault)),
      ({ headers, size: bare, value }) => {
        const keyBytes = Buffer.from(key(message))
        const size = bare + keyBytes.length + batchOverhead
        return size > largestBatch()
          ? Result.fail(tooLarge(message.id, size, largestBatch()))
          : Result.succeed({ id: message.id, size, topic, key: keyBytes, value, headers })
      }
    )

  /** One answer of the brokers. `undefined` when they will never take what it has. */
  const attempt = (batch: ReadonlyArray<Parcel>): Effect.Effect<boolean, TransportError> =>
    Effect.scoped(
      Effect.flatMap(RcRef.get(producers), (producer) =>
        ask("publish", async () => {
          try {
            await producer.send({ messages: batch.map(({ headers, key, topic, value }) => ({ topic, key, value, headers })) })
            return true
          } catch (cause) {
            if (says(cause, ...lasting)) return false
            throw cause
          }
        })
      )
    )

  const send = (batch: ReadonlyArray<Parcel>): Effect.Effect<void, TransportError> =>
    Effect.flatMap(attempt(batch), (taken) => {
      if (taken) return Effect.void
      const [only] = batch
      if (only === undefined) return Effect.void
      // Its limit has changed: whose fault it is shows one by one.
      return batch.length === 1
        ? Effect.fail(refused(only.id, "the brokers do not take it: it is too large for the topic, or no record to them"))
        : Effect.forEach(batch, (parcel) => send([parcel]), { discard: true })
    })

  /** What a producer that has failed would send later would come behind what is sent anew. */
  const orAbandon = <A>(sending: Effect.Effect<A, TransportError>): Effect.Effect<A, TransportError> =>
    Effect.tapError(sending, () => RcRef.invalidate(producers))

  return (messages) =>
    Effect.suspend(() => {
      const parcels: Array<Parcel> = []
      for (const message of messages) {
        const parcel = toParcel(message)
        if (Result.isFailure(parcel)) return Effect.fail(parcel.failure)
        parcels.push(parcel.success)
      }
      const room = { maxItems: most.maxItems, maxBytes: Math.min(most.maxBytes, largestBatch()) }
      const batches = batchesOf(parcels, { ...room, sizeOf: ({ size }) => size })
      return Effect.forEach(batches, send, { discard: true }).pipe(
        Effect.catchIf(
          ({ reason }) => reason._tag === "TransportUnavailable" && /UNKNOWN_TOPIC|Unknown topic/.test(reason.detail),
          // Somebody has deleted it: it is made again if it may be.
          () => Effect.andThen(open, Effect.forEach(batches, send, { discard: true }))
        ),
        orAbandon
      )
    })
})
