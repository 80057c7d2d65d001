import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Schema, Stream } from "effect"
import { ClusterWorkflowEngine, TestRunner } from "effect/cluster"
import { SqlClient } from "effect/sql"
import { Activity, DurableDeferred, Workflow, WorkflowEngine } from "effect/workflow"
import { Checkpoints, Command, Event, EventStore, MessageBus, Subscription, UnitOfWork } from "eventfold"
import { SqliteClient, SqliteEventStore } from "eventfold/sqlite"
import { Workflows } from "eventfold/workflow"
import { ada, Deposit, deposit, Deposited, Overdrawn, Withdraw, withdraw } from "../support/bank.ts"
import { until } from "../support/child.ts"
import { logs } from "../support/logs.ts"

const Requested = Event.make("Requested", { account: Schema.Literal("ada"), amount: Schema.Int })
const Approved = Event.make("Approved", { request: Schema.String, by: Schema.NullOr(Schema.String) })

class Refused extends Schema.TaggedError<Refused>()("Refused", {}) {}
const Approval = DurableDeferred.make("approval", { success: Schema.String, error: Refused })

const Pay = Workflow.make("Pay", {
  payload: { request: Schema.String, amount: Schema.Int },
  success: Schema.Struct({ by: Schema.String, balance: Schema.Int }),
  error: Schema.Union([Refused, Overdrawn]),
  idempotencyKey: ({ request }) => request
})

let bodies = 0
const PayLive = Workflows.toLayer(Pay, ({ amount }) =>
  Effect.gen(function* () {
    bodies++
    yield* Workflows.commandActivity("deposit", Deposit, { account: ada, amount })
    const by = yield* DurableDeferred.await(Approval)
    const balance = yield* Workflows.commandActivity("withdraw", Withdraw, { account: ada, amount: by === "all" ? 1000 : 1 })
    return { by, balance }
  }).pipe(Pay.withCompensation(() => Effect.void))
)

const Bank = Layer.merge(
  MessageBus.handle(Deposit, ({ account, amount }) => Effect.map(deposit(account, amount), ({ state }) => state.balance)),
  MessageBus.handle(Withdraw, ({ account, amount }) => Effect.map(withdraw(account, amount), ({ state }) => state.balance))
)

const engines = {
  "in memory": WorkflowEngine.layerMemory,
  "on a cluster": ClusterWorkflowEngine.layer.pipe(Layer.provideMerge(TestRunner.layer))
}

const tokenOf = (request: string) =>
  DurableDeferred.tokenFromPayload(Approval, { workflow: Pay, payload: { request, amount: 0 } })

const live = (engine: Layer.Layer<WorkflowEngine.WorkflowEngine>) =>
  Layer.mergeAll(
    Workflows.startedBy(Pay, Requested, {
      name: "payments",
      payload: ({ amount }, { event }) => (amount === 0 ? undefined : { request: event.stream, amount })
    }),
    Workflows.completedBy(Approval, Approved, {
      name: "approvals",
      token: ({ request }) => (request === "" ? undefined : tokenOf(request)),
      exit: ({ by }) => (by === null ? Exit.fail(new Refused()) : Exit.succeed(by))
    })
  ).pipe(
    Layer.provideMerge(PayLive),
    Layer.provideMerge(engine),
    Layer.provideMerge(Bank),
    Layer.provideMerge(MessageBus.layer),
    Layer.provideMerge(UnitOfWork.layer),
    Layer.provideMerge(Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory))
  )

const request = (name: string, amount: number) =>
  EventStore.append(`Request-${name}`, [{ type: "Requested", payload: { account: "ada", amount } }])
const approve = (name: string, by: string | null) =>
  EventStore.append(`Request-${name}`, [{ type: "Approved", payload: { request: name === "" ? "" : `Request-${name}`, by } }])

const ofType = (type: string) =>
  Effect.map(Stream.runCollect(EventStore.readAll({ filter: { types: [type] } })), (events) => Array.from(events))

for (const [name, engine] of Object.entries(engines)) {
  describe(`workflows with an engine ${name}`, () => {
    it.live("are started and woken by events, execute commands once, and leave their start and end in the log", () =>
      Effect.gen(function* () {
        logs(/"payments" failed and starts again \(The lease/, /"approvals" failed and starts again \(The lease/)
        yield* request("0", 0)
        yield* request("1", 5)
        yield* until(
          "it waits",
          Effect.map(ofType("Deposited"), ({ length }) => length === 1)
        )
        yield* approve("", "nobody")
        yield* approve("1", "ben")
        yield* until(
          "it has ended",
          Effect.map(ofType("WorkflowEnded"), ({ length }) => length === 1)
        )
        // What is delivered again changes nothing.
        yield* approve("1", "cleo")
        for (const follower of ["payments", "approvals"]) {
          yield* Subscription.pause(follower)
          yield* Checkpoints.Checkpoints.use(({ reset }) => reset(`subscription:${follower}`, 0))
          yield* Subscription.resume(follower)
          yield* until(
            `${follower} has caught up`,
            Effect.gen(function* () {
              const { position } = yield* Subscription.status(follower)
              return position === (yield* EventStore.head)
            })
          )
        }
        const result = yield* Pay.execute({ request: "Request-1", amount: 5 })
        assert.deepEqual(result, { by: "ben", balance: 4 })
        for (const type of ["Deposited", "Withdrawn", "WorkflowStarted", "WorkflowEnded"]) {
          assert.equal((yield* ofType(type)).length, 1, type)
        }

        const execution = yield* Pay.executionId({ request: "Request-1", amount: 5 })
        const [started] = yield* ofType("WorkflowStarted")
        const [ended] = yield* ofType("WorkflowEnded")
        assert.equal(started?.stream, Workflows.streamOf(Pay, execution))
        assert.deepEqual(started?.payload, { workflow: "Pay", execution })
        assert.deepEqual(ended?.payload, { workflow: "Pay", execution, outcome: "succeeded", reason: null })
        // All of it bears the id of the execution.
        const all = yield* Stream.runCollect(EventStore.readAll({ filter: { correlationId: execution } }))
        assert.deepEqual(
          Array.from(all, ({ type }) => type).filter(
            (type) => !type.startsWith("$") && type !== "Deposit" && type !== "Withdraw"
          ),
          ["WorkflowStarted", "Deposited", "Withdrawn", "WorkflowEnded"]
        )
      }).pipe(Effect.provide(live(engine)))
    )

    it.live("fail with the errors of their commands and of what they wait for, and say so in the log", () =>
      Effect.gen(function* () {
        yield* request("2", 5)
        yield* request("3", 5)
        yield* approve("2", "all")
        yield* approve("3", null)
        const overdrawn = yield* Effect.flip(Pay.execute({ request: "Request-2", amount: 5 }))
        assert.ok(overdrawn instanceof Overdrawn)
        assert.ok((yield* Effect.flip(Pay.execute({ request: "Request-3", amount: 5 }))) instanceof Refused)
        yield* until(
          "both are told of",
          Effect.map(ofType("WorkflowEnded"), ({ length }) => length === 2)
        )
        const ended = (yield* ofType("WorkflowEnded")).map(({ payload }) => payload as typeof Workflows.Ended.Type)
        assert.deepEqual(ended.map(({ outcome, reason }) => `${outcome} ${reason}`).sort(), [
          "failed Overdrawn",
          "failed Refused"
        ])
      }).pipe(Effect.provide(live(engine)))
    )

    it.live("that somebody interrupts say so", () =>
      Effect.gen(function* () {
        yield* request("4", 5)
        yield* until(
          "it waits",
          Effect.map(ofType("Deposited"), ({ length }) => length === 1)
        )
        yield* Pay.interrupt(yield* Pay.executionId({ request: "Request-4", amount: 5 }))
        yield* until(
          "it has ended",
          Effect.map(ofType("WorkflowEnded"), ({ length }) => length === 1)
        )
        const [ended] = yield* ofType("WorkflowEnded")
        assert.deepEqual((ended?.payload as Record<string, unknown> | undefined)?.["outcome"], "interrupted")
      }).pipe(Effect.provide(live(engine)))
    )
  })
}

describe("a command as an activity", () => {
  const Twice = Workflow.make("Twice", { payload: { key: Schema.String }, success: Schema.Int, idempotencyKey: ({ key }) => key })
  /** An engine that forgets what an activity gave, as one whose database was lost with its process. */
  const forgetful = (body: Effect.Effect<number, Overdrawn, unknown>) =>
    Effect.gen(function* () {
      const instance = WorkflowEngine.WorkflowInstance.initial(Twice, "execution")
      return yield* Effect.provideService(body, WorkflowEngine.WorkflowInstance, instance)
    })

  it.effect("takes effect once where the engine has lost its result, and anew in another attempt", () =>
    Effect.gen(function* () {
      const activity = Workflows.commandActivity("deposit", Deposit, { account: ada, amount: 5 })
      const run = forgetful(activity.execute) as Effect.Effect<number>
      assert.deepEqual([yield* run, yield* run], [5, 5])
      assert.equal(yield* Effect.provideService(run, Activity.CurrentAttempt, 2), 10)
      assert.equal((yield* ofType(Deposited.type)).length, 2)
    }).pipe(
      Effect.scoped,
      Effect.provide(
        Bank.pipe(
          Layer.provideMerge(MessageBus.layer),
          Layer.provideMerge(UnitOfWork.layer),
          Layer.provideMerge(EventStore.layerMemory),
          Layer.provideMerge(WorkflowEngine.layerMemory)
        )
      )
    )
  )

  it.live("decides again when others were first, asks an absent store again, and gives up with a defect", () =>
    Effect.gen(function* () {
      const Note = Command.make("Note", { success: Schema.Int })
      const reason = { operation: "append", detail: "gone" }
      const away = new EventStore.EventStoreError({ reason: new EventStore.StoreUnavailable(reason) })
      const broken = new EventStore.EventStoreError({ reason: new EventStore.StoreFailure(reason) })
      const lost = new EventStore.OptimisticLockError({ stream: "Note-1", expected: 0, actual: 1 })
      const failures: Array<typeof away | typeof lost> = [lost, lost, away, lost]
      let done = 0
      const NoteLive = MessageBus.handle(Note, () =>
        Effect.suspend(() => {
          const failure = failures.shift()
          return failure === undefined ? Effect.sync(() => ++done) : Effect.fail(failure)
        })
      )
      const Live = NoteLive.pipe(
        Layer.provideMerge(MessageBus.layer),
        Layer.provideMerge(UnitOfWork.layer),
        Layer.provideMerge(EventStore.layerMemory),
        Layer.provideMerge(WorkflowEngine.layerMemory)
      )
      const run = (name: string) =>
        forgetful(Workflows.commandActivity(name, Note, undefined).execute).pipe(
          Effect.scoped,
          Effect.provide(Live)
        ) as Effect.Effect<number>
      assert.equal(yield* run("note"), 1)
      failures.push(broken)
      const exit = yield* Effect.exit(run("other"))
      assert.ok(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.equal(Cause.squash(exit.cause), broken)
    })
  )

  it.live("that is handled elsewhere is sent under one id until it is answered, also within a transaction of the engine", () =>
    Effect.gen(function* () {
      const Ask = Command.make("Ask", { success: Schema.Int })
      const ids: Array<string | undefined> = []
      const AskElsewhere = MessageBus.handleElsewhere(Ask, ({ id }) => {
        ids.push(id)
        return ids.length === 1
          ? Effect.fail(
              new Command.CommandElsewhereError({ command: "Ask", reason: "unanswered", detail: "nobody has answered" })
            )
          : Effect.succeed({ outcome: "success" as const, value: 7, position: 0 })
      })
      const Live = AskElsewhere.pipe(
        Layer.provideMerge(MessageBus.layer),
        Layer.provideMerge(UnitOfWork.layerSql),
        Layer.provideMerge(SqliteEventStore.layer),
        Layer.provideMerge(SqliteClient.layer({ filename: ":memory:" })),
        Layer.provideMerge(WorkflowEngine.layerMemory)
      )
      const asked = forgetful(Workflows.commandActivity("ask", Ask, undefined).execute) as Effect.Effect<number>
      const answer = SqlClient.SqlClient.use((sql) => sql.withTransaction(asked))
      assert.equal(yield* Effect.provide(answer, Live), 7)
      assert.deepEqual(ids, ["execution/ask/1", "execution/ask/1"])
    })
  )
})
