import assert from "node:assert/strict"
import { execFile, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdtempSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { stripVTControlCharacters } from "node:util"
import { describe, it, layer } from "@effect/vitest"
import { Console, DateTime, Effect, Layer, Result, Stream } from "effect"
import { TerminalCapabilities } from "effect/cli"
import {
  Aggregate,
  Event,
  EventStore,
  type Checkpoints,
  MessageBus,
  ProcessManager,
  Relay,
  Repository,
  Subscription,
  Transport
} from "eventfold"
import { inject, vi } from "vitest"
import { AddLine, CancelOrder, PlaceOrder, ReceivePayment, ReceiveStock, ShipOrder } from "./application.ts"
import { Cents, CustomerId, type Line, Order, OrderId, Payment, PaymentId, Quantity, Sku, Stock } from "./domain.ts"
import { Fulfilment, patience } from "./fulfilment.ts"
import { executeAll, type Outcome } from "./intake.ts"
import { openingStock } from "./legacy.ts"
import { progress } from "./terminal.ts"
import { shop, stores } from "./wiring.ts"

const order = OrderId.make("1")
const payment = PaymentId.make("p-1")
const customer = CustomerId.make("ada")
const cup = Sku.make("cup")
const pot = Sku.make("pot")
const line = (sku: Sku, quantity: number, price: number): Line => ({
  sku,
  quantity: Quantity.make(quantity),
  price: Cents.make(price)
})
const day = DateTime.makeUnsafe("2025-09-01T00:00:00Z")

// -----------------------------------------------------------------------------
// domain
// -----------------------------------------------------------------------------

/** How a decision was refused. */
const refusal = <A, E extends { readonly _tag: string; readonly message: string }>(decision: Result.Result<A, E>): string => {
  assert.ok(Result.isFailure(decision))
  return `${decision.failure._tag}: ${decision.failure.message}`
}

describe("an order", () => {
  const lines = [line(cup, 2, 500)]
  const placed = Order.OrderPlaced.make({ order, customer, lines, total: Cents.make(1000) })
  const paid = Order.OrderPaid.make({ order, payment })
  const parcel = { order, carrier: "DHL", parcel: "J1", arrives: day }
  const shipped = Order.OrderShipped.make(parcel)
  const cancelled = Order.OrderCancelled.make({ order, reason: "no" })
  const given = (...events: ReadonlyArray<Aggregate.EventOf<typeof Order.Order>>) => Aggregate.fold(Order.Order, events)

  it("is placed once", () => {
    assert.deepEqual(Order.place(given(), { order, customer, lines }), Result.succeed([placed]))
    assert.equal(refusal(Order.place(given(placed), { order, customer, lines })), "OrderExists: Order 1 has been placed already")
  })

  it("takes more lines while it is open", () => {
    const added = Order.LineAdded.make({ order, line: line(pot, 1, 3000), total: Cents.make(4000) })
    assert.deepEqual(Order.addLine(given(placed), order, line(pot, 1, 3000)), Result.succeed([added]))
    assert.deepEqual(given(placed, added).lines, [line(cup, 2, 500), line(pot, 1, 3000)])
    assert.equal(refusal(Order.addLine(given(), order, line(pot, 1, 3000))), "UnknownOrder: There is no order 1")
    assert.equal(refusal(Order.addLine(given(placed, paid), order, line(pot, 1, 3000))), "OrderClosed: Order 1 is paid")
  })

  it("accepts the whole amount, once", () => {
    const accept = (state: Order.State, amount: number) => Order.acceptPayment(state, order, Cents.make(amount))
    assert.deepEqual(accept(given(placed), 1000), Result.succeed([]))
    assert.equal(refusal(accept(given(placed), 999)), "WrongAmount: Order 1 costs 1000 cents, not 999")
    assert.equal(refusal(accept(given(placed, paid), 1000)), "AlreadyPaid: Order 1 has been paid already")
    assert.equal(refusal(accept(given(placed, cancelled), 1000)), "OrderClosed: Order 1 is cancelled")
    assert.equal(refusal(accept(given(), 0)), "UnknownOrder: There is no order 1")
    assert.deepEqual(Order.recordPayment(given(placed), order, payment), [paid])
    assert.deepEqual(Order.recordPayment(given(placed, paid), order, payment), [])
  })

  it("is shipped when it is paid", () => {
    assert.deepEqual(Order.ship(given(placed, paid), parcel), Result.succeed([shipped]))
    assert.equal(refusal(Order.ship(given(placed), parcel)), "NotPaid: Order 1 waits for a payment of 1000 cents")
    assert.equal(refusal(Order.ship(given(placed, paid, shipped), parcel)), "OrderClosed: Order 1 is shipped")
    assert.equal(refusal(Order.ship(given(), parcel)), "UnknownOrder: There is no order 1")
  })

  it("is cancelled until it is shipped, and says what is to be refunded", () => {
    assert.deepEqual(Order.cancel(given(placed), order, "no"), Result.succeed([cancelled]))
    assert.deepEqual(Order.cancel(given(placed, paid), order, "no"), Result.succeed([{ ...cancelled, refund: payment }]))
    assert.equal(refusal(Order.cancel(given(placed, paid, shipped), order, "no")), "OrderClosed: Order 1 is shipped")
    assert.equal(refusal(Order.cancel(given(placed, cancelled), order, "no")), "OrderClosed: Order 1 is cancelled")
    assert.equal(refusal(Order.cancel(given(), order, "no")), "UnknownOrder: There is no order 1")
  })

  it("is changed by whoever saw its last version", () => {
    assert.deepEqual(Order.unchanged(order, 2, 2), Result.succeed([]))
    assert.deepEqual(Order.unchanged(order, 2, undefined), Result.succeed([]))
    assert.equal(
      refusal(Order.unchanged(order, 2, 1)),
      "OrderChanged: Order 1 is at version 2, and version 1 was seen: look again"
    )
  })
})

describe("stock", () => {
  const received = Stock.StockReceived.make({ sku: cup, quantity: Quantity.make(5), supplier: "x" })
  const reserved = (quantity: number) => Stock.StockReserved.make({ sku: cup, order, quantity: Quantity.make(quantity) })
  const given = (...events: ReadonlyArray<Aggregate.EventOf<typeof Stock.Stock>>) => Aggregate.fold(Stock.Stock, events)

  it("is reserved as long as there is some", () => {
    const reserve = (state: Stock.State, quantity: number) => Stock.reserve(state, cup, order, Quantity.make(quantity))
    assert.deepEqual(reserve(given(received), 4), Result.succeed([reserved(4)]))
    assert.deepEqual(reserve(given(received), 5), Result.succeed([reserved(5), Stock.SoldOut.make({ sku: cup })]))
    assert.equal(refusal(reserve(given(received, reserved(3)), 3)), "OutOfStock: Not enough of cup: 3 wanted, 2 left")
    assert.equal(refusal(reserve(given(), 1)), "UnknownArticle: cup has never been in stock")
  })

  it("is released or shipped as it was reserved, once", () => {
    const quantity = Quantity.make(5)
    const state = given(received, reserved(3), reserved(2))
    assert.equal(Stock.available(state), 0)
    const released = Stock.StockReleased.make({ sku: cup, order, quantity })
    assert.deepEqual(Stock.release(state, cup, order), [released])
    assert.equal(Stock.available(given(received, reserved(5), released)), 5)
    assert.deepEqual(Stock.release(given(received, reserved(5), released), cup, order), [])
    const shipped = Stock.StockShipped.make({ sku: cup, order, quantity })
    assert.deepEqual(Stock.ship(state, cup, order), [shipped])
    assert.equal(Stock.available(given(received, reserved(5), shipped)), 0)
    assert.deepEqual(Stock.ship(given(received, reserved(5), shipped), cup, order), [])
  })

  it("that version 1 recorded is read as version 2", () => {
    const [{ events, stream }] = openingStock("") as [EventStore.StreamAppend]
    const stored = { ...(events[0] as EventStore.NewEvent), schemaVersion: 1, stream, version: 1, position: 1 }
    assert.deepEqual(
      Event.decode(Stock.StockReceived, stored),
      Result.succeed({ _tag: "StockReceived", sku: "mug-blue", quantity: 40, supplier: "unknown" })
    )
  })
})

describe("a payment", () => {
  const fields = { payment, order, amount: Cents.make(1000), method: "card", valueDate: day } as const
  const received = Payment.PaymentReceived.make(fields)
  const refunded = Payment.PaymentRefunded.make({ payment, order, amount: Cents.make(1000) })
  const given = (...events: ReadonlyArray<Aggregate.EventOf<typeof Payment.Payment>>) => Aggregate.fold(Payment.Payment, events)

  it("is received once, and refunded once", () => {
    assert.deepEqual(Payment.receive(given(), fields), Result.succeed([received]))
    assert.equal(refusal(Payment.receive(given(received), fields)), "PaymentExists: Payment p-1 has been booked already")
    assert.deepEqual(Payment.refund(given(received), payment), [refunded])
    assert.deepEqual(Payment.refund(given(received, refunded), payment), [])
    assert.deepEqual(Payment.refund(given(), payment), [])
  })
})

// -----------------------------------------------------------------------------
// application and wiring
// -----------------------------------------------------------------------------

// Opening PGlite takes a second, so the cases share a store, each with names of its own.
const kinds: ReadonlyArray<readonly [string, Layer.Layer<EventStore.EventStore | Checkpoints.Checkpoints, unknown>]> = [
  ["memory", stores.memory],
  ["SQLite in memory", stores.sqlite(":memory:")],
  ["JSON lines", stores.jsonl(join(mkdtempSync(join(tmpdir(), "eventfold-orders-test-")), "orders.jsonl"))],
  ["PGlite in memory", stores.pglite()]
]

const caseOf = (name: string) => {
  const order = OrderId.make(name)
  const payment = PaymentId.make(`p-${name}`)
  const cup = Sku.make(`cup-${name}`)
  const pot = Sku.make(`pot-${name}`)
  const receive = (sku: Sku, quantity: number) =>
    MessageBus.execute(ReceiveStock, { sku, quantity: Quantity.make(quantity), supplier: "x" })
  return {
    order,
    payment,
    cup,
    pot,
    receiveAll: Effect.andThen(receive(cup, 5), receive(pot, 1)),
    place: (...lines: ReadonlyArray<Line>) => MessageBus.execute(PlaceOrder, { order, customer, lines }),
    pay: (amount: number) =>
      MessageBus.execute(ReceivePayment, { payment, order, amount: Cents.make(amount), method: "card", valueDate: day })
  }
}

const availableOf = (sku: Sku) => Effect.map(Repository.read(Stock.Stock, sku), ({ state }) => Stock.available(state))

describe.each(kinds)("the shop on %s", (_, store) => {
  layer(shop(store), { excludeTestServices: true, timeout: 60_000 })((it) => {
    it.effect("sells: reserved, paid, shipped", () =>
      Effect.gen(function* () {
        const { cup, order, pay, payment, place, pot, receiveAll } = caseOf("sale")
        yield* receiveAll
        assert.equal(yield* place(line(cup, 2, 500)), 1)
        assert.equal(yield* MessageBus.execute(AddLine, { order, line: line(pot, 1, 3000), seen: 1 }), 2)
        assert.deepEqual([yield* availableOf(cup), yield* availableOf(pot)], [3, 0])
        yield* pay(4000)
        yield* MessageBus.execute(ShipOrder, { order, carrier: "DHL", parcel: "J1", arrives: day })
        const { state, version } = yield* Repository.read(Order.Order, order)
        assert.deepEqual([state.status, state.payment, state.total, version], ["shipped", payment, 4000, 4])
        const stock = yield* Repository.read(Stock.Stock, cup)
        assert.deepEqual([stock.state.onHand, stock.state.reserved.size], [3, 0])

        yield* Relay.drain({ name: "orders" })
        const messages = yield* Transport.published
        assert.deepEqual(
          messages.filter(({ subject }) => subject.endsWith("-sale")).map(({ subject, type }) => [subject, type]),
          [
            ["Order-sale", "OrderPlaced"],
            ["Stock-pot-sale", "SoldOut"],
            ["Order-sale", "OrderPaid"],
            ["Order-sale", "OrderShipped"]
          ]
        )
      })
    )

    it.effect("places no order of which one line cannot be had", () =>
      Effect.gen(function* () {
        const { cup, place, pot, receiveAll } = caseOf("refused")
        yield* receiveAll
        const before = yield* EventStore.head
        const error = yield* Effect.flip(place(line(cup, 2, 500), line(pot, 2, 3000)))
        assert.deepEqual({ ...error }, { _tag: "OutOfStock", sku: pot, wanted: 2, available: 1 })
        assert.equal(yield* EventStore.head, before)
        assert.equal(yield* availableOf(cup), 5)
      })
    )

    it.effect("gives stock and money back when an order is cancelled", () =>
      Effect.gen(function* () {
        const { cup, order, pay, payment, place, receiveAll } = caseOf("cancelled")
        yield* receiveAll
        yield* place(line(cup, 2, 500))
        yield* pay(1000)
        const stale = yield* Effect.flip(MessageBus.execute(CancelOrder, { order, reason: "no", seen: 1 }))
        assert.equal(stale._tag, "OrderChanged")
        yield* MessageBus.execute(CancelOrder, { order, reason: "no", seen: 2 })
        assert.equal(yield* availableOf(cup), 5)
        assert.equal((yield* Repository.read(Payment.Payment, payment)).state.status, "refunded")
      })
    )

    it.effect("cancels what is not paid, or not shipped, in time", () =>
      Effect.gen(function* () {
        const said = (command: string, payload: object) =>
          JSON.stringify({ at: "2025-09-01T08:00:00Z", by: "x", command, payload })
        const lines = [{ sku: "lid", quantity: 1, price: 500 }]
        const paid = { payment: "stuck", order: "stuck", amount: 500, method: "card", valueDate: "2025-09-01T08:00:00Z" }
        const commands = [
          said("ReceiveStock", { sku: "lid", quantity: 2, supplier: "x" }),
          said("PlaceOrder", { order: "unpaid", customer, lines }),
          said("PlaceOrder", { order: "stuck", customer, lines }),
          said("ReceivePayment", paid)
        ]
        for (const command of commands) {
          yield* executeAll(command, { prefix: "", onOutcome: () => Effect.void, onConflict: Effect.void })
        }
        assert.equal(yield* availableOf(Sku.make("lid")), 0)
        const after = yield* EventStore.head
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* Layer.build(ProcessManager.layer(Fulfilment))
            const cancelled = EventStore.subscribe({ after, filter: { types: ["OrderCancelled"] } })
            yield* Stream.runDrain(Stream.take(cancelled, 2))
          })
        )
        const statusOf = (order: string) =>
          Effect.map(Repository.read(Order.Order, OrderId.make(order)), ({ state }) => state.status)
        assert.deepEqual([yield* statusOf("unpaid"), yield* statusOf("stuck")], ["cancelled", "cancelled"])
        assert.equal((yield* Repository.read(Payment.Payment, PaymentId.make("stuck"))).state.status, "refunded")
        assert.equal(yield* availableOf(Sku.make("lid")), 2)
      }).pipe(Effect.provideService(Subscription.Registry, new Map()))
    )

    it.effect("takes a file line by line, and goes on after one that is wrong", () =>
      Effect.gen(function* () {
        const at = "2025-09-01T08:00:00Z"
        const place = (order: string, quantity: unknown) => ({
          at,
          by: "web shop",
          command: "PlaceOrder",
          payload: { order, customer, lines: [{ sku: "cup", quantity, price: 500 }] }
        })
        const received = { at, by: "greta", command: "ReceiveStock", payload: { sku: "cup", quantity: 5, supplier: "x" } }
        const lines = [
          JSON.stringify(received),
          "{",
          "",
          JSON.stringify({ ...received, command: "Receive" }),
          JSON.stringify({ ...received, payload: { sku: "cup", quantity: 1.5 } }),
          JSON.stringify(place("1", "two")),
          // Of one moment, so at once: one of them is last, and finds nothing.
          ...["a", "b", "c", "d", "e", "f"].map((order) => JSON.stringify(place(order, 1))),
          "[]"
        ]
        const outcomes: Array<Outcome> = []
        yield* executeAll(lines.join("\n"), {
          prefix: "r2-",
          onOutcome: (outcome, of) => Effect.sync(() => assert.ok(outcomes.push(outcome) <= of)),
          onConflict: Effect.void
        })
        assert.deepEqual(
          outcomes.filter((outcome) => outcome._tag === "Malformed").map(({ line, problem }) => [line, problem]),
          [
            [2, "not JSON: Expected property name or '}' in JSON at position 1 (line 1 column 2)"],
            [4, 'command: Expected a command of the shop, got "Receive"'],
            [5, "payload.quantity: Expected an integer, got 1.5; payload.supplier: Missing key"],
            [6, 'payload.lines.0.quantity: Expected number, got "two"'],
            [13, "Expected object, got []"]
          ]
        )
        assert.equal(outcomes.filter((outcome) => outcome._tag === "Succeeded").length, 6)
        const rejected = outcomes.filter((outcome) => outcome._tag === "Rejected")
        assert.deepEqual(
          rejected.map(({ command, error }) => [command, error._tag]),
          [["PlaceOrder", "OutOfStock"]]
        )

        const [first] = yield* Stream.runCollect(EventStore.read("Stock-r2-cup"))
        assert.equal(first && DateTime.formatIso(first.recordedAt), "2025-09-01T08:00:00.000Z")
        assert.equal(first?.metadata["by"], "greta")
        const sold = yield* Stream.runCollect(EventStore.readAll({ filter: { types: ["OrderPlaced"] } }))
        assert.equal(sold.filter(({ stream }) => stream.startsWith("Order-r2-")).length, 5)
      })
    )
  })
})

describe("fulfilment", () => {
  const recorded = { key: "1" } as ProcessManager.Source

  it("has patience with each step, and cancels what it waited for in vain", () => {
    const { evolve, initial, react } = Fulfilment
    const placed = Order.OrderPlaced.make({ order, customer, lines: [line(cup, 2, 500)], total: Cents.make(1000) })
    const paid = Order.OrderPaid.make({ order, payment })
    const wait = { _tag: "SetDeadline", event: { _tag: "Overdue" }, due: patience }
    assert.deepEqual([react.OrderPlaced(), react.OrderPaid()], [[wait], [wait]])
    assert.deepEqual(react.OrderShipped(), [{ _tag: "CancelDeadline", type: "Overdue" }])
    const waiting = evolve.OrderPlaced(initial, placed)
    const reasons = [waiting, evolve.OrderPaid(waiting, paid)].map((state) =>
      react.Overdue(state, { _tag: "Overdue" }, recorded).map(({ payload }) => payload)
    )
    assert.deepEqual(reasons, [
      [{ order, reason: "the payment did not come in time" }],
      [{ order, reason: "the shipment did not come in time" }]
    ])
  })
})

describe("progress", () => {
  const written = (canAnimate: boolean) =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const bar = yield* progress("event")
      const write = vi.spyOn(process.stdout, "write").mockImplementation((text) => lines.push(String(text)) > 0)
      yield* Effect.forEach([10, 250, 500, 510, 1000], (done) => bar.step(done, 1000)).pipe(
        Effect.andThen(bar.clear),
        Effect.ensuring(Effect.sync(() => write.mockRestore()))
      )
      return lines
    }).pipe(
      Effect.provideService(TerminalCapabilities.TerminalCapabilities, { canColor: false, canAnimate, canPrompt: false }),
      Effect.provideService(Console.Console, { ...console, log: (text: string) => process.stdout.write(text) })
    )

  it.effect("is a bar on a terminal, drawn anew and gone in the end", () =>
    Effect.map(written(true), (lines) => {
      const bars = lines.map((line) => stripVTControlCharacters(line))
      assert.equal(bars[2], `\r   ${"█".repeat(20)}${"░".repeat(20)}  500 of 1,000 events`)
      assert.ok(lines.every((line) => line.startsWith("\r") && line.endsWith("\u001b[K")))
      assert.deepEqual([bars.length, bars.at(-1)], [6, "\r"])
    })
  )

  it.effect("is a line for each quarter elsewhere", () =>
    Effect.map(written(false), (lines) => {
      assert.deepEqual(lines, [
        "    25 %  250 of 1,000 events",
        "    50 %  500 of 1,000 events",
        "   100 %  1,000 of 1,000 events",
        ""
      ])
    })
  )
})

// -----------------------------------------------------------------------------
// the program
// -----------------------------------------------------------------------------

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const command = (...args: ReadonlyArray<string>) => [
  "--conditions=@eventfold/source",
  fileURLToPath(new URL("main.ts", import.meta.url)),
  ...args
]

/** Not even a test run on a terminal colours what is written to a pipe. */
const env = { ...process.env, FORCE_COLOR: undefined, NODE_OPTIONS: "" }

const start = (...args: ReadonlyArray<string>): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(process.execPath, command(...args), { env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr })
    )
  })

const includesAll = (text: string, parts: ReadonlyArray<string>) => {
  for (const part of parts) assert.ok(text.includes(part), `${JSON.stringify(part)} is missing in:\n${text}`)
}

/** What every run shows, whatever the store. */
const shown = [
  "417 lines: 362 succeeded, 46 rejected, 9 malformed",
  "10  OutOfStock          line 106  PlaceOrder      Not enough of",
  'line 35   command: Expected a command of the shop, got "PlaceOrdr"',
  "at version 3",
  "OptimisticLockError: expected version 1, found 2\n                   tried again: committed",
  "tried again: OutOfStock",
  "6  not paid in time",
  "19  paid, and not shipped in time",
  "└─ CancelOrder",
  "406 messages",
  '"specversion": "1.0"',
  "100 %  417 of 417 commands",
  "12 customers ordered meanwhile; the view has their 24 pieces, too."
]

describe("npm start", { timeout: 240_000 }, () => {
  it("shows the tour in memory, which forgets", async () => {
    const { code, stderr, stdout } = await start("--store", "memory")
    assert.equal(stderr, "")
    assert.equal(code, 0)
    includesAll(stdout, [...shown, "Before: 2,200 events. Now: 0."])
    // Not a terminal: no colours, nothing drawn anew.
    assert.ok(!stdout.includes("\r") && !stdout.includes("\u001b"))
  })

  it.each([
    { store: "sqlite", first: [] },
    { store: "jsonl", first: ["--store", "jsonl"] },
    { store: "pglite", first: ["--store", "pglite"] }
  ])("shows it on $store in a folder, twice", async ({ first: options, store }) => {
    const folder = await mkdtemp(join(tmpdir(), "eventfold-orders-test-"))
    try {
      const first = await start(...options, "--data", join(folder, "data"))
      assert.equal(first.stderr, "")
      assert.equal(first.code, 0)
      includesAll(first.stdout, [
        ...shown,
        "100 %  2,163 of 2,163 events",
        "2,200 events stand there, and all 138 orders fold to the same states"
      ])
      const second = await start("--store", store, "--data", join(folder, "data"))
      assert.equal(second.stderr, "")
      assert.equal(second.code, 0)
      includesAll(second.stdout, [
        ...shown.map((text) => text.replace("Not enough of", "Not enough of r2-")),
        "Run 2 on this data: 2,200 events stand there already; the ids of this run begin with r2-",
        "4,424 events stand there, and all 276 orders fold to the same states"
      ])
      assert.ok(!second.stdout.includes("of them were committed by an earlier run"))
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })

  it("ends at Ctrl-C, and leaves no temporary folder behind", async () => {
    const child = spawn(process.execPath, command(), { env })
    let stdout = ""
    let stderr = ""
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text))
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text
      if (stdout.includes("A week of commands")) child.kill("SIGINT")
    })
    const [code] = (await once(child, "close")) as [number]
    assert.equal(code, 130)
    assert.equal(stderr, "\nInterrupted. What was committed stands; the rest was not begun.\n")
    const folder = /on SQLite in (\S+)\/orders\.sqlite/.exec(stdout)?.[1] ?? ""
    assert.ok(folder.startsWith(tmpdir()))
    assert.equal(existsSync(folder), false)
  })

  it("shows it on a PostgreSQL server", async () => {
    const { code, stderr, stdout } = await start("--store", "postgres", "--url", inject("postgresUrl"))
    assert.equal(stderr, "")
    assert.equal(code, 0)
    includesAll(stdout, ["417 lines: 362 succeeded, 46 rejected, 9 malformed", "fold to the same states"])
  })

  it.each([
    [
      ["--store", "mysql"],
      'Invalid value for flag --store: "mysql". Expected: "memory" | "sqlite" | "jsonl" | "pglite" | "postgres"'
    ],
    [["--store", "postgres"], "--store postgres needs --url postgres://user:password@host:5432/database."],
    [["--url", "nonsense"], "--url is not a URL: postgres://user:password@host:5432/database is wanted."],
    [["--store", "memory", "--data", "x"], "--data goes with --store sqlite, jsonl or pglite, not with memory."],
    [["--store", "memory", "--url", "postgres://localhost/x"], "--url goes with --store postgres, not with memory."],
    [
      ["--url", "postgres://ada:secret@127.0.0.1:1/shop"],
      "PostgreSQL at 127.0.0.1:1/shop cannot be used: connect ECONNREFUSED 127.0.0.1:1."
    ]
  ])("refuses %j in one sentence", async (args, sentence) => {
    const { code, stderr } = await start(...args)
    assert.equal(stderr, `✗ ${sentence}\n`)
    assert.equal(code, 1)
  })

  it("helps", async () => {
    const { code, stderr, stdout } = await start("--help")
    assert.equal(stderr, "")
    assert.equal(code, 0)
    includesAll(stdout, ["npm start -- [flags]", "--store", "--url", "--data"])
  })
})
