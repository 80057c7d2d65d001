/** An aggregate's states, by the code that is registered. */
import type * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import * as Stream from "effect/Stream"
import * as Repository from "../../deciding/Repository.ts"
import * as Aggregate from "../../definitions/Aggregate.ts"
import * as Event from "../../definitions/Event.ts"
import { jsonCodec } from "../../definitions/jsonCodec.ts"
import { nameFault } from "../../definitions/names.ts"
import type { RecordedEvent } from "../../definitions/stored.ts"
import { describe } from "../../sql/errors.ts"
import { categoryOf, type EventStore } from "../../store/EventStore.ts"
import { Snapshots } from "../../store/Snapshots.ts"
import { isRemoved, isTombstone, removedError } from "../../store/tombstone.ts"
import { Operator } from "../contract/authentication.ts"
import { InvalidRequestError, NotFoundError, NotRegisteredError } from "../contract/errors.ts"
import type { StateAt, States } from "../contract/events.ts"
import { orUnavailable, type Parts } from "../parts.ts"
import { stateShownAs } from "./payloads.ts"
import { print } from "./printing.ts"
import { makeRows } from "./rows.ts"
import { unsaid, withoutQuotes } from "./saying.ts"

/** The most versions of a window, and how many there are where none are named. */
const [most, usual] = [200, 50]

/** By what a stream is folded. */
interface Folding {
  readonly name: string
  readonly aggregate: Aggregate.Any
  /** A state as JSON. */
  readonly encode: (state: unknown) => Result.Result<Schema.Json, unknown>
  readonly ast: SchemaAST.AST | undefined
}

const foldingOf = ({ aggregates, processes }: Parts, stream: string): Folding | undefined => {
  const category = categoryOf(stream)
  const aggregate = aggregates.get(category)
  if (aggregate !== undefined) {
    const { state } = aggregate
    return {
      name: category,
      aggregate,
      encode: state === undefined ? (value) => Result.try(() => print(value)) : jsonCodec(state).encode,
      ast: state?.ast
    }
  }
  const process = processes.get(category)
  if (process === undefined) return undefined
  return {
    name: category,
    aggregate: process.journal,
    encode: (entries) => Result.try(() => print(ownState(entries))),
    ast: undefined
  }
}

/** What a person wants to see of a process: its state, and what it waits for. */
const ownState = (entries: unknown): unknown => {
  const { deadlines, state } = entries as {
    readonly deadlines: ReadonlyMap<string, unknown>
    readonly state: Result.Result<unknown, unknown>
  }
  const folded = Result.isSuccess(state) ? { state: state.success } : { problem: describe(state.failure) }
  return { ...folded, deadlines: Object.fromEntries(deadlines) }
}

/** One step; what the code throws is a problem, and no state. What it says may quote what is stored: `isShown` is whether that may be seen. */
const stepOf = (
  aggregate: Aggregate.Any,
  state: unknown,
  recorded: RecordedEvent,
  isShown: boolean
): Result.Result<unknown, string> => {
  const read = Event.readAll(aggregate.readers, recorded)
  if (Result.isFailure(read)) return Result.fail(isShown ? read.failure.message : withoutQuotes(recorded, read.failure))
  return Result.mapError(
    Result.try(() =>
      // The state came from this aggregate, and the events from its readers.
      read.success.reduce((state, { event }) => Aggregate.evolve(aggregate, state as never, event as never), state)
    ),
    (error) =>
      `the fold of ${recorded.type} fails: ${isShown ? describe(error instanceof Error && "cause" in error ? error.cause : error) : unsaid}`
  )
}

interface Asked {
  readonly stream: string
  readonly from?: number
  readonly to?: number
  readonly at?: DateTime.Utc
}

/** Which versions are asked for. */
const windowOf = Effect.fnUntraced(function* (parts: Parts, { at, from, stream, to }: Asked) {
  const fault = nameFault(stream)
  if (fault !== undefined) return yield* new InvalidRequestError({ detail: `the name of a stream ${fault}` })
  const latest = yield* orUnavailable(parts.store.version(stream))
  if (latest === 0) return yield* new NotFoundError({ detail: `there is no stream "${stream}"` })
  if (at !== undefined && to !== undefined) {
    return yield* new InvalidRequestError({ detail: "say either the last version (to) or an instant (at)" })
  }
  const then = at && parts.store.read(stream, { until: at, direction: "backward", limit: 1 })
  const last = then === undefined ? (to ?? latest) : ((yield* orUnavailable(Stream.runCollect(then)))[0]?.version ?? 0)
  const end = Math.min(last, latest)
  const begin = from ?? Math.max(1, end - usual + 1)
  if (begin < 1 || (to !== undefined && to < begin)) {
    return yield* new InvalidRequestError({
      detail: `versions are from 1 on, and a window does not end before it begins: ${begin} to ${last}`
    })
  }
  return { latest, from: begin, to: Math.min(end, begin + most - 1) }
})

/** A state, if it can be told; `isGone` where it cannot because events have been removed. */
interface Folded {
  readonly state: Result.Result<unknown, string>
  readonly isGone: boolean
}

/** A state and one more event. Behind events that have been removed nothing can be folded. */
const folded = ({ aggregate }: Folding, { isGone, state }: Folded, recorded: RecordedEvent, isShown: boolean): Folded => {
  if (isGone) return { state, isGone }
  if (isTombstone(recorded) && !aggregate.readers.has(recorded.type)) {
    return { state: Result.fail(removedError("read", recorded).message), isGone: true }
  }
  return { state: Result.flatMap(state, (state) => stepOf(aggregate, state, recorded, isShown)), isGone }
}

/** Where events have been removed: the state at a version by the snapshot that stands for them, as a repository has it. */
const bySnapshot = (
  { services, snapshots }: Parts,
  { aggregate, name }: Folding,
  stream: string,
  version: number,
  { isGone, state }: Folded,
  isShown: boolean
): Effect.Effect<Folded> =>
  !isGone || snapshots === undefined || aggregate.snapshot === undefined
    ? Effect.succeed({ state, isGone })
    : Repository.read(aggregate, stream.slice(name.length + 1), { version }).pipe(
        // Who looks changes nothing: a snapshot that is due is for who works with the aggregate.
        Effect.provideService(Snapshots, { ...snapshots, save: () => Effect.void }),
        // What operations are made of has a store.
        Effect.provideContext(services as Context.Context<EventStore>),
        Effect.match({
          onFailure: (error): Folded => ({ state: Result.fail(isShown || isRemoved(error) ? error.message : unsaid), isGone }),
          onSuccess: ({ state }): Folded => ({ state: Result.succeed(state), isGone: false })
        })
      )

/** Folds what lies before the window. */
const before = Effect.fnUntraced(function* (parts: Parts, folding: Folding, stream: string, upTo: number, isShown: boolean) {
  let now: Folded = { state: Result.succeed(folding.aggregate.initial), isGone: false }
  if (upTo < 1) return now
  yield* orUnavailable(
    Stream.runForEachArray(parts.store.read(stream, { to: upTo }), (events) =>
      Effect.sync(() => {
        for (const event of events) now = folded(folding, now, event, isShown)
      })
    )
  )
  return yield* bySnapshot(parts, folding, stream, upTo, now, isShown)
})

/** A window of an aggregate's states, folded once. */
export const lookAtStates = (parts: Parts) => ({
  States: Effect.fnUntraced(function* (asked: Asked) {
    const { stream } = asked
    const { payloads } = yield* Operator
    const folding = foldingOf(parts, stream)
    if (folding === undefined) {
      const category = categoryOf(stream)
      return yield* new NotRegisteredError({
        detail: `this process knows no aggregate or process manager "${category}": name it where operations are provided (aggregates, processes)`
      })
    }
    const { from, latest, to } = yield* windowOf(parts, asked)
    const isShown = payloads === "shown"
    const { row } = makeRows(parts, payloads)
    const shown = (state: Result.Result<unknown, string>): Pick<StateAt, "state" | "problem"> => {
      if (Result.isFailure(state)) return { state: null, problem: state.failure }
      const encoded = folding.encode(state.success)
      if (Result.isFailure(encoded)) {
        return { state: null, problem: `the state has no JSON: ${isShown ? describe(encoded.failure) : unsaid}` }
      }
      const visible = stateShownAs(payloads, encoded.success, folding.ast)
      return visible === undefined ? { state: null, problem: "states are hidden from you" } : { state: visible, problem: null }
    }
    let now = yield* before(parts, folding, stream, from - 1, isShown)
    const first = shown(now.state).state
    const states: Array<StateAt> = []
    const events = to < from ? [] : yield* orUnavailable(Stream.runCollect(parts.store.read(stream, { from, to })))
    for (const event of events) {
      now = yield* bySnapshot(parts, folding, stream, event.version, folded(folding, now, event, isShown), isShown)
      states.push({ version: event.version, event: row(event, true), ...shown(now.state) })
    }
    const window: States = { aggregate: folding.name, stream, latest, before: first, states }
    return window
  })
})
