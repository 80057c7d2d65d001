// A member of the group "g" in a process of its own: it takes up to five messages, prints the position of each and settles none.
import { Effect, Stream } from "effect"
import { Transport } from "eventfold"
import { KafkaTransport } from "eventfold/kafka"

const { brokers, groupProtocol, topic } = JSON.parse(process.argv[2] ?? "{}") as {
  readonly brokers: string
  readonly groupProtocol: "classic" | "consumer"
  readonly topic: string
}

await Transport.subscribe({ group: "g", concurrency: 5 }).pipe(
  Stream.runForEach(({ message }) => Effect.sync(() => console.log(message.position))),
  Effect.provide(KafkaTransport.layerWith({ brokers: [brokers], topic, groupProtocol, session: "2 seconds" })),
  Effect.runPromise
)
