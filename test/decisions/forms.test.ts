import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Layer, Schema, SchemaGetter, SchemaTransformation, Stream } from "effect"
import { Aggregate, Decision, Event, EventStore, MessageBus, Repository, Tag, UnitOfWork } from "eventfold"

/** A text that is written in one form, whatever form it is given in. */
const Folded = Schema.String.pipe(
  Schema.decodeTo(
    Schema.String,
    SchemaTransformation.transform({ decode: (text) => text, encode: (text) => text.trim().toLowerCase() })
  )
)
const team = Tag.make("team")
const member = Tag.make("member")
const Joined = Event.make(
  "Joined",
  { team: Schema.String, name: Folded },
  { tags: (event) => [team(event.team), member(event.name)] }
)
const names = {
  initial: new Array<string>() as ReadonlyArray<string>,
  evolve: { Joined: (names: ReadonlyArray<string>, { name }: typeof Joined.Type) => [...names, name] }
}
const Team = Aggregate.make("Team", { events: [Joined], ...names })
const Members = Decision.make("Members", { tags: { team }, events: [Joined], ...names })

const isIn = (names: ReadonlyArray<string>, name: string) => names.includes(name.trim().toLowerCase())
const joined = (names: ReadonlyArray<string>, name: string) => (isIn(names, name) ? [] : Joined.make({ team: "x", name }))
const ways = {
  "an aggregate": (name: string) => Repository.execute(Team, "x", (names) => joined(names, name)),
  "a decision": (name: string) => Decision.execute(Members({ team: "x" }), "Team-x", (names) => joined(names, name))
}
const caches = {
  "without a cache": Layer.empty,
  "with caches": Layer.merge(Repository.layerCache, Decision.layerCache),
  "with an optimistic cache": Layer.merge(Repository.layerCache, Decision.layerCacheWith({ optimistic: true }))
}

describe("what is written in another form than it is given in is decided on as it will be read", () => {
  for (const [who, join] of Object.entries(ways)) {
    for (const [how, cache] of Object.entries(caches)) {
      it.effect(`${who}, ${how}`, () =>
        Effect.gen(function* () {
          // One after the other, in one unit of work, and at once.
          yield* UnitOfWork.transact(join("ADA"))
          yield* UnitOfWork.transact(Effect.andThen(join("Ada "), Effect.andThen(join("BEN"), join("ben"))))
          const all = ["ada", "Ben", "CLEO", "cleo"].map((name) =>
            UnitOfWork.transact(join(name)).pipe(UnitOfWork.retryConflicts({ times: 10 }))
          )
          yield* Effect.all(all, { concurrency: "unbounded" })
          const stored = yield* Stream.runCollect(EventStore.readAll())
          assert.deepEqual(
            stored.map(({ payload, tags }) => [payload, tags]),
            ["ada", "ben", "cleo"].map((name) => [{ team: "x", name }, ["team:x", `member:${name}`]])
          )
        }).pipe(Effect.provide(Layer.merge(cache, UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory)))))
      )
    }
  }

  it.effect("a listener hears it so", () => {
    const heard: Array<string> = []
    return Effect.gen(function* () {
      yield* MessageBus.publish(Joined, Joined.make({ team: "x", name: "ADA" }))
      assert.deepEqual(heard, ["ada"])
    }).pipe(
      Effect.provide(
        MessageBus.listen(Joined, ({ name }) => Effect.sync(() => void heard.push(name))).pipe(
          Layer.provideMerge(MessageBus.layer),
          Layer.provideMerge(UnitOfWork.layer),
          Layer.provideMerge(EventStore.layerMemory)
        )
      )
    )
  })

  it.effect("what could never be read again is not written", () =>
    Effect.gen(function* () {
      const broken = Schema.Int.pipe(
        Schema.decodeTo(Schema.Int, { decode: SchemaGetter.transform((n) => n + 0.5), encode: SchemaGetter.passthrough() })
      )
      const Counted = Event.make("Counted", { by: broken })
      const Counter = Aggregate.make("Counter", { events: [Counted], initial: 0, evolve: { Counted: (n, { by }) => n + by } })
      const error = yield* Effect.flip(UnitOfWork.transact(Repository.execute(Counter, "1", () => Counted.make({ by: 1 }))))
      assert.equal(error._tag, "EventEncodeError")
      assert.match(error.message, /Counted/)
      assert.equal(yield* EventStore.head, 0)
    }).pipe(Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))))
  )
})
