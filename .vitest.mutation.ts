/** The tests that a mutant of the core must fail: those that need no database. */
import { defineConfig } from "vitest/config"
import base from "./vitest.config.ts"

export default defineConfig({
  ...base,
  test: {
    ...base.test,
    include: ["test/{Event,Aggregate,Command,EventStore,UnitOfWork,MessageBus,Repository,Snapshots}.test.ts"],
    // The tables of snapshots are tested on databases.
    testNamePattern: /^(?!snapshots in )/,
    globalSetup: [],
    env: { EVENTFOLD_TEST_WIRINGS: "memory" },
    bail: 1,
    reporters: ["dot"]
  }
})
