import type { TestProject } from "vitest/node"
import { missingBrokers } from "./brokers.ts"
import { startPostgres } from "./postgres-server.ts"

declare module "vitest" {
  export interface ProvidedContext {
    /** The URL of a PostgreSQL server that all test files of a run share: `inject("postgresUrl")`. */
    readonly postgresUrl: string
  }
}

/**
 * The server of a run has tens of thousands of small tables at its end, and flushes each to the disk at a checkpoint, for which whoever drops a
 * database waits. No test ends this server: those of what survives have servers of their own, which flush.
 */
const withoutDisk = { fsync: "off", full_page_writes: "off", max_wal_size: "4GB" }

/**
 * One PostgreSQL server a run; the one that `EVENTFOLD_TEST_POSTGRES_URL` names, when it is set. At the end, one line says which
 * transports were not exercised.
 */
export default async (project: TestProject): Promise<() => Promise<void>> => {
  const given = process.env["EVENTFOLD_TEST_POSTGRES_URL"]
  const server = given === undefined || given === "" ? await startPostgres(withoutDisk) : undefined
  project.provide("postgresUrl", server?.url ?? (given as string))
  return async () => {
    await server?.dispose()
    const missing = missingBrokers()
    if (missing.length > 0) console.log(`Transports not exercised, because their brokers are not here: ${missing.join(", ")}`)
  }
}
