import assert from "node:assert/strict"
import { describe } from "@effect/vitest"
import { Effect, Layer, Schedule, Schema, Stream } from "effect"
import { Event, EventStore, ParkedEvents, Projection, Subscription } from "eventfold"
import { logs } from "../support/logs.ts"
import { eventually, start } from "../support/words.ts"
import { makeEverywhere, Prefix } from "./everywhere.ts"

const Noted = Event.make("Noted", { n: Schema.Int })

const everywhere = makeEverywhere()
const waiting = { timeout: "20 seconds" } as const
const retry = Schedule.recurs(0)

/** A projection that cannot handle a two, a log that has one, its rows and what it has parked. */
const begin = Effect.gen(function* () {
  const T = Projection.table(`${yield* Prefix}t`, { key: "id", fields: { id: Schema.String, n: Schema.Int } })
  const projection = Projection.make("Noting", {
    version: 1,
    tables: [T],
    events: [Noted],
    handlers: { Noted: ({ n }) => (n === 2 ? Effect.fail("no twos") : T.upsert({ id: String(n), n })) }
  })
  const append = (...all: ReadonlyArray<number>) =>
    EventStore.append(
      "A-1",
      all.map((n) => ({ type: "Noted", payload: { n } }))
    )
  yield* append(1, 2, 3)
  const rows = Effect.map(T.list(), (rows) => rows.map(({ n }) => n))
  const parked = Effect.map(
    ParkedEvents.ParkedEvents.use(({ list }) => list(projection.subscription)),
    (all) => all.map(({ position }) => position)
  )
  return { append, parked, projection, rows }
})

const parking = Effect.provide(Layer.fresh(ParkedEvents.layerMemory))

describe("a rebuild of a projection that parks", () => {
  for (const onFailure of ["park", "park-stream"] as const) {
    everywhere(`does as the Layer does that runs in this process, unless it is told otherwise: ${onFailure}`, () =>
      Effect.gen(function* () {
        // The rebuild takes the work away from the Layer.
        logs(/has parked the event| halts|superseded/)
        const { append, parked, projection, rows } = yield* begin
        yield* start(Projection.layer(projection, { onFailure, retry }))
        yield* Projection.whenCaughtUp(projection, waiting)
        const [view, aside] = onFailure === "park" ? [[1, 3], [2]] : [[1], [2, 3]]
        assert.deepEqual([yield* rows, yield* parked], [view, aside])
        yield* Stream.runDrain(Projection.rebuild(projection, { retry }))
        assert.deepEqual([yield* rows, yield* parked], [view, aside])
        const error = yield* Effect.flip(Stream.runDrain(Projection.rebuild(projection, { retry, onFailure: "halt" })))
        assert.ok(error._tag === "RebuildError" && error.position === 1)
        // The Layer goes on from there.
        yield* append(4)
        yield* Projection.whenCaughtUp(projection, waiting)
        assert.deepEqual([yield* rows, yield* parked], onFailure === "park" ? [[1, 3, 4], [2]] : [[1], [2, 3, 4]])
      }).pipe(parking)
    )
  }

  everywhere("parks where that one's parked events are not at hand otherwise", () =>
    Effect.gen(function* () {
      logs(/has parked the event/)
      const { parked, projection, rows } = yield* begin
      const parking = yield* Layer.build(Layer.fresh(ParkedEvents.layerMemory))
      yield* start(Layer.provide(Projection.layer(projection, { onFailure: "park", retry }), Layer.succeedContext(parking)))
      yield* Projection.whenCaughtUp(projection, waiting)
      yield* Stream.runDrain(Projection.rebuild(projection, { retry }))
      assert.deepEqual([yield* rows, yield* Effect.provideContext(parked, parking)], [[1, 3], [2]])
    })
  )

  everywhere("halts where none runs, and parks and comes to its end where it is told to", () =>
    Effect.gen(function* () {
      logs(/has parked the event| halts/)
      const { parked, projection, rows } = yield* begin
      const stop = yield* start(Projection.layer(projection, { onFailure: "park", retry }))
      yield* Projection.whenCaughtUp(projection, waiting)
      yield* stop
      yield* eventually(
        "it is over",
        Effect.map(
          Effect.option(Subscription.status(projection.subscription)),
          (status) => status._tag === "None" || status.value.state === "stopped"
        )
      )
      const error = yield* Effect.flip(Stream.runDrain(Projection.rebuild(projection, { retry })))
      assert.ok(error._tag === "RebuildError" && error.position === 1)
      assert.deepEqual([yield* rows, yield* parked], [[1], []])
      const seen = yield* Stream.runLast(Projection.rebuild(projection, { retry, onFailure: "park" }))
      assert.deepEqual(seen._tag === "Some" && seen.value.position, 3)
      assert.deepEqual([yield* rows, yield* parked], [[1, 3], [2]])
    }).pipe(parking)
  )

  everywhere("and who waits for one that has halted is told why", () =>
    Effect.gen(function* () {
      logs(/ halts/)
      const { projection } = yield* begin
      yield* start(Projection.layer(projection, { retry }))
      const error = yield* Effect.flip(Projection.awaitPosition(projection, 3, { timeout: "1 second" }))
      assert.ok(error._tag === "NotCaughtUpError")
      assert.deepEqual([error.cause, error.position], ["no twos", 1])
      assert.equal(error.message, 'Version 1 of the projection "Noting" is at position 1, not yet at 3: it has halted (no twos)')
    })
  )
})
