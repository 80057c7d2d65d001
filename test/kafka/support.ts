/** What the tests of Kafka share. */
import { KafkaTransport } from "eventfold/kafka"
import { randomUUID } from "node:crypto"
import { type Broker } from "../support/brokers.ts"
import { layLine, useLine } from "../support/transports.ts"

/** A topic that nothing else uses. */
export const freshTopic = (): string => `test-${randomUUID()}`

export const layer = (brokers: string, options: Omit<KafkaTransport.Options, "brokers"> = {}) =>
  KafkaTransport.layerWith({ brokers: brokers.split(","), topic: freshTopic(), partitions: 3, session: "2 seconds", ...options })

/** A way to the broker, which tells its clients to come by it. */
export const useLineTo = (broker: () => Broker) =>
  useLine(() => {
    const { listen, target } = broker().proxied ?? { listen: 0, target: 0 }
    return layLine(() => ({ hostname: "127.0.0.1", port: target }), { port: listen })
  })
