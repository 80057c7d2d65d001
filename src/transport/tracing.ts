/**
 * Trace context and metadata that travel with messages: the distributed tracing extension of CloudEvents, and the attributes that
 * users mark.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Tracer from "effect/Tracer"
import type { Metadata } from "../definitions/stored.ts"
import { type CloudEvent, extensionFault, type Message } from "./message.ts"
import type { Transport } from "./service.ts"

/** What other tracing systems have added to a trace, of the span that carries it. */
const TraceState = Context.Reference<string | undefined>("eventfold/Transport/TraceState", { defaultValue: () => undefined })

const traceparent = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/
const noId = /^0+$/

/**
 * The span that a message comes from, by its attributes `traceparent` and `tracestate`; `undefined` where they name none.
 *
 * ```ts
 * import { Transport } from "eventfold"
 *
 * const extensions = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" }
 *
 * Transport.spanOf({ extensions })?.spanId // => "b7ad6b7169203331"
 * ```
 *
 * @category tracing
 * @since 0.2.0
 */
export const spanOf = ({ extensions }: Pick<CloudEvent, "extensions">): Tracer.ExternalSpan | undefined => {
  const [, traceId, spanId, flags] = traceparent.exec(String(extensions?.["traceparent"] ?? "")) ?? []
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined
  if (noId.test(traceId) || noId.test(spanId)) return undefined
  const state = extensions?.["tracestate"]
  return Tracer.externalSpan({
    traceId,
    spanId,
    sampled: (Number.parseInt(flags, 16) & 1) === 1,
    annotations: typeof state === "string" && state !== "" ? Context.make(TraceState, state) : Context.empty()
  })
}

/** The state of the trace that a span belongs to, where it came in with a message. */
const stateOf = (span: Tracer.AnySpan): string | undefined => {
  const state = Context.get(span.annotations, TraceState)
  const parent = span._tag === "Span" && span.parent._tag === "Some" ? span.parent.value : undefined
  return state ?? (parent === undefined ? undefined : stateOf(parent))
}

/** The attributes that name a span: `undefined` where its ids are none of W3C Trace Context. */
const attributesOf = (span: Tracer.AnySpan): Readonly<Record<string, string>> | undefined => {
  const parent = `00-${span.traceId}-${span.spanId}-${span.sampled ? "01" : "00"}`
  if (!traceparent.test(parent)) return undefined
  const state = stateOf(span)
  return { traceparent: parent, ...(state !== undefined && { tracestate: state }) }
}

/** The attributes that name the span of whoever asks, if there is one that may be told. */
const current = Effect.withFiber<Readonly<Record<string, string>> | undefined>((fiber) => {
  const span = Context.getOrUndefined(fiber.context, Tracer.ParentSpan)
  if (span === undefined || fiber.getRef(Tracer.DisablePropagation)) return Effect.undefined
  return Effect.succeed(Context.get(span.annotations, Tracer.DisablePropagation) ? undefined : attributesOf(span))
})

/**
 * The metadata `traceparent` (and `tracestate`) of the span of whoever asks; empty where there is none. Staged with events, it makes
 * the messages that they leave as come from that span, and not from that of the relay.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Transport } from "eventfold"
 *
 * const names = Effect.map(Transport.traceMetadata, Object.keys)
 *
 * await Effect.runPromise(Effect.withSpan(names, "place an order")) // => ["traceparent"]
 * ```
 *
 * @category tracing
 * @since 0.2.0
 */
export const traceMetadata: Effect.Effect<Metadata> = Effect.map(current, (attributes) => attributes ?? {})

/** A message that names no span comes from that of its publisher. */
const traced = (message: Message, attributes: Readonly<Record<string, string>>): Message =>
  message.extensions?.["traceparent"] === undefined
    ? { ...message, extensions: { ...message.extensions, ...attributes } }
    : message

/** Publishes so that messages name the span of their publisher, where they name none. */
export const tracing =
  (publish: Transport["Service"]["publish"]): Transport["Service"]["publish"] =>
  ([first, ...rest]) =>
    Effect.flatMap(current, (attributes) =>
      publish(
        attributes === undefined
          ? [first, ...rest]
          : [traced(first, attributes), ...rest.map((message) => traced(message, attributes))]
      )
    )

/**
 * Which metadata travels with messages: keys that are names of attributes too, or by each key the name of its attribute.
 *
 * @category models
 * @since 0.2.0
 */
export type Marked = ReadonlyArray<string> | Readonly<Record<string, string>>

const ofTracing: ReadonlySet<string> = new Set(["traceparent", "tracestate"])

/**
 * Each key that is marked with the name of its attribute. Throws a `RangeError` that names the first which cannot travel.
 *
 * @category tracing
 * @since 0.2.0
 */
export const markedNames = (owner: string, marked: Marked = []): ReadonlyArray<readonly [key: string, name: string]> => {
  const pairs = Array.isArray(marked) ? marked.map((name: string) => [name, name] as const) : Object.entries(marked)
  const names = new Set<string>()
  for (const [key, name] of pairs) {
    const fault = ofTracing.has(name)
      ? `"${name}" travels by itself`
      : names.has(name)
        ? `two keys travel as "${name}"`
        : extensionFault(name)
    if (fault !== undefined) throw new RangeError(`${owner}: the metadata "${key}" cannot travel: ${fault}`)
    names.add(name)
  }
  return pairs
}

/** The metadata of an event that travels, as attributes. Numbers and booleans are text; what else is no text is refused when published. */
export const extensionsOf = (
  metadata: Metadata,
  marked: ReadonlyArray<readonly [key: string, name: string]>
): Readonly<Record<string, string>> | undefined => {
  const { traceparent: parent, tracestate: state } = metadata
  const own =
    typeof parent === "string" && traceparent.test(parent)
      ? { traceparent: parent, ...(typeof state === "string" && { tracestate: state }) }
      : {}
  const theirs = marked.flatMap(([key, name]) => {
    const value = metadata[key]
    if (value === undefined) return []
    return [[name, typeof value === "number" || typeof value === "boolean" ? String(value) : value]]
  })
  const all = { ...own, ...(Object.fromEntries(theirs) as Record<string, string>) }
  return Object.keys(all).length === 0 ? undefined : all
}

/** What a message brings of the metadata that is marked. */
export const broughtBy = (
  { extensions = {} }: CloudEvent,
  marked: ReadonlyArray<readonly [key: string, name: string]>
): Metadata =>
  Object.fromEntries(
    marked.flatMap(([key, name]) =>
      Object.hasOwn(extensions, name) ? [[key, extensions[name] as string | number | boolean]] : []
    )
  )
