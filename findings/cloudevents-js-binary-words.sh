#!/usr/bin/env bash
# Bytes in a structured event are read as 32-bit words, and sent on in binary mode each is four bytes.
#
# Software: cloudevents 10.0.0 (the JavaScript SDK) and fetch of Node 24.21.0.
# Input:    an event with bytes as data, in structured mode (data_base64); the SDK reads it and sends it on in binary mode, by fetch.
# Guess:    the same bytes arrive. Data in bytes is what data_base64 is for, and a change of mode is not to change the data.
# Seen:     the data that is read is a Uint32Array with an element for each byte. fetch sends the memory of it, so each byte has three zeros
#           after it. In binary mode what is read is a Buffer, and passed on as it came.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 cloudevents@10.0.0
cat >run.mjs <<'JS'
import { CloudEvent, HTTP } from "cloudevents"
import { once } from "node:events"
import { createServer } from "node:http"

const received = []
const server = createServer(async (request, response) => {
  const pieces = []
  for await (const piece of request) pieces.push(piece)
  received.push({ headers: request.headers, body: Buffer.concat(pieces) })
  response.end()
}).listen(0, "127.0.0.1")
await once(server, "listening")
const send = async ({ headers, body }) => {
  await (await fetch(`http://127.0.0.1:${server.address().port}`, { method: "POST", headers, body })).text()
  return received.at(-1)
}

const event = new CloudEvent({
  id: "1", source: "/camera", type: "taken", datacontenttype: "application/octet-stream", data: new Uint8Array([1, 2, 255])
})
console.log("sent in binary mode:", (await send(HTTP.binary(event))).body)
const structured = await send(HTTP.structured(event))
console.log("sent in structured mode:", JSON.parse(structured.body).data_base64)
const read = HTTP.toEvent({ headers: structured.headers, body: structured.body.toString() })
console.log("read:", read.data)
const passed = await send(HTTP.binary(read))
console.log("passed on in binary mode:", passed.body)
const again = HTTP.toEvent(passed)
console.log("read and passed on again:", again.data.constructor.name, (await send(HTTP.binary(again))).body)
server.close()
server.closeAllConnections()
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
sent in binary mode: <Buffer 01 02 ff>
sent in structured mode: AQL/
read: Uint32Array(3) [ 1, 2, 255 ]
passed on in binary mode: <Buffer 01 00 00 00 02 00 00 00 ff 00 00 00>
read and passed on again: Buffer <Buffer 01 00 00 00 02 00 00 00 ff 00 00 00>
SEEN
echo "as described"
