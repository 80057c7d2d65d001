/** Spans, metrics and logs by OTLP: `npm run example:telemetry`. */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import type { Span } from "./collector.ts"
import { program } from "./program.ts"

/** The spans beneath one, as a tree. */
const tree = (spans: ReadonlyArray<Span>, parent: string | undefined, depth: number): ReadonlyArray<string> =>
  spans
    .filter((span) => span.parent === parent)
    .flatMap((span) => [`${"  ".repeat(depth)}${span.name}`, ...tree(spans, span.id, depth + 1)])

const main = Effect.gen(function* () {
  const { logs, metrics, spans } = yield* program
  const roots = spans.map((span) => (spans.some(({ id }) => id === span.parent) ? span : { ...span, parent: undefined }))
  yield* Console.log(["Spans:", ...tree(roots, undefined, 1)].join("\n"))
  yield* Console.log(
    [
      "Metrics:",
      ...Array.from(metrics)
        .sort()
        .map((name) => `  ${name}`)
    ].join("\n")
  )
  yield* Console.log(
    ["Logs:", ...logs.map(({ attributes, message }) => `  ${message} (conversation ${attributes["correlationId"]})`)].join("\n")
  )
})

NodeRuntime.runMain(main)
