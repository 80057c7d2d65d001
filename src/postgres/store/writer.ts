/** How the store appends: in batches, or as part of a transaction of the caller's. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { wholeOrEndless } from "../../internal/counting.ts"
import { type GroupCommit, makeGroupCommit, type Submitted } from "../../internal/groupCommit.ts"
import { isUniqueViolation } from "../../sql/errors.ts"
import { type LateFlush, lateFlushOf, takeWriteLock } from "../../sql/transaction.ts"
import {
  type AppendError,
  type AppendResult,
  EventStoreError,
  type EventStoreErrorReason,
  OutcomeUnknown,
  StoreUnavailable
} from "../../store/EventStore.ts"
import type { Driver, PreparedAppend } from "../../store/kit/index.ts"
import { toEventStoreError } from "../errors.ts"
import { hinting } from "../hinting.ts"
import { encodeAppendValues, encodeSeen } from "../sql/append.ts"
import { encodeAppendEvent, type Single } from "../sql/appendEvent.ts"
import { encodeAppendOne, type One } from "../sql/appendOne.ts"
import type { Attempt } from "../sql/conditions.ts"
import { committedLate, ending, type Statement } from "../sql/statement.ts"
import { seenOf } from "./conditions.ts"
import { encodeAppend } from "./encoding.ts"
import { type Looking, makeLooking } from "./looking.ts"
import { isInTransaction, type Shared } from "./shared.ts"
import { takeBatch } from "./batch.ts"
import { toVerdicts, type Verdict, type Verdicts, Wide } from "./verdicts.ts"

/** What an append is answered. */
type Answer = ReadonlyArray<AppendResult> | Wide

type Request = Submitted<Attempt, Answer, AppendError>

/** Sends appends, with a verdict for each. `again` says that they have been sent before: then every id may stand already. */
type Send = (requests: ReadonlyArray<Attempt>, again: boolean) => Effect.Effect<Verdicts, SqlError>

/** Tells followers here and elsewhere how far the log has come, once that is committed. */
type Tell = (head: number) => void

const sendAny =
  ({ sql, statements: { append, appendSeen } }: Shared): Send =>
  (requests, again) => {
    const seen = seenOf(requests)
    const values = encodeAppendValues(encodeAppend(requests, again))
    const sent =
      seen === undefined ? sql.unsafe(append.text, values) : sql.unsafe(appendSeen.text, [...values, ...encodeSeen(seen)])
    return Effect.map(sent.values, (rows) => toVerdicts(requests, append.read(rows)))
  }

/** A single append of the usual kind takes a shorter way: one event without more. */
const sendPlain = ({ sql, statements }: Shared, { parameters, stream }: One): Effect.Effect<Verdicts | undefined, SqlError> =>
  Effect.map(sql.unsafe(statements.appendOne.text, parameters).values, (rows) => {
    const place = statements.appendOne.read(rows)
    return place && { verdicts: [Result.succeed([{ stream, ...place, deduplicated: false }])], head: place.position }
  })

/** Another: one event. */
const sendSingle = (
  { sql, statements }: Shared,
  { parameters, results, seen }: Single
): Effect.Effect<Verdicts | undefined, SqlError> => {
  const sent =
    seen === undefined
      ? sql.unsafe(statements.appendEvent.text, parameters)
      : sql.unsafe(statements.appendEventSeen.text, [...parameters, ...encodeSeen(seen)])
  return Effect.map(sent.values, (rows) => {
    const place = statements.appendEvent.read(rows)
    return place && { verdicts: [Result.succeed(results(place))], head: place.position }
  })
}

/** Where a shorter way has a doubt, `append_batch` says why. */
const sendBatch = (shared: Shared, any: Send): Send => {
  const shorter = (request: Attempt, again: boolean) => {
    const plain = encodeAppendOne(request)
    if (plain !== undefined) return sendPlain(shared, plain)
    const single = encodeAppendEvent(request, again, seenOf([request]))
    return single && sendSingle(shared, single)
  }
  return (requests, again) => {
    const sent = requests.length === 1 ? shorter(requests[0] as Attempt, again) : undefined
    if (sent === undefined) return any(requests, again)
    return sent.pipe(
      Effect.flatMap((verdicts) => (verdicts === undefined ? any(requests, again) : Effect.succeed(verdicts))),
      Effect.catchIf(isUniqueViolation, () => any(requests, true))
    )
  }
}

/** `Effect.retry` for what seldom fails: its schedule is made only then. */
const retrySeldom = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options: { readonly while: (error: E) => boolean; readonly times: number; readonly schedule?: Schedule.Schedule<unknown> }
): Effect.Effect<A, E, R> =>
  Effect.catchIf(effect, options.while, (error) => {
    let first = true
    const next = Effect.suspend(() => {
      if (!first) return effect
      first = false
      return Effect.fail(error)
    })
    return Effect.retry(next, options)
  })

/** What is done before an append whose answer was lost is given up: repeat it by its ids, three times within about a second. */
const settleLost = { schedule: Schedule.exponential("50 millis", 3), times: 3 }

const isUnsettled = ({ _tag }: EventStoreErrorReason): boolean => _tag === "OutcomeUnknown" || _tag === "StoreUnavailable"

const outcomeUnknown = (error: EventStoreError): EventStoreError => {
  const { detail, operation } = error.reason
  return new EventStoreError({ reason: new OutcomeUnknown({ operation, detail, cause: error }) })
}

const answerAll = (batch: ReadonlyArray<Request>, verdicts: ReadonlyArray<Verdict>): void => {
  for (let index = 0; index < batch.length; index++) {
    const verdict = verdicts[index] as Verdict
    ;(batch[index] as Request).answer(Result.isSuccess(verdict) ? Exit.succeed(verdict.success) : Exit.fail(verdict.failure))
  }
}

/** What is known of the database: why the last batch has failed, if it could not be had. */
interface Outage {
  current: EventStoreError | undefined
}

/** Whether anything has been written. */
const writes = (requests: ReadonlyArray<Attempt>, verdicts: ReadonlyArray<Verdict>): boolean =>
  verdicts.some((verdict, index) => {
    if (Result.isFailure(verdict) || verdict.success instanceof Wide) return false
    return (requests[index] as Attempt).count > 0 && verdict.success.every(({ deduplicated }) => !deduplicated)
  })

/** Writes a batch, and gives what answers its callers. */
const writeBatch = ({ flushing, queries: { answering } }: Shared, send: Send, tell: Tell, outage: Outage) => {
  /**
   * `lost` says that a connection broke under an earlier try of the same requests: what went wrong since does not tell whether
   * that one had been carried out.
   */
  const write = (batch: ReadonlyArray<Request>, lost: boolean): Effect.Effect<() => void> => {
    const requests = batch.map(({ request }) => request)
    // Where the default of transactions is stricter than READ COMMITTED, whoever waited for the lock has to begin anew.
    const sent = retrySeldom(
      Effect.suspend(() => send(requests, lost)),
      { while: ({ reason }) => reason._tag === "SerializationError", times: 100 }
    )
    const once = Effect.mapError(answering.inTime(sent), (error) => {
      const failure = toEventStoreError("append", error, true)
      lost ||= failure.reason._tag === "OutcomeUnknown"
      return failure
    })
    return retrySeldom(once, {
      ...settleLost,
      while: ({ reason }) => lost && isUnsettled(reason) && !answering.isOver()
    }).pipe(
      Effect.matchCauseEffect({
        onSuccess: ({ head, verdicts }) => {
          outage.current = undefined
          // What was committed before is flushed with what is written here, and else by others.
          const isFlushed = flushing === undefined || writes(requests, verdicts)
          if (isFlushed) {
            flushing?.reached(head)
            tell(head)
          }
          return Effect.succeed(() => answerAll(batch, verdicts))
        },
        onFailure: (cause) => {
          const error = Cause.findErrorOption(cause)
          // Of what the database refuses in a batch only the culprit shall suffer, so each is tried alone.
          if (batch.length > 1 && Option.isSome(error) && error.value.reason._tag === "StoreFailure") {
            return Effect.as(
              Effect.forEach(batch, (one) => Effect.map(write([one], lost), (answer) => answer()), { discard: true }),
              () => {}
            )
          }
          outage.current = Option.isSome(error) && isUnsettled(error.value.reason) ? error.value : undefined
          const exit = Exit.failCause(lost ? Cause.map(cause, outcomeUnknown) : cause)
          return Effect.succeed(() => {
            for (const { answer } of batch) answer(exit)
          })
        }
      })
    )
  }
  return (batch: ReadonlyArray<Request>) => write(batch, false)
}

/** A shorter way that has a doubt has changed nothing of the transaction, and is not to be one that fails for it. */
const sendWithin =
  (shared: Shared, any: Send): Send =>
  (requests, again) => {
    const single = encodeAppendEvent(requests[0] as Attempt, again, seenOf(requests))
    if (single === undefined) return any(requests, again)
    return Effect.flatMap(sendSingle(shared, single), (verdicts) =>
      verdicts === undefined ? any(requests, again) : Effect.succeed(verdicts)
    )
  }

/**
 * How long all who append wait, in milliseconds, for a process that has appended in a transaction and is not heard of: it was stopped, or its machine
 * is gone. By default an append waits longer than that.
 */
const mostSilent = 10_000

/** The same store with other statements for appends that are part of a transaction. */
const appendingBy = (shared: Shared, by: <A>(statement: Statement<A>) => Statement<A>): Shared => {
  const { append, appendEvent, appendEventSeen, appendSeen } = shared.statements
  return {
    ...shared,
    statements: {
      ...shared.statements,
      append: by(append),
      appendSeen: by(appendSeen),
      appendEvent: by(appendEvent),
      appendEventSeen: by(appendEventSeen)
    }
  }
}

/** How what is appended in a transaction is sent. */
interface Within {
  readonly send: Send
  /** Where the commit need not wait for the disk. */
  readonly sendLate: Send
}

const makeWithin = (shared: Shared): Within => {
  const by = (those: Shared) => sendWithin(those, sendAny(those))
  const held = appendingBy(shared, (statement) => ending(statement, mostSilent))
  return { send: by(held), sendLate: by(appendingBy(held, committedLate)) }
}

/** Part of the caller's transaction: it commits, or not, with it. */
const appendInTransaction = ({ flushing, queries, sql }: Shared, { send, sendLate }: Within, looking: Looking, tell: Tell) => {
  /** The last append of a transaction, where it is the only one and nothing else in it waits for the disk, may be committed late. */
  const sendIn = (late: LateFlush | undefined, attempt: Attempt): Effect.Effect<Verdicts, SqlError> => {
    if (late?.isEnding !== true || flushing === undefined) {
      if (late !== undefined) late.isRead = true
      return send([attempt], false)
    }
    const isLate = !late.isRead && late.isContended()
    const since = performance.now()
    return Effect.map((isLate ? sendLate : send)([attempt], false), (verdicts) => {
      late.took(performance.now() - since)
      late.commits = isLate ? "late" : writes([attempt], verdicts.verdicts) ? "flushed" : undefined
      return verdicts
    })
  }
  const within = (attempt: Attempt, late: LateFlush | undefined): Effect.Effect<ReadonlyArray<AppendResult>, AppendError> =>
    Effect.flatMap(
      Effect.mapError(queries.answering.inTime(sendIn(late, attempt)), (error) => toEventStoreError("append", error, false)),
      ({ head, verdicts }) => {
        const verdict = verdicts[0] as Verdict
        if (Result.isFailure(verdict)) return Effect.fail(verdict.failure)
        const answer = verdict.success
        if (answer instanceof Wide) return Effect.flatMap(looking.again(answer.attempt), (again) => within(again, late))
        const told = Effect.sync(() => {
          if (flushing === undefined) return tell(head)
          if (late?.isLost === true || !writes([attempt], verdicts)) return
          flushing.reached(head)
          tell(head)
        })
        return Effect.as(sql.afterCommit(told), answer)
      }
    )
  return (append: PreparedAppend) =>
    Effect.withFiber((fiber) =>
      Effect.flatMap(looking.begin(append), (attempt) => Effect.andThen(takeWriteLock, within(attempt, lateFlushOf(sql, fiber))))
    )
}

/** Through the batches of the process, after as many looks at the log as it takes. */
const appendInBatches = (writer: GroupCommit<Attempt, Answer, AppendError>, looking: Looking) => {
  const submit = <E>(attempt: Effect.Effect<Attempt, E>): Effect.Effect<ReadonlyArray<AppendResult>, AppendError | E> =>
    Effect.flatMap(writer.submit(attempt), (answer) =>
      answer instanceof Wide ? submit(looking.again(answer.attempt)) : Effect.succeed(answer)
    )
  return <E>(prepared: Effect.Effect<PreparedAppend, E>) => submit(Effect.flatMap(prepared, looking.begin))
}

/** The batches of appends of one process, for all who append to the same tables. */
export interface Batches {
  readonly writer: GroupCommit<Attempt, Answer, AppendError>
  readonly tell: Tell
}

export const makeBatches = Effect.fnUntraced(function* (
  shared: Shared,
  { capacity = 4096, maxBatch = 512 }: { readonly capacity?: number | undefined; readonly maxBatch?: number | undefined }
): Effect.fn.Return<Batches, EventStoreError, Scope.Scope> {
  wholeOrEndless(1, "PgEventStore: capacity", capacity)
  wholeOrEndless(1, "PgEventStore: maxBatch", maxBatch)
  const { signal, sql, statements } = shared
  const hint = yield* hinting(sql, statements.channel)
  const tell: Tell = (head) => {
    signal.notify(head)
    hint(head)
  }
  const outage: Outage = { current: undefined }
  const { timeout } = shared.queries.answering
  /** Behind a batch that could not be written: each one before it may wait as long, and be tried again. */
  const refusal = (): EventStoreError | undefined => {
    if (outage.current === undefined) return undefined
    const detail = `${outage.current.reason.detail}; what waited behind it for longer than ${Duration.format(timeout)} was not sent`
    return new EventStoreError({ reason: new StoreUnavailable({ operation: "append", detail, cause: outage.current }) })
  }
  const writer = yield* makeGroupCommit<Attempt, Answer, AppendError>({
    capacity,
    maxBatch,
    take: takeBatch,
    halvesFrom: 32,
    write: writeBatch(shared, sendBatch(shared, sendAny(shared)), tell, outage),
    overdue: { millis: Duration.toMillis(timeout), refusal },
    closed: () =>
      new EventStoreError({ reason: new StoreUnavailable({ operation: "append", detail: "the store's Layer has been closed" }) })
  })
  return { writer, tell }
})

/** How one store appends: through the batches, or in a transaction of its client. */
export const appendOver = (shared: Shared, { tell, writer }: Batches): Driver["append"] => {
  const { sql } = shared
  const looking = makeLooking(shared)
  const within = appendInTransaction(shared, makeWithin(shared), looking, tell)
  const inBatches = appendInBatches(writer, looking)
  return (prepared) =>
    Effect.withFiber(({ context }) =>
      isInTransaction({ sql }, context) ? Effect.flatMap(prepared, within) : inBatches(prepared)
    )
}

export const makeAppend = (
  shared: Shared,
  options: { readonly capacity?: number | undefined; readonly maxBatch?: number | undefined }
): Effect.Effect<Driver["append"], EventStoreError, Scope.Scope> =>
  Effect.map(makeBatches(shared, options), (batches) => appendOver(shared, batches))
