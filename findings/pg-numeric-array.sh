#!/usr/bin/env bash
# node-postgres reads a numeric as text, to keep its digits, and an array of numeric as floating-point numbers, without them.
#
# Software: pg (node-postgres) 8.23.1; PGlite 0.5.14 stands for the server.
# Input:    amounts of type numeric, read by row, and collected by array_agg.
# Guess:    in the array they are what they are in the row, text, as it is with bigint.
# Seen:     they are numbers: digits beyond the sixteenth are others, two amounts that differ are equal, and one that is too large is Infinity.
#           The elements of an array of bigint are text, as a bigint in a row is.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 pg@8.23.1 @electric-sql/pglite@0.5.14 @electric-sql/pglite-socket@0.2.17
cat >run.mjs <<'JS'
import { PGlite } from "@electric-sql/pglite"
import { PGLiteSocketServer } from "@electric-sql/pglite-socket"
import { createServer } from "node:net"
import pg from "pg"

const port = await new Promise((resolve) => {
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const { port } = probe.address()
    probe.close(() => resolve(port))
  })
})
const database = await PGlite.create()
await database.exec(`
  create table entry (id int, amount numeric, position bigint);
  insert into entry values (1, 12345678901234567.89, 9007199254740993), (2, 12345678901234567.90, 9007199254740994);`)
const server = new PGLiteSocketServer({ db: database, host: "127.0.0.1", port, maxConnections: 5 })
await server.start()
const client = new pg.Client(`postgresql://postgres:postgres@127.0.0.1:${port}/postgres`)
await client.connect()

for (const column of ["amount", "position"]) {
  const { rows } = await client.query(`select ${column} as seen from entry order by id`)
  console.log(`${column} by row:`, rows.map(({ seen }) => seen))
  const { rows: [{ seen }] } = await client.query(`select array_agg(${column} order by id) as seen from entry`)
  console.log(`${column} in an array:`, seen, "- equal:", seen[0] === seen[1])
}
const { rows } = await client.query("select 1e400::numeric as one, array[1e400::numeric] as many")
console.log("1e400 by row:", rows[0].one.length, "digits; in an array:", rows[0].many)

await client.end()
await server.stop()
await database.close()
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
amount by row: [ '12345678901234567.89', '12345678901234567.90' ]
amount in an array: [ 12345678901234568, 12345678901234568 ] - equal: true
position by row: [ '9007199254740993', '9007199254740994' ]
position in an array: [ '9007199254740993', '9007199254740994' ] - equal: false
1e400 by row: 401 digits; in an array: [ Infinity ]
SEEN
echo "as described"
