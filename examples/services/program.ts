/** Starts the services, kills one of them on the way, and looks whether both agree in the end. */
import { Deferred, Effect, Option, Stream } from "effect"
import { EventStore, Repository } from "eventfold"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { startBroker } from "../../test/support/brokers.ts"
import { startPostgres } from "../../test/support/postgres-server.ts"
import * as Ordering from "./ordering.ts"
import * as Shipping from "./shipping.ts"
import type { Name } from "./transports.ts"

export interface Outcome {
  readonly orders: number
  /** How many parcels the shipping service has sent, by its own store. */
  readonly parcels: number
  /** Orders that have, by the ordering service's store, exactly one parcel on its way. */
  readonly dispatched: number
  /** How many orders the shipping service had dealt with when it was killed. */
  readonly before: number
}

/** A server of one's own, as long as the scope is open. */
const serverOf = <A extends { readonly dispose: () => Promise<void> }>(start: () => Promise<A>) =>
  Effect.acquireRelease(Effect.promise(start), ({ dispose }) => Effect.promise(dispose))

const scratch = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "eventfold-services-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

/** A service in a process of its own. `failed` is told when it ends by itself. */
const startService = (
  failed: Deferred.Deferred<never, Error>,
  ...args: readonly [service: string, ...rest: ReadonlyArray<string>]
) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, ["--conditions=@eventfold/source", join(import.meta.dirname, "service.ts"), ...args], {
        stdio: ["ignore", "inherit", "inherit"]
      }).once("exit", (code) => {
        if (code !== null) Deferred.doneUnsafe(failed, Effect.fail(new Error(`The ${args[0]} service has ended, with ${code}`)))
      })
    ),
    kill
  )

/** As a crash would end it: without a farewell. */
const kill = (child: ChildProcess) =>
  Effect.callback<void>((resume) => {
    if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
    child.once("exit", () => resume(Effect.void))
    child.kill("SIGKILL")
  })

/** Succeeds when so many events of a type stand in the store. */
const untilThereAre = (count: number, type: string) =>
  EventStore.subscribe({ filter: { types: [type] } }).pipe(Stream.take(count), Stream.runDrain)

export const program = Effect.fnUntraced(function* (options: {
  readonly transport: Name
  readonly orders: number
  readonly say: (line: string) => Effect.Effect<void>
}) {
  const { orders, say, transport } = options
  const postgres = yield* serverOf(startPostgres)
  const broker = transport === "postgres" ? postgres : yield* serverOf(() => startBroker(transport))
  const filename = join(yield* scratch, "shipping.sqlite")
  const failed = yield* Deferred.make<never, Error>()
  const shipping = startService(failed, "shipping", transport, broker.url, filename)

  const first = yield* shipping
  yield* say("The shipping service runs, on SQLite.")
  yield* startService(failed, "ordering", transport, broker.url, postgres.url, String(orders))
  yield* say(`The ordering service runs, on PostgreSQL, and takes ${orders} orders.`)

  return yield* Effect.gen(function* () {
    yield* untilThereAre(Math.floor(orders / 4), "OrderDispatched")
    yield* kill(first)
    const before = yield* Effect.provide(parcelsSent, Shipping.store(filename))
    yield* say(`The shipping service is killed in the midst of it: ${before} parcels have left so far.`)
    yield* shipping
    yield* say("It is started again.")
    yield* untilThereAre(orders, "OrderDispatched")
    const dispatched = yield* Effect.forEach(range(orders), (order) => Repository.read(Ordering.Order, order))
    const parcels = yield* Effect.provide(parcelsSent, Shipping.store(filename))
    return { orders, before, parcels, dispatched: dispatched.filter(({ state }) => state.parcels === 1).length }
  }).pipe(Effect.provide(Ordering.store(postgres.url)), Effect.raceFirst(Deferred.await(failed)))
})

const range = (count: number) => Array.from({ length: count }, (_, n) => String(n + 1))

const parcelsSent = EventStore.readAll({ filter: { types: ["ParcelShipped"] } }).pipe(Stream.runCount)

/** What is wrong, if the services do not agree. */
export const disagreement = ({ dispatched, orders, parcels }: Outcome): Option.Option<string> =>
  parcels === orders && dispatched === orders
    ? Option.none()
    : Option.some(`${orders} orders, ${parcels} parcels, ${dispatched} orders with exactly one parcel`)
