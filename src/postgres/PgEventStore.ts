/**
 * The event store on PostgreSQL: the production store.
 *
 * Positions are dense and in commit order, because every append increments one counter row, under its lock. That lock would
 * cost throughput, and group commit pays it back: concurrent appends of one process are coalesced, while the writer is busy,
 * into one statement with a verdict for each. An append inside a transaction of the same `SqlClient` (`sql.withTransaction`,
 * `UnitOfWork.layerSql`) is part of that transaction instead.
 *
 * **Durability.** Appends are synchronous commits even where the server's default is `synchronous_commit = off`.
 *
 * **Wake-ups.** Subscribers are woken by commits of their own process, by `LISTEN`/`NOTIFY`, and by polling. The tables are the
 * truth and a wake-up is only a hint: a lost one costs one poll interval. A subscription outlives lost connections and restarts
 * of the server: it waits, for as long as it takes, and goes on where it was.
 *
 * @since 0.1.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Metadata, RecordedEvent } from "../definitions/stored.ts"
import { makeGroupCommit, type Submitted } from "../internal/groupCommit.ts"
import { realSleep } from "../internal/realTime.ts"
import { makeSignal } from "../internal/signal.ts"
import {
  AppendConditionError,
  type AppendError,
  type AppendResult,
  categoryOf,
  DuplicateEventError,
  EventStore,
  EventStoreError,
  type EventStoreErrorReason,
  type ExpectedVersion,
  make as makeStore,
  OptimisticLockError,
  OutcomeUnknown,
  type Query,
  StoreCorrupted,
  StoreFailure,
  StoreUnavailable
} from "../store/EventStore.ts"
import type { Driver, Pages, PreparedAppend } from "../store/kit/index.ts"
import { toEventStoreError } from "./errors.ts"
import { migrate } from "./migrations.ts"
import { checkNames } from "./names.ts"
import * as PgLite from "./PgLite.ts"
import { makeSql, type Sql, status } from "./sql.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The database schema (namespace) of the tables; made when absent. Default: `"eventfold"`. */
  readonly schema?: string | undefined
  /** What the names of the tables begin with. Default: nothing. */
  readonly tablePrefix?: string | undefined
  /** Whether to make or update the tables when the Layer is built. Default: `true`. */
  readonly migrate?: boolean | undefined
  /**
   * Whether to hold one connection for `LISTEN`. Default: `true`, unless the client has just one connection. Turn it off behind a
   * pooler that hands out transactions and not sessions.
   */
  readonly listen?: boolean | undefined
  /** How often the head is polled while somebody waits for events. Default: 1 second with `listen`, 100 milliseconds without. */
  readonly pollInterval?: Duration.Input | undefined
  /** The most appends on their way at once; further callers wait. Default: 4096. */
  readonly capacity?: number | undefined
  /** The most appends in one batch. Default: 512. */
  readonly maxBatch?: number | undefined
  /**
   * How long to wait for the answer to a statement, for example from a host that has vanished without a word. Then its connection is
   * given up: a read fails as `StoreUnavailable`, and an append is repeated by its ids. An append that is part of a transaction waits as
   * the other statements of that transaction do. Default: 30 seconds.
   */
  readonly timeout?: Duration.Input | undefined
}

/** A batch of more bytes than this is not made larger. */
const maxBatchBytes = 4 * 1024 * 1024

/** What is done before an append whose answer was lost is given up: repeat it by its ids, three times within about a second. */
const settleLost = { schedule: Schedule.exponential("50 millis", 3), times: 3 }

/** How long a subscription waits before it asks again a database that does not answer. */
const patience = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("1 second")])

/**
 * Makes the store over the `PgClient` of the environment. Makes and updates its tables first.
 *
 * **When to use**: for a program with several stores; {@link layer} provides one.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<EventStore["Service"], EventStoreError, PgClient.PgClient | Scope.Scope> {
  const sql = yield* PgClient.PgClient
  const names = yield* checkNames(options)
  const statements = makeSql(names)
  const single = (sql.config as PgClient.PgPoolConfig).maxConnections === 1
  const listen = options.listen ?? !single
  if (listen && single) {
    return yield* new EventStoreError({
      reason: new StoreFailure({
        operation: "open",
        detail: "listen needs a connection of its own: set maxConnections to 2 or more"
      })
    })
  }
  const pollInterval = Duration.fromInputUnsafe(options.pollInterval ?? (listen ? "1 second" : "100 millis"))

  const timeout = Duration.fromInputUnsafe(options.timeout ?? "30 seconds")

  /** Fails when the answer does not come in time, as the error of a lost connection does. */
  const inTime = <A>(
    Reason: typeof StoreUnavailable | typeof OutcomeUnknown,
    operation: string,
    answer: Effect.Effect<A, EventStoreError>
  ): Effect.Effect<A, EventStoreError> =>
    Effect.raceFirst(
      answer,
      Effect.flatMap(realSleep(timeout), () => {
        const detail = `PostgreSQL did not answer within ${Duration.format(timeout)}`
        return Effect.fail(new EventStoreError({ reason: new Reason({ operation, detail }) }))
      })
    )

  const query = (
    operation: string,
    text: string,
    parameters: ReadonlyArray<unknown> = []
  ): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, EventStoreError> =>
    inTime(
      StoreUnavailable,
      operation,
      Effect.mapError(sql.unsafe(text, parameters).values, (error) => toEventStoreError(operation, error, false))
    )

  /**
   * A statement that reads events. The plan of a prepared statement outlives the size of the table that it was made for, and
   * that of a few rows is a scan of all, so the statement is another one each time the log has grown eightfold.
   */
  const sized = (text: string): string => {
    reading = true
    return `${text} /* ${Math.floor(Math.log2(signal.position() + 1) / 3)} */`
  }
  let reading = false

  if (options.migrate !== false) yield* migrate(names).pipe(Effect.provideService(SqlClient.SqlClient, sql))

  /** The head, compared with the newest event. */
  const checkedHead = Effect.flatMap(query("open", statements.open), (rows) => {
    const [head, newest] = rows[0] as readonly [number | null, number]
    if (head !== null && newest <= head) return Effect.succeed(head)
    const [found, repair] =
      head === null ? ["is missing", `insert into TABLE (position) values`] : [`says ${head}`, `update TABLE set position =`]
    const detail = `the head counter ${found}, and the newest event has position ${newest}: ${repair.replace("TABLE", statements.names.head)} (${newest})`
    return Effect.fail(new EventStoreError({ reason: new StoreCorrupted({ operation: "open", detail }) }))
  })
  const readHead = Effect.flatMap(query("head", statements.head), (rows) =>
    rows[0] === undefined ? checkedHead : Effect.succeed(rows[0][0] as number)
  )
  const signal = makeSignal(yield* checkedHead)

  // ---------------------------------------------------------------------------
  // appending
  // ---------------------------------------------------------------------------

  type Request = Submitted<PreparedAppend, ReadonlyArray<AppendResult>, AppendError>

  // Where commits are not flushed by default, only `append` sees to it that they are.
  const durable = (yield* query("open", statements.durable))[0]?.[0] === true

  /** `again` says that these requests have been sent before: then every id may stand already. */
  const appendBatch = (requests: ReadonlyArray<PreparedAppend>, again: boolean): Effect.Effect<Verdicts, SqlError> => {
    const only = requests.length === 1 && durable ? encodeAppendOne(requests[0] as PreparedAppend) : undefined
    if (only === undefined) return appendAny(requests, again)
    return sql.unsafe(sized(statements.appendOne), only.parameters).values.pipe(
      // Without a head there is no row, and `append` says why.
      Effect.flatMap(([row]) =>
        row === undefined ? appendAny(requests, again) : Effect.succeed(only.decode(row as [number, number]))
      ),
      Effect.catchIf(isDoubt, () => appendAny(requests, true))
    )
  }

  const appendAny = (requests: ReadonlyArray<PreparedAppend>, again: boolean): Effect.Effect<Verdicts, SqlError> =>
    Effect.map(sql.unsafe(statements.append, encodeAppend(requests, again)).values, (rows) =>
      decodeVerdicts(requests, rows[0] as VerdictRow)
    )

  /**
   * `lost` says that a connection broke under an earlier try of the same requests: what went wrong since does not tell whether
   * that one had been carried out.
   */
  const writeBatch = (batch: ReadonlyArray<Request>, lost = false): Effect.Effect<() => void> => {
    const requests = batch.map(({ request }) => request)
    return Effect.suspend(() => appendBatch(requests, lost)).pipe(
      // Where the default of transactions is stricter than READ COMMITTED, whoever waited for the lock has to begin anew.
      Effect.retry({ while: ({ reason }) => reason._tag === "SerializationError", times: 100 }),
      Effect.mapError((error) => toEventStoreError("append", error, true)),
      (answer) => inTime(OutcomeUnknown, "append", answer),
      Effect.tapError(({ reason }) => Effect.sync(() => (lost ||= reason._tag === "OutcomeUnknown"))),
      Effect.retry({ ...settleLost, while: ({ reason }) => lost && isUnsettled(reason) }),
      Effect.matchCauseEffect({
        onSuccess: ({ head, verdicts }) => {
          signal.notify(head)
          return Effect.succeed(() => {
            for (let index = 0; index < batch.length; index++) {
              const verdict = verdicts[index] as Verdict
              ;(batch[index] as Request).answer(
                Result.isSuccess(verdict) ? Exit.succeed(verdict.success) : Exit.fail(verdict.failure)
              )
            }
          })
        },
        onFailure: (cause) => {
          const error = Cause.findErrorOption(cause)
          // Of what the database refuses in a batch only the culprit shall suffer, so each is tried alone.
          if (batch.length > 1 && Option.isSome(error) && error.value.reason._tag === "StoreFailure") {
            return Effect.map(
              Effect.forEach(batch, (one) => writeBatch([one], lost)),
              (all) => () => {
                for (const answer of all) answer()
              }
            )
          }
          const exit = Exit.failCause(lost ? Cause.map(cause, outcomeUnknown) : cause)
          return Effect.succeed(() => {
            for (const { answer } of batch) answer(exit)
          })
        }
      })
    )
  }

  const writer = yield* makeGroupCommit<PreparedAppend, ReadonlyArray<AppendResult>, AppendError>({
    capacity: options.capacity ?? 4096,
    maxBatch: options.maxBatch ?? 512,
    take: takeBatch,
    overlaps: true,
    write: (batch) => writeBatch(batch),
    closed: () =>
      new EventStoreError({ reason: new StoreUnavailable({ operation: "append", detail: "the store's Layer has been closed" }) })
  })

  /** Part of the caller's transaction: it commits, or not, with it. */
  const appendInTransaction = (append: PreparedAppend): Effect.Effect<ReadonlyArray<AppendResult>, AppendError> =>
    Effect.flatMap(
      Effect.mapError(appendAny([append], false), (error) => toEventStoreError("append", error, false)),
      ({ head, verdicts }) => {
        const verdict = verdicts[0] as Verdict
        return Result.isFailure(verdict)
          ? Effect.fail(verdict.failure)
          : Effect.as(sql.afterCommit(Effect.sync(() => signal.notify(head))), verdict.success)
      }
    )

  const append: Driver["append"] = (prepared) =>
    Effect.flatMap(Effect.serviceOption(sql.transactionService), (transaction) =>
      Option.isSome(transaction) ? Effect.flatMap(prepared, appendInTransaction) : writer.submit(prepared)
    )

  // ---------------------------------------------------------------------------
  // following
  // ---------------------------------------------------------------------------

  // Whatever happens to a hint, the poller finds what is new.
  yield* realSleep(pollInterval).pipe(
    Effect.andThen(
      Effect.suspend(() => {
        if (signal.waiting() === 0 && !reading) return Effect.void
        reading = false
        return Effect.matchEffect(readHead, {
          onSuccess: (head) => Effect.sync(() => signal.notify(head)),
          onFailure: (error) => Effect.logDebug("eventfold: polling the head failed", error)
        })
      })
    ),
    Effect.forever({ disableYield: true }),
    Effect.forkScoped
  )

  if (listen) {
    yield* Effect.gen(function* () {
      const notifications = yield* sql.listen(statements.channel)
      signal.notify(yield* readHead) // what was missed while nobody listened
      while (true) {
        const { payload } = yield* Queue.take(notifications)
        // Anybody may notify anything: the table says how far it is safe to read.
        if (Number(payload) > signal.position()) signal.notify(yield* readHead)
      }
    }).pipe(
      Effect.scoped,
      Effect.tapCause((cause) => Effect.logDebug("eventfold: listening was interrupted, polling goes on", cause)),
      Effect.retry(Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("5 seconds")])),
      Effect.forkScoped
    )
  }

  // ---------------------------------------------------------------------------
  // reading
  // ---------------------------------------------------------------------------

  const eventPage = (rows: ReadonlyArray<ReadonlyArray<unknown>>) => {
    let bytes = 0
    for (const row of rows) bytes += (row[8] as string).length
    return { items: rows.map(decodeEvent), bytes }
  }

  const pages: Pages = {
    stream: ({ backward, from, size, stream, to }) =>
      Effect.map(
        query("read", sized(backward ? statements.readBackward : statements.readForward), [
          stream,
          String(from),
          String(to),
          String(size)
        ]),
        eventPage
      ),
    versionAt: (stream, until) =>
      Effect.map(query("read", sized(statements.versionAt), [stream, PgTypes.float8(until)]), (rows) => rows[0]?.[0] as number),
    all: (request) => {
      const { parameters, text } = readAllStatement(statements, request)
      return Effect.map(query("readAll", sized(text), parameters), eventPage)
    },
    streams: ({ after, category, size }) =>
      Effect.map(
        category === undefined
          ? query("streams", sized(statements.streams), [after, String(size)])
          : query("streams", sized(statements.streamsOfCategory), [after, String(size), category]),
        (rows) =>
          rows.map((row) => ({
            stream: row[0] as string,
            category: categoryOf(row[0] as string),
            version: row[1] as number,
            position: row[2] as number
          }))
      )
  }

  return makeStore({
    append,
    pages,
    head: readHead, // perhaps of the caller's transaction, which nobody shall be woken for before it has committed
    version: (stream, operation) =>
      Effect.map(query(operation, sized(statements.version), [stream]), (rows) => (rows[0]?.[0] as number | undefined) ?? 0),
    awaitBeyond: signal.beyond,
    // A subscription outlives the connections it reads over: it goes on as soon as the database answers again.
    untilAnswered: (read) =>
      read.pipe(
        Effect.tapError((error) => Effect.logDebug("eventfold: a subscription waits for the database", error)),
        Effect.retry({ while: ({ reason }) => reason._tag === "StoreUnavailable", schedule: patience })
      ),
    transactionService: sql.transactionService
  })
})

const isUnsettled = ({ _tag }: EventStoreErrorReason): boolean => _tag === "OutcomeUnknown" || _tag === "StoreUnavailable"

const outcomeUnknown = (error: EventStoreError): EventStoreError => {
  const { detail, operation } = error.reason
  return new EventStoreError({ reason: new OutcomeUnknown({ operation, detail, cause: error }) })
}

/**
 * The store over the `PgClient` of the environment. Makes and updates its tables when it is built.
 *
 * ```ts no-run
 * import { PgClient } from "@effect/sql-pg"
 * import { Layer, Redacted } from "effect"
 * import { PgEventStore } from "eventfold/postgres"
 *
 * const Store = PgEventStore.layer().pipe(
 *   Layer.provideMerge(PgClient.layer({ url: Redacted.make("postgres://localhost/shop") }))
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<EventStore, EventStoreError, PgClient.PgClient> =>
  Layer.effect(EventStore, make(options))

/**
 * Makes the same store on PostgreSQL embedded in the process: in memory, or in the folder `dataDir`.
 *
 * **When to use**: for a program with several stores; {@link layerEmbedded} provides one, and its client.
 *
 * @category constructors
 * @since 0.2.0
 */
export const makeEmbedded = (
  options: Omit<Options, "listen"> & PgLite.Options = {}
): Effect.Effect<EventStore["Service"], EventStoreError, Scope.Scope> =>
  Effect.flatMap(PgLite.make(options), (client) => Effect.provideService(make(options), PgClient.PgClient, client))

/**
 * The same store on PostgreSQL embedded in the process: in memory, or in the folder `dataDir`. Provides the store and the client.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore } from "eventfold"
 * import { PgEventStore } from "eventfold/postgres"
 *
 * const program = EventStore.append("Account-1", [{ type: "AccountOpened", payload: { owner: "Ada" } }])
 *
 * const result = await Effect.runPromise(Effect.provide(program, PgEventStore.layerEmbedded()))
 * result.version // => 1
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerEmbedded = (
  options: Omit<Options, "listen"> & PgLite.Options = {}
): Layer.Layer<EventStore | PgClient.PgClient | SqlClient.SqlClient, EventStoreError> =>
  Layer.provideMerge(layer(options), PgLite.layer(options))

/**
 * How many of the waiting appends may go into one statement: the oldest, as long as no id comes twice, and no append condition
 * could match an event of the same batch (the database checks it against what stood before).
 */
const takeBatch = (waiting: ReadonlyArray<{ readonly request: PreparedAppend }>, most: number): number => {
  const ids = new Set<string>()
  const seen = { categories: new Set<string>(), types: new Set<string>(), tags: new Set<string>() }
  const conditional = waiting.some(({ request }) => request.unless !== undefined)
  let bytes = 0
  let size = 0
  for (const { request } of waiting) {
    if (size > 0) {
      if (size >= most || bytes + request.bytes > maxBatchBytes) break
      if (request.unless?.filter.some((query) => couldMatch(query, seen))) break
    }
    const before = ids.size
    let count = 0
    for (const { events, stream } of request.appends) {
      if (conditional && events.length > 0) seen.categories.add(categoryOf(stream))
      for (const event of events) {
        count++
        ids.add(event.id)
        if (conditional) {
          seen.types.add(event.type)
          for (const tag of event.tags) seen.tags.add(tag)
        }
      }
    }
    if (size > 0 && ids.size - before < count) break
    bytes += request.bytes
    size++
  }
  return size
}

const couldMatch = (
  query: Query,
  seen: { readonly categories: ReadonlySet<string>; readonly types: ReadonlySet<string>; readonly tags: ReadonlySet<string> }
): boolean =>
  (query.tags === undefined || query.tags.every((tag) => seen.tags.has(tag))) &&
  (query.types === undefined || query.types.some((type) => seen.types.has(type))) &&
  (query.categories === undefined || query.categories.some((category) => seen.categories.has(category)))

const array = (values: ReadonlyArray<unknown>, oid: number): PgTypes.Parameter => Result.getOrThrow(PgTypes.array(values, oid))
const textArray = (values: ReadonlyArray<string | null>) => array(values, PgTypes.OID.text)
const intArray = (values: ReadonlyArray<number>) => array(values, PgTypes.OID.int4)
const floatArray = (values: ReadonlyArray<number>) => array(values, PgTypes.OID.float8)
const boolArray = (values: ReadonlyArray<boolean>) => array(values, PgTypes.OID.bool)

const expectedNumber = (expected: ExpectedVersion): number =>
  expected === "any" ? -1 : expected === "exists" ? -2 : expected === "no-stream" ? 0 : expected

const arrayLiteral = (values: ReadonlyArray<string>): string =>
  values.length === 0 ? "{}" : `{${values.map((value) => `"${value.replace(/["\\]/g, "\\$&")}"`).join(",")}}`

/** The parameters of `append`, in the order of `appendParameters`. */
const encodeAppend = (requests: ReadonlyArray<PreparedAppend>, again: boolean): ReadonlyArray<unknown> => {
  const asked = { event: [] as Array<number>, id: [] as Array<string> }
  const streams = new Map<string, number>()
  const entry = { stream: [] as Array<number>, expected: [] as Array<number>, count: [] as Array<number> }
  const request = { entries: [] as Array<number>, after: [] as Array<number>, filter: [] as Array<string | null> }
  const event = {
    entry: [] as Array<number>,
    nth: [] as Array<number>,
    stream: [] as Array<string>,
    id: [] as Array<string>,
    type: [] as Array<string>,
    schemaVersion: [] as Array<number>,
    published: [] as Array<boolean>,
    tags: [] as Array<string>,
    payload: [] as Array<string>,
    metadata: [] as Array<string>,
    recordedAt: [] as Array<number>
  }
  for (const { appends, unless } of requests) {
    request.entries.push(appends.length)
    request.after.push(unless === undefined ? -1 : unless.after)
    request.filter.push(unless === undefined ? null : JSON.stringify(unless.filter))
    for (const { events, expected, stream } of appends) {
      let index = streams.get(stream)
      if (index === undefined) streams.set(stream, (index = streams.size + 1))
      entry.stream.push(index)
      entry.expected.push(expectedNumber(expected))
      entry.count.push(events.length)
      for (let nth = 0; nth < events.length; nth++) {
        const one = events[nth] as PreparedAppend["appends"][number]["events"][number]
        event.entry.push(entry.stream.length)
        event.nth.push(nth + 1)
        event.stream.push(stream)
        event.id.push(one.id)
        if (again || !one.fresh) {
          asked.event.push(event.id.length)
          asked.id.push(one.id)
        }
        event.type.push(one.type)
        event.schemaVersion.push(one.schemaVersion)
        event.published.push(one.published)
        event.tags.push(arrayLiteral(one.tags))
        event.payload.push(one.payload)
        event.metadata.push(one.metadata)
        event.recordedAt.push(one.recordedAt)
      }
    }
  }
  return [
    textArray(Array.from(streams.keys())),
    intArray(entry.stream),
    floatArray(entry.expected),
    intArray(entry.count),
    intArray(request.entries),
    floatArray(request.after),
    textArray(request.filter),
    intArray(event.entry),
    intArray(event.nth),
    textArray(event.stream),
    textArray(event.id),
    textArray(event.type),
    intArray(event.schemaVersion),
    boolArray(event.published),
    event.tags.some((tags) => tags !== "{}") ? textArray(event.tags) : null,
    textArray(event.payload),
    textArray(event.metadata),
    floatArray(event.recordedAt),
    ...(asked.id.length > 0 ? [intArray(asked.event), textArray(asked.id)] : [null, null])
  ]
}

/** Parameters for `appendOne` and the reading of its answer, if the append is of the kind that it is for. */
const encodeAppendOne = (request: PreparedAppend) => {
  const { appends, count, unless } = request
  if (count !== 1 || appends.length !== 1 || unless !== undefined) return undefined
  const { events, expected, stream } = appends[0] as PreparedAppend["appends"][number]
  const event = events[0] as PreparedAppend["appends"][number]["events"][number]
  const number = expectedNumber(expected)
  if (number < -1 || event.tags.length > 0) return undefined
  return {
    parameters: [
      stream,
      String(number),
      PgTypes.float8(event.recordedAt),
      event.schemaVersion,
      event.published,
      event.id,
      event.type,
      event.payload,
      event.metadata
    ],
    decode: ([position, version]: readonly [number, number]): Verdicts => ({
      verdicts: [Result.succeed([{ stream, version, position, deduplicated: false }])],
      head: position
    })
  }
}

const divisionByZero = "22012"

/** Whether `appendOne` had a doubt, and nothing was written. */
const isDoubt = ({ reason }: SqlError): boolean =>
  reason._tag === "UniqueViolation" || (Predicate.hasProperty(reason.cause, "code") && reason.cause.code === divisionByZero)

/** The row that `append` returns: status and detail per request, version and position per part, the head. */
type VerdictRow = readonly [
  statuses: ReadonlyArray<number>,
  details: ReadonlyArray<number>,
  versions: ReadonlyArray<number>,
  positions: ReadonlyArray<number>,
  head: number
]

type Verdict = Result.Result<ReadonlyArray<AppendResult>, OptimisticLockError | DuplicateEventError | AppendConditionError>

interface Verdicts {
  readonly verdicts: ReadonlyArray<Verdict>
  readonly head: number
}

const decodeVerdicts = (
  requests: ReadonlyArray<PreparedAppend>,
  [statuses, details, versions, positions, head]: VerdictRow
): Verdicts => {
  const verdicts: Array<Verdict> = []
  let firstEntry = 0
  let firstEvent = 0
  for (let index = 0; index < requests.length; index++) {
    const { appends, count } = requests[index] as PreparedAppend
    const detail = details[index] as number
    switch (statuses[index]) {
      case status.conflict: {
        const { expected, stream } = appends[detail - 1 - firstEntry] as PreparedAppend["appends"][number]
        verdicts.push(Result.fail(new OptimisticLockError({ stream, expected, actual: versions[detail - 1] as number })))
        break
      }
      case status.duplicate: {
        const ids = appends.flatMap(({ events, stream }) => events.map(({ id }) => ({ stream, id })))
        verdicts.push(Result.fail(new DuplicateEventError(ids[detail - 1 - firstEvent] as { stream: string; id: string })))
        break
      }
      case status.condition:
        verdicts.push(Result.fail(new AppendConditionError({ position: detail })))
        break
      default: {
        const deduplicated = statuses[index] === status.deduplicated
        verdicts.push(
          Result.succeed(
            appends.map(({ events, stream }, part) => ({
              stream,
              version: versions[firstEntry + part] as number,
              position: positions[firstEntry + part] as number,
              deduplicated: deduplicated && events.length > 0
            }))
          )
        )
      }
    }
    firstEntry += appends.length
    firstEvent += count
  }
  return { verdicts, head }
}

const decodeEvent = (row: ReadonlyArray<unknown>): RecordedEvent => ({
  stream: row[2] as string,
  version: row[0] as number,
  position: row[1] as number,
  id: row[3] as string,
  type: row[4] as string,
  schemaVersion: row[5] as number,
  published: row[6] as boolean,
  tags: row[7] as ReadonlyArray<string>,
  payload: JSON.parse(row[8] as string) as Schema.Json,
  metadata: JSON.parse(row[9] as string) as Metadata,
  recordedAt: DateTime.makeUnsafe(Math.round((row[10] as number) * 1000))
})

/** The statement of one page of `readAll`. Its text depends on which keys the queries have, so there are few different ones. */
const readAllStatement = (
  statements: Sql,
  { after, backward, filter, size, upTo }: Parameters<Pages["all"]>[0]
): { readonly text: string; readonly parameters: ReadonlyArray<unknown> } => {
  const { columns, names } = statements
  const parameters: Array<unknown> = [String(after), String(upTo), String(size)]
  const parameter = (value: unknown) => `$${parameters.push(value)}`
  const direction = backward ? "desc" : "asc"
  const range = (position: string) => `${position} > $1::bigint and ${position} <= $2::bigint`

  const conditions = (query: Query): string => {
    const all: Array<string> = []
    if (query.types !== undefined) all.push(`e.type = any (${parameter(textArray(query.types))})`)
    // Without the coalesce the planner takes any category for a very rare one, and scans all events for each page.
    if (query.categories !== undefined) {
      all.push(`coalesce(split_part(e.stream, '-', 1) = any (${parameter(textArray(query.categories))}), false)`)
    }
    if (query.published !== undefined) all.push(`e.published = ${parameter(PgTypes.bool(query.published))}`)
    if (query.tags !== undefined && query.tags.length > 1) all.push(`e.tags @> ${parameter(textArray(query.tags))}`)
    if (query.correlationId !== undefined) all.push(`e.metadata->>'correlationId' = ${parameter(query.correlationId)}`)
    return all.map((condition) => ` and ${condition}`).join("")
  }

  // Joined by a lateral subquery with a limit, an event is looked up by its position: no plan can scan them all instead.
  const having = (conditions: string): string =>
    conditions === ""
      ? ""
      : ` cross join lateral (select from ${names.event} e where e.position = t.position${conditions} limit 1) e`

  /** The positions that one query finds, at most a page of them. */
  const positions = (query: Query): string =>
    query.tags === undefined || query.tags.length === 0
      ? `select e.position from ${names.event} e where ${range("e.position")}${conditions(query)} order by e.position ${direction} limit $3::bigint`
      : `select t.position from ${names.tag} t${having(conditions(query))} where t.tag = ${parameter(query.tags[0])} and ${range("t.position")} order by t.position ${direction} limit $3::bigint`

  const only = filter.length === 1 ? (filter[0] as Query) : undefined
  if (only !== undefined && (only.tags === undefined || only.tags.length === 0)) {
    const text = `select ${columns} from ${names.event} e where ${range("e.position")}${conditions(only)} order by e.position ${direction} limit $3::bigint`
    return { text, parameters }
  }
  const found =
    filter.length === 0
      ? "select e.position from unnest('{}'::bigint[]) e(position)"
      : filter.map((query) => `(${positions(query)})`).join(" union ")
  const text = `select ${columns} from (${found}) f cross join lateral (select e.* from ${names.event} e where e.position = f.position limit 1) e where ${range("f.position")} order by f.position ${direction} limit $3::bigint`
  return { text, parameters }
}
