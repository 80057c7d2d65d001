/** A program elsewhere: it knows the commands and the address, and calls them as if they were here. */
import { Effect, Layer } from "effect"
import { FetchHttpClient } from "effect/http"
import { RpcClient, RpcSerialization } from "effect/rpc"
import { AccountId, Bank } from "./api.ts"

export const connection = (url: string) =>
  RpcClient.layerProtocolHttp({ url: `${url}/bank` }).pipe(
    Layer.provide(FetchHttpClient.layer),
    Layer.provide(RpcSerialization.layerJson)
  )

export const program = Effect.gen(function* () {
  const bank = yield* RpcClient.make(Bank)
  const account = AccountId.make("ada")
  const { balance } = yield* bank.Deposit({ account, amount: 100 })
  // The errors of the command and of the commit are typed here as they are beside the bus; so are those of the connection.
  const refused = yield* bank.Withdraw({ account, amount: 130 }).pipe(
    Effect.map(() => "withdrawn"),
    Effect.catchTag("Overdrawn", ({ missing }) => Effect.succeed(`${missing} missing`)),
    Effect.catchTag("OptimisticLockError", () => Effect.succeed("somebody else was faster: try again"))
  )
  return { balance, refused }
})
