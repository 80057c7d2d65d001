/** What a unit of work has staged, and how it is written. */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { NewEvent } from "../definitions/stored.ts"
import { release } from "../internal/ids.ts"
import {
  type AppendCondition,
  AppendConditionError,
  type AppendError,
  type AppendResult,
  type EventStore,
  ExpectedVersion,
  type StreamAppend
} from "../store/EventStore.ts"
import type { Place } from "./queues.ts"
import type { Commit, CommitError, Slot, StagedEvent } from "./transaction.ts"
import { confirm, confirmExit, Mistaken, type Trust, Trusted } from "./trust.ts"

export type Entry = StagedEvent & {
  readonly level: Level
  readonly expected: ExpectedVersion
  /** Others see it as it is; its metadata may be added to. */
  event: StagedEvent["event"]
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
  readonly store: EventStore["Service"]
  /** What it was called with. */
  readonly context: Context.Context<never>
  readonly slots: Map<Slot<unknown>, unknown>
  commit: Commit
  /** Replaced, and not changed in place, when something is dropped. */
  staged: Array<Entry>
  /** What must hold at the commit. Replaced as well. */
  demands: ReadonlyArray<Demand>
  readonly afterCommit: Array<{ readonly level: Level; readonly effect: Effect.Effect<void> }>
  /** Does what tells others in the process of what has been written: at once, or when it is known to stand. */
  readonly telling: (tell: () => void) => Effect.Effect<void>
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
const leave = (place: Place | undefined, exit: Exit.Exit<unknown, unknown>, restore: Restore): Effect.Effect<void, CommitError> =>
  Effect.suspend(() => {
    place?.give()
    const interrupted = Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
    return place === undefined || interrupted ? Effect.void : restore(place.based)
  })

/** What the unit of work has taken for true, if it has taken anything so. */
const trustOf = ({ slots }: Shared) =>
  // Under a slot stands what it made.
  slots.get(Trusted) as Trust | undefined

/** Ends a unit of work that writes nothing, once it is known that it was right to. */
export const abandon = (
  store: EventStore["Service"],
  shared: Shared,
  place: Place | undefined,
  exit: Exit.Exit<unknown, unknown>,
  restore: Restore
): Effect.Effect<void, CommitError | Mistaken> => {
  const left = leave(place, exit, restore)
  const trust = trustOf(shared)
  return trust === undefined ? left : Effect.andThen(left, restore(confirmExit(store, trust, exit)))
}

/** Writes what is staged by one append. */
export const commit = (
  store: EventStore["Service"],
  shared: Shared,
  place: Place | undefined,
  restore: Restore
): Effect.Effect<void, CommitError | Mistaken> =>
  Effect.suspend(() => {
    const appends = toAppends(shared.staged)
    const dropped = appends.length === 0 ? undefined : baseless(shared)
    if (appends.length === 0 || dropped !== undefined) {
      const left = abandon(store, shared, place, Exit.void, restore)
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
    const done = Effect.map(written ?? write, (results) => {
      shared.commit = { position: results.reduce((last, { position }) => Math.max(last, position), 0) }
      for (const { event } of shared.staged) release(event.id)
      return results
    })
    const trust = trustOf(shared)
    return trust === undefined ? done : confirmed(store, shared, trust, done)
  })

/** Writes, where that confirms what was taken for true, or where a read has done so. */
const confirmed = (
  store: EventStore["Service"],
  shared: Shared,
  trust: Trust,
  write: Effect.Effect<ReadonlyArray<AppendResult>, AppendError>
): Effect.Effect<void, CommitError | Mistaken> => {
  const { assumed, heard } = trust
  const checked = new Set(shared.demands.flatMap((demand) => (demand._tag === "Unless" ? [demand.condition] : [])))
  const hear = () => {
    const events = shared.staged.filter(({ transient }) => !transient)
    for (const listener of heard) listener({ events, position: shared.commit.position, checked })
  }
  // What was written before is not what was read and one event more.
  if (assumed.length === 0) {
    return Effect.flatMap(write, (results) => (isRepetition(results) ? Effect.void : shared.telling(hear)))
  }
  // What a nested unit of work has seen that was dropped is no condition of the append.
  const open = assumed.filter((condition) => !checked.has(condition))
  return Effect.andThen(
    confirm(store, open, trust),
    Effect.matchEffect(write, {
      onSuccess: (results) => {
        // It has been written before: so it is not for those who know that to write it again.
        if (isRepetition(results)) return Effect.fail(new Mistaken())
        return shared.telling(hear)
      },
      onFailure: (error) => Effect.fail(isOfState(error) ? new Mistaken() : error)
    })
  )
}

const isRepetition = (results: ReadonlyArray<AppendResult>): boolean => results.some(({ deduplicated }) => deduplicated)

/** Whether who decides on what stands in the log might have come to something else. */
const isOfState = ({ _tag }: AppendError): boolean =>
  _tag === "AppendConditionError" || _tag === "DuplicateEventError" || _tag === "OptimisticLockError"
