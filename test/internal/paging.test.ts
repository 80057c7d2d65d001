import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Stream } from "effect"
import { EventStore } from "eventfold"
import { forEachPage, noMore, pagingOf, streamOfPages, withPaging } from "../../src/internal/paging.ts"

/** Pages of one number each, from 1 on; notes what was asked for. */
const numbers = (last: number) => {
  const asked: Array<number> = []
  const stream = streamOfPages<number, string, never>(
    Effect.sync(() => {
      let next = 0
      return () =>
        next === last
          ? noMore
          : Effect.sync((): readonly [number] => {
              asked.push(++next)
              return [next]
            })
    })
  )
  return { asked, stream }
}

const collect = <E>(stream: Stream.Stream<number, E>) => {
  const pages: Array<ReadonlyArray<number>> = []
  return Effect.as(
    forEachPage(stream, (page) => Effect.sync(() => void pages.push(page))),
    pages
  )
}

describe("the pages of a stream", () => {
  it.effect("are taken one after the other, each once the one before has been, and anew each time", () =>
    Effect.gen(function* () {
      const { asked, stream } = numbers(3)
      for (let nth = 0; nth < 2; nth++) {
        const seen: Array<number> = []
        yield* forEachPage(stream, ([page]) =>
          Effect.sync(() => {
            assert.deepEqual(asked, [...seen, page])
            seen.push(page)
          })
        )
        assert.deepEqual(seen, [1, 2, 3])
        assert.deepEqual(asked.splice(0), [1, 2, 3])
        assert.deepEqual(yield* Stream.runCollect(stream), [1, 2, 3])
        assert.deepEqual(asked.splice(0), [1, 2, 3])
      }
    })
  )

  it.effect("may be very many", () =>
    Effect.gen(function* () {
      assert.equal((yield* collect(numbers(100_000).stream)).length, 100_000)
    })
  )

  it.effect("end with the first that cannot be taken, and nothing more is asked for", () =>
    Effect.gen(function* () {
      const { asked, stream } = numbers(3)
      const exit = yield* Effect.exit(forEachPage(stream, ([page]) => (page === 2 ? Effect.fail("two") : Effect.void)))
      assert.deepEqual(exit, Exit.fail("two"))
      assert.deepEqual(asked, [1, 2])
    })
  )

  it.effect("are the arrays of a stream that somebody else has made, or made out of another", () =>
    Effect.gen(function* () {
      const others = Stream.fromArrays([1, 2], [3])
      assert.deepEqual(yield* collect(others), [[1, 2], [3]])
      const { stream } = numbers(3)
      const odd = Stream.filter(stream, (number) => number % 2 === 1)
      assert.equal(pagingOf(odd), undefined)
      assert.deepEqual(yield* collect(odd), [[1], [3]])
    })
  )

  it.effect("are known when it is run, where a stream says them later", () =>
    Effect.gen(function* () {
      let inner: Stream.Stream<number, string> = numbers(2).stream
      const outer = withPaging(
        Stream.suspend(() => inner),
        () => pagingOf(inner)
      )
      assert.deepEqual(yield* collect(outer), [[1], [2]])
      inner = Stream.fromArray([7, 8])
      assert.deepEqual(yield* collect(outer), [[7, 8]])
    })
  )

  it.effect("are what a store reads", () =>
    Effect.gen(function* () {
      const { read, readAll } = yield* EventStore.EventStore
      assert.ok(pagingOf(read("Account-1")))
      assert.ok(pagingOf(readAll()))
    }).pipe(Effect.provide(EventStore.layerMemory))
  )
})
