/** Opens what a verb speaks to. What it takes is loaded when it is known: looking at a file loads no driver of a server. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { userInfo } from "node:os"
import type { Rpcs } from "./client.ts"
import type { Who } from "./connect.ts"
import { asFailure, type CliFailure, unreachable } from "./failure.ts"
import { loadModule, type Module } from "./modules.ts"
import { orUnreachable, type Services, storeLayer } from "./stores.ts"
import type { Target } from "./target.ts"

/** Where a program serves its operations, and the token that is sent: that of the URL, or `EVENTFOLD_TOKEN`. */
const placeOf = (text: string) => {
  const url = new URL(text)
  const token = decodeURIComponent(url.password) || process.env["EVENTFOLD_TOKEN"] || ""
  const path = url.pathname === "/" ? "/operate" : url.pathname.replace(/\/$/, "")
  return { url: `${url.origin}${path}/rpc`, token }
}

/** The client of a running program, over HTTP. */
const openHttp = Effect.fnUntraced(function* (text: string) {
  const { token, url } = placeOf(text)
  const [HttpClient, HttpClientRequest, FetchHttpClient, RpcClient, RpcSerialization, { Operations, protocol }] =
    yield* Effect.promise(() =>
      Promise.all([
        import("effect/http/HttpClient"),
        import("effect/http/HttpClientRequest"),
        import("effect/http/FetchHttpClient"),
        import("effect/rpc/RpcClient"),
        import("effect/rpc/RpcSerialization"),
        import("../operate/Operations.ts")
      ])
    )
  const layer = RpcClient.layerProtocolHttp({
    url,
    transformClient: (client) => (token === "" ? client : HttpClient.mapRequest(client, HttpClientRequest.bearerToken(token)))
  }).pipe(Layer.provide(Layer.merge(FetchHttpClient.layer, RpcSerialization.layerNdjson)))
  const rpcs = yield* Effect.provide(RpcClient.make(Operations), yield* Layer.build(layer))
  return { rpcs, protocol }
})

/** Who acts, as it is recorded: the user of this machine, if it knows one (a container may not). */
const operatorName = (): string => {
  try {
    return userInfo().username
  } catch {
    return "eventfold"
  }
}

/** The operations in this process, over the services of a Layer. */
const openHere = Effect.fnUntraced(function* (
  services: Layer.Layer<Services, CliFailure>,
  registered: Pick<Module, "aggregates" | "processes" | "projections">,
  access: "look" | "act",
  { name, payloads }: Who
) {
  const [{ Operate, Operations }, RpcTest] = yield* Effect.promise(() =>
    Promise.all([import("../operate/index.ts"), import("effect/rpc/RpcTest")])
  )
  const acts = access === "act"
  const handlers = Operate.layerHandlers({ ...registered, acts }) as Layer.Layer<
    Layer.Success<ReturnType<typeof Operate.layerHandlers>>,
    unknown,
    Services
  >
  const layer = Layer.provide(orUnreachable(handlers), services)
  const operator = Operate.layerOperator({ name, mayAct: acts, payloads })
  // The client of a group beside its handlers: it is called so for what it is mostly used for.
  return yield* Effect.provide(RpcTest.makeClient(Operations.Operations), yield* Layer.build(Layer.merge(layer, operator)))
})

/** What answers for a target. */
export const open = (
  target: Target,
  access: "look" | "act",
  who: Who = { name: operatorName(), payloads: "shown" }
): Effect.Effect<Rpcs, CliFailure, Scope.Scope> =>
  Effect.gen(function* () {
    if (target.kind === "http") {
      const { protocol, rpcs } = yield* openHttp(target.url)
      const { library, protocol: theirs } = yield* Effect.mapError(rpcs.Overview({}), asFailure)
      return theirs === protocol
        ? rpcs
        : yield* unreachable(
            `It answers by protocol ${theirs}, of eventfold ${library}; this is ${protocol}: use the command line of that version.`
          )
    }
    if (target.kind === "module") {
      const module = yield* loadModule(target.url)
      return yield* openHere(yield* module.layer, module, access, who)
    }
    return yield* openHere(yield* storeLayer(target, access), { aggregates: [], processes: [], projections: [] }, access, who)
  })
