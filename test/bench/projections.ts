import { Effect, Layer, Option, Result, Schema } from "effect"
import { Event, EventStore, Projection } from "eventfold"
import { PgCheckpoints } from "eventfold/postgres"
import { type Case, collectGarbage, concurrently } from "./harness.ts"
import type { Lab } from "./lab.ts"
import { deposited, MoneyDeposited } from "./model.ts"

const perAppend = 1000

/** Events of so many accounts that one account seldom has two in a batch. */
const seed = (events: number) =>
  Effect.forEach(
    Array.from({ length: Math.ceil(events / perAppend) }, (_, page) => page * perAppend),
    (from) =>
      EventStore.EventStore.use(({ appendAll }) =>
        appendAll(
          Array.from({ length: Math.min(perAppend, events - from) }, (_, nth) => ({
            stream: `Account-${(from + nth) % Math.ceil(events / 10)}`,
            events: [Result.getOrThrow(Event.encode(MoneyDeposited, deposited((from + nth) % 50)))]
          }))
        )
      ),
    { discard: true }
  )

type Row = { readonly account: string; readonly balance: number; readonly deposits: number }

const next = (row: Row | undefined, account: string, amount: number): Row => ({
  account,
  balance: (row?.balance ?? 0) + amount,
  deposits: (row?.deposits ?? 0) + 1
})

/** A view that catches up, by `get` and `upsert` in a handler of each event, or by a batch that folds. */
const catchingUp = (by: "batch" | "handlers", events: number) => (lab: Lab) => {
  const Balance = Projection.table(`${lab.address.schema}.balance`, {
    key: "account",
    fields: { account: Schema.String, balance: Schema.Int, deposits: Schema.Int }
  })
  const define = (version: number) => {
    const common = { version, tables: [Balance], events: [MoneyDeposited] } as const
    if (by === "batch") {
      type Seen = Projection.Envelope<(typeof MoneyDeposited)["Type"]>
      const evolve = (row: Row | undefined, { event, stream }: Seen) => next(row, stream, event.amount)
      return Projection.make("Balances", {
        ...common,
        batch: (all) => Balance.fold(all, { key: ({ stream }) => stream, evolve })
      })
    }
    return Projection.make("Balances", {
      ...common,
      handlers: {
        MoneyDeposited: ({ amount }, { stream }) =>
          Effect.flatMap(Balance.get(stream), (row) => Balance.upsert(next(Option.getOrUndefined(row), stream, amount)))
      }
    })
  }
  const build = (version: number) =>
    Effect.gen(function* () {
      yield* Layer.build(Projection.layer(define(version)))
      yield* Projection.awaitPosition(define(version), events, { timeout: "5 minutes" })
    }).pipe(Effect.scoped)
  return Effect.gen(function* () {
    yield* seed(events)
    yield* build(1)
    yield* collectGarbage
    const measured = yield* concurrently(1, 1, () => build(2))
    yield* Projection.switchTo(define(2))
    const rows = yield* Balance.list({ limit: events })
    const counted = rows.reduce((sum, { deposits }) => sum + deposits, 0)
    if (counted !== events) return yield* Effect.fail(new Error(`The view counts ${counted} events of ${events}`))
    return { ...measured, units: events, events }
  }).pipe(Effect.provide(PgCheckpoints.layerWith({ schema: lab.address.schema }).pipe(Layer.provideMerge(lab.store))))
}

/** What handlers of single events cost beside a batch that folds: here `raw` is the batch. */
export const projectionCases = (events: number): ReadonlyArray<Case> => [
  {
    name: "projection catches up, a handler an event beside a batch",
    place: "postgres",
    unit: "events",
    ours: catchingUp("handlers", events),
    raw: catchingUp("batch", events)
  }
]
