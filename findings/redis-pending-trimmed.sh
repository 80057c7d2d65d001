#!/usr/bin/env bash
# node-redis does not give a consumer what it had not acknowledged, when one entry of it was cut off the stream: a TypeError each time, for all of it.
#
# Software: redis (node-redis) 6.3.1; ioredis 6.0.0 to compare; Redis 7.0.15, which must be there (redis-server).
# Input:    a stream that is kept at two entries; a consumer that reads three and ends before it acknowledges one; then it reads its own pending
#           entries from 0, which is what Redis has the history of a consumer for, and another one claims them.
# Guess:    the entries that are there are given, and the one that is gone is left out or null, as xAutoClaim names it among those deleted.
# Seen:     xReadGroup fails with "Cannot read properties of null", so the consumer gets none of its entries, at each start again. Both versions of the
#           protocol are alike. ioredis gives null for the fields of the one that is gone, and all others.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server" && wait "$server"; } || true; rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 redis@6.3.1 ioredis@6.0.0
redis-server --port 0 --unixsocket "$folder/redis.sock" --save "" --appendonly no >server.txt &
server=$!
cat >run.mjs <<'JS'
import Redis from "ioredis"
import { existsSync } from "node:fs"
import { setTimeout } from "node:timers/promises"
import { createClient } from "redis"

const path = `${process.cwd()}/redis.sock`
for (let tries = 0; tries < 100 && !existsSync(path); tries++) await setTimeout(100)
const other = new Redis(path)
console.log("Redis", /redis_version:(\S+)/.exec(await other.info("server"))[1])

for (const RESP of [2, 3]) {
  const client = createClient({ RESP, socket: { path } })
  await client.connect()
  await client.del("events")
  await client.xGroupCreate("events", "mail", "0", { MKSTREAM: true })
  for (const n of [1, 2, 3]) await client.xAdd("events", `${n}-0`, { n: String(n) })
  const read = async (id) => {
    try {
      const streams = await client.xReadGroup("mail", "first", { key: "events", id })
      return streams[0].messages.map(({ id, message }) => `${id} ${message.n}`).join(", ")
    } catch (error) {
      return `${error.name}: ${error.message}`
    }
  }
  console.log(`RESP ${RESP}, at first: ${await read(">")}`)
  console.log("  its history before the cut:", await read("0"))
  await client.xTrim("events", "MAXLEN", 2)
  console.log("  its history after it:", await read("0"))
  console.log("  once more:", await read("0"))
  const [[, entries]] = await other.xreadgroup("GROUP", "mail", "first", "STREAMS", "events", "0")
  console.log("  by ioredis:", JSON.stringify(entries))
  console.log("  pending:", (await client.xPending("events", "mail")).pending)
  const { messages, deletedMessages } = await client.xAutoClaim("events", "mail", "second", 0, "0")
  console.log("  claimed by another:", messages.map(({ id }) => id).join(" "), "deleted:", deletedMessages.join(" "))
  client.destroy()
}
other.disconnect()
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
Redis 7.0.15
RESP 2, at first: 1-0 1, 2-0 2, 3-0 3
  its history before the cut: 1-0 1, 2-0 2, 3-0 3
  its history after it: TypeError: Cannot read properties of null (reading 'length')
  once more: TypeError: Cannot read properties of null (reading 'length')
  by ioredis: [["1-0",null],["2-0",["n","2"]],["3-0",["n","3"]]]
  pending: 3
  claimed by another: 2-0 3-0 deleted: 1-0
RESP 3, at first: 1-0 1, 2-0 2, 3-0 3
  its history before the cut: 1-0 1, 2-0 2, 3-0 3
  its history after it: TypeError: Cannot read properties of null (reading 'length')
  once more: TypeError: Cannot read properties of null (reading 'length')
  by ioredis: [["1-0",null],["2-0",["n","2"]],["3-0",["n","3"]]]
  pending: 3
  claimed by another: 2-0 3-0 deleted: 1-0
SEEN
echo "as described"
