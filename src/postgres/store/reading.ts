/** The pages that the reads of the store are made of. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import type { EventStoreError } from "../../store/EventStore.ts"
import type { Pages } from "../../store/kit/index.ts"
import { isLookedUp, readAll, readFew } from "../sql/readAll.ts"
import type { Shared } from "./shared.ts"
import { makeStreamPages } from "./streams.ts"

/** How many versions of a stream are looked at in one statement, at first and at most, for the last one that was recorded by an instant. */
const [fewVersions, mostVersions] = [250, 4_000]

const readPageOfAll =
  ({ plans: { sized }, queries: { ask }, tables }: Shared, operation: string): Pages["all"] =>
  (request) => {
    const { page, parameters } = readAll(tables, request)
    return ask(operation, sized(page), parameters)
  }

/** How pages of the log are asked for by `operation`. */
export const scannable = (shared: Shared, operation: string): Pick<Pages, "all" | "few" | "isFound"> => {
  const { plans, queries, tables } = shared
  return {
    all: readPageOfAll(shared, operation),
    isFound: (query) => isLookedUp(tables, query),
    few: (request) => {
      const few = readFew(tables, request)
      return few === undefined ? Effect.succeed(undefined) : queries.ask(operation, plans.sized(few.page), few.parameters)
    }
  }
}

const makePagesOf = ({ plans: { sized }, queries: { ask }, statements }: Shared): Pick<Pages, "streams" | "versionAt"> => ({
  versionAt: (stream, until) => {
    // Times need not rise with versions, so all that came later is looked at, some of it at a time.
    const look = (upTo: number, size: number): Effect.Effect<number, EventStoreError> =>
      Effect.flatMap(
        ask("read", sized(statements.versionAt), [stream, PgTypes.float8(until), String(upTo), String(size)]),
        ({ lowest, version }) =>
          version > 0 || lowest <= 1 ? Effect.succeed(version) : look(lowest - 1, Math.min(size * 2, mostVersions))
      )
    return look(Number.MAX_SAFE_INTEGER, fewVersions)
  },
  streams: ({ after, category, size }) =>
    category === undefined
      ? ask("streams", sized(statements.streams), [after, String(size)])
      : ask("streams", sized(statements.streamsOfCategory), [after, String(size), category])
})

export const makePages = (shared: Shared): Effect.Effect<Pages, never, Scope.Scope> =>
  Effect.map(makeStreamPages(shared), (stream) => ({
    ...makePagesOf(shared),
    ...scannable(shared, "readAll"),
    stream
  }))
