import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber, Schedule, Stream } from "effect"
import { inject } from "vitest"
import { connect, event, open, until } from "./harness.ts"
import { freshSchema } from "./support.ts"

describe("listening", () => {
  const arena = Effect.sync(() => ({ url: inject("postgresUrl"), schema: freshSchema() }))

  it.live("turned off, events of another process come by polling", () =>
    Effect.gen(function* () {
      const place = yield* arena
      const { store } = yield* open({
        ...place,
        listen: false,
        pollInterval: "50 millis",
        pool: { applicationName: place.schema }
      })
      const other = yield* open({ ...place, listen: false })
      const seen = yield* store.subscribe().pipe(Stream.take(20), Stream.runCollect, Effect.forkScoped)
      yield* Effect.forEach(Array.from({ length: 20 }), () => other.store.append("A-1", [event()]))
      expect((yield* Fiber.join(seen)).map(({ position }) => position)).toEqual(Array.from({ length: 20 }, (_, n) => n + 1))
      const admin = yield* connect(place.url)
      expect(
        yield* admin`select 1 from pg_stat_activity where application_name = ${place.schema} and query ilike 'listen%'`
      ).toEqual([])
    })
  )

  it.live("a lost notification costs no more than a poll interval", () =>
    Effect.gen(function* () {
      const place = yield* arena
      const { store } = yield* open({ ...place, pollInterval: "50 millis" })
      const other = yield* open({ ...place, listen: false })
      // Written as an append writes it, but nobody is notified.
      const silently = (n: number) =>
        other.sql.withTransaction(
          Effect.gen(function* () {
            yield* other.sql.unsafe(`update "${place.schema}".head set position = position + 1`)
            yield* other.sql.unsafe(
              `insert into "${place.schema}".event select position, ${n}, now(), 1, false, 'A-1', 'silent-${n}', 'Silent', '{}', '1', '{}' from "${place.schema}".head`
            )
          })
        )
      const seen: Array<string> = []
      yield* store.subscribe().pipe(
        Stream.runForEach(({ id }) => Effect.sync(() => void seen.push(id))),
        Effect.forkScoped
      )
      for (let n = 1; n <= 5; n++) {
        yield* silently(n)
        yield* until(
          "it is seen",
          Effect.sync(() => seen.length === n)
        ).pipe(Effect.timeout("5 seconds"))
      }
      expect(seen).toEqual([1, 2, 3, 4, 5].map((n) => `silent-${n}`))
    })
  )

  it.live("nonsense on the channel wakes nobody for good: the tables are the truth", () =>
    Effect.gen(function* () {
      const place = yield* arena
      const { sql, store } = yield* open({ ...place, pollInterval: "20 millis" })
      const admin = yield* connect(place.url)
      const seen: Array<number> = []
      yield* store.subscribe().pipe(
        Stream.runForEach(({ position }) => Effect.sync(() => void seen.push(position))),
        Effect.forkScoped
      )
      yield* until(
        "it listens",
        Effect.map(
          admin`select 1 from pg_stat_activity where query like ${`LISTEN%${place.schema}%`}`,
          (rows) => rows.length === 1
        )
      )
      for (const payload of ["", "hello", "-1", "NaN", "1000000"]) {
        yield* sql.notify(`${place.schema}.head`, payload)
        yield* store.append("A-1", [event()])
        yield* Effect.repeat(store.version("A-1"), { schedule: Schedule.recurs(5) })
      }
      yield* until(
        "all is seen",
        Effect.sync(() => seen.length >= 5)
      )
      expect(seen).toEqual([1, 2, 3, 4, 5])
    })
  )
})
