/** How the store hears of events that other processes have appended. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { realSleep } from "../../internal/realTime.ts"
import type { EventStoreError } from "../../store/EventStore.ts"
import { type Hearing, listening } from "../listening.ts"
import type { Shared } from "./shared.ts"

/** Whatever happens to a hint, the poller finds what is new. It asks only while somebody waits, or has read since. */
const polling = (
  { plans, signal }: Shared,
  readHead: Effect.Effect<number, EventStoreError>,
  interval: Duration.Duration
): Effect.Effect<unknown, never, Scope.Scope> =>
  realSleep(interval).pipe(
    Effect.andThen(
      Effect.suspend(() => {
        if (!plans.used() && signal.waiting() === 0) return Effect.void
        return Effect.matchEffect(readHead, {
          onSuccess: (head) => Effect.sync(() => signal.notify(head)),
          onFailure: (error) => Effect.logDebug("eventfold: polling the head failed", error)
        })
      })
    ),
    Effect.forever({ disableYield: true }),
    Effect.forkScoped
  )

/** Keeps the signal of the store up to date until the scope closes. */
export const keepUp = (
  shared: Shared,
  readHead: Effect.Effect<number, EventStoreError>,
  hearing: Hearing
): Effect.Effect<void, never, Scope.Scope> => {
  const { signal, sql, statements } = shared
  const look = Effect.map(readHead, signal.notify)
  // Anybody may notify anything: the table says how far it is safe to read.
  const heard = (payload: string) => (Number(payload) > signal.position() ? look : Effect.void)
  return Effect.andThen(polling(shared, readHead, hearing.pollInterval), listening(sql, hearing, statements.channel, look, heard))
}
