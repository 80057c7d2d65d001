/** Processes that tests start. */
import assert from "node:assert/strict"
import { type Duration, Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { basename } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { eventually } from "./words.ts"

export { eventually as until } from "./words.ts"

/** A process of a test; what it prints comes line by line. */
export interface Child {
  readonly process: ChildProcess
  readonly lines: Array<string>
  /** Waits for the line: as long as {@link until} does, where it is not said how long its process has much to do. */
  readonly says: (line: string, within?: Duration.Input) => Effect.Effect<void>
  /** Asks it to end in good order, and waits for it. Fails unless it ends with code 0. */
  readonly end: Effect.Effect<void>
  /** Kills it where it stands, and waits until it is gone. */
  readonly kill: Effect.Effect<void>
}

/** Runs a module of the tests in a process of its own, with `input` as JSON for its argument. */
export const startChild = (module: URL, input: object): Effect.Effect<Child, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync((): Child => {
      const path = fileURLToPath(module)
      const file = basename(path)
      const process_ = spawn(process.execPath, ["--conditions=@eventfold/source", path, JSON.stringify(input)], {
        stdio: ["pipe", "pipe", "inherit"],
        env: { ...process.env, NODE_OPTIONS: "" }
      })
      const lines: Array<string> = []
      createInterface({ input: process_.stdout }).on("line", (line) => lines.push(line))
      // "close" comes when its output has been read to the end as well.
      const closed = once(process_, "close") as Promise<[number | null]>
      return {
        process: process_,
        lines,
        says: (line, within) =>
          eventually(
            `${file} says ${line}`,
            Effect.suspend(() =>
              process_.exitCode === null || lines.includes(line)
                ? Effect.succeed(lines.includes(line))
                : Effect.die(new Error(`${file} ended with code ${process_.exitCode}`))
            ),
            within
          ),
        end: Effect.promise(async () => {
          process_.stdin.end()
          const [code] = await closed
          assert.equal(code, 0)
        }),
        kill: Effect.promise(async () => {
          process_.kill("SIGKILL")
          await closed
        })
      }
    }),
    ({ kill }) => kill
  )
