/** What it costs that personal data are sealed: the same work with the same event, whose two fields are personal, or are not. */
import { Effect, Layer, Option, Redacted, Result, Schema, Stream } from "effect"
import { Event, EventStore, Keys, Personal, Projection } from "eventfold"
import { PgCheckpoints } from "eventfold/postgres"
import { type Case, collectGarbage, concurrently, type Run } from "./harness.ts"
import type { Lab, Services } from "./lab.ts"

const Plain = Event.make("Registered", {
  customer: Schema.String,
  email: Schema.String,
  name: Schema.String,
  plan: Schema.Literals(["free", "paid"])
})
const Sealed = Event.make("Registered", {
  customer: Schema.String,
  email: Personal.field(Schema.String, { subject: "customer" }),
  name: Personal.field(Schema.String, { subject: "customer", whenForgotten: "" }),
  plan: Schema.Literals(["free", "paid"])
})

const customers = 1000

const customerOf = (nth: number) => `customer-${nth % customers}`

const fieldsOf = (customer: string) => {
  return { customer, email: `${customer}.lovelace@example.com`, name: "Ada Augusta King Lovelace", plan: "free" as const }
}

type How = "plain" | "sealed" | "left sealed"

const encode = (how: How, customer: string) =>
  how === "plain" ? Event.encode(Plain, Plain.make(fieldsOf(customer))) : Event.encode(Sealed, Sealed.make(fieldsOf(customer)))

const storeOf = (how: How, lab: Lab): Layer.Layer<Services, unknown> =>
  how === "plain"
    ? lab.store
    : Personal.layer.pipe(
        Layer.provideMerge(lab.store),
        Layer.provide(Keys.layerSql({ masters: { current: "a", keys: { a: masterKey } } }).pipe(Layer.provide(lab.store))),
        Layer.provide(Personal.layerCrypto)
      )

const masterKey = Redacted.make(btoa("m".repeat(32)))

const seed = (how: How, events: number) =>
  Effect.forEach(
    Array.from({ length: events / customers }, (_, page) => page * customers),
    (from) =>
      EventStore.appendAll(
        Array.from({ length: customers }, (_, nth) => ({
          stream: `Customer-${nth}`,
          events: [Result.getOrThrow(encode(how, customerOf(from + nth)))]
        }))
      ),
    { discard: true }
  )

/**
 * Each caller appends what somebody registers. Before it is measured there is a first event of each customer, so that keys are there, and at
 * hand, as they are in a process that runs; unless each event is of a customer of its own, whose key is made then.
 */
const appending =
  (how: How, callers: number, times: number, whose: "known" | "new" = "known"): Run =>
  (lab) =>
    Effect.gen(function* () {
      const append = (phase: string) => (caller: number, nth: number) =>
        Effect.flatMap(
          Effect.fromResult(encode(how, whose === "new" ? `${phase}-${caller}-${nth}` : customerOf(caller * 31 + nth))),
          (event) => EventStore.append(`Customer-${phase}-${caller}`, [event])
        )
      const warm = Math.ceil(times / 5)
      yield* seed(how, customers)
      yield* concurrently(callers, warm, append("warm"))
      yield* collectGarbage
      const measured = yield* concurrently(callers, times, append("run"))
      return { ...measured, units: callers * times, events: customers + callers * (times + warm) }
    }).pipe(Effect.provide(storeOf(how, lab)))

const blind = Personal.blind(Sealed)

const scanning =
  (how: How, events: number): Run =>
  (lab) =>
    Effect.gen(function* () {
      yield* seed(how, events)
      const definition: Event.Any = how === "plain" ? Plain : how === "sealed" ? Sealed : blind
      const scan = EventStore.readAll().pipe(
        Stream.runForEachArray((events) =>
          Effect.sync(() => {
            for (const recorded of events) Result.getOrThrow(Event.decode(definition, recorded))
          })
        ),
        how === "left sealed" ? Effect.provide(Personal.layerSealed) : (scan) => scan
      )
      yield* scan
      yield* collectGarbage
      const measured = yield* concurrently(1, 5, () => scan)
      return { ...measured, units: 5 * events, events }
    }).pipe(Effect.provide(storeOf(how, lab)))

/** A view that catches up, by `get` and `upsert` in a handler of each event. */
const projecting =
  (how: How, events: number): Run =>
  (lab) => {
    const Row = Projection.table(`${lab.address.schema}.customer`, {
      key: "customer",
      fields: { customer: Schema.String, email: Schema.String, seen: Schema.Int }
    })
    const handle = ({ customer, email }: { readonly customer: string; readonly email: string | Personal.Forgotten }) =>
      Effect.flatMap(Row.get(customer), (row) =>
        Row.upsert({
          customer,
          email: Personal.getOrElse(email, () => ""),
          seen: Option.match(row, { onNone: () => 0, onSome: ({ seen }) => seen }) + 1
        })
      )
    const define = (version: number) =>
      how === "plain"
        ? Projection.make("Customers", { version, tables: [Row], events: [Plain], handlers: { Registered: handle } })
        : Projection.make("Customers", { version, tables: [Row], events: [Sealed], handlers: { Registered: handle } })
    const build = (version: number) =>
      Effect.gen(function* () {
        yield* Layer.build(Projection.layer(define(version)))
        yield* Projection.awaitPosition(define(version), events, { timeout: "5 minutes" })
      }).pipe(Effect.scoped)
    return Effect.gen(function* () {
      yield* seed(how, events)
      yield* build(1)
      yield* collectGarbage
      const measured = yield* concurrently(1, 1, () => build(2))
      return { ...measured, units: events, events }
    }).pipe(Effect.provide(PgCheckpoints.layerWith({ schema: lab.address.schema }).pipe(Layer.provideMerge(storeOf(how, lab)))))
  }

/** The cases, in groups: what is sealed beside what is plain. */
export const personalCases = (some: (count: number) => number): ReadonlyArray<Case> => {
  const group = (name: string, unit: "appends" | "events", runs: Partial<Record<How, Run>>): ReadonlyArray<Case> =>
    Object.entries(runs).map(([how, ours]) => ({
      name: `personal data: ${name}, ${how}`,
      place: "postgres" as const,
      unit,
      ours,
      group: `personal data: ${name}`,
      ...(how === "plain" ? {} : { base: `personal data: ${name}, plain` })
    }))
  const events = Math.max(1, Math.round(some(20))) * customers
  return [
    ...group("append, 256 callers", "appends", {
      plain: appending("plain", 256, some(100)),
      sealed: appending("sealed", 256, some(100))
    }),
    ...group("append, 1 caller", "appends", {
      plain: appending("plain", 1, some(2000)),
      sealed: appending("sealed", 1, some(2000))
    }),
    ...group("append of new customers, 256 callers", "appends", {
      plain: appending("plain", 256, some(20), "new"),
      sealed: appending("sealed", 256, some(20), "new")
    }),
    ...group("projection, a handler an event", "events", {
      plain: projecting("plain", events),
      sealed: projecting("sealed", events)
    }),
    ...group("scan", "events", {
      plain: scanning("plain", events),
      sealed: scanning("sealed", events),
      "left sealed": scanning("left sealed", events)
    })
  ]
}
