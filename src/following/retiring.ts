/**
 * Retiring what follows the log: its checkpoints go, and what it has parked. What still runs is left as it is.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { makeId } from "../internal/ids.ts"
import { removeSeries } from "../internal/series.ts"
import { type CheckpointError, type CheckpointHeldError, Checkpoints } from "../store/Checkpoints.ts"
import { ParkedEvents, type ParkedEventsError } from "../store/ParkedEvents.ts"
import { StillRunningError } from "./model.ts"
import { parseCheckpoint } from "./names.ts"
import { findFollower, followers } from "./registry.ts"

/**
 * What becomes of what has been parked when its subscription or relay is removed.
 *
 * @category models
 * @since 0.2.0
 */
export interface RemoveOptions {
  /**
   * `"discard"` forgets the events that are parked under the name, where `ParkedEvents` is provided; `"keep"` leaves them, and whoever
   * takes the name anew finds them as its own. Default: `"discard"`.
   */
  readonly parked?: "discard" | "keep" | undefined
}

/** Discards everything that is parked under a name, where there is a place for parked events. */
export const discardAll = Effect.fnUntraced(function* (follower: string): Effect.fn.Return<void, ParkedEventsError> {
  const parking = yield* Effect.serviceOption(ParkedEvents)
  while (Option.isSome(parking)) {
    const parked = yield* parking.value.list(follower)
    if (parked.length === 0) return
    yield* Effect.forEach(parked, ({ position }) => parking.value.discard(follower, position), { discard: true })
  }
})

/** How long it may take to remove what has been claimed. */
const ttl = "15 seconds"

/** Fails where a follower of this process has the name, even if it has no lease: it would begin anew. */
const checkHere = Effect.fnUntraced(function* (checkpoint: string): Effect.fn.Return<void, StillRunningError> {
  const found = yield* findFollower(checkpoint)
  if (found !== undefined && !found.isStopped()) return yield* new StillRunningError({ checkpoint, owner: Option.none() })
})

/** Forgets what this process knows of a follower that is removed, and what it has measured of it. */
const forgetHere = Effect.fnUntraced(function* (checkpoint: string): Effect.fn.Return<void, never, Checkpoints> {
  yield* followers.forget(checkpoint, yield* Checkpoints)
  const of = parseCheckpoint(checkpoint)
  if (of._tag === "Subscription") yield* removeSeries("subscription", of.name)
  if (of._tag === "Relay") yield* removeSeries("relay", of.name)
  if (of._tag === "Deadlines") yield* removeSeries("process", of.process)
})

/** Takes a checkpoint that nobody holds, so that nobody takes it until it is removed. */
export const seize = (
  checkpoint: string
): Effect.Effect<Effect.Effect<void, CheckpointError>, StillRunningError | CheckpointError, Checkpoints> =>
  Effect.gen(function* () {
    const { claim, release } = yield* Checkpoints
    yield* checkHere(checkpoint)
    const lease = yield* Effect.catchTag(claim(checkpoint, { owner: yield* makeId, ttl }), "CheckpointHeldError", running)
    return release(lease)
  })

const running = ({ checkpoint, owner }: CheckpointHeldError) =>
  Effect.fail(new StillRunningError({ checkpoint, owner: Option.some(owner) }))

/**
 * Removes those of the checkpoints that are known, all of them or none, and what has been parked under a name. Whether any was known.
 */
export const retire = Effect.fnUntraced(function* (
  what: {
    /** Under which names it is known to its process. */
    readonly here: ReadonlyArray<string>
    readonly isOf: (checkpoint: string) => boolean
    readonly parkedUnder: string
  },
  { parked = "discard" }: RemoveOptions = {}
): Effect.fn.Return<boolean, StillRunningError | CheckpointError | ParkedEventsError, Checkpoints> {
  const { list, remove } = yield* Checkpoints
  yield* Effect.forEach(what.here, checkHere, { discard: true })
  const names = (yield* list).map(({ name }) => name).filter(what.isOf)
  return yield* Effect.uninterruptible(
    Effect.gen(function* () {
      const seized: Array<Effect.Effect<void, CheckpointError>> = []
      yield* Effect.onError(
        Effect.forEach(names, (name) => Effect.map(seize(name), (release) => seized.push(release)), { discard: true }),
        // It is left as it was.
        () => Effect.forEach(seized, (release) => Effect.ignore(release), { discard: true })
      )
      if (parked === "discard") yield* discardAll(what.parkedUnder)
      yield* Effect.forEach(names, (name) => Effect.catchTag(remove(name, { force: true }), "CheckpointHeldError", Effect.die), {
        discard: true
      })
      yield* Effect.forEach(what.here, forgetHere, { discard: true })
      return names.length > 0
    })
  )
})
