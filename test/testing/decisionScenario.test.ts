import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Schema } from "effect"
import { Decision, Event, Tag } from "eventfold"
import { Scenario } from "eventfold/testing"

const username = Tag.make("username", Schema.NonEmptyString)
const Registered = Event.make("Registered", { name: Schema.String }, { tags: ({ name }) => [username(name)] })
const Closed = Event.make("Closed", { name: Schema.String }, { tags: ({ name }) => [username(name)] })
const Greeted = Event.make("Greeted", { name: Schema.NonEmptyString })
const Claimed = Decision.make("Claimed", {
  tags: { username },
  events: [Registered, Closed],
  initial: false as boolean,
  evolve: { Registered: () => true, Closed: () => false }
})

class Taken extends Schema.TaggedError<Taken>()("Taken", { name: Schema.String }) {}

const register = (name: string) => (claimed: boolean) => (claimed ? new Taken({ name }) : Registered.make({ name }))

/** What an effect dies with. */
const complaint = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.exit(effect), (exit) => String(Exit.isFailure(exit) && Cause.squash(exit.cause)))

describe("a scenario of a decision", () => {
  const ada = Scenario.decision(Claimed({ username: "ada" }))
  const taken = ada.given([Registered.make({ name: "ada" })])

  it.effect("holds when the decision comes to the events, the state or the error", () =>
    Effect.gen(function* () {
      yield* ada.when(register("ada")).then([Registered.make({ name: "ada" })])
      yield* ada.when(register("ada")).thenState(true)
      yield* taken.when(register("ada")).thenFails(new Taken({ name: "ada" }))
      yield* taken
        .given([Closed.make({ name: "ada" })])
        .when(register("ada"))
        .thenState(true)
      // What bears other tags is in nobody's way, and changes nothing.
      yield* ada
        .given([Registered.make({ name: "ben" })])
        .when(register("eve"))
        .thenState(false)
      yield* ada.when(() => []).then([])
    })
  )

  it.effect("lets it come to what it does not read, where that is said", () =>
    Effect.gen(function* () {
      const greet = Scenario.decision(Claimed({ username: "ada" }), Decision.into("Hello-1", Greeted)).when(() =>
        Greeted.make({ name: "ada" })
      )
      yield* greet.then([Greeted.make({ name: "ada" })])
      yield* greet.thenState(false)
    })
  )

  it.effect("is as strict as a store, and shows what differs", () =>
    Effect.gen(function* () {
      const nameless = Scenario.decision(Claimed({ username: "" })).when(register(""))
      yield* nameless.thenFails(
        new Tag.TagError({
          tag: "username",
          model: "Claimed",
          problem: "it does not fit its schema: Expected a value with a length of at least 1"
        })
      )
      assert.match(yield* complaint(ada.when(() => Registered.make({ name: "" })).then([])), /There is no tag "username"/)
      assert.match(yield* complaint(ada.when(register("ada")).then([])), /The decision came to unexpected events/)
      assert.match(yield* complaint(taken.when(() => []).thenState(false)), /The decision came to an unexpected state/)
      assert.match(yield* complaint(taken.when(register("ada")).then([])), /It failed, with/)
      assert.match(yield* complaint(ada.when(register("ada")).thenFails(new Taken({ name: "ada" }))), /It succeeded, where/)
    })
  )
})
