#!/usr/bin/env bash
# JetStream takes a message for a duplicate of one that the stream does not hold any more, and confirms it.
#
# Software: nats-server 2.12.1 (Go must be there to build it), @nats-io/jetstream 3.4.0.
# Input:    a message with an id; the stream is purged, or the message deleted, or replaced by a newer one of its subject; the same message again
#           within the window of duplicates.
# Guess:    the stream stores it, since it holds no such message.
# Seen:     the answer is a confirmation, marked as a duplicate, with the sequence of the message that is gone. Nothing is stored.
#           The window is the stream's, not the subject's: an id that was used on one subject is a duplicate on any other.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server" && wait "$server"; } || true; chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
GOBIN="$folder/bin" GOPATH="$folder/go" GOFLAGS=-mod=mod go install github.com/nats-io/nats-server/v2@v2.12.1 2>build.txt || { cat build.txt; exit 1; }
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 @nats-io/jetstream@3.4.0 @nats-io/transport-node@3.4.0
bin/nats-server -a 127.0.0.1 -p -1 --ports_file_dir "$folder" -js -sd "$folder/data" -l server.txt &
server=$!
cat >run.mjs <<'JS'
import { jetstream, jetstreamManager } from "@nats-io/jetstream"
import { connect } from "@nats-io/transport-node"
import { readFileSync, readdirSync } from "node:fs"
import { setTimeout } from "node:timers/promises"

const address = async () => {
  for (let tries = 0; tries < 100; tries++) {
    const file = readdirSync(".").find((name) => name.endsWith(".ports"))
    const text = file === undefined ? "" : readFileSync(file, "utf8")
    if (text.trim() !== "") return JSON.parse(text).nats[0]
    await setTimeout(100)
  }
  throw new Error("the server did not start")
}
const connection = await connect({ servers: await address() })
const manager = await jetstreamManager(connection)
const stream = jetstream(connection)
await manager.streams.add({ name: "EVENTS", subjects: ["events.>"], max_msgs_per_subject: 1 })

const publish = (subject, msgID) => stream.publish(subject, "text", { msgID })
const again = async (what, subject, msgID) => {
  const { duplicate, seq } = await publish(subject, msgID)
  const { state } = await manager.streams.info("EVENTS")
  const held = await manager.streams.getMessage("EVENTS", { seq })
  console.log(`${what} | confirmed as ${seq}, duplicate ${duplicate} | held under ${seq}: ${held?.subject ?? "nothing"} | in the stream: ${state.messages}`)
}
const first = await publish("events.deleted", "1")
await manager.streams.deleteMessage("EVENTS", first.seq)
await again("after it was deleted", "events.deleted", "1")
await publish("events.purged", "2")
await manager.streams.purge("EVENTS")
await again("after a purge", "events.purged", "2")
await publish("events.replaced", "3")
await publish("events.replaced", "4")
await again("after a newer one replaced it", "events.replaced", "3")
await again("on another subject", "events.other", "4")
await connection.close()
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
after it was deleted | confirmed as 1, duplicate true | held under 1: nothing | in the stream: 0
after a purge | confirmed as 2, duplicate true | held under 2: nothing | in the stream: 0
after a newer one replaced it | confirmed as 3, duplicate true | held under 3: nothing | in the stream: 1
on another subject | confirmed as 4, duplicate true | held under 4: events.replaced | in the stream: 1
SEEN
echo "as described"
