/** Servers of NATS: the newest, where the Go tool has built it, and otherwise the one that is installed. */
import { jetstreamManager } from "@nats-io/jetstream"
import { connect } from "@nats-io/transport-node"
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"
import { findServer } from "../support/brokers.ts"
import { freePort, makeServerFolder } from "../support/server-folder.ts"

const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache")

/** What `.ci/nats` builds. */
export const currentNats = join(cache, "eventfold", "bin", "nats-server")

const binary = (): string => {
  const found = existsSync(currentNats) ? currentNats : findServer("nats-server")
  if (found === undefined) throw new Error("nats-server is neither built nor installed")
  return found
}

interface Node {
  readonly name: string
  readonly start: () => Promise<void>
  readonly kill: () => Promise<void>
}

export interface NatsCluster {
  readonly urls: ReadonlyArray<string>
  /** Kills the server that leads a stream. */
  readonly killLeader: (stream: string) => Promise<void>
  /** Starts the one that was killed again, on its data. */
  readonly restart: () => Promise<void>
  readonly dispose: () => Promise<void>
}

const serves = async (url: string): Promise<boolean> => {
  try {
    const connection = await connect({ servers: url, reconnect: false, timeout: 1000 })
    await connection.close()
    return true
  } catch {
    return false
  }
}

const eventually = async (what: string, holds: () => Promise<boolean>): Promise<void> => {
  const end = Date.now() + 60_000
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

/** Starts so many servers that are one cluster with JetStream. */
export const startNats = async (count: number): Promise<NatsCluster> => {
  const servers = await Promise.all(
    Array.from({ length: count }, async (_, index) => ({ name: `n${index}`, port: await freePort(), route: await freePort() }))
  )
  const routes = servers.map(({ route }) => `nats://127.0.0.1:${route}`).join(",")
  const folders: Array<() => Promise<void>> = []
  const nodes = await Promise.all(
    servers.map(async ({ name, port, route }): Promise<Node> => {
      const folder = await makeServerFolder({ name: "nats", signal: "KILL" })
      let running: ChildProcess | undefined
      let closed: Promise<unknown> = Promise.resolve()
      const kill = async () => {
        running?.kill("SIGKILL")
        await closed
      }
      folders.push(async () => {
        await kill()
        await folder.dispose()
      })
      return {
        name,
        kill,
        start: async () => {
          const args = ["--addr", "127.0.0.1", "--port", String(port), "--server_name", name]
          const cluster = ["--cluster_name", "c", "--cluster", `nats://127.0.0.1:${route}`, "--routes", routes]
          const child = folder.guard(
            spawn(binary(), [...args, ...cluster, "--jetstream", "--store_dir", join(folder.path, "data")], { stdio: "ignore" })
          )
          running = child
          closed = new Promise((resolve) => child.once("close", resolve))
          await eventually(`${name} serves`, () => serves(`nats://127.0.0.1:${port}`))
        }
      }
    })
  )
  const urls = servers.map(({ port }) => `nats://127.0.0.1:${port}`)
  const dispose = async () => {
    for (const end of folders) await end()
  }
  const manage = async <A>(use: (manager: Awaited<ReturnType<typeof jetstreamManager>>) => Promise<A>): Promise<A> => {
    const connection = await connect({ servers: urls.slice(), timeout: 2000 })
    try {
      return await use(await jetstreamManager(connection))
    } finally {
      await connection.close()
    }
  }
  try {
    await Promise.all(nodes.map(({ start }) => start()))
    await eventually("the cluster has a leader", () =>
      manage((manager) => manager.streams.add({ name: "probe", subjects: ["probe"], num_replicas: count })).then(
        () => true,
        () => false
      )
    )
  } catch (error) {
    await dispose()
    throw error
  }
  let killed: Node | undefined
  return {
    urls,
    killLeader: async (stream) => {
      const { cluster } = await manage((manager) => manager.streams.info(stream))
      killed = nodes.find(({ name }) => name === cluster?.leader)
      if (killed === undefined) throw new Error(`the stream ${stream} has no leader`)
      await killed.kill()
    },
    restart: async () => {
      await killed?.start()
    },
    dispose
  }
}
