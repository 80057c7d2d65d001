/** What consumes by definitions of events. */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import assert from "node:assert/strict"
import { run as consume } from "../../consuming/Consumer.ts"
import * as DeadLetters from "../../consuming/DeadLetters.ts"
import * as Inbox from "../../consuming/Inbox.ts"
import * as Event from "../../definitions/Event.ts"
import { Transport } from "../../transport/Transport.ts"
import { range, turns } from "../suite.ts"
import { done, every, facts, message } from "./words.ts"

const Happened = Event.make("Happened", { n: Schema.Int }, { published: true })

export const consumers = [
  every(
    "what a consumer cannot handle or read becomes a dead letter, and the rest goes on",
    function* ({ join, publish, transport }) {
      yield* (yield* join({ group: "g" })).leave
      const letters = Context.get(yield* Layer.build(DeadLetters.layerMemory), DeadLetters.DeadLetters)
      const tried: Array<readonly [number, number]> = []
      const last = yield* Deferred.make<void>()
      const warnings: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => {
        if (logLevel === "Warn") warnings.push(String(message))
      })
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
        Effect.provide(Logger.layer([logger])),
        // Whoever runs the suite may have silenced what it logs.
        Effect.provideService(References.MinimumLogLevel, "Warn"),
        Effect.forkScoped
      )
      yield* publish(
        ...range(1, 5).map((n) => message(n, n === 3 ? { data: { n: "three" } } : {})),
        message(6, { type: "Other" })
      )
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
      for (const id of ["message 2", "message 3"])
        assert.ok(warnings.some((warning) => warning.includes(`"${id}" is a dead letter`)))
      // Everything has been acknowledged.
      const next = yield* join({ group: "g", types: ["Happened"] })
      yield* publish(message(7))
      assert.deepEqual(facts(yield* done(next)), [7, 1])
    }
  ),

  every(
    "messages of two sources with one id are two, also to the inbox and to the dead letters",
    function* ({ join, publish, transport }) {
      yield* (yield* join({ group: "g" })).leave
      const context = yield* Layer.build(Layer.mergeAll(DeadLetters.layerMemory, Inbox.layerMemory))
      const letters = Context.get(context, DeadLetters.DeadLetters)
      const handled = yield* Queue.unbounded<number>()
      const consuming = yield* consume(
        [Happened],
        { Happened: ({ n }) => (n < 3 ? Effect.fail("no") : Queue.offer(handled, n)) },
        { group: "g", maxAttempts: 1, inbox: true }
      ).pipe(
        Effect.provideService(Transport, transport),
        Effect.provide(context),
        Effect.provide(Logger.layer([])),
        Effect.forkScoped
      )
      const sources = ["/one", "/two", "/one", "/two"]
      yield* publish(...sources.map((source, n) => message(n + 1, { source, id: n < 2 ? "bad" : "good" })))
      const both = Effect.all([Queue.take(handled), Queue.take(handled)])
      assert.deepEqual(yield* Effect.raceFirst(both, Fiber.join(consuming)), [3, 4])
      yield* Fiber.interrupt(consuming)
      const parked = yield* letters.list("g")
      assert.deepEqual(parked.map(({ message }) => message.source).toSorted(), ["/one", "/two"])
      for (const { id, message } of parked) {
        const found = yield* letters.get("g", id ?? message.id)
        assert.ok(Option.isSome(found) && found.value.message.source === message.source)
        assert.equal(yield* letters.discard("g", id ?? message.id), true)
      }
      assert.deepEqual(yield* letters.list("g"), [])
    }
  ),

  every(
    "a consumer that ends finishes what it has in hand, and gives the rest back",
    function* ({ join, publish, spreads, transport }) {
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
        // Where subjects have no order among each other, the other subject may come last.
        { group: "g", concurrency: spreads === "messages" ? 4 : 5 }
      ).pipe(
        Effect.provideService(Transport, transport),
        Effect.provideService(DeadLetters.DeadLetters, letters),
        Effect.forkScoped
      )
      // Two are begun; two of the same subject wait behind the first, and the last is beyond the limit.
      yield* publish(...range(1, 5).map((n) => message(n, { subject: n === 2 ? "Thing-2" : "Thing-1" })))
      yield* Queue.takeN(begun, 2)
      const ending = yield* Effect.forkChild(Fiber.interrupt(consuming))
      yield* turns(20)
      assert.equal(ending.pollUnsafe(), undefined)
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(ending)
      assert.deepEqual(
        finished.toSorted((a, b) => a - b),
        [1, 2]
      )
      const next = yield* join({ group: "g" })
      const rest = yield* Effect.forEach(range(3, 5), () => done(next))
      assert.deepEqual(rest.map(({ message }) => message.position).toSorted(), [3, 4, 5])
    }
  )
]
