import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Stream } from "effect"
import { type EventStore, UnitOfWork } from "eventfold"
import { inject } from "vitest"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { assertSound, connect, event, holdHead, open, until, untilWaiting } from "./harness.ts"
import { freshSchema } from "./support.ts"

const arena = Effect.gen(function* () {
  const url = inject("postgresUrl")
  const schema = freshSchema()
  const admin = yield* connect(url)
  return {
    schema,
    admin,
    join: (maxConnections = 2) =>
      open({ url, schema, pollInterval: "20 millis", pool: { maxConnections, applicationName: schema } }),
    /** The sessions of the store's pool, by what they are at. */
    sessions: Effect.map(
      admin<{ state: string }>`select state from pg_stat_activity where application_name = ${schema}`,
      (rows) => rows.map(({ state }) => state)
    )
  }
})

/** Numbers in [0, 1) that are the same in each run. */
const random = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
}

describe("interruption at random points", () => {
  it.live.each([1, 2, 3])(
    "leaks no connection and leaves no half unit of work (seed %d)",
    (seed) =>
      Effect.gen(function* () {
        const { admin, join, schema, sessions } = yield* arena
        // Two connections of which one listens: whatever is leaked or left open blocks the next operation.
        const { sql, store, units } = yield* join()
        yield* admin.unsafe(`create table "${schema}".done (id text primary key)`)
        yield* store.append(
          "Seed-1",
          Array.from({ length: 300 }, () => event())
        )
        const next = random(seed)
        const succeeded = new Set<string>()

        const unit = (id: string) =>
          units.transact(
            Effect.gen(function* () {
              yield* sql.unsafe(`insert into "${schema}".done values ($1)`, [id])
              yield* UnitOfWork.stage("Left-1", [event(`${id}-left`)])
              yield* UnitOfWork.stage("Right-1", [event(`${id}-right`)])
            })
          )
        const operations: ReadonlyArray<(id: string) => Effect.Effect<unknown, unknown>> = [
          (id) => store.append("Plain-1", [event(`${id}-plain`)]),
          (id) =>
            store.appendAll([
              { stream: "Left-1", events: [event(`${id}-left`)] },
              { stream: "Right-1", events: [event(`${id}-right`)] }
            ]),
          () => Stream.runDrain(store.read("Seed-1")),
          () => Stream.runDrain(store.readAll()),
          () => Stream.runDrain(Stream.take(store.subscribe(), 250)),
          unit,
          (id) => sql.withTransaction(Effect.andThen(unit(id), Effect.andThen(store.head, store.version("Seed-1"))))
        ]
        for (let n = 0; n < 120; n++) {
          const id = `${n}`
          const live = yield* Effect.forkScoped(Stream.runDrain(store.subscribe({ after: "end" })), { startImmediately: true })
          const together = Array.from({ length: 1 + Math.floor(next() * 3) }, (_, k) => {
            const operation = operations[Math.floor(next() * operations.length)] ?? expect.unreachable()
            const name = `${id}.${k}`
            return Effect.tap(operation(name), () => Effect.sync(() => succeeded.add(name)))
          })
          const fibers = yield* Effect.forEach(together, (operation) => Effect.forkScoped(operation, { startImmediately: true }))
          const pause = Math.floor(next() * 6)
          if (pause === 1) yield* Effect.yieldNow
          if (pause === 2) yield* Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))
          if (pause === 3 || pause === 4) yield* Effect.sleep(next() * 12)
          if (pause === 5) yield* Effect.forEach(fibers.slice(-1), Fiber.await)
          const exits = yield* Effect.forEach(
            [live, ...fibers],
            (fiber) => Effect.andThen(Fiber.interrupt(fiber), Fiber.await(fiber)),
            {
              concurrency: "unbounded"
            }
          )
          // Interrupted or successful, and nothing else.
          for (const exit of exits) {
            if (Exit.isFailure(exit)) expect(exit.cause.reasons.map(({ _tag }) => _tag)).toEqual(["Interrupt"])
          }
        }

        yield* store.append("Last-1", [event("last")]).pipe(Effect.timeout("10 seconds"))
        yield* until(
          "no session is in a transaction",
          Effect.map(sessions, (states) => states.every((state) => state === "idle"))
        )
        expect((yield* sessions).length).toBeLessThanOrEqual(2)
        const events = yield* assertSound(store)
        const ids = new Set(events.map(({ id }) => id))
        const done = yield* admin.unsafe<{ id: string }>(`select id from "${schema}".done`)
        for (const { id } of done) expect([id, ids.has(`${id}-left`), ids.has(`${id}-right`)]).toEqual([id, true, true])
        expect(yield* store.version("Left-1")).toBe(yield* store.version("Right-1"))
        for (const id of ids) if (id.endsWith("-left")) expect(ids.has(id.replace("-left", "-right"))).toBe(true)
        // Some were cut off, and some were not: else this would show nothing.
        expect(succeeded.size).toBeGreaterThan(10)
      }),
    60_000
  )

  it.live("takes back an append that waits for its turn, and the queue goes on", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      const { store } = yield* join(4)
      const head = yield* holdHead(admin, schema)
      const fibers = yield* Effect.forEach(
        Array.from({ length: 50 }, (_, n) => n),
        (n) => Effect.forkScoped(store.append("A-1", [event(`${n}`)]), { startImmediately: true })
      )
      yield* untilWaiting(admin, schema)
      // The first is on its way; of the others every second gives up.
      yield* Effect.forEach(fibers, (fiber, n) => (n % 2 === 1 ? Fiber.interrupt(fiber) : Effect.void), { discard: true })
      yield* head.commit
      yield* Effect.forEach(fibers, (fiber, n) => (n % 2 === 0 ? Fiber.join(fiber) : Effect.void), { discard: true })
      const events = yield* assertSound(store)
      expect(events.map(({ id }) => Number(id))).toEqual(Array.from({ length: 25 }, (_, n) => n * 2))
    })
  )

  it.live("of the whole store, while appends are on their way: each caller gets an answer", () =>
    Effect.gen(function* () {
      const { admin, join, schema, sessions } = yield* arena
      yield* Effect.scoped(join(4))
      const head = yield* holdHead(admin, schema)
      const outcomes = yield* Effect.scoped(
        Effect.gen(function* () {
          const { store } = yield* join(4)
          const fibers = yield* Effect.forEach(["sent", "waits"], (id) =>
            Effect.forkDetach(Effect.exit(store.append("A-1", [event(id)])), { startImmediately: true })
          )
          yield* untilWaiting(admin, schema)
          // The store closes once what is on its way has been written.
          yield* Effect.forkDetach(Effect.delay(head.commit, "20 millis"))
          return fibers
        })
      )
      const exits = yield* Effect.forEach(outcomes, Fiber.join)
      yield* until(
        "all its sessions are gone",
        Effect.map(sessions, (states) => states.length === 0)
      )
      const { store } = yield* join(4)
      const ids = (yield* assertSound(store)).map(({ id }) => id)
      // What was on its way is written. What waited is written or refused, and its caller knows which.
      expect(exits[0]?._tag).toBe("Success")
      expect(ids).toEqual(exits[1]?._tag === "Success" ? ["sent", "waits"] : ["sent"])
    })
  )
})

describe("many subscribers", () => {
  const collect = (() => {
    setFlagsFromString("--expose-gc")
    return runInNewContext("gc") as () => void
  })()
  const heap = Effect.sync(() => {
    collect()
    return process.memoryUsage().heapUsed
  })

  it.live(
    "a thousand, of which one never pulls and one stops after an event: the others see everything",
    () =>
      Effect.gen(function* () {
        const { join, sessions } = yield* arena
        const { store } = yield* join(3)
        const total = 200
        const seen = Array.from({ length: 1_000 }, () => 0)
        let wrong = 0
        const stopped = yield* Effect.forEach([0, 1], () => Stream.toPull(store.subscribe()))
        yield* Effect.forEach(
          Array.from({ length: 998 }, (_, n) => n),
          (n) =>
            store.subscribe().pipe(
              Stream.runForEach(({ position }) =>
                Effect.sync(() => {
                  seen[n] = (seen[n] ?? 0) + 1
                  if (position !== seen[n]) wrong++
                })
              ),
              Effect.forkScoped
            ),
          { discard: true }
        )
        yield* store.append("A-1", [event()])
        yield* stopped[1] ?? expect.unreachable()
        yield* Effect.forEach(Array.from({ length: total - 1 }), () => store.append("A-1", [event()]), { concurrency: 20 })
        yield* until(
          "all others have seen everything",
          Effect.sync(() => seen.slice(0, 998).every((count) => count === total))
        )
        expect(wrong).toBe(0)
        expect((yield* sessions).length).toBeLessThanOrEqual(3)
      }),
    60_000
  )

  it.live(
    "that stand still hold no events: memory does not grow with what they have not seen",
    () =>
      Effect.gen(function* () {
        const { join } = yield* arena
        const { store } = yield* join(4)
        yield* store.append("A-1", [event()])
        const pulls = yield* Effect.forEach(Array.from({ length: 200 }), () => Stream.toPull(store.subscribe()))
        yield* Effect.forEach(pulls, (pull) => pull, { concurrency: 20, discard: true })
        const before = yield* heap
        // 20 MB in all; each subscriber that buffered them would hold that much.
        const payload = "x".repeat(10_000)
        yield* Effect.forEach(
          Array.from({ length: 200 }),
          () =>
            store.append(
              "A-1",
              Array.from({ length: 10 }, () => ({ type: "Large", payload }))
            ),
          { concurrency: 8, discard: true }
        )
        const grown = (yield* heap) - before
        expect(grown).toBeLessThan(40_000_000)
        // They are none the worse for it.
        const [pull = expect.unreachable()] = pulls
        expect((yield* pull)[0]).toMatchObject({ position: 2 } satisfies Partial<EventStore.RecordedEvent>)
      }),
    60_000
  )
})
