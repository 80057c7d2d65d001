import assert from "node:assert/strict"
import { NodeHttpServer } from "@effect/platform-node"
import { it } from "@effect/vitest"
import { Effect, Layer, Result } from "effect"
import { HttpServer } from "effect/http"
import { RpcClient } from "effect/rpc"
import { createServer } from "node:http"
import { AccountId, Bank, Overdrawn } from "./api.ts"
import * as Client from "./client.ts"
import * as Server from "./server.ts"

const Service = Layer.provideMerge(Server.layer, NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 }))

const withClient = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { address } = yield* HttpServer.HttpServer
    return yield* Effect.provide(Effect.scoped(effect), Client.connection(HttpServer.formatAddress(address)))
  }).pipe(Effect.provide(Service))

it.live("a command travels over HTTP; its result and its typed error come back", () =>
  Effect.gen(function* () {
    assert.deepEqual(yield* withClient(Client.program), { balance: 100, refused: "30 missing" })
  })
)

it.live("an error is the class that the handler failed with, and the commit's errors are among them", () =>
  withClient(
    Effect.gen(function* () {
      const bank = yield* RpcClient.make(Bank)
      const refused = yield* Effect.result(bank.Withdraw({ account: AccountId.make("ben"), amount: 5 }))
      assert.ok(Result.isFailure(refused) && refused.failure instanceof Overdrawn)
      assert.equal(refused.failure.missing, 5)
      const tooLong = yield* Effect.result(bank.Deposit({ account: AccountId.make("x".repeat(300)), amount: 5 }))
      assert.ok(Result.isFailure(tooLong))
      assert.equal(tooLong.failure._tag, "AggregateIdError")
    })
  )
)
