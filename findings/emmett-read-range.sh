#!/usr/bin/env bash
# The same range of a stream gives other events in Emmett's store in memory than in its store on PostgreSQL.
#
# Software: @event-driven-io/emmett 0.42.0, @event-driven-io/emmett-postgresql 0.42.0; PGlite 0.5.14 stands for the server.
# Input:    five events in one stream; readStream with "from" and with "maxCount", as both stores' types allow.
# Guess:    one meaning in both, since one is there to test for the other; at most maxCount events.
# Seen:     from 2 begins after the second event in memory, and at the second on PostgreSQL.
#           With both options, PostgreSQL gives one event more than maxCount.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 @event-driven-io/emmett@0.42.0 @event-driven-io/emmett-postgresql@0.42.0 pg@8.23.1 \
  @electric-sql/pglite@0.5.14 @electric-sql/pglite-socket@0.2.17
cat >run.mjs <<'JS'
import { PGlite } from "@electric-sql/pglite"
import { PGLiteSocketServer } from "@electric-sql/pglite-socket"
import { getInMemoryEventStore } from "@event-driven-io/emmett"
import { getPostgreSQLEventStore } from "@event-driven-io/emmett-postgresql"
import { createServer } from "node:net"

const port = await new Promise((resolve) => {
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const { port } = probe.address()
    probe.close(() => resolve(port))
  })
})
const database = await PGlite.create()
const server = new PGLiteSocketServer({ db: database, host: "127.0.0.1", port, maxConnections: 5 })
await server.start()

const stores = {
  memory: getInMemoryEventStore(),
  postgresql: getPostgreSQLEventStore(`postgresql://postgres:postgres@127.0.0.1:${port}/postgres`, { connectionOptions: { pooled: false } })
}
const ranges = { "from 2": { from: 2n }, "from 2, maxCount 2": { from: 2n, maxCount: 2n }, "maxCount 2": { maxCount: 2n } }
for (const [name, store] of Object.entries(stores)) {
  await store.appendToStream("account-1", [1, 2, 3, 4, 5].map((n) => ({ type: "noted", data: { n } })))
  for (const [said, options] of Object.entries(ranges)) {
    const { events } = await store.readStream("account-1", options)
    console.log(`${name} | ${said} | ${events.map((event) => event.data.n).join(" ")}`)
  }
}
await stores.postgresql.close()
await server.stop()
await database.close()
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
memory | from 2 | 3 4 5
memory | from 2, maxCount 2 | 3 4
memory | maxCount 2 | 1 2
postgresql | from 2 | 2 3 4 5
postgresql | from 2, maxCount 2 | 2 3 4
postgresql | maxCount 2 | 1 2
SEEN
echo "as described"
