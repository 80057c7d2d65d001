import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { untilWoken } from "../internal/waking.ts"
import {
  type AppendError,
  type AppendResult,
  type EventStore,
  OptimisticLockError,
  type StreamAppend
} from "../store/EventStore.ts"
import type { Seen } from "./transaction.ts"

type Results = ReadonlyArray<AppendResult>

/** What a unit of work has come to, and whether it stands in the store. */
export interface Outcome {
  readonly stream: string
  readonly appends: ReadonlyArray<StreamAppend>
  /** The version of the stream that it was decided on, and that which it has when this is written. */
  readonly from: number
  readonly to: number
  /** What aggregates are then, as far as that is known. */
  readonly states: Seen["states"]
  readonly since: Seen["since"]
  readonly context: Context.Context<never>
  /** Who waits for it to be settled. */
  readonly waiting: Set<() => void>
  /** What came of it, once that is known. */
  exit: Exit.Exit<Results, AppendError> | undefined
}

/** Waits until it is known what came of it. */
export const settled = (outcome: Outcome): Effect.Effect<void> =>
  Effect.suspend(() =>
    outcome.exit !== undefined
      ? Effect.void
      : untilWoken((wake) => {
          outcome.waiting.add(wake)
          return () => void outcome.waiting.delete(wake)
        })
  )

/** Sends what is decided on one stream, in order, one append at a time. */
export interface Sender {
  /**
   * Takes its place at once, and gives what waits for the answer, which must be run, and not be interrupted. What comes while an append is on its way goes into the next one:
   * each was decided on the one before.
   */
  readonly send: (outcome: Outcome) => Effect.Effect<Results, AppendError>
  readonly isSending: () => boolean
}

/** The most that goes into one append. */
const most = { outcomes: 256, events: 1024 }

/** What would have stood on something that is not written. */
const baseless = (stream: string, { from }: Outcome, actual: number) =>
  Exit.fail(new OptimisticLockError({ stream, expected: from, actual }))

export const makeSender = (
  store: EventStore["Service"],
  stream: string,
  listeners: { readonly onSettled: (outcome: Outcome) => void; readonly onIdle: () => void }
): Sender => {
  let waiting: Array<Outcome> = []
  let sending = false

  /** Somebody else has written to the stream. */
  const conflictOf = (cause: Cause.Cause<AppendError>): OptimisticLockError | undefined => {
    const error = Option.getOrUndefined(Cause.findErrorOption(cause))
    return error?._tag === "OptimisticLockError" && error.stream === stream ? error : undefined
  }

  const settle = (outcome: Outcome, exit: Exit.Exit<Results, AppendError>): void => {
    outcome.exit = exit
    listeners.onSettled(outcome)
    for (const wake of outcome.waiting) wake()
  }
  /** What is not written takes with it all that was decided on it. */
  const drop = (outcomes: ReadonlyArray<Outcome>, actual: number): void => {
    for (const outcome of [...outcomes, ...waiting]) settle(outcome, baseless(stream, outcome, actual))
    waiting = []
  }

  const take = (): ReadonlyArray<Outcome> => {
    let events = 0
    let size = 0
    for (const { from, to } of waiting) {
      events += to - from
      if (size > 0 && (size >= most.outcomes || events > most.events)) break
      size++
    }
    return waiting.splice(0, size)
  }

  /** One after the other, up to the first that is refused. */
  const writeEach = ([outcome, ...rest]: ReadonlyArray<Outcome>): Effect.Effect<void> =>
    outcome === undefined
      ? Effect.void
      : Effect.flatMap(Effect.exit(store.appendAll(outcome.appends)), (exit) => {
          settle(outcome, exit)
          if (Exit.isSuccess(exit)) return writeEach(rest)
          drop(rest, conflictOf(exit.cause)?.actual ?? outcome.from)
          return Effect.void
        })

  const writeTogether = (batch: ReadonlyArray<Outcome>): Effect.Effect<void> =>
    Effect.flatMap(Effect.exit(store.appendAll(batch.flatMap(({ appends }) => appends))), (exit) => {
      if (Exit.isSuccess(exit)) {
        let from = 0
        for (const outcome of batch) settle(outcome, Exit.succeed(exit.value.slice(from, (from += outcome.appends.length))))
        return Effect.void
      }
      const conflict = conflictOf(exit.cause)
      if (conflict !== undefined) return Effect.sync(() => drop(batch, conflict.actual))
      // Only the culprit shall suffer, and who has decided on what it wrote.
      const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
      const isRefusal = error !== undefined && (error._tag !== "EventStoreError" || error.reason._tag === "StoreFailure")
      if (isRefusal) return writeEach(batch)
      for (const outcome of batch) settle(outcome, exit)
      return Effect.sync(() => drop([], (batch[0] as Outcome).from))
    })

  const round: Effect.Effect<void> = Effect.suspend(() => {
    const batch = take()
    return batch.length === 1 ? writeEach(batch) : writeTogether(batch)
  })
  const rounds = Effect.whileLoop({ while: () => waiting.length > 0, body: () => round, step: () => {} })

  /** What has come meanwhile belongs to many: its statements are spans in the trace of none. */
  const goOn = (): void => {
    const [next] = waiting
    sending = next !== undefined
    if (next === undefined) return listeners.onIdle()
    Effect.runForkWith(next.context)(Effect.withTracerEnabled(rounds, false)).addObserver(goOn)
  }

  return {
    isSending: () => sending,
    send: (outcome) => {
      waiting.push(outcome)
      const answer = Effect.suspend(() => outcome.exit as NonNullable<Outcome["exit"]>)
      if (sending) return Effect.andThen(settled(outcome), answer)
      sending = true
      return Effect.andThen(Effect.ensuring(round, Effect.sync(goOn)), answer)
    }
  }
}
