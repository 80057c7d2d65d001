/**
 * A node of a cluster that runs the workflow of `kills.test.ts`, follows the log to start and wake its executions, and has the handlers of its
 * commands. Prints "ready".
 */
import { Effect, Layer } from "effect"
import { ClusterWorkflowEngine } from "effect/cluster"
import { MessageBus, UnitOfWork } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { inputEnds, nodeOf, type Place } from "../../support/clusterNode.ts"
import { Flows, Handlers } from "../flow.ts"

const place = JSON.parse(process.argv[2] as string) as Place & { readonly port: number }
const { schema } = place

const Live = Flows.pipe(
  Layer.provideMerge(ClusterWorkflowEngine.layer),
  Layer.provideMerge(Handlers),
  Layer.provideMerge(MessageBus.layer),
  Layer.provideMerge(UnitOfWork.layerSql),
  Layer.provideMerge(Layer.merge(PgEventStore.layerWith({ schema }), PgCheckpoints.layerWith({ schema }))),
  Layer.provideMerge(nodeOf(place))
)

const program = Effect.gen(function* () {
  yield* Layer.build(Live)
  console.log("ready")
  yield* inputEnds
})
await Effect.runPromise(Effect.scoped(program))
process.exit(0)
