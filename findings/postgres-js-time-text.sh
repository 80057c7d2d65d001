#!/usr/bin/env bash
# postgres.js alters a time that it is given as text: the text is made a Date and that is sent.
#
# Software: postgres (postgres.js) 3.4.9; pg 8.23.1 to compare; PGlite 0.5.14 stands for the server.
# Input:    times as text, as PostgreSQL itself writes them, for a timestamptz and for a timestamp; the process is in New York, the session in UTC.
# Guess:    text goes to the server as it is, which reads it with all its digits. Who gives text instead of a Date does so for these digits.
# Seen:     what is stored has milliseconds only. A timestamp, which has no zone, is moved by the offset of the zone that the process is in, so the same
#           call stores another time on another machine; a timestamptz without an offset is read in the zone of the process and not in that
#           of the session. A page that begins after the last time of the page before, kept as text, can be that page again, for ever.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 postgres@3.4.9 pg@8.23.1 @electric-sql/pglite@0.5.14 @electric-sql/pglite-socket@0.2.17
cat >run.mjs <<'JS'
import { PGlite } from "@electric-sql/pglite"
import { PGLiteSocketServer } from "@electric-sql/pglite-socket"
import { createServer } from "node:net"
import pg from "pg"
import postgres from "postgres"

const port = await new Promise((resolve) => {
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const { port } = probe.address()
    probe.close(() => resolve(port))
  })
})
const database = await PGlite.create()
const server = new PGLiteSocketServer({ db: database, host: "127.0.0.1", port, maxConnections: 5 })
await server.start()
const address = `postgresql://postgres:postgres@127.0.0.1:${port}/postgres`
const sql = postgres(address, { max: 1, connection: { TimeZone: "UTC" } })
const client = new pg.Client(address)
await client.connect()
await client.query("set timezone = 'UTC'")

const given = [["timestamptz", "2026-01-01 10:00:00.123456+00"], ["timestamptz", "2026-01-01 10:00:00"], ["timestamp", "2026-01-01 10:00:00.123456"]]
for (const [type, text] of given) {
  const query = `select $1::${type}::text as kept`
  const [{ kept }] = await sql.unsafe(query, [text])
  console.log(`${type} | given ${text} | kept ${kept} | by pg ${(await client.query(query, [text])).rows[0].kept}`)
}

await database.exec(`
  create table event (id int, at timestamptz);
  insert into event select n, timestamptz '2026-01-01 10:00:00+00' + n * interval '100 microseconds' from generate_series(1, 9) n;`)
const [first] = await sql`select string_agg(id::text, ' ') as ids, max(at)::text as last from (select * from event order by at limit 4)`
console.log("first page:", first.ids)
const second = await sql`select id from event where at > ${first.last} order by at limit 4`
console.log("second page:", ...second.map(({ id }) => id))
const { rows } = await client.query("select id from event where at > $1 order by at limit 4", [first.last])
console.log("second page by pg:", ...rows.map(({ id }) => id))

await sql.end()
await client.end()
await server.stop()
await database.close()
JS
TZ=America/New_York node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
timestamptz | given 2026-01-01 10:00:00.123456+00 | kept 2026-01-01 10:00:00.123+00 | by pg 2026-01-01 10:00:00.123456+00
timestamptz | given 2026-01-01 10:00:00 | kept 2026-01-01 15:00:00+00 | by pg 2026-01-01 10:00:00+00
timestamp | given 2026-01-01 10:00:00.123456 | kept 2026-01-01 15:00:00.123 | by pg 2026-01-01 10:00:00.123456
first page: 1 2 3 4
second page: 1 2 3 4
second page by pg: 5 6 7 8
SEEN
echo "as described"
