/**
 * Publishing: messages are encoded, sent in windows of many in flight, and each is answered by the stream.
 */
import type { Msg } from "@nats-io/transport-node"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { batchesOf, refused, unavailable } from "../transport/kit.ts"
import type { Message, Transport, TransportError } from "../transport/Transport.ts"
import { type Connection, noResponders } from "./connection.ts"
import { type Outgoing, sizeOf, toOutgoing } from "./encoding.ts"
import type { Topology } from "./topology.ts"

/** How many messages and bytes of a batch are in flight at once. */
const window = { maxItems: 500, maxBytes: 4 * 1024 * 1024 }
/** The server's number for a message that the stream does not take. */
const messageTooLarge = 10054

/** A message as it is sent. */
interface Parcel extends Outgoing {
  readonly id: string
  readonly size: number
}

/** What the stream says of a message. */
const errorOf = (answer: Msg, id: string): TransportError | undefined => {
  const parsed = Result.try(() => answer.json<{ readonly error?: { readonly err_code: number; readonly description: string } }>())
  if (Result.isFailure(parsed)) return unavailable("publish", "somebody else than a stream answers", parsed.failure)
  const { error } = parsed.success
  if (error === undefined) return undefined
  return error.err_code === messageTooLarge
    ? refused(id, error.description, error)
    : unavailable("publish", error.description, error)
}

export const makePublish = (
  { ask, nats }: Connection,
  { create, largestMessage, openStream, prefix }: Topology
): Transport["Service"]["publish"] => {
  const encode = (message: Message): Result.Result<Parcel, TransportError> => {
    const outgoing = toOutgoing(prefix, message)
    if (Result.isFailure(outgoing)) return Result.fail(refused(message.id, outgoing.failure))
    const size = sizeOf(outgoing.success)
    const limit = Math.min(nats.info?.max_payload ?? Infinity, largestMessage())
    return size > limit
      ? Result.fail(refused(message.id, `its ${size} bytes are more than the ${limit} that the server takes`))
      : Result.succeed({ ...outgoing.success, size, id: message.id })
  }
  /** Where somebody has deleted the stream, it is made again if it may be. */
  const send = (window: ReadonlyArray<Parcel>) => {
    const sending = ask("publish", window, (answer, index) => errorOf(answer, window[index]?.id ?? ""))
    return Effect.catchIf(
      sending,
      ({ reason }) => create && reason.detail === noResponders,
      () => Effect.andThen(openStream, sending)
    )
  }
  return (messages) =>
    Effect.suspend(() => {
      const parcels: Array<Parcel> = []
      for (const message of messages) {
        const parcel = encode(message)
        if (Result.isFailure(parcel)) return Effect.fail(parcel.failure)
        parcels.push(parcel.success)
      }
      return Effect.forEach(batchesOf(parcels, { ...window, sizeOf: ({ size }) => size }), send, { discard: true })
    })
}
