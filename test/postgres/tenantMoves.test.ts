/** Tenants that move between real places while they are written to; and those that cannot. */
import { NodeFileSystem } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, FileSystem, Layer, Schedule, Stream } from "effect"
import { Checkpoints, EventStore, Tenants } from "eventfold"
import { PgEventStore, PgTenants } from "eventfold/postgres"
import { SqliteEventStore } from "eventfold/sqlite"
import { eventually } from "../support/words.ts"
import { preparedTables } from "./shared.ts"
import { client, freshSchema } from "./support.ts"

const prepared = preparedTables()

type Options<R> = {
  readonly store: (tenant: Tenants.TenantEntry) => Layer.Layer<EventStore.EventStore, EventStore.EventStoreError, R>
}

/** Moves a tenant under four writers: what was acknowledged is at the new place once, in the order of each writer. */
const movesUnderWriters = <R>(one: string, two: string, options: Options<R>) =>
  Effect.gen(function* () {
    yield* Tenants.add("acme", one)
    const [done, started] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    const acknowledged: Array<string> = []
    const stores = Tenants.layerMap({ ...options, freshness: 0 })
    const writer = (name: string) =>
      Effect.gen(function* () {
        for (let n = 0; !(yield* Deferred.isDone(done)); n++) {
          const id = `${name}-${n}`
          yield* EventStore.append(`Account-${name}`, [{ id, type: "Deposited", payload: { n } }]).pipe(
            Tenants.provide("acme"),
            Effect.retry(Schedule.spaced("2 millis"))
          )
          acknowledged.push(id)
          if (n === 20) yield* Deferred.succeed(started, undefined)
        }
      })
    yield* Effect.gen(function* () {
      const writers = yield* Effect.forEach(["a", "b", "c", "d"], (name) => Effect.forkChild(writer(name)))
      yield* Deferred.await(started)
      yield* Tenants.move("acme", two, options)
      const moved = acknowledged.length
      yield* eventually(
        "the writers go on",
        Effect.sync(() => acknowledged.length > moved + 40)
      )
      yield* Deferred.succeed(done, undefined)
      yield* Fiber.joinAll(writers)
      const ids = yield* EventStore.readAll().pipe(
        Stream.map(({ id }) => id),
        Stream.runCollect,
        Tenants.provide("acme")
      )
      const own = ids.filter((id) => !id.startsWith("$"))
      expect(own.toSorted()).toEqual(acknowledged.toSorted())
      for (const name of ["a", "b", "c", "d"]) {
        const numbers = own.filter((id) => id.startsWith(`${name}-`)).map((id) => Number(id.slice(2)))
        expect(numbers).toEqual(numbers.map((_, n) => n))
      }
      expect(yield* Tenants.list).toEqual([{ id: "acme", place: two, state: "active", epoch: 2 }])
    }).pipe(Effect.provide(stores))
  }).pipe(Effect.provide(Tenants.layerRegistryMemory))

describe("Tenants.move under writers", () => {
  it.live(
    "from one schema of PostgreSQL to another",
    () =>
      movesUnderWriters(freshSchema(), freshSchema(), {
        store: ({ place }) => PgEventStore.layerWith({ schema: place })
      }).pipe(Effect.provide(client({ maxConnections: 8 }))),
    60_000
  )

  it.live(
    "from one file of SQLite to another",
    () =>
      Effect.gen(function* () {
        const path = yield* FileSystem.FileSystem.use((fs) => fs.makeTempDirectoryScoped())
        yield* movesUnderWriters(`${path}/one.db`, `${path}/two.db`, {
          store: ({ place }) => SqliteEventStore.layerFile({ filename: place })
        })
      }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)),
    60_000
  )
})

/** Somebody else's tenant, which writes to the same store all the time: positions have gaps. */
const besideWriter = <A, E, R>(other: EventStore.EventStore["Service"], move: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const writing = other.append("Account-a", [{ type: "Deposited", payload: { other: true }, tags: ["of:other"] }])
    for (let n = 0; n < 5; n++) yield* writing
    const writer = yield* Effect.forkChild(Effect.forever(Effect.andThen(writing, Effect.sleep("1 millis"))))
    yield* move
    yield* Fiber.interrupt(writer)
    expect((yield* Stream.runCollect(other.readAll())).every(({ payload }) => "other" in (payload as object))).toBe(true)
  })

describe("Tenants.move out of what is shared, under writers of it and of others", () => {
  it.live(
    "from a store by tag to one of its own, and from one of its own to a store by tag",
    () =>
      Effect.gen(function* () {
        const [all, own] = [yield* EventStore.makeMemory, yield* EventStore.makeMemory]
        const options = {
          store: ({ id, place }: Tenants.TenantEntry) =>
            Layer.succeed(EventStore.EventStore, place === "shared" ? Tenants.tagged(all, id) : own)
        }
        yield* besideWriter(Tenants.tagged(all, "globex"), movesUnderWriters("shared", "own", options))
        expect(
          (yield* Stream.runCollect(own.readAll())).map(({ position }, index) => position - index - 1).every((n) => n === 0)
        ).toBe(true)
        const [again, first] = [yield* EventStore.makeMemory, yield* EventStore.makeMemory]
        const back = {
          store: ({ id, place }: Tenants.TenantEntry) =>
            Layer.succeed(EventStore.EventStore, place === "shared" ? Tenants.tagged(again, id) : first)
        }
        yield* besideWriter(Tenants.tagged(again, "globex"), movesUnderWriters("own", "shared", back))
      }),
    60_000
  )

  it.live(
    "from shared tables of PostgreSQL to a schema of its own",
    () =>
      Effect.gen(function* () {
        const { tables } = yield* prepared
        const own = freshSchema()
        const [shared, database] = [yield* Layer.build(tables), yield* Layer.build(client({ maxConnections: 4 }))]
        const options = {
          store: ({ id, place }: Tenants.TenantEntry) =>
            place === "shared"
              ? Layer.provide(PgTenants.layerOf({ id }), Layer.succeedContext(shared))
              : Layer.provide(PgEventStore.layerWith({ schema: own }), Layer.succeedContext(database))
        }
        const { store } = yield* Effect.provideContext(PgTenants.make("globex"), shared)
        yield* besideWriter(store, movesUnderWriters("shared", "own", options))
      }).pipe(Effect.scoped),
    60_000
  )
})

describe("Tenants.move out of a store that is shared by tag", () => {
  /** A tenant whose events stand at the positions 2, 4 and 6 of a store of all. */
  const filled = Effect.gen(function* () {
    const [all, own] = [yield* EventStore.makeMemory, yield* EventStore.makeMemory]
    const [before, after] = [yield* Checkpoints.makeMemory, yield* Checkpoints.makeMemory]
    const [acme, globex] = [Tenants.tagged(all, "acme"), Tenants.tagged(all, "globex")]
    for (let n = 1; n <= 3; n++) {
      yield* globex.append("Account-1", [{ type: "Opened", payload: {} }])
      yield* acme.append(`Account-${n}`, [{ type: "Opened", payload: { n }, tags: ["t"], metadata: { by: "me" } }])
    }
    const options = {
      store: ({ place }: Tenants.TenantEntry) =>
        Layer.merge(
          Layer.succeed(EventStore.EventStore, place === "shared" ? acme : own),
          Layer.succeed(Checkpoints.Checkpoints, place === "shared" ? before : after)
        )
    }
    yield* Tenants.add("acme", "shared")
    return { acme, own, before, after, options }
  })

  it.effect("keeps the order, and sets each checkpoint behind the event that it stood behind", () =>
    Effect.gen(function* () {
      const { acme, after, before, options, own } = yield* filled
      for (const [name, position] of Object.entries({ none: 0, early: 1, one: 2, between: 3, two: 4, all: 6 })) {
        yield* before.reset(name, position)
      }
      const { copied, events } = yield* Tenants.move("acme", "own", options)
      expect([copied, events]).toEqual([1, 4])
      const [old, moved] = [yield* Stream.runCollect(acme.readAll()), yield* Stream.runCollect(own.readAll())]
      expect(moved.map(({ position }) => position)).toEqual([1, 2, 3, 4])
      expect(moved.map((event) => ({ ...event, position: 0 }))).toEqual(old.map((event) => ({ ...event, position: 0 })))
      expect((yield* after.list).map(({ name, position }) => [name, position])).toEqual([
        ["all", 3],
        ["between", 1],
        ["early", 0],
        ["none", 0],
        ["one", 1],
        ["two", 2]
      ])
    }).pipe(Effect.provide(Tenants.layerRegistryMemory))
  )

  it.effect("is refused where the new place holds something else, and the tenant stays and goes on", () =>
    Effect.gen(function* () {
      const { options, own } = yield* filled
      yield* own.append("Account-9", [{ type: "Opened", payload: {} }])
      const error = yield* Effect.flip(Tenants.move("acme", "own", options))
      expect(error).toMatchObject({ _tag: "CopyError", problem: expect.stringContaining("are not the first 1 of the source") })
      expect((yield* Tenants.list)[0]).toEqual({ id: "acme", place: "shared", state: "active", epoch: 1 })
      yield* EventStore.append("Account-1", [{ type: "Opened", payload: {} }]).pipe(
        Tenants.provide("acme"),
        Effect.provide(Tenants.layerMap(options))
      )
    }).pipe(Effect.provide(Tenants.layerRegistryMemory))
  )
})
