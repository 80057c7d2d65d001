/** The command line in this process: what it writes, and its exit code. */
import { NodeServices } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { Connect } from "../../src/cli/connect.ts"
import { Streams } from "../../src/cli/output/write.ts"
import { run } from "../../src/cli/run.ts"
import { client, now } from "./stub.ts"

/** Runs words over the stub, on a terminal so wide. */
export const eventfold = Effect.fnUntraced(function* (
  words: ReadonlyArray<string>,
  options: { readonly columns?: number; readonly isColoured?: boolean; readonly isAnimated?: boolean; readonly url?: string } = {}
) {
  yield* TestClock.setTime(now)
  let out = ""
  let err = ""
  const write = (add: (text: string) => void) => (text: string) => Effect.sync(() => add(text))
  const streams = Layer.succeed(Streams, {
    columns: options.columns ?? 80,
    isColoured: options.isColoured ?? false,
    isAnimated: options.isAnimated ?? false,
    isInteractive: false,
    out: write((text) => (out += text)),
    err: write((text) => (err += text))
  })
  const code = yield* run(words, { version: "0.0.0", url: options.url }).pipe(
    Effect.provide(
      Layer.mergeAll(
        streams,
        NodeServices.layer,
        Layer.succeed(Connect, () => client)
      )
    )
  )
  return { code, out, err }
})
