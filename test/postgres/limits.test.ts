/** Followers that work in transactions, and the limits of time that a database sets to these. */
import { assert, describe, it } from "@effect/vitest"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Option, Redacted, Schedule, Schema } from "effect"
import { SqlClient } from "effect/sql"
import {
  Checkpoints,
  Consumer,
  DeadLetters,
  Event,
  EventStore,
  Inbox,
  ParkedEvents,
  Projection,
  Subscription,
  Transport
} from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { inject } from "vitest"
import { message } from "../support/failing.ts"
import { logs } from "../support/logs.ts"
import { numbers, start } from "../support/words.ts"
import { event, until } from "./harness.ts"
import { freshSchema } from "./support.ts"

/** All that a follower needs, in a schema of its own, over a pool with these settings of the session: the tables are made without them. */
const storage = (startupParameters: Readonly<Record<string, string>> = {}) => {
  const schema = freshSchema()
  const over = (startupParameters: Readonly<Record<string, string>>) =>
    Layer.mergeAll(
      PgCheckpoints.layer,
      ParkedEvents.layerSqlWith({ table: `${schema}_parked` }),
      Inbox.layerSqlWith({ table: `${schema}_inbox` })
    ).pipe(
      Layer.provideMerge(PgEventStore.layerWith({ schema })),
      Layer.provideMerge(PgClient.layer({ url: Redacted.make(inject("postgresUrl")), maxConnections: 4, startupParameters })),
      Layer.fresh
    )
  return Layer.unwrap(Effect.as(Effect.scoped(Layer.build(over({}))), over(startupParameters)))
}

const append = (count: number) =>
  EventStore.append(
    "Count-1",
    Array.from({ length: count }, () => event())
  )

const reaches = (position: number, name = "subscription:view") =>
  until(
    `${name} is at ${position}`,
    Effect.map(
      Checkpoints.Checkpoints.use(({ get }) => get(name)),
      (found) => found._tag === "Some" && found.value.position === position
    )
  )

const here = <A, E, R>(test: Effect.Effect<A, E, R>, parameters?: Readonly<Record<string, string>>) =>
  test.pipe(Effect.provide(storage(parameters)), Effect.provideService(Subscription.Registry, new Map()))

describe("a batch that takes longer than one transaction may", () => {
  it.live("comes to its end, each event done once, though all of it takes longer than the lease", () =>
    here(
      Effect.gen(function* () {
        const done: Array<number> = []
        yield* append(10)
        yield* start(
          Subscription.layer({
            name: "view",
            transactional: true,
            lease: "1 second",
            handler: ({ position }) =>
              Effect.andThen(
                Effect.sleep("250 millis"),
                Effect.sync(() => done.push(position))
              )
          })
        )
        yield* reaches(10)
        assert.deepEqual(done, numbers(10))
      })
    )
  )

  it.live("comes to its end where the server ends transactions that take longer than it allows", () =>
    here(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const committed: Array<number> = []
        yield* append(8)
        yield* start(
          Subscription.layer({
            name: "view",
            transactional: true,
            handler: ({ position }) =>
              Effect.andThen(sql`select pg_sleep(0.3)`, sql.afterCommit(Effect.sync(() => committed.push(position))))
          })
        )
        yield* reaches(8)
        assert.deepEqual(committed, numbers(8))
      }),
      { transaction_timeout: "1500" }
    )
  )

  it.live("comes to its end in a projection, whose batch is one handler", () =>
    here(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const Counted = Event.make("Counted", { id: Schema.Null })
        const view = Projection.make("view", {
          version: 1,
          events: [Counted],
          batch: (items) => Effect.forEach(items, () => sql`select pg_sleep(0.3)`)
        })
        yield* append(8)
        yield* start(Projection.layer(view))
        yield* reaches(8, "subscription:projection:view@1")
      }),
      { transaction_timeout: "1500" }
    )
  )
})

describe("a handler that waits for longer than the lease, in a transaction", () => {
  const waiting = (onFailure: Subscription.OnFailure, tried: Array<number>) =>
    Subscription.layer({
      name: "view",
      transactional: true,
      lease: "500 millis",
      retry: Schedule.recurs(1),
      onFailure,
      handler: ({ position }) =>
        Effect.andThen(
          Effect.sync(() => tried.push(position)),
          position === 2 ? Effect.sleep("1200 millis") : Effect.void
        )
    })

  it.live("is a failure of its event, which is parked", () =>
    here(
      Effect.gen(function* () {
        logs(/has parked the event/)
        const tried: Array<number> = []
        yield* append(3)
        yield* start(waiting("park", tried))
        yield* reaches(3)
        const [parked, ...others] = yield* ParkedEvents.ParkedEvents.use(({ list }) => list("view"))
        assert.deepEqual([parked?.position, parked?.attempts, others], [2, 2, []])
        assert.match(parked?.cause ?? "", /longer than the lease/)
        assert.equal(tried.filter((position) => position === 3).length, 1)
      })
    )
  )

  it.live("is a failure of its event, at which the subscription halts", () =>
    here(
      Effect.gen(function* () {
        logs(/halts at position 2/)
        yield* append(3)
        yield* start(waiting("halt", []))
        yield* until(
          "it has halted",
          Effect.map(Subscription.status("view"), ({ state }) => state === "halted")
        )
        yield* reaches(1)
      })
    )
  )

  it.live("is none where there is no transaction: the lease is renewed while it waits", () =>
    here(
      Effect.gen(function* () {
        const tried: Array<number> = []
        yield* append(2)
        yield* start(
          Subscription.layer({
            name: "view",
            lease: "500 millis",
            handler: ({ position }) =>
              Effect.andThen(
                Effect.sync(() => tried.push(position)),
                Effect.sleep("1200 millis")
              )
          })
        )
        yield* reaches(2)
        const { owner } = Option.getOrThrow(yield* Checkpoints.Checkpoints.use(({ get }) => get("subscription:view")))
        assert.deepEqual([tried, Option.isSome(owner)], [[1, 2], true])
      })
    )
  )
})

it.live("a message whose transaction takes longer than the server allows has failed, and becomes a dead letter", () =>
  here(
    Effect.gen(function* () {
      logs(/is a dead letter of the group/)
      const { publish } = yield* Transport.Transport
      const Slow = Event.make("Slow", { n: Schema.Int }, { published: true })
      yield* start(
        Consumer.layer(
          [Slow],
          { Slow: () => Effect.sleep("1500 millis") },
          { group: "slow", inbox: true, maxAttempts: 2, retry: Schedule.forever }
        )
      )
      yield* publish([{ ...message, type: "Slow", data: { n: 1 } }])
      const { get } = yield* DeadLetters.DeadLetters
      yield* until("it is a dead letter", Effect.map(get("slow", "1"), Option.isSome))
      const letter = Option.getOrThrow(yield* get("slow", "1"))
      assert.equal(letter.attempts, 2)
      assert.match(letter.cause, /25P04/)
    }).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(Transport.layerMemory, DeadLetters.layerMemory))),
    { transaction_timeout: "1000" }
  )
)
