/**
 * The owner of one aggregate: it decides what waits in its mailbox, one command after the other on the state that it keeps, and writes that in one append.
 *
 * A request is sent again when its runner dies or is cut off, also where its events are written already. So each command's events tell, in the metadata of the
 * last one in the stream, which request they were written for and what it came to. Whoever decides has looked at the events of the stream up to the very version
 * that its commit expects: what stands there is answered, and a decision that has missed one is refused by the store. Two owners at once, as after a freeze,
 * can do no more than make each other decide again.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import * as MessageBus from "../deciding/MessageBus.ts"
import * as Repository from "../deciding/Repository.ts"
import { type CommitError, committed, retryConflicts, transact, Transaction, type UnitOfWork } from "../deciding/UnitOfWork.ts"
import type * as Aggregate from "../definitions/Aggregate.ts"
import type * as Command from "../definitions/Command.ts"
import { timesForgotten } from "../internal/forgetting.ts"
import { EventStore, OptimisticLockError } from "../store/EventStore.ts"
import { type Answer, answerAgain, type Answers, answersSince, forgetOld, note, skew } from "./answers.ts"
import type { Message } from "./protocol.ts"

/** A command that has arrived, decoded. */
export interface Request {
  readonly requestId: string
  /** When it was made, by the clock of its caller. */
  readonly madeAt: number
  readonly message: Message
  readonly command: Command.Any
  readonly payload: unknown
}

/** An aggregate, as its owner knows it. */
export interface Owned {
  readonly aggregate: Aggregate.Any
  /** As commands have it. */
  readonly id: () => unknown
  readonly stream: string
}

type Reply = MessageBus.Reply
type Services = EventStore | UnitOfWork | MessageBus.MessageBus | MessageBus.Handler<string>

const codecs = new WeakMap<Schema.Top, Schema.Codec<unknown, Schema.Json>>()

/** The codec of a Schema as JSON, made once. */
export const jsonOf = (schema: Schema.Top): Schema.Codec<unknown, Schema.Json> => {
  const known = codecs.get(schema)
  if (known !== undefined) return known
  const codec = Schema.toCodecJson(schema as Schema.Codec<unknown, unknown>) as Schema.Codec<unknown, Schema.Json>
  codecs.set(schema, codec)
  return codec
}

const encodeWith = (schema: Schema.Top, value: unknown): Effect.Effect<Schema.Json> =>
  Effect.map(Effect.orDie(Schema.encodeUnknownEffect(jsonOf(schema))(value)), (json) => json ?? null)

/** Runs a command, and says what it came to; what is none of its own errors is a failure. */
export const run = (
  { command, message, payload }: Request,
  /** Names the execution where its caller has not. */
  name: string | null = null
): Effect.Effect<Reply, CommitError, Services> => {
  const isOwn = Schema.is(command.errorSchema)
  const { correlationId, metadata } = message
  const id = message.id ?? name
  // It was decoded by the payload's Schema of this command.
  return MessageBus.execute(command, payload as never, {
    id: id ?? undefined,
    correlationId: correlationId ?? undefined,
    metadata
  }).pipe(
    Effect.matchEffect({
      onSuccess: (value) =>
        Effect.map(encodeWith(command.successSchema, value), (value): Reply => ({ outcome: "success", value, position: 0 })),
      onFailure: (error): Effect.Effect<Reply, CommitError> =>
        isOwn(error)
          ? Effect.map(encodeWith(command.errorSchema, error), (value): Reply => ({ outcome: "failure", value, position: 0 }))
          : Effect.fail(error as CommitError)
    })
  )
}

/** What came of a request, and what is to be known of it when it is sent again: nothing where its execution has an id, by which the bus knows it. */
interface Settled {
  readonly reply: Reply
  readonly answer: Answer | undefined
}

/** Runs a request in a unit of work of its own, within that of the batch, and notes in its events what it came to. */
const runNoted = (
  request: Request,
  store: EventStore["Service"],
  stream: string
): Effect.Effect<Settled, CommitError, Services | Transaction> =>
  transact(
    Effect.gen(function* () {
      const transaction = yield* Transaction
      const written = () => transaction.staged().filter((event) => event._tag !== "Record" && !event.transient).length
      const before = written()
      const reply = yield* run(request)
      const { command, message, requestId } = request
      if (message.id !== null) return { reply, answer: undefined }
      const { outcome, value } = reply
      // It has dropped what it had staged.
      if (outcome === "failure") return { reply, answer: { outcome, value } }
      const noted = yield* note(store, stream, requestId, command, value)
      if (noted === undefined && written() > before) {
        return yield* Effect.die(
          new Error(
            `ClusterBus: the command "${command._tag}" has written no event to "${stream}", by which a repetition would be known. Write one there, execute it with an id, or handle it outside of the cluster`
          )
        )
      }
      return { reply, answer: noted ?? { outcome, value } }
    })
  )

const isConflict = (error: CommitError): boolean =>
  error._tag === "OptimisticLockError" ||
  error._tag === "AppendConditionError" ||
  (error._tag === "EventStoreError" && error.reason._tag === "TransactionConflict")

/** Whether it may be the fault of one of a batch alone. */
const isOfOne = (error: CommitError): boolean =>
  isConflict(error) || error._tag !== "EventStoreError" || error.reason._tag === "StoreFailure"

const isUnknown = (error: CommitError): boolean => error._tag === "EventStoreError" && error.reason._tag === "OutcomeUnknown"

const jittered = Schedule.jittered(Schedule.exponential("2 millis"))
/** Some three seconds, all in all. */
const finding = Schedule.max([Schedule.exponential("100 millis"), Schedule.recurs(5)])

interface Waiting extends Request {
  /** Whether its caller has gone. */
  left: boolean
  readonly span: Option.Option<Tracer.AnySpan>
  readonly done: Deferred.Deferred<Reply, CommitError>
}

/** Takes requests for an aggregate until the scope closes. */
export const makeActivation = Effect.fnUntraced(function* (
  owned: Owned,
  maxBatch: number
): Effect.fn.Return<(request: Request) => Effect.Effect<Reply, CommitError>, never, Services | Scope.Scope> {
  const { aggregate, stream } = owned
  const store = yield* EventStore
  const mailbox = yield* Queue.unbounded<Waiting>()
  let kept: { readonly loaded: Repository.Loaded<Aggregate.Any>; readonly answers: Answers } | undefined
  let forgotten = timesForgotten()
  /** The version that a snapshot was looked after at. */
  let looked: number | undefined
  /** What is being decided, and the fiber that does so. */
  let deciding: Waiting | undefined
  let running: Fiber.Fiber<unknown> | undefined

  /** Decides all of a batch in one unit of work. */
  const attempt = Effect.fnUntraced(function* (batch: ReadonlyArray<Waiting>) {
    const id = owned.id() as Aggregate.Id<Aggregate.Any>
    if (forgotten !== timesForgotten()) kept = undefined
    forgotten = timesForgotten()
    if (kept !== undefined) yield* Repository.begin(aggregate, id, kept.loaded)
    const { version } = yield* Repository.load(aggregate, id)
    const isNew = ({ requestId }: Waiting) => kept === undefined || !kept.answers.byRequest.has(requestId)
    const since = batch.reduce((since, request) => (isNew(request) ? Math.min(since, request.madeAt - skew) : since), Infinity)
    const answers =
      kept !== undefined && kept.answers.since <= since ? kept.answers : yield* answersSince(store, stream, version, since)
    const fresh = new Map<string, Answer>()
    const exits: Array<Exit.Exit<Reply, CommitError>> = []
    for (const request of batch) {
      const { command, requestId, span } = request
      const before = answers.byRequest.get(requestId)
      const first = before ?? fresh.get(requestId)
      if (first !== undefined) {
        // By the head of the log all stands there that was written before.
        const position = before === undefined ? 0 : yield* store.head
        exits.push(
          yield* Effect.exit(Effect.map(answerAgain(store, requestId, command._tag, first), (reply) => ({ ...reply, position })))
        )
        continue
      }
      const one = runNoted(request, store, stream)
      deciding = request
      const exit = yield* Effect.exit(Option.isNone(span) ? one : Effect.provideService(one, Tracer.ParentSpan, span.value))
      deciding = undefined
      if (Exit.isSuccess(exit) && exit.value.answer !== undefined) fresh.set(requestId, exit.value.answer)
      exits.push(Exit.map(exit, ({ reply }) => reply))
    }
    const after = yield* Repository.load(aggregate, id)
    // Where something is written to the stream, the commit finds out whether the state that was kept still holds.
    if (kept !== undefined && after.version === version) {
      const actual = yield* store.version(stream)
      if (actual !== version) return yield* new OptimisticLockError({ stream, expected: version, actual })
    }
    return { after, answers, exits, fresh, since }
  })

  const decided = Effect.fnUntraced(
    function* (batch: ReadonlyArray<Waiting>) {
      const { position, value } = yield* committed(transact(attempt(batch)))
      const { after, answers, exits, fresh, since } = value
      const at = yield* Clock.currentTimeMillis
      for (const [requestId, answer] of fresh) answers.byRequest.set(requestId, { ...answer, at })
      forgetOld(answers, since, at)
      kept = { loaded: after, answers }
      return exits.map((exit) => Exit.map(exit, (reply) => ({ ...reply, position: reply.position || position })))
    },
    Effect.onError(() =>
      Effect.sync(() => {
        kept = undefined
      })
    )
  )

  /**
   * Decides again where others were first. Where the answer of the store was lost, who decides again sees what it was; as long as nobody can, that is
   * what a caller is told.
   */
  const surely = (batch: ReadonlyArray<Waiting>, times: number) => {
    const tried = retryConflicts(decided(batch), { times, schedule: jittered })
    return Effect.catchIf(tried, isUnknown, (unknown) =>
      Effect.mapError(Effect.retry(Effect.delay(tried, "100 millis"), finding), () => unknown)
    )
  }

  const answer = (batch: ReadonlyArray<Waiting>, exits: ReadonlyArray<Exit.Exit<Reply, CommitError>>) =>
    Effect.forEach(batch, ({ done }, index) => Deferred.done(done, exits[index] as Exit.Exit<Reply, CommitError>), {
      discard: true
    })

  /** By itself: its failure is nobody else's. */
  const alone = (request: Waiting) =>
    Effect.flatMap(
      Effect.exit(surely([request], 10)),
      Exit.match({
        onFailure: (cause) => answer([request], [Exit.failCause(cause)]),
        onSuccess: (exits) => {
          const [exit] = exits
          return answer([request], [exit as Exit.Exit<Reply, CommitError>])
        }
      })
    )

  const settle = (batch: ReadonlyArray<Waiting>): Effect.Effect<unknown, never, Services> =>
    Effect.flatMap(
      Effect.exit(surely(batch, 3)),
      Exit.match({
        onSuccess: (exits) => {
          // A decision on what another one of the unit of work has overtaken is made again.
          const isOvertaken = (exit: Exit.Exit<Reply, CommitError>) =>
            Exit.isFailure(exit) && Option.exists(Cause.findErrorOption(exit.cause), isConflict)
          const again = batch.filter((_, index) => isOvertaken(exits[index] as Exit.Exit<Reply, CommitError>))
          const done = batch.filter((request) => !again.includes(request))
          const results = exits.filter((exit) => !isOvertaken(exit))
          return Effect.andThen(answer(done, results), Effect.forEach(again, alone, { discard: true }))
        },
        onFailure: (cause) => {
          const error = Option.getOrUndefined(Cause.findErrorOption(cause))
          return batch.length > 1 && (error === undefined ? !Cause.hasInterrupts(cause) : isOfOne(error))
            ? Effect.forEach(batch, alone, { discard: true })
            : answer(
                batch,
                batch.map(() => Exit.failCause(cause))
              )
        }
      })
    )

  /** Whoever begins with a state loads nothing, and so saves no snapshot: one read does. */
  const snapshot = Effect.suspend(() => {
    const every = aggregate.snapshot?.every
    if (every === undefined || kept === undefined) return Effect.void
    const { version } = kept.loaded
    if (Math.floor(version / every) <= Math.floor((looked ?? 0) / every)) return Effect.void
    looked = version
    return Effect.exit(Repository.read(aggregate, owned.id() as Aggregate.Id<Aggregate.Any>))
  })

  /** Settles a batch. Where the caller of what is being decided goes, the rest is decided without. */
  const settleThose = Effect.fnUntraced(function* (batch: ReadonlyArray<Waiting>) {
    let open = batch.filter(({ left }) => !left)
    while (open.length > 0) {
      const fiber = (running = yield* Effect.forkChild(settle(open)))
      yield* Effect.onInterrupt(Fiber.await(fiber), () => Fiber.interrupt(fiber))
      running = deciding = undefined
      open = open.filter(({ done, left }) => !left && !Deferred.isDoneUnsafe(done))
    }
  })

  const leave = (request: Waiting): void => {
    request.left = true
    if (deciding === request) running?.interruptUnsafe()
  }

  const working = Effect.forever(
    Effect.gen(function* () {
      yield* settleThose(yield* Queue.takeBetween(mailbox, 1, maxBatch))
      yield* snapshot
    })
  )
  yield* Effect.forkScoped(working)
  yield* Effect.addFinalizer(() => snapshot)

  return (request) =>
    Effect.gen(function* () {
      const done = yield* Deferred.make<Reply, CommitError>()
      const span = yield* Effect.serviceOption(Tracer.ParentSpan)
      const waiting = { ...request, span, done, left: false }
      yield* Queue.offer(mailbox, waiting)
      return yield* Effect.onInterrupt(Deferred.await(done), () => Effect.sync(() => leave(waiting)))
    })
})
