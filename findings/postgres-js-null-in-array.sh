#!/usr/bin/env bash
# postgres.js reads NULL within an array as a value: the text "NULL", NaN, or false, as the type of its elements is.
#
# Software: postgres (postgres.js) 3.4.9; pg 8.23.1 to compare; PGlite 0.5.14 stands for the server.
# Input:    a column of each type, of which one row is null, collected by array_agg, as one does in a join; an array that is written with a null.
# Guess:    null in the array, as null is read in a column of its own, and as null in an array is written.
# Seen:     "NULL" in an array of text and of bigint, which is not told from the text "NULL"; NaN in one of numbers, false in one of booleans, a Date
#           that is invalid, bytes of no length. Only what is read is wrong: an array that is read and written again has the NULL replaced
#           in the table as well. The other driver gives null.
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
import { inspect } from "node:util"
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
const sql = postgres(address, { max: 1 })
const client = new pg.Client(address)
await client.connect()

await database.exec(`
  create table item (id int, name text, position bigint, share float8, paid boolean, at timestamptz, digest bytea);
  insert into item values (1, 'NULL', 5, 0.5, true, 'epoch', '\\x01'), (2, null, null, null, null, null, null);`)
for (const column of ["name", "position", "share", "paid", "at", "digest"]) {
  const text = `select array_agg(${column} order by id) as seen from item`
  const [{ seen }] = await sql.unsafe(text)
  console.log(`${column}: ${inspect(seen)}; pg: ${inspect((await client.query(text)).rows[0].seen)}`)
}

await database.exec("create table basket (items text[], counts int[])")
await sql`insert into basket values (${["bread", null]}, ${[1, null]})`
const kept = async () => (await database.query("select items::text, counts::text from basket")).rows[0]
console.log("written with null:", await kept())
const [{ items }] = await sql`select items from basket`
await sql`update basket set items = ${items}`
console.log("read and written again:", await kept())

await sql.end()
await client.end()
await server.stop()
await database.close()
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
name: [ 'NULL', 'NULL' ]; pg: [ 'NULL', null ]
position: [ '5', 'NULL' ]; pg: [ '5', null ]
share: [ 0.5, NaN ]; pg: [ 0.5, null ]
paid: [ true, false ]; pg: [ true, null ]
at: [ 1970-01-01T00:00:00.000Z, Invalid Date ]; pg: [ 1970-01-01T00:00:00.000Z, null ]
digest: [ <Buffer 01>, <Buffer > ]; pg: [ <Buffer 01>, null ]
written with null: { items: '{bread,NULL}', counts: '{1,NULL}' }
read and written again: { items: '{bread,"NULL"}', counts: '{1,NULL}' }
SEEN
echo "as described"
