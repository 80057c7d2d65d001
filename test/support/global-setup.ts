import type { TestProject } from "vitest/node"
import { startPostgres } from "./postgres-server.ts"

declare module "vitest" {
  export interface ProvidedContext {
    /** The URL of a PostgreSQL server that all test files of a run share: `inject("postgresUrl")`. */
    readonly postgresUrl: string
  }
}

/** One PostgreSQL server a run; the one that `EVENTFOLD_TEST_POSTGRES_URL` names, when it is set. */
export default async (project: TestProject): Promise<(() => Promise<void>) | undefined> => {
  const given = process.env["EVENTFOLD_TEST_POSTGRES_URL"]
  if (given !== undefined && given !== "") {
    project.provide("postgresUrl", given)
    return undefined
  }
  const server = await startPostgres()
  project.provide("postgresUrl", server.url)
  return server.dispose
}
