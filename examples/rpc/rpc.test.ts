import assert from "node:assert/strict"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { NodeHttpServer } from "@effect/platform-node"
import { it } from "@effect/vitest"
import { Effect, Layer, Result, Schema, Stream } from "effect"
import { HttpServer } from "effect/http"
import { RpcClient } from "effect/rpc"
import { Command, EventStore } from "eventfold"
import { createServer } from "node:http"
import { rolldown } from "rolldown"
import { AccountId, Bank, Overdrawn, Unauthorized } from "./api.ts"
import * as Client from "./client.ts"
import * as Server from "./server.ts"

const Service = Layer.provideMerge(Server.layer, NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 }))

const url = Effect.map(HttpServer.HttpServer, ({ address }) => HttpServer.formatAddress(address))

const withClient = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    return yield* Effect.provide(Effect.scoped(effect), Client.connection(yield* url))
  }).pipe(Effect.provide(Service))

const ada = AccountId.make("ada")
const recorded = Effect.map(Stream.runCollect(EventStore.readAll({ filter: { categories: ["Account"] } })), (events) =>
  events.map(({ metadata, type }) => [type, metadata["by"]])
)

it.live("a command travels over HTTP, takes effect once under its id, and its typed error comes back", () =>
  withClient(
    Effect.gen(function* () {
      assert.deepEqual(yield* Client.program, { balance: 100, refused: "30 missing" })
      assert.deepEqual(yield* recorded, [["Deposited", "ada"]])
    })
  )
)

it.live("an error is the class that the handler failed with; what the service comes to is a CommandFailure", () =>
  withClient(
    Effect.gen(function* () {
      const bank = yield* RpcClient.make(Bank)
      const refused = yield* Effect.result(
        bank.Withdraw({ account: ada, amount: 5 }, { headers: Client.headers("token of ben", "1") })
      )
      assert.ok(Result.isFailure(refused) && refused.failure instanceof Overdrawn)
      assert.equal(refused.failure.missing, 5)
      const tooLong = AccountId.make("x".repeat(300))
      const invalid = yield* Effect.flip(
        bank.Deposit({ account: tooLong, amount: 5 }, { headers: Client.headers("token of ben", "2") })
      )
      assert.ok(invalid instanceof Command.CommandFailure)
      assert.deepEqual([invalid.kind, invalid.status], ["invalid", 400])
    })
  )
)

it.live("who calls stands in the metadata of each event; a stranger is refused; two callers may use one id", () =>
  withClient(
    Effect.gen(function* () {
      const bank = yield* RpcClient.make(Bank)
      const pay = (token: string, amount: number) =>
        bank.Deposit({ account: ada, amount }, { headers: Client.headers(token, "same") })
      assert.ok((yield* Effect.flip(pay("token of a stranger", 1))) instanceof Unauthorized)
      assert.deepEqual(yield* pay("token of ada", 1), { balance: 1 })
      assert.deepEqual(yield* pay("token of ben", 2), { balance: 3 })
      assert.deepEqual(yield* pay("token of ada", 1), { balance: 1 })
      const reused = yield* Effect.flip(pay("token of ada", 7))
      assert.ok(reused instanceof Command.CommandFailure && reused.kind === "invalid" && reused.path === "id")
      assert.deepEqual(yield* recorded, [
        ["Deposited", "ada"],
        ["Deposited", "ben"]
      ])
    })
  )
)

it.live("the line for curl does the same", () =>
  Effect.gen(function* () {
    const at = yield* url
    const call = Effect.promise(() =>
      fetch(`${at}/bank`, {
        method: "POST",
        headers: { "content-type": "application/json", ...Client.headers("token of ada", "deposit-2") },
        body: JSON.stringify({ _tag: "Request", id: "1", tag: "Deposit", payload: { account: "ada", amount: 5 }, headers: [] })
      }).then((response) => response.json())
    )
    const Answer = Schema.Struct({ exit: Schema.Struct({ _tag: Schema.Literal("Success"), value: Schema.Unknown }) })
    for (const _ of [1, 2]) {
      const [answer] = Schema.decodeUnknownSync(Schema.Array(Answer))(yield* call)
      assert.deepEqual(answer?.exit.value, { balance: 5 })
    }
  }).pipe(Effect.provide(Service))
)

it.live("a browser gets the commands and nothing of the server", () =>
  Effect.promise(async () => {
    const here = fileURLToPath(new URL(".", import.meta.url))
    const build = await rolldown({
      input: join(here, "client.ts"),
      platform: "browser",
      logLevel: "silent",
      resolve: { conditionNames: ["@eventfold/source", "import", "default"] }
    })
    const { output } = await build.generate({ format: "esm", minify: true, codeSplitting: false })
    await build.close()
    const [chunk] = output
    const modules = Object.entries(chunk.modules).flatMap(([id, { renderedLength }]) => (renderedLength === 0 ? [] : [id]))
    const ours = modules.filter((id) => !id.includes("node_modules")).map((id) => id.replace(/^.*\/(src|examples)\//, "$1/"))
    assert.deepEqual(ours.toSorted(), ["examples/rpc/api.ts", "examples/rpc/client.ts", "src/definitions/Command.ts"])
    assert.deepEqual(
      modules.filter((id) => /RpcServer|HttpRouter|HttpServer|\/sql\//.test(id)),
      []
    )
    assert.deepEqual(chunk.imports, [])
    assert.doesNotMatch(chunk.code, /["']node:|token of ada"?:/)
  })
)
