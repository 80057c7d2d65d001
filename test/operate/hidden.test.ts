/** A value that must not appear, looked for in whatever any operation answers. */
import { assert } from "@effect/vitest"
import { Cause, DateTime, Effect, Exit, Layer, Schedule, Schema, Stream } from "effect"
import { Aggregate, Consumer, Event, EventStore, Projection, Relay, Repository, Subscription } from "eventfold"
import { Operate, Operations } from "eventfold/operate"
import { RpcTest } from "effect/rpc"
import { printable } from "../../src/internal/printable.ts"
import { logs } from "../support/logs.ts"
import { followersUntil, onEveryStore } from "./support.ts"

/** What nobody may see: a text, and a number. */
const [secret, number] = ["Greta O'Hara\n<greta@example.org>", 47_114_711]

const Registered = Event.make(
  "Registered",
  {
    name: Event.sensitive(Schema.String),
    code: Event.sensitive(Schema.Int),
    phone: Schema.OptionFromNullOr(Event.sensitive(Schema.String)),
    plan: Schema.String,
    more: Schema.Array(Schema.Record(Schema.String, Event.sensitive(Schema.String)))
  },
  { published: true, tags: ({ code, name }) => [`name:${name}`, `code:${code}`] }
)
const Renamed = Event.make("Renamed", { name: Event.sensitive(Schema.String) })

const Customer = Aggregate.make("Customer", {
  events: [Registered, Renamed],
  state: Schema.Struct({ name: Event.sensitive(Schema.NullOr(Schema.String)), plan: Schema.String }),
  initial: { name: null, plan: "" },
  evolve: {
    Registered: (_, { name, plan }) => ({ name, plan }),
    Renamed: (state, { name }) => {
      if (name === "boom") throw new Error(`${state.name} cannot be called so`)
      return { ...state, name }
    }
  },
  snapshot: { every: 1 }
})

/** An aggregate whose state nobody has described. */
const Loose = Aggregate.make("Loose", {
  events: [Registered],
  initial: { names: new Map<string, string>() },
  evolve: { Registered: ({ names }, { name, plan }) => ({ names: new Map([...names, [plan, name] as const]) }) }
})

const Names = Projection.make("Names", {
  version: 1,
  events: [Registered],
  tables: [Projection.table("names", { fields: { id: Schema.String, name: Schema.String }, key: "id" })],
  handlers: { Registered: () => Effect.void }
})

const registered = Registered.make({
  name: secret,
  code: number,
  phone: Schema.decodeSync(Registered.fields.phone)(secret),
  plan: "monthly",
  more: [{ nick: secret }]
})

const once = Schedule.recurs(0)
const quotes = Effect.fail(new Error(`no mail to ${secret} (${number})`))

const Followers = Layer.mergeAll(
  Subscription.layer({ name: "mails", onFailure: "park", retry: once, filter: { types: ["Registered"] }, handler: () => quotes }),
  Subscription.layer({ name: "labels", retry: once, filter: { types: ["Registered"] }, handler: () => quotes }),
  Relay.layer({ name: "customers" }),
  Consumer.layer([Registered], { Registered: () => quotes }, { group: "billing", maxAttempts: 1 })
)

const clientOf = Effect.fnUntraced(function* (payloads: "hidden" | "masked" | "shown") {
  const handlers = Operate.layerHandlers({ aggregates: [Customer, Loose], projections: [Names] as never, acts: true })
  const operator = Operate.layerOperator({ name: "ada", mayAct: true, payloads })
  const built = yield* Layer.build(Layer.fresh(Layer.merge(handlers, operator)))
  return yield* Effect.provideContext(RpcTest.makeClient(Operations.Operations), built)
})
type Client = Effect.Success<ReturnType<typeof clientOf>>

const first = <A, E>(stream: Stream.Stream<A, E>) => Stream.runCollect(Stream.take(stream, 1))
const id = "the id"
let acts = 0
const act = (client: Client, act: typeof Operations.Act.Type) =>
  Stream.runCollect(client.Act({ id: `act-${acts++}`, act, within: 5000 }))

/** Every operation of the contract, as often as it has something to say: one that is added has to be added here. */
const asks: { readonly [Tag in keyof Client]: ReadonlyArray<(client: Client) => Effect.Effect<unknown, unknown>> } = {
  Overview: [(client) => client.Overview({})],
  Size: [(client) => client.Size({})],
  Streams: [(client) => client.Streams({}), (client) => client.Streams({ order: "newest" })],
  StreamEvents: [
    (client) => client.StreamEvents({ stream: "Customer-1" }),
    (client) => client.StreamEvents({ stream: "Strange-1" }),
    (client) => client.StreamEvents({ stream: "$operations" })
  ],
  Events: [(client) => client.Events({}), (client) => client.Events({ filter: { types: ["Registered"] } })],
  Event: [(client) => client.Event({ id }), (client) => client.Event({ at: 2 }), (client) => client.Event({ at: 4 })],
  Trail: [(client) => client.Trail({ correlationId: "c" })],
  PositionAt: [(client) => client.PositionAt({ at: DateTime.makeUnsafe(0) })],
  States: [
    (client) => client.States({ stream: "Customer-1" }),
    (client) => client.States({ stream: "Customer-1", from: 2 }),
    (client) => client.States({ stream: "Customer-2" }),
    (client) => client.States({ stream: "Loose-1" })
  ],
  Parked: [(client) => client.Parked({})],
  DeadLetters: [(client) => client.DeadLetters({})],
  Deadlines: [(client) => client.Deadlines({})],
  Processes: [(client) => client.Processes({})],
  Projections: [(client) => client.Projections({})],
  Tables: [(client) => client.Tables({})],
  Snapshots: [(client) => client.Snapshots({})],
  Leases: [(client) => client.Leases({})],
  Groups: [(client) => client.Groups({})],
  Map: [(client) => client.Map({})],
  Act: [
    (client) => act(client, { _tag: "Retry", follower: "mails", position: 1 }),
    (client) =>
      Effect.flatMap(client.DeadLetters({}), ({ items: [letter] }) =>
        act(client, { _tag: "RetryLetter", group: "billing", id: letter?.id ?? "" })
      )
  ],
  // Behind the acts that were refused.
  Asked: [(client) => client.Asked({})],
  Doctor: [(client) => client.Doctor({})],
  Verify: [(client) => Stream.runCollect(client.Verify({}))],
  Tail: [(client) => first(client.Tail({ after: 0 }))],
  Followers: [(client) => first(client.Followers({})), (client) => first(client.Followers({ every: 1000 }))]
}

/** Parts of the value, in every form that it takes in a text. */
const forms = ["Greta O'Hara", "greta@example.org", "O'Hara", String(number), printable(secret)]

const foundIn = (answer: Exit.Exit<unknown, unknown>): ReadonlyArray<string> => {
  const text = Exit.isSuccess(answer)
    ? JSON.stringify(answer.value)
    : `${JSON.stringify(Cause.squash(answer.cause))} ${String(Cause.squash(answer.cause))}`
  return forms.filter((form) => text.includes(form))
}

/** Waits until all that can go wrong has. */
const broken = Effect.gen(function* () {
  logs(/labels" halts/, /mails.* parked/, /dead letter/)
  const by = { correlationId: "c", note: secret }
  yield* Repository.append(Customer, "1", [registered])
  yield* EventStore.append("Customer-1", [
    { id, type: "Renamed", payload: { name: { first: secret, code: number } }, metadata: by }
  ])
  yield* EventStore.append("Customer-2", [
    { type: "Renamed", payload: { name: secret } },
    // The Schema does not know of all that stands here.
    { type: "Renamed", payload: { name: "boom", formerly: secret } }
  ])
  yield* EventStore.append("Strange-1", [
    { type: "Thing", payload: { deep: [{ name: secret, number }] }, metadata: by, tags: [secret] }
  ])
  yield* Repository.append(Loose, "1", [registered])
  yield* Layer.build(Followers)
  const client = yield* clientOf("shown")
  yield* followersUntil(
    client as never,
    (all) =>
      all.some(({ name, state }) => name === "subscription:labels" && state === "halted") &&
      all.some(({ name, parked }) => name === "subscription:mails" && parked === 2) &&
      all.some(({ name, parked }) => name === "consumer:billing" && parked === 2)
  )
  return client
})

onEveryStore((test) => {
  test(
    "a value that is hidden or masked appears in no answer and in no error of any operation",
    Effect.gen(function* () {
      const shown = yield* broken
      assert.deepStrictEqual(Object.keys(asks).toSorted(), Array.from(Operations.Operations.requests.keys()).toSorted())
      const tell: Array<string> = []
      for (const [tag, calls] of Object.entries(asks)) {
        for (const call of calls) if (foundIn(yield* Effect.exit(call(shown))).length > 0) tell.push(tag)
      }
      // Who may see it sees it there: else it would be no wonder that others do not.
      for (const tag of [
        "StreamEvents",
        "Events",
        "Event",
        "Trail",
        "States",
        "Parked",
        "DeadLetters",
        "Act",
        "Asked",
        "Doctor",
        "Followers"
      ]) {
        assert.include(tell, tag)
      }
      for (const payloads of ["hidden", "masked"] as const) {
        const client = yield* clientOf(payloads)
        for (const [tag, calls] of Object.entries(asks)) {
          for (const [nth, call] of calls.entries()) {
            const found = foundIn(yield* Effect.exit(call(client)))
            assert.deepStrictEqual(found, [], `${payloads}: ${tag} ${nth}`)
          }
        }
      }
      // Masked, one learns what went wrong.
      const masked = yield* clientOf("masked")
      const [parked] = (yield* masked.Parked({})).items
      assert.match(parked?.cause ?? "", /no mail to •••/)
      const [row] = (yield* masked.StreamEvents({ stream: "Customer-1", from: 2 })).items
      assert.match(row?.problem ?? "", /could not be decoded: what stands at \/name does not fit$/)
    })
  )
})
