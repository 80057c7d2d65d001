/**
 * How the folds of this library see a stream that is read page by page: by its pages, without the stream around them, which is more work than a page of
 * a few. It belongs to the stream that {@link streamOfPages} has made: of another one, also one made out of it, the arrays are taken as they come.
 */
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import { flatMapNow } from "./now.ts"

/** What gives a page after the other, and `undefined` behind the last one: that is {@link noMore}, for which nobody is asked. */
type Pull<A, E, R> = () => Effect.Effect<Arr.NonEmptyReadonlyArray<A> | undefined, E, R>

/** Begins to read. */
export type Paging<A, E, R = never> = Effect.Effect<Pull<A, E, R>, E, R>

export const noMore: Effect.Effect<undefined> = Effect.succeed(undefined)

const PagingId: unique symbol = Symbol("eventfold/Paging")

/** A stream of pages, each of which is asked for once the one before has been taken. */
export const streamOfPages = <A, E, R>(paging: Paging<A, E, R>): Stream.Stream<A, E, R> =>
  withPaging(
    Stream.fromPull(
      Effect.map(paging, (pull) =>
        Effect.flatMap(Effect.suspend(pull), (page) => (page === undefined ? Cause.done() : Effect.succeed(page)))
      )
    ),
    () => paging
  )

/** A stream with what says, when it is run, which pages it is made of, if it is made of any. */
export const withPaging = <A, E, R>(
  stream: Stream.Stream<A, E, R>,
  paging: () => Paging<A, E, R> | undefined
): Stream.Stream<A, E, R> => Object.assign(stream, { [PagingId]: paging })

/** The pages that a stream is made of, where a store has made it. */
export const pagingOf = <A, E, R>(stream: Stream.Stream<A, E, R>): Paging<A, E, R> | undefined =>
  // Only `withPaging` sets it.
  Predicate.hasProperty(stream, PagingId) ? (stream[PagingId] as () => Paging<A, E, R> | undefined)() : undefined

/** Takes all that a stream gives, page by page. */
export const forEachPage = <A, E, R, E2, R2>(
  stream: Stream.Stream<A, E, R>,
  take: (page: Arr.NonEmptyReadonlyArray<A>) => Effect.Effect<void, E2, R2>
): Effect.Effect<void, E | E2, R | R2> =>
  Effect.suspend((): Effect.Effect<void, E | E2, R | R2> => {
    const paging = pagingOf(stream)
    if (paging === undefined) return Stream.runForEachArray(stream, take)
    return Effect.flatMap(paging, (pull) => {
      const rest: Effect.Effect<void, E | E2, R | R2> = Effect.suspend(() =>
        flatMapNow(pull(), (page) => (page === undefined ? Effect.void : Effect.flatMap(take(page), () => rest)))
      )
      return rest
    })
  })
