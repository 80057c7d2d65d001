#!/usr/bin/env bash
# RcMap keeps a failed look-up as it keeps a good one: until nobody has asked for it for the whole idle time.
#
# Software: effect 4.1.0 (RcMap, and with it LayerMap).
# Input:    a look-up that fails the first time and would succeed from then on, in an RcMap with an idleTimeToLive of a minute, and in one without.
# Guess:    only what was acquired is kept, since a failure holds no resource; whoever asks next looks up again.
# Seen:     with an idle time the failure is given to everybody for that time, and each who asks makes it last longer: asked every half a
#           minute, it is there after ten minutes. Nothing is looked up again before RcMap.invalidate. Without an idle time it is as guessed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 effect@4.1.0
cat >run.mjs <<'JS'
import { Effect, RcMap } from "effect"
import { TestClock } from "effect/testing"

const asked = (idleTimeToLive) =>
  Effect.gen(function* () {
    let lookups = 0
    const map = yield* RcMap.make({
      lookup: (key) =>
        Effect.suspend(() => (++lookups === 1 ? Effect.fail("not reachable") : Effect.succeed(`connected to ${key}`))),
      ...(idleTimeToLive === undefined ? {} : { idleTimeToLive })
    })
    const get = Effect.scoped(RcMap.get(map, "a")).pipe(
      Effect.catch((error) => Effect.succeed(error)),
      Effect.map((seen) => `${seen} (${lookups})`)
    )
    console.log("at first:", yield* get)
    console.log("at once again:", yield* get)
    for (let half = 0; half < 20; half++) {
      yield* TestClock.adjust("30 seconds")
      yield* get
    }
    console.log("after ten minutes of asking:", yield* get)
    yield* RcMap.invalidate(map, "a")
    console.log("invalidated:", yield* get)
  }).pipe(Effect.scoped, Effect.provide(TestClock.layer()))

console.log("idle for a minute")
await Effect.runPromise(asked("1 minute"))
console.log("no idle time")
await Effect.runPromise(asked(undefined))
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
idle for a minute
at first: not reachable (1)
at once again: not reachable (1)
after ten minutes of asking: not reachable (1)
invalidated: connected to a (2)
no idle time
at first: not reachable (1)
at once again: connected to a (2)
after ten minutes of asking: connected to a (23)
invalidated: connected to a (24)
SEEN
echo "as described"
