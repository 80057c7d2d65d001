/** What the tests of NATS share. */
import { it } from "@effect/vitest"
import { Effect } from "effect"
import { NatsTransport } from "eventfold/nats"
import { TransportConformance } from "eventfold/testing"
import { layLine, over, useBroker, useLine } from "../support/transports.ts"

let streams = 0

/** The settings of a transport with a stream that nothing else has: quick to find out what is lost, and to connect again. */
export const options = ({ url }: { readonly url: string }, more: Omit<NatsTransport.Options, "stream"> = {}) => ({
  stream: `test-${process.pid}-${++streams}`,
  ackWait: "1 second" as const,
  ...more,
  connection: { servers: url, reconnectTimeWait: 50, ...more.connection }
})

/** The conformance of the transport, on the server that is installed, or on another one: what a `describe` holds. */
export const conformance = (binary?: string): void => {
  const broker = useBroker("nats", { own: true, ...(binary !== undefined && { binary }) })
  const line = useLine(() => layLine(() => new URL(broker().url)))
  for (const { name, run } of TransportConformance.cases({
    storage: Effect.sync(() => NatsTransport.layerWith(options({ url: over(broker().url, line()) }))),
    abilities: { clock: "live", deduplicates: true, history: true, durable: true, shared: true },
    faults: {
      interrupt: Effect.sync(() => line().cut()),
      restart: Effect.promise(async () => {
        await broker().server?.stop("SIGKILL")
        await broker().server?.start()
      })
    }
  })) {
    it.live(name, () => run, 60_000)
  }
}
