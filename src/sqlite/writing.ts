/**
 * How the store writes: one batch a transaction, or one event a statement.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import { answerEach, makeGroupCommit, type Submitted, takeUpTo } from "../internal/groupCommit.ts"
import { inBackground, takeWriteLock } from "../sql/transaction.ts"
import {
  type AppendError,
  type AppendResult,
  EventStoreError,
  type ExpectedVersion,
  StoreUnavailable
} from "../store/EventStore.ts"
import {
  type Driver,
  type Located,
  makeBatch,
  type PreparedAppend,
  type PreparedCondition,
  type Write
} from "../store/kit/index.ts"
import { askedParam } from "./asking.ts"
import { type Database, failAs, rowsOn } from "./database.ts"
import { toEventStoreError } from "./errors.ts"
import { addLink } from "./maintaining.ts"
import type { MatchRow, Param, PlaceRow, Sql, StandingRow } from "./sql.ts"
import { plainNumbers } from "./tables.ts"

type Results = ReadonlyArray<AppendResult>
type Request = Submitted<PreparedAppend, Results, AppendError>
type Verdict = Exit.Exit<Results, AppendError>

/** What writing has to know beside the database: whether a hash chain is kept. */
interface Writing extends Database {
  readonly chained: boolean
}

/** Writes outside of transactions go by group commit; what is appended in a transaction of the client is part of that transaction. */
export const makeAppend = Effect.fnUntraced(function* (
  database: Writing
): Effect.fn.Return<Driver["append"], never, Scope.Scope> {
  const { client } = database
  // Other drivers may begin a transaction in a way of their own.
  const transactBatch = client.driver === "sqlite-node" ? transactAlone : transact

  const write = (batch: ReadonlyArray<Request>): Effect.Effect<void> => {
    const transaction = transactBatch(
      database,
      batch.map(({ request }) => request)
    )
    return Effect.matchCauseEffect(failAs("append", transaction), {
      onSuccess: (verdicts) => Effect.sync(() => answerEach(batch, verdicts)),
      onFailure: (cause) => {
        const [failure] = cause.reasons
        // What one append alone brings about must not fail its neighbours.
        if (batch.length > 1 && failure?._tag === "Fail" && failure.error.reason._tag === "StoreFailure") {
          return Effect.forEach(batch, (request) => write([request]), { discard: true })
        }
        return Effect.sync(() => batch.forEach(({ answer }) => answer(Exit.failCause(cause))))
      }
    })
  }

  const making = makeGroupCommit<PreparedAppend, Results, AppendError>({
    capacity: 8192,
    maxBatch: 512,
    take: takeUpTo(4 * 1024 * 1024),
    write,
    closed: () =>
      new EventStoreError({ reason: new StoreUnavailable({ operation: "append", detail: "the store has been closed" }) })
  })
  const writer = yield* inBackground(client)(making)

  return (prepared) =>
    Effect.withFiber((fiber) =>
      Context.getOrUndefined(fiber.context, client.transactionService) === undefined
        ? writer.submit(prepared)
        : Effect.andThen(
            takeWriteLock,
            Effect.flatMap(prepared, (append) => appendInTransaction(database, append))
          )
    )
})

/** In a savepoint of the caller's transaction. */
const appendInTransaction = (database: Writing, append: PreparedAppend): Effect.Effect<Results, AppendError> =>
  Effect.flatMap(
    Effect.mapError(transact(database, [append]), (error) => toEventStoreError("append", error, true)),
    onlyVerdict
  )

/** There is one verdict an append. */
const onlyVerdict = (verdicts: ReadonlyArray<Verdict>): Verdict => verdicts[0] as Verdict

/** Decides and writes, in one transaction, or in a savepoint of the one that the fiber is in. */
const transact = (
  { chained, client, signal, sql }: Writing,
  appends: ReadonlyArray<PreparedAppend>
): Effect.Effect<ReadonlyArray<Verdict>, SqlError> =>
  client
    .withTransaction(
      Effect.withFiber((fiber) => {
        const [connection] = Context.getUnsafe(fiber.context, client.transactionService)
        return Effect.flatMap(writeBatch(sql, chained, connection, appends), ({ head, verdicts }) =>
          Effect.as(client.afterCommit(Effect.sync(() => signal.notify(head))), verdicts)
        )
      })
    )
    .pipe(Effect.provideService(SqlClient.BeginTransaction, "BEGIN IMMEDIATE"), plainNumbers)

/**
 * {@link transact} for a transaction that nobody else has a part in: without what `withTransaction` keeps ready for them, an append
 * costs a quarter less. It is never interrupted.
 */
const transactAlone = (
  database: Writing,
  appends: ReadonlyArray<PreparedAppend>
): Effect.Effect<ReadonlyArray<Verdict>, SqlError> => {
  const [append] = appends
  const few = appends.length === 1 && append !== undefined && !database.chained ? fewEvents(append) : undefined
  return few === undefined ? transactBatchAlone(database, appends) : appendFew(database, appends, few)
}

/** An append of few new events is one statement. If a stream is not at the version expected, the whole way tells why. */
const appendFew = (
  database: Writing,
  appends: ReadonlyArray<PreparedAppend>,
  { count, params, parts }: FewEvents
): Effect.Effect<ReadonlyArray<Verdict>, SqlError> => {
  const { client, signal, sql } = database
  const inserted = Effect.scoped(
    Effect.flatMap(client.reserve, (connection) =>
      rowsOn<Pick<PlaceRow, "position" | "version">>(connection, sql.appendFew(count), params)
    )
  )
  return Effect.flatMap(plainNumbers(inserted), (places) => {
    if (places.length === 0) return transactBatchAlone(database, appends)
    signal.notify(places.reduce((head, { position }) => Math.max(head, position), 0))
    const inOrder = Array.from(places).sort((a, b) => a.position - b.position)
    return Effect.succeed([
      Exit.succeed(parts.map(({ last, stream }) => ({ stream, ...inOrder[last], deduplicated: false }) as AppendResult))
    ])
  })
}

const transactBatchAlone = (
  { chained, client, signal, sql }: Writing,
  appends: ReadonlyArray<PreparedAppend>
): Effect.Effect<ReadonlyArray<Verdict>, SqlError> =>
  Effect.scoped(
    Effect.flatMap(client.reserve, (connection) => {
      const control = (statement: string) => connection.execute(statement, [], undefined)
      return Effect.andThen(
        control("BEGIN IMMEDIATE"),
        Effect.flatMap(
          writeBatch(sql, chained, connection, appends),
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

/** One batch, under the write lock: what stands is looked up, each append is decided, what is accepted is inserted. */
const writeBatch = Effect.fnUntraced(function* (
  sql: Sql,
  chained: boolean,
  connection: Connection,
  appends: ReadonlyArray<PreparedAppend>
): Effect.fn.Return<{ readonly verdicts: ReadonlyArray<Verdict>; readonly head: number }, SqlError> {
  const { head, located, newest } = yield* lookUp(sql, connection, appends)
  const matches = yield* lookForMatches(sql, connection, appends)
  const batch = makeBatch({
    newest: (stream) => newest.get(stream) ?? { version: 0, position: 0 },
    locate: (id) => located.get(id),
    newestMatch: (filter) => matches.get(filter),
    head
  })
  const verdicts = appends.map(batch.decide)

  const { writes } = batch
  const tags: Array<readonly [string, number]> = []
  for (const write of writes) {
    for (const tag of write.event.tags) tags.push([tag, write.position])
    yield* connection.execute(sql.insertEvent, insertParams(write), undefined)
  }
  if (tags.length > 0) yield* connection.execute(sql.insertTags, [JSON.stringify(tags)], undefined)
  if (chained && writes.length > 0) yield* addLink(sql, connection, head, writes)
  return { verdicts, head: head + writes.length }
})

/** What stands in the store of the streams and the ids of a batch. */
const lookUp = Effect.fnUntraced(function* (sql: Sql, connection: Connection, appends: ReadonlyArray<PreparedAppend>) {
  const streams = new Set<string>()
  const ids = new Set<string>()
  for (const append of appends) {
    for (const { events, stream } of append.appends) {
      streams.add(stream)
      for (const { fresh, id } of events) if (!fresh) ids.add(id)
    }
    for (const { afterId } of append.unless) if (afterId !== undefined) ids.add(afterId)
  }
  const newest = new Map<string, PlaceRow>()
  const located = new Map<string, Located>()
  let head = 0
  const asked = [JSON.stringify(Array.from(streams)), JSON.stringify(Array.from(ids))]
  for (const { id, payload, position, stream, type, version } of yield* rowsOn<StandingRow>(connection, sql.standing, asked)) {
    if (stream === null) head = position
    else if (id === null || type === null || payload === null) newest.set(stream, { stream, version, position })
    else located.set(id, { stream, version, position, type, payload })
  }
  return { head, located, newest }
})

/** The newest event that stands against each condition of a batch, by its filter. */
const lookForMatches = Effect.fnUntraced(function* (sql: Sql, connection: Connection, appends: ReadonlyArray<PreparedAppend>) {
  const conditions = appends.flatMap(({ unless }) => unless)
  const matches = new Map<PreparedCondition["filter"], number>()
  if (conditions.length === 0) return matches
  const asked = conditions.flatMap(({ after, filter }) => sql.singly(filter).map((query) => ({ query, after, filter })))
  for (const { position, query } of yield* rowsOn<MatchRow>(connection, sql.newestMatches, [askedParam(asked)])) {
    const filter = asked[query]?.filter
    if (position !== null && filter !== undefined) matches.set(filter, Math.max(position, matches.get(filter) ?? 0))
  }
  return matches
})

/** The most events of one statement. */
const mostFew = 4

interface FewEvents {
  readonly count: number
  readonly params: ReadonlyArray<Param>
  /** Of each part: its stream, and which of all events is its last. */
  readonly parts: ReadonlyArray<{ readonly stream: string; readonly last: number }>
}

/** The parameters of `appendFew`, if an append is nothing but few new events without tags, in streams of which none comes twice. */
const fewEvents = ({ appends, count, unless }: PreparedAppend): FewEvents | undefined => {
  if (count === 0 || count > mostFew || unless.length > 0) return undefined
  const params: Array<Param> = []
  const parts: Array<FewEvents["parts"][number]> = []
  let nth = 0
  for (const { events, expected, stream } of appends) {
    if (events.length === 0 || parts.some((part) => part.stream === stream)) return undefined
    const [least, most] = rangeOf(expected)
    for (const [own, event] of events.entries()) {
      if (!event.fresh || event.tags.length > 0) return undefined
      const { id, metadata, payload, published, recordedAt, schemaVersion, type } = event
      params.push(nth++, own, stream, id, type, schemaVersion, published ? 1 : 0, payload, metadata, recordedAt, least, most)
    }
    parts.push({ stream, last: nth - 1 })
  }
  return { count, params, parts }
}

/** The least and the greatest version that meets what is expected. */
const rangeOf = (expected: ExpectedVersion): readonly [least: number, most: number] =>
  expected === "any"
    ? [0, Number.MAX_SAFE_INTEGER]
    : expected === "exists"
      ? [1, Number.MAX_SAFE_INTEGER]
      : expected === "no-stream"
        ? [0, 0]
        : [expected, expected]

const insertParams = ({ event, position, stream, version }: Write): ReadonlyArray<Param> => [
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
