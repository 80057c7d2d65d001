/** Whether units of work share flushes: it is the database that says so, to all who use it. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import { EventStoreError, StoreFailure } from "../store/EventStore.ts"
import { toEventStoreError } from "./errors.ts"
import { holdFault } from "./holding.ts"
import type { Hearing } from "./listening.ts"
import type { Sql } from "./sql.ts"
import type { Queries } from "./store/shared.ts"

const refused = (detail: string): EventStoreError =>
  new EventStoreError({ reason: new StoreFailure({ operation: "open", detail }) })

/** Finds out, and has the database say so where that is `wanted`. */
export const sharingOf = (
  sql: PgClient.PgClient,
  { shareFlush, sharesFlush }: Pick<Sql, "shareFlush" | "sharesFlush">,
  {
    hearing,
    mayMake,
    wanted
  }: {
    readonly hearing: Hearing
    readonly mayMake: boolean
    readonly wanted: boolean
  }
) =>
  Effect.fnUntraced(function* ({ ask }: Pick<Queries, "ask">): Effect.fn.Return<boolean, EventStoreError> {
    // What brings streams of its own is embedded in the process, and ends with it.
    if (sql.config.stream !== undefined) {
      return wanted ? yield* refused("sharedFlush is for a server: this client brings a stream of its own") : false
    }
    const { mayFlush, shares } = yield* ask("open", sharesFlush)
    if (!shares && !wanted) return false
    const fault = yield* holdFault(sql, hearing)
    if (fault !== undefined) return yield* refused(`units of work share flushes, which takes a session with the server: ${fault}`)
    if (shares) {
      return mayFlush
        ? true
        : yield* refused(`units of work share flushes, and the role may not: run PgRights.grants again as the owner`)
    }
    if (!mayMake) {
      return yield* refused(`units of work do not share flushes yet, and migrate is false: run ${shareFlush.text}`)
    }
    yield* Effect.mapError(sql.unsafe(shareFlush.text), (error: SqlError) => toEventStoreError("open", error, false))
    return true
  })
