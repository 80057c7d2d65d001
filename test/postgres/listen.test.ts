import { describe, expect, it } from "@effect/vitest"
import { PgClient, type PgTypes } from "@effect/sql-pg"
import { Effect, Exit, Fiber, Latch, Queue, Redacted, Schedule, Scope, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import { UnitOfWork } from "eventfold"
import { PgEventStore, PgTransport } from "eventfold/postgres"
import { inject } from "vitest"
import { hinting } from "../../src/postgres/hinting.ts"
import { connect, event, message, open, terminate, until } from "./harness.ts"
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
            yield* other.sql.unsafe(`select "${place.schema}".append_lock()`)
            yield* other.sql.unsafe(
              `insert into "${place.schema}".event values (${n}, ${n}, now(), 1, false, 'A-1', 'silent-${n}', 'Silent', '{}', '1', '{}')`
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

  it.live("a connection that is lost between a commit and its hint costs no more than a poll interval", () =>
    Effect.gen(function* () {
      const place = yield* arena
      const { store } = yield* open({ ...place, pollInterval: "50 millis" })
      const sql = yield* PgClient.make({ url: Redacted.make(place.url), maxConnections: 2 })
      let lost = 0
      const client: PgClient.PgClient = Object.assign(Object.create(sql), {
        unsafe: (text: string, parameters?: ReadonlyArray<unknown>) =>
          text.includes("pg_notify")
            ? (lost++, sql.unsafe("select pg_terminate_backend(pg_backend_pid())"))
            : sql.unsafe(text, parameters)
      })
      const other = yield* Effect.provideService(
        PgEventStore.make({ schema: place.schema, migrate: false }),
        PgClient.PgClient,
        client
      )
      const seen: Array<string> = []
      yield* store.subscribe().pipe(
        Stream.runForEach(({ id }) => Effect.sync(() => void seen.push(id))),
        Effect.forkScoped
      )
      for (let n = 1; n <= 3; n++) {
        yield* other.append("A-1", [event(`silent-${n}`)])
        yield* until(
          "it is seen, and its hint was lost",
          Effect.sync(() => seen.length === n && lost === n)
        ).pipe(Effect.timeout("5 seconds"))
      }
      expect(seen).toEqual(["silent-1", "silent-2", "silent-3"])
    }).pipe(Effect.provide(Reactivity.layer))
  )

  it.live("hints come behind the commits, one for many appends, and none for what was rolled back", () =>
    Effect.gen(function* () {
      const place = yield* arena
      const { schema, url } = place
      const listener = yield* PgClient.make({ url: Redacted.make(url) })
      const { sql, store, units } = yield* open({ ...place, listen: false })
      const hints = yield* listener.listen(`${schema}.head`)
      const heads: Array<number> = []
      yield* Queue.take(hints).pipe(
        Effect.flatMap(({ payload }) => Effect.sync(() => void heads.push(Number(payload)))),
        Effect.forever,
        Effect.ignore,
        Effect.forkScoped
      )
      const heard = (head: number) =>
        until(
          `head ${head} is heard of`,
          Effect.sync(() => heads.at(-1) === head)
        )
      yield* Effect.forEach(Array.from({ length: 300 }).keys(), (n) => store.append(`A-${n}`, [event()]), {
        concurrency: "unbounded"
      })
      yield* heard(300)
      expect(heads.length).toBeLessThan(50)
      const before = heads.length
      yield* Effect.ignore(sql.withTransaction(Effect.andThen(store.append("B-1", [event()]), Effect.fail("no"))))
      yield* units.transact(UnitOfWork.stage("B-1", [event()]))
      yield* heard(301)
      expect(heads.slice(before)).toEqual([301])
    }).pipe(Effect.provide(Reactivity.layer))
  )

  it.live("of two stores that share a client and a schema, the newest head is told, whichever tells it first", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* arena
      const sql = yield* PgClient.make({ url: Redacted.make(url), maxConnections: 2 })
      const sent: Array<unknown> = []
      const begun = Latch.makeUnsafe(false)
      const go = Latch.makeUnsafe(false)
      const client: PgClient.PgClient = Object.assign(Object.create(sql), {
        unsafe: (text: string, parameters: ReadonlyArray<unknown>) => {
          sent.push((parameters[1] as PgTypes.Parameter).value)
          const values = Effect.andThen(begun.open, Effect.andThen(go.await, sql.unsafe(text, parameters).values))
          return { values }
        }
      })
      const [one, other] = [yield* hinting(client, `${schema}.head`), yield* hinting(client, `${schema}.head`)]
      one(1)
      yield* begun.await
      one(20)
      other(15)
      yield* go.open
      yield* until(
        "both are sent",
        Effect.sync(() => sent.length === 2)
      )
      expect(sent).toEqual([["1"], ["20"]])
    }).pipe(Effect.provide(Reactivity.layer))
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

  it.live("whoever shares a client shares one connection that listens, of a pool of two", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* arena
      const admin = yield* connect(url)
      const sql = yield* PgClient.make({ url: Redacted.make(url), maxConnections: 2, applicationName: schema })
      const other = yield* PgClient.make({ url: Redacted.make(url), maxConnections: 2 })
      const on = <A, E>(client: PgClient.PgClient, make: Effect.Effect<A, E, PgClient.PgClient | Scope.Scope>) =>
        Effect.provideService(make, PgClient.PgClient, client)
      const listeners = Effect.map(
        admin<{ pid: number }>`select pid from pg_stat_activity where application_name = ${schema} and query ~* '^(un)?listen'`,
        (rows) => rows.map(({ pid }) => pid)
      )
      const seen = yield* Queue.unbounded<string>()
      const heard = (count: number) => Effect.map(Effect.replicateEffect(Queue.take(seen), count), (all) => all.sort())
      const names = [0, 1, 2, 3].map((n) => ({ schema, tablePrefix: `n${n}_` }))
      const follow = (n: number) =>
        on(sql, PgEventStore.make({ ...names[n], pollInterval: "1 hour" })).pipe(
          Effect.flatMap((store) =>
            Stream.runForEach(store.subscribe(), ({ position }) => Queue.offer(seen, `${n}:${position}`))
          ),
          Effect.ignore,
          Effect.forkScoped
        )
      const scopes = yield* Effect.replicateEffect(Effect.flatMap(Effect.scope, Scope.fork), 5)
      const within = <A, E, R>(n: number, effect: Effect.Effect<A, E, R | Scope.Scope>) =>
        Scope.provide(effect, scopes[n] as Scope.Closeable)
      yield* Effect.forEach(names.keys(), (n) => within(n, follow(n)))
      const transport = yield* within(4, on(sql, PgTransport.make({ schema, pollInterval: "1 hour" })))
      yield* transport.subscribe({ group: "mail" }).pipe(
        Stream.runForEach(({ ack, message: { id } }) => Effect.andThen(ack, Queue.offer(seen, `m${id}`))),
        Effect.ignore,
        Effect.forkScoped
      )
      const others = yield* Effect.forEach(names, (name) => on(other, PgEventStore.make({ ...name, listen: false })))
      const otherTransport = yield* on(other, PgTransport.make({ schema, listen: false }))
      const write = (n: number) =>
        Effect.andThen(
          Effect.forEach(others, (store) => store.append("A-1", [event()])),
          otherTransport.publish([message(n)])
        )

      // The pool is free for what the application does, and all hear of what others have written.
      yield* until(
        "one listens",
        Effect.map(listeners, ({ length }) => length === 1)
      )
      yield* sql.withTransaction(Effect.andThen(sql`select 1`, write(1)))
      expect(yield* heard(5)).toEqual(["0:1", "1:1", "2:1", "3:1", "m1"])

      // Their connection is lost: all look at what they have missed.
      const before = yield* listeners
      yield* terminate(admin, before)
      yield* write(2)
      expect(yield* heard(5)).toEqual(["0:2", "1:2", "2:2", "3:2", "m2"])
      yield* until(
        "one listens again",
        Effect.map(listeners, (pids) => pids.length === 1 && pids[0] !== before[0])
      )

      // Who leaves takes nothing from the others, and who comes later finds the same connection.
      yield* Scope.close(scopes[0] as Scope.Closeable, Exit.void)
      yield* follow(0)
      yield* write(3)
      expect(yield* heard(7)).toEqual(["0:1", "0:2", "0:3", "1:3", "2:3", "3:3", "m3"])
      expect((yield* listeners).length).toBe(1)
    }).pipe(Effect.provide(Reactivity.layer), Effect.timeout("20 seconds"))
  )

  it.live("the last of those who listen on a client closes their connection", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* arena
      const admin = yield* connect(url)
      const sql = yield* PgClient.make({ url: Redacted.make(url), applicationName: schema })
      const listening = Effect.map(
        admin`select 1 from pg_stat_activity where application_name = ${schema} and query ~* '^(un)?listen'`,
        (rows) => rows.length
      )
      const listens = <A, E>(make: Effect.Effect<A, E, PgClient.PgClient | Scope.Scope>) =>
        Effect.gen(function* () {
          const scope = yield* Scope.make()
          yield* Scope.provide(Effect.provideService(make, PgClient.PgClient, sql), scope)
          return Scope.close(scope, Exit.void)
        })
      const closeStore = yield* listens(PgEventStore.make({ schema }))
      const closeTransport = yield* listens(PgTransport.make({ schema }))
      yield* until(
        "they listen",
        Effect.map(listening, (count) => count === 1)
      )
      yield* closeStore
      yield* sql`select 1`
      expect(yield* listening).toBe(1)
      yield* closeTransport
      yield* until(
        "nobody listens",
        Effect.map(listening, (count) => count === 0)
      )
      expect(yield* sql`select 1 as one`).toEqual([{ one: 1 }])
    }).pipe(Effect.provide(Reactivity.layer), Effect.timeout("20 seconds"))
  )

  it.live("a client of one connection is refused for listening, with the number that it needs", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* arena
      const sql = yield* PgClient.make({ url: Redacted.make(url), maxConnections: 1 })
      for (const make of [PgEventStore.make({ schema, listen: true }), PgTransport.make({ schema, listen: true })]) {
        const error = yield* Effect.flip(
          Effect.provideService(Effect.asVoid<unknown, unknown, PgClient.PgClient | Scope.Scope>(make), PgClient.PgClient, sql)
        )
        expect(String(error)).toMatch(/maxConnections to 2 or more/)
      }
    }).pipe(Effect.provide(Reactivity.layer))
  )
})
