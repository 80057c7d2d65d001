#!/usr/bin/env bash
# node:sqlite takes an object as the first parameter of a statement for a bag of named parameters.
#
# Software: node:sqlite of Node 24.21.0 (package "node").
# Input:    insert into t (at, n) values (?, ?), run with a Date and 99: positional parameters, as many as there are places.
# Guess:    an error, because a Date is none of the types that SQLite has; or the Date's text or number in the first column.
# Seen:     no error. The Date, which has no property of its own, gives no named parameter; 99 is bound to the first place, and
#           the second is null. A Map and an empty object do the same. An array is refused, by the name of its first index.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0
cat >run.mjs <<'JS'
import { DatabaseSync } from "node:sqlite"

const database = new DatabaseSync(":memory:")
database.exec("create table t (at, n)")
const insert = database.prepare("insert into t (at, n) values (?, ?)")
for (const first of [new Date(0), new Map([["a", 1]]), {}, [1, 2]]) {
  try {
    insert.run(first, 99)
    const { at, n } = database.prepare("select at, n from t order by rowid desc").get()
    console.log(`${first.constructor.name} and 99: at = ${at}, n = ${n}`)
  } catch (error) {
    console.log(`${first.constructor.name} and 99: ${error.message}`)
  }
}
JS
node_modules/.bin/node --no-warnings run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
Date and 99: at = 99, n = null
Map and 99: at = 99, n = null
Object and 99: at = 99, n = null
Array and 99: Unknown named parameter '0'
SEEN
echo "as described"
