/** States of aggregates whose history has been removed behind a snapshot. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Aggregate, Checkpoints, Event, EventStore, Repository, Retention, Snapshots, UnitOfWork } from "eventfold"
import { clientOf } from "./support.ts"

const Added = Event.make("Added", { amount: Schema.Int })
const account = (snapshot: Partial<{ readonly snapshot: { readonly every: number } }>) =>
  Aggregate.make("Account", {
    events: [Added],
    state: Schema.Int,
    initial: 0,
    evolve: { Added: (sum, { amount }) => sum + amount },
    ...snapshot
  })
const Account = account({ snapshot: { every: 6 } })

const base = UnitOfWork.layer.pipe(
  Layer.provideMerge(Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory, Snapshots.layerMemory))
)

/** Eight events, the first four of which are gone. */
const removed = Effect.gen(function* () {
  const add = UnitOfWork.transact(Repository.execute(Account, "1", () => Added.make({ amount: 1 })))
  yield* Effect.replicateEffect(add, 8)
  const policies = { Account: { keep: Retention.behindSnapshot(2) } }
  yield* Effect.scoped(Effect.flatMap(Retention.make({ policies, every: "never", pace: 1e9 }), ({ run }) => run))
})

const statesOf = Effect.fnUntraced(function* (aggregate: Aggregate.Any, from?: number) {
  const client = yield* clientOf({ name: "ada" }, { aggregates: [aggregate] })
  const { before, states } = yield* client.States({ stream: "Account-1", ...(from === undefined ? {} : { from }) })
  return { before, states: states.map(({ problem, state }) => state ?? problem) }
})

const gone =
  'EventsRemoved during read: version 1 of "Account-1", a "Added", was removed (retention: 2 versions behind a snapshot)'

describe("the states of an aggregate whose first events are gone", () => {
  it.effect("are those of its snapshot, and before that it is said that they are gone", () =>
    Effect.gen(function* () {
      yield* removed
      expect(yield* statesOf(Account)).toEqual({
        before: 0,
        states: [gone, gone, gone, gone, gone, 6, 7, 8]
      })
      expect(yield* statesOf(Account, 7)).toEqual({ before: 6, states: [7, 8] })
      expect((yield* statesOf(Account, 5)).before).toBe(null)
    }).pipe(Effect.scoped, Effect.provide(base))
  )

  it.effect("are looked at, and nothing is kept of them, though a snapshot would be due", () =>
    Effect.gen(function* () {
      yield* removed
      yield* Repository.append(
        Account,
        "1",
        Array.from({ length: 6 }, () => Added.make({ amount: 1 }))
      )
      const snapshots = Effect.flatMap(Snapshots.Snapshots, ({ list }) => list({ stream: "Account-1" }))
      const before = yield* snapshots
      expect(yield* statesOf(Account, 14)).toEqual({ before: 13, states: [14] })
      expect(yield* snapshots).toEqual(before)
      yield* Repository.read(Account, "1")
      expect(yield* snapshots).not.toEqual(before)
    }).pipe(Effect.scoped, Effect.provide(base))
  )

  it.effect("cannot be told where there is no snapshot any more", () =>
    Effect.gen(function* () {
      yield* removed
      expect(new Set((yield* statesOf(account({}))).states)).toEqual(new Set([gone]))
    }).pipe(Effect.scoped, Effect.provide(base))
  )
})
