/**
 * Published messages through NATS JetStream.
 *
 * **What travels.** CloudEvents in the binary mode of the NATS binding (1.0.3): every attribute in a header `ce-…`, its value
 * percent-encoded where it is not printable ASCII; the payload is `data` as JSON. The structured mode is read too, with a
 * `content-type` of `application/cloudevents…` or without any header (the only mode of binding 1.0.2). What is no such message is
 * logged as an error and terminated (`+TERM`), because it never could be handed to anybody.
 *
 * **Where it travels.** One JetStream stream, on the subjects `<prefix>.<type>`. The type is one token: of its UTF-8 bytes, what
 * is not an ASCII letter, a digit, `-` or `_` is `=` and two hexadecimal digits; `order.placed` is on `eventfold.order=2Eplaced`.
 *
 * **Publishing** succeeds when the stream has acknowledged every message. As durable as that is: a stream of one replica writes
 * to the file system without `fsync` before it answers (the server's `sync_interval`, 2 minutes), so it survives the end of the
 * server's process but not always that of its machine; run three replicas, or `sync_interval: always`. A batch is sent in one go
 * of many in flight, and stored in its order; when it fails, the broker has its beginning or none of it (apart from a message
 * that the stream itself refuses, and from a change of the leader in a cluster amid the batch, when the broker may have other
 * parts of it). `Nats-Msg-Id` is the event's id, so a message that is published again within `duplicateWindow` is not delivered
 * again. A message that exceeds the server's `max_payload` or the stream's `max_msg_size` is refused before any of its batch is
 * sent. While the connection is down, publishing fails at once.
 *
 * **Consuming.** A group is a durable pull consumer, which begins at the first message the stream has. A member asks the server
 * for no more messages than it may have in hand. `ack` and `nack` succeed when the server has confirmed them; after a failure the
 * member still has the message in hand, and may try again or leave. Delays of `nack` are the server's, whoever ends meanwhile. A
 * member that leaves gives back what it has in hand at once. One that cannot (its process is killed, its connection cut) is found
 * out after `ackWait`; a member that lives renews its messages by itself, so a handler may take longer than that.
 *
 * **Types.** A group gets the types that its members have ever asked for; a type that is asked for later is delivered from then on.
 * What one member did not ask for is given back after a second for another one, which counts as an attempt; so let the members of
 * a group ask for the same types, and only for a while for others (as two versions of a program do). From NATS 2.10 on the server
 * filters; before, it filters by one type, and with several the members pass over the others.
 *
 * **Order.** Messages are handed out for the first time in the order of publishing, however many members there are. What is given
 * back, or was in hand for `ackWait` without a sign of life, comes before what is new, but behind what was handed out before. A
 * group whose only member has a concurrency of 1 gets its messages in the order of publishing, also over a `nack` without delay, a
 * lost connection, a crash of either side: a member with a concurrency of 1 that starts, or connects again, while messages of its
 * group are in unknown hands lets `ackWait` pass before it begins with what is new. A crash of the server may repeat what was
 * acknowledged in its last moments, also with an earlier `attempt`: in order again, but the server writes acknowledgements to its
 * disk a moment after it has confirmed them.
 *
 * **Outages.** The client connects again by itself, for ever. Members go on afterwards, with what they have in hand: the stream of
 * deliveries fails only when its consumer is gone, when the server does not answer while connected, or when the Layer closes.
 *
 * @since 0.1.0
 */
import {
  AckPolicy,
  type ConsumerInfo,
  DeliverPolicy,
  DiscardPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamUpdateConfig
} from "@nats-io/jetstream"
import {
  connect,
  createInbox,
  type Msg,
  nanos,
  type NatsConnection,
  type NodeConnectionOptions,
  type Subscription
} from "@nats-io/transport-node"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import {
  type Message,
  type Delivery,
  MessageRefused,
  type SubscribeOptions,
  Transport,
  TransportError,
  TransportUnavailable
} from "../transport/Transport.ts"
import { attemptOf, fromIncoming, type Outgoing, sizeOf, token, toOutgoing } from "./encoding.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Servers, credentials and whatever else the client takes. Default: `127.0.0.1:4222`; and, other than the client's own defaults,
   * it connects again without end, four times a second, and finds out within half a minute that a server does not answer.
   */
  readonly connection?: NodeConnectionOptions | undefined
  /** The name of the stream. Default: `"eventfold"`. */
  readonly stream?: string | undefined
  /** What the subjects begin with; may have several tokens. Default: the name of the stream. */
  readonly subjectPrefix?: string | undefined
  /**
   * Whether the stream and the consumers are created when they are absent. What is there is not changed, apart from the filter of a
   * consumer. Default: `true`. With `false` they have to be there, the consumers with the names that {@link consumerName} gives.
   */
  readonly createTopology?: boolean | undefined
  /**
   * What the stream is created with, apart from its name and subjects: replicas, limits. Default: one replica in files, no limits,
   * so nothing is lost to a group that is away; with a limit in size, publishing fails when it is reached (`discard: "new"`).
   */
  readonly streamConfig?: Partial<Omit<StreamUpdateConfig, "subjects" | "duplicate_window">> | undefined
  /** How long the stream that is created remembers ids; its server does so in memory. Default: 10 minutes. */
  readonly duplicateWindow?: Duration.Input | undefined
  /** How long the server may take to answer. Default: 5 seconds. */
  readonly timeout?: Duration.Input | undefined
  /**
   * After how long the messages of a member that does not renew them go to others: at least a second. A consumer keeps what it was
   * created with. Default: 15 seconds.
   */
  readonly ackWait?: Duration.Input | undefined
}

/**
 * The name of the durable consumer of a group: encoded like the types in subjects.
 *
 * @category names
 * @since 0.1.0
 */
export const consumerName = (group: string): string => token(group)

const unavailable = (operation: string, detail: string, cause?: unknown): TransportError =>
  new TransportError({ reason: new TransportUnavailable({ operation, detail, ...(cause === undefined ? {} : { cause }) }) })

const refused = (id: string, detail: string, cause?: unknown): TransportError =>
  new TransportError({
    reason: new MessageRefused({ operation: "publish", id, detail, ...(cause === undefined ? {} : { cause }) })
  })

/** The server's numbers for what can go wrong. */
const { ConsumerNotFound, StreamNotFound } = JetStreamApiCodes
const messageTooLarge = 10054
const streamNameInUse = 10058

const isApiError = (error: TransportError, code: number): boolean =>
  error.reason.cause instanceof JetStreamApiError && error.reason.cause.code === code

const closed = "the transport is closed"
const noResponders = "nothing listens: no stream has the subject, or JetStream is off"

/** What the stream says of a message. */
const publishError = (answer: Msg, { id }: Message): TransportError | undefined => {
  const parsed = Result.try(() => answer.json<{ readonly error?: { readonly err_code: number; readonly description: string } }>())
  if (Result.isFailure(parsed)) return unavailable("publish", "somebody else than a stream answers", parsed.failure)
  const { error } = parsed.success
  if (error === undefined) return undefined
  return error.err_code === messageTooLarge
    ? refused(id, error.description, error)
    : unavailable("publish", error.description, error)
}

/** Does what can be done in time. */
const within = <E>(time: Duration.Duration, effect: Effect.Effect<void, E>): Effect.Effect<void> =>
  Effect.ignore(Effect.timeoutOrElse(effect, { duration: time, orElse: () => Effect.void }))

/** Gives a message back after so many milliseconds. */
const nakAfter = (delay: number): string => `-NAK ${JSON.stringify({ delay: nanos(delay) })}`

const isAtLeast = (version: string, major: number, minor: number): boolean => {
  const [theMajor = 0, theMinor = 0] = version.split(".").map(Number)
  return theMajor > major || (theMajor === major && theMinor >= minor)
}

const attempting =
  (operation: string) =>
  <A>(attempt: () => Promise<A>): Effect.Effect<A, TransportError> =>
    Effect.tryPromise({ try: attempt, catch: (cause) => unavailable(operation, (cause as Error).message, cause) })

/** A batch of which not every message has been answered. */
interface Waiting {
  readonly answer: (token: number, answer: Msg) => void
  readonly fail: (detail: string) => void
}

const typesNote = "types: "
/** Servers from 2.10 on do not change what they are asked to create. */
const asUpdate = { action: "update", pedantic: false }

/** After how long a member gives back what others have to take, in milliseconds. */
const handOn = 1000

/** A message as it is sent. */
interface Sized extends Outgoing {
  readonly size: number
  readonly message: Message
}

/** What a member must be told. */
interface Member {
  readonly disconnected: () => void
  readonly reconnected: () => void
  readonly fail: (detail: string) => void
  readonly leave: Effect.Effect<void>
}

/** How many messages and bytes of a batch are in flight at once. */
const windowLength = 500
const windowBytes = 4 * 1024 * 1024
/** The most messages asked for at once. */
const largestPull = 1000
/** After how long the server answers a pull that it could not satisfy. In milliseconds. */
const pullExpires = 10_000

/**
 * The transport over a NATS server with JetStream (2.9 or later), with a connection of its own. See the head of the module for
 * what it guarantees.
 *
 * In production: three servers and `replicas: 3` (or one with `sync_interval: always`), a file store with room for what is kept,
 * limits (`max_age`, `max_bytes`) that suit the slowest group, and alerts on a consumer's pending and redelivered messages.
 *
 * ```ts no-run
 * import { Effect, Layer } from "effect"
 * import { Relay, Transport } from "eventfold"
 * import { NatsTransport } from "eventfold/nats"
 *
 * const Nats = NatsTransport.layer({
 *   connection: { servers: ["nats://one:4222", "nats://two:4222"], user: "shop", pass: "secret" },
 *   stream: "shop",
 *   streamConfig: { num_replicas: 3 }
 * })
 *
 * // With a store and checkpoints, this moves every published event to NATS.
 * const Relayed = Relay.layer({ name: "shop" }).pipe(Layer.provide(Nats))
 *
 * // In another service:
 * const mail = Transport.subscribe({ group: "mail", types: ["OrderPlaced"] })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Transport, TransportError> => Layer.effect(Transport, make(options))

const make = Effect.fnUntraced(function* (options: Options) {
  const stream = options.stream ?? "eventfold"
  const prefix = options.subjectPrefix ?? stream
  const timeout = Duration.fromInputUnsafe(options.timeout ?? "5 seconds")
  const timeoutMillis = Duration.toMillis(timeout)
  const ackWait = Duration.fromInputUnsafe(options.ackWait ?? "15 seconds")
  const create = options.createTopology ?? true

  const connection: NatsConnection = yield* Effect.acquireRelease(
    attempting("connect")(() =>
      connect({
        timeout: timeoutMillis,
        pingInterval: 10_000,
        reconnectTimeWait: 250,
        maxReconnectAttempts: -1,
        ignoreAuthErrorAbort: true,
        noAsyncTraces: true,
        ...options.connection
      })
    ),
    (connection) =>
      within(
        timeout,
        attempting("close")(() => connection.close())
      )
  )
  const manager = yield* attempting("connect")(() => jetstreamManager(connection, { timeout: timeoutMillis, checkAPI: false }))

  // --- topology --------------------------------------------------------------

  const streamInfo = attempting("open stream")(() => manager.streams.info(stream))
  const opened = yield* Effect.catchIf(
    streamInfo,
    (error) => create && isApiError(error, StreamNotFound),
    () =>
      attempting("create stream")(() =>
        manager.streams.add({
          retention: RetentionPolicy.Limits,
          storage: StorageType.File,
          discard: DiscardPolicy.New,
          ...options.streamConfig,
          name: stream,
          subjects: [`${prefix}.*`],
          duplicate_window: nanos(Duration.toMillis(options.duplicateWindow ?? "10 minutes"))
        })
      ).pipe(
        // Another process was quicker, with other settings.
        Effect.catchIf(
          (error) => isApiError(error, streamNameInUse),
          () => streamInfo
        )
      )
  )

  const consumerInfo = (name: string): Effect.Effect<ConsumerInfo, TransportError> =>
    attempting("subscribe")(() => manager.consumers.info(stream, name))

  /** Creates the consumer of a group when it is absent, and widens what it gets when the types (all, when undefined) are more. */
  const openConsumer = Effect.fnUntraced(function* (name: string, types: ReadonlyArray<string> | undefined) {
    const wanted = types?.map(token)
    const info = yield* Effect.catchIf(
      consumerInfo(name),
      (error) => create && isApiError(error, ConsumerNotFound),
      () =>
        attempting("subscribe")(() =>
          manager.consumers.add(stream, {
            durable_name: name,
            ack_policy: AckPolicy.Explicit,
            ack_wait: nanos(Duration.toMillis(ackWait)),
            deliver_policy: DeliverPolicy.All,
            max_ack_pending: -1,
            ...filterOf(wanted)
          })
        ).pipe(
          // Servers before 2.10 may fail when two ask at once.
          Effect.catch((error) => Effect.mapError(consumerInfo(name), () => error))
        )
    )
    const present = typesOf(info)
    if (!create || present === undefined || wanted?.every((type) => present.has(type)) === true) return info
    const { description: _1, filter_subject: _2, filter_subjects: _3, ...rest } = info.config
    const widened = { ...rest, ...filterOf(wanted === undefined ? undefined : Array.from(new Set([...present, ...wanted]))) }
    return yield* attempting("subscribe")(() => manager.consumers.add(stream, widened, asUpdate))
  })

  /** A consumer's filter for encoded types, and where the server cannot filter by several, a note of them. */
  const filterOf = (types: ReadonlyArray<string> | undefined) => {
    if (types === undefined) return {}
    const subjects = types.map((type) => `${prefix}.${type}`)
    if (subjects.length === 1) return { filter_subject: subjects[0] as string }
    return isAtLeast(connection.info?.version ?? "", 2, 10)
      ? { filter_subjects: subjects }
      : { description: typesNote + types.join(" ") }
  }

  /** The encoded types that a consumer gets: all, when undefined. */
  const typesOf = ({ config }: ConsumerInfo): ReadonlySet<string> | undefined => {
    const { description = "", filter_subject, filter_subjects } = config
    const subjects = filter_subjects ?? (filter_subject ? [filter_subject] : [])
    const types = subjects.map((subject) => subject.slice(prefix.length + 1))
    if (types.length === 0 && description.startsWith(typesNote)) types.push(...description.slice(typesNote.length).split(" "))
    return types.length === 0 || types.some((type) => type === "*" || type === ">") ? undefined : new Set(types)
  }

  // --- questions and answers -------------------------------------------------

  const newInbox = () => createInbox(options.connection?.inboxPrefix)
  let connected = true
  let nextToken = 0
  const waiting = new Map<number, Waiting>()
  const members = new Set<Member>()

  const inbox = newInbox()
  connection.subscribe(`${inbox}.*`, {
    callback: (error, answer) => {
      if (error !== null) return failAll(error.message)
      const token = Number(answer.subject.slice(inbox.length + 1))
      waiting.get(token)?.answer(token, answer)
    }
  })
  const failAll = (detail: string) => {
    for (const batch of new Set(waiting.values())) batch.fail(detail)
  }

  /** Sends all in one go, and succeeds when all have been answered, and none of the answers is an error. */
  const ask = (
    operation: string,
    all: ReadonlyArray<Outgoing>,
    errorOf: (answer: Msg, index: number) => TransportError | undefined
  ): Effect.Effect<void, TransportError> =>
    Effect.callback<void, TransportError>((resume) => {
      if (!connected) return resume(Effect.fail(unavailable(operation, "there is no connection to the server")))
      const first = nextToken
      nextToken += all.length
      let missing = all.length
      const end = (result: Effect.Effect<void, TransportError>) => {
        forget()
        resume(result)
      }
      const forget = () => {
        for (let token = first; token < first + all.length; token++) waiting.delete(token)
      }
      const batch: Waiting = {
        answer: (token, answer) => {
          waiting.delete(token)
          const error =
            answer.data.length === 0 && answer.headers?.code === 503
              ? unavailable(operation, noResponders)
              : errorOf(answer, token - first)
          if (error !== undefined) end(Effect.fail(error))
          else if (--missing === 0) resume(Effect.void)
        },
        fail: (detail) => end(Effect.fail(unavailable(operation, detail)))
      }
      try {
        for (let index = 0; index < all.length; index++) {
          const { headers, payload, subject } = all[index] as Outgoing
          waiting.set(first + index, batch)
          connection.publish(subject, payload, { reply: `${inbox}.${first + index}`, ...(headers && { headers }) })
        }
      } catch (cause) {
        return end(Effect.fail(unavailable(operation, (cause as Error).message, cause)))
      }
      return Effect.sync(forget)
    }).pipe(
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () => Effect.fail(unavailable(operation, `the server did not answer within ${Duration.format(timeout)}`))
      })
    )

  // --- publishing ------------------------------------------------------------

  const streamLimit = opened.config.max_msg_size > 0 ? opened.config.max_msg_size : Infinity

  const encodeMessage = (message: Message): Sized | TransportError => {
    try {
      const outgoing = toOutgoing(prefix, message)
      const size = sizeOf(outgoing)
      const limit = Math.min(connection.info?.max_payload ?? Infinity, streamLimit)
      return size > limit
        ? refused(message.id, `its ${size} bytes are more than the ${limit} that the server takes`)
        : { ...outgoing, size, message }
    } catch (cause) {
      return refused(message.id, (cause as Error).message, cause)
    }
  }

  const publish: Transport["Service"]["publish"] = (messages) =>
    Effect.suspend(() => {
      const windows: Array<Array<Sized>> = []
      let room = 0
      for (const message of messages) {
        const outgoing = encodeMessage(message)
        if (outgoing instanceof TransportError) return Effect.fail(outgoing)
        room -= outgoing.size
        const last = windows.at(-1)
        if (last !== undefined && room >= 0 && last.length < windowLength) {
          last.push(outgoing)
        } else {
          windows.push([outgoing])
          room = windowBytes - outgoing.size
        }
      }
      return Effect.forEach(
        windows,
        (window) => ask("publish", window, (answer, index) => publishError(answer, (window[index] as Sized).message)),
        { discard: true }
      )
    })

  // --- consuming -------------------------------------------------------------

  const subscribe: Transport["Service"]["subscribe"] = (options) =>
    options.types?.length === 0 ? Stream.never : Stream.unwrap(join(options))

  const join = Effect.fnUntraced(function* ({ concurrency = 1, group, types }: SubscribeOptions) {
    const name = consumerName(group)
    const { config } = yield* openConsumer(name, types)
    const patience = config.ack_wait === undefined ? ackWait : Duration.nanos(BigInt(config.ack_wait))
    const received = yield* Queue.unbounded<Msg, TransportError>()
    const starts = yield* Queue.unbounded<void>()
    /** What the member has been given and has not settled, and whether it is about to be settled. */
    const held = new Map<Msg, { settling: boolean }>()
    /** The messages asked for since the last start. None when it has not started yet. */
    let pulls: { readonly inbox: string; readonly subscription: Subscription; open: number } | undefined
    /** How many messages of the group are in unknown hands, as long as that may put the order at risk. */
    let unknown = 0
    /** A new message that must wait for those before it. */
    let aside: Msg | undefined
    /** Whether the server is asked, one by one, for those before it. */
    let checking = false
    let heard = 0
    let left = false

    const fail = (detail: string) => {
      Queue.failCauseUnsafe(received, Cause.fail(unavailable("subscribe", detail)))
    }

    const request = (count: number, how: { readonly expires: number } | { readonly no_wait: true }) => {
      if (pulls === undefined || !connected) return
      pulls.open += count
      heard = performance.now()
      const wish = JSON.stringify({ batch: count, ...how })
      connection.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${name}`, wish, { reply: pulls.inbox })
    }

    /** Asks for as many messages as the member may have beyond those it has, but not for each of many alone. */
    const pull = () => {
      const open = pulls?.open ?? 0
      const free = Math.min(concurrency - held.size - open, largestPull)
      if (free > 0 && (open === 0 || free >= concurrency / 2)) request(free, { expires: nanos(pullExpires) })
    }

    const offer = (incoming: Msg | undefined) => {
      if (incoming !== undefined) Queue.offerUnsafe(received, incoming)
    }
    const offerAside = () => {
      const incoming = aside
      aside = undefined
      offer(incoming)
    }

    const receive = (incoming: Msg) => {
      held.set(incoming, { settling: false })
      const isNew = attemptOf(incoming) === 1
      if (isNew && unknown > 0) {
        aside = incoming
      } else if (isNew && checking) {
        // What is given up comes before what is new.
        checking = false
        offerAside()
        aside = incoming
      } else {
        if (unknown > 0) unknown--
        offer(incoming)
      }
    }

    const open = () => {
      const inbox = newInbox()
      const subscription = connection.subscribe(inbox, {
        callback: (error, incoming) => {
          if (error !== null) return fail(error.message)
          heard = performance.now()
          const { code = 0 } = incoming.headers ?? {}
          if (incoming.subject !== inbox) {
            own.open--
            receive(incoming)
          } else if (code === 408 && incoming.headers?.has("Nats-Pending-Messages") === true) {
            // The pull has expired, with so many messages missing.
            own.open -= Number(incoming.headers.get("Nats-Pending-Messages"))
          } else if (checking && (code === 404 || code === 408)) {
            // There is nothing, or others wait for it already.
            own.open--
            checking = false
            offerAside()
          } else {
            return fail(incoming.headers?.status ?? "the server answers a pull with something unknown")
          }
          pull()
        }
      })
      const own = { inbox, subscription, open: 0 }
      return own
    }

    /**
     * Begins to receive. Where order matters and the group has messages in unknown hands, a new message is put aside until theirs
     * are given up: then what comes next is one of those, or there is none.
     */
    const start = Effect.gen(function* () {
      const { num_ack_pending } = yield* consumerInfo(name)
      if (!connected || left) return
      unknown = concurrency > 1 ? 0 : Math.max(num_ack_pending - held.size, 0)
      checking = false
      member.disconnected()
      pulls = open()
      if (unknown === 0) offerAside()
      pull()
      if (unknown === 0) return
      yield* Effect.sleep(patience)
      // A server that stood still meanwhile notices what is overdue when it goes on, a moment after it answers.
      yield* Effect.retry(consumerInfo(name), Schedule.spaced("100 millis"))
      yield* Effect.sleep("250 millis")
      unknown = 0
      checking = aside !== undefined
      if (checking) request(1, { no_wait: true })
    })

    /** The server keeps for this member what it works on; a server that keeps silent is given up. */
    const beat = Effect.sync(() => {
      if (!connected) return
      for (const [{ reply }] of held) connection.publish(reply as string, "+WPI")
      if (pulls !== undefined && pulls.open > 0 && performance.now() - heard > pullExpires + timeoutMillis) {
        fail("the server does not answer")
      }
    }).pipe(Effect.delay(Duration.millis(Duration.toMillis(patience) / 3)), Effect.forever)

    const settle = (incoming: Msg, answer: string): Effect.Effect<void, TransportError> =>
      Effect.suspend(() => {
        const state = held.get(incoming)
        if (left || state === undefined || state.settling) return Effect.void
        state.settling = true
        return Effect.onExit(
          ask(
            answer.startsWith("+ACK") ? "ack" : "nack",
            [{ subject: incoming.reply as string, payload: answer }],
            () => undefined
          ),
          (exit) =>
            Effect.sync(() => {
              state.settling = false
              if (exit._tag === "Failure") return
              held.delete(incoming)
              if (checking) return request(1, { no_wait: true })
              if (unknown === 0) offerAside()
              pull()
            })
        )
      })

    const leave = Effect.suspend(() => {
      if (left) return Effect.void
      left = true
      members.delete(member)
      const subscription = pulls?.subscription
      pulls = undefined
      if (!connected) return Effect.void
      return attempting("leave")(() => subscription?.drain() ?? Promise.resolve()).pipe(
        // Makes the server forget the pulls that nobody waits for now. Up to 2.9 it would forget what is given back for them.
        Effect.andThen(consumerInfo(name)),
        Effect.andThen(() => {
          const rest = [...held].filter(([, { settling }]) => !settling)
          held.clear()
          const naks = rest.map(([{ reply }]) => ({ subject: reply as string, payload: "-NAK" }))
          return naks.length === 0 ? Effect.void : ask("leave", naks, () => undefined)
        }),
        (leaving) => within(timeout, leaving)
      )
    })

    const member: Member = {
      disconnected: () => {
        pulls?.subscription.unsubscribe()
        pulls = undefined
      },
      reconnected: () => Queue.offerUnsafe(starts, undefined),
      fail,
      leave
    }

    /** Nothing that this member could ever hand on. */
    const terminate = (incoming: Msg, cause: unknown) =>
      Effect.andThen(
        Effect.logError(`eventfold: a message on "${incoming.subject}" is no CloudEvent, and is terminated`, cause),
        settle(incoming, "+TERM")
      )

    /** What this member did not ask for: another one may have done so, perhaps just now. */
    const passOver = (incoming: Msg, type: string) =>
      Effect.flatMap(consumerInfo(name), (info) =>
        settle(incoming, typesOf(info)?.has(token(type)) === false ? "+ACK" : nakAfter(handOn))
      )

    const toDelivery = (incoming: Msg): Effect.Effect<Result.Result<Delivery, void>, TransportError> => {
      const message = Result.flatMap(
        Result.try(() => fromIncoming(incoming)),
        (result) => result
      )
      if (Result.isFailure(message)) return Effect.as(terminate(incoming, message.failure), Result.failVoid)
      const { type } = message.success
      if (types !== undefined && !types.includes(type)) return Effect.as(passOver(incoming, type), Result.failVoid)
      return Effect.succeed(
        Result.succeed({
          message: message.success,
          attempt: attemptOf(incoming),
          ack: settle(incoming, "+ACK"),
          nack: (options) => {
            const delay = options?.delay === undefined ? 0 : Duration.toMillis(options.delay)
            return settle(incoming, delay > 0 ? nakAfter(delay) : "-NAK")
          }
        })
      )
    }

    yield* Effect.acquireRelease(
      Effect.sync(() => members.add(member)),
      () => leave
    )
    const failing = Effect.catchCause((cause: Cause.Cause<TransportError>) =>
      Effect.sync(() => Queue.failCauseUnsafe(received, cause))
    )
    Queue.offerUnsafe(starts, undefined)
    yield* Effect.forkScoped(
      failing(Effect.forever(Effect.andThen(Queue.take(starts), Effect.raceFirst(start, Queue.peek(starts)))))
    )
    yield* Effect.forkScoped(failing(beat))
    return Stream.filterMapEffect(Stream.fromQueue(received), toDelivery)
  })

  // --- the connection comes and goes -----------------------------------------

  const disconnected = (detail: string) => {
    connected = false
    failAll(detail)
    for (const member of members) member.disconnected()
  }
  const watch = async () => {
    for await (const { type } of connection.status()) {
      if (type === "disconnect") disconnected("the connection was lost")
      if (type === "reconnect") {
        connected = true
        for (const member of members) member.reconnected()
      }
    }
    disconnected(closed)
    for (const member of members) member.fail(closed)
  }
  void watch()

  yield* Effect.addFinalizer(() =>
    Effect.forEach(members, ({ fail, leave }) => Effect.tap(leave, () => Effect.sync(() => fail(closed))), {
      concurrency: "unbounded",
      discard: true
    })
  )
  return Transport.of({ publish, subscribe })
})
