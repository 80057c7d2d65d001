import { Effect } from "effect"
import { EventStore } from "eventfold"
import { conforms } from "../support/conformance.ts"
import { keepsPersonalData } from "./personal.ts"
import { sealedStorage } from "./support.ts"

conforms("the memory store with personal data", {
  storage: sealedStorage(Effect.succeed(EventStore.layerMemory)),
  abilities: { durable: false, shared: false }
})

keepsPersonalData("the memory store", Effect.succeed(EventStore.layerMemory))
