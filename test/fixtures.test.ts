/** What 0.1.0 wrote opens, and goes on: see `fixtures/0.1.0/write.ts` for what that is. */
import { describe } from "@effect/vitest"
import { Effect } from "effect"
import { afterAll } from "vitest"
import { jsonlKind, pgliteKind, postgresKind, sqliteKind } from "./fixtures/opened.ts"
import { brokering, following, followingSql } from "./fixtures/following.ts"
import { processing, processingSql } from "./fixtures/processing.ts"
import { projecting, projectingSql } from "./fixtures/projecting.ts"
import { removing } from "./fixtures/removing.ts"
import { reading, readingSql } from "./fixtures/reading.ts"

const server = postgresKind()
afterAll(() => Effect.runPromise(server.dispose))

describe("what 0.1.0 wrote opens, and goes on", () => {
  describe("in JSON lines:", () => {
    reading(jsonlKind)
    removing(jsonlKind)
    following(jsonlKind)
    projecting(jsonlKind)
    processing(jsonlKind)
  })

  for (const [name, kind] of Object.entries({ SQLite: sqliteKind, PostgreSQL: server.kind })) {
    describe(`on ${name}:`, () => {
      reading(kind)
      removing(kind)
      readingSql(kind)
      following(kind)
      followingSql(kind)
      projecting(kind)
      projectingSql(kind)
      processingSql(kind)
      if (kind === server.kind) brokering(kind)
    })
  }

  describe("on PGlite:", () => {
    reading(pgliteKind)
    removing(pgliteKind)
  })
})
