/** A store that tells of what is on the disk alone, whatever has been committed: see `flushing.ts`. */
import * as Effect from "effect/Effect"
import { lateFlushOf } from "../../sql/transaction.ts"
import type { AppendError, AppendResult, EventStoreError } from "../../store/EventStore.ts"
import type { Driver, MaintenanceDriver } from "../../store/kit/index.ts"
import { isInTransaction, type Shared } from "./shared.ts"

const highest = (items: ReadonlyArray<{ readonly position: number }>): number =>
  items.reduce((most, { position }) => Math.max(most, position), 0)

/** What an effect answers with, once what it tells of is on the disk. `newest` gives the position of the newest event that it tells of. */
type Told = <A, E>(asked: Effect.Effect<A, E>, newest: (answer: A) => number) => Effect.Effect<A, E | EventStoreError>

export const toldBy = ({ flushing }: Pick<Shared, "flushing">): Told => {
  if (flushing === undefined) return (asked) => asked
  const { begin, upTo } = flushing
  return (asked, newest) =>
    Effect.flatMap(begin, (flush) =>
      Effect.flatMap(asked, (answer) => (newest(answer) <= upTo() ? Effect.succeed(answer) : Effect.as(flush, answer)))
    )
}

const flushedMaintenance = (driver: MaintenanceDriver, told: Told): MaintenanceDriver => {
  const { linkBefore, links, newestTombstone } = driver
  return {
    ...driver,
    ...(newestTombstone === undefined ? {} : { newestTombstone: told(newestTombstone, (position) => position) }),
    ...(links === undefined ? {} : { links: (after, size) => told(links(after, size), highest) }),
    ...(linkBefore === undefined ? {} : { linkBefore: (upTo) => told(linkBefore(upTo), (link) => link?.position ?? 0) })
  }
}

/** Whether it tells of something that stands in the log. */
const isTelling = ({ _tag }: AppendError): boolean => _tag !== "EventStoreError" && _tag !== "InvalidAppendError"

/** The same store, which tells of what is on the disk alone. */
export const flushedDriver = (driver: Driver, { flushing, sql }: Pick<Shared, "flushing" | "sql">): Driver => {
  if (flushing === undefined) return driver
  const { begin, late, upTo } = flushing
  const told = toldBy({ flushing })
  const ofPage = ({ items }: { readonly items: ReadonlyArray<{ readonly position: number }> }) => highest(items)
  const { append, boundary, find, head, maintenance, pages } = driver
  const { few } = pages
  return {
    ...driver,
    late,
    head: told(head, (position) => position),
    ...(find === undefined ? {} : { find: (id) => told(find(id), (event) => event?.position ?? 0) }),
    ...(boundary === undefined ? {} : { boundary: (request) => told(boundary(request), ({ position }) => position) }),
    // Of the newest event it has no more than the version.
    version: undefined,
    pages: {
      ...pages,
      stream: (request) => told(pages.stream(request), ofPage),
      all: (request) => told(pages.all(request), ofPage),
      ...(few === undefined ? {} : { few: (request) => told(few(request), (page) => (page === undefined ? 0 : ofPage(page))) }),
      streams: (request) => told(pages.streams(request), highest)
    },
    ...(maintenance === undefined ? {} : { maintenance: flushedMaintenance(maintenance, told) }),
    append: (prepared) =>
      Effect.withFiber((fiber) => {
        // Whoever runs it flushes it, whatever comes of the append.
        if (lateFlushOf(sql, fiber) !== undefined) return append(prepared)
        const isPart = isInTransaction({ sql }, fiber.context)
        let count = 0
        const counted = Effect.map(prepared, (one) => {
          count = one.count
          return one
        })
        // What it writes in a transaction is flushed with that.
        const isFlushed = (results: ReadonlyArray<AppendResult>) =>
          isPart ? count > 0 && results.every(({ deduplicated }) => !deduplicated) : highest(results) <= upTo()
        return Effect.flatMap(begin, (flush) =>
          Effect.matchEffect(append(counted), {
            onFailure: (error) => (isTelling(error) ? Effect.andThen(flush, Effect.fail(error)) : Effect.fail(error)),
            onSuccess: (results) => (isFlushed(results) ? Effect.succeed(results) : Effect.as(flush, results))
          })
        )
      })
  }
}
