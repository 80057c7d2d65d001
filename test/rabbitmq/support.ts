import { afterAll, beforeAll } from "@effect/vitest"
import { RabbitMqTransport } from "eventfold/rabbitmq"
import { randomUUID } from "node:crypto"
import { once } from "node:events"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
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

/** A way to the broker that can be cut. */
export interface Line {
  readonly url: string
  /** Breaks all connections; new ones are welcome at once. */
  readonly cut: () => void
}

/** Sends on what comes, no faster than so many bytes a second. */
const throttle = (from: Socket, to: Socket, rate: number) => {
  from.on("data", (chunk) => {
    to.write(chunk)
    from.pause()
    setTimeout(() => from.resume(), (1000 * chunk.length) / rate)
  })
  from.on("end", () => to.end())
}

export const useLine = (
  broker: () => Broker,
  /** How many bytes a second go to the broker. */
  rate = Infinity
): (() => Line) => {
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    const { hostname, port } = new URL(broker().url)
    const far = connect(Number(port), hostname)
    for (const [socket, other] of [
      [near, far],
      [far, near]
    ] as const) {
      sockets.add(socket)
      if (socket === near && rate < Infinity) throttle(socket, other, rate)
      else socket.pipe(other)
      socket.on("error", () => {})
      socket.on("close", () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
  })
  const cut = () => {
    for (const socket of sockets) socket.destroy()
  }
  let url: URL | undefined
  beforeAll(async () => {
    server.listen(0, "127.0.0.1")
    await once(server, "listening")
    url = new URL(broker().url)
    url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  afterAll(() => {
    cut()
    server.close()
  })
  return () => {
    if (url === undefined) throw new Error("the line has not been laid")
    return { url: url.href, cut }
  }
}
