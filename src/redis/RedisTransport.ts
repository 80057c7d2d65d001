/**
 * The transport on Redis: one stream for all messages, one consumer group for each group. Redis 7.0 or newer, or Valkey.
 *
 * **What travels.** Each message is an entry of the stream with two fields: `event`, the CloudEvents 1.0 document in structured
 * mode (JSON), and `type`, its type as it is. CloudEvents have no binding for Redis, so this is all that a consumer in another
 * language has to know: `XREADGROUP` on the stream, in a group of its own, and parse `event`. Whoever adds such entries with `XADD`
 * publishes; members find them at their next poll.
 *
 * **Publishing** takes one round trip for some hundred messages, and succeeds when the server has answered. What that is worth
 * is set on the server: with `appendonly yes` and `appendfsync always` the messages are on its disk; with `everysec` a crash of
 * the machine loses up to about two seconds of acknowledged messages, and without an append-only file everything since the last
 * snapshot. Replication is asynchronous: with {@link Options.replicas} publishing waits until so many replicas have the messages in
 * memory, and even so Redis does not promise that a failover elects one of those.
 *
 * **De-duplication.** A message whose `source` and `id` have been published within {@link Options.deduplication} is not added
 * again. This costs the server about 150 bytes a message of that time.
 *
 * **Delivery** is at least once. A group begins at the oldest message that the stream still has. Members give a message back at
 * once when they leave in order; those of a process that died (or did not reach the server) for {@link Options.lease} are given to
 * others. A member is known to be alive by the server's clock, and may work on a message for as long as it wants. Delays, attempts
 * and what nobody has acknowledged are kept by the server, and last as its data last. The acknowledgement of a message that was
 * given to somebody else meanwhile does nothing. One that failed or was interrupted can be given again, and the message counts as
 * unacknowledged until it succeeds or the stream of deliveries ends.
 *
 * **Order** is that of publishing, across types and subjects. What is given back, except after a delay, comes before all that is
 * newer and in nobody's hand: one member with concurrency 1 sees every message in order, repetitions included, also across outages
 * and crashes of the server. With more in hand, and with several members, messages are handed out for the first time in order, and
 * what is given back comes behind what was handed out before. So does what a member had whose process died, when its lease is
 * over: until then the next member, even with concurrency 1, is given what is newer. A member takes as many messages as its concurrency allows before it looks at them; one
 * that it never looked at counts as an attempt only if the member dies.
 *
 * **Types.** What a member's `types` leave out is done with for its whole group: all members of a group ask for the same types.
 *
 * **Outages.** Publishing and answers fail with `TransportUnavailable` when the server does not answer in time. A subscription
 * outlives an outage: it logs a warning, waits, and goes on with what it has in hand. It fails with `TransportUnavailable` where
 * waiting would not help (a key of another kind, a missing permission, a missing group that it must not create).
 *
 * **Memory.** The stream stands in the server's memory. Publishing removes, every ten seconds at most and in whole nodes of
 * about a hundred messages, what is older than {@link Options.retention} and done with by every group; a group that nobody reads
 * keeps everything, unless it is older than {@link Options.greatestAge}. Run the server with `maxmemory-policy noeviction`. A
 * message that cannot be read is logged as an error and set aside: it stays pending for the consumer `$unreadable` of its group,
 * and until an operator acknowledges it (`XACK`) nothing newer is removed, unless by age.
 *
 * The keys are `name` (the stream), `{name}:ids`, `{name}:members:<group>` and `{name}:delayed:<group>`; `{name}:wake` is a channel.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redis from "effect/persistence/Redis"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { makeId } from "../internal/ids.ts"
import { defaultRestart } from "../internal/lifecycle.ts"
import { decodeText, encodeText } from "../transport/kit.ts"
import {
  type Delivery,
  type Message,
  MessageRefused,
  type SubscribeOptions,
  Transport,
  TransportError,
  TransportUnavailable
} from "../transport/Transport.ts"
import * as scripts from "./scripts.ts"

/**
 * All durations are finite. Processes that share a stream share their `lease`, `deduplication`, `retention` and `greatestAge`.
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
  /** The largest document, in bytes of JSON. A larger one is refused, and nothing of its batch is published. Default: 8 MiB. */
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

/** An entry of the stream that a member has. */
interface Held {
  readonly id: string
  readonly attempt: number
}

/** What is said of a message. */
interface Answer {
  readonly held: Held
  readonly answer: string | number
  readonly resume: (confirmed: Effect.Effect<void, TransportError>) => void
}

/** Of one call of the script, so that nobody else waits for long. */
const mostMessages = 500
const mostBytes = 4 * 1024 * 1024
/** Of one answer. */
const mostTaken = 100

const trimInterval = 10_000

/** Errors of the server that waiting does not mend. */
const lasting = /^(ERR|WRONGTYPE|NOPERM|NOAUTH|WRONGPASS|NOGROUP)\b/

const unavailable = (operation: string, detail: string, cause?: unknown): TransportError =>
  new TransportError({ reason: new TransportUnavailable({ operation, detail, ...(cause === undefined ? {} : { cause }) }) })

const refused = (id: string, detail: string, cause?: unknown): TransportError =>
  new TransportError({
    reason: new MessageRefused({ operation: "publish", id, detail, ...(cause === undefined ? {} : { cause }) })
  })

const isPassing = ({ reason }: TransportError): boolean => !lasting.test(reason.detail)

const milliseconds = (input: Duration.Input): number => Math.ceil(Duration.toMillis(input))

/**
 * The transport on the server of the `Redis` service: `NodeRedis.layer` of `@effect/platform-node` provides one, and reconnects by
 * itself. With `disableOfflineQueue` what is done during an outage fails at once, instead of waiting in memory for the
 * server to come back. The Layer connects to nothing while it is built, and has one connection of its own, for wake-ups; publishing
 * with {@link Options.replicas} takes one of the pool for each call.
 *
 * For production: Redis with `appendonly yes`, `appendfsync always` (or `everysec`, see above), `maxmemory-policy noeviction`.
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
 * const Live = RedisTransport.layer({ name: "shop", retention: "30 days" }).pipe(
 *   Layer.provide(NodeRedis.layer({ url: "redis://localhost:6379", disableOfflineQueue: true }))
 * )
 * await Effect.runPromise(Effect.provide(program, Live))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Transport, never, Redis.Redis> =>
  Layer.effect(
    Transport,
    Effect.gen(function* () {
      const redis = yield* Redis.Redis
      const name = options.name ?? "eventfold"
      const channel = `{${name}}:wake`
      const timeout = milliseconds(options.timeout ?? "5 seconds")
      const lease = milliseconds(options.lease ?? "15 seconds")
      const poll = Math.min(milliseconds(options.pollInterval ?? "1 second"), lease / 3)
      const replicas = options.replicas ?? 0

      const inTime = <A, R>(operation: string, effect: Effect.Effect<A, Redis.RedisError, R>) =>
        effect.pipe(
          Effect.mapError(({ cause }) => unavailable(operation, cause instanceof Error ? cause.message : String(cause), cause)),
          Effect.timeoutOrElse({
            duration: timeout,
            orElse: () => Effect.fail(unavailable(operation, `no answer within ${timeout} milliseconds`))
          })
        )

      // -----------------------------------------------------------------------
      // publishing
      // -----------------------------------------------------------------------

      const maxMessageBytes = options.maxMessageBytes ?? 8 * 1024 * 1024
      const publishArguments = [
        milliseconds(options.retention ?? "7 days"),
        options.greatestAge === undefined ? -1 : milliseconds(options.greatestAge)
      ]
      const deduplication = milliseconds(options.deduplication ?? "10 minutes")
      let trimmedAt = -Infinity

      const write = (entries: ReadonlyArray<string>) =>
        Effect.suspend(() => {
          const trim = performance.now() - trimmedAt >= trimInterval
          if (trim) trimmedAt = performance.now()
          const keys = [name, `{${name}}:ids`]
          const input = [...keys, channel, deduplication, trim ? 1 : 0, ...publishArguments, ...entries]
          if (replicas === 0) return inTime("publish", redis.eval(scripts.publish)(input))
          const replicated = Effect.scoped(
            Effect.flatMap(redis.reserve, (connection) =>
              Effect.andThen(
                connection.eval(scripts.publish)(input),
                connection.send<number>("WAIT", `${replicas}`, `${timeout}`)
              )
            )
          )
          return Effect.flatMap(inTime("publish", replicated), (count) =>
            count >= replicas ? Effect.void : Effect.fail(unavailable("publish", `${count} of ${replicas} replicas answered`))
          )
        })

      const publish = Effect.fnUntraced(function* (
        messages: Arr.NonEmptyReadonlyArray<Message>
      ): Effect.fn.Return<void, TransportError> {
        const batches: Array<Array<string>> = []
        let count = mostMessages
        let bytes = 0
        for (const message of messages) {
          const document = encodeText(message)
          if (Result.isFailure(document)) return yield* refused(message.id, "it is no valid message", document.failure)
          const size = Buffer.byteLength(document.success)
          if (size > maxMessageBytes) {
            return yield* refused(message.id, `it has ${size} bytes, and ${maxMessageBytes} are allowed`)
          }
          if (count === mostMessages || bytes + size > mostBytes) {
            batches.push([])
            count = bytes = 0
          }
          count++
          bytes += size
          batches.at(-1)?.push(JSON.stringify([message.source, message.id]), message.type, document.success)
        }
        yield* Effect.forEach(batches, write, { discard: true })
      })

      // -----------------------------------------------------------------------
      // wake-ups
      // -----------------------------------------------------------------------

      /** The members of this process: each with its group, and what tells it to ask. */
      const members = new Map<Latch.Latch, string>()

      const listen = Effect.gen(function* () {
        const wakeUps = yield* redis.subscribe(channel)
        while (true) {
          const { message } = yield* Queue.take(wakeUps)
          for (const [latch, group] of members) if (message === "" || message === group) Latch.openUnsafe(latch)
        }
      })
      yield* Effect.forkScoped(Effect.retry(Effect.scoped(listen), defaultRestart))

      // -----------------------------------------------------------------------
      // subscriptions
      // -----------------------------------------------------------------------

      /** Closing the Layer ends all memberships, also those whose stream is still read. */
      const memberships = yield* Scope.fork(yield* Effect.scope, "parallel")

      /** Of each group the members that have yet to give back what they had: whoever joins goes after them. */
      const departures = new Map<string, Set<Effect.Effect<void, TransportError>>>()

      const member = Effect.fnUntraced(function* ({ concurrency = 1, group, types }: SubscribeOptions) {
        const me = yield* makeId
        const keys = [name, `{${name}}:members:${group}`, `{${name}}:delayed:${group}`]
        const filter = types === undefined ? ["all"] : ["some", ...types]
        /** Taken, and not handed out yet. */
        const taken: Array<Held & { readonly message: Message }> = []
        /** Handed out, and not settled. */
        const unsettled = new Set<Held>()
        /** Given, and not confirmed by the server. */
        const answers = new Set<Answer>()
        /** Opens when there is something to do on the server, and something to hand out. */
        const [work, arrived] = [Latch.makeUnsafe(), Latch.makeUnsafe()]
        /** Why answers fail at once: since the server was last asked in vain. */
        let outage: TransportError | undefined
        /** Why the subscription has ended. */
        let end: TransportError | undefined

        const failAnswers = (error: TransportError) => {
          for (const { resume } of answers) resume(Effect.fail(error))
          answers.clear()
        }

        const warn = (error: TransportError) => {
          outage = error
          failAnswers(error)
          return Effect.logWarning(`eventfold: the group "${group}" cannot get messages from Redis`, error)
        }

        const join = Effect.suspend(() => {
          const known = [...taken, ...unsettled].flatMap(({ attempt, id }) => [id, attempt])
          const create = options.createGroups === false ? 0 : 1
          return Effect.andThen(
            Effect.forEach(departures.get(group) ?? [], (departure) => departure, { discard: true }),
            inTime("subscribe", redis.eval(scripts.join)([name, group, me, create, ...known]))
          )
        }).pipe(
          Effect.tapError(warn),
          Effect.retry({ schedule: defaultRestart, while: isPassing }),
          Effect.andThen(Effect.sync(() => (outage = undefined)))
        )

        /** Says what was answered and takes what there is room for. Returns after how many milliseconds to ask again. */
        const step = Effect.suspend(() => {
          const given = Array.from(answers)
          const kept = unsettled.size - new Set(given.map(({ held }) => held).filter((held) => unsettled.has(held))).size
          const room = concurrency - taken.length - kept
          const wanted = Math.max(0, Math.min(room, mostTaken))
          const sent = given.flatMap(({ answer, held }) => [held.id, held.attempt, answer])
          const input = [...keys, channel, group, me, lease, wanted, given.length, ...sent, ...filter]
          const asked = Effect.tapError(inTime("subscribe", redis.eval(scripts.step)(input)), warn)
          return Effect.flatMap(asked, ([next, ...entries]) => {
            for (const answer of given) {
              answers.delete(answer)
              unsettled.delete(answer.held)
              answer.resume(Effect.void)
            }
            const unreadable: Array<Effect.Effect<void>> = []
            for (let index = 0; index < entries.length; index += 3) {
              const [id, attempt, document] = entries.slice(index, index + 3) as [string, number, string]
              const message = decodeText(document)
              if (Result.isSuccess(message)) taken.push({ id, attempt, message: message.success })
              else unreadable.push(setAside({ id, attempt }, message.failure))
            }
            if (taken.length > 0) Latch.openUnsafe(arrived)
            const pause = entries.length === 3 * mostTaken ? 0 : next < 0 ? poll : Math.min(next, poll)
            return Effect.as(Effect.all(unreadable, { discard: true }), pause)
          })
        })

        const setAside = (held: Held, cause: unknown) =>
          Effect.suspend(() => {
            answers.add({ held, answer: "unreadable", resume: () => {} })
            Latch.openUnsafe(work)
            return Effect.logError(
              `eventfold: the entry "${held.id}" of the stream "${name}" is no message, and set aside`,
              cause
            )
          })

        const run = Effect.gen(function* () {
          yield* join
          while (true) {
            // What comes from here on opens it again.
            Latch.closeUnsafe(work)
            // Whoever leaves hears first what became of the answers that are on their way.
            const pause = yield* Effect.catch(Effect.uninterruptible(step), () => Effect.as(Effect.delay(join, "100 millis"), 0))
            if (pause > 0) yield* Effect.timeoutOption(Latch.await(work), pause)
          }
        }).pipe(
          Effect.catchCause((cause) => {
            const error = Option.getOrElse(Cause.findErrorOption(cause), () =>
              unavailable("subscribe", Cause.pretty(cause), Cause.squash(cause))
            )
            return Effect.sync(() => finish(error))
          })
        )

        const finish = (error: TransportError) => {
          end ??= error
          failAnswers(error)
          Latch.openUnsafe(arrived)
        }

        const leave = Effect.suspend(() => {
          const handed = Array.from(unsettled, ({ id }) => id)
          members.delete(work)
          unsettled.clear()
          taken.length = 0
          finish(unavailable("subscribe", "the subscription has ended"))
          const waiting = departures.get(group) ?? new Set()
          const departure: Effect.Effect<void, TransportError> = Effect.andThen(
            // What waiting does not mend is left to the lease.
            Effect.catch(
              inTime("leave", redis.eval(scripts.leave)([...keys.slice(0, 2), channel, group, me, ...handed])),
              (error) => (isPassing(error) ? Effect.fail(error) : Effect.void)
            ),
            Effect.sync(() => waiting.delete(departure))
          )
          departures.set(group, waiting.add(departure))
          const later = Effect.forkIn(Effect.retry(departure, defaultRestart), memberships)
          return outage === undefined ? Effect.catch(departure, () => later) : later
        })

        const settle = (held: Held, answer: string | number): Effect.Effect<void, TransportError> =>
          Effect.callback((resume) => {
            if (!unsettled.has(held)) return resume(Effect.void)
            const given = { held, answer, resume }
            if (outage !== undefined) return resume(Effect.fail(outage))
            answers.add(given)
            Latch.openUnsafe(work)
            return Effect.sync(() => answers.delete(given))
          })

        const next: Effect.Effect<Delivery, TransportError> = Effect.suspend(() => {
          const held = taken.shift()
          if (held !== undefined) {
            unsettled.add(held)
            return Effect.succeed({
              message: held.message,
              attempt: held.attempt,
              ack: settle(held, "ack"),
              nack: (options) => settle(held, milliseconds(options?.delay ?? 0))
            })
          }
          if (end !== undefined) return Effect.fail(end)
          Latch.closeUnsafe(arrived)
          return Effect.andThen(Latch.await(arrived), next)
        })

        const membership = yield* Effect.acquireRelease(Scope.fork(memberships), (scope, exit) => Scope.close(scope, exit))
        yield* Scope.addFinalizer(membership, leave)
        members.set(work, group)
        yield* Effect.forkIn(run, membership)
        return Stream.fromEffectRepeat(next)
      })

      return { publish, subscribe: (options) => Stream.unwrap(member(options)) }
    })
  )
