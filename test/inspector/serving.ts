/** The page and the operations of a program, served as users' programs serve them; and a shop to look at. */
import { NodeFileSystem, NodeHttpServer, NodePath } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { HttpRouter, HttpServerResponse, HttpStaticServer } from "effect/http"
import { RpcSerialization, RpcServer } from "effect/rpc"
import { Operations } from "eventfold/operate"
import { createServer } from "node:http"

const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

const Headers = HttpRouter.middleware(
  (effect) =>
    Effect.map(effect, HttpServerResponse.setHeaders({
      "content-security-policy": policy,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-resource-policy": "same-origin"
    })),
  { global: true }
)

export const serve = (root: string, port: number) =>
  HttpRouter.serve(
    Layer.mergeAll(
      RpcServer.layerHttp({ group: Operations.Operations, path: "/rpc", protocol: "websocket", disableTracing: true }),
      HttpStaticServer.layer({ root }),
      Headers
    ).pipe(Layer.provide(RpcSerialization.layerNdjson)),
    { disableLogger: true, disableListenLog: true }
  ).pipe(
    Layer.provide(NodeHttpServer.layer(() => createServer(), { port, host: "127.0.0.1" })),
    Layer.provide([NodeFileSystem.layer, NodePath.layer])
  )
