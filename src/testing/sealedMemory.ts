import * as Layer from "effect/Layer"
import * as Keys from "../personal/Keys.ts"
import * as Personal from "../personal/Personal.ts"
import * as EventStore from "../store/EventStore.ts"

/** The store of scenarios: in memory, and what is personal is sealed in it as elsewhere. */
export const layerSealedMemory: Layer.Layer<EventStore.EventStore> = Personal.layer.pipe(
  Layer.provide([EventStore.layerMemory, Keys.layerMemory]),
  Layer.provide(Personal.layerCrypto)
)
