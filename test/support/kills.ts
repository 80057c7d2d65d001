/** Processes that do the same work, of which one after the other is killed where it stands. */
import { Effect, type Scope } from "effect"
import { type Child, startChild } from "./child.ts"
import { freePort } from "./clusterNode.ts"
import { eventually } from "./words.ts"

/** How many processes are killed: `EVENTFOLD_TEST_KILLS` sets it. */
export const kills = Number(process.env["EVENTFOLD_TEST_KILLS"] ?? 50)

/** How long a test of them may take, in milliseconds: three seconds for each on two idle cores. */
export const killsTimeout = 240_000 + 10_000 * kills

/** How many processes work at a time. */
const processes = 3

/**
 * Runs `during` in each round, and kills one of the processes at any moment within it, until so many have been killed. Another takes the place of each
 * before that, so that the number of those that work stays. `killed` is told of each. Gives those that are left.
 */
export const killing = <E, R>(
  module: URL,
  input: object,
  during: (round: number) => Effect.Effect<unknown, E, R>,
  killed: () => void = () => {}
): Effect.Effect<ReadonlyArray<Child>, E, R | Scope.Scope> =>
  Effect.gen(function* () {
    const start = Effect.flatMap(freePort, (port) => startChild(module, { ...input, port }))
    const running: Array<Child> = yield* Effect.forEach(Array.from({ length: processes }), () => start)
    // A busy machine takes its time to load them.
    const ready = ({ lines }: Child) =>
      eventually(
        "it is ready",
        Effect.sync(() => lines.includes("ready")),
        "60 seconds"
      )
    for (const child of running) yield* ready(child)
    for (let round = 1; round <= kills; round++) {
      const next = yield* start
      yield* during(round)
      yield* ready(next)
      const [victim] = running.splice(Math.floor(Math.random() * running.length), 1)
      running.push(next)
      yield* (victim as Child).kill
      killed()
    }
    return running
  })
