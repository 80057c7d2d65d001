/**
 * A consumer at work: it subscribes, settles what it is given, and subscribes again after any failure of the transport.
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import type * as Event from "../definitions/Event.ts"
import { CurrentMetadata } from "../definitions/metadata.ts"
import { readOwn } from "../definitions/listing.ts"
import { provideBuilt } from "../definitions/services.ts"
import { NoTenantError, Tenant } from "../definitions/tenant.ts"
import {
  Failed,
  handling,
  isFailed,
  type Name,
  reasonOf,
  type Registry,
  settle,
  telling,
  tellFailure,
  type Unavailable
} from "../following/engine.ts"
import { wholeOrEndless } from "../internal/counting.ts"
import { type Episodes, makeEpisodes } from "../internal/episodes.ts"
import { defaultRestart, finishing, restarting } from "../internal/lifecycle.ts"
import { lasting } from "../internal/lasting.ts"
import { broughtBy, markedNames, storedOf } from "../transport/kit.ts"
import {
  type CloudEvent,
  type Delivery,
  spanOf,
  Transport,
  TransportError,
  TransportUnavailable
} from "../transport/Transport.ts"
import { DeadLetters, type DeadLettersError } from "./DeadLetters.ts"
import { Inbox, type InboxError } from "./Inbox.ts"
import { type Heeding, makeHeeding } from "./heeding.ts"
import { type Group, type Handle, count, join, Member, publish } from "./members.ts"
import { type Failure, type Options, type Received, type Requirements, UnreadableMessageError } from "./model.ts"

export type Handler<R> = (event: unknown, received: Received) => Effect.Effect<unknown, unknown, R>

const handledMessages = Metric.counter("eventfold_consumer_handled_messages", {
  description: "Messages that a handler has dealt with, by group",
  incremental: true
})
const failures = Metric.counter("eventfold_consumer_failures", {
  description: "Tries that failed, by group",
  incremental: true
})
const deadLetters = Metric.counter("eventfold_consumer_dead_letters", {
  description: "Messages that have become dead letters, by group",
  incremental: true
})

const metersOf = (group: string) => ({
  handled: Metric.withAttributes(handledMessages, { group }),
  failures: Metric.withAttributes(failures, { group }),
  deadLetters: Metric.withAttributes(deadLetters, { group })
})

const defaultRetry = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("1 minute")])

/** For longer than this no message is held while it waits. */
const longestHold = Duration.seconds(5)

/** What a consumer works with. */
interface Consuming {
  readonly options: Options<boolean, boolean>
  readonly types: ReadonlyArray<string>
  readonly grace: Duration.Input
  readonly transport: Transport["Service"]
  readonly letters: DeadLetters["Service"]
  readonly handle: Handle
  readonly group: Group
  readonly member: Member
  readonly heeding: Heeding
  readonly meters: ReturnType<typeof metersOf>
  /** When the transport is away, and when what messages are handled with is. */
  readonly outages: { readonly transport: Episodes; readonly storage: Episodes }
}

/** What all messages that are in hand at once share. */
interface Session {
  /** Open when no message may begin any more. */
  readonly leave: Latch.Latch
  readonly broken: Deferred.Deferred<never, TransportError>
  /** The newest message in hand of each subject: the next one waits behind it. */
  readonly newest: Map<string, Latch.Latch>
  /** Something has been dealt with. */
  readonly progress: () => void
}

/** Throws a `RangeError` where it could never handle anything, or would give up at once. */
const checkOptions = ({ concurrency, grace, group, maxAttempts }: Options<boolean, boolean>): void => {
  const whose = `Consumer ${JSON.stringify(group)}`
  if (concurrency !== undefined) wholeOrEndless(1, `${whose}: concurrency`, concurrency)
  if (maxAttempts !== undefined) wholeOrEndless(1, `${whose}: maxAttempts`, maxAttempts)
  if (grace !== undefined) lasting(`${whose}: grace`, grace)
}

/** A consumer that is known to its process: what it does, and its registry where it is the first of its group. */
export const makeConsumer = Effect.fnUntraced(function* <R, I extends boolean, T extends boolean>(
  readers: Event.Readers,
  handlers: Readonly<Record<string, Handler<R>>>,
  options: Options<I, T>
): Effect.fn.Return<
  { readonly main: Effect.Effect<never, TransportError>; readonly registry: Registry<Group> | undefined },
  never,
  Requirements<R, I, T>
> {
  checkOptions(options)
  const handle = yield* makeHandle(readers, handlers, options)
  const types = Array.from(readers.keys())
  const member = new Member(types, handle)
  const transport: Transport["Service"] = yield* Transport
  const letters: DeadLetters["Service"] = yield* DeadLetters
  const [group, registry] = yield* join(options.group, member)
  const consuming: Consuming = {
    options,
    types,
    grace: options.grace ?? "10 seconds",
    transport,
    letters,
    handle,
    group,
    member,
    heeding: yield* makeHeeding(options.group, member),
    meters: metersOf(options.group),
    outages: {
      transport: makeEpisodes(`the consumer "${options.group}"`),
      storage: makeEpisodes(`the consumer "${options.group}", which has its storage again,`)
    }
  }
  return { main: running(consuming), registry }
})

/** Shows a state. */
const enter = ({ group, member }: Consuming, state: Name, cause?: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (member.state === state && cause === undefined) return Effect.void
    member.state = state
    member.cause = cause
    return publish(group)
  })

/** Subscribes again and again, until the schedule ends. */
const running = (consuming: Consuming): Effect.Effect<never, TransportError> => {
  const { group, heeding, member, options } = consuming
  let heeded: Effect.Effect<void, TransportError> = Effect.tap(
    heeding.first,
    Effect.sync(() => void (heeded = Effect.void))
  )
  const sessions = (progress: () => void): Effect.Effect<never, TransportError> =>
    Effect.forever(
      Effect.suspend(() => {
        const resumed = member.running.isOpen() ? Effect.void : Effect.andThen(enter(consuming, "paused"), member.running.await)
        return Effect.andThen(resumed, oneSession(consuming, progress))
      })
    )
  const attempt = (progress: () => void): Effect.Effect<never, TransportError> =>
    Effect.andThen(
      Effect.suspend(() => heeded),
      sessions(progress)
    )
  const stopped = Effect.suspend(() => {
    group.members.delete(member)
    return publish(group)
  })
  const consumes = restarting(attempt, {
    schedule: options.restart ?? defaultRestart,
    // Where everything closes, the transport may be gone a moment before this is told to end: that is nobody's concern.
    onFailure: (cause) =>
      Effect.yieldNow.pipe(
        Effect.andThen(enter(consuming, "backing-off", cause)),
        Effect.andThen(
          consuming.outages.transport.failed(consuming, {
            what: `eventfold: the consumer "${options.group}" failed and starts again`,
            why: reasonOf(cause),
            cause
          })
        )
      ),
    onEnd: Effect.logError(`eventfold: the consumer "${options.group}" gives up`)
  })
  return Effect.forkChild(heeding.forever).pipe(
    Effect.andThen(consumes),
    Effect.annotateLogs({ group: options.group }),
    Effect.ensuring(stopped)
  )
}

/** Subscribes, and settles what it is given, until the transport fails, or it is paused or interrupted. */
const oneSession = (consuming: Consuming, progress: () => void): Effect.Effect<void, TransportError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const { grace, member } = consuming
      const leave = Latch.makeUnsafe(false)
      member.leave = leave
      member.idle.closeUnsafe()
      const work = Effect.scoped(session(consuming, leave, progress))
      const exit = yield* finishing(work, { restore, grace, onInterrupt: () => leave.openUnsafe() })
      member.leave = undefined
      member.idle.openUnsafe()
      yield* exit
    })
  )

// -----------------------------------------------------------------------------
// one message
// -----------------------------------------------------------------------------

const makeHandle = Effect.fnUntraced(function* <R, I extends boolean, T extends boolean>(
  readers: Event.Readers,
  handlers: Readonly<Record<string, Handler<R>>>,
  { group, trace = "link", ...options }: Options<I, T>
): Effect.fn.Return<Handle, never, Requirements<R, I, T>> {
  type Built = Exclude<R, true extends T ? Tenant : never>
  const context: Context.Context<Exclude<Built, Scope.Scope>> = yield* Effect.context<Exclude<Built, Scope.Scope>>()
  const provide = provideBuilt<Built, Scope.Scope>(context)
  const marked = markedNames(`Consumer "${group}"`, options.metadata)
  const inbox = options.inbox === true ? Option.getOrUndefined(yield* Effect.serviceOption(Inbox)) : undefined

  const tried = (message: CloudEvent, attempt: number): Effect.Effect<void, Failed | Unavailable | InboxError> => {
    const { tenant } = message
    if (options.tenant === true && tenant === undefined) {
      const error = new NoTenantError({ group, source: message.source, id: message.id })
      return Effect.fail(new Failed(Cause.fail(error), false))
    }
    const decoded = Result.flatMap(storedOf(readers, message), (stored) => readOwn(readers, stored))
    if (Result.isFailure(decoded)) return Effect.fail(new Failed(Cause.fail(decoded.failure), false))
    // It is of no interest any more, or one of another definition that has the same type.
    if (decoded.success.length === 0) return Effect.void
    const each = Effect.forEach(
      decoded.success,
      // The handler of this type: it takes what this definition decodes to.
      ({ definition, event }) => (handlers[definition.type] as Handler<R>)(event, { group, message, attempt }),
      { discard: true }
    )
    // Whoever has built the consumer may be a tenant itself: the message says whose it is.
    const ofTenant = options.tenant === true && tenant !== undefined ? Effect.provideService(each, Tenant, { id: tenant }) : each
    const work = handling(provide(ofTenant as Effect.Effect<void, unknown, Built>)).pipe(
      Effect.provideService(CurrentMetadata, {
        ...broughtBy(message, marked),
        correlationId: message.correlationid ?? message.id,
        causationId: message.id
      })
    )
    if (inbox === undefined) return work
    return Effect.mapError(Effect.asVoid(inbox.once(group, message, work)), (error) =>
      // What the handler has done cannot be committed.
      error._tag === "InboxError" && !error.isRetryable ? new Failed(Cause.fail(error), true) : error
    )
  }

  return (message, attempt) =>
    telling(
      Effect.suspend(() => tried(message, attempt)),
      message.data
    ).pipe(
      Effect.as(Option.none<Failure>()),
      Effect.catchIf(isFailed, (failed) => Effect.succeed(Option.some<Failure>(failed))),
      Effect.withSpan(
        `process ${message.type}`,
        {
          kind: "consumer",
          ...belongingTo(spanOf(message), trace),
          attributes: {
            "messaging.system.name": "eventfold",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": message.type,
            "messaging.consumer.group.name": group,
            "messaging.message.id": message.id,
            "messaging.message.conversation_id": message.correlationid ?? message.id,
            ...(message.subject === undefined ? {} : { "eventfold.message.stream": message.subject }),
            "eventfold.message.attempt": attempt
          }
        },
        // It begins here, always.
        { captureStackTrace: false }
      )
    )
})

/** How a span belongs to that of the publisher, if there is one. */
const belongingTo = (span: Tracer.ExternalSpan | undefined, how: "link" | "parent") =>
  span === undefined ? {} : how === "parent" ? { parent: span } : { links: [{ span, attributes: {} }] }

/**
 * Goes on until inbox, dead letters and what the handler needs answer: that these are away is no failure of the message. `None` when the
 * consumer leaves.
 */
const outlasting = Effect.fnUntraced(function* <A>(
  consuming: Consuming,
  leave: Latch.Latch,
  effect: Effect.Effect<A, InboxError | DeadLettersError | Unavailable>
): Effect.fn.Return<Option.Option<A>> {
  const me = {}
  let wait: Effect.Success<ReturnType<typeof Schedule.toStepWithSleep<unknown, unknown, never, never>>> | undefined
  while (true) {
    const result = yield* Effect.result(effect)
    if (Result.isSuccess(result)) {
      if (wait !== undefined) yield* Effect.andThen(enter(consuming, "live"), consuming.outages.storage.recovered(me))
      return Option.some(result.success)
    }
    wait ??= yield* Schedule.toStepWithSleep<unknown, unknown, never, never>(defaultRestart)
    const { failure } = result
    const cause = failure._tag === "Unavailable" ? failure.cause : Cause.fail(failure)
    yield* enter(consuming, "backing-off", cause)
    const what = `eventfold: the consumer "${consuming.options.group}" cannot go on without its storage`
    yield* consuming.outages.storage.failed(me, { what, why: reasonOf(cause), cause })
    yield* Effect.raceFirst(Effect.exit(wait(undefined)), leave.await)
    if (leave.isOpen()) return yield* Effect.as(consuming.outages.storage.forget(me), Option.none())
  }
})

/** Makes a message a dead letter, and acknowledges it. */
const park = Effect.fnUntraced(function* (
  consuming: Consuming,
  leave: Latch.Latch,
  { ack, message }: Delivery,
  cause: Cause.Cause<unknown>,
  attempts: number
) {
  const { group } = consuming.options
  const letter = { group, message, cause: Cause.pretty(cause), attempts, parkedAt: yield* DateTime.now }
  if (Option.isNone(yield* outlasting(consuming, leave, consuming.letters.park(letter)))) return "left" as const
  yield* Metric.update(consuming.meters.deadLetters, 1)
  yield* tellFailure(Effect.logWarning, `eventfold: the message "${message.id}" is a dead letter of the group "${group}"`, cause)
  yield* ack
  return "parked" as const
})

/** Brings a message to its end, or gives it back. */
const settleMessage = Effect.fnUntraced(function* (
  consuming: Consuming,
  { leave }: Session,
  delivery: Delivery
): Effect.fn.Return<void, TransportError> {
  const { meters, options } = consuming
  const { group, maxAttempts = 5, retry = defaultRetry } = options
  const { attempt: delivered, message, unreadable } = delivery
  if (unreadable !== undefined) {
    const error = new UnreadableMessageError({ group, source: message.source, id: message.id, detail: unreadable })
    yield* park(consuming, leave, delivery, Cause.fail(error), delivered)
    return
  }
  if (delivered > 2 * maxAttempts) {
    const cause = Cause.die(new Error(`delivered ${delivered} times without coming to an end`))
    yield* park(consuming, leave, delivery, cause, delivered)
    return
  }
  let waited = false
  const outcome = yield* settle<"handled" | "parked" | "given back", TransportError>({
    from: delivered,
    maxAttempts,
    retry,
    leave,
    attempt: (attempt) => {
      waited = false
      return Effect.flatMap(
        outlasting(consuming, leave, consuming.handle(message, attempt)),
        (tried): Effect.Effect<"handled" | "left" | Failed> => {
          if (Option.isNone(tried)) return Effect.succeed("left")
          if (Option.isNone(tried.value)) return Effect.succeed("handled")
          const { again, cause } = tried.value.value
          return Effect.as(Metric.update(meters.failures, 1), new Failed(cause, again))
        }
      )
    },
    giveUp: (cause, attempts) => park(consuming, leave, delivery, cause, attempts),
    giveBack: { limit: longestHold, after: (delay) => Effect.as(delivery.nack({ delay }), "given back") },
    waiting: (_, wait) =>
      Effect.suspend(() => {
        waited = true
        return wait
      })
  })
  if (outcome === "handled") {
    yield* delivery.ack
    yield* Metric.update(meters.handled, 1)
  } else if (outcome === "left" && waited) {
    // Left while it waited: others may have it at once.
    yield* delivery.nack()
  }
})

// -----------------------------------------------------------------------------
// one subscription
// -----------------------------------------------------------------------------

/** Begins a message: at once, or when those of its subject that came before it have ended. One without a subject waits for none. */
const begin = (consuming: Consuming, session: Session, delivery: Delivery): Effect.Effect<void> => {
  const { broken, leave, newest, progress } = session
  const { group, member } = consuming
  const { subject: name, tenant = "" } = delivery.message
  // Subjects of two tenants are two.
  const subject = name === undefined ? undefined : `${tenant}/${name}`
  const before = subject === undefined ? undefined : newest.get(subject)
  const end = Latch.makeUnsafe(false)
  if (subject !== undefined) newest.set(subject, end)
  const settling = Effect.suspend(() => {
    if (leave.isOpen()) return Effect.void
    member.inFlight++
    return count(group).pipe(
      Effect.andThen(Effect.tap(settleMessage(consuming, session, delivery), Effect.sync(progress))),
      Effect.ensuring(
        Effect.suspend(() => {
          member.inFlight--
          return count(group)
        })
      )
    )
  })
  return Effect.suspend(() => before?.await ?? Effect.void).pipe(
    Effect.andThen(settling),
    Effect.catchCause((cause) => Deferred.failCause(broken, cause)),
    Effect.ensuring(
      Effect.sync(() => {
        end.openUnsafe()
        if (subject !== undefined && newest.get(subject) === end) newest.delete(subject)
      })
    )
  )
}

/**
 * One subscription, until the transport fails or `leave` opens; then what is in hand has its grace to come to its end. Whatever is
 * left is interrupted, and given back as the subscription closes.
 */
const session = Effect.fnUntraced(function* (
  consuming: Consuming,
  leave: Latch.Latch,
  progress: () => void
): Effect.fn.Return<void, TransportError, Scope.Scope> {
  const { grace, options, transport, types } = consuming
  const concurrency = options.concurrency ?? 1
  yield* enter(consuming, "starting")
  // The subscription closes last: what is given back is in nobody's hands any more.
  const last = yield* Scope.fork(yield* Effect.scope)
  const pull = yield* Scope.provide(
    Stream.toPull(transport.subscribe({ group: options.group, types, concurrency, unreadable: "deliver" })),
    last
  )
  yield* enter(consuming, "live")
  // Whether the transport answers shows by what comes of it, or by its silence.
  const answers = Effect.suspend(() => consuming.outages.transport.recovered(consuming))
  if (consuming.outages.transport.isFailing(consuming))
    yield* Effect.forkScoped(Effect.andThen(Effect.sleep("10 seconds"), answers))
  const broken = yield* Deferred.make<never, TransportError>()
  const inFlight = yield* FiberSet.make()
  const session: Session = { leave, broken, newest: new Map(), progress }
  // A message is among those in hand before it begins. Receiving goes on to the end: a subscription whose pull is interrupted may close, and nothing could be acknowledged any more.
  yield* pull.pipe(
    Effect.tap(answers),
    Effect.flatMap((deliveries) =>
      Effect.forEach(deliveries, (delivery) =>
        FiberSet.run(inFlight, begin(consuming, session, delivery), { startImmediately: false })
      )
    ),
    Effect.forever({ disableYield: true }),
    Pull.catchDone(() =>
      Effect.fail(
        new TransportError({ reason: new TransportUnavailable({ operation: "subscribe", detail: "the subscription ended" }) })
      )
    ),
    Effect.catchCause((cause) => Deferred.failCause(broken, cause)),
    Effect.forkScoped
  )
  const ended = yield* Effect.exit(Effect.raceFirst(Deferred.await(broken), leave.await))
  leave.openUnsafe()
  yield* Effect.timeoutOption(FiberSet.awaitEmpty(inFlight), grace)
  yield* ended
})
