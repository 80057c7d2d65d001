import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, DateTime, Effect, Exit, Layer, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Checkpoints, Command, Event, EventStore, MessageBus, ProcessManager, UnitOfWork } from "eventfold"
import { Scenario } from "eventfold/testing"
import { AlreadyCollected, Arrived, Collected, Collection, CollectionDue, Remind, Return } from "../support/shipping.ts"
import { rest, start, until } from "../support/words.ts"

const complaint = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<string, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => {
    const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
    assert.ok(error instanceof assert.AssertionError, `an AssertionError, not ${String(error)}`)
    return error.message
  })

const remind = (parcel: string, times: number) => Scenario.command(Remind, { parcel, times })
const giveBack = (parcel: string) => Scenario.command(Return, { parcel })
const arrived = Scenario.process(Collection).given([Arrived.make({ parcel: "1" })])

describe("a scenario of a process manager", () => {
  it.effect("says what was sent in the last step, what the state is, and which deadlines are set", () =>
    Effect.gen(function* () {
      yield* Scenario.process(Collection).then([])
      yield* arrived.then([remind("1", 1)])
      yield* arrived.thenState({ arrived: 1, collected: false, reminders: 0 })
      yield* arrived.thenDeadlines([[CollectionDue.make({ reminders: 1 }), "1 day"]])
      yield* arrived.at("23 hours").then([])
      yield* arrived.at("1 day").then([remind("1", 2)])
      yield* arrived
        .at("1 day")
        .thenDeadlines([[CollectionDue.make({ reminders: 2 }), DateTime.makeUnsafe("1970-01-03T00:00:00Z")]])
      // Several come in one step, each in its own time.
      yield* arrived.at("3 days").then([remind("1", 2), giveBack("1")])
      yield* arrived
        .at("1 day")
        .at("3 days")
        .then([giveBack("1")])
      const collected = arrived.at("1 day").given([Collected.make({ parcel: "1" })])
      yield* collected.then([])
      yield* collected.thenDeadlines([])
      yield* collected.at("30 days").thenState({ arrived: 1, collected: true, reminders: 2 })
      // An event of no process.
      yield* Scenario.process(Collection)
        .given([Arrived.make({ parcel: "anonymous" })])
        .then([])
    })
  )

  it.effect("keeps several processes apart", () =>
    Effect.gen(function* () {
      const two = arrived.at("1 hour").given([Arrived.make({ parcel: "2" })])
      yield* two.at("25 hours").then([remind("1", 2), remind("2", 2)])
      yield* two.thenState({ arrived: 1, collected: false, reminders: 0 }, "2")
      assert.match(yield* complaint(two.thenState({ arrived: 1, collected: false, reminders: 0 })), /\["1","2"\], and no key/)
      assert.match(yield* complaint(two.thenDeadlines([], "3")), /none with the key "3"/)
    })
  )

  it.effect("does what is to be done instead of a command that is rejected", () =>
    Effect.gen(function* () {
      const Tried = Event.make("Tried", { id: Schema.String })
      const Again = Event.make("Again")
      const Charge = Command.make("Charge", { payload: { id: Schema.String }, error: AlreadyCollected })
      const Block = Command.make("Block", { payload: { id: Schema.String } })
      const Charging = ProcessManager.make("Charging", {
        events: [Tried],
        correlate: { Tried: ({ id }) => id },
        deadlines: [Again],
        initial: 0,
        evolve: { Tried: (n) => n, Again: (n) => n + 1 },
        react: {
          Tried: (_, { id }) => [
            ProcessManager.send(Charge, { id }, () => [ProcessManager.setDeadline(Again.make({}), "1 day")])
          ],
          Again: (_, __, { key: id }) => [ProcessManager.send(Charge, { id }, () => [ProcessManager.send(Block, { id })])]
        }
      })
      const charge = Scenario.command(Charge, { id: "a" })
      const tried = (scenario: Scenario.ProcessScenario<typeof Charging>) => scenario.given([Tried.make({ id: "a" })])
      yield* tried(Scenario.process(Charging)).at("2 days").then([])
      const refused = tried(Scenario.process(Charging).rejecting(Charge, new AlreadyCollected({ parcel: "a" })))
      yield* refused.then([charge])
      yield* refused.at("2 days").then([charge, Scenario.command(Block, { id: "a" })])
      yield* refused.at("2 days").thenState(1)
    })
  )

  it.effect("shows what differs, and what cannot be", () =>
    Effect.gen(function* () {
      const other = yield* complaint(arrived.then([remind("1", 2)]))
      assert.match(other, /^The process came to unexpected commands:\n[^]*\+ +times: 1\n- +times: 2\n/)
      assert.match(yield* complaint(arrived.then([])), /unexpected commands/)
      assert.match(yield* complaint(arrived.thenState({ arrived: 2, collected: false, reminders: 0 })), /an unexpected state/)
      assert.match(yield* complaint(arrived.thenDeadlines([])), /unexpected deadlines/)
      assert.match(yield* complaint(arrived.at("1 day").at("1 hour").then([])), /Time goes back: it is 1970-01-02T00:00:00.000Z/)
      const Restless = ProcessManager.make("Restless", {
        events: [Arrived],
        correlate: { Arrived: ({ parcel }) => parcel },
        deadlines: [CollectionDue],
        initial: {},
        evolve: { Arrived: (state) => state, CollectionDue: (state) => state },
        react: {
          Arrived: () => [ProcessManager.setDeadline(CollectionDue.make({ reminders: 0 }), 0)],
          CollectionDue: () => [ProcessManager.setDeadline(CollectionDue.make({ reminders: 0 }), 0)]
        }
      })
      const restless = Scenario.process(Restless).given([Arrived.make({ parcel: "1" })])
      assert.match(yield* complaint(restless.then([])), /has reacted 10000 times, the last time to CollectionDue/)
    })
  )

  it.effect("comes to what the Layer comes to", () =>
    Effect.gen(function* () {
      const sent: Array<string> = []
      const steps = [
        [Arrived.make({ parcel: "1" })],
        86_400_000,
        [Arrived.make({ parcel: "2" }), Arrived.make({ parcel: "1" })],
        90_000_000,
        [Collected.make({ parcel: "2" })],
        [Arrived.make({ parcel: "2" })],
        300_000_000,
        [Collected.make({ parcel: "1" })],
        900_000_000
      ] as const
      yield* Effect.gen(function* () {
        yield* start(ProcessManager.layer(Collection))
        const caughtUp = Effect.andThen(
          until(
            Effect.gen(function* () {
              const head = yield* EventStore.head
              return (yield* ProcessManager.status(Collection)).reacting.position >= head
            })
          ),
          rest
        )
        let story = Scenario.process(Collection)
        for (const step of steps) {
          sent.length = 0
          if (typeof step === "number") {
            // In the steps of the deadlines, so that each is reacted to before the next is due.
            const now = yield* Effect.clockWith(({ currentTimeMillis }) => currentTimeMillis)
            for (let passed = now; passed < step; passed += 3_600_000) {
              yield* TestClock.adjust(3_600_000)
              yield* caughtUp
            }
          } else {
            for (const event of step) {
              yield* MessageBus.publish(event._tag === "Arrived" ? Arrived : Collected, event as never)
              yield* caughtUp
            }
          }
          story = typeof step === "number" ? story.at(step) : story.given(step)
          const expected = sent.map((text) => JSON.parse(text) as Scenario.Sent<"Remind" | "Return">)
          yield* story.then(expected)
        }
        for (const key of ["1", "2"]) {
          const { deadlines, state } = yield* ProcessManager.read(Collection, key)
          yield* story.thenState(state, key)
          assert.equal(deadlines.size, 0)
          yield* story.thenDeadlines([], key)
        }
      }).pipe(
        Effect.provide(
          Layer.merge(
            MessageBus.handle(Remind, (payload) => Effect.sync(() => sent.push(JSON.stringify({ command: "Remind", payload })))),
            MessageBus.handle(Return, (payload) => Effect.sync(() => sent.push(JSON.stringify({ command: "Return", payload }))))
          ).pipe(
            Layer.provideMerge(MessageBus.layer),
            Layer.provideMerge(UnitOfWork.layer),
            Layer.provideMerge(Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory))
          )
        )
      )
    })
  )
})
