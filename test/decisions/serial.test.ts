import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Schema, Stream } from "effect"
import { Aggregate, Decision, Event, EventStore, Tag, UnitOfWork } from "eventfold"
import { SqliteClient, SqliteEventStore } from "eventfold/sqlite"

const thing = Tag.make("thing", Schema.FiniteFromString)

/** A decision's event: about some things, and what the decision had seen. */
const Counted = Event.make(
  "Counted",
  { things: Schema.Array(Schema.Int), by: Schema.String, seen: Schema.Int },
  { tags: ({ things }) => things.map((n) => thing(n)) }
)
const Count = Decision.make("Count", { tags: { thing }, events: [Counted], initial: 0, evolve: { Counted: (n) => n + 1 } })
/** What stood in the newest event about a thing. */
const Last = Decision.make("Last", {
  tags: { thing },
  events: [Counted],
  initial: 0,
  evolve: { Counted: (_, { seen }) => seen + 1 },
  read: "last"
})
const Box = Aggregate.make("Box", { events: [Counted], initial: 0, evolve: { Counted: (n, { seen }) => n + seen + 1 } })

const few = (maximum: number, minimum = 0) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
const some = Schema.Array(few(2)).check(Schema.isMinLength(1), Schema.isMaxLength(3))

/** What is read and written by one decision, and how often others get a turn before it reads, decides and stages. */
const Plan = Schema.Struct({
  counts: some,
  lasts: Schema.Array(few(2)).check(Schema.isMaxLength(1)),
  box: Schema.Boolean,
  into: Schema.Boolean,
  writes: some,
  /** It writes unless what it has seen is a multiple of this. */
  unless: few(4, 2),
  turns: Schema.Tuple([few(6), few(6), few(6)])
})
/** Units of work, of one or two decisions each. */
const Plans = Schema.Array(Schema.Array(Plan).check(Schema.isMinLength(1), Schema.isMaxLength(2))).check(Schema.isMaxLength(7))
type Plan = typeof Plan.Type

const turns = (count = 0) => Effect.forEach(Array.from({ length: count }), () => Effect.yieldNow, { discard: true })

const boundaryOf = ({ box, counts, lasts }: Plan) =>
  Decision.all({
    counts: Decision.all(counts.map((n) => Count({ thing: n }))),
    lasts: Decision.all(lasts.map((n) => Last({ thing: n }))),
    box: Decision.all(box ? [Decision.aggregate(Box, "1")] : [])
  }).pipe(
    Decision.map(({ box, counts, lasts }) => [...counts, ...lasts, ...box].reduce((sum, n, index) => sum + (index + 1) * n, 0))
  )

/** What the decision comes to. */
const decided = (by: string, { unless, writes }: Plan, seen: number) =>
  seen % unless === unless - 1 ? [] : [Counted.make({ things: [...new Set(writes)], by, seen })]

const run = (by: string, plan: Plan, seen: Array<readonly [Plan, number]>) =>
  Effect.gen(function* () {
    const [before, deciding, after] = plan.turns
    yield* turns(before)
    const decide = (state: number) =>
      Effect.gen(function* () {
        seen.push([plan, state])
        yield* turns(deciding)
        return decided(by, plan, state)
      })
    yield* plan.into
      ? Decision.execute(boundaryOf(plan), Decision.into(Box, "1"), decide)
      : Decision.execute(boundaryOf(plan), `Thing-${plan.writes[0]}`, decide)
    yield* turns(after)
  })

/** The state of a plan's boundary after the first events of the log: by counting, and by nothing of `Decision`. */
const expected = ({ box, counts, lasts }: Plan, log: ReadonlyArray<readonly [stream: string, event: typeof Counted.Type]>) => {
  const about = (n: number) => log.filter(([, { things }]) => things.includes(n)).map(([, { seen }]) => seen)
  const states = [
    ...counts.map((n) => about(n).length),
    ...lasts.map((n) => (about(n).at(-1) ?? -1) + 1),
    ...(box ? [log.reduce((sum, [stream, { seen }]) => (stream === "Box-1" ? sum + seen + 1 : sum), 0)] : [])
  ]
  return states.reduce((sum, n, index) => sum + (index + 1) * n, 0)
}

/** Runs all units of work at once, and holds the outcome against the same decisions one after the other, in the order of the log. */
const holds = (plans: ReadonlyArray<ReadonlyArray<Plan>>) =>
  Effect.gen(function* () {
    const store = yield* EventStore.EventStore
    const slow = EventStore.EventStore.of({
      ...store,
      readBoundary: (...args) => Effect.tap(store.readBoundary(...args), () => turns(args[0].length))
    })
    const exits = yield* Effect.forEach(
      plans,
      (unit, index) => {
        const seen: Array<readonly [Plan, number]> = []
        // What took something for true that was not runs again, and nobody hears of it.
        return Effect.sync(() => seen.splice(0)).pipe(
          Effect.andThen(Effect.forEach(unit, (plan, part) => run(`${index}.${part}`, plan, seen), { discard: true })),
          UnitOfWork.transact,
          Effect.provideService(EventStore.EventStore, slow),
          Effect.exit,
          Effect.map((exit) => ({ exit, seen }))
        )
      },
      { concurrency: "unbounded" }
    )
    const recorded = yield* Stream.runCollect(EventStore.readAll())
    const log = yield* Effect.forEach(recorded, (event) =>
      Effect.map(Effect.fromResult(Event.decode(Counted, event)), (counted) => [event.stream, counted] as const)
    )
    // Whatever was written has seen all that stands before it.
    for (const [index, [, { by, seen }]] of log.entries()) {
      const [unit = 0, part = 0] = by.split(".").map(Number)
      assert.equal(seen, expected(plans[unit]?.[part] as Plan, log.slice(0, index)))
    }
    for (const [unit, { exit, seen }] of exits.entries()) {
      const written = log.filter(([, { by }]) => by.startsWith(`${unit}.`)).length
      if (Exit.isFailure(exit)) {
        assert.match(String(exit), /AppendConditionError|OptimisticLockError/)
        assert.equal(written, 0)
        continue
      }
      // Whoever wrote nothing has seen what stood somewhere in the log. (An aggregate is read by itself.)
      for (const [plan, state] of seen) {
        if (plan.box) continue
        const states = Array.from({ length: log.length + 1 }, (_, length) => expected(plan, log.slice(0, length)))
        assert.ok(states.includes(state))
      }
    }
    return exits.filter(({ exit }) => Exit.isSuccess(exit)).length
  })

const wirings = {
  memory: EventStore.layerMemory,
  "memory, with a cache": Layer.merge(Decision.layerCacheWith({ capacity: 3 }), EventStore.layerMemory),
  "memory, with an optimistic cache": Layer.merge(
    Decision.layerCacheWith({ capacity: 3, optimistic: true }),
    EventStore.layerMemory
  ),
  SQLite: SqliteEventStore.layer.pipe(Layer.provide(SqliteClient.layer({ filename: ":memory:" })))
}

describe("whatever the interleaving, it is as if decisions were made one after the other", () => {
  for (const [name, layer] of Object.entries(wirings)) {
    it.effect.prop(
      name,
      { some: Plans, more: Plans },
      ({ more, some }) =>
        Effect.gen(function* () {
          yield* holds([...some, ...more])
        }).pipe(Effect.provide(Layer.fresh(UnitOfWork.layer.pipe(Layer.provideMerge(layer))))),
      { arbitrary: { runs: name === "SQLite" ? 40 : 150 } }
    )
  }

  it.effect("and most of them do race", () =>
    Effect.gen(function* () {
      const plan: Plan = { counts: [0], lasts: [], box: false, into: false, writes: [0], unless: 4, turns: [0, 3, 0] }
      assert.equal(yield* holds(Array.from({ length: 6 }, () => [plan])), 1)
    }).pipe(Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))))
  )
})
