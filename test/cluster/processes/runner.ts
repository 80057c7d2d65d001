/**
 * A node of a cluster that owns counters, and one that may call them as well; or one of another program, as `program` says. Prints "ready".
 */
import { Effect, Layer } from "effect"
import { MessageBus, UnitOfWork } from "eventfold"
import { ClusterBus } from "eventfold/cluster"
import { PgEventStore } from "eventfold/postgres"
import { inputEnds, nodeOf, type Place } from "../../support/clusterNode.ts"
import { Add, Counter, Handlers, Newer, NewerHandlers, options, Reset, ResetHandlers } from "../counter.ts"

const place = JSON.parse(process.argv[2] as string) as Place & {
  readonly port: number
  /** Its number of shards, where it is another one than that of the tests. */
  readonly shards?: number
  /** `"newer"` has another payload for the command, `"other"` has another command, and `"none"` owns nothing. */
  readonly program?: "newer" | "other" | "none"
  /** Durable commands commit with their answers, on one client. */
  readonly delivery?: "durable"
}

const runners = {
  usual: Layer.provide(ClusterBus.layerRunner(Counter, [Add], { ...options, delivery: place.delivery }), Handlers),
  newer: Layer.provide(ClusterBus.layerRunner(Counter, [Newer], options), NewerHandlers),
  other: Layer.provide(ClusterBus.layerRunner(Counter, [Reset], { id: { Reset: options.id.Add } }), ResetHandlers),
  none: Layer.empty
}

const Live = runners[place.program ?? "usual"].pipe(
  Layer.provideMerge(MessageBus.layer),
  Layer.provideMerge(place.delivery === "durable" ? UnitOfWork.layerSql : UnitOfWork.layer),
  Layer.provideMerge(PgEventStore.layerWith({ schema: place.schema })),
  Layer.provideMerge(nodeOf(place, place.shards === undefined ? {} : { shardsPerGroup: place.shards }))
)

await Effect.runPromise(
  Effect.scoped(
    Effect.gen(function* () {
      yield* Layer.build(Live)
      console.log("ready")
      yield* inputEnds
    })
  )
)
process.exit(0)
