/** The command line as a process of Node. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { TerminalCapabilities } from "effect/cli/TerminalCapabilities"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Runtime from "effect/Runtime"
import { readFileSync } from "node:fs"
import { Connect, isActing } from "./connect.ts"
import { codes, lineOf, toldLine } from "./failure.ts"
import { open } from "./opening.ts"
import { Streams } from "./output/write.ts"
import { run } from "./run.ts"

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  readonly version: string
}

const words = process.argv.slice(2)

/** What the process ends with where nothing else has gone wrong. */
let unwritten: number = codes.done

/** An output that cannot be written is told once; but whoever reads may have what it wanted: `| head`. */
const onUnwritten = (error: NodeJS.ErrnoException): void => {
  // What has been asked for is done to its end, though nobody hears of it.
  const end = () => void (isActing() || process.exit(unwritten))
  if (error.code === "EPIPE" || error.code === "ERR_STREAM_DESTROYED" || unwritten !== codes.done) return end()
  unwritten = codes.unreachable
  const told = { tag: "OutputError", message: `The output cannot be written: ${lineOf(error.message)}.` }
  process.stderr.write(toldLine(told, words.includes("--json")), end)
}

/** Writes, and goes on when what was written has left: a slow reader holds a long answer back. */
const writeTo = (stream: NodeJS.WriteStream) => (text: string) =>
  Effect.callback<void>((resume) => {
    stream.write(text, (error) => {
      if (error && stream === process.stdout) onUnwritten(error)
      resume(Effect.void)
    })
  })

/** `COLUMNS` says how wide it is where there is no terminal. */
const columnsOf = (stream: NodeJS.WriteStream): number => {
  const said = Number(process.env["COLUMNS"])
  const wide = stream.columns || (Number.isSafeInteger(said) && said > 0 ? said : 80)
  return Math.max(40, wide)
}

const streams = Effect.map(TerminalCapabilities, ({ canAnimate, canColor, canPrompt }) => ({
  columns: columnsOf(process.stdout),
  isColoured: canColor,
  isAnimated: canAnimate && process.stderr.isTTY,
  isInteractive: canPrompt,
  out: writeTo(process.stdout),
  err: writeTo(process.stderr)
}))

const services = Layer.mergeAll(
  NodeServices.layer,
  Layer.effect(Streams, streams),
  Layer.succeed(Connect, open),
  // What is answered is on stdout, and nothing else.
  Layer.succeed(Logger.LogToStderr, true)
)

/** Ends the process once what was written has left: a module that was loaded may have opened what would keep it. */
const teardown: Runtime.Teardown = (exit) =>
  Runtime.defaultTeardown(exit, (code) => {
    const end = () => process.exit(code === 0 ? (process.exitCode ?? 0) : code)
    process.stdout.write("", () => process.stderr.write("", end))
  })

/** Runs the arguments of the process. */
export const main = () => {
  process.stdout.on("error", onUnwritten)
  process.stderr.on("error", () => undefined)
  run(words, { version, url: process.env["EVENTFOLD_URL"] }).pipe(
    Effect.tap((code) =>
      Effect.sync(() => {
        process.exitCode = code === codes.done ? unwritten : code
      })
    ),
    Effect.provide(services),
    NodeRuntime.runMain({ teardown })
  )
}
