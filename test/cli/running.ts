/** The command line as a process. */
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"

export const root = fileURLToPath(new URL("../..", import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Starts it; what it prints is collected. */
export const start = (words: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}) => {
  const { EVENTFOLD_URL: _url, FORCE_COLOR: _color, NO_COLOR: _plain, COLUMNS: _columns, ...rest } = process.env
  const child = spawn(process.execPath, ["--conditions=@eventfold/source", "src/cli/bin.ts", ...words], {
    cwd: root,
    env: { ...rest, NODE_OPTIONS: "", ...env }
  })
  const text = { out: "", err: "" }
  child.stdout.on("data", (chunk: Buffer) => (text.out += chunk.toString()))
  child.stderr.on("data", (chunk: Buffer) => (text.err += chunk.toString()))
  // It may end before it has read all of its input.
  child.stdin.on("error", () => undefined)
  const ended = once(child, "close").then(([code]): Ended => ({ code: code as number | null, ...text }))
  return { child, text, ended }
}

/** Starts it, until the scope closes. */
export const started = (words: ReadonlyArray<string>, env?: Readonly<Record<string, string>>) =>
  Effect.acquireRelease(
    Effect.sync(() => start(words, env)),
    ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
  )

/** Runs it to its end, without an input. It ends by itself, or the test fails. */
export const eventfold = (words: ReadonlyArray<string>, env?: Readonly<Record<string, string>>, input = "") =>
  started(words, env).pipe(
    Effect.flatMap(({ child, ended }) => {
      child.stdin.end(input)
      return Effect.promise(() => ended)
    }),
    Effect.timeout("25 seconds"),
    Effect.scoped
  )
