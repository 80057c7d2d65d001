/**
 * Real brokers for tests, examples' tests and benchmarks: NATS, Redis, RabbitMQ and Kafka.
 *
 * A broker is there when its server's binary is on the PATH (of Kafka: Java, and the jars that `.ci/kafka/fetch` brings): each call
 * starts an instance of its own, on a free loopback port and with its data in a temporary folder. Or its environment variable names one
 * that runs already, which then is not stopped.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { accessSync, constants, existsSync, mkdirSync, realpathSync, writeFileSync } from "node:fs"
import { homedir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { freePort, makeServerFolder } from "./server-folder.ts"

export type BrokerName = "nats" | "redis" | "rabbitmq" | "kafka"

/** What can be done to a server of one's own. */
export interface BrokerServer {
  /** Ends it: `SIGTERM` in good order, `SIGKILL` as a crash. Keeps its data. Does nothing when it is not running. */
  readonly stop: (signal: "SIGTERM" | "SIGKILL") => Promise<void>
  /** Starts it again, on the same data and port. */
  readonly start: () => Promise<void>
  /** `SIGSTOP`: it keeps its connections and answers nothing, until `thaw`. */
  readonly freeze: () => void
  readonly thaw: () => void
}

export interface Broker {
  readonly url: string
  /** None when the environment names the broker. */
  readonly server: BrokerServer | undefined
  /**
   * Of brokers that tell their clients where they are: a port of the server for those who come through a proxy, and where it tells them
   * that the proxy is.
   */
  readonly proxied?: { readonly target: number; readonly listen: number }
  readonly dispose: () => Promise<void>
}

interface Definition {
  readonly variable: string
  readonly binary: string
  readonly url: (port: number) => string
  /** The command that serves on `port` with its data in `folder`. */
  readonly command: (context: {
    readonly binary: string
    readonly folder: string
    readonly port: number
    readonly second: number
    readonly joins: Broker | undefined
  }) => {
    readonly command: string
    readonly args: ReadonlyArray<string>
    readonly env?: Readonly<Record<string, string>>
  }
  /** What it needs beside its binary. */
  readonly needs?: string
  /** What its log says when it serves. */
  readonly ready: string
  /** A shell command that ends what the server leaves behind. */
  readonly last?: (second: number) => string
}

/** Where `.ci/kafka/fetch` puts the jars of Kafka. */
const kafkaJars = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "eventfold", "kafka-4.4.0")

/** One node that is broker and controller, and waits for nobody. */
const kafkaProperties = (folder: string, port: number, second: number, joins: Broker | undefined): string =>
  Object.entries({
    // One that joins another has that one for its controller.
    "process.roles": joins === undefined ? "broker,controller" : "broker",
    "node.id": joins === undefined ? 1 : 2,
    "controller.quorum.voters": `1@127.0.0.1:${joins?.proxied === undefined ? second : joins.proxied.target - 1}`,
    listeners: [
      `PLAINTEXT://127.0.0.1:${port}`,
      ...(joins === undefined ? [`CONTROLLER://127.0.0.1:${second}`] : []),
      `PROXIED://127.0.0.1:${second + 1}`
    ].join(),
    // A broker that is lost, or falls behind, is out of the way soon.
    "broker.session.timeout.ms": 3000,
    "broker.heartbeat.interval.ms": 500,
    "replica.lag.time.max.ms": 3000,
    "advertised.listeners": `PLAINTEXT://127.0.0.1:${port},PROXIED://127.0.0.1:${second + 2}`,
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "log.dirs": join(folder, "data"),
    "auto.create.topics.enable": false,
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 500,
    "group.consumer.min.session.timeout.ms": 500,
    "group.consumer.session.timeout.ms": 2000,
    "group.consumer.min.heartbeat.interval.ms": 100,
    "group.consumer.heartbeat.interval.ms": 200,
    // Partitions are given at once: by itself a group waits for a second.
    "group.consumer.min.assignment.interval.ms": 0,
    "group.consumer.assignment.interval.ms": 0
  })
    .map(([name, value]) => `${name}=${value}\n`)
    .join("")

const kafkaLogging = `Configuration:
  Appenders:
    Console:
      name: STDOUT
      PatternLayout:
        pattern: "%p %m%n"
  Loggers:
    Root:
      level: INFO
      AppenderRef:
        - ref: STDOUT
`

const definitions: Readonly<Record<BrokerName, Definition>> = {
  nats: {
    variable: "EVENTFOLD_TEST_NATS_URL",
    binary: "nats-server",
    url: (port) => `nats://127.0.0.1:${port}`,
    command: ({ binary, folder, port }) => ({
      command: binary,
      args: ["--addr", "127.0.0.1", "--port", String(port), "--jetstream", "--store_dir", join(folder, "data")]
    }),
    ready: "Server is ready"
  },
  redis: {
    variable: "EVENTFOLD_TEST_REDIS_URL",
    binary: "redis-server",
    url: (port) => `redis://127.0.0.1:${port}`,
    command: ({ binary, folder, port }) => ({
      command: binary,
      args: [
        "--bind",
        "127.0.0.1",
        "--port",
        String(port),
        "--dir",
        folder,
        // With these, what is acknowledged is on the disk.
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        // A replica is there when it comes, and need not wait for others.
        "--repl-diskless-sync-delay",
        "0"
      ]
    }),
    ready: "Ready to accept connections"
  },
  rabbitmq: {
    variable: "EVENTFOLD_TEST_RABBITMQ_URL",
    binary: "rabbitmq-server",
    url: (port) => `amqp://guest:guest@127.0.0.1:${port}`,
    command: ({ binary, folder, port, second }) => {
      const file = (name: string, content: string) => {
        writeFileSync(join(folder, name), content)
        return join(folder, name)
      }
      mkdirSync(join(folder, "home"), { recursive: true })
      // Debian puts a script before the server that changes to a user of its own.
      const real = realpathSync(binary)
      return {
        command: real.endsWith("script-wrapper") ? join(dirname(real), "rabbitmq-server") : binary,
        args: [],
        env: {
          HOME: join(folder, "home"),
          ERL_EPMD_ADDRESS: "127.0.0.1",
          ERL_EPMD_PORT: String(second),
          RABBITMQ_NODENAME: "eventfold@localhost",
          RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
          RABBITMQ_NODE_PORT: String(port),
          RABBITMQ_DIST_PORT: String(second + 1),
          RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "-kernel inet_dist_use_interface {127,0,0,1}",
          RABBITMQ_MNESIA_BASE: join(folder, "data"),
          RABBITMQ_LOG_BASE: join(folder, "log"),
          RABBITMQ_LOGS: "-",
          RABBITMQ_PID_FILE: join(folder, "pid"),
          RABBITMQ_CONF_ENV_FILE: file("env.conf", ""),
          RABBITMQ_CONFIG_FILE: file("rabbitmq.conf", "loopback_users = none\n").replace(/\.conf$/, ""),
          RABBITMQ_ENABLED_PLUGINS_FILE: file("plugins", "[].")
        }
      }
    },
    ready: "Server startup complete",
    last: (second) => `epmd -port ${second} -kill`
  },
  kafka: {
    variable: "KAFKA_BROKERS",
    binary: "java",
    needs: kafkaJars,
    url: (port) => `127.0.0.1:${port}`,
    command: ({ binary, folder, joins, port, second }) => {
      writeFileSync(join(folder, "server.properties"), kafkaProperties(folder, port, second, joins))
      writeFileSync(join(folder, "log4j2.yaml"), kafkaLogging)
      // What is formatted is left as it is.
      const java = `'${binary}' -cp '${kafkaJars}/*' -Dlog4j2.configurationFile=log4j2.yaml`
      const format = `${java} kafka.tools.StorageTool format --ignore-formatted -t MkU3OEVBNTcwNTJENDM2Qk -c server.properties`
      const serve = `${java} -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC kafka.Kafka server.properties`
      return { command: "/bin/sh", args: ["-c", `${format} && exec ${serve}`] }
    },
    ready: "Kafka Server started"
  }
}

const given = (name: BrokerName): string | undefined => process.env[definitions[name].variable] || undefined

/** The path of a server's binary, if it is on the PATH (or where systems keep servers). */
export const findServer = (binary: string): string | undefined =>
  [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin"]
    .map((folder) => join(folder, binary))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK)
        return true
      } catch {
        return false
      }
    })

const findBinary = (name: BrokerName): string | undefined => {
  const { binary, needs } = definitions[name]
  return needs === undefined || existsSync(needs) ? findServer(binary) : undefined
}

/** Whether tests can use the broker. */
export const isAvailable = (name: BrokerName): boolean => given(name) !== undefined || findBinary(name) !== undefined

/** Whether the broker's tests are to run: where every service has to be there, they run and fail without it. */
export const isExpected = (name: BrokerName): boolean => isAvailable(name) || Boolean(process.env["CI"])

/** The brokers that tests cannot use. */
export const missingBrokers = (): ReadonlyArray<BrokerName> =>
  (["nats", "redis", "rabbitmq", "kafka"] as const).filter((name) => !isAvailable(name))

/**
 * The broker that the environment names, or a server of one's own: it ends and its data is removed with `dispose`, and in any
 * case with this process. A test that stops its broker asks for one of its `own`.
 */
export const startBroker = async (
  name: BrokerName,
  options: {
    readonly own?: boolean
    /** Of Kafka: the broker whose cluster it is one of. */
    readonly joins?: Broker
    /** Of the servers that are there, this one. */
    readonly binary?: string
  } = {}
): Promise<Broker> => {
  const url = given(name)
  if (url !== undefined && options.own !== true) return { url, server: undefined, dispose: () => Promise.resolve() }
  const definition = definitions[name]
  const binary = options.binary ?? findBinary(name)
  if (binary === undefined) {
    const missing = `${definition.binary} is not on the PATH${definition.needs === undefined ? "" : `, or ${definition.needs} is not there`}`
    throw new Error(
      options.own === true || url !== undefined
        ? `${missing}, and this test needs a server that it may stop`
        : `${missing}, and ${definition.variable} names no broker`
    )
  }

  const port = await freePort()
  const second = await freePort()
  const folder = await makeServerFolder({
    name,
    signal: "KILL",
    groups: true,
    ...(definition.last === undefined ? {} : { last: definition.last(second) })
  })
  let running: ChildProcess | undefined
  let closed: Promise<unknown> = Promise.resolve()

  const start = async (): Promise<void> => {
    if (running !== undefined) return
    const { args, command, env } = definition.command({ binary, folder: folder.path, port, second, joins: options.joins })
    const child = folder.guard(
      spawn(command, args, {
        cwd: folder.path,
        env: { ...process.env, LC_ALL: "C", ...env },
        detached: true,
        stdio: ["ignore", "pipe", "pipe"]
      })
    )
    running = child
    closed = new Promise((resolve) => child.once("close", resolve))
    child.once("close", () => (running = undefined))
    await new Promise<void>((resolve, reject) => {
      let log = ""
      child.once("error", reject)
      child.once("close", (code) => reject(new Error(`${definition.binary} ended with code ${code} while starting:\n${log}`)))
      // Read on for ever: a server whose log nobody reads stands still once the pipe is full.
      for (const output of [child.stdout, child.stderr]) {
        output.setEncoding("utf8").on("data", (text: string) => {
          log = (log + text).slice(-10_000)
          if (log.includes(definition.ready)) resolve()
        })
      }
    })
  }

  const signal = (signal: NodeJS.Signals) => {
    if (running?.pid !== undefined) process.kill(-running.pid, signal)
  }
  const stop: BrokerServer["stop"] = async (how) => {
    signal(how)
    await closed
  }
  const dispose = async (): Promise<void> => {
    await stop("SIGKILL")
    await folder.dispose()
  }

  try {
    await start()
  } catch (error) {
    await dispose()
    throw error
  }
  return {
    url: definition.url(port),
    proxied: { target: second + 1, listen: second + 2 },
    server: { stop, start, freeze: () => signal("SIGSTOP"), thaw: () => signal("SIGCONT") },
    dispose
  }
}
