import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { RabbitMqTransport } from "eventfold/rabbitmq"
import { isExpected } from "../support/brokers.ts"
import { assertOutlivesSilence } from "../support/silence.ts"
import { useBroker } from "../support/transports.ts"
import { freshExchange } from "./support.ts"

describe.runIf(isExpected("rabbitmq"))("the transport over RabbitMQ", () => {
  const broker = useBroker("rabbitmq", { own: true })

  it.live(
    "gives up a connection that falls silent, in time, and goes on over another one; closing ends, too",
    () =>
      Effect.gen(function* () {
        const exchange = freshExchange()
        const over = (url: string) =>
          Effect.succeed(RabbitMqTransport.layer({ url, exchange, timeout: "1 second", heartbeat: "1 second" }))
        yield* assertOutlivesSilence(broker().url, over, 12_000)
      }).pipe(Effect.scoped),
    90_000
  )
})
