/**
 * What is said in the log of something that fails again and again: a line when it begins to, one now and then while it goes on, and one
 * when it is over. Each cause, with all that it knows, is there at the level of debugging.
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/** A failure. */
interface Episode {
  /** What has failed, and what comes of it. */
  readonly what: string
  /** Why, in short. */
  readonly why: string
  readonly cause: Cause.Cause<unknown>
  /** Whether somebody has to act. Default: `false`, it may pass by itself. */
  readonly severe?: boolean | undefined
}

/** Those that fail together have one line between them. */
export interface Episodes {
  readonly failed: (who: object, episode: Episode) => Effect.Effect<void>
  /** It works again; says so when nobody fails any more. */
  readonly recovered: (who: object) => Effect.Effect<void>
  /** It has ended. */
  readonly forget: (who: object) => Effect.Effect<void>
  readonly isFailing: (who: object) => boolean
}

/**
 * Until it is first said that it still fails; each time after that it is twice as long, up to an hour. What begins and ends more often than
 * that is one episode.
 */
const first = Duration.toMillis("1 minute")
const longest = Duration.toMillis("1 hour")

export const makeEpisodes = (title: string): Episodes => {
  const failing = new Set<object>()
  let count = 0
  let since = 0
  let wait = first
  let said = ""
  let saidAt = Number.NEGATIVE_INFINITY
  let endedAt = Number.NEGATIVE_INFINITY
  let overAt = Number.NEGATIVE_INFINITY
  const spent = (now: number) => Duration.format(Duration.seconds(Math.round((now - since) / 1000)))
  const failed = Effect.fnUntraced(function* (who: object, { cause, severe = false, what, why }: Episode) {
    const now = yield* Clock.currentTimeMillis
    // What fails again soon after it was over has not been over.
    if (failing.size === 0 && now - endedAt >= first) [count, since, wait, said] = [0, now, first, ""]
    failing.add(who)
    count++
    const another = count === 1 || (severe && what !== said)
    if (another || now - saidAt >= wait) {
      if (!another) wait = Math.min(longest, 2 * wait)
      said = what
      saidAt = now
      const times = another ? "" : `, ${count} times in ${spent(now)}`
      yield* (severe ? Effect.logError : Effect.logWarning)(`${what}${times} (${why})`)
    }
    yield* Effect.logDebug(what, cause)
  })
  const forget = (who: object, now: number) => {
    const wasLast = failing.delete(who) && failing.size === 0
    if (wasLast) endedAt = now
    return wasLast
  }
  const recovered = Effect.fnUntraced(function* (who: object) {
    const now = yield* Clock.currentTimeMillis
    if (!forget(who, now) || now - overAt < first) return
    overAt = now
    yield* Effect.logInfo(
      `eventfold: ${title} goes on, after ${count === 1 ? "a failure" : `${count} failures`} and ${spent(now)}`
    )
  })
  return {
    failed,
    recovered,
    forget: (who) => Effect.map(Clock.currentTimeMillis, (now) => void forget(who, now)),
    isFailing: (who) => failing.has(who)
  }
}
