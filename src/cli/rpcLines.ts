/** Lines of JSON-RPC on stdin, each by itself: what is no message is answered here, and its neighbours are read on. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import { Streams } from "./output/write.ts"

/** The longest line that is read, in characters. */
const longest = 8 * 1024 * 1024

const codes = { parse: -32700, invalid: -32600 } as const

/** What is wrong with a line, by the codes of JSON-RPC. */
const problemOf = (line: string): { readonly code: number; readonly message: string } | undefined => {
  if (line.length > longest) return { code: codes.invalid, message: `The line is longer than ${longest} characters` }
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === "object" && value !== null
      ? undefined
      : { code: codes.invalid, message: "The line is no message of JSON-RPC" }
  } catch {
    return { code: codes.parse, message: "The line is no JSON" }
  }
}

/** The standard streams, with messages of JSON-RPC alone on stdin. */
export const layer: Layer.Layer<Stdio.Stdio, never, Stdio.Stdio | Streams> = Layer.effect(
  Stdio.Stdio,
  Effect.gen(function* () {
    const stdio = yield* Stdio.Stdio
    const { out } = yield* Streams
    const read = (line: string) => {
      if (line.trim() === "") return Effect.succeed(Result.fail(undefined))
      const error = problemOf(line)
      return error === undefined
        ? Effect.succeed(Result.succeed(`${line}\n`))
        : Effect.as(out(`${JSON.stringify({ jsonrpc: "2.0", id: null, error })}\n`), Result.fail(undefined))
    }
    return Stdio.make({
      ...stdio,
      stdin: stdio.stdin.pipe(Stream.decodeText, Stream.splitLines, Stream.filterMapEffect(read), Stream.encodeText)
    })
  })
)
