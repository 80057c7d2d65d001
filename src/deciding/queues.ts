/**
 * Units of work that command one stream of a store, in this process: they decide one after the other, each on what those before it are about
 * to write, and what they come to goes to the store together.
 *
 * A unit of work has its turn from when it loads the aggregate until it has decided. Then its append waits for the one that is on its way, with
 * all others that have been decided meanwhile, and the next unit of work has its turn. An append of several is all or nothing, so none
 * is ever written without what it was decided on. Where that is not written, nothing has been decided, whatever came of it: it is an
 * `OptimisticLockError`, as for every decision on stale state. Nobody is told of a decision before what it stands on is durable.
 *
 * What is not foreseen is read once all that the unit of work stands on is in the log: otherwise it would be spoilt by that. Who has lost by what it had read
 * before its turn, and is run again, has its turn first: whoever is beside it in this process cannot be first a second time.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { timesForgotten } from "../internal/forgetting.ts"
import { flatMapNow } from "../internal/now.ts"
import { untilWoken } from "../internal/waking.ts"
import { realSleep } from "../internal/realTime.ts"
import {
  type AppendError,
  type AppendResult,
  type EventStore,
  ExpectedVersion,
  OptimisticLockError,
  type StreamAppend
} from "../store/EventStore.ts"
import { isInTransaction } from "../store/inTransaction.ts"
import { makeSender, type Outcome, type Sender, settled } from "./outcomes.ts"
import type { Seen, Slot } from "./transaction.ts"

/** What a unit of work is about to write. */
interface Writing {
  readonly appends: ReadonlyArray<StreamAppend>
  /** The last event that is staged for a stream. */
  readonly lastOf: (stream: string) => object | undefined
  /** Whether it can be written with others: with no condition, nor ids that may stand in the store. */
  readonly shareable: boolean
  /** Writes it by itself. */
  readonly write: Effect.Effect<ReadonlyArray<AppendResult>, AppendError>
}

/** The place of one unit of work in the queue of the first stream that it commands. Of others it has none, so no two wait for each other. */
export interface Place {
  /** Waits for the turn of this unit of work, and gives what it begins with where that need not be read. */
  readonly enter: (store: EventStore["Service"], stream: string, aggregate: object) => Effect.Effect<Seen | undefined>
  /** Takes the turn at a stream before anything is read, and waits until what was decided there stands in the store. */
  readonly first: (stream: string) => Effect.Effect<void>
  /**
   * Is asked before something is read. Waits until what this unit of work is decided on stands in the store, or never will: where that writes to
   * the stream, if one is named.
   */
  readonly standing: (stream?: string) => Effect.Effect<void>
  /** The stream that its turn was for, if it may have read anything before: where it has lost, it would lose again. Where it had no turn, `undefined`. */
  readonly tooLate: () => { readonly stream: string | undefined } | undefined
  /** Says what an aggregate is at a version of the stream, once all that is staged there up to the event `last` is written. */
  readonly foresee: (stream: string, foreseen: Foreseen) => void
  /** Writes, and gives the turn to the next one. */
  readonly write: (writing: Writing) => Effect.Effect<ReadonlyArray<AppendResult>, AppendError>
  /** Gives the turn to the next one, where this unit of work has it. */
  readonly give: () => void
  /** Waits until what this unit of work was decided on stands in the store, and fails where it does not. */
  readonly based: Effect.Effect<void, OptimisticLockError>
}

interface Foreseen extends Pick<Seen, "version" | "since"> {
  readonly last: object | undefined
  readonly aggregate: object
  readonly state: unknown
}

const isLost = ({ exit }: Outcome): boolean => exit !== undefined && Exit.isFailure(exit)

/** The place of a unit of work, where there are queues. */
export const QueuePlace: Slot<Place | undefined> = { make: () => undefined }

interface Queue {
  readonly stream: string
  readonly sender: Sender
  /** Whose turn it is. */
  holder: Place | undefined
  readonly waiting: Array<{ readonly place: Place; readonly wake: () => void }>
  /** What was decided last, and when that was settled, if it was, in the count of what has happened here. */
  last: Outcome | undefined
  settledAt: number
  now: number
  /** Ends turns that last too long, as long as anybody waits for one. */
  watch: Fiber.Fiber<unknown> | undefined
}

/** Gives the turn to the next one that waits for it, if there is one. */
const pass = (queue: Queue): void => {
  const next = queue.waiting.shift()
  queue.holder = next?.place
  unwatch(queue)
  next?.wake()
}

/** Ends each turn that takes too long: whose it was goes on without, and the version that it expects decides. */
const watch = (queue: Queue, millis: number, context: Context.Context<never>): void => {
  const look = Effect.suspend(() => {
    const { holder } = queue
    return Effect.andThen(
      realSleep(millis),
      Effect.sync(() => {
        if (queue.holder === holder) pass(queue)
      })
    )
  })
  queue.watch ??= Effect.runForkWith(context)(Effect.withTracerEnabled(Effect.forever(look), false))
}

/** Nobody waits for a turn: none need be ended. */
const unwatch = (queue: Queue): void => {
  if (queue.waiting.length > 0) return
  queue.watch?.interruptUnsafe()
  queue.watch = undefined
}

/** The queues of the units of work of a store. A turn that others wait for is over after `millis`, or less than twice that. */
export const makeQueues = (store: EventStore["Service"], millis: number): (() => Place) => {
  const queues = new Map<string, Queue>()
  const forgetIdle = (queue: Queue): void => {
    if (queue.holder === undefined && !queue.sender.isSending()) queues.delete(queue.stream)
  }
  const queueOf = (stream: string): Queue => {
    const known = queues.get(stream)
    if (known !== undefined) return known
    const queue: Queue = {
      stream,
      sender: makeSender(store, stream, {
        onSettled: (outcome) => {
          queue.now++
          if (outcome === queue.last) queue.settledAt = queue.now
        },
        onIdle: () => forgetIdle(queue)
      }),
      holder: undefined,
      waiting: [],
      last: undefined,
      settledAt: 0,
      now: 0,
      watch: undefined
    }
    queues.set(stream, queue)
    return queue
  }
  return () => makePlace({ store, queueOf, forgetIdle, millis })
}

interface Queues {
  readonly store: EventStore["Service"]
  readonly queueOf: (stream: string) => Queue
  readonly forgetIdle: (queue: Queue) => void
  readonly millis: number
}

const makePlace = ({ forgetIdle, millis, queueOf, store }: Queues): Place => {
  let queue: Queue | undefined
  /** Where it has its turn, and has not begun with anything: what had happened there when it asked. */
  let early: number | undefined
  /** Whether it has read anything before it had its turn, or would have, had it not been given that first. */
  let late = false
  /** What it was decided on, before that stood in the store. */
  let base: Outcome | undefined
  let foreseen: Foreseen | undefined

  const turn = (queue: Queue, context: Context.Context<never>): Effect.Effect<void> => {
    if (queue.holder === undefined) {
      queue.holder = place
      return Effect.void
    }
    return untilWoken((wake) => {
      const entry = { place, wake }
      queue.waiting.push(entry)
      watch(queue, millis, context)
      return () => {
        const index = queue.waiting.indexOf(entry)
        if (index !== -1) queue.waiting.splice(index, 1)
        unwatch(queue)
      }
    })
  }

  /** What the one before has come to: known without reading where it is being written, or was written since this one asked for its turn. */
  const before = ({ last, settledAt }: Queue, entered: number, aggregate: object): Effect.Effect<Seen | undefined> => {
    if (last === undefined) return none
    const { exit, since, states, to } = last
    if (isLost(last) || (exit !== undefined && settledAt <= entered)) return none
    if (!states.has(aggregate) || since !== timesForgotten()) return Effect.as(settled(last), undefined)
    base = last
    return Effect.succeed({ version: to, since, states: new Map(states) })
  }

  const give = (): void => {
    if (queue === undefined || queue.holder !== place) return
    pass(queue)
    forgetIdle(queue)
  }

  /** Fails where what it was decided on is not written. */
  const based: Effect.Effect<void, OptimisticLockError> = Effect.suspend(() => {
    if (base === undefined) return Effect.void
    const on = base
    return Effect.flatMap(settled(on), () =>
      isLost(on) ? Effect.fail(new OptimisticLockError({ stream: on.stream, expected: on.to, actual: on.from })) : Effect.void
    )
  })

  /** What others may decide on before it is written: events of its own for the stream, behind those that it has seen. */
  const outcomeOf = (
    queue: Queue,
    { appends, lastOf, shareable }: Writing,
    context: Context.Context<never>
  ): Outcome | undefined => {
    if (queue.holder !== place || !shareable || (base !== undefined && isLost(base))) return undefined
    const { stream } = queue
    let from: number | undefined
    let to = 0
    for (const { events, expected, stream: other } of appends) {
      if (other !== stream) {
        if (typeof expected === "number" || expected === ExpectedVersion.Exists) return undefined
        continue
      }
      const version = expected === ExpectedVersion.NoStream ? 0 : expected
      if (typeof version !== "number" || (from !== undefined && version !== to)) return undefined
      from ??= version
      to = version + events.length
    }
    if (from === undefined || (base !== undefined && base.to !== from)) return undefined
    const isKnown = foreseen !== undefined && foreseen.version === to && foreseen.last === lastOf(stream)
    const states = new Map<object, unknown>(isKnown ? [[foreseen?.aggregate as object, foreseen?.state]] : [])
    return {
      stream,
      appends,
      from,
      to,
      since: foreseen?.since ?? 0,
      states,
      context,
      waiting: new Set<() => void>(),
      exit: undefined
    }
  }

  const place: Place = {
    enter: (own, stream, aggregate) =>
      Effect.withFiber((fiber) => {
        if (early !== undefined && queue !== undefined) {
          const [since, taken] = [early, queue]
          early = undefined
          if (taken.stream === stream) return own === store ? before(taken, since, aggregate) : none
          // It commands another one this time.
          give()
          queue = undefined
        }
        // A transaction that is open around it would be part of what others decide on.
        if (queue !== undefined || own !== store || isInTransaction(store, fiber.context)) return none
        const entered = (queue = queueOf(stream))
        const { now } = entered
        return flatMapNow(turn(entered, fiber.context as Context.Context<never>), () => before(entered, now, aggregate))
      }),
    first: (stream) =>
      Effect.withFiber((fiber) => {
        if (queue !== undefined || isInTransaction(store, fiber.context)) return Effect.void
        const entered = (queue = queueOf(stream))
        early = entered.now
        // What it reads from here on is behind all that was decided before.
        return flatMapNow(turn(entered, fiber.context as Context.Context<never>), () =>
          entered.last === undefined ? Effect.void : settled(entered.last)
        )
      }),
    standing: (stream) => {
      late ||= queue === undefined || early !== undefined
      return base === undefined || (stream !== undefined && base.appends.every((append) => append.stream !== stream))
        ? Effect.void
        : settled(base)
    },
    tooLate: () => (late || queue === undefined || early !== undefined ? { stream: queue?.stream } : undefined),
    foresee: (stream, what) => {
      if (queue?.stream === stream) foreseen = what
    },
    write: (writing) =>
      Effect.withFiber((fiber) => {
        if (queue === undefined) return writing.write
        const outcome = outcomeOf(queue, writing, fiber.context as Context.Context<never>)
        if (outcome === undefined) {
          if (queue.holder === place) queue.last = undefined
          return Effect.ensuring(Effect.andThen(based, writing.write), Effect.sync(give))
        }
        queue.last = outcome
        const sent = queue.sender.send(outcome)
        give()
        return sent
      }),
    give,
    based
  }
  return place
}

const none: Effect.Effect<undefined> = Effect.succeed(undefined)
