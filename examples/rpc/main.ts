/**
 * Commands over the network: `npm run example:rpc`. Server and client are in one process here, with HTTP between them. With `-- --serve` it
 * goes on serving, for the `curl` line that it prints.
 */
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"
import { HttpServer } from "effect/http"
import { createServer } from "node:http"
import * as Client from "./client.ts"
import * as Server from "./server.ts"

const Http = NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 })

const main = Effect.gen(function* () {
  const { address } = yield* HttpServer.HttpServer
  const url = HttpServer.formatAddress(address)
  yield* Console.log(`The bank listens at ${url}.`)
  const { balance, refused } = yield* Effect.provide(Effect.scoped(Client.program), Client.connection(url))
  yield* Console.log(`Ada pays 100 in. Her balance is ${balance}.`)
  yield* Console.log(`She asks for 130 and hears: ${refused}.`)
  yield* Console.log(`The same by hand, while the server runs (npm run example:rpc -- --serve):

curl ${url}/bank -H 'content-type: application/json' -H 'authorization: Bearer token of ada' -H 'idempotency-key: deposit-2' \\
  -d '{"_tag":"Request","id":"1","tag":"Deposit","payload":{"account":"ada","amount":5},"headers":[]}'`)
  if (process.argv.includes("--serve")) yield* Effect.never
})

NodeRuntime.runMain(Effect.provide(main, Layer.provideMerge(Server.layer, Http)))
