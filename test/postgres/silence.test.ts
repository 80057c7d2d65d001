/** A database that falls silent: nothing is refused, and nothing is answered. Every wait ends, and so does every Layer. */
import { PgClient } from "@effect/sql-pg"
import { describe, expect, it } from "@effect/vitest"
import {
  Duration,
  Effect,
  Exit,
  Fiber,
  Latch,
  Layer,
  Logger,
  Option,
  Redacted,
  Result,
  Schedule,
  Schema,
  Scope,
  Stream
} from "effect"
import { Reactivity } from "effect/reactivity"
import type { SqlClient } from "effect/sql"
import {
  Checkpoints,
  Command,
  Consumer,
  DeadLetters,
  Event,
  EventStore,
  Inbox,
  MessageBus,
  ParkedEvents,
  ProcessManager,
  Projection,
  Relay,
  Snapshots,
  Subscription,
  Transport,
  UnitOfWork
} from "eventfold"
import { PgCheckpoints, PgEventStore, PgTransport } from "eventfold/postgres"
import { inject } from "vitest"
import { AnswerTime } from "../../src/sql/answering.ts"
import { assertSound, begin, connect, event, holdHead, message, open, until, untilWaiting } from "./harness.ts"
import { startProxy } from "./proxy.ts"
import { freshSchema } from "./support.ts"

/** How long closing may take at most: of stores and transports, and of a pool behind them. */
const limit = 12_000
/** The same of what follows the log, with leases of next to nothing, and then of the store and the transport below it. */
const followersLimit = 45_000

const Placed = Event.make("Placed", { n: Schema.Number }, { published: true })
const Due = Event.make("Due", {})
const Ship = Command.make("Ship", { payload: {} })

/** What is done with what a Layer provides, before the database falls silent; what it gives is begun afterwards. */
type Busy<R> = (schema: string) => Effect.Effect<Effect.Effect<unknown, unknown, R>, unknown, R>

const idle = () => Effect.succeed(Effect.void)

/** Opens a Layer through a network that falls silent, and says how long it took to close it, and the pool after it. */
const closing = <R, E>(
  make: (schema: string) => Layer.Layer<R, E, PgClient.PgClient | SqlClient.SqlClient>,
  busy: Busy<R> = idle,
  follows = false
) =>
  Effect.gen(function* () {
    const schema = freshSchema()
    const proxy = yield* startProxy(inject("postgresUrl"))
    const pool = yield* Scope.make()
    const client = yield* Layer.buildWithScope(
      Layer.fresh(PgClient.layer({ url: Redacted.make(proxy.url), maxConnections: 8, connectTimeout: "2 seconds" })),
      pool
    )
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(Layer.provide(make(schema), Layer.succeedContext(client)), scope)
    const inFlight = yield* Effect.provideContext(busy(schema), context)
    proxy.silence({ forGood: true })
    yield* inFlight.pipe(Effect.provideContext(context), Effect.exit, Effect.forkDetach({ startImmediately: true }))
    // What is in flight is on its way.
    yield* Effect.sleep("50 millis")
    return {
      layer: yield* ends(Scope.close(scope, Exit.void), follows ? followersLimit : limit),
      // The driver waits for ever for the end of a transaction, and its pool for the connection.
      connections: follows ? "not looked at" : yield* ends(Scope.close(pool, Exit.void), limit)
    }
  })

/** How many milliseconds it took; none if it did not come to its end within the limit. */
const ends = (effect: Effect.Effect<unknown>, within: number) =>
  Effect.forkDetach(effect, { startImmediately: true }).pipe(
    Effect.flatMap(Fiber.await),
    Effect.timeoutOption(within),
    Effect.timed,
    Effect.map(([took, ended]) => Option.as(ended, Math.round(Duration.toMillis(took))).pipe(Option.getOrUndefined))
  )

/** What follows gives each step a third of its lease. */
const lease = "900 millis"

const storage = (schema: string) =>
  Layer.mergeAll(
    UnitOfWork.layerSql,
    ParkedEvents.layerSqlWith({ table: `${schema}.parked` }),
    DeadLetters.layerSqlWith({ table: `${schema}.dead` }),
    Inbox.layerSqlWith({ table: `${schema}.inbox` })
  ).pipe(
    Layer.provideMerge(
      Layer.mergeAll(PgEventStore.layerWith({ schema }), PgCheckpoints.layerWith({ schema }), PgTransport.layerWith({ schema }))
    )
  )

const place = Effect.fnUntraced(function* (schema: string) {
  yield* EventStore.append(`Order-${schema}`, [{ type: "Placed", payload: { n: 1 }, published: true }])
})

/** Follows the log of a new store. The handler never ends by itself, and the store has been silent since it has begun. */
const following = <E>(
  make: (
    begun: Effect.Effect<void>,
    schema: string
  ) => Layer.Layer<never, E, Layer.Success<ReturnType<typeof storage>> | SqlClient.SqlClient>
) => {
  const begun = Latch.makeUnsafe(false)
  return closing(
    (schema) => Layer.provideMerge(make(begun.open, schema), storage(schema)),
    (schema) => Effect.as(Effect.andThen(place(schema), begun.await), Effect.void),
    true
  )
}

describe("closing ends, whatever the database does", () => {
  const cases: Record<string, Effect.Effect<unknown, unknown, Scope.Scope>> = {
    store: closing((schema) => PgEventStore.layerWith({ schema })),
    "store, with an append on its way": closing(
      (schema) => PgEventStore.layerWith({ schema }),
      () => Effect.succeed(EventStore.append("A-1", [event()]))
    ),
    "store, with a read on its way": closing(
      (schema) => PgEventStore.layerWith({ schema }),
      () => Effect.succeed(Stream.runDrain(EventStore.readAll()))
    ),
    transport: closing((schema) => PgTransport.layerWith({ schema })),
    "transport, with a message on its way": closing(
      (schema) => PgTransport.layerWith({ schema }),
      () => Effect.succeed(Transport.publish([message(1)]))
    ),
    "transport, with a member that has a message in its hand": closing(
      (schema) => PgTransport.layerWith({ schema }),
      Effect.fnUntraced(function* () {
        const has = Latch.makeUnsafe(false)
        const go = Latch.makeUnsafe(false)
        yield* Transport.publish([message(1)])
        yield* Transport.subscribe({ group: "mail" }).pipe(
          Stream.runForEach(({ ack }) => Effect.andThen(has.open, Effect.andThen(go.await, ack))),
          Effect.forkDetach({ startImmediately: true })
        )
        yield* has.await
        return go.open
      })
    )
  }

  const followers: Record<string, Effect.Effect<unknown, unknown, Scope.Scope>> = {
    subscription: following((begun) =>
      Subscription.layer({ name: "mail", events: [Placed], handlers: { Placed: () => begun }, lease })
    ),
    "subscription, at work": following((begun) =>
      Subscription.layer({
        name: "mail",
        events: [Placed],
        handlers: { Placed: () => Effect.andThen(begun, Effect.never) },
        lease
      })
    ),
    "subscription, at work in a transaction": following((begun) =>
      Subscription.layer({
        name: "mail",
        events: [Placed],
        transactional: true,
        handlers: { Placed: () => Effect.andThen(begun, Effect.never) },
        lease
      })
    ),
    "subscription with partitions": following((begun) =>
      Subscription.layer({ name: "mail", events: [Placed], handlers: { Placed: () => begun }, partitions: 3, lease })
    ),
    relay: following((begun) =>
      Layer.effectDiscard(
        Transport.subscribe({ group: "mail" }).pipe(
          Stream.runForEach(() => begun),
          Effect.forkDetach({ startImmediately: true })
        )
      ).pipe(Layer.merge(Relay.layer({ name: "shop", lease })))
    ),
    consumer: following((begun) =>
      Layer.merge(
        Relay.layer({ name: "shop", lease }),
        Consumer.layer(
          [Placed],
          { Placed: () => Effect.andThen(begun, Effect.never) },
          { group: "mail", inbox: true, grace: "300 millis" }
        )
      )
    ),
    projection: following((begun, schema) => {
      const Orders = Projection.table(`${schema}.orders`, { key: "id", fields: { id: Schema.String } })
      return Projection.layer(
        Projection.make("orders", {
          version: 1,
          events: [Placed],
          tables: [Orders],
          handlers: { Placed: () => Effect.andThen(Orders.upsert({ id: "1" }), begun) }
        }),
        { lease }
      )
    }),
    "process manager": following((begun) =>
      ProcessManager.layer(
        ProcessManager.make("Shipping", {
          events: [Placed],
          deadlines: [Due],
          correlate: { Placed: ({ n }) => String(n) },
          initial: {},
          evolve: { Placed: (state) => state, Due: (state) => state },
          react: { Placed: () => [ProcessManager.send(Ship, {})], Due: () => [] }
        }),
        { lease }
      ).pipe(Layer.provide(MessageBus.handle(Ship, () => begun)), Layer.provide(MessageBus.layer))
    )
  }

  it.live(
    "what follows the log, and consumers",
    () =>
      Effect.gen(function* () {
        const took = yield* Effect.all(followers, { concurrency: "unbounded" })
        for (const [name, closed] of Object.entries(took)) {
          expect([name, closed]).toEqual([name, { layer: expect.any(Number), connections: expect.anything() }])
        }
      }),
    200_000
  )

  it.live(
    "stores and transports",
    () =>
      Effect.gen(function* () {
        const took = yield* Effect.all(cases, { concurrency: "unbounded" })
        for (const [name, closed] of Object.entries(took)) {
          expect([name, closed]).toEqual([name, { layer: expect.any(Number), connections: expect.any(Number) }])
        }
      }),
    200_000
  )
})
describe("a transport whose connections fall silent", () => {
  it.live("publishers are told in time, and members go on over new connections", () =>
    Effect.gen(function* () {
      const proxy = yield* startProxy(inject("postgresUrl"))
      const client = PgClient.layer({ url: Redacted.make(proxy.url), maxConnections: 4 })
      const options = { schema: freshSchema(), timeout: "500 millis", listen: false } as const
      const transport = yield* Layer.build(Layer.provide(PgTransport.layerWith(options), Layer.fresh(client)))
      const seen: Array<string> = []
      yield* Transport.subscribe({ group: "mail" }).pipe(
        Stream.runForEach(({ ack, message: { id } }) =>
          Effect.andThen(
            ack,
            Effect.sync(() => void seen.push(id))
          )
        ),
        // As a consumer does.
        Effect.retry(Schedule.spaced("50 millis")),
        Effect.provide(transport),
        Effect.forkScoped
      )
      const publish = (n: number) => Effect.provide(Transport.publish([message(n)]), transport)
      yield* publish(1)
      yield* until(
        "it has come",
        Effect.sync(() => seen.length === 1)
      )

      proxy.silence()
      const [took, failures] = yield* Effect.timed(
        Effect.forEach([2, 3, 4], (n) => Effect.flip(publish(n)), { concurrency: "unbounded" })
      )
      for (const { reason } of failures) {
        expect(reason).toMatchObject({ _tag: "TransportUnavailable", detail: "PostgreSQL did not answer within 500ms" })
      }
      expect(Duration.toMillis(took)).toBeLessThan(2000)
      yield* Effect.retry(publish(5), Schedule.spaced("50 millis"))
      yield* until(
        "it has come, too",
        Effect.sync(() => seen.includes("5"))
      )
    }).pipe(Effect.timeout("25 seconds"))
  )
})

describe("a store whose connections fall silent", () => {
  const arena = Effect.gen(function* () {
    const url = inject("postgresUrl")
    const proxy = yield* startProxy(url)
    const schema = freshSchema()
    const admin = yield* connect(url)
    yield* Effect.scoped(open({ url, schema }))
    const place = { url: proxy.url, schema, listen: false, timeout: "500 millis" } as const
    return { admin, place, proxy, schema, url }
  })
  /** Fails if it has not ended within ten seconds: many times what is stated. */
  const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.timed(Effect.timeout(effect, "10 seconds"))

  it.live("while it waits for the lock of the appends: the append fails in time, or comes through over another connection", () =>
    Effect.gen(function* () {
      const { admin, place, proxy, schema } = yield* arena
      const { store } = yield* open(place)
      const lock = yield* holdHead(admin, schema)
      const lost = yield* Effect.forkScoped(Effect.flip(inTime(store.append("A-1", [event("lost")]))))
      yield* untilWaiting(admin, schema)
      proxy.silence()
      const error = yield* Fiber.join(lost)
      expect(error).toMatchObject({
        _tag: "EventStoreError",
        reason: { detail: expect.stringContaining("did not answer within 500ms") }
      })
      // The next one finds a connection that speaks.
      const next = yield* Effect.forkScoped(inTime(Effect.retry(store.append("A-1", [event("next")]), { times: 20 })))
      yield* untilWaiting(admin, schema, 2)
      yield* lock.commit
      const [, result] = yield* Fiber.join(next)
      expect(result.position).toBeGreaterThan(0)
      yield* assertSound(store)
    })
  )

  it.live("in the transaction of a unit of work that waits for the lock: it fails in time", () =>
    Effect.gen(function* () {
      const { admin, place, proxy, schema } = yield* arena
      const { units } = yield* open(place)
      yield* holdHead(admin, schema)
      const unit = units.transact(UnitOfWork.stage("A-1", [event()]))
      const lost = yield* Effect.forkScoped(Effect.flip(inTime(unit)))
      yield* untilWaiting(admin, schema)
      proxy.silence({ forGood: true })
      expect(yield* Fiber.join(lost)).toMatchObject({ _tag: "EventStoreError" })
    })
  )

  it.live("in a hint: appends go on, and closing ends", () =>
    Effect.gen(function* () {
      const { place, proxy, url } = yield* arena
      const scope = yield* Scope.make()
      const sql = yield* PgClient.make({ url: Redacted.make(place.url), maxConnections: 2 }).pipe(
        Effect.provide(Reactivity.layer),
        Scope.provide(yield* Scope.make())
      )
      let hints = 0
      const client: PgClient.PgClient = Object.assign((...args: Parameters<typeof sql>) => sql(...args), sql, {
        unsafe: (text: string, parameters?: ReadonlyArray<unknown>) => {
          if (text.includes("pg_notify") && hints++ === 0) proxy.silence()
          return sql.unsafe(text, parameters)
        }
      })
      const store = yield* Scope.provide(
        Effect.provideService(PgEventStore.make({ ...place, migrate: false }), PgClient.PgClient, client),
        scope
      )
      yield* inTime(store.append("A-1", [event()]))
      yield* until(
        "a hint is on its way",
        Effect.sync(() => hints > 0)
      )
      yield* inTime(Effect.retry(store.append("A-1", [event()]), { times: 20 }))
      yield* until(
        "another one is",
        Effect.sync(() => hints > 1)
      )
      yield* inTime(Scope.close(scope, Exit.void))
      yield* assertSound((yield* open({ ...place, url })).store)
    })
  )

  it.live("while it makes an index, or waits for one: opening it fails in time", () =>
    Effect.gen(function* () {
      for (const who of ["itself", "another"] as const) {
        const { admin, place, proxy, schema } = yield* arena
        yield* who === "itself"
          ? begin(admin, "set transaction isolation level repeatable read", `select 1 from "${schema}".event`)
          : begin(admin, `select pg_advisory_xact_lock(hashtextextended('eventfold indexes ${schema}.', 0))`)
        const said: Array<string> = []
        const logger = Logger.make(({ message }) => void said.push(String(message)))
        const opening = Effect.provide(Effect.scoped(open({ ...place, indexes: ["type"] })), Logger.layer([logger]))
        const fiber = yield* Effect.forkDetach(inTime(Effect.flip(opening)))
        yield* until(
          "it is at it",
          Effect.sync(() => said.length > 0)
        )
        if (who === "itself") yield* untilWaiting(admin, schema, 1, "create index concurrently")
        proxy.silence({ forGood: true })
        const [, error] = yield* Fiber.join(fiber)
        expect([who, error]).toMatchObject([who, { _tag: "EventStoreError", reason: { _tag: "StoreUnavailable" } }])
      }
    })
  )
})

describe("what stands beside the store, when its connections fall silent", () => {
  it.live("fails in time, with errors of its own", () =>
    Effect.gen(function* () {
      const proxy = yield* startProxy(inject("postgresUrl"))
      const schema = freshSchema()
      const beside = Layer.mergeAll(
        ParkedEvents.layerSqlWith({ table: `${schema}.parked` }),
        DeadLetters.layerSqlWith({ table: `${schema}.dead` }),
        Snapshots.layerSqlWith({ table: `${schema}.snapshot` })
      ).pipe(
        Layer.provideMerge(PgCheckpoints.layerWith({ schema, timeout: "300 millis" })),
        Layer.provideMerge(Layer.fresh(PgClient.layer({ url: Redacted.make(proxy.url), maxConnections: 8 })))
      )
      const asked = Effect.all(
        {
          ParkedEventsError: ParkedEvents.ParkedEvents.use((parked) => parked.list("mail")),
          DeadLettersError: DeadLetters.DeadLetters.use((letters) => letters.list("mail")),
          SnapshotError: Snapshots.Snapshots.use((snapshots) => snapshots.load("Order-1", "1")),
          CheckpointError: Checkpoints.Checkpoints.use((checkpoints) => checkpoints.get("mail")),
          "CheckpointError of several statements": Checkpoints.Checkpoints.use((checkpoints) => checkpoints.reset("mail", 1))
        },
        { concurrency: "unbounded", mode: "result" }
      )
      // It is left open: its pool waits for a transaction to which nothing is answered. That ends with the network.
      const context = yield* Layer.buildWithScope(beside, yield* Scope.make())
      yield* Effect.provide(asked, context)
      proxy.silence({ forGood: true })
      const answers = yield* asked.pipe(
        Effect.provide(context),
        Effect.provideService(AnswerTime, Duration.millis(300)),
        Effect.timeout("5 seconds")
      )
      for (const [name, answer] of Object.entries(answers)) {
        expect([name, answer]).toMatchObject([name, { failure: { _tag: name.split(" ")[0] } }])
        expect(String(Result.getFailure<unknown, unknown>(answer))).toContain("PostgreSQL did not answer within 300ms")
      }
    })
  )
})

describe("what stands beside the store, when its client has closed", () => {
  it.live("fails with errors of its own, and interrupts nobody", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const client = PgClient.layer({ url: Redacted.make(inject("postgresUrl")), maxConnections: 2 })
      const context = yield* Layer.buildWithScope(
        Layer.provideMerge(
          Snapshots.layerSqlWith({ table: "closed_snapshot" }),
          Layer.provideMerge(storage(freshSchema()), Layer.fresh(client))
        ),
        scope
      )
      yield* Scope.close(scope, Exit.void)
      const asked = {
        ParkedEventsError: ParkedEvents.ParkedEvents.use((parked) => parked.list("mail")),
        DeadLettersError: DeadLetters.DeadLetters.use((letters) => letters.list("mail")),
        SnapshotError: Snapshots.Snapshots.use((snapshots) => snapshots.load("Order-1", "1")),
        CheckpointError: Checkpoints.Checkpoints.use((checkpoints) => checkpoints.get("mail")),
        "CheckpointError of several statements": Checkpoints.Checkpoints.use((checkpoints) => checkpoints.reset("mail", 1)),
        InboxError: Inbox.once("mail", "1", Effect.void),
        EventStoreError: EventStore.head,
        "EventStoreError of a unit of work": UnitOfWork.transact(Effect.void),
        TransportError: Transport.publish([message(1)])
      }
      const answers = yield* Effect.provide(Effect.all(asked, { concurrency: "unbounded", mode: "result" }), context)
      for (const [name, answer] of Object.entries(answers)) {
        expect([name, answer]).toMatchObject([name, { failure: { _tag: name.split(" ")[0] } }])
      }
    })
  )
})
