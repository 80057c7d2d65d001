import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { inject, isDelay, makeFaults } from "../internal/faults.ts"
import { type Delivery, Transport, TransportError, TransportUnavailable } from "./service.ts"

/**
 * What {@link layerFaulty} does to one call, or to one delivery.
 *
 * - `"none"`: nothing;
 * - `"unavailable"`: the call is not made, and fails with `TransportUnavailable`; instead of a delivery the subscription fails;
 * - `"lost"`: the call is made and its answer is lost, so it fails with `TransportUnavailable`; a delivery gets lost on its way, and
 *   the message is delivered again;
 * - `"duplicate"`: the call is made twice; the message is delivered twice;
 * - `{ delay }`: all the same, that much later, by the `Clock`; after `Infinity` never;
 * - an error: the call is not made, and fails with it, as does the subscription instead of a delivery.
 *
 * @category models
 * @since 0.1.0
 */
export type Fault = "none" | "unavailable" | "lost" | "duplicate" | { readonly delay: Duration.Input } | TransportError

/**
 * A transport that fails as it is told, over any other: for tests of what a program does then.
 *
 * The n-th call gets the n-th fault of its list; when a list is through, calls go through unharmed. An `Iterable` may be endless
 * (`Faults.seeded` of `eventfold/testing` draws faults at random, reproducibly). Each build of the Layer begins anew.
 *
 * ```ts
 * import { DateTime, Effect, Layer, Stream } from "effect"
 * import { Transport } from "eventfold"
 *
 * const message: Transport.Message = {
 *   specversion: "1.0",
 *   id: "1",
 *   source: "/shop",
 *   type: "OrderPlaced",
 *   subject: "Order-1",
 *   time: DateTime.makeUnsafe("2026-01-01T00:00:00Z"),
 *   datacontenttype: "application/json",
 *   data: { total: 5 },
 *   schemaversion: 1,
 *   position: 1
 * }
 *
 * const Faulty = Transport.layerFaulty({ deliver: ["duplicate"] }).pipe(Layer.provide(Transport.layerMemory))
 *
 * const program = Effect.gen(function* () {
 *   yield* Transport.publish([message])
 *   const deliveries = Transport.subscribe({ group: "mail" }).pipe(Stream.take(2))
 *   return yield* Stream.runCollect(Stream.mapEffect(deliveries, ({ ack, attempt, message }) => Effect.as(ack, [message.id, attempt])))
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Faulty)) // => [["1", 1], ["1", 2]]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFaulty = (faults: {
  readonly publish?: Iterable<Fault> | undefined
  /** Of the deliveries, of all subscriptions together. */
  readonly deliver?: Iterable<Fault> | undefined
  /** Of `ack` and `nack`. */
  readonly settle?: Iterable<Fault> | undefined
}): Layer.Layer<Transport, never, Transport> =>
  Layer.effect(
    Transport,
    Transport.useSync((transport) => {
      const nextOfPublish = makeFaults(faults.publish)
      const nextOfDeliver = makeFaults(faults.deliver)
      const nextOfSettle = makeFaults(faults.settle)
      const unavailable = (operation: string) =>
        new TransportError({ reason: new TransportUnavailable({ operation, detail: "a fault was injected" }) })
      const calling = (next: Effect.Effect<Fault>, operation: string, call: Effect.Effect<void, TransportError>) =>
        Effect.flatMap(next, (fault) =>
          inject(fault, call, { unavailable: unavailable(operation), lost: unavailable(operation) })
        )
      const settling = (delivery: Delivery): Delivery => ({
        ...delivery,
        ack: calling(nextOfSettle, "ack", delivery.ack),
        nack: (options) => calling(nextOfSettle, "nack", delivery.nack(options))
      })
      const delivering = (delivery: Delivery): Stream.Stream<Delivery, TransportError> =>
        Stream.unwrap(
          Effect.map(nextOfDeliver, (fault): Stream.Stream<Delivery, TransportError> => {
            const given = settling(delivery)
            if (fault === "none") return Stream.succeed(given)
            if (fault === "duplicate") return Stream.make(given, { ...given, attempt: given.attempt + 1 })
            if (fault === "lost") return Stream.drain(Stream.fromEffect(delivery.nack()))
            if (isDelay(fault)) return Stream.fromEffect(Effect.as(Effect.sleep(fault.delay), given))
            return Stream.fail(fault === "unavailable" ? unavailable("subscribe") : fault)
          })
        )
      return {
        publish: (messages) => calling(nextOfPublish, "publish", transport.publish(messages)),
        subscribe: (options) => Stream.flatMap(transport.subscribe(options), delivering),
        forget: transport.forget,
        waiting: transport.waiting,
        findings: transport.findings
      }
    })
  )
