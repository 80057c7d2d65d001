import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import Overview, { LongestFirst } from "./test/support/run.ts"

// `import … from "eventfold"` gives the sources, as it does for tsc and for `node --conditions=@eventfold/source`.
const conditions = ["@eventfold/source", "module", "node", "development|production"]

// The processes that tests start load much code: compiled once, it is loaded in two thirds of the time.
process.env["NODE_COMPILE_CACHE"] ??= fileURLToPath(new URL("node_modules/.cache/compiled", import.meta.url))

/** What needs more than this process, or one of its own: servers, brokers, other processes, files, all that the process has loaded or measured. */
const servers = [
  "test/{definitions/inPlace,telemetry}.test.ts",
  "test/{postgres,nats,redis,rabbitmq,kafka,jsonl,bench,support,types}/**/*.test.ts",
  "test/cli/process*.test.ts",
  "test/{Transport.realTime,architecture,copy,docs,fixtures,http,messages,package}.test.ts",
  "test/sqlite/{SqliteEventStore,Subscription,crash}.test.ts",
  "test/operate/{http,processes}.test.ts",
  "test/cluster/{durable,interrupted,misfits}.test.ts",
  "test/inspector/{acting,large,page}.test.ts",
  "examples/**/*.test.ts"
]

/** What needs several servers that are one, and takes long: processes, killed and cut off. */
const long = ["test/clusters/**/*.test.ts"]

/** What kills one process after the other, and says how long others may take to notice. */
const kills = ["test/{cluster,following,workflow}/kills.test.ts"]

/** What runs over several wirings, some of which are in memory and some on a server: see test/support/wirings.ts. */
const both = [
  "test/{Answers,Inbox,MessageBus,ProcessManager,Projection,Repository,Snapshots,UnitOfWork}.test.ts",
  "test/following/parkStream.test.ts",
  "test/following/setAside.test.ts",
  "test/following/logs.test.ts",
  "test/projection/*.test.ts",
  "test/deciding/serial.test.ts",
  "test/decisions/*.test.ts",
  "test/operate/{look,acts}.test.ts"
]

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    pool: "forks",
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 30_000,
    reporters: ["default", new Overview()],
    setupFiles: ["test/support/setup.ts"],
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        extends: true,
        test: {
          name: "core",
          include: ["test/**/*.test.ts"],
          exclude: [...servers, ...long, ...kills],
          env: { EVENTFOLD_TEST_WIRINGS: "core" },
          // Nothing here outlives its test, so that the files may share what they have loaded.
          isolate: false,
          maxWorkers: 2,
          sequence: { groupOrder: 0 }
        }
      },
      {
        extends: true,
        test: {
          name: "servers",
          include: [...servers, ...both],
          env: { EVENTFOLD_TEST_WIRINGS: "servers" },
          // For two cores: half of their time these tests wait for servers and other processes.
          maxWorkers: 3,
          globalSetup: ["test/support/global-setup.ts"],
          sequence: { groupOrder: 1 }
        }
      },
      {
        extends: true,
        test: {
          name: "long",
          include: long,
          // Each has more servers than there are cores.
          maxWorkers: 2,
          sequence: { groupOrder: 2 }
        }
      },
      {
        extends: true,
        test: {
          name: "kills",
          include: kills,
          // Each has four processes at work on two cores: beside another they would wait for those, and not for what they test.
          maxWorkers: 1,
          globalSetup: ["test/support/global-setup.ts"],
          sequence: { groupOrder: 3 }
        }
      }
    ]
  }
})
