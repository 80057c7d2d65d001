/** How rows that are too old leave the tables in which something is kept for a while. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type { Fragment } from "effect/sql/Statement"
import { makeEpisodes } from "../internal/episodes.ts"
import { answered } from "./answering.ts"
import { isConflict } from "./errors.ts"
import { inBackground as telling } from "./reasons.ts"
import { number } from "./table.ts"
import { inBackground } from "./transaction.ts"

/** So many go by one statement: others wait for no more than that. */
const page = 1000

const hour = Duration.toMillis("1 hour")

/** Which rows are too old, and how the log calls it. */
interface Pruned {
  readonly table: Fragment
  /** The columns of the primary key. */
  readonly key: string
  /** The column that says since when a row is there, in milliseconds. */
  readonly since: string
  /** How long a row is kept at least, in milliseconds. */
  readonly keep: number
  readonly title: string
  /** That it fails, and what comes of it. */
  readonly failing: string
}

/**
 * Deletes what is too old, for as long as the scope is open: a page a statement, until nothing is left. Whoever uses the table runs what this gives,
 * which lets it begin where the last time is an hour ago. It goes on in the background, in nobody's transaction: nobody waits for it.
 */
export const pruning = Effect.fnUntraced(function* (
  sql: SqlClient.SqlClient,
  { failing, keep, key, since, table, title }: Pruned
): Effect.fn.Return<Effect.Effect<void>, never, Scope.Scope> {
  const [keyed, at] = [sql.literal(key), sql.literal(since)]
  // In order, so by the index: looking through the table would come by all that has been deleted since it was vacuumed.
  const onePage = Effect.flatMap(Clock.currentTimeMillis, (now) =>
    answered(
      sql,
      sql`delete from ${table} where (${keyed}) in (
        select ${keyed} from ${table} where ${at} < ${number(sql, now - keep)} order by ${at} limit ${sql.literal(String(page))}
      ) returning 1`
    )
  ).pipe(
    Effect.map((rows) => rows.length),
    // Another process deletes the same rows, and goes on with the rest.
    Effect.catchIf(isConflict, () => Effect.succeed(0)),
    Effect.tap(Effect.yieldNow)
  )
  const asked = Latch.makeUnsafe(false)
  yield* asked.await.pipe(
    Effect.andThen(asked.close),
    Effect.andThen(telling(makeEpisodes(title), failing)(Effect.repeat(onePage, { while: (pruned) => pruned === page }))),
    Effect.forever({ disableYield: true }),
    inBackground(sql),
    Effect.forkScoped
  )
  let begunAt = -Infinity
  return Effect.flatMap(Clock.currentTimeMillis, (now) => {
    if (now - begunAt < hour) return Effect.void
    begunAt = now
    return asked.open
  })
})
