/** A primary with a synchronous standby, which is promoted in the midst of appends, relays, projections and subscriptions. */
import { assert, describe, it } from "@effect/vitest"
import { PgClient } from "@effect/sql-pg"
import { Effect, Fiber, Layer, Redacted, Ref, Schedule, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { Event, EventStore, ParkedEvents, Projection, Relay, Subscription, UnitOfWork } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { connect, until } from "../postgres/harness.ts"
import { makeBroker } from "../support/broker.ts"
import { startPostgres } from "../support/postgres-server.ts"
import { start } from "../support/words.ts"
import { makeSwitch, scoped } from "./support.ts"

const Counted = Event.make("Counted", { n: Schema.Int }, { published: true })

/** What passes by itself. The connection may be lost after the commit. */
const passing: ReadonlySet<string> = new Set(["StoreUnavailable", "OutcomeUnknown", "TransactionConflict"])

/** A primary that answers a commit when its standby has it. */
const replicated = Effect.gen(function* () {
  const primary = yield* scoped(() => startPostgres())
  const standby = yield* scoped(() => startPostgres({}, { standbyOf: primary }))
  const sql = yield* connect(primary.url)
  yield* sql.unsafe("alter system set synchronous_standby_names = '*'")
  yield* sql`select pg_reload_conf()`
  yield* until(
    "the standby is synchronous",
    Effect.map(sql<{ state: string }>`select sync_state as state from pg_stat_replication where state = 'streaming'`, (rows) =>
      rows.some(({ state }) => state === "sync")
    )
  )
  return { primary, standby }
})

const over = (url: string) =>
  UnitOfWork.layerSql.pipe(
    Layer.provideMerge(Layer.mergeAll(PgEventStore.layer, PgCheckpoints.layer, ParkedEvents.layerSql)),
    Layer.provideMerge(Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 12 })))
  )

describe("PostgreSQL with a synchronous standby", () => {
  it.live(
    "is promoted amid appends and all that follows: nothing acknowledged is lost, positions are dense, and each follower has it all",
    () =>
      Effect.gen(function* () {
        const { primary, standby } = yield* replicated
        const address = yield* makeSwitch(primary.url)
        const broker = makeBroker()
        const subscribed: Array<number> = []
        const view = Projection.make("view", {
          version: 1,
          events: [Counted],
          handlers: {
            Counted: ({ n }, { position }) => SqlClient.SqlClient.use((sql) => sql`insert into seen values (${position}, ${n})`)
          }
        })
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          // Twice the same position would be refused.
          yield* sql`create table seen (position bigint primary key, n int not null)`
          const store = yield* EventStore.EventStore
          yield* start(
            Layer.mergeAll(
              Projection.layer(view),
              Relay.layer({ name: "relay" }).pipe(Layer.provide(broker.layer)),
              Subscription.layer({
                name: "subscription",
                handler: ({ position }) => Effect.sync(() => void subscribed.push(position))
              })
            )
          )
          const acknowledged = yield* Ref.make<ReadonlyArray<string>>([])
          const refusals = new Set<string>()
          let running = true
          /** The answer may be lost: the same again is written once. */
          const append = (writer: number, n: number) => {
            const id = `${writer}-${n}`
            return store
              .append(`Count-${writer}`, [{ id, type: "Counted", payload: { n }, published: true }], { expected: n - 1 })
              .pipe(
                Effect.tapError((error) =>
                  Effect.sync(() => {
                    assert.ok(error._tag === "EventStoreError" && passing.has(error.reason._tag), String(error))
                    refusals.add(error.reason.detail)
                  })
                ),
                Effect.retry(Schedule.spaced("50 millis")),
                Effect.andThen(Ref.update(acknowledged, (all) => [...all, id]))
              )
          }
          const writers = yield* Effect.forEach([1, 2, 3, 4], (writer) =>
            Effect.forkScoped(
              Effect.gen(function* () {
                for (let n = 1; running; n++) yield* append(writer, n)
              })
            )
          )
          const count = Effect.map(Ref.get(acknowledged), ({ length }) => length)
          const more = (than: number) =>
            until(
              `more than ${than} are acknowledged`,
              Effect.map(count, (found) => found > than)
            )
          yield* more(200)

          yield* Effect.promise(() => primary.stop("immediate"))
          const before = yield* count
          // For a while the standby is taken for a primary.
          address.to(standby.url)
          yield* until(
            "it is refused by its name",
            Effect.sync(() => Array.from(refusals).some((detail) => detail.includes("the server is a standby")))
          )
          const admin = yield* connect(standby.url)
          yield* admin`select pg_promote()`
          yield* more(before + 200)
          running = false
          yield* Effect.forEach(writers, Fiber.join)

          const events: Array<EventStore.RecordedEvent> = []
          for (let page = yield* store.readPage({ after: 0, size: 1000 }); page.events.length > 0;) {
            events.push(...page.events)
            page = yield* store.readPage({ after: events.length, size: 1000 })
          }
          const positions = events.map(({ position }) => position)
          assert.deepEqual(
            positions,
            positions.map((_, index) => index + 1)
          )
          const ids = new Set(events.map(({ id }) => id))
          assert.equal(ids.size, events.length)
          assert.deepEqual(
            (yield* Ref.get(acknowledged)).filter((id) => !ids.has(id)),
            []
          )
          yield* until(
            "the view has all",
            Effect.map(sql<{ n: number }>`select count(*)::int as n from seen`.pipe(Effect.orElseSucceed(() => [])), (rows) =>
              rows.some(({ n }) => n === events.length)
            )
          )
          yield* until(
            "the relay and the subscription have come to the end",
            Effect.sync(
              () => subscribed.includes(events.length) && broker.taken.some(({ position }) => position === events.length)
            )
          )
          for (const seen of [subscribed, broker.taken.map(({ position }) => position)]) {
            assert.deepEqual(Array.from(new Set(seen)), positions)
          }
          const parked = yield* ParkedEvents.ParkedEvents
          assert.deepEqual([...(yield* parked.list("projection:view@1")), ...(yield* parked.list("subscription"))], [])
        }).pipe(Effect.provide(over(address.url)))
      }).pipe(Effect.scoped),
    150_000
  )
})
