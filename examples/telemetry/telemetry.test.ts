import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Effect } from "effect"
import { program } from "./program.ts"

it.live("spans, metrics and logs reach a collector, tied together by the conversation", () =>
  Effect.gen(function* () {
    const { logs, metrics, spans } = yield* program
    const named = (name: string) => {
      const [span, ...others] = spans.filter((span) => span.name === name)
      assert.ok(span !== undefined && others.length === 0, `one span ${name} among ${spans.map(({ name }) => name).join(", ")}`)
      return span
    }
    const handled = ["PlaceOrder", "OrderPlaced", "ShipOrder"].map((type) => named(`process ${type}`))
    assert.deepEqual(
      handled.map(({ parent }) => parent),
      [named("POST /orders").id, ...handled.slice(0, -1).map(({ id }) => id)]
    )
    for (const { attributes } of handled) assert.equal(attributes["messaging.message.conversation_id"], "order-1")
    assert.equal(named("publish shop").attributes["messaging.batch.message_count"], "1")
    for (const name of [
      "eventfold_bus_messages",
      "eventfold_bus_handler_duration",
      "eventfold_units_of_work",
      "eventfold_relay_published_messages"
    ]) {
      assert.ok(metrics.has(name), name)
    }
    assert.deepEqual(
      logs.map(({ attributes, message }) => [message, attributes["correlationId"]]),
      [["packing", "order-1"]]
    )
  })
)
