/** A process that joins a group, prints the position of each message that it is given, and settles none. */
import { Effect, Stream } from "effect"
import { Transport } from "eventfold"
import { NatsTransport } from "eventfold/nats"

const options = JSON.parse(process.argv[2] as string) as NatsTransport.Options

await Transport.subscribe({ group: "g", concurrency: 5 }).pipe(
  Stream.runForEach(({ message }) => Effect.sync(() => console.log(message.position))),
  Effect.provide(NatsTransport.layerWith(options)),
  Effect.runPromise
)
