/**
 * The inbox: makes the effect of a message exactly once, where delivery is at least once.
 *
 * It remembers, for each consumer group, which messages have been handled: each by its source, its id, and its tenant where it has one. With {@link layerSql} the memory and what
 * the handler writes through the same `SqlClient` are one transaction: both are there or neither. Whatever a handler does beyond
 * that database may be done again.
 *
 * Ids are remembered for a while only (`keep`), which must be longer than it can take until a message comes for the last time.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import type { Fragment } from "effect/sql/Statement"
import { lasting } from "../internal/lasting.ts"
import { answered } from "../sql/answering.ts"
import { describe, describeOwn, isRefusal, isTimeLimit } from "../sql/errors.ts"
import { pruning } from "../sql/pruning.ts"
import { number, storable } from "../sql/table.ts"
import { flushWithCommit, inTransaction } from "../sql/transaction.ts"
import { openSide } from "../store/tables.ts"
import { keyOf } from "../transport/kit.ts"

/**
 * The storage of the inbox failed. Nothing was changed, unless the connection was lost on the way; doing the same again is safe
 * either way.
 *
 * @category errors
 * @since 0.1.0
 */
export class InboxError extends Schema.TaggedError<InboxError>("eventfold/Inbox/InboxError")("InboxError", {
  operation: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    // What is refused at the end may be what the effect has done.
    return `The inbox failed to ${this.operation}: ${this.operation === "commit" ? describe(this.cause) : describeOwn(this.cause)}`
  }

  /**
   * Whether doing the same again may succeed. It does not when the database refuses to commit what the effect has done: a
   * constraint that it checks at the end is violated, or a statement of the effect has failed, on PostgreSQL, and the effect went on.
   * Nor does it when the effect took longer than the database allows a transaction.
   */
  get isRetryable(): boolean {
    return !(this.operation === "commit" && (isRefusal(this.cause) || isTimeLimit(this.cause)))
  }
}

/**
 * What a message is known by: the source and the id of a CloudEvent, with its tenant where it has one, or any text.
 *
 * **Gotchas**
 *
 * A text counts for every source: what has been handled under a text alone (as release 0.1.0 did with ids) has been handled for the
 * messages with that id, whatever their source.
 *
 * @category models
 * @since 0.2.0
 */
export type Handled = string | { readonly source: string; readonly id: string; readonly tenant?: string }

/**
 * The inbox service.
 *
 * @category services
 * @since 0.1.0
 */
export class Inbox extends Context.Service<
  Inbox,
  {
    /**
     * Runs `effect` unless the group has handled this message; `None` says that it has. If the effect does not succeed, nothing is
     * remembered. Of several that come with one message at once, one runs and the others wait for it.
     */
    readonly once: <A, E, R>(
      group: string,
      message: Handled,
      effect: Effect.Effect<A, E, R>
    ) => Effect.Effect<Option.Option<A>, E | InboxError, R>
  }
>()("eventfold/Inbox") {}

/**
 * Runs `effect` unless the group has handled this message; `None` says that it has. In a pipe the effect comes first:
 * `pay.pipe(Inbox.once("payments", message))`.
 *
 * ```ts
 * import { Effect, Option } from "effect"
 * import { Inbox } from "eventfold"
 *
 * const pay = Inbox.once("payments", "message 1", Effect.succeed("paid"))
 *
 * await Effect.runPromise(Effect.provide(Effect.all([pay, pay]), Inbox.layerMemory)) // => [Option.some("paid"), Option.none()]
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const once: {
  (
    group: string,
    message: Handled
  ): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<Option.Option<A>, E | InboxError, R | Inbox>
  <A, E, R>(
    group: string,
    message: Handled,
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<Option.Option<A>, E | InboxError, R | Inbox>
} = <A, E, R>(group: string, message: Handled, effect?: Effect.Effect<A, E, R>): never => {
  const run = (effect: Effect.Effect<A, E, R>) => Inbox.use((inbox) => inbox.once(group, message, effect))
  // Either form, by what it was given.
  return (effect === undefined ? run : run(effect)) as never
}

/** What a message is known by; and what 0.1.0, which knew ids alone, has noted of it. */
const keysOf = (message: Handled): readonly [key: string, ofFirstRelease: string] =>
  typeof message === "string"
    ? [message, message]
    : // That release knew no tenants: what it has noted of an id is no tenant's.
      [keyOf(message), message.tenant === undefined ? message.id : keyOf(message)]

const week = Duration.days(7)

/**
 * An inbox in memory, for tests: gone with the Layer. It remembers for a week.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<Inbox> = Layer.sync(Inbox, () => {
  /** When each has been handled, oldest first. */
  const handled = new Map<string, number>()
  const running = new Map<string, Latch.Latch>()

  const once: Inbox["Service"]["once"] = <A, E, R>(group: string, message: Handled, effect: Effect.Effect<A, E, R>) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const [key, text] = keysOf(message).map((name) => JSON.stringify([group, name])) as [string, string]
        const now = yield* Clock.currentTimeMillis
        let other: Latch.Latch | undefined
        while ((other = running.get(key)) !== undefined) yield* restore(other.await)
        for (const [old, at] of handled) {
          if (at >= now - Duration.toMillis(week)) break
          handled.delete(old)
        }
        if (handled.has(key) || handled.has(text)) return Option.none<A>()
        const done = Latch.makeUnsafe(false)
        running.set(key, done)
        const exit = yield* Effect.exit(restore(effect))
        if (Exit.isSuccess(exit)) handled.set(key, now)
        running.delete(key)
        done.openUnsafe()
        return Option.some(yield* exit)
      })
    )
  return Inbox.of({ once })
})

/** Tells a failure of the effect from one of the transaction around it. */
class Own<E> {
  readonly _tag = "Own"
  readonly error: E
  constructor(error: E) {
    this.error = error
  }
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
   * Letters, digits and `_`, with the schema before a `.` if need be; on PostgreSQL in lower case. Default: `inbox` in the schema of
   * the store that is provided, behind its prefix; without a store `eventfold.inbox`, on SQLite `eventfold_inbox`.
   */
  readonly table?: string | undefined
  /** Whether to make the table when it is not there. Default: as the store that is provided does, or else `true`. */
  readonly migrate?: boolean | undefined
  /** How long a message is remembered, by the clocks of the processes. Default: 7 days. */
  readonly keep?: Duration.Input | undefined
}): Layer.Layer<Inbox, InboxError, SqlClient.SqlClient> =>
  Layer.effect(
    Inbox,
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const keep = Duration.toMillis(lasting("Inbox: keep", options.keep ?? week))
      const failAs = (operation: string) => Effect.mapError((cause: unknown) => new InboxError({ operation, cause }))
      const name = yield* failAs("open")(openSide(options, side))

      const prune = yield* pruning(sql, {
        table: name,
        key: "consumer_group, id",
        since: "handled_at",
        keep,
        title: "the pruning of the inbox",
        failing: "eventfold: the inbox could not be pruned, and grows until it can"
      })

      const once: Inbox["Service"]["once"] = <A, E, R>(group: string, message: Handled, effect: Effect.Effect<A, E, R>) =>
        Effect.suspend(() => {
          const [key, text] = keysOf(message)
          let operation = "handle a message once"
          const work = Effect.gen(function* () {
            const now = yield* Clock.currentTimeMillis
            yield* flushWithCommit(sql)
            const noted = yield* answered(
              sql,
              sql`insert into ${name} (consumer_group, id, handled_at)
                select cast(${group} as text), cast(${storable(key)} as text), ${number(sql, now)}
                where not exists (select 1 from ${name} where consumer_group = ${group} and id = ${storable(text)})
                on conflict (consumer_group, id) do nothing returning 1`
            )
            if (noted.length === 0) return Option.none<A>()
            const done = yield* Effect.mapError(effect, (error) => new Own(error))
            operation = "commit"
            return Option.some(done)
          })
          return Effect.mapError(Effect.andThen(prune, inTransaction(sql, work)), (error) =>
            error instanceof Own ? error.error : new InboxError({ operation, cause: error })
          )
        })
      return Inbox.of({ once })
    })
  )

const side = {
  name: "inbox",
  columns: ["consumer_group", "id", "handled_at"],
  create: (sql: SqlClient.SqlClient, table: Fragment) => sql`create table if not exists ${table} (
    consumer_group text not null,
    id text not null,
    handled_at double precision not null,
    primary key (consumer_group, id)
  )`,
  index: { name: "handled_at", on: "handled_at" }
}

/**
 * An inbox in a table of the database of the `SqlClient`: PostgreSQL, PGlite or SQLite. The table is made when it is not there.
 *
 * The effect runs inside one transaction with the note that its message has been handled. On PostgreSQL, whoever comes second
 * with a message waits for the first one's transaction; on SQLite and PGlite all transactions take turns.
 *
 * What is older than `keep` is deleted in the background, at most once an hour: no message waits for it.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSql: Layer.Layer<Inbox, InboxError, SqlClient.SqlClient> = layerSqlWith({})
