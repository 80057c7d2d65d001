import assert from "node:assert/strict"
import { join } from "node:path"
import { describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Schema, Scope } from "effect"
import { Checkpoints, EventStore, Subscription } from "eventfold"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { planOf, type Row } from "../../src/following/spreading.ts"
import { until } from "../support/child.ts"
import { temporaryDirectory } from "../support/files.ts"
import { numbers } from "../support/words.ts"

const seat = (name: string) => `${name}:join/1`

/** Processes that look one after the other, each at all that has become of the others. */
const settle = (processes: ReadonlyArray<string>, names: ReadonlyArray<string>, held: Map<string, string>, rounds: number) => {
  const seats = new Map<string, string>()
  let moves = 0
  for (let round = 0; round < rounds; round++) {
    for (const process of processes) {
      const rows: ReadonlyArray<Row> = [
        ...Array.from(held, ([name, holder]) => ({ name, holder })),
        ...Array.from(seats, ([name, holder]) => ({ name: seat(name), holder }))
      ]
      const { leave, sit } = planOf(process, names, rows)
      for (const [name, holder] of seats) if (holder === process) seats.delete(name)
      for (const name of sit) if (!seats.has(name)) seats.set(name, process)
      for (const name of leave) {
        moves++
        const next = seats.get(name)
        assert.ok(next !== undefined && next !== process)
        held.set(name, next)
        seats.delete(name)
      }
    }
  }
  return { moves, counts: processes.map((process) => Array.from(held.values()).filter((holder) => holder === process).length) }
}

describe("leases of several names", () => {
  it.prop(
    "come to be spread evenly, whoever holds them, and then stay where they are",
    [Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 5 })), Schema.NonEmptyArray(Schema.Literals([0, 1, 2, 3, 4]))],
    ([count, owners]) => {
      const processes = numbers(count).map((n) => `p${n}`)
      const names = owners.map((_, index) => `subscription:${index}`)
      const held = new Map(names.map((name, index) => [name, processes[(owners[index] ?? 0) % count] as string]))
      const { counts } = settle(processes, names, held, 3 * names.length + 10)
      assert.ok(Math.max(...counts) - Math.min(...counts) <= 1, JSON.stringify(counts))
      assert.equal(settle(processes, names, held, 5).moves, 0)
    }
  )

  it("are left to whoever runs them alone", () => {
    const held = new Map([1, 2, 3, 4].map((n) => [`subscription:${n}`, "a"]))
    const rows: ReadonlyArray<Row> = Array.from(held, ([name, holder]) => ({ name, holder }))
    // Another process runs none of them, and so sits beside none.
    assert.deepEqual(planOf("a", [...held.keys()], rows), { leave: [], sit: [] })
    // What nobody holds is claimed by whoever comes first.
    assert.deepEqual(planOf("b", ["subscription:9"], rows), { leave: [], sit: [] })
  })

  it.live(
    "move to processes that join, and at once to those that stay when one ends; nothing is handled twice",
    () =>
      Effect.gen(function* () {
        const filename = join(yield* temporaryDirectory, "events.db")
        const handled: Array<string> = []
        const names = numbers(8).map((n) => `s${n}`)
        const start = Effect.fnUntraced(function* (process: string) {
          const scope = yield* Scope.fork(yield* Effect.scope)
          const Followers = names.map((name) =>
            Subscription.layer({
              name,
              lease: "1500 millis",
              handler: ({ position }) => Effect.sync(() => handled.push(`${name} ${position}`))
            })
          )
          const Live = Layer.mergeAll(...(Followers as [Layer.Layer<never>])).pipe(
            Layer.provideMerge(SqliteCheckpoints.layer),
            Layer.provideMerge(SqliteEventStore.layerFile({ filename, pollInterval: "20 millis" }))
          )
          const context = yield* Layer.buildWithScope(Layer.fresh(Live), scope)
          const states = Effect.provide(
            Effect.forEach(names, (name) => Effect.map(Subscription.status(name), ({ state }) => state)),
            context
          )
          return {
            process,
            held: Effect.map(states, (all) => all.filter((state) => state === "live" || state === "catching-up").length),
            append: Effect.provide(EventStore.append("Count-1", [{ type: "Counted", payload: null }]), context),
            paused: Effect.provide(
              Checkpoints.Checkpoints.use(({ list }) => list),
              context
            ),
            end: Scope.close(scope, Exit.void)
          }
        })
        const first = yield* start("first")
        yield* first.append
        yield* until(
          "the first has all",
          Effect.map(first.held, (held) => held === 8)
        )
        const second = yield* start("second")
        const third = yield* start("third")
        const spread = Effect.map(Effect.all([first.held, second.held, third.held]), (held) => held.toSorted().join(" "))
        yield* until(
          "they are spread",
          Effect.map(spread, (held) => held === "2 3 3")
        )
        // No seat is left.
        yield* until(
          "nobody sits",
          Effect.map(first.paused, (all) => all.every(({ name }) => !name.includes("join")))
        )

        yield* second.append
        yield* until(
          "all have handled both",
          Effect.sync(() => handled.length === 16)
        )
        yield* first.end
        const ended = performance.now()
        yield* third.append
        yield* until(
          "all have handled the third",
          Effect.sync(() => handled.length === 24)
        )
        // Without waiting for a lease.
        assert.ok(performance.now() - ended < 1000, `it took ${performance.now() - ended} ms`)
        yield* until(
          "the two have four each",
          Effect.map(Effect.all([second.held, third.held]), (held) => held.join(" ") === "4 4")
        )
        assert.equal(new Set(handled).size, 24)
      }).pipe(Effect.scoped),
    60_000
  )
})
