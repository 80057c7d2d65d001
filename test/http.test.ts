import assert from "node:assert/strict"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { NodeHttpServer } from "@effect/platform-node"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Schema, Stream } from "effect"
import { FetchHttpClient, HttpRouter, HttpServer, HttpServerRequest } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiClient, HttpApiMiddleware } from "effect/http-api"
import { Command, EventStore, MessageBus, Tenants, UnitOfWork } from "eventfold"
import { CommandApi, CommandServer } from "eventfold/http"
import { createServer } from "node:http"
import { rolldown } from "rolldown"
import { AccountId, ada, Deposit, deposit } from "./support/bank.ts"
import { logs } from "./support/logs.ts"

class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { missing: Schema.Int }, { httpApiStatus: 422 }) {}
class Frozen extends Schema.TaggedError<Frozen>()("Frozen", {}, { httpApiStatus: 423 }) {}
const Withdraw = Command.make("Withdraw", {
  payload: { amount: Schema.Int },
  success: Schema.Void,
  error: Schema.Union([Overdrawn, Frozen])
})
const Halve = Command.make("Halve", { payload: { account: AccountId, amount: Schema.Int }, success: Schema.Int })
const commands = [Deposit, Withdraw, Halve] as const

class Caller extends HttpApiMiddleware.Service<Caller>()("test/Caller") {}
class Api extends HttpApi.make("shop").add(CommandApi.group("bank", commands).prefix("/bank").middleware(Caller)) {}

const Handlers = Layer.mergeAll(
  MessageBus.handle(Deposit, ({ account, amount }) => Effect.map(deposit(account, amount), ({ state }) => state.balance)),
  MessageBus.handle(Halve, ({ account, amount }) => Effect.map(deposit(account, amount), ({ state }) => state.balance / 2)),
  MessageBus.handle(Withdraw, ({ amount }) =>
    amount === 0 ? Effect.fail(new Frozen()) : Effect.fail(new Overdrawn({ missing: amount }))
  )
)

const secret = "postgres://admin:hunter2@10.0.0.7:5432/bank"
const reason = { operation: "append", detail: secret }

const serve = (append: Iterable<EventStore.Fault> = []) => {
  const Routes = HttpApiBuilder.layer(Api).pipe(
    Layer.provide(CommandServer.layer(Api, "bank", commands)),
    Layer.provide(Layer.succeed(Caller, (call) => Effect.provideService(call, UnitOfWork.CurrentMetadata, { by: "ada" }))),
    Layer.provide(Layer.provideMerge(Handlers, MessageBus.layer)),
    Layer.provide(UnitOfWork.layer)
  )
  return HttpRouter.serve(Routes, { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provideMerge(EventStore.layerFaulty({ append })),
    Layer.provideMerge(EventStore.layerMemory),
    Layer.provideMerge(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 })),
    Layer.provideMerge(FetchHttpClient.layer)
  )
}

const url = Effect.map(HttpServer.HttpServer, ({ address }) => HttpServer.formatAddress(address))

const post = (command: string, payload: unknown, key?: string) => send(command, JSON.stringify(payload), key)

const send = (command: string, body: string, key?: string) =>
  Effect.flatMap(url, (url) =>
    Effect.promise(async () => {
      const response = await fetch(`${url}/bank/${command}`, {
        method: "POST",
        headers: { "content-type": "application/json", ...(key === undefined ? {} : { "idempotency-key": key }) },
        body
      })
      return { status: response.status, text: await response.text() }
    })
  )

/** What a failure is on the wire. */
const kindOf = (text: string) =>
  Schema.decodeUnknownSync(Schema.fromJsonString(Schema.Struct({ kind: Schema.String })))(text).kind

class Office extends Context.Service<Office, Tenants.Stores<Bus, never>>()("test/Office") {}
type Bus = Layer.Success<typeof OfTenant>
const OfTenant = Handlers.pipe(
  Layer.provideMerge(MessageBus.layer),
  Layer.provideMerge(UnitOfWork.layer),
  Layer.provideMerge(EventStore.layerMemory)
)

/** Who calls, and of which tenant. */
class Clerk extends HttpApiMiddleware.Service<Clerk, { provides: Tenants.Tenant }>()("test/Clerk") {}
class OfTenants extends HttpApi.make("tenants").add(CommandApi.group("bank", commands).prefix("/bank")).middleware(Clerk) {}

const tenants = HttpRouter.serve(
  HttpApiBuilder.layer(OfTenants).pipe(
    Layer.provide(
      CommandServer.layer(OfTenants, "bank", commands, {
        // A Layer as it would be written by hand: one that those who build at once could share.
        provide: Layer.effectContext(
          Effect.gen(function* () {
            const { id } = yield* Tenants.Tenant
            const { of } = yield* Office
            return yield* of(id)
          }).pipe(Effect.catchCause(() => Effect.fail(new Command.CommandFailure({ kind: "unavailable" }))))
        )
      })
    ),
    Layer.provide(
      Layer.succeed(Clerk, (call) =>
        Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) =>
          Effect.provideService(call, Tenants.Tenant, { id: headers["x-tenant"] ?? "" })
        )
      )
    )
  ),
  { disableLogger: true, disableListenLog: true }
).pipe(
  Layer.provide(Tenants.layerMapOf(Office, { store: () => OfTenant })),
  Layer.provideMerge(Tenants.layerRegistryMemory),
  Layer.provideMerge(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 }))
)

const sendAs = (tenant: string, payload: unknown) =>
  Effect.flatMap(url, (url) =>
    Effect.promise(async () => {
      const response = await fetch(`${url}/bank/Deposit`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-tenant": tenant },
        body: JSON.stringify(payload)
      })
      return { status: response.status, body: (await response.json()) as unknown }
    })
  )

describe("commands as endpoints of an HttpApi", () => {
  it.live("are called by a typed client, once under an id, with the caller in the metadata", () =>
    Effect.gen(function* () {
      const client = yield* HttpApiClient.make(Api, { baseUrl: yield* url })
      const pay = (amount: number) =>
        client.bank.Deposit({ payload: { account: ada, amount }, headers: { "idempotency-key": "k" } })
      assert.deepEqual([yield* pay(5), yield* pay(5)], [5, 5])
      const reused = yield* Effect.flip(pay(6))
      assert.ok(reused instanceof Command.CommandFailure)
      assert.deepEqual([reused.kind, reused.path], ["invalid", "id"])
      const own = yield* Effect.flip(client.bank.Withdraw({ payload: { amount: 3 }, headers: {} }))
      assert.deepEqual(own, new Overdrawn({ missing: 3 }))
      const events = yield* Stream.runCollect(EventStore.readAll({ filter: { categories: ["Account"] } }))
      assert.deepEqual(
        events.map(({ metadata, type }) => [type, metadata["by"]]),
        [["Deposited", "ada"]]
      )
    }).pipe(Effect.provide(serve()))
  )

  it.live("what does not fit is told with its place, whether the endpoint or the bus finds it", () =>
    Effect.gen(function* () {
      const asked = [
        yield* post("Deposit", { account: ada, amount: 1.5 }),
        yield* post("Deposit", null),
        yield* send("Deposit", "{"),
        yield* post("Deposit", { account: "a".repeat(300), amount: 1 })
      ]
      const failures = asked.map(({ text }) => Schema.decodeUnknownSync(Schema.fromJsonString(Command.CommandFailure))(text))
      assert.deepEqual(
        asked.map(({ status }) => status),
        [400, 400, 400, 400]
      )
      assert.deepEqual(
        failures.map(({ kind }) => kind),
        ["invalid", "invalid", "invalid", "invalid"]
      )
      assert.deepEqual(
        failures.slice(0, 2).map(({ path }) => path),
        ["amount", ""]
      )
      for (const { problem } of failures) assert.ok(problem !== undefined && problem !== "")
    }).pipe(Effect.provide(serve()))
  )

  it.live("a call is executed on the bus of the tenant that calls, and told so where there is none", () =>
    Effect.gen(function* () {
      yield* Effect.forEach(["acme", "globex"], (id) => Tenants.add(id, id))
      const deposits = [
        yield* sendAs("acme", { account: ada, amount: 5 }),
        yield* sendAs("globex", { account: ada, amount: 7 }),
        yield* sendAs("acme", { account: ada, amount: 1 })
      ]
      assert.deepEqual(deposits, [
        { status: 200, body: 5 },
        { status: 200, body: 7 },
        { status: 200, body: 6 }
      ])
      assert.deepEqual(yield* sendAs("nobody", { account: ada, amount: 1 }), {
        status: 503,
        body: { _tag: "CommandFailure", kind: "unavailable" }
      })
      assert.equal((yield* sendAs("acme", { account: ada })).status, 400)
      const atOnce = yield* Effect.forEach(["acme", "globex"], (id) => sendAs(id, { account: ada, amount: 100 }), {
        concurrency: "unbounded"
      })
      assert.deepEqual(
        atOnce.map(({ body }) => body),
        [106, 107]
      )
    }).pipe(Effect.provide(tenants))
  )

  it.live("an answer that does not fit is a fault, and nothing is written, with an id or without", () =>
    Effect.gen(function* () {
      logs(/incident .*What the handler of "Halve" gave does not fit its success schema/s)
      for (const key of [undefined, "k"]) {
        const { status, text } = yield* post("Halve", { account: ada, amount: 5 }, key)
        assert.deepEqual([status, kindOf(text)], [500, "fault"])
      }
      assert.equal(yield* EventStore.head, 0)
    }).pipe(Effect.provide(serve()))
  )

  it.live("each kind of failure has its status, and says nothing of the service's insides", () =>
    Effect.gen(function* () {
      logs(/not available/, /incident/)
      const pay = post("Deposit", { account: "ada", amount: 5 })
      for (const [kind, status] of [
        ["conflict", 409],
        ["unavailable", 503],
        ["unknown", 504],
        ["fault", 500]
      ] as const) {
        const answer = yield* pay
        assert.equal(answer.status, status, answer.text)
        assert.equal(kindOf(answer.text), kind)
        assert.doesNotMatch(answer.text, /hunter2|10\.0\.0\.7|Account-/)
      }
      assert.equal((yield* pay).status, 200)
      const tooLong = yield* post("Deposit", { account: "x".repeat(300), amount: 5 })
      assert.deepEqual([tooLong.status, kindOf(tooLong.text)], [400, "invalid"])
      assert.equal((yield* post("Deposit", { account: "ada", amount: 1.5 })).status, 400)
      assert.equal((yield* post("Withdraw", { amount: 1 })).status, 422)
      assert.equal((yield* post("Withdraw", { amount: 0 })).status, 423)
    }).pipe(
      Effect.provide(
        serve([
          ...Array.from(
            { length: 6 },
            () => new EventStore.EventStoreError({ reason: new EventStore.TransactionConflict(reason) })
          ),
          new EventStore.EventStoreError({ reason: new EventStore.StoreUnavailable(reason) }),
          new EventStore.EventStoreError({ reason: new EventStore.OutcomeUnknown(reason) }),
          new EventStore.EventStoreError({ reason: new EventStore.StoreFailure(reason) })
        ])
      )
    )
  )

  it("take nothing of the server into a browser", async () => {
    const directory = await mkdtemp(join(import.meta.dirname, ".bundle-"))
    try {
      const input = join(directory, "client.ts")
      await writeFile(
        input,
        `import { Schema } from "effect"
         import { HttpApi } from "effect/http-api"
         import { Command } from "eventfold"
         import { CommandApi } from "eventfold/http"
         const Greet = Command.make("Greet", { payload: { name: Schema.String } })
         export class Api extends HttpApi.make("api").add(CommandApi.group("greetings", [Greet])) {}`
      )
      const build = await rolldown({
        input,
        platform: "browser",
        logLevel: "silent",
        resolve: { conditionNames: ["@eventfold/source", "import", "default"] }
      })
      const { output } = await build.generate({ format: "esm", codeSplitting: false })
      await build.close()
      const ours = Object.entries(output[0].modules).flatMap(([id, { renderedLength }]) =>
        renderedLength === 0 || !id.includes("/src/") || id.includes("node_modules") ? [] : [id.replace(/^.*\/src\//, "")]
      )
      assert.deepEqual(ours.toSorted(), ["definitions/Command.ts", "http/CommandApi.ts"])
      assert.deepEqual(output[0].imports, [])
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  })
})
