/** What the rooms of one store share: how the database is asked, and what is known of its head. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { makeSignal, type Signal } from "../../internal/signal.ts"
import { type Answering, makeAnswering } from "../../sql/answering.ts"
import type { EventStoreError } from "../../store/EventStore.ts"
import { toEventStoreError } from "../errors.ts"
import type { Sql } from "../sql.ts"
import type { EventIndex } from "../sql/eventIndexes.ts"
import type { Tables } from "../sql/readAll.ts"
import type { Statement } from "../sql/statement.ts"
import { inBackground } from "../../sql/transaction.ts"
import { holding } from "../holding.ts"
import type { Hearing } from "../listening.ts"
import { type Flushing, makeFlushing } from "./flushing.ts"
import { makeUntilAnswered } from "./waiting.ts"

export interface Queries {
  readonly answering: Answering
  /** A statement that writes nothing. */
  readonly ask: <A>(
    operation: string,
    statement: Statement<A>,
    parameters?: ReadonlyArray<unknown>
  ) => Effect.Effect<A, EventStoreError>
}

const makeQueries = (sql: PgClient.PgClient, answering: Answering): Queries => ({
  answering,
  ask: (operation, { read, text }, parameters = []) =>
    Effect.map(
      Effect.mapError(answering.inTime(sql.unsafe(text, parameters).values), (error) =>
        toEventStoreError(operation, error, false)
      ),
      read
    )
})

/** How statements that read events are kept from plans that are out of date. */
interface Plans {
  /**
   * The statement to send for one that reads events. The plan of a prepared statement outlives the size of the table that it was made
   * for, and that of a few rows is a scan of all, so the statement is another one each time the log has grown eightfold.
   */
  readonly sized: <A>(statement: Statement<A>) => Statement<A>
  /** Whether anything has been read since it was last asked for. */
  readonly used: () => boolean
}

const makePlans = (signal: Signal, opened: number): Plans => {
  let reading = false
  return {
    sized: ({ read, text }) => {
      reading = true
      return { text: `${text} /* ${Math.floor(Math.log2(Math.max(opened, signal.position()) + 1) / 3)} */`, read }
    },
    used: () => {
      const used = reading
      reading = false
      return used
    }
  }
}

export interface Shared {
  readonly sql: PgClient.PgClient
  readonly statements: Sql
  readonly tables: Tables
  readonly queries: Queries
  readonly plans: Plans
  /** Has heard of what is on the disk alone. */
  readonly signal: Signal
  /** Present where units of work are flushed behind their commits. */
  readonly flushing: Flushing | undefined
  readonly untilAnswered: ReturnType<typeof makeUntilAnswered>
}

/** Whether a statement of this fiber is one of a transaction. */
export const isInTransaction = ({ sql }: Pick<Shared, "sql">, context: Context.Context<never>): boolean =>
  Context.getOrUndefined(context, sql.transactionService) !== undefined

/** The head as it stands, perhaps of the caller's transaction, which nobody shall be woken for before it has committed. */
export const readHead = (
  { queries, statements }: Pick<Shared, "queries" | "statements">,
  operation = "head"
): Effect.Effect<number, EventStoreError> => queries.ask(operation, statements.head)

export const makeShared = Effect.fnUntraced(function* (
  sql: PgClient.PgClient,
  statements: Sql,
  {
    hearing,
    indexes,
    shares,
    timeout
  }: {
    readonly hearing: Hearing
    readonly indexes: ReadonlySet<EventIndex>
    /** Gives whether units of work share flushes. */
    readonly shares: (queries: Queries) => Effect.Effect<boolean, EventStoreError>
    readonly timeout: Duration.Duration
  }
): Effect.fn.Return<Shared, EventStoreError, Scope.Scope> {
  const answering = makeAnswering(timeout)
  const queries = makeQueries(sql, answering)
  const head = yield* readHead({ queries, statements }, "open")
  const flushing = (yield* shares(queries))
    ? yield* inBackground(sql)(
        Effect.flatMap(holding(sql, hearing, statements.channel), (held) => makeFlushing(held, statements, answering))
      )
    : undefined
  const signal = makeSignal(flushing === undefined ? head : 0)
  return {
    sql,
    statements,
    tables: { ...statements.names, indexes },
    queries,
    signal,
    flushing,
    plans: makePlans(signal, head),
    untilAnswered: makeUntilAnswered()
  }
})
