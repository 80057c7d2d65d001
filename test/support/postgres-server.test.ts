import { PgClient } from "@effect/sql-pg"
import { describe, expect, it, layer } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync } from "node:fs"
import { dirname } from "node:path"
import { createConnection } from "node:net"
import { inject, vi } from "vitest"
import { startPostgres } from "./postgres-server.ts"

const client = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 2 })

layer(Layer.suspend(() => client(inject("postgresUrl"))))("the server of the run", (it) => {
  it.effect("answers, and is new enough", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const [version] = yield* sql<{ number: number }>`SELECT current_setting('server_version_num')::int AS number`
      expect(version?.number).toBeGreaterThanOrEqual(150_000)
    })
  )
})

describe("a server of one's own", () => {
  it("keeps what was committed over an immediate stop, does not trade that for speed, and leaves nothing behind", async () => {
    const server = await startPostgres()
    const query = <A>(use: (sql: SqlClient.SqlClient) => Effect.Effect<A, unknown>) =>
      Effect.runPromise(Effect.provide(Effect.flatMap(SqlClient.SqlClient, use), client(server.url)))
    try {
      const settings = await query(
        (sql) => sql<{ name: string; setting: string }>`
          SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes') ORDER BY name`
      )
      expect(settings.map(({ name, setting }) => `${name}=${setting}`)).toEqual([
        "fsync=on",
        "full_page_writes=on",
        "synchronous_commit=on"
      ])
      await query((sql) => sql`CREATE TABLE kept AS SELECT 42 AS answer`)
      await server.stop("immediate")
      await expect(query((sql) => sql`SELECT 1`)).rejects.toThrow()
      await server.restart()
      expect(await query((sql) => sql`SELECT answer FROM kept`)).toEqual([{ answer: 42 }])
      await server.restart()
      expect(await query((sql) => sql`SELECT 'b' < 'C' AS by_language`)).toEqual([{ by_language: true }])
    } finally {
      await server.dispose()
    }
    expect(existsSync(dirname(server.dataDir))).toBe(false)
    await expect(query((sql) => sql`SELECT 1`)).rejects.toThrow()
  })

  it.each(["SIGINT", "SIGTERM", "SIGKILL"] as const)("is gone after %s to the process that started it", async (signal) => {
    const owner = spawn(
      process.execPath,
      [
        "--input-type=module",
        "--eval",
        `import { startPostgres } from ${JSON.stringify(import.meta.resolve("./postgres-server.ts"))}
         const { port, dataDir } = await startPostgres()
         console.log(JSON.stringify({ port, dataDir }))`
      ],
      { stdio: ["ignore", "pipe", "inherit"] }
    )
    const [line] = await once(owner.stdout.setEncoding("utf8"), "data")
    const { dataDir, port } = JSON.parse(line as string) as { readonly port: number; readonly dataDir: string }
    expect(existsSync(dataDir)).toBe(true)
    owner.kill(signal)
    await vi.waitUntil(() => !existsSync(dirname(dataDir)), { timeout: 20_000 })
    // `once` throws when "error" comes before the awaited event.
    await expect(once(createConnection(port, "127.0.0.1"), "connect")).rejects.toMatchObject({ code: "ECONNREFUSED" })
  })
})
