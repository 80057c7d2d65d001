import { Effect, Layer } from "effect"
import { type EventStore, Keys, Personal } from "eventfold"
import type { EventStoreConformance } from "eventfold/testing"

/** Any store, with personal data sealed: the keys outlive what is opened anew. */
export const sealedStorage = (storage: EventStoreConformance.Storage): EventStoreConformance.Storage =>
  Effect.gen(function* () {
    const keys = yield* Layer.build(Layer.provideMerge(Keys.layerMemory, Personal.layerCrypto))
    const beneath = yield* storage
    return Layer.provide(Personal.layer, [beneath as Layer.Layer<EventStore.EventStore, unknown>, Layer.succeedContext(keys)])
  })
