import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Tracer from "effect/Tracer"
import { CurrentDispatch } from "./bus.ts"

const messages = Metric.counter("eventfold_bus_messages", {
  description: "Messages handled, by kind (command, event), type and outcome",
  incremental: true
})
const durations = Metric.timer("eventfold_bus_handler_duration", {
  description: "How long the handler of a command, or all listeners of an event, took"
})

const makeMetrics = (kind: string, type: string) => ({
  success: Metric.withAttributes(messages, { kind, type, outcome: "success" }),
  failure: Metric.withAttributes(messages, { kind, type, outcome: "failure" }),
  duration: Metric.withAttributes(durations, { kind, type })
})

const metrics = new Map<string, ReturnType<typeof makeMetrics>>()

const metricsOf = (kind: string, type: string) => {
  const key = `${kind}:${type}`
  let found = metrics.get(key)
  if (found === undefined) metrics.set(key, (found = makeMetrics(kind, type)))
  return found
}

/** The handling of one message, with its span (a child of the span of the message that caused it), its count, and its duration. */
export const observed = <A, E, R>(
  kind: "command" | "event",
  type: string,
  message: { readonly id: string; readonly correlationId: string; readonly causationId: string | undefined },
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    const { duration, failure, success } = metricsOf(kind, type)
    const spans = fiber.getRef(CurrentDispatch)?.spans
    const parent = message.causationId === undefined ? undefined : spans?.get(message.causationId)
    return Effect.withFiber<A, E, R>((inner) => {
      const span = Context.getOrUndefined(inner.context, Tracer.ParentSpan)
      if (span !== undefined) spans?.set(message.id, span)
      const clock = inner.getRef(Clock.Clock)
      const start = clock.currentTimeNanosUnsafe()
      return Effect.onExit(effect, (exit) =>
        Effect.sync(() => {
          duration.updateUnsafe(Duration.nanos(clock.currentTimeNanosUnsafe() - start), inner.context)
          ;(exit._tag === "Success" ? success : failure).updateUnsafe(1, inner.context)
        })
      )
    }).pipe(
      Effect.withSpan(
        `process ${type}`,
        {
          kind: "consumer",
          ...(parent === undefined ? {} : { parent }),
          attributes: {
            "messaging.system.name": "eventfold",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": type,
            "messaging.message.id": message.id,
            "messaging.message.conversation_id": message.correlationId,
            ...(message.causationId === undefined ? {} : { "eventfold.message.causation_id": message.causationId }),
            "eventfold.message.kind": kind
          }
        },
        // It begins here, always.
        { captureStackTrace: false }
      )
    )
  })
