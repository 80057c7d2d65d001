import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Option, Redacted, Stream } from "effect"
import { RpcTest } from "effect/rpc"
import { Checkpoints, EventStore, ParkedEvents } from "eventfold"
import { Operate, Operations } from "eventfold/operate"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
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
        Layer.provideMerge(Layer.merge(ParkedEvents.layerSql, PgCheckpoints.layer)),
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
    follow: (slow = 0) => startChild(new URL("./processes/follower.ts", import.meta.url), { schema, url, slow }),
    act: (id: string, act: Act, within = 20_000) =>
      client.Act({ id, act, within }).pipe(
        Stream.runCollect,
        Effect.map((steps) => steps.at(-1)?._tag),
        Effect.catch((error) => Effect.succeed(error._tag))
      ),
    records: Effect.map(Stream.runCollect(store.read("$operations")), (events) =>
      events.map(({ payload }) => (payload as { readonly id: string }).id)
    ),
    append: (type: string) => store.append("Order-1", [{ type, payload: {} }]),
    isParked: Effect.map(parking.counts, (counts) => (counts.get("mails") ?? 0) > 0)
  }
})

const lastStateOf = ({ lines }: Child) => lines.findLast((line) => !line.startsWith("handled") && line !== "retrying")

const pause: Act = { _tag: "Pause", follower: "subscription:mails" }
const resume: Act = { _tag: "Resume", follower: "subscription:mails" }
const retry: Act = { _tag: "Retry", follower: "mails", position: 1 }

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

  it.live("are done by another where the one that has taken them is killed in the middle", () =>
    Effect.gen(function* () {
      const { act, append, follow, isParked, records } = yield* operator
      const first = yield* follow(60_000)
      yield* append("Broken")
      yield* until("it is parked", isParked)
      const asked = yield* Effect.forkChild(act("r", retry))
      yield* first.says("retrying")
      const second = yield* follow()
      yield* until(
        "the second stands by",
        Effect.sync(() => second.lines.includes("standby"))
      )
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
      const { act, append, follow, isParked, records } = yield* operator
      const first = yield* follow(1500)
      yield* append("Broken")
      yield* until("it is parked", isParked)
      const asked = yield* Effect.forkChild(act("r", retry))
      yield* first.says("retrying")
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
