/** What the tests of NATS share. */
import { DateTime } from "effect"
import type { Transport } from "eventfold"
import type { NatsTransport } from "eventfold/nats"

let streams = 0

/** The settings of a transport with a stream that nothing else has: quick to find out what is lost, and to connect again. */
export const options = ({ url }: { readonly url: string }, more: Omit<NatsTransport.Options, "stream"> = {}) => ({
  stream: `test-${process.pid}-${++streams}`,
  ackWait: "1 second" as const,
  ...more,
  connection: { servers: url, reconnectTimeWait: 50, ...more.connection }
})

export const message = (n: number, more: Partial<Transport.Message> = {}): Transport.Message => ({
  specversion: "1.0",
  id: `message-${n}`,
  source: "/shop",
  type: "OrderPlaced",
  subject: "Order-1",
  time: DateTime.makeUnsafe("2026-02-03T04:05:06.789Z"),
  datacontenttype: "application/json",
  data: { n },
  schemaversion: 1,
  position: n,
  ...more
})
