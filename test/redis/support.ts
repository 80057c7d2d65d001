/** What the tests of the transport on Redis share. */
import { NodeRedis } from "@effect/platform-node"
import { Context, Effect, Layer, type Scope } from "effect"
import { Redis } from "effect/persistence"
import { Transport } from "eventfold"
import { RedisTransport } from "eventfold/redis"
import { startBroker } from "../support/brokers.ts"

/** The transport over a connection of its own, with the server's commands beside it. */
export const connected = (url: string, options: RedisTransport.Options, client: Parameters<typeof NodeRedis.layer>[0] = {}) =>
  RedisTransport.layerWith(options).pipe(
    Layer.provideMerge(Layer.fresh(NodeRedis.layer({ url, disableOfflineQueue: true, ...client })))
  )

export interface Opened {
  readonly transport: Transport.Transport["Service"]
  readonly redis: Redis.Redis["Service"]
}

export const open = (...parameters: Parameters<typeof connected>): Effect.Effect<Opened, unknown, Scope.Scope> =>
  Effect.map(Layer.build(connected(...parameters)), (context) => ({
    transport: Context.get(context, Transport.Transport),
    redis: Context.get(context, Redis.Redis)
  }))

/** A server that the test may stop. */
export const ownServer = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() => startBroker("redis", { own: true })),
    ({ dispose }) => Effect.promise(dispose)
  ),
  ({ server, url }) => {
    if (server === undefined) throw new Error("no server of one's own")
    return { url, ...server }
  }
)

let names = 0
/** The name of a stream that nobody else uses. */
export const freshName = () => `test ${process.pid} ${Date.now()} ${++names}`
