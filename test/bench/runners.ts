import { Effect, type Scope } from "effect"
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { type Build } from "./build.ts"
import { type Sample } from "./harness.ts"
import { type Order, type Outcome } from "./runner.ts"

/** Runs a side of a case on one build: this one, or another. */
export type Runner = (order: Order) => Effect.Effect<Sample, Error>

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url))

const ask = (child: ChildProcess, order: Order): Effect.Effect<Outcome, Error> =>
  Effect.callback((resume) => {
    const settle = (result: Effect.Effect<Outcome, Error>) => {
      child.off("exit", onExit).off("message", onMessage)
      resume(result)
    }
    const onExit = (code: number | null) => settle(Effect.fail(new Error(`its process ended with code ${code}`)))
    const onMessage = (outcome: Outcome) => settle(Effect.succeed(outcome))
    child.on("exit", onExit).on("message", onMessage)
    if (child.connected) child.send(order)
    else onExit(child.exitCode)
  })

/** A process that runs what it is asked to, until the scope closes. */
export const makeRunner = (build?: Build): Effect.Effect<Runner, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() =>
      fork(path("runner.ts"), {
        execArgv: build === undefined ? process.execArgv : [...process.execArgv, "--import", path("resolve.ts")],
        env: build === undefined ? process.env : { ...process.env, EVENTFOLD_BENCH_BUILD: build.folder },
        serialization: "advanced"
      })
    ),
    (child) => Effect.sync(() => child.kill())
  ).pipe(
    Effect.map(
      (child) => (order) =>
        Effect.flatMap(ask(child, order), (outcome) =>
          "sample" in outcome ? Effect.succeed(outcome.sample) : Effect.fail(new Error(outcome.failure))
        )
    )
  )
