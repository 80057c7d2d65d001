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
 * **De-duplication.** By id, for as long as the message is kept.
 *
 * @since 0.1.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Arr from "effect/Array"
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { makeGroupCommit, takeUpTo } from "../internal/groupCommit.ts"
import { makeId } from "../internal/ids.ts"
import { textFault } from "../internal/json.ts"
import { realSleep } from "../internal/realTime.ts"
import { decodeText, encodeText, untilClosed } from "../transport/kit.ts"
import {
  type Delivery,
  type Message,
  MessageRefused,
  Transport,
  TransportError,
  TransportUnavailable
} from "../transport/Transport.ts"
import { toEventStoreError } from "./errors.ts"
import { migrateTransport } from "./migrations.ts"
import { checkNames } from "./names.ts"
import { makeTransportSql } from "./transportSql.ts"

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
  /** How often a member that waits asks for messages. Default: 1 second with `listen`, 100 milliseconds without. */
  readonly pollInterval?: Duration.Input | undefined
  /** How long the messages in the hand of a process that died are left alone. Default: 30 seconds. */
  readonly lease?: Duration.Input | undefined
  /**
   * How long messages are kept at least. What is older is deleted, hourly, once every group has acknowledged those that its members
   * have asked for. A group that joins later begins at the oldest message there is. Default: 7 days.
   *
   * A group that nobody runs any more keeps all messages that it has not acknowledged, without bound, until its rows are deleted:
   * first that of `consumer_group`, then those of `delivery`.
   */
  readonly keep?: Duration.Input | undefined
  /** What is older is deleted even if groups still wait for it: messages are lost then. Default: never. */
  readonly discardAfter?: Duration.Input | undefined
}

/** A message as it is written. */
interface Row {
  readonly id: string
  readonly type: string
  readonly body: string
}

/** What is said of a delivery: acknowledged (`delay` is `null`), or given back for so many seconds. */
interface Settled {
  readonly bytes: number
  readonly group: string
  readonly seq: number
  readonly attempts: number
  readonly member: string
  readonly delay: number | null
}

/** A delivery in the hand of a member. */
interface Claimed {
  readonly seq: number
  readonly attempts: number
  readonly message: Message
  /** Whether its consumer has said what becomes of it. */
  settled: boolean
}

/** A batch of more bytes than this is not made larger. */
const maxBatchBytes = 4 * 1024 * 1024

/** How long a publisher waits for the database. */
const patience = "30 seconds"

const unavailable = (operation: string, detail: string, cause?: unknown) =>
  new TransportError({ reason: new TransportUnavailable({ operation, detail, ...(cause === undefined ? {} : { cause }) }) })

const refused = (id: string, detail: string, cause?: unknown) =>
  new TransportError({
    reason: new MessageRefused({ operation: "publish", id, detail, ...(cause === undefined ? {} : { cause }) })
  })

const failAs = (operation: string) => (error: SqlError) =>
  unavailable(operation, toEventStoreError(operation, error, false).reason.detail, error)

/** Whether the database refuses the data itself (SQLSTATE classes 22 and 54), so that doing the same again is in vain. */
const isRefusal = ({ reason }: SqlError): boolean =>
  Predicate.hasProperty(reason.cause, "code") && typeof reason.cause.code === "string" && /^(22|54)/.test(reason.cause.code)

const array = (values: ReadonlyArray<unknown>, oid: number): PgTypes.Parameter => Result.getOrThrow(PgTypes.array(values, oid))
const textArray = (values: ReadonlyArray<string>) => array(values, PgTypes.OID.text)
const seqs = (all: ReadonlyArray<Claimed>) => textArray(all.map(({ seq }) => String(seq)))

const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<Transport["Service"], TransportError, PgClient.PgClient | Scope.Scope> {
  const sql = yield* PgClient.PgClient
  const scope = yield* Effect.scope
  const opening = Effect.mapError((error: { readonly message: string }) => unavailable("open", error.message, error))
  const names = yield* opening(checkNames(options))
  const statements = makeTransportSql(names)
  const single = (sql.config as PgClient.PgPoolConfig).maxConnections === 1
  const listen = options.listen ?? !single
  if (listen && single) {
    return yield* unavailable("open", "listen needs a connection of its own: set maxConnections to 2 or more")
  }
  const pollInterval = Duration.fromInputUnsafe(options.pollInterval ?? (listen ? "1 second" : "100 millis"))
  const lease = Duration.fromInputUnsafe(options.lease ?? "30 seconds")
  const leaseSeconds = PgTypes.float8(Duration.toSeconds(lease))
  if (options.migrate !== false) {
    yield* opening(Effect.provideService(migrateTransport(names), SqlClient.SqlClient, sql))
  }

  /** Where the default of transactions is stricter than READ COMMITTED, whoever waited for a lock has to begin anew. */
  const query = (text: string, parameters: ReadonlyArray<unknown>) =>
    Effect.retry(sql.unsafe(text, parameters).values, {
      while: ({ reason }) => reason._tag === "SerializationError" || reason._tag === "DeadlockError",
      times: 100
    })

  const closed = (operation: string) => () => unavailable(operation, "the transport's Layer has been closed")

  /** Inside a transaction of the same client, work is part of it; otherwise it goes to the writer. */
  const joining = <E>(here: Effect.Effect<void, E>, otherwise: Effect.Effect<void, E>) =>
    Effect.flatMap(Effect.serviceOption(sql.transactionService), (transaction) => (Option.isSome(transaction) ? here : otherwise))

  // ---------------------------------------------------------------------------
  // waking
  // ---------------------------------------------------------------------------

  /** What its notifications say of this process. */
  const self = yield* makeId
  /** The members of this process: how to tell one that there may be something for it, and how it leaves. */
  const members = new Map<() => void, Effect.Effect<void>>()
  const wakeAll = Effect.sync(() => {
    for (const wake of members.keys()) wake()
  })
  // Members that outlive the Layer leave with it.
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => Effect.forEach(Array.from(members.values()), (leave) => leave, { concurrency: 8, discard: true }))
  )

  if (listen) {
    yield* Effect.gen(function* () {
      const notifications = yield* sql.listen(statements.channel)
      yield* wakeAll // what was missed while nobody listened
      yield* Queue.take(notifications).pipe(
        // What was published here has woken the members of this process already.
        Effect.flatMap(({ payload }) => (payload === self ? Effect.void : wakeAll)),
        Effect.forever({ disableYield: true })
      )
    }).pipe(
      Effect.scoped,
      Effect.tapCause((cause) => Effect.logDebug("eventfold: listening was interrupted, polling goes on", cause)),
      Effect.retry(Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("5 seconds")])),
      Effect.forkScoped
    )
  }

  // ---------------------------------------------------------------------------
  // publishing
  // ---------------------------------------------------------------------------

  /** In a transaction of its caller nobody can be woken before the commit, and `origin` is left open. */
  const write = (rows: ReadonlyArray<Row>, origin: string): Effect.Effect<void, TransportError> =>
    query(statements.publish, [
      textArray(rows.map(({ id }) => id)),
      textArray(rows.map(({ type }) => type)),
      textArray(rows.map(({ body }) => body)),
      origin
    ]).pipe(
      Effect.catch((error): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, TransportError> => {
        if (!isRefusal(error)) return Effect.fail(failAs("publish")(error))
        // Of what is refused together, the culprit is found one by one.
        return rows.length > 1
          ? Effect.as(
              Effect.forEach(rows, (row) => write([row], origin), { discard: true }),
              [[1]]
            )
          : Effect.fail(refused((rows[0] as Row).id, toEventStoreError("publish", error, false).reason.detail, error))
      }),
      Effect.flatMap(([row]) =>
        row?.[0] === 1 ? wakeAll : Effect.fail(unavailable("publish", "the row of transport_head is missing"))
      )
    )

  const publisher = yield* makeGroupCommit<{ readonly bytes: number; readonly rows: ReadonlyArray<Row> }, void, TransportError>({
    capacity: 1024,
    maxBatch: 512,
    take: takeUpTo(maxBatchBytes),
    overlaps: false,
    write: (batch) =>
      Effect.exit(
        write(
          batch.flatMap(({ request }) => request.rows),
          self
        )
      ).pipe(
        Effect.flatMap((exit) =>
          Exit.isFailure(exit) && batch.length > 1
            ? // What one publisher has done is nothing to the others.
              Effect.forEach(batch, ({ answer, request }) => Effect.map(Effect.exit(write(request.rows, self)), answer), {
                discard: true
              })
            : Effect.sync(() => {
                for (const { answer } of batch) answer(exit)
              })
        )
      ),
    closed: closed("publish")
  })

  const toRow = (message: Message): Result.Result<Row, TransportError> => {
    const fault = textFault(message.id) ?? textFault(message.type)
    if (fault !== undefined) return Result.fail(refused(message.id, `its id or type ${fault}`))
    return Result.mapBoth(encodeText(message), {
      onFailure: (cause) => refused(message.id, "it is no CloudEvents document", cause),
      onSuccess: (body) => ({ id: message.id, type: message.type, body })
    })
  }

  const publish = (messages: NonEmptyReadonlyArray<Message>) =>
    Effect.suspend(() => {
      const rows: Array<Row> = []
      let bytes = 0
      for (const message of messages) {
        const row = toRow(message)
        if (Result.isFailure(row)) return Effect.fail(row.failure)
        bytes += row.success.body.length
        rows.push(row.success)
      }
      return joining(
        write(rows, ""),
        Effect.raceFirst(
          publisher.submit(Effect.succeed({ bytes, rows })),
          Effect.andThen(realSleep(patience), Effect.fail(unavailable("publish", "the database does not answer")))
        )
      )
    })

  // ---------------------------------------------------------------------------
  // subscribing
  // ---------------------------------------------------------------------------

  const writeSettled = (settled: ReadonlyArray<Settled>): Effect.Effect<void, TransportError> =>
    query(statements.settle, [
      textArray(settled.map(({ group }) => group)),
      array(
        settled.map(({ seq }) => seq),
        PgTypes.OID.float8
      ),
      array(
        settled.map(({ attempts }) => attempts),
        PgTypes.OID.int4
      ),
      textArray(settled.map(({ member }) => member)),
      array(
        settled.map(({ delay }) => delay),
        PgTypes.OID.float8
      )
    ]).pipe(Effect.mapError(failAs("settle")), Effect.asVoid)

  const settler = yield* makeGroupCommit<Settled, void, TransportError>({
    capacity: 4096,
    maxBatch: 1024,
    take: takeUpTo(maxBatchBytes),
    overlaps: false,
    write: (batch) =>
      Effect.map(Effect.exit(writeSettled(batch.map(({ request }) => request))), (exit) => () => {
        for (const { answer } of batch) answer(exit)
      }),
    closed: closed("settle")
  })

  const subscribe: Transport["Service"]["subscribe"] = ({ concurrency = 1, group, types }) =>
    Stream.unwrap(
      Effect.gen(function* () {
        const member = yield* makeId
        const most = Math.max(1, Math.floor(concurrency))
        /** What has been handed out and is not known to be settled. */
        const inHand = new Set<Claimed>()
        /** How many of them are being acknowledged: so many are claimed ahead, and handed out when that has succeeded. */
        let acknowledging = 0
        /** What has been claimed and not handed out. */
        const ready: Array<Claimed> = []
        const changed = Latch.makeUnsafe(false)
        /** When to ask for messages, unless told that there may be some. */
        let askAt = 0
        const wake = () => {
          askAt = 0
          changed.openUnsafe()
        }
        /** Held while the database is asked for messages, and when the member leaves: nothing is claimed after that. */
        const claiming = Semaphore.makeUnsafe(1)
        let left = false
        /** Why the subscription ends. */
        let broken: TransportError | undefined
        const wanted = types === undefined ? null : textArray(types)

        const leave = Effect.suspend(() => {
          if (left) return Effect.void
          left = true
          inHand.clear()
          members.delete(wake)
          changed.openUnsafe()
          // What cannot be given back now is given back when the lease has run out.
          return claiming
            .withPermit(Effect.suspend(() => query(statements.release, [group, member, seqs(ready.splice(0))])))
            .pipe(
              Effect.retry({ schedule: Schedule.spaced("100 millis"), while: ({ reason }) => reason._tag === "ConnectionError" }),
              Effect.tapCause((cause) => Effect.logDebug("eventfold: a member could not give back what it had", cause)),
              Effect.ignore,
              Effect.raceFirst(realSleep("5 seconds")),
              Effect.andThen(wakeAll)
            )
        })
        members.set(wake, leave)
        yield* Effect.addFinalizer(() => leave)

        yield* realSleep(Duration.divideUnsafe(lease, 3)).pipe(
          Effect.andThen(
            Effect.suspend(() =>
              inHand.size + ready.length === 0
                ? Effect.void
                : Effect.asVoid(query(statements.renew, [group, member, seqs([...inHand, ...ready]), leaseSeconds]))
            )
          ),
          Effect.tapCause((cause) => Effect.logDebug("eventfold: a member could not renew its lease", cause)),
          Effect.ignore,
          Effect.forever({ disableYield: true }),
          Effect.forkScoped
        )

        /** Settles it once; a second time, or after the stream has ended, does nothing. */
        const settle = (claimed: Claimed, after: Duration.Input | undefined | null): Effect.Effect<void, TransportError> =>
          Effect.suspend(() => {
            if (claimed.settled || !inHand.has(claimed)) return Effect.void
            claimed.settled = true
            const { attempts, seq } = claimed
            const wait = after === null ? null : Duration.fromInputUnsafe(after ?? 0)
            const delay = wait === null ? null : Duration.toSeconds(wait)
            const settled: Settled = { bytes: group.length + 100, group, seq, attempts, member, delay }
            if (wait === null) {
              acknowledging++
              changed.openUnsafe()
            }
            return joining(writeSettled([settled]), settler.submit(Effect.succeed(settled))).pipe(
              Effect.onExit((exit) =>
                Effect.sync(() => {
                  if (wait === null) acknowledging--
                  if (Exit.isSuccess(exit)) inHand.delete(claimed)
                  // Nothing may overtake what perhaps comes again, so whatever this member has is given back.
                  else broken ??= unavailable("settle", `it is not known whether the message ${seq} is settled`, exit.cause)
                  changed.openUnsafe()
                })
              ),
              // An acknowledgement makes room for this member alone.
              Effect.andThen(
                wait === null
                  ? Effect.void
                  : Effect.andThen(wakeAll, Effect.asVoid(Effect.forkIn(Effect.andThen(realSleep(wait), wakeAll), scope)))
              )
            )
          })

        /** Alone in its transaction, a claim need not be flushed to the disk: if it is lost, the messages are delivered again. */
        const askFor = (count: number) =>
          Effect.flatMap(Effect.serviceOption(sql.transactionService), (transaction) =>
            query(statements.claim, [group, wanted, count, member, leaseSeconds, Option.isNone(transaction)])
          )

        /** Whoever interrupts it finds what was claimed among what is ready. */
        const claim = (count: number): Effect.Effect<void, TransportError> =>
          Effect.uninterruptible(
            claiming.withPermit(
              Effect.gen(function* () {
                if (left) return
                askAt = performance.now() + Duration.toMillis(pollInterval)
                const rows = yield* Effect.mapError(askFor(count), failAs("subscribe"))
                // There may be more.
                if (rows.length === count) askAt = 0
                for (const row of rows) {
                  const [seq, attempts, body] = row as readonly [number, number, string]
                  const message = decodeText(body)
                  if (Result.isFailure(message)) {
                    return yield* unavailable("subscribe", `the message ${seq} is no CloudEvents document`, message.failure)
                  }
                  ready.push({ seq, attempts, message: message.success, settled: false })
                }
              })
            )
          )

        const handOut = (claimed: Claimed): Delivery => {
          inHand.add(claimed)
          return {
            message: claimed.message,
            attempt: claimed.attempts,
            ack: settle(claimed, null),
            nack: (options) => settle(claimed, options?.delay)
          }
        }

        const next = Effect.gen(function* () {
          while (true) {
            changed.closeUnsafe()
            if (left) return yield* closed("subscribe")()
            if (broken !== undefined) return yield* broken
            const free = most - inHand.size + acknowledging - ready.length
            if (free > 0 && performance.now() >= askAt) yield* claim(free)
            const deliveries = ready.splice(0, most - inHand.size).map(handOut)
            if (Arr.isArrayNonEmpty(deliveries)) return deliveries
            yield* free > 0 ? Effect.raceFirst(changed.await, realSleep(Math.max(0, askAt - performance.now()))) : changed.await
          }
        })
        return Stream.fromPull(Effect.succeed(next))
      })
    )

  // ---------------------------------------------------------------------------
  // pruning
  // ---------------------------------------------------------------------------

  const seconds = (input: Duration.Input) => PgTypes.float8(Duration.toSeconds(Duration.fromInputUnsafe(input)))
  const ages = [seconds(options.keep ?? "7 days"), seconds(options.discardAfter ?? "36500 days")]
  yield* query(statements.prune, ages).pipe(
    // A page a statement, until nothing is left.
    Effect.repeat({ while: ([row]) => row?.[0] !== 0 }),
    Effect.tapCause((cause) => Effect.logDebug("eventfold: old messages could not be deleted", cause)),
    Effect.ignore,
    Effect.andThen(realSleep("1 hour")),
    Effect.forever({ disableYield: true }),
    Effect.forkScoped
  )

  return yield* untilClosed({ publish, subscribe })
})

/**
 * The transport in the database of the `PgClient` of the environment: a server, or PGlite. Leases and delays run by the clock of the
 * database.
 *
 * Inside a transaction of the same client, publishing and acknowledging are part of that transaction; other publishers wait for it.
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
 * await Effect.runPromise(Effect.provide(program, PgTransport.layer().pipe(Layer.provide(PgLite.layer())))) // => { total: 5 }
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Transport, TransportError, PgClient.PgClient> =>
  Layer.effect(Transport, make(options))
