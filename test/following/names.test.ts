import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as names from "../../src/following/names.ts"

describe("the names of checkpoints", () => {
  it("are what 0.1.0 has stored", () => {
    assert.deepEqual(
      [
        names.subscriptionCheckpoint("mails"),
        names.partitionCheckpoint("mails", 2, 4),
        names.seatCheckpoint("mails", 4),
        names.relayCheckpoint("shop"),
        names.deadlinesCheckpoint("Payment"),
        names.subscriptionCheckpoint(names.processName("Payment")),
        names.projectionName("balances", 3),
        names.subscriptionCheckpoint(names.projectionName("balances", 3))
      ],
      [
        "subscription:mails",
        "subscription:mails:2/4",
        "subscription:mails:join/4",
        "relay:shop",
        "deadlines:Payment",
        "subscription:process:Payment",
        "projection:balances@3",
        "subscription:projection:balances@3"
      ]
    )
  })

  it("tell what they are for", () => {
    for (const [name, parsed] of [
      ["subscription:a", { _tag: "Subscription", name: "a" }],
      ["subscription:a:1/2/3", { _tag: "Subscription", name: "a:1/2/3" }],
      ["subscription:a:x/4", { _tag: "Subscription", name: "a:x/4" }],
      ["subscription:a:join/x", { _tag: "Subscription", name: "a:join/x" }],
      ["subscription:", { _tag: "Subscription", name: "" }],
      ["subscriptions:a", { _tag: "Other", name: "subscriptions:a" }],
      ["nightly", { _tag: "Other", name: "nightly" }]
    ] as const) {
      assert.deepEqual(names.parseCheckpoint(name), parsed)
    }
  })

  const Text = Schema.String.check(Schema.isPattern(/^[^@/]*$/))
  const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1000 }))

  it.prop("are read back as what they were made of, whatever is in them", [Text, Count, Count], ([name, index, count]) => {
    for (const [made, parsed] of [
      [names.subscriptionCheckpoint(name), { _tag: "Subscription", name }],
      [names.partitionCheckpoint(name, index, count), { _tag: "Partition", name, index, count }],
      [names.seatCheckpoint(name, count), { _tag: "Seat", name, count }],
      [names.relayCheckpoint(name), { _tag: "Relay", name }],
      [names.deadlinesCheckpoint(name), { _tag: "Deadlines", process: name }],
      [
        names.subscriptionCheckpoint(names.projectionName(name, count)),
        { _tag: "Subscription", name: `projection:${name}@${count}` }
      ]
    ] as const) {
      assert.deepEqual(names.parseCheckpoint(made), parsed)
    }
  })
})
