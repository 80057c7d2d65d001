import { randomUUID } from "node:crypto"
import { afterAll, beforeAll } from "@effect/vitest"
import { RabbitMqTransport } from "eventfold/rabbitmq"
import { type Broker, startBroker } from "../support/brokers.ts"

/** A broker for the tests of a file, which a test may stop if it is their `own`. */
export const useBroker = (options: { readonly own?: boolean } = {}): (() => Broker) => {
  let broker: Broker | undefined
  beforeAll(async () => {
    broker = await startBroker("rabbitmq", options)
  }, 60_000)
  afterAll(() => broker?.dispose())
  return () => {
    if (broker === undefined) throw new Error("the broker has not been started")
    return broker
  }
}

/** An exchange that nothing else uses. */
export const freshExchange = (): string => `test-${randomUUID()}`

export const layer = (broker: Broker, options: Partial<RabbitMqTransport.Options> = {}) =>
  RabbitMqTransport.layer({ url: broker.url, exchange: freshExchange(), ...options })
