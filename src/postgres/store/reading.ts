/** The pages that the reads of the store are made of. */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import type { Pages } from "../../store/kit/index.ts"
import { readAll } from "../sql/readAll.ts"
import type { Shared } from "./shared.ts"

/** A page of the log, asked for by `operation`. */
export const readPageOfAll =
  ({ plans: { sized }, queries: { ask }, statements }: Shared, operation: string): Pages["all"] =>
  (request) => {
    const { page, parameters } = readAll(statements.names, request)
    return ask(operation, sized(page), parameters)
  }

const makePagesOf = ({ plans: { sized }, queries: { ask }, statements }: Shared): Omit<Pages, "all"> => ({
  stream: ({ backward, from, size, stream, to }) =>
    ask("read", sized(backward ? statements.readBackward : statements.readForward), [
      stream,
      String(from),
      String(to),
      String(size)
    ]),
  versionAt: (stream, until) => ask("read", sized(statements.versionAt), [stream, PgTypes.float8(until)]),
  streams: ({ after, category, size }) =>
    category === undefined
      ? ask("streams", sized(statements.streams), [after, String(size)])
      : ask("streams", sized(statements.streamsOfCategory), [after, String(size), category])
})

export const makePages = (shared: Shared): Pages => ({ ...makePagesOf(shared), all: readPageOfAll(shared, "readAll") })
