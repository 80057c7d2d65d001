import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtemp } from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** A temporary folder for a server, which outlives neither `dispose` nor this process, however that ends. */
export interface ServerFolder {
  readonly path: string
  /** Has a child process ended with the folder, if it still runs then. One child at a time. */
  readonly guard: <C extends ChildProcess>(child: C) => C
  readonly dispose: () => Promise<void>
}

/**
 * Reads the id of the process that works in the folder, or an empty line when none does. Its input closes on `dispose`, and
 * also when this process is gone: then it ends that process, runs the last command and removes the folder.
 */
const janitor = `
  while read -r line; do pid=$line; done
  if [ -n "$pid" ]; then kill -s "$2" -- "$pid"; fi
  left=200
  while [ "$left" -gt 0 ]; do
    if [ -z "$pid" ] || ! kill -0 -- "$pid"; then break; fi
    left=$((left - 1))
    sleep 0.05
  done
  eval "$3"
  rm -rf "$1"
`

export const makeServerFolder = async (options: {
  /** What the folder is for. */
  readonly name: string
  readonly signal: "QUIT" | "KILL"
  /** Whether each child leads a process group, all of which is to end. */
  readonly groups?: boolean
  /** A shell command to run at the very end. */
  readonly last?: string
}): Promise<ServerFolder> => {
  const path = await mkdtemp(join(tmpdir(), `eventfold-${options.name}-`))
  const keeper = spawn("/bin/sh", ["-c", janitor, "sh", path, options.signal, options.last ?? ":"], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"]
  })
  const swept = once(keeper, "exit")
  keeper.unref()
  return {
    path,
    guard: (child) => {
      keeper.stdin.write(`${child.pid === undefined ? "" : options.groups === true ? -child.pid : child.pid}\n`)
      child.once("close", () => keeper.stdin.write("\n"))
      return child
    },
    dispose: async () => {
      keeper.ref()
      keeper.stdin.end()
      await swept
    }
  }
}

/**
 * A free port below the range that systems take outgoing ports from: while a server is down between two starts, no client's
 * connection can sit on its port.
 */
export const freePort = async (): Promise<number> => {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 22_000)
    const probe = createServer()
    const free = await new Promise<boolean>((resolve) => {
      probe.once("error", () => resolve(false))
      probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)))
    })
    if (free) return port
  }
}
