/** Events are removed, or archived, before a follower has seen them: it is never served less in silence. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Latch, Layer, Option, Schema, type Scope, Stream, SubscriptionRef } from "effect"
import {
  Archive,
  Checkpoints,
  Command,
  Event,
  EventStore,
  MessageBus,
  ParkedEvents,
  ProcessManager,
  Projection,
  Relay,
  Retention,
  Subscription,
  Transport,
  UnitOfWork
} from "eventfold"
import { logs } from "./logs.ts"

const Opened = Event.make("Opened", { owner: Schema.String })
const Greet = Command.make("Greet", { payload: { owner: Schema.String } })

const reasonOf = (cause: Cause.Cause<unknown> | undefined) => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause ?? Cause.empty))
  return error instanceof EventStore.EventStoreError ? error.reason : undefined
}

/** What a follower of this process comes to: `halted` with its reason, or so far. */
const endOf = (checkpoint: string, position: number) =>
  Effect.gen(function* () {
    const registry = yield* Subscription.Registry
    const status = registry?.get(checkpoint)?.status
    assert.ok(status !== undefined, checkpoint)
    const found = yield* SubscriptionRef.changes(status).pipe(
      Stream.filter((status) => status.state === "halted" || status.position >= position),
      Stream.runHead
    )
    const { cause, position: at, state } = Option.getOrThrow(found)
    return { state, at, reason: reasonOf(Option.getOrUndefined(cause)) }
  })

const seen: Array<string> = []
/** What goes on before the first owner is noted, and nothing else meanwhile. */
let before: Effect.Effect<void> = Effect.void
const note = (owner: string) =>
  Effect.andThen(
    Effect.suspend(() => before),
    Effect.sync(() => void seen.push(owner))
  )

const Names = Projection.make("Names", {
  version: 1,
  events: [Opened],
  handlers: { Opened: ({ owner }) => note(owner) }
})

const Greeting = ProcessManager.make("Greeting", {
  events: [Opened],
  correlate: { Opened: ({ owner }) => owner },
  initial: {},
  evolve: { Opened: (state) => state },
  react: { Opened: (_, { owner }) => [ProcessManager.send(Greet, { owner })] }
})

const GreetLive = MessageBus.handle(Greet, ({ owner }) => note(owner))

type Removed = { readonly removed?: "halt" | "skip" }

/** Each kind of follower that handles `Opened`, with the name of its checkpoint. */
const followers = {
  "a subscription": {
    checkpoint: "subscription:names",
    layer: (options: Removed) =>
      Subscription.layer({ name: "names", events: [Opened], handlers: { Opened: ({ owner }) => note(owner) }, ...options })
  },
  "a subscription to everything": {
    checkpoint: "subscription:all",
    layer: (options: Removed) =>
      Subscription.layer({
        name: "all",
        handler: ({ payload, type }) => (type === "Opened" ? note(String((payload as { owner: string }).owner)) : Effect.void),
        ...options
      })
  },
  "a partition": {
    checkpoint: "subscription:parts",
    layer: (options: Removed) =>
      Subscription.layer({
        name: "parts",
        partitions: 1,
        events: [Opened],
        handlers: { Opened: ({ owner }) => note(owner) },
        ...options
      })
  },
  "a projection": {
    checkpoint: "subscription:projection:Names@1",
    layer: (options: Removed) => Layer.orDie(Projection.layer(Names, { transactional: false, ...options }))
  },
  "a process manager": {
    checkpoint: "subscription:process:Greeting",
    layer: (options: Removed) => ProcessManager.layer(Greeting, options)
  }
} as const

const besides = GreetLive.pipe(
  Layer.provideMerge(MessageBus.layer),
  Layer.provideMerge(UnitOfWork.layer),
  Layer.provideMerge(Layer.merge(ParkedEvents.layerMemory, Transport.layerMemory))
)

const fill = Effect.gen(function* () {
  seen.length = 0
  before = Effect.void
  const opened = (owner: string) => ({ type: "Opened", payload: { owner }, published: true })
  yield* EventStore.append("Account-1", [opened("Ada")])
  yield* EventStore.append("Account-2", [{ type: "Other", payload: {} }])
  yield* EventStore.append("Account-3", [opened("Bob")])
})

/** Declares the tests on a store; each build of the Layer is storage of its own. */
export const refusesWhatWasRemoved = (
  name: string,
  storage: Layer.Layer<EventStore.EventStore | Checkpoints.Checkpoints, unknown>
) => {
  /** With followers of its own, as in a process of its own. */
  const inProcess = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.provideService(Effect.scoped(effect), Subscription.Registry, new Map())
  const test = <E>(title: string, effect: Effect.Effect<void, E, Layer.Success<typeof storage | typeof besides> | Scope.Scope>) =>
    it.live(title, () => Effect.scoped(Effect.provide(effect, Layer.fresh(Layer.provideMerge(besides, storage)))))

  describe(`begun behind what was removed, on ${name}`, () => {
    for (const [what, { checkpoint, layer }] of Object.entries(followers)) {
      test(
        `${what} halts before anything is handled, and goes on where that is allowed by name`,
        Effect.gen(function* () {
          logs(/halts/)
          yield* fill
          yield* Retention.tombstone("Account-1", { reason: "closed" })
          const halted = yield* inProcess(Effect.andThen(Layer.build(layer({})), endOf(checkpoint, 3)))
          assert.deepEqual([halted.state, halted.at], ["halted", 0])
          assert.ok(halted.reason?._tag === "EventsRemoved")
          assert.deepEqual([halted.reason.stream, halted.reason.version, halted.reason.position], ["Account-1", 1, 1])
          assert.match(halted.reason.message, /a "Opened", was removed \(closed\).*`removed: "skip"` goes on without it/)
          assert.deepEqual(seen, [])
          yield* inProcess(Effect.andThen(Layer.build(layer({ removed: "skip" })), endOf(checkpoint, 3)))
          assert.deepEqual(seen, ["Bob"])
          // What it has seen itself may go: it goes on, in another process as well.
          yield* Retention.tombstone("Account-3", { reason: "closed" })
          yield* EventStore.append("Account-4", [{ type: "Opened", payload: { owner: "Cy" } }])
          const head = yield* EventStore.head
          const later = yield* inProcess(Effect.andThen(Layer.build(layer({})), endOf(checkpoint, head)))
          assert.notEqual(later.state, "halted")
          assert.deepEqual(seen, ["Bob", "Cy"])
        })
      )
    }

    describe("that begins between the look for followers and the removal halts before it passes what is gone", () => {
      for (const [what, { checkpoint, layer }] of Object.entries(followers)) {
        test(
          what,
          Effect.gen(function* () {
            logs(/halts|starts again|fails/)
            yield* fill
            // More than are read at once.
            yield* EventStore.append(
              "Account-4",
              Array.from({ length: 100 }, () => ({ type: "Opened", payload: { owner: "Cy" } }))
            )
            yield* EventStore.append("Account-5", [{ type: "Opened", payload: { owner: "Dee" } }])
            yield* EventStore.append("Account-6", [{ type: "Opened", payload: { owner: "Eve" } }])
            const store = yield* EventStore.EventStore
            const { maintenance } = store
            assert.ok(maintenance !== undefined)
            const [looked, begun, gone] = [Latch.makeUnsafe(false), Latch.makeUnsafe(false), Latch.makeUnsafe(false)]
            before = Effect.andThen(
              Effect.sync(() => begun.openUnsafe()),
              gone.await
            )
            // Nobody is behind, says the look; and before the removal somebody begins.
            const tombstone: typeof maintenance.tombstone = (...removal) =>
              Effect.gen(function* () {
                looked.openUnsafe()
                yield* begun.await
                return yield* maintenance.tombstone(...removal)
              })
            yield* Retention.tombstone("Account-5", { reason: "closed" }).pipe(
              Effect.provideService(EventStore.EventStore, { ...store, maintenance: { ...maintenance, tombstone } }),
              Effect.tap(() => Effect.sync(() => gone.openUnsafe())),
              Effect.forkScoped
            )
            yield* looked.await
            const { reason, state } = yield* inProcess(Effect.andThen(Layer.build(layer({})), endOf(checkpoint, 104)))
            assert.deepEqual([state, reason?._tag], ["halted", "EventsRemoved"])
            assert.ok(seen.length > 0 && !seen.includes("Eve"), "nothing behind it has been handled")
            before = Effect.void
            yield* inProcess(Effect.andThen(Layer.build(layer({ removed: "skip" })), endOf(checkpoint, 104)))
            assert.ok(seen.includes("Eve"))
          })
        )
      }
    })

    test(
      "of other types, or before where it begins, it does not matter; nor does what eventfold itself wrote",
      Effect.gen(function* () {
        yield* fill
        yield* EventStore.append("$bus-1", [{ type: "$Command", payload: {} }])
        yield* Retention.tombstone("Account-2", { reason: "closed" })
        yield* Retention.tombstone("$bus-1", { reason: "old" })
        const { checkpoint, layer } = followers["a subscription"]
        assert.notEqual((yield* inProcess(Effect.andThen(Layer.build(layer({})), endOf(checkpoint, 3)))).state, "halted")
        assert.deepEqual(seen, ["Ada", "Bob"])
        const late = Subscription.layer({ name: "late", from: 2, handler: ({ stream }) => note(stream) })
        const end = yield* inProcess(Effect.andThen(Layer.build(late), endOf("subscription:late", 4)))
        assert.notEqual(end.state, "halted")
        assert.deepEqual(seen, ["Ada", "Bob", "Account-3"])
      })
    )

    test(
      "a relay halts, for it may have been published, and publishes what is left where that is allowed by name",
      Effect.gen(function* () {
        logs(/halts/)
        yield* fill
        yield* Retention.tombstone("Account-1", { reason: "closed" })
        const stopped = Relay.changes("out").pipe(
          Stream.filter(({ position, state }) => state === "halted" || position >= 3),
          Stream.runHead
        )
        const halted = yield* inProcess(Effect.andThen(Layer.build(Relay.layer({ name: "out" })), stopped))
        assert.equal(reasonOf(Option.getOrUndefined(Option.getOrThrow(halted).cause))?._tag, "EventsRemoved")
        const passed = yield* inProcess(Effect.andThen(Layer.build(Relay.layer({ name: "out", removed: "skip" })), stopped))
        assert.notEqual(Option.getOrThrow(passed).state, "halted")
      })
    )

    test(
      "a rebuild is refused before anything is emptied",
      Effect.gen(function* () {
        yield* fill
        const { checkpoint, layer } = followers["a projection"]
        yield* inProcess(Effect.andThen(Layer.build(layer({})), endOf(checkpoint, 3)))
        yield* Retention.tombstone("Account-1", { reason: "closed" })
        const before = yield* Checkpoints.Checkpoints.use(({ get }) => get(checkpoint))
        const rebuild = (options: Removed) =>
          Effect.scoped(Stream.runDrain(Projection.rebuild(Names, { transactional: false, ...options })))
        const error = yield* Effect.flip(rebuild({}))
        assert.ok(error._tag === "RebuildError")
        assert.match(error.message, /EventsRemoved.*a "Opened", was removed/)
        const after = yield* Checkpoints.Checkpoints.use(({ get }) => get(checkpoint))
        assert.equal(Option.getOrThrow(after).position, Option.getOrThrow(before).position)
        yield* rebuild({ removed: "skip" })
        assert.deepEqual(seen, ["Ada", "Bob", "Bob"])
      })
    )

    test(
      "what was archived is named with its archive, and read where that is read through",
      Effect.gen(function* () {
        logs(/halts/)
        yield* fill
        const cold = Archive.layerStore("cold", yield* EventStore.makeMemory)
        yield* Effect.provide(Retention.archive("Account-1", { reason: "closed" }), cold)
        const { checkpoint, layer } = followers["a subscription"]
        const run = Effect.andThen(
          Effect.flatMap(Effect.context<EventStore.EventStore | Checkpoints.Checkpoints>(), (context) =>
            Layer.build(Layer.provide(Layer.fresh(layer({})), Layer.succeedContext(context)))
          ),
          endOf(checkpoint, 3)
        )
        const { reason } = yield* inProcess(run)
        assert.ok(reason?._tag === "EventsArchived")
        assert.equal(reason.archive, "cold")
        const store = yield* EventStore.EventStore
        const through = yield* Layer.build(
          Archive.layer.pipe(Layer.provide(cold), Layer.provide(Layer.succeed(EventStore.EventStore, store)), Layer.fresh)
        )
        yield* Effect.provideService(inProcess(run), EventStore.EventStore, Context.get(through, EventStore.EventStore))
        assert.deepEqual(seen, ["Ada", "Bob"])
      })
    )
  })
}
