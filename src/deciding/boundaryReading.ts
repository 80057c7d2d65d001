/**
 * Reads the models of a boundary, all as of one position of the log.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type * as Event from "../definitions/Event.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import { timesForgotten } from "../internal/forgetting.ts"
import { freeze } from "../internal/freeze.ts"
import { flatMapNow, mapNow } from "../internal/now.ts"
import { type Boundary as Answers, type BoundaryQuery, EventStore, type EventStoreError } from "../store/EventStore.ts"
import { forEachPage } from "../internal/paging.ts"
import { foldFault } from "./foldFault.ts"
import { type Bound, decode, evolve, evolveStaged, isMatch } from "./boundary.ts"
import { BoundaryCache, type Kept } from "./boundaryCache.ts"
import type { Written } from "./trust.ts"

type Answer = Answers["answers"][number]
type Store = EventStore["Service"]

/** What reading the facts of the log can fail with. */
export type ReadError = EventStoreError | Event.EventDecodeError | Event.UnknownEventTypeError

/** The states of models, and the position that they are of: what stands beyond it is not in them. */
export interface States {
  readonly position: number
  readonly states: ReadonlyArray<unknown>
}

/** How a model is read: from where on, and what is kept of it that is good for more than this read. */
interface Plan {
  readonly model: Bound
  readonly cached: Kept | undefined
  readonly kept: Kept | undefined
  /** How often all that is kept in memory had been forgotten by then. */
  readonly since: number
}

const planOf = (store: Store, cache: BoundaryCache["Service"] | undefined, model: Bound, upTo: number | undefined): Plan => {
  const cached = model.fold.read === "all" ? cache?.get(store, model.fold, model.key) : undefined
  const kept = cached !== undefined && cached.position <= (upTo ?? Infinity) ? cached : undefined
  return { model, cached, kept, since: timesForgotten() }
}

const queryOf = ({ kept, model: { fold, query } }: Plan): BoundaryQuery => ({
  filter: query,
  newest: fold.read === "last",
  // The newest event that is known is read as well: it tells whether the log is the one that it was read from.
  after: kept === undefined ? 0 : kept.position - 1
})

/** What is kept of a model, where a decision may begin with it before it has asked whether anything came after. */
export const keptAlone = (
  cache: BoundaryCache["Service"],
  store: Store,
  model: Bound,
  upTo: number | undefined
): Kept | undefined => {
  // What is read must be what the commit checks.
  if (model.condition !== model.query) return undefined
  const { kept } = planOf(store, cache, model, upTo)
  return kept?.isAlone === true ? kept : undefined
}

/** Keeps what models have become by what was written, where nothing of others has come since they were read. */
export const keepWritten = (
  cache: BoundaryCache["Service"],
  store: Store,
  models: ReadonlyArray<{ readonly model: Bound; readonly state: unknown }>,
  { events, position }: Written
): void => {
  for (const { model, state } of models) {
    const { condition, fold, key, query } = model
    const newest = events.findLastIndex((entry) => isMatch(query, entry))
    const event = events[newest]
    if (event === undefined || fold.read !== "all" || condition !== query) continue
    const after = evolveStaged(model, state, events)
    const at = position - (events.length - 1 - newest)
    const known = cache.get(store, fold, key)
    // What cannot be decoded is found by who reads it.
    if (Result.isFailure(after) || (known?.position ?? 0) >= at) continue
    cache.set(store, fold, key, {
      state: freeze(after.success),
      position: at,
      eventId: event.event.id,
      isAlone: known?.isAlone ?? true
    })
  }
}

/** Reads models as they are now, or as they were at a position. */
export const readModels = (
  models: ReadonlyArray<Bound>,
  upTo: number | undefined
): Effect.Effect<States, ReadError, EventStore> =>
  Effect.contextWith((context: Context.Context<EventStore>) => {
    const store = Context.get(context, EventStore)
    const cache = Context.getOrUndefined(context, BoundaryCache)
    const plans = models.map((model) => planOf(store, cache, model, upTo))
    return Effect.flatMap(store.readBoundary(plans.map(queryOf), { upTo }), ({ answers, position }) => {
      const foldOne = (plan: Plan, index: number) => foldAnswer(store, cache, plan, answers[index] as Answer, position)
      const [only] = plans
      if (plans.length === 1 && only !== undefined) return mapNow(foldOne(only, 0), (state) => ({ position, states: [state] }))
      return Effect.map(Effect.forEach(plans, foldOne), (states) => ({ position, states }))
    })
  })

/** The state of a model, which is kept as well. */
const foldAnswer = (
  store: Store,
  cache: BoundaryCache["Service"] | undefined,
  { cached, kept, model, since }: Plan,
  answer: Answer,
  position: number
): Effect.Effect<unknown, ReadError> => {
  if (model.fold.read === "last") return newest(store, model, answer)
  const keep = (folded: Kept, replaces: boolean): unknown => {
    // What was kept is replaced by what is newer, and by anything where it was of another log.
    if (folded.position > 0 && since === timesForgotten() && (replaces || isNewer(folded, cached))) {
      cache?.set(store, model.fold, model.key, folded)
    }
    return folded.state
  }
  if (kept === undefined) return mapNow(foldWhole(store, model, answer, position), (folded) => keep(folded, false))
  return flatMapNow(fold(store, model, answer, position, kept), (continued) =>
    continued === undefined
      ? Effect.flatMap(asked(store, { filter: model.query }, position), (whole) =>
          Effect.map(foldWhole(store, model, whole, position), (folded) => keep(folded, true))
        )
      : Effect.succeed(keep(continued, false))
  )
}

/** What one more question is answered with: not by `readAll`, which may go on through an archive, where decisions and what a commit checks do not. */
const asked = (store: Store, query: BoundaryQuery, upTo: number): Effect.Effect<Answer, EventStoreError> =>
  Effect.map(store.readBoundary([query], { upTo }), ({ answers }) => answers[0] as Answer)

/** Whether something is known beyond what is kept: more events, or that there are none. */
const isNewer = (folded: Kept, cached: Kept | undefined): boolean =>
  folded.position > (cached?.position ?? 0) || (folded.position === cached?.position && folded.isAlone !== cached.isAlone)

const foldWhole = (store: Store, model: Bound, answer: Answer, position: number) =>
  mapNow(
    fold(store, model, answer, position, { state: model.fold.initial, position: 0, eventId: "", isAlone: true }),
    // Only what was kept before can turn out to be of another log.
    (folded) => folded as Kept
  )

/** A fold on its way through the events of a model. */
interface Folding {
  state: unknown
  position: number
  eventId: string
  /** Whether the event that it goes on from has been met. */
  found: boolean
}

/** Folds more events; gives what one of them cannot be read for. */
const foldEvents = (
  { fold }: Bound,
  folding: Folding,
  events: ReadonlyArray<RecordedEvent>
): Event.EventDecodeError | Event.UnknownEventTypeError | undefined => {
  let at: RecordedEvent | undefined
  try {
    for (const recorded of events) {
      at = recorded
      if (!folding.found) {
        folding.found = recorded.position === folding.position && recorded.id === folding.eventId
        if (folding.found) continue
        return undefined
      }
      const decoded = decode(fold, recorded)
      if (Result.isFailure(decoded)) return decoded.failure
      folding.state = evolve(fold, folding.state, decoded.success)
      folding.position = recorded.position
      folding.eventId = recorded.id
    }
    return undefined
  } catch (cause) {
    throw foldFault(`Decision "${fold.name}"`, at, cause)
  }
}

const ended = ({ eventId, found, position, state }: Folding, from: Kept): Kept | undefined =>
  found ? { state: freeze(state), position, eventId, isAlone: from.position === 0 || from.position === position } : undefined

/** Folds what answers a question, and then what there is more, page by page. `undefined` where `from` was not made from this log. */
const fold = (
  store: Store,
  model: Bound,
  { complete, events }: Answer,
  upTo: number,
  from: Kept
): Effect.Effect<Kept | undefined, ReadError> => {
  const folding: Folding = { ...from, found: from.position === 0 }
  const fault = foldEvents(model, folding, events)
  if (fault !== undefined) return Effect.fail(fault)
  if (complete || (events.length > 0 && !folding.found)) return Effect.succeed(ended(folding, from))
  const rest = store.readAll({ filter: model.query, after: events.at(-1)?.position ?? 0, upTo })
  return Effect.map(
    forEachPage(rest, (page) => {
      const fault = foldEvents(model, folding, page)
      return fault === undefined ? Effect.void : Effect.fail(fault)
    }),
    () => ended(folding, from)
  )
}

/** The state after the newest event alone; after the one before it, if that is none of the model's, and so on. */
const newest = (store: Store, model: Bound, { events }: Answer): Effect.Effect<unknown, ReadError> => {
  const { fold, query } = model
  const after = (recorded: RecordedEvent, decoded: ReadonlyArray<unknown>): unknown => {
    try {
      return evolve(fold, fold.initial, decoded)
    } catch (cause) {
      throw foldFault(`Decision "${fold.name}"`, recorded, cause)
    }
  }
  const [event] = events
  if (event === undefined) return Effect.succeed(fold.initial)
  const decoded = decode(fold, event)
  if (Result.isFailure(decoded)) return Effect.fail(decoded.failure)
  if (decoded.success.length > 0) return Effect.succeed(after(event, decoded.success))
  return store.readAll({ filter: query, direction: "backward", after: event.position }).pipe(
    Stream.filter((recorded) => {
      const decoded = decode(fold, recorded)
      return Result.isFailure(decoded) || decoded.success.length > 0
    }),
    Stream.runHead,
    // What is found may be in an archive alone: it is asked for once more.
    Effect.flatMap((found) =>
      Option.isNone(found)
        ? Effect.succeed(fold.initial)
        : Effect.flatMap(asked(store, { filter: query, newest: true }, found.value.position), (answer) =>
            newest(store, model, answer)
          )
    )
  )
}
