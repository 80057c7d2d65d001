/** Runs the shop with effect's OTLP exporters, against a collector of its own. */
import { NodeHttpServer } from "@effect/platform-node"
import { Effect, Layer, Stream } from "effect"
import { FetchHttpClient, HttpRouter, HttpServer } from "effect/http"
import { Otlp, OtlpExporter, OtlpSerialization } from "effect/observability"
import { MessageBus, Transport } from "eventfold"
import { createServer } from "node:http"
import { makeCollector } from "./collector.ts"
import * as Shop from "./shop.ts"

/** All three signals of a program, to the collector at `baseUrl`. In production that is all there is to it. */
const Telemetry = (baseUrl: string) =>
  Otlp.layer({ baseUrl, resource: { serviceName: "shop", serviceVersion: "1.0.0" } }).pipe(
    Layer.provide(OtlpSerialization.layerJson),
    Layer.provide(FetchHttpClient.layer)
  )

/** What the collector was sent while one order was placed, shipped and published. */
export const program = Effect.gen(function* () {
  const collector = yield* makeCollector
  const Server = HttpRouter.serve(collector.routes, { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provideMerge(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 }))
  )
  return yield* Effect.gen(function* () {
    const { address } = yield* HttpServer.HttpServer
    const observed = Effect.gen(function* () {
      yield* MessageBus.execute(Shop.PlaceOrder, { order: "1", total: 5 }, { correlationId: "order-1" })
      // The relay has handed the event to the transport.
      yield* Transport.subscribe({ group: "mail" }).pipe(Stream.take(1), Stream.runDrain)
    }).pipe(Effect.withSpan("POST /orders"), Effect.provide(Shop.layer))
    yield* Effect.provide(
      Effect.andThen(
        observed,
        OtlpExporter.Flusher.use(({ flush }) => flush)
      ),
      Telemetry(HttpServer.formatAddress(address))
    )
    return { spans: yield* collector.spans, metrics: yield* collector.metrics, logs: yield* collector.logs }
  }).pipe(Effect.provide(Server))
})
