/**
 * The transport over RabbitMQ (3.10 or newer), by AMQP 0-9-1 and `amqplib`.
 *
 * Messages go to one durable **topic exchange**; their routing key is the type of the event. Each group has one durable **quorum
 * queue**, bound to the exchange by the types that its members ask for (by `#` when one asks for all). A queue is made at its
 * group's first subscription, or with the Layer (`groups`).
 *
 * ```ts no-run
 * import { Effect, Stream } from "effect"
 * import { Transport } from "eventfold"
 * import { RabbitMqTransport } from "eventfold/rabbitmq"
 *
 * const Live = RabbitMqTransport.layer({
 *   url: "amqp://shop:secret@rabbitmq.internal",
 *   groups: [{ group: "mail", types: ["OrderPlaced"] }] // keeps messages from now on, even if no member has come yet
 * })
 *
 * const program = Transport.subscribe({ group: "mail", types: ["OrderPlaced"] }).pipe(
 *   Stream.runForEach(({ ack, message }) => Effect.andThen(Effect.log(message.subject), ack)),
 *   Effect.provide(Live)
 * )
 * ```
 *
 * **What travels** is a CloudEvent in the binary mode of the AMQP binding, so that brokers and consumers can route and filter
 * without reading bodies: each attribute is a header `cloudEvents_<name>` (`schemaversion` an integer, all others strings), the
 * body is the data as JSON, the content type is `application/json`. What others publish to the exchange is read in this mode, in
 * the spelling `cloudEvents:<name>`, and in structured mode (`application/cloudevents+json`). What is no such message is logged
 * as an error and rejected: the dead-letter policy of the queue takes it where there is one, and where there is none it is gone.
 *
 * **Publishing** is pipelined, persistent and confirmed: `publish` succeeds when every queue that a message is routed to has it
 * on the disks of a majority of its nodes. An exchange keeps nothing: **a message of a type that no queue is bound for is gone,
 * and that is a success**. A group therefore begins at its first subscription, or when a Layer that names it in `groups` is
 * built. The messages of one call, and of calls one after the other, keep their order. RabbitMQ does not de-duplicate: what is
 * published twice is delivered twice, with the same id.
 *
 * A message with more data than `maxMessageBytes`, or with an attribute that AMQP cannot carry, is `MessageRefused`, and nothing
 * of its batch is published. When only the broker finds it too large, what came before it in the batch may be published; from
 * then on its limit is known.
 *
 * **Delivery** is at least once. AMQP does not confirm acknowledgements: when one is lost with its connection, the message comes
 * again. What a member has not settled when it leaves, or when its process or connection dies, goes back at once (of a host that
 * vanishes: when two heartbeats have been missed). The queue counts the attempts, so those that ended with a crash count too.
 *
 * **Order**: a queue hands out its messages for the first time (`attempt` 1) in the order of publishing, whatever happens and
 * however many members there are. What goes back comes again before what has not been delivered yet, in the order of going back. A
 * group with one member of `concurrency` 1 therefore gets its messages in the order of publishing, also across `nack()` and when
 * the member leaves and comes again. Three things take a message out of that order: `nack({ delay })`; being published again,
 * which makes a copy of it at the end; and the loss of the connection by which it was given to a member (a crash of the member or
 * of the broker, too). Such a message goes back when the queue learns of the loss, and is overtaken by what is handed out until
 * then: after a crash of the broker by about as many messages as the `concurrency` of a member that is there at once, even if that
 * is 1. It bears an `attempt` of 2 or more, also if no handler ever saw it.
 *
 * Where order has to survive this too, make the queue of the group by your own tools, with the arguments `x-queue-type: quorum`,
 * `x-delivery-limit: 1000000000` and `x-single-active-consumer: true`: then one member at a time gets messages, and another one
 * only when all that the former one had has gone back. `concurrency` 1 has its price: a quorum queue hands out the next message
 * when the acknowledgement of the last one is on the disk, so expect some hundred messages a second.
 *
 * **Delays** are kept by the broker and survive its restarts: the message is moved, confirmed, to a quorum queue that
 * dead-letters it back to the group's queue when its time is over. A crash in the midst of that move duplicates it. There is such
 * a queue for each of ten delays a decade (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6 and 8 times a power of ten), made when it is first
 * needed and kept; a delay is rounded up to the next of these, from 100 milliseconds to 46 days. A delay that ends while RabbitMQ
 * starts again may take up to three minutes more.
 *
 * **Types**: the bindings of a queue only ever grow, so that members of different versions can work side by side. What a member
 * did not ask for it hands on: it comes again after a second, uncounted and out of the order, until a member takes it. When no
 * member wants a type any more, unbind the queue from it, or delete the queue, by the broker's own tools.
 *
 * **Names**: the exchange is `<exchange>`, the queue of a group `<exchange>.<group>`; the exchange of delays is
 * `<exchange>~delay`, and its queues are `<exchange>~delay.<milliseconds>`. Exchange, groups and types are percent-encoded as in
 * URLs, `*` and `~` too; what AMQP has no room for then is cut off and ends in `~` and the SHA-256 of the name. What is absent is
 * made, and what is there already, with other arguments perhaps, is used as it is (a classic queue counts no more than two
 * attempts). With `declare: false` nothing is ever made or bound, and what is missing fails.
 *
 * **Connections**: one to publish, and one to consume from the first subscription on, so that a broker that stops publishers for
 * want of memory or disk does not stop acknowledgements. After a loss the next call connects anew. During an outage, and when the
 * broker is frozen or blocks publishers for longer than `timeout`, everything fails with `TransportUnavailable`, subscriptions
 * included: the relay and consumers start again by their schedules.
 *
 * **In production**: three nodes, for on one node a quorum queue is as durable as its disk, and RabbitMQ 3.10 forgets what was in
 * a queue when its only node crashes within seconds of the queue's first declaration; a dead-letter policy for the queues if
 * other programs publish to the exchange; handlers that settle within RabbitMQ's `consumer_timeout` (30 minutes), after which it
 * closes the subscription. `nack()` without a delay again and again lets the log of a quorum queue grow.
 *
 * @since 0.1.0
 */
import {
  type Channel,
  type ChannelModel,
  type ConfirmChannel,
  connect,
  type ConsumeMessage,
  IllegalOperationError,
  type SocketOptions
} from "amqplib"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Queue from "effect/Queue"
import * as RcRef from "effect/RcRef"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { createHash, randomUUID } from "node:crypto"
import {
  type Message,
  type Delivery,
  MessageRefused,
  type SubscribeOptions,
  Transport,
  TransportError,
  TransportUnavailable
} from "../transport/Transport.ts"
import { decode, encode, type Encoded } from "./cloudEvents.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Where the broker is: `amqp://user:password@host:5672/vhost`, or `amqps:`. Of several, the nodes of a cluster, the first that
   * answers is taken.
   */
  readonly url: string | Arr.NonEmptyReadonlyArray<string>
  /** What the socket needs: `ca`, `cert`, `key`, … */
  readonly socket?: SocketOptions | undefined
  /** The name of the exchange, up to 64 bytes; names of queues begin with it. Default: `"eventfold"`. */
  readonly exchange?: string | undefined
  /** Groups that keep messages as soon as the Layer is built, each with the types it will ask for. Default: none. */
  readonly groups?: ReadonlyArray<Pick<SubscribeOptions, "group" | "types">> | undefined
  /** Whether absent exchanges, queues and bindings are made. Default: true. */
  readonly declare?: boolean | undefined
  /** How long to wait for the broker: to connect, to confirm a batch, to open a subscription. Default: 10 seconds. */
  readonly timeout?: Duration.Input | undefined
  /** A broker that is silent for two of these is taken for lost; in whole seconds. Default: 10 seconds. */
  readonly heartbeat?: Duration.Input | undefined
  /**
   * The most bytes of one message's data. A smaller limit of the broker is learned when a message is refused. Default: 128 MiB,
   * as in RabbitMQ 3.
   */
  readonly maxMessageBytes?: number | undefined
}

/** What is sent, and where to. */
interface Parcel extends Encoded {
  readonly id: string
  readonly exchange: string
  readonly routingKey: string
}

interface Connection {
  readonly model: ChannelModel
  /** Why it is of no use any more. */
  readonly lost: () => string | undefined
  /** Why the broker does not take messages at present. */
  readonly blocked: () => string | undefined
  /** Ends it without a word. */
  readonly abandon: () => void
}

interface Publisher {
  readonly connection: Connection
  readonly channel: ConfirmChannel
  readonly lost: () => string | undefined
}

const routingKeyBytes = 255
const exchangeBytes = 64
/** Header: how many attempts a message had before it was moved to a queue for delays. */
const attemptsHeader = "eventfold-attempts"
/** Header: by which a message finds its queue for delays, in milliseconds. */
const delayHeader = "eventfold-delay"
/** Quorum queues put back to its place what is returned only if they have a delivery limit. This one is never reached. */
const deliveryLimit = 1_000_000_000
const quorum = { "x-queue-type": "quorum" }
const delaySteps = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10]
const minDelay = 100
const maxDelay = 4_000_000_000 // a time to live has 32 bits
/** After which a message comes again that a member was given and did not ask for. */
const handOnDelay = 1000
const mostUnacknowledged = 65_535
/** How long closing in good order may take. */
const closeGrace = "2 seconds"
/** "Precondition failed": it is there, with other arguments; or a message is too large. */
const preconditionFailed = 406

const encodeName = (name: string, room: number): string => {
  const encoded = encodeURIComponent(name.toWellFormed()).replaceAll("*", "%2A").replaceAll("~", "%7E")
  if (encoded.length <= room) return encoded
  const digest = `~${createHash("sha256").update(name).digest("hex")}`
  return encoded.slice(0, room - digest.length) + digest
}

const delayStep = (delay: Duration.Input): number => {
  const millis = Math.min(Math.max(Duration.toMillis(Duration.fromInputUnsafe(delay)), minDelay), maxDelay)
  const power = 10 ** Math.floor(Math.log10(millis))
  return Math.round((delaySteps.find((step) => step * power >= millis) ?? 10) * power)
}

const messageOf = (cause: unknown): string =>
  Predicate.hasProperty(cause, "message") && cause.message !== ""
    ? String(cause.message)
    : Predicate.hasProperty(cause, "code")
      ? String(cause.code)
      : String(cause)

const codeOf = (cause: unknown): unknown => (Predicate.hasProperty(cause, "code") ? cause.code : undefined)

const unavailable = (operation: string, detail: string, cause?: unknown): TransportError =>
  new TransportError({ reason: new TransportUnavailable({ operation, detail, cause }) })

const refused = (id: string, detail: string, cause?: unknown): TransportError =>
  new TransportError({ reason: new MessageRefused({ operation: "publish", id, detail, cause }) })

const attempt = <A>(operation: string, evaluate: () => Promise<A>): Effect.Effect<A, TransportError> =>
  Effect.tryPromise({ try: evaluate, catch: (cause) => unavailable(operation, messageOf(cause), cause) })

const attemptSync = (operation: string, evaluate: () => void): Effect.Effect<void, TransportError> =>
  Effect.try({ try: evaluate, catch: (cause) => unavailable(operation, messageOf(cause), cause) })

/** What connections and channels have in common. */
interface Closeable {
  readonly close: () => Promise<void>
  readonly on: (event: "error" | "close", listener: (error?: Error) => void) => unknown
}

interface Opened<A> {
  readonly value: A
  /** Why it is closed. */
  readonly lost: () => string | undefined
  /** Calls back when it is closed, at once if it is already. */
  readonly onLost: (listener: () => void) => void
}

/** Opens a connection or a channel, which is closed with the scope: in good order if the broker answers. */
const open = <A extends Closeable>(
  operation: string,
  opening: () => Promise<A>
): Effect.Effect<Opened<A>, TransportError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      let error: unknown
      let closed = false
      const lost = () => (error !== undefined ? messageOf(error) : closed ? "it was closed" : undefined)
      const listeners: Array<() => void> = []
      // Also of what is given up while it opens, nothing is left open, and no event is without a listener.
      const opened = opening().then((value): Opened<A> => {
        value.on("error", (cause) => (error = cause))
        value.on("close", (cause) => {
          error ??= cause
          closed = true
          for (const listener of listeners) listener()
        })
        return { value, lost, onLost: (listener) => (closed ? listener() : listeners.push(listener)) }
      })
      const close = async () => {
        const { onLost, value } = await opened
        if (closed) return
        // A promise of `close` does not end when the connection breaks meanwhile.
        await new Promise<void>((resolve, reject) => {
          onLost(resolve)
          value.close().catch(reject)
        })
      }
      return { opened, close }
    }),
    ({ close }) => Effect.ignore(Effect.timeoutOption(Effect.tryPromise(close), closeGrace))
  ).pipe(Effect.flatMap(({ opened }) => attempt(operation, () => opened)))

const openConnection = Effect.fnUntraced(function* (
  { heartbeat = "10 seconds", socket }: Options,
  url: string
): Effect.fn.Return<Connection, TransportError, Scope.Scope> {
  const controller = yield* Effect.acquireRelease(
    Effect.sync(() => new AbortController()),
    (controller) => Effect.sync(() => controller.abort())
  )
  const abandon = () => controller.abort()
  const { lost, value } = yield* open("connect", async () => {
    const address = new URL(url)
    address.searchParams.set("heartbeat", String(Math.max(1, Math.ceil(Duration.toSeconds(heartbeat)))))
    const options = { noDelay: true, ...socket, signal: controller.signal }
    return connect(address.href, options)
  }).pipe(Effect.onInterrupt(() => Effect.sync(abandon)))
  let blocked: string | undefined
  value.on("blocked", (reason) => (blocked = reason))
  value.on("unblocked", () => (blocked = undefined))
  return { model: value, lost: () => (controller.signal.aborted ? "it was given up" : lost()), blocked: () => blocked, abandon }
})

/** What is there, opened anew when it has been lost. */
const current = <A extends { readonly lost: () => string | undefined }>(
  ref: RcRef.RcRef<A, TransportError>
): Effect.Effect<A, TransportError, Scope.Scope> =>
  Effect.flatMap(RcRef.get(ref), (value) =>
    value.lost() === undefined ? Effect.succeed(value) : Effect.andThen(RcRef.invalidate(ref), current(ref))
  )

const make = Effect.fnUntraced(function* (options: Options): Effect.fn.Return<Transport["Service"], TransportError, Scope.Scope> {
  const exchange = encodeName(options.exchange ?? "eventfold", exchangeBytes)
  const delays = `${exchange}~delay`
  const timeout = Duration.fromInputUnsafe(options.timeout ?? "10 seconds")
  const urls = typeof options.url === "string" ? Arr.of(options.url) : options.url
  const declares = options.declare ?? true
  let maxMessageBytes = options.maxMessageBytes ?? 128 * 1024 * 1024

  const queueOf = (group: string) => `${exchange}.${encodeName(group, routingKeyBytes - exchange.length - 1)}`
  const keyOf = (type: string) => encodeName(type, routingKeyBytes)

  const within = <A, R>(operation: string, work: Effect.Effect<A, TransportError, R>, more?: () => string | undefined) =>
    Effect.timeoutOrElse(work, {
      duration: timeout,
      orElse: () => {
        const detail = more?.()
        return Effect.fail(
          unavailable(
            operation,
            `RabbitMQ did not answer within ${Duration.format(timeout)}${detail === undefined ? "" : `: ${detail}`}`
          )
        )
      }
    })

  // --- topology

  /** Makes something in a channel of its own. What is there already with other arguments is used as it is. */
  const declare = ({ model }: Connection, operation: string, make: (channel: Channel) => Promise<unknown>) =>
    Effect.scoped(
      Effect.flatMap(
        open(operation, () => model.createChannel()),
        ({ value }) => attempt(operation, () => make(value))
      )
    ).pipe(
      Effect.catchIf(
        ({ reason }) => codeOf(reason.cause) === preconditionFailed,
        () => Effect.void
      )
    )

  const declareGroup = Effect.fnUntraced(function* (
    connection: Connection,
    { group, types }: Pick<SubscribeOptions, "group" | "types">
  ) {
    if (!declares) return
    const queue = queueOf(group)
    yield* declare(connection, "subscribe", (channel) =>
      channel.assertQueue(queue, { durable: true, arguments: { ...quorum, "x-delivery-limit": deliveryLimit } })
    )
    yield* declare(connection, "subscribe", (channel) =>
      Promise.all((types?.map(keyOf) ?? ["#"]).map((key) => channel.bindQueue(queue, exchange, key)))
    )
  })

  const declareDelay = Effect.fnUntraced(function* (connection: Connection, millis: number) {
    const queue = `${delays}.${millis}`
    // Without the queue the message would be lost.
    if (!declares) {
      yield* declare(connection, "nack", (channel) => channel.checkQueue(queue))
      return
    }
    yield* declare(connection, "nack", (channel) =>
      channel.assertQueue(queue, {
        durable: true,
        messageTtl: millis,
        deadLetterExchange: "", // the routing key is the queue that it came from
        overflow: "reject-publish",
        arguments: { ...quorum, "x-dead-letter-strategy": "at-least-once" }
      })
    )
    yield* declare(connection, "nack", (channel) =>
      channel.bindQueue(queue, delays, "", { "x-match": "all", [delayHeader]: millis })
    )
  })

  const openAny = Effect.firstSuccessOf(Arr.map(urls, (url) => openConnection(options, url)))

  const consuming = yield* RcRef.make({ acquire: openAny, idleTimeToLive: Duration.infinity })

  const publishing = yield* RcRef.make({
    acquire: Effect.gen(function* () {
      const connection = yield* openAny
      if (declares) {
        yield* declare(connection, "connect", (channel) => channel.assertExchange(exchange, "topic", { durable: true }))
        yield* declare(connection, "connect", (channel) => channel.assertExchange(delays, "headers", { durable: true }))
      }
      for (const group of options.groups ?? []) yield* declareGroup(connection, group)
      const { lost, value } = yield* open("connect", () => connection.model.createConfirmChannel())
      return { connection, channel: value, lost: () => connection.lost() ?? lost() } satisfies Publisher
    }),
    idleTimeToLive: Duration.infinity
  })

  // --- publishing

  const refusal = (parcels: ReadonlyArray<Parcel>): TransportError | undefined => {
    for (const { content, headers, id } of parcels) {
      if (content.length > maxMessageBytes) {
        return refused(id, `${content.length} bytes of data are more than the ${maxMessageBytes} that RabbitMQ takes`)
      }
      if (Object.values(headers).some((value) => typeof value === "string" && !value.isWellFormed())) {
        return refused(id, "an attribute has a lone surrogate, which UTF-8 cannot express")
      }
    }
    return undefined
  }

  /** What it means for messages on their way that their channel failed. */
  const failure = (operation: string, parcels: ReadonlyArray<Parcel>, detail: string, cause: unknown): TransportError => {
    const limit = /larger than configured max size (\d+)/.exec(detail)?.[1]
    if (limit !== undefined) maxMessageBytes = Math.min(maxMessageBytes, Number(limit))
    return refusal(parcels) ?? unavailable(operation, detail, cause)
  }

  /** Sends all at once, and waits until the broker has confirmed each. */
  const confirmed = ({ channel, lost }: Publisher, operation: string, parcels: ReadonlyArray<Parcel>) =>
    Effect.callback<void, TransportError>((resume) => {
      let waiting = parcels.length
      const onConfirm = (cause: unknown) => {
        if (cause !== null) resume(Effect.fail(failure(operation, parcels, lost() ?? messageOf(cause), cause)))
        else if (--waiting === 0) resume(Effect.void)
      }
      for (const { content, contentType, exchange, headers, id, routingKey } of parcels) {
        try {
          channel.publish(exchange, routingKey, content, { persistent: true, contentType, headers }, onConfirm)
        } catch (cause) {
          const lostNow = cause instanceof IllegalOperationError
          return resume(
            Effect.fail(
              lostNow ? unavailable(operation, lost() ?? messageOf(cause), cause) : refused(id, messageOf(cause), cause)
            )
          )
        }
      }
    })

  const send = (
    operation: string,
    parcels: ReadonlyArray<Parcel>,
    before: (connection: Connection) => Effect.Effect<unknown, TransportError> = () => Effect.void
  ) =>
    Effect.suspend(() => {
      let connection: Connection | undefined
      const sending = Effect.gen(function* () {
        const publisher = yield* current(publishing)
        connection = publisher.connection
        yield* before(connection)
        yield* confirmed(publisher, operation, parcels)
      })
      return within(operation, Effect.scoped(sending), () => {
        // What it has not taken by now would only pile up.
        connection?.abandon()
        return connection?.blocked()
      })
    })

  const publish: Transport["Service"]["publish"] = (messages) =>
    Effect.suspend(() => {
      const parcels = messages.map((message: Message): Parcel => ({
        ...encode(message),
        id: message.id,
        exchange,
        routingKey: keyOf(message.type)
      }))
      const error = refusal(parcels)
      return error === undefined ? send("publish", parcels) : Effect.fail(error)
    })

  /** Moves a message to where it waits before it goes back to its queue. */
  const postpone = (queue: string, { content, properties }: ConsumeMessage, attempts: number, delay: Duration.Input) => {
    const millis = delayStep(delay)
    const headers = Object.fromEntries(Object.entries(properties.headers ?? {}).filter(([name]) => !name.startsWith("x-")))
    const parcel = {
      id: "",
      exchange: delays,
      routingKey: queue,
      content,
      contentType: properties.contentType,
      headers: { ...headers, [attemptsHeader]: attempts, [delayHeader]: millis }
    }
    return send("nack", [parcel], (connection) => declareDelay(connection, millis))
  }

  // --- consuming

  const subscribe: Transport["Service"]["subscribe"] = ({ concurrency = 1, group, types }) =>
    Stream.unwrap(
      within(
        "subscribe",
        Effect.gen(function* () {
          const queue = queueOf(group)
          const connection = yield* current(consuming)
          yield* declareGroup(connection, { group, types })
          const { lost, onLost, value: channel } = yield* open("subscribe", () => connection.model.createChannel())
          const consumerTag = randomUUID()
          const gone = () => connection.lost() ?? lost()
          let left = false
          yield* Effect.addFinalizer(() =>
            Effect.suspend(() => {
              if (gone() !== undefined) return Effect.void
              left = true
              // When a channel closes, its queue learns of it a moment later, and may give it one more message until then.
              return Effect.ignore(
                Effect.timeoutOption(
                  attempt("unsubscribe", () => channel.cancel(consumerTag)),
                  closeGrace
                )
              )
            })
          )

          const received = yield* Queue.unbounded<ConsumeMessage, TransportError>()
          const end = (detail: string) => Queue.failCauseUnsafe(received, Cause.fail(unavailable("subscribe", detail)))
          onLost(() => end(gone() ?? "the channel was closed"))
          yield* attempt("subscribe", () => channel.prefetch(Math.min(concurrency, mostUnacknowledged)))
          yield* attempt("subscribe", () =>
            channel.consume(
              queue,
              (message) => {
                if (message === null) end("the broker has cancelled the consumer: its queue is gone, or has no leader")
                else Queue.offerUnsafe(received, message)
              },
              { consumerTag }
            )
          )

          const delivery = (raw: ConsumeMessage, message: Message): Delivery => {
            const attempt = attemptOf(raw)
            let settled = false
            /** Settles it once; when that fails, it may be tried again. */
            const settle = (how: Effect.Effect<void, TransportError>) =>
              Effect.suspend(() => {
                if (settled || left) return Effect.void
                settled = true
                return Effect.onError(how, () => Effect.sync(() => (settled = false)))
              })
            const ack = attemptSync("ack", () => {
              if (!left) channel.ack(raw)
            })
            return {
              message,
              attempt,
              ack: settle(ack),
              nack: ({ delay } = {}) =>
                settle(
                  delay === undefined
                    ? attemptSync("nack", () => channel.nack(raw, false, true))
                    : Effect.andThen(postpone(queue, raw, attempt, delay), ack)
                )
            }
          }

          const accept = (raw: ConsumeMessage): Effect.Effect<Result.Result<Delivery, void>, TransportError> => {
            const { content, properties } = raw
            const message = decode({ content, contentType: properties.contentType, headers: properties.headers ?? {} })
            if (Result.isFailure(message)) {
              return Effect.logError(`eventfold: rejected what is no message, in the queue "${queue}": ${message.failure}`).pipe(
                Effect.andThen(attemptSync("reject", () => channel.reject(raw, false))),
                Effect.as(Result.failVoid)
              )
            }
            if (types?.includes(message.success.type) === false) {
              return postpone(queue, raw, attemptOf(raw) - 1, handOnDelay).pipe(
                Effect.andThen(attemptSync("ack", () => channel.ack(raw))),
                Effect.as(Result.failVoid)
              )
            }
            return Effect.succeed(Result.succeed(delivery(raw, message.success)))
          }

          return Stream.filterMapEffect(Stream.fromQueue(received), accept)
        })
      )
    )

  // What is wrong with the address, the rights or the topology shows as the Layer is built.
  yield* within("connect", Effect.scoped(current(publishing)))
  return { publish, subscribe }
})

/** How many deliveries a message has had, this one included. */
const attemptOf = ({ fields, properties: { headers } }: ConsumeMessage): number => {
  const before = Number(headers?.[attemptsHeader] ?? 0)
  return before + Number(headers?.["x-delivery-count"] ?? (fields.redelivered ? 1 : 0)) + 1
}

/**
 * The transport over RabbitMQ. Connects, and makes what is absent, when it is built; fails if that fails.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<Transport, TransportError> => Layer.effect(Transport, make(options))
