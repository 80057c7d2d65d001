#!/usr/bin/env bash
# fetch-event-source loses the event during which a connection breaks: it asks for what comes after an event that it has not given.
#
# Software: @microsoft/fetch-event-source 2.0.1, with globalThis as its window and an EventTarget as its document; eventsource 4.1.1 to compare.
# Input:    a server of events with ids, whose first connection breaks in the middle of the second event, after its id; then it goes on after
#           the Last-Event-ID that it is sent, as the standard has it.
# Guess:    an id counts once its event has been given. So the second event comes again, whole, on the second connection.
# Seen:     the id counts as soon as its line is read. The client sends Last-Event-ID: 2, gets the third event, and the second is never given, without
#           an error. The larger an event is, the likelier the break is within it. With eventsource it is 1, and all events are given.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 @microsoft/fetch-event-source@2.0.1 eventsource@4.1.1
cat >run.mjs <<'JS'
globalThis.window = globalThis
globalThis.document = new EventTarget()
import fetchEventSource from "@microsoft/fetch-event-source"
import { EventSource } from "eventsource"
import { once } from "node:events"
import { createServer } from "node:http"
import { setImmediate } from "node:timers/promises"

const events = ["opened", "paid", "sent"].map((data, n) => `id: ${n + 1}\ndata: ${data}\n\n`)
const run = async (name, listen) => {
  let connections = 0
  const { promise: read, resolve: hasRead } = Promise.withResolvers()
  const { promise: done, resolve } = Promise.withResolvers()
  const server = createServer(async (request, response) => {
    const last = Number(request.headers["last-event-id"] ?? 0)
    console.log(`${name}: connection ${++connections}, Last-Event-ID: ${request.headers["last-event-id"] ?? "none"}`)
    response.writeHead(200, { "content-type": "text/event-stream" })
    response.write("retry: 100\n\n")
    if (connections === 1) {
      response.write(events[0] + events[1].slice(0, 12))
      // Both came in one piece: who has given the first event has read that much of the second.
      await read
      await setImmediate()
      return response.destroy()
    }
    response.write(events.slice(last).join(""))
  }).listen(0, "127.0.0.1")
  await once(server, "listening")
  const given = []
  const close = listen(`http://127.0.0.1:${server.address().port}`, ({ id, data }) => {
    given.push(`${id} ${data}`)
    hasRead()
    if (data === "sent") resolve()
  })
  await done
  console.log(`${name}: given ${given.join(", ")}`)
  close()
  server.closeAllConnections()
  server.close()
}
await run("eventsource", (url, on) => {
  const source = new EventSource(url)
  source.onmessage = ({ lastEventId, data }) => on({ id: lastEventId, data })
  return () => source.close()
})
await run("fetch-event-source", (url, on) => {
  const abort = new AbortController()
  // A block without data is given as well by this client: the one with the time to wait.
  const onmessage = (event) => event.data !== "" && on(event)
  fetchEventSource.fetchEventSource(url, { openWhenHidden: true, signal: abort.signal, onmessage })
  return () => abort.abort()
})
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
eventsource: connection 1, Last-Event-ID: none
eventsource: connection 2, Last-Event-ID: 1
eventsource: given 1 opened, 2 paid, 3 sent
fetch-event-source: connection 1, Last-Event-ID: none
fetch-event-source: connection 2, Last-Event-ID: 2
fetch-event-source: given 1 opened, 3 sent
SEEN
echo "as described"
