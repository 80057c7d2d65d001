/** A program elsewhere, in a browser say: it knows the commands and the address, and calls them as if they were here. */
import { Effect, Layer, Schedule } from "effect"
import { FetchHttpClient } from "effect/http"
import { RpcClient, RpcSerialization } from "effect/rpc"
import { AccountId, Bank } from "./api.ts"

export const connection = (url: string) =>
  RpcClient.layerProtocolHttp({ url: `${url}/bank` }).pipe(
    Layer.provide(FetchHttpClient.layer),
    Layer.provide(RpcSerialization.layerJson)
  )

/** The headers of a call: who calls, and the name of the execution, under which it may be repeated. */
export const headers = (token: string, key: string) => ({ authorization: `Bearer ${token}`, "idempotency-key": key })

export const program = Effect.gen(function* () {
  const bank = yield* RpcClient.make(Bank)
  const account = AccountId.make("ada")
  // Whatever becomes of an answer on its way, the call is repeated under its id, and takes effect once.
  const deposit = bank
    .Deposit({ account, amount: 100 }, { headers: headers("token of ada", "deposit-1") })
    .pipe(Effect.retry({ times: 5, schedule: Schedule.exponential("100 millis"), while: ({ _tag }) => _tag !== "Unauthorized" }))
  yield* deposit
  const { balance } = yield* deposit
  // The errors of the command are typed here as they are beside the bus; so are those of the service and of the connection.
  const refused = yield* bank.Withdraw({ account, amount: 130 }, { headers: headers("token of ada", "withdraw-1") }).pipe(
    Effect.map(() => "withdrawn"),
    Effect.catchTag("Overdrawn", ({ missing }) => Effect.succeed(`${missing} missing`)),
    Effect.catchTag("CommandFailure", ({ isRetryable }) => Effect.succeed(isRetryable ? "try again" : "a pity"))
  )
  return { balance, refused }
})
