/** What a subscription does with one event: it is handled, tried again, parked or refused. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type { RecordedEvent } from "../definitions/stored.ts"
import type { ParkedEventsError } from "../store/ParkedEvents.ts"
import type { WorkContext } from "./body.ts"
import { Inside } from "./handling.ts"
import { HandlerTimeoutError } from "./model.ts"
import { wasCutOff } from "./outages.ts"
import { type Blocked, park, parkBehind } from "./parking.ts"
import { Failed, handling as handlingOf, isFailed, settle, telling, type Unavailable } from "./settling.ts"
import type { Outage, Work } from "./work.ts"

const defaultRetry = Schedule.max([Schedule.exponential("100 millis"), Schedule.recurs(5)])

/** So often in a row an event may meet an outage that cuts off its connection: from then on it is its own failure. */
const mostCuts = 10

/** Runs what a handler does; in a transaction it has the time of the lease. `begun` says since when, where handlers follow each other. */
export const run = <R>(
  { client, name, provide, ttl }: Work<R>,
  effect: Effect.Effect<unknown, unknown, R>,
  begun?: () => number
) => {
  const work = Effect.updateService(provide(effect), Inside, (names) => new Set([...names, name]))
  if (client === undefined) return handlingOf(work)
  const lease = Duration.toMillis(ttl)
  const orElse = () => Effect.fail(new HandlerTimeoutError({ subscription: name, lease }))
  if (begun === undefined) return handlingOf(Effect.timeoutOrElse(work, { duration: ttl, orElse }))
  const overdue = Effect.gen(function* () {
    for (;;) {
      const left = begun() + lease - (yield* Clock.currentTimeMillis)
      if (left <= 0) return yield* orElse()
      yield* Effect.sleep(left)
    }
  })
  return handlingOf(Effect.raceFirst(work, overdue))
}

/** Tries an event once. Of a failure is told what may be told. */
export const handle = <R>(work: Work<R>, event: RecordedEvent, attempt: number): Effect.Effect<void, Failed | Unavailable> =>
  telling(handleOnce(work, event, attempt), event.payload)

const handleOnce = <R>(work: Work<R>, event: RecordedEvent, attempt: number): Effect.Effect<void, Failed | Unavailable> =>
  Effect.suspend(() => {
    const prepared = work.handling.prepare(event)
    return Result.isFailure(prepared)
      ? Effect.fail(new Failed(Cause.fail(prepared.failure), false))
      : run(
          work,
          Effect.suspend(() => prepared.success({ subscription: work.name, event, attempt }))
        ).pipe(Effect.catchTag("Unavailable", (away) => Effect.fail(suspected(work, event, away))))
  })

/** Who meets an outage over and over, and nobody else does, brings it about. */
export const suspected = <R>({ caution }: Work<R>, { position }: RecordedEvent, away: Unavailable): Failed | Unavailable => {
  if (!wasCutOff(away.cause)) return away
  caution.times = caution.position === position ? caution.times + 1 : 1
  caution.position = position
  return caution.times < mostCuts ? away : new Failed(away.cause, true)
}

/** Makes what is done with an event last. */
type Commit = <E>(work: Effect.Effect<void, E>) => Effect.Effect<void, E | Outage | Failed>

/** What has become of an event; `"refused"` when it can be neither handled nor parked. */
type Outcome = "handled" | "parked" | "refused"

/** Brings an event to its end, or leaves it for later. */
export const settleEvent = <R>(
  work: Work<R>,
  event: RecordedEvent,
  context: WorkContext<RecordedEvent>,
  blocked: Blocked,
  commit: Commit
): Effect.Effect<Outcome | "left", Outage> => {
  const parking = (work: Effect.Effect<void, ParkedEventsError>) =>
    commit(work).pipe(
      Effect.catchIf(isFailed, ({ cause }) => Effect.die(Cause.squash(cause))),
      Effect.as("parked" as const)
    )
  const first = blocked.by(event)
  if (first !== undefined) return parking(parkBehind(work, event, first))
  return settle<Outcome, Outage>({
    attempt: (attempt) =>
      commit(handle(work, event, attempt)).pipe(Effect.as("handled" as const), Effect.catchIf(isFailed, Effect.succeed)),
    giveUp: (cause, attempts) => {
      if ((work.options.onFailure ?? "halt") === "halt") {
        const refused = context.tell({ _tag: "Refused", position: event.position, cause })
        return Effect.as(Effect.andThen(context.failing(event, attempts), refused), "refused")
      }
      return Effect.tap(
        parking(park(work, event, cause, attempts)),
        Effect.sync(() => blocked.add(event))
      )
    },
    retry: work.options.retry ?? defaultRetry,
    leave: context.leave,
    waiting: (cause, wait, attempts) =>
      context
        .failing(event, attempts)
        .pipe(
          Effect.andThen(context.tell({ _tag: "Retrying", cause })),
          Effect.andThen(wait),
          Effect.andThen(context.tell({ _tag: "Retried" }))
        )
  })
}
