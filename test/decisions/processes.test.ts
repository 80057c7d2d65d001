import assert from "node:assert/strict"
import {
  Checkpoints,
  Command,
  Decision,
  Event,
  MessageBus,
  ProcessManager,
  Subscription,
  Tag,
  UnitOfWork,
  EventStore
} from "eventfold"
import { Effect, Layer, Schema, Stream } from "effect"
import { makeWirings } from "../support/wirings.ts"
import { start, until } from "../support/words.ts"

const { everywhere } = makeWirings()

const show = Tag.make("show")
const Wished = Event.make("Wished", { show: Schema.String, guest: Schema.String })
const Announced = Event.make("Announced", { show: Schema.String, seats: Schema.Int }, { tags: (event) => [show(event.show)] })
const Seated = Event.make("Seated", { show: Schema.String, guest: Schema.String }, { tags: (event) => [show(event.show)] })
const Free = Decision.make("Free", {
  tags: { show },
  events: [Announced, Seated],
  initial: 0,
  evolve: { Announced: (free, { seats }) => free + seats, Seated: (free) => free - 1 }
})

const Seat = Command.make("Seat", { payload: { show: Schema.String, guest: Schema.String } })
const SeatLive = MessageBus.handle(Seat, ({ guest, show }) =>
  Decision.execute(Free({ show }), `Guest-${guest}`, (free) => (free > 0 ? [Seated.make({ show, guest })] : [])).pipe(
    Effect.asVoid
  )
)

/** A process a guest, each of which asks for a seat. */
const Seating = ProcessManager.make("Seating", {
  events: [Wished],
  correlate: { Wished: ({ guest }) => guest },
  initial: 0,
  evolve: { Wished: (wishes) => wishes + 1 },
  react: { Wished: (_, { guest, show }) => [ProcessManager.send(Seat, { guest, show })] }
})

everywhere((test) => {
  test("processes that react at once decide one after the other: no seat is taken twice, and none is left", () =>
    Effect.gen(function* () {
      const announced = Announced.make({ show: "gala", seats: 60 })
      yield* UnitOfWork.transact(Decision.execute(Free({ show: "gala" }), "Show-gala", () => announced))
      const guests = Array.from({ length: 64 }, (_, n) => `${n}`)
      for (const guest of guests) {
        yield* EventStore.append(`Wish-${guest}`, [{ type: "Wished", payload: { show: "gala", guest } }])
      }
      const stop = yield* start(ProcessManager.layer(Seating))
      yield* until(
        Effect.gen(function* () {
          const reacted = yield* Stream.runCollect(EventStore.readAll({ filter: { types: ["$EventHandled"] } }))
          return reacted.length === guests.length
        })
      )
      assert.equal((yield* Stream.runCollect(EventStore.readAll({ filter: { types: ["Seated"] } }))).length, 60)
      assert.equal((yield* Decision.read(Free({ show: "gala" }))).state, 0)
      yield* stop
    }).pipe(
      Effect.provide(SeatLive.pipe(Layer.provideMerge(MessageBus.layer), Layer.provideMerge(Checkpoints.layerMemory))),
      Effect.provideService(Subscription.Registry, new Map())
    ))
})
