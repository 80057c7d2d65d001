#!/usr/bin/env bash
# The JavaScript SDK of CloudEvents sends text in binary mode as it stands, and calls it application/json.
#
# Software: cloudevents 10.0.0.
# Input:    an event whose data is a string, and which names no datacontenttype, by HTTP.binary.
# Guess:    a JSON string, in quotes; or text/plain.
# Seen:     content-type application/json with the bare text as the body. A reader who goes by the content type takes "42" for a
#           number and cannot read "to be paid" at all. The SDK reads what it wrote back as strings, save text that is an object or an
#           array in JSON, which comes back as an object. In structured mode all of them stay strings.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 cloudevents@10.0.0
cat >run.mjs <<'JS'
import { CloudEvent, HTTP } from "cloudevents"

const parsed = (body) => {
  try {
    return typeof JSON.parse(body)
  } catch {
    return "no JSON"
  }
}
for (const data of ["42", "to be paid", '{"a":1}']) {
  const event = new CloudEvent({ id: "1", source: "/shop", type: "noted", data })
  const binary = HTTP.binary(event)
  const read = ["binary", "structured"].map((mode) => `${mode} ${typeof HTTP.toEvent(HTTP[mode](event)).data}`)
  console.log(`${data} | ${binary.headers["content-type"]} | body ${binary.body} is ${parsed(binary.body)} | read: ${read.join(", ")}`)
}
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
42 | application/json; charset=utf-8 | body 42 is number | read: binary string, structured string
to be paid | application/json; charset=utf-8 | body to be paid is no JSON | read: binary string, structured string
{"a":1} | application/json; charset=utf-8 | body {"a":1} is object | read: binary object, structured string
SEEN
echo "as described"
