/** How those who follow the store get over a database that does not answer. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { makeEpisodes } from "../../internal/episodes.ts"
import type { EventStoreError } from "../../store/EventStore.ts"

/** How long a subscription waits before it asks again a database that does not answer. */
const patience = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("1 second")])

const isAway = ({ reason }: EventStoreError): boolean => reason._tag === "StoreUnavailable"

/** A subscription outlives the connections it reads over: it goes on as soon as the database answers again. */
export const makeUntilAnswered = () => {
  const episodes = makeEpisodes("whoever subscribes to the store")
  const what = "eventfold: whoever subscribes to the store waits for the database"
  const recovered = Effect.suspend(() => (episodes.isFailing(episodes) ? episodes.recovered(episodes) : Effect.void))
  return <A>(read: Effect.Effect<A, EventStoreError>): Effect.Effect<A, EventStoreError> =>
    read.pipe(
      Effect.tapError((error) =>
        isAway(error) ? episodes.failed(episodes, { what, why: error.message, cause: Cause.fail(error) }) : Effect.void
      ),
      Effect.retry({ while: isAway, schedule: patience }),
      Effect.tap(recovered)
    )
}
