/** How the run of the tests is planned and told. */
import { relative } from "node:path"
import { BaseSequencer, type Reporter, type TestSpecification } from "vitest/node"

/** About how many seconds the longest files take, on two cores. Every other file takes less than those named here. */
const seconds: Readonly<Record<string, number>> = {
  "test/postgres/silence.test.ts": 60,
  "test/postgres/pgbouncer.test.ts": 40,
  "examples/orders/orders.test.ts": 35,
  "examples/billing/billing.test.ts": 25,
  "examples/services/services.test.ts": 35,
  "test/rabbitmq/RabbitMqTransport.test.ts": 35,
  "test/nats/NatsTransport.test.ts": 30,
  "test/nats/NatsTransport.conformance.test.ts": 29,
  "test/rabbitmq/RabbitMqTransport.conformance.test.ts": 24,
  "test/postgres/PgTransport.test.ts": 24,
  "test/postgres/faults.test.ts": 23,
  "test/sqlite/crash.test.ts": 22,
  "test/postgres/PgLite.conformance.test.ts": 22,
  "test/redis/RedisTransport.test.ts": 21,
  "test/jsonl/crash.test.ts": 16,
  "test/postgres/Subscription.test.ts": 16,
  "test/support/brokers.test.ts": 14,
  "test/sqlite/Subscription.test.ts": 13,
  "test/redis/RedisTransport.conformance.test.ts": 13,
  "test/postgres/PgEventStore.conformance.test.ts": 11,
  "test/postgres/Relay.test.ts": 11,
  "test/postgres/concurrency.test.ts": 11,
  "test/postgres/Projection.test.ts": 11,
  "test/jsonl/JsonlEventStore.test.ts": 10,
  "test/copy.test.ts": 10,
  "test/postgres/plans.test.ts": 10,
  "test/support/postgres-server.test.ts": 9,
  "test/postgres/ProcessManager.test.ts": 8,
  "test/postgres/PgCheckpoints.test.ts": 8
}

/** The same of the files as `core` runs them. */
const secondsInCore: Readonly<Record<string, number>> = {
  "test/ProcessManager.test.ts": 3,
  "test/EventStore.test.ts": 3,
  "test/sqlite/SqliteEventStore.conformance.test.ts": 2,
  "test/Transport.test.ts": 2,
  "test/Projection.test.ts": 1,
  "test/newIds.test.ts": 1,
  "test/testing/Faults.test.ts": 1
}

const secondsOf = ({ moduleId, project }: TestSpecification): number => {
  const file = relative(project.config.root, moduleId).replaceAll("\\", "/")
  return project.name === "core" ? (secondsInCore[file] ?? 0.2) : (seconds[file] ?? 2)
}

/** Project by project, and in each the longest files first, so that no worker is left alone with a long one at the end. */
export class LongestFirst extends BaseSequencer {
  override sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    const order = ({ project }: TestSpecification) => project.config.sequence.groupOrder
    return Promise.resolve(files.toSorted((a, b) => order(a) - order(b) || secondsOf(b) - secondsOf(a)))
  }
}

/** Says before the tests what will run, and about how long that takes on a quiet machine with two cores. */
export default class Overview implements Reporter {
  onTestRunStart(files: ReadonlyArray<TestSpecification>): void {
    const projects = Object.entries(Object.groupBy(files, ({ project }) => project.name)).map(([name, files = []]) => ({
      name,
      files: files.length,
      seconds: Math.max(
        ...files.map(secondsOf),
        files.reduce((sum, file) => sum + secondsOf(file), 0) / Number(files[0]?.project.config.maxWorkers ?? 1)
      )
    }))
    const told = projects.map(({ files, name, seconds }) => `${name}: ${files} files, about ${Math.ceil(seconds)} s`)
    console.log(
      `${told.join("; ")}. ${told.length > 1 ? "`npm test -- --project core` runs what needs no server alone." : ""}`.trimEnd()
    )
  }
}
