/**
 * The event store on SQLite: one file, no server. Several processes may use the file at once.
 *
 * Positions and versions are decided under SQLite's write lock (`BEGIN IMMEDIATE`); appends that wait for it go into one
 * transaction, with an answer for each. An append within a transaction of the same `SqlClient` is part of that transaction: it
 * commits or rolls back with it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { MigrationError } from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import type { Metadata } from "../definitions/stored.ts"
import { makeGroupCommit, type Submitted, takeUpTo } from "../internal/groupCommit.ts"
import { realSleep } from "../internal/realTime.ts"
import { makeSignal } from "../internal/signal.ts"
import * as EventStore from "../store/EventStore.ts"
import * as Kit from "../store/kit/index.ts"
import { toEventStoreError } from "./errors.ts"
import type { EventRow, Sql, StandingRow } from "./sql.ts"
import * as SqliteClient from "./SqliteClient.ts"
import { openTables, plainNumbers } from "./tables.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** What the names of all tables begin with: letters, digits and `_`. Default: `"eventfold_"`. */
  readonly tablePrefix?: string | undefined
  /** How often a subscription that has seen everything looks for commits of other processes. Default: 50 milliseconds. */
  readonly pollInterval?: Duration.Input | undefined
}

/**
 * The store over any SQLite `SqlClient`, whose tables are made or migrated first.
 *
 * How durable it is, and how long it waits for other processes, is up to the client; {@link layerFile} comes with one.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<EventStore.EventStore, EventStore.EventStoreError, SqlClient.SqlClient> =>
  Layer.effect(EventStore.EventStore, make(options))

/**
 * The store on a file, which is made when it does not exist, together with its client: tables of your own may stand in the same
 * file and change in the same transactions.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore } from "eventfold"
 * import { SqliteEventStore } from "eventfold/sqlite"
 *
 * const program = EventStore.append("Account-1", [{ type: "AccountOpened", payload: { owner: "Ada" } }])
 *
 * const result = await Effect.runPromise(Effect.provide(program, SqliteEventStore.layerFile({ filename: ":memory:" })))
 * result.version // => 1
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFile = (
  options: Options & SqliteClient.Options
): Layer.Layer<EventStore.EventStore | SqlClient.SqlClient, EventStore.EventStoreError> =>
  Layer.provideMerge(
    layer(options),
    Layer.effect(SqlClient.SqlClient, failAs("open", SqliteClient.make(options))).pipe(Layer.provide(Reactivity.layer))
  )

type Request = Submitted<Kit.PreparedAppend, ReadonlyArray<EventStore.AppendResult>, EventStore.AppendError>
type Verdict = Exit.Exit<ReadonlyArray<EventStore.AppendResult>, EventStore.AppendError>

const failAs = <A, R>(
  operation: string,
  effect: Effect.Effect<A, SqlError | MigrationError, R>
): Effect.Effect<A, EventStore.EventStoreError, R> => Effect.mapError(effect, (error) => toEventStoreError(operation, error))

const make = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<EventStore.EventStore["Service"], EventStore.EventStoreError, SqlClient.SqlClient | Scope.Scope> {
  const client = yield* SqlClient.SqlClient
  const pollInterval = options.pollInterval ?? "50 millis"
  const sql = yield* openTables(options.tablePrefix)

  const signal = makeSignal()

  // ---------------------------------------------------------------------------
  // writing
  // ---------------------------------------------------------------------------

  /** Decides and writes, in one transaction, or in a savepoint of the one that the fiber is in. */
  const transact = (appends: ReadonlyArray<Kit.PreparedAppend>): Effect.Effect<ReadonlyArray<Verdict>, SqlError> =>
    client
      .withTransaction(
        Effect.withFiber((fiber) => {
          const [connection] = Context.getUnsafe(fiber.context, client.transactionService)
          return Effect.flatMap(writeBatch(sql, connection, appends), ({ head, verdicts }) =>
            Effect.as(client.afterCommit(Effect.sync(() => signal.notify(head))), verdicts)
          )
        })
      )
      .pipe(Effect.provideService(SqlClient.BeginTransaction, "BEGIN IMMEDIATE"), plainNumbers)

  /**
   * {@link transact} for a batch, in a transaction that nobody else has a part in: without what `withTransaction` keeps ready for
   * them, an append costs a quarter less. It is never interrupted.
   */
  const transactAlone = (appends: ReadonlyArray<Kit.PreparedAppend>): Effect.Effect<ReadonlyArray<Verdict>, SqlError> =>
    Effect.scoped(
      Effect.flatMap(client.reserve, (connection) => {
        const control = (statement: string) => connection.execute(statement, [], undefined)
        return Effect.andThen(
          control("BEGIN IMMEDIATE"),
          Effect.flatMap(
            writeBatch(sql, connection, appends),
            ({ head, verdicts }) =>
              Effect.map(control("COMMIT"), () => {
                signal.notify(head)
                return verdicts
              })
            // Fails only where SQLite has rolled back already.
          ).pipe(Effect.onError(() => Effect.ignore(control("ROLLBACK"))))
        )
      })
    ).pipe(plainNumbers)

  /** An append of one event alone is one statement. If the stream is not at the version expected, the whole way tells why. */
  const appendOne = (append: Kit.PreparedAppend): Effect.Effect<ReadonlyArray<Verdict>, SqlError> => {
    const params = oneEvent(append)
    if (params === undefined) return transactAlone([append])
    const inserted = Effect.scoped(
      Effect.flatMap(client.reserve, (connection) => connection.execute(sql.appendOne, params, undefined))
    ) as Effect.Effect<ReadonlyArray<Pick<Place, "position" | "version">>, SqlError>
    return Effect.flatMap(plainNumbers(inserted), ([place]) => {
      if (place === undefined) return transactAlone([append])
      signal.notify(place.position)
      return Effect.succeed([Exit.succeed([{ stream: params[0], ...place, deduplicated: false }])])
    })
  }

  /** Other drivers may begin a transaction in a way of their own. */
  const transactBatch =
    client.driver === "sqlite-node"
      ? (appends: ReadonlyArray<Kit.PreparedAppend>) =>
          appends.length === 1 ? appendOne(appends[0] as Kit.PreparedAppend) : transactAlone(appends)
      : transact

  const write = (batch: ReadonlyArray<Request>): Effect.Effect<void> =>
    Effect.matchCauseEffect(failAs("append", transactBatch(batch.map(({ request }) => request))), {
      onSuccess: (verdicts) => Effect.sync(() => batch.forEach(({ answer }, index) => answer(verdicts[index] as Verdict))),
      onFailure: (cause) => {
        const [failure] = cause.reasons
        // What one append alone brings about must not fail its neighbours.
        if (batch.length > 1 && failure?._tag === "Fail" && failure.error.reason._tag === "StoreFailure") {
          return Effect.forEach(batch, (request) => write([request]), { discard: true })
        }
        return Effect.sync(() => batch.forEach(({ answer }) => answer(Exit.failCause(cause))))
      }
    })

  const writer = yield* makeGroupCommit<Kit.PreparedAppend, ReadonlyArray<EventStore.AppendResult>, EventStore.AppendError>({
    capacity: 8192,
    maxBatch: 512,
    take: takeUpTo(4 * 1024 * 1024),
    overlaps: false,
    write,
    closed: () =>
      new EventStore.EventStoreError({
        reason: new EventStore.StoreUnavailable({ operation: "append", detail: "the store has been closed" })
      })
  })

  const appendAll: EventStore.EventStore["Service"]["appendAll"] = (appends, options) => {
    const prepared = Kit.prepare(appends, options?.unless)
    return Effect.withFiber((fiber) =>
      Context.getOrUndefined(fiber.context, client.transactionService) === undefined
        ? writer.submit(prepared)
        : Effect.flatMap(prepared, (append) =>
            transact([append]).pipe(
              Effect.mapError((error) => toEventStoreError("append", error, true)),
              Effect.flatMap(([verdict]) => verdict as Verdict)
            )
          )
    )
  }

  // ---------------------------------------------------------------------------
  // reading
  // ---------------------------------------------------------------------------

  const query = <Row extends object>(
    operation: string,
    text: string,
    params: ReadonlyArray<string | number> = []
  ): Effect.Effect<ReadonlyArray<Row>, EventStore.EventStoreError> =>
    failAs(operation, plainNumbers(client.unsafe<Row>(text, params).withoutTransform))

  const queryOne = <Row extends object>(operation: string, text: string, params?: ReadonlyArray<string | number>) =>
    Effect.map(query<Row>(operation, text, params), (rows): Partial<Row> => rows[0] ?? {})

  const head = Effect.map(queryOne<{ head: number }>("head", sql.head), ({ head = 0 }) => head)

  const version = (operation: string, stream: string) =>
    Effect.flatMap(Kit.prepareName(operation, stream), (stream) =>
      Effect.map(queryOne<{ version: number | null }>(operation, sql.version, [stream]), ({ version }) => version ?? 0)
    )

  let seenDataVersion: number | undefined

  /** Asks whether another connection has committed, until one has gone beyond `position`. */
  const pollBeyond = (position: number): Effect.Effect<number, EventStore.EventStoreError> =>
    Effect.gen(function* () {
      while (signal.position() <= position) {
        const { data_version } = yield* queryOne<{ data_version: number }>("subscribe", sql.dataVersion)
        if (data_version !== seenDataVersion) {
          signal.notify(yield* head)
          seenDataVersion = data_version
        } else {
          yield* realSleep(pollInterval)
        }
      }
      return signal.position()
    })

  const pages: Kit.Pages = {
    stream: ({ backward, from, size, stream, to }) =>
      Effect.map(query<EventRow>("read", sql.stream(backward), [stream, from, to, size]), eventPage),
    versionAt: (stream, until) =>
      Effect.map(queryOne<{ version: number }>("read", sql.versionAt, [stream, until]), ({ version = 0 }) => version),
    all: ({ after, backward, filter, size, upTo }) => {
      if (filter.length === 0) return Effect.succeed({ items: [], bytes: 0 })
      const { params, text } = sql.all(filter, after, upTo, backward, size)
      return Effect.map(query<EventRow>("readAll", text, params), eventPage)
    },
    streams: ({ after, category, size }) => {
      const { params, text } = sql.streams(category, after, size)
      return Effect.map(query<Omit<EventStore.StreamInfo, "category">>("streams", text, params), (rows) =>
        rows.map((row) => ({ ...row, category: EventStore.categoryOf(row.stream) }))
      )
    },
    head,
    awaitBeyond: (position) => Effect.raceFirst(signal.beyond(position), pollBeyond(position))
  }

  return EventStore.EventStore.of({
    ...Kit.readsFromPages(pages),
    appendAll,
    append: (stream, events, options) =>
      Effect.map(
        appendAll([{ stream, events, expected: options?.expected ?? EventStore.ExpectedVersion.Any }]),
        (results) => results[0] as EventStore.AppendResult
      ),
    version: (stream) => version("version", stream),
    exists: (stream) => Effect.map(version("exists", stream), (version) => version > 0),
    head,
    transactionService: client.transactionService
  })
})

interface Place {
  readonly stream: string
  readonly version: number
  readonly position: number
}

/** One batch, under the write lock: what stands is looked up, each append is decided, what is accepted is inserted. */
const writeBatch = Effect.fnUntraced(function* (
  sql: Sql,
  connection: Connection,
  appends: ReadonlyArray<Kit.PreparedAppend>
): Effect.fn.Return<{ readonly verdicts: ReadonlyArray<Verdict>; readonly head: number }, SqlError> {
  const streams = new Set<string>()
  const ids = new Set<string>()
  for (const append of appends) {
    for (const { events, stream } of append.appends) {
      streams.add(stream)
      for (const { fresh, id } of events) if (!fresh) ids.add(id)
    }
  }
  const query = <Row>(text: string, params: ReadonlyArray<string | number> = []) =>
    connection.execute(text, params, undefined) as Effect.Effect<ReadonlyArray<Row>, SqlError>
  const newest = new Map<string, Place>()
  const located = new Map<string, Place>()
  let head = 0
  const asked = [JSON.stringify(Array.from(streams)), JSON.stringify(Array.from(ids))]
  for (const { id, position, stream, version } of yield* query<StandingRow>(sql.standing, asked)) {
    if (stream === null) head = position
    else if (id === null) newest.set(stream, { stream, version, position })
    else located.set(id, { stream, version, position })
  }
  let match: number | undefined

  const batch = Kit.makeBatch({
    newest: (stream) => newest.get(stream) ?? { version: 0, position: 0 },
    locate: (id) => located.get(id),
    newestMatch: () => match,
    head
  })
  const verdicts: Array<Verdict> = []
  for (const append of appends) {
    match = undefined
    if (append.unless !== undefined && append.unless.filter.length > 0) {
      const { params, text } = sql.newestMatch(append.unless.filter, append.unless.after)
      match = (yield* query<{ position: number | null }>(text, params))[0]?.position ?? undefined
    }
    verdicts.push(batch.decide(append))
  }

  const { writes } = batch
  const tags: Array<readonly [string, number]> = []
  for (const write of writes) {
    for (const tag of write.event.tags) tags.push([tag, write.position])
    yield* connection.execute(sql.insertEvent, insertParams(write), undefined)
  }
  if (tags.length > 0) yield* query(sql.insertTags, [JSON.stringify(tags)])
  return { verdicts, head: head + writes.length }
})

/** The parameters of `appendOne`, if an append is nothing but one new event without tags. */
const oneEvent = ({ appends, count, unless }: Kit.PreparedAppend) => {
  const [append] = appends
  const event = append?.events[0]
  if (append === undefined || event === undefined || appends.length > 1 || count > 1) return undefined
  if (unless !== undefined || !event.fresh || event.tags.length > 0) return undefined
  const { expected, stream } = append
  const [least, most] =
    expected === "any"
      ? [0, Number.MAX_SAFE_INTEGER]
      : expected === "exists"
        ? [1, Number.MAX_SAFE_INTEGER]
        : expected === "no-stream"
          ? [0, 0]
          : [expected, expected]
  const { id, metadata, payload, published, recordedAt, schemaVersion, type } = event
  return [stream, id, type, schemaVersion, published ? 1 : 0, payload, metadata, recordedAt, least, most] as const
}

const insertParams = ({ event, position, stream, version }: Kit.Write): ReadonlyArray<string | number> => [
  position,
  stream,
  version,
  event.id,
  event.type,
  event.schemaVersion,
  event.published ? 1 : 0,
  event.tags.length === 0 ? "[]" : JSON.stringify(event.tags),
  event.payload,
  event.metadata,
  event.recordedAt
]

const eventPage = (rows: ReadonlyArray<EventRow>): Kit.EventPage => ({
  items: rows.map((row) => ({
    stream: row.stream,
    version: row.version,
    position: row.position,
    id: row.id,
    type: row.type,
    schemaVersion: row.schema_version,
    published: row.published === 1,
    tags: JSON.parse(row.tags) as ReadonlyArray<string>,
    payload: JSON.parse(row.payload) as Schema.Json,
    metadata: JSON.parse(row.metadata) as Metadata,
    recordedAt: DateTime.makeUnsafe(row.recorded_at)
  })),
  bytes: rows.reduce((sum, row) => sum + row.payload.length, 0)
})
