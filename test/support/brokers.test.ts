import { connect } from "node:net"
import { describe, expect, it } from "vitest"
import { isExpected, startBroker } from "./brokers.ts"

const accepts = (url: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(Number(/\d+$/.exec(url)?.[0]), "127.0.0.1")
    const answer = (value: boolean) => {
      socket.destroy()
      resolve(value)
    }
    socket.once("connect", () => answer(true))
    socket.once("error", () => answer(false))
  })

for (const name of ["nats", "redis", "rabbitmq", "kafka"] as const) {
  describe.runIf(isExpected(name))(`${name}:`, () => {
    it(
      "serves, is stopped, killed and started again on the same port, and is gone after dispose",
      { timeout: 120_000 },
      async () => {
        const { dispose, server, url } = await startBroker(name, { own: true })
        try {
          expect(await accepts(url)).toBe(true)
          for (const signal of ["SIGTERM", "SIGKILL"] as const) {
            await server?.stop(signal)
            expect(await accepts(url)).toBe(false)
            await server?.start()
            expect(await accepts(url)).toBe(true)
          }
        } finally {
          await dispose()
        }
        expect(await accepts(url)).toBe(false)
      }
    )
  })
}
