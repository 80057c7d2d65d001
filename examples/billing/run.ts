/** A short story with both services: `npm run example:billing`. With `-- --serve` they go on, for the `curl` lines that it prints. */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { tell } from "./story.ts"

NodeRuntime.runMain(Effect.scoped(tell({ say: Console.log, serve: process.argv.includes("--serve") })))
