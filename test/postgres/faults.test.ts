import { describe, expect, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Schedule, Stream } from "effect"
import { type EventStore, UnitOfWork } from "eventfold"
import { afterAll, beforeAll } from "vitest"
import { type PostgresServer, startPostgres } from "../support/postgres-server.ts"
import {
  assertSound,
  begin,
  child,
  connect,
  event,
  everything,
  holdHead,
  open,
  type Opened,
  type OpenOptions,
  reasonOf,
  terminate,
  until,
  untilWaiting,
  waiting
} from "./harness.ts"
import { startProxy } from "./proxy.ts"
import { freshSchema } from "./support.ts"

let server: PostgresServer

beforeAll(async () => {
  server = await startPostgres()
})
afterAll(() => server.dispose())

const arena = Effect.gen(function* () {
  const schema = freshSchema()
  return {
    schema,
    url: server.url,
    admin: yield* connect(server.url),
    /** Another process, as far as the database can tell; its connections bear the name of the schema. */
    join: (options: OpenOptions = {}) =>
      open({ url: server.url, schema, ...options, pool: { applicationName: schema, ...options.pool } })
  }
})

/** Follows the store into an array. */
const follow = Effect.fnUntraced(function* (store: Opened["store"]) {
  const seen: Array<number> = []
  const fiber = yield* store.subscribe().pipe(
    Stream.runForEach(({ position }) => Effect.sync(() => void seen.push(position))),
    Effect.forkScoped
  )
  return {
    seen,
    /** Waits until it has seen everything, and asserts that it saw each once, in order. */
    complete: Effect.gen(function* () {
      const head = yield* store.head
      yield* until(
        "the subscriber has caught up",
        Effect.suspend(() => {
          const ended = fiber.pollUnsafe()
          return ended === undefined ? Effect.succeed(seen.length >= head) : Effect.die(new Error(`it ended: ${String(ended)}`))
        })
      )
      expect(seen).toEqual(Array.from({ length: head }, (_, index) => index + 1))
    })
  }
})

describe("a connection that is lost", () => {
  it.live("while a batch is on its way: the batch is repeated by its ids, and written once", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      const { store } = yield* join()
      const follower = yield* follow(store)
      const head = yield* holdHead(admin, schema)
      const first = yield* Effect.forkScoped(store.append("A-1", [event("first")]))
      yield* untilWaiting(admin, schema)
      const others = yield* Effect.forEach(["a", "b", "c"], (id) =>
        Effect.forkScoped(store.append("A-1", [event(id)]), { startImmediately: true })
      )
      const before = yield* waiting(admin, schema)
      yield* terminate(admin, before)
      yield* until(
        "it is tried again",
        Effect.map(waiting(admin, schema), (pids) => pids.length === 1 && pids[0] !== before[0])
      )
      yield* head.commit
      expect(yield* Fiber.join(first)).toMatchObject({ version: 1, position: 1 })
      yield* Effect.forEach(others, Fiber.join)
      expect(yield* assertSound(store)).toHaveLength(4)
      yield* follower.complete
    })
  )

  it.live("after a batch was written and before its answer came: the repetition finds it, and writes nothing", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      const [here, there] = [yield* join(), yield* join()]
      const head = yield* holdHead(admin, schema)
      const append = yield* Effect.forkScoped(here.store.append("A-1", [event("once")], { expected: 0 }))
      yield* untilWaiting(admin, schema)
      // As if the answer were lost: another connection has written the very same events when the first breaks.
      const [pid = 0] = yield* waiting(admin, schema)
      yield* admin`select pg_terminate_backend(${pid})`
      yield* untilWaiting(admin, schema)
      const twin = yield* Effect.forkScoped(there.store.append("A-1", [event("once")], { expected: 0 }))
      yield* untilWaiting(admin, schema, 2)
      yield* head.commit
      const results = [yield* Fiber.join(append), yield* Fiber.join(twin)]
      expect(results.map(({ deduplicated }) => deduplicated).sort()).toEqual([false, true])
      expect(results).toMatchObject([{ position: 1 }, { position: 1 }])
      expect(yield* assertSound(here.store)).toHaveLength(1)
    })
  )

  it.live("without a word: after the time-out the batch is repeated on another connection, and reads fail in time", () =>
    Effect.gen(function* () {
      const { join, schema, url } = yield* arena
      const proxy = yield* startProxy(url)
      const { store } = yield* open({ url: proxy.url, schema, timeout: "500 millis", listen: false, pollInterval: "1 minute" })
      yield* store.append("A-1", [event("first")])
      proxy.silence()
      const appended = yield* store.append("A-1", [event("second")], { expected: 1 })
      expect(appended).toMatchObject({ version: 2 })
      proxy.silence()
      expect(yield* Effect.flip(store.head)).toMatchObject({ reason: { _tag: "StoreUnavailable", operation: "head" } })
      yield* store.append("A-1", [event("third")])
      expect(yield* assertSound((yield* join()).store)).toHaveLength(3)
    })
  )

  it.live("again and again: the outcome is unknown, says so, and a repetition with the same ids gives one copy", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      const { store } = yield* join()
      const head = yield* holdHead(admin, schema)
      const append = store.appendAll([
        { stream: "A-1", events: [event("a1"), event("a2")], expected: 0 },
        { stream: "B-1", events: [event("b1")] }
      ])
      const fiber = yield* Effect.forkScoped(Effect.flip(append))
      const killer = yield* waiting(admin, schema).pipe(
        Effect.flatMap((pids) => terminate(admin, pids)),
        Effect.repeat(Schedule.spaced("5 millis")),
        Effect.forkScoped
      )
      const error = yield* Fiber.join(fiber)
      expect(error).toMatchObject({
        _tag: "EventStoreError",
        isRetryable: false,
        reason: { _tag: "OutcomeUnknown", operation: "append" }
      })
      yield* Fiber.interrupt(killer)
      yield* head.commit
      yield* append
      expect(yield* append).toMatchObject([
        { version: 2, deduplicated: true },
        { version: 1, deduplicated: true }
      ])
      expect(yield* assertSound(store)).toHaveLength(3)
    })
  )

  it.live("and the server does not come back: still the outcome is unknown, and not 'nothing was written'", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      const { store } = yield* join({ listen: false })
      yield* Effect.addFinalizer(() => Effect.promise(() => server.restart()))
      yield* holdHead(admin, schema)
      const fibers = yield* Effect.forEach(["a", "b"], (id) =>
        Effect.forkScoped(reasonOf(store.append("A-1", [event(id)])), { startImmediately: true })
      )
      yield* untilWaiting(admin, schema)
      yield* Effect.promise(() => server.stop("immediate"))
      // "a" was on its way when the server went; "b" had not been sent.
      expect(yield* Effect.forEach(fibers, Fiber.join)).toEqual(["OutcomeUnknown", "StoreUnavailable"])
    })
  )

  it.live("and what comes back refuses the repetition: still the outcome is unknown", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      const { store } = yield* join()
      yield* admin.unsafe(`create table "${schema}".refused (id text)`)
      yield* admin.unsafe(`create function "${schema}".refuse() returns trigger language plpgsql as $$ begin
        if exists (select from "${schema}".refused r where r.id = new.id) then raise exception 'refused'; end if;
        return new;
      end $$`)
      yield* admin.unsafe(
        `create trigger refuses before insert on "${schema}".event for each row execute function "${schema}".refuse()`
      )
      const head = yield* holdHead(admin, schema)
      const fiber = yield* Effect.forkScoped(reasonOf(store.append("A-1", [event("a")])))
      yield* untilWaiting(admin, schema)
      yield* head.run(`insert into "${schema}".refused values ('a')`)
      yield* terminate(admin, yield* waiting(admin, schema))
      yield* untilWaiting(admin, schema)
      yield* head.commit
      expect(yield* Fiber.join(fiber)).toBe("OutcomeUnknown")
    })
  )

  it.live("in the pool, idle: reads and appends go on over new ones", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      const { sql, store } = yield* join()
      const follower = yield* follow(store)
      const pids = Effect.map(
        admin<{ pid: number }>`select pid from pg_stat_activity where application_name = ${schema} order by pid`,
        (rows) => rows.map(({ pid }) => pid)
      )
      for (let round = 1; round <= 5; round++) {
        yield* Effect.all([sql`select pg_sleep(0.01)`, sql`select pg_sleep(0.01)`, store.append("A-1", [event()])], {
          concurrency: "unbounded"
        })
        const before = yield* pids
        expect(before.length).toBeGreaterThan(0)
        yield* terminate(admin, before)
        yield* until(
          "they are gone",
          Effect.map(pids, (now) => now.every((pid) => !before.includes(pid)))
        )
        yield* store.append("A-1", [event()])
        expect(yield* Effect.retry(everything(store), { times: 3 })).toHaveLength(round * 2)
      }
      yield* assertSound(store)
      yield* follower.complete
    })
  )

  it.live("under a read: a typed error that may be retried; a subscription goes on by itself", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      const { store } = yield* join({ pollInterval: "20 millis" })
      yield* store.append("A-1", [event(), event()])
      const lock = yield* begin(admin, `lock table "${schema}".event in access exclusive mode`)
      const read = yield* Effect.forkScoped(Effect.flip(Stream.runCollect(store.read("A-1"))))
      yield* untilWaiting(admin, schema, 1, "e[.]stream = ")
      const follower = yield* follow(store)
      yield* untilWaiting(admin, schema, 1, "newest_position")
      yield* terminate(admin, yield* waiting(admin, schema, "^select"))
      expect(yield* Fiber.join(read)).toMatchObject({
        isRetryable: true,
        reason: { _tag: "StoreUnavailable", operation: "read" }
      })
      yield* lock.commit
      yield* follower.complete
    })
  )

  it.live("under a unit of work: a typed error, nothing is written, and the next one succeeds", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      const { sql, store, units } = yield* join()
      yield* admin.unsafe(`create table "${schema}".stock (id int)`)
      const work = (during: Effect.Effect<void, EventStore.EventStoreError>) =>
        Effect.gen(function* () {
          yield* sql.unsafe(`insert into "${schema}".stock values (1)`)
          yield* during
          yield* UnitOfWork.stage("A-1", [event("a")])
        }).pipe(units.transact)
      const killed = Effect.gen(function* () {
        const [row] = yield* Effect.orDie(sql<{ pid: number }>`select pg_backend_pid() as pid`)
        const pid = row?.pid ?? 0
        yield* Effect.orDie(terminate(admin, [pid]))
        yield* Effect.orDie(
          until(
            "it is gone",
            Effect.map(admin`select 1 from pg_stat_activity where pid = ${pid}`, (rows) => rows.length === 0)
          )
        )
      })
      const exit = yield* Effect.exit(work(killed))
      expect(Exit.isFailure(exit) && Cause.hasDies(exit.cause) ? String(exit.cause) : "typed").toBe("typed")
      expect(yield* reasonOf(work(killed))).toBe("StoreUnavailable")
      expect(yield* store.head).toBe(0)
      expect(yield* admin.unsafe(`select * from "${schema}".stock`)).toEqual([])
      yield* work(Effect.void)
      expect(yield* admin.unsafe(`select * from "${schema}".stock`)).toHaveLength(1)
      yield* assertSound(store)
    })
  )

  it.live("under a transaction that fails for a reason of its own: that reason is what the caller sees", () =>
    Effect.gen(function* () {
      const { admin, join } = yield* arena
      const { sql, units } = yield* join()
      const exit = yield* Effect.gen(function* () {
        const [row] = yield* sql<{ pid: number }>`select pg_backend_pid() as pid`
        yield* terminate(admin, [row?.pid ?? 0])
        yield* until(
          "it is gone",
          Effect.map(admin`select 1 from pg_stat_activity where pid = ${row?.pid ?? 0}`, (rows) => rows.length === 0)
        )
        return yield* Effect.fail("changed my mind" as const)
      }).pipe(units.transact, Effect.exit)
      expect(exit).toEqual(Exit.fail("changed my mind"))
    })
  )

  it.live("that listens: the next notification comes over a new one, and none of the events between is missed", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      // Polling is out of the picture: only a notification can bring the events of another process.
      const { store } = yield* join({ pollInterval: "1 hour" })
      const other = yield* join({ pool: { applicationName: "other" }, listen: false })
      const follower = yield* follow(store)
      const listener = Effect.map(
        admin<{ pid: number }>`select pid from pg_stat_activity where application_name = ${schema} and query ilike 'listen%'`,
        (rows) => rows.map(({ pid }) => pid)
      )
      const untilListening = (not: ReadonlyArray<number>) =>
        until(
          "somebody listens",
          Effect.map(listener, ([pid]) => pid !== undefined && !not.includes(pid))
        )
      yield* untilListening([])
      yield* other.store.append("A-1", [event()])
      yield* until(
        "it has been heard",
        Effect.sync(() => follower.seen.length === 1)
      )
      for (let round = 0; round < 3; round++) {
        const before = yield* listener
        yield* terminate(admin, before)
        yield* until(
          "nobody listens",
          Effect.map(listener, (pids) => !pids.includes(before[0] ?? 0))
        )
        yield* other.store.append("A-1", [event()]) // surely or most likely unheard
        yield* untilListening(before)
        yield* other.store.append("A-1", [event()])
        yield* follower.complete
      }
    })
  )
})

describe("a statement that fails in a unit of work", () => {
  it.live("and is passed over: the commit fails, and says that nothing was written", () =>
    Effect.gen(function* () {
      const { join } = yield* arena
      const { sql, store, units } = yield* join()
      const broken = Effect.ignore(sql`select 1 / 0`)
      expect(yield* reasonOf(units.transact(broken))).toBe("StoreFailure")
      expect(yield* reasonOf(units.transact(Effect.andThen(store.append("A-1", [event("first")]), broken)))).toBe("StoreFailure")
      expect(yield* store.head).toBe(0)
    })
  )
})

describe("a server that stops at once", () => {
  it.live(
    "under sixteen writers, and comes back: no acknowledged event is lost, and all goes on by itself",
    () =>
      Effect.gen(function* () {
        const { join } = yield* arena
        const processes = [yield* join(), yield* join()]
        const [{ store } = expect.unreachable()] = processes
        const followers = yield* Effect.forEach(Array.from({ length: 20 }), (_, n) =>
          follow((processes[n % 2] ?? expect.unreachable()).store)
        )
        const acknowledged = new Map<string, EventStore.AppendResult>()
        const failed = new Set<string>()
        const reasons = new Set<string>()
        let writing = true
        const writers = yield* Effect.forEach(
          Array.from({ length: 16 }, (_, n) => n),
          (n) =>
            Effect.gen(function* () {
              const { store } = processes[n % 2] ?? expect.unreachable()
              for (let i = 0; writing; i++) {
                const id = `w${n}-${i}`
                const exit = yield* Effect.exit(store.append(`W-${n % 6}`, [event(id)]))
                if (Exit.isSuccess(exit)) acknowledged.set(id, exit.value)
                else {
                  failed.add(id)
                  reasons.add(yield* reasonOf(exit))
                  yield* Effect.sleep("50 millis")
                }
              }
            }).pipe(Effect.forkScoped)
        )
        for (let crash = 1; crash <= 3; crash++) {
          const before = acknowledged.size
          yield* until(
            "the writers are at it",
            Effect.sync(() => acknowledged.size > before + 400)
          )
          yield* Effect.promise(() => server.stop("immediate"))
          yield* until(
            "they have noticed",
            Effect.sync(() => failed.size > crash * 16)
          )
          yield* Effect.promise(() => server.restart())
        }
        const before = acknowledged.size
        yield* until(
          "the writers are at it again",
          Effect.sync(() => acknowledged.size > before + 400)
        )
        writing = false
        yield* Effect.forEach(writers, Fiber.join)

        const events = yield* assertSound(store)
        const written = new Map(events.map((event) => [event.id, event]))
        for (const [id, { position, stream, version }] of acknowledged) {
          expect(written.get(id)).toMatchObject({ position, stream, version })
        }
        expect([...reasons].filter((reason) => reason !== "OutcomeUnknown" && reason !== "StoreUnavailable")).toEqual([])
        // Whatever failed may be repeated by its id: one copy of each, whether it had been written or not.
        yield* Effect.forEach(
          failed,
          (id) =>
            Effect.map(store.append(`W-${Number(/\d+/.exec(id)?.[0]) % 6}`, [event(id)]), ({ deduplicated }) =>
              expect(deduplicated).toBe(written.has(id))
            ),
          { concurrency: "unbounded" }
        )
        expect(yield* assertSound(store)).toHaveLength(acknowledged.size + failed.size)
        yield* Effect.forEach(followers, ({ complete }) => complete)
      }),
    60_000
  )

  it.live("an append that failed as unavailable had written nothing", () =>
    Effect.gen(function* () {
      const { join } = yield* arena
      const { store } = yield* join()
      const unavailable = new Set<string>()
      let writing = true
      let written = 0
      const writers = yield* Effect.forEach(
        Array.from({ length: 16 }, (_, n) => n),
        (n) =>
          Effect.gen(function* () {
            for (let i = 0; writing; i++) {
              const id = `w${n}-${i}`
              const reason = yield* reasonOf(store.append(`W-${n}`, [event(id)]))
              if (reason === "StoreUnavailable") unavailable.add(id)
              if (reason === "success") written++
              else yield* Effect.sleep("20 millis")
            }
          }).pipe(Effect.forkScoped)
      )
      for (let crash = 1; crash <= 3; crash++) {
        const before = written
        yield* until(
          "the writers are at it",
          Effect.sync(() => written > before + 100)
        )
        yield* Effect.promise(() => server.stop("immediate"))
        yield* until(
          "they have noticed",
          Effect.sync(() => unavailable.size > crash * 16)
        )
        yield* Effect.promise(() => server.restart())
      }
      writing = false
      yield* Effect.forEach(writers, Fiber.join)
      const events = yield* assertSound(store)
      expect(events.filter(({ id }) => unavailable.has(id)).map(({ id }) => id)).toEqual([])
    })
  )
})

describe("a process that dies or stands still", () => {
  it.live("killed while it appends: what it had been told is written, is", () =>
    Effect.gen(function* () {
      const { join, schema, url } = yield* arena
      const { store } = yield* join()
      const follower = yield* follow(store)
      const acknowledged = new Set<string>()
      for (const name of ["a", "b", "c"]) {
        const writer = yield* child("writer", { url, schema, name, callers: 8, mode: name === "b" ? "forth" : "own" })
        yield* until(
          "it appends",
          Effect.sync(() => writer.lines.length > 200)
        )
        yield* writer.kill
        for (const line of writer.lines) if (line !== "ready") acknowledged.add(line)
      }
      yield* store.append("After-1", [event("after")])
      const events = yield* assertSound(store)
      const ids = new Set(events.map(({ id }) => id))
      expect([...acknowledged].filter((id) => !ids.has(id))).toEqual([])
      // No half of an append over two streams.
      expect(yield* store.version("Pair-left")).toBe(yield* store.version("Pair-right"))
      yield* follower.complete
    })
  )

  it.live("stopped while it holds the head: others wait, reads go on; it is killed, and all proceeds without its events", () =>
    Effect.gen(function* () {
      const { admin, join, schema, url } = yield* arena
      const { store } = yield* join()
      yield* store.append("A-1", [event("before")])
      const follower = yield* follow(store)
      const holder = yield* child("holder", { url, schema })
      yield* holder.says("held")
      holder.process.kill("SIGSTOP")
      const impatient = yield* join({ pool: { startupParameters: { lock_timeout: "50ms" } } })
      expect(yield* reasonOf(impatient.store.append("A-1", [event("impatient")]))).toBe("TransactionConflict")

      const patient = yield* Effect.forkScoped(store.append("A-1", [event("patient")]))
      yield* untilWaiting(admin, schema)
      expect((yield* everything(store)).map(({ id }) => id)).toEqual(["before"])
      // A caller that gives up takes its append back, as long as it has not been sent.
      expect(yield* store.append("A-1", [event("given up")]).pipe(Effect.timeoutOption("20 millis"))).toMatchObject({
        _tag: "None"
      })

      yield* holder.kill
      expect(yield* Fiber.join(patient)).toMatchObject({ version: 2, position: 2 })
      const events = yield* assertSound(store)
      expect(events.map(({ id }) => id)).toEqual(["before", "patient"])
      yield* follower.complete
    })
  )

  it.live("a caller that gives up is let go at once, also when its append is on its way; that one is written all the same", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      const { store } = yield* join()
      const head = yield* holdHead(admin, schema)
      const fibers = yield* Effect.forEach(["sent", "waits"], (id) =>
        Effect.forkScoped(store.append("A-1", [event(id)]), { startImmediately: true })
      )
      yield* untilWaiting(admin, schema)
      yield* Effect.forEach(fibers, Fiber.interrupt)
      expect(yield* waiting(admin, schema)).toHaveLength(1)
      yield* head.commit
      expect(yield* store.append("A-1", [event("after")])).toMatchObject({ version: 2 })
      expect((yield* assertSound(store)).map(({ id }) => id)).toEqual(["sent", "after"])
    })
  )

  it.live("stopped while it holds the head, and goes on: its events stand before those that waited", () =>
    Effect.gen(function* () {
      const { admin, join, schema, url } = yield* arena
      const { store } = yield* join()
      const holder = yield* child("holder", { url, schema })
      yield* holder.says("held")
      holder.process.kill("SIGSTOP")
      const patient = yield* Effect.forkScoped(store.append("A-1", [event("patient")]))
      yield* untilWaiting(admin, schema)
      holder.process.kill("SIGCONT")
      yield* holder.end
      yield* Fiber.join(patient)
      expect((yield* assertSound(store)).map(({ id }) => id)).toEqual(["held", "patient"])
    })
  )

  it.live(
    "stopped while it holds the head, and goes on too late: the server has ended its transaction, and others have gone on",
    () =>
      Effect.gen(function* () {
        const { join, schema, url } = yield* arena
        const { store } = yield* join()
        const holder = yield* child("holder", { url, schema })
        yield* holder.says("held")
        holder.process.kill("SIGSTOP")
        expect(yield* store.append("A-1", [event("patient")])).toMatchObject({ position: 1 })
        holder.process.kill("SIGCONT")
        yield* holder.end
        yield* holder.says("undone")
        expect((yield* assertSound(store)).map(({ id }) => id)).toEqual(["patient"])
      })
  )

  it.live("stopped while it holds the head, and the server ends its transaction as soon as its role says: all proceeds", () =>
    Effect.gen(function* () {
      const { admin, join, schema, url } = yield* arena
      const { store } = yield* join()
      const role = new URL(url)
      role.username = schema
      yield* admin.unsafe(`create role "${schema}" superuser login`)
      yield* admin.unsafe(`alter role "${schema}" set idle_in_transaction_session_timeout = '200ms'`)
      const holder = yield* child("holder", { url: role.href, schema })
      yield* holder.says("held")
      holder.process.kill("SIGSTOP")
      expect(yield* store.append("A-1", [event("patient")])).toMatchObject({ position: 1 })
      expect((yield* assertSound(store)).map(({ id }) => id)).toEqual(["patient"])
    })
  )
})
