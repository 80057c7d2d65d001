/** The map: what is registered, and what commands were seen to do. */
import { describe, it } from "@effect/vitest"
import assert from "node:assert/strict"
import { Effect, Layer, Schema } from "effect"
import { RpcTest } from "effect/rpc"
import { Aggregate, Checkpoints, Command, Event, EventStore, MessageBus, ProcessManager, Repository, UnitOfWork } from "eventfold"
import { Operate, Operations } from "eventfold/operate"
import { until } from "../support/words.ts"

const Placed = Event.make("Placed", { order: Schema.String })
const Sent = Event.make("Sent", {})

const Order = Aggregate.make("Order", { events: [Placed], initial: 0, evolve: { Placed: (count) => count + 1 } })
const Parcel = Aggregate.make("Parcel", { events: [Sent], initial: 0, evolve: { Sent: (count) => count + 1 } })

const Place = Command.make("Place", { payload: { order: Schema.String } })
const Send = Command.make("Send", { payload: { order: Schema.String } })

const Shipping = ProcessManager.make("Shipping", {
  events: [Placed],
  correlate: { Placed: ({ order }) => order },
  initial: {},
  evolve: { Placed: (state) => state },
  react: { Placed: (_, { order }) => [ProcessManager.send(Send, { order })] }
})

const Shop = ProcessManager.layer(Shipping).pipe(
  Layer.provideMerge(
    Layer.mergeAll(
      MessageBus.handle(Place, ({ order }) => Effect.asVoid(Repository.execute(Order, order, () => [Placed.make({ order })]))),
      MessageBus.handle(Send, ({ order }) => Effect.asVoid(Repository.execute(Parcel, order, () => [Sent.make({})])))
    )
  ),
  Layer.provideMerge(MessageBus.layer),
  Layer.provideMerge(UnitOfWork.layer),
  Layer.provideMerge(Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory))
)

describe("the map", () => {
  it.live("connects commands with what they were seen to do, and processes with the commands that they sent", () =>
    Effect.gen(function* () {
      yield* MessageBus.execute(Place, { order: "1" })
      yield* until(Effect.map(EventStore.version("Parcel-1"), (version) => version === 1))
      const handlers = Operate.layerHandlers({ aggregates: [Order, Parcel], processes: [Shipping] })
      const client = yield* Effect.provide(
        RpcTest.makeClient(Operations.Operations),
        yield* Layer.build(Layer.merge(handlers, Operate.layerOperator({ name: "ada" })))
      )
      const { edges, nodes } = yield* client.Map({})
      assert.deepEqual(
        edges.filter(({ kind }) => kind === "executes" || kind === "sends").map(({ from, kind, to }) => `${from} ${kind} ${to}`),
        [
          "command:Place executes aggregate:Order",
          "process:Shipping sends command:Send",
          "command:Send executes aggregate:Parcel"
        ]
      )
      const ids = new Set(nodes.map(({ id }) => id))
      assert.deepEqual(
        edges.filter(({ from, to }) => !ids.has(from) || !ids.has(to)),
        []
      )
    }).pipe(Effect.provide(Shop), Effect.scoped)
  )
})
