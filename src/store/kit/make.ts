import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { nameFault } from "../../definitions/names.ts"
import type { RecordedEvent } from "../../definitions/stored.ts"
import type { AppendError, DuplicateEventError, EventStoreError, InvalidAppendError } from "../errors.ts"
import { subscribeBy } from "../follow.ts"
import { type AppendResult, ExpectedVersion } from "../model.ts"
import { EventStore, type StoreTables } from "../service.ts"
import { makeMaintenance, type MaintenanceDriver } from "./maintaining.ts"
import type { EventPage } from "./pages.ts"
import { prepare, type PreparedAppend } from "./prepare.ts"
import { type PreparedReadBoundary, refuseName } from "./prepareRead.ts"
import {
  makeFollow,
  makeRead,
  makeReadAll,
  makeReadBoundary,
  makeReadPage,
  makeStreams,
  newestVersion,
  type Pages
} from "./reads.ts"

/**
 * What one store does in a way of its own; `EventStore.make` makes an `EventStore` of it. All that comes in has been checked.
 *
 * @category adapters
 * @since 0.2.0
 */
export interface Driver {
  /**
   * Writes one append, all or nothing, and succeeds when it is durable. The results are in the order of its parts.
   *
   * `prepared` checks the append and writes out its JSON. Run it once, and not under the write lock. A store that lets callers wait in a
   * queue runs it when their turn comes, so what waits takes no memory.
   */
  readonly append: (
    prepared: Effect.Effect<PreparedAppend, InvalidAppendError | DuplicateEventError>
  ) => Effect.Effect<ReadonlyArray<AppendResult>, AppendError>
  /** What all reads are made of. */
  readonly pages: Pages
  /**
   * What `readBoundary` begins with: all of its questions at once, and the position of the newest event, or `upTo` if that is less, which no
   * answer goes beyond. An answer is the first `size` events beyond `after`, or, where `newest` is set, the newest alone; `complete` says
   * that there are no more. One that is neither full nor complete is read on by `pages`, behind its last event: so a driver need not look
   * through all of the log in one request. Default: the position alone, and all answers by `pages`.
   */
  readonly boundary?:
    | ((
        request: PreparedReadBoundary
      ) => Effect.Effect<
        { readonly position: number; readonly answers: ReadonlyArray<EventPage & { readonly complete: boolean }> },
        EventStoreError
      >)
    | undefined
  /** The position of the newest event, 0 when the store is empty. */
  readonly head: Effect.Effect<number, EventStoreError>
  /** Waits until there is an event beyond `position`. Succeeds with the newest position known. */
  readonly awaitBeyond: (position: number) => Effect.Effect<number, EventStoreError>
  /** The newest position known, without asking the storage. Default: what subscriptions have met. */
  readonly heard?: (() => number) | undefined
  /**
   * The version of the newest event of a stream, 0 when it does not exist. `operation` is what the caller asked for (`version` or
   * `exists`), for errors. Default: the version of the newest event that `pages.stream` finds.
   */
  readonly version?: ((stream: string, operation: string) => Effect.Effect<number, EventStoreError>) | undefined
  /** The event with an id, if there is one. Default: the log is read from its beginning until it is found. */
  readonly find?: ((id: string) => Effect.Effect<RecordedEvent | undefined, EventStoreError>) | undefined
  /**
   * Goes around each read of a subscription. A store behind a network waits here until its storage answers again. Default: a
   * subscription fails as its reads do.
   */
  readonly untilAnswered?: (<A>(read: Effect.Effect<A, EventStoreError>) => Effect.Effect<A, EventStoreError>) | undefined
  /**
   * How many positions of the log a request of `pages.all` looks through at first; from then on as many as take some 50 milliseconds. Not for
   * filters that are one tag or none, for which a page is found without looking at others. Default: 10 000.
   */
  readonly window?: number | undefined
  /** See `EventStore.transactionService`. Default: the store lives in no SQL database. */
  readonly transactionService?: SqlClient.SqlClient["transactionService"] | undefined
  /** See `EventStore.late`. Default: a transaction is on the disk when it has been committed. */
  readonly late?: EventStore["Service"]["late"] | undefined
  /** See `EventStore.tables`. Default: what stands beside the events is where it would be without a store. */
  readonly tables?: StoreTables | undefined
  /** Present where positions ascend and have gaps. Default: they are dense. */
  readonly gaps?: true | undefined
  /** How events are removed, and the hash chain is read. Default: neither can be done, and `EventStore.maintenance` is absent. */
  readonly maintenance?: MaintenanceDriver | undefined
}

/**
 * Makes a store out of what is particular to it.
 *
 * **When to use**: to write a store of your own. `src/guides/adapters.md` tells how, and `eventfold/kit` has the parts.
 *
 * **Details**: what all stores have in common is written here once: input is checked before the driver sees it, `append` is an
 * `appendAll` of one part, and the reads are made out of pages.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = (driver: Driver): EventStore["Service"] => {
  const { append, gaps, head, late, maintenance, pages, tables, transactionService } = driver
  const find = driver.version ?? ((stream: string) => newestVersion(pages, stream))
  const read = makeRead(pages)
  const readAll = makeReadAll(driver)
  const findEvent =
    driver.find ??
    ((id: string) => Effect.map(Stream.runHead(Stream.filter(readAll(), (event) => event.id === id)), Option.getOrUndefined))
  const version = (operation: string, stream: string) =>
    Effect.suspend(() => refuseName(operation, stream) ?? find(stream, operation))
  return EventStore.of({
    append: (stream, events, options) =>
      Effect.map(append(prepare([{ stream, events, expected: options?.expected ?? ExpectedVersion.Any }])), onlyResult),
    appendAll: (appends, options) => append(prepare(appends, options?.unless)),
    read,
    readAll,
    readPage: makeReadPage(driver),
    readBoundary: makeReadBoundary(driver),
    subscribe: subscribeBy(makeFollow(driver)),
    version: (stream) => version("version", stream),
    // What cannot be an id is the id of nothing.
    find: (id) => (nameFault(id) === undefined ? Effect.map(findEvent(id), Option.fromUndefinedOr) : Effect.succeedNone),
    exists: (stream) => Effect.map(version("exists", stream), (version) => version > 0),
    head,
    streams: makeStreams(pages),
    ...(transactionService === undefined ? {} : { transactionService }),
    ...(late === undefined ? {} : { late }),
    ...(tables === undefined ? {} : { tables }),
    ...(gaps === undefined ? {} : { gaps }),
    ...(maintenance === undefined ? {} : { maintenance: makeMaintenance(append, { read, readAll }, maintenance) })
  })
}

/** There is one result a part. */
const onlyResult = (results: ReadonlyArray<AppendResult>): AppendResult => results[0] as AppendResult
