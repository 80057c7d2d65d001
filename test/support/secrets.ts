/** What an effect lets a person see: of its failure, of its log, of its spans. */
import { inspect } from "node:util"
import { Cause, Effect, Exit, Layer, Logger, References, Tracer } from "effect"
import { recordingSpans } from "./spans.ts"

/** All that an error could show: to a log, a span, a person. */
const shownOf = (cause: Cause.Cause<unknown>): string =>
  [Cause.pretty(cause), String(Cause.squash(cause)), inspect(cause, { depth: 20 }), JSON.stringify(cause)].join("\n")

/** All that could be seen of it. It fails where the effect does not. */
export const shownBy = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<string, A, R> =>
  Effect.suspend(() => {
    const seen: Array<string> = []
    const logger = Logger.make(({ cause, message, fiber }) => {
      seen.push(inspect(message, { depth: 20 }), shownOf(cause), inspect(fiber.getRef(References.CurrentLogAnnotations)))
    })
    const { spans, tracer } = recordingSpans()
    const shown = (cause: Cause.Cause<unknown>) => {
      for (const { attributes, events, name, status } of spans) {
        seen.push(name, inspect({ attributes, events }, { depth: 20 }))
        if (status._tag === "Ended" && Exit.isFailure(status.exit)) seen.push(shownOf(status.exit.cause))
      }
      return [shownOf(cause), ...seen].join("\n")
    }
    return Effect.flip(Effect.sandbox(effect)).pipe(
      Effect.map(shown),
      Effect.provideService(Tracer.Tracer, tracer),
      Effect.provide(Layer.mergeAll(Logger.layer([logger]), Layer.succeed(References.MinimumLogLevel, "Trace")))
    )
  })

/** Fails as all of them do, one after the other. It dies where one of them succeeds. */
export const failures = <R>(effects: ReadonlyArray<Effect.Effect<unknown, unknown, R>>): Effect.Effect<never, unknown, R> =>
  Effect.forEach(effects, (effect) => Effect.orDie(Effect.flip(Effect.sandbox(effect)))).pipe(
    Effect.flatMap((causes) => Effect.failCause(Cause.fromReasons(causes.flatMap(({ reasons }) => reasons))))
  )
