import assert from "node:assert/strict"
import { describe } from "@effect/vitest"
import { Cause, DateTime, Effect, Exit, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { isThere } from "../../src/sql/table.ts"
import { Aggregate, Event, Projection } from "eventfold"
import { Scenario } from "eventfold/testing"
import { makeEverywhere } from "./everywhere.ts"

const everywhere = makeEverywhere()
const Opened = Event.make("Opened", { owner: Schema.String, at: Schema.DateTimeUtc })
const Deposited = Event.make("Deposited", { amount: Schema.Int })
const Account = Aggregate.make("Account", {
  events: [Opened, Deposited],
  initial: 0,
  evolve: { Opened: () => 0, Deposited: (balance, { amount }) => balance + amount }
})
const at = DateTime.makeUnsafe("2030-01-01T00:00:00Z")
const opened = (owner: string) => Opened.make({ owner, at })

const Balance = Projection.table("scenario_balance", {
  key: "account",
  fields: { account: Schema.String, owner: Schema.String, amount: Schema.Int, at: Schema.DateTimeUtc }
})
const Seen = Projection.table("scenario_seen", { key: "event", fields: { event: Schema.String, version: Schema.Int } })

const told: Array<number> = []
const Balances = Projection.make("Balances", {
  version: 3,
  tables: [Balance, Seen],
  events: [Opened, Deposited],
  filter: { categories: ["Account"] },
  handlers: {
    Opened: ({ at, owner }, envelope) =>
      Effect.andThen(
        Balance.upsert({ account: envelope.stream, owner, amount: 0, at }),
        Projection.sideEffect(
          envelope,
          Effect.sync(() => void told.push(envelope.position ?? 0))
        )
      ),
    Deposited: ({ amount }, { position, stream, version }) =>
      amount < 0
        ? Effect.fail(new Error("below nothing"))
        : Effect.andThen(
            Balance.patch(stream, (row) => ({ amount: row.amount + amount })),
            Seen.upsert({ event: String(position), version: version ?? 0 })
          )
  }
})
const sizes: Array<number> = []
const Batched = Projection.make("Batched", {
  version: 1,
  tables: [Seen],
  events: [Deposited],
  batch: (events) => {
    sizes.push(events.length)
    return Seen.upsert(...events.map(({ position, version }) => ({ event: String(position), version: version ?? 0 })))
  }
})

const complaint = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<string, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => {
    assert.ok(Exit.isFailure(exit))
    return String(Cause.squash(exit.cause))
  })

const story = Scenario.projection(Balances)
  .given(
    Scenario.stream(Account, "b", [opened("Ben"), Deposited.make({ amount: 5 })]),
    Scenario.stream(Account, "a", [opened("Ada")])
  )
  .given(Scenario.stream(Account, "b", [Deposited.make({ amount: 2 })]))
  .given(Scenario.messages([Deposited], [Deposited.make({ amount: 100 })]))
const rows = [
  { account: "Account-b", owner: "Ben", amount: 7, at },
  { account: "Account-a", owner: "Ada", amount: 0, at }
]

describe("a scenario of a projection", () => {
  everywhere("says what is in the tables, and leaves nothing there", () =>
    Effect.gen(function* () {
      for (let time = 0; time < 2; time++) {
        yield* story.thenTable(Balance, rows)
        yield* story.thenTable(Seen, [
          { event: "2", version: 2 },
          { event: "4", version: 3 }
        ])
        yield* Scenario.projection(Balances).thenTable(Balance, [])
      }
      assert.deepEqual(told, [])
      const sql = yield* SqlClient.SqlClient
      for (const schema of sql.onDialectOrElse({ pg: () => ["eventfold"], orElse: () => [undefined] })) {
        assert.equal(yield* isThere(sql, { schema, name: "scenario_balance_v3" }), false)
      }
    })
  )

  everywhere("gives a batch all events at once", () =>
    Effect.gen(function* () {
      sizes.length = 0
      const events = Scenario.stream(Account, "1", [opened("Ada"), Deposited.make({ amount: 1 }), Deposited.make({ amount: 2 })])
      yield* Scenario.projection(Batched)
        .given(events)
        .thenTable(Seen, [
          { event: "2", version: 2 },
          { event: "3", version: 3 }
        ])
      yield* Scenario.projection(Batched).thenTable(Seen, [])
      assert.deepEqual(sizes, [2])
    })
  )

  everywhere("shows what differs, and what a handler has failed with", () =>
    Effect.gen(function* () {
      const other = yield* complaint(story.thenTable(Balance, rows.slice(1)))
      assert.match(other, /The projection "Balances" came to unexpected rows of the table scenario_balance:/)
      assert.match(other, /\+.*Account-b/)
      const failed = story.given(Scenario.stream(Account, "a", [Deposited.make({ amount: -1 })]))
      assert.match(yield* complaint(failed.thenTable(Balance, rows)), /below nothing/)
    })
  )
})
