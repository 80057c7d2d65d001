/** The pages of streams. What many load at about the same time goes in one statement; what is longer than its first page is read on by itself. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { EventStoreError } from "../../store/EventStore.ts"
import { type EventPage, pageCutBelow, type Pages } from "../../store/kit/index.ts"
import { encodeStreams, type StreamAsk } from "../sql/readStreams.ts"
import { makeGrouped, type Together } from "./grouping.ts"
import { isInTransaction, type Shared } from "./shared.ts"

/** The most events of a page that is read together with others: as many as a first page has. */
const mostEvents = 64

const readAlone = (
  { plans, queries, statements }: Shared,
  { from, size, stream, to }: StreamAsk,
  backward = false
): Effect.Effect<EventPage, EventStoreError> =>
  Effect.map(
    queries.ask("read", plans.sized(backward ? statements.readBackward : statements.readForward), [
      stream,
      String(from),
      String(to),
      String(size)
    ]),
    (page) => pageCutBelow(page, size)
  )

const readTogether = (
  { plans, queries, statements }: Shared,
  asks: ReadonlyArray<StreamAsk>
): Effect.Effect<Together<EventPage>, EventStoreError> =>
  Effect.map(queries.ask("read", plans.sized(statements.readStreams), encodeStreams(asks)), ({ millis, page }) => ({
    millis,
    answers: asks.map((_, index) => () => page(index + 1))
  }))

export const makeStreamPages = Effect.fnUntraced(function* (
  shared: Shared
): Effect.fn.Return<Pages["stream"], never, Scope.Scope> {
  const grouped = yield* makeGrouped({
    operation: "read",
    read: (asks: ReadonlyArray<StreamAsk>) => {
      const [first, ...others] = asks
      return first === undefined || others.length > 0
        ? readTogether(shared, asks)
        : // A shorter plan.
          Effect.map(readAlone(shared, first), (page) => ({ millis: 0, answers: [() => page] }))
    }
  })
  return ({ backward, ...ask }) =>
    Effect.contextWith((context) =>
      backward || ask.size > mostEvents || isInTransaction(shared, context) ? readAlone(shared, ask, backward) : grouped(ask)
    )
})
