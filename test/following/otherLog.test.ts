import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Layer, Option, type Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import {
  Checkpoints,
  Event,
  EventStore,
  MessageBus,
  ProcessManager,
  Projection,
  Relay,
  Subscription,
  Transport,
  UnitOfWork
} from "eventfold"
import { arrived, Collection, Handlers } from "../support/shipping.ts"
import { partitionOf } from "../../src/following/partitions.ts"
import { logs } from "../support/logs.ts"
import { numbers, rest, start, until } from "../support/words.ts"

type Store = EventStore.EventStore["Service"]
type Of = EventStore.EventStore | Checkpoints.Checkpoints

/** What follows the one log, is stopped, and follows another with the same checkpoints: that of the one, restored and grown since. */
const restoring = <E>(test: (over: Over) => Effect.Effect<void, E, Scope.Scope>): Effect.Effect<void, E, Scope.Scope> =>
  Effect.flatMap(Checkpoints.makeMemory, (checkpoints) =>
    test(
      (store) => (effect) =>
        Effect.provide(effect, Context.make(EventStore.EventStore, store).pipe(Context.add(Checkpoints.Checkpoints, checkpoints)))
    )
  )

type Over = (store: Store) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Of>>

const event = (id: string, type = "Counted", published = true): EventStore.NewEvent => ({ id, type, payload: {}, published })

/** A log of events with these ids, each in the stream that the letter says, of the type that is behind the "/". */
const logOf = Effect.fnUntraced(function* (...ids: ReadonlyArray<string>) {
  const store = yield* EventStore.makeMemory
  for (const id of ids) yield* store.append(`${id.charAt(0)}-1`, [event(id, id.split("/")[1])])
  return store
})

/** `A1/Counted`, … */
const ids = (count: number, branch: string, type = "Counted", from = 1) =>
  numbers(count, from).map((n) => `${branch}${n}/${type}`)

const noting = (options: Partial<Subscription.RawOptions<never, never, "halt", false>> = {}) => {
  const seen: Array<string> = []
  const layer = Subscription.layer({
    name: "view",
    lease: "15 seconds",
    handler: ({ id }: EventStore.RecordedEvent) => Effect.sync(() => seen.push(id)),
    ...options
  })
  return { seen, layer }
}

/** What is kept of a checkpoint: its position, and the event that had been seen. */
const kept = (name = "subscription:view") =>
  Effect.map(
    Checkpoints.Checkpoints.use(({ get }) => get(name)),
    Option.match({ onNone: () => [0], onSome: ({ position, seen }) => [position, seen?.position, seen?.id] })
  )

const causeOf = (name = "view") =>
  Effect.map(Subscription.status(name), ({ cause }) => Option.getOrUndefined(Option.map(cause, Cause.squash)))

const halts = (name = "view") => until(Effect.map(Subscription.status(name), ({ state }) => state === "halted"))

const contradicted = (fields: {
  readonly position: number
  readonly at: number
  readonly seen?: string
  readonly found?: string
  readonly checkpoint?: string
}) =>
  new Checkpoints.CheckpointContradictedError({
    checkpoint: fields.checkpoint ?? "subscription:view",
    position: fields.position,
    at: fields.at,
    seen: Option.fromUndefinedOr(fields.seen),
    found: Option.fromUndefinedOr(fields.found)
  })

/** Follows a log until the checkpoint is there, and ends. */
const follow = <E, R>(layer: Layer.Layer<never, E, R>, position: number, name?: string) =>
  Effect.gen(function* () {
    const stop = yield* start(layer)
    yield* until(Effect.map(kept(name), ([at]) => at === position))
    yield* stop
  })

describe("a restored log that has grown past the checkpoint", () => {
  it.effect("halts a subscription by name, until somebody says from where it is to go on", () =>
    restoring((over) =>
      Effect.gen(function* () {
        logs(/ halts/)
        const before = yield* logOf(...ids(4, "A"))
        const after = yield* logOf(...ids(2, "A"), ...ids(4, "B", "Counted", 3))
        yield* over(before)(follow(noting().layer, 4))
        yield* over(after)(
          Effect.gen(function* () {
            assert.deepEqual(yield* kept(), [4, 4, "A4/Counted"])
            const { layer, seen } = noting()
            yield* start(layer)
            yield* halts()
            const error = contradicted({ position: 4, at: 4, seen: "A4/Counted", found: "B4/Counted" })
            assert.deepEqual(yield* causeOf(), error)
            assert.match(error.message, /has seen the event "A4\/Counted", and there stands the event "B4\/Counted"/)
            // It stays so, whoever resumes it.
            yield* Subscription.resume("view")
            yield* rest
            assert.deepEqual([yield* causeOf(), seen], [error, []])
            yield* Checkpoints.Checkpoints.use(({ reset }) => reset("subscription:view", 2))
            yield* Subscription.resume("view")
            yield* until(() => seen.length === 4)
            assert.deepEqual([seen, yield* kept()], [ids(4, "B", "Counted", 3), [6, 6, "B6/Counted"]])
          })
        )
      })
    )
  )

  it.effect("and one whose log is the same goes on", () =>
    restoring((over) =>
      Effect.gen(function* () {
        yield* over(yield* logOf(...ids(4, "A")))(follow(noting().layer, 4))
        const { layer, seen } = noting()
        yield* over(yield* logOf(...ids(6, "A")))(follow(layer, 6))
        assert.deepEqual(seen, ids(2, "A", "Counted", 5))
      })
    )
  )

  it.effect("is noticed by one whose checkpoint stands at an event that is not its own", () =>
    restoring((over) =>
      Effect.gen(function* () {
        logs(/ halts/)
        const rare = { filter: { types: ["Rare"] } }
        const before = yield* logOf("A1/Rare", ...ids(3, "A", "Other", 2))
        // What is appended while it runs is passed over by a look, which knows of no id.
        const passing = Effect.gen(function* () {
          const { layer, seen } = noting(rare)
          const stop = yield* start(layer)
          yield* until(() => seen.length === 1)
          yield* EventStore.append("B-1", [event("B5/Rare", "Rare"), event("B6", "Other"), event("B7", "Other")])
          yield* until(Effect.map(kept(), ([at]) => at === 7))
          assert.deepEqual(yield* kept(), [7, 5, "B5/Rare"])
          yield* stop
        })
        yield* over(before)(passing)
        const same = ["A1/Rare", ...ids(3, "A", "Other", 2), "B5/Rare"]
        const after = yield* logOf(...same, "C6/Other", "C7/Rare", "C8/Other")
        yield* over(after)(
          Effect.gen(function* () {
            const { layer, seen } = noting(rare)
            const stop = yield* start(layer)
            yield* halts()
            assert.deepEqual([yield* causeOf(), seen], [contradicted({ position: 7, at: 7, found: "C7/Rare" }), []])
            yield* stop
          })
        )
        // Where nothing of its own stands up to there, nothing is missed.
        const { layer, seen } = noting(rare)
        yield* over(yield* logOf(...same, "D6/Other", "D7/Other", "D8/Rare"))(follow(layer, 8))
        assert.deepEqual(seen, ["D8/Rare"])
      })
    )
  )

  it.effect("what was passed over is looked up once a beat, and found again by its id", () =>
    restoring((over) =>
      Effect.gen(function* () {
        logs(/ halts/)
        const rare = { filter: { types: ["Rare"] } }
        const before = yield* logOf("A1/Rare", ...ids(2, "A", "Other", 2))
        yield* over(before)(
          Effect.gen(function* () {
            const stop = yield* start(noting(rare).layer)
            yield* until(Effect.map(kept(), ([at]) => at === 3))
            yield* EventStore.append("A-1", [event("A4", "Other")])
            yield* TestClock.adjust("5 seconds")
            yield* until(Effect.map(kept(), ([at]) => at === 4))
            assert.deepEqual(yield* kept(), [4, 4, "A4"])
            yield* stop
          })
        )
        yield* over(yield* logOf("A1/Rare", ...ids(5, "B", "Other", 2)))(
          Effect.gen(function* () {
            yield* start(noting(rare).layer)
            yield* halts()
            assert.deepEqual(yield* causeOf(), contradicted({ position: 4, at: 4, seen: "A4", found: "B4/Other" }))
          })
        )
      })
    )
  )

  it.effect("halts the partition that it contradicts, to which the events of others are nothing", () =>
    restoring((over) =>
      Effect.gen(function* () {
        logs(/subscription "view:\d\/2" halts/)
        const of = (stream: string) => `subscription:view:${partitionOf(stream, 2)}/2`
        assert.notEqual(of("A-1"), of("B-1"))
        /** Each partition has come to 4, past what is not its own. */
        const before = Effect.gen(function* () {
          const { advance, claim, release } = yield* Checkpoints.Checkpoints
          for (const [stream, seen] of [
            ["A-1", { position: 1, id: "A1/Counted" }],
            ["B-1", { position: 2, id: "B2/Counted" }]
          ] as const) {
            const lease = yield* claim(of(stream), { owner: "before", ttl: "1 second" })
            yield* release(yield* advance(lease, 4, seen))
          }
        })
        const same = ["A1/Counted", "B2/Counted"]
        yield* over(yield* logOf(...same, "B3/Counted", "B4/Counted", "A5/Counted"))(
          Effect.gen(function* () {
            yield* before
            const { layer, seen } = noting({ partitions: 2 })
            const stop = yield* start(layer)
            yield* until(() => seen.length === 1)
            yield* halts()
            const { partitions = [] } = yield* Subscription.status("view")
            const states = Array.from(["A-1", "B-1"], (stream) => partitions[partitionOf(stream, 2)]?.state)
            assert.deepEqual([states, seen], [["live", "halted"], ["A5/Counted"]])
            assert.deepEqual(yield* causeOf(), contradicted({ checkpoint: of("B-1"), position: 4, at: 3, found: "B3/Counted" }))
            yield* stop
          })
        )
      })
    )
  )

  it.effect("halts a relay, and fails its drain", () =>
    restoring((over) =>
      Effect.gen(function* () {
        logs(/ halts/)
        const taken: Array<string> = []
        const Broker = Layer.succeed(
          Transport.Transport,
          Transport.Transport.of({
            publish: (messages) => Effect.sync(() => taken.push(...messages.map(({ id }) => id))),
            subscribe: () => Stream.never,
            forget: () => Effect.succeed(false)
          })
        )
        const relay = Layer.provide(Relay.layer({ name: "shop" }), Broker)
        yield* over(yield* logOf(...ids(3, "A")))(follow(relay, 3, "relay:shop"))
        taken.length = 0
        const error = contradicted({ checkpoint: "relay:shop", position: 3, at: 3, seen: "A3/Counted", found: "B3/Counted" })
        yield* over(yield* logOf(...ids(6, "B")))(
          Effect.gen(function* () {
            assert.deepEqual(yield* Effect.flip(Effect.provide(Relay.drain({ name: "shop" }), Broker)), error)
            yield* start(relay)
            yield* until(Effect.map(Relay.status("shop"), ({ state }) => state === "halted"))
            const { cause } = yield* Relay.status("shop")
            assert.deepEqual([Option.getOrUndefined(Option.map(cause, Cause.squash)), taken], [error, []])
          })
        )
        // Drained, it keeps what it has seen as well.
        yield* over(yield* logOf(...ids(3, "A")))(
          Effect.gen(function* () {
            yield* EventStore.append("In-1", [event("in", "Inside", false)])
            yield* Effect.provide(Relay.drain({ name: "shop" }), Broker)
            assert.deepEqual(yield* kept("relay:shop"), [4, 4, "in"])
          })
        )
      })
    )
  )

  it.effect("halts a process manager and the watch over its deadlines, which is part of the lag", () =>
    restoring((over) =>
      Effect.gen(function* () {
        logs(/subscription "process:Collection" halts/, /watch over the deadlines of "Collection" halts/)
        const collecting = <A, E, R>(store: Store, effect: Effect.Effect<A, E, R>) =>
          over(store)(
            effect.pipe(Effect.provide(Handlers.pipe(Layer.provideMerge(MessageBus.layer), Layer.provideMerge(UnitOfWork.layer))))
          )
        const stands = (checkpoint: string) =>
          Effect.map(Subscription.lag, (all) => all.find((one) => one.checkpoint === checkpoint))
        const before = yield* EventStore.makeMemory
        yield* collecting(
          before,
          Effect.gen(function* () {
            const stop = yield* start(ProcessManager.layer(Collection))
            yield* arrived("1")
            yield* until(Effect.map(EventStore.head, (head) => head === 5))
            yield* TestClock.adjust("10 seconds")
            yield* until(Effect.map(kept("deadlines:Collection"), ([, seen]) => seen === 5))
            // It waits for the deadline at 5, and has seen all there is.
            assert.deepEqual(yield* stands("deadlines:Collection"), { checkpoint: "deadlines:Collection", position: 4, lag: 0 })
            yield* stop
            yield* EventStore.append("Other-1", [event("one more", "Other")])
            assert.deepEqual(yield* stands("deadlines:Collection"), { checkpoint: "deadlines:Collection", position: 4, lag: 1 })
          })
        )
        yield* collecting(
          yield* logOf(...ids(9, "B")),
          Effect.gen(function* () {
            yield* start(ProcessManager.layer(Collection))
            yield* halts("process:Collection")
            yield* rest
            const { deadlines, reacting } = yield* ProcessManager.status(Collection)
            const tags = [reacting.cause, Option.flatMap(deadlines, ({ cause }) => cause)].map((cause) =>
              Option.getOrUndefined(Option.map(cause, (cause) => (Cause.squash(cause) as { readonly _tag?: string })._tag))
            )
            assert.deepEqual(tags, ["CheckpointContradictedError", "CheckpointContradictedError"])
            assert.equal(Option.getOrThrow(deadlines).state, "halted")
          })
        )
      })
    )
  )

  it.effect("halts a projection; nobody takes its view for one of this log, and a rebuild makes it one", () =>
    restoring((over) =>
      Effect.gen(function* () {
        logs(/ halts/)
        const Counted = Event.make("Counted", {})
        let view: Array<string> = []
        const View = Projection.make("View", {
          version: 1,
          events: [Counted],
          handlers: { Counted: (_, { id }) => Effect.sync(() => view.push(id)) },
          reset: Effect.sync(() => (view = []))
        })
        const Live = Projection.layer(View, { transactional: false })
        const name = `subscription:${View.subscription}`
        yield* over(yield* logOf(...ids(4, "A")))(
          Effect.gen(function* () {
            yield* follow(Live, 4, name)
            yield* Projection.awaitPosition(View, 4)
          })
        )
        yield* over(yield* logOf(...ids(6, "B")))(
          Effect.gen(function* () {
            const error = contradicted({ checkpoint: name, position: 4, at: 4, seen: "A4/Counted", found: "B4/Counted" })
            assert.deepEqual(yield* Effect.flip(Projection.awaitPosition(View, 3)), error)
            assert.deepEqual(yield* Effect.flip(Projection.switchTo(View)), error)
            yield* start(Live)
            yield* halts(View.subscription)
            assert.deepEqual(yield* causeOf(View.subscription), error)
            assert.deepEqual(yield* Effect.flip(Projection.awaitPosition(View, 3)), error)
            assert.deepEqual(view, ids(4, "A"))
          }).pipe(Effect.scoped)
        )
        yield* over(yield* logOf(...ids(6, "B")))(
          Effect.gen(function* () {
            yield* Stream.runDrain(Projection.rebuild(View, { transactional: false }))
            assert.deepEqual([view, yield* kept(name)], [ids(6, "B"), [6, 6, "B6/Counted"]])
            yield* Projection.awaitPosition(View, 6)
          })
        )
      })
    )
  )
})

describe("what was seen of the log", () => {
  it.effect("is taken on trust where it is unknown, and known from then on", () =>
    restoring((over) =>
      Effect.flatMap(EventStore.makeMemory, (store) =>
        over(store)(
          Effect.gen(function* () {
            const { claim, release, reset } = yield* Checkpoints.Checkpoints
            yield* EventStore.append("A-1", [event("1"), event("2"), event("3")])
            yield* reset("subscription:view", 2)
            yield* release(yield* claim("subscription:view", { owner: "of 0.1", ttl: "1 second" }))
            assert.deepEqual(yield* kept(), [2, undefined, undefined])
            const { layer, seen } = noting()
            yield* follow(layer, 3)
            assert.deepEqual([seen, yield* kept()], [["3"], [3, 3, "3"]])
            // Where nothing is left to be done, too.
            yield* reset("subscription:view", 3)
            const stop = yield* start(layer)
            yield* until(Effect.map(kept(), ([, seen]) => seen === 3))
            yield* stop
            assert.deepEqual(seen, ["3"])
          })
        )
      )
    )
  )

  it.effect("costs one read when a follower starts, and none a batch", () =>
    restoring((over) =>
      Effect.gen(function* () {
        const reads: Array<EventStore.ReadPageOptions | undefined> = []
        const store = yield* EventStore.makeMemory
        const counting = (options?: EventStore.ReadPageOptions) =>
          Effect.suspend(() => {
            reads.push(options)
            return store.readPage(options)
          })
        yield* over({ ...store, readPage: counting })(
          Effect.gen(function* () {
            const { layer, seen } = noting()
            const appending = (count: number) =>
              Effect.gen(function* () {
                const before = seen.length
                yield* EventStore.append(
                  "A-1",
                  numbers(count, before + 1).map((n) => event(`${n}`))
                )
                yield* until(Effect.map(kept(), ([at]) => at === before + count))
                yield* rest
              })
            const stop = yield* start(layer)
            yield* rest
            for (const count of [1, 10, 300]) yield* appending(count)
            yield* stop
            // The look when it starts: each page says how far the log is.
            const looks = reads.filter((options) => options?.upTo === undefined)
            assert.deepEqual([reads.length, looks.length], [1, 1])
            reads.length = 0
            yield* start(layer)
            yield* rest
            assert.deepEqual(reads, [
              { after: 310, upTo: 311, size: 1 },
              { after: 311, filter: undefined, size: 1 }
            ])
          })
        )
      })
    )
  )
})
