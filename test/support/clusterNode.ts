/** A node of a cluster on PostgreSQL, as the processes of tests are one. */
import { NodeClusterSocket, NodeCrypto } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Option, Redacted } from "effect"
import { RunnerAddress, ShardingConfig, SqlMessageStorage, SqlRunnerStorage } from "effect/cluster"
import { createServer } from "node:net"

/** Where a node is. */
export interface Place {
  readonly url: string
  /** Of the event store; the tables of the cluster begin with it. */
  readonly schema: string
  /** Of a runner; none for a client. */
  readonly port?: number
}

/** The settings of the tests: a node that was killed is missed after three seconds. */
const settings = (port: number | undefined): Partial<ShardingConfig.ShardingConfig["Service"]> => ({
  runnerAddress: port === undefined ? Option.none() : Option.some(RunnerAddress.make("127.0.0.1", port)),
  shardsPerGroup: 12,
  shardLockRefreshInterval: "1 second",
  shardLockExpiration: "3 seconds",
  refreshAssignmentsInterval: "500 millis",
  runnerHealthCheckInterval: "1 second",
  entityMessagePollInterval: "500 millis",
  entityTerminationTimeout: "2 seconds",
  simulateRemoteSerialization: false
})

/** The node: its client of PostgreSQL, and what the cluster is made of. */
export const nodeOf = ({ port, schema, url }: Place, overrides: Partial<ShardingConfig.ShardingConfig["Service"]> = {}) => {
  const options = { storage: "byo", shardingConfig: { ...settings(port), ...overrides } } as const
  const prefix = schema
  const node = port === undefined ? NodeClusterSocket.layer({ ...options, clientOnly: true }) : NodeClusterSocket.layer(options)
  return node.pipe(
    Layer.provideMerge(
      Layer.merge(SqlMessageStorage.layerWith({ prefix }), SqlRunnerStorage.layerWith({ prefix })).pipe(
        Layer.provide([NodeCrypto.layerDigest, ShardingConfig.layer(options.shardingConfig)])
      )
    ),
    Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 8 }))
  )
}

/** A port of this machine that nobody listens on. */
export const freePort = Effect.callback<number>((resume) => {
  const server = createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})

/** Until the parent closes the input. */
export const inputEnds = Effect.callback<void>((resume) => {
  process.stdin.once("end", () => resume(Effect.void)).resume()
})
