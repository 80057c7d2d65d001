/** One of everything that has tables beside the events, for tests of whose tables they are. */
import assert from "node:assert/strict"
import { DateTime, Effect, Layer, Option, References, Schedule, Schema, type Scope } from "effect"
import { SqlClient } from "effect/sql"
import {
  Answers,
  Checkpoints,
  DeadLetters,
  Event,
  EventStore,
  Inbox,
  ParkedEvents,
  Projection,
  Snapshots,
  Subscription,
  UnitOfWork
} from "eventfold"
import { message } from "./failing.ts"
import { eventually, start } from "./words.ts"

const Counted = Event.make("Counted", { n: Schema.Int })
const Total = Projection.table("total", { key: "id", fields: { id: Schema.String, sum: Schema.Int } })

const InlineTotal = Projection.table("inline_total", { key: "id", fields: Total.fields })

const totals = (name: string, table: typeof Total, version = 1) =>
  Projection.make(name, {
    version,
    tables: [table],
    events: [Counted],
    batch: (events) =>
      table.fold(events, { key: () => "all", evolve: (row, { event }) => ({ id: "all", sum: (row?.sum ?? 0) + event.n }) })
  })

export const Totals = totals("Totals", Total)
/** A later version of {@link Totals}. */
export const version2 = totals("Totals", Total, 2)
export const InlineTotals = totals("InlineTotals", InlineTotal)

export type Beside =
  | EventStore.EventStore
  | Checkpoints.Checkpoints
  | Layer.Success<typeof UnitOfWork.layerSql>
  | Snapshots.Snapshots
  | ParkedEvents.ParkedEvents
  | DeadLetters.DeadLetters
  | Inbox.Inbox
  | Answers.Answers
  | SqlClient.SqlClient

/** What is told nothing of where its tables are. */
export const beside = Layer.mergeAll(
  Snapshots.layerSql,
  ParkedEvents.layerSql,
  DeadLetters.layerSql,
  Inbox.layerSql,
  Answers.layerSql
).pipe(Layer.provideMerge(UnitOfWork.layerSql))

const mail = Subscription.layer({
  name: "mail",
  handlers: { Counted: () => Effect.fail("nobody lives there") },
  events: [Counted],
  onFailure: "park",
  retry: Schedule.recurs(0)
})

/** Writes something into each table, `times` over. */
export const fill = (who: string, times: number): Effect.Effect<void, unknown, Beside | Scope.Scope> =>
  Effect.gen(function* () {
    yield* Layer.build(Layer.fresh(Projection.inline(InlineTotals)))
    const end = yield* start(Layer.merge(Projection.layer(Totals), mail))
    for (let time = 0; time < times; time++) {
      yield* UnitOfWork.transact(UnitOfWork.stage("Count-1", [{ type: "Counted", payload: { n: 1 } }]))
    }
    const parked = yield* ParkedEvents.ParkedEvents
    yield* Projection.whenCaughtUp(Totals, { timeout: "20 seconds" })
    yield* eventually(
      "all events are parked",
      Effect.map(parked.list("mail"), (all) => all.length === times)
    )
    yield* end
    const at = DateTime.makeUnsafe("2030-01-01T00:00:00Z")
    yield* DeadLetters.DeadLetters.use((letters) =>
      letters.park({ group: "mail", message, cause: who, attempts: times, parkedAt: at })
    )
    yield* Snapshots.Snapshots.use(({ save }) =>
      save({ stream: "Count-1", fingerprint: "f", version: times, eventId: who, state: who })
    )
    yield* UnitOfWork.transact(
      Answers.Answers.use(({ keep }) => keep({ command: "c", id: "1", payload: "p", outcome: "success", value: who }))
    )
    assert.deepEqual(yield* Inbox.once("mail", "1", Effect.succeed(who)), Option.some(who))
    assert.deepEqual(yield* Inbox.once("mail", "1", Effect.succeed(who)), Option.none())
  }).pipe(Effect.provideService(References.MinimumLogLevel, "Error"))

/** Asserts that all tables have what {@link fill} has written, and nothing else. */
export const assertOwn = (who: string, times: number): Effect.Effect<void, unknown, Beside> =>
  Effect.gen(function* () {
    assert.equal(yield* EventStore.head, times)
    const checkpoints = yield* Checkpoints.Checkpoints
    assert.deepEqual(
      (yield* checkpoints.list).map(({ name, position }) => [name, position]),
      [
        ["subscription:mail", times],
        ["subscription:projection:Totals@1", times]
      ]
    )
    assert.deepEqual(
      (yield* checkpoints.versions.list()).map(({ projection }) => projection),
      ["InlineTotals", "Totals"]
    )
    const sql = yield* SqlClient.SqlClient
    for (const table of [Total, InlineTotal]) {
      assert.deepEqual(yield* table.list(), [{ id: "all", sum: times }])
      const [[sum] = []] = yield* sql`select sum from ${yield* table.identifier}`.values
      assert.equal(Number(sum), times)
    }
    const parked = yield* ParkedEvents.ParkedEvents.use(({ list }) => list("mail"))
    assert.deepEqual(
      parked.map(({ position }) => position),
      Array.from({ length: times }, (_, index) => index + 1)
    )
    const letters = yield* DeadLetters.DeadLetters.use(({ list }) => list("mail"))
    assert.deepEqual(
      letters.map(({ attempts, cause }) => [attempts, cause]),
      [[times, who]]
    )
    const snapshot = yield* Snapshots.Snapshots.use(({ load }) => load("Count-1", "f"))
    assert.deepEqual(
      Option.map(snapshot, ({ state, version }) => [state, version]),
      Option.some([who, times])
    )
    const answer = yield* Answers.Answers.use(({ find }) => find("c", "1"))
    assert.deepEqual(
      Option.map(answer, ({ value }) => value),
      Option.some(who)
    )
    assert.deepEqual(yield* Inbox.once("mail", "1", Effect.void), Option.none())
  })
