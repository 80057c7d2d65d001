/** The command line as a process: what it prints, its exit code, and that it ends. */
import assert from "node:assert/strict"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { describe, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Redacted, type Scope } from "effect"
import { PgClient } from "@effect/sql-pg"
import { Checkpoints, EventStore, ParkedEvents, Retention } from "eventfold"
import { PgEventStore } from "eventfold/postgres"
import { SqliteEventStore } from "eventfold/sqlite"
import { once } from "node:events"
import { readdirSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import { createServer as createHttpServer } from "node:http"
import { createServer } from "node:net"
import { inject } from "vitest"
import { build, built } from "../../src/operate/inspector/build.ts"
import { database } from "../postgres/databases.ts"
import { freePort } from "../support/clusterNode.ts"
import { temporaryDirectory } from "../support/files.ts"
import { type Ended, eventfold, root, start } from "./running.ts"

const shop = "test/cli/processes/shop.ts"

const lines = ({ out }: Ended) =>
  out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>)

const orders = [
  { type: "Placed", payload: { total: 5 }, metadata: { correlationId: "c", by: "web" } },
  { type: "Paid", payload: { payment: "p" }, metadata: { correlationId: "c" } }
]

/** A file of SQLite with two events. */
const sqliteFile = Effect.gen(function* () {
  const filename = join(yield* temporaryDirectory, "shop.sqlite")
  yield* Effect.provide(EventStore.append("Order-1", orders), SqliteEventStore.layerFile({ filename }))
  return filename
})

/** A database of PostgreSQL with two events. */
const postgresUrl = Effect.gen(function* () {
  const url = new URL(inject("postgresUrl"))
  url.pathname = yield* database
  const client = PgClient.layer({ url: Redacted.make(url.href), maxConnections: 2 })
  const store = Layer.provide(PgEventStore.layerWith({ listen: false }), client)
  yield* Effect.provide(EventStore.append("Order-1", orders), store)
  return url.href
})

const targets: Readonly<Record<string, Effect.Effect<string, unknown, Scope.Scope>>> = {
  SQLite: Effect.map(sqliteFile, (file) => `sqlite:${file}`),
  PostgreSQL: postgresUrl,
  "a module in memory": Effect.succeed(shop)
}

describe("the command line", () => {
  for (const [name, target] of Object.entries(targets)) {
    it.live(
      `looks at ${name}`,
      () =>
        Effect.gen(function* () {
          const url = yield* target
          const streams = yield* eventfold(["streams", url, "--json", "--category", "Order"])
          assert.deepEqual([streams.code, streams.err], [0, ""])
          assert.deepEqual(lines(streams), [{ stream: "Order-1", category: "Order", version: 2, position: 2 }])
          const read = yield* eventfold(["read", url, "Order-1", "--json"])
          assert.deepEqual(
            lines(read).map(({ type, version }) => [type, version]),
            [
              ["Placed", 1],
              ["Paid", 2]
            ]
          )
          assert.equal(lines(yield* eventfold(["trail", url, "c", "--json"])).length, 2)
          const verified = lines(yield* eventfold(["verify", url, "--json"])).at(-1)
          assert.equal(verified?.["_tag"], "Verified")
          assert.equal((yield* eventfold(["read", url, "Order-2"])).code, 3)
          const refused = yield* eventfold(["follower", "pause", url, "subscription:nobody", "--timeout", "8s", "--json"])
          // What the program of the module logs comes before it.
          const error = refused.err.trim().split("\n").at(-1) ?? ""
          assert.deepEqual(
            [refused.code === 3 || refused.code === 5, Object.keys(JSON.parse(error) as object)],
            [true, ["error"]]
          )
        }).pipe(Effect.scoped),
      120_000
    )
  }

  it.live("folds the states of a module, and names it where a store alone is asked", () =>
    Effect.gen(function* () {
      const { code, out } = yield* eventfold(["state", shop, "Order-1", "--diff"])
      assert.equal(code, 0)
      assert.match(out, /^Order-1 at version 2: Paid, .*\n~ status {2}open → paid\n {2}total {3}5\n$/)
      const bare = yield* eventfold(["state", `sqlite:${yield* sqliteFile}`, "Order-1"])
      assert.equal(bare.code, 2)
      assert.match(
        bare.err,
        /no aggregate or process manager "Order".* give the path of a module that exports them, or the address/
      )
      const missing = yield* eventfold(["state", "jsonl:no/such.jsonl", "Order-1"])
      assert.deepEqual([missing.code, missing.err], [4, "eventfold: there is no file no/such.jsonl.\n"])
    })
  )

  it.live(
    "copies, exports and imports without a loss",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporaryDirectory
        const from = `sqlite:${yield* sqliteFile}`
        const digest = (ended: Ended) => lines(ended).at(-1)?.["digest"]
        const copied = yield* eventfold(["copy", from, `jsonl:${join(folder, "copy.jsonl")}`, "--json"])
        assert.deepEqual([copied.code, lines(copied)[0]?.["copied"]], [0, 2])
        const exported = yield* eventfold(["export", from])
        const file = join(folder, "events.jsonl")
        yield* Effect.promise(() => writeFile(file, exported.out))
        const to = `sqlite:${join(folder, "imported.sqlite")}`
        assert.deepEqual(lines(yield* eventfold(["import", to, file, "--json"])), [{ read: 2, head: 2 }])
        // What stands there already is passed over, also where the lines are others.
        const again = yield* eventfold(["import", to, "-", "--json"], {}, exported.out.split("\n")[1] ?? "")
        assert.deepEqual(lines(again), [{ read: 1, head: 2 }])
        assert.equal(digest(yield* eventfold(["verify", to, "--json"])), digest(copied))
        const clouds = yield* eventfold(["export", from, "--cloudevents", "--source", "shop"])
        assert.deepEqual(
          lines(clouds).map(({ source, specversion, subject, type }) => [specversion, source, subject, type]),
          [
            ["1.0", "shop", "Order-1", "Placed"],
            ["1.0", "shop", "Order-1", "Paid"]
          ]
        )
        const other = `sqlite:${join(folder, "clouds.sqlite")}`
        assert.equal((yield* eventfold(["import", other, "-"], {}, clouds.out)).code, 0)
        assert.equal(lines(yield* eventfold(["read", other, "Order-1", "--json"])).length, 2)
        const bad = yield* eventfold(["import", other, "-"], {}, `${clouds.out}{"no":"event"}\n`)
        assert.equal(bad.code, 5)
        assert.match(
          bad.err,
          /^eventfold: line 3 was not imported, and none after it; those before it stand in the store: it is no event/
        )
      }).pipe(Effect.scoped),
    180_000
  )

  it.live(
    "exports and imports what stands in the place of removed events",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporaryDirectory
        const filename = yield* sqliteFile
        yield* Effect.provide(
          Effect.andThen(Retention.tombstone("Order-1", { reason: "closed" }), EventStore.append("Order-2", orders)),
          Layer.merge(SqliteEventStore.layerFile({ filename }), Checkpoints.layerMemory)
        )
        const exported = yield* eventfold(["export", `sqlite:${filename}`])
        const verified = (ended: Ended) => {
          const { digest, events, findings, removed } = lines(ended).at(-1) ?? {}
          return { digest, events, findings, removed }
        }
        const original = verified(yield* eventfold(["verify", `sqlite:${filename}`, "--json"]))
        assert.deepEqual([original.removed, original.findings], [2, 0])
        for (const to of [`sqlite:${join(folder, "to.sqlite")}`, `jsonl:${join(folder, "to.jsonl")}`]) {
          for (const _ of ["once", "and again"]) {
            const imported = yield* eventfold(["import", to, "-", "--json"], {}, exported.out)
            assert.deepEqual([imported.code, imported.err], [0, ""])
            assert.deepEqual(verified(yield* eventfold(["verify", to, "--json"])), original)
          }
        }
        const forged = { stream: "A-1", id: "1", type: "$Tombstone", payload: { type: "Placed", reason: "no", digest: "none" } }
        const moved = {
          ...forged,
          version: 1,
          payload: { type: "Placed", reason: "old", digest: "0".repeat(64), archive: "cold" }
        }
        const cloud = {
          specversion: "1.0",
          source: "shop",
          id: "1",
          type: "$Tombstone",
          datacontenttype: "application/json",
          data: moved.payload
        }
        for (const [line, why] of [
          [cloud, /line 1 was not imported, .* no CloudEvent stands for an event that was removed/],
          [forged, /line 1 was not imported, .* it is no event: .*digest/],
          [moved, /version 1 of "A-1" is in an archive, which knows it by its position: take it along by eventfold copy/]
        ] as const) {
          const refused = yield* eventfold(["import", `sqlite:${filename}`, "-"], {}, JSON.stringify(line))
          assert.equal(refused.code, 5)
          assert.match(refused.err, why)
        }
      }).pipe(Effect.scoped),
    60_000
  )

  it.live(
    "makes tables only where it is told to",
    () =>
      Effect.gen(function* () {
        const url = new URL(inject("postgresUrl"))
        url.pathname = yield* database
        url.searchParams.set("schema", "shop")
        const looked = yield* eventfold(["streams", url.href])
        assert.equal(looked.code, 4)
        const toDo = yield* eventfold(["migrate", url.href, "--check", "--json"])
        assert.equal(toDo.code, 5)
        const printed = yield* eventfold(["migrate", url.href, "--print"])
        assert.match(printed.out, /^create schema/im)
        assert.match(printed.out, /create table "?shop"?\./i)
        assert.equal((yield* eventfold(["migrate", url.href, "--check"])).code, 5)
        assert.equal((yield* eventfold(["migrate", url.href])).code, 0)
        assert.equal((yield* eventfold(["migrate", url.href, "--check"])).code, 0)
        assert.deepEqual(yield* eventfold(["migrate", url.href, "--print"]), {
          code: 0,
          out: "",
          err: "Nothing is to do: the tables are those of this release.\n"
        })
        assert.deepEqual(yield* eventfold(["parked", "list", url.href]), { code: 0, out: "Nothing is parked.\n", err: "" })
      }).pipe(Effect.scoped),
    120_000
  )

  it.live(
    "speaks to a running program, and says what it may not",
    () =>
      Effect.gen(function* () {
        yield* Effect.promise(() => build(built))
        const served = start(["inspect", `sqlite:${yield* sqliteFile}`, "--port", "0"])
        yield* Effect.addFinalizer(() => Effect.sync(() => served.child.kill("SIGKILL")))
        const [first] = yield* Effect.promise(() => once(served.child.stdout, "data"))
        const url = String(first).trim()
        const page = yield* Effect.promise(() => fetch(url))
        assert.equal(page.status, 200)
        assert.match(page.headers.get("content-security-policy") ?? "", /default-src 'none'/)
        assert.match(yield* Effect.promise(() => page.text()), /inspector\.js/)
        assert.deepEqual(lines(yield* eventfold(["streams", url, "--json"])), [
          { stream: "Order-1", category: "Order", version: 2, position: 2 }
        ])
        const act = yield* eventfold(["follower", "pause", url, "subscription:x"])
        assert.deepEqual([act.code, act.err], [4, "eventfold: acts are not allowed here: operators only look\n"])
        const elsewhere = yield* eventfold(["streams", `${new URL(url).origin}/elsewhere`])
        assert.equal(elsewhere.code, 4)
        served.child.kill("SIGINT")
        assert.equal((yield* Effect.promise(() => served.ended)).code, 130)
      }).pipe(Effect.scoped),
    120_000
  )
})

describe("a process", () => {
  it.live(
    "ends within --timeout where nobody answers, and tells no password",
    () =>
      Effect.gen(function* () {
        // It takes connections, and never says a word.
        const server = createServer()
        yield* Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)))
        yield* Effect.addFinalizer(() => Effect.sync(() => server.close()))
        const { port } = server.address() as { readonly port: number }
        for (const url of [`postgres://ada:hunter2@127.0.0.1:${port}/shop`, `http://ada:hunter2@127.0.0.1:${port}`]) {
          const began = Date.now()
          const { code, err, out } = yield* eventfold(["streams", url, "--timeout", "500ms"])
          assert.deepEqual([code, out], [4, ""])
          assert.match(err, /^eventfold: no answer from \S+ within 500ms: see --timeout\.\n$/)
          assert.doesNotMatch(err, /hunter2/)
          assert.ok(Date.now() - began < 15_000)
        }
        const nobody = yield* eventfold(["streams", `http://ada:hunter2@127.0.0.1:${yield* freePort}/operate`])
        assert.equal(nobody.code, 4)
        assert.match(
          nobody.err,
          /^eventfold: nobody answers at that address \(connect ECONNREFUSED [^ ]+\): is the program running that serves the operations\?\n$/
        )
        // Something else is served there.
        const other = createHttpServer((_, response) => response.writeHead(404).end("no"))
        yield* Effect.promise(() => new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve)))
        yield* Effect.addFinalizer(() => Effect.sync(() => other.close()))
        const stranger = yield* eventfold(["streams", `http://127.0.0.1:${(other.address() as { readonly port: number }).port}`])
        assert.deepEqual(stranger.code, 4)
        assert.match(stranger.err, /^eventfold: what answers at that address serves no operations that could be read/)
        const refused = yield* eventfold(["streams", "postgres://ada:hunter2@127.0.0.1:1/shop", "--json"])
        assert.equal(refused.code, 4)
        assert.doesNotMatch(refused.err, /hunter2/)
        assert.equal(refused.err.trimEnd().split("\n").length, 1)
      }).pipe(Effect.scoped),
    120_000
  )

  it.live(
    "takes its colours, its width and its store from the environment",
    () =>
      Effect.gen(function* () {
        const url = `sqlite:${yield* sqliteFile}`
        const plain = yield* eventfold(["streams", url])
        const escape = "\u001b["
        assert.ok(!plain.out.includes(escape))
        assert.ok((yield* eventfold(["streams", url], { FORCE_COLOR: "1" })).out.includes(escape))
        assert.equal((yield* eventfold(["streams", url], { FORCE_COLOR: "1", NO_COLOR: "1" })).out, plain.out)
        assert.equal((yield* eventfold(["streams"], { EVENTFOLD_URL: url })).out, plain.out)
        const widest = (ended: Ended) => Math.max(...ended.out.split("\n").map((line) => line.length))
        const wide = yield* eventfold(["tail", url], { COLUMNS: "160" })
        assert.ok(widest(wide) > 80 && widest(wide) <= 160)
        assert.ok(widest(yield* eventfold(["tail", url])) <= 80)
      }).pipe(Effect.scoped),
    120_000
  )

  it.live(
    "ends with 0 where its reader has gone, and with 130 where it is interrupted",
    () =>
      Effect.gen(function* () {
        const url = `sqlite:${yield* sqliteFile}`
        const reading = start(["tail", "-f", url, "--json"])
        yield* Effect.addFinalizer(() => Effect.sync(() => reading.child.kill("SIGKILL")))
        yield* Effect.promise(() => once(reading.child.stdout, "data"))
        reading.child.stdout.destroy()
        yield* Effect.provide(EventStore.append("Order-2", orders), SqliteEventStore.layerFile({ filename: url.slice(7) }))
        const [code] = yield* Effect.promise(() => once(reading.child, "exit"))
        assert.equal(code, 0)

        const waiting = start(["tail", "-f", url])
        yield* Effect.addFinalizer(() => Effect.sync(() => waiting.child.kill("SIGKILL")))
        yield* Effect.promise(() => once(waiting.child.stdout, "data"))
        waiting.child.kill("SIGINT")
        assert.equal((yield* Effect.promise(() => waiting.ended)).code, 130)
      }).pipe(Effect.scoped, Effect.timeout("50 seconds")),
    60_000
  )

  it.live(
    "makes no database of PGlite where something else is, nor by looking",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporaryDirectory
        const looked = yield* eventfold(["streams", `pglite:${folder}`])
        assert.deepEqual([looked.code, looked.err], [4, `eventfold: there is no database in the folder ${folder}.\n`])
        yield* Effect.promise(() => writeFile(join(folder, "notes.txt"), "x"))
        assert.equal((yield* eventfold(["migrate", `pglite:${folder}`])).code, 4)
        assert.deepEqual(readdirSync(folder), ["notes.txt"])
      }).pipe(Effect.scoped),
    60_000
  )

  it.live(
    "does what was asked for to its end where its reader has gone",
    () =>
      Effect.gen(function* () {
        const filename = yield* sqliteFile
        const parkedAt = yield* DateTime.now
        const parking = ParkedEvents.ParkedEvents.use(({ park }) =>
          Effect.forEach([1, 2], (position) =>
            park({ subscription: "mails", position, stream: "Order-1", type: "Placed", cause: "no", attempts: 1, parkedAt })
          )
        )
        const left = ParkedEvents.ParkedEvents.use(({ list }) => Effect.map(list("mails"), ({ length }) => length))
        const services = Layer.provideMerge(ParkedEvents.layerSqlWith({}), SqliteEventStore.layerFile({ filename }))
        yield* Effect.provide(Effect.andThen(parking, left), services)
        const acting = start(["parked", "discard", `sqlite:${filename}`, "mails", "--all", "--yes", "--json"])
        yield* Effect.addFinalizer(() => Effect.sync(() => acting.child.kill("SIGKILL")))
        acting.child.stdout.destroy()
        const [code] = yield* Effect.promise(() => once(acting.child, "exit"))
        assert.equal(code, 0, acting.text.err)
        assert.equal(yield* Effect.provide(left, services), 0)
      }).pipe(Effect.scoped, Effect.timeout("50 seconds")),
    60_000
  )

  it.live(
    "ends though a module has left something open",
    () =>
      Effect.gen(function* () {
        const module = join(yield* temporaryDirectory, "open.ts")
        const exported = JSON.stringify(pathToFileURL(join(root, shop)).href)
        yield* Effect.promise(() => writeFile(module, `export * from ${exported}\nsetInterval(() => {}, 1000)\n`))
        const { code, err, out } = yield* eventfold(["streams", module, "--json"])
        assert.deepEqual([code, err], [0, ""])
        assert.match(out, /Order-1/)
      }).pipe(Effect.scoped),
    60_000
  )

  it.live(
    "serves an agent over stdin and stdout until stdin ends",
    () =>
      Effect.gen(function* () {
        const { child, ended, text } = start(["mcp", `sqlite:${yield* sqliteFile}`])
        yield* Effect.addFinalizer(() => Effect.sync(() => child.kill("SIGKILL")))
        const send = (message: object) => child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`)
        const answered = (id: number) =>
          Effect.promise(async () => {
            while (!text.out.includes(`"id":${id},`)) await once(child.stdout, "data")
            const line = text.out.split("\n").find((line) => line.includes(`"id":${id},`))
            return JSON.parse(line ?? "") as { readonly result: Readonly<Record<string, unknown>> }
          })
        const clientInfo = { name: "test", version: "1" }
        send({ id: 1, method: "initialize", params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo } })
        assert.deepEqual((yield* answered(1)).result["serverInfo"], { name: "eventfold", version: "0.1.0" })
        send({ method: "notifications/initialized" })
        send({ id: 2, method: "tools/call", params: { name: "read_stream", arguments: { stream: "Order-1" } } })
        const { structuredContent } = (yield* answered(2)).result as {
          readonly structuredContent: { readonly items: ReadonlyArray<{ readonly type: string }> }
        }
        assert.deepEqual(
          structuredContent.items.map(({ type }) => type),
          ["Placed", "Paid"]
        )
        // Lines that are none of JSON-RPC, in one chunk with one that is.
        const request = JSON.stringify({ jsonrpc: "2.0", id: 3, method: "ping" })
        child.stdin.write(`{"jsonrpc":\n${request}\n42\n\n${request.replace("3", "4")}\n`)
        yield* answered(4)
        yield* answered(3)
        const problems = text.out
          .trimEnd()
          .split("\n")
          .map((line) => JSON.parse(line) as { readonly id: unknown; readonly error?: { readonly code: number } })
          .filter(({ error }) => error !== undefined)
        assert.deepEqual(
          problems.map(({ error, id }) => [id, error?.code]),
          [
            [null, -32700],
            [null, -32600]
          ]
        )
        // An agent sees no payload of which nobody has said that it may.
        assert.match(JSON.stringify(structuredContent), /•••/)
        child.stdin.end()
        assert.deepEqual([(yield* Effect.promise(() => ended)).code, text.err], [0, ""])
      }).pipe(Effect.scoped, Effect.timeout("50 seconds")),
    60_000
  )
})
