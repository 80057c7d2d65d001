/** A network that fails: what goes to the server goes through it, until it is cut. */
import { type AddressInfo, connect, createServer, type Socket } from "node:net"

export interface Proxy {
  readonly url: string
  /** Cuts every connection that is open; new ones are welcome. */
  readonly cut: () => void
  readonly dispose: () => Promise<void>
}

export const startProxy = async (target: string): Promise<Proxy> => {
  const { hostname, port } = new URL(target)
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname)
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client]
    ] as const) {
      sockets.add(socket)
      socket.once("close", () => {
        sockets.delete(socket)
        other.destroy()
      })
      socket.on("error", () => {})
      socket.pipe(other)
    }
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const cut = () => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    url: `nats://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut,
    dispose: () => {
      cut()
      return new Promise((resolve) => server.close(() => resolve()))
    }
  }
}
