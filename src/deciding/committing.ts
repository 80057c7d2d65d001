/** What a unit of work has staged, and how it is written. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { NewEvent } from "../definitions/stored.ts"
import { release } from "../internal/ids.ts"
import {
  type AppendCondition,
  AppendConditionError,
  type EventStore,
  ExpectedVersion,
  type StreamAppend
} from "../store/EventStore.ts"
import type { Place } from "./queues.ts"
import type { Commit, CommitError, Slot, StagedEvent } from "./transaction.ts"

export type Entry = StagedEvent & {
  readonly level: Level
  readonly expected: ExpectedVersion
  /** Its id was made here. */
  readonly made: boolean
  handedOut: boolean
}

/** One `transact` among nested ones. */
export interface Level {
  readonly parent: Level | undefined
  rolledBack: boolean
  /** Its body has ended, so nothing can be added to it. */
  ended: boolean
  readonly afterRollback: Array<Effect.Effect<void>>
}

/** What a level has found, and what must still be so at the commit. */
export type Demand = { readonly level: Level } & (
  | { readonly _tag: "Unless"; readonly condition: AppendCondition; readonly given: ReadonlyArray<StagedEvent> }
  | { readonly _tag: "Guard"; readonly stream: string; readonly expected: ExpectedVersion }
)

/** What all levels of one unit of work share. */
export interface Shared {
  readonly id: number
  readonly slots: Map<Slot<unknown>, unknown>
  commit: Commit
  /** Replaced, and not changed in place, when something is dropped. */
  staged: Array<Entry>
  /** What must hold at the commit. Replaced as well. */
  demands: ReadonlyArray<Demand>
  readonly afterCommit: Array<{ readonly level: Level; readonly effect: Effect.Effect<void> }>
  /** The `afterRollback` hooks of the levels that have been rolled back: they wait for the end of the outermost one. */
  readonly afterRollback: Array<Effect.Effect<void>>
}

/** Lets be interrupted what may be. */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** All that is to be written, in order: runs of events of one stream become one part each, unless an expectation comes between. */
const toAppends = (staged: ReadonlyArray<Entry>): ReadonlyArray<StreamAppend> => {
  const appends: Array<{ stream: string; expected: ExpectedVersion; events: Array<NewEvent> }> = []
  let version: number | undefined
  for (const { event, expected, stream, transient, ...entry } of staged) {
    if (transient) continue
    const last = appends.at(-1)
    if (last?.stream === stream && (expected === version || expected === ExpectedVersion.Any)) last.events.push(event)
    else appends.push({ stream, expected, events: [event] })
    version = entry.version
  }
  return appends
}

/** Guards as parts of an append, and conditions, each of them once: decisions of one unit of work may well ask for the same. */
const toDemands = (demands: ReadonlyArray<Demand>) => {
  const [first] = demands
  if (demands.length === 1 && first?._tag === "Unless") return { guards: [], unless: [first.condition] }
  const guards = new Map<string, StreamAppend>()
  const conditions = new Map<string, AppendCondition>()
  for (const demand of demands) {
    if (demand._tag === "Unless") conditions.set(JSON.stringify(demand.condition), demand.condition)
    else {
      const { expected, stream } = demand
      guards.set(JSON.stringify([stream, expected]), { stream, expected, events: [] })
    }
  }
  return { guards: [...guards.values()], unless: [...conditions.values()] }
}

/** The condition of a decision that has seen what is not written after all: a nested unit of work beside it has dropped it. */
const baseless = ({ demands, staged }: Shared): AppendConditionError | undefined => {
  const written = new Set<StagedEvent>(staged)
  for (const demand of demands) {
    if (demand._tag === "Guard" || demand.given.every((entry) => written.has(entry))) continue
    const { after = 0 } = demand.condition
    const filter = [demand.condition.filter].flat()
    // An aggregate alone has no filter.
    return new AppendConditionError({ position: 0, ...(filter.length === 0 ? {} : { condition: { filter, after } }) })
  }
  return undefined
}

const unchecked = Effect.logDebug(
  "eventfold: a unit of work that decided on what it has read has staged no event, so it is not checked whether that still holds"
)

/** Ends a unit of work that writes nothing: of one that was interrupted nobody hears, so it need not wait. */
export const leave = (
  place: Place | undefined,
  exit: Exit.Exit<unknown, unknown>,
  restore: Restore
): Effect.Effect<void, CommitError> =>
  Effect.suspend(() => {
    place?.give()
    const interrupted = Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
    return place === undefined || interrupted ? Effect.void : restore(place.based)
  })

/** Writes what is staged by one append. */
export const commit = (
  store: EventStore["Service"],
  shared: Shared,
  place: Place | undefined,
  restore: Restore
): Effect.Effect<void, CommitError> =>
  Effect.suspend(() => {
    const appends = toAppends(shared.staged)
    const dropped = appends.length === 0 ? undefined : baseless(shared)
    if (appends.length === 0 || dropped !== undefined) {
      const left = leave(place, Exit.void, restore)
      if (dropped !== undefined) return Effect.andThen(left, Effect.fail(dropped))
      return shared.demands.length === 0 ? left : Effect.andThen(left, unchecked)
    }
    const { guards, unless } = toDemands(shared.demands)
    // The guards come first: they are about the versions from before this unit of work.
    const write = store.appendAll([...guards, ...appends], { unless })
    const written = place?.write({
      appends,
      lastOf: (stream) => shared.staged.findLast((entry) => entry.stream === stream && !entry.transient),
      shareable: shared.demands.length === 0 && shared.staged.every(({ made, transient }) => made || transient),
      write
    })
    return Effect.map(written ?? write, (results) => {
      shared.commit = { position: results.reduce((last, { position }) => Math.max(last, position), 0) }
      for (const { event } of shared.staged) release(event.id)
    })
  })
