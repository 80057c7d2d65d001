import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Layer, Schedule } from "effect"
import { SqlClient } from "effect/sql"
import { Checkpoints, Event, EventStore, ParkedEvents, Projection, Subscription } from "eventfold"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { freshSchema, pgLiteOfFile, serverOfFile } from "../postgres/support.ts"
import { logs } from "../support/logs.ts"
import { core, declared } from "../support/wirings.ts"
import { numbers, rest, start, until } from "../support/words.ts"

const name = "view"

type Stores = EventStore.EventStore | Checkpoints.Checkpoints | ParkedEvents.ParkedEvents

const inMemory = Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory, ParkedEvents.layerMemory)
const onSqlite = Layer.mergeAll(SqliteCheckpoints.layer, ParkedEvents.layerSql).pipe(
  Layer.provideMerge(SqliteEventStore.layerFile({ filename: ":memory:" })),
  Layer.orDie
)

const databases = { server: serverOfFile(), pglite: pgLiteOfFile() }

const onPostgres = (name: keyof typeof databases) => {
  const schema = freshSchema()
  return Layer.mergeAll(PgCheckpoints.layerWith({ schema }), ParkedEvents.layerSqlWith({ table: `${schema}.parked` })).pipe(
    Layer.provideMerge(PgEventStore.layerWith({ schema, listen: false, pollInterval: "20 millis" })),
    Layer.provideMerge(databases[name]),
    Layer.orDie
  )
}

/** In what each is kept in a database. */
const inDatabases: Readonly<Record<string, () => Layer.Layer<Stores | SqlClient.SqlClient>>> = {
  SQLite: () => onSqlite,
  PostgreSQL: () => onPostgres("server"),
  PGlite: () => onPostgres("pglite")
}

const append = (stream: string, count = 1) =>
  EventStore.append(
    stream,
    numbers(count).map(() => ({ type: "Counted", payload: {} }))
  )

/** What is parked: position, stream, and how often it was tried. */
const parked = Effect.flatMap(ParkedEvents.ParkedEvents, ({ list }) =>
  Effect.map(list(name), (all) => all.map(({ attempts, position, stream }) => [position, stream, attempts]))
)

const positionOf = Effect.map(
  Checkpoints.Checkpoints.use(({ list }) => list),
  (all) => Math.min(...all.filter((one) => !one.name.includes(":join/")).map(({ position }) => position))
)

const reached = (position: number) => until(Effect.map(positionOf, (at) => at === position))

/** A subscription that fails at the positions which are broken, and notes what has taken effect. */
const failing = (options: { readonly concurrency?: number; readonly partitions?: number; readonly batch?: number } = {}) => {
  const broken = new Set<number>()
  const done: Array<number> = []
  const tried: Array<number> = []
  const layer = Subscription.layer({
    name,
    onFailure: "park-stream",
    retry: Schedule.recurs(0),
    ...options,
    handler: ({ position }: EventStore.RecordedEvent) =>
      Effect.suspend(() => {
        tried.push(position)
        if (broken.has(position)) return Effect.fail("no")
        done.push(position)
        return Effect.void
      })
  })
  return { broken, done, layer, tried }
}

core.describe("what comes behind a parked event", () => {
  for (const options of [{}, { concurrency: 4 }, { batch: 1 }]) {
    it.effect(`of its stream is parked untried and retried in order, others go on (${JSON.stringify(options)})`, () =>
      Effect.gen(function* () {
        logs(/has parked the event/)
        const { broken, done, layer, tried } = failing(options)
        broken.add(2)
        for (const stream of ["A-1", "A-1", "B-1", "A-1", "B-1"]) yield* append(stream)
        const stop = yield* start(layer)
        yield* reached(5)
        assert.deepEqual(
          [done.toSorted(), tried.toSorted(), yield* parked],
          [
            [1, 3, 5],
            [1, 2, 3, 5],
            [
              [2, "A-1", 1],
              [4, "A-1", 0]
            ]
          ]
        )
        const [, behind] = yield* ParkedEvents.ParkedEvents.use(({ list }) => list(name))
        assert.equal(behind?.cause, "behind the parked event at position 2 of its stream")
        // It is known to whoever comes next.
        yield* stop
        yield* start(layer)
        yield* append("A-1")
        yield* append("B-1")
        yield* reached(7)
        assert.deepEqual([done.slice(3), (yield* parked).map(([position]) => position)], [[7], [2, 4, 6]])
        // In order, up to the first that fails again.
        const error = yield* Effect.flip(Subscription.retry(name, 4))
        assert.deepEqual(error, new Subscription.ParkedBehindError({ subscription: name, position: 4, first: 2 }))
        assert.deepEqual(yield* Subscription.retryParked(name), { handled: 0, failed: 1, behind: 2 })
        broken.delete(2)
        broken.add(4)
        assert.deepEqual(yield* Subscription.retryParked(name), { handled: 1, failed: 1, behind: 1 })
        assert.deepEqual(
          [done.slice(4), yield* parked],
          [
            [2],
            [
              [4, "A-1", 1],
              [6, "A-1", 0]
            ]
          ]
        )
        // What is discarded is passed by.
        yield* ParkedEvents.ParkedEvents.use(({ discard }) => discard(name, 4))
        assert.deepEqual(yield* Subscription.retryParked(name, { stream: "B-1" }), { handled: 0, failed: 0, behind: 0 })
        assert.deepEqual(yield* Subscription.retryParked(name, { stream: "A-1" }), { handled: 1, failed: 0, behind: 0 })
        // And the stream goes on by itself.
        yield* append("A-1")
        yield* reached(8)
        assert.deepEqual([done.slice(5), yield* parked], [[6, 8], []])
      }).pipe(Effect.provide(inMemory))
    )
  }

  it.effect("is known to another process, which takes a partition over", () =>
    Effect.gen(function* () {
      logs(/has parked the event/)
      const one = failing({ partitions: 2 })
      one.broken.add(1)
      yield* append("A-1")
      yield* append("B-1")
      const stop = yield* start(one.layer)
      yield* until(() => one.done.length === 1)
      yield* until(Effect.map(parked, (all) => all.length === 1))
      yield* rest
      yield* stop
      const other = failing({ partitions: 2 })
      yield* append("A-1", 2)
      yield* append("B-1")
      yield* Effect.provideService(start(other.layer), Subscription.Registry, new Map())
      yield* until(() => other.done.length === 1)
      yield* until(Effect.map(parked, (all) => all.length === 3))
      assert.deepEqual(
        [other.done, yield* parked],
        [
          [5],
          [
            [1, "A-1", 1],
            [3, "A-1", 0],
            [4, "A-1", 0]
          ]
        ]
      )
    }).pipe(Effect.provide(inMemory))
  )

  it.effect("is parked already when it comes again: it stays as it was, and is not tried", () =>
    Effect.gen(function* () {
      logs(/has parked the event/)
      const { broken, done, layer, tried } = failing()
      broken.add(1)
      yield* append("A-1", 3)
      const stop = yield* start(layer)
      yield* reached(3)
      const before = yield* ParkedEvents.ParkedEvents.use(({ list }) => list(name))
      yield* stop
      // As when the process had died before the checkpoint was moved.
      yield* Checkpoints.Checkpoints.use(({ reset }) => reset(`subscription:${name}`, 0))
      yield* start(layer)
      yield* reached(3)
      assert.deepEqual(yield* ParkedEvents.ParkedEvents.use(({ list }) => list(name)), before)
      assert.deepEqual([tried, done], [[1], []])
    }).pipe(Effect.provide(inMemory))
  )

  it.effect("costs one look a batch, and nothing where streams do not wait", () =>
    Effect.gen(function* () {
      const looks: Array<number> = []
      const parking = yield* ParkedEvents.ParkedEvents
      const counting = Layer.succeed(ParkedEvents.ParkedEvents, {
        ...parking,
        firstOf: (subscription, streams) => {
          looks.push(streams.length)
          return parking.firstOf(subscription, streams)
        }
      })
      for (const index of numbers(100)) yield* append(`A-${index}`, 3)
      for (const [onFailure, expected] of [
        ["park-stream", [50, 50]],
        ["park", []]
      ] as const) {
        let handled = 0
        const layer = Subscription.layer({ name: onFailure, onFailure, batch: 150, handler: () => Effect.sync(() => handled++) })
        const stop = yield* start(Layer.provide(layer, counting))
        yield* until(() => handled === 300)
        yield* rest
        yield* stop
        // The first page is a small one.
        assert.equal(looks.length <= 4, true)
        assert.equal(looks.length > 0, expected.length > 0)
        looks.length = 0
      }
    }).pipe(Effect.provide(inMemory))
  )

  it.effect("of a projection with a batch takes no part in it", () =>
    Effect.gen(function* () {
      logs(/has parked the event/)
      const Counted = Event.make("Counted", {})
      const view: Array<number> = []
      let broken = true
      const View = Projection.make("View", {
        version: 1,
        events: [Counted],
        batch: (items) =>
          Effect.suspend(() => {
            if (broken && items.some(({ position }) => position === 2)) return Effect.fail("no")
            view.push(...items.map(({ position }) => position ?? 0))
            return Effect.void
          })
      })
      for (const stream of ["A-1", "A-1", "B-1"]) yield* append(stream)
      yield* start(Projection.layer(View, { onFailure: "park-stream", retry: Schedule.recurs(0) }))
      yield* until(() => view.length === 2)
      yield* rest
      for (const stream of ["A-1", "B-1"]) yield* append(stream)
      yield* until(() => view.length === 3)
      broken = false
      assert.deepEqual(yield* Subscription.retryParked(View.subscription), { handled: 2, failed: 0, behind: 0 })
      assert.deepEqual(view, [1, 3, 5, 2, 4])
    }).pipe(Effect.provide(onSqlite))
  )
})

/** Whole numbers below a limit, the same ones for each seed. */
const random = (seed: number) => {
  let state = seed
  return (limit: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * limit)
  }
}

interface Effects {
  /** What one event does, in order to be seen. */
  readonly apply: (event: EventStore.RecordedEvent) => Effect.Effect<unknown, unknown>
  readonly all: Effect.Effect<ReadonlyArray<readonly [stream: string, version: number]>, unknown>
}

/** Appends, failures, retries, discards and restarts at random; at the end whatever is parked is retried. */
const drawn = Effect.fnUntraced(function* (seed: number, effects: Effects, transactional: boolean) {
  const draw = random(seed)
  /** How often each position fails before it succeeds. */
  const failures = new Map<number, number>()
  const discarded = new Set<string>()
  const options = { name, onFailure: "park-stream", retry: Schedule.recurs(1), batch: 1 + draw(8) } as const
  const handler = (event: EventStore.RecordedEvent) =>
    Effect.suspend(() => {
      const left = failures.get(event.position) ?? (draw(3) === 0 ? draw(7) : 0)
      failures.set(event.position, left - 1)
      if (left <= 0) return effects.apply(event)
      // What it did before it failed is rolled back, where there is a transaction.
      return Effect.andThen(transactional ? effects.apply(event) : Effect.void, Effect.fail("not yet"))
    })
  const Live = (
    transactional
      ? Subscription.layer({ ...options, transactional: true, handler })
      : Subscription.layer({ ...options, concurrency: 1 + draw(3), handler })
  ) as Layer.Layer<never, never, Stores>
  const streams = ["A-1", "A-2", "B-1"]
  const caughtUp = Effect.flatMap(EventStore.head, reached)
  const { discard, list } = yield* ParkedEvents.ParkedEvents
  let stop = yield* start(Live)
  yield* append("A-1")
  for (const _ of numbers(40)) {
    switch (draw(6)) {
      case 0:
        yield* caughtUp
        yield* stop
        stop = yield* start(Live)
        break
      case 1:
        yield* Subscription.retryParked(name)
        break
      case 2: {
        const [first] = yield* list(name)
        if (first === undefined) break
        if (draw(2) === 0) yield* Effect.ignore(Subscription.retry(name, first.position))
        else if (yield* discard(name, first.position)) discarded.add(`${first.position}`)
        break
      }
      default:
        yield* append(streams[draw(3)] ?? "A-1", 1 + draw(4))
        if (draw(2) === 0) yield* caughtUp
    }
  }
  yield* caughtUp
  while ((yield* list(name)).length > 0) yield* Subscription.retryParked(name)
  yield* stop
  const all = yield* effects.all
  const count = yield* EventStore.head
  assert.equal(all.length, count - discarded.size, `seed ${seed}: each takes effect once, unless it was discarded`)
  for (const stream of streams) {
    const versions = all.filter(([of]) => of === stream).map(([, version]) => version)
    assert.deepEqual(
      versions,
      versions.toSorted((a, b) => a - b),
      `seed ${seed}: ${stream} is in order`
    )
    assert.equal(new Set(versions).size, versions.length, `seed ${seed}: of ${stream} none twice`)
  }
})

describe("for every stream, events take effect in order and none twice, whatever fails", () => {
  for (const seed of numbers(12)) {
    core.it.effect(`handler by handler, drawn ${seed}`, () =>
      Effect.gen(function* () {
        logs(/has parked the event/)
        const done: Array<readonly [string, number]> = []
        const apply = ({ stream, version }: EventStore.RecordedEvent) => Effect.sync(() => done.push([stream, version]))
        yield* drawn(seed, { apply, all: Effect.sync(() => done) }, false)
      }).pipe(Effect.provide(inMemory))
    )
  }

  for (const [database, make] of declared(inDatabases)) {
    for (const seed of numbers(database === "SQLite" ? 12 : 2)) {
      it.effect(`in transactions on ${database}, drawn ${seed}`, () =>
        Effect.gen(function* () {
          logs(/has parked the event/)
          const sql = yield* SqlClient.SqlClient
          const table = sql.literal(`done_${freshSchema()}`)
          yield* sql`create table ${table} (n integer primary key, stream text, version integer)`
          const apply = ({ stream, version }: EventStore.RecordedEvent) =>
            sql`insert into ${table} (n, stream, version)
              select coalesce(max(n), 0) + 1, ${stream}, cast(${String(version)} as integer) from ${table}`
          const all = Effect.map(
            sql<{ stream: string; version: number }>`select stream, version from ${table} order by n`,
            (rows) => rows.map(({ stream, version }) => [stream, version] as const)
          )
          yield* drawn(seed, { apply, all }, true)
        }).pipe(Effect.provide(make()))
      )
    }
  }
})
