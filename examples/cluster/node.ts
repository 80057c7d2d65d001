/** One process of the shop: it owns a share of the articles, and keeps the ledger where no other does. Prints "ready". */
import { Effect, Layer } from "effect"
import { MessageBus, UnitOfWork } from "eventfold"
import { ClusterBus } from "eventfold/cluster"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { nodeOf } from "../../test/support/clusterNode.ts"
import { Article, Ledger, options, Sell, SellLive } from "./shop.ts"

const [url = "", port = ""] = process.argv.slice(2)

const Live = Layer.merge(ClusterBus.layerRunner(Article, [Sell], options).pipe(Layer.provide(SellLive)), Ledger).pipe(
  Layer.provideMerge(MessageBus.layer),
  Layer.provideMerge(UnitOfWork.layer),
  Layer.provideMerge(Layer.merge(PgEventStore.layer, PgCheckpoints.layer)),
  Layer.provideMerge(nodeOf({ url, schema: "shop", port: Number(port) }))
)

await Effect.runPromise(
  Effect.scoped(
    Effect.gen(function* () {
      yield* Layer.build(Live)
      console.log("ready")
      yield* Effect.never
    })
  )
)
