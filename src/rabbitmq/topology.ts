/**
 * Exchanges, queues and bindings: made where they are absent, looked after, and made again when they have vanished.
 */
import type { Channel } from "amqplib"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import { attempting, unavailable } from "../transport/kit.ts"
import type { SubscribeOptions, TransportError } from "../transport/Transport.ts"
import { type Connection, open } from "./connection.ts"
import type { Names } from "./names.ts"

/** A group, and the types that its members ask for: all, when undefined. */
export type Group = Pick<SubscribeOptions, "group" | "types">

export interface Topology {
  readonly names: Names
  /** How often those who run look after what they need. */
  readonly interval: Duration.Duration
  /** Makes the exchanges, and what the groups need that this process runs or was told of. */
  readonly open: (connection: Connection) => Effect.Effect<void, TransportError>
  /** Makes all of that again. */
  readonly reopen: (connection: Connection) => Effect.Effect<void, TransportError>
  /** Makes what a group needs that this process runs until the scope closes. */
  readonly openGroup: (connection: Connection, group: Group) => Effect.Effect<void, TransportError, Scope.Scope>
  /** Looks after what a group needs: makes it again, or fails where that is not allowed. */
  readonly checkGroup: (connection: Connection, group: Group) => Effect.Effect<void, TransportError>
  /** Deletes what there is of a group. */
  readonly dropGroup: (connection: Connection, group: string) => Effect.Effect<"dropped" | "unknown" | "in use", TransportError>
  readonly hasExchange: (connection: Connection) => Effect.Effect<boolean, TransportError>
  /** How many messages the queue of a group could hand out; `undefined` where there is none. */
  readonly countOf: (connection: Connection, group: string) => Effect.Effect<number | undefined, TransportError>
  /** Looks after the groups that this process was told of. */
  readonly keep: (connection: Connection) => Effect.Effect<void, TransportError>
  /** Makes the queue in which messages wait for so many milliseconds. */
  readonly openDelay: (connection: Connection, millis: number) => Effect.Effect<void, TransportError>
  /** Why nothing may be published at present. */
  readonly unsettled: () => string | undefined
  /** Whether a group that this process runs or was told of asks for messages with this routing key. */
  readonly isWanted: (routingKey: string) => boolean
}

/** Header: by which a message finds its queue for delays, in milliseconds. */
export const delayHeader = "eventfold-delay"
/** Quorum queues put back to its place what is returned only if they have a delivery limit. This one is never reached. */
const deliveryLimit = 1_000_000_000
const quorum = { "x-queue-type": "quorum" }
/** "Precondition failed": it is there, with other arguments; or a message is too large. */
const preconditionFailed = 406
const notFound = 404

const codeOf = (cause: unknown): unknown => (Predicate.hasProperty(cause, "code") ? cause.code : undefined)

const isMissing = ({ reason }: TransportError): boolean => codeOf(reason.cause) === notFound

/** Does something in a channel of its own. */
const inChannel = <A>({ model }: Connection, operation: string, work: (channel: Channel) => Promise<A>) =>
  Effect.scoped(
    Effect.flatMap(
      open(operation, () => model.createChannel()),
      ({ value }) => attempting(operation, () => work(value))
    )
  )

/** Makes something. What is there already with other arguments is used as it is. */
const declare = (connection: Connection, operation: string, work: (channel: Channel) => Promise<unknown>) =>
  inChannel(connection, operation, work).pipe(
    Effect.asVoid,
    Effect.catchIf(
      ({ reason }) => codeOf(reason.cause) === preconditionFailed,
      () => Effect.void
    )
  )

/** What makes the topology, and what only looks at it. */
const makeDeclarations = ({ delayQueueOf, delays, exchange, keyOf, queueOf }: Names) => ({
  exchanges: (connection: Connection) =>
    Effect.andThen(
      declare(connection, "connect", (channel) => channel.assertExchange(exchange, "topic", { durable: true })),
      declare(connection, "connect", (channel) => channel.assertExchange(delays, "headers", { durable: true }))
    ),
  hasExchange: (connection: Connection) =>
    inChannel(connection, "connect", (channel) => channel.checkExchange(exchange)).pipe(
      Effect.as(true),
      Effect.catchIf(isMissing, () => Effect.succeed(false))
    ),
  group: (connection: Connection, { group, types }: Group) => {
    const queue = queueOf(group)
    return Effect.andThen(
      declare(connection, "subscribe", (channel) =>
        channel.assertQueue(queue, { durable: true, arguments: { ...quorum, "x-delivery-limit": deliveryLimit } })
      ),
      declare(connection, "subscribe", (channel) =>
        Promise.all((types?.map(keyOf) ?? ["#"]).map((key) => channel.bindQueue(queue, exchange, key)))
      )
    )
  },
  hasGroup: (connection: Connection, { group }: Group) =>
    inChannel(connection, "subscribe", async (channel) => {
      await channel.checkExchange(exchange)
      await channel.checkQueue(queueOf(group))
    }),
  dropGroup: (connection: Connection, group: string) => {
    const queue = queueOf(group)
    // Whether a quorum queue is in use, the broker does not look at by itself as it deletes one.
    const drop = async (channel: Channel) => {
      const { consumerCount } = await channel.checkQueue(queue)
      if (consumerCount > 0) return "in use" as const
      await channel.deleteQueue(queue)
      return "dropped" as const
    }
    return Effect.catchIf(inChannel(connection, "forget", drop), isMissing, () => Effect.succeed("unknown" as const))
  },
  countOf: (connection: Connection, group: string) =>
    inChannel(connection, "waiting", (channel) => channel.checkQueue(queueOf(group))).pipe(
      Effect.map(({ messageCount }): number | undefined => messageCount),
      Effect.catchIf(isMissing, () => Effect.undefined)
    ),
  delay: (connection: Connection, millis: number) => {
    const queue = delayQueueOf(millis)
    return Effect.andThen(
      declare(connection, "nack", (channel) =>
        channel.assertQueue(queue, {
          durable: true,
          messageTtl: millis,
          deadLetterExchange: "", // the routing key is the queue that it came from
          overflow: "reject-publish",
          arguments: { ...quorum, "x-dead-letter-strategy": "at-least-once" }
        })
      ),
      declare(connection, "nack", (channel) => channel.bindQueue(queue, delays, "", { "x-match": "all", [delayHeader]: millis }))
    )
  },
  hasDelay: (connection: Connection, millis: number) =>
    declare(connection, "nack", (channel) => channel.checkQueue(delayQueueOf(millis)))
})

/**
 * The topology of one Layer. `declares` says whether anything is made.
 *
 * When the exchange has vanished, so have the bindings of all groups, also of those that other processes run. Whoever publishes
 * notices it, makes it again with what the groups here need, and publishes nothing until the others have had the time to look
 * after theirs: otherwise the broker would confirm what reaches nobody.
 */
export const makeTopology = (
  names: Names,
  options: { readonly declares: boolean; readonly groups: ReadonlyArray<Group>; readonly interval: Duration.Duration }
): Topology => {
  const declarations = makeDeclarations(names)
  /** Groups that members of this process are in. */
  const present = new Set<Group>()
  let opened = false
  let settledAt = 0

  const make = (connection: Connection, groups: ReadonlyArray<Group>) =>
    Effect.andThen(
      declarations.exchanges(connection),
      Effect.forEach(groups, (group) => declarations.group(connection, group), { discard: true })
    )
  const openAll = Effect.fnUntraced(function* (connection: Connection) {
    const vanished = opened && !(yield* declarations.hasExchange(connection))
    yield* make(connection, vanished ? [...options.groups, ...present] : options.groups)
    opened = true
    if (vanished) settledAt = performance.now() + 2 * Duration.toMillis(options.interval)
  })

  const checkGroup: Topology["checkGroup"] = (connection, group) =>
    options.declares
      ? // Where the exchange is missing, whoever publishes makes it.
        Effect.catchIf(declarations.group(connection, group), isMissing, () => Effect.void)
      : Effect.asVoid(declarations.hasGroup(connection, group))

  return {
    names,
    interval: options.interval,
    open: (connection) => (options.declares ? openAll(connection) : Effect.void),
    keep: (connection) => Effect.forEach(options.groups, (group) => checkGroup(connection, group), { discard: true }),
    reopen: (connection) => make(connection, [...options.groups, ...present]),
    openGroup: (connection, group) =>
      Effect.andThen(
        Effect.acquireRelease(
          Effect.sync(() => present.add(group)),
          () => Effect.sync(() => present.delete(group))
        ),
        options.declares ? declarations.group(connection, group) : Effect.void
      ),
    checkGroup,
    dropGroup: declarations.dropGroup,
    hasExchange: declarations.hasExchange,
    countOf: declarations.countOf,
    openDelay: (connection, millis) =>
      // Without the queue the message would be lost.
      options.declares ? declarations.delay(connection, millis) : declarations.hasDelay(connection, millis),
    unsettled: () =>
      performance.now() < settledAt
        ? "the exchange had vanished, and groups may not have bound their queues again yet"
        : undefined,
    isWanted: (routingKey) =>
      options.declares &&
      [...options.groups, ...present].some(
        ({ types }) => types === undefined || types.some((type) => names.keyOf(type) === routingKey)
      )
  }
}

/** Looks after a group for as long as it runs; fails when what the group needs has vanished and may not be made again. */
export const keepGroup = (topology: Topology, connection: Connection, group: Group): Effect.Effect<never, TransportError> =>
  Effect.suspend(() => topology.checkGroup(connection, group)).pipe(
    // What else fails, shows as the loss of the connection.
    Effect.catchIf(
      (error) => !isMissing(error),
      () => Effect.void
    ),
    Effect.mapError(({ reason }) =>
      unavailable("subscribe", `what the group needs has vanished: ${reason.detail}`, reason.cause)
    ),
    Effect.delay(topology.interval),
    Effect.forever
  )
