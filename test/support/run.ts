/** How the run of the tests is planned and told. */
import { relative } from "node:path"
import { BaseSequencer, type Reporter, type TestSpecification } from "vitest/node"

/** About how many seconds the longest files take, on two cores with three of them at a time. Every other file takes less than most of these. */
const seconds: Readonly<Record<string, number>> = {
  "test/cluster/kills.test.ts": 130,
  "test/following/kills.test.ts": 90,
  "test/workflow/kills.test.ts": 100,
  "test/postgres/PgLite.conformance.test.ts": 120,
  "test/kafka/KafkaTransport.conformance.test.ts": 90,
  "examples/orders/orders.test.ts": 80,
  "test/postgres/outages.test.ts": 60,
  "test/postgres/silence.test.ts": 60,
  "examples/services/services.test.ts": 55,
  "test/postgres/plans.test.ts": 50,
  "test/rabbitmq/RabbitMqTransport.conformance.test.ts": 45,
  "test/rabbitmq/RabbitMqTransport.test.ts": 45,
  "test/postgres/faults.test.ts": 40,
  "test/postgres/pgbouncer.test.ts": 40,
  "test/postgres/Subscription.test.ts": 40,
  "test/nats/NatsTransport.test.ts": 35,
  "test/kafka/KafkaTransport.test.ts": 30,
  "examples/cluster/cluster.test.ts": 30,
  "test/nats/NatsTransport.conformance.test.ts": 30,
  "test/clusters/rabbitmq.test.ts": 30,
  "examples/billing/billing.test.ts": 28,
  "test/clusters/natsCurrent.test.ts": 28,
  "test/redis/RedisTransport.conformance.test.ts": 26,
  "test/postgres/PgTransport.test.ts": 24,
  "test/redis/RedisTransport.test.ts": 22,
  "test/sqlite/crash.test.ts": 22,
  "test/clusters/nats.test.ts": 22,
  "test/postgres/ProcessManager.test.ts": 20,
  "test/postgres/removing.test.ts": 18,
  "test/jsonl/crash.test.ts": 16,
  "test/architecture.test.ts": 15,
  "test/clusters/kafka.test.ts": 15,
  "test/postgres/deciding.test.ts": 14,
  "test/support/brokers.test.ts": 14,
  "test/cluster/misfits.test.ts": 16,
  "test/cluster/durable.test.ts": 13,
  "test/kafka/versions.test.ts": 10,
  "test/sqlite/Subscription.test.ts": 13,
  "test/clusters/redis.test.ts": 13,
  "test/postgres/forgettingKilled.test.ts": 11,
  "test/postgres/interruption.test.ts": 11,
  "test/postgres/PgEventStore.conformance.test.ts": 11,
  "test/postgres/Relay.test.ts": 11,
  "test/postgres/concurrency.test.ts": 11,
  "test/postgres/Projection.test.ts": 11,
  "test/jsonl/JsonlEventStore.test.ts": 10,
  "test/copy.test.ts": 10,
  "test/postgres/sharing.test.ts": 9,
  "test/support/postgres-server.test.ts": 9,
  "test/postgres/PgCheckpoints.test.ts": 8,
  "test/postgres/tenantMoves.test.ts": 8,
  "test/clusters/postgres.test.ts": 6
}

/** The same of the files as `core` runs them. */
const secondsInCore: Readonly<Record<string, number>> = {
  "test/personal/embedded.test.ts": 25,
  "test/ProcessManager.test.ts": 15,
  "test/operate/acts.test.ts": 10,
  "test/sqlite/SqliteEventStore.conformance.test.ts": 9,
  "test/EventStore.test.ts": 8,
  "test/retention/Retention.test.ts": 7,
  "test/following/parkStream.test.ts": 5,
  "test/tenants/tagged.test.ts": 5,
  "test/operate/agents.test.ts": 5,
  "test/projection/keeping.test.ts": 4,
  "test/personal/forgetting.test.ts": 3,
  "test/personal/memory.test.ts": 3,
  "test/following/rare.test.ts": 3,
  "test/retention/kills.test.ts": 2,
  "test/decisions/serial.test.ts": 2,
  "test/sqlite/SqliteCheckpoints.test.ts": 2,
  "test/deciding/serial.test.ts": 2,
  "test/Projection.test.ts": 2,
  "test/cluster/ClusterBus.test.ts": 2,
  "test/following/outages.test.ts": 2,
  "test/following/follower.test.ts": 2,
  "test/Transport.test.ts": 2
}

const secondsOf = ({ moduleId, project }: TestSpecification): number => {
  const file = relative(project.config.root, moduleId).replaceAll("\\", "/")
  return project.name === "core" ? (secondsInCore[file] ?? 0.5) : (seconds[file] ?? 4)
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
