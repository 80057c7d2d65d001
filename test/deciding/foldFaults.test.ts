import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Schema } from "effect"
import { Aggregate, Decision, Event, EventStore, Repository, Tag, UnitOfWork } from "eventfold"

// A fold that throws is a defect; it says at what it threw, and has what was thrown as its cause.

const thrown = new TypeError("no such plan")
const throws = (): never => {
  throw thrown
}

const user = Tag.make("user", Schema.String)
const Joined = Event.make("Joined", { user: Schema.String }, { tags: (event) => [user(event.user)] })
const Moved = Event.make("Moved", { user: Schema.String }, { tags: (event) => [user(event.user)] })
const evolve = { Joined: (count: number) => count + 1, Moved: throws }
const Member = Aggregate.make("Member", { events: [Joined, Moved], initial: 0, evolve })
const Moves = Decision.make("Moves", { tags: { user }, events: [Joined, Moved], initial: 0, evolve })
const LastMove = Decision.make("LastMove", { tags: { user }, events: [Joined, Moved], initial: 0, evolve, read: "last" })

const Live = UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))

const defectOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.exit(effect), (exit) => {
    const defect = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isDieReason)?.defect : undefined
    assert.ok(defect instanceof Error)
    assert.equal(defect.cause, thrown)
    return defect.message
  })

describe("a fold that throws says at what", () => {
  const stored = Repository.append(Member, "1", [Joined.make({ user: "a" }), Moved.make({ user: "a" })])

  it.effect("of an aggregate", () =>
    Effect.gen(function* () {
      yield* stored
      assert.equal(
        yield* defectOf(Repository.read(Member, "1")),
        'Aggregate "Member": the fold threw at event 2 of stream "Member-1" (Moved, position 2): no such plan'
      )
    }).pipe(Effect.provide(Live))
  )

  it.effect("of an aggregate, at what a unit of work has staged", () =>
    Effect.gen(function* () {
      const message = 'Aggregate "Member": the fold threw at event 1 of stream "Member-2" (Moved, staged): no such plan'
      const decided = Repository.execute(Member, "2", () => Moved.make({ user: "a" }))
      assert.equal(yield* defectOf(UnitOfWork.transact(decided)), message)
      const untyped = UnitOfWork.stage("Member-2", [{ type: "Moved", payload: { user: "a" } }])
      const loaded = Effect.andThen(untyped, Repository.load(Member, "2"))
      assert.equal(yield* defectOf(UnitOfWork.transact(loaded)), message)
    }).pipe(Effect.provide(Live))
  )

  it.effect("of a decision, at what is stored and at what is staged", () =>
    Effect.gen(function* () {
      const load = Decision.load(Moves({ user: "a" }))
      assert.match(
        yield* defectOf(
          UnitOfWork.transact(
            Effect.andThen(UnitOfWork.stage("Member-3", [{ type: "Moved", payload: { user: "a" }, tags: ["user:a"] }]), load)
          )
        ),
        /^Decision "Moves": the fold threw at .* of stream "Member-3" \(Moved, staged\): no such plan$/
      )
      yield* stored
      assert.equal(
        yield* defectOf(UnitOfWork.transact(load)),
        'Decision "Moves": the fold threw at event 2 of stream "Member-1" (Moved, position 2): no such plan'
      )
      assert.equal(
        yield* defectOf(Decision.read(LastMove({ user: "a" }))),
        'Decision "LastMove": the fold threw at event 2 of stream "Member-1" (Moved, position 2): no such plan'
      )
    }).pipe(Effect.provide(Live))
  )
})
