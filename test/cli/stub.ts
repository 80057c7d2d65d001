/** The operations of a small shop that stands still: for what the command line shows, and not for what a store does. */
import { DateTime, Effect, Layer, type Schema, Stream } from "effect"
import { RpcTest } from "effect/rpc"
import { Operations } from "eventfold/operate"

const {
  Authentication,
  InvalidRequestError,
  NobodyTookError,
  NotAllowedError,
  NotFoundError,
  NotRegisteredError,
  Operator,
  RefusedError,
  UnavailableError
} = Operations

/** When the shop was looked at. */
export const now = Date.parse("2025-09-01T12:00:00Z")
const at = (time: string) => DateTime.makeUnsafe(`2025-09-01T${time}Z`)

const event = (
  position: number,
  stream: string,
  version: number,
  type: string,
  value: Schema.Json,
  more: Partial<Operations.EventRow> = {}
): Operations.EventRow => ({
  position,
  stream,
  version,
  id: `e-${position}`,
  type,
  schemaVersion: 1,
  recordedAt: at(`09:15:${String(position % 60).padStart(2, "0")}`),
  published: false,
  tags: [],
  correlationId: "c-1",
  causationId: null,
  by: null,
  payload: { _tag: "Shown", value, masked: [] },
  problem: null,
  ...more
})

const events: ReadonlyArray<Operations.EventRow> = [
  event(1, "Order-1007", 1, "OrderPlaced", { customer: "liam.obrien", total: 5850 }, { by: "web shop", published: true }),
  event(2, "Payment-p-5004", 1, "PaymentReceived", { order: "1007", amount: 5850 }, { by: "web shop", causationId: "command" }),
  event(3, "Order-1007", 2, "OrderPaid", { payment: "p-5004" }, { causationId: "e-2" }),
  event(4, "Fulfilment-1007", 1, "$EventHandled", { type: "OrderPaid" }, { causationId: "e-3" }),
  event(5, "Fulfilment-1007", 2, "$DeadlineSet", { due: "2025-09-08" }, { causationId: "e-4", correlationId: null }),
  // Names that somebody chose who means no good.
  event(
    6,
    "Order-<script>\u202Efdp.exe",
    1,
    "Order\u001b[31mPlaced",
    { note: "line\nbreak" },
    {
      problem: 'at ["total"]: a number was expected',
      correlationId: null
    }
  ),
  event(
    7,
    "注文-1",
    1,
    "注文された",
    { 顧客: "山田太郎", emoji: "👩‍👩‍👧" },
    { correlationId: null, payload: { _tag: "Hidden", bytes: 2048 } }
  )
]

const rowsOf = <A>(items: ReadonlyArray<A>, next: string | null = null) => ({ items, next, head: 7, read: null })

const follower = (name: string, more: Partial<Operations.Follower>): Operations.Follower => ({
  name,
  title: name,
  kind: "subscription",
  state: "live",
  position: 3743,
  lag: 0,
  rate: 0,
  lags: [],
  owner: "be117b11",
  here: true,
  since: at("11:59:59"),
  parked: 0,
  failure: null,
  partitions: [],
  ...more
})

const followers: ReadonlyArray<Operations.Follower> = [
  follower("subscription:confirmation-mails", { parked: 29 }),
  follower("projection:Sales@1", { lag: 4, position: 3739, rate: 31.4, owner: "472e8e1c" }),
  follower("subscription:warehouse-labels", {
    state: "halted",
    lag: 3583,
    position: 160,
    owner: null,
    since: at("11:57:00"),
    failure: {
      cause: "label printer: no template for carrier DPD",
      position: 161,
      stream: "Order-1018",
      type: "OrderShipped",
      attempts: 5,
      since: at("11:57:00")
    }
  })
]

const parkedRow = (position: number): Operations.ParkedRow => ({
  follower: "confirmation-mails",
  position,
  stream: "Order-1007",
  type: "OrderPlaced",
  cause: "smtp: connection refused",
  attempts: 3,
  parkedAt: at("10:00:00")
})

const notHere = Effect.fail(new NotRegisteredError({ detail: "The shop has no such thing." }))

/** What comes of an act, by what it is about. */
const outcomeOf = (
  about: string
): Effect.Effect<
  string,
  | Operations.NobodyTookError
  | Operations.RefusedError
  | Operations.NotAllowedError
  | Operations.UnavailableError
  | Operations.NotFoundError
> => {
  switch (about) {
    case "nobody":
      return Effect.fail(new NobodyTookError({ detail: "Nobody runs nobody: it was not taken within 10 s." }))
    case "refused":
      return Effect.fail(new RefusedError({ detail: "refused is not parked any more." }))
    case "forbidden":
      return Effect.fail(new NotAllowedError({ detail: "Acts are not allowed here." }))
    case "away":
      return Effect.fail(new UnavailableError({ detail: "The database does not answer." }))
    case "gone":
      return Effect.fail(new NotFoundError({ detail: "There is no follower gone." }))
    default:
      return Effect.succeed(`${about} was done.`)
  }
}

/** Pages of two, so that the command line must turn them. */
const pageOf = <A>(
  items: ReadonlyArray<A>,
  paged: { readonly after?: string | undefined; readonly limit?: number | undefined }
) => {
  const from = Number(paged.after ?? 0)
  const to = from + Math.min(2, paged.limit ?? 50)
  return rowsOf(items.slice(from, to), to < items.length ? String(to) : null)
}

const asked: Array<Operations.Act> = []
/** What the stub was asked to do, the oldest first. */
export const acts: ReadonlyArray<Operations.Act> = asked

const handlers = Operations.Operations.toLayer({
  Overview: () =>
    Effect.succeed({
      store: "stub",
      head: 7,
      bytes: null,
      operator: "ada",
      mayAct: true,
      payloads: "shown" as const,
      library: "0.2.0",
      protocol: Operations.protocol
    }),
  Streams: ({ category, order, prefix, ...paged }) => {
    const names = Array.from(new Set(events.map(({ stream }) => stream)))
    const found = names
      .map((stream) => {
        const of = events.filter((event) => event.stream === stream)
        return { stream, category: stream.split("-")[0] ?? "", version: of.length, position: of.at(-1)?.position ?? 0 }
      })
      .filter((row) => row.stream.startsWith(prefix ?? "") && (category === undefined || row.category === category))
    return Effect.succeed(pageOf(order === "newest" ? found.toReversed() : found, paged))
  },
  StreamEvents: ({ direction, from = 1, limit = 50, stream }) => {
    const of = events.filter((event) => event.stream === stream && event.version >= from)
    if (of.length === 0) return Effect.fail(new NotFoundError({ detail: `There is no stream ${stream}.` }))
    return Effect.succeed(
      rowsOf((direction === "backward" ? of.toReversed() : of).slice(0, limit), of.length > limit ? "next" : null)
    )
  },
  Events: ({ direction, filter, ...paged }) => {
    const of = events.filter(({ type }) => filter?.types === undefined || filter.types.includes(type))
    return Effect.succeed(pageOf(direction === "backward" ? of.toReversed() : of, paged))
  },
  Event: ({ at, id }) => {
    const found = events.find((event) => event.id === id || event.position === at)
    if (found === undefined) return Effect.fail(new NotFoundError({ detail: `There is no event ${id ?? at}.` }))
    const cause = events.find((event) => event.id === found.causationId) ?? null
    const effects = events.filter((event) => event.causationId === found.id)
    return Effect.succeed({
      event: found,
      metadata: { _tag: "Shown", value: { by: found.by }, masked: [] },
      cause,
      effects,
      complete: true
    })
  },
  Trail: ({ correlationId, ...paged }) =>
    Effect.succeed(
      pageOf(
        events.filter((event) => event.correlationId === correlationId),
        paged
      )
    ),
  States: ({ from = 2, stream }) => {
    const found = events.find((event) => event.stream === stream && event.version === from)
    if (stream !== "Order-1007") return notHere
    if (found === undefined) return Effect.succeed({ aggregate: "Order", stream, latest: 2, before: null, states: [] })
    const before = { status: "open", customer: "liam.obrien", lines: [{ sku: "tea", quantity: 3 }], note: "hurry" }
    const state = { status: "paid", customer: "liam.obrien", lines: [{ sku: "tea", quantity: 3 }], payment: "p-5004" }
    return Effect.succeed({
      aggregate: "Order",
      stream,
      latest: 2,
      before,
      states: [{ version: from, event: found, state, problem: null }]
    })
  },
  PositionAt: () => Effect.succeed({ position: 7, head: 7 }),
  Parked: ({ follower, ...paged }) => Effect.succeed(pageOf(follower === "nothing" ? [] : [54, 61, 90].map(parkedRow), paged)),
  DeadLetters: ({ group, ...paged }) =>
    Effect.succeed(
      pageOf(
        [
          {
            group: group ?? "billing",
            id: "m-1",
            source: "shop",
            type: "OrderPlaced",
            subject: "Order-1007",
            cause: "no such customer",
            attempts: 4,
            parkedAt: at("11:00:00"),
            payload: { _tag: "Cut" as const, text: '{"customer":"liam', bytes: 120_000 }
          }
        ],
        paged
      )
    ),
  Deadlines: (paged) =>
    Effect.succeed(
      pageOf(
        [{ process: "Fulfilment", stream: "Fulfilment-1007", type: "PaymentOverdue", due: at("15:00:00"), position: 5 }],
        paged
      )
    ),
  Projections: () =>
    Effect.succeed(
      [1, 2].map((version) => ({
        projection: "Sales",
        version,
        mode: "async" as const,
        active: version === 1,
        target: version === 1 ? null : 3743,
        position: version === 1 ? 3739 : 1200,
        lag: version === 1 ? 4 : 2543,
        state: version === 1 ? ("live" as const) : ("catching-up" as const),
        follower: `projection:Sales@${version}`,
        tables: ["sales", "customers"],
        registered: true,
        updatedAt: at("11:59:00")
      }))
    ),
  Doctor: () =>
    Effect.succeed([
      { check: "tables", level: "ok" as const, message: "The tables are as the library's.", remedy: null },
      {
        check: "pool",
        level: "problem" as const,
        message: "pool of 4, and 3 listeners: at least 6 are needed, or reads wait for ever",
        remedy: "PgClient.layer({ maxConnections: 10 })"
      },
      { check: "index", level: "warning" as const, message: "no index on correlation ids", remedy: null }
    ]),
  Verify: () =>
    Stream.make(
      { _tag: "Progress" as const, position: 3, head: 7 },
      { _tag: "Finding" as const, position: 5, message: "version 2 of Fulfilment-1007 is there twice" },
      { _tag: "Verified" as const, events: 7, removed: 0, findings: 1, digest: "ab12", chained: null }
    ),
  Tail: ({ after }) =>
    Stream.concat(Stream.make(events.filter(({ position }) => after !== "end" && position > after)), Stream.never),
  Followers: ({ every }) => (every === undefined ? Stream.make(followers) : Stream.make(followers, followers)),
  Act: ({ act, id }) => {
    const about =
      act._tag === "Rebuild" || act._tag === "Switch" || act._tag === "Drop"
        ? `${act.projection}@${act.version}`
        : act._tag === "RelayAgain"
          ? act.relay
          : "group" in act
            ? `${act.group} ${act.id}`
            : act.follower
    asked.push(act)
    const steps: ReadonlyArray<Operations.ActStep> = [
      { _tag: "Asked", id },
      { _tag: "Taken", id, owner: "be117b11" },
      ...(act._tag === "Rebuild" ? [{ _tag: "Progress" as const, id, position: 670, target: 1000 }] : [])
    ]
    const done = Effect.map(outcomeOf(about), (outcome): Operations.ActStep => ({ _tag: "Done", id, outcome }))
    return Stream.concat(Stream.fromIterable(steps), Stream.fromEffect(done))
  },
  Size: () => notHere,
  Processes: () => notHere,
  Tables: () => notHere,
  Snapshots: () => Effect.fail(new InvalidRequestError({ detail: "A cursor of something else." })),
  Leases: () => notHere,
  Groups: () => notHere,
  Map: () => notHere,
  Asked: () => notHere
})

const authentication = Layer.succeed(Authentication, (answer) =>
  Effect.provideService(answer, Operator, { name: "ada", mayAct: true, payloads: "shown" })
)

/** A client of the stub. */
export const client = Effect.provide(RpcTest.makeClient(Operations.Operations), Layer.merge(handlers, authentication))
