/** How the run of the tests is planned and told. */
import { relative } from "node:path"
import { BaseSequencer, type Reporter, type TestSpecification } from "vitest/node"

/** About how many seconds the longest files take, on two cores with three of them at a time. Every other file takes less than most of these. */
const seconds: Readonly<Record<string, number>> = {
  "test/postgres/personal.test.ts": 210,
  "test/postgres/tenantTables.test.ts": 164,
  "test/postgres/PgLite.conformance.test.ts": 157,
  "test/cli/process.test.ts": 150,
  "test/bench/bench.test.ts": 135,
  "test/workflow/kills.test.ts": 122,
  "test/cluster/kills.test.ts": 117,
  "test/following/kills.test.ts": 106,
  "test/postgres/PgEventStore.conformance.test.ts": 105,
  "examples/orders/orders.test.ts": 101,
  "test/package.test.ts": 101,
  "test/postgres/pgbouncer.test.ts": 96,
  "examples/services/services.test.ts": 88,
  "test/cli/processMisuse.test.ts": 78,
  "examples/billing/billing.test.ts": 75,
  "test/Projection.test.ts": 71,
  "test/rabbitmq/RabbitMqTransport.conformance.test.ts": 70,
  "test/rabbitmq/RabbitMqTransport.test.ts": 70,
  "test/jsonl/keptIndex.test.ts": 69,
  "test/jsonl/JsonlEventStore.test.ts": 67,
  "test/inspector/page.test.ts": 66,
  "test/postgres/plans.test.ts": 65,
  "test/kafka/KafkaTransport.conformance.test.ts": 61,
  "test/cli/processSilence.test.ts": 60,
  "test/postgres/PgCheckpoints.test.ts": 58,
  "test/jsonl/crash.test.ts": 55,
  "test/fixtures.test.ts": 54,
  "test/MessageBus.test.ts": 52,
  "test/projection/keeping.test.ts": 50,
  "test/postgres/PgTransport.test.ts": 43,
  "test/postgres/faults.test.ts": 41,
  "test/support/brokers.test.ts": 41,
  "test/operate/processes.test.ts": 40,
  "test/postgres/indexes.test.ts": 40,
  "test/postgres/silence.test.ts": 39,
  "test/UnitOfWork.test.ts": 37,
  "test/docs.test.ts": 37,
  "test/sqlite/crash.test.ts": 33,
  "test/operate/acts.test.ts": 32,
  "test/clusters/rabbitmq.test.ts": 31,
  "test/nats/NatsTransport.conformance.test.ts": 30,
  "test/nats/NatsTransport.test.ts": 30,
  "test/postgres/outages.test.ts": 30,
  "test/copy.test.ts": 28,
  "test/postgres/tenantRetention.test.ts": 27,
  "test/architecture.test.ts": 25,
  "test/clusters/natsCurrent.test.ts": 25,
  "test/decisions/examples.test.ts": 25,
  "test/postgres/Projection.test.ts": 25,
  "test/kafka/KafkaTransport.test.ts": 24,
  "test/postgres/Subscription.test.ts": 24,
  "test/decisions/Decision.test.ts": 23,
  "test/postgres/Relay.test.ts": 23,
  "test/postgres/concurrency.test.ts": 23,
  "test/postgres/deciding.test.ts": 22,
  "test/following/parkStream.test.ts": 21,
  "test/decisions/processes.test.ts": 20
}

/** The same of the files as `core` runs them. */
const secondsInCore: Readonly<Record<string, number>> = {
  "test/personal/embedded.test.ts": 37,
  "test/ProcessManager.test.ts": 28,
  "test/sqlite/SqliteEventStore.conformance.test.ts": 20,
  "test/retention/Retention.test.ts": 16,
  "test/retention/restored.test.ts": 11,
  "test/tenants/tagged.test.ts": 11,
  "test/EventStore.test.ts": 9,
  "test/operate/acts.test.ts": 8,
  "test/retention/kills.test.ts": 7,
  "test/cluster/answers.test.ts": 5
}

const secondsOf = ({ moduleId, project }: TestSpecification): number => {
  const file = relative(project.config.root, moduleId).replaceAll("\\", "/")
  return project.name === "core" ? (secondsInCore[file] ?? 0.7) : (seconds[file] ?? 6)
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
