/** How old messages are deleted. */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { lasting } from "../../internal/lasting.ts"
import { makeEpisodes } from "../../internal/episodes.ts"
import { realSleep } from "../../internal/realTime.ts"
import { inBackground } from "../../sql/reasons.ts"
import type { Shared } from "./shared.ts"

const seconds = (name: string, input: Duration.Input) =>
  PgTypes.float8(Duration.toSeconds(lasting(`PgTransport: ${name}`, input)))

/** Deletes once an hour, for as long as the scope is open: a page a statement, until nothing is left. */
export const pruning = (
  { ask, statements }: Shared,
  options: { readonly keep?: Duration.Input | undefined; readonly discardAfter?: Duration.Input | undefined }
): Effect.Effect<unknown, never, Scope.Scope> =>
  ask(statements.prune, [
    seconds("keep", options.keep ?? "7 days"),
    seconds("discardAfter", options.discardAfter ?? "36500 days")
  ]).pipe(
    Effect.repeat({ while: (pruned) => pruned !== 0 }),
    inBackground(makeEpisodes("the deletion of old messages"), "eventfold: old messages could not be deleted"),
    Effect.andThen(realSleep("1 hour")),
    Effect.forever({ disableYield: true }),
    Effect.forkScoped
  )
