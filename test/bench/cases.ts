import { PgConnection } from "@effect/sql-pg"
import { Deferred, Effect, Fiber, Layer, Queue, Redacted, Result, Schema, type Scope, Stream, Struct } from "effect"
import { Event, EventStore, MessageBus, Projection, Repository, Subscription, UnitOfWork } from "eventfold"
import { PgCheckpoints } from "eventfold/postgres"
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { status } from "../../src/postgres/sql/append.ts"
import { eventColumns } from "../../src/postgres/sql/eventPage.ts"
import { layerWith, sqlSnapshots } from "./adapter.ts"
import { callersText } from "./contest.ts"
import { appendingCases } from "./appending.ts"
import { decisionCases } from "./decisions.ts"
import { jsonlBatch, rawJsonlAll, rawSqliteAll, rawSqliteStream } from "./embedded.ts"
import { atRate, type Case, collectGarbage, concurrently, type Run, type Sample } from "./harness.ts"
import { hotCases } from "./hot.ts"
import { type Lab, type Place, type RawAppend, type RawConnection, type Services } from "./lab.ts"
import { Account, deposited, Deposit, depositHandler, KeptAccount, MoneyDeposited, payloadOf } from "./model.ts"
import { natsCases } from "./nats.ts"
import { pgTransportCases } from "./pgTransport.ts"
import { processCases } from "./processManager.ts"
import { projectionCases } from "./projections.ts"
import { rabbitmqCases } from "./rabbitmq.ts"
import { appendCall, appendOne, insertMany, type Part } from "./raw.ts"
import { redisCases } from "./redis.ts"
import { streamCases } from "./streams.ts"
import { unitCases } from "./units.ts"

/**
 * Cases of modules that older builds do not have. One that has not has none of the cases either, where `--against` runs it.
 */
const young = async <M>(module: Promise<M>): Promise<Partial<M>> => {
  if (process.env["EVENTFOLD_BENCH_BUILD"] === undefined) return module
  return module.catch(() => ({}))
}
const { clusterCases } = await young(import("./cluster.ts"))
const { kafkaCases } = await young(import("./kafka.ts"))
const { lookCases } = await young(import("./looks.ts"))
const { personalCases } = await young(import("./personal.ts"))
const { retentionCases } = await young(import("./retention.ts"))
const { tenantCases } = await young(import("./tenants.ts"))

/** How much a case does. */
export interface Shape {
  readonly callers: number
  /** Appends of each caller; a tenth as many warm it up. */
  readonly times: number
  /** After so many appends a caller goes on with a new stream. */
  readonly perStream: number
  readonly perAppend: number
  /** What the ids of its streams begin with. */
  readonly prefix?: string
}

/** Runs the work in two goes, the first of them unmeasured. */
const warmed = <R>(
  times: number,
  work: (phase: string, times: number) => Effect.Effect<Pick<Sample, "millis" | "latencies">, unknown, R>,
  unitsPerTime: number,
  eventsPerTime = unitsPerTime,
  between: Effect.Effect<unknown> = Effect.void
): Effect.Effect<Sample, unknown, R> =>
  Effect.gen(function* () {
    const before = Math.ceil(times / 10)
    yield* work("warm", before)
    yield* collectGarbage
    yield* between
    const measured = yield* work("run", times)
    return { ...measured, units: times * unitsPerTime, events: (times + before) * eventsPerTime }
  })

// -----------------------------------------------------------------------------
// appends by many callers
// -----------------------------------------------------------------------------

const idOf = (shape: Shape, phase: string, caller: number, nth: number) =>
  shape.perStream === Infinity ? "hot" : `${shape.prefix ?? ""}${phase}-${caller}-${Math.floor(nth / shape.perStream)}`

/** Each caller appends typed events, one append after the other. */
export const appends = (shape: Shape, between?: Effect.Effect<unknown>) => {
  const { callers, perAppend, times } = shape
  return warmed(
    times,
    (phase, times) =>
      concurrently(callers, times, (caller, nth) =>
        Repository.append(
          Account,
          idOf(shape, phase, caller, nth),
          Array.from({ length: perAppend }, (_, index) => deposited(nth + index))
        )
      ),
    callers,
    callers * perAppend,
    between
  )
}

/** The same events with nothing in between, one batch of all callers' appends after the other. */
export const rawAppends = (shape: Shape, batch: number, append: RawAppend, between?: Effect.Effect<unknown>) => {
  const { callers, perAppend, times } = shape
  return warmed(
    times,
    (phase, times) =>
      concurrently(1, Math.ceil((times * callers) / batch), (_, nthBatch) =>
        Effect.suspend(() => {
          const requests: Array<ReadonlyArray<Part>> = []
          for (let index = nthBatch * batch; index < Math.min((nthBatch + 1) * batch, times * callers); index++) {
            const nth = Math.floor(index / callers)
            const stream = `Account-${idOf(shape, phase, index % callers, nth)}`
            const payloads = Array.from({ length: perAppend }, (_, place) => payloadOf(nth + place))
            requests.push([{ stream, expected: -1, type: "MoneyDeposited", payloads }])
          }
          return append(requests)
        })
      ),
    callers,
    callers * perAppend,
    between
  )
}

const appendCase = (name: string, place: Place, shape: Shape, batch = Math.min(shape.callers, 512)): Case => ({
  name,
  place,
  unit: "appends",
  ours: ({ store }) => Effect.provide(appends(shape), store),
  raw: ({ append }) => Effect.flatMap(append, (append) => rawAppends(shape, batch, append))
})

/** One caller beside one statement for one event. */
const singleStatementCase = (name: string, place: Place, shape: Shape): Case => ({
  ...appendCase(name, place, shape),
  raw: ({ connect, sql }) =>
    Effect.flatMap(connect, ({ query }) =>
      warmed(
        shape.times,
        (phase, times) =>
          concurrently(1, times, (caller, nth) =>
            query(appendOne(sql), [
              `Account-${idOf(shape, phase, caller, nth)}`,
              crypto.randomUUID(),
              "MoneyDeposited",
              payloadOf(nth)
            ])
          ),
        1
      )
    )
})

/** Appends that come at their own time, as requests do. */
const steadyCase = (perSecond: number, times: number): Case => ({
  name: `append, ${perSecond}/s, from when it is due`,
  place: "postgres",
  unit: "latency",
  ours: ({ store }) =>
    warmed(
      times,
      (_, times) => atRate(perSecond, times, (nth) => Repository.append(Account, `${nth % 50}`, [deposited(nth)])),
      1
    ).pipe(Effect.provide(store)),
  raw: ({ connect, sql }) =>
    Effect.flatMap(connect, ({ query }) =>
      warmed(
        times,
        (_, times) =>
          atRate(perSecond, times, (nth) =>
            query(appendOne(sql), [`Account-${nth % 50}`, crypto.randomUUID(), "MoneyDeposited", payloadOf(nth)])
          ),
        1
      )
    )
})

// -----------------------------------------------------------------------------
// two processes
// -----------------------------------------------------------------------------

/** What a process of its own is asked to do: see `worker.ts`. */
export interface Job {
  readonly address: Lab["address"]
  readonly who: "ours" | "raw"
  readonly shape: Shape
}

/** Two processes append at the same time, each to streams of its own. */
const twoProcesses =
  (who: Job["who"], shape: Shape): Run =>
  ({ address }) =>
    Effect.gen(function* () {
      const children = yield* Effect.replicateEffect(
        Effect.acquireRelease(
          Effect.sync(() => fork(fileURLToPath(new URL("worker.ts", import.meta.url)), { execArgv: process.execArgv })),
          (child) => Effect.sync(() => child.kill())
        ),
        2
      )
      const ask = <A>(question: (child: number) => Job | "go") =>
        Effect.forEach(children, (child, index) => answer<A>(child, question(index)), { concurrency: "unbounded" })
      yield* ask<"ready">((child) => ({ address, who, shape: { ...shape, prefix: `${child}-` } }))
      const samples = yield* ask<Sample>(() => "go")
      return {
        units: samples.reduce((sum, { units }) => sum + units, 0),
        events: samples.reduce((sum, { events }) => sum + events, 0),
        latencies: samples.flatMap(({ latencies }) => latencies),
        millis: Math.max(...samples.map(({ millis }) => millis))
      }
    })

const answer = <A>(child: ChildProcess, question: Job | "go"): Effect.Effect<A, Error> =>
  Effect.callback((resume) => {
    const onExit = (code: number | null) => resume(Effect.fail(new Error(`a process of the benchmark ended with code ${code}`)))
    child.once("exit", onExit)
    child.once("message", (message) => {
      child.off("exit", onExit)
      resume(Effect.succeed(message as A))
    })
    child.send(question)
  })

// -----------------------------------------------------------------------------
// one hot stream
// -----------------------------------------------------------------------------

/** Callers that all expect the newest version of one stream: one wins, the others try again with the version they were told. */
const contended = (callers: number, times: number): Case => ({
  name: `hot stream, expected versions and retry, ${callers} callers`,
  place: "postgres",
  unit: "appends",
  ours: ({ store }) =>
    Effect.suspend(() => {
      const append = (expected: number): Effect.Effect<number, unknown, EventStore.EventStore> =>
        Repository.append(Account, "hot", [deposited(expected)], { expected }).pipe(
          Effect.map(({ version }) => version),
          Effect.catchTag("OptimisticLockError", ({ actual }) => append(actual))
        )
      return contend(
        callers,
        times,
        Array.from({ length: callers }, () => append)
      )
    }).pipe(Effect.provide(store)),
  raw: ({ connect, sql }) =>
    Effect.gen(function* () {
      const connections = yield* Effect.replicateEffect(connect, callers)
      const appenders = connections.map(({ query }) => {
        const append = (expected: number): Effect.Effect<number, unknown> =>
          Effect.flatMap(
            query(
              sql.append.text,
              appendCall([[{ stream: "Account-hot", expected, type: "MoneyDeposited", payloads: [payloadOf(expected)] }]])
            ),
            (rows) => {
              const [[verdict], , [version]] = rows[0] as [[number], unknown, [number]]
              return verdict === status.conflict ? append(version) : Effect.succeed(version)
            }
          )
        return append
      })
      return yield* contend(callers, times, appenders)
    })
})

const contend = <R>(
  callers: number,
  times: number,
  appenders: ReadonlyArray<(expected: number) => Effect.Effect<number, unknown, R>>
) => {
  const known = Array.from({ length: callers }, () => 0)
  return warmed(
    times,
    (_, times) =>
      concurrently(callers, times, (caller) =>
        Effect.map((appenders[caller] as (typeof appenders)[number])(known[caller] as number), (version) => {
          known[caller] = version
        })
      ),
    callers
  )
}

// -----------------------------------------------------------------------------
// reading
// -----------------------------------------------------------------------------

const eventsBeforeReading = 10_000

/** Puts events in streams of `perStream` events. */
const seed = (store: EventStore.EventStore["Service"], events: number, perStream: number) =>
  Effect.forEach(
    Array.from({ length: events / 500 }, (_, chunk) => chunk),
    (chunk) =>
      store.appendAll(
        Array.from({ length: 500 }, (_, index) => {
          const nth = chunk * 500 + index
          return {
            stream: `Account-${Math.floor(nth / perStream)}`,
            events: [Result.getOrThrow(Event.encode(MoneyDeposited, deposited(nth)))]
          }
        })
      ),
    { discard: true }
  )

const reading = (
  name: string,
  place: Place,
  times: number,
  perStream: number,
  ours: Effect.Effect<number, unknown, Services>,
  raw: (lab: Lab) => Effect.Effect<Effect.Effect<number, unknown>, unknown, Scope.Scope>
): Case => {
  const measure = <R>(read: Effect.Effect<number, unknown, R>) =>
    Effect.gen(function* () {
      yield* read
      yield* collectGarbage
      const measured = yield* concurrently(1, times, () =>
        Effect.flatMap(read, (events) =>
          events === eventsBeforeReading
            ? Effect.void
            : Effect.fail(new Error(`${events} of ${eventsBeforeReading} events were read`))
        )
      )
      return { ...measured, units: times * eventsBeforeReading, events: eventsBeforeReading }
    })
  const seeded = (lab: Lab) =>
    Effect.flatMap(EventStore.EventStore, (store) => seed(store, eventsBeforeReading, perStream)).pipe(Effect.provide(lab.store))
  return {
    name,
    place,
    unit: "events",
    ours: (lab) => Effect.andThen(seeded(lab), Effect.provide(measure(ours), lab.store)),
    raw: (lab) => Effect.andThen(place === "memory" ? Effect.void : seeded(lab), Effect.flatMap(raw(lab), measure))
  }
}

/** Pages of a thousand, each asked for when the one before is done, and their payloads parsed. */
const rawPages = (query: (after: number) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, unknown>, key: number) =>
  Effect.gen(function* () {
    let after = 0
    let read = 0
    for (;;) {
      const rows = yield* query(after)
      for (const row of rows) {
        JSON.parse(row[8] as string)
        JSON.parse(row[9] as string)
      }
      read += rows.length
      if (rows.length < 1000) return read
      after = (rows.at(-1) as ReadonlyArray<unknown>)[key] as number
    }
  })

const rawStream = ({ connect, sql }: Lab) =>
  Effect.map(connect, ({ query }) =>
    rawPages((after) => query(sql.readForward.text, ["Account-0", String(after + 1), String(Number.MAX_SAFE_INTEGER), "1000"]), 0)
  )

const rawAll = ({ connect, sql: { names } }: Lab) =>
  Effect.map(connect, ({ query }) =>
    rawPages(
      (after) =>
        query(
          `select ${eventColumns} from ${names.event} e where e.position > $1::bigint and e.position <= $2::bigint order by e.position limit $3::bigint`,
          [String(after), String(Number.MAX_SAFE_INTEGER), "1000"]
        ),
      1
    )
  )

const rawMemory = () =>
  Effect.sync(() => {
    const log = Array.from({ length: eventsBeforeReading }, (_, nth) => payloadOf(nth))
    return Effect.sync(() => log.map((text) => JSON.parse(text) as unknown).length)
  })

// -----------------------------------------------------------------------------
// folding
// -----------------------------------------------------------------------------

/** The state of a stream of so many events, folded from its beginning or from a snapshot; raw reads and parses them all. */
const folding = (events: number, times: number, kept: boolean): Case => ({
  name: `fold ${events} events${kept ? " from a snapshot, raw reads them all" : ""}`,
  place: "postgres",
  unit: "latency",
  ours: ({ address, store }) =>
    Effect.gen(function* () {
      yield* seed(yield* EventStore.EventStore, events, events)
      const read = Effect.flatMap(Repository.read(KeptAccount, "0"), ({ version }) =>
        version === events ? Effect.void : Effect.fail(new Error(`${version} of ${events} events were folded`))
      )
      const measured = warmed(times, (_, times) => concurrently(1, times, () => read), 1, 0)
      return yield* kept ? Effect.provide(measured, sqlSnapshots({ table: `${address.schema}.snapshot` })) : measured
    }).pipe(
      Effect.map((sample) => ({ ...sample, events })),
      Effect.provide(store)
    ),
  raw: (lab) =>
    Effect.gen(function* () {
      yield* Effect.provide(
        Effect.flatMap(EventStore.EventStore, (store) => seed(store, events, events)),
        lab.store
      )
      const read = yield* rawStream(lab)
      const sample = yield* warmed(times, (_, times) => concurrently(1, times, () => read), 1, 0)
      return { ...sample, events }
    })
})

// -----------------------------------------------------------------------------
// subscriptions
// -----------------------------------------------------------------------------

let subscriptions = 0

/** A new subscription, whose handler does nothing, from the start of the log until it has handled all. */
const subscribed = (schema: string, options: { readonly partitions?: number; readonly concurrency?: number }) =>
  Effect.gen(function* () {
    let handled = 0
    const all = yield* Deferred.make<void>()
    const handler = () =>
      Effect.suspend(() => (++handled === eventsBeforeReading ? Deferred.succeed(all, undefined) : Effect.void))
    yield* Layer.build(
      Subscription.layer({ name: `s${++subscriptions}`, ...options, handler }).pipe(
        Layer.provide(layerWith(PgCheckpoints)({ schema }))
      )
    )
    yield* Deferred.await(all)
    return handled
  }).pipe(Effect.scoped)

const subscribing = (
  name: string,
  times: number,
  options: { readonly partitions?: number; readonly concurrency?: number }
): Case => {
  const inSchema = (schema: string) => reading(name, "postgres", times, 50, subscribed(schema, options), rawAll)
  return { ...inSchema(""), ours: (lab) => inSchema(lab.address.schema).ours(lab) }
}

const readState = Effect.map(Repository.read(Account, "0"), ({ version }) => version)
const readEvents = Stream.runCount(Repository.events(Account, "0"))
const readAll = Stream.runCount(EventStore.readAll())

// -----------------------------------------------------------------------------
// importing
// -----------------------------------------------------------------------------

const chunkEvents = 1000

/**
 * Chunks of a thousand typed events of twenty streams: raw one after the other on its one connection, ours with two callers, so
 * that one chunk is made ready while the other is written.
 */
const importing = (name: string, place: Place, events: number, how: "append" | "insert"): Case => {
  const stream = (phase: string, chunk: number, index: number) => `Account-${phase}-${chunk * 20 + Math.floor(index / 50)}`
  const measure = <R>(callers: number, write: (phase: string, chunk: number) => Effect.Effect<unknown, unknown, R>) =>
    warmed(
      events / chunkEvents / callers,
      (phase, times) => concurrently(callers, times, (caller, nth) => Effect.suspend(() => write(phase, nth * callers + caller))),
      chunkEvents * callers
    )
  return {
    name,
    place,
    unit: "events",
    ours: ({ store }) =>
      measure(2, (phase, chunk) =>
        EventStore.appendAll(
          Array.from({ length: 20 }, (_, part) => ({
            stream: stream(phase, chunk, part * 50),
            events: Array.from({ length: 50 }, (_, nth) =>
              Result.getOrThrow(Event.encode(MoneyDeposited, deposited(part * 50 + nth)))
            )
          }))
        )
      ).pipe(Effect.provide(store)),
    raw: ({ append, connect, sql }) =>
      how === "append"
        ? Effect.flatMap(append, (append) =>
            measure(1, (phase, chunk) =>
              append([
                Array.from({ length: 20 }, (_, part) => ({
                  stream: stream(phase, chunk, part * 50),
                  expected: -1,
                  type: "MoneyDeposited",
                  payloads: Array.from({ length: 50 }, (_, nth) => payloadOf(part * 50 + nth))
                }))
              ])
            )
          )
        : Effect.flatMap(connect, ({ query }) =>
            measure(1, (phase, chunk) => {
              const rows = Array.from({ length: chunkEvents }, (_, index) => index)
              return query(insertMany(sql), [
                { type: "text", values: rows.map((index) => stream(phase, chunk, index)) },
                { type: "int4", values: rows.map((index) => (index % 50) + 1) },
                { type: "text", values: rows.map(() => crypto.randomUUID()) },
                { type: "text", values: rows.map(() => "MoneyDeposited") },
                { type: "text", values: rows.map(payloadOf) }
              ])
            })
          )
  }
}

// -----------------------------------------------------------------------------
// from append to subscriber
// -----------------------------------------------------------------------------

/** One append after the other, each of which ends when its event has come back. */
const delivered = <R>(
  times: number,
  append: (nth: number) => Effect.Effect<unknown, unknown, R>,
  arrivals: Queue.Dequeue<unknown>
) => warmed(times, (_, times) => concurrently(1, times, (_, nth) => Effect.andThen(append(nth), Queue.take(arrivals))), 1)

/** The time from the call of an append until a subscriber has its event: in this process, or on another store's connections. */
const subscriberLatency = (where: "the same" | "another", times: number): Case => ({
  name: `append to subscriber in ${where} process`,
  place: "postgres",
  unit: "latency",
  ours: ({ store }) =>
    Effect.gen(function* () {
      const services = yield* Layer.build(store)
      const others = where === "another" ? yield* Layer.build(Layer.fresh(store)) : services
      const arrivals = yield* Queue.unbounded<unknown>()
      yield* EventStore.subscribe().pipe(
        Stream.runForEach((event) => Queue.offer(arrivals, event)),
        Effect.provide(others),
        Effect.forkScoped
      )
      return yield* Effect.provide(
        delivered(times, (nth) => Repository.append(Account, "1", [deposited(nth)]), arrivals),
        services
      )
    }),
  raw: ({ address, connect, sql }) =>
    Effect.gen(function* () {
      const writer = yield* connect
      const reader = yield* connect
      const listener = yield* PgConnection.make({ url: Redacted.make(address.url) })
      const notifications = yield* listener.listen(sql.channel)
      const arrivals = yield* Queue.unbounded<unknown>()
      let seen = 0
      yield* Queue.take(notifications).pipe(
        Effect.andThen(() =>
          reader.query(
            `select ${eventColumns} from ${sql.names.event} e where e.position > $1::bigint order by e.position limit 64`,
            [String(seen)]
          )
        ),
        Effect.tap((rows) => {
          seen += rows.length
          return Queue.offerAll(arrivals, rows)
        }),
        Effect.forever({ disableYield: true }),
        Effect.forkScoped
      )
      return yield* delivered(
        times,
        (nth) =>
          Effect.andThen(
            writer.query(
              sql.append.text,
              appendCall([[{ stream: "Account-1", expected: -1, type: "MoneyDeposited", payloads: [payloadOf(nth)] }]])
            ),
            writer.query("select pg_notify($1, '')::text", [sql.channel])
          ),
        arrivals
      )
    })
})

// -----------------------------------------------------------------------------
// a view that catches up
// -----------------------------------------------------------------------------

/** A page of the store, and what a projection with a batch has at once by default. */
const projectedBatch = 1024

/**
 * A view of the balance of each account (fifty events each) that catches up with history: by batches that read the rows
 * concerned with one statement and write them with another, or event by event, each batch one transaction with its checkpoint.
 * Raw is one connection that reads a page ahead.
 */
const projecting = (by: "batch" | "handlers", events: number): Case => {
  const add = (row: { readonly balance: number } | undefined, amount: number) => (row?.balance ?? 0) + amount
  const seeded = (lab: Lab) =>
    Effect.flatMap(EventStore.EventStore, (store) => seed(store, events, 50)).pipe(Effect.provide(lab.store))
  /** Builds the view twice, and measures the second time. */
  const measure = <R>(build: (version: number) => Effect.Effect<unknown, unknown, R>) =>
    Effect.gen(function* () {
      yield* build(1)
      yield* collectGarbage
      const measured = yield* concurrently(1, 1, () => build(2))
      return { ...measured, units: events, events }
    })
  return {
    name: `projection catches up, ${by === "batch" ? "a statement a batch" : "a statement an event"}`,
    place: "postgres",
    unit: "events",
    ours: (lab) => {
      const Balance = Projection.table(`${lab.address.schema}.balance`, {
        key: "account",
        fields: { account: Schema.String, balance: Schema.Int }
      })
      const evolve = (row: { readonly balance: number } | undefined, { event, stream }: Seen) => ({
        account: stream,
        balance: add(row, event.amount)
      })
      type Seen = Projection.Envelope<(typeof MoneyDeposited)["Type"]>
      const key = ({ stream }: Seen) => stream
      const define = (version: number) => {
        const common = { version, tables: [Balance], events: [MoneyDeposited] } as const
        return by === "batch"
          ? Projection.make("Balances", { ...common, batch: (all) => Balance.fold(all, { key, evolve }) })
          : Projection.make("Balances", {
              ...common,
              handlers: { MoneyDeposited: (_, seen) => Balance.fold([seen], { key, evolve }) }
            })
      }
      const check = (version: number) =>
        Effect.gen(function* () {
          if (version > 1) yield* Projection.switchTo(define(version))
          const rows = yield* Balance.list({ limit: events })
          const total = rows.reduce((sum, { balance }) => sum + balance, 0)
          yield* checkTotal(total, events)
        })
      const build = (version: number) =>
        Effect.gen(function* () {
          const projection = define(version)
          yield* Layer.build(Projection.layer(projection, { batch: projectedBatch }))
          yield* Projection.awaitPosition(projection, events, { timeout: "5 minutes" })
        }).pipe(Effect.scoped)
      const services = layerWith(PgCheckpoints)({ schema: lab.address.schema }).pipe(Layer.provideMerge(lab.store))
      return Effect.andThen(
        seeded(lab),
        Effect.provide(
          Effect.tap(measure(build), () => check(2)),
          services
        )
      )
    },
    raw: (lab) =>
      Effect.gen(function* () {
        yield* seeded(lab)
        const { schema } = lab.address
        const reader = yield* lab.connect
        const writer = yield* lab.connect
        const page = (after: number) =>
          reader.query(
            `select ${eventColumns} from ${lab.sql.names.event} e where e.position > $1::bigint order by e.position limit $2::bigint`,
            [String(after), String(projectedBatch)]
          )
        const build = (version: number) =>
          Effect.gen(function* () {
            const { query } = writer
            const table = `${schema}.raw_balance_${version}`
            yield* query(`create table ${table} (account text collate "C" primary key, balance double precision)`)
            yield* query(`create table ${table}_at (position bigint)`)
            yield* query(`insert into ${table}_at values (0)`)
            const get = `select account, balance from ${table} where account in (select jsonb_array_elements_text($1::jsonb))`
            const put = `insert into ${table} (account, balance)
              select value ->> 0, (value ->> 1)::double precision from jsonb_array_elements($1::jsonb) as e(value)
              on conflict (account) do update set balance = excluded.balance`
            const project = (rows: ReadonlyArray<ReadonlyArray<unknown>>) =>
              Effect.gen(function* () {
                const keys = Array.from(new Set(rows.map((row) => row[2] as string)))
                const balances = new Map(
                  (yield* query(get, [JSON.stringify(keys)])).map(([account, balance]) => [account as string, balance as number])
                )
                for (const row of rows) {
                  const { amount } = JSON.parse(row[8] as string) as { readonly amount: number }
                  JSON.parse(row[9] as string)
                  const stream = row[2] as string
                  balances.set(stream, (balances.get(stream) ?? 0) + amount)
                }
                yield* query(put, [JSON.stringify(Array.from(balances))])
              })
            let rows = yield* page(0)
            while (rows.length > 0) {
              const last = rows.at(-1)?.[1] as number
              const ahead = yield* Effect.forkChild(page(last), { startImmediately: true })
              yield* query("begin")
              if (by === "batch") yield* project(rows)
              else yield* Effect.forEach(rows, (row) => project([row]), { discard: true })
              yield* query(`update ${table}_at set position = $1::bigint`, [String(last)])
              yield* query("commit")
              rows = yield* Fiber.join(ahead)
            }
            const [[total] = []] = yield* query(`select sum(balance)::float8 from ${table}`)
            yield* checkTotal(total as number, events)
          })
        return yield* measure(build)
      })
  }
}

/** Fails unless the balances of all accounts come to what was paid in. */
const checkTotal = (total: number, events: number) => {
  const expected = Array.from({ length: events }, (_, nth) => deposited(nth).amount).reduce((sum, amount) => sum + amount, 0)
  return total === expected ? Effect.void : Effect.fail(new Error(`the balances come to ${total}, not ${expected}`))
}

// -----------------------------------------------------------------------------
// commands
// -----------------------------------------------------------------------------

/** A command a time by each caller: load an account of up to fifty events, decide, commit the event and the command together. */
const commands = (place: Place, layer: "layer" | "layerSql", callers: number, times: number): Case => {
  const accountOf = (phase: string, caller: number, nth: number) => `${phase}-${caller}-${Math.floor(nth / 50)}`
  const eventsPerTime = callers * 2
  return {
    name: `${prefixOf(place)}command through bus and UnitOfWork.${layer}, ${callers} ${callers === 1 ? "caller" : "callers"}`,
    place,
    unit: "commands",
    ours: ({ store }) =>
      warmed(
        times,
        (phase, times) =>
          concurrently(callers, times, (caller, nth) =>
            MessageBus.execute(Deposit, { account: accountOf(phase, caller, nth), amount: nth })
          ),
        callers,
        eventsPerTime
      ).pipe(
        Effect.provide(
          depositHandler.pipe(
            Layer.provideMerge(layerWith(MessageBus)({})),
            Layer.provideMerge(layer === "layer" ? UnitOfWork.layer : UnitOfWork.layerSql),
            Layer.provideMerge(store)
          )
        )
      ),
    raw: (lab) =>
      place === "memory"
        ? memoryPush(callers * times, 2)
        : Effect.gen(function* () {
            const connections = yield* Effect.replicateEffect(lab.connect, place === "pglite" ? 1 : Math.min(callers, 4))
            const load = ({ query }: RawConnection, stream: string) =>
              Effect.map(query(lab.sql.readForward.text, [stream, "1", String(Number.MAX_SAFE_INTEGER), "64"]), (rows) =>
                rows.reduce((sum, row) => sum + (JSON.parse(row[8] as string) as { amount: number }).amount, 0)
              )
            const request = (phase: string, caller: number, nth: number): ReadonlyArray<Part> => {
              const account = accountOf(phase, caller, nth)
              const command = [JSON.stringify({ account, amount: nth })]
              return [
                { stream: `$bus-${crypto.randomUUID()}`, expected: 0, type: "Deposit", payloads: command },
                { stream: `Account-${account}`, expected: nth % 50, type: "MoneyDeposited", payloads: [payloadOf(nth)] }
              ]
            }
            const writer = connections[0] as RawConnection
            const all = Array.from({ length: callers }, (_, caller) => caller)
            const share = (index: number) => all.filter((caller) => caller % connections.length === index)
            const inTurn = <E>(each: (connection: RawConnection, caller: number) => Effect.Effect<unknown, E>) =>
              Effect.forEach(
                connections,
                (connection, index) => Effect.forEach(share(index), (caller) => each(connection, caller), { discard: true }),
                { concurrency: "unbounded", discard: true }
              )
            /** All commands of a wave: read on all connections and appended in one batch, or each in a transaction of its own. */
            const wave = (phase: string, nth: number) =>
              layer === "layer"
                ? Effect.andThen(
                    inTurn((connection, caller) => load(connection, `Account-${accountOf(phase, caller, nth)}`)),
                    Effect.suspend(() =>
                      writer.query(lab.sql.append.text, appendCall(all.map((caller) => request(phase, caller, nth))))
                    )
                  )
                : inTurn((connection, caller) =>
                    Effect.gen(function* () {
                      yield* connection.query("begin")
                      yield* load(connection, `Account-${accountOf(phase, caller, nth)}`)
                      yield* connection.query(lab.sql.append.text, appendCall([request(phase, caller, nth)]))
                      yield* connection.query("commit")
                    })
                  )
            return yield* warmed(
              times,
              (phase, times) => concurrently(1, times, (_, nth) => wave(phase, nth)),
              callers,
              eventsPerTime
            )
          })
  }
}

// -----------------------------------------------------------------------------
// memory
// -----------------------------------------------------------------------------

/** JSON text on an array. */
const memoryPush = (units: number, eventsPerUnit: number): Effect.Effect<Sample> =>
  Effect.sync(() => {
    const go = (count: number) => {
      const log: Array<string> = []
      for (let nth = 0; nth < count; nth++) log.push(payloadOf(nth))
      return log.length
    }
    go(units)
    const start = performance.now()
    const events = go(units * eventsPerUnit)
    return { units, millis: performance.now() - start, latencies: [], events }
  })

const memoryAppends = (shape: Shape): Case => ({
  ...appendCase(`memory: append, ${callersText(shape.callers)}`, "memory", shape),
  raw: () => memoryPush(shape.callers * shape.times, shape.perAppend)
})

/** Without the bare driver, for a comparison of two builds. */
const alone = (one: Case): Case => Struct.omit(one, ["raw"])

const prefixOf = (place: Place) => (place === "postgres" ? "" : `${place}: `)

// -----------------------------------------------------------------------------
// all
// -----------------------------------------------------------------------------

/** Those that the page of `--report` shows beside the bare driver. */
const shown: ReadonlySet<string> = new Set([
  "append, 1 caller",
  "append, 256 callers",
  "append, 200/s, from when it is due",
  "read a stream of 10 000 as state",
  "read all",
  "fold 1000 events",
  "subscription, a handler that does nothing",
  "import, raw calls the function",
  "append to subscriber in another process",
  "projection catches up, a statement a batch",
  "command through bus and UnitOfWork.layer, 64 callers",
  "sqlite: append, 256 callers, raw in batches",
  "sqlite: read all",
  "jsonl: append, 256 callers, raw in batches",
  "jsonl: read all"
])

/** All cases, in the order of the table; `scale` multiplies the work of each. */
export const makeCases = (scale: number): ReadonlyArray<Case> => {
  const some = (times: number) => Math.max(10, Math.round(times * scale))
  const grow = (callers: number, times: number): Shape => ({ callers, times: some(times), perStream: 50, perAppend: 1 })
  const create = (callers: number, times: number): Shape => ({ ...grow(callers, times), perStream: 1 })
  const hundred = (callers: number, times: number): Shape => ({ ...grow(callers, times), perStream: 10, perAppend: 100 })
  const halves = grow(128, 300)
  const cases: ReadonlyArray<Case> = [
    singleStatementCase("append, 1 caller", "postgres", grow(1, 3000)),
    appendCase("append, 1 caller, raw calls the function", "postgres", grow(1, 3000)),
    appendCase("append, 16 callers", "postgres", grow(16, 1200)),
    appendCase("append, 256 callers", "postgres", grow(256, 200)),
    appendCase("append, 1024 callers", "postgres", grow(1024, 60)),
    steadyCase(200, some(600)),
    singleStatementCase("append to a new stream, 1 caller", "postgres", create(1, 3000)),
    appendCase("append to a new stream, 16 callers", "postgres", create(16, 1200)),
    appendCase("append to a new stream, 256 callers", "postgres", create(256, 200)),
    appendCase("append to a new stream, 1024 callers", "postgres", create(1024, 60)),
    appendCase("append of 100 events, 1 caller", "postgres", hundred(1, 600)),
    appendCase("append of 100 events, 16 callers", "postgres", hundred(16, 60)),
    {
      name: "append, 2 processes of 128 callers",
      place: "postgres",
      unit: "appends",
      ours: twoProcesses("ours", halves),
      raw: twoProcesses("raw", halves)
    },
    appendCase("hot stream, any version, 256 callers", "postgres", { ...grow(256, 200), perStream: Infinity }),
    contended(16, some(150)),
    reading("read a stream of 10 000 as state", "postgres", some(20), eventsBeforeReading, readState, rawStream),
    reading("read a stream of 10 000 as events", "postgres", some(20), eventsBeforeReading, readEvents, rawStream),
    reading("read all", "postgres", some(20), 50, readAll, rawAll),
    folding(1000, some(200), false),
    folding(1000, some(200), true),
    folding(10_000, some(30), false),
    folding(10_000, some(200), true),
    subscribing("subscription, a handler that does nothing", some(20), {}),
    subscribing("subscription, concurrency 16", some(20), { concurrency: 16 }),
    subscribing("subscription in 8 partitions, one process", some(20), { partitions: 8 }),
    importing("import, raw calls the function", "postgres", some(200) * chunkEvents, "append"),
    importing("import, raw inserts unchecked", "postgres", some(200) * chunkEvents, "insert"),
    subscriberLatency("the same", some(500)),
    subscriberLatency("another", some(500)),
    projecting("batch", some(1000) * 100),
    projecting("handlers", some(30) * 100),
    ...projectionCases(some(500) * 100),
    ...(personalCases?.(some) ?? []),
    ...(tenantCases?.(some) ?? []),
    ...(retentionCases?.(scale, some) ?? []),
    commands("postgres", "layer", 1, some(1000)),
    commands("postgres", "layer", 64, some(150)),
    commands("postgres", "layerSql", 1, some(1000)),
    commands("postgres", "layerSql", 64, some(40)),
    singleStatementCase("pglite: append, 1 caller", "pglite", grow(1, 300)),
    appendCase("pglite: append, 256 callers", "pglite", grow(256, 20)),
    reading("pglite: read a stream of 10 000 as state", "pglite", some(10), eventsBeforeReading, readState, rawStream),
    reading("pglite: read all", "pglite", some(10), 50, readAll, rawAll),
    importing("pglite: import, raw calls the function", "pglite", some(20) * chunkEvents, "append"),
    commands("pglite", "layer", 1, some(200)),
    appendCase("sqlite: append, 1 caller", "sqlite", grow(1, 2000)),
    // A program without group commit writes each append by itself …
    appendCase("sqlite: append, 256 callers, raw commits each", "sqlite", grow(256, 60), 1),
    // … and this is as fast as batches can be.
    appendCase("sqlite: append, 256 callers, raw in batches", "sqlite", grow(256, 300)),
    reading("sqlite: read a stream of 10 000 as state", "sqlite", some(20), eventsBeforeReading, readState, rawSqliteStream),
    reading("sqlite: read all", "sqlite", some(20), 50, readAll, rawSqliteAll),
    importing("sqlite: import", "sqlite", some(50) * chunkEvents, "append"),
    alone(commands("sqlite", "layer", 1, some(1000))),
    appendCase("jsonl: append, 1 caller", "jsonl", grow(1, 2000)),
    appendCase("jsonl: append, 256 callers, raw syncs each", "jsonl", grow(256, 60), 1),
    appendCase("jsonl: append, 256 callers, raw in batches", "jsonl", grow(256, 300), jsonlBatch(256)),
    reading("jsonl: read a stream of 10 000 as state", "jsonl", some(20), eventsBeforeReading, readState, rawJsonlAll),
    reading("jsonl: read all", "jsonl", some(20), 50, readAll, rawJsonlAll),
    importing("jsonl: import", "jsonl", some(50) * chunkEvents, "append"),
    memoryAppends(grow(1, 100_000)),
    memoryAppends(grow(256, 400)),
    reading("memory: read a stream of 10 000 as state", "memory", some(20), eventsBeforeReading, readState, rawMemory),
    commands("memory", "layer", 1, some(10_000)),
    ...appendingCases(some),
    ...decisionCases(scale),
    ...streamCases(scale),
    ...processCases(some),
    ...unitCases(scale),
    ...hotCases(scale),
    ...(clusterCases?.(scale) ?? []),
    ...(lookCases?.(scale) ?? []),
    ...pgTransportCases(some),
    ...natsCases(some),
    ...redisCases(some),
    ...rabbitmqCases(some),
    ...(kafkaCases?.(some) ?? [])
  ]
  return cases.map((one) => (shown.has(one.name) ? { ...one, chart: { title: "Beside the bare driver" } } : one))
}
