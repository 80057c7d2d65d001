/** Servers of RabbitMQ that are one cluster. */
import { type ChildProcess, spawn } from "node:child_process"
import { mkdirSync, realpathSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { findServer } from "../support/brokers.ts"
import { freePort, makeServerFolder } from "../support/server-folder.ts"
import { makeNetwork } from "./network.ts"

interface RabbitNode {
  readonly url: string
  readonly start: () => Promise<void>
  readonly kill: () => Promise<void>
  /**
   * The other servers hear nothing of it, nor it of them, until it is healed; clients reach it all the same. Where machines cannot have a
   * network of their own, it stands still meanwhile, and answers nobody.
   */
  readonly cutOff: () => void
  readonly heal: () => void
  /** What it has logged of late. */
  readonly log: () => string
}

export interface RabbitCluster {
  /** Whether its servers have a network between them that can be cut. */
  readonly isNetwork: boolean
  readonly nodes: ReadonlyArray<RabbitNode>
  readonly dispose: () => Promise<void>
}

/** After how many seconds servers take one for lost that does not answer. */
const tick = 4

const binary = (): string => {
  const found = findServer("rabbitmq-server")
  if (found === undefined) throw new Error("rabbitmq-server is not installed")
  const real = realpathSync(found)
  // Debian puts a script before the server that changes to a user of its own.
  return real.endsWith("script-wrapper") ? join(dirname(real), "rabbitmq-server") : found
}

export const startRabbitMq = async (count: number): Promise<RabbitCluster> => {
  const epmd = await freePort()
  const network = makeNetwork(count)
  const machines = network?.machines ?? Array.from({ length: count }, () => ({ address: "127.0.0.1", command: [] }))
  const names = machines.map(({ address }, index) => `e${index}@${network === undefined ? "localhost" : address}`)
  const home = await makeServerFolder({ name: "rabbitmq-home", signal: "KILL" })
  writeFileSync(join(home.path, ".erlang.cookie"), "EVENTFOLD", { mode: 0o400 })
  // A server that finds none starts one that ends with it, and then nobody finds the others.
  for (const { address, command } of network === undefined ? machines.slice(0, 1) : machines) {
    const [first = "", ...rest] = [...command, "epmd", "-address", address, "-port", String(epmd)]
    home.guard(spawn(first, rest, { stdio: "ignore" }))
  }
  const disposes: Array<() => Promise<void>> = []
  const nodes = await Promise.all(
    names.map(async (name, index): Promise<RabbitNode> => {
      const machine = network?.machines[index]
      const { address, command } = machines[index] ?? { address: "127.0.0.1", command: [] }
      const folder = await makeServerFolder({ name: "rabbitmq", signal: "KILL", groups: true })
      const [port, dist] = [await freePort(), await freePort()]
      const file = (name: string, content: string) => {
        writeFileSync(join(folder.path, name), content)
        return join(folder.path, name)
      }
      const peers = names.map((peer, index) => `cluster_formation.classic_config.nodes.${index + 1} = ${peer}\n`).join("")
      const discovery = "cluster_formation.peer_discovery_backend = rabbit_peer_discovery_classic_config\n"
      const config = file(
        "rabbitmq.conf",
        `loopback_users = none\ncluster_partition_handling = pause_minority\n${discovery}${peers}`
      )
      mkdirSync(join(folder.path, "data"))
      const env = {
        HOME: home.path,
        ERL_EPMD_ADDRESS: address,
        ERL_EPMD_PORT: String(epmd),
        RABBITMQ_NODENAME: name,
        RABBITMQ_USE_LONGNAME: String(network !== undefined),
        RABBITMQ_NODE_IP_ADDRESS: address,
        RABBITMQ_NODE_PORT: String(port),
        RABBITMQ_DIST_PORT: String(dist),
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: `-kernel inet_dist_use_interface {${address.replaceAll(".", ",")}} -kernel net_ticktime ${tick} +S 2:2`,
        RABBITMQ_MNESIA_BASE: join(folder.path, "data"),
        RABBITMQ_LOG_BASE: join(folder.path, "log"),
        RABBITMQ_LOGS: "-",
        RABBITMQ_PID_FILE: join(folder.path, "pid"),
        RABBITMQ_CONF_ENV_FILE: file("env.conf", ""),
        RABBITMQ_CONFIG_FILE: config.replace(/\.conf$/, ""),
        RABBITMQ_ENABLED_PLUGINS_FILE: file("plugins", "[].")
      }
      let running: ChildProcess | undefined
      let log = ""
      let closed: Promise<unknown> = Promise.resolve()
      const signal = (signal: NodeJS.Signals) => {
        if (running?.pid !== undefined) process.kill(-running.pid, signal)
      }
      const kill = async () => {
        signal("SIGKILL")
        await closed
      }
      disposes.push(async () => {
        await kill()
        await folder.dispose()
      })
      const start = async () => {
        const [first = "", ...rest] = [...command, binary()]
        const child = folder.guard(
          spawn(first, rest, {
            cwd: folder.path,
            env: { ...process.env, LC_ALL: "C", ...env },
            detached: true,
            stdio: ["ignore", "pipe", "pipe"]
          })
        )
        running = child
        child.once("close", () => (running = undefined))
        closed = new Promise((resolve) => child.once("close", resolve))
        await new Promise<void>((resolve, reject) => {
          log = ""
          child.once("close", (code) => reject(new Error(`${name} ended with code ${code} while starting:\n${log}`)))
          for (const output of [child.stdout, child.stderr]) {
            output.setEncoding("utf8").on("data", (text: string) => {
              log = (log + text).slice(-10_000)
              if (log.includes("Server startup complete")) resolve()
            })
          }
        })
      }
      return {
        url: `amqp://guest:guest@${address}:${port}`,
        start,
        kill,
        log: () => log,
        cutOff: machine?.cutOff ?? (() => signal("SIGSTOP")),
        heal: machine?.heal ?? (() => signal("SIGCONT"))
      }
    })
  )
  const dispose = async () => {
    await Promise.all(disposes.map((end) => end()))
    await home.dispose()
    network?.dispose()
  }
  try {
    // The first makes the cluster, the others join it.
    const [first, ...others] = nodes
    await first?.start()
    for (const { start } of others) await start()
  } catch (error) {
    await dispose()
    throw error
  }
  return { isNetwork: network !== undefined, nodes, dispose }
}
