import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"

/**
 * Group commit: what is submitted while the writer is busy goes into its next batch, with an answer for each request.
 *
 * There is no timer: a batch is whatever waits when the writer becomes free, so one caller alone never waits for others.
 */
export interface GroupCommit<Request, Answer, E> {
  /**
   * Hands a request to the writer and waits for its answer. While `capacity` requests are on their way, further callers wait
   * *before* `request` is evaluated, so what waits in memory is bounded.
   *
   * Interrupted before its batch has begun, a request is withdrawn. Afterwards it is written all the same, and the answer dropped.
   */
  readonly submit: <E2>(request: Effect.Effect<Request, E2>) => Effect.Effect<Answer, E | E2>
}

/** A request that waits for, or is in, a batch. */
export interface Submitted<Request, Answer, E> {
  readonly request: Request
  readonly answer: (exit: Exit.Exit<Answer, E>) => void
}

export const makeGroupCommit = Effect.fnUntraced(function* <Request, Answer, E>(options: {
  /** The most requests on their way at once. */
  readonly capacity: number
  /** How many of the waiting requests, oldest first, make the next batch: at least one. */
  readonly take: (waiting: ReadonlyArray<Submitted<Request, Answer, E>>) => number
  /** Writes a batch and answers each of its requests. Runs one at a time and is never interrupted. */
  readonly write: (batch: ReadonlyArray<Submitted<Request, Answer, E>>) => Effect.Effect<void>
  /** The answer to what still waits when the scope closes. */
  readonly closed: () => E
}): Effect.fn.Return<GroupCommit<Request, Answer, E>, never, Scope.Scope> {
  const places = Semaphore.makeUnsafe(options.capacity)
  let waiting: Array<Submitted<Request, Answer, E>> = []
  let wakeWriter: (() => void) | undefined
  let open = true

  const enqueue = (request: Request): Effect.Effect<Answer, E> =>
    Effect.callback((resume) => {
      if (!open) return resume(Effect.fail(options.closed()))
      const submitted: Submitted<Request, Answer, E> = { request, answer: resume }
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
      resume(Effect.void)
    }
  })

  const writeNext = Effect.suspend(() => {
    if (waiting.length === 0) return Effect.void // withdrawn meanwhile
    const size = options.take(waiting)
    const batch = waiting.slice(0, size)
    waiting = waiting.slice(size)
    return options.write(batch)
  })

  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      open = false
      for (const { answer } of waiting.splice(0)) answer(Exit.fail(options.closed()))
    })
  )
  // After a batch the callers go first, so that what they submit next is in the next batch.
  yield* awaitRequests.pipe(
    Effect.andThen(Effect.uninterruptible(writeNext)),
    Effect.andThen(Effect.yieldNow),
    Effect.forever({ disableYield: true }),
    Effect.forkScoped
  )

  return {
    submit: (request) => places.withPermit(Effect.flatMap(request, enqueue))
  }
})

/** A `take` for {@link makeGroupCommit}: so many requests and about so many bytes at most, but one at least. */
export const takeUpTo =
  (limits: { readonly requests: number; readonly bytes: number }) =>
  (waiting: ReadonlyArray<{ readonly request: { readonly bytes: number } }>): number => {
    let bytes = 0
    let size = 0
    for (const { request } of waiting) {
      bytes += request.bytes
      if (size > 0 && (size === limits.requests || bytes > limits.bytes)) break
      size++
    }
    return size
  }
