/**
 * A transport in tables of PostgreSQL: consumer groups in any number of processes and services that share a database, and no
 * broker beside it.
 *
 * **Delivery.** At least once. A message is in the hand of one member of a group until it is settled, or the member leaves, or its
 * lease runs out because its process has died. Deliveries are counted in the table, so the count survives crashes.
 *
 * **Order.** That of publishing, by commit. A message that is given back without a delay keeps its place: within a group that has
 * one member with a concurrency of 1, nothing overtakes another, but for what waits for its delay. Members side by side get the
 * messages in order and may end them in any. While an acknowledgement is on its way, a member that waits for messages claims the
 * next, which it hands out when that has succeeded; when a settlement fails or is interrupted, the subscription fails, so that
 * nothing overtakes what may come again.
 *
 * **Closing** ends within 10 seconds, whatever the database does: what is under way has 5 seconds to be answered.
 *
 * **De-duplication.** By source and id, for as long as the message is kept.
 *
 * @since 0.1.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import { wholeOrEndless } from "../internal/counting.ts"
import { passing, pausing } from "../internal/lasting.ts"
import type { EventStoreError } from "../store/EventStore.ts"
import { makeAnswering } from "../sql/answering.ts"
import { unavailable, untilClosed } from "../transport/kit.ts"
import { Transport, type TransportError } from "../transport/Transport.ts"
import { hearingOf, listening } from "./listening.ts"
import { migrateTransport } from "./migrations.ts"
import { checkNames } from "./names.ts"
import { tablesFor } from "../store/tables.ts"
import { makeSubscribe } from "./transport/member.ts"
import { pruning } from "./transport/pruning.ts"
import { makeForget, makeWaiting } from "./transport/forgetting.ts"
import { inBackground } from "../sql/transaction.ts"
import { makePublish } from "./transport/publishing.ts"
import { makeSettle } from "./transport/settling.ts"
import { makeShared } from "./transport/shared.ts"
import { makeTransportSql } from "./transportSql.ts"

/**
 * Where the tables are, how long messages are kept, and how members wait for them.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The database schema (namespace) of the tables; made when absent. Default: `"eventfold"`. */
  readonly schema?: string | undefined
  /** What the names of the tables begin with. Default: nothing. */
  readonly tablePrefix?: string | undefined
  /** Whether to make or update the tables when the Layer is built. Default: as the store that is provided does, or else `true`. */
  readonly migrate?: boolean | undefined
  /**
   * Whether to hear of what other processes write by `LISTEN`, over one connection of the pool that all share who share the client;
   * a client with `maxConnections: 1` is refused. Through a pooler that hands out transactions (PgBouncer in transaction mode) nobody can
   * listen: give the URL of a direct connection to the same database. Default: `true`, unless the client has just one connection or goes
   * through such a pooler.
   */
  readonly listen?: boolean | Redacted.Redacted | undefined
  /** How often a member that waits asks for messages. Default: 1 second with `listen`, 100 milliseconds without. */
  readonly pollInterval?: Duration.Input | undefined
  /**
   * How long to wait for the answer to a statement, for example from a host that has vanished without a word. Then its connection is
   * given up: whoever publishes or settles gets a `TransportError`, and a subscription fails. Default: 30 seconds.
   */
  readonly timeout?: Duration.Input | undefined
  /**
   * The largest document, in bytes of JSON; the same in all processes. A larger one is refused when it is published, and nothing of
   * its batch is. The client has to be able to read it: its `maxMessageSize`, 16 MiB by default, is what a row may have, and a limit
   * beyond that is refused when the transport is opened. What stands in the table and is larger (release 0.1.0 took it) is treated as
   * what is no CloudEvent. Default: 1 MiB less than the client's, so 15 MiB.
   */
  readonly maxMessageBytes?: number | undefined
  /** How long the messages in the hand of a process that died are left alone. Default: 30 seconds. */
  readonly lease?: Duration.Input | undefined
  /**
   * How long messages are kept at least. What is older is deleted, hourly, once every group has acknowledged those that its members
   * have asked for. A group that joins later begins at the oldest message there is. Default: 7 days.
   *
   * A group that nobody runs any more keeps all messages that it has not acknowledged, without bound, until it is forgotten:
   * `Transport.forget`.
   */
  readonly keep?: Duration.Input | undefined
  /** What is older is deleted even if groups still wait for it: messages are lost then. Default: never. */
  readonly discardAfter?: Duration.Input | undefined
}

/** What a row has beside its message, with room to spare. */
const rowBytes = 1024 * 1024

/**
 * Makes the transport over the `PgClient` of the environment, in the scope.
 *
 * **When to use**: for a program with several transports; {@link layer} provides one.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Transport["Service"], TransportError, PgClient.PgClient | Scope.Scope> {
  const sql = yield* PgClient.PgClient
  const opening = Effect.mapError((error: EventStoreError) => unavailable("open", error.reason.detail, error))
  const names = yield* opening(checkNames(options))
  const hearing = yield* hearingOf(sql, options)
  if (typeof hearing === "string") return yield* unavailable("open", hearing)
  if (options.migrate ?? (yield* tablesFor(sql)).migrate) {
    yield* opening(Effect.provideService(migrateTransport(names), SqlClient.SqlClient, sql))
  }
  const answering = makeAnswering(pausing("PgTransport: timeout", options.timeout ?? "30 seconds"))
  const shared = yield* makeShared(sql, makeTransportSql(names), answering)
  const { members, self, statements } = shared
  // What was published here has woken the members of this process already.
  const heard = (payload: string) => (payload === self ? Effect.void : members.wakeAll)
  yield* listening(sql, hearing, statements.channel, members.wakeAll, heard)
  const readable = (sql.config.maxMessageSize ?? PgProtocol.defaultMaxMessageSize) - rowBytes
  const { maxMessageBytes = readable } = options
  wholeOrEndless(1, "PgTransport: maxMessageBytes", maxMessageBytes)
  if (maxMessageBytes > readable) {
    return yield* unavailable("open", `maxMessageBytes is ${maxMessageBytes}, and the client reads no more than ${readable}`)
  }
  const publish = yield* inBackground(sql)(makePublish(shared, maxMessageBytes))
  const subscribe = makeSubscribe({
    ...shared,
    maxMessageBytes,
    settle: yield* inBackground(sql)(makeSettle(shared)),
    lease: passing("PgTransport: lease", options.lease ?? "30 seconds"),
    pollInterval: hearing.pollInterval
  })
  yield* pruning(shared, options)
  yield* answering.hearClosing
  return yield* untilClosed({ publish, subscribe, forget: makeForget(shared), waiting: makeWaiting(shared) })
})

/**
 * {@link layer} with options.
 *
 * **Gotchas**: each call is another Layer, and is built for itself. Keep the result in a constant where it is provided more than once.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerWith = (options: Options): Layer.Layer<Transport, TransportError, PgClient.PgClient> =>
  Layer.effect(Transport, make(options))

/**
 * The transport in the database of the `PgClient` of the environment: a server, or PGlite.
 *
 * **When to use**: where services share a database, and there is no broker.
 *
 * **Details**: its tables are made or updated first. Leases and delays run by the clock of the database.
 *
 * **Gotchas**: inside a transaction of the same client, publishing and acknowledging are part of that transaction; other publishers wait
 * for it.
 *
 * ```ts
 * import { DateTime, Effect, Layer, Stream } from "effect"
 * import { Transport } from "eventfold"
 * import { PgLite, PgTransport } from "eventfold/postgres"
 *
 * const message: Transport.Message = {
 *   specversion: "1.0",
 *   id: "1",
 *   source: "/shop",
 *   type: "OrderPlaced",
 *   subject: "Order-1",
 *   time: DateTime.makeUnsafe("2030-01-01T00:00:00Z"),
 *   datacontenttype: "application/json",
 *   data: { total: 5 },
 *   schemaversion: 1,
 *   position: 1
 * }
 *
 * const program = Effect.gen(function* () {
 *   yield* Transport.publish([message])
 *   const [delivery] = yield* Stream.runCollect(Stream.take(Transport.subscribe({ group: "mail" }), 1))
 *   return delivery?.message.data
 * })
 *
 * await Effect.runPromise(Effect.provide(program, PgTransport.layer.pipe(Layer.provide(PgLite.layer)))) // => { total: 5 }
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Transport, TransportError, PgClient.PgClient> = layerWith({})
