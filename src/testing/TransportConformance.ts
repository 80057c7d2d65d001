/**
 * The conformance suite for transports: what every broker must do behind the `Transport` port, as cases that any test runner can
 * run.
 *
 * A case that cannot come to an end (a message that never arrives) hangs: give the runner a time-out.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { TestClock } from "effect/testing"
 * import { Transport } from "eventfold"
 * import { TransportConformance } from "eventfold/testing"
 *
 * const cases = TransportConformance.cases({
 *   storage: Effect.succeed(Transport.layerMemory), // each build of this Layer is a new broker
 *   abilities: { clock: "test", deduplicates: true, history: true, durable: false, shared: false }
 * })
 *
 * // With a runner: for (const { name, run } of cases) it.effect(name, () => run)
 * const some = Effect.forEach(cases.slice(0, 3), ({ run }) => Effect.scoped(run), { discard: true })
 * await Effect.runPromise(Effect.provide(some, TestClock.layer()))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import assert from "node:assert/strict"
import { run as consume } from "../consuming/Consumer.ts"
import * as DeadLetters from "../consuming/DeadLetters.ts"
import * as Event from "../definitions/Event.ts"
import { realSleep } from "../internal/realTime.ts"
import { type Message, type Delivery, type SubscribeOptions, Transport, TransportError } from "../transport/Transport.ts"

/**
 * Makes a new, empty broker (or a part of one that nothing else uses) and returns the Layer that connects to it.
 *
 * With the ability `durable` or `shared`, building the Layer again connects to the same broker again. Each build is made with a
 * new memo map, so whatever the Layer is made of is built anew too.
 *
 * @category models
 * @since 0.1.0
 */
export type Storage = Effect.Effect<Layer.Layer<Transport, unknown>, unknown, Scope.Scope>

/**
 * What not every broker can do. A case that needs an ability which is `false` is not among the cases.
 *
 * @category models
 * @since 0.1.0
 */
export interface Abilities {
  /** What delays run by: Effect's `Clock` (the cases then move a `TestClock`), or a clock that nobody can move. */
  readonly clock: "test" | "live"
  /** A message whose id has been published before is not delivered again. */
  readonly deduplicates: boolean
  /** A new group begins at the first message ever. Otherwise at its first subscription. */
  readonly history: boolean
  /** What was published and not acknowledged is delivered after the Layer has been closed and built again. */
  readonly durable: boolean
  /** Two Layers built at once are connected to one broker. */
  readonly shared: boolean
}

/**
 * What can be done to the broker from outside. A case that needs a fault which is not offered is not among the cases.
 *
 * @category models
 * @since 0.1.0
 */
export interface Faults {
  /** Cuts all connections to the broker that are open, as a network does that fails; new ones are welcome at once. */
  readonly interrupt?: Effect.Effect<void, unknown> | undefined
  /** Ends the broker without a farewell and starts it again on the same data; succeeds when it answers again. */
  readonly restart?: Effect.Effect<void, unknown> | undefined
  /**
   * Whether what a member had in hand when a fault came may be delivered again after newer messages. What is delivered for the
   * first time must come in order even so. Default: false.
   */
  readonly overtakes?: boolean | undefined
}

/**
 * One thing that a transport must do. It fails or dies (with an `AssertionError`) when the transport does not.
 *
 * @category models
 * @since 0.1.0
 */
export interface Case {
  /** A sentence, unique among the cases. */
  readonly name: string
  /** Makes a broker of its own, so cases may run in any order and at once. All is closed with the scope. */
  readonly run: Effect.Effect<void, unknown, Scope.Scope>
}

type Service = Transport["Service"]
type Open = Effect.Effect<Kit, unknown, Scope.Scope>

interface Time {
  /** The delay that a case asks for. */
  readonly delay: Duration.Duration
  /** Lets the delay pass, where it does not pass by itself. */
  readonly pass: Effect.Effect<void>
  /** Whether it passes by itself. */
  readonly live: boolean
}

/** One connection to the broker, and what the cases are told with. */
interface Kit {
  readonly publish: (...messages: ReadonlyArray<Message>) => Effect.Effect<void, TransportError>
  /** Joins a group, and stays until it leaves or the case ends. */
  readonly join: (options: SubscribeOptions) => Effect.Effect<Member, TransportError, Scope.Scope>
  /** The bare deliveries of a group that has had a member. */
  readonly deliveries: Service["subscribe"]
  readonly transport: Service
  readonly time: Time
  /** Whether newer messages may overtake what was in hand when a fault came. */
  readonly overtakes: boolean
}

interface Member {
  /** Waits for the next delivery. */
  readonly next: Effect.Effect<Delivery, TransportError>
  /** Closes the subscription. */
  readonly leave: Effect.Effect<void>
}

type Body<A> = (input: A) => Generator<Effect.Effect<unknown, unknown, Scope.Scope>, void, never>

type Need = "deduplicates" | "history" | "durable" | "shared" | "interrupt" | "restart"

interface Definition {
  readonly name: string
  readonly needs: Need | undefined
  /** A second ability that it needs. */
  readonly also?: Need
  /** `fault` is the fault that the case needs. */
  readonly run: (open: Open, fault: Effect.Effect<void, unknown>) => Effect.Effect<void, unknown, Scope.Scope>
}

/**
 * The cases that a transport with these abilities must pass. Those that need a fault must not run beside others on one broker.
 *
 * @category constructors
 * @since 0.1.0
 */
export const cases = (options: {
  readonly storage: Storage
  readonly abilities: Abilities
  readonly faults?: Faults | undefined
}): ReadonlyArray<Case> =>
  definitions
    .map((definition) => ({ ...definition, has: offered(definition.needs, options.abilities, options.faults ?? {}) }))
    .filter(({ also, has }) => has !== false && offered(also, options.abilities, options.faults ?? {}) !== false)
    .map(({ has, name, run }) => ({
      name,
      run: Effect.flatMap(options.storage, (layer) =>
        run(makeOpen(layer, options.abilities, options.faults?.overtakes ?? false), typeof has === "boolean" ? Effect.void : has)
      )
    }))

/** Whether there is what a case needs; the fault itself, if it is one. */
const offered = (needs: Need | undefined, abilities: Abilities, faults: Faults): boolean | Effect.Effect<void, unknown> => {
  switch (needs) {
    case undefined:
      return true
    case "interrupt":
      return faults.interrupt ?? false
    case "restart":
      return faults.restart ?? false
    default:
      return abilities[needs]
  }
}

const probe = "eventfold.probe"

/** Connects to the broker of a case: each time anew. */
const makeOpen = (layer: Layer.Layer<Transport, unknown>, abilities: Abilities, overtakes: boolean): Open => {
  // Where a group begins at its first subscription, a case has to know that it has begun before it publishes.
  const begun = new Set<string>()
  let probes = 0
  const begin = Effect.fnUntraced(function* ({ publish, subscribe }: Service, group: string) {
    if (abilities.history || begun.has(group)) return
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
    const context = yield* Layer.buildWithMemoMap(layer, Layer.makeMemoMapUnsafe(), yield* Effect.scope)
    const transport = Context.get(context, Transport)
    const deliveries: Service["subscribe"] = (options) =>
      Stream.filterEffect(transport.subscribe(options), ({ ack, message }) =>
        message.type === probe ? Effect.as(ack, false) : Effect.succeed(true)
      )
    return {
      publish: (...[first, ...rest]) => (first === undefined ? Effect.void : transport.publish([first, ...rest])),
      deliveries,
      transport,
      overtakes,
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
        abilities.clock === "test"
          ? { delay: Duration.hours(1), pass: TestClock.adjust("1 hour"), live: false }
          : { delay: Duration.millis(300), pass: Effect.void, live: true }
    }
  })
}

const definitions: Array<Definition> = []

/** A case for every transport, or for those with an ability. */
const every = (name: string, body: Body<Kit>, needs?: Definition["needs"]): void => {
  definitions.push({ name, needs, run: (open) => Effect.flatMap(open, (kit) => Effect.gen(() => body(kit))) })
}

const message = (n: number, more: Partial<Message> = {}): Message => ({
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

const range = (from: number, to: number): ReadonlyArray<number> => Array.from({ length: to - from + 1 }, (_, n) => from + n)
const messages = (from: number, to: number): ReadonlyArray<Message> => range(from, to).map((n) => message(n))

/** A message with its instant as a number, for comparison. */
const plain = (message: Message) => ({ ...message, time: DateTime.toEpochMillis(message.time) })

/** Number and attempt of a delivery. */
const facts = ({ attempt, message }: Delivery) => [message.position, attempt] as const

/** Takes so many deliveries, without settling any. */
const take = (member: Member, count: number): Effect.Effect<ReadonlyArray<Delivery>, TransportError> =>
  Effect.forEach(range(1, count), () => member.next)

/** Takes a delivery and acknowledges it. */
const done = (member: Member) => Effect.tap(member.next, ({ ack }) => ack)

const byPosition = (a: readonly [number, number], b: readonly [number, number]) => a[0] - b[0]

/** Lets other fibers come to their turn. */
const turns = (count: number): Effect.Effect<void> => Effect.forEach(range(1, count), () => Effect.yieldNow, { discard: true })

every("a message arrives with every attribute as it was published", function* ({ join, publish }) {
  const sent = [
    message(1, { correlationid: "c-1", causationid: "m-0", schemaversion: 7 }),
    message(2, { subject: 'Thing-it\'s "odd" / 😀 é', id: 'it\'s "odd" / 😀 é', type: "thing.happened/v2:é" }),
    message(2 ** 31 + 1, { source: "https://example.com/a?b=c#d" }),
    message(Number.MAX_SAFE_INTEGER, { time: DateTime.makeUnsafe("1970-01-01T00:00:00.000Z") }),
    message(5, { time: DateTime.makeUnsafe("9999-12-31T23:59:59.999Z") }),
    ...[null, true, 0, -1.5e300, "", "text", [], {}, { a: [{ b: null }], "😀": "\n\t\\" }].map((data, n) =>
      message(6 + n, { data })
    )
  ]
  const member = yield* join({ group: "g" })
  yield* publish(...sent)
  const received = yield* Effect.forEach(sent, () => done(member))
  assert.deepEqual(
    received.map(({ message }) => plain(message)),
    sent.map(plain)
  )
  assert.ok(received.every(({ attempt }) => attempt === 1))
})

every("a message of 1 MiB arrives whole, or is refused with an error that names it", function* ({ join, publish }) {
  const member = yield* join({ group: "g" })
  const large = message(1, { data: "é".repeat(512 * 1024) })
  const published = yield* Effect.result(publish(large))
  if (Result.isSuccess(published)) {
    assert.equal((yield* done(member)).message.data, large.data)
  } else {
    const { reason } = published.failure
    assert.ok(reason._tag === "MessageRefused")
    assert.equal(reason.id, large.id)
  }
  yield* publish(message(2))
  assert.equal((yield* done(member)).message.position, 2)
})

every(
  "messages arrive in the order of publishing, one at a time unless asked for more",
  function* ({ deliveries, join, publish }) {
    yield* (yield* join({ group: "g" })).leave
    for (const batch of range(0, 19)) yield* publish(...messages(batch * 10 + 1, batch * 10 + 10))
    let open = 0
    const received = yield* deliveries({ group: "g" }).pipe(
      Stream.mapEffect(
        ({ ack, message }) =>
          Effect.gen(function* () {
            assert.equal(++open, 1, "one at a time")
            yield* turns(5)
            open--
            yield* ack
            return message.position
          }),
        { concurrency: "unbounded" }
      ),
      Stream.take(200),
      Stream.runCollect
    )
    assert.deepEqual(received, range(1, 200))
  }
)

every("a member has as many messages at once as it asked for, and no more", function* ({ deliveries, join, publish }) {
  yield* (yield* join({ group: "g" })).leave
  yield* publish(...messages(1, 50))
  const full = yield* Deferred.make<void>()
  let open = 0
  let most = 0
  yield* deliveries({ group: "g", concurrency: 3 }).pipe(
    Stream.mapEffect(
      ({ ack }) =>
        Effect.gen(function* () {
          most = Math.max(most, ++open)
          if (open === 3) yield* Deferred.succeed(full, undefined)
          yield* Deferred.await(full)
          yield* turns(20)
          open--
          yield* ack
        }),
      { concurrency: "unbounded" }
    ),
    Stream.take(50),
    Stream.runDrain
  )
  assert.equal(most, 3)
})

every("a subscription may come before the first message", function* ({ join, publish }) {
  const member = yield* join({ group: "g" })
  yield* turns(20)
  yield* publish(message(1))
  assert.deepEqual(facts(yield* done(member)), [1, 1])
})

every("each group gets every message", function* ({ join, publish }) {
  const members = yield* Effect.forEach(["a", "b", "c"], (group) => join({ group }))
  yield* publish(...messages(1, 10))
  for (const member of members) {
    assert.deepEqual(
      (yield* Effect.forEach(range(1, 10), () => done(member))).map(facts),
      range(1, 10).map((n) => [n, 1])
    )
  }
})

every("groups are told apart by every character of their names", function* ({ join, publish }) {
  const names = ["a b", "a_b", "a.b", "a*b", "a>b", "a#b", "A b", "a%20b", "\u00e4 b"]
  const members = yield* Effect.forEach(names, (group) => join({ group }))
  yield* publish(message(1))
  for (const member of members) assert.deepEqual(facts(yield* done(member)), [1, 1])
})

every(
  "a new group begins at the first message ever",
  function* ({ join, publish }) {
    yield* publish(...messages(1, 3))
    const member = yield* join({ group: "late" })
    yield* publish(message(4))
    assert.deepEqual(
      (yield* Effect.forEach(range(1, 4), () => done(member))).map(facts),
      range(1, 4).map((n) => [n, 1])
    )
  },
  "history"
)

every("what is published while a group has no member waits for one", function* ({ join, publish }) {
  yield* (yield* join({ group: "g" })).leave
  yield* publish(...messages(1, 3))
  const member = yield* join({ group: "g" })
  assert.deepEqual(
    (yield* Effect.forEach(range(1, 3), () => done(member))).map(facts),
    range(1, 3).map((n) => [n, 1])
  )
})

every("the members of a group share its messages: each goes to one of them", function* ({ join, publish }) {
  const [one, two] = [yield* join({ group: "g" }), yield* join({ group: "g" })]
  yield* publish(...messages(1, 3))
  // Neither settles its message, so each has one, and the third waits.
  const first = yield* one.next
  const second = yield* two.next
  assert.deepEqual([facts(first), facts(second)].sort(byPosition), [
    [1, 1],
    [2, 1]
  ])
  yield* second.ack
  const third = yield* two.next
  assert.deepEqual(facts(third), [3, 1])
})

every("a thousand messages and many members: each message is acknowledged once in each group", function* ({ join, publish }) {
  const groups = ["a", "b"]
  const seen: Record<string, Array<number>> = { a: [], b: [] }
  const working = yield* Effect.forEach(
    groups.flatMap((group) => range(1, 10).map(() => group)),
    (group) =>
      Effect.flatMap(join({ group, concurrency: 5 }), (member) =>
        Effect.forkScoped(
          Effect.forever(Effect.tap(done(member), ({ message }) => Effect.sync(() => seen[group]?.push(message.position))))
        )
      )
  )
  const lasts = yield* Effect.forEach(groups, (group) => join({ group: `${group}, the last` }))
  yield* Effect.forEach(range(0, 99), (batch) => publish(...messages(batch * 10 + 1, batch * 10 + 10)), { concurrency: 10 })
  // When groups that began later have everything, so has the broker; the others may still be at work.
  for (const last of lasts) yield* Effect.forEach(range(1, 1000), () => done(last))
  while (groups.some((group) => (seen[group] ?? []).length < 1000)) yield* Effect.yieldNow
  yield* Effect.forEach(working, Fiber.interrupt)
  for (const group of groups)
    assert.deepEqual(
      seen[group]?.toSorted((a, b) => a - b),
      range(1, 1000)
    )
})

every("a member gets the types it asked for, and every type by default", function* ({ join, publish }) {
  const some = yield* join({ group: "some", types: ["B", "C"] })
  const all = yield* join({ group: "all" })
  yield* publish(...["A", "B", "D", "C", "A", "B"].map((type, n) => message(n + 1, { type })))
  assert.deepEqual((yield* Effect.forEach(range(1, 3), () => done(some))).map(facts), [
    [2, 1],
    [4, 1],
    [6, 1]
  ])
  assert.deepEqual(
    (yield* Effect.forEach(range(1, 6), () => done(all))).map(facts),
    range(1, 6).map((n) => [n, 1])
  )
})

every("types are names, and no patterns", function* ({ join, publish }) {
  const types = ["a", "a.b", "a.*", "a b", "A", "*", "#", ">"]
  const members = yield* Effect.forEach(types, (type) => join({ group: `of ${type}`, types: [type] }))
  for (const round of [0, 100]) yield* publish(...types.map((type, n) => message(round + n, { type })))
  for (const [n, member] of members.entries()) {
    assert.deepEqual(
      [facts(yield* done(member)), facts(yield* done(member))],
      [
        [n, 1],
        [100 + n, 1]
      ]
    )
  }
})

every("what is acknowledged is not delivered to the group again", function* ({ join, publish }) {
  const member = yield* join({ group: "g" })
  yield* publish(...messages(1, 3))
  yield* done(member)
  yield* done(member)
  yield* member.leave
  const next = yield* join({ group: "g" })
  assert.equal((yield* done(next)).message.position, 3)
  yield* publish(message(4))
  assert.deepEqual(facts(yield* done(next)), [4, 1])
})

every("a message that was not acknowledged comes again, and counts how often", function* ({ join, publish }) {
  const member = yield* join({ group: "g" })
  yield* publish(message(1))
  for (const attempt of range(1, 5)) {
    const delivery = yield* member.next
    assert.deepEqual(facts(delivery), [1, attempt])
    yield* attempt === 5 ? delivery.ack : delivery.nack()
  }
  yield* publish(message(2))
  assert.deepEqual(facts(yield* done(member)), [2, 1])
})

every("a message can wait before it comes again, and others go on meanwhile", function* ({ join, publish, time }) {
  const member = yield* join({ group: "g" })
  yield* publish(message(1))
  const first = yield* member.next
  const start = performance.now()
  yield* first.nack({ delay: time.delay })
  yield* publish(...messages(2, 3))
  assert.deepEqual((yield* Effect.forEach([2, 3], () => done(member))).map(facts), [
    [2, 1],
    [3, 1]
  ])
  yield* time.pass
  assert.deepEqual(facts(yield* done(member)), [1, 2])
  // Clocks of different machines do not agree to the millisecond.
  if (time.live) assert.ok(performance.now() - start >= Duration.toMillis(time.delay) - 20)
})

every("a message that waits comes again, too, when its member has left", function* ({ join, publish, time }) {
  const leaver = yield* join({ group: "g" })
  yield* publish(message(1))
  yield* (yield* leaver.next).nack({ delay: time.delay })
  yield* leaver.leave
  const next = yield* join({ group: "g" })
  yield* time.pass
  assert.deepEqual(facts(yield* done(next)), [1, 2])
})

every("a delivery is settled once: whatever is said of it later does nothing", function* ({ join, publish }) {
  const member = yield* join({ group: "g" })
  yield* publish(...messages(1, 2))
  const first = yield* member.next
  yield* first.ack
  yield* first.ack
  yield* first.nack()
  const second = yield* member.next
  assert.deepEqual(facts(second), [2, 1])
  yield* second.nack()
  yield* second.ack
  yield* second.nack()
  assert.deepEqual(facts(yield* done(member)), [2, 2])
  yield* publish(message(3))
  assert.deepEqual(facts(yield* done(member)), [3, 1])
})

every("one group's answer is nothing to another group", function* ({ join, publish }) {
  const [one, two] = [yield* join({ group: "one" }), yield* join({ group: "two" })]
  yield* publish(message(1))
  yield* (yield* one.next).nack()
  yield* done(two)
  assert.deepEqual(facts(yield* done(one)), [1, 2])
  yield* publish(message(2))
  assert.deepEqual(
    [facts(yield* done(one)), facts(yield* done(two))],
    [
      [2, 1],
      [2, 1]
    ]
  )
})

every("what a member leaves unsettled is delivered again, to whoever is there or comes", function* ({ join, publish }) {
  const leaver = yield* join({ group: "g", concurrency: 3 })
  yield* publish(...messages(1, 3))
  const [, second] = yield* take(leaver, 3)
  const stayer = yield* join({ group: "g", concurrency: 3 })
  yield* second?.ack ?? Effect.die("no second")
  yield* leaver.leave
  assert.deepEqual((yield* take(stayer, 2)).map(facts).sort(byPosition), [
    [1, 2],
    [3, 2]
  ])
  yield* stayer.leave
  const next = yield* join({ group: "g", concurrency: 3 })
  assert.deepEqual((yield* take(next, 2)).map(facts).sort(byPosition), [
    [1, 3],
    [3, 3]
  ])
})

every("what a member says after it has left does nothing", function* ({ join, publish }) {
  const leaver = yield* join({ group: "g", concurrency: 2 })
  yield* publish(...messages(1, 2))
  const [acked, nacked] = [yield* leaver.next, yield* leaver.next]
  yield* leaver.leave
  yield* acked.ack
  yield* nacked.nack()
  const second = yield* join({ group: "g", concurrency: 2 })
  assert.deepEqual((yield* take(second, 2)).map(facts).sort(byPosition), [
    [1, 2],
    [2, 2]
  ])
  yield* acked.ack
  yield* nacked.nack()
  yield* second.leave
  const third = yield* join({ group: "g", concurrency: 2 })
  assert.deepEqual([facts(yield* done(third)), facts(yield* done(third))].sort(byPosition), [
    [1, 3],
    [2, 3]
  ])
  yield* publish(message(3))
  assert.deepEqual(facts(yield* done(third)), [3, 1])
})

every(
  "a message that is published again is not delivered again",
  function* ({ join, publish }) {
    const member = yield* join({ group: "g" })
    yield* publish(message(1), message(1))
    yield* publish(message(1))
    assert.deepEqual(facts(yield* done(member)), [1, 1])
    yield* publish(...messages(1, 2))
    assert.deepEqual(facts(yield* done(member)), [2, 1])
    yield* publish(...messages(1, 3))
    assert.deepEqual(facts(yield* done(member)), [3, 1])
  },
  "deduplicates"
)

every("members that all leave at once, in the middle of everything, lose nothing", function* ({ join, publish }) {
  const seen = new Set<number>()
  const record = ({ message }: Delivery) => Effect.sync(() => seen.add(message.position))
  const members = yield* Effect.forEach(range(1, 10), () => join({ group: "g", concurrency: 4 }))
  for (const [n, member] of members.entries()) {
    // Each settles some, and holds on to the rest.
    yield* Effect.forkScoped(Effect.forEach(range(1, n), () => Effect.tap(done(member), record)))
  }
  const publishing = yield* Effect.forkScoped(
    Effect.forEach(range(1, 100), (n) => Effect.andThen(publish(message(n)), Effect.yieldNow), { discard: true })
  )
  yield* turns(40)
  yield* Effect.forEach(members, ({ leave }) => leave, { concurrency: "unbounded" })
  yield* Fiber.join(publishing)
  const rest = yield* join({ group: "g" })
  while (seen.size < 100) yield* Effect.flatMap(done(rest), record)
})

every("publishing that is interrupted has happened or has not, and what succeeded is delivered", function* ({ join, publish }) {
  const member = yield* join({ group: "g" })
  const succeeded: Array<number> = []
  for (const n of range(1, 40)) {
    const publishing = yield* Effect.forkChild(
      Effect.andThen(
        publish(message(n)),
        Effect.sync(() => succeeded.push(n))
      )
    )
    yield* turns(n % 8)
    yield* Fiber.interrupt(publishing)
  }
  yield* publish(message(41))
  const received: Array<number> = []
  while (received.at(-1) !== 41) received.push((yield* done(member)).message.position)
  assert.deepEqual(
    received,
    received.toSorted((a, b) => a - b)
  )
  assert.deepEqual(
    succeeded.filter((n) => !received.includes(n)),
    []
  )
})

every("subscriptions that are interrupted give everything back", function* ({ deliveries, join, publish }) {
  yield* (yield* join({ group: "g" })).leave
  yield* publish(...messages(1, 5))
  for (const n of range(1, 40)) {
    const reading = yield* Effect.forkChild(Stream.runDrain(deliveries({ group: "g", concurrency: 1 + (n % 5) })))
    yield* turns(n % 10)
    yield* Fiber.interrupt(reading)
  }
  const member = yield* join({ group: "g" })
  const received = yield* Effect.forEach(range(1, 5), () => done(member))
  assert.deepEqual(received.map(({ message }) => message.position).sort(), range(1, 5))
})

const Happened = Event.make("Happened", { n: Schema.Int })

every(
  "what a consumer cannot handle or read becomes a dead letter, and the rest goes on",
  function* ({ join, publish, transport }) {
    yield* (yield* join({ group: "g" })).leave
    const letters = Context.get(yield* Layer.build(DeadLetters.layerMemory), DeadLetters.DeadLetters)
    const tried: Array<readonly [number, number]> = []
    const last = yield* Deferred.make<void>()
    const consuming = yield* consume(
      [Happened],
      {
        Happened: ({ n }, { attempt }) => {
          tried.push([n, attempt])
          if (n === 5) return Deferred.succeed(last, undefined)
          return n === 2 || (n === 4 && attempt === 1) ? Effect.fail("no") : Effect.void
        }
      },
      { group: "g", retry: Schedule.forever, maxAttempts: 3 }
    ).pipe(
      Effect.provideService(Transport, transport),
      Effect.provideService(DeadLetters.DeadLetters, letters),
      Effect.forkScoped
    )
    yield* publish(...range(1, 5).map((n) => message(n, n === 3 ? { data: { n: "three" } } : {})), message(6, { type: "Other" }))
    yield* Effect.raceFirst(Fiber.join(consuming), Deferred.await(last))
    yield* Fiber.interrupt(consuming)
    assert.deepEqual(tried, [
      [1, 1],
      [2, 1],
      [2, 2],
      [2, 3],
      [4, 1],
      [4, 2],
      [5, 1]
    ])
    assert.deepEqual(
      (yield* letters.list("g")).map(({ attempts, message }) => [message.position, attempts]),
      [
        [2, 3],
        [3, 1]
      ]
    )
    // Everything has been acknowledged.
    const next = yield* join({ group: "g", types: ["Happened"] })
    yield* publish(message(7))
    assert.deepEqual(facts(yield* done(next)), [7, 1])
  }
)

every("a consumer that ends finishes what it has in hand, and gives the rest back", function* ({ join, publish, transport }) {
  yield* (yield* join({ group: "g" })).leave
  const letters = Context.get(yield* Layer.build(DeadLetters.layerMemory), DeadLetters.DeadLetters)
  const begun = yield* Queue.unbounded<number>()
  const go = yield* Deferred.make<void>()
  const finished: Array<number> = []
  const consuming = yield* consume(
    [Happened],
    {
      Happened: ({ n }) =>
        Queue.offer(begun, n).pipe(Effect.andThen(Deferred.await(go)), Effect.andThen(Effect.sync(() => finished.push(n))))
    },
    { group: "g", concurrency: 4 }
  ).pipe(Effect.provideService(Transport, transport), Effect.provideService(DeadLetters.DeadLetters, letters), Effect.forkScoped)
  // Two are begun; two of the same subject wait behind the first, and the last is beyond the limit.
  yield* publish(...range(1, 5).map((n) => message(n, { subject: n === 2 ? "Thing-2" : "Thing-1" })))
  yield* Queue.takeN(begun, 2)
  const ending = yield* Effect.forkChild(Fiber.interrupt(consuming))
  yield* turns(20)
  assert.equal(ending.pollUnsafe(), undefined)
  yield* Deferred.succeed(go, undefined)
  yield* Fiber.join(ending)
  assert.deepEqual(finished, [1, 2])
  const next = yield* join({ group: "g" })
  const rest = yield* Effect.forEach(range(3, 5), () => done(next))
  assert.deepEqual(rest.map(({ message }) => message.position).toSorted(), [3, 4, 5])
})

definitions.push({
  name: "two connections to one broker share groups and messages",
  needs: "shared",
  run: (open) =>
    Effect.gen(function* () {
      const [here, there] = [yield* open, yield* open]
      const [one, two] = [yield* here.join({ group: "g" }), yield* there.join({ group: "g" })]
      yield* here.publish(...messages(1, 2))
      const first = yield* one.next
      const second = yield* two.next
      assert.deepEqual([facts(first), facts(second)].sort(byPosition), [
        [1, 1],
        [2, 1]
      ])
      yield* second.ack
      yield* one.leave
      assert.deepEqual(facts(yield* done(two)), [first.message.position, 2])
      yield* there.publish(message(3))
      assert.deepEqual(facts(yield* done(two)), [3, 1])
    })
})

definitions.push({
  name: "a message that is published again by another connection is not delivered again",
  needs: "shared",
  also: "deduplicates",
  run: (open) =>
    Effect.gen(function* () {
      const [here, there] = [yield* open, yield* open]
      const member = yield* here.join({ group: "g" })
      yield* here.publish(message(1))
      yield* there.publish(...messages(1, 2))
      assert.deepEqual(
        [facts(yield* done(member)), facts(yield* done(member))],
        [
          [1, 1],
          [2, 1]
        ]
      )
      yield* there.publish(...messages(2, 3))
      assert.deepEqual(facts(yield* done(member)), [3, 1])
    })
})

definitions.push({
  name: "what was published and not acknowledged is there after closing and opening again",
  needs: "durable",
  run: (open) =>
    Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { join, publish } = yield* open
          const member = yield* join({ group: "g" })
          yield* publish(...messages(1, 3))
          yield* done(member)
          yield* member.next
        })
      )
      const { join } = yield* open
      const member = yield* join({ group: "g" })
      assert.deepEqual((yield* Effect.forEach([2, 3], () => done(member))).map(facts).sort(byPosition), [
        [2, 2],
        [3, 1]
      ])
    })
})

definitions.push({
  name: "a Layer that closes under publishers and members ends them, and nothing published is lost",
  needs: "durable",
  run: (open) =>
    Effect.gen(function* () {
      const published = new Set<number>()
      const acknowledged = new Set<number>()
      let next = 0
      const layer = yield* Scope.fork(yield* Effect.scope)
      const { deliveries, join, publish } = yield* Scope.provide(open, layer)
      yield* Effect.scoped(Effect.flatMap(join({ group: "g" }), ({ leave }) => leave))
      // The fibers belong to the case, and so outlive the Layer.
      const publisher = Effect.suspend(() => {
        const n = ++next
        return Effect.andThen(
          publish(message(n)),
          Effect.sync(() => published.add(n))
        )
      }).pipe(Effect.andThen(Effect.yieldNow), Effect.repeat({ times: 49 }))
      const member = Stream.runForEach(deliveries({ group: "g", concurrency: 4 }), ({ ack, message }) =>
        Effect.andThen(
          ack,
          Effect.sync(() => acknowledged.add(message.position))
        )
      )
      const publishers = yield* Effect.forEach(range(1, 4), () => Effect.forkScoped(Effect.exit(publisher)))
      const members = yield* Effect.forEach(range(1, 4), () => Effect.forkScoped(Effect.exit(member)))
      while (acknowledged.size < 20) yield* realSleep("1 millis")
      yield* Scope.close(layer, Exit.void)
      yield* Effect.forEach(publishers, Fiber.await)
      yield* Effect.forEach(members, Fiber.interrupt)
      const again = yield* open
      const rest = yield* again.join({ group: "g" })
      yield* again.publish(message(1000))
      // What was settled in the very moment of closing may come again; what comes is at least all that is missing.
      const missing = new Set([...published, 1000].filter((n) => !acknowledged.has(n)))
      while (missing.size > 0) missing.delete((yield* done(rest)).message.position)
    })
})

/** Until the broker answers again. Nothing else than its absence may be said meanwhile. */
const patiently = <A, E>(effect: Effect.Effect<A, TransportError | E>): Effect.Effect<A, TransportError | E> =>
  Effect.tapError(effect, (error) =>
    Effect.sync(() => {
      assert.ok(error instanceof TransportError, String(error))
      assert.equal(error.isRetryable, true, error.message)
    })
  ).pipe(
    Effect.tapError(() => realSleep("20 millis")),
    Effect.retry({ times: 1500 })
  )

/** Acknowledges whatever comes and writes it down, and subscribes again whenever that fails. */
const follow = ({ deliveries }: Kit, options: SubscribeOptions, received: Array<readonly [number, number]>) =>
  deliveries(options).pipe(
    Stream.runForEach((delivery) => {
      received.push(facts(delivery))
      return delivery.ack
    }),
    // A stream that ends is a connection that was lost, too.
    Effect.andThen(realSleep("20 millis")),
    Effect.forever,
    patiently
  )

const distinct = (received: ReadonlyArray<readonly [number, number]>): ReadonlyArray<number> =>
  Array.from(new Set(received.map(([n]) => n)))

/** Asserts that all `count` messages came, each for the first time in its order; overtaken is only what was delivered before. */
const assertInOrder = ({ overtakes }: Kit, received: ReadonlyArray<readonly [number, number]>, count: number): void => {
  const seen = new Set<number>()
  let newest = 0
  for (const [n, attempt] of received) {
    if (!seen.has(n) && (attempt === 1 || !overtakes)) {
      assert.ok(n > newest, `${n} came after ${newest}`)
      newest = n
    }
    seen.add(n)
  }
  assert.equal(seen.size, count)
}

definitions.push({
  name: "what a member has in hand when its connection is cut, and who leaves then, is delivered again and counted",
  needs: "interrupt",
  run: (open, interrupt) =>
    Effect.gen(function* () {
      const { join, publish } = yield* open
      const member = yield* join({ group: "g", concurrency: 3 })
      yield* publish(...messages(1, 3))
      yield* take(member, 3)
      yield* interrupt
      yield* member.leave
      const kit = yield* open
      const received: Array<readonly [number, number]> = []
      const following = yield* Effect.forkScoped(follow(kit, { group: "g" }, received))
      while (distinct(received).length < 3) yield* Effect.raceFirst(Fiber.join(following), realSleep("10 millis"))
      assert.ok(
        received.every(([, attempt]) => attempt >= 2),
        JSON.stringify(received)
      )
    })
})

definitions.push({
  name: "a publisher whose connection is cut is told, or has succeeded; tried again until then, every message arrives, in order",
  needs: "interrupt",
  run: (open, interrupt) =>
    Effect.gen(function* () {
      const kit = yield* open
      const received: Array<readonly [number, number]> = []
      yield* (yield* kit.join({ group: "g" })).leave
      const following = yield* Effect.forkScoped(follow(kit, { group: "g" }, received))
      let confirmed = 0
      const publishing = yield* Effect.forEach(range(0, 99), (batch) =>
        Effect.andThen(
          patiently(kit.publish(...messages(batch * 10 + 1, batch * 10 + 10))),
          Effect.sync(() => void (confirmed = batch + 1))
        )
      ).pipe(Effect.forkScoped)
      for (const batches of [20, 40, 60, 80]) {
        while (confirmed < batches) yield* Effect.raceFirst(Fiber.await(publishing), realSleep("1 millis"))
        yield* interrupt
      }
      yield* Fiber.join(publishing)
      while (distinct(received).length < 1000) yield* Effect.raceFirst(Fiber.join(following), realSleep("10 millis"))
      assertInOrder(kit, received, 1000)
    })
})

definitions.push({
  name: "the broker ends and starts again amid ten thousand messages: every one arrives in every group, in order",
  needs: "restart",
  run: (open, restart) =>
    Effect.gen(function* () {
      const kit = yield* open
      const groups = { one: new Array<readonly [number, number]>(), many: new Array<readonly [number, number]>() }
      for (const group of ["one", "many"]) yield* (yield* kit.join({ group })).leave
      const one = yield* Effect.forkScoped(follow(kit, { group: "one" }, groups.one))
      const many = yield* Effect.forkScoped(follow(kit, { group: "many", concurrency: 100 }, groups.many))
      const publishing = yield* Effect.forEach(range(0, 99), (batch) =>
        patiently(kit.publish(...messages(batch * 100 + 1, batch * 100 + 100)))
      ).pipe(Effect.forkScoped)
      while (distinct(groups.many).length < 3000) yield* Effect.raceFirst(Fiber.join(many), realSleep("10 millis"))
      yield* restart
      yield* Fiber.join(publishing)
      for (const [received, following] of [
        [groups.one, one],
        [groups.many, many]
      ] as const) {
        while (received.length < 10_000 || distinct(received).length < 10_000) {
          yield* Effect.raceFirst(Fiber.join(following), realSleep("20 millis"))
        }
      }
      assertInOrder(kit, groups.one, 10_000)
      assert.deepEqual(
        distinct(groups.many).toSorted((a, b) => a - b),
        range(1, 10_000)
      )
    })
})
