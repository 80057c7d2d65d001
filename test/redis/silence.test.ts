import { NodeRedis } from "@effect/platform-node"
import { describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { RedisTransport } from "eventfold/redis"
import { isExpected } from "../support/brokers.ts"
import { assertOutlivesSilence } from "../support/silence.ts"
import { freshName, ownServer } from "./support.ts"

/** As the guide says, in shorter times: what is idle for longer than pings are apart has fallen silent. */
const client = (url: string): Parameters<typeof NodeRedis.layer>[0] => ({
  url,
  disableOfflineQueue: true,
  pingInterval: 50,
  socket: { socketTimeout: 200, reconnectStrategy: (retries) => Math.min(2 ** retries * 50, 2000) }
})

describe.runIf(isExpected("redis"))("the transport over Redis", () => {
  it.live(
    "gives up a connection that falls silent, in time, and goes on over another one; closing ends, too",
    () =>
      Effect.gen(function* () {
        const { url } = yield* ownServer
        const over = (url: string) =>
          Effect.map(Layer.build(NodeRedis.layer(client(url))), (client) =>
            RedisTransport.layerWith({ name: freshName(), timeout: "500 millis" }).pipe(
              Layer.provide(Layer.succeedContext(client))
            )
          )
        yield* assertOutlivesSilence(url, over, 8000)
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))),
    60_000
  )
})
