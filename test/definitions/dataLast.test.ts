/** What may stand in a pipe does there what it does when it is called with all. */
import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { DateTime, Effect, Layer, Option, Schema } from "effect"
import { Aggregate, Command, Event, EventStore, Inbox, MessageBus, Projection, UnitOfWork } from "eventfold"

const Added = Event.make("Added", { n: Schema.Int })
const Sum = Aggregate.make("Sum", {
  events: [Added],
  initial: 0 as number | undefined,
  evolve: { Added: (sum = 100, { n }) => sum + n }
})
const [one, two] = [Added.make({ n: 1 }), Added.make({ n: 2 })]

it("a fold, from the beginning or from a state", () => {
  assert.deepEqual([Aggregate.fold(Sum, [one, two]), Sum.pipe(Aggregate.fold([one, two]))], [3, 3])
  assert.deepEqual([Aggregate.fold(Sum, [one], 5), Sum.pipe(Aggregate.fold([one], 5))], [6, 6])
  // `undefined` is a state, too.
  assert.deepEqual([Aggregate.fold(Sum, [one], undefined), Sum.pipe(Aggregate.fold([one], undefined))], [101, 101])
  assert.equal(Sum.pipe(Aggregate.fold(new Set([one, two]))), 3)
})

it("a step", () => {
  assert.deepEqual([Aggregate.evolve(Sum, 5, two), Sum.pipe(Aggregate.evolve(5, two))], [7, 7])
})

const lost = new EventStore.OptimisticLockError({ stream: "Sum-1", expected: 1, actual: 2 })

/** Is overtaken so many times, and counts how often it is tried. */
const racing = (times: number) => {
  let tried = 0
  return Effect.suspend(() => (++tried > times ? Effect.succeed(tried) : Effect.fail(lost)))
}

it.effect("what is repeated when others were first", () =>
  Effect.gen(function* () {
    assert.equal(yield* UnitOfWork.retryConflicts(racing(2), { times: 2 }), 3)
    assert.equal(yield* racing(2).pipe(UnitOfWork.retryConflicts({ times: 2 })), 3)
    assert.equal((yield* Effect.flip(UnitOfWork.retryConflicts(racing(3), { times: 2 })))._tag, "OptimisticLockError")
    assert.equal(yield* MessageBus.publicErrorsWith(racing(2), { times: 2 }), 3)
    const refused = yield* Effect.flip(racing(3).pipe(MessageBus.publicErrorsWith({ times: 2 })))
    assert.deepEqual(refused, new Command.CommandFailure({ kind: "conflict" }))
  })
)

it.effect("what is done once", () =>
  Effect.gen(function* () {
    assert.deepEqual(yield* Effect.succeed("done").pipe(Inbox.once("group", "1")), Option.some("done"))
    assert.deepEqual(yield* Inbox.once("group", "1", Effect.succeed("done")), Option.none())
  }).pipe(Effect.provide(Inbox.layerMemory))
)

it.effect("what is done beyond the view", () =>
  Effect.gen(function* () {
    const envelope = (position: number): Projection.Envelope<unknown> => ({
      event: one,
      id: "1",
      stream: "Sum-1",
      version: 1,
      position,
      recordedAt: DateTime.makeUnsafe(0),
      metadata: {}
    })
    assert.deepEqual(yield* Effect.succeed("sent").pipe(Projection.sideEffect(envelope(2))), Option.some("sent"))
    assert.deepEqual(yield* Projection.sideEffect(envelope(2), Effect.succeed("sent")), Option.some("sent"))
    assert.deepEqual(yield* Effect.succeed("sent").pipe(Projection.sideEffect(envelope(1))), Option.none())
  }).pipe(
    Effect.provide(
      Layer.succeed(Projection.Run, {
        projection: "test",
        version: 1,
        live: (position) => Effect.succeed((position ?? 0) > 1)
      })
    )
  )
)
