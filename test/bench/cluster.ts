/**
 * Aggregates as entities of a cluster beside plain execution, in two processes that also have the callers.
 *
 * Each caller waits for one answer before it asks again; whoever loses a race is run again, as often as it takes. Plain execution is measured with the
 * queues that `UnitOfWork.layer` has within a process, and without.
 */
import { Effect, Result, type Scope } from "effect"
import { Event, EventStore } from "eventfold"
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { freePort } from "../support/clusterNode.ts"
import { type Case, type Run, type Sample, type Span } from "./harness.ts"
import { type Address } from "./lab.ts"
import { deposited, MoneyDeposited } from "./model.ts"

type Mode = "entities" | "plain" | "plain, without queues"

/** What one of the two processes is asked to do. */
export interface Job {
  readonly address: Address
  readonly port: number
  readonly mode: Mode
  readonly aggregates: number
  readonly callers: number
  readonly span: Span
}

/** What it answers; `done` is how many commands have succeeded in all. */
export type Answer = Pick<Sample, "units" | "millis" | "latencies"> & { readonly done: number }

interface Load {
  readonly title: string
  readonly aggregates: number
  /** How many events the aggregate begins with. */
  readonly before: number
  readonly callers: number
}

const loads: ReadonlyArray<Load> = [
  { title: "one hot aggregate, 64 callers", aggregates: 1, before: 0, callers: 64 },
  { title: "1 000 aggregates, 64 callers", aggregates: 1000, before: 0, callers: 64 },
  { title: "one aggregate of 5 000 events, 4 callers", aggregates: 1, before: 5000, callers: 4 }
]

const modes: ReadonlyArray<Mode> = ["plain, without queues", "plain", "entities"]

const start: Effect.Effect<ChildProcess, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => fork(fileURLToPath(new URL("clusterWorker.ts", import.meta.url)), { execArgv: process.execArgv })),
  (child) => Effect.sync(() => child.kill())
)

const ask = (child: ChildProcess, job: Job): Effect.Effect<Answer, Error> =>
  Effect.callback((resume) => {
    child.once("message", (answer) => resume(Effect.succeed(answer as Answer)))
    child.once("exit", (code) => resume(Effect.fail(new Error(`a process of the benchmark ended with code ${code}`))))
    child.send(job)
  })

const running =
  ({ aggregates, before, callers }: Load, mode: Mode, span: Span): Run =>
  ({ address, connect, store }) =>
    Effect.gen(function* () {
      const event = Result.getOrThrow(Event.encode(MoneyDeposited, deposited(0)))
      for (let nth = 0; nth < before; nth += 500) {
        yield* EventStore.append(
          "Account-a0",
          Array.from({ length: Math.min(500, before - nth) }, () => event)
        )
      }
      const children = yield* Effect.replicateEffect(start, 2)
      const answers = yield* Effect.forEach(
        children,
        (child) =>
          Effect.flatMap(freePort, (port) => ask(child, { address, port, mode, aggregates, callers: callers / 2, span })),
        { concurrency: "unbounded" }
      )
      const done = answers.reduce((sum, { done }) => sum + done, 0)
      const { query } = yield* connect
      const [row] = yield* query(`select count(*)::float8 from "${address.schema}".event where type = 'MoneyDeposited'`)
      if (row?.[0] !== before + done) {
        return yield* Effect.fail(new Error(`${done} commands came to ${String(row?.[0])} events, behind ${before}`))
      }
      return {
        units: answers.reduce((sum, { units }) => sum + units, 0),
        millis: Math.max(...answers.map(({ millis }) => millis)),
        latencies: answers.flatMap(({ latencies }) => latencies),
        events: yield* EventStore.head
      }
    }).pipe(Effect.provide(store))

export const clusterCases = (scale: number): ReadonlyArray<Case> => {
  // Until the processes have shared the shards out among themselves, and each aggregate has been read.
  const span = { warmUp: 3000, millis: 3000 * scale }
  return loads.flatMap((load) => {
    const nameOf = (mode: Mode) => `cluster: ${load.title}, ${mode}`
    return modes.map((mode): Case => ({
      name: nameOf(mode),
      place: "postgres",
      unit: "commands",
      group: `cluster: ${load.title}`,
      ...(mode === "entities" && { base: nameOf("plain, without queues") }),
      // What the entities are beside. With its queues, plain execution has a page of its own: the guide on scaling.
      ...(mode !== "plain" && { chart: { title: "Aggregates on a cluster, beside plain execution in two processes" } }),
      ours: running(load, mode, span)
    }))
  })
}
