import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Schema, Stream } from "effect"
import { Aggregate, Event, EventStore, MessageBus, Repository, UnitOfWork } from "eventfold"
import { Account, ada, Deposit, deposit } from "../support/bank.ts"
import { core, makeWirings, servers } from "../support/wirings.ts"
import { serverStorage } from "../postgres/support.ts"

const few = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))

/** What a unit of work does with what it sees, after how many turns of others; and again, where it loses. */
const Plan = Schema.Struct({
  does: Schema.Literals([
    "write",
    "write",
    "write twice",
    "refuse",
    "die",
    "roll back",
    "nothing",
    "write elsewhere too",
    "be interrupted"
  ]),
  retry: Schema.Boolean,
  turns: Schema.Tuple([few(8), few(4), few(4)])
})
const Plans = Schema.Array(Plan).check(Schema.isMinLength(2), Schema.isMaxLength(12))
/** What becomes of each append in turn, and how long it takes. */
const Appends = Schema.Array(
  Schema.Struct({ fate: Schema.Literals(["well", "well", "well", "refused", "lost", "another first"]), turns: few(6) })
).check(Schema.isMaxLength(8))

const Seen = Event.make("Seen", { by: Schema.String, seen: Schema.Int })
const Line = Aggregate.make("Line", { events: [Seen], initial: 0, evolve: { Seen: (n) => n + 1 } })

const turns = (count: number) => Effect.forEach(Array.from({ length: count }), () => Effect.yieldNow, { discard: true })

const unitOf = (index: number, { does, turns: [before, deciding, after] }: typeof Plan.Type, seen: Array<number>) =>
  UnitOfWork.transact(
    Effect.gen(function* () {
      yield* turns(before)
      const decide = (part: number) =>
        Repository.execute(Line, "1", (n) =>
          Effect.gen(function* () {
            seen.push(n)
            yield* turns(deciding)
            if (does === "refuse") return yield* Effect.fail({ refused: n })
            return does === "nothing" ? [] : [Seen.make({ by: `${index}.${part}`, seen: n })]
          })
        )
      yield* decide(0)
      if (does === "write twice") yield* decide(1)
      if (does === "write elsewhere too") {
        yield* Repository.execute(Line, "2", (n) => [Seen.make({ by: `${index}.1`, seen: n })])
      }
      yield* turns(after)
      if (does === "die") return yield* Effect.die("as planned")
      if (does === "be interrupted") return yield* Effect.interrupt
      if (does === "roll back") yield* UnitOfWork.rollback
    })
  )

/** A store that is as slow and as faulty as planned. */
const faulty = (store: EventStore.EventStore["Service"], appends: typeof Appends.Type) => {
  let nth = 0
  const injected = { operation: "append", detail: "as planned" }
  return EventStore.EventStore.of({
    ...store,
    appendAll: (parts, options) =>
      Effect.gen(function* () {
        const { fate, turns: count } = appends[nth++] ?? { fate: "well", turns: 1 }
        yield* turns(count)
        if (fate === "refused") {
          return yield* new EventStore.EventStoreError({ reason: new EventStore.StoreUnavailable(injected) })
        }
        if (fate === "another first") {
          const version = yield* store.version("Line-1")
          yield* store.append("Line-1", [{ type: "Seen", payload: { by: "another", seen: version } }])
        }
        const results = yield* store.appendAll(parts, options)
        if (fate !== "lost") return results
        return yield* new EventStore.EventStoreError({ reason: new EventStore.OutcomeUnknown(injected) })
      })
  })
}

core.describe("whatever the interleaving, units of work on one aggregate are as if they came one after the other", () => {
  it.effect.prop(
    "and as if none that was not written had been",
    { plans: Plans, appends: Appends },
    ({ appends, plans }) =>
      Effect.gen(function* () {
        const store = yield* EventStore.makeMemory
        const head = store.version("Line-1")
        const Live = UnitOfWork.layer.pipe(Layer.provideMerge(Layer.succeed(EventStore.EventStore, faulty(store, appends))))
        const ends = yield* Effect.forEach(
          plans,
          (plan, index) =>
            Effect.gen(function* () {
              const seen: Array<number> = []
              const from = yield* head
              const unit = unitOf(index, plan, seen)
              const exit = yield* Effect.exit(plan.retry ? UnitOfWork.retryConflicts(unit, { times: 30 }) : unit)
              return { plan, seen, exit, from, to: yield* head }
            }),
          { concurrency: "unbounded" }
        ).pipe(Effect.provide(Live))
        for (const line of ["Line-1", "Line-2"]) {
          const log = yield* Stream.runCollect(store.read(line))
          assert.deepEqual(
            log.map(({ payload }) => (payload as typeof Seen.Encoded).seen),
            Array.from(log.keys()),
            line
          )
        }
        const log = (yield* Stream.runCollect(store.readAll())).map(({ payload }) => (payload as typeof Seen.Encoded).by)
        for (const [index, { exit, from, plan, seen, to }] of ends.entries()) {
          const written = log.filter((by) => by.startsWith(`${index}.`)).length
          const wanted = { write: 1, "write twice": 2, "write elsewhere too": 2 }[plan.does as string] ?? 0
          const text = Exit.isSuccess(exit) ? "" : Cause.pretty(exit.cause)
          if (Exit.isSuccess(exit)) assert.equal(written, wanted)
          else if (/OutcomeUnknown/.test(text)) assert.ok(written === 0 || written === wanted)
          else assert.equal(written, 0)
          // Who was told something, and wrote nothing, was told what stood at some time since it asked.
          const told = Exit.isSuccess(exit) || /refused|as planned"?$/.test(text.split("\n")[0] ?? "")
          const last = seen.at(-1) ?? 0
          if (wanted === 0 && told && plan.does !== "be interrupted")
            assert.ok(from <= last && last <= to, `${from} ≤ ${last} ≤ ${to}`)
        }
        // Nothing is left behind: the next one is decided on all that stands.
        const next = yield* unitOf(99, { does: "write", retry: false, turns: [0, 0, 0] }, []).pipe(
          Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(Layer.succeed(EventStore.EventStore, store))))
        )
        assert.equal(next, undefined)
      }),
    { arbitrary: { runs: 300 } }
  )
})

const { concurrentlyOnEveryStore } = makeWirings()

const depositing = MessageBus.handle(Deposit, ({ account, amount }) =>
  Effect.map(deposit(account, amount), ({ state }) => state.balance)
)
const Bus = depositing.pipe(Layer.provideMerge(MessageBus.layer))

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1)

/** All callers at once, each so many times: what each was told. */
const told = (callers: number, times: number, options: UnitOfWork.RetryOptions) =>
  Effect.map(
    Effect.forEach(
      upTo(callers),
      () =>
        Effect.replicateEffect(
          UnitOfWork.retryConflicts(MessageBus.execute(Deposit, { account: ada, amount: 1 }), options),
          times
        ),
      { concurrency: "unbounded" }
    ),
    (balances) => balances.flat().toSorted((a, b) => a - b)
  )

describe("many callers of one aggregate", () => {
  concurrentlyOnEveryStore((test) => {
    test("are told what each of their commands came to, and none is lost", () =>
      Effect.gen(function* () {
        assert.deepEqual(yield* told(32, 5, { times: 1000 }), upTo(160))
        assert.equal((yield* Repository.read(Account, ada)).version, 160)
      }).pipe(Effect.provide(Bus)))
  })

  servers.it.live("of one process do not lose against each other, and those of two get on beside each other", () =>
    Effect.gen(function* () {
      const storage = yield* serverStorage
      const process = Layer.fresh(Bus.pipe(Layer.provideMerge(UnitOfWork.layer), Layer.provideMerge(storage)))
      const [one, other] = [yield* Layer.build(process), yield* Layer.build(process)]
      assert.deepEqual(yield* Effect.provideContext(told(32, 10, { times: 0 }), one), upTo(320))
      const both = yield* Effect.all(
        [one, other].map((context) => Effect.provideContext(told(16, 20, { times: 1000 }), context)),
        { concurrency: "unbounded" }
      )
      assert.deepEqual(
        both.flat().toSorted((a, b) => a - b),
        upTo(640).map((n) => 320 + n)
      )
    })
  )
})
