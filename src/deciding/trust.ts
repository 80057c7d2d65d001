/**
 * What a unit of work takes for true of the log without having asked, because it is kept in memory. Nobody hears of what came of it before it
 * has been found true: by the conditions of what is written, or else by a read. Where it is not true, the unit of work runs again, and asks.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { AppendCondition, EventStore, EventStoreError } from "../store/EventStore.ts"
import type { Slot, StagedEvent } from "./transaction.ts"

/** What was written, all of it in a row. */
export interface Written {
  readonly events: ReadonlyArray<StagedEvent>
  /** Of the last event. */
  readonly position: number
  /** What was checked in the same moment, and holds. */
  readonly checked: ReadonlySet<AppendCondition>
}

/** What one unit of work takes for true. */
export interface Trust {
  /** Not where it was mistaken once. */
  readonly isAllowed: boolean
  /** What was taken for true: the event `afterId` stands at `after`, and is the newest one that passes the filter. */
  readonly assumed: Array<AppendCondition>
  /** The position at which the log was read for what was asked, if anything was. */
  position: number | undefined
  /** Who is told what was written. */
  readonly heard: Array<(written: Written) => void>
}

const makeTrust = (isAllowed: boolean): Trust => ({ isAllowed, assumed: [], position: undefined, heard: [] })

export const Trusted: Slot<Trust> = { make: () => makeTrust(true) }

/** Of a unit of work that asks for everything. */
export const noTrust = (): Trust => makeTrust(false)

/** Something that a unit of work took for true is not. Nothing was written. */
export class Mistaken {
  readonly _tag = "eventfold/UnitOfWork/Mistaken"
}

export const isMistaken = (error: unknown): error is Mistaken => error instanceof Mistaken

/** Asks whether what was taken for true is so, and was so at the position at which all else was read. */
export const confirm = (
  store: EventStore["Service"],
  assumed: ReadonlyArray<AppendCondition>,
  { position = Infinity }: Pick<Trust, "position">
): Effect.Effect<void, EventStoreError | Mistaken> => {
  if (assumed.length === 0) return Effect.void
  // It is of what others had written and not committed, or of a log that goes on elsewhere.
  if (assumed.some(({ after = 0 }) => after > position)) return Effect.fail(new Mistaken())
  const queries = assumed.map(({ after = 1, filter }) => ({ filter, newest: false, after: after - 1 }))
  return Effect.flatMap(store.readBoundary(queries), ({ answers }) => {
    const isTrue = answers.every(({ complete, events }, index) => {
      const [newest, ...more] = events
      return complete && more.length === 0 && newest !== undefined && newest.id === assumed[index]?.afterId
    })
    return isTrue ? Effect.void : Effect.fail(new Mistaken())
  })
}

/** The same for what a body has come to that writes nothing. Of one that was interrupted nobody hears. */
export const confirmExit = (
  store: EventStore["Service"],
  trust: Trust | undefined,
  exit: Exit.Exit<unknown, unknown>
): Effect.Effect<void, EventStoreError | Mistaken> =>
  trust === undefined || (Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
    ? Effect.void
    : confirm(store, trust.assumed, trust)
