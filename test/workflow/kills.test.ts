import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { inject } from "vitest"
import { freshSchema } from "../postgres/support.ts"
import { open, until } from "../postgres/harness.ts"
import { killing, kills, killsTimeout } from "../support/kills.ts"

describe(`kill -9 of processes that run workflows, ${kills} times`, () => {
  it.live(
    "loses no execution, and does nothing twice",
    () =>
      Effect.gen(function* () {
        const url = inject("postgresUrl")
        const schema = freshSchema()
        const { store } = yield* open({ url, schema })
        const orders: Array<string> = []
        /** Each third order is refused. */
        const by = (order: string) => (orders.indexOf(order) % 3 === 2 ? "nobody" : "ada")
        const approve = (order: string) => store.append(order, [{ type: "Approved", payload: { by: by(order) } }])
        const left = yield* killing(new URL("processes/runner.ts", import.meta.url), { url, schema }, (round) =>
          Effect.gen(function* () {
            for (let n = 0; n < 4; n++) {
              const order = `Order-${round}-${n}`
              orders.push(order)
              yield* store.append(order, [{ type: "Requested", payload: {} }])
              yield* Effect.sleep(Math.random() * 150)
              // Some are approved before they wait for it.
              yield* approve(n % 2 === 0 ? order : (orders.at(-2) ?? order))
            }
          })
        )
        for (const order of orders) yield* approve(order)

        const count = (type: string) =>
          Effect.map(Stream.runCollect(store.readAll({ filter: { types: [type] } })), (events) => Array.from(events))
        yield* until(
          "all have ended",
          Effect.map(count("WorkflowEnded"), ({ length }) => length >= orders.length),
          "3 minutes"
        )
        const refused = orders.filter((order) => by(order) === "nobody").length
        const expected = {
          WorkflowStarted: orders.length,
          Reserved: orders.length,
          Paid: orders.length - refused,
          Released: refused,
          WorkflowEnded: orders.length
        }
        for (const [type, times] of Object.entries(expected)) {
          const found = yield* count(type)
          assert.equal(found.length, times, type)
          assert.equal(new Set(found.map(({ stream }) => stream)).size, times, type)
        }
        for (const child of left) yield* child.kill
      }),
    killsTimeout
  )
})
