/** Two services that talk: `npm run example:services -- --transport nats|redis|rabbitmq|kafka|postgres`. */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, Option, Schema } from "effect"
import { Command, Flag } from "effect/cli"
import { disagreement, program } from "./program.ts"
import { names } from "./transports.ts"

const services = Command.make(
  "services",
  {
    transport: Flag.Literals("transport", names).pipe(
      Flag.withDescription("What connects the services. A broker is started from its binary, or named by EVENTFOLD_TEST_…_URL"),
      Flag.withDefault("postgres" as const)
    ),
    orders: Flag.Int("orders").pipe(
      Flag.withSchema(Schema.Int.check(Schema.isGreaterThan(0))),
      Flag.withDescription("How many orders are placed"),
      Flag.withDefault(400)
    )
  },
  Effect.fnUntraced(function* ({ orders, transport }) {
    const outcome = yield* Effect.scoped(program({ transport, orders, say: Console.log }))
    const problem = disagreement(outcome)
    if (Option.isSome(problem)) return yield* Effect.die(new Error(`The services do not agree: ${problem.value}`))
    yield* Console.log(`Both agree: ${outcome.parcels} parcels for ${outcome.orders} orders, none forgotten and none sent twice.`)
  })
)

NodeRuntime.runMain(Effect.provide(Command.run(services, { version: "0.1.0" }), NodeServices.layer))
