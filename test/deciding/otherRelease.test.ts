/** A command that is repeated under its id in a release that has changed it. */
import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Command, EventStore, MessageBus, UnitOfWork } from "eventfold"

const id = { id: "k-1" }
const Before = Command.make("Place", { payload: { order: Schema.String }, success: Schema.Int })
const Wider = Command.make("Place", {
  payload: { order: Schema.String, note: Schema.optionalKey(Schema.String) },
  success: Schema.Int
})
const Other = Command.make("Place", {
  payload: { order: Schema.String },
  success: Schema.Struct({ placed: Schema.Int })
})
const Live = MessageBus.layer.pipe(Layer.provideMerge(UnitOfWork.layer), Layer.provideMerge(EventStore.layerMemory))

it.effect("an answer that does not fit the command of today says which, and why; an optional field more changes nothing", () =>
  Effect.gen(function* () {
    const first = MessageBus.execute(Before, { order: "1" }, id).pipe(
      Effect.provide(MessageBus.handle(Before, () => Effect.succeed(1)))
    )
    const wider = MessageBus.execute(Wider, { order: "1" }, id).pipe(
      Effect.provide(MessageBus.handle(Wider, () => Effect.succeed(2)))
    )
    const other = MessageBus.execute(Other, { order: "1" }, id).pipe(
      Effect.provide(MessageBus.handle(Other, () => Effect.succeed({ placed: 3 })))
    )
    assert.equal(yield* first, 1)
    assert.equal(yield* wider, 1)
    const error = yield* Effect.flip(other)
    assert.equal(error._tag, "EventDecodeError")
    assert.match(
      error.message,
      /could not be decoded: the answer does not fit the success schema of command "Place" as it is today: Expected object/
    )
  }).pipe(Effect.provide(Live))
)
