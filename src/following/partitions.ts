import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { defaultRestart } from "../internal/lifecycle.ts"
import { makeSignal } from "../internal/signal.ts"

/**
 * The partition of a stream: FNV-1a of 32 bits over the UTF-16 code units of its name, modulo the number of partitions. Checkpoints
 * depend on it, so it never changes.
 */
export const partitionOf = (stream: string, partitions: number): number => {
  let hash = 0x811c9dc5
  for (let index = 0; index < stream.length; index++) hash = Math.imul(hash ^ stream.charCodeAt(index), 0x01000193)
  return (hash >>> 0) % partitions
}

/** How many of `total` things one of the members may hold: all the same, the first ones one more if that does not come out even. */
export const quotaOf = (member: string, members: ReadonlySet<string>, total: number): number => {
  if (!members.has(member)) return 0
  const rank = Array.from(members).filter((other) => other < member).length
  return Math.floor(total / members.size) + (rank < total % members.size ? 1 : 0)
}

interface Positioned {
  readonly position: number
}

/** The pages of a log, read once for all readers that keep up. */
export interface Tail<A extends Positioned, E> {
  /**
   * What is in the page that is newest when there is anything beyond a position; at times nothing. `undefined` when what comes after
   * the position is in no page any more. When the log cannot be read, all who wait for it fail, and it is read again a while later.
   */
  readonly next: (after: number) => Effect.Effect<ReadonlyArray<A>, E> | undefined
  /** After which position the newest page begins. */
  readonly begin: () => number
}

/** Begins where the first reader does, and reads on only when a reader has come to the end of the newest page. */
export const makeTail = <A extends Positioned, E>(
  subscribe: (after: number) => Stream.Stream<A, E>
): Effect.Effect<Tail<A, E>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const started = Latch.makeUnsafe(false)
    const wanted = makeSignal()
    const arrived = makeSignal()
    let broken = Deferred.makeUnsafe<never, E>()
    let page: ReadonlyArray<A> = []
    let begin = 0
    let end = 0

    yield* started.await.pipe(
      Effect.andThen(
        Effect.suspend(() =>
          Stream.runForEachArray(subscribe(end), (events) => {
            page = events
            begin = end
            end = events.at(-1)?.position ?? end
            arrived.notify(end)
            return wanted.beyond(end - 1)
          })
        )
      ),
      Effect.sandbox,
      Effect.tapError((cause) => {
        const told = broken
        broken = Deferred.makeUnsafe()
        return Deferred.failCause(told, cause)
      }),
      Effect.retry(defaultRestart),
      Effect.forkScoped
    )

    return {
      begin: () => begin,
      next: (after) => {
        // Told to those who wait from now on, for what is woken here may fail at once; what has arrived before is theirs all the same.
        const failed = Effect.catchCause(Deferred.await(broken), (cause) =>
          arrived.position() > after ? Effect.void : Effect.failCause(cause)
        )
        if (!started.isOpen()) {
          begin = end = after
          started.openUnsafe()
        }
        if (after < begin) return undefined
        wanted.notify(after)
        return Effect.map(Effect.raceFirst(arrived.beyond(after), failed), () =>
          after < begin ? [] : page.filter(({ position }) => position > after)
        )
      }
    }
  })
