import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Context, DateTime, Effect, Fiber, Layer, Option, Redacted, Stream } from "effect"
import { RpcTest } from "effect/rpc"
import { SqlClient } from "effect/sql"
import { Checkpoints, DeadLetters, EventStore, ParkedEvents, Transport } from "eventfold"
import { Operate, Operations } from "eventfold/operate"
import { PgCheckpoints, PgEventStore, PgTransport } from "eventfold/postgres"
import { describe, inject } from "vitest"
import { freshSchema } from "../postgres/support.ts"
import { type Child, startChild, until } from "../support/child.ts"

type Act = typeof Operations.Act.Type

/** An operator's process, which follows nothing, and the processes that do. */
const operator = Effect.gen(function* () {
  const schema = freshSchema()
  const url = inject("postgresUrl")
  const context = yield* Layer.build(
    Layer.fresh(
      Layer.merge(Operate.layerHandlers({ acts: true }), Operate.layerOperator({ name: "ada", mayAct: true })).pipe(
        Layer.provideMerge(Layer.mergeAll(ParkedEvents.layerSql, DeadLetters.layerSql, PgCheckpoints.layer, PgTransport.layer)),
        Layer.provideMerge(PgEventStore.layerWith({ schema, listen: false, pollInterval: "50 millis" })),
        Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 }))
      )
    )
  )
  const client = yield* Effect.provideContext(RpcTest.makeClient(Operations.Operations), context)
  const store = Context.get(context, EventStore.EventStore)
  const checkpoints = Context.get(context, Checkpoints.Checkpoints)
  const parking = Context.get(context, ParkedEvents.ParkedEvents)
  return {
    store,
    checkpoints,
    parking,
    consume: () => startChild(new URL("./processes/consumer.ts", import.meta.url), { schema, url }),
    publish: (id: string) =>
      Effect.provideContext(
        Transport.publish([
          {
            specversion: "1.0",
            id,
            source: "/shop",
            type: "Placed",
            subject: id,
            time: DateTime.makeUnsafe(0),
            datacontenttype: "application/json",
            data: { total: 1 },
            schemaversion: 1,
            position: 1
          }
        ]),
        context
      ),
    follow: (slow = 0) => startChild(new URL("./processes/follower.ts", import.meta.url), { schema, url, slow }),
    act: (id: string, act: Act, within = 20_000) =>
      client.Act({ id, act, within }).pipe(
        Stream.runCollect,
        Effect.map((steps) => steps.at(-1)?._tag),
        Effect.catch((error) => Effect.succeed(error._tag))
      ),
    /** How the act that is under way stands. */
    standing: Effect.map(client.Asked({ limit: 1 }), ({ items }) => items[0]?.state),
    records: Effect.map(Stream.runCollect(store.read("$operations")), (events) =>
      events.map(({ payload }) => (payload as { readonly id: string }).id)
    ),
    /** As if so many milliseconds had passed since whoever has taken an act was last heard of. */
    age: (millis: number) =>
      Effect.flatMap(
        SqlClient.SqlClient,
        (sql) =>
          sql`update ${sql(`${schema}.operation`)} set lease_until = lease_until - ${millis}::double precision where ended_at is null`
      ).pipe(Effect.provide(Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })))),
    append: (type: string) => store.append("Order-1", [{ type, payload: {} }]),
    isParked: Effect.map(parking.counts, (counts) => (counts.get("mails") ?? 0) > 0)
  }
})

const lastStateOf = ({ lines }: Child) => lines.findLast((line) => !line.startsWith("handled") && line !== "retrying")

const pause: Act = { _tag: "Pause", follower: "subscription:mails" }
const resume: Act = { _tag: "Resume", follower: "subscription:mails" }
const retry: Act = { _tag: "Retry", follower: "mails", position: 1 }

/** An operator whose retry the first follower has taken, which takes so many milliseconds for it. */
const retrying = Effect.fnUntraced(function* (millis: number) {
  const asking = yield* operator
  const first = yield* asking.follow(millis)
  yield* asking.append("Broken")
  yield* until("it is parked", asking.isParked)
  const asked = yield* Effect.forkChild(asking.act("r", retry))
  yield* first.says("retrying")
  return { ...asking, first, asked }
})

describe("acts that are asked of one process and done by another", () => {
  it.live("pause the one that follows, which stays so when it is killed, until it is resumed", () =>
    Effect.gen(function* () {
      const { act, append, checkpoints, follow, records } = yield* operator
      const first = yield* follow()
      yield* append("Placed")
      yield* first.says("handled 1")
      assert.strictEqual(yield* act("p", pause), "Done")
      yield* until(
        "it is paused",
        Effect.sync(() => lastStateOf(first) === "paused")
      )
      yield* first.kill
      const second = yield* follow()
      yield* append("Placed")
      yield* until(
        "it is paused as well",
        Effect.sync(() => lastStateOf(second) === "paused")
      )
      assert.strictEqual(Option.getOrThrow(yield* checkpoints.get("subscription:mails")).paused, true)
      assert.deepStrictEqual(
        second.lines.filter((line) => line.startsWith("handled")),
        []
      )
      assert.strictEqual(yield* act("r", resume), "Done")
      // Behind the record of the pause.
      yield* second.says("handled 3")
      assert.deepStrictEqual(yield* records, ["p", "r"])
      // Asked for once more it is not done once more.
      assert.strictEqual(yield* act("p", pause), "Done")
      assert.strictEqual(Option.getOrThrow(yield* checkpoints.get("subscription:mails")).paused, undefined)
      yield* second.end
    })
  )

  it.live("pause a group of consumers in every process, also those that are killed and start anew, until it is resumed", () =>
    Effect.gen(function* () {
      const { act, checkpoints, consume, publish } = yield* operator
      const lastOf = ({ lines }: Child) => lines.findLast((line) => !line.startsWith("handled"))
      const all = (state: string, children: ReadonlyArray<Child>) =>
        until(
          `all are ${state}`,
          Effect.sync(() => children.every((child) => lastOf(child) === state))
        )
      // The operator's own process has no consumers, and knows the group by what is said of it.
      yield* checkpoints.reset("consumer:bills", 0)
      const [first, second] = [yield* consume(), yield* consume()]
      yield* all("live", [first, second])
      assert.strictEqual(yield* act("p", { _tag: "Pause", follower: "consumer:bills" }, 2000), "Done")
      yield* all("paused", [first, second])
      yield* first.kill
      const third = yield* consume()
      yield* publish("one")
      yield* all("paused", [second, third])
      const handled = [first, second, third].flatMap(({ lines }) => lines.filter((line) => line.startsWith("handled")))
      assert.deepStrictEqual(handled, [])
      assert.strictEqual(yield* act("r", { _tag: "Resume", follower: "consumer:bills" }, 2000), "Done")
      yield* all("live", [second, third])
      yield* until(
        "one of them handles what has come",
        Effect.sync(() => [second, third].some(({ lines }) => lines.includes("handled one")))
      )
      yield* second.end
      yield* third.end
    })
  )

  it.live("are done by another where the one that has taken them is killed in the middle", () =>
    Effect.gen(function* () {
      const { asked, first, follow, isParked, records } = yield* retrying(60_000)
      const second = yield* follow()
      yield* second.says("standby")
      yield* first.kill
      assert.strictEqual(yield* Fiber.join(asked), "Done")
      assert.include(second.lines, "handled 1")
      assert.strictEqual(yield* isParked, false)
      assert.deepStrictEqual(yield* records, ["r"])
      yield* second.end
    })
  )

  it.live("are done by another where the one that has taken them is frozen, which finishes nothing when it is thawed", () =>
    Effect.gen(function* () {
      const { act, asked, first, follow, records } = yield* retrying(1500)
      first.process.kill("SIGSTOP")
      const second = yield* follow()
      assert.strictEqual(yield* Fiber.join(asked), "Done")
      assert.include(second.lines, "handled 1")
      first.process.kill("SIGCONT")
      // What it goes on with is another's by now: the record stands once.
      assert.strictEqual(yield* act("next", { _tag: "Discard", follower: "mails", position: 1 }), "RefusedError")
      assert.deepStrictEqual(yield* records, ["r", "next"])
      yield* first.end
      yield* second.end
    })
  )

  it.live("are handed on at once by one that ends, and not when its lease runs out", () =>
    Effect.gen(function* () {
      const { asked, first, follow, records } = yield* retrying(60_000)
      const second = yield* follow()
      yield* second.says("standby")
      yield* first.end
      assert.strictEqual(yield* Effect.timeout(Fiber.join(asked), "4 seconds"), "Done")
      assert.include(second.lines, "handled 1")
      assert.deepStrictEqual(yield* records, ["r"])
      yield* second.end
    })
  )

  it.live("are refused, and recorded so, where the one that has taken them is killed and nobody else can go on", () =>
    Effect.gen(function* () {
      const { act, age, asked, first, records, standing } = yield* retrying(60_000)
      assert.strictEqual(yield* standing, "under-way")
      yield* first.kill
      // It is waited for, for it may have a successor.
      yield* age(30_000)
      assert.strictEqual(yield* standing, "silent")
      assert.strictEqual(yield* act("other", retry, 1500), "NobodyTookError")
      assert.deepStrictEqual(yield* records, [])
      yield* age(40_000)
      assert.strictEqual(yield* Effect.timeout(Fiber.join(asked), "10 seconds"), "RefusedError")
      assert.deepStrictEqual(yield* records, ["r"])
      assert.strictEqual(yield* act("r", retry), "RefusedError")
    })
  )

  it.live("are done by nobody where nobody is there, and not later either", () =>
    Effect.gen(function* () {
      const { act, append, follow, records } = yield* operator
      yield* append("Placed")
      assert.strictEqual(yield* act("n", retry, 500), "NobodyTookError")
      const first = yield* follow()
      yield* first.says("handled 1")
      assert.strictEqual(yield* act("n", retry, 500), "NobodyTookError")
      assert.deepStrictEqual(yield* records, [])
      yield* first.end
    })
  )
})
