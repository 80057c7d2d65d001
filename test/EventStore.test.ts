import { Effect, Layer } from "effect"
import { EventStore } from "eventfold"
import { conforms } from "./support/conformance.ts"

conforms("the memory store", {
  storage: Effect.succeed(EventStore.layerMemory),
  abilities: { durable: false, shared: false }
})

// One memory store behind Layers that come and go: it has both abilities, so the cases that need them run here too.
conforms(
  "a memory store that outlives its Layers",
  {
    storage: Effect.map(Layer.build(Layer.fresh(EventStore.layerMemory)), Layer.succeedContext),
    abilities: { durable: true, shared: true }
  },
  ({ promise }) => promise === "6" || promise === "shared"
)
