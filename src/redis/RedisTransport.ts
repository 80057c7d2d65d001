/**
 * The transport on Redis: one stream for all messages, one consumer group for each group. Redis 7.0 or newer, or Valkey.
 *
 * The guide `src/guides/redis.md` says how to set and watch the server, and what travels.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redis from "effect/persistence/Redis"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { wholeFrom, wholeOrEndless } from "../internal/counting.ts"
import { defaultRestart } from "../internal/lifecycle.ts"
import { lasting, passing, pausing } from "../internal/lasting.ts"
import { makeMembers, type Members, untilClosed } from "../transport/kit.ts"
import { Transport } from "../transport/Transport.ts"
import { makeForget } from "./forgetting.ts"
import { makeFindings, makeWaiting } from "./looking.ts"
import { type Departures, join, type Listener } from "./member.ts"
import { makePublish } from "./publishing.ts"
import { makeServer, milliseconds, type Server } from "./server.ts"

/**
 * Where the messages are kept on the server, for how long, and how long anybody waits. All durations are finite.
 *
 * Processes that share a stream share their `lease`, `deduplication`, `retention` and `greatestAge`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The key of the stream, and part of all other keys; without braces. Default: `"eventfold"`. */
  readonly name?: string | undefined
  /** How long the server may take to answer. Default: 5 seconds. */
  readonly timeout?: Duration.Input | undefined
  /** How many replicas must have a message before publishing succeeds. Default: 0. */
  readonly replicas?: number | undefined
  /** For how long a message that is published again is known. Default: 10 minutes. */
  readonly deduplication?: Duration.Input | undefined
  /**
   * The largest document, in bytes of JSON. A larger one is refused, and nothing of its batch is published. So is what the server
   * would not take (`proto-max-bulk-len`, which it is asked for before a document of more than 1 MiB is sent). Default: 8 MiB.
   */
  readonly maxMessageBytes?: number | undefined
  /** How long messages are kept at least, for groups to come. Default: 7 days. */
  readonly retention?: Duration.Input | undefined
  /** How long messages are kept at most, even if groups have yet to see them. Default: for ever. */
  readonly greatestAge?: Duration.Input | undefined
  /** After how long without a sign of life a member's messages are given to others. Default: 15 seconds. */
  readonly lease?: Duration.Input | undefined
  /** How often a member asks for messages when no wake-up comes. Default: 1 second. */
  readonly pollInterval?: Duration.Input | undefined
  /** Whether a group (and the stream) is created by its first subscription. Default: true. */
  readonly createGroups?: boolean | undefined
}

/** Wakes members when something may have come for their group. */
const listening = ({ keys, redis }: Server, members: Members<Listener>) =>
  Effect.gen(function* () {
    const wakeUps = yield* redis.subscribe(keys.channel)
    while (true) {
      const { message } = yield* Queue.take(wakeUps)
      for (const { group, wake } of members.present) if (message === "" || message === group) wake()
    }
  }).pipe(Effect.scoped, Effect.retry(defaultRestart))

/**
 * The transport on the server of the `Redis` service, until the scope closes.
 *
 * @see {@link layer} for what it needs and guarantees
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Transport["Service"], never, Redis.Redis | Scope.Scope> {
  const timeout = pausing("RedisTransport: timeout", options.timeout ?? "5 seconds")
  const server = makeServer(yield* Redis.Redis, options.name ?? "eventfold", timeout)
  const lease = milliseconds(passing("RedisTransport: lease", options.lease ?? "15 seconds"))
  const settings = {
    lease,
    poll: Math.min(milliseconds(pausing("RedisTransport: pollInterval", options.pollInterval ?? "1 second")), lease / 3),
    create: options.createGroups ?? true,
    scope: yield* Effect.scope
  }
  const departures: Departures = new Map()
  const members = yield* makeMembers<Listener>()
  yield* Effect.forkScoped(listening(server, members))
  return yield* untilClosed({
    publish: makePublish(server, {
      replicas: wholeFrom(0, "RedisTransport: replicas", options.replicas ?? 0),
      deduplication: milliseconds(lasting("RedisTransport: deduplication", options.deduplication ?? "10 minutes")),
      maxMessageBytes: wholeOrEndless(1, "RedisTransport: maxMessageBytes", options.maxMessageBytes ?? 8 * 1024 * 1024),
      retention: milliseconds(lasting("RedisTransport: retention", options.retention ?? "7 days")),
      greatestAge:
        options.greatestAge === undefined ? -1 : milliseconds(lasting("RedisTransport: greatestAge", options.greatestAge))
    }),
    subscribe: (options) => Stream.unwrap(join(server, settings, members, departures, options)),
    forget: makeForget(server),
    waiting: makeWaiting(server),
    findings: makeFindings(server)
  })
})

/**
 * {@link layer} with options.
 *
 * **Gotchas**: each call is another Layer, and is built for itself. Keep the result in a constant where it is provided more than once.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerWith = (options: Options): Layer.Layer<Transport, never, Redis.Redis> => Layer.effect(Transport, make(options))

/**
 * The transport on the server of the `Redis` service: `NodeRedis.layer` of `@effect/platform-node` provides one, and reconnects by
 * itself.
 *
 * **When to use**
 *
 * Where services share a Redis or Valkey. How to set it so that no message gets lost is in the guide `src/guides/redis.md`.
 *
 * **Details**
 *
 * - *Publishing* takes one round trip for some hundred messages, and succeeds when the server has answered; with
 *   {@link Options.replicas} when so many replicas have the messages in memory. A message whose `source` and `id` have been
 *   published within {@link Options.deduplication} is not added again. When the server has no memory left (`maxmemory`), publishing
 *   fails with `TransportUnavailable`, and members go on.
 * - *Delivery* is at least once. A group begins at the oldest message that the stream still has. Members give a message back at
 *   once when they leave in order; those of a process that died (or did not reach the server) for {@link Options.lease} are given
 *   to others. A member is known to be alive by the server's clock, and may work on a message for as long as it wants. The server
 *   keeps delays, attempts and what nobody has acknowledged.
 * - *Order* is that of publishing, across types and subjects. What is given back, except after a delay, comes before all that is
 *   newer and not with anybody: one member with concurrency 1 sees every message in order, repetitions included, also across
 *   outages and crashes of the server. With more in flight, and with several members, messages are handed out for the first time in
 *   order, and what is given back comes behind what was handed out before.
 * - *Outages.* Publishing and answers fail with `TransportUnavailable` when the server does not answer in time. A subscription
 *   outlives an outage: it logs a warning, waits, and goes on with what it has in flight. It fails where waiting would not help: a
 *   key of another kind, a missing permission, a missing group that it must not create. A stream or group that is deleted is made
 *   again by the members that are there, if they may ({@link Options.createGroups}).
 * - The Layer connects to nothing while it is built, and has one connection of its own, for wake-ups; publishing with
 *   {@link Options.replicas} takes one of the pool for each call.
 *
 * **Gotchas**
 *
 * - By itself the client keeps a connection that has fallen silent until the system gives it up: what is asked over it fails in time, and
 *   nothing goes on until then. That of `NodeRedis` waits for its answers when its own Layer closes. With `pingInterval`, and with
 *   `socketTimeout` and `reconnectStrategy` of its `socket`, it gives such a connection up and makes another one: as in the example.
 * - Without `disableOfflineQueue` the client keeps what is done during an outage in memory until the server comes back.
 * - What a member's `types` leave out is done with for its whole group: all members of a group ask for the same types.
 * - What a member had whose process died comes behind what is newer, when its lease is over: until then the next member, even with
 *   concurrency 1, is given what is newer.
 * - A member takes as many messages as its concurrency allows before it looks at them; one that it never looked at counts as an
 *   attempt only if the member dies.
 * - The acknowledgement of a message that was given to somebody else meanwhile does nothing.
 *
 * **Example**
 *
 * ```ts no-run
 * import { NodeRedis } from "@effect/platform-node"
 * import { Effect, Layer, Stream } from "effect"
 * import { Transport } from "eventfold"
 * import { RedisTransport } from "eventfold/redis"
 *
 * const program = Stream.runForEach(Transport.subscribe({ group: "mail", types: ["OrderPlaced"] }), ({ ack, message }) =>
 *   Effect.andThen(Effect.log(`${message.subject} was placed`), ack)
 * )
 *
 * const Live = RedisTransport.layerWith({ name: "shop", retention: "30 days" }).pipe(
 *   Layer.provide(
 *     NodeRedis.layer({
 *       url: "redis://localhost:6379",
 *       disableOfflineQueue: true,
 *       pingInterval: 1000,
 *       socket: { socketTimeout: 3000, reconnectStrategy: (retries) => Math.min(2 ** retries * 50, 2000) }
 *     })
 *   )
 * )
 * await Effect.runPromise(Effect.provide(program, Live))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Transport, never, Redis.Redis> = layerWith({})
