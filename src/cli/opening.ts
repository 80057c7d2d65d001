/** Opens what a verb is about. What it takes is loaded when it is known: who has one driver alone can use it. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Rpcs } from "./client.ts"
import { type CliFailure, unreachable } from "./failure.ts"
import type { Target } from "./target.ts"

/** The client of a running program, over HTTP. */
const openHttp = Effect.fnUntraced(function* (url: string) {
  const [FetchHttpClient, RpcClient, RpcSerialization, { Operations }] = yield* Effect.promise(() =>
    Promise.all([
      import("effect/http/FetchHttpClient"),
      import("effect/rpc/RpcClient"),
      import("effect/rpc/RpcSerialization"),
      import("../operate/Operations.ts")
    ])
  )
  const protocol = RpcClient.layerProtocolHttp({ url }).pipe(
    Layer.provide(Layer.merge(FetchHttpClient.layer, RpcSerialization.layerNdjson))
  )
  return yield* Effect.provide(RpcClient.make(Operations), yield* Layer.build(protocol))
})

/** What answers for a target. */
export const open = (target: Target): Effect.Effect<Rpcs, CliFailure, Scope.Scope> =>
  target.kind === "http" ? openHttp(target.url) : Effect.fail(unreachable("not yet"))
