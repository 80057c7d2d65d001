/** A stand-in for an OpenTelemetry collector: takes OTLP over HTTP as JSON, and keeps what it is sent. */
import { Effect, Layer, Ref, Schema } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"

const Value = Schema.Struct({
  stringValue: Schema.optionalKey(Schema.String),
  intValue: Schema.optionalKey(Schema.Union([Schema.String, Schema.Number])),
  doubleValue: Schema.optionalKey(Schema.Number),
  boolValue: Schema.optionalKey(Schema.Boolean)
})
const Attributes = Schema.Array(Schema.Struct({ key: Schema.String, value: Value }))

const Traces = Schema.Struct({
  resourceSpans: Schema.Array(
    Schema.Struct({
      scopeSpans: Schema.Array(
        Schema.Struct({
          spans: Schema.Array(
            Schema.Struct({
              name: Schema.String,
              spanId: Schema.String,
              parentSpanId: Schema.optionalKey(Schema.NullOr(Schema.String)),
              attributes: Attributes
            })
          )
        })
      )
    })
  )
})

const Metrics = Schema.Struct({
  resourceMetrics: Schema.Array(
    Schema.Struct({
      scopeMetrics: Schema.Array(Schema.Struct({ metrics: Schema.Array(Schema.Struct({ name: Schema.String })) }))
    })
  )
})

const Logs = Schema.Struct({
  resourceLogs: Schema.Array(
    Schema.Struct({
      scopeLogs: Schema.Array(Schema.Struct({ logRecords: Schema.Array(Schema.Struct({ body: Value, attributes: Attributes })) }))
    })
  )
})

const textOf = ({ boolValue, doubleValue, intValue, stringValue }: typeof Value.Type): string =>
  String(stringValue ?? intValue ?? doubleValue ?? boolValue)

const plain = (attributes: typeof Attributes.Type) => Object.fromEntries(attributes.map(({ key, value }) => [key, textOf(value)]))

export interface Span {
  readonly name: string
  readonly id: string
  readonly parent: string | undefined
  readonly attributes: Readonly<Record<string, string>>
}

export interface Log {
  readonly message: string
  readonly attributes: Readonly<Record<string, string>>
}

/** A collector, and its routes for the HTTP server. */
export const makeCollector = Effect.gen(function* () {
  const spans = yield* Ref.make<ReadonlyArray<Span>>([])
  const metrics = yield* Ref.make<ReadonlySet<string>>(new Set())
  const logs = yield* Ref.make<ReadonlyArray<Log>>([])

  const receive = <S extends Schema.Top & { readonly DecodingServices: never }>(
    path: `/${string}`,
    schema: S,
    keep: (body: S["Type"]) => Effect.Effect<void>
  ) =>
    HttpRouter.add(
      "POST",
      path,
      Effect.gen(function* () {
        yield* keep(yield* HttpServerRequest.schemaBodyJson(schema))
        return HttpServerResponse.jsonUnsafe({})
      })
    )

  return {
    spans: Ref.get(spans),
    metrics: Ref.get(metrics),
    logs: Ref.get(logs),
    routes: Layer.mergeAll(
      receive("/v1/traces", Traces, ({ resourceSpans }) =>
        Ref.update(spans, (known) => [
          ...known,
          ...resourceSpans.flatMap(({ scopeSpans }) =>
            scopeSpans.flatMap(({ spans }) =>
              spans.map(({ attributes, name, parentSpanId, spanId }) => ({
                name,
                id: spanId,
                parent: parentSpanId ?? undefined,
                attributes: plain(attributes)
              }))
            )
          )
        ])
      ),
      receive("/v1/metrics", Metrics, ({ resourceMetrics }) =>
        Ref.update(
          metrics,
          (known) =>
            new Set([
              ...known,
              ...resourceMetrics.flatMap(({ scopeMetrics }) =>
                scopeMetrics.flatMap(({ metrics }) => metrics.map(({ name }) => name))
              )
            ])
        )
      ),
      receive("/v1/logs", Logs, ({ resourceLogs }) =>
        Ref.update(logs, (known) => [
          ...known,
          ...resourceLogs.flatMap(({ scopeLogs }) =>
            scopeLogs.flatMap(({ logRecords }) =>
              logRecords.map(({ attributes, body }) => ({ message: textOf(body), attributes: plain(attributes) }))
            )
          )
        ])
      )
    )
  }
})
