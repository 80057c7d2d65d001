import { createServer, request } from "node:http"
import { NodeHttpServer, NodeSocket } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Stream } from "effect"
import { FetchHttpClient, HttpRouter, HttpServer } from "effect/http"
import { RpcClient, RpcSerialization } from "effect/rpc"
import { Checkpoints, EventStore } from "eventfold"
import { Operate, Operations } from "eventfold/operate"

const token = "a token of some length"

/** A server with operations, and its port. */
const serve = Effect.fnUntraced(function* (options: Operate.ServeOptions<readonly []>) {
  const server = HttpRouter.serve(Operate.layer(options), { disableListenLog: true }).pipe(
    Layer.provideMerge(NodeHttpServer.layer(() => createServer(), { port: 0, host: "127.0.0.1" })),
    Layer.provideMerge(Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory))
  )
  const context = yield* Layer.build(Layer.fresh(server))
  const { address } = Context.get(context, HttpServer.HttpServer)
  const port = address._tag === "UnixPathAddress" ? 0 : address.port
  yield* Context.get(context, EventStore.EventStore).append("Order-1", [{ type: "Placed", payload: { who: "greta" } }])
  return port
})

/** What the server answers to raw headers: nothing in between sets them right. */
const ask = (port: number, path: string, headers: Record<string, string>, method = "POST", body = "") =>
  Effect.callback<{ readonly status: number; readonly headers: Record<string, unknown> }>((resume) => {
    const sent = request({ host: "127.0.0.1", port, path, method, headers, setHost: false }, (response) => {
      response.resume()
      response.on("end", () => resume(Effect.succeed({ status: response.statusCode ?? 0, headers: response.headers })))
    })
    sent.on("upgrade", (response, socket) => {
      socket.destroy()
      resume(Effect.succeed({ status: response.statusCode ?? 0, headers: response.headers }))
    })
    sent.on("error", () => resume(Effect.succeed({ status: 0, headers: {} })))
    sent.end(body)
  })

const ndjson = { "content-type": "application/x-ndjson" }
const upgrade = {
  connection: "Upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="
}

const client = <E>(protocol: Layer.Layer<RpcClient.Protocol, E, RpcSerialization.RpcSerialization>) =>
  Effect.flatMap(Layer.build(Layer.provide(protocol, RpcSerialization.layerNdjson)), (context) =>
    Effect.provideContext(RpcClient.make(Operations.Operations), context)
  )

const overHttp = (port: number) =>
  client(RpcClient.layerProtocolHttp({ url: `http://127.0.0.1:${port}/operate/rpc` }).pipe(Layer.provide(FetchHttpClient.layer)))

const overSocket = (port: number) =>
  client(RpcClient.layerProtocolSocket().pipe(Layer.provide(NodeSocket.layerWebSocket(`ws://127.0.0.1:${port}/operate/socket`))))

describe("operations over HTTP", () => {
  it.live("answer to this machine, over HTTP and over a WebSocket", () =>
    Effect.gen(function* () {
      const port = yield* serve({})
      for (const client of [yield* overHttp(port), yield* overSocket(port)]) {
        const overview = yield* client.Overview({})
        assert.deepStrictEqual(
          [overview.head, overview.operator, overview.mayAct, overview.payloads],
          [1, "local", false, "masked"]
        )
        const [events] = yield* client.Tail({ after: 0 }).pipe(Stream.take(1), Stream.runCollect)
        assert.deepStrictEqual(
          events?.map(({ payload }) => payload),
          [{ _tag: "Shown", value: { who: "•••" }, masked: ["/who"] }]
        )
        const refused = yield* Effect.flip(
          Stream.runDrain(client.Act({ id: "1", act: { _tag: "Pause", follower: "subscription:mails" } }))
        )
        assert.strictEqual(refused._tag, "NotAllowedError")
      }
    })
  )

  it.live("refuse what another page could send", () =>
    Effect.gen(function* () {
      const port = yield* serve({})
      const host = `127.0.0.1:${port}`
      const statusOf = (headers: Record<string, string>, path = "/operate/rpc", method = "POST") =>
        Effect.map(ask(port, path, headers, method), ({ status }) => status)
      assert.strictEqual(yield* statusOf({ host, ...ndjson }), 200)
      assert.strictEqual(yield* statusOf({ host: `localhost:${port}`, origin: `http://localhost:${port}`, ...ndjson }), 200)
      const bad: ReadonlyArray<Record<string, string>> = [
        { host: "evil.example", ...ndjson },
        { host: `127.0.0.1.evil.example:${port}`, ...ndjson },
        { host: `evil.example@127.0.0.1:${port}`, ...ndjson },
        { host, origin: "https://evil.example", ...ndjson },
        { host, origin: "null", ...ndjson },
        { host, origin: `http://localhost:${port}`, ...ndjson },
        { host, "sec-fetch-site": "cross-site", ...ndjson },
        { host, "sec-fetch-site": "same-site", ...ndjson },
        { host, "content-type": "text/plain" },
        { host, "content-type": "multipart/form-data" },
        { host }
      ]
      for (const headers of bad) assert.strictEqual(yield* statusOf(headers), 403, JSON.stringify(headers))
      assert.strictEqual(yield* statusOf({ host, ...upgrade }, "/operate/socket", "GET"), 101)
      for (const extra of [
        { host: "evil.example" },
        { host, origin: "https://evil.example" },
        { host, "sec-fetch-site": "cross-site" }
      ]) {
        assert.strictEqual(yield* statusOf({ ...upgrade, ...extra }, "/operate/socket", "GET"), 403)
      }
    })
  )

  it.live("know operators by their tokens, and by the cookie that a page gets for one", () =>
    Effect.gen(function* () {
      const port = yield* serve({
        acts: true,
        hosts: ["ops.example.org"],
        authentication: [
          { name: "ada", token: Redacted.make(token), mayAct: true, payloads: "shown" },
          { name: "eve", token: Redacted.make(`${token} of another`) }
        ]
      })
      const operatorBy = (client: Effect.Success<ReturnType<typeof overHttp>>, headers: Record<string, string> = {}) =>
        client.Overview({}).pipe(
          RpcClient.withHeaders(headers),
          Effect.map(({ mayAct, operator, payloads }) => [operator, mayAct, payloads] as const),
          Effect.catchTag("UnauthorizedError", ({ _tag }) => Effect.succeed([_tag]))
        )
      for (const client of [yield* overHttp(port), yield* overSocket(port)]) {
        assert.deepStrictEqual(yield* operatorBy(client, { authorization: `Bearer ${token}` }), ["ada", true, "shown"])
        assert.deepStrictEqual(yield* operatorBy(client, { authorization: `Bearer ${token} of another` }), [
          "eve",
          false,
          "masked"
        ])
        for (const wrong of [`Bearer ${token}x`, "Bearer ", token]) {
          assert.deepStrictEqual(yield* operatorBy(client, { authorization: wrong }), ["UnauthorizedError"])
        }
        assert.deepStrictEqual(yield* operatorBy(client), ["UnauthorizedError"])
      }
      const json = { host: `ops.example.org:${port}`, "content-type": "application/json" }
      const login = (given: string) => ask(port, "/operate/login", json, "POST", JSON.stringify({ token: given }))
      assert.strictEqual((yield* login("wrong")).status, 401)
      assert.strictEqual((yield* ask(port, "/operate/login", json, "POST", "{")).status, 400)
      const { headers, status } = yield* login(token)
      assert.strictEqual(status, 204)
      const [cookie = ""] = headers["set-cookie"] as ReadonlyArray<string>
      assert.match(cookie, /HttpOnly/)
      assert.match(cookie, /SameSite=Strict/)
      assert.notInclude(cookie, token)
      const pair = cookie.split(";")[0] ?? ""
      assert.deepStrictEqual(yield* operatorBy(yield* overHttp(port), { cookie: pair }), ["ada", true, "shown"])
      assert.deepStrictEqual(yield* operatorBy(yield* overHttp(port), { cookie: `${pair}0` }), ["UnauthorizedError"])
    })
  )

  it.live("read no more of a request than a request has, and of what is refused nothing", () =>
    Effect.gen(function* () {
      const port = yield* serve({
        hosts: ["ops.example.org"],
        authentication: [{ name: "ada", token: Redacted.make(token) }]
      })
      const host = `127.0.0.1:${port}`
      // It never ends by itself: who is not refused until it has come whole would not be answered.
      const pour = (headers: Record<string, string>, path = "/operate/rpc") =>
        Effect.callback<{ readonly status: number; readonly body: string; readonly sent: number }>((resume) => {
          let sent = 0
          let body = ""
          const poured = request({ host: "127.0.0.1", port, path, method: "POST", headers, setHost: false }, (response) => {
            response.on("data", (chunk: Buffer) => (body += chunk.toString()))
            response.on("end", () => {
              poured.destroy()
              resume(Effect.succeed({ status: response.statusCode ?? 0, body, sent }))
            })
          })
          poured.on("error", () => undefined)
          const chunk = "x".repeat(65_536)
          const more = () => {
            sent += chunk.length
            if (!poured.destroyed) poured.write(chunk, more)
          }
          more()
          return Effect.sync(() => poured.destroy())
        }).pipe(Effect.timeout("20 seconds"))
      for (const path of ["/operate/rpc", "/operate/login"]) {
        const { body, status } = yield* pour({ host, ...ndjson, "transfer-encoding": "chunked" }, path)
        assert.strictEqual(status, 413, path)
        assert.deepInclude(JSON.parse(body), { _tag: "InvalidRequestError" })
      }
      const said = yield* pour({ host, ...ndjson, "content-length": String(1e12) })
      assert.strictEqual(said.status, 413)
      // Who it is comes first.
      const foreign = yield* pour({ host: "evil.example", ...ndjson, "transfer-encoding": "chunked" })
      assert.strictEqual(foreign.status, 403)
      const large = "x".repeat(1024 * 1024 - 100)
      assert.strictEqual(
        (yield* ask(port, "/operate/rpc", { host, ...ndjson }, "POST", `${JSON.stringify(large)}\n`)).status,
        200
      )
    })
  )

  it.live("close a WebSocket whose line does not end", () =>
    Effect.gen(function* () {
      const port = yield* serve({})
      const code = yield* Effect.callback<number>((resume) => {
        const socket = new WebSocket(`ws://127.0.0.1:${port}/operate/socket`)
        const chunk = "x".repeat(65_536)
        socket.addEventListener("open", () => {
          for (let sent = 0; sent <= 1024 * 1024; sent += chunk.length) socket.send(chunk)
        })
        socket.addEventListener("close", ({ code }) => resume(Effect.succeed(code)))
        return Effect.sync(() => socket.close())
      }).pipe(Effect.timeout("20 seconds"))
      assert.strictEqual(code, 1009)
    })
  )
})
