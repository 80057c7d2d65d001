// A member of the group "g" in a process of its own: `member-child.ts <url> <exchange>`. It takes up to five messages, prints the
// position of each and settles none.
import { Effect, Stream } from "effect"
import { Transport } from "eventfold"
import { RabbitMqTransport } from "eventfold/rabbitmq"
import { writeSync } from "node:fs"

const [url = "", exchange = ""] = process.argv.slice(2)

await Transport.subscribe({ group: "g", concurrency: 5 }).pipe(
  Stream.runForEach(({ message }) => Effect.sync(() => writeSync(1, `${message.position}\n`))),
  Effect.provide(RabbitMqTransport.layer({ url, exchange })),
  Effect.runPromise
)
