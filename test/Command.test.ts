import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Rpc, RpcGroup, RpcTest } from "effect/rpc"
import { Command } from "eventfold"
import { ada, Overdrawn, Withdraw } from "./support/bank.ts"

describe("Command", () => {
  it("is an Rpc definition", () => {
    assert.ok(Rpc.isRpc(Withdraw))
    assert.equal(Withdraw._tag, "Withdraw")
    assert.deepEqual(Schema.decodeUnknownSync(Withdraw.payloadSchema)({ account: "ada", amount: 5 }), {
      account: "ada",
      amount: 5
    })
    assert.throws(() => Schema.decodeUnknownSync(Withdraw.payloadSchema)({ account: "", amount: 5 }))
    assert.deepEqual(
      Schema.decodeUnknownSync(Withdraw.errorSchema)({ _tag: "Overdrawn", missing: 1 }),
      new Overdrawn({ missing: 1 })
    )
  })

  it("has no payload, no result and no error by default; a payload may be any Schema", () => {
    const Tick = Command.make("Tick")
    assert.deepEqual([Tick.payloadSchema, Tick.successSchema, Tick.errorSchema], [Schema.Void, Schema.Void, Schema.Never])
    assert.equal(Command.make("Say", { payload: Schema.String }).payloadSchema, Schema.String)
  })

  it.effect("can be served as it is", () =>
    Effect.gen(function* () {
      // given a server of commands, as effect/rpc makes one
      const Group = RpcGroup.make(Withdraw)
      const handlers = Group.toLayer({
        Withdraw: ({ amount }) =>
          amount > 10 ? Effect.fail(new Overdrawn({ missing: amount - 10 })) : Effect.succeed(10 - amount)
      })
      const client = yield* Effect.provide(RpcTest.makeClient(Group), handlers)
      // then success and error come back typed
      assert.equal(yield* client.Withdraw({ account: ada, amount: 4 }), 6)
      assert.deepEqual(yield* Effect.flip(client.Withdraw({ account: ada, amount: 14 })), new Overdrawn({ missing: 4 }))
    })
  )
})
