import { Effect } from "effect"
import { type AddressInfo, createConnection, createServer, type Socket } from "node:net"

/**
 * Stands before a server. The connections that exist when it is silenced stay open, and nothing passes through them any more; nor
 * through those that come later, which are accepted all the same, if it is silenced for good.
 */
export const startProxy = (url: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const { hostname, port } = new URL(url)
      const open = new Set<Socket>()
      let mute = false
      const proxy = createServer((client) => {
        client.on("error", () => {})
        open.add(client)
        if (mute) {
          client.pause()
          return
        }
        const database = createConnection(Number(port), hostname)
        database.on("error", () => {})
        client.pipe(database).pipe(client)
        open.add(database)
      })
      await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve))
      const address = new URL(url)
      address.host = `127.0.0.1:${(proxy.address() as AddressInfo).port}`
      return {
        url: address.href,
        silence: ({ forGood = false } = {}) => {
          mute = forGood
          for (const socket of open) socket.unpipe().pause()
        },
        /** Ends the connections that there are. */
        drop: () => {
          for (const socket of open) socket.destroy()
        },
        close: () => {
          for (const socket of open) socket.destroy()
          proxy.close()
        }
      }
    }),
    ({ close }) => Effect.sync(close)
  )
