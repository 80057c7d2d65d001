/**
 * Parking for a subscription: what it cannot handle, and with `"park-stream"` what comes behind that in the same stream.
 */
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { RecordedEvent } from "../definitions/stored.ts"
import { tellFailure } from "../sql/reasons.ts"
import type { ParkedEvents, ParkedEventsError } from "../store/ParkedEvents.ts"

/** Who parks, and where. */
export interface Parker {
  readonly name: string
  readonly parking: ParkedEvents["Service"] | undefined
  readonly meters: { readonly parked: Metric.Counter<number> }
}

const placeOf = ({ name, parking }: Parker): Effect.Effect<ParkedEvents["Service"]> =>
  parking === undefined ? Effect.die(new Error(`The subscription "${name}" has nowhere to park events`)) : Effect.succeed(parking)

/** Parks an event that cannot be handled. */
export const park = Effect.fnUntraced(function* (
  parker: Parker,
  { position, stream, type }: RecordedEvent,
  cause: Cause.Cause<unknown>,
  attempts: number,
  options?: { readonly ifParked: boolean }
): Effect.fn.Return<void, ParkedEventsError> {
  const { meters, name } = parker
  const parking = yield* placeOf(parker)
  const parkedAt = yield* DateTime.now
  yield* parking.park({ subscription: name, position, stream, type, cause: Cause.pretty(cause), attempts, parkedAt }, options)
  yield* Metric.update(meters.parked, 1)
  yield* tellFailure(
    Effect.logWarning,
    `eventfold: the subscription "${name}" has parked the event at position ${position}`,
    cause
  )
})

/** Parks an event that comes behind one of its stream; one that has been parked already stays as it is. */
export const parkBehind = Effect.fnUntraced(function* (
  parker: Parker,
  { position, stream, type }: RecordedEvent,
  first: number
): Effect.fn.Return<void, ParkedEventsError> {
  if (position === first) return
  const { meters, name } = parker
  const parking = yield* placeOf(parker)
  const parkedAt = yield* DateTime.now
  const cause = `behind the parked event at position ${first} of its stream`
  yield* parking.park({ subscription: name, position, stream, type, cause, attempts: 0, parkedAt }, { keep: true })
  yield* Metric.update(meters.parked, 1)
  yield* Effect.logDebug(`eventfold: the subscription "${name}" has parked the event at position ${position}, ${cause}`)
})

/** The streams of a batch of which something is parked. */
export interface Blocked {
  /** The position of the first parked event of an event's stream, which is that event itself or comes before it. */
  readonly by: (event: RecordedEvent) => number | undefined
  /** An event has been parked. */
  readonly add: (event: RecordedEvent) => void
}

/** Where streams are not held back, none is blocked. */
const noneBlocked: Blocked = { by: () => undefined, add: () => {} }

/** Looks up which streams of a batch are blocked: in one statement, whatever is parked. */
export const blockedIn = Effect.fnUntraced(function* (
  parker: Parker,
  batch: ReadonlyArray<RecordedEvent>,
  ordered: boolean
): Effect.fn.Return<Blocked, ParkedEventsError> {
  if (!ordered) return noneBlocked
  const parking = yield* placeOf(parker)
  const streams = Array.from(new Set(batch.map(({ stream }) => stream)))
  const first = new Map((yield* parking.firstOf(parker.name, streams)).map(({ position, stream }) => [stream, position]))
  return {
    by: ({ position, stream }) => {
      const at = first.get(stream)
      return at !== undefined && at <= position ? at : undefined
    },
    add: ({ position, stream }) => void first.set(stream, Math.min(position, first.get(stream) ?? position))
  }
})
