/**
 * A member of a group: a channel that consumes the group's queue, and what is said of each message.
 */
import type { Channel, ConsumeMessage } from "amqplib"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as RcRef from "effect/RcRef"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { createHash, randomUUID } from "node:crypto"
import { attempting, attemptingSync, deliveriesOf, makeDelivery, makeInFlight, unavailable, wrap } from "../transport/kit.ts"
import type { CloudEvent, Delivery, SubscribeOptions, TransportError } from "../transport/Transport.ts"
import { makeAcknowledging } from "./acknowledging.ts"
import { decode } from "./cloudEvents.ts"
import { closeGrace, type Connection, current, open } from "./connection.ts"
import { delayStep, typeOf } from "./names.ts"
import type { Publisher } from "./publishing.ts"
import { delayHeader, keepGroup, type Topology } from "./topology.ts"

/** Header: how many attempts a message had before it was moved to a queue for delays. */
const attemptsHeader = "eventfold-attempts"
/** Header: the routing key that a message came with, before it was moved: it goes back to its queue under the queue's own. */
const routingKeyHeader = "eventfold-routing-key"
/** After which a message comes again that a member was given and did not ask for. */
const handOnDelay = "1 second"
const mostUnacknowledged = 65_535

const routingKeyOf = ({ fields, properties: { headers } }: ConsumeMessage): string =>
  String(headers?.[routingKeyHeader] ?? fields.routingKey)

/** How many deliveries a message has had, this one included. */
const attemptOf = ({ fields, properties: { headers } }: ConsumeMessage): number => {
  const before = Number(headers?.[attemptsHeader] ?? 0)
  return before + Number(headers?.["x-delivery-count"] ?? (fields.redelivered ? 1 : 0)) + 1
}

/** What comes back as it was. Not who has sent it, which is for the sender to say, nor when it expires: it has come. */
const lasting = ["contentEncoding", "priority", "correlationId", "replyTo", "messageId", "timestamp", "type", "appId"] as const

/** Moves a message to where it waits before it goes back to its queue. */
const postpone = (
  { send }: Publisher,
  { names, openDelay }: Topology,
  queue: string,
  raw: ConsumeMessage,
  attempts: number,
  delay: Duration.Duration
): Effect.Effect<void, TransportError> => {
  const { content, properties } = raw
  const millis = delayStep(delay)
  const headers = Object.fromEntries(Object.entries(properties.headers ?? {}).filter(([name]) => !name.startsWith("x-")))
  const parcel = {
    id: "",
    exchange: names.delays,
    routingKey: queue,
    content,
    contentType: typeof properties.contentType === "string" ? properties.contentType : undefined,
    properties: Object.fromEntries(lasting.map((name) => [name, properties[name] as unknown])),
    headers: { ...headers, [attemptsHeader]: attempts, [routingKeyHeader]: routingKeyOf(raw), [delayHeader]: millis }
  }
  return send("nack", parcel, (connection) => openDelay(connection, millis))
}

type Received = Queue.Queue<ConsumeMessage, TransportError>

/** Consumes the queue until the scope closes: then no message is given any more. */
const consuming = Effect.fnUntraced(function* (
  channel: Channel,
  queue: string,
  concurrency: number,
  received: Received,
  end: (detail: string) => void
) {
  yield* attempting("subscribe", () => channel.prefetch(Math.min(concurrency, mostUnacknowledged)))
  const consumerTag = randomUUID()
  // When a channel closes, its queue learns of it a moment later, and may give it one more message until then.
  yield* Effect.addFinalizer(() =>
    Effect.ignore(
      Effect.timeoutOption(
        attempting("unsubscribe", () => channel.cancel(consumerTag)),
        closeGrace
      )
    )
  )
  const onMessage = (message: ConsumeMessage | null) => {
    if (message === null) end("the broker has cancelled the consumer: its queue is gone, or has no leader")
    else Queue.offerUnsafe(received, message)
  }
  yield* attempting("subscribe", () => channel.consume(queue, onMessage, { consumerTag }))
})

/** What is no CloudEvent, under the type that its routing key says. RabbitMQ has no name for it: the same bytes are the same thing. */
const wrapped = (queue: string, raw: ConsumeMessage): CloudEvent =>
  wrap({
    source: `rabbitmq:${queue}`,
    id: String(raw.properties.messageId ?? createHash("sha256").update(raw.content).digest("hex")),
    type: typeOf(routingKeyOf(raw)),
    body: raw.content
  })

/** What is received, as deliveries. What is no message, and what this member did not ask for, is settled here. */
const delivering = (
  channel: Channel,
  queue: string,
  { types, unreadable }: SubscribeOptions,
  move: (raw: ConsumeMessage, attempts: number, delay: Duration.Duration) => Effect.Effect<void, TransportError>
) => {
  const inFlight = makeInFlight<ConsumeMessage>()
  const { ack, add, drop, flush } = makeAcknowledging(channel)
  const refuse = (operation: string, raw: ConsumeMessage, again: boolean) =>
    attemptingSync(operation, () => {
      channel.nack(raw, false, again)
      drop(raw)
    })
  const settle = (raw: ConsumeMessage, attempt: number) => (delay: Duration.Duration | undefined) => {
    if (delay === undefined) return inFlight.settle(raw, ack(raw))
    return inFlight.settle(
      raw,
      Duration.isZero(delay) ? refuse("nack", raw, true) : Effect.andThen(move(raw, attempt, delay), ack(raw))
    )
  }
  const accept = (raw: ConsumeMessage): Delivery | Effect.Effect<void, TransportError> => {
    const { content, properties } = raw
    add(raw)
    const message = decode({ content, contentType: properties.contentType, headers: properties.headers ?? {} })
    const attempt = attemptOf(raw)
    const deliver = (event: CloudEvent, why?: string) => {
      inFlight.add(raw)
      return makeDelivery(event, attempt, settle(raw, attempt), why)
    }
    if (Result.isFailure(message)) {
      if (unreadable === "deliver") return deliver(wrapped(queue, raw), message.failure)
      return Effect.logError(`eventfold: rejected what is no message, in the queue "${queue}": ${message.failure}`).pipe(
        Effect.andThen(refuse("reject", raw, false))
      )
    }
    if (types?.includes(message.success.type) === false) {
      const moved = move(raw, attempt - 1, Duration.fromInputUnsafe(handOnDelay))
      return Effect.andThen(moved, ack(raw))
    }
    return deliver(message.success)
  }
  const end = () => {
    flush()
    inFlight.end()
  }
  return { accept, end }
}

/** Joins a group. The stream fails when its connection, its channel or its queue is gone, and when the Layer closes. */
export const join = Effect.fnUntraced(function* (
  connections: RcRef.RcRef<Connection, TransportError>,
  topology: Topology,
  publisher: Publisher,
  options: SubscribeOptions
): Effect.fn.Return<Stream.Stream<Delivery, TransportError>, TransportError, Scope.Scope> {
  const { concurrency = 1, group, types } = options
  const queue = topology.names.queueOf(group)
  const connection = yield* current(connections)
  yield* topology.openGroup(connection, { group, types })
  const { lost, onLost, value: channel } = yield* open("subscribe", () => connection.model.createChannel())
  const gone = () => connection.lost() ?? lost()

  const received: Received = yield* Queue.unbounded<ConsumeMessage, TransportError>()
  const end = (detail: string) => {
    Queue.failCauseUnsafe(received, Cause.fail(unavailable("subscribe", detail)))
  }
  onLost(() => end(gone() ?? "the channel was closed"))
  yield* Effect.catch(consuming(channel, queue, concurrency, received, end), (error) =>
    // What the broker has closed the channel for says more than that it is closed, and comes a moment later.
    Effect.flatMap(Effect.yieldNow, () => Effect.fail(unavailable("subscribe", gone() ?? error.reason.detail, error)))
  )
  const deliveries = delivering(channel, queue, options, (raw, attempts, delay) =>
    postpone(publisher, topology, queue, raw, attempts, delay)
  )
  // What is said later does nothing; what is said when the connection is gone, fails.
  yield* Effect.addFinalizer(() => Effect.sync(() => gone() === undefined && deliveries.end()))
  yield* keepGroup(topology, connection, { group, types }).pipe(
    Effect.catch(({ reason }) => Effect.sync(() => end(reason.detail))),
    Effect.forkScoped
  )
  return deliveriesOf(received, deliveries.accept)
})
