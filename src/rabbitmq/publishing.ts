/**
 * Publishing: pipelined, in windows that the broker confirms message by message.
 */
import { type ConfirmChannel, IllegalOperationError, type Options } from "amqplib"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as RcRef from "effect/RcRef"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { batchesOf, detailOf, inTime, keyOf, refused, unavailable } from "../transport/kit.ts"
import type { Message, Transport, TransportError } from "../transport/Transport.ts"
import { type Address, type Connection, current, open, openConnection } from "./connection.ts"
import { encode, type Encoded } from "./cloudEvents.ts"
import type { Topology } from "./topology.ts"

/** What is sent, and where to. */
export interface Parcel extends Encoded {
  readonly id: string
  readonly exchange: string
  readonly routingKey: string
  /** What others have said of it that is none of its headers. */
  readonly properties?: Options.Publish
}

export interface Publisher {
  readonly publish: Transport["Service"]["publish"]
  /** Sends one parcel, over a connection on which something is done before that. */
  readonly send: (
    operation: string,
    parcel: Parcel,
    before: (connection: Connection) => Effect.Effect<void, TransportError>
  ) => Effect.Effect<void, TransportError>
  /** Connects, and makes what is absent. */
  readonly connect: Effect.Effect<Connection, TransportError, Scope.Scope>
}

/** A channel that confirms. */
interface Sender {
  readonly connection: Connection
  readonly channel: ConfirmChannel
  readonly lost: () => string | undefined
  /** Of each window that is in flight the routing keys of what came back meanwhile, because no queue took it. */
  readonly returned: Set<Set<string>>
}

/** How many messages and bytes are in flight at once. */
const window = { maxItems: 500, maxBytes: 1024 * 1024, sizeOf: ({ content }: Parcel) => content.length }

/** How many messages are remembered that were confirmed in a batch that failed later on. */
const mostRemembered = 100_000

/** The most bytes of a message's data; a smaller limit of the broker is learned when a message is refused. */
interface Limit {
  bytes: number
}

const tooLarge = (limit: Limit, { content, id }: Parcel): TransportError | undefined =>
  content.length > limit.bytes
    ? refused(id, `${content.length} bytes of data are more than the ${limit.bytes} that RabbitMQ takes`)
    : undefined

/** What it means for messages on their way that their channel failed. */
const failureOf = (limit: Limit, operation: string, parcels: ReadonlyArray<Parcel>, detail: string, cause: unknown) => {
  const learned = /larger than configured max size (\d+)/.exec(detail)?.[1]
  if (learned !== undefined) limit.bytes = Math.min(limit.bytes, Number(learned))
  for (const parcel of parcels) {
    const error = tooLarge(limit, parcel)
    if (error !== undefined) return error
  }
  return unavailable(operation, detail, cause)
}

/** Sends all at once, and waits until the broker has confirmed each. `onConfirmed` is called with the place of each. */
const confirmed = (
  { channel, connection, lost }: Sender,
  limit: Limit,
  operation: string,
  parcels: ReadonlyArray<Parcel>,
  onConfirmed: (index: number) => void
): Effect.Effect<void, TransportError> =>
  Effect.callback((resume) => {
    let missing = parcels.length
    const onAnswer = (index: number) => (cause: unknown) => {
      if (cause !== null) {
        const detail = lost()
        // A channel that was opened before a queue had its new leader refuses for ever what goes there: another one does not.
        if (detail === undefined) connection.abandon()
        return resume(Effect.fail(failureOf(limit, operation, parcels, detail ?? detailOf(cause), cause)))
      }
      onConfirmed(index)
      if (--missing === 0) resume(Effect.void)
    }
    for (const [index, { content, contentType, exchange, headers, id, properties, routingKey }] of parcels.entries()) {
      try {
        const options = {
          ...properties,
          ...(contentType !== undefined && { contentType }),
          persistent: true,
          mandatory: true,
          headers
        }
        channel.publish(exchange, routingKey, content, options, onAnswer(index))
      } catch (cause) {
        const detail = detailOf(cause)
        const isLost = cause instanceof IllegalOperationError
        return resume(Effect.fail(isLost ? unavailable(operation, lost() ?? detail, cause) : refused(id, detail, cause)))
      }
    }
  })

/** Fails when the broker confirms nothing for so long. A broker that confirms, however slowly, has all the time it needs. */
const whileConfirming =
  (operation: string, timeout: Duration.Duration, count: () => number, connection: Connection) =>
  (work: Effect.Effect<void, TransportError>): Effect.Effect<void, TransportError> => {
    const silence: Effect.Effect<never, TransportError> = Effect.suspend(() => {
      const before = count()
      return Effect.andThen(
        Effect.sleep(timeout),
        Effect.suspend(() => {
          if (count() !== before) return silence
          // What it has not taken by now would only pile up.
          connection.abandon()
          const blocked = connection.blocked()
          const detail = `the server did not answer within ${Duration.format(timeout)}`
          return Effect.fail(unavailable(operation, blocked === undefined ? detail : `${detail}: ${blocked}`))
        })
      )
    })
    return Effect.raceFirst(work, silence)
  }

const openSender = Effect.fnUntraced(function* (
  address: Address,
  topology: Topology
): Effect.fn.Return<Sender, TransportError, Scope.Scope> {
  const connection = yield* openConnection(address)
  yield* topology.open(connection)
  const { lost, value: channel } = yield* open("connect", () => connection.model.createConfirmChannel())
  const returned: Sender["returned"] = new Set()
  channel.on("return", ({ fields }) => {
    for (const keys of returned) keys.add(fields.routingKey)
  })
  return { connection, channel, lost: () => connection.lost() ?? lost(), returned }
})

/** What was confirmed of batches that failed later on, each by what it is known by: whoever repeats a batch goes on there. */
const makeConfirmations = () => {
  const remembered = new Set<string>()
  return {
    /** Leaves out the messages at the beginning that the broker has. */
    skip: (messages: ReadonlyArray<Message>): ReadonlyArray<Message> => {
      if (remembered.size === 0) return messages
      const first = messages.findIndex((message) => !remembered.has(keyOf(message)))
      return first === -1 ? [] : messages.slice(first)
    },
    remember: (messages: ReadonlyArray<Message>) => {
      for (const message of messages) remembered.add(keyOf(message))
      for (const key of remembered) {
        if (remembered.size <= mostRemembered) break
        remembered.delete(key)
      }
    },
    forget: (messages: ReadonlyArray<Message>) => {
      if (remembered.size > 0) for (const message of messages) remembered.delete(keyOf(message))
    }
  }
}

const encodeAll = (
  { exchange, keyOf: routingKeyOf }: Topology["names"],
  limit: Limit,
  messages: ReadonlyArray<Message>
): Result.Result<ReadonlyArray<Parcel>, TransportError> => {
  const parcels: Array<Parcel> = []
  for (const message of messages) {
    const encoded = encode(message)
    if (Result.isFailure(encoded)) return Result.fail(refused(message.id, encoded.failure))
    const parcel = { ...encoded.success, id: message.id, exchange, routingKey: routingKeyOf(message.type) }
    const error = tooLarge(limit, parcel)
    if (error !== undefined) return Result.fail(error)
    parcels.push(parcel)
  }
  return Result.succeed(parcels)
}

export const makePublisher = Effect.fnUntraced(function* (
  address: Address,
  topology: Topology,
  maxMessageBytes: number
): Effect.fn.Return<Publisher, never, Scope.Scope> {
  const { timeout } = address
  const limit: Limit = { bytes: maxMessageBytes }
  const senders = yield* RcRef.make({ acquire: openSender(address, topology), idleTimeToLive: Duration.infinity })
  const confirmations = makeConfirmations()

  /** Sends a window. `onConfirmed` is called with the place in it of each message. Returns the routing keys that no queue took. */
  const sendWindow = Effect.fnUntraced(function* (
    operation: string,
    sender: Sender,
    parcels: ReadonlyArray<Parcel>,
    onConfirmed: (index: number) => void
  ) {
    let count = 0
    const returned = new Set<string>()
    sender.returned.add(returned)
    yield* confirmed(sender, limit, operation, parcels, (index) => {
      count++
      onConfirmed(index)
    }).pipe(
      whileConfirming(operation, timeout, () => count, sender.connection),
      Effect.ensuring(Effect.sync(() => sender.returned.delete(returned)))
    )
    return returned
  })

  const connect = Effect.map(current(senders), ({ connection }) => connection)

  const send: Publisher["send"] = (operation, parcel, before) =>
    Effect.gen(function* () {
      const sender = yield* inTime(operation, timeout)(Effect.tap(current(senders), ({ connection }) => before(connection)))
      const returned = yield* sendWindow(operation, sender, [parcel], () => {})
      if (returned.size > 0) return yield* unavailable(operation, "no queue takes the message: it has vanished")
    }).pipe(Effect.scoped)

  /** Sends what the broker has not confirmed before. What comes back although a group wants it is sent again. */
  const sendAll = Effect.fnUntraced(function* (parcels: ReadonlyArray<Parcel>, onConfirmed: (index: number) => void) {
    let sent = 0
    for (const batch of batchesOf(parcels, window)) {
      const sender = yield* inTime("publish", timeout)(current(senders))
      const unsettled = topology.unsettled()
      if (unsettled !== undefined) return yield* unavailable("publish", unsettled)
      const first = sent
      const isWanted = ({ routingKey }: Parcel) => topology.isWanted(routingKey)
      const returned = yield* sendWindow("publish", sender, batch, (index) => onConfirmed(first + index))
      const vanished = returned.size === 0 ? [] : batch.filter(isWanted).filter(({ routingKey }) => returned.has(routingKey))
      if (vanished.length > 0) {
        yield* inTime("publish", timeout)(topology.reopen(sender.connection))
        const again = yield* sendWindow("publish", sender, vanished, () => {})
        if (again.size > 0) return yield* unavailable("publish", "no queue takes the message: what its group needs has vanished")
      }
      sent += batch.length
    }
  }, Effect.scoped)

  return {
    connect,
    send,
    publish: (messages) =>
      Effect.suspend(() => {
        const missing = confirmations.skip(messages)
        const parcels = encodeAll(topology.names, limit, missing)
        if (Result.isFailure(parcels)) return Effect.fail(parcels.failure)
        const answered = new Set<number>()
        return Effect.onExitPrimitive(
          sendAll(parcels.success, (index) => answered.add(index)),
          (exit) => {
            // The beginning alone: so whoever repeats the batch keeps its order.
            const first = missing.findIndex((_, index) => !answered.has(index))
            if (exit._tag === "Success") confirmations.forget(messages)
            else if (first !== 0) confirmations.remember(missing.slice(0, first === -1 ? undefined : first))
            return undefined
          }
        )
      })
  }
})
