import assert from "node:assert/strict"
import { readdirSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Layer, References, Tracer } from "effect"
import { SqlClient, type SqlConnection } from "effect/sql"
import { belongsToExecution, provideBuilt } from "../../src/definitions/services.ts"

describe("whose services a handler gets", () => {
  class Greeting extends Context.Service<Greeting, string>()("test/Greeting") {}
  class Caller extends Context.Service<Caller, string>()("test/Caller") {}
  class Own extends Context.Service<Own, string>()("test/Own") {}
  const CurrentTenant = Context.Reference<string>("test/CurrentTenant", { defaultValue: () => "none" })
  const TransactionConnection = SqlClient.TransactionConnection(77)

  const client = (name: string) => ({ name }) as unknown as SqlClient.SqlClient
  const connection = (name: string) => [{ name } as unknown as SqlConnection.Connection, 0] as const
  const span = (name: string) => Tracer.externalSpan({ spanId: name, traceId: "trace" })
  const clock = (millis: number): Clock.Clock => ({
    currentTimeMillisUnsafe: () => millis,
    currentTimeMillis: Effect.succeed(millis),
    currentTimeNanosUnsafe: () => BigInt(millis) * 1_000_000n,
    currentTimeNanos: Effect.succeed(BigInt(millis) * 1_000_000n),
    monotonicTimeNanosUnsafe: () => BigInt(millis) * 1_000_000n,
    monotonicTimeNanos: Effect.succeed(BigInt(millis) * 1_000_000n),
    sleep: () => Effect.void
  })

  /** All that a handler can see. */
  const seen = Effect.gen(function* () {
    return {
      greeting: yield* Greeting,
      client: (yield* SqlClient.SqlClient) as unknown,
      connection: Context.getOrUndefined(yield* Effect.context(), TransactionConnection)?.[0] as unknown,
      span: Context.getOrUndefined(yield* Effect.context(), Tracer.ParentSpan)?.spanId,
      now: yield* Clock.currentTimeMillis,
      annotations: yield* References.CurrentLogAnnotations,
      tenant: yield* CurrentTenant,
      caller: Context.getOrUndefined(yield* Effect.context(), Caller)
    }
  })

  const built = Context.empty().pipe(
    Context.add(Greeting, "built"),
    Context.add(SqlClient.SqlClient, client("built")),
    Context.add(TransactionConnection, connection("built")),
    Context.add(Tracer.ParentSpan, span("built")),
    Context.add(Clock.Clock, clock(1)),
    Context.add(References.CurrentLogAnnotations, { at: "built" })
  )
  const handler = provideBuilt<Greeting | SqlClient.SqlClient>(built)(seen)

  it.effect("the services are those of its Layer, and what belongs to the execution is that of the fiber that runs it", () =>
    Effect.gen(function* () {
      const running = Context.empty().pipe(
        Context.add(Greeting, "running"),
        Context.add(SqlClient.SqlClient, client("running")),
        Context.add(TransactionConnection, connection("running")),
        Context.add(Tracer.ParentSpan, span("running")),
        Context.add(Clock.Clock, clock(2)),
        Context.add(References.CurrentLogAnnotations, { at: "running" }),
        Context.add(CurrentTenant, "running"),
        Context.add(Caller, "running")
      )
      assert.deepEqual(yield* Effect.provideContext(handler, running), {
        greeting: "built",
        client: client("built"),
        connection: { name: "running" },
        span: "running",
        now: 2,
        annotations: { at: "running" },
        // what the Layer was built without
        tenant: "running",
        caller: "running"
      })
    })
  )

  it.effect("a reference that is not set is what it was where the Layer was built; a transaction or a span never is", () =>
    Effect.gen(function* () {
      const inNothing = Effect.updateContext(handler, (running: Context.Context<never>) => Context.pick()(running))
      assert.deepEqual(yield* inNothing, {
        greeting: "built",
        client: client("built"),
        connection: undefined,
        span: undefined,
        now: 1,
        annotations: { at: "built" },
        tenant: "none",
        caller: undefined
      })
    })
  )

  it.effect("what it requires of each execution comes from there", () =>
    Effect.gen(function* () {
      const both = Effect.all([Greeting, Own])
      const provided: Effect.Effect<[string, string], never, Own> = provideBuilt<Greeting | Own, Own>(built)(both)
      assert.deepEqual(yield* Effect.provide(provided, Layer.succeed(Own, "running")), ["built", "running"])
    })
  )

  it("the references of Effect belong to the execution, its services do not, save those of a transaction or a test", async () => {
    const root = dirname(fileURLToPath(import.meta.resolve("effect/Effect")))
    const modules = readdirSync(root, { recursive: true, withFileTypes: true }).filter(
      (entry) => entry.isFile() && entry.name.endsWith(".js") && !`${entry.parentPath}/`.includes("/internal/")
    )
    /** Annotations of definitions and settings of servers: no fiber of a handler has them. */
    const elsewhere = /^(effect\/(ai|cli|cluster\/ClusterSchema|http-api|http\/HttpRouter|eventlog\/EventLogServer)\/|@effect\/)/
    const wrong: Array<string> = []
    const services: Array<string> = []
    let references = 0
    for (const { name, parentPath } of modules) {
      const module: Record<string, unknown> = await import(pathToFileURL(join(parentPath, name)).href)
      for (const value of Object.values(module)) {
        if (!Context.isKey(value) || typeof value.key !== "string" || elsewhere.test(value.key)) continue
        if (!Context.isReference(value)) {
          if (belongsToExecution(value.key)) services.push(value.key)
        } else {
          references++
          if (!belongsToExecution(value.key)) wrong.push(value.key)
        }
      }
    }
    assert.deepEqual(wrong, [])
    assert.ok(references > 40)
    assert.deepEqual(Array.from(new Set(services)).toSorted(), [
      "effect/Effect/Transaction",
      "effect/Layer/CurrentMemoMap",
      "effect/Scope",
      "effect/Tracer/ParentSpan",
      "effect/crypto/SecureRandom",
      "effect/reactivity/Reactivity"
    ])
  })
})
