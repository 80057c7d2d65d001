/** A real PgBouncer in front of a PostgreSQL server, from the binary that the system has. */
import { execFileSync, spawn } from "node:child_process"
import { chownSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { findServer } from "./brokers.ts"
import { freePort, makeServerFolder } from "./server-folder.ts"

export interface PgBouncer {
  readonly url: string
  readonly dispose: () => Promise<void>
}

/** Whether its tests are to run: where every service has to be there, they run and fail without it. */
export const isPgBouncerExpected = (): boolean => findServer("pgbouncer") !== undefined || Boolean(process.env["CI"])

/** It refuses to run as root, so root runs it as `nobody`. */
const unprivileged = () => {
  if (process.getuid?.() !== 0) return undefined
  const id = (flag: string) => Number(execFileSync("id", [flag, "nobody"], { encoding: "utf8" }))
  return { uid: id("-u"), gid: id("-g") }
}

/** Starts a PgBouncer before the server of this URL. It ends with `dispose`, and in any case with this process. */
export const startPgBouncer = async (
  server: string,
  { mode, size = 10 }: { readonly mode: "transaction" | "session"; readonly size?: number }
): Promise<PgBouncer> => {
  const binary = findServer("pgbouncer")
  if (binary === undefined) throw new Error("pgbouncer is not on the PATH")
  const user = unprivileged()
  const { hostname, port: serverPort } = new URL(server)
  const folder = await makeServerFolder({ name: "pgbouncer", signal: "KILL" })
  const port = await freePort()
  const write = (name: string, text: string) => {
    writeFileSync(join(folder.path, name), text)
    return join(folder.path, name)
  }
  const users = write("users.txt", `"postgres" ""\n`)
  const settings = write(
    "pgbouncer.ini",
    `[databases]
* = host=${hostname} port=${serverPort}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${users}
pool_mode = ${mode}
default_pool_size = ${size}
max_client_conn = 500
`
  )
  if (user !== undefined) for (const path of [folder.path, users, settings]) chownSync(path, user.uid, user.gid)
  const child = folder.guard(spawn(binary, [settings], { ...user, cwd: folder.path, stdio: ["ignore", "ignore", "pipe"] }))
  await new Promise<void>((resolve, reject) => {
    let log = ""
    child.once("error", reject)
    child.once("close", (code) => reject(new Error(`pgbouncer ended with code ${code} while starting:\n${log}`)))
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      // Read on for ever: a server whose log nobody reads stands still once the pipe is full.
      log = (log + text).slice(-10_000)
      if (log.includes("process up")) resolve()
    })
  })
  const address = new URL(server)
  address.port = String(port)
  return { url: address.href, dispose: folder.dispose }
}
