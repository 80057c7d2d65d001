import { assert } from "@effect/vitest"
import { Effect, Layer, Schedule, Stream } from "effect"
import {
  Checkpoints,
  Consumer,
  DeadLetters,
  EventStore,
  ParkedEvents,
  Projection,
  Relay,
  Subscription,
  Transport
} from "eventfold"
import type { Operations } from "eventfold/operate"
import { logs } from "../support/logs.ts"
import {
  clientOf,
  Faults,
  Followers,
  followersUntil,
  Newer,
  Newest,
  onEveryStore,
  place,
  Placed,
  Sales,
  type Services
} from "./support.ts"

/** Both versions of the projection, where there is a database. */
const projecting = Layer.merge(Projection.layer(Sales), Projection.layer(Newer)) as Layer.Layer<never, unknown, Services>

const ada = { name: "ada", mayAct: true }
const acting = (operator = ada) => clientOf(operator, { acts: true })

type Client = Effect.Success<ReturnType<typeof acting>>
type Act = typeof Operations.Act.Type

/** What comes of an act: the steps, or why it was refused. */
const outcome = (client: Client, id: string, act: Act, within?: number) =>
  client.Act({ id, act, ...(within === undefined ? {} : { within }) }).pipe(
    Stream.runCollect,
    Effect.map((steps) => {
      const last = steps.at(-1)
      return last?._tag === "Done" ? last.outcome : "never done"
    }),
    Effect.catch((error) => Effect.succeed(error._tag))
  )

const recorded = Effect.map(
  Stream.runCollect(EventStore.EventStore.useSync((store) => store.read("$operations")).pipe(Stream.unwrap)),
  (events) =>
    events.map(({ payload }) => {
      const { by, id, state } = payload as { readonly by: string; readonly id: string; readonly state: string }
      return `${id} ${by} ${state}`
    })
)

/** Waits until both mails and bills are set aside, and labels have halted. */
const broken = Effect.gen(function* () {
  logs(/labels" halts at position 2/, /mails.* parked/, /dead letter/)
  yield* place("1")
  yield* EventStore.append("Order-1", [{ type: "Paid", payload: { by: "card" } }])
  yield* Layer.build(Followers)
  const client = yield* acting()
  yield* followersUntil(
    client,
    (all) =>
      all.some(({ name, state }) => name === "subscription:labels" && state === "halted") &&
      all.some(({ name, parked }) => name === "subscription:mails" && parked === 1) &&
      all.some(({ name, parked }) => name === "consumer:billing" && parked === 1)
  )
  return client
})

onEveryStore((test, kind) => {
  test(
    "what is paused begins nothing, also after a restart, until it is resumed",
    Effect.gen(function* () {
      const handled: Array<number> = []
      const Mails = Layer.fresh(
        Subscription.layer({ name: "mails", handler: ({ position }) => Effect.sync(() => handled.push(position)) })
      )
      const state = Effect.map(Subscription.status("mails"), ({ state }) => state)
      const reaches = (wanted: string) =>
        state.pipe(
          Effect.repeat({ until: (state) => state === wanted, schedule: Schedule.spaced("10 millis") }),
          Effect.timeout("10 seconds")
        )
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Layer.build(Mails)
          const client = yield* acting()
          yield* place("1")
          yield* reaches("live")
          const mistaken = client.Act({ id: "name", act: { _tag: "Pause", follower: "mails" } })
          assert.include(
            (yield* Effect.flip(Stream.runDrain(mistaken))).message,
            'there is no follower "mails", but "subscription:mails"'
          )
          assert.strictEqual(yield* outcome(client, "pause", { _tag: "Pause", follower: "subscription:mails" }), "paused")
          yield* reaches("paused")
        })
      )
      // Its process has ended, and another begins.
      yield* Layer.build(Mails)
      const client = yield* acting()
      yield* reaches("paused")
      yield* place("2")
      const all = yield* followersUntil(client, (all) => all.length === 1)
      assert.deepStrictEqual(
        all.map(({ name, state }) => [name, state]),
        [["subscription:mails", "paused"]]
      )
      assert.strictEqual(yield* outcome(client, "resume", { _tag: "Resume", follower: "subscription:mails" }), "resumed")
      yield* reaches("live")
      yield* Effect.repeat(
        Effect.sync(() => handled.length),
        { until: (count) => count >= 2, schedule: Schedule.spaced("10 millis") }
      )
      assert.deepStrictEqual(yield* recorded, ["name ada refused", "pause ada done", "resume ada done"])
    })
  )

  test(
    "a group of consumers that is paused begins nothing, also one that starts later, until it is resumed",
    Effect.gen(function* () {
      const faults = yield* Faults
      Object.assign(faults, { mails: false, labels: false, messages: false })
      const handled: Array<string> = []
      const Bills = Layer.fresh(
        Consumer.layer(
          [Placed],
          { Placed: (_, { message }) => Effect.sync(() => handled.push(message.subject ?? "")) },
          { group: "bills" }
        )
      )
      const reaches = (wanted: string) =>
        Consumer.status("bills").pipe(
          Effect.repeat({ until: ({ state }) => state === wanted, schedule: Schedule.spaced("10 millis") }),
          Effect.timeout("10 seconds")
        )
      const client = yield* acting()
      assert.strictEqual(yield* outcome(client, "none", { _tag: "Pause", follower: "consumer:bills" }, 2000), "RefusedError")
      yield* Layer.build(Relay.layer({ name: "orders" }))
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Layer.build(Bills)
          yield* reaches("live")
          assert.strictEqual(yield* outcome(client, "pause", { _tag: "Pause", follower: "consumer:bills" }), "paused")
          yield* reaches("paused")
        })
      )
      const [away] = (yield* followersUntil(client, (all) => all.some(({ kind }) => kind === "consumer"))).filter(
        ({ kind }) => kind === "consumer"
      )
      assert.deepStrictEqual([away?.name, away?.state, away?.here], ["consumer:bills", "paused", false])
      // Its process has ended, and another begins.
      yield* Layer.build(Bills)
      yield* place("1")
      yield* reaches("paused")
      yield* followersUntil(client, (all) => all.some(({ lag, name }) => name === "relay:orders" && lag === 0))
      assert.deepStrictEqual(handled, [])
      assert.strictEqual(yield* outcome(client, "resume", { _tag: "Resume", follower: "consumer:bills" }), "resumed")
      yield* reaches("live")
      yield* Effect.repeat(
        Effect.sync(() => handled.length),
        { until: (count) => count >= 1, schedule: Schedule.spaced("10 millis") }
      ).pipe(Effect.timeout("10 seconds"))
      assert.deepStrictEqual(handled, ["Order-1"])
    })
  )

  test(
    "one that has halted goes on where the cause is mended; what is parked is retried, and dead letters are",
    Effect.gen(function* () {
      const client = yield* broken
      const faults = yield* Faults
      assert.strictEqual(yield* outcome(client, "r1", { _tag: "Retry", follower: "mails", position: 1 }), "RefusedError")
      assert.strictEqual(yield* outcome(client, "l1", { _tag: "RetryLetter", group: "billing", id: "absent" }), "RefusedError")
      const [letter] = yield* DeadLetters.DeadLetters.use((letters) => letters.list("billing"))
      const id = letter?.message.id ?? ""
      Object.assign(faults, { mails: false, labels: false, messages: false })
      assert.strictEqual(yield* outcome(client, "resume", { _tag: "Resume", follower: "subscription:labels" }), "resumed")
      assert.strictEqual(yield* outcome(client, "r2", { _tag: "Retry", follower: "mails", position: 1 }), "handled")
      assert.strictEqual(yield* outcome(client, "l2", { _tag: "RetryLetter", group: "billing", id }), "handled")
      assert.strictEqual(yield* outcome(client, "l3", { _tag: "DiscardLetter", group: "billing", id }), "RefusedError")
      yield* followersUntil(client, (all) => all.every(({ parked, state }) => parked === 0 && state === "live"))
      assert.deepStrictEqual(yield* recorded, [
        "r1 ada refused",
        "l1 ada refused",
        "resume ada done",
        "r2 ada done",
        "l2 ada done",
        "l3 ada refused"
      ])
      const asked = yield* client.Asked({ limit: 2 })
      assert.deepStrictEqual(
        asked.items.map(({ id, state }) => [id, state]),
        [
          ["l3", "refused"],
          ["l2", "done"]
        ]
      )
      const older = yield* client.Asked({ limit: 2, after: asked.next ?? "" })
      assert.deepStrictEqual(
        older.items.map(({ id }) => id),
        ["r2", "resume"]
      )
    })
  )

  test(
    "asked for twice under one id it is done once, and both hear the same; of two operators one has the effect",
    Effect.gen(function* () {
      const parking = yield* ParkedEvents.ParkedEvents
      yield* place("1")
      const [event] = yield* Stream.runCollect(Stream.unwrap(EventStore.EventStore.useSync((store) => store.readAll())))
      const parkedAt = event?.recordedAt
      assert.ok(parkedAt !== undefined)
      const parked = {
        subscription: "mails",
        position: 1,
        stream: "Order-1",
        type: "Placed",
        cause: "no",
        attempts: 1,
        parkedAt
      }
      yield* parking.park(parked)
      const client = yield* acting()
      const discard: Act = { _tag: "Discard", follower: "subscription:mails", position: 1 }
      const together = yield* Effect.all([outcome(client, "same", discard), outcome(client, "same", discard)], { concurrency: 2 })
      assert.deepStrictEqual(together, ["discarded", "discarded"])
      assert.strictEqual(yield* outcome(client, "same", discard), "discarded")
      yield* parking.park(parked)
      const ben = yield* acting({ name: "ben", mayAct: true })
      const race = yield* Effect.all([outcome(client, "one", discard), outcome(ben, "other", discard)], { concurrency: 2 })
      assert.deepStrictEqual(race.toSorted(), ["RefusedError", "discarded"])
      const records = yield* recorded
      assert.deepStrictEqual(
        records.filter((record) => record.startsWith("same")),
        ["same ada done"]
      )
      assert.deepStrictEqual(records.map((record) => record.split(" ").at(-1)).toSorted(), ["done", "done", "refused"])
    })
  )

  test(
    "a follower that nobody runs is removed, one that runs is not, and what nobody does is not done later",
    Effect.gen(function* () {
      yield* Checkpoints.Checkpoints.use(({ reset }) => reset("subscription:gone", 3))
      yield* Layer.build(Subscription.layer({ name: "mails", handler: () => Effect.void }))
      const client = yield* acting()
      yield* followersUntil(client, (all) => all.some(({ name, state }) => name === "subscription:mails" && state === "live"))
      assert.strictEqual(yield* outcome(client, "1", { _tag: "RemoveFollower", follower: "subscription:gone" }), "removed")
      assert.strictEqual(yield* outcome(client, "2", { _tag: "RemoveFollower", follower: "subscription:gone" }), "RefusedError")
      assert.strictEqual(yield* outcome(client, "3", { _tag: "RemoveFollower", follower: "subscription:mails" }), "RefusedError")
      // All that a process manager leaves behind, though nobody here has its definition.
      for (const name of ["subscription:process:Gone", "deadlines:Gone"]) {
        yield* Checkpoints.Checkpoints.use(({ reset }) => reset(name, 3))
      }
      const removing = { _tag: "RemoveFollower", follower: "subscription:process:Gone" } as const
      assert.strictEqual(yield* outcome(client, "6", removing), "removed")
      const left = yield* Checkpoints.Checkpoints.use(({ list }) => Effect.map(list, (all) => all.map(({ name }) => name)))
      assert.deepStrictEqual(
        left.filter((name) => name.includes("Gone")),
        []
      )
      assert.strictEqual(yield* outcome(client, "4", { _tag: "Retry", follower: "nobody", position: 1 }, 50), "NobodyTookError")
      assert.strictEqual(yield* outcome(client, "5", { _tag: "Rebuild", projection: "None", version: 1 }, 50), "NobodyTookError")
      assert.deepStrictEqual(yield* recorded, ["1 ada done", "2 ada refused", "3 ada refused", "6 ada done"])
    })
  )

  test(
    "one whose record cannot be written is refused, and not under way for ever",
    Effect.gen(function* () {
      logs(/the act "full" could not be done/, /the act "full" has ended without its record/)
      yield* Checkpoints.Checkpoints.use(({ reset }) => reset("subscription:gone", 3))
      const store = yield* EventStore.EventStore
      const isFull = Effect.fail(
        new EventStore.EventStoreError({
          reason: new EventStore.StoreFailure({ operation: "append", detail: "the disk is full" })
        })
      )
      const full: EventStore.EventStore["Service"] = {
        ...store,
        append: (stream, ...rest) => (stream === "$operations" ? isFull : store.append(stream, ...rest))
      }
      const client = yield* Effect.provideService(acting(), EventStore.EventStore, full)
      const act: Act = { _tag: "RemoveFollower", follower: "subscription:gone" }
      assert.strictEqual(yield* Effect.timeout(outcome(client, "full", act), "15 seconds"), "RefusedError")
      assert.deepStrictEqual((yield* client.Asked({})).items, [])
      // Another about the same thing is not held up by it.
      assert.strictEqual(
        yield* outcome(yield* acting(), "next", act),
        kind === "memory" || kind === "JSON lines" ? "RefusedError" : "removed"
      )
    })
  )

  test(
    "a relay publishes once more what it has published, under the ids that it had",
    Effect.gen(function* () {
      const faults = yield* Faults
      Object.assign(faults, { mails: false, labels: false, messages: false })
      yield* place("1")
      yield* place("2")
      yield* Layer.build(Followers)
      const client = yield* acting()
      yield* followersUntil(client, (all) => all.every(({ lag, state }) => state === "live" && lag === 0))
      const published = yield* Transport.subscribe({ group: "again", types: ["Placed"] }).pipe(
        Stream.take(2),
        Stream.mapEffect((delivery) => Effect.as(delivery.ack, delivery.message.id)),
        Stream.runCollect
      )
      const steps = yield* Stream.runCollect(
        client.Act({ id: "a", act: { _tag: "RelayAgain", relay: "orders", from: 1, to: 2 } })
      )
      assert.deepStrictEqual(steps.at(-1), { _tag: "Done", id: "a", outcome: "published again from #1 to #2" })
      assert.strictEqual(published.length, 2)
      assert.strictEqual(yield* outcome(client, "b", { _tag: "RelayAgain", relay: "orders", from: 2, to: 1 }), "RefusedError")
    })
  )

  if (kind !== "memory" && kind !== "JSON lines") {
    test(
      "a version of a projection is rebuilt, with its progress, switched to and dropped, and its rows are counted",
      Effect.gen(function* () {
        for (const order of ["1", "2", "3"]) yield* place(order)
        yield* Layer.build(projecting)
        const client = yield* clientOf(ada, { acts: true, projections: [Newest, Sales, Newer] } as never)
        yield* followersUntil(client, (all) => all.length === 2 && all.every(({ lag, state }) => state === "live" && lag === 0))
        const counted = yield* client.Tables({ projection: "Sales" })
        assert.deepStrictEqual(
          counted.map(({ exact, rows, table, version }) => [version, table, rows, exact]),
          [
            [3, "sales", null, true],
            [1, "sales", 3, true],
            [2, "sales", 3, true]
          ]
        )
        const steps = yield* Stream.runCollect(
          client.Act({ id: "rebuild", act: { _tag: "Rebuild", projection: "Sales", version: 1 } })
        )
        assert.deepStrictEqual(
          [steps[0]?._tag, steps.at(-1)?._tag, steps.some(({ _tag }) => _tag === "Progress")],
          ["Asked", "Done", true]
        )
        assert.strictEqual(
          yield* outcome(client, "switch", { _tag: "Switch", projection: "Sales", version: 2 }),
          "readers see version 2"
        )
        const versions = yield* client.Projections({ projection: "Sales" })
        assert.deepStrictEqual(
          versions.map(({ active, mode, registered, state, version }) => [version, mode, active, state, registered]),
          [
            [1, "async", false, "live", true],
            [2, "async", true, "live", true],
            [3, "absent", false, "stopped", true]
          ]
        )
        assert.deepStrictEqual(
          versions.map(({ tables, updatedAt }) => [tables, updatedAt !== null]),
          [
            [["sales"], true],
            [["sales"], true],
            [["sales"], false]
          ]
        )
        assert.strictEqual(yield* outcome(client, "drop", { _tag: "Drop", projection: "Sales", version: 1 }), "RefusedError")
        assert.deepStrictEqual(yield* recorded, ["rebuild ada done", "switch ada done", "drop ada refused"])
      })
    )
  }

  test(
    "nobody acts who only looks, and no act makes no sense",
    Effect.gen(function* () {
      yield* place("1")
      const act: Act = { _tag: "Discard", follower: "mails", position: 1 }
      assert.strictEqual(yield* outcome(yield* acting({ name: "eve", mayAct: false }), "1", act), "NotAllowedError")
      assert.strictEqual(yield* outcome(yield* clientOf(ada), "1", act), "NotAllowedError")
      const client = yield* acting()
      for (const id of ["", " ", "x".repeat(201), "a\nb"])
        assert.strictEqual(yield* outcome(client, id, act), "InvalidRequestError")
      const hostile: Act = { _tag: "Discard", follower: "a\u0000", position: 1 }
      assert.strictEqual(yield* outcome(client, "1", hostile), "InvalidRequestError")
      for (const within of [0, -1, 1e9]) assert.strictEqual(yield* outcome(client, "1", act, within), "InvalidRequestError")
      assert.deepStrictEqual(yield* recorded, [])
      assert.strictEqual(kind.length > 0, true)
    })
  )
})
