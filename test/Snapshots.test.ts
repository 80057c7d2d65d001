import { describe, it } from "@effect/vitest"
import { DateTime, Duration, Effect, Layer, Metric, Option, Result, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import { Aggregate, Event, EventStore, ProcessManager, Repository, Snapshots, UnitOfWork } from "eventfold"
import { PgEventStore } from "eventfold/postgres"
import { SqliteClient } from "eventfold/sqlite"
import assert from "node:assert/strict"
import { client, freshSchema, pgLiteOfFile } from "./postgres/support.ts"
import { declared, servers } from "./support/wirings.ts"

const pgLite = pgLiteOfFile()

const storages: Readonly<Record<string, () => Layer.Layer<Snapshots.Snapshots, unknown>>> = {
  memory: () => Snapshots.layerMemory,
  PostgreSQL: () => Snapshots.layerSqlWith({ table: freshSchema() }).pipe(Layer.provide(client())),
  PGlite: () => Snapshots.layerSqlWith({ table: freshSchema() }).pipe(Layer.provide(pgLite)),
  SQLite: () => Snapshots.layerSql.pipe(Layer.provide(SqliteClient.layer({ filename: ":memory:" })))
}

const snapshot = (version: number, more: Partial<Snapshots.Snapshot> = {}): Snapshots.Snapshot => ({
  stream: "Account-1",
  fingerprint: "a",
  version,
  eventId: `e${version}`,
  state: { balance: version, note: 'it\'s "quoted" ☕' },
  ...more
})

for (const [name, layer] of declared(storages)) {
  describe(`snapshots in ${name}`, () => {
    it.effect("keep the newest of a stream and fingerprint", () =>
      Effect.gen(function* () {
        const snapshots = yield* Snapshots.Snapshots
        assert.deepEqual(yield* snapshots.load("Account-1", "a"), Option.none())
        yield* snapshots.save(snapshot(5))
        yield* snapshots.save(snapshot(9))
        yield* snapshots.save(snapshot(7))
        yield* snapshots.save(snapshot(3, { fingerprint: "b" }))
        yield* snapshots.save(snapshot(4, { stream: "Account-2" }))
        assert.deepEqual(yield* snapshots.load("Account-1", "a"), Option.some(snapshot(9)))
        assert.deepEqual(yield* snapshots.load("Account-1", "b"), Option.some(snapshot(3, { fingerprint: "b" })))
        assert.deepEqual(yield* snapshots.load("Account-2", "a"), Option.some(snapshot(4, { stream: "Account-2" })))
        yield* snapshots.save(snapshot(2), { replace: true })
        assert.deepEqual(yield* snapshots.load("Account-1", "a"), Option.some(snapshot(2)))
      }).pipe(Effect.provide(layer()))
    )

    const prune = (before: number) => Snapshots.Snapshots.use(({ prune }) => prune(DateTime.makeUnsafe(before)))
    const month = Duration.toMillis("30 days")
    const kept = Effect.map(
      Snapshots.Snapshots.use(({ list }) => list()),
      (all) => all.map(({ fingerprint, stream, version }) => `${stream} ${fingerprint}${version}`)
    )

    it.effect("are pruned where others have taken their place since, and the newest of a stream never", () =>
      Effect.gen(function* () {
        const { list, save } = yield* Snapshots.Snapshots
        yield* TestClock.setTime(1000)
        for (const stream of ["Account-1", "Account-2"]) yield* save(snapshot(5, { stream }))
        const taken = month + 5000
        yield* TestClock.setTime(taken)
        yield* save(snapshot(9, { fingerprint: "b" }))
        const times = Effect.map(list(), (all) => all.map(({ savedAt }) => savedAt.epochMilliseconds))
        assert.deepEqual(yield* times, [4999, taken, 1000], "one whose place is taken is no more than 30 days old then")
        yield* TestClock.setTime(taken + 1000)
        yield* save(snapshot(19, { fingerprint: "b" }))
        assert.deepEqual(yield* times, [4999, taken + 1000, 1000])
        assert.equal(yield* prune(taken - 1), 0)
        assert.equal(yield* prune(taken), 1)
        assert.deepEqual(yield* kept, ["Account-1 b19", "Account-2 a5"])
        assert.equal(yield* prune(9 * month), 0)
      }).pipe(Effect.provide(layer()))
    )

    it.effect("of one version: the one that was saved last is the newest", () =>
      Effect.gen(function* () {
        const { save } = yield* Snapshots.Snapshots
        for (const [at, fingerprint] of [
          [1000, "b"],
          [2000, "c"],
          [3000, "a"]
        ] as const) {
          yield* TestClock.setTime(at)
          yield* save(snapshot(5, { fingerprint }))
        }
        // Each counts by its own time: one release a day leaves no row for each.
        assert.equal(yield* prune(month + 2000), 1)
        assert.deepEqual(yield* kept, ["Account-1 a5", "Account-1 c5"])
        assert.equal(yield* prune(month + 9000), 1)
        assert.deepEqual(yield* kept, ["Account-1 a5"])
      }).pipe(Effect.provide(layer()))
    )

    it.effect("stay while programs save others like them, as after a release that was rolled back", () =>
      Effect.gen(function* () {
        const { save } = yield* Snapshots.Snapshots
        yield* save(snapshot(5))
        yield* save(snapshot(6, { fingerprint: "b" }))
        yield* TestClock.setTime(2 * month)
        yield* save(snapshot(5, { stream: "Account-2" }))
        // Whether another takes its place there or not.
        yield* save(snapshot(6, { stream: "Account-2", fingerprint: "b" }))
        assert.equal(yield* prune(2 * month), 0)
        assert.deepEqual(yield* kept, ["Account-1 a5", "Account-1 b6", "Account-2 a5", "Account-2 b6"])
        assert.equal(yield* prune(2 * month + 1), 1)
        assert.deepEqual(yield* kept, ["Account-1 b6", "Account-2 a5", "Account-2 b6"])
      }).pipe(Effect.provide(layer()))
    )
  })
}

const Deposited = Event.make("Deposited", { amount: Schema.Int })
const Renamed = Event.make("Renamed", { owner: Schema.String.check(Schema.isPattern(/^[a-z]{0,9}$/)) })
const State = Schema.Struct({ owner: Schema.String, balance: Schema.BigInt, last: Schema.Option(Schema.Int) })
const initial: typeof State.Type = { owner: "", balance: 0n, last: Option.none() }

let folded = 0
const account = <const Every extends number>(every: Every | undefined, version?: number) =>
  Aggregate.make("Account", {
    events: [Deposited, Renamed],
    initial,
    evolve: {
      Deposited: (state, { amount }) => {
        folded++
        return { ...state, balance: state.balance + BigInt(amount), last: Option.some(amount) }
      },
      Renamed: (state, { owner }) => {
        folded++
        return { ...state, owner }
      }
    },
    snapshot: every === undefined ? undefined : { state: State, every, version }
  })

const Plain = account(undefined)
const Kept = account(10)

const deposits = (count: number) => Array.from({ length: count }, (_, index) => Deposited.make({ amount: index + 1 }))

const Live = Layer.mergeAll(UnitOfWork.layer, Snapshots.layerMemory).pipe(Layer.provideMerge(EventStore.layerMemory))

const outcomes = Effect.map(Metric.snapshot, (all) =>
  Object.fromEntries(
    all.flatMap((metric) =>
      metric.id === "eventfold_snapshots" && metric.type === "Counter" && metric.state.count > 0
        ? [[metric.attributes?.["outcome"], metric.state.count]]
        : []
    )
  )
)

/** A test with metrics of its own. */
const run = <E>(effect: Effect.Effect<void, E, Layer.Success<typeof Live>>) =>
  effect.pipe(Effect.provide(Live), Effect.provideService(Metric.MetricRegistry, new Map()))

describe("an aggregate with snapshots", () => {
  it.effect.prop(
    "is at every version what it is without, whatever its history and however often it was loaded on the way",
    {
      history: Schema.Array(
        Schema.Struct({ events: Schema.Array(Schema.Union([Deposited, Renamed])), load: Schema.Boolean, execute: Schema.Boolean })
      ),
      every: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 7 }))
    },
    ({ every, history }) =>
      run(
        Effect.gen(function* () {
          const kept = account(every)
          for (const { events, execute, load } of history) {
            yield* execute
              ? UnitOfWork.transact(Repository.execute(kept, "1", () => Effect.succeed(events)))
              : Repository.append(kept, "1", events)
            if (load) yield* Repository.read(kept, "1")
          }
          const { version } = yield* Repository.read(Plain, "1")
          for (const at of [undefined, version, Math.floor(version / 2), 1]) {
            assert.deepEqual(
              yield* Repository.read(kept, "1", { version: at }),
              yield* Repository.read(Plain, "1", { version: at })
            )
          }
        })
      ),
    { arbitrary: { runs: 60 } }
  )

  it.effect("folds no more than what came after the snapshot", () =>
    run(
      Effect.gen(function* () {
        yield* Repository.append(Kept, "1", deposits(25))
        yield* Repository.read(Kept, "1") // passes 10 and 20: saved at 25
        yield* Repository.append(Kept, "1", deposits(3))
        folded = 0
        const { version } = yield* Repository.read(Kept, "1")
        assert.deepEqual([version, folded], [28, 3])
        assert.deepEqual(yield* outcomes, { miss: 1, saved: 1, hit: 1 })
      })
    )
  )

  it.effect("saves what a unit of work has read when that has ended, whatever came of it", () =>
    run(
      Effect.gen(function* () {
        yield* Repository.append(Kept, "1", deposits(10))
        const refused = Repository.load(Kept, "1").pipe(Effect.andThen(Effect.flatMap(outcomes, (before) => Effect.fail(before))))
        assert.deepEqual(yield* Effect.flip(UnitOfWork.transact(refused)), { miss: 1 })
        assert.deepEqual(yield* outcomes, { miss: 1, saved: 1 })
        yield* UnitOfWork.transact(Repository.load(Kept, "1"))
        assert.deepEqual(yield* outcomes, { miss: 1, saved: 1, hit: 1 })
      })
    )
  )

  /** The version of what is kept. */
  const savedAt = Effect.gen(function* () {
    const { fingerprint } = Kept.snapshot ?? assert.fail("there is a policy")
    return Option.map(yield* Snapshots.Snapshots.use(({ load }) => load("Account-1", fingerprint)), ({ version }) => version)
  })
  const deposit = (count = 1) => UnitOfWork.transact(Repository.execute(Kept, "1", () => Effect.succeed(deposits(count))))

  it.effect("saves what a commit has passed, and nothing that was rolled back", () =>
    run(
      Effect.gen(function* () {
        yield* Effect.exit(
          UnitOfWork.transact(
            Effect.andThen(
              Repository.execute(Kept, "1", () => Effect.succeed(deposits(25))),
              Effect.fail("no")
            )
          )
        )
        assert.deepEqual(yield* savedAt, Option.none())
        yield* deposit(25)
        assert.deepEqual(yield* savedAt, Option.some(25))
        folded = 0
        assert.equal((yield* Repository.read(Kept, "1")).version, 25)
        assert.equal(folded, 0)
      })
    )
  )

  it.effect("saves also where states are kept in memory", () =>
    run(
      Effect.gen(function* () {
        for (let n = 1; n <= 12; n++) yield* deposit()
        assert.deepEqual(yield* savedAt, Option.some(10))
        yield* Repository.append(Kept, "1", deposits(10))
        yield* Effect.exit(UnitOfWork.transact(Effect.andThen(Repository.load(Kept, "1"), Effect.fail("no"))))
        assert.deepEqual(yield* savedAt, Option.some(22))
      }).pipe(Effect.provide(Repository.layerCache))
    )
  )

  it.effect("saves also where commands wait for each other, and each begins with what the one before came to", () =>
    run(
      Effect.gen(function* () {
        yield* Effect.all(
          Array.from({ length: 35 }, () => deposit()),
          { concurrency: "unbounded" }
        )
        assert.deepEqual(yield* savedAt, Option.some(30))
      })
    )
  )

  it.effect("two aggregates on one stream, with states of one shape, each have snapshots of their own", () =>
    run(
      Effect.gen(function* () {
        const snapshot = { state: Schema.Int, every: 2 }
        const made = (evolve: (state: number, event: typeof Deposited.Type) => number, first = 0, version?: number) =>
          Aggregate.make("Account", {
            events: [Deposited],
            initial: first,
            evolve: { Deposited: evolve },
            snapshot: { ...snapshot, version }
          })
        const Balance = made((sum, { amount }) => sum + amount)
        const Count = made((count) => count + 1)
        const Later = made((sum, { amount }) => sum + amount, 100)
        const Wide = Event.make(
          "Deposited",
          { amount: Schema.Int },
          { version: 2, upcast: { 1: ({ amount }) => ({ amount: amount * 2 }) } }
        )
        const Doubled = Aggregate.make("Account", {
          events: [Wide],
          initial: 0,
          evolve: { Deposited: (sum, { amount }) => sum + amount },
          snapshot
        })
        yield* Repository.append(
          Balance,
          "1",
          [10, 20, 30].map((amount) => Deposited.make({ amount }))
        )
        for (let time = 0; time < 2; time++) {
          const states = yield* Effect.forEach([Balance, Count, Later, Doubled], (one) =>
            Repository.read(one as typeof Balance, "1")
          )
          assert.deepEqual(
            states.map(({ state }) => state),
            [60, 3, 160, 120]
          )
        }
        assert.deepEqual(yield* outcomes, { miss: 4, saved: 4, hit: 4 })
        // What a fold refers to is not seen in it.
        const by = (factor: number, version: number) => made((sum, { amount }) => sum + amount * factor, 0, version)
        assert.equal((yield* Repository.read(by(1, 1), "1")).state, 60)
        assert.equal((yield* Repository.read(by(3, 2), "1")).state, 180)
      })
    )
  )

  it("two process managers of one name that fold differently have snapshots of their own", () => {
    const made = (evolve: (state: number) => number) =>
      ProcessManager.make("Counting", {
        events: [Deposited],
        correlate: { Deposited: () => "all" },
        initial: 0,
        evolve: { Deposited: evolve },
        react: { Deposited: () => [] },
        snapshot: { state: Schema.Int, every: 2 }
      }).journal.snapshot?.fingerprint
    assert.equal(
      made((n) => n + 1),
      made((n) => n + 1)
    )
    assert.notEqual(
      made((n) => n + 1),
      made((n) => n + 2)
    )
  })

  it.effect("replays when the schema of its state, or the version of its policy, has changed", () =>
    run(
      Effect.gen(function* () {
        yield* Repository.append(Kept, "1", deposits(10))
        yield* Repository.read(Kept, "1")
        const Wider = Aggregate.make("Account", {
          events: [Deposited, Renamed],
          initial: { count: 0 },
          evolve: { Deposited: ({ count }) => ({ count: count + 1 }), Renamed: (state) => state },
          snapshot: { state: Schema.Struct({ count: Schema.Int }), every: 10 }
        })
        assert.deepEqual((yield* Repository.read(Wider, "1")).state, { count: 10 })
        assert.notEqual(account(10, 2).snapshot?.fingerprint, Kept.snapshot?.fingerprint)
        assert.equal(account(50).snapshot?.fingerprint, Kept.snapshot?.fingerprint)
      })
    )
  )

  it.effect("replays when the snapshot is of a stream that is not this one any more, as after restoring a backup", () =>
    run(
      Effect.gen(function* () {
        const policy = Kept.snapshot ?? assert.fail("there is a policy")
        const snapshots = yield* Snapshots.Snapshots
        yield* Repository.append(Kept, "1", deposits(12))
        const forged = Result.getOrThrow(policy.encode({ owner: "Eve", balance: 1_000_000n, last: Option.none() }))
        for (const [version, eventId] of [
          [10, "another event"],
          [99, "an event beyond the end"]
        ] as const) {
          yield* snapshots.save({ stream: "Account-1", fingerprint: policy.fingerprint, version, eventId, state: forged })
          assert.deepEqual(yield* Repository.read(Kept, "1"), yield* Repository.read(Plain, "1"))
        }
      })
    )
  )

  it.effect("replays, and counts, when the snapshots cannot be loaded, saved or decoded", () => {
    const failure = Effect.fail(new Snapshots.SnapshotError({ operation: "test", cause: "broken" }))
    const broken: Snapshots.Snapshots["Service"] = {
      load: () => failure,
      save: () => failure,
      list: () => Effect.succeed([]),
      prune: () => failure,
      remove: () => failure
    }
    const garbled: Snapshots.Snapshots["Service"] = {
      load: (stream, fingerprint) => Effect.succeedSome({ stream, fingerprint, version: 5, eventId: "", state: "?" }),
      save: () => Effect.die("broken"),
      list: () => Effect.succeed([]),
      prune: () => failure,
      remove: () => failure
    }
    return run(
      Effect.gen(function* () {
        yield* Repository.append(Kept, "1", deposits(12))
        for (const service of [broken, garbled]) {
          const { version } = yield* Effect.provideService(Repository.read(Kept, "1"), Snapshots.Snapshots, service)
          assert.equal(version, 12)
        }
        assert.deepEqual(yield* outcomes, { failed: 4 })
      })
    )
  })

  it.effect("replaces the snapshot of another stream, so that it is not asked in vain again", () =>
    run(
      Effect.gen(function* () {
        const policy = Kept.snapshot ?? assert.fail("there is a policy")
        const snapshots = yield* Snapshots.Snapshots
        yield* Repository.append(Kept, "1", deposits(12))
        const forged = Result.getOrThrow(policy.encode({ owner: "Eve", balance: 1_000_000n, last: Option.none() }))
        for (const [version, state] of [
          [10, forged],
          [99, forged],
          [99, "not a state"]
        ] as const) {
          yield* snapshots.save({ stream: "Account-1", fingerprint: policy.fingerprint, version, eventId: "another", state })
          yield* Repository.read(Kept, "1")
          assert.equal(Option.getOrThrow(yield* snapshots.load("Account-1", policy.fingerprint)).version, 12)
        }
      })
    )
  )

  servers.it.effect("is loaded in a transaction of PostgreSQL that goes on when the snapshots cannot be", () => {
    const schema = freshSchema()
    const wiring = Layer.mergeAll(UnitOfWork.layerSql, Snapshots.layerSqlWith({ table: schema })).pipe(
      Layer.provideMerge(PgEventStore.layerWith({ schema, listen: false })),
      Layer.provideMerge(Layer.fresh(client()))
    )
    return Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* Repository.append(Kept, "1", deposits(12))
      yield* sql`drop table ${sql(schema)}`
      const { version } = yield* UnitOfWork.transact(
        Effect.tap(
          Repository.execute(Kept, "1", () => Effect.succeed(deposits(1))),
          () => Repository.read(Kept, "1")
        )
      )
      assert.equal(version, 13)
      assert.equal((yield* Repository.read(Kept, "1")).version, 13)
    }).pipe(Effect.provide(wiring))
  })

  it.effect("does without snapshots where the service is not provided, and for the past", () =>
    Effect.gen(function* () {
      yield* Repository.append(Kept, "1", deposits(12))
      assert.equal((yield* Repository.read(Kept, "1")).version, 12)
      const at = DateTime.makeUnsafe("9000-01-01T00:00:00Z")
      assert.equal((yield* Repository.read(Kept, "1", { at }).pipe(Effect.provide(Snapshots.layerMemory))).version, 12)
    }).pipe(Effect.provide(EventStore.layerMemory))
  )

  it("refuses a policy that makes no sense", () => {
    for (const every of [0, -1, 1.5, Number.NaN]) assert.throws(() => account(every), /snapshot\.every/)
  })
})
