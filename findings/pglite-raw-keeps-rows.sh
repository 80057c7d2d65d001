#!/usr/bin/env bash
# PGlite keeps the rows of what is run through its raw call for ever.
#
# Software: @electric-sql/pglite 0.5.17 (PostgreSQL 18).
# Input:    one simple query of the wire protocol, `select repeat('x', 1024) from generate_series(1, 1024)`, run 64 times by execProtocolRaw, each
#           answer thrown away; the same by execProtocolRawStream with a callback that does nothing; then one `query` of PGlite's own.
# Guess:    the raw call, which gives the bytes of the answer and says that it bypasses all that wraps the protocol, keeps nothing of them.
# Seen:     after 64 answers of 1 MiB more than 64 MiB are in use: each is parsed as well, and its rows are added to a list that only PGlite's own
#           queries begin anew. One of those lets all go. The streaming call keeps nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 @electric-sql/pglite@0.5.17
cat >run.mjs <<'JS'
import { PGlite } from "@electric-sql/pglite"

const database = await PGlite.create()
const text = Buffer.from("select repeat('x', 1024) from generate_series(1, 1024)\0")
const message = Buffer.concat([Buffer.from("Q"), Buffer.alloc(4), text])
message.writeInt32BE(4 + text.length, 1)

const used = () => {
  globalThis.gc()
  return process.memoryUsage().heapUsed
}
const tell = (name, before) => {
  const kept = (used() - before) / 2 ** 20
  console.log(`${name}: ${kept > 64 ? "all 64 MiB are kept" : kept < 8 ? "nothing is kept" : `${kept.toFixed()} MiB are kept`}`)
}

const before = used()
for (let n = 0; n < 64; n++) await database.execProtocolRawStream(message, { onRawData: () => {} })
tell("execProtocolRawStream", before)
for (let n = 0; n < 64; n++) await database.execProtocolRaw(message)
tell("execProtocolRaw", before)
await database.query("select 1")
tell("after a query", before)
await database.close()
JS
node_modules/.bin/node --expose-gc run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
execProtocolRawStream: nothing is kept
execProtocolRaw: all 64 MiB are kept
after a query: nothing is kept
SEEN
echo "as described"
