/** The tests that a mutant of the core must fail: those that need no database. */
import { defineConfig } from "vitest/config"
import base from "./vitest.config.ts"

const { projects: _, ...settings } = base.test ?? {}

export default defineConfig({
  ...base,
  test: {
    ...settings,
    include: ["test/{Event,Aggregate,Command,EventStore,UnitOfWork,MessageBus,Repository,Snapshots,errors}.test.ts"],
    // The tables of snapshots, and what becomes of them in a transaction, are tested on databases.
    testNamePattern: /^(?!snapshots in |.* transaction of PostgreSQL)/,
    env: { EVENTFOLD_TEST_WIRINGS: "memory" },
    // Each mutant starts the tests anew: one process for all files is three times as fast as one a file.
    isolate: false,
    maxWorkers: 1,
    bail: 1,
    reporters: ["dot"]
  }
})
