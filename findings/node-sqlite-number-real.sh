#!/usr/bin/env bash
# A whole number that is bound to a statement is a REAL in SQLite: `7 / ?` with 2 is 3.5, and `'order-' || ?` with 7 is "order-7.0".
#
# Software: node:sqlite of Node 24.21.0; sql.js 1.17.0 to compare.
# Input:    whole numbers, far below 2^53, as parameters of expressions, of a column without a type and of an ANY column of a STRICT table.
# Guess:    a whole number is bound as an INTEGER, as it is read from one, and as the number in the text of the same statement would be.
# Seen:     it is bound as a floating-point number. A column of type INTEGER makes an integer of it again, so tables do not show it. Where there is no
#           such column, division is not integer division, text has ".0" at its end, JSON holds 7.0, and the value is kept as REAL.
#           A key that was put together so is not found by the text that JavaScript makes. A bigint is bound as INTEGER, and so is the number in sql.js.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 sql.js@1.17.0
cat >run.mjs <<'JS'
import { DatabaseSync } from "node:sqlite"
import initSqlJs from "sql.js"

const node = new DatabaseSync(":memory:")
const other = new (await initSqlJs()).Database()
const ways = {
  "node:sqlite, 7 and 2": (text, values) => Object.values(node.prepare(text).get(...values)),
  "node:sqlite, 7n and 2n": (text, values) => Object.values(node.prepare(text).get(...values.map(BigInt))),
  "sql.js, 7 and 2": (text, values) => other.exec(text, values)[0].values[0],
  "in the text": (text, values) => Object.values(node.prepare(values.reduce((all, value) => all.replace("?", value), text)).get())
}
for (const [name, ask] of Object.entries(ways)) {
  console.log(name)
  console.log("  typeof(?)              ", ...ask("select typeof(?)", [7]))
  console.log("  ? / ?                  ", ...ask("select ? / ?", [7, 2]))
  console.log("  'order-' || ?          ", ...ask("select 'order-' || ?", [7]))
  console.log("  json_object('n', ?)    ", ...ask("select json_object('n', ?)", [7]))
  console.log("  cast(? as text) = '7'  ", ...ask("select cast(? as text) = '7'", [7]))
}

node.exec(`
  create table loose (typed integer, untyped);
  create table strict (typed integer, untyped any) strict;
  create table stream (name text primary key, number integer);`)
for (const table of ["loose", "strict"]) {
  node.prepare(`insert into ${table} values (?, ?)`).run(7, 7)
  const { typed, untyped } = node.prepare(`select typeof(typed) typed, typeof(untyped) untyped from ${table}`).get()
  console.log(`a ${table} table keeps: in the INTEGER column ${typed}, in the other ${untyped}`)
}
node.prepare("insert into stream (name, number) values ('order-' || ?1, ?1)").run(7)
console.log("written:", JSON.stringify(node.prepare("select * from stream").get()))
console.log("looked up by the text that JavaScript makes:", node.prepare("select * from stream where name = ?").get(`order-${7}`))
JS
node_modules/.bin/node --disable-warning=ExperimentalWarning run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
node:sqlite, 7 and 2
  typeof(?)               real
  ? / ?                   3.5
  'order-' || ?           order-7.0
  json_object('n', ?)     {"n":7.0}
  cast(? as text) = '7'   0
node:sqlite, 7n and 2n
  typeof(?)               integer
  ? / ?                   3
  'order-' || ?           order-7
  json_object('n', ?)     {"n":7}
  cast(? as text) = '7'   1
sql.js, 7 and 2
  typeof(?)               integer
  ? / ?                   3
  'order-' || ?           order-7
  json_object('n', ?)     {"n":7}
  cast(? as text) = '7'   1
in the text
  typeof(?)               integer
  ? / ?                   3
  'order-' || ?           order-7
  json_object('n', ?)     {"n":7}
  cast(? as text) = '7'   1
a loose table keeps: in the INTEGER column integer, in the other real
a strict table keeps: in the INTEGER column integer, in the other real
written: {"name":"order-7.0","number":7}
looked up by the text that JavaScript makes: undefined
SEEN
echo "as described"
