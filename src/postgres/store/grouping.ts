/**
 * Reads that are put together: what is asked for in one turn, and what is asked for while a statement is on its way, goes into the next one, as it
 * is with appends. Whoever is alone asks for himself, in his own fiber.
 *
 * Nobody waits for the slowness of others. A statement that has taken a while holds up nothing any more: what waits by then is sent beside it, over
 * whatever connections there are. A statement takes one after the other what it is asked for, so where one for several was slow, because little of it was in
 * the memory of the server, say, or has failed by one of them, the next reads have a statement each.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import { makeHalving } from "../../internal/halving.ts"
import type { EventStoreError } from "../../store/EventStore.ts"
import { closedStore } from "../../store/kit/index.ts"
import { isCancelled } from "../errors.ts"

/** What a statement for several requests has come to. */
export interface Together<Answer> {
  /** How many milliseconds the server took. */
  readonly millis: number
  /** Of each request, in their order: read out of the rows by whoever asked, so that what cannot be read of them is its own affair. */
  readonly answers: ReadonlyArray<() => Answer>
}

/** How many milliseconds others wait for a statement to end, before they are sent beside it. */
const patience = 25

/** From how many milliseconds on a statement for so many requests is slow. */
const slowFor = (requests: number): number => Math.max(20, requests / 2)

/** How many reads have a statement each after one that was slow or has failed, until it is tried again. */
const byThemselves = 128

/** How many of those who are alone go side by side before others wait to go together. */
const mostAlone = 2

/** The most requests of one statement. */
const mostRequests = 128

/** Whether the fault may be that of one of several. */
const isOfOne = (error: EventStoreError): boolean => error.reason._tag === "StoreFailure" || isCancelled(error)

/** Somebody who waits. */
interface Asker<Request, Answer> {
  readonly request: Request
  readonly answer: (exit: Exit.Exit<() => Answer, EventStoreError>) => void
  /** What is to be done when it waits no more. */
  leave: () => void
}

export const makeGrouped = Effect.fnUntraced(function* <Request, Answer>({
  operation,
  read,
  take = (waiting, most) => Math.min(waiting.length, most)
}: {
  readonly operation: string
  /** How many of the waiting requests, oldest first, go into one statement. Default: as many as there may be. */
  readonly take?: (waiting: ReadonlyArray<{ readonly request: Request }>, most: number) => number
  readonly read: (requests: ReadonlyArray<Request>) => Effect.Effect<Together<Answer>, EventStoreError>
}): Effect.fn.Return<(request: Request) => Effect.Effect<Answer, EventStoreError>, never, Scope.Scope> {
  type One = Asker<Request, Answer>
  // A statement for several belongs to many: it is a span in the trace of none.
  const run = Effect.runForkWith(Context.add(yield* Effect.context(), References.TracerEnabled, false))
  const fibers = new Set<Fiber.Fiber<unknown, unknown>>()
  let waiting: Array<One> = []
  /** How many statements on their way hold up others: of one alone, and for several. */
  const holding = { alone: 0, several: 0 }
  let [open, beginning] = [true, false]
  /** Who is read for comes back with more to do than who has appended. */
  const halving = makeHalving({ from: 32, each: 0.04 })
  /** For how many the last statement was. Behind one for several whoever comes next is hardly alone, and waits for one turn. */
  let last = 0
  /** How many are still to have a statement each. */
  let apart = 0

  const isFree = () => holding.several === 0 && holding.alone < mostAlone

  const hold = (by: keyof typeof holding): ((next?: () => void) => void) => {
    holding[by]++
    let held = true
    const release = (next: () => void = sendNext) => {
      if (!held) return
      held = false
      holding[by]--
      clearTimeout(timer)
      if (waiting.length > 0 && isFree()) next()
    }
    const timer = setTimeout(() => {
      release()
      while (waiting.length > 0) sendNext()
    }, patience)
    return release
  }

  /** What throws while it is put together fails whoever asks for it, and nothing else. */
  const ask = (requests: ReadonlyArray<Request>) => Effect.suspend(() => read(requests))

  const alone = (request: Request) => Effect.map(ask([request]), ({ answers: [answer] }) => answer as () => Answer)

  const fork = <A>(
    effect: Effect.Effect<A, EventStoreError>,
    onExit: (exit: Exit.Exit<A, EventStoreError>) => void
  ): Fiber.Fiber<A, EventStoreError> => {
    const fiber = run(effect)
    fibers.add(fiber)
    fiber.addObserver((exit) => {
      fibers.delete(fiber)
      onExit(open || Exit.isSuccess(exit) ? exit : Exit.fail(closedStore(operation)))
    })
    return fiber
  }

  const sendAlone = (asker: One): void => {
    const fiber = fork(alone(asker.request), asker.answer)
    asker.leave = () => fiber.interruptUnsafe()
  }

  const sendNext = (): void => {
    const callers = waiting.length + last
    const size = take(waiting, Math.min(mostRequests, halving.share(callers)))
    const batch = waiting.slice(0, size)
    waiting = waiting.slice(size)
    last = size
    const release = hold("several")
    const since = performance.now()
    const left = new Set(batch)
    const fiber = fork(ask(batch.map(({ request }) => request)), (exit) => {
      const failed = Exit.isFailure(exit) && size > 1 && Option.exists(Cause.findErrorOption(exit.cause), isOfOne)
      if (failed || (Exit.isSuccess(exit) && size > 1 && exit.value.millis > slowFor(size))) apart = byThemselves
      halving.took({ size, callers, millis: performance.now() - since })
      // What waits goes first: the server works while answers are given. Or it waits for those who are answered, and they go together.
      release(halving.isTogether(waiting.length + size) ? begin : sendNext)
      if (failed) {
        for (const asker of left) sendAlone(asker)
      } else {
        for (const [index, { answer }] of batch.entries()) {
          answer(Exit.map(exit, ({ answers }) => answers[index] as () => Answer))
        }
      }
    })
    for (const asker of batch) {
      asker.leave = () => {
        left.delete(asker)
        if (left.size === 0) fiber.interruptUnsafe()
      }
    }
  }

  /** In a turn: who else comes in this one goes along. */
  const begin = (): void => {
    if (beginning) return
    beginning = true
    run(
      Effect.andThen(
        Effect.yieldNow,
        Effect.sync(() => {
          beginning = false
          if (waiting.length > 0 && isFree()) sendNext()
        })
      )
    )
  }

  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      open = false
      for (const { answer } of waiting.splice(0)) answer(Exit.fail(closedStore(operation)))
      // Nobody waits for the end of what only reads.
      for (const fiber of fibers) fiber.interruptUnsafe()
    })
  )

  return (request) =>
    Effect.suspend(() => {
      if (!open) return Effect.fail(closedStore(operation))
      if (apart > 0) {
        apart--
        return alone(request)
      }
      if (last < 2 && waiting.length === 0 && isFree()) {
        const release = hold("alone")
        return Effect.onExitPrimitive(alone(request), () => {
          release()
          return undefined
        })
      }
      return Effect.callback<() => Answer, EventStoreError>((resume) => {
        const asker: One = {
          request,
          answer: resume,
          leave: () => {
            waiting = waiting.filter((other) => other !== asker)
          }
        }
        waiting.push(asker)
        if (isFree()) begin()
        return Effect.sync(() => asker.leave())
      })
    }).pipe(Effect.map((answer) => answer()))
})
