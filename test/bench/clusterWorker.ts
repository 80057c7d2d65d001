import { Effect, Layer, References } from "effect"
import { MessageBus, UnitOfWork } from "eventfold"
import { ClusterBus } from "eventfold/cluster"
import { PgEventStore } from "eventfold/postgres"
import { nodeOf } from "../support/clusterNode.ts"
import { type Answer, type Job } from "./cluster.ts"
import { during } from "./harness.ts"
import { Account, Deposit, depositHandler } from "./model.ts"

// One of the processes of the cases of clusters: it owns aggregates, and has callers. It is sent a job, and answers when it has measured.

const options = { id: { Deposit: ({ account }: { readonly account: string }) => account } }

const liveOf = ({ address, mode, port }: Job) =>
  (mode === "entities"
    ? Layer.merge(
        Layer.provide(ClusterBus.layerRunner(Account, [Deposit], options), depositHandler),
        ClusterBus.layerClient(Account, [Deposit], options)
      )
    : depositHandler
  ).pipe(
    Layer.provideMerge(MessageBus.layer),
    Layer.provideMerge(mode === "plain, without queues" ? UnitOfWork.layerWith({ maxTurn: 0 }) : UnitOfWork.layer),
    Layer.provideMerge(PgEventStore.layerWith({ schema: address.schema })),
    Layer.provideMerge(nodeOf({ ...address, port }, { shardLockExpiration: "30 seconds", shardLockRefreshInterval: "5 seconds" }))
  )

const work = (job: Job): Effect.Effect<Answer, unknown> =>
  Effect.gen(function* () {
    let done = 0
    const measured = yield* during(job.callers, job.span, (caller, nth) =>
      MessageBus.execute(Deposit, { account: `a${(caller + nth * 7) % job.aggregates}`, amount: 1 }).pipe(
        UnitOfWork.retryConflicts({ times: Infinity }),
        Effect.tap(() => Effect.sync(() => done++))
      )
    )
    return { ...measured, done }
  }).pipe(Effect.provide(liveOf(job)), Effect.provideService(References.MinimumLogLevel, "Warn"))

const job = await new Promise<Job>((resolve) => process.once("message", (message) => resolve(message as Job)))
const answer = await Effect.runPromise(work(job))
process.send?.(answer, undefined, undefined, () => process.exit())
