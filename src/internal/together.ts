import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"

/** What has been asked for. */
interface Asked<Request, Answer, E> {
  readonly request: Request
  readonly context: Context.Context<never>
  readonly answer: (exit: Exit.Exit<Answer, E>) => void
}

/**
 * Puts together what is asked for at about the same time: all that is asked for in one turn, and all that is asked for while the storage
 * is busy, goes into one call, with an answer for each. An answer comes of a call that has begun after it was asked for.
 *
 * There is no timer, and nothing runs while nobody asks, so it needs no scope. A call goes on as long as anybody waits for it. Where
 * what waits has to be bounded, or refused when a scope closes, it is `makeGroupCommit`.
 */
export const makeTogether = <Request, Answer, E>(options: {
  /** The most requests of one call. */
  readonly most: number
  /** Answers requests, in their order. Runs one at a time. */
  readonly call: (requests: ReadonlyArray<Request>) => Effect.Effect<ReadonlyArray<Exit.Exit<Answer, E>>>
}): ((request: Request) => Effect.Effect<Answer, E>) => {
  let waiting: Array<Asked<Request, Answer, E>> = []
  /** Who waits for the call that is under way. */
  let underWay: { readonly askers: Set<unknown>; readonly fiber: Fiber.Fiber<unknown> } | undefined

  const begin = (context: Context.Context<never>): void => {
    const askers = new Set<unknown>()
    let batch: ReadonlyArray<Asked<Request, Answer, E>> = []
    const call = Effect.suspend(() => {
      batch = waiting.slice(0, options.most)
      waiting = waiting.slice(options.most)
      for (const asked of batch) askers.add(asked)
      return batch.length === 0 ? Effect.succeed([]) : options.call(batch.map(({ request }) => request))
    })
    // It belongs to many: its statements are spans in the trace of none.
    const fiber = Effect.runForkWith(context)(Effect.andThen(Effect.yieldNow, Effect.withTracerEnabled(call, false)))
    underWay = { askers, fiber }
    fiber.addObserver((exit) => {
      underWay = undefined
      const [next] = waiting
      if (next !== undefined) begin(next.context)
      batch.forEach(({ answer }, index) =>
        answer(Exit.isSuccess(exit) ? (exit.value[index] as Exit.Exit<Answer, E>) : Exit.failCause(exit.cause))
      )
    })
  }

  return (request) =>
    Effect.contextWith((context: Context.Context<never>) =>
      Effect.callback<Answer, E>((resume) => {
        const asked: Asked<Request, Answer, E> = { request, context, answer: resume }
        waiting.push(asked)
        if (underWay === undefined) begin(context)
        return Effect.suspend(() => {
          const index = waiting.indexOf(asked)
          if (index !== -1) waiting.splice(index, 1)
          if (underWay === undefined || !underWay.askers.delete(asked) || underWay.askers.size > 0) return Effect.void
          return Fiber.interrupt(underWay.fiber)
        })
      })
    )
}
