import { describe } from "@effect/vitest"
import { isExpected } from "../support/brokers.ts"
import { conformance } from "./support.ts"

describe.runIf(isExpected("nats"))("conformance of NATS JetStream", () => {
  conformance()
})
