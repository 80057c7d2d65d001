/** Three processes of a shop, one killed and one stopped on the way, and every order counted once: `npm run example:cluster`. */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { disagreement, program } from "./program.ts"

const main = Effect.gen(function* () {
  const outcome = yield* program({ rounds: 150, say: Console.log })
  const problem = disagreement(outcome)
  if (problem !== undefined) return yield* Effect.die(new Error(`It does not add up: ${problem}`))
  yield* Console.log(
    `${outcome.commands} orders: each in the log once, in the ledger once, and answered as the log says. The longest wait was ${outcome.longest} ms.`
  )
})

NodeRuntime.runMain(Effect.scoped(main))
