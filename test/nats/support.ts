/** What the tests of NATS share. */
import { Effect } from "effect"
import type { NatsTransport } from "eventfold/nats"
import { type Broker, startBroker } from "../support/brokers.ts"

/** A server of one's own for each file. Quick to find out what is lost, and to connect again. */
export const server = Effect.acquireRelease(
  Effect.promise(() => startBroker("nats", { own: true })),
  ({ dispose }) => Effect.promise(dispose)
)

let streams = 0

/** The settings of a transport with a stream that nothing else has. */
export const options = ({ url }: Pick<Broker, "url">, more: NatsTransport.Options = {}): NatsTransport.Options => ({
  stream: `test-${process.pid}-${++streams}`,
  ackWait: "1 second",
  ...more,
  connection: { servers: url, reconnectTimeWait: 50, ...more.connection }
})
