import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { makeDelivery, makeInFlight } from "./inFlight.ts"
import { keyOf, messageFault } from "./cloudEvents.ts"
import { refused } from "./failing.ts"
import { closed, makeMembers, type Members, untilClosed } from "./lifetime.ts"
import type { Message } from "./message.ts"
import { type Delivery, type SubscribeOptions, Transport, type TransportError } from "./service.ts"

/**
 * What has been published through {@link layerMemory}, for tests.
 *
 * @category services
 * @since 0.1.0
 */
export class Published extends Context.Service<Published, { readonly messages: Effect.Effect<ReadonlyArray<Message>> }>()(
  "eventfold/Transport/Published"
) {}

/**
 * What has been published through {@link layerMemory} so far, in order.
 *
 * @category accessors
 * @since 0.1.0
 */
export const published: Effect.Effect<ReadonlyArray<Message>, never, Published> = Published.use(({ messages }) => messages)

/** A message that waits in a group. */
interface Waiting {
  /** Its place in the order of publishing. */
  readonly index: number
  /** How often it has been delivered. */
  readonly attempts: number
}

interface Group {
  /** In the order of publishing. */
  readonly waiting: Array<Waiting>
  /** Members that would take a message, longest waiting first. */
  readonly idle: Set<() => void>
  /** How many it has not acknowledged. */
  open: number
}

/** Everything published, and what each group has yet to be given. */
interface Broker {
  readonly messages: Array<Message>
  readonly publish: (batch: ReadonlyArray<Message>) => void
  readonly group: (name: string) => Group
  /** Whether there was one. */
  readonly forget: (name: string) => boolean
  /** How many messages a group has not acknowledged. */
  readonly open: (name: string) => number | undefined
  /** Puts a message back in its place. */
  readonly giveBack: (group: Group, waiting: Waiting) => void
}

const wake = (group: Group) => {
  for (const resume of group.idle) resume()
}

const makeBroker = (): Broker => {
  const messages: Array<Message> = []
  const ids = new Set<string>()
  const groups = new Map<string, Group>()
  return {
    messages,
    publish: (batch) => {
      for (const message of batch) {
        const key = keyOf(message)
        if (ids.has(key)) continue
        ids.add(key)
        const index = messages.push(message) - 1
        for (const group of groups.values()) {
          group.waiting.push({ index, attempts: 0 })
          group.open++
        }
      }
      for (const group of groups.values()) wake(group)
    },
    group: (name) => {
      let group = groups.get(name)
      if (group === undefined) {
        group = { waiting: messages.map((_, index) => ({ index, attempts: 0 })), idle: new Set(), open: messages.length }
        groups.set(name, group)
      }
      return group
    },
    forget: (name) => groups.delete(name),
    open: (name) => groups.get(name)?.open,
    giveBack: (group, { attempts, index }) => {
      const place = group.waiting.findIndex((other) => other.index > index)
      group.waiting.splice(place === -1 ? group.waiting.length : place, 0, { index, attempts })
      wake(group)
    }
  }
}

/** A member of a group: each `next` waits for a delivery. Delays run in `scope`. */
const join = Effect.fnUntraced(function* (
  broker: Broker,
  members: Members<object>,
  scope: Scope.Scope,
  { concurrency = 1, group: name, types }: SubscribeOptions
): Effect.fn.Return<Effect.Effect<Delivery, TransportError>, never, Scope.Scope> {
  const group = broker.group(name)
  const inFlight = makeInFlight<Waiting>()
  let resume: (() => void) | undefined
  let left = false

  const giveBack = (given: Waiting, delay: Duration.Duration): Effect.Effect<void> => {
    const back = Effect.sync(() => broker.giveBack(group, given))
    return Duration.isZero(delay) ? back : Effect.asVoid(Effect.forkIn(Effect.delay(back, delay), scope))
  }
  const settle = (given: Waiting) => (delay: Duration.Duration | undefined) =>
    inFlight.settle(given, delay === undefined ? Effect.sync(() => group.open--) : giveBack(given, delay), () => resume?.())

  const take = (): Delivery | undefined => {
    if (inFlight.size >= concurrency) return undefined
    for (const [place, { attempts, index }] of group.waiting.entries()) {
      const message = broker.messages[index]
      if (message === undefined || types?.includes(message.type) === false) continue
      group.waiting.splice(place, 1)
      const given = { index, attempts: attempts + 1 }
      inFlight.add(given)
      return makeDelivery(message, given.attempts, settle(given))
    }
    return undefined
  }

  const leave = Effect.sync(() => {
    left = true
    resume?.()
    for (const given of inFlight.end()) broker.giveBack(group, given)
  })
  yield* members.join({}, leave)

  return Effect.callback((done) => {
    const onChange = () => {
      const delivery = left ? undefined : take()
      if (!left && delivery === undefined) return
      stop()
      done(delivery === undefined ? Effect.fail(closed("subscribe")) : Effect.succeed(delivery))
    }
    const stop = () => {
      group.idle.delete(onChange)
      if (resume === onChange) resume = undefined
    }
    resume = onChange
    group.idle.add(onChange)
    onChange()
    return Effect.sync(stop)
  })
})

/**
 * A broker in memory: consumer groups, acknowledgement, redelivery, de-duplication by source and id.
 *
 * **When to use**
 *
 * For tests, and for programs of one process that may lose what has not been consumed when they end.
 *
 * **Details**
 *
 * Everything published is kept until the Layer closes, and {@link published} reads it. A group begins at the first message.
 *
 * **Example**
 *
 * ```ts
 * import { DateTime, Effect, Stream } from "effect"
 * import { Transport } from "eventfold"
 *
 * const message: Transport.Message = {
 *   specversion: "1.0",
 *   id: "1",
 *   source: "/shop",
 *   type: "OrderPlaced",
 *   subject: "Order-1",
 *   time: DateTime.makeUnsafe("2026-01-01T00:00:00Z"),
 *   datacontenttype: "application/json",
 *   data: { total: 5 },
 *   schemaversion: 1,
 *   position: 1
 * }
 *
 * const program = Effect.gen(function* () {
 *   yield* Transport.publish([message])
 *   const first = Transport.subscribe({ group: "mail" }).pipe(Stream.take(1))
 *   yield* Stream.runForEach(first, ({ nack }) => nack())
 *   return yield* Stream.runCollect(Stream.map(first, ({ attempt, message }) => [message.type, attempt]))
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Transport.layerMemory)) // => [["OrderPlaced", 2]]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<Transport | Published> = Layer.effectContext(
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const broker = makeBroker()
    const members = yield* makeMembers<object>()
    const transport = yield* untilClosed({
      publish: (batch) =>
        Effect.suspend(() => {
          for (const message of batch) {
            const fault = messageFault(message)
            if (fault !== undefined) return Effect.fail(refused(message.id, fault))
          }
          return Effect.sync(() => broker.publish(batch))
        }),
      subscribe: (options) => Stream.unwrap(Effect.map(join(broker, members, scope, options), Stream.fromEffectRepeat)),
      forget: (group) => Effect.sync(() => broker.forget(group)),
      waiting: (group) => Effect.sync(() => broker.open(group))
    })
    return Context.make(Transport, transport).pipe(
      Context.add(Published, { messages: Effect.sync(() => broker.messages.slice()) })
    )
  })
)

/**
 * A transport that takes every message and forgets it, and never delivers one.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSinkhole: Layer.Layer<Transport> = Layer.succeed(Transport, {
  publish: () => Effect.void,
  subscribe: () => Stream.never,
  forget: () => Effect.succeed(false)
})
