/**
 * Hints: how others that listen hear of what has been appended. They are sent behind the commits, for all stores of one client in one
 * statement, and nobody waits for them: a NOTIFY in the transaction of an append would have the commits of all who notify, in all
 * databases of the server, wait for each other.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { realSleep } from "../internal/realTime.ts"
import { answered } from "../sql/answering.ts"
import { textArray } from "./sql/statement.ts"

/** Hints of a client follow each other no sooner: the first behind a pause is sent at once, and who is busy tells of many appends in one. */
const pause = "2 millis"

/** How long a hint may take, also the last one of a store that closes: then polling has found what it is about. */
const most = Duration.seconds(1)

/** The hints of one client. */
interface Hints {
  /** What is to be sent: of each channel the newest head. */
  readonly heads: Map<string, number>
  fiber: Fiber.Fiber<unknown> | undefined
}

const hintsOf = new WeakMap<PgClient.PgClient, Hints>()

/** A hint that is lost costs a poll, so it is not worth a flush. */
const statement = `
  select set_config('synchronous_commit', 'off', true), pg_notify(h.channel, h.head)::text
    from unnest($1::text[], $2::text[]) h(channel, head)`

const send = (sql: PgClient.PgClient, { heads }: Hints) =>
  Effect.suspend(() => {
    const [channels, positions] = [Array.from(heads.keys()), Array.from(heads.values(), String)]
    heads.clear()
    return answered(sql, sql.unsafe(statement, [textArray(channels), textArray(positions)]).values, most)
  }).pipe(Effect.catchCause((cause) => Effect.logDebug("eventfold: a hint was lost, polling finds what it was about", cause)))

/** Tells those who listen on a channel how far the log has come. When the scope closes, the last hint is on its way. */
export const hinting = (sql: PgClient.PgClient, channel: string): Effect.Effect<(head: number) => void, never, Scope.Scope> => {
  const hints = hintsOf.get(sql) ?? { heads: new Map(), fiber: undefined }
  hintsOf.set(sql, hints)
  let told = 0
  const isDue = () => {
    if (hints.heads.size > 0) return true
    hints.fiber = undefined
    return false
  }
  const sending = Effect.repeat(Effect.andThen(send(sql, hints), realSleep(pause)), { while: isDue })
  const hint = (head: number) => {
    if (head <= told) return
    told = head
    // Another store of the client may have heard of more.
    hints.heads.set(channel, Math.max(head, hints.heads.get(channel) ?? 0))
    hints.fiber ??= Effect.runFork(sending)
  }
  const sent = Effect.suspend(() => (hints.fiber === undefined ? Effect.void : Fiber.await(hints.fiber)))
  return Effect.acquireRelease(Effect.succeed(hint), () => Effect.raceFirst(sent, realSleep(most)))
}
