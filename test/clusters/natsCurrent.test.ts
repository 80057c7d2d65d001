import { describe } from "@effect/vitest"
import { existsSync } from "node:fs"
import { conformance } from "../nats/support.ts"
import { currentNats } from "./nats.ts"

// The one that the system has is the oldest that is promised, and has its run in test/nats.
describe.runIf(existsSync(currentNats))("conformance of the newest NATS", () => {
  conformance(currentNats)
})
