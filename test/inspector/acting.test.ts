/** What an operator does on the page to projections and dead letters, on what really stands there. */
import { NodeHttpServer } from "@effect/platform-node"
import { Context, Effect, Exit, Latch, Layer, type ManagedRuntime, Scope } from "effect"
import { HttpRouter } from "effect/http"
import { Consumer, DeadLetters, MessageBus, Projection } from "eventfold"
import { Inspector, Operate } from "eventfold/operate"
import { createServer } from "node:http"
import type { Browser, Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { PlaceOrder, ReceiveStock } from "../../examples/orders/application.ts"
import { Cents, CustomerId, Order, OrderId, Quantity, Sku } from "../../examples/orders/domain.ts"
import { stores } from "../../examples/orders/wiring.ts"
import { build, built } from "../../src/operate/inspector/build.ts"
import { chromiumAt, openBrowser, type Shop, startShop } from "./shop.ts"

/** Closed, it keeps a rebuild where it is. */
const gate = Latch.makeUnsafe(true)

/** A view in memory: how many orders there are. */
const ordersOf = (version: number) => {
  const seen = new Set<string>()
  const projection = Projection.make("Orders", {
    version,
    events: [Order.OrderPlaced],
    reset: Effect.sync(() => seen.clear()),
    handlers: {
      OrderPlaced: ({ order }) =>
        Effect.andThen(
          gate.await,
          Effect.sync(() => seen.add(order))
        )
    }
  })
  return { seen, projection, layer: Projection.layer(projection, { transactional: false }) }
}

const place = (order: string) =>
  Effect.gen(function* () {
    const sku = Sku.make("gift-box")
    yield* MessageBus.execute(ReceiveStock, { sku, quantity: Quantity.make(5), supplier: "Nordstahl" })
    yield* MessageBus.execute(PlaceOrder, {
      order: OrderId.make(order),
      customer: CustomerId.make("ada"),
      lines: [{ sku, quantity: Quantity.make(1), price: Cents.make(450) }]
    })
  })

describe.skipIf(chromiumAt === undefined)("an operator at the inspector", () => {
  const first = ordersOf(1)
  const second = ordersOf(2)
  const posted: Array<string> = []
  let postIsOpen = false
  const letters = Effect.runSync(Effect.scoped(Layer.build(DeadLetters.layerMemory)))
  const Posts = Consumer.layer(
    [Order.OrderPlaced],
    {
      OrderPlaced: ({ order }) =>
        Effect.suspend(() => (postIsOpen ? Effect.sync(() => posted.push(order)) : Effect.fail("the post is closed")))
    },
    { group: "posts", maxAttempts: 1 }
  ).pipe(Layer.provide(Layer.succeedContext(letters)))

  const serving = (port: number) =>
    HttpRouter.serve(
      Layer.mergeAll(
        Operate.layer({ acts: true, projections: [first.projection, second.projection], payloads: "shown" }),
        Inspector.layer()
      ).pipe(Layer.provide(Layer.succeedContext(letters))),
      { disableLogger: true, disableListenLog: true }
    ).pipe(
      Layer.provideMerge(NodeHttpServer.layer(() => createServer(), { port, host: "127.0.0.1", gracefulShutdownTimeout: 100 }))
    )

  let shop: Shop
  let browser: Browser
  let page: Page

  /** Runs something of the shop until it is told to end. */
  const start = async <E>(layer: Layer.Layer<never, E, ManagedRuntime.ManagedRuntime.Services<Shop["runtime"]>>) => {
    const scope = Scope.makeUnsafe()
    await shop.runtime.runPromise(Layer.buildWithScope(layer, scope))
    return () => Effect.runPromise(Scope.close(scope, Exit.void))
  }

  const open = async (place: string) => {
    await page.goto("about:blank")
    await page.goto(`${shop.url}#/${place}`)
    await page.locator("[data-connection=open]").waitFor()
  }

  const status = () => page.locator("main [role=status]")

  beforeAll(async () => {
    await build(built)
    shop = await startShop(serving, stores.memory)
    browser = await openBrowser()
    page = await browser.newPage({ viewport: { width: 1280, height: 800 } })
    page.setDefaultTimeout(10_000)
  }, 120_000)

  afterAll(async () => {
    gate.openUnsafe()
    await browser?.close()
    await shop?.close()
  })

  it("rebuilds a version and sees how far it is, switches readers to it, and drops the one before", async () => {
    await shop.runtime.runPromise(Effect.forEach(["a-1", "a-2", "a-3"], place, { discard: true }))
    const endFirst = await start(first.layer)
    const endSecond = await start(second.layer)
    await open("projections")
    const projection = page.locator(".projection", { hasText: "Orders" })
    const version = (number: number) => projection.getByRole("region", { name: `Version ${number}` })
    await expect.poll(() => [first.seen.size, second.seen.size], { timeout: 10_000 }).toEqual([3, 3])
    await endSecond()
    expect(await version(1).getAttribute("data-active")).toBe("true")

    gate.closeUnsafe()
    await version(2).getByRole("button", { name: "Rebuild Orders@2" }).click()
    await version(2).getByRole("progressbar").waitFor()
    expect(await version(2).locator(".rebuild").textContent()).toMatch(/^Rebuilt to #\d+\d+ %$/)
    expect(second.seen.size).toBe(0)
    gate.openUnsafe()
    await status().filter({ hasText: "rebuilt up to #" }).waitFor()
    await version(2).getByRole("progressbar").waitFor({ state: "detached" })
    expect(second.seen.size).toBe(3)

    await version(2).getByRole("button", { name: "Switch to Orders@2" }).click()
    await status().filter({ hasText: "readers see version 2" }).waitFor()
    await page.locator(`.version[data-active=true][aria-label="Version 2"]`).waitFor()

    // What this process still runs is not dropped, and the page says why.
    const drop = async () => {
      await version(1).getByRole("button", { name: "Drop Orders@1" }).click()
      await version(1).getByRole("button", { name: "Really? Drop Orders@1" }).click()
    }
    await drop()
    await status().filter({ hasText: "end whatever runs it" }).waitFor()
    await endFirst()
    await drop()
    await status().filter({ hasText: "dropped" }).waitFor()
    await version(1).locator(".pill", { hasText: "dropped" }).waitFor()
    expect(await version(1).getByRole("button").count()).toBe(0)
  })

  it("retries one dead letter and discards another, each with its cause beside it", async () => {
    const end = await start(Posts)
    await shop.runtime.runPromise(Effect.forEach(["b-1", "b-2"], place, { discard: true }))
    const rows = page.locator(".parked-list .row", { hasText: "Order-b-" })
    const looked = async () => {
      await open("parked?part=letters")
      await page.locator(".parked-list .row, .empty").first().waitFor()
      return rows.count()
    }
    await expect.poll(looked, { timeout: 15_000 }).toBe(2)
    const of = (order: string) => rows.filter({ hasText: `Order-${order}` })
    expect(await of("b-1").locator(".cause").textContent()).toContain("the post is closed")

    await of("b-1")
      .getByRole("button", { name: /^Retry letter/ })
      .click()
    await status().filter({ hasText: "the post is closed" }).waitFor()
    expect(await of("b-1").count()).toBe(1)

    postIsOpen = true
    await of("b-1")
      .getByRole("button", { name: /^Retry letter/ })
      .click()
    await of("b-1").waitFor({ state: "detached" })
    await status().filter({ hasText: "handled" }).waitFor()
    expect(posted).toEqual(["b-1"])

    await of("b-2")
      .getByRole("button", { name: /^Discard letter/ })
      .click()
    await of("b-2")
      .getByRole("button", { name: /^Really/ })
      .click()
    await of("b-2").waitFor({ state: "detached" })
    await status().filter({ hasText: "discarded" }).waitFor()
    expect(posted).toEqual(["b-1"])
    const left = await Effect.runPromise(
      Effect.map(Context.get(letters, DeadLetters.DeadLetters).list("posts"), (all) => all.map(({ message }) => message.subject))
    )
    expect(left.filter((subject) => subject?.startsWith("Order-b-"))).toEqual([])
    await end()
  })
})
