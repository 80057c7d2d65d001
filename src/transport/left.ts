/** Members that have left, of which a broker learns a moment later. */
import * as Effect from "effect/Effect"
import { realSleep } from "../internal/realTime.ts"
import type { GroupInUseError, TransportError } from "./service.ts"

/**
 * Does something with a group that has no member. A broker may count one that has just left for a moment more: it is asked again, for two
 * seconds in all.
 */
export const onceLeft = <A>(
  work: Effect.Effect<A, GroupInUseError | TransportError>,
  times = 20
): Effect.Effect<A, GroupInUseError | TransportError> =>
  Effect.catchTag(work, "GroupInUseError", (error) =>
    times === 0 ? Effect.fail(error) : Effect.andThen(realSleep("100 millis"), onceLeft(work, times - 1))
  )
