/** The first pages of streams, read for many at once. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Stream } from "effect"
import { type EventStore } from "eventfold"
import { begin, event, reasonOf, terminate, until } from "./harness.ts"
import { arena, counting, spoiled, togetherBehind } from "./together.ts"

const counted = counting("a(stream, lowest, highest, size")

const together = togetherBehind("event")

const all = (store: EventStore.EventStore["Service"], stream: string, options?: EventStore.ReadOptions) =>
  Stream.runCollect(store.read(stream, options))

const valueOf = <A, E>(exit: Exit.Exit<A, E>): A => (Exit.isSuccess(exit) ? exit.value : expect.unreachable())

describe("reads of streams", () => {
  it.live("that wait while others are on their way go in one statement, each with what it has alone", () =>
    Effect.gen(function* () {
      const here = yield* arena
      const { sql, store: writer } = yield* here.join()
      for (const [stream, count] of [
        ["Short-1", 3],
        ["Page-1", 64],
        ["Long-1", 150],
        ["Numbers-1", 1]
      ] as const) {
        yield* writer.append(
          stream,
          Array.from({ length: count }, (_, n) => ({ ...event(), payload: { n }, tags: [`own:${n}`, 'a "tag"'] }))
        )
      }
      const { statements, store } = yield* counted(here.schema, sql)
      const asked: ReadonlyArray<readonly [string, EventStore.ReadOptions?]> = [
        ["Short-1"],
        ["Page-1"],
        ["Long-1"],
        ["None-1"],
        ["Short-1", { from: 3 }],
        ["Short-1", { from: 4 }],
        ["Long-1", { from: 10, to: 20 }],
        ["Long-1", { from: 140 }],
        ["Long-1", { limit: 5 }],
        ["Long-1", { direction: "backward", limit: 5 }],
        ["Numbers-1"]
      ]
      const alone = yield* Effect.forEach(asked, ([stream, options]) => all(store, stream, options))
      expect(alone.map((events) => events.length)).toEqual([3, 64, 150, 0, 1, 0, 11, 11, 5, 5, 1])
      expect(statements).toEqual([])
      const exits = yield* together(
        here,
        all(store, "Short-1"),
        asked.map(([stream, options]) => all(store, stream, options))
      )
      expect(exits.map(valueOf)).toEqual(alone)
      // One reads backward, and one or two of the others go by themselves, as the first has held up others for a while by then or not.
      expect(statements).toHaveLength(1)
      expect([asked.length - 2, asked.length - 3]).toContain(statements[0])
    })
  )

  it.live("have so many streams in a statement", () =>
    Effect.gen(function* () {
      const here = yield* arena
      const { sql, store: writer } = yield* here.join()
      yield* writer.appendAll(Array.from({ length: 300 }, (_, n) => ({ stream: `Acc-${n}`, events: [event()] })))
      const { statements, store } = yield* counted(here.schema, sql)
      const exits = yield* together(
        here,
        all(store, "Acc-0"),
        Array.from({ length: 300 }, (_, n) => all(store, `Acc-${n}`))
      )
      expect(exits.map((exit) => valueOf(exit).map(({ stream }) => stream))).toEqual(
        Array.from({ length: 300 }, (_, n) => [`Acc-${n}`])
      )
      expect(Math.max(...statements)).toBeLessThanOrEqual(128)
    })
  )

  it.live("that are interrupted harm nobody", () =>
    Effect.gen(function* () {
      const here = yield* arena
      const { sql, store: writer } = yield* here.join()
      for (const n of [1, 2, 3]) yield* writer.append(`Acc-${n}`, [event()])
      const { store } = yield* counted(here.schema, sql)
      const exits = yield* together(
        here,
        all(store, "Acc-1"),
        [1, 2, 3].map((n) => all(store, `Acc-${n}`)),
        ([one]) => Fiber.interrupt(one ?? expect.unreachable())
      )
      expect(exits.map((exit) => (Exit.isSuccess(exit) ? exit.value.length : "interrupted"))).toEqual(["interrupted", 1, 1])
    })
  )

  it.live("of a transaction are its own: they see what it has appended, which nobody else does", () =>
    Effect.gen(function* () {
      const here = yield* arena
      const { sql } = yield* here.join()
      const { store } = yield* counted(here.schema, sql)
      yield* store.append("Acc-1", [event()])
      const lengths = yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* store.append("Acc-1", [event()])
          const own = yield* Effect.all([all(store, "Acc-1"), all(store, "Acc-1")], { concurrency: "unbounded" })
          // A fiber of nobody is in nobody's transaction.
          const others = yield* Effect.promise(() => Effect.runPromise(all(store, "Acc-1")))
          return [...own, others].map((events) => events.length)
        })
      )
      expect(lengths).toEqual([2, 2, 1])
    })
  )

  it.live(
    "are refused, or cannot be read, for themselves alone",
    () =>
      Effect.gen(function* () {
        const { admin, join, schema, url } = yield* arena
        const { store: writer } = yield* join()
        for (const name of ["Good", "Poison", "Broken", "Fine"]) yield* writer.append(name, [event()])
        const { sql } = yield* spoiled({ admin, schema, url }, { table: "event", refused: "Poison", broken: "stream = 'Broken'" })
        const { store } = yield* counted(schema, sql)
        const names = ["Good", "Poison", "Fine", "Broken", "Good"]
        const exits = yield* together(
          { admin, schema },
          all(store, "Fine"),
          [...names, ...names].map((name) => all(store, name))
        )
        const outcomes = exits.map((exit) => {
          if (Exit.isSuccess(exit)) return exit.value.length
          const [reason] = exit.cause.reasons
          return reason?._tag === "Fail" ? reason.error.reason._tag : reason?._tag
        })
        const wanted = [1, "StoreFailure", 1, "Die", 1]
        expect(outcomes).toEqual([...wanted, ...wanted])
      }),
    60_000
  )

  it.live("whose connection is lost fail as an outage, each of them, and the next are answered", () =>
    Effect.gen(function* () {
      const here = yield* arena
      const { sql, store: writer } = yield* here.join()
      yield* writer.append("Acc-1", [event()])
      const { statements, store } = yield* counted(here.schema, sql)
      const lock = yield* begin(here.admin, `lock table "${here.schema}".event in access exclusive mode`)
      const readers = yield* Effect.forEach(Array.from({ length: 20 }), () =>
        Effect.forkScoped(reasonOf(all(store, "Acc-1")), { startImmediately: true })
      )
      // Two by themselves, and the others together, once those have taken a while.
      const blocked = Effect.map(
        here.admin<{ pid: number }>`
          select pid from pg_locks where not granted and relation = ${`"${here.schema}".event`}::regclass`,
        (rows) => rows.map(({ pid }) => pid)
      )
      yield* until(
        "three statements wait",
        Effect.map(blocked, ({ length }) => length === 3)
      )
      yield* terminate(here.admin, yield* blocked)
      expect(new Set(yield* Effect.forEach(readers, Fiber.join))).toEqual(new Set(["StoreUnavailable"]))
      expect(statements).toEqual([18])
      yield* lock.rollback
      expect((yield* all(store, "Acc-1")).length).toBe(1)
    })
  )

  it.live("whose events are large come whole, and beside them what is small", () =>
    Effect.gen(function* () {
      const here = yield* arena
      const { sql, store: writer } = yield* here.join()
      // What cannot be compressed.
      const large = (n: number) => ({
        ...event(),
        payload: Array.from({ length: 40_000 }, (_, index) =>
          Math.sin(index + n)
            .toString(36)
            .slice(2)
        ).join("")
      })
      for (let n = 0; n < 16; n++) yield* writer.append("Large-1", [large(n)])
      yield* writer.append("Small-1", [event(), event()])
      const { statements, store } = yield* counted(here.schema, sql)
      const exits = yield* together(
        here,
        all(store, "Small-1"),
        ["Small-1", "Small-1", "Large-1", "Small-1", "Large-1"].map((stream) => all(store, stream))
      )
      const [, , large1, small, again] = exits.map(valueOf)
      expect(large1?.map(({ version }) => version)).toEqual(Array.from({ length: 16 }, (_, n) => n + 1))
      expect(again).toEqual(large1)
      expect(small?.length).toBe(2)
      expect(statements).toHaveLength(1)
    })
  )

  it.live("of a store that was made within a transaction are in nobody's", () =>
    Effect.gen(function* () {
      const here = yield* arena
      const { sql } = yield* here.join()
      const many = (store: EventStore.EventStore["Service"]) =>
        Effect.map(
          Effect.forEach([1, 2, 3, 4, 5], () => all(store, "Acc-1"), { concurrency: "unbounded" }),
          (all) => all.map((events) => events.length)
        )
      const { store } = yield* sql.withTransaction(
        Effect.gen(function* () {
          const { store } = yield* counted(here.schema, sql)
          yield* store.append("Acc-1", [event()])
          const others = Effect.promise(() => Effect.runPromise(many(store)))
          expect([yield* many(store), yield* others]).toEqual([
            [1, 1, 1, 1, 1],
            [0, 0, 0, 0, 0]
          ])
          return { store }
        })
      )
      yield* store.append("Acc-1", [event()])
      expect(yield* many(store)).toEqual([2, 2, 2, 2, 2])
      expect((yield* store.readBoundary([{ filter: { types: ["Counted"], tags: ["none"] } }])).position).toBe(2)
    })
  )

  it.live(
    "wait for as long as is said",
    () =>
      Effect.gen(function* () {
        const { admin, join, schema } = yield* arena
        const { sql } = yield* join()
        const { store } = yield* counted(schema, sql, { timeout: "300 millis" })
        yield* begin(admin, `lock table "${schema}".event in access exclusive mode`)
        const exits = yield* Effect.forEach([1, 2, 3], (n) => reasonOf(all(store, `Acc-${n}`)), { concurrency: "unbounded" })
        expect(exits).toEqual(["StoreUnavailable", "StoreUnavailable", "StoreUnavailable"])
      }),
    60_000
  )
})
