import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { EventStoreError, StoreUnavailable } from "../errors.ts"
import type { Maintenance } from "../maintenance.ts"
import type { EventStore } from "../service.ts"
import { followOf, subscribeBy } from "../follow.ts"
import { noMore, type Paging, pagingOf, streamOfPages, withPaging } from "../../internal/paging.ts"

/**
 * The failure of whatever is asked of a store whose Layer has closed.
 *
 * @category errors
 * @since 0.2.0
 */
export const closedStore = (operation: string): EventStoreError =>
  new EventStoreError({ reason: new StoreUnavailable({ operation, detail: "the store's Layer has been closed" }) })

/**
 * A store that ends with the scope. Whoever asks it later, or does so at that moment, gets a `StoreUnavailable`, whatever they ask: what
 * ends inside of the store is no interruption of its caller. Subscriptions that wait end so as well.
 *
 * **Gotchas**
 *
 * Make it last: then its end comes before that of connections and files.
 *
 * @category constructors
 * @since 0.2.0
 */
export const storeUntilClosed = Effect.fnUntraced(function* (
  store: EventStore["Service"]
): Effect.fn.Return<EventStore["Service"], never, Scope.Scope> {
  let isClosed = false
  const closing = Deferred.makeUnsafe<never, EventStoreError>()
  yield* Effect.addFinalizer(() => {
    isClosed = true
    return Deferred.fail(closing, closedStore("subscribe"))
  })
  const ended = (cause: Cause.Cause<unknown>) => isClosed && Cause.hasInterruptsOnly(cause)
  const asking = <A, E>(operation: string, ask: () => Effect.Effect<A, E>): Effect.Effect<A, E | EventStoreError> =>
    Effect.suspend(() =>
      isClosed
        ? Effect.fail(closedStore(operation))
        : Effect.catchCauseIf(ask(), ended, () => Effect.fail(closedStore(operation)))
    )
  const askingPages = <A, E>(operation: string, paging: Paging<A, E>): Paging<A, E | EventStoreError> =>
    Effect.map(
      asking(operation, () => paging),
      (pull) => () => {
        const page = pull()
        // Nothing is asked for behind the last page, so there is nothing to refuse.
        return page === noMore ? noMore : asking(operation, () => page)
      }
    )
  const reading = <A, E>(operation: string, read: () => Stream.Stream<A, E>): Stream.Stream<A, E | EventStoreError> => {
    const pages = (stream: Stream.Stream<A, E>) => {
      const paging = pagingOf(stream)
      return paging && askingPages(operation, paging)
    }
    const stream = Stream.suspend((): Stream.Stream<A, E | EventStoreError> => {
      if (isClosed) return Stream.fail(closedStore(operation))
      const own = read()
      const paging = pages(own)
      return paging === undefined
        ? Stream.catchCauseIf(own, ended, () => Stream.fail(closedStore(operation)))
        : streamOfPages(paging)
    })
    return withPaging(stream, () => (isClosed ? Effect.fail(closedStore(operation)) : pages(read())))
  }
  const following =
    <O, A>(follow: (options: O) => Stream.Stream<A, EventStoreError>) =>
    (options: O) =>
      reading("subscribe", () =>
        // Each pull by itself: nothing is read before it is wanted.
        Stream.transformPull(follow(options), (pull) => Effect.succeed(Effect.raceFirst(pull, Deferred.await(closing))))
      )
  const maintaining = ({
    batch,
    copyAll,
    linkBefore,
    links,
    newestTombstone,
    read,
    readAll,
    stored,
    tombstone
  }: Maintenance): Maintenance => ({
    batch,
    stored,
    read: (stream, options) => reading("read", () => read(stream, options)),
    readAll: (options) => reading("readAll", () => readAll(options)),
    tombstone: (events, why) => asking("tombstone", () => tombstone(events, why)),
    newestTombstone: asking("tombstone", () => newestTombstone),
    copyAll: (appends) => asking("append", () => copyAll(appends)),
    links: (after, size) => asking("links", () => links(after, size)),
    linkBefore: (upTo) => asking("links", () => linkBefore(upTo))
  })
  const follow = followOf(store)
  return {
    ...store,
    append: (stream, events, options) => asking("append", () => store.append(stream, events, options)),
    appendAll: (appends, options) => asking("append", () => store.appendAll(appends, options)),
    read: (stream, options) => reading("read", () => store.read(stream, options)),
    readAll: (options) => reading("readAll", () => store.readAll(options)),
    readPage: (options) => asking("readPage", () => store.readPage(options)),
    readBoundary: (queries, options) => asking("readBoundary", () => store.readBoundary(queries, options)),
    subscribe: follow === undefined ? following(store.subscribe) : subscribeBy({ ...follow, follow: following(follow.follow) }),
    version: (stream) => asking("version", () => store.version(stream)),
    exists: (stream) => asking("exists", () => store.exists(stream)),
    find: (id) => asking("find", () => store.find(id)),
    head: asking("head", () => store.head),
    streams: (options) => reading("streams", () => store.streams(options)),
    ...(store.maintenance === undefined ? {} : { maintenance: maintaining(store.maintenance) })
  }
})
