/** Every way that personal data take out of an event: the value is planted, looked for in all that is kept, and forgotten. */
import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Effect, Layer, Redacted, Schedule, Schema, type Scope, Stream } from "effect"
import type { SqlClient } from "effect/sql"
import { describe } from "vitest"
import {
  Aggregate,
  type Checkpoints,
  Command,
  Consumer,
  DeadLetters,
  Event,
  EventStore,
  Inbox,
  Keys,
  MessageBus,
  ParkedEvents,
  Personal,
  ProcessManager,
  Projection,
  Relay,
  Repository,
  Snapshots,
  Subscription,
  type Transport,
  UnitOfWork
} from "eventfold"
import { logs } from "../support/logs.ts"
import { eventually } from "../support/words.ts"

const planted = "ada-planted@example.org"

const Registered = Event.make(
  "Registered",
  {
    customer: Schema.String,
    email: Personal.field(Schema.String, { subject: "customer" }),
    contacts: Schema.Array(
      Schema.Struct({ person: Schema.String, address: Personal.field(Schema.String, { subject: "person" }) })
    )
  },
  { published: true, tags: ({ customer }) => [`customer:${customer}`] }
)

const Customer = Aggregate.make("Customer", {
  state: Schema.Struct({
    customer: Schema.String,
    email: Personal.field(Schema.NullOr(Schema.String), { subject: "customer", whenForgotten: null })
  }),
  events: [Registered],
  initial: { customer: "", email: null },
  evolve: { Registered: (_, { customer, email }) => ({ customer, email: Personal.getOrElse(email, () => null) }) },
  snapshot: { every: 1 }
})

const Register = Command.make("Register", {
  payload: {
    customer: Schema.String,
    email: Personal.input(Schema.String, { subject: "customer" }),
    password: Schema.Redacted(Schema.String)
  }
})
const Welcome = Command.make("Welcome", {
  payload: { customer: Schema.String, email: Personal.field(Schema.String, { subject: "customer" }) }
})

const welcomed: Array<string | Personal.Forgotten> = []
const heard: Array<unknown> = []

const Customers = Projection.table("customers", {
  key: "customer",
  fields: { customer: Schema.String, email: Schema.NullOr(Schema.String), seen: Schema.Int },
  personal: { subject: "customer", onForget: { email: null } }
})
const Contacts = Projection.table("contacts", {
  key: "id",
  fields: { id: Schema.String, person: Schema.String, address: Schema.String },
  indexes: [["person"]],
  personal: { subject: "person", onForget: "delete" }
})
const Views = Projection.make("Views", {
  version: 1,
  tables: [Customers, Contacts],
  events: [Registered],
  handlers: {
    Registered: ({ contacts, customer, email }) =>
      Effect.andThen(
        Customers.upsert({ customer, email: Personal.getOrElse(email, () => null), seen: 1 }),
        Contacts.upsert(
          ...contacts.flatMap(({ address, person }, index) =>
            Personal.isForgotten(address) ? [] : [{ id: `${customer}-${index}`, person, address }]
          )
        )
      )
  }
})

const Welcoming = ProcessManager.make("Welcoming", {
  events: [Registered],
  correlate: { Registered: ({ customer }) => customer },
  initial: "new",
  evolve: { Registered: () => "welcomed" },
  react: {
    Registered: (_, { customer, email }) => [ProcessManager.send(Welcome, { customer, email })]
  }
})

class Odd extends Schema.TaggedError<Odd>()("Odd", { email: Schema.String }) {
  override get message() {
    return `cannot write to ${this.email}`
  }
}

const complain = ({ email }: typeof Registered.Type) => Effect.fail(new Odd({ email: Personal.getOrElse(email, () => "nobody") }))

/** Where it all lives. */
export interface World {
  readonly base: Layer.Layer<EventStore.EventStore | Checkpoints.Checkpoints | SqlClient.SqlClient, unknown>
  readonly transport: Layer.Layer<Transport.Transport, unknown>
  /** What of all that is kept holds a text. */
  readonly holding: (text: string) => Effect.Effect<ReadonlyArray<string>, unknown>
}

const program = (world: World, more: { readonly withViews: boolean }) => {
  const Base = Personal.layer.pipe(
    Layer.provideMerge(Keys.layerMemory),
    Layer.provideMerge(Personal.layerCrypto),
    Layer.provideMerge(world.base)
  )
  const Besides = Layer.mergeAll(
    Personal.layerSnapshots.pipe(Layer.provide(Snapshots.layerSql)),
    Personal.layerTransport.pipe(Layer.provide(world.transport)),
    Personal.layerDeadLetters.pipe(Layer.provide(DeadLetters.layerSql)),
    ParkedEvents.layerSql,
    Inbox.layerSql
  ).pipe(Layer.provideMerge(Base))
  const Handlers = Layer.mergeAll(
    MessageBus.handle(Register, ({ customer, email }) =>
      Effect.asVoid(
        Repository.execute(Customer, customer, () =>
          Effect.succeed([Registered.make({ customer, email, contacts: [{ person: "p2", address: `of ${planted}` }] })])
        )
      )
    ),
    MessageBus.handle(Welcome, ({ email }) => Effect.sync(() => void welcomed.push(email)))
  )
  return Layer.mergeAll(
    ProcessManager.layer(Welcoming),
    more.withViews ? Projection.layer(Views) : Layer.empty,
    Personal.layerEraser,
    Subscription.layer({
      name: "complaining",
      events: [Registered],
      handlers: { Registered: complain },
      onFailure: "park",
      retry: Schedule.recurs(0)
    }),
    Relay.layer({ name: "shop", filter: { types: ["Registered"] } }),
    Consumer.layer(
      [Registered],
      {
        Registered: (event) =>
          Effect.andThen(
            Effect.sync(() => void heard.push(event.email)),
            complain(event)
          )
      },
      { group: "mail", maxAttempts: 1 }
    )
  ).pipe(
    Layer.provideMerge(Handlers),
    Layer.provideMerge(MessageBus.layerWith({ record: "all" })),
    Layer.provideMerge(UnitOfWork.layer),
    Layer.provideMerge(Besides)
  )
}

const register = MessageBus.execute(Register, { customer: "c1", email: planted, password: Redacted.make("secret-password") })

const done = Effect.gen(function* () {
  const parked = yield* ParkedEvents.ParkedEvents
  const letters = yield* DeadLetters.DeadLetters
  return welcomed.length > 0 && (yield* parked.list("complaining")).length > 0 && (yield* letters.list("mail")).length > 0
})

/** Plants a value, and looks for it in all that is kept. */
export const keepsOffPaths = (name: string, make: Effect.Effect<World, unknown, Scope.Scope>): void => {
  describe(`personal data on their way, ${name}`, () => {
    it.live("stand in no file: not in the log, records, journals, snapshots, causes or messages", () => {
      logs(/"complaining" has parked .*cannot write to ‹personal›/, /is a dead letter of the group "mail" .*‹personal›/)
      return Effect.gen(function* () {
        const world = yield* make
        welcomed.length = 0
        heard.length = 0
        yield* Effect.gen(function* () {
          yield* register
          yield* Repository.read(Customer, "c1")
          yield* eventually("all is followed", done)
          // Whoever handles it gets it.
          assert.deepEqual([welcomed, heard], [[planted], [planted]])
          assert.deepEqual(yield* world.holding(planted), [])
          assert.deepEqual(yield* world.holding("secret-password"), [])
          // The test looks where it is, and finds what is there.
          assert.notDeepEqual(yield* world.holding("Registered"), [])
          const stored = yield* Stream.runCollect(EventStore.asStored(yield* EventStore.EventStore).readAll())
          const types = stored.map(({ type }) => type)
          for (const type of ["Register", "Registered", "Welcome", "$EventHandled"])
            assert.ok(types.includes(type), `${type} in ${types}`)
          assert.equal(stored.find(({ type }) => type === "Register")?.payload, null)
          const [letter] = yield* (yield* DeadLetters.DeadLetters).list("mail")
          assert.ok(JSON.stringify(letter?.message.data).includes(`"value":"${planted}"`))
          assert.match(letter?.cause ?? "", /Odd: cannot write to ‹personal›/)
          const [parked] = yield* (yield* ParkedEvents.ParkedEvents).list("complaining")
          assert.match(parked?.cause ?? "", /Odd: cannot write to ‹personal›/)
          const load = Effect.flatMap(Snapshots.Snapshots, (snapshots) => snapshots.list())
          assert.equal((yield* load).length, 1)

          yield* Personal.forget("c1")
          yield* Personal.forget("p2")
          assert.deepEqual((yield* Repository.read(Customer, "c1")).state, { customer: "c1", email: null })
          const forgotten = JSON.stringify([
            yield* Stream.runCollect(EventStore.readAll()),
            yield* (yield* DeadLetters.DeadLetters).list("mail"),
            yield* (yield* ParkedEvents.ParkedEvents).list("complaining")
          ])
          assert.ok(!forgotten.includes("planted"), forgotten)
          // What was put aside is tried again, and hears that it is forgotten.
          yield* Effect.flip(Consumer.retry("mail", letter?.message.id ?? ""))
          assert.deepEqual(heard.at(-1), Personal.forgotten)
        }).pipe(Effect.provide(program(world, { withViews: false })))
      })
    })

    it.live("are gone from tables of projections as these say, and a view that is rebuilt has none", () => {
      logs(/"complaining" has parked/, /is a dead letter/)
      return Effect.gen(function* () {
        const world = yield* make
        welcomed.length = 0
        yield* Effect.gen(function* () {
          yield* register
          yield* Projection.awaitPosition(Views, yield* EventStore.head, { timeout: "10 seconds" })
          assert.deepEqual(yield* Customers.list(), [{ customer: "c1", email: planted, seen: 1 }])
          assert.deepEqual(
            (yield* Contacts.list()).map(({ person }) => person),
            ["p2"]
          )
          yield* Effect.flatMap(Personal.forget("c1"), (at) => Projection.awaitPosition(Views, at, { timeout: "10 seconds" }))
          assert.deepEqual(yield* Customers.list(), [{ customer: "c1", email: null, seen: 1 }])
          assert.equal((yield* Contacts.list()).length, 1)
          yield* Effect.flatMap(Personal.forget("p2"), (at) => Projection.awaitPosition(Views, at, { timeout: "10 seconds" }))
          assert.deepEqual(yield* Contacts.list(), [])
          yield* eventually("all is followed", done)
        }).pipe(Effect.provide(program(world, { withViews: true })))
      })
    })
  })
}
