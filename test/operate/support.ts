/** A small shop that is operated, over every store. */
import { join } from "node:path"
import { NodeFileSystem } from "@effect/platform-node"
import { it } from "@effect/vitest"
import { Context, Effect, Layer, Schedule, Schema, type Scope, Stream } from "effect"
import { RpcTest } from "effect/rpc"
import {
  Aggregate,
  Checkpoints,
  Consumer,
  DeadLetters,
  Event,
  EventStore,
  MessageBus,
  ParkedEvents,
  ProcessManager,
  Projection,
  Relay,
  Snapshots,
  Subscription,
  Transport,
  UnitOfWork
} from "eventfold"
import { JsonlCheckpoints, JsonlEventStore } from "eventfold/jsonl"
import { Operate, Operations } from "eventfold/operate"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { SqliteCheckpoints, SqliteClient, SqliteEventStore } from "eventfold/sqlite"
import { describe } from "vitest"
import { freshSchema, pgLiteOfFile, serverOfFile } from "../postgres/support.ts"
import { temporaryDirectory } from "../support/files.ts"
import { declared } from "../support/wirings.ts"

export const Placed = Event.make(
  "Placed",
  { customer: Event.sensitive(Schema.String), total: Schema.Int },
  { published: true, tags: ({ customer }) => [`customer:${customer}`] }
)
export const Paid = Event.make("Paid", { by: Schema.String })
const PaymentDue = Event.make("PaymentDue", {})

export const Order = Aggregate.make("Order", {
  events: [Placed, Paid],
  state: Schema.Struct({
    status: Schema.Literals(["none", "open", "paid"]),
    customer: Event.sensitive(Schema.NullOr(Schema.String)),
    total: Schema.Int
  }),
  initial: { status: "none", customer: null, total: 0 },
  evolve: {
    Placed: (_, { customer, total }) => ({ status: "open", customer, total }),
    Paid: (state) => ({ ...state, status: "paid" })
  },
  snapshot: { every: 2 }
})

const Payment = ProcessManager.make("Payment", {
  events: [Placed],
  correlate: { Placed: ({ customer }) => customer },
  deadlines: [PaymentDue],
  initial: { orders: 0 },
  evolve: { Placed: ({ orders }) => ({ orders: orders + 1 }), PaymentDue: (state) => state },
  react: { Placed: () => [ProcessManager.setDeadline(PaymentDue.make({}), "365 days")], PaymentDue: () => [] }
})

const sales = Projection.table("sales", { fields: { order: Schema.String, total: Schema.Int }, key: "order" })
const salesOf = (version: number) =>
  Projection.make("Sales", {
    version,
    events: [Placed],
    tables: [sales],
    handlers: { Placed: ({ total }, { stream }) => sales.upsert({ order: stream, total }) }
  })
export const Sales = salesOf(1)
export const Newer = salesOf(2)
export const Newest = salesOf(3)

/** What goes wrong in the shop. */
export class Faults extends Context.Service<Faults, { mails: boolean; labels: boolean; messages: boolean }>()("test/Faults") {}

const fails = (what: "mails" | "labels" | "messages", why: string) =>
  Effect.flatMap(Faults, (faults) => (faults[what] ? Effect.fail(why) : Effect.void))

const once = Schedule.recurs(0)

/** All that follows, beside projections. */
export const Followers = Layer.mergeAll(
  Subscription.layer({
    name: "mails",
    onFailure: "park",
    retry: once,
    filter: { types: ["Placed"] },
    handler: () => fails("mails", "no mail server")
  }),
  Subscription.layer({ name: "labels", retry: once, filter: { types: ["Paid"] }, handler: () => fails("labels", "no template") }),
  Relay.layer({ name: "orders" }),
  Consumer.layer([Placed], { Placed: () => fails("messages", "no account") }, { group: "billing", maxAttempts: 1 }),
  ProcessManager.layer(Payment)
)

type Base = EventStore.EventStore | Checkpoints.Checkpoints
export type Services =
  | Base
  | Faults
  | ParkedEvents.ParkedEvents
  | DeadLetters.DeadLetters
  | Snapshots.Snapshots
  | Transport.Transport
  | MessageBus.MessageBus
  | UnitOfWork.UnitOfWork

const inMemory = Layer.mergeAll(ParkedEvents.layerMemory, DeadLetters.layerMemory, Snapshots.layerMemory)
const inSql = Layer.mergeAll(ParkedEvents.layerSql, DeadLetters.layerSql, Snapshots.layerSql)

const over = <E, R>(
  base: Layer.Layer<Base | R, E>,
  side: Layer.Layer<ParkedEvents.ParkedEvents | DeadLetters.DeadLetters | Snapshots.Snapshots, unknown, Base | R>
) =>
  Layer.mergeAll(
    side,
    MessageBus.layer,
    Transport.layerMemory,
    Layer.sync(Faults, () => ({ mails: true, labels: true, messages: true }))
  ).pipe(Layer.provideMerge(UnitOfWork.layer), Layer.provideMerge(base))

const Jsonl = Layer.unwrap(
  Effect.map(temporaryDirectory, (directory) =>
    Layer.merge(
      JsonlEventStore.layer({ path: join(directory, "events.jsonl") }),
      JsonlCheckpoints.layer({ path: join(directory, "checkpoints.jsonl") })
    )
  )
).pipe(Layer.provide(NodeFileSystem.layer))

/** The shop over each store, with the client of its operations. */
export const onEveryStore = (
  suite: (test: (name: string, body: Effect.Effect<void, unknown, Services | Scope.Scope>) => void, kind: string) => void
) => {
  const databases = { server: serverOfFile(), pglite: pgLiteOfFile() }
  const onPg = (name: keyof typeof databases) => () =>
    over(
      PgCheckpoints.layer.pipe(
        Layer.provideMerge(PgEventStore.layerWith({ schema: freshSchema(), listen: false, pollInterval: "20 millis" })),
        Layer.provideMerge(databases[name])
      ),
      inSql
    )
  const wirings = {
    memory: () => over(Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory), inMemory),
    SQLite: () =>
      over(
        SqliteCheckpoints.layer.pipe(
          Layer.provideMerge(SqliteEventStore.layer),
          Layer.provideMerge(SqliteClient.layer({ filename: ":memory:" }))
        ),
        inSql
      ),
    "JSON lines": () => over(Jsonl, inMemory),
    PostgreSQL: onPg("server"),
    PGlite: onPg("pglite")
  }
  for (const [name, make] of declared<() => Layer.Layer<Services, unknown>>(wirings)) {
    describe(`on ${name}`, () => {
      // The first one on PGlite starts it.
      const on = (title: string, body: Effect.Effect<void, unknown, Services | Scope.Scope>) =>
        it.live(title, () => Effect.provide(Effect.scoped(body), Layer.fresh(make())), 120_000)
      suite(on, name)
    })
  }
}

/** A client of the operations on whatever is provided. */
export const clientOf = Effect.fnUntraced(function* (
  operator: Parameters<typeof Operate.layerOperator>[0] = { name: "ada" },
  options: Operate.HandlerOptions<readonly []> = {}
) {
  const handlers = Operate.layerHandlers({ aggregates: [Order], processes: [Payment], ...options })
  const built = yield* Layer.build(Layer.fresh(Layer.merge(handlers, Operate.layerOperator(operator))))
  return yield* Effect.provideContext(RpcTest.makeClient(Operations.Operations), built)
})

/** Orders that stand in the log. */
export const place = (order: string, customer = "greta", metadata: EventStore.Metadata = {}) =>
  EventStore.append(`Order-${order}`, [
    { type: "Placed", payload: { customer, total: 5 }, published: true, tags: [`customer:${customer}`], metadata }
  ])

/** Followers, until they are as asked for. */
export const followersUntil = (
  client: Effect.Success<ReturnType<typeof clientOf>>,
  isSo: (all: ReadonlyArray<typeof Operations.Follower.Type>) => boolean
) =>
  client.Followers({}).pipe(
    Stream.runCollect,
    Effect.map(([all]) => all ?? []),
    Effect.repeat({ until: isSo, schedule: Schedule.spaced("20 millis") }),
    Effect.timeoutOrElse({
      duration: "20 seconds",
      orElse: () => Effect.die(new Error("the followers are not as they should be"))
    })
  )
