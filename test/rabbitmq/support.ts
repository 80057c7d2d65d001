import { RabbitMqTransport } from "eventfold/rabbitmq"
import { randomUUID } from "node:crypto"
import type { Socket } from "node:net"
import { type Broker } from "../support/brokers.ts"
import { layLine, useLine } from "../support/transports.ts"

/** An exchange that nothing else uses. */
export const freshExchange = (): string => `test-${randomUUID()}`

export const layer = (broker: Broker, options: Partial<RabbitMqTransport.Options> = {}) =>
  RabbitMqTransport.layer({ url: broker.url, exchange: freshExchange(), ...options })

/** Sends on what comes, no faster than so many bytes a second. */
const throttle = (from: Socket, to: Socket, rate: number) => {
  from.on("data", (chunk) => {
    to.write(chunk)
    from.pause()
    setTimeout(() => from.resume(), (1000 * chunk.length) / rate)
  })
  from.on("end", () => to.end())
}

/** A way to the broker; so many bytes a second go to it. */
export const useLineTo = (broker: () => Broker, rate = Infinity) =>
  useLine(() =>
    layLine(() => new URL(broker().url), {
      join: (from, to, isFromClient) => {
        if (isFromClient && rate < Infinity) throttle(from, to, rate)
        else from.pipe(to)
      }
    })
  )
