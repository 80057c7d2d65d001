/**
 * What a decision is made on: models that are bound to the values of their tags, and aggregates. Pure.
 */
import * as Effect from "effect/Effect"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Result from "effect/Result"
import type * as Aggregate from "../definitions/Aggregate.ts"
import * as Event from "../definitions/Event.ts"
import { isSame, readOwn } from "../definitions/listing.ts"
import { isRecordOfCommand } from "../definitions/metadata.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import type * as Tag from "../definitions/Tag.ts"
import { freeze } from "../internal/freeze.ts"
import type { Query } from "../store/EventStore.ts"
import { matches } from "../store/kit/index.ts"
import { foldFault } from "./foldFault.ts"
import type { StagedEvent } from "./transaction.ts"

export const TypeId = "~eventfold/Decision/Boundary"

/**
 * What a decision is made on: facts of the log, folded to a state. It says what is read, and with that what must not change until the commit.
 *
 * @category models
 * @since 0.2.0
 */
export interface Boundary<out State, out E extends Event.Any = Event.Any, out Modelled extends Event.Any = E> extends Pipeable {
  readonly [TypeId]: typeof TypeId
  /** The definitions of the events that are read. */
  readonly events: ReadonlyArray<E>
  /** Those of them that a model reads, and not an aggregate alone: see `ignoring`. */
  readonly modelled: ReadonlyArray<Modelled>
  /** @internal */
  readonly parts: ReadonlyArray<Part>
  /** @internal */
  readonly combine: (states: ReadonlyArray<unknown>) => State
}

/** How the events of a model are read and folded, whatever its types. */
export interface Fold {
  readonly name: string
  readonly read: "all" | "last"
  readonly initial: unknown
  readonly evolve: Readonly<Record<string, (state: unknown, event: unknown) => unknown>>
  /** Without those that are retired. */
  readonly events: ReadonlyArray<Event.Any>
  /** The types that they are stored under. */
  readonly types: ReadonlyArray<string>
  readonly readers: Event.Readers
}

/** A model, bound to values; or an aggregate. */
export type Part = ModelPart | AggregatePart

interface ModelPart {
  readonly _tag: "Model"
  readonly fold: Fold
  /** The tags that an event must bear, all of them. */
  readonly tags: Result.Result<ReadonlyArray<string>, Tag.TagError>
  /** What is read, but may come without spoiling the decision. */
  readonly ignored: ReadonlyArray<Event.Any>
}

export interface AggregatePart {
  readonly _tag: "Aggregate"
  readonly aggregate: Aggregate.Any
  readonly id: string
}

export const makeBoundary = <State, E extends Event.Any, Modelled extends Event.Any>(
  parts: ReadonlyArray<Part>,
  events: ReadonlyArray<E>,
  modelled: ReadonlyArray<Modelled>,
  combine: (states: ReadonlyArray<unknown>) => State
): Boundary<State, E, Modelled> => ({
  [TypeId]: TypeId,
  parts,
  events,
  modelled,
  combine,
  pipe() {
    return pipeArguments(this, arguments)
  }
})

/** A model whose tags are known. */
export interface Bound {
  readonly fold: Fold
  readonly tags: ReadonlyArray<string>
  /** What is read. */
  readonly query: Query
  /** What must not come until the commit; `undefined` where all may come. */
  readonly condition: Query | undefined
  /** The same for all that read the same with one model. */
  readonly key: string
}

/** What is asked of the store for events of these types. */
const queryOf = (types: ReadonlyArray<string>, tags: ReadonlyArray<string>): Query =>
  tags.length === 0 ? { types } : { types, tags }

/** What must not come until the commit: all that is read, but for what is ignored. */
const conditionOf = ({ fold, ignored }: ModelPart, tags: ReadonlyArray<string>, query: Query): Query | undefined => {
  if (fold.events.length === 0) return undefined
  if (ignored.length === 0) return query
  const checked = fold.events.filter((event) => !ignored.some((other) => isSame(event, other)))
  return checked.length === 0 ? undefined : queryOf(Event.storedTypes(...checked), tags)
}

/** The models of a boundary, with their tags. */
export const bind = (parts: ReadonlyArray<Part>): Result.Result<ReadonlyArray<Bound>, Tag.TagError> => {
  const all: Array<Bound> = []
  for (const part of parts) {
    if (part._tag === "Aggregate") continue
    const { fold, tags: made } = part
    if (Result.isFailure(made)) return Result.fail(made.failure)
    const tags = made.success
    const query = fold.events.length === 0 ? { types: [] } : queryOf(fold.types, tags)
    all.push({ fold, tags, query, condition: conditionOf(part, tags, query), key: JSON.stringify(tags) })
  }
  return Result.succeed(all)
}

/** Whether an event that waits for the commit passes a query, as it would once it is stored. */
export const isMatch = (query: Query, { _tag, event, stream, transient }: StagedEvent): boolean =>
  !transient &&
  _tag !== "Record" &&
  matches(query, {
    stream,
    type: event.type,
    tags: event.tags ?? [],
    published: event.published === true,
    metadata: event.metadata
  })

type Decoded = Result.Result<ReadonlyArray<unknown>, Event.EventDecodeError | Event.UnknownEventTypeError>

const nothing: Decoded = Result.succeed([])

/** What a stored event is to a model: nothing where it belongs to another definition, or is the record of a command. */
export const decode = (fold: Fold, recorded: RecordedEvent): Decoded =>
  isRecordOfCommand(recorded.metadata)
    ? nothing
    : Result.map(readOwn(fold.readers, recorded), (all) => all.map(({ event }) => event))

/** The same for an event that waits for the commit. */
const decodeStaged = (fold: Fold, entry: StagedEvent): Decoded => {
  const { event, stream, version = 0 } = entry
  const readers = fold.readers.get(event.type) ?? []
  // Typed already, if it was staged by the one definition that reads it here.
  const [own] = readers
  if (entry._tag === "Event" && own !== undefined && readers.length === 1 && isSame(own, entry.definition)) {
    return Result.succeed([entry.value])
  }
  const decoded = readOwn(fold.readers, { schemaVersion: 1, ...event, stream, version, position: 0 })
  return Result.map(decoded, (all) => all.map(({ event }) => event))
}

/** The state after more of the model's events. */
export const evolve = (fold: Fold, state: unknown, events: ReadonlyArray<unknown>): unknown => {
  if (events.length === 0) return state
  let next = fold.read === "last" ? fold.initial : freeze(state)
  for (const event of events) {
    const step = fold.evolve[(event as { readonly _tag: string })._tag]
    if (step !== undefined) next = freeze(step(next, freeze(event)))
  }
  return next
}

/** The state of a model once what waits for the commit is folded as well. */
export const evolveStaged = (
  { fold, query }: Bound,
  state: unknown,
  staged: ReadonlyArray<StagedEvent>
): Result.Result<unknown, Event.EventDecodeError | Event.UnknownEventTypeError> => {
  let next = state
  for (const entry of staged) {
    if (!isMatch(query, entry)) continue
    const decoded = decodeStaged(fold, entry)
    if (Result.isFailure(decoded)) return Result.fail(decoded.failure)
    try {
      next = evolve(fold, next, decoded.success)
    } catch (cause) {
      const { event, stream, version } = entry
      throw foldFault(`Decision "${fold.name}"`, { stream, version, type: event.type }, cause)
    }
  }
  return Result.succeed(next)
}

/** The states of the parts of a boundary in their order, out of those of its models. */
export const inOrder = <E, R>(
  parts: ReadonlyArray<Part>,
  models: ReadonlyArray<unknown>,
  ofAggregate: (part: AggregatePart) => Effect.Effect<unknown, E, R>
): Effect.Effect<ReadonlyArray<unknown>, E, R> => {
  if (models.length === parts.length) return Effect.succeed(models)
  let next = 0
  return Effect.forEach(parts, (part) => (part._tag === "Model" ? Effect.succeed(models[next++]) : ofAggregate(part)))
}
