import { Effect, Layer, Stream } from "effect"
import { Checkpoints, EventStore, MessageBus, ProcessManager, Repository, UnitOfWork } from "eventfold"
import { layerWith } from "./adapter.ts"
import { type Case, collectGarbage, type Sample } from "./harness.ts"
import { type Lab, type Place } from "./lab.ts"
import { Account, deposited, MoneyDeposited } from "./model.ts"

/** One process, to which all deposits belong. */
const Watching = ProcessManager.make("Watching", {
  events: [MoneyDeposited],
  correlate: { MoneyDeposited: () => "all" },
  initial: { sum: 0 },
  evolve: { MoneyDeposited: ({ sum }, { amount }) => ({ sum: sum + amount }) },
  react: { MoneyDeposited: () => [] }
})

const Live = ProcessManager.layer(Watching).pipe(
  Layer.provideMerge(layerWith(MessageBus)({})),
  Layer.provideMerge(UnitOfWork.layer),
  Layer.provideMerge(Checkpoints.layerMemory)
)

/** Reacts to so many deposits, in a process that has reacted to `before` already. */
const reacting =
  (before: number, times: number) =>
  ({ store }: Lab): Effect.Effect<Sample, unknown> =>
    Effect.gen(function* () {
      let reacted = 0
      const deposit = (count: number) =>
        Repository.append(
          Account,
          "0",
          Array.from({ length: count }, (_, nth) => deposited(nth))
        )
      const react = (count: number) =>
        Effect.gen(function* () {
          const after = yield* EventStore.head
          yield* deposit(count)
          const filter = { categories: ["Watching"] }
          yield* Stream.runDrain(Stream.take(EventStore.subscribe({ after, filter }), count))
          reacted += count
        })
      for (let left = before; left > 0; left -= 500) yield* react(Math.min(left, 500))
      yield* collectGarbage
      const start = performance.now()
      yield* react(times)
      return { units: times, millis: performance.now() - start, latencies: [], events: 2 * reacted }
    }).pipe(Effect.provide(Layer.provideMerge(Live, store)))

const flat = (place: Place, times: number): Case => ({
  name: `${place === "postgres" ? "" : `${place}: `}process manager after 10 000 events, raw after 100`,
  place,
  unit: "events",
  ours: reacting(10_000, times),
  raw: reacting(100, times)
})

/** A process that has reacted to much beside one that has not: 1.00 is flat. */
export const processCases = (some: (times: number) => number): ReadonlyArray<Case> => [
  flat("memory", some(5000)),
  flat("postgres", some(1000))
]
