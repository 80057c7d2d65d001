/**
 * Reads the models of a boundary, all as of one position of the log.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type * as Event from "../definitions/Event.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import { freeze } from "../internal/freeze.ts"
import { type Boundary as Answers, EventStore, type EventStoreError } from "../store/EventStore.ts"
import { type Bound, decode, evolve } from "./boundary.ts"
import { BoundaryCache, type Kept } from "./boundaryCache.ts"

type Answer = Answers["answers"][number]

/** What reading the facts of the log can fail with. */
export type ReadError = EventStoreError | Event.EventDecodeError | Event.UnknownEventTypeError

/** The states of models, and the position that they are of: what stands beyond it is not in them. */
export interface States {
  readonly position: number
  readonly states: ReadonlyArray<unknown>
}

/** Reads models as they are now, or as they were at a position. */
export const readModels = Effect.fnUntraced(function* (
  models: ReadonlyArray<Bound>,
  upTo: number | undefined
): Effect.fn.Return<States, ReadError, EventStore> {
  const store = yield* EventStore
  const cache = Option.getOrUndefined(yield* Effect.serviceOption(BoundaryCache))
  const plans = models.map((model) => {
    const cached = model.fold.read === "all" ? cache?.get(store, model.fold, model.key) : undefined
    return { model, cached, kept: cached !== undefined && cached.position <= (upTo ?? Infinity) ? cached : undefined }
  })
  const { answers, position } = yield* store.readBoundary(
    plans.map(({ kept, model: { fold, query } }) => ({
      filter: query,
      newest: fold.read === "last",
      // The newest event that is known is read as well: it tells whether the log is the one that it was read from.
      after: kept === undefined ? 0 : kept.position - 1
    })),
    { upTo }
  )
  const states: Array<unknown> = []
  for (const [index, { cached, kept, model }] of plans.entries()) {
    const answer = answers[index] as Answer
    if (model.fold.read === "last") {
      states.push(yield* newest(store, model, answer))
      continue
    }
    const continued = kept && (yield* fold(store, model, answer, position, kept))
    const folded = continued ?? (yield* foldWhole(store, model, kept === undefined ? answer : undefined, position))
    // What was kept is replaced by what is newer, and by anything where it was of another log.
    const replaces = kept !== undefined && continued === undefined
    if (folded.position > 0 && (replaces || folded.position > (cached?.position ?? 0))) {
      cache?.set(store, model.fold, model.key, folded)
    }
    states.push(folded.state)
  }
  return { position, states }
})

const nothingRead: Answer = { events: [], complete: false }

const foldWhole = (store: EventStore["Service"], model: Bound, answer: Answer | undefined, position: number) =>
  Effect.map(
    fold(store, model, answer ?? nothingRead, position, { state: model.fold.initial, position: 0, eventId: "" }),
    // Only what was kept before can turn out to be of another log.
    (folded) => folded as Kept
  )

/** Folds what answers a question, and then what there is more, page by page. `undefined` where `from` was not made from this log. */
const fold = (
  store: EventStore["Service"],
  { fold, query }: Bound,
  { complete, events }: Answer,
  upTo: number,
  from: Kept
): Effect.Effect<Kept | undefined, ReadError> =>
  Effect.suspend(() => {
    let { eventId, position, state } = from
    let found = position === 0
    const page = (events: ReadonlyArray<RecordedEvent>): Effect.Effect<void, ReadError> => {
      for (const recorded of events) {
        if (!found) {
          found = recorded.position === position && recorded.id === eventId
          if (found) continue
          return Effect.void
        }
        const decoded = decode(fold, recorded)
        if (Result.isFailure(decoded)) return Effect.fail(decoded.failure)
        state = evolve(fold, state, decoded.success)
        position = recorded.position
        eventId = recorded.id
      }
      return Effect.void
    }
    const folded = () => (found ? { state: freeze(state), position, eventId } : undefined)
    if (complete) return Effect.map(page(events), folded)
    return page(events).pipe(
      Effect.andThen(
        Effect.suspend(() =>
          events.length > 0 && !found
            ? Effect.void
            : Stream.runForEachArray(store.readAll({ filter: query, after: events.at(-1)?.position ?? 0, upTo }), page)
        )
      ),
      Effect.map(folded)
    )
  })

/** The state after the newest event alone; after the one before it, if that is none of the model's, and so on. */
const newest = (store: EventStore["Service"], { fold, query }: Bound, { events }: Answer): Effect.Effect<unknown, ReadError> => {
  const [event] = events
  if (event === undefined) return Effect.succeed(fold.initial)
  const decoded = decode(fold, event)
  if (Result.isFailure(decoded)) return Effect.fail(decoded.failure)
  if (decoded.success.length > 0) return Effect.succeed(evolve(fold, fold.initial, decoded.success))
  return store.readAll({ filter: query, direction: "backward", after: event.position }).pipe(
    Stream.mapEffect((recorded) => Effect.fromResult(decode(fold, recorded))),
    Stream.filter((events) => events.length > 0),
    Stream.runHead,
    Effect.map((found) => (Option.isNone(found) ? fold.initial : evolve(fold, fold.initial, found.value)))
  )
}
