import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { makeHalving } from "./halving.ts"

/**
 * Group commit: what is submitted while the writer is busy goes into its next batch, with an answer for each request.
 *
 * There is no timer: a batch is whatever waits when the writer becomes free, so one caller alone never waits for others. Where several came
 * together before, the first that comes again waits for what else is asked for in the same turn.
 */
export interface GroupCommit<Request, Answer, E> {
  /**
   * Hands a request to the writer and waits for its answer. While `capacity` requests are on their way, further callers wait
   * *before* `request` is evaluated, so what waits in memory is bounded.
   *
   * Interrupted before its batch has begun, a request is withdrawn. Afterwards it is written all the same.
   */
  readonly submit: <E2>(request: Effect.Effect<Request, E2>) => Effect.Effect<Answer, E | E2>
}

/** A request that waits for, or is in, a batch. */
export interface Submitted<Request, Answer, E> {
  readonly request: Request
  /** When it was submitted, on the clock of `performance`. */
  readonly since: number
  readonly answer: (exit: Exit.Exit<Answer, E>) => void
}

export const makeGroupCommit = Effect.fnUntraced(function* <Request, Answer, E>(options: {
  /** The most requests on their way at once. */
  readonly capacity: number
  /** How many of the waiting requests, oldest first, make the next batch: at least one, and at most about `most`. */
  readonly take: (waiting: ReadonlyArray<Submitted<Request, Answer, E>>, most: number) => number
  /** The most requests in a batch. */
  readonly maxBatch: number
  /**
   * Writes a batch and answers each of its requests: before it ends, or in what it returns, which is run while the next batch is
   * on its way, so that neither the callers nor the storage wait for the other. Runs one at a time and is never interrupted.
   */
  readonly write: (batch: ReadonlyArray<Submitted<Request, Answer, E>>) => Effect.Effect<void | (() => void)>
  /**
   * From how many callers on they are split in halves that take turns, where that is worth it: one is answered while the other is written. Default: never.
   */
  readonly halvesFrom?: number
  /** The answer to what still waits when the scope closes. */
  readonly closed: () => E
  /**
   * What waits for its turn for longer than so many milliseconds is refused with what `refusal` gives, if it gives anything: each batch before it may have
   * waited as long as a batch can. Default: it waits on.
   */
  readonly overdue?: { readonly millis: number; readonly refusal: () => E | undefined }
}): Effect.fn.Return<GroupCommit<Request, Answer, E>, never, Scope.Scope> {
  const places = Semaphore.makeUnsafe(options.capacity)
  let waiting: Array<Submitted<Request, Answer, E>> = []
  let wakeWriter: (() => void) | undefined
  let open = true
  /** Whether the last batch was of several: then whoever comes when the writer is free is hardly alone, and waits for one turn. */
  let several = false

  // A batch belongs to many callers: its statements are spans in the trace of none.
  const context = Context.add(yield* Effect.context(), References.TracerEnabled, false)
  const run = Effect.runForkWith(context)
  let alone: Fiber.Fiber<unknown> | undefined

  /** Nobody is writing and nobody waits: the request is written at once, and the writer sleeps on. */
  const writeAlone = (submitted: Submitted<Request, Answer, E>, wake: () => void): void => {
    wakeWriter = undefined
    const writing = run(options.write([submitted]))
    alone = writing
    writing.addObserver((exit) => {
      alone = undefined
      if (waiting.length > 0 || !open) wake()
      else wakeWriter = wake
      if (Exit.isSuccess(exit)) exit.value?.()
      else submitted.answer(Exit.failCause(exit.cause))
    })
  }

  const enqueue = (request: Request): Effect.Effect<Answer, E> =>
    Effect.callback((resume) => {
      if (!open) return resume(Effect.fail(options.closed()))
      const submitted: Submitted<Request, Answer, E> = { request, since: performance.now(), answer: resume }
      if (wakeWriter !== undefined && waiting.length === 0 && !several) return writeAlone(submitted, wakeWriter)
      waiting.push(submitted)
      wakeWriter?.()
      return Effect.sync(() => {
        const index = waiting.indexOf(submitted)
        if (index !== -1) waiting.splice(index, 1)
      })
    })

  const awaitRequests: Effect.Effect<void> = Effect.callback((resume) => {
    if (waiting.length > 0) return resume(Effect.void)
    wakeWriter = () => {
      wakeWriter = undefined
      resume(several ? Effect.yieldNow : Effect.void)
    }
  })

  /** The answers to the batch before, still to be given, and how many they are. */
  let answers: (() => void) | void
  let answering = 0
  const halving = makeHalving({ from: options.halvesFrom ?? Number.POSITIVE_INFINITY, each: 0.015 })

  const giveAnswers = () => {
    const give = answers
    answers = undefined
    answering = 0
    give?.()
  }

  const refuseOverdue = () => {
    const [oldest] = waiting
    const before = performance.now() - (options.overdue?.millis ?? Infinity)
    const refusal = oldest === undefined || oldest.since >= before ? undefined : options.overdue?.refusal()
    if (refusal === undefined) return
    const late = waiting.filter(({ since }) => since < before)
    waiting = waiting.slice(late.length)
    for (const { answer } of late) answer(Exit.fail(refusal))
  }

  const nextBatch = (): ReadonlyArray<Submitted<Request, Answer, E>> => {
    const size = options.take(waiting, Math.min(halving.share(waiting.length + answering), options.maxBatch))
    const batch = waiting.slice(0, size)
    waiting = waiting.slice(size)
    return batch
  }

  const step = Effect.suspend(() => {
    refuseOverdue()
    if (waiting.length === 0 && answers === undefined) return awaitRequests
    if (answers !== undefined && (waiting.length === 0 || halving.isTogether(waiting.length + answering))) {
      giveAnswers()
      // The callers go first, so that what they submit next is in the next batch.
      return Effect.yieldNow
    }
    const batch = nextBatch()
    const [size, callers] = [batch.length, batch.length + waiting.length + answering]
    several = size > 1
    const since = performance.now()
    return Effect.uninterruptible(
      Effect.flatMap(Effect.forkChild(options.write(batch), { startImmediately: true }), (writing) => {
        giveAnswers()
        return Effect.map(Fiber.join(writing), (give) => {
          halving.took({ size, callers, millis: performance.now() - since })
          answers = give
          answering = size
        })
      })
    )
  })

  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      open = false
      giveAnswers()
      for (const { answer } of waiting.splice(0)) answer(Exit.fail(options.closed()))
      return alone === undefined ? Effect.void : Effect.asVoid(Fiber.await(alone))
    })
  )
  yield* Effect.forkScoped(Effect.provideContext(Effect.forever(step, { disableYield: true }), context))

  return {
    submit: (request) => places.withPermit(Effect.flatMap(request, enqueue))
  }
})

/** A `take` for {@link makeGroupCommit}: about so many bytes at most. */
export const takeUpTo =
  (maxBytes: number) =>
  (waiting: ReadonlyArray<{ readonly request: { readonly bytes: number } }>, most: number): number => {
    let bytes = 0
    let size = 0
    for (const { request } of waiting) {
      bytes += request.bytes
      if (size > 0 && (size >= most || bytes > maxBytes)) break
      size++
    }
    return size
  }

/** Answers each request of a batch with the exit at its place. */
export const answerEach = <Answer, E>(
  batch: ReadonlyArray<Submitted<unknown, Answer, E>>,
  exits: ReadonlyArray<Exit.Exit<Answer, E>>
): void => batch.forEach(({ answer }, index) => answer(exits[index] as Exit.Exit<Answer, E>))
