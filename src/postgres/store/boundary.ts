/**
 * What decisions are made on, read for many at once. The head is of the same snapshot, and is the position of all answers.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { RecordedEvent } from "../../definitions/stored.ts"
import type { EventStoreError } from "../../store/EventStore.ts"
import { type Driver, type EventPage, type PreparedBoundaryQuery, type PreparedReadBoundary } from "../../store/kit/index.ts"
import { isTagged } from "../sql/conditions.ts"
import { type Ask, encodeBoundary, noPage, type Page, type Pages } from "../sql/readBoundary.ts"
import { makeGrouped, type Together } from "./grouping.ts"
import { isInTransaction, readHead, type Shared } from "./shared.ts"

/** The most queries of one statement. */
const mostAsks = 512

/** The most events of one page. */
const mostEvents = 1_024

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
const newestOf = (pages: ReadonlyArray<Page>): typeof nothing => {
  let newest: RecordedEvent | undefined
  for (const { found } of pages) {
    const [one] = found
    if (one !== undefined && one.position > (newest?.position ?? 0)) newest = one
  }
  const isUnsure = pages.some(
    ({ beyond, found }) => found.length === 0 && beyond !== undefined && beyond > (newest?.position ?? 0)
  )
  if (isUnsure) return nothing
  return { items: newest === undefined ? [] : [newest], bytes: 0, complete: true }
}

/** Up to which position a page has all that its query finds; `limit` is how much it was asked for. */
const surelyUpTo = ({ beyond, found, isCut }: Page, limit: number): number => {
  if (isCut || found.length >= limit) return found.at(-1)?.position ?? 0
  return beyond === undefined ? Number.POSITIVE_INFINITY : beyond - 1
}

/** What any of the queries finds, by position, as far as all of them have looked. */
const unionOf = (pages: ReadonlyArray<Page>, { size }: Request, limit: number): typeof nothing => {
  const surely = Math.min(...pages.map((page) => surelyUpTo(page, limit)))
  const [first] = pages
  if (pages.length === 1 && first !== undefined && surely === Number.POSITIVE_INFINITY && first.found.length <= size) {
    return { items: first.found, bytes: 0, complete: true }
  }
  const events = new Map<number, RecordedEvent>()
  for (const { found } of pages) for (const event of found) if (event.position <= surely) events.set(event.position, event)
  const all = Array.from(events.values()).sort((one, other) => one.position - other.position)
  return { items: all.slice(0, size), bytes: 0, complete: surely === Number.POSITIVE_INFINITY && all.length <= size }
}

/** The answer to a request, whose asks begin at a place among those of the statement. */
const answerOf = (request: Request, place: number, head: number, page: Pages["page"]): Answer => ({
  position: Math.min(request.upTo, head),
  answers: request.questions.map(({ count, first, query }) => {
    if (count === 0) return { ...nothing, complete: query.filter.length === 0 }
    const own: Array<Page> = []
    for (let nth = 1; nth <= count; nth++) own.push(page(place + first + nth))
    return query.newest ? newestOf(own) : unionOf(own, request, request.asks[first]?.size ?? 0)
  })
})

/** One statement for some requests. */
const readTogether = (shared: Shared, requests: ReadonlyArray<Request>): Effect.Effect<Together<Answer>, EventStoreError> => {
  const { plans, queries, statements } = shared
  const asks = requests.flatMap((request) => request.asks)
  const statement = asks.some(({ newest }) => newest) ? statements.readNewest : statements.readBoundary
  return Effect.flatMap(queries.ask("readBoundary", plans.sized(statement), encodeBoundary(asks)), (read) => {
    if (read === undefined) {
      // Without a head, that says why.
      return Effect.map(readHead(shared, "readBoundary"), (head) => ({
        millis: 0,
        answers: requests.map((request) => () => answerOf(request, 0, head, () => noPage))
      }))
    }
    let place = 0
    return Effect.succeed({
      millis: read.millis,
      answers: requests.map((request) => {
        const begin = place
        place += request.asks.length
        return () => answerOf(request, begin, read.head, read.page)
      })
    })
  })
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

export const makeBoundary = (shared: Shared): Effect.Effect<Exclude<Driver["boundary"], undefined>, never, Scope.Scope> => {
  const read = (requests: ReadonlyArray<Request>) => readTogether(shared, requests)
  return Effect.map(
    makeGrouped({ operation: "readBoundary", take: takeAsks, read }),
    (grouped): Exclude<Driver["boundary"], undefined> =>
      (prepared) =>
        Effect.contextWith((context) => {
          const request = requestOf(prepared)
          return isInTransaction(shared, context)
            ? Effect.map(read([request]), ({ answers: [answer] }) => (answer as () => Answer)())
            : grouped(request)
        })
  )
}
