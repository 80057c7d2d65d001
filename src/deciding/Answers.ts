/**
 * What the executions of commands with an id (`MessageBus.execute(…, …, { id })`) came to, so that a repetition is answered with that.
 *
 * By itself the bus keeps answers in the log, on every store: an event in the stream `$command-<command>/<id>`, written by the very
 * commit. The log forgets nothing, so an id is good for ever, and answers stay as long as events do; those to requests of a cluster stand in
 * `$request-<command>/<request>`, and go with `Retention` after a while. With {@link layerSql} they are rows, and are deleted after a while.
 *
 * @since 0.2.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import type { Fragment } from "effect/sql/Statement"
import { isSqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { lasting } from "../internal/lasting.ts"
import { parseJson, writeJson } from "../internal/exactJson.ts"
import { CurrentMetadata, recordedMetadata } from "../definitions/metadata.ts"
import { storedFault } from "../definitions/personal.ts"
import { answered } from "../sql/answering.ts"
import { describeOwn, isConflict, isOutage } from "../sql/errors.ts"
import { pruning } from "../sql/pruning.ts"
import { number } from "../sql/table.ts"
import {
  EventStore,
  EventStoreError,
  ExpectedVersion,
  InvalidAppendError,
  OptimisticLockError,
  StoreCorrupted,
  StoreFailure,
  StoreUnavailable,
  TransactionConflict
} from "../store/EventStore.ts"
import { openSide } from "../store/tables.ts"
import { type CommitError, type SqlTransactions, Transaction } from "./transaction.ts"

/**
 * What one execution came to.
 *
 * @category models
 * @since 0.2.0
 */
export interface Answer {
  /** The name of the command. */
  readonly command: string
  /** The id of the execution. */
  readonly id: string
  /** A digest of the payload: an id goes with one payload. */
  readonly payload: string
  /** Whether the handler succeeded, or failed with the command's own error. */
  readonly outcome: "success" | "failure"
  /** What it gave or failed with, as JSON. */
  readonly value: Schema.Json
}

/**
 * The service that keeps answers. Where it is provided, the bus that is built upon it uses it in place of the log.
 *
 * @category services
 * @since 0.2.0
 */
export class Answers extends Context.Service<
  Answers,
  {
    /** What an execution came to, with a position by which all that it wrote stands in the log; also what this unit of work has kept. */
    readonly find: (
      command: string,
      id: string
    ) => Effect.Effect<Option.Option<Answer & { readonly position: number }>, EventStoreError>
    /** Keeps an answer as part of the unit of work. An `OptimisticLockError` where there is one already. */
    readonly keep: (answer: Answer) => Effect.Effect<void, CommitError, Transaction>
  }
>()("eventfold/Answers") {}

/**
 * How the ids of requests begin that come through a cluster. None is sent again once it has been answered, so what they came to is in a category of
 * its own, which retention need not keep as long as that of the ids that callers give.
 */
export const requestIds = "$request:"

/** The stream of one execution: `/` ends the name of the command, wherever else it stands. */
export const answerStream = (command: string, id: string): string => {
  const name = command.replaceAll("%", "%25").replaceAll("/", "%2F")
  return id.startsWith(requestIds) ? `$request-${name}/${id.slice(requestIds.length)}` : `$command-${name}/${id}`
}

/** The type of the events that keep answers. */
export const answerType = "$CommandAnswered"

const Kept = Schema.Struct({
  command: Schema.String,
  id: Schema.String,
  payload: Schema.String,
  outcome: Schema.Literals(["success", "failure"]),
  value: Schema.Json
})
const decodeKept = Schema.decodeUnknownOption(Kept)

/** Answers in the log. */
export const inLog = (store: EventStore["Service"]): Answers["Service"] => ({
  find: (command, id) =>
    Effect.gen(function* () {
      const stream = answerStream(command, id)
      const transaction = yield* Effect.serviceOption(Transaction)
      const staged = Option.isSome(transaction) ? transaction.value.staged(stream)[0] : undefined
      const stored = staged === undefined ? yield* Stream.runHead(store.read(stream, { limit: 1 })) : Option.none()
      const payload = staged?.event.payload ?? Option.getOrUndefined(stored)?.payload
      if (payload === undefined) return Option.none()
      const answer = decodeKept(payload)
      const position = Option.isSome(stored) ? stored.value.position : 0
      if (Option.isSome(answer)) return Option.some({ ...answer.value, position })
      const detail = `position ${position}, stream ${JSON.stringify(stream)}, holds no answer`
      return yield* new EventStoreError({ reason: new StoreCorrupted({ operation: "find an answer", detail }) })
    }),
  keep: (answer) =>
    Effect.gen(function* () {
      const transaction = yield* Transaction
      const metadata = recordedMetadata(yield* CurrentMetadata, "answer")
      const event = { type: answerType, payload: { ...answer }, metadata }
      yield* transaction.stage(answerStream(answer.command, answer.id), [{ _tag: "Record", event }], ExpectedVersion.NoStream)
    })
})

const failAs = (operation: string) =>
  Effect.mapError((cause: unknown) => {
    const Reason = isConflict(cause)
      ? TransactionConflict
      : isSqlError(cause) && isOutage(cause)
        ? StoreUnavailable
        : StoreFailure
    return new EventStoreError({ reason: new Reason({ operation, detail: describeOwn(cause), cause }) })
  })

const side = {
  name: "answer",
  columns: ["command", "id", "payload", "outcome", "value", "answered_at"],
  create: (sql: SqlClient.SqlClient, table: Fragment) => sql`create table if not exists ${table} (
    command text not null,
    id text not null,
    payload text not null,
    outcome text not null,
    value text not null,
    answered_at double precision not null,
    primary key (command, id)
  )`,
  index: { name: "answered_at", on: "answered_at" }
}

/**
 * {@link layerSql} with options.
 *
 * **Gotchas**: each call is another Layer, and is built for itself. Keep the result in a constant where it is provided more than once.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerSqlWith = (options: {
  /**
   * Letters, digits and `_`, with the schema before a `.` if need be; on PostgreSQL in lower case. Default: `answer` in the schema of the
   * store, behind its prefix.
   */
  readonly table?: string | undefined
  /** Whether to make the table when it is not there. Default: as the store does. */
  readonly migrate?: boolean | undefined
  /** How long an answer is kept at least, by the clocks of the processes. Default: 7 days. */
  readonly keep?: Duration.Input | undefined
}): Layer.Layer<Answers, EventStoreError, SqlClient.SqlClient | SqlTransactions | EventStore> =>
  Layer.effect(
    Answers,
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const store = yield* EventStore
      const keep = Duration.toMillis(lasting("Answers: keep", options.keep ?? "7 days"))
      const failing =
        (operation: string) =>
        <A, E, R>(effect: Effect.Effect<A, E, R>) =>
          failAs(operation)(answered(sql, effect))
      const name = yield* failing("open the answers")(openSide(options, side))

      const prune = yield* pruning(sql, {
        table: name,
        key: "command, id",
        since: "answered_at",
        keep,
        title: "the pruning of answers",
        failing: "eventfold: answers could not be pruned, and become more until they can"
      })

      return Answers.of({
        find: Effect.fnUntraced(function* (command, id) {
          yield* prune
          const ask = sql<{ readonly payload: string; readonly outcome: string; readonly value: string }>`
            select payload, outcome, value from ${name} where command = ${command} and id = ${id}`.pipe(failing("find an answer"))
          let [row] = yield* ask
          if (row === undefined) return Option.none()
          const position = yield* store.head
          // Now it is on the disk, or gone: a crash may have taken it back.
          if (store.late !== undefined) [row] = yield* ask
          if (row === undefined) return Option.none()
          const outcome = row.outcome === "success" ? "success" : "failure"
          const value = parseJson(row.value) as Schema.Json
          return Option.some({ command, id, payload: row.payload, outcome, value, position })
        }),
        keep: Effect.fnUntraced(function* ({ command, id, outcome, payload, value }) {
          const fault = storedFault(value)
          if (fault !== undefined) {
            const problem = `${fault.path} is personal data, which this table would keep in the clear: leave the answer to the log`
            return yield* new InvalidAppendError({ stream: answerStream(command, id), field: "answer", problem })
          }
          const now = yield* Clock.currentTimeMillis
          const kept = yield* sql`insert into ${name} (command, id, payload, outcome, value, answered_at)
            values (${command}, ${id}, ${payload}, ${outcome}, ${writeJson(value)}, ${number(sql, now)})
            on conflict (command, id) do nothing returning 1`.pipe(failing("keep an answer"))
          if (kept.length > 0) return
          return yield* new OptimisticLockError({
            stream: answerStream(command, id),
            expected: ExpectedVersion.NoStream,
            actual: 1
          })
        })
      })
    })
  )

/**
 * Answers in a table of the database of the `SqlClient`: PostgreSQL, PGlite or SQLite. The table is made when it is not there.
 *
 * A row is written in the transaction of the unit of work (`UnitOfWork.layerSql`), so it is there if and only if the events are. What
 * is older than `keep` is deleted in the background, at most once an hour; from then on an execution with that id is a new one.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Answers, Command, MessageBus, UnitOfWork } from "eventfold"
 * import { SqliteClient, SqliteEventStore } from "eventfold/sqlite"
 *
 * const Draw = Command.make("Draw", { success: Schema.Int })
 * let drawn = 0
 * const DrawLive = MessageBus.handle(Draw, () => Effect.sync(() => ++drawn))
 *
 * const draw = MessageBus.execute(Draw, undefined, { id: "request 1" })
 * const program = Effect.all([draw, draw])
 *
 * const Live = DrawLive.pipe(
 *   Layer.provideMerge(MessageBus.layer),
 *   Layer.provide(Answers.layerSqlWith({ keep: "1 day" })),
 *   Layer.provideMerge(UnitOfWork.layerSql),
 *   Layer.provideMerge(SqliteEventStore.layer),
 *   Layer.provideMerge(SqliteClient.layer({ filename: ":memory:" }))
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => [1, 1]
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layerSql: Layer.Layer<Answers, EventStoreError, SqlClient.SqlClient | SqlTransactions | EventStore> = layerSqlWith(
  {}
)
