/** The tour: what the example does and shows, section by section. */
import { DateTime, Deferred, Duration, Effect, Layer, Schema, Stream } from "effect"
import {
  AuditTrail,
  Checkpoints,
  Event,
  EventStore,
  MessageBus,
  ProcessManager,
  Projection,
  Relay,
  Repository,
  Subscription,
  Transport,
  UnitOfWork
} from "eventfold"
import { PlaceOrder, ReceiveStock } from "./application.ts"
import { Cents, CustomerId, Line, Order, OrderId, Payment, Quantity, Sku, Stock } from "./domain.ts"
import { Fulfilment, patience } from "./fulfilment.ts"
import { executeAll, type Outcome } from "./intake.ts"
import { openingStock } from "./legacy.ts"
import { makeSales } from "./sales.ts"
import { bad, bold, clip, columns, count, dim, good, heading, money, name, odd, print, progress, time } from "./terminal.ts"

/** One run of the example. On data that is kept, each has ids of its own, so that the runs stand side by side. */
export interface Run {
  readonly number: number
  /** What the ids of this run begin with: nothing in the first one. */
  readonly prefix: string
  /** How many events stood in the store before. */
  readonly earlier: number
}

/** Counts the runs by the version of a stream: two processes that start at once get two numbers. */
export const begin: Effect.Effect<Run, EventStore.AppendError, EventStore.EventStore> = Effect.gen(function* () {
  const earlier = yield* EventStore.head
  const { version } = yield* EventStore.append("Run-orders", [{ type: "RunStarted", payload: {} }])
  return { number: version, prefix: version === 1 ? "" : `r${version}-`, earlier }
})

// -----------------------------------------------------------------------------
// 1
// -----------------------------------------------------------------------------

export const aWeekOfCommands = Effect.fnUntraced(function* (run: Run, commands: string) {
  yield* heading(1, "A week of commands")

  yield* EventStore.appendAll(openingStock(run.prefix))
  const sku = Sku.make(`${run.prefix}mug-blue`)
  const [stored] = yield* Stream.runCollect(EventStore.read(EventStore.streamName("Stock", sku), { limit: 1 }))
  const [first] = yield* Stream.runCollect(Repository.events(Stock.Stock, sku, { limit: 1 }))
  yield* print(
    `   The old system's stock was imported as it stood: ${name("StockReceived")} at schema version ${stored?.schemaVersion}.`,
    dim(`   stored  ${JSON.stringify(stored?.payload)}`),
    dim(`   read    ${first === undefined ? "" : JSON.stringify(first.event)}`),
    ""
  )

  const outcomes: Array<Outcome> = []
  let conflicts = 0
  const bar = yield* progress("command")
  yield* executeAll(commands, {
    prefix: run.prefix,
    onOutcome: (outcome, of) => Effect.suspend(() => bar.step(outcomes.push(outcome), of)),
    onConflict: Effect.sync(() => void conflicts++)
  }).pipe(Effect.ensuring(bar.clear))

  outcomes.sort((a, b) => a.line - b.line)
  const succeeded = outcomes.filter((outcome) => outcome._tag === "Succeeded")
  const rejected = outcomes.filter((outcome) => outcome._tag === "Rejected")
  const malformed = outcomes.filter((outcome) => outcome._tag === "Malformed")
  yield* print(
    `   ${count(outcomes.length, "line")}: ${good(`${succeeded.length} succeeded`)}, ${bad(`${rejected.length} rejected`)}, ` +
      odd(`${malformed.length} malformed`),
    ""
  )
  for (const [command, of] of group(succeeded, ({ command }) => command)) {
    yield* print(`   ${good("✓")} ${columns([4, 18], [String(of.length).padStart(4), command])}`)
  }
  yield* print("")
  for (const [tag, of] of group(rejected, ({ error }) => error._tag)) {
    const { command, error, line } = of[0]
    const example = dim(`line ${String(line).padEnd(3)}  ${command.padEnd(14)}  ${error.message}`)
    yield* print(`   ${bad("✗")} ${columns([4, 18, 0], [String(of.length).padStart(4), tag, example])}`)
  }
  yield* print("")
  for (const { line, problem } of malformed) {
    yield* print(`   ${odd("?")} line ${String(line).padEnd(3)}  ${dim(clip(problem, 86))}`)
  }
  yield* print("", "   What was rejected has written nothing, not even in part: a command is one unit of work.")
  if (conflicts > 0) {
    yield* print(
      `   Commands of one moment ran at once; ${count(conflicts, "conflict")} between them were settled by trying again.`
    )
  }
})

/** By key, the most frequent first. */
const group = <A>(all: ReadonlyArray<A>, key: (a: A) => string): ReadonlyArray<readonly [string, readonly [A, ...Array<A>]]> => {
  const groups = new Map<string, [A, ...Array<A>]>()
  for (const a of all) {
    const of = groups.get(key(a))
    if (of === undefined) groups.set(key(a), [a])
    else of.push(a)
  }
  return [...groups].sort(([, a], [, b]) => b.length - a.length)
}

// -----------------------------------------------------------------------------
// 2 and 3
// -----------------------------------------------------------------------------

const featured = ({ prefix }: Run) => OrderId.make(`${prefix}1007`)

/** All events of the shop, by type. */
const definitions: ReadonlyMap<string, Event.Any> = new Map<string, Event.Any>([
  ...Order.Order.definitions,
  ...Payment.Payment.definitions,
  ...Stock.Stock.definitions
])

/** The conversation about one order: its commands, and what happened in all three aggregates because of them. */
export const auditTrail = Effect.fnUntraced(function* (run: Run) {
  const order = featured(run)
  yield* heading(2, `Everything about order ${order}`)
  const correlationId = EventStore.streamName("Order", order)
  const conversation = yield* Stream.runCollect(EventStore.readAll({ filter: { correlationId } }))
  const typeOf = new Map(conversation.map(({ id, type }) => [id, type]))
  for (const recorded of conversation) {
    const { metadata, recordedAt, stream, type, version } = recorded
    if (stream.startsWith("$bus-")) {
      yield* print(`   ${time(recordedAt)}  ${bold(type)} by ${String(metadata["by"])}`)
      continue
    }
    const event = yield* Effect.fromResult(Event.decodeAny(definitions, recorded))
    const cause = typeOf.get(metadata.causationId ?? "") ?? ""
    const because = definitions.has(cause) ? dim(`  ← ${cause}`) : ""
    yield* print(
      `      ${dim(columns([25, 3], [stream, `v${version}`]))}  ${name(type.padEnd(15))}  ${dataOf(event, [order, stream])}${because}`
    )
  }
  const [placed] = yield* Stream.runCollect(Repository.events(Order.Order, order, { limit: 1 }))
  if (placed?.event._tag === "OrderPlaced") {
    const tag = `customer:${placed.event.customer}`
    const all = yield* Stream.runCount(EventStore.readAll({ filter: { types: ["OrderPlaced"], tags: [tag] } }))
    yield* print("", `   The tag ${name(tag)} finds all orders of that customer: ${all}.`)
  }
})

/** The fields of an event that its stream's name does not tell. */
const dataOf = (event: object, known: ReadonlyArray<string>): string =>
  Object.entries(event)
    .filter(([key, value]) => key !== "_tag" && !known.some((text) => text === value || text.endsWith(`-${value}`)))
    .map(([key, value]) => valueOf(key, value))
    .join(", ")

const valueOf = (key: string, value: unknown): string => {
  if (isLine(value)) return lineText(value)
  if (Array.isArray(value)) return value.map((element) => valueOf(key, element)).join(" + ")
  if (DateTime.isDateTime(value)) return DateTime.formatIsoDateUtc(value)
  if (key === "quantity") return count(Number(value), "piece")
  return typeof value === "number" ? money(value) : String(value)
}

const isLine = Schema.is(Line)
const lineText = ({ quantity, sku }: Line) => `${quantity} ${sku}`

/** The same order, as it was: at an instant, at a version, and now. */
export const timeTravel = Effect.fnUntraced(function* (run: Run) {
  const order = featured(run)
  yield* heading(3, "The same order, as it was")
  const history = yield* Stream.runCollect(Repository.events(Order.Order, order))
  const [, second] = history
  if (second === undefined) return
  const before = DateTime.subtract(second.recordedAt, { minutes: 1 })
  const show = (when: string, { state, version }: Repository.Loaded<typeof Order.Order>) =>
    print(
      `   ${columns([24, 4, 9], [when, `v${version}`, state.status])}  ${state.lines.map(lineText).join(" + ")}, ${money(state.total)}`
    )
  yield* show(`at ${time(before)}`, yield* Repository.read(Order.Order, order, { at: before }))
  yield* show("at version 3", yield* Repository.read(Order.Order, order, { version: 3 }))
  yield* show("now", yield* Repository.read(Order.Order, order))
})

// -----------------------------------------------------------------------------
// 4
// -----------------------------------------------------------------------------

export const race = Effect.fnUntraced(function* (run: Run) {
  yield* heading(4, "Two writers race for the last pieces")
  const samovar = Sku.make(`${run.prefix}samovar`)
  yield* raceFor(run, samovar, 5, { ada: 3, ben: 2 })
  yield* print("")
  yield* raceFor(run, samovar, 1, { cleo: 1, dan: 1 })
})

/** Each orders some of the article, once both have seen what is there: so only one can be right. */
const raceFor = Effect.fnUntraced(function* (run: Run, sku: Sku, pieces: number, wanted: Readonly<Record<string, number>>) {
  yield* MessageBus.execute(ReceiveStock, { sku, quantity: Quantity.make(pieces), supplier: "Nordstahl" })
  const { state, version } = yield* Repository.read(Stock.Stock, sku)
  yield* print(
    `   ${count(Stock.available(state), "piece")} of ${sku} in stock, at version ${version} of ${EventStore.streamName("Stock", sku)}`
  )
  const writers = Object.entries(wanted)
  const bothHaveDecided = yield* Deferred.make<void>()
  let decided = 0

  const write = Effect.fnUntraced(function* (customer: string, quantity: number) {
    const log: Array<string> = []
    const line = { sku, quantity: Quantity.make(quantity), price: Cents.make(24900) }
    const order = OrderId.make(`${run.prefix}${customer}-${quantity}`)
    yield* UnitOfWork.transact(
      Effect.gen(function* () {
        yield* MessageBus.execute(PlaceOrder, { order, customer: CustomerId.make(customer), lines: [line] })
        // Decided and staged, not committed: here each waits for the other, the first time.
        if (++decided === writers.length) yield* Deferred.succeed(bothHaveDecided, undefined)
        yield* Deferred.await(bothHaveDecided)
      })
    ).pipe(
      Effect.tapError((error) =>
        Effect.sync(
          () =>
            error._tag === "OptimisticLockError" &&
            log.push(`${odd(error._tag)}: expected version ${error.expected}, found ${error.actual}`)
        )
      ),
      UnitOfWork.retryConflicts({ times: 3 }),
      Effect.matchEffect({
        onSuccess: () => Effect.sync(() => log.push(good("committed"))),
        onFailure: (error) =>
          error._tag === "OutOfStock" ? Effect.sync(() => log.push(`${bad(error._tag)}: ${error.message}`)) : Effect.fail(error)
      })
    )
    return log
  })

  const logs = yield* Effect.forEach(writers, ([customer, quantity]) => write(customer, quantity), { concurrency: "unbounded" })
  for (const [index, [customer, quantity]] of writers.entries()) {
    const [first, ...then] = logs[index] ?? []
    yield* print(`   ${bold(customer.padEnd(5))} wants ${quantity}   ${first}`)
    for (const next of then) yield* print(`${" ".repeat(19)}tried again: ${next}`)
  }
  const left = Stock.available((yield* Repository.read(Stock.Stock, sku)).state)
  yield* print(`   ${left === 0 ? "None is" : `${left} are`} left, and none was sold twice.`)
})

// -----------------------------------------------------------------------------
// 5
// -----------------------------------------------------------------------------

/**
 * The process runs until it has dealt with all that is overdue by now; a service that keeps running has
 * `ProcessManager.layer(Fulfilment)` among its Layers instead.
 */
export const deadlines = Effect.fnUntraced(function* (run: Run) {
  yield* heading(5, "Who does not pay, and who waits in vain")
  const now = yield* DateTime.now
  const waiting = Array.from((yield* standing).orders, ([stream, { state }]) => ({ stream, status: state.status })).filter(
    ({ status }) => status === "open" || status === "paid"
  )
  const overdue = yield* Effect.filter(waiting, ({ stream }) =>
    EventStore.read(stream, { direction: "backward", limit: 1 }).pipe(
      Stream.runCollect,
      Effect.map(([last]) => last !== undefined && DateTime.isLessThan(DateTime.addDuration(last.recordedAt, patience), now))
    )
  )
  const start = yield* EventStore.head
  yield* Effect.scoped(
    Effect.gen(function* () {
      yield* Layer.build(ProcessManager.layer(Fulfilment))
      const cancellations = EventStore.subscribe({ after: start, filter: { types: ["OrderCancelled"] } })
      if (overdue.length > 0) yield* Stream.runDrain(Stream.take(cancellations, overdue.length))
      yield* Subscription.changes(`process:${Fulfilment.name}`).pipe(
        Stream.mapEffect(({ position }) => Effect.map(EventStore.head, (head) => position === head)),
        Stream.takeUntil((caughtUp) => caughtUp),
        Stream.runDrain
      )
    })
  )
  const of = (wanted: string) => overdue.filter(({ status }) => status === wanted)
  yield* print(
    `   A process follows each order, and has ${count(Duration.toDays(patience), "day")} of patience with every step:`,
    "",
    `   ${bad("✗")} ${columns([4], [String(of("open").length).padStart(4)])}  not paid in time: cancelled, and their stock is free again`,
    `   ${bad("✗")} ${columns([4], [String(of("paid").length).padStart(4)])}  paid, and not shipped in time: cancelled, and the money goes back`
  )
  const example = of("paid").find(({ stream }) => stream.startsWith(`Order-${run.prefix}`))
  if (example === undefined) return
  yield* print("", `   All that was said and done about one of these:`, "")
  const trail = yield* AuditTrail.conversation(example.stream)
  yield* print(...trail.map((line) => dim(`   ${clip(line, 116)}`)))
})

// -----------------------------------------------------------------------------
// 6
// -----------------------------------------------------------------------------

/** The view is built from the beginning while customers order; a service has `Projection.layer(projection)` among its Layers as well. */
export const rebuilt = Effect.fnUntraced(function* (run: Run) {
  yield* heading(6, "A view is built anew, and the shop stays open")
  const { pieces, projection } = makeSales()
  const jug = Sku.make(`${run.prefix}jug`)
  const customers = Array.from({ length: 12 }, (_, index) => `guest-${index + 1}`)
  yield* MessageBus.execute(ReceiveStock, { sku: jug, quantity: Quantity.make(2 * customers.length), supplier: "Nordstahl" })
  const line = { sku: jug, quantity: Quantity.make(2), price: Cents.make(3900) }
  const shopping = Effect.forEach(customers, (customer) =>
    MessageBus.execute(PlaceOrder, {
      order: OrderId.make(`${run.prefix}${customer}`),
      customer: CustomerId.make(customer),
      lines: [line]
    }).pipe(Effect.delay("20 millis"))
  )
  yield* Effect.gen(function* () {
    const bar = yield* progress("event")
    const build = Projection.rebuild(projection, { transactional: false, batch: 10 }).pipe(
      Stream.runForEach(({ head, position }) => bar.step(Math.min(position, head), head)),
      Effect.ensuring(bar.clear)
    )
    yield* Effect.all([build, shopping], { concurrency: 2, discard: true })
    // What was appended meanwhile it catches up with as it runs.
    yield* Layer.build(Projection.layer(projection, { transactional: false }))
    yield* Projection.whenCaughtUp(projection, { timeout: "1 minute" })
  }).pipe(Effect.scoped, Effect.provide(Layer.fresh(Checkpoints.layerMemory)))
  yield* print(
    `   ${count(customers.length, "customer")} ordered meanwhile; the view has their ${pieces.get(jug)} pieces, too. Ordered most:`,
    ""
  )
  const most = Array.from(pieces).sort(([a, more], [b, less]) => less - more || (a < b ? -1 : 1))
  for (const [sku, ordered] of most.slice(0, 4)) yield* print(`   ${columns([4], [String(ordered).padStart(4)])}  ${name(sku)}`)
})

// -----------------------------------------------------------------------------
// 7
// -----------------------------------------------------------------------------

/**
 * The relay publishes what has not left yet, and moves its checkpoint. It is drained here, so that the tour can go on when all has
 * left; a service that keeps running has `Relay.layer({ name: "orders" })` among its Layers instead.
 */
export const published = Effect.fnUntraced(function* (run: Run) {
  yield* heading(7, "What left the process: CloudEvents")
  yield* Relay.drain({ name: "orders", source: "/shop" })
  const messages = yield* Transport.published
  yield* print(`   ${count(messages.length, "message")}, in the order of the store; private events stayed inside.`)
  const late = messages.filter(({ position }) => position <= run.earlier).length
  if (late > 0) {
    yield* print(`   ${late} of them were committed by an earlier run that ended before they had left.`)
  }
  yield* print("")
  for (const [type, of] of group(messages, ({ type }) => type)) {
    yield* print(`   ${columns([4], [String(of.length).padStart(4)])}  ${name(type)}`)
  }
  const subject = EventStore.streamName("Order", featured(run))
  const shipped = messages.find((message) => message.subject === subject && message.type === "OrderShipped")
  if (shipped !== undefined) {
    const json = yield* Schema.encodeEffect(Transport.Message)(shipped)
    yield* print(
      "",
      ...JSON.stringify(json, undefined, 2)
        .split("\n")
        .map((line) => dim(`   ${line}`))
    )
  }
})

// -----------------------------------------------------------------------------
// 8
// -----------------------------------------------------------------------------

/** What stands in the store: its newest position, and every order, folded anew from its events. */
export const standing = Effect.gen(function* () {
  const orders = new Map<string, Repository.Loaded<typeof Order.Order>>()
  const streams = yield* Stream.runCollect(EventStore.streams({ category: "Order" }))
  for (const { stream } of streams) {
    orders.set(stream, yield* Repository.read(Order.Order, OrderId.make(stream.slice("Order-".length))))
  }
  return { head: yield* EventStore.head, orders }
})
