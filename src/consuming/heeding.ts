/** What operators have said of a group of consumers: it stands beside the checkpoints, for all processes. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { isOutage } from "../following/engine.ts"
import { consumerCheckpoint } from "../following/names.ts"
import { makeEpisodes } from "../internal/episodes.ts"
import { inBackground } from "../sql/reasons.ts"
import { Checkpoints } from "../store/Checkpoints.ts"
import { TransportError, TransportUnavailable } from "../transport/Transport.ts"
import { halt, type Member, release } from "./members.ts"

/** How often it is looked up. */
const often = "5 seconds"

/** How a consumer heeds it: before it begins, and as long as it runs. */
export interface Heeding {
  /** Looks once. Fails where nobody can tell for now, so that nothing begins that may be paused. */
  readonly first: Effect.Effect<void, TransportError>
  readonly forever: Effect.Effect<never>
}

const unheeded: Heeding = { first: Effect.void, forever: Effect.never }

const untold = (detail: string) =>
  new TransportError({
    reason: new TransportUnavailable({ operation: "subscribe", detail: `whether the group is paused cannot be told: ${detail}` })
  })

/** Makes it for one consumer; without `Checkpoints` nobody has said anything. */
export const makeHeeding = Effect.fnUntraced(function* (group: string, member: Member): Effect.fn.Return<Heeding> {
  const checkpoints = Option.getOrUndefined(yield* Effect.serviceOption(Checkpoints))
  if (checkpoints === undefined) return unheeded
  let before = false
  // Only what has changed is heeded: what the process itself has paused or resumed stays so.
  const heed = Effect.map(checkpoints.get(consumerCheckpoint(group)), (found) => {
    const isPaused = Option.isSome(found) && found.value.paused === true
    if (isPaused === before) return
    before = isPaused
    if (isPaused) halt(member)
    else release(member)
  })
  const heeded = inBackground(
    makeEpisodes(`the look after whether the group "${group}" is paused`),
    `eventfold: whether the group "${group}" is paused cannot be told: it stays as it is`
  )(heed)
  return {
    first: Effect.catch(heed, (error) =>
      isOutage(Cause.fail(error))
        ? Effect.fail(untold(error.message))
        : Effect.logWarning(`eventfold: whether the group "${group}" is paused cannot be told: it goes on (${error.message})`)
    ),
    forever: Effect.forever(Effect.andThen(Effect.sleep(often), heeded))
  }
})
