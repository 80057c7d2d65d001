import { conforms } from "../support/conformance.ts"
import { serverStorage } from "./support.ts"

conforms("PgEventStore on a server", { storage: serverStorage, abilities: { durable: true, shared: true } })
