import { NodeHttpServer } from "@effect/platform-node"
import { Effect, Layer, Redacted } from "effect"
import { HttpRouter } from "effect/http"
import { EventStore, MessageBus, Repository } from "eventfold"
import { Inspector, Operate } from "eventfold/operate"
import axe from "axe-core"
import { mkdtemp } from "node:fs/promises"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Browser, BrowserContext, Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { PlaceOrder, ReceiveStock } from "../../examples/orders/application.ts"
import { Cents, CustomerId, Order, OrderId, Quantity, Sku } from "../../examples/orders/domain.ts"
import { build, built } from "../../src/operate/inspector/build.ts"
import { chromiumAt, openBrowser, type Shop, startShop } from "./shop.ts"

const views = ["streams", "events", "conversations", "followers", "parked", "projections", "processes", "map", "operations"]

/** Names that somebody might give to a stream, an event or a value to do harm with. */
const hostile = [
  "<script>globalThis.harmed = true</script>",
  `"><img src=x onerror="globalThis.harmed = true">`,
  "\u202egnp.exe",
  "👩‍👩‍👧 naïve ﷽",
  `javascript:globalThis.harmed=true`,
  "x".repeat(200)
]

const place = (order: string, customer: string) =>
  Effect.gen(function* () {
    const sku = Sku.make("gift-box")
    yield* MessageBus.execute(ReceiveStock, { sku, quantity: Quantity.make(5), supplier: "Nordstahl" })
    yield* MessageBus.execute(PlaceOrder, {
      order: OrderId.make(order),
      customer: CustomerId.make(customer),
      lines: [{ sku, quantity: Quantity.make(1), price: Cents.make(450) }]
    })
  })

describe.skipIf(chromiumAt === undefined)("the inspector in Chromium", () => {
  let shop: Shop
  let browser: Browser
  let context: BrowserContext
  let page: Page
  let pictures = ""
  /** What the page asked for beside its own server, and what the browser complained of. */
  const foreign: Array<string> = []
  const complaints: Array<string> = []
  let connectionIsCut = false

  const watched = async (of: BrowserContext): Promise<Page> => {
    const page = await of.newPage()
    const origin = new URL(shop.url).origin
    page.setDefaultTimeout(10_000)
    page.on("request", (request) => {
      if (!request.url().startsWith(`${origin}/`)) foreign.push(request.url())
    })
    page.on("websocket", (socket) => {
      if (new URL(socket.url()).host !== new URL(shop.url).host) foreign.push(socket.url())
    })
    page.on("pageerror", (error) => complaints.push(error.message))
    page.on("console", (message) => {
      if (message.type() !== "error" && message.type() !== "warning") return
      if (!(connectionIsCut && message.text().includes("WebSocket"))) complaints.push(message.text())
    })
    return page
  }

  const open = async (place: string, of = page) => {
    await of.goto("about:blank")
    await of.goto(`${shop.url}#/${place}`)
    await of.locator("[data-connection=open]").waitFor()
  }

  beforeAll(async () => {
    await build(built)
    pictures = await mkdtemp(join(tmpdir(), "eventfold-inspector-"))
    shop = await startShop()
    await shop.trade(60)
    browser = await openBrowser()
    context = await browser.newContext({ viewport: { width: 1280, height: 800 } })
    page = await watched(context)
  }, 120_000)

  afterAll(async () => {
    await browser?.close()
    await shop?.close()
  })

  it("opens within a second, on a stream with its state", async () => {
    const paints: Array<number> = []
    for (let times = 0; times < 3; times++) {
      await open("streams")
      paints.push(await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Infinity))
      await page.locator(".state .line").first().waitFor()
    }
    expect(Math.min(...paints)).toBeLessThan(1000)
    expect(await page.locator(".side .row").count()).toBeGreaterThan(10)
    expect(await page.locator(".facts .pill").textContent()).toBe("may act")
  })

  it("finds a stream, an event and a position by the search", async () => {
    await open("streams")
    await page.keyboard.press("/")
    await page.keyboard.type("Order-2001")
    await page.locator("#hits [role=option]", { hasText: "Order-2001" }).first().waitFor()
    await page.keyboard.press("Enter")
    await page.locator(".subject h1", { hasText: "Order-2001" }).waitFor()
    expect(page.url()).toContain("stream=Order-2001")
    await page.keyboard.press("/")
    await page.keyboard.type("#3")
    await page.keyboard.press("Enter")
    await page.locator(".detail .card").waitFor()
    expect(page.url()).toContain("at=3")
  })

  it("slides along a stream: at each version the state is what the aggregate's code makes of it", async () => {
    const id = OrderId.make("2001")
    const { version: events } = await shop.runtime.runPromise(Repository.read(Order.Order, id))
    await open("streams?stream=Order-2001&version=1")
    const slider = page.getByRole("slider", { name: "Version" })
    await page.locator(".state .line").first().waitFor()
    expect(events).toBeGreaterThan(1)
    await slider.focus()
    for (let version = 1; version <= events; version++) {
      await page.locator("h2", { hasText: `State at version ${version}` }).waitFor()
      const { state } = await shop.runtime.runPromise(Repository.read(Order.Order, id, { version }))
      expect(await page.locator(".state .lines").textContent()).toContain(state.status)
      expect(await page.locator(".state .lines").textContent()).toContain(String(state.total))
      await page.keyboard.press("ArrowRight")
    }
    expect(page.url()).toContain(`version=${events}`)
    await page.keyboard.press("Home")
    await page.locator("h2", { hasText: "State at version 1" }).waitFor()
  })

  it("retries what is parked, says what came of it, and keeps the keyboard", async () => {
    await shop.runtime.runPromise(Effect.all([place("g-1", "guest.1"), place("g-2", "guest.2")]))
    await open("parked")
    const rows = page.locator(".parked-list .row")
    await rows.filter({ hasText: "Order-g-2" }).waitFor()
    const first = rows.filter({ hasText: "Order-g-1" })
    expect(await first.locator(".cause").textContent()).toContain("550 mailbox unavailable")
    await first.getByRole("button", { name: /^Retry/ }).focus()
    await page.keyboard.press("Enter")
    await first.waitFor({ state: "detached" })
    expect(await page.locator("[role=status]").textContent()).not.toBe("")
    expect(await page.evaluate(() => (document.activeElement as HTMLElement).dataset["act"])).toBe("Retry")
    const second = rows.filter({ hasText: "Order-g-2" })
    await second.getByRole("button", { name: /^Discard/ }).click()
    await second.getByRole("button", { name: /^Really/ }).click()
    await second.waitFor({ state: "detached" })
    await page.keyboard.press("g")
    await page.keyboard.press("o")
    await page.locator(".asked-list .row", { hasText: "Discard" }).waitFor()
    expect(await page.locator(".asked-list").textContent()).toContain("Retry")
  })

  it("pauses a follower, and shows its lag grow and fall", async () => {
    const name = "subscription:confirmation-mails"
    await open(`followers?name=${encodeURIComponent(name)}`)
    await page.getByRole("button", { name: `Pause ${name}` }).click()
    await page.locator(".machine [data-now=true][data-state=paused]").waitFor()
    await shop.trade(6)
    const chip = page.locator(".follower-chip", { hasText: "confirmation-mails" }).locator("[data-lag]")
    await expect.poll(async () => Number(await chip.getAttribute("data-lag")), { timeout: 10_000 }).toBeGreaterThan(10)
    await page.getByRole("button", { name: `Resume ${name}` }).click()
    await expect.poll(async () => Number(await chip.getAttribute("data-lag")), { timeout: 10_000 }).toBe(0)
    await page.locator(".machine [data-now=true][data-state=live]").waitFor()
  })

  it("shows hostile names as text", async () => {
    for (const [index, name] of hostile.entries()) {
      const events = [{ type: name, payload: { [name]: name } }]
      const metadata = { correlationId: name, by: name }
      await shop.runtime.runPromise(
        EventStore.append(
          `Evil${index}-${name}`,
          events.map((event) => ({ ...event, metadata })),
          { expected: 0 }
        )
      )
    }
    for (const [index, name] of hostile.entries()) {
      await open(`streams?stream=${encodeURIComponent(`Evil${index}-${name}`)}`)
      await page.locator(".card .line").first().waitFor()
      const shown = name.replace("\u202e", "\\u202e")
      expect(await page.locator(".subject h1 bdi").textContent()).toBe(`Evil${index}-${shown}`)
      expect(await page.locator(".card header strong").textContent()).toBe(shown)
      expect(await page.locator("#page").innerHTML()).not.toContain("\u202e")
    }
    await open("events")
    await page.locator(".log .row", { hasText: "onerror" }).waitFor()
    expect(await page.evaluate(() => (globalThis as { harmed?: boolean }).harmed)).toBeUndefined()
    expect(await page.locator("#page img, #page script").count()).toBe(0)
  })

  it("shows events as they come, and goes on where it was after a lost connection", async () => {
    await open("events?category=Order")
    await page.locator(".log .row").first().waitFor()
    const newest = () => page.locator(".log .row").first().textContent()
    await shop.runtime.runPromise(place("live-1", "ada"))
    await expect.poll(newest, { timeout: 10_000 }).toContain("Order-live-1")
    connectionIsCut = true
    await shop.stop()
    await page.locator("[data-connection=lost]").waitFor()
    expect(await page.locator(".top").textContent()).toContain("connection lost")
    await shop.runtime.runPromise(Effect.all([place("live-2", "ada"), place("live-3", "ada")]))
    await shop.serve()
    await page.locator("[data-connection=open]").waitFor()
    await expect.poll(newest, { timeout: 10_000 }).toContain("Order-live-3")
    connectionIsCut = false
    const shown = await page.locator(".log .row .stream-name bdi").allTextContents()
    expect(shown.slice(0, 3)).toEqual(["Order-live-3", "Order-live-2", "Order-live-1"])
  })

  it("works in eight tabs at once", async () => {
    const tabs = await Promise.all(Array.from({ length: 8 }, () => watched(context)))
    await Promise.all(tabs.map((tab) => open("followers", tab)))
    for (const tab of tabs) {
      await tab.locator(".follower-list .row").first().waitFor()
      expect(await tab.locator("[data-connection=open]").count()).toBe(1)
    }
    await Promise.all(tabs.map((tab) => tab.close()))
  })

  it("goes everywhere by keys alone", async () => {
    await open("streams")
    await page.locator(".state .line").first().waitFor()
    for (const [key, view] of [
      ["e", "events"],
      ["c", "conversations"],
      ["f", "followers"],
      ["p", "parked"],
      ["m", "map"],
      ["s", "streams"]
    ]) {
      await page.keyboard.press("g")
      await page.keyboard.press(key ?? "")
      await page.waitForURL(`**/#/${view}`)
    }
    const title = () => page.locator(".subject h1").textContent()
    await page.locator(".side .row").first().waitFor()
    const before = await title()
    await page.keyboard.press("j")
    await expect.poll(title).not.toBe(before)
    await page.keyboard.press("k")
    await expect.poll(title).toBe(before)
    await page.keyboard.press("?")
    await page.getByRole("dialog", { name: "Keys" }).waitFor()
    await page.keyboard.press("Escape")
    await page.getByRole("dialog", { name: "Keys" }).waitFor({ state: "hidden" })
    // Back is where one was.
    await page.goBack()
    await page.goForward()
    await expect.poll(title).toBe(before)
  })

  it.each(["light", "dark"] as const)(
    "each view is drawn in %s, and nothing in it shuts anybody out",
    async (colorScheme) => {
      await page.emulateMedia({ colorScheme })
      for (const view of views) {
        await open(view)
        await page.locator("main:not([aria-busy])").waitFor()
        await page.locator("main .row, main .version, main .process, main .node, main .empty").first().waitFor()
        await page.screenshot({ path: join(pictures, `${view}-${colorScheme}.png`) })
        // Under the policy no script comes from elsewhere: it is run by the browser itself.
        await page.evaluate(axe.source)
        const { violations } = await page.evaluate(() => (globalThis as unknown as { axe: typeof axe }).axe.run())
        const found = violations.map(
          ({ id, nodes }) =>
            `${view}: ${id} ${nodes
              .map(({ html }) => html)
              .slice(0, 2)
              .join(" | ")}`
        )
        expect(found).toEqual([])
        expect(await page.locator("*").count()).toBeLessThan(2000)
      }
      await page.emulateMedia({ colorScheme: null })
    },
    120_000
  )

  it("rests while nobody looks", async () => {
    await open("followers")
    await page.locator(".follower-list .row").first().waitFor()
    const hide = (hidden: boolean) =>
      page.evaluate((hidden) => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden })
        document.dispatchEvent(new Event("visibilitychange"))
      }, hidden)
    const head = () => page.locator("[data-head]").getAttribute("data-head")
    await hide(true)
    const before = await head()
    await shop.trade(2)
    // A page that somebody looks at has heard of it.
    const other = await watched(context)
    await open("followers", other)
    await expect.poll(() => other.locator("[data-head]").getAttribute("data-head"), { timeout: 10_000 }).not.toBe(before)
    await other.close()
    expect(await head()).toBe(before)
    await hide(false)
    await expect.poll(head, { timeout: 10_000 }).not.toBe(before)
  })

  it("has asked nobody else for anything, and the browser has had nothing to complain of", () => {
    expect(foreign).toEqual([])
    expect(complaints).toEqual([])
  })

  it("lets nobody act who only looks, hides payloads, and asks who does not say who he is", async () => {
    const token = Redacted.make("a token of some length")
    const other = await startShop((port) =>
      HttpRouter.serve(
        Layer.mergeAll(
          Operate.layer({ authentication: [{ name: "ada", token, mayAct: false, payloads: "hidden" }] }),
          Inspector.layer()
        ),
        { disableLogger: true, disableListenLog: true }
      ).pipe(Layer.provideMerge(NodeHttpServer.layer(() => createServer(), { port, host: "127.0.0.1" })))
    )
    try {
      await other.trade(4)
      const tab = await browser.newPage()
      await tab.goto(`${other.url}#/events`)
      await tab.getByLabel("Token").fill("another token, just as long")
      await tab.keyboard.press("Enter")
      await tab.getByRole("alert").filter({ hasText: "Nobody is known" }).waitFor()
      await tab.getByLabel("Token").fill(Redacted.value(token))
      await tab.keyboard.press("Enter")
      await tab.locator(".log .row").first().waitFor()
      expect(await tab.locator(".facts").textContent()).toContain("read only")
      expect(await tab.locator(".log .gist").first().textContent()).toContain("hidden")
      await tab.goto(`${other.url}#/followers`)
      await tab.locator(".machine").waitFor()
      expect(await tab.locator("[data-act]").count()).toBe(0)
      await tab.close()
    } finally {
      await other.close()
    }
  })
})
