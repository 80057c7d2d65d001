import { describe, expect, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Ref, Schedule, Stream } from "effect"
import { Checkpoints, EventStore, Tenants } from "eventfold"
import { eventually } from "../support/words.ts"

type Store = EventStore.EventStore["Service"]

/** Places that outlive whoever opens them, as databases do. */
const placesOf = (...names: ReadonlyArray<string>) =>
  Effect.map(
    Effect.forEach(names, (name) =>
      Effect.all({ name: Effect.succeed(name), store: EventStore.makeMemory, checkpoints: Checkpoints.makeMemory })
    ),
    (all) => {
      const at = (place: string) => {
        const found = all.find(({ name }) => name === place)
        if (found === undefined) throw new Error(`there is no place ${place}`)
        return found
      }
      const options = {
        store: ({ place }: Tenants.TenantEntry) =>
          Layer.merge(
            Layer.succeed(EventStore.EventStore, at(place).store),
            Layer.succeed(Checkpoints.Checkpoints, at(place).checkpoints)
          )
      }
      return { at, options }
    }
  )

const idsOf = (store: Store) => Effect.map(Stream.runCollect(store.readAll()), (all) => all.map(({ id }) => id))

/** Each build is another process. */
const process = (options: { readonly store: (tenant: Tenants.TenantEntry) => Layer.Layer<EventStore.EventStore> }) =>
  Layer.fresh(Tenants.layerMap({ ...options, freshness: 0 }))

describe("Tenants.move", () => {
  it.live("under load: what was acknowledged is at the new place, once, and nothing is written to the old one any more", () =>
    Effect.gen(function* () {
      const { at, options } = yield* placesOf("one", "two")
      yield* Tenants.add("acme", "one")
      const done = yield* Deferred.make<void>()
      const acknowledged: Array<string> = []
      const started = yield* Deferred.make<void>()
      const writer = (name: string) =>
        Effect.gen(function* () {
          for (let n = 0; !(yield* Deferred.isDone(done)); n++) {
            const id = `${name}-${n}`
            // It gets the store anew for each try, as a server does for each request.
            yield* EventStore.append(`Account-${name}`, [{ id, type: "Deposited", payload: { n } }]).pipe(
              Tenants.provide("acme"),
              Effect.retry(Schedule.spaced("1 millis"))
            )
            acknowledged.push(id)
            if (n === 20) yield* Deferred.succeed(started, undefined)
            if (n % 5 === 0) yield* Effect.sleep("1 millis")
          }
        }).pipe(Effect.provide(process(options)))
      const writers = yield* Effect.forEach(["a", "b", "c", "d"], (name) => Effect.forkChild(writer(name)))
      yield* Deferred.await(started)
      const copied = yield* Tenants.move("acme", "two", options)
      const sealed = yield* at("one").store.head
      expect(copied.events).toBe(sealed)
      const moved = acknowledged.length
      yield* eventually(
        "the writers go on",
        Effect.sync(() => acknowledged.length > moved + 40)
      )
      yield* Deferred.succeed(done, undefined)
      yield* Fiber.joinAll(writers)
      expect(yield* at("one").store.head).toBe(sealed)
      const ids = yield* idsOf(at("two").store)
      expect(ids.filter((id) => !id.startsWith("$")).toSorted()).toEqual(acknowledged.toSorted())
      expect(yield* Tenants.list).toEqual([{ id: "acme", place: "two", state: "active", epoch: 2 }])
    }).pipe(Effect.provide(Tenants.layerRegistryMemory))
  )

  it.effect("takes along the checkpoints, and whatever `also` says", () =>
    Effect.gen(function* () {
      const { at, options } = yield* placesOf("one", "two")
      yield* Tenants.add("acme", "one")
      yield* at("one").store.append("Account-1", [
        { type: "Opened", payload: {} },
        { type: "Closed", payload: {} }
      ])
      yield* at("one").checkpoints.reset("mailer", 1)
      const taken = yield* Ref.make<ReadonlyArray<number>>([])
      const headIn = EventStore.head
      yield* Tenants.move("acme", "two", {
        ...options,
        also: (from, to) =>
          Effect.flatMap(Effect.all([Effect.provideContext(headIn, from), Effect.provideContext(headIn, to)]), (heads) =>
            Ref.set(taken, heads)
          )
      })
      expect((yield* at("two").checkpoints.list).map(({ name, position }) => [name, position])).toEqual([["mailer", 1]])
      expect(yield* Ref.get(taken)).toEqual([3, 3])
    }).pipe(Effect.provide(Tenants.layerRegistryMemory))
  )

  it.effect("there, back, and there again: a place that was left is sealed for those of its epoch alone", () =>
    Effect.gen(function* () {
      const { at, options } = yield* placesOf("one", "two", "three")
      yield* Tenants.add("acme", "one")
      yield* Tenants.move("acme", "two", options)
      yield* Tenants.move("acme", "three", options)
      yield* Tenants.move("acme", "one", options)
      yield* EventStore.append("Account-1", [{ type: "Opened", payload: {} }]).pipe(
        Tenants.provide("acme"),
        Effect.provide(process(options))
      )
      expect(yield* at("one").store.version("Account-1")).toBe(1)
      expect(yield* Tenants.list).toEqual([{ id: "acme", place: "one", state: "active", epoch: 4 }])
    }).pipe(Effect.provide(Tenants.layerRegistryMemory))
  )

  it.effect("whoever holds the store of a place that was left is told to ask again", () =>
    Effect.gen(function* () {
      const { options } = yield* placesOf("one", "two")
      yield* Tenants.add("acme", "one")
      const append = EventStore.append("Account-1", [{ type: "Opened", payload: {} }])
      const error = yield* Effect.andThen(Tenants.move("acme", "two", options), Effect.flip(append)).pipe(
        Tenants.provide("acme"),
        Effect.provide(process(options))
      )
      expect(error).toMatchObject({ _tag: "EventStoreError", reason: { _tag: "StoreUnavailable", operation: "append" } })
      expect(error.message).toContain("ask for its store again")
    }).pipe(Effect.provide(Tenants.layerRegistryMemory))
  )

  it.effect("refuses who is unknown, suspended, erased or there already, and a place that holds another log", () =>
    Effect.gen(function* () {
      const { at, options } = yield* placesOf("one", "two")
      const refusal = (id: string, place = "two") => Effect.flip(Tenants.move(id, place, options))
      expect(yield* refusal("nobody")).toEqual(new Tenants.TenantError({ tenant: "nobody", reason: "unknown" }))
      yield* Tenants.add("acme", "one")
      expect((yield* refusal("acme", "one")).message).toContain("already")
      yield* Tenants.suspend("acme")
      expect(yield* refusal("acme")).toEqual(new Tenants.TenantError({ tenant: "acme", reason: "suspended" }))
      yield* Tenants.resume("acme")
      yield* at("one").store.append("Account-1", [{ type: "Opened", payload: {} }])
      yield* at("two").store.append("Other-1", [{ type: "Opened", payload: {} }])
      expect((yield* refusal("acme"))._tag).toBe("CopyError")
      // Nothing was sealed for it.
      const head = EventStore.append("Account-1", [{ type: "Paid", payload: {} }]).pipe(
        Tenants.provide("acme"),
        Effect.provide(process(options))
      )
      expect((yield* head).version).toBe(2)
    }).pipe(Effect.provide(Tenants.layerRegistryMemory))
  )

  it.live("cut short anywhere, 200 times, it goes on when it is run again", () =>
    Effect.gen(function* () {
      const rounds = Array.from({ length: 200 }, (_, round) => round)
      const cut = new Map<string, number>()
      yield* Effect.forEach(rounds, (round) =>
        Effect.gen(function* () {
          const { at, options } = yield* placesOf("one", "two")
          yield* Tenants.add("acme", "one")
          yield* at("one").store.append(
            "Account-1",
            Array.from({ length: 3 }, () => ({ type: "Deposited", payload: { round } }))
          )
          // The registry and both stores yield, and the round says after how many of those steps it is cut.
          let steps = round % 40
          const step = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
            Effect.suspend(() => (steps-- > 0 ? effect : Effect.interrupt))
          const stepping = (store: Store): Store =>
            EventStore.EventStore.of({
              ...store,
              head: step(store.head),
              appendAll: (...input) =>
                // Half of the rounds are cut behind an append, the others before it.
                round % 2 === 0
                  ? step(store.appendAll(...input))
                  : Effect.tap(store.appendAll(...input), () => step(Effect.void)),
              readAll: (input) => Stream.unwrap(step(Effect.succeed(store.readAll(input))))
            })
          const cutting = {
            store: ({ place }: Tenants.TenantEntry) =>
              Layer.merge(
                Layer.succeed(EventStore.EventStore, stepping(at(place).store)),
                Layer.succeed(Checkpoints.Checkpoints, at(place).checkpoints)
              )
          }
          const exit = yield* Effect.exit(Tenants.move("acme", "two", cutting))
          const before = yield* Tenants.list
          cut.set(before[0]?.state ?? "", (cut.get(before[0]?.state ?? "") ?? 0) + 1)
          if (Exit.isFailure(exit)) {
            expect(Cause.hasInterruptsOnly(exit.cause)).toBe(true)
            yield* Tenants.move("acme", "two", options)
          }
          expect(yield* Tenants.list).toEqual([{ id: "acme", place: "two", state: "active", epoch: 2 }])
          expect(yield* idsOf(at("two").store)).toEqual(yield* idsOf(at("one").store))
          expect(yield* at("two").store.version("Account-1")).toBe(3)
        }).pipe(Effect.provide(Layer.fresh(Tenants.layerRegistryMemory)))
      )
      // It was cut before the sealing, and between it and the end.
      expect(cut.get("active")).toBeGreaterThan(0)
      expect(cut.get("moving")).toBeGreaterThan(0)
    })
  )
})

describe("Tenants.erase", () => {
  it.effect("lets nobody in, fences who is in, and removes: also when it is run again", () =>
    Effect.gen(function* () {
      const { options } = yield* placesOf("one", "two")
      yield* Tenants.add("acme", "one")
      yield* Tenants.add("globex", "two")
      const removed: Array<string> = []
      const append = EventStore.append("Account-1", [{ type: "Opened", payload: {} }])
      const broken = Tenants.erase("acme", { ...options, remove: () => Effect.fail("the disk is busy" as const) })
      const erase = Tenants.erase("acme", { ...options, remove: ({ place }) => Effect.sync(() => void removed.push(place)) })
      const late = yield* Effect.andThen(append, Effect.andThen(Effect.exit(broken), Effect.flip(append))).pipe(
        Tenants.provide("acme"),
        Effect.provide(process(options))
      )
      expect(late._tag).toBe("EventStoreError")
      yield* erase
      yield* erase
      expect(removed).toEqual(["one", "one"])
      const gone = new Tenants.TenantError({ tenant: "acme", reason: "erased" })
      const asked = Effect.flip(append.pipe(Tenants.provide("acme"), Effect.provide(process(options))))
      expect([yield* asked, yield* Effect.flip(Tenants.resume("acme")), yield* Effect.flip(Tenants.add("acme", "one"))]).toEqual([
        gone,
        gone,
        gone
      ])
      expect((yield* append.pipe(Tenants.provide("globex"), Effect.provide(process(options)))).version).toBe(1)
    }).pipe(Effect.provide(Tenants.layerRegistryMemory))
  )
})
