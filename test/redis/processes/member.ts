/** A process that is a member of the group "g" with concurrency 3: it prints the id of each message, and settles none. */
import { NodeRedis } from "@effect/platform-node"
import { Effect, Layer, Stream } from "effect"
import { Transport } from "eventfold"
import { RedisTransport } from "eventfold/redis"

const { lease, name, url } = JSON.parse(process.argv[2] as string) as {
  readonly url: string
  readonly name: string
  readonly lease: number
}

const Live = RedisTransport.layerWith({ name, lease }).pipe(Layer.provide(NodeRedis.layer({ url })))

await Transport.subscribe({ group: "g", concurrency: 3 }).pipe(
  Stream.runForEach(({ message }) => Effect.sync(() => console.log(message.id))),
  Effect.provide(Live),
  Effect.runPromise
)
