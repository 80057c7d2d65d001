/** What it costs that tenants share tables, apart by row-level security: the same work beside plain tables. */
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Redacted, Result, type Scope, Stream } from "effect"
import { Event, EventStore, Tenants } from "eventfold"
import { PgTenants } from "eventfold/postgres"
import { callersText } from "./contest.ts"
import { type Case, collectGarbage, concurrently, type Run } from "./harness.ts"
import { type Lab, serverConnection } from "./lab.ts"
import { deposited, MoneyDeposited } from "./model.ts"

/** Plain tables, the stores of tenants as they are, or each asked for by `Tenants.layerMap` for each operation. */
type How = "plain" | "shared tables" | "shared tables by layerMap"

const tenants = 100
const tenantOf = (nth: number) => `tenant-${nth % tenants}`

const event = (nth: number) => Result.getOrThrow(Event.encode(MoneyDeposited, deposited(nth)))

let roles = 0

/** A role that may log in, and is gone with the scope, as are its rights. */
const role = (url: string) =>
  Effect.acquireRelease(
    Effect.gen(function* () {
      const { query } = yield* serverConnection(url)
      const name = `bench_app_${process.pid}_${++roles}`
      yield* query(`create role ${name} login password '${name}'`)
      return name
    }).pipe(Effect.scoped),
    (name) =>
      Effect.orDie(
        Effect.scoped(
          Effect.flatMap(serverConnection(url), ({ query }) =>
            Effect.andThen(query(`drop owned by ${name} cascade`), query(`drop role ${name}`))
          )
        )
      )
  )

const client = (url: string) => Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 10 }))

/** Shared tables, made and prepared by their owner, opened by the application's role. */
const shared = ({ address: { schema, url } }: Lab) =>
  Effect.gen(function* () {
    const name = yield* role(url)
    // What only the bare driver uses is of no tenant.
    yield* Effect.scoped(Effect.flatMap(serverConnection(url), ({ query }) => query(`drop table "${schema}".raw_head`)))
    yield* Effect.provide(PgTenants.prepare({ role: name, schema }), client(url))
    const app = Object.assign(new URL(url), { username: name, password: name }).href
    return PgTenants.layerWith({ schema }).pipe(Layer.provide(client(app)))
  })

/** Runs something on the store of the nth of a hundred tenants. */
type On = <A, E>(
  nth: number,
  effect: Effect.Effect<A, E, EventStore.EventStore>
) => Effect.Effect<A, E | EventStore.EventStoreError | Tenants.TenantError | Tenants.TenantRegistryError>

const stores = (how: How, lab: Lab): Effect.Effect<On, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    if (how === "plain") {
      const store = yield* Layer.build(lab.store)
      return (_, effect) => Effect.provideContext(effect, store)
    }
    const tables = yield* shared(lab)
    if (how === "shared tables") {
      const own = yield* Layer.build(tables).pipe(
        Effect.flatMap((context) =>
          Effect.provideContext(
            Effect.forEach(Array.from({ length: tenants }), (_, nth) => PgTenants.make(tenantOf(nth))),
            context
          )
        )
      )
      const contexts = own.map(({ store }) => Context.make(EventStore.EventStore, store))
      return (nth, effect) => Effect.provideContext(effect, contexts[nth % tenants] as Context.Context<EventStore.EventStore>)
    }
    const map = yield* Layer.build(
      Tenants.layerMap({ store: PgTenants.layerOf }).pipe(Layer.provide(tables), Layer.provideMerge(Tenants.layerRegistryMemory))
    )
    yield* Effect.provideContext(
      Effect.forEach(Array.from({ length: tenants }), (_, nth) => Tenants.add(tenantOf(nth), "shared")),
      map
    )
    return (nth, effect) => Effect.provideContext(Tenants.provide(tenantOf(nth))(effect), map)
  })

const appending =
  (how: How, callers: number, times: number): Run =>
  (lab) =>
    Effect.gen(function* () {
      const on = yield* stores(how, lab)
      const append = (phase: string) => (caller: number, nth: number) =>
        on(caller * 31 + nth, EventStore.append(`Account-${phase}-${caller}-${Math.floor(nth / (50 * tenants))}`, [event(nth)]))
      const warm = Math.max(Math.ceil(times / 5), Math.ceil(tenants / callers))
      yield* concurrently(callers, warm, append("warm"))
      yield* collectGarbage
      const measured = yield* concurrently(callers, times, append("run"))
      return { ...measured, units: callers * times, events: callers * (times + warm) }
    })

const perStream = 50

/** Ten thousand events in streams of fifty, read by the stream, or all. */
const reading =
  (how: How, what: "a stream of 50" | "all", times: number): Run =>
  (lab) =>
    Effect.gen(function* () {
      const on = yield* stores(how, lab)
      const count = 10_000
      for (let from = 0; from < count; from += 500) {
        yield* on(
          0,
          EventStore.appendAll(
            Array.from({ length: 500 / perStream }, (_, part) => ({
              stream: `Account-${from / perStream + part}`,
              events: Array.from({ length: perStream }, (_, nth) => event(nth))
            }))
          )
        )
      }
      const streams = count / perStream
      const read = (nth: number) =>
        on(0, Stream.runCount(what === "all" ? EventStore.readAll() : EventStore.read(`Account-${nth % streams}`))).pipe(
          Effect.flatMap((found) =>
            found === (what === "all" ? count : perStream) ? Effect.void : Effect.fail(new Error(`${found} events were read`))
          )
        )
      yield* concurrently(1, Math.ceil(times / 5), (_, nth) => read(nth))
      yield* collectGarbage
      const measured = yield* concurrently(1, times, (_, nth) => read(nth))
      return { ...measured, units: times * (what === "all" ? count : perStream), events: count }
    })

/** The cases, in groups: shared tables beside plain ones. */
export const tenantCases = (some: (count: number) => number): ReadonlyArray<Case> => {
  const group = (name: string, unit: "appends" | "events", run: (how: How) => Run): ReadonlyArray<Case> =>
    (["plain", "shared tables", "shared tables by layerMap"] as const).map((how) => ({
      name: `tenants: ${name}, ${how}`,
      place: "postgres" as const,
      unit,
      ours: run(how),
      group: `tenants: ${name}`,
      ...(how === "plain" ? {} : { base: `tenants: ${name}, plain` })
    }))
  return [
    ...[
      { callers: 256, times: 100 },
      { callers: 1, times: 2000 }
    ].flatMap(({ callers, times }) =>
      group(`append, ${callersText(callers)}`, "appends", (how) => appending(how, callers, some(times)))
    ),
    ...group("read a stream of 50", "events", (how) => reading(how, "a stream of 50", some(500))),
    ...group("read all", "events", (how) => reading(how, "all", some(10)))
  ]
}
