/** What the tests of transports share: messages, brokers, and ways to them. */
import { DateTime } from "effect"
import type { Transport } from "eventfold"
import { once } from "node:events"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { afterAll, beforeAll } from "vitest"
import { type Broker, startBroker } from "./brokers.ts"

/** A message, numbered. */
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

/** A broker for the tests of a file, which a test may stop if it is their `own`. */
export const useBroker = (...start: Parameters<typeof startBroker>): (() => Broker) => {
  let broker: Broker | undefined
  beforeAll(async () => {
    broker = await startBroker(...start)
  }, 120_000)
  afterAll(() => broker?.dispose())
  return () => {
    if (broker === undefined) throw new Error("the broker has not been started")
    return broker
  }
}

/** A way to a server that can be cut. */
export interface Line {
  readonly port: number
  /** Breaks all connections; new ones are welcome at once. */
  readonly cut: () => void
  readonly dispose: () => Promise<void>
}

/** Lays a line to where `target` says whenever somebody comes, on `port` or on any. `join` carries what is said each way. */
export const layLine = async (
  target: () => { readonly hostname: string; readonly port: number | string },
  {
    join = (from, to) => void from.pipe(to),
    port = 0
  }: {
    readonly port?: number
    readonly join?: (from: Socket, to: Socket, isFromClient: boolean) => void
  } = {}
): Promise<Line> => {
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    const { hostname, port } = target()
    const far = connect(Number(port), hostname)
    for (const [socket, other] of [
      [near, far],
      [far, near]
    ] as const) {
      sockets.add(socket)
      socket.on("error", () => {})
      socket.on("close", () => {
        sockets.delete(socket)
        other.destroy()
      })
      join(socket, other, socket === near)
    }
  })
  server.listen(port, "127.0.0.1")
  await once(server, "listening")
  const cut = () => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    port: (server.address() as AddressInfo).port,
    cut,
    dispose: () => {
      cut()
      return new Promise((resolve) => server.close(() => resolve()))
    }
  }
}

/** The line for the tests of a file. */
export const useLine = (lay: () => Promise<Line>): (() => Line) => {
  let line: Line | undefined
  beforeAll(async () => {
    line = await lay()
  })
  afterAll(() => line?.dispose())
  return () => {
    if (line === undefined) throw new Error("the line has not been laid")
    return line
  }
}

/** The URL of a server, over a line. */
export const over = (url: string, { port }: Pick<Line, "port">): string =>
  Object.assign(new URL(url), { host: `127.0.0.1:${port}` }).href
