#!/usr/bin/env bash
# A schedule of every minute in a time zone is silent for an hour in the night when the clocks go back.
#
# Software: effect 4.1.0 (Cron); croner 11.0.1, cron-parser 5.10.6 and cron 4.4.0 to compare.
# Input:    "every minute", "every fifteen minutes" and "every hour" in Europe/Berlin, asked for what comes next in the night of 25 October 2026, and
#           whether a minute of the second hour matches.
# Guess:    a pattern with a star for the hour runs on. That a time which comes twice is run once by default concerns a job of that very time.
# Seen:     nothing comes in the second of the two hours: after 02:59 comes 03:00, 61 minutes later. Yet Cron.match says of each
#           minute in it that it matches. The other three run on. With onDstOverlap: "both" Effect does too, but then a job of half past two runs twice.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 effect@4.1.0 croner@11.0.1 cron-parser@5.10.6 cron@4.4.0
cat >run.mjs <<'JS'
import { CronTime } from "cron"
import { CronExpressionParser } from "cron-parser"
import { Cron as Croner } from "croner"
import { Cron } from "effect"

const zone = "Europe/Berlin"
const next = {
  effect: (expression, after) => Cron.next(Cron.parseUnsafe(expression, zone), after),
  'effect, "both"': (expression, after) => Cron.next(Cron.parseUnsafe(expression, zone, { onDstOverlap: "both" }), after),
  croner: (expression, after) => new Croner(expression, { timezone: zone }).nextRun(after),
  "cron-parser": (expression, after) => CronExpressionParser.parse(expression, { currentDate: after, tz: zone }).next().toDate(),
  cron: (expression, after) => new CronTime(expression, zone).getNextDateFrom(after, zone).toJSDate()
}
// 02:00 to 03:00 comes twice, from 00:00 and from 01:00 of UTC.
const from = new Date("2026-10-24T23:59:59Z")
const until = new Date("2026-10-25T03:00:00Z")
for (const expression of ["* * * * *", "*/15 * * * *", "0 * * * *", "30 2 * * *"]) {
  console.log(expression)
  for (const [name, after] of Object.entries(next)) {
    const times = [from]
    while (times.at(-1) < until) times.push(after(expression, times.at(-1)))
    const seen = times.slice(1).filter((time) => time < until)
    const gaps = seen.slice(1).map((time, n) => (time - seen[n]) / 60_000)
    console.log(`  ${name}: ${seen.length} times in three hours, the longest wait ${gaps.length === 0 ? "none" : `${Math.max(...gaps)} minutes`}`)
  }
}
const every = Cron.parseUnsafe("* * * * *", zone)
console.log("01:30 UTC matches:", Cron.match(every, "2026-10-25T01:30:00Z"), "| comes after 01:29 UTC:", Cron.next(every, "2026-10-25T01:29:00Z").toISOString())
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
* * * * *
  effect: 120 times in three hours, the longest wait 61 minutes
  effect, "both": 180 times in three hours, the longest wait 1 minutes
  croner: 180 times in three hours, the longest wait 1 minutes
  cron-parser: 180 times in three hours, the longest wait 1 minutes
  cron: 180 times in three hours, the longest wait 1 minutes
*/15 * * * *
  effect: 8 times in three hours, the longest wait 75 minutes
  effect, "both": 12 times in three hours, the longest wait 15 minutes
  croner: 12 times in three hours, the longest wait 15 minutes
  cron-parser: 12 times in three hours, the longest wait 15 minutes
  cron: 12 times in three hours, the longest wait 15 minutes
0 * * * *
  effect: 2 times in three hours, the longest wait 120 minutes
  effect, "both": 3 times in three hours, the longest wait 60 minutes
  croner: 3 times in three hours, the longest wait 60 minutes
  cron-parser: 3 times in three hours, the longest wait 60 minutes
  cron: 3 times in three hours, the longest wait 60 minutes
30 2 * * *
  effect: 1 times in three hours, the longest wait none
  effect, "both": 2 times in three hours, the longest wait 60 minutes
  croner: 1 times in three hours, the longest wait none
  cron-parser: 1 times in three hours, the longest wait none
  cron: 1 times in three hours, the longest wait none
01:30 UTC matches: true | comes after 01:29 UTC: 2026-10-25T02:00:00.000Z
SEEN
echo "as described"
