import { conforms } from "../support/conformance.ts"
import { serverStorage, serverStorageWith } from "./support.ts"

conforms("PgEventStore on a server", { storage: serverStorage, abilities: { durable: true, shared: true } })

conforms("PgEventStore on a server, with a hash chain", {
  storage: serverStorageWith({ chain: true }),
  abilities: { durable: true, shared: true, chain: true }
})

conforms("PgEventStore on a server, where units of work share flushes", {
  storage: serverStorageWith({ sharedFlush: true }),
  abilities: { durable: true, shared: true }
})
