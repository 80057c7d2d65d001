/** The task list: `npm run example:tasks`. */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { EventStore } from "eventfold"
import { program } from "./tasks.ts"

const main = Effect.gen(function* () {
  const { all, conflict, missing, task } = yield* program
  yield* Console.log(`Optimistic locking: ${conflict}`)
  yield* Console.log(`A task that must exist and does not: ${missing}`)
  yield* Console.log(`Task 1 at version ${task.version}: ${JSON.stringify(task.state)}`)
  yield* Console.log(["Everything, in the order of its commits:", ...all.map((line) => `  ${line}`)].join("\n"))
})

NodeRuntime.runMain(Effect.provide(main, EventStore.layerMemory))
