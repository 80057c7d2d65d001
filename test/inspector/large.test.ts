import { NodeHttpServer } from "@effect/platform-node"
import { DateTime, Effect, Exit, Layer, Schedule, Scope, Stream } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { RpcSerialization, RpcServer } from "effect/rpc"
import { Inspector, Operate, Operations } from "eventfold/operate"
import { createServer } from "node:http"
import type { Browser, Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { build, built } from "../../src/operate/inspector/build.ts"
import { chromiumAt, openBrowser } from "./shop.ts"

/** A log that no test could write: its events are made as they are asked for, one a second. */
const head = 10_000_000
const begin = Date.parse("2020-01-01T00:00:00Z")
const at = (position: number) => DateTime.makeUnsafe(begin + position * 1000)

const event = (position: number): typeof Operations.EventRow.Type => ({
  position,
  stream: `Order-${position % 100_000}`,
  version: Math.ceil(position / 100_000),
  id: `event-${position}`,
  type: "Counted",
  schemaVersion: 1,
  recordedAt: at(position),
  published: false,
  tags: [],
  correlationId: null,
  causationId: null,
  by: null,
  payload: { _tag: "Shown", value: { position }, masked: [] },
  problem: null
})

const backward = (from: number, limit: number) => Array.from({ length: Math.min(limit, from) }, (_, index) => event(from - index))

const follower = (index: number): typeof Operations.Follower.Type => ({
  name: `subscription:f${index}`,
  title: `follower ${index}`,
  kind: "subscription",
  state: index === 77 ? "halted" : "live",
  position: head - index,
  lag: index,
  rate: 1,
  lags: Array.from({ length: 60 }, () => index),
  owner: "here",
  here: true,
  since: at(1),
  parked: 0,
  failure: null,
  partitions: []
})

const unregistered = Effect.fail(new Operations.NotRegisteredError({ detail: "nothing is registered" }))
const nothing = Effect.succeed({ items: [], next: null, head, read: null })

const Handlers = Operations.Operations.toLayer({
  Overview: () =>
    Effect.succeed({
      store: "large",
      head,
      bytes: null,
      operator: "ada",
      mayAct: false,
      payloads: "shown" as const,
      library: "0",
      protocol: Operations.protocol
    }),
  Size: () => unregistered,
  Streams: ({ after, limit = 50 }) => {
    const from = Number(after ?? head)
    const items = backward(from, limit).map(({ position, stream, version }) => ({ position, stream, version, category: "Order" }))
    return Effect.succeed({ items, next: String(from - limit), head, read: null })
  },
  StreamEvents: ({ from = 1 }) => Effect.succeed({ items: from > 1 ? [] : [event(7)], next: null, head, read: null }),
  Events: ({ after, filter, limit = 50 }) => {
    const until = filter?.until === undefined ? head : Math.ceil((filter.until.epochMilliseconds - begin) / 1000) - 1
    const from = Math.min(head, Number(after ?? until))
    return Effect.succeed({ items: backward(from, limit), next: from > limit ? String(from - limit) : null, head, read: from })
  },
  Event: ({ at = 1 }) =>
    Effect.succeed({
      event: event(at),
      metadata: { _tag: "Shown" as const, value: {}, masked: [] },
      cause: null,
      effects: [],
      complete: true
    }),
  Trail: () => nothing,
  PositionAt: () => unregistered,
  States: () => unregistered,
  Parked: () => nothing,
  DeadLetters: () => nothing,
  Deadlines: () => nothing,
  Processes: () => Effect.succeed([]),
  Projections: () => Effect.succeed([]),
  Tables: () => Effect.succeed([]),
  Snapshots: () => nothing,
  Leases: () => nothing,
  Groups: () => Effect.succeed([]),
  Map: () => Effect.succeed({ nodes: [], edges: [] }),
  Asked: () => nothing,
  Doctor: () => Effect.succeed([]),
  Verify: () => Stream.fail(new Operations.NotRegisteredError({ detail: "nothing is registered" })),
  Tail: () => Stream.never,
  Followers: () =>
    Stream.fromEffectSchedule(
      Effect.succeed(Array.from({ length: 100 }, (_, index) => follower(index))),
      Schedule.spaced("1 second")
    ),
  Act: () => Stream.fail(new Operations.NotAllowedError({ detail: "nobody acts here" }))
})

const Server = HttpRouter.serve(
  Layer.merge(
    RpcServer.layerHttp({ group: Operations.Operations, path: "/operate/socket", protocol: "websocket" }),
    Inspector.layer()
  ),
  { disableLogger: true, disableListenLog: true }
).pipe(
  Layer.provide([Handlers, Operate.layerOperator({ name: "ada" }), RpcSerialization.layerNdjson]),
  Layer.provideMerge(NodeHttpServer.layer(() => createServer(), { port: 0, host: "127.0.0.1", gracefulShutdownTimeout: 100 }))
)

describe.skipIf(chromiumAt === undefined)("the inspector over ten million events and a hundred followers", () => {
  const scope = Scope.makeUnsafe()
  let browser: Browser
  let page: Page
  let url = ""

  beforeAll(async () => {
    await build(built)
    const services = await Effect.runPromise(Layer.buildWithScope(Server, scope))
    const { address } = await Effect.runPromise(Effect.provide(HttpServer.HttpServer, services))
    url = `http://127.0.0.1:${"port" in address ? address.port : 0}/operate/`
    browser = await openBrowser()
    page = await browser.newPage({ viewport: { width: 1280, height: 800 } })
    page.setDefaultTimeout(10_000)
  }, 120_000)

  afterAll(async () => {
    await browser?.close()
    await Effect.runPromise(Scope.close(scope, Exit.void))
  })

  const elements = () => page.locator("*").count()

  it("draws the followers that are seen, those in need first", async () => {
    await page.goto(`${url}#/followers`)
    await page.locator(".follower-list .row", { hasText: "follower 77" }).waitFor()
    expect(await page.locator(".follower-list .row").first().textContent()).toContain("follower 77")
    expect(await page.locator(".follower-chip.more").textContent()).toBe("+92")
    expect(await page.locator(".follower-list .row").count()).toBeLessThan(40)
    expect(await elements()).toBeLessThan(2000)
  })

  it("jumps to the middle, and back to the newest", async () => {
    await page.goto(`${url}#/events`)
    await page.locator(".log .row", { hasText: "#10,000,000" }).waitFor()
    const rail = page.getByRole("slider", { name: "Position in the log" })
    await rail.fill("5000000")
    await page.locator(".log .row[aria-selected=true]", { hasText: "#5,000,000" }).waitFor()
    await page.locator(".detail .card", { hasText: "#5,000,000" }).waitFor()
    expect(page.url()).toContain("at=5000000")
    await page.getByRole("button", { name: "live" }).click()
    await page.locator(".log .row", { hasText: "#10,000,000" }).waitFor()
  })

  it("reads on as one scrolls, with few elements, and comes to an end", async () => {
    await page.goto(`${url}#/events?live=no`)
    const list = page.locator(".list.log")
    await page.locator(".log .row").first().waitFor()
    const shown = async () =>
      Number(/^[\d,]+/.exec((await page.locator(".title .quiet").first().textContent()) ?? "")?.[0].replaceAll(",", ""))
    for (let before = await shown(); before < 5000; before = await shown()) {
      await list.evaluate((box) => box.scrollTo({ top: box.scrollHeight }))
      await expect.poll(shown, { timeout: 10_000 }).toBeGreaterThan(before)
    }
    expect(await shown()).toBe(5000)
    expect(await elements()).toBeLessThan(2000)
  }, 60_000)

  it("says why there is no state", async () => {
    await page.goto(`${url}#/streams?stream=Order-7`)
    await page.locator(".subject h1", { hasText: "Order-7" }).waitFor()
    await page.locator(".state", { hasText: "nothing is registered" }).waitFor()
    expect(await page.locator(".card").textContent()).toContain("position7")
    expect(await page.locator(".side .row").count()).toBeLessThan(60)
  })
})
