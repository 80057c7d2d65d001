/** How the store hears of events that other processes have appended. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { EventStoreError } from "../../store/EventStore.ts"
import { type Hearing, listening } from "../listening.ts"
import { polling } from "../polling.ts"
import { toldBy } from "./flushed.ts"
import type { Shared } from "./shared.ts"

/** Keeps the signal of the store up to date until the scope closes. */
export const keepUp = (
  { flushing, plans, signal, sql, statements }: Shared,
  readHead: Effect.Effect<number, EventStoreError>,
  hearing: Hearing
): Effect.Effect<void, never, Scope.Scope> => {
  const look = Effect.map(
    toldBy({ flushing })(readHead, (head) => head),
    signal.notify
  )
  const alone = Effect.matchEffect(look, {
    onSuccess: () => Effect.succeed(true),
    onFailure: (error) => Effect.as(Effect.logDebug("eventfold: polling the head failed", error), false)
  })
  let isLooking = false
  /** Looks again, behind a flush: one at a time, however often it is polled meanwhile. */
  const lookOn = () => {
    if (isLooking) return
    isLooking = true
    const done = Effect.sync(() => {
      isLooking = false
    })
    Effect.runFork(Effect.ensuring(alone, done))
  }
  // Anybody may notify anything: the table says how far it is safe to read.
  const heard = (payload: string) => (Number(payload) > signal.position() ? look : Effect.void)
  // Whatever happens to a hint, the poller finds what is new. It asks only while somebody waits, or has read since.
  const polled = {
    head: statements.head.text,
    isAsked: () => {
      const used = plans.used()
      return used || signal.waiting() > 0
    },
    heard: (head: number) => {
      if (flushing === undefined || head <= flushing.upTo()) signal.notify(head)
      else if (head > signal.position()) lookOn()
    },
    alone
  }
  return Effect.andThen(polling(sql, hearing.pollInterval, polled), listening(sql, hearing, statements.channel, look, heard))
}
