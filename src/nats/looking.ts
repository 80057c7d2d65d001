/** What can be told of the server and its stream: how much waits for a group, and whether what was acknowledged can be lost. */
import { StorageType } from "@nats-io/jetstream"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { finding } from "../transport/kit.ts"
import type { Transport } from "../transport/Transport.ts"
import type { Connection } from "./connection.ts"
import { token } from "./encoding.ts"
import { isMissing, type Topology } from "./topology.ts"

export const makeWaiting =
  ({ consumerInfo }: Topology): NonNullable<Transport["Service"]["waiting"]> =>
  (group) =>
    Effect.catchIf(
      Effect.map(
        consumerInfo(token(group)),
        ({ num_ack_pending, num_pending }): number | undefined => num_pending + num_ack_pending
      ),
      isMissing,
      () => Effect.undefined
    )

const nanosecondsOf = (nanos: number) => Duration.millis(nanos / 1_000_000)

const megabytes = (bytes: number) => `${Math.round(bytes / 104_857.6) / 10} MiB`

export const makeFindings = (
  { isConnected, nats }: Connection,
  { stream, streamInfo }: Topology
): NonNullable<Transport["Service"]["findings"]> =>
  Effect.map(streamInfo, ({ config, state }) => {
    const { cluster, max_payload = 0, version = "" } = nats.info ?? {}
    const isInMemory = config.storage === StorageType.Memory
    const window = nanosecondsOf(config.duplicate_window)
    return [
      isConnected()
        ? finding("broker", "ok", `NATS ${version} answers; a message has at most ${megabytes(max_payload)}`)
        : finding("broker", "problem", "the connection to NATS is lost", "see that the server runs and can be reached"),
      isInMemory
        ? finding(
            "broker storage",
            "problem",
            `the stream ${stream} is in memory: a restart loses it`,
            "make it anew with file storage"
          )
        : finding("broker storage", "ok", `the stream ${stream} is on disk, with ${state.messages} messages`),
      cluster !== undefined && config.num_replicas < 3
        ? finding(
            "broker replicas",
            "warning",
            `the stream ${stream} has ${config.num_replicas} replica in a cluster: the loss of one server loses it`,
            "set streamConfig.num_replicas to 3"
          )
        : finding(
            "broker replicas",
            "ok",
            `the stream ${stream} has ${config.num_replicas} replica${config.num_replicas === 1 ? "" : "s"}`
          ),
      Duration.toMillis(window) < 120_000
        ? finding(
            "broker duplicates",
            "warning",
            `duplicates are known for ${Duration.format(window)}: a relay that starts again later publishes them anew`,
            "set duplicateWindow to ten minutes"
          )
        : finding("broker duplicates", "ok", `duplicates are known for ${Duration.format(window)}`),
      config.discard === "old" && (config.max_msgs > 0 || config.max_bytes > 0)
        ? finding(
            "broker limits",
            "problem",
            `the stream ${stream} drops its oldest messages where it is full, also those that groups have not had`,
            'set discard to "new": publishers then wait'
          )
        : finding("broker limits", "ok", "no message is dropped for want of room")
    ]
  })
