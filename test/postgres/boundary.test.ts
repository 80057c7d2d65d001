/** What decisions are made on, read for many at once. */
import { PgClient } from "@effect/sql-pg"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Redacted } from "effect"
import type { EventStore } from "eventfold"
import { PgEventStore } from "eventfold/postgres"
import { begin, event, reasonOf, untilWaiting } from "./harness.ts"
import { arena, counting, spoiled, togetherBehind } from "./together.ts"

const counted = counting("a(tag, tags, types")

const together = togetherBehind("tag")

const tagged = (...tags: ReadonlyArray<string>) => ({ ...event(), tags })

const question = (...tags: ReadonlyArray<string>) => [{ filter: { tags } }]

const positionsOf = ({ answers }: EventStore.Boundary) => answers.map(({ events }) => events.map(({ position }) => position))

describe("reads for decisions", () => {
  it.live("that wait while others are on their way go in one statement, each with its own answer", () =>
    Effect.gen(function* () {
      const here = yield* arena
      const { sql, store: writer } = yield* here.join()
      for (let n = 1; n <= 20; n++) yield* writer.append("A-1", [tagged(`own:${n}`, "all")])
      const { statements, store } = yield* counted(here.schema, sql)
      const busy = store.readBoundary(question("all"))
      const exits = yield* together(
        here,
        busy,
        Array.from({ length: 20 }, (_, n) =>
          store.readBoundary([...question(`own:${n + 1}`), ...question("all", `own:${n + 1}`)])
        )
      )
      expect(exits.map((exit) => positionsOf(Exit.isSuccess(exit) ? exit.value : expect.unreachable()))).toEqual(
        Array.from({ length: 20 }, (_, n) => [[n + 1], [n + 1]])
      )
      // One or two of them go by themselves, as the first has held up others for a while by then or not.
      const alone = statements.slice(1, -1)
      expect([1, 2]).toContain(alone.length)
      expect(statements).toEqual([1, ...alone.map(() => 2), 40 - 2 * alone.length])
    })
  )

  it.live("have so many queries in a statement, and what is more is answered all the same", () =>
    Effect.gen(function* () {
      const here = yield* arena
      const { sql, store: writer } = yield* here.join()
      yield* writer.append(
        "A-1",
        Array.from({ length: 300 }, (_, n) => tagged(`own:${n + 1}`))
      )
      const { statements, store } = yield* counted(here.schema, sql)
      const many = (from: number, count: number) =>
        store.readBoundary(Array.from({ length: count }, (_, n) => ({ filter: { tags: [`own:${((from + n) % 300) + 1}`] } })))
      yield* together(
        here,
        many(0, 1),
        Array.from({ length: 10 }, (_, n) => many(n, 200))
      )
      expect(Math.max(...statements)).toBeLessThanOrEqual(512)
      expect(positionsOf(yield* many(0, 600))).toEqual(Array.from({ length: 600 }, (_, n) => [(n % 300) + 1]))
      expect(Math.max(...statements)).toBeLessThanOrEqual(512)
    })
  )

  it.live("that are interrupted harm nobody, before their statement and during it", () =>
    Effect.gen(function* () {
      const here = yield* arena
      const { sql, store: writer } = yield* here.join()
      for (let n = 1; n <= 4; n++) yield* writer.append("A-1", [tagged(`own:${n}`)])
      const { store } = yield* counted(here.schema, sql)
      const first = store.readBoundary(question("own:1"))
      const others = [2, 3, 4].map((n) => store.readBoundary(question(`own:${n}`)))
      const exits = yield* together(here, first, others, ([one]) => Fiber.interrupt(one ?? expect.unreachable()))
      expect(exits.map((exit) => (Exit.isSuccess(exit) ? positionsOf(exit.value) : "interrupted"))).toEqual([
        "interrupted",
        [[3]],
        [[4]]
      ])
      // Of those on their way in one statement one goes: they came together before.
      const lock = yield* begin(here.admin, `lock table "${here.schema}".tag in access exclusive mode`)
      const fibers = yield* Effect.forEach([1, 2, 3, 4], (n) =>
        Effect.forkScoped(store.readBoundary(question(`own:${n}`)), { startImmediately: true })
      )
      yield* untilWaiting(here.admin, here.schema, 1, '"tag"')
      yield* Fiber.interrupt(fibers[0] ?? expect.unreachable())
      yield* lock.commit
      const left = yield* Effect.forEach(fibers.slice(1), Fiber.join)
      expect(left.map(positionsOf)).toEqual([[[2]], [[3]], [[4]]])
    })
  )

  it.live("of a transaction are its own: they see what it has appended, which nobody else does", () =>
    Effect.gen(function* () {
      const here = yield* arena
      const { sql } = yield* here.join()
      const { statements, store } = yield* counted(here.schema, sql)
      yield* store.append("A-1", [tagged("seat")])
      const [inside, outside] = yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* store.append("A-1", [tagged("seat")])
          const own = yield* store.readBoundary(question("seat"))
          // A fiber of nobody is in nobody's transaction.
          const others = yield* Effect.promise(() => Effect.runPromise(store.readBoundary(question("seat"))))
          return [own, others] as const
        })
      )
      expect([inside.position, positionsOf(inside)]).toEqual([2, [[1, 2]]])
      expect([outside.position, positionsOf(outside)]).toEqual([1, [[1]]])
      expect(statements).toEqual([1, 1])
    })
  )

  it.live(
    "are refused, or cannot be read, for themselves alone",
    () =>
      Effect.gen(function* () {
        const { admin, join, schema, url } = yield* arena
        const { store: writer } = yield* join()
        for (const name of ["good", "poison", "broken", "fine"]) yield* writer.append("A-1", [tagged(name)])
        const { sql } = yield* spoiled(
          { admin, schema, url },
          { table: "tag", refused: "poison", broken: "tags @> array['broken']" }
        )
        const { store } = yield* counted(schema, sql)
        const names = ["good", "poison", "fine", "broken", "good"]
        const exits = yield* together(
          { admin, schema },
          store.readBoundary(question("fine")),
          [...names, ...names].map((name) => store.readBoundary(question(name)))
        )
        const outcomes = exits.map((exit) => {
          if (Exit.isSuccess(exit)) return positionsOf(exit.value)
          const [reason] = exit.cause.reasons
          return reason?._tag === "Fail" ? reason.error.reason._tag : reason?._tag
        })
        const wanted = [[[1]], "StoreFailure", [[4]], "Die", [[1]]]
        expect(outcomes).toEqual([...wanted, ...wanted])
      }),
    60_000
  )

  it.live(
    "wait for as long as is said, and no longer than the Layer lives",
    () =>
      Effect.gen(function* () {
        const { admin, join, schema, url } = yield* arena
        const { sql } = yield* join()
        yield* begin(admin, `lock table "${schema}".tag in access exclusive mode`)
        const { store } = yield* counted(schema, sql, { timeout: "300 millis" })
        const exits = yield* Effect.forEach([1, 2, 3, 4, 5], () => reasonOf(store.readBoundary(question("seat"))), {
          concurrency: "unbounded"
        })
        expect(exits).toEqual([
          "StoreUnavailable",
          "StoreUnavailable",
          "StoreUnavailable",
          "StoreUnavailable",
          "StoreUnavailable"
        ])

        const scoped = yield* Effect.scoped(
          Effect.gen(function* () {
            const context = yield* Layer.build(Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 })))
            const closing = yield* Effect.provideContext(
              PgEventStore.make({ schema, migrate: false, listen: false, pollInterval: "1 hour" }),
              context
            )
            const fibers = yield* Effect.forEach([1, 2, 3, 4], () =>
              Effect.forkDetach(reasonOf(closing.readBoundary(question("seat"))), { startImmediately: true })
            )
            yield* untilWaiting(admin, schema, 1, '"tag"')
            return { closing, fibers }
          })
        )
        const outcomes = yield* Effect.forEach(scoped.fibers, Fiber.join)
        expect(new Set(outcomes)).toEqual(new Set(["StoreUnavailable"]))
        expect(yield* reasonOf(scoped.closing.readBoundary(question("seat")))).toBe("StoreUnavailable")
      }),
    60_000
  )

  it.live("whose events are large are cut short where there is more, and are answered whole", () =>
    Effect.gen(function* () {
      const { join, schema } = yield* arena
      const { sql, store: writer } = yield* join()
      // What cannot be compressed.
      const large = (tag: string) => ({
        type: "Large",
        tags: [tag],
        payload: Array.from({ length: 40_000 }, (_, n) =>
          Math.sin(n + tag.length)
            .toString(36)
            .slice(2)
        ).join("")
      })
      for (let n = 0; n < 16; n++) yield* writer.append("A-1", [large("a"), large("b"), tagged("c")])
      const { store } = yield* counted(schema, sql)
      const queries = [...question("a"), ...question("c"), ...question("b"), { filter: [{ tags: ["a"] }, { tags: ["b"] }] }]
      const { answers, position } = yield* store.readBoundary([...queries, { filter: { tags: ["b"] }, newest: true }])
      expect(position).toBe(48)
      expect(answers.map(({ complete, events }) => [complete, events.length])).toEqual([
        [true, 16],
        [true, 16],
        [true, 16],
        [true, 32],
        [true, 1]
      ])
      expect(answers[3]?.events.map((event) => event.position)).toEqual(
        Array.from({ length: 32 }, (_, n) => (n >> 1) * 3 + (n % 2) + 1)
      )
    })
  )
})
