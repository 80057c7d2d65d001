#!/usr/bin/env bash
# The JavaScript SDK of CloudEvents shows the time of an event as it was given, and writes another text.
#
# Software: cloudevents 10.0.0.
# Input:    an event with a time of six fractional digits and an offset, as RFC 3339 and CloudEvents 1.0 allow.
# Guess:    the text that was given, since the property shows it unchanged; at the least the same instant.
# Seen:     event.time is the text that was given; toJSON and both modes write UTC in milliseconds, so that the microseconds are lost.
#           Two events that are a microsecond apart leave with the same time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 cloudevents@10.0.0
cat >run.mjs <<'JS'
import { CloudEvent, HTTP } from "cloudevents"

for (const time of ["2026-01-02T03:04:05.123456+02:00", "2026-01-02T03:04:05.123457+02:00"]) {
  const event = new CloudEvent({ id: "1", source: "/shop", type: "noted", time })
  const structured = JSON.parse(HTTP.structured(event).body).time
  console.log(`shown ${event.time} | structured ${structured} | binary ${HTTP.binary(event).headers["ce-time"]}`)
}
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
shown 2026-01-02T03:04:05.123456+02:00 | structured 2026-01-02T01:04:05.123Z | binary 2026-01-02T01:04:05.123Z
shown 2026-01-02T03:04:05.123457+02:00 | structured 2026-01-02T01:04:05.123Z | binary 2026-01-02T01:04:05.123Z
SEEN
echo "as described"
