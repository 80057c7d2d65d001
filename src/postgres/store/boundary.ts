/**
 * What decisions are made on, read for many at once: what waits while a read is on its way goes into the next one. The head is of the same
 * snapshot, and is the position of all answers.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { type GroupCommit, makeGroupCommit, type Submitted } from "../../internal/groupCommit.ts"
import type { EventStoreError } from "../../store/EventStore.ts"
import {
  closedStore,
  type Driver,
  type EventPage,
  type PreparedBoundaryQuery,
  type PreparedReadBoundary
} from "../../store/kit/index.ts"
import { isTagged } from "../sql/conditions.ts"
import { type EventRow, toEventPage } from "../sql/eventPage.ts"
import { type Ask, encodeBoundary, type Page } from "../sql/readBoundary.ts"
import { isCancelled } from "./looking.ts"
import { readHead, type Shared } from "./shared.ts"

/** The most queries of one statement. */
const mostAsks = 512

/** The most events of one page. */
const mostEvents = 1_024

/** How many statements may be on their way at once. */
const lanes = 2

/** A question, and which of the asks are its: none where it is not to be asked so. */
interface Question {
  readonly query: PreparedBoundaryQuery
  readonly first: number
  readonly count: number
}

interface Request {
  readonly upTo: number
  readonly size: number
  readonly questions: ReadonlyArray<Question>
  readonly asks: ReadonlyArray<Ask>
}

type Answer = Effect.Success<ReturnType<Exclude<Driver["boundary"], undefined>>>

/** What is asked by tags and types goes into the statement, as much as there is room for; the rest is left to the pages. */
const requestOf = ({ queries, size, upTo }: PreparedReadBoundary): Request => {
  const asks: Array<Ask> = []
  const questions = queries.map((query): Question => {
    const { after, filter, newest } = query
    const [first, isAsked] = [asks.length, filter.every(isTagged) && asks.length + filter.length <= mostAsks]
    if (!isAsked || upTo <= after) return { query, first, count: 0 }
    for (const query of filter) asks.push({ query, after, upTo, size: Math.min(size + 1, mostEvents), newest })
    return { query, first, count: filter.length }
  })
  return { upTo, size, questions, asks }
}

const nothing: EventPage & { readonly complete: boolean } = { items: [], bytes: 0, complete: false }

/** The newest that any of the queries finds, unless one of them might find a newer one where it has not looked. */
const newestOf = (pages: ReadonlyArray<Page>): EventPage & { readonly complete: boolean } => {
  let newest: Page["found"][number] | undefined
  for (const { found } of pages) {
    const [one] = found
    if (one !== undefined && one.position > (newest?.position ?? 0)) newest = one
  }
  const isUnsure = pages.some(
    ({ beyond, found }) => found.length === 0 && beyond !== undefined && beyond > (newest?.position ?? 0)
  )
  if (isUnsure) return nothing
  if (newest === undefined) return { ...nothing, complete: true }
  return newest.row === undefined ? nothing : { ...toEventPage([newest.row]), complete: true }
}

/** What any of the queries finds, by position, as far as all of them have looked. */
const unionOf = (pages: ReadonlyArray<Page>, { size }: Request, limit: number): EventPage & { readonly complete: boolean } => {
  let surely = Number.POSITIVE_INFINITY
  const rows = new Map<number, EventRow>()
  for (const { beyond, found } of pages) {
    if (found.length >= limit) surely = Math.min(surely, found.at(-1)?.position ?? 0)
    else if (beyond !== undefined) surely = Math.min(surely, beyond - 1)
    for (const { position, row } of found) {
      if (row === undefined) surely = Math.min(surely, position - 1)
      else rows.set(position, row)
    }
  }
  const all = Array.from(rows.entries())
    .filter(([position]) => position <= surely)
    .sort(([one], [other]) => one - other)
  const page = toEventPage(all.slice(0, size).map(([, row]) => row))
  return { ...page, complete: surely === Number.POSITIVE_INFINITY && all.length <= size }
}

const noPage: Page = { found: [], beyond: undefined }

/** The answer to a request, whose asks begin at a place among those of the statement. */
const answerOf = (request: Request, place: number, head: number, pages: ReadonlyMap<number, Page>): Answer => ({
  position: Math.min(request.upTo, head),
  answers: request.questions.map(({ count, first, query }) => {
    if (count === 0) return { ...nothing, complete: query.filter.length === 0 }
    const own = Array.from({ length: count }, (_, nth) => pages.get(place + first + nth + 1) ?? noPage)
    return query.newest ? newestOf(own) : unionOf(own, request, request.asks[first]?.size ?? 0)
  })
})

type Waiting = Submitted<Request, Answer, EventStoreError>

/** One statement for some requests. What one of them cannot read of its rows is its own affair. */
const readTogether = (
  shared: Shared,
  requests: ReadonlyArray<Request>
): Effect.Effect<ReadonlyArray<Exit.Exit<Answer, EventStoreError>>, EventStoreError> => {
  const { plans, queries, statements } = shared
  const asks = requests.flatMap((request) => request.asks)
  return Effect.flatMap(
    queries.ask("readBoundary", plans.sized(statements.readBoundary), encodeBoundary(asks)),
    (read): Effect.Effect<ReadonlyArray<Exit.Exit<Answer, EventStoreError>>, EventStoreError> => {
      if (read === undefined) {
        // Without a head, that says why.
        return Effect.map(readHead(shared, "readBoundary"), (head) =>
          requests.map((request) => Exit.succeed(answerOf(request, 0, head, new Map())))
        )
      }
      let place = 0
      return Effect.forEach(requests, (request) => {
        const begin = place
        place += request.asks.length
        return Effect.exit(Effect.sync(() => answerOf(request, begin, read.head, read.pages)))
      })
    }
  )
}

/** Whether the fault may be that of one of several. */
const isOfOne = (error: EventStoreError): boolean => error.reason._tag === "StoreFailure" || isCancelled(error)

const readBatch = (shared: Shared) => {
  const read = (batch: ReadonlyArray<Waiting>): Effect.Effect<() => void> =>
    Effect.matchCauseEffect(
      readTogether(
        shared,
        batch.map(({ request }) => request)
      ),
      {
        onSuccess: (exits) =>
          Effect.succeed(() => {
            for (const [index, { answer }] of batch.entries()) answer(exits[index] as Exit.Exit<Answer, EventStoreError>)
          }),
        onFailure: (cause) => {
          if (batch.length > 1 && Option.exists(Cause.findErrorOption(cause), isOfOne)) {
            return Effect.map(
              Effect.forEach(batch, (one) => read([one])),
              (all) => () => {
                for (const answer of all) answer()
              }
            )
          }
          return Effect.succeed(() => {
            for (const { answer } of batch) answer(Exit.failCause(cause))
          })
        }
      }
    )
  return read
}

const takeAsks = (waiting: ReadonlyArray<{ readonly request: Request }>, most: number): number => {
  let asks = 0
  let size = 0
  for (const { request } of waiting) {
    asks += request.asks.length
    if (size > 0 && (size >= most || asks > mostAsks)) break
    size++
  }
  return size
}

/** Of several that take turns, that which has the fewest requests on their way. */
const shareOut = (groups: ReadonlyArray<GroupCommit<Request, Answer, EventStoreError>>) => {
  const loads = groups.map(() => 0)
  return (request: Request): Effect.Effect<Answer, EventStoreError> =>
    Effect.suspend(() => {
      const least = loads.indexOf(Math.min(...loads))
      const group = groups[least] as GroupCommit<Request, Answer, EventStoreError>
      loads[least] = (loads[least] ?? 0) + 1
      return Effect.ensuring(
        group.submit(Effect.succeed(request)),
        Effect.sync(() => {
          loads[least] = (loads[least] ?? 0) - 1
        })
      )
    })
}

export const makeBoundary = Effect.fnUntraced(function* (
  shared: Shared,
  { capacity = 4096 }: { readonly capacity?: number | undefined }
): Effect.fn.Return<Exclude<Driver["boundary"], undefined>, never, Scope.Scope> {
  const groups = yield* Effect.forEach(Array.from({ length: lanes }), () =>
    makeGroupCommit<Request, Answer, EventStoreError>({
      capacity,
      maxBatch: mostAsks,
      take: takeAsks,
      overlaps: true,
      write: readBatch(shared),
      closed: () => closedStore("readBoundary")
    })
  )
  const read = shareOut(groups)
  return (prepared) =>
    Effect.flatMap(Effect.serviceOption(shared.sql.transactionService), (transaction) => {
      const request = requestOf(prepared)
      return Option.isNone(transaction)
        ? read(request)
        : Effect.flatMap(readTogether(shared, [request]), ([exit]) => exit as Exit.Exit<Answer, EventStoreError>)
    })
})
