#!/usr/bin/env bash
# A conditional publish to JetStream that is sent again, because its answer was lost, is refused by a new server and confirmed by an older one.
#
# Software: nats-server 2.12.1 and 2.9.10 (Go must be there to build them), @nats-io/jetstream 3.4.0.
# Input:    a message with an id and the expected last sequence of its subject, twice alike within the window of duplicates.
# Guess:    what the older server does: the id is known, so the second is confirmed as a duplicate. Id and expectation are there for just this.
# Seen:     2.9.10 looks at the id first, and confirms a duplicate. 2.12.1 looks at the expectation first, and refuses: "wrong last sequence".
#           Whoever takes that error for a lost race decides anew, and writes a second time.
set -euo pipefail
folder=$(mktemp -d)
server=
stop() {
  [ -z "$server" ] || { kill "$server" && wait "$server"; } || true
  server=
}
trap 'stop; chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 @nats-io/jetstream@3.4.0 @nats-io/transport-node@3.4.0
cat >run.mjs <<'JS'
import { jetstream, jetstreamManager } from "@nats-io/jetstream"
import { connect } from "@nats-io/transport-node"
import { readFileSync, readdirSync } from "node:fs"
import { setTimeout } from "node:timers/promises"

const folder = process.argv[2]
const address = async () => {
  for (let tries = 0; tries < 100; tries++) {
    const file = readdirSync(folder).find((name) => name.endsWith(".ports"))
    const text = file === undefined ? "" : readFileSync(`${folder}/${file}`, "utf8")
    if (text.trim() !== "") return JSON.parse(text).nats[0]
    await setTimeout(100)
  }
  throw new Error("the server did not start")
}
const connection = await connect({ servers: await address() })
const manager = await jetstreamManager(connection)
const stream = jetstream(connection)
await manager.streams.add({ name: "EVENTS", subjects: ["events.>"] })
for (const which of ["first", "again"]) {
  const answer = await stream.publish("events.account-1", "text", { msgID: "1", expect: { lastSubjectSequence: 0 } }).then(
    ({ duplicate, seq }) => `confirmed as ${seq}, duplicate ${duplicate}`,
    (error) => `refused: ${error.message}`
  )
  console.log(`${connection.info.version} | ${which} | ${answer}`)
}
await connection.close()
JS
for version in 2.9.10 2.12.1; do
  GOBIN="$folder/$version" GOPATH="$folder/go" GOFLAGS=-mod=mod go install "github.com/nats-io/nats-server/v2@v$version" 2>build.txt || { cat build.txt; exit 1; }
  "$version/nats-server" -a 127.0.0.1 -p -1 --ports_file_dir "$folder/$version" -js -sd "$folder/$version/data" -l "$version/log.txt" &
  server=$!
  node_modules/.bin/node run.mjs "$version" | tee -a seen.txt
  stop
done
diff seen.txt - <<'SEEN'
2.9.10 | first | confirmed as 1, duplicate false
2.9.10 | again | confirmed as 1, duplicate true
2.12.1 | first | confirmed as 1, duplicate false
2.12.1 | again | refused: wrong last sequence: 1
SEEN
echo "as described"
