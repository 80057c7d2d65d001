#!/usr/bin/env bash
# The look-up of an RcMap sees the services of whoever asks first, also in place of those that the map was made with, and what it makes of them is
# given to all others.
#
# Software: effect 4.1.0 (RcMap, and with it LayerMap).
# Input:    a map that is made where the service Region is "eu" (its type asks for Region there, and not where keys are asked for); keys that are
#           first asked for with a Region of the caller's own, or without.
# Guess:    a look-up runs with the services that the map was made with: whoever asks is one of many, and shares what comes of it.
# Seen:     with those of the caller, where it has some of its own. A connection that is looked up within somebody's transaction, say, is that of the
#           transaction, and stays so for everybody when that has ended.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent node@24.21.0 effect@4.1.0
cat >run.mjs <<'JS'
import { Context, Effect, Layer, LayerMap, RcMap } from "effect"

class Region extends Context.Service()("Region") {}
class Store extends Context.Service()("Store") {}

const seen = Effect.gen(function* () {
  const map = yield* RcMap.make({ lookup: (key) => Effect.map(Region, (region) => `${key} in ${region}`) })
  const layers = yield* LayerMap.make((key) => Layer.effect(Store, Effect.map(Region, (region) => `${key} in ${region}`)))
  const store = (key) => Effect.map(layers.contextEffect(key), Context.get(Store))
  const ofCaller = Effect.provideService(Region, "us")
  console.log("RcMap, asked by a caller in us:", yield* RcMap.get(map, "a").pipe(ofCaller))
  console.log("RcMap, the same key, asked by anybody:", yield* RcMap.get(map, "a"))
  console.log("RcMap, another key:", yield* RcMap.get(map, "b"))
  console.log("LayerMap, asked by a caller in us:", yield* store("a").pipe(ofCaller))
  console.log("LayerMap, the same key, asked by anybody:", yield* store("a"))
  console.log("LayerMap, another key:", yield* store("b"))
})

await Effect.runPromise(seen.pipe(Effect.scoped, Effect.provideService(Region, "eu")))
JS
node_modules/.bin/node run.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
RcMap, asked by a caller in us: a in us
RcMap, the same key, asked by anybody: a in us
RcMap, another key: b in eu
LayerMap, asked by a caller in us: a in us
LayerMap, the same key, asked by anybody: a in us
LayerMap, another key: b in eu
SEEN
echo "as described"
