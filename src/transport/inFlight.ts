import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { CloudEvent } from "./message.ts"
import type { Delivery, TransportError } from "./service.ts"

/**
 * What a member has been given and has not settled. `A` is how the broker knows a delivery: each is an object of its own.
 *
 * @category models
 * @since 0.2.0
 */
export interface InFlight<A extends object> {
  readonly size: number
  readonly has: (item: A) => boolean
  readonly add: (item: A) => void
  /** The broker has settled it, whoever asked for that. Says whether it was in flight. */
  readonly remove: (item: A) => boolean
  /** Everything in flight, in the order in which it was added. */
  readonly items: () => ReadonlyArray<A>
  /** What is in flight and not about to be settled. */
  readonly unsettled: () => ReadonlyArray<A>
  /**
   * Settles it once: while `how` runs, after it has succeeded and after {@link end} this does nothing. When `how` fails or is
   * interrupted, the item is in flight as before. When it succeeds, `onSettled` is called in the same moment. Without `how`, where the
   * broker need not be asked, that is at once.
   */
  readonly settle: (
    item: A,
    how: Effect.Effect<void, TransportError> | undefined,
    onSettled?: () => void
  ) => Effect.Effect<void, TransportError>
  /** The member has left: it settles nothing from now on. Takes away what is in flight and not about to be settled. */
  readonly end: () => ReadonlyArray<A>
}

/**
 * Nothing in flight yet.
 *
 * @category constructors
 * @since 0.2.0
 */
export const makeInFlight = <A extends object>(): InFlight<A> => {
  /** Each item, and whether it is being settled. */
  const items = new Map<A, boolean>()
  let ended = false
  const unsettled = () => Array.from(items).flatMap(([item, settling]) => (settling ? [] : [item]))
  return {
    get size() {
      return items.size
    },
    has: (item) => items.has(item),
    add: (item) => void items.set(item, false),
    remove: (item) => items.delete(item),
    items: () => Array.from(items.keys()),
    unsettled,
    settle: (item, how, onSettled) =>
      Effect.suspend(() => {
        if (ended || items.get(item) !== false) return Effect.void
        if (how === undefined) {
          items.delete(item)
          onSettled?.()
          return Effect.void
        }
        items.set(item, true)
        return Effect.onExitPrimitive(how, (exit) => {
          if (exit._tag === "Failure") {
            if (items.has(item)) items.set(item, false)
          } else {
            items.delete(item)
            onSettled?.()
          }
          return undefined
        })
      }),
    end: () => {
      ended = true
      const left = unsettled()
      items.clear()
      return left
    }
  }
}

/**
 * The delivery of a message. `settle` is told what has been said of it: acknowledged (`undefined`), or to be delivered again after
 * a delay of at least zero. `unreadable` says why it is no CloudEvent, if it is none.
 *
 * @category constructors
 * @since 0.2.0
 */
export const makeDelivery = (
  message: CloudEvent,
  attempt: number,
  settle: (delay: Duration.Duration | undefined) => Effect.Effect<void, TransportError>,
  unreadable?: string
): Delivery => {
  const delivery: Delivery = {
    message,
    attempt,
    ack: settle(undefined),
    nack: (options) => Effect.suspend(() => settle(Duration.max(Duration.fromInputUnsafe(options?.delay ?? 0), Duration.zero)))
  }
  return unreadable === undefined ? delivery : { ...delivery, unreadable }
}
