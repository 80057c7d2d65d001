/**
 * A member of a group: it receives messages from the group's consumer in their order, and tells the server what becomes of each.
 */
import type { Msg, Subscription } from "@nats-io/transport-node"
import { nanos } from "@nats-io/transport-node"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import {
  attempting,
  closed,
  deliveriesOf,
  type InFlight,
  inTime,
  makeDelivery,
  makeInFlight,
  type Members,
  unavailable,
  wrap
} from "../transport/kit.ts"
import type { CloudEvent, Delivery, SubscribeOptions, TransportError } from "../transport/Transport.ts"
import type { Connection, Watcher } from "./connection.ts"
import { attemptOf, fromIncoming, positionOf, textOfToken, token } from "./encoding.ts"
import { initial, type Input, type Order, step } from "./order.ts"
import type { Topology } from "./topology.ts"

/** After how long the server answers a request for messages that it could not satisfy. In milliseconds. */
const requestExpires = 10_000
/** After how long a member gives back what others have to take, in milliseconds. */
const handOn = 1000

type Received = Queue.Queue<Msg, TransportError>

const fail = (received: Received, error: TransportError) => {
  Queue.failCauseUnsafe(received, Cause.fail(error))
}

/** Carries out what the order machine says: asks for messages, and puts those that are due into the queue. */
interface Receiver {
  readonly feed: (input: Input<Msg>) => void
  /** Receives, after so many messages of the group were given to members and not settled. */
  readonly start: (pending: number) => void
  readonly isWaiting: () => boolean
  /** Receives nothing more. Returns what it has received by. */
  readonly stop: () => Subscription | undefined
  /** Whether the server has kept silent about a request for too long. */
  readonly isSilent: () => boolean
}

const makeReceiver = (
  { isConnected, nats, newInbox, timeout }: Connection,
  subject: string,
  concurrency: number,
  inFlight: InFlight<Msg>,
  received: Received
): Receiver => {
  let order: Order<Msg> = initial(concurrency)
  let receiving: { readonly inbox: string; readonly subscription: Subscription } | undefined
  let heard = 0

  const request = (count: number, how: { readonly expires: number } | { readonly no_wait: true }) => {
    if (receiving === undefined || !isConnected()) return
    heard = performance.now()
    nats.publish(subject, JSON.stringify({ batch: count, ...how }), { reply: receiving.inbox })
  }
  const feed = (input: Input<Msg>) => {
    const [next, actions] = step(order, input)
    order = next
    for (const action of actions) {
      if (action._tag === "HandOn") Queue.offerUnsafe(received, action.message)
      else if (action._tag === "Ask") request(action.count, { expires: nanos(requestExpires) })
      else request(1, { no_wait: true })
    }
  }
  const open = (inbox: string) =>
    nats.subscribe(inbox, {
      callback: (error, incoming) => {
        if (error !== null) return fail(received, unavailable("subscribe", error.message))
        heard = performance.now()
        if (incoming.subject !== inbox) {
          inFlight.add(incoming)
          const [position, attempt] = [positionOf(incoming), attemptOf(incoming)]
          return feed({ _tag: "Received", message: incoming, position, attempt })
        }
        const { code = 0, status = "the server answers a request for messages with something unknown" } = incoming.headers ?? {}
        const missing = incoming.headers?.get("Nats-Pending-Messages") ?? ""
        if (code === 408 && missing !== "") return feed({ _tag: "Expired", missing: Number(missing) })
        // There is nothing, or others wait for it already.
        if (order.phase._tag === "Checking" && (code === 404 || code === 408)) return feed({ _tag: "NothingGivenUp" })
        fail(received, unavailable("subscribe", status))
      }
    })
  const stop = () => {
    const subscription = receiving?.subscription
    receiving = undefined
    feed({ _tag: "Stopped" })
    return subscription
  }
  return {
    feed,
    start: (pending) => {
      stop()?.unsubscribe()
      const inbox = newInbox()
      receiving = { inbox, subscription: open(inbox) }
      feed({ _tag: "Started", pending })
    },
    isWaiting: () => order.phase._tag === "Waiting",
    stop,
    isSilent: () => order.requested > 0 && performance.now() - heard > requestExpires + Duration.toMillis(timeout)
  }
}

/** Gives a message back after so many milliseconds. */
const nakAfter = (delay: number): string => (delay > 0 ? `-NAK ${JSON.stringify({ delay: nanos(delay) })}` : "-NAK")

/** Says once to the server what becomes of a message. */
type Settle = (incoming: Msg, answer: string) => Effect.Effect<void, TransportError>

/** What is no CloudEvent: its place in the stream, and the type that its subject says. */
const wrapped = ({ prefix, stream }: Topology, incoming: Msg): CloudEvent =>
  wrap({
    source: `nats:${encodeURIComponent(stream)}`,
    id: String(positionOf(incoming)),
    type: textOfToken(incoming.subject.slice(prefix.length + 1)),
    body: incoming.data
  })

/** What is handed on, as deliveries. What is no message, and what this member did not ask for, is settled here. */
const delivering = (topology: Topology, consumer: string, { types, unreadable }: SubscribeOptions, settle: Settle) => {
  /** Nothing that this member could ever hand on. */
  const terminate = (incoming: Msg, cause: unknown) =>
    Effect.andThen(
      Effect.logError(`eventfold: a message on "${incoming.subject}" is no CloudEvent, and is terminated`, cause),
      settle(incoming, "+TERM")
    )
  /** What this member did not ask for: another one may have done so, perhaps just now. */
  const passOver = (incoming: Msg, type: string) =>
    Effect.flatMap(topology.consumerInfo(consumer), (info) =>
      settle(incoming, topology.typesOf(info)?.has(token(type)) === false ? "+ACK" : nakAfter(handOn))
    )
  return (incoming: Msg): Delivery | Effect.Effect<void, TransportError> => {
    const deliver = (message: CloudEvent, why?: string) => {
      const settled = (delay: Duration.Duration | undefined) =>
        settle(incoming, delay === undefined ? "+ACK" : nakAfter(Duration.toMillis(delay)))
      return makeDelivery(message, attemptOf(incoming), settled, why)
    }
    const message = fromIncoming(incoming)
    if (Result.isFailure(message)) {
      return unreadable === "deliver"
        ? deliver(wrapped(topology, incoming), message.failure)
        : terminate(incoming, message.failure)
    }
    const { type } = message.success
    return types?.includes(type) === false ? passOver(incoming, type) : deliver(message.success)
  }
}

/** Ends the requests of a member, and gives back what it has, if the server answers in time. */
const leaving = (
  { ask, isConnected, timeout }: Connection,
  topology: Topology,
  consumer: string,
  receiver: Receiver,
  inFlight: InFlight<Msg>
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const rest = inFlight.end()
    const subscription = receiver.stop()
    if (!isConnected()) return Effect.void
    return attempting("leave", () => subscription?.drain() ?? Promise.resolve()).pipe(
      // Makes the server forget the requests that nobody waits for now. Up to 2.9 it would forget what is given back for them.
      Effect.andThen(topology.consumerInfo(consumer)),
      Effect.andThen(() => {
        // Some may have come meanwhile.
        const naks = [...rest, ...inFlight.end()].map(({ reply = "" }) => ({ subject: reply, payload: "-NAK" }))
        return naks.length === 0 ? Effect.void : ask("leave", naks, () => undefined)
      }),
      inTime("leave", timeout),
      Effect.ignore
    )
  })

/** Joins a group. The stream fails when the consumer is gone, when the server does not answer, or when the Layer closes. */
export const join = Effect.fnUntraced(function* (
  connection: Connection,
  topology: Topology,
  members: Members<Watcher>,
  options: SubscribeOptions
): Effect.fn.Return<Stream.Stream<Delivery, TransportError>, TransportError, Scope.Scope> {
  const { concurrency = 1, group, types } = options
  const consumer = token(group)
  const { config } = yield* topology.openConsumer(consumer, types)
  const ackWait = config.ack_wait === undefined ? topology.ackWait : Duration.nanos(BigInt(config.ack_wait))
  const received = yield* Queue.unbounded<Msg, TransportError>()
  const starts = yield* Queue.unbounded<void>()
  const inFlight = makeInFlight<Msg>()
  const subject = `$JS.API.CONSUMER.MSG.NEXT.${topology.stream}.${consumer}`
  const receiver = makeReceiver(connection, subject, concurrency, inFlight, received)

  const settle: Settle = (incoming, answer) =>
    inFlight.settle(
      incoming,
      connection.ask(
        answer.startsWith("+ACK") ? "ack" : "nack",
        [{ subject: incoming.reply ?? "", payload: answer }],
        () => undefined
      ),
      () => receiver.feed({ _tag: "Settled", returned: answer.startsWith("-NAK") })
    )

  const start = Effect.gen(function* () {
    const { num_ack_pending } = yield* topology.consumerInfo(consumer)
    if (!connection.isConnected()) return
    receiver.start(num_ack_pending)
    if (!receiver.isWaiting()) return
    yield* Effect.sleep(ackWait)
    // A server that stood still meanwhile notices what is overdue when it goes on, a moment after it answers.
    yield* Effect.retry(topology.consumerInfo(consumer), Schedule.spaced("100 millis"))
    yield* Effect.sleep("250 millis")
    receiver.feed({ _tag: "Waited" })
  })

  /** The server keeps for this member what it works on; a server that keeps silent is given up. */
  const beat = Effect.sync(() => {
    if (!connection.isConnected()) return
    for (const { reply = "" } of inFlight.items()) connection.nats.publish(reply, "+WPI")
    if (receiver.isSilent()) fail(received, unavailable("subscribe", "the server does not answer"))
  }).pipe(Effect.delay(Duration.millis(Duration.toMillis(ackWait) / 3)), Effect.forever)

  const watcher: Watcher = {
    disconnected: () => receiver.stop()?.unsubscribe(),
    reconnected: () => void Queue.offerUnsafe(starts, undefined),
    ended: (detail) => fail(received, unavailable("subscribe", detail))
  }
  const membership = yield* members.join(
    watcher,
    Effect.andThen(
      leaving(connection, topology, consumer, receiver, inFlight),
      Effect.sync(() => fail(received, closed("subscribe")))
    )
  )
  const failing = Effect.catchCause((cause: Cause.Cause<TransportError>) =>
    Effect.sync(() => void Queue.failCauseUnsafe(received, cause))
  )
  Queue.offerUnsafe(starts, undefined)
  const starting = Effect.forever(Effect.andThen(Queue.take(starts), Effect.raceFirst(start, Queue.peek(starts))))
  yield* Effect.forkIn(failing(starting), membership)
  yield* Effect.forkIn(failing(beat), membership)
  return deliveriesOf(received, delivering(topology, consumer, options, settle))
})
