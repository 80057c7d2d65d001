import { describe, expect, it } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Fiber, Layer, Option, Ref, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Aggregate, Checkpoints, Decision, Event, EventStore, Repository, Tenants, UnitOfWork } from "eventfold"
import { SqliteClient, SqliteEventStore } from "eventfold/sqlite"

const opened = { type: "AccountOpened", payload: {} }

const memory = Tenants.layerMap({ store: () => EventStore.layerMemory })

const brokenDisk = new EventStore.EventStoreError({
  reason: new EventStore.StoreFailure({ operation: "open", detail: "its disk is gone" })
})
const allButOne = Tenants.layerMap({
  store: ({ id }) => (id === "t500" ? Layer.effect(EventStore.EventStore, Effect.fail(brokenDisk)) : EventStore.layerMemory)
})

const twoTenants = Effect.andThen(Tenants.add("acme", "one"), Tenants.add("globex", "two"))

const Deposited = Event.make("Deposited", { amount: Schema.Int })
const Account = Aggregate.make("Account", {
  events: [Deposited],
  initial: 0,
  evolve: { Deposited: (balance, { amount }) => balance + amount }
})

/** A key of a program's own: what stands beside the store is one constant Layer. */
class Shop extends Context.Service<
  Shop,
  Tenants.Stores<EventStore.EventStore | UnitOfWork.UnitOfWork | Checkpoints.Checkpoints, never>
>()("test/Shop") {}
const shop = Tenants.layerMapOf(Shop, {
  store: () => EventStore.layerMemory,
  beside: Layer.merge(UnitOfWork.layer, Checkpoints.layerMemory)
})

/** What a caller has of its own. */
const Locale = Context.Reference<string>("test/Locale", { defaultValue: () => "none" })

describe("Tenants.layerMap", () => {
  it.effect("gives two tenants two stores, though the Layer of a store be a constant", () =>
    Effect.gen(function* () {
      yield* twoTenants
      yield* EventStore.append("Account-1", [opened]).pipe(Tenants.provide("acme"))
      yield* EventStore.append("Account-1", [opened, opened]).pipe(Tenants.provide("globex"))
      expect(yield* EventStore.head.pipe(Tenants.provide("acme"))).toBe(1)
      expect(yield* EventStore.head.pipe(Tenants.provide("globex"))).toBe(2)
    }).pipe(Effect.provide(memory), Effect.provide(Tenants.layerRegistryMemory))
  )

  it.effect("builds a store with what it was made with, and not with what one of those who ask has instead", () => {
    class Disk extends Context.Service<Disk, string>()("test/Disk") {}
    const seen: Array<string> = []
    const stores = Tenants.layerMap({
      store: ({ id }) =>
        Layer.unwrap(
          Effect.map(Disk, (disk) => {
            seen.push(`${id} on ${disk}`)
            return EventStore.layerMemory
          })
        )
    })
    return Effect.gen(function* () {
      yield* twoTenants
      const head = (id: string) => EventStore.head.pipe(Tenants.provide(id))
      // Who copies from one tenant to another is within the first, with all that this one has.
      yield* Tenants.provide("acme")(head("globex")).pipe(Effect.provideService(Disk, "the caller's"))
      yield* head("acme")
      expect(seen).toEqual(["acme on all's", "globex on all's"])
    }).pipe(Effect.provide(stores), Effect.provideService(Disk, "all's"), Effect.provide(Tenants.layerRegistryMemory))
  })

  it.effect("builds what stands beside a store for each tenant, though it be a constant", () =>
    Effect.gen(function* () {
      yield* twoTenants
      const deposit = (amount: number) => UnitOfWork.transact(Repository.append(Account, "ada", [Deposited.make({ amount })]))
      const balance = UnitOfWork.transact(Effect.map(Repository.load(Account, "ada"), ({ state }) => state))
      yield* deposit(5).pipe(Tenants.provideFrom(Shop, "acme"))
      yield* deposit(7).pipe(Tenants.provideFrom(Shop, "globex"))
      const [acme, globex] = [
        yield* balance.pipe(Tenants.provideFrom(Shop, "acme")),
        yield* balance.pipe(Tenants.provideFrom(Shop, "globex"))
      ]
      expect([acme, globex]).toEqual([5, 7])
      const claim = Checkpoints.Checkpoints.use((checkpoints) => checkpoints.claim("mailer", { owner: "me", ttl: "1 minute" }))
      yield* claim.pipe(Tenants.provideFrom(Shop, "acme"))
      const known = yield* Checkpoints.Checkpoints.use((checkpoints) => checkpoints.list).pipe(
        Tenants.provideFrom(Shop, "globex")
      )
      expect(known).toEqual([])
    }).pipe(Effect.provide(shop), Effect.provide(Tenants.layerRegistryMemory))
  )

  it.effect(
    "lets no unit of work of one tenant decide on what another has: it would be written here, and checked by what stands here",
    () =>
      Effect.gen(function* () {
        yield* twoTenants
        const on = (id: string) => Tenants.provideFrom(Shop, id)
        const deposit = Repository.execute(Account, "ada", () => Deposited.make({ amount: 1 }))
        const total = Decision.make("Total", {
          tags: {},
          events: [Deposited],
          initial: 0,
          evolve: { Deposited: (total, { amount }) => total + amount }
        })
        const decide = Decision.execute(total(), "Total", () => Deposited.make({ amount: 1 }))
        const mixing = <A, E, R>(inner: Effect.Effect<A, E, R>) =>
          UnitOfWork.transact(Effect.andThen(deposit, Tenants.provideFrom(Shop, "globex")(inner))).pipe(
            Tenants.provideFrom(Shop, "acme"),
            Effect.sandbox,
            Effect.flip,
            Effect.map((cause) => String(Cause.squash(cause)))
          )
        const faults = [
          yield* mixing(deposit),
          yield* mixing(decide),
          yield* mixing(UnitOfWork.transact(deposit)),
          yield* mixing(Decision.load(total()))
        ]
        for (const fault of faults) {
          expect(fault).toMatch(/writes to that of the tenant "acme", .* asks for that of the tenant "globex"/)
        }
        for (const id of ["acme", "globex"]) expect(yield* on(id)(EventStore.head)).toBe(0)
        // One after the other each has its own.
        yield* on("acme")(UnitOfWork.transact(deposit))
        yield* on("globex")(UnitOfWork.transact(deposit))
        for (const id of ["acme", "globex"]) expect(yield* on(id)(EventStore.head)).toBe(1)
      }).pipe(Effect.provide(shop), Effect.provide(Tenants.layerRegistryMemory))
  )

  it.effect("says who is asked for: the id of the tenant is there where its store is", () =>
    Effect.gen(function* () {
      yield* twoTenants
      const id = Effect.map(Tenants.Tenant, ({ id }) => id)
      expect(yield* id.pipe(Tenants.provide("acme"))).toBe("acme")
      // One within the other: the inner one holds.
      expect(yield* id.pipe(Tenants.provide("globex"), Tenants.provide("acme"))).toBe("globex")
    }).pipe(Effect.provide(memory), Effect.provide(Tenants.layerRegistryMemory))
  )

  it.effect("leaves what its caller has provided, whoever called before, and names the tenant though two have one context", () =>
    Effect.gen(function* () {
      const services = Context.make(EventStore.EventStore, yield* EventStore.makeMemory)
      const both = { of: () => Effect.succeed(services), invalidate: () => Effect.void }
      const seen = Effect.gen(function* () {
        return [(yield* Tenants.Tenant).id, yield* Locale]
      })
      const asked = (tenant: string, locale: string) =>
        seen.pipe(
          Tenants.provide(tenant),
          Effect.provideService(Locale, locale),
          Effect.provideService(Tenants.TenantStores, both)
        )
      for (const [tenant, locale] of ["acme", "globex", "acme"].flatMap((tenant) =>
        ["en", "de", "en", "en"].map((locale) => [tenant, locale] as const)
      )) {
        expect(yield* asked(tenant, locale)).toEqual([tenant, locale])
      }
      // Within one context, too, which is the case that is made short.
      const twice = Effect.all([seen.pipe(Tenants.provide("acme")), seen.pipe(Tenants.provide("globex"))])
      expect(yield* twice.pipe(Effect.provideService(Tenants.TenantStores, both), Effect.provideService(Locale, "fr"))).toEqual([
        ["acme", "fr"],
        ["globex", "fr"]
      ])
    })
  )

  it.effect("refuses whoever is unknown, suspended or no name at all", () =>
    Effect.gen(function* () {
      yield* twoTenants
      yield* Tenants.suspend("globex")
      const failure = (id: string) => Effect.flip(EventStore.head.pipe(Tenants.provide(id)))
      for (const id of ["nobody", "", "acme ", "ACME", "acme/globex", "\u0000", "__proto__", "x".repeat(10_000)]) {
        expect(yield* failure(id)).toEqual(new Tenants.TenantError({ tenant: id, reason: "unknown" }))
      }
      const suspended = yield* failure("globex")
      expect(suspended).toEqual(new Tenants.TenantError({ tenant: "globex", reason: "suspended" }))
      expect(suspended.message).toContain("Tenants.resume")
      yield* Tenants.resume("globex")
      yield* TestClock.adjust("1 second")
      expect(yield* EventStore.head.pipe(Tenants.provide("globex"))).toBe(0)
    }).pipe(Effect.provide(memory), Effect.provide(Tenants.layerRegistryMemory))
  )

  it.effect("hears of a suspension within its freshness, and at once where it is told", () =>
    Effect.gen(function* () {
      yield* twoTenants
      const head = (id: string) => Effect.exit(EventStore.head.pipe(Tenants.provide(id)))
      yield* head("acme")
      yield* head("globex")
      yield* Tenants.suspend("acme")
      yield* Tenants.suspend("globex")
      yield* TestClock.adjust("999 millis")
      expect((yield* head("acme"))._tag).toBe("Success")
      yield* Tenants.TenantStores.use(({ invalidate }) => invalidate("globex"))
      expect((yield* head("globex"))._tag).toBe("Failure")
      yield* TestClock.adjust("1 millis")
      expect((yield* head("acme"))._tag).toBe("Failure")
    }).pipe(Effect.provide(memory), Effect.provide(Tenants.layerRegistryMemory))
  )

  it.effect("registers no name that could not be one, and no tenant in two places", () =>
    Effect.gen(function* () {
      yield* twoTenants
      for (const id of ["", "-a", "a/b", "a b", "ä", "x".repeat(64)]) {
        expect((yield* Effect.flip(Tenants.add(id, "one")))._tag).toBe("TenantRegistryError")
      }
      expect((yield* Tenants.add("acme", "one")).epoch).toBe(1)
      expect((yield* Effect.flip(Tenants.add("acme", "elsewhere"))).message).toContain("Tenants.move")
      expect((yield* Effect.flip(Tenants.suspend("nobody"))).message).toContain("no tenant")
      expect((yield* Tenants.list).map(({ id }) => id)).toEqual(["acme", "globex"])
    }).pipe(Effect.provide(Tenants.layerRegistryMemory))
  )

  it.effect("closes what nobody holds, and keeps open what somebody does", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const counted = Tenants.layerMap({
        store: ({ id }) =>
          Layer.effect(
            EventStore.EventStore,
            Effect.andThen(
              Effect.acquireRelease(
                Effect.sync(() => log.push(`+${id}`)),
                () => Effect.sync(() => log.push(`-${id}`))
              ),
              EventStore.makeMemory
            )
          ),
        idleTimeToLive: "1 minute"
      })
      yield* Effect.gen(function* () {
        yield* twoTenants
        yield* EventStore.head.pipe(Tenants.provide("acme"))
        const done = yield* Deferred.make<void>()
        const holder = yield* Effect.forkChild(
          Deferred.await(done).pipe(Effect.andThen(EventStore.head), Tenants.provide("globex"))
        )
        yield* TestClock.adjust("1 minute")
        expect(log).toEqual(["+acme", "+globex", "-acme"])
        yield* Deferred.succeed(done, undefined)
        yield* Fiber.join(holder)
        yield* TestClock.adjust("1 minute")
        expect(log).toEqual(["+acme", "+globex", "-acme", "-globex"])
      }).pipe(Effect.provide(counted))
      expect(log).toHaveLength(4)
    }).pipe(Effect.provide(Tenants.layerRegistryMemory))
  )

  it.effect("tries anew where a store could not be opened", () =>
    Effect.gen(function* () {
      const failing = yield* Ref.make(true)
      const reason = new EventStore.StoreUnavailable({ operation: "open", detail: "asleep" })
      const sometimes = Tenants.layerMap({
        store: () =>
          Layer.effect(
            EventStore.EventStore,
            Effect.flatMap(Ref.get(failing), (fails) =>
              fails ? Effect.fail(new EventStore.EventStoreError({ reason })) : EventStore.makeMemory
            )
          )
      })
      yield* Effect.gen(function* () {
        yield* twoTenants
        expect((yield* Effect.flip(EventStore.head.pipe(Tenants.provide("acme")))).message).toContain("asleep")
        yield* Ref.set(failing, false)
        expect(yield* EventStore.head.pipe(Tenants.provide("acme"))).toBe(0)
      }).pipe(Effect.provide(sometimes))
    }).pipe(Effect.provide(Tenants.layerRegistryMemory))
  )

  it.effect("opens a thousand tenants in one process, and neighbours go on where one cannot be opened", () =>
    Effect.gen(function* () {
      const ids = Array.from({ length: 1000 }, (_, index) => `t${index}`)
      yield* Effect.forEach(ids, (id) => Tenants.add(id, id), { discard: true })
      const heads = yield* Effect.forEach(
        ids,
        (id, index) =>
          Effect.andThen(
            EventStore.append(
              "Account-1",
              Array.from({ length: (index % 3) + 1 }, () => opened)
            ),
            EventStore.head
          ).pipe(Tenants.provide(id), Effect.option),
        { concurrency: 50 }
      )
      expect(heads.map(Option.getOrUndefined)).toEqual(ids.map((id, index) => (id === "t500" ? undefined : (index % 3) + 1)))
    }).pipe(Effect.provide(allButOne), Effect.provide(Tenants.layerRegistryMemory))
  )

  it.effect("refuses an event that says it is another tenant's, wherever it stands in the append", () =>
    Effect.gen(function* () {
      yield* twoTenants
      yield* Effect.gen(function* () {
        const other = { ...opened, metadata: { tenant: "globex" } }
        expect(yield* Effect.flip(EventStore.append("Account-1", [opened, other]))).toEqual(
          new EventStore.InvalidAppendError({
            stream: "Account-1",
            field: "events[1].metadata.tenant",
            problem: 'says "globex", and this is the store of the tenant "acme"'
          })
        )
        const both = [
          { stream: "A-1", events: [opened] },
          { stream: "A-2", events: [other] }
        ]
        expect((yield* Effect.flip(EventStore.appendAll(both)))._tag).toBe("InvalidAppendError")
        expect(yield* EventStore.head).toBe(0)
        yield* EventStore.append("Account-1", [{ ...opened, metadata: { tenant: "acme" } }])
        expect(yield* EventStore.head).toBe(1)
      }).pipe(Tenants.provide("acme"))
    }).pipe(Effect.provide(memory), Effect.provide(Tenants.layerRegistryMemory))
  )

  it.effect("gives a Layer the store of the tenant that is provided", () =>
    Effect.gen(function* () {
      yield* twoTenants
      yield* EventStore.append("Account-1", [opened]).pipe(
        Effect.provide(Tenants.layerOfTenant),
        Effect.provideService(Tenants.Tenant, { id: "acme" })
      )
      expect(yield* EventStore.head.pipe(Tenants.provide("acme"))).toBe(1)
    }).pipe(Effect.provide(memory), Effect.provide(Tenants.layerRegistryMemory))
  )
})

describe("the registry in a table", () => {
  const Registry = Tenants.layerRegistrySql.pipe(Layer.provideMerge(SqliteClient.layer({ filename: ":memory:" })))

  it.effect("knows what was registered, and changes it by comparing first", () =>
    Effect.gen(function* () {
      yield* twoTenants
      yield* Tenants.suspend("acme")
      expect(yield* Tenants.list).toEqual([
        { id: "acme", place: "one", state: "suspended", epoch: 1 },
        { id: "globex", place: "two", state: "active", epoch: 1 }
      ])
      const registry = yield* Tenants.TenantRegistry
      const stale: Tenants.TenantEntry = { id: "acme", place: "one", state: "active", epoch: 1 }
      expect(yield* registry.replace({ ...stale, epoch: 2 }, stale)).toBe(false)
      expect(yield* registry.replace(stale, undefined)).toBe(false)
      expect(yield* registry.get("nobody")).toEqual(Option.none())
    }).pipe(Effect.provide(Registry))
  )

  it.effect("serves stores on SQLite, one database each", () =>
    Effect.gen(function* () {
      yield* twoTenants
      yield* EventStore.append("Account-1", [opened]).pipe(Tenants.provide("acme"))
      expect(yield* EventStore.head.pipe(Tenants.provide("globex"))).toBe(0)
    }).pipe(
      Effect.provide(Tenants.layerMap({ store: () => SqliteEventStore.layerFile({ filename: ":memory:" }) })),
      Effect.provide(Registry)
    )
  )
})
