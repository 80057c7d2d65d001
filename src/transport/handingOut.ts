/** How what is received becomes a stream of deliveries. */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type { Delivery, TransportError } from "./service.ts"

/**
 * The deliveries of what is received, in its order, as many at once as there are. `accept` makes a delivery of one, or says what is done
 * about it instead, which is done before anything behind it is handed out.
 *
 * @category constructors
 * @since 0.2.0
 */
export const deliveriesOf = <A>(
  received: Queue.Dequeue<A, TransportError>,
  accept: (item: A) => Delivery | Effect.Effect<void, TransportError>
): Stream.Stream<Delivery, TransportError> =>
  Stream.fromPull(
    Effect.sync(() => {
      let items: Iterator<A> = new Array<A>().values()
      let instead: Effect.Effect<void, TransportError> | undefined
      const next: Effect.Effect<Arr.NonEmptyReadonlyArray<Delivery>, TransportError> = Effect.suspend(() => {
        if (instead !== undefined) {
          const work = instead
          instead = undefined
          return Effect.andThen(work, next)
        }
        const deliveries: Array<Delivery> = []
        let item = items.next()
        for (; item.done !== true; item = items.next()) {
          const accepted = accept(item.value)
          if (!Effect.isEffect(accepted)) deliveries.push(accepted)
          else {
            instead = accepted
            break
          }
        }
        if (Arr.isArrayNonEmpty(deliveries)) return Effect.succeed(deliveries)
        if (instead !== undefined) return next
        return Effect.flatMap(Queue.takeAll(received), (all) => {
          items = all.values()
          return next
        })
      })
      return next
    })
  )
