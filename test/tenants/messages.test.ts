import { describe, expect, it } from "@effect/vitest"
import { Context, DateTime, Deferred, Effect, Layer, Option, Queue, Schema, Stream } from "effect"
import { Checkpoints, Consumer, DeadLetters, Event, EventStore, Inbox, Relay, Tenants, Transport } from "eventfold"
import { logs } from "../support/logs.ts"
import { eventually } from "../support/words.ts"

class Shop extends Context.Service<Shop, Tenants.Stores<EventStore.EventStore | Checkpoints.Checkpoints, never>>()("test/Shop") {}
class Office extends Context.Service<Office, Tenants.Stores<EventStore.EventStore, never>>()("test/Office") {}

const Placed = Event.make("Placed", { total: Schema.Int }, { published: true })

const Registry = Tenants.layerRegistryMemory
const world = Layer.mergeAll(
  Tenants.layerMapOf(Shop, { store: () => EventStore.layerMemory, beside: Checkpoints.layerMemory }),
  Tenants.layerMapOf(Office, { store: () => EventStore.layerMemory })
).pipe(
  Layer.provideMerge(Registry),
  Layer.provideMerge(Layer.mergeAll(Transport.layerMemory, DeadLetters.layerMemory, Inbox.layerMemory))
)

const place = (tenant: string, total: number) =>
  EventStore.append("Order-1", [{ id: "the-id", type: "Placed", payload: { total }, published: true }]).pipe(
    Tenants.provideFrom(Shop, tenant)
  )

const message = (n: number): Transport.Message => ({
  specversion: "1.0",
  id: `m${n}`,
  source: "/shop",
  type: "Placed",
  subject: `Order-${n}`,
  time: DateTime.makeUnsafe("2030-01-01T00:00:00Z"),
  datacontenttype: "application/json",
  data: { total: n },
  schemaversion: 1,
  position: n
})

describe("messages of tenants", () => {
  it.live("say whose they are, by the word of the store, and are handled as that tenant, however many at once", () =>
    Effect.gen(function* () {
      for (const id of ["acme", "globex"]) yield* Tenants.add(id, "memory")
      yield* place("acme", 1)
      yield* place("globex", 2)
      yield* Effect.forkScoped(Tenants.follow(Shop, Relay.layer({ name: "shop" }), { interval: "5 millis" }))
      // Both are in hand at once: what one has open the other could get.
      const begun = yield* Queue.unbounded<string>()
      const go = yield* Deferred.make<void>()
      const Mails = Consumer.layer(
        [Placed],
        {
          Placed: ({ total }) =>
            Effect.gen(function* () {
              yield* Queue.offer(begun, (yield* Tenants.Tenant).id)
              yield* Deferred.await(go)
              yield* EventStore.append("Mail-1", [{ type: "Sent", payload: { total } }])
            }).pipe(Effect.provide(Tenants.layerOfTenantFrom(Office)))
        },
        { group: "mails", tenant: true, inbox: true, concurrency: 2 }
      )
      // Built by a tenant itself, which the messages are not.
      yield* Layer.build(Mails.pipe(Layer.provide(Layer.succeed(Tenants.Tenant, { id: "initech" }))))
      expect([yield* Queue.take(begun), yield* Queue.take(begun)].toSorted()).toEqual(["acme", "globex"])
      yield* Deferred.succeed(go, undefined)
      const sent = (tenant: string) =>
        Effect.map(
          Stream.runCollect(EventStore.read("Mail-1").pipe(Stream.map(({ payload }) => payload))).pipe(
            Tenants.provideFrom(Office, tenant)
          ),
          (all) => Array.from(all)
        )
      for (const [tenant, total] of [
        ["acme", 1],
        ["globex", 2]
      ] as const) {
        yield* eventually(
          `the mail of ${tenant}`,
          Effect.map(sent(tenant), ({ length }) => length > 0)
        )
        expect(yield* sent(tenant)).toEqual([{ total }])
      }
      const published = (yield* Transport.published).map(({ id, source, tenant }) => `${source} ${id} ${tenant}`)
      expect(published.toSorted()).toEqual(["/shop/tenants/acme the-id acme", "/shop/tenants/globex the-id globex"])
    }).pipe(Effect.provide(world), Effect.scoped)
  )

  it.live("without a tenant are dead letters at once, with a typed reason, and those behind them go on", () =>
    Effect.gen(function* () {
      logs(/is a dead letter of the group "mails"/)
      const handled = yield* Queue.unbounded<string>()
      const Mails = Consumer.layer(
        [Placed],
        { Placed: ({ total }) => Effect.flatMap(Tenants.Tenant, ({ id }) => Queue.offer(handled, `${id} ${total}`)) },
        { group: "mails", tenant: true }
      )
      yield* Layer.build(Mails.pipe(Layer.provide(Layer.succeed(Tenants.Tenant, { id: "default" }))))
      const forged = { ...message(2), extensions: { tenantid: "acme" } }
      yield* Transport.publish([message(1), forged, { ...message(3), tenant: "acme" }])
      expect(yield* Queue.take(handled)).toBe("acme 3")
      const letters = yield* DeadLetters.DeadLetters.use(({ list }) => list("mails"))
      expect(letters.map(({ attempts, message }) => [message.id, attempts])).toEqual([
        ["m1", 1],
        ["m2", 1]
      ])
      expect(letters[0]?.cause).toContain('NoTenantError: The message "m1" of "/shop" says no tenant')
      expect(yield* Queue.size(handled)).toBe(0)
      // Nor is it tried as anybody's.
      const again = yield* Effect.flip(Consumer.retry("mails", "m1"))
      expect(again).toMatchObject({ _tag: "MessageRetryError", cause: { _tag: "NoTenantError", id: "m1", group: "mails" } })
    }).pipe(Effect.provide(Layer.merge(Transport.layerMemory, DeadLetters.layerMemory)), Effect.scoped)
  )
})

const ofTenants = ["acme", "globex", undefined].map((tenant) => ({ ...message(1), ...(tenant === undefined ? {} : { tenant }) }))

describe("one id of two tenants", () => {
  it.effect("is two messages to the inbox", () =>
    Effect.gen(function* () {
      const once = (message: Transport.Message) => Inbox.once("g", message, Effect.succeed(message.tenant))
      const first = yield* Effect.forEach(ofTenants, once)
      expect(first).toEqual([Option.some("acme"), Option.some("globex"), Option.some(undefined)])
      expect(yield* Effect.forEach(ofTenants, once)).toEqual([Option.none(), Option.none(), Option.none()])
    }).pipe(Effect.provide(Inbox.layerMemory))
  )
})
