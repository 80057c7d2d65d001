/** The shop of the example in this process, served as the example serves it; and a browser, where there is one. */
import { Exit, Effect, Layer, ManagedRuntime, Random, References, Scope } from "effect"
import { HttpServer } from "effect/http"
import type { Checkpoints, EventStore } from "eventfold"
import { existsSync } from "node:fs"
import { type Browser, chromium } from "playwright-core"
import { followers, makeTrade } from "../../examples/orders/trading.ts"
import { served } from "../../examples/orders/inspect.ts"
import { shop, stores } from "../../examples/orders/wiring.ts"

/** Where Chromium is, as far as it is installed. */
export const chromiumAt = [process.env["CHROMIUM"], "/usr/bin/chromium", "/usr/bin/chromium-browser"].find(
  (path) => path !== undefined && existsSync(path)
)

export const openBrowser = (): Promise<Browser> =>
  chromium.launch({ executablePath: chromiumAt ?? "", args: ["--no-sandbox", "--disable-dev-shm-usage"] })

/** What fails in this shop, fails to be seen on the page: its log says nothing of it. */
const shopOver = (store: Layer.Layer<EventStore.EventStore | Checkpoints.Checkpoints, EventStore.EventStoreError>) =>
  followers.pipe(Layer.provideMerge(shop(store)), Layer.provideMerge(Layer.succeed(References.MinimumLogLevel, "None")))

type Served = ReturnType<typeof served>

/** A shop that can be traded with, and whose server can be stopped and started again on its port. */
export const startShop = async (
  serving: (port: number) => Served = served,
  store: Parameters<typeof shopOver>[0] = stores.sqlite(":memory:")
) => {
  const runtime = ManagedRuntime.make(shopOver(store))
  const trade = makeTrade("")
  let scope = Scope.makeUnsafe()
  let port = 0
  const serve = async () => {
    scope = Scope.makeUnsafe()
    const services = await runtime.runPromise(Layer.buildWithScope(serving(port), scope))
    const { address } = await Effect.runPromise(Effect.provide(HttpServer.HttpServer, services))
    port = "port" in address ? address.port : port
  }
  const stop = () => Effect.runPromise(Scope.close(scope, Exit.void))
  await serve()
  return {
    runtime,
    serve,
    stop,
    url: `http://127.0.0.1:${port}/operate/`,
    trade: (times: number) =>
      runtime.runPromise(Effect.replicateEffect(trade, times, { discard: true }).pipe(Random.withSeed("a shop"))),
    close: async () => {
      await stop()
      await runtime.dispose()
    }
  }
}

export type Shop = Awaited<ReturnType<typeof startShop>>
