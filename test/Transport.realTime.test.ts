import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Array as Arr, Context, Deferred, Effect, Exit, Layer, Stream } from "effect"
import { Transport } from "eventfold"
import { closed, untilClosed } from "eventfold/kit"
import { TransportConformance } from "eventfold/testing"

const all = { deduplicates: true, history: true, durable: true, shared: true }

/** One broker in memory behind Layers that come and go: what is under way as its Layer closes ends with that. */
const lastingBroker = Effect.map(Layer.build(Layer.fresh(Transport.layerMemory)), (context) =>
  Layer.effect(
    Transport.Transport,
    Effect.gen(function* () {
      const { forget, publish, subscribe } = Context.get(context, Transport.Transport)
      const closing = yield* Deferred.make<never, Transport.TransportError>()
      yield* Effect.addFinalizer(() => Deferred.fail(closing, closed("use")))
      return yield* untilClosed({
        publish: (messages) => Effect.raceFirst(publish(messages), Deferred.await(closing)),
        subscribe: (options) => Stream.merge(subscribe(options), Stream.fromEffect(Deferred.await(closing))),
        forget
      })
    })
  )
)

describe("conformance of a broker in memory that outlives its Layers, in real time", () => {
  for (const { name, run } of TransportConformance.cases({ storage: lastingBroker, abilities: { ...all, clock: "live" } })) {
    it.live(name, () => run)
  }
})

/** A network between a lasting broker and its Layers: `cut` is felt by all that is on its way, `away` keeps it cut for a while. */
const breakable = () => {
  let broken = Deferred.makeUnsafe<void>()
  let away = false
  const lost = new Transport.TransportError({
    reason: new Transport.TransportUnavailable({ operation: "network", detail: "the connection was cut" })
  })
  const connected = <A, E, R>(effect: Effect.Effect<A, E | Transport.TransportError, R>) =>
    Effect.suspend(() =>
      away ? Effect.fail(lost) : Effect.raceFirst(effect, Effect.andThen(Deferred.await(broken), Effect.fail(lost)))
    )
  const cut = Effect.suspend(() => {
    const now = broken
    broken = Deferred.makeUnsafe<void>()
    return Deferred.succeed(now, undefined)
  })
  const storage = Effect.map(lastingBroker, (layer) =>
    Layer.effect(
      Transport.Transport,
      Effect.map(Layer.build(layer), (context) => {
        const { forget, publish, subscribe } = Context.get(context, Transport.Transport)
        return {
          forget: (group) => connected(forget(group)),
          // The answer may be lost as well as the question.
          publish: (messages) => connected(Effect.andThen(publish(messages), Effect.yieldNow)),
          subscribe: (options) =>
            Stream.unwrap(
              connected(
                Effect.sync(() => {
                  const lostHere = Effect.andThen(Deferred.await(broken), Effect.fail(lost))
                  return Stream.merge(subscribe(options), Stream.fromEffect(lostHere))
                })
              )
            )
        } satisfies Transport.Transport["Service"]
      })
    )
  )
  const restart = Effect.gen(function* () {
    away = true
    yield* cut
    yield* Effect.sleep("50 millis")
    away = false
  })
  return { storage, faults: { interrupt: Effect.asVoid(cut), restart } }
}

describe("conformance of a broker in memory beyond a network that fails", () => {
  const { faults, storage } = breakable()
  const ability = { ...all, clock: "live" } as const
  for (const { name, run } of TransportConformance.cases({ storage, faults, abilities: ability })) it.live(name, () => run)
})

it("faults add cases", () => {
  const abilities = { ...all, clock: "live" } as const
  const count = (faults: TransportConformance.Faults) =>
    TransportConformance.cases({ storage: lastingBroker, abilities, faults }).length
  assert.equal(count({ interrupt: Effect.void }), count({}) + 2)
  assert.equal(count({ restart: Effect.void }), count({}) + 1)
})

it.live("a fault does not excuse a broker that hands out new messages out of order", () =>
  Effect.gen(function* () {
    const { faults, storage } = breakable()
    const backwards = Effect.map(storage, (layer) =>
      Layer.effect(
        Transport.Transport,
        Effect.map(Layer.build(layer), (context) => {
          const transport = Context.get(context, Transport.Transport)
          return Transport.Transport.of({ ...transport, publish: (messages) => transport.publish(Arr.reverse(messages)) })
        })
      )
    )
    const ordered = TransportConformance.cases({
      storage: backwards,
      faults: { ...faults, overtakes: true },
      abilities: { ...all, clock: "live" }
    }).filter(
      ({ name }) => name.endsWith("every message arrives, in order") || name.startsWith("the broker ends and starts again")
    )
    assert.equal(ordered.length, 2)
    for (const { run } of ordered) assert.equal(Exit.isFailure(yield* Effect.exit(Effect.scoped(run))), true)
  })
)
