/** The routes of operations: HTTP for programs, a WebSocket for pages, and the exchange of a token for a cookie. */
import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import type { Headers } from "effect/http/Headers"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Schema from "effect/Schema"
import { Authentication, Operator } from "../contract/authentication.ts"
import type { UnauthorizedError } from "../contract/errors.ts"
import { Operations } from "../Operations.ts"
import { guarded, longestBody } from "./guard.ts"
import { cookie, makeTokens, type TokenOperator, type Tokens } from "./tokens.ts"

/** How long a page stays logged in, in seconds. */
const cookieAge = 12 * 60 * 60

/** Says whose a request is by its headers. */
const authenticationBy = (of: (headers: Headers) => Effect.Effect<Operator["Service"], UnauthorizedError>) =>
  Layer.succeed(Authentication, (effect, { headers }) =>
    Effect.flatMap(of(headers), (operator) => Effect.provideService(effect, Operator, operator))
  )

/** Operators by their tokens. */
export const layerTokens = (operators: ReadonlyArray<TokenOperator>): Layer.Layer<Authentication> =>
  Layer.unwrap(Effect.map(makeTokens(operators), ({ of }) => authenticationBy(of))).pipe(Layer.provide(Digest.layerWebCrypto))

const Login = Schema.Struct({ token: Schema.String })

/** Gives a page its cookie for a token, which a page cannot send with a WebSocket. */
const login = (tokens: Tokens, path: string) =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const { token } = yield* HttpServerRequest.schemaBodyJson(Login)
    const value = yield* tokens.cookieFor(token)
    if (value === undefined) return HttpServerResponse.empty({ status: 401 })
    const secure = request.headers["origin"]?.startsWith("https:") === true
    return HttpServerResponse.setCookieUnsafe(HttpServerResponse.empty({ status: 204 }), cookie, value, {
      httpOnly: true,
      sameSite: "strict",
      path,
      secure,
      maxAge: cookieAge * 1000
    })
  }).pipe(Effect.catch(() => Effect.succeed(HttpServerResponse.empty({ status: 400 }))))

const logout = (path: string) =>
  HttpServerResponse.setCookieUnsafe(HttpServerResponse.empty({ status: 204 }), cookie, "", {
    httpOnly: true,
    sameSite: "strict",
    path,
    maxAge: 0
  })

/** Adds the routes to the router. */
export const addRoutes = Effect.fnUntraced(function* (options: {
  readonly path: `/${string}`
  readonly hosts: ReadonlyArray<string> | undefined
  readonly tokens: ReadonlyArray<TokenOperator>
}) {
  const { hosts, path } = options
  const router = yield* HttpRouter.HttpRouter
  const quiet = { disableTracing: true, disableFatalDefects: true }
  const http = yield* RpcServer.toHttpEffect(Operations, quiet)
  const socket = yield* RpcServer.toHttpEffectWebsocket(Operations, quiet)
  yield* router.add("POST", `${path}/rpc`, guarded(hosts, http))
  yield* router.add("GET", `${path}/socket`, guarded(hosts, socket))
  if (options.tokens.length === 0) return
  const tokens = yield* Effect.provide(makeTokens(options.tokens), Digest.layerWebCrypto)
  yield* router.add("POST", `${path}/login`, guarded(hosts, login(tokens, path)))
  yield* router.add("POST", `${path}/logout`, guarded(hosts, Effect.succeed(logout(path))))
})

/**
 * What is sent: one JSON document a line, so that streams can be read as they come. A line of a WebSocket that is longer than a request may
 * be closes it (1009).
 */
export const serialization = Layer.succeed(
  RpcSerialization.RpcSerialization,
  RpcSerialization.makeNdjson({ maxBufferSize: longestBody })
)
