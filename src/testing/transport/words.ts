/** The words in which the cases for transports are written. */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import assert from "node:assert/strict"
import { realSleep } from "../../internal/realTime.ts"
import {
  type CloudEvent,
  type Delivery,
  type Message,
  type SubscribeOptions,
  Transport,
  type TransportError
} from "../../transport/Transport.ts"
import { build, range, words, type World } from "../suite.ts"

type Service = Transport["Service"]

interface Time {
  /** The delay that a case asks for. */
  readonly delay: Duration.Duration
  /** Lets the delay pass, where it does not pass by itself. */
  readonly pass: Effect.Effect<void>
  /** Whether it passes by itself. */
  readonly live: boolean
}

/** One connection to the broker, and what the cases are told with. */
export interface Kit {
  readonly publish: (...messages: ReadonlyArray<Message>) => Effect.Effect<void, TransportError>
  /** Joins a group, and stays until it leaves or the case ends. */
  readonly join: (options: SubscribeOptions) => Effect.Effect<Member, TransportError, Scope.Scope>
  /** Forgets a group, so that a case that joins it again knows that it has begun. */
  readonly forget: Service["forget"]
  /** The bare deliveries of a group that has had a member. */
  readonly deliveries: Service["subscribe"]
  readonly transport: Service
  readonly time: Time
  /** Whether newer messages may overtake what was in hand when a fault came. */
  readonly overtakes: boolean
  /** Whether attempts are counted over the end of a connection. */
  readonly counts: boolean
  /** Whether order, and what several connections share, is by message or by subject. */
  readonly spreads: "messages" | "subjects"
}

export interface Member {
  /** Waits for the next delivery. */
  readonly next: Effect.Effect<Delivery, TransportError>
  /** Closes the subscription. */
  readonly leave: Effect.Effect<void>
}

const probe = "eventfold.probe"

/** What the words have to know of the broker. */
interface Traits {
  /** What delays run by. */
  readonly clock: "test" | "live"
  /** Whether a new group begins at the first message ever. Otherwise at its first subscription. */
  readonly history: boolean
  readonly overtakes: boolean
  readonly counts: boolean
  readonly spreads: "messages" | "subjects"
}

/** Connects to the broker of a case: each time anew. */
const makeOpen = (layer: Layer.Layer<Transport, unknown>, traits: Traits): World<Kit>["open"] => {
  // Where a group begins at its first subscription, a case has to know that it has begun before it publishes.
  const begun = new Set<string>()
  let probes = 0
  const begin = Effect.fnUntraced(function* ({ publish, subscribe }: Service, group: string) {
    if (traits.history || begun.has(group)) return
    begun.add(group)
    const first = yield* subscribe({ group }).pipe(
      Stream.tap(({ ack }) => ack),
      Stream.runHead,
      Effect.forkChild
    )
    while (first.pollUnsafe() === undefined) {
      yield* publish([message(0, { id: `probe ${++probes}`, type: probe })])
      yield* Effect.raceFirst(Fiber.await(first), realSleep("10 millis"))
    }
    yield* Fiber.join(first)
  })

  return Effect.gen(function* () {
    const transport = yield* build(layer, Transport)
    const deliveries: Service["subscribe"] = (options) =>
      Stream.filterEffect(transport.subscribe(options), ({ ack, message }) =>
        message.type === probe ? Effect.as(ack, false) : Effect.succeed(true)
      )
    return {
      publish: (...[first, ...rest]) => (first === undefined ? Effect.void : transport.publish([first, ...rest])),
      deliveries,
      forget: (group) => Effect.tap(transport.forget(group), () => Effect.sync(() => begun.delete(group))),
      transport,
      overtakes: traits.overtakes,
      counts: traits.counts,
      spreads: traits.spreads,
      join: Effect.fnUntraced(function* (options) {
        yield* begin(transport, options.group)
        const scope = yield* Scope.fork(yield* Effect.scope)
        const received = yield* Queue.unbounded<Delivery>()
        const reading = yield* Effect.forkIn(
          Stream.runForEach(deliveries(options), (delivery) => Queue.offer(received, delivery)),
          scope
        )
        const ended = Effect.andThen(Fiber.join(reading), Effect.die(new assert.AssertionError({ message: "the stream ended" })))
        return { next: Effect.raceFirst(Queue.take(received), ended), leave: Scope.close(scope, Exit.void) }
      }),
      time:
        traits.clock === "test"
          ? { delay: Duration.hours(1), pass: TestClock.adjust("1 hour"), live: false }
          : { delay: Duration.millis(300), pass: Effect.void, live: true }
    }
  })
}

export const message = (n: number, more: Partial<Message> = {}): Message => ({
  specversion: "1.0",
  id: `message ${n}`,
  source: "/conformance",
  type: "Happened",
  subject: "Thing-1",
  time: DateTime.makeUnsafe("2026-02-03T04:05:06.789Z"),
  datacontenttype: "application/json",
  data: { n },
  schemaversion: 1,
  position: n,
  ...more
})

export const messages = (from: number, to: number): ReadonlyArray<Message> => range(from, to).map((n) => message(n))

/** A message with its instant as a number, for comparison. */
export const plain = (message: CloudEvent) => ({
  ...message,
  time: message.time === undefined ? undefined : DateTime.toEpochMillis(message.time)
})

/** The number of a message of these cases. */
export const positionOf = ({ position }: CloudEvent): number => {
  assert.ok(position !== undefined)
  return position
}

/** Number and attempt of a delivery. */
export const facts = ({ attempt, message }: Delivery) => [positionOf(message), attempt] as const

/** Takes so many deliveries, without settling any. */
export const take = (member: Member, count: number): Effect.Effect<ReadonlyArray<Delivery>, TransportError> =>
  Effect.forEach(range(1, count), () => member.next)

/** Takes a delivery and acknowledges it. */
export const done = (member: Member) => Effect.tap(member.next, ({ ack }) => ack)

export const byPosition = (a: readonly [number, number], b: readonly [number, number]) => a[0] - b[0]

/** What the cases that cut connections and end brokers are told with, beside the connection. */
export interface Struck extends World<Kit> {
  /** Cuts all connections to the broker that are open. */
  readonly interrupt: Effect.Effect<void, unknown>
  /** Ends the broker and starts it again. */
  readonly restart: Effect.Effect<void, unknown>
}

export type Need = "deduplicates" | "history" | "durable" | "shared" | "interrupt" | "restart"

export const { every, opened, reopened, shared } = words<Kit, Struck, Need>()

/** The world of a case on one broker. A fault that is not offered is a defect: the cases that need it are not among the cases. */
export const makeWorld = (
  layer: Layer.Layer<Transport, unknown>,
  traits: Traits,
  faults: Partial<Omit<Struck, "open">>
): Struck => ({
  open: makeOpen(layer, traits),
  interrupt: Effect.die("no such fault"),
  restart: Effect.die("no such fault"),
  ...faults
})
