import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import { CurrentMetadata } from "../definitions/metadata.ts"
import { executionKeys } from "../definitions/services.ts"
import type { Metadata } from "../definitions/stored.ts"
import { freeze } from "../internal/freeze.ts"
import { makeIds, type NewId, release, reserve } from "../internal/ids.ts"
import { flatMapNow, mapNow } from "../internal/now.ts"
import { type EventStore, ExpectedVersion, OptimisticLockError } from "../store/EventStore.ts"
import { abandon, commit, type Demand, type Entry, type Level, type Restore, type Shared } from "./committing.ts"
import { type Place, QueuePlace } from "./queues.ts"
import { Tries } from "./tries.ts"
import { isMistaken, noTrust, Trusted } from "./trust.ts"
import {
  type CommitError,
  type Slot,
  type StagedEvent,
  Transaction,
  type TransactionService,
  type UnitOfWork
} from "./transaction.ts"

const belongsTo = (level: Level | undefined, ancestor: Level): boolean =>
  level !== undefined && (level === ancestor || belongsTo(level.parent, ancestor))

/** Whether it is too late to add anything: for fibers that outlive the unit of work they were forked in. */
const hasEnded = (level: Level | undefined): boolean => level !== undefined && (level.ended || hasEnded(level.parent))

const dieEnded = Effect.die(
  new Error("UnitOfWork: the unit of work has ended already. A fiber that outlives it cannot stage events or add hooks to it")
)

const unlessEnded = (level: Level, add: () => void): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (hasEnded(level)) return dieEnded
    add()
    return Effect.void
  })

/** The last position that was committed for whoever asked: see `UnitOfWork.committed`. */
export const CurrentCommit = Context.Reference<{ position: number } | undefined>(executionKeys.commit, {
  defaultValue: () => undefined
})

/** Tells whoever asked that everything up to this position has been committed. */
export const noteCommit = (position: number): Effect.Effect<void> =>
  Effect.contextWith((context) => Effect.sync(() => noteIn(context, position)))

const noteIn = (context: Context.Context<never>, position: number): void => {
  const last = Context.get(context, CurrentCommit)
  if (last !== undefined) last.position = Math.max(last.position, position)
}

/** How the levels of a unit of work are carried out: in memory alone, or as SQL transactions and savepoints. */
export interface Carrier {
  /**
   * Runs the body of a level, and whatever must be atomic with it. Is called uninterruptibly; `restore` is for what may be
   * interrupted before the body has begun.
   */
  readonly run: <A, E, R>(body: Effect.Effect<A, E, R>, restore: Restore) => Effect.Effect<A, E | CommitError, R>
  /** Keeps a hook until the outermost commit, if it does so by itself. */
  readonly afterCommit: ((effect: Effect.Effect<void>) => Effect.Effect<void>) | undefined
  /** Is run before the outermost level writes what is staged, if there is something to be done then. */
  readonly ending?: Effect.Effect<void>
  /** Removes from a context what belongs to the carrier's transaction. */
  readonly outside: <R>(context: Context.Context<R>) => Context.Context<R>
}

const makeTransaction = (shared: Shared, level: Level, carrier: Carrier): TransactionService => ({
  id: shared.id,
  store: shared.store,
  slot: (slot) => slotOf(shared, slot),
  stage: <E = never>(
    stream: string,
    events: Parameters<TransactionService["stage"]>[1],
    expected: ExpectedVersion,
    check?: () => E | undefined
  ) =>
    Effect.withFiber((fiber) => {
      const metadata = fiber.getRef(CurrentMetadata)
      const missing = events.reduce((count, { event, id }) => (event.id === undefined && id === undefined ? count + 1 : count), 0)
      return flatMapNow(makeIds(fiber, missing), (ids): Effect.Effect<ReadonlyArray<StagedEvent>, OptimisticLockError | E> => {
        if (hasEnded(level)) return dieEnded
        const problem = check?.()
        return problem === undefined ? stage(shared, level, { stream, events, expected, metadata, ids }) : Effect.fail(problem)
      })
    }),
  unless: (condition, given = []) => unlessEnded(level, () => demand(shared, { _tag: "Unless", level, condition, given })),
  guard: (stream, expected) => unlessEnded(level, () => demand(shared, { _tag: "Guard", level, stream, expected })),
  amend: (stream, metadata) => {
    const last = shared.staged.findLast((entry) => entry.stream === stream && belongsTo(entry.level, level))
    if (last === undefined) return false
    last.event = { ...last.event, metadata: freeze({ ...last.event.metadata, ...metadata }) }
    return true
  },
  staged: (stream) => (stream === undefined ? shared.staged : shared.staged.filter((entry) => entry.stream === stream)),
  next: makeQueue(shared, level),
  committed: () => shared.commit,
  afterCommit: (effect) =>
    carrier.afterCommit === undefined
      ? unlessEnded(level, () => shared.afterCommit.push({ level, effect }))
      : carrier.afterCommit(effect),
  afterRollback: (effect) => unlessEnded(level, () => level.afterRollback.push(effect)),
  outside: (context) => carrier.outside(withoutTransaction(context)),
  rollback: Effect.sync(() => {
    level.rolledBack = true
  }),
  nested: (effect) => Effect.suspend(() => (hasEnded(level) ? dieEnded : runLevel(effect, shared, level, carrier, nestedEnding)))
})

const demand = (shared: Shared, demand: Demand): void => {
  shared.demands = [...shared.demands, demand]
}

const slotOf = <A>({ slots }: Shared, slot: Slot<A>): A => {
  if (!slots.has(slot)) slots.set(slot, slot.make())
  // Under a slot stands what it made.
  return slots.get(slot) as A
}

/** Stages events, unless the stream is known to be at another version than expected. */
const stage = (
  shared: Shared,
  level: Level,
  {
    events,
    expected,
    ids,
    metadata,
    stream
  }: {
    readonly stream: string
    readonly events: Parameters<TransactionService["stage"]>[1]
    readonly expected: ExpectedVersion
    readonly metadata: Metadata
    /** For the events that have none. */
    readonly ids: ReadonlyArray<NewId>
  }
): Effect.Effect<ReadonlyArray<StagedEvent>, OptimisticLockError> => {
  const last = shared.staged.findLast((entry) => entry.stream === stream)
  const wanted = knownVersion(expected)
  if (last?.version !== undefined && wanted !== undefined && wanted !== last.version) {
    return Effect.fail(new OptimisticLockError({ stream, expected, actual: last.version }))
  }
  let nextId = 0
  let version = last?.version ?? wanted
  const firstExpected = last?.version === undefined ? expected : (version ?? ExpectedVersion.Any)
  const entries: Array<Entry> = []
  for (const { event, id: madeId, transient = false, ...kind } of events) {
    if (kind._tag === "Event") freeze(kind.value)
    const newId = event.id === undefined ? (madeId ?? (ids[nextId++] as NewId)) : undefined
    if (newId !== undefined && !transient) reserve(newId)
    const id = newId === undefined ? (event.id as string) : newId.value
    const before = version
    if (version !== undefined) version++
    entries.push({
      ...kind,
      level,
      stream,
      version,
      transient,
      made: newId !== undefined,
      handedOut: false,
      event: { ...event, id, payload: freeze(event.payload), metadata: freeze({ ...metadata, ...event.metadata }) },
      expected: entries.length === 0 ? firstExpected : (before ?? ExpectedVersion.Any)
    })
  }
  for (const entry of entries) shared.staged.push(entry)
  return Effect.succeed(entries)
}

/** Gives the entries of a level and those within it, one by one, in the order in which they were staged. */
const makeQueue = (shared: Shared, level: Level): (() => StagedEvent | undefined) => {
  let queue = shared.staged
  let queued = 0
  return () => {
    if (queue !== shared.staged) {
      queue = shared.staged
      queued = 0
    }
    while (queued < queue.length) {
      const entry = queue[queued++] as Entry
      if (entry.handedOut || !belongsTo(entry.level, level)) continue
      entry.handedOut = true
      return entry
    }
    return undefined
  }
}

// A hook that asks for the transaction asks for what has ended; the types cannot say so, and the missing service is a defect.
export const withoutTransaction = <R>(context: Context.Context<R>) =>
  Context.omit(Transaction, Tries)(context as Context.Context<R | Transaction>) as Context.Context<R>

const knownVersion = (expected: ExpectedVersion): number | undefined =>
  typeof expected === "number" ? expected : expected === ExpectedVersion.NoStream ? 0 : undefined

/** How a body ended that must not commit: the carrier sees a failure, whoever called `transact` the body's own exit. */
class Aborted<A, E> {
  readonly _tag = "eventfold/UnitOfWork/Aborted"
  readonly exit: Exit.Exit<A, E>
  constructor(exit: Exit.Exit<A, E>) {
    this.exit = exit
  }
}

/** What a carrier's transaction has failed with, as whoever called `transact` is told; `undefined` where that is no failure. */
export const failureOf = (cause: Cause.Cause<unknown>): unknown => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  if (!(error instanceof Aborted)) return error
  return Exit.isFailure(error.exit) ? failureOf(error.exit.cause as Cause.Cause<unknown>) : undefined
}

const outcomes = Metric.counter("eventfold_units_of_work", {
  description: "Units of work, by outcome",
  incremental: true
})
const committed = Metric.withAttributes(outcomes, { outcome: "committed" })
const rolledBack = Metric.withAttributes(outcomes, { outcome: "rolled_back" })

/** What is done at the end of a level. Is not interrupted, save in what it restores. */
interface Ending<out X> {
  readonly beforeCommit: () => Effect.Effect<void, CommitError>
  readonly commit: (restore: Restore) => Effect.Effect<void, CommitError | X>
  /** Instead, where nothing is to be written. Its failure takes the place of what the body gave. */
  readonly abandon: (exit: Exit.Exit<unknown, unknown>, restore: Restore) => Effect.Effect<void, CommitError | X>
}

const nestedEnding: Ending<never> = { beforeCommit: () => Effect.void, commit: () => Effect.void, abandon: () => Effect.void }

const runLevel = <A, E, R, X>(
  effect: Effect.Effect<A, E, R>,
  shared: Shared,
  parent: Level | undefined,
  carrier: Carrier,
  { abandon, beforeCommit, commit }: Ending<X>
): Effect.Effect<A, E | CommitError | X, Exclude<R, Transaction>> => {
  const level: Level = { parent, rolledBack: false, ended: false, afterRollback: [] }
  return Effect.uninterruptibleMask((restore) => {
    const whole = Effect.tap(effect, () => (level.rolledBack ? Effect.void : beforeCommit()))
    const body = restore(Effect.provideService(whole, Transaction, makeTransaction(shared, level, carrier)))
    const abort = (exit: Exit.Exit<A, E | CommitError>) => Effect.andThen(abandon(exit, restore), Effect.fail(new Aborted(exit)))
    const finished = Effect.matchCauseEffect(body, {
      onFailure: (cause) => {
        level.ended = true
        return abort(Exit.failCause(cause))
      },
      onSuccess: (value): Effect.Effect<A, CommitError | X | Aborted<A, E | CommitError>> => {
        const parentEnded = hasEnded(parent)
        level.ended = true
        if (level.rolledBack) return abort(Exit.succeed(value))
        return parentEnded ? dieEnded : Effect.as(commit(restore), value)
      }
    })
    return Effect.matchCauseEffect(carrier.run(finished, restore), {
      onFailure: (cause) => {
        forget(shared, level)
        for (const hook of level.afterRollback) shared.afterRollback.push(hook)
        return flatMapNow(parent === undefined ? settled(shared, false) : Effect.void, () =>
          Effect.catch(Effect.failCause(cause), (error): Effect.Effect<A, E | CommitError | X> =>
            error instanceof Aborted ? error.exit : Effect.fail(error)
          )
        )
      },
      onSuccess: (value) => {
        for (const hook of level.afterRollback) parent?.afterRollback.push(hook)
        return parent === undefined ? mapNow(settled(shared, true), () => value) : Effect.succeed(value)
      }
    })
  })
}

/** What is done once the outermost level has ended. */
const settled = (shared: Shared, isCommitted: boolean): Effect.Effect<void> => {
  const { context } = shared
  ;(isCommitted ? committed : rolledBack).updateUnsafe(1, context)
  if (isCommitted) noteIn(context, shared.commit.position)
  const hooks = [...(isCommitted ? shared.afterCommit.map((hook) => hook.effect) : []), ...shared.afterRollback]
  return hooks.length === 0 ? Effect.void : Effect.forEach(hooks, (hook) => hook, { discard: true })
}

/** Drops what a level (and those within it) has staged. */
const forget = (shared: Shared, level: Level): void => {
  const kept: Array<Entry> = []
  for (const entry of shared.staged) {
    if (belongsTo(entry.level, level)) release(entry.event.id)
    else kept.push(entry)
  }
  shared.staged = kept
  shared.demands = shared.demands.filter((demand) => !belongsTo(demand.level, level))
  const keptHooks = shared.afterCommit.filter((hook) => !belongsTo(hook.level, level))
  shared.afterCommit.length = 0
  for (const hook of keptHooks) shared.afterCommit.push(hook)
}

/** How many units of work this process has begun. */
let units = 0

/** `place` gives a unit of work its place in the queues of those that command one aggregate, if there are any. */
export const makeUnitOfWork = (store: EventStore["Service"], carrier: Carrier, place?: () => Place): UnitOfWork["Service"] => {
  let hooks: ReadonlyArray<Parameters<UnitOfWork["Service"]["beforeCommit"]>[0]> = []
  const { afterCommit } = carrier
  const telling: Shared["telling"] =
    store.late === undefined || afterCommit === undefined ? Effect.sync : (tell) => afterCommit(Effect.sync(tell))
  const beforeCommit = (shared: Shared): Effect.Effect<void, CommitError> => {
    if (hooks.length === 0) return Effect.void
    const staged = shared.staged.filter(({ transient }) => !transient)
    return staged.length === 0 ? Effect.void : Effect.forEach(hooks, (hook) => hook(staged), { discard: true })
  }
  return {
    store,
    beforeCommit: (hook) =>
      Effect.sync(() => {
        const added: typeof hook = (staged) => hook(staged)
        hooks = [...hooks, added]
        return Effect.sync(() => {
          hooks = hooks.filter((other) => other !== added)
        })
      }),
    transact: (effect) =>
      Effect.contextWith((context: Context.Context<never>) => {
        const tried = place && Context.get(context, Tries)?.begin()
        const attempt = (trusting: boolean) =>
          Effect.suspend(() => {
            const own = place?.()
            const shared: Shared = {
              id: ++units,
              store,
              context,
              slots: new Map(own && [[QueuePlace, own]]),
              commit: { position: 0 },
              staged: [],
              demands: [],
              afterCommit: [],
              telling,
              afterRollback: []
            }
            if (!trusting) shared.slots.set(Trusted, noTrust())
            const body = own === undefined || tried?.first === undefined ? effect : Effect.andThen(tried.first(own), effect)
            const whole = runLevel(body, shared, undefined, carrier, {
              beforeCommit: () => beforeCommit(shared),
              commit: (restore) => {
                const written = commit(store, shared, own, restore)
                return carrier.ending === undefined ? written : Effect.andThen(carrier.ending, written)
              },
              abandon: (exit, restore) => abandon(store, shared, own, exit, restore)
            })
            return own === undefined || tried === undefined
              ? whole
              : Effect.tapError(whole, (error) => Effect.sync(() => tried.failed(own, error)))
          })
        // Who asks for everything is never mistaken.
        return Effect.catchIf(attempt(true), isMistaken, () => Effect.catchIf(attempt(false), isMistaken, Effect.die))
      })
  }
}
