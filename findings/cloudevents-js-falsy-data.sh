#!/usr/bin/env bash
# The data of an event is lost when it is read in structured mode, if it is 0, false or "".
#
# Software: cloudevents 10.0.0 (the JavaScript SDK).
# Input:    events whose data is 0, false or "", which are JSON values like any other, written and read in structured mode, over HTTP and over Kafka.
# Guess:    what is read is what was written. A counter of zero and a switch that is off are data.
# Seen:     over HTTP the event that is read has no data, and has none when it is passed on; there is no error. What was sent holds it, and 1, true
#           and other text are read. By the same SDK over Kafka each of them is there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 cloudevents@10.0.0
cat >run.mjs <<'JS'
import { CloudEvent, HTTP, Kafka } from "cloudevents"

const data = (text) => /"data":.*?(?=[,}])/.exec(text)?.[0] ?? "no data"
for (const value of [0, false, "", 1, true, "off", []]) {
  const event = new CloudEvent({ id: "1", source: "/switch", type: "turned", datacontenttype: "application/json", data: value })
  const sent = HTTP.structured(event)
  const seen = [`sent ${data(sent.body)}`]
  try {
    const received = HTTP.toEvent(sent)
    seen.push(`read ${JSON.stringify(received.data)}`, `passed on ${data(HTTP.structured(received).body)}`)
  } catch (error) {
    seen.push(error.message)
  }
  seen.push(`by Kafka: read ${JSON.stringify(Kafka.toEvent(Kafka.structured(event)).data)}`)
  console.log(`${JSON.stringify(value)} | ${seen.join(" | ")}`)
}
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
0 | sent "data":0 | read undefined | passed on no data | by Kafka: read 0
false | sent "data":false | read undefined | passed on no data | by Kafka: read false
"" | sent "data":"" | read undefined | passed on no data | by Kafka: read ""
1 | sent "data":1 | read 1 | passed on "data":1 | by Kafka: read 1
true | sent "data":true | read true | passed on "data":true | by Kafka: read true
"off" | sent "data":"off" | read "off" | passed on "data":"off" | by Kafka: read "off"
[] | sent "data":[] | read [] | passed on "data":[] | by Kafka: read []
SEEN
echo "as described"
