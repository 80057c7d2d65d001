import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import type * as Event from "../definitions/Event.ts"
import { CurrentMetadata, inheritedMetadata, recordedMetadata } from "../definitions/metadata.ts"
import type { Metadata, NewEvent } from "../definitions/stored.ts"
import { NewId } from "../internal/ids.ts"
import { ExpectedVersion } from "../store/EventStore.ts"
import { CurrentDispatch, CurrentMessage, type Envelope, type Heard, MessageBus } from "./bus.ts"
import { observed } from "./observing.ts"
import {
  type CommitError,
  type Slot,
  type StagedEvent,
  TooManyMessagesError,
  Transaction,
  type TransactionService,
  UnitOfWork
} from "./transaction.ts"
import { transact } from "./UnitOfWork.ts"

/** A message that comes in. */
export type Incoming = {
  readonly type: string
  readonly options: { readonly correlationId?: string | undefined; readonly metadata?: Metadata | undefined } | undefined
} & (
  | {
      readonly _tag: "Command"
      /** What is stored of it, if anything is. */
      readonly record: NewEvent | undefined
    }
  | {
      readonly _tag: "Event"
      readonly definition: Event.Any
      /** The typed event, for its listeners. */
      readonly value: unknown
      readonly event: NewEvent
      /** Goes to its listeners, but is not written. */
      readonly transient: boolean
    }
)

/** Handles a message that comes in: opens or joins a unit of work, and sees to it that all that follows is dispatched. */
export const message = <A, E>(
  incoming: Incoming,
  body: Effect.Effect<A, E, Transaction>,
  /** What is done at last, with what the body gave. */
  last?: (value: A) => Effect.Effect<void, CommitError, Transaction>
): Effect.Effect<A, E | CommitError, MessageBus> =>
  Effect.withFiber<A, E | CommitError, MessageBus>((fiber) => {
    const bus = Context.get(fiber.context as Context.Context<MessageBus>, MessageBus)
    const parent = fiber.getRef(CurrentMessage)
    const inherited = fiber.getRef(CurrentMetadata)
    const begin = (newId: NewId) => {
      const { options } = incoming
      const correlationId = options?.correlationId ?? parent?.correlationId ?? inherited.correlationId ?? newId.value
      const metadata: Metadata = {
        ...inherited,
        ...options?.metadata,
        correlationId,
        ...(parent === undefined ? {} : { causationId: parent.id })
      }
      const handling = Transaction.use((transaction) => handle(bus, transaction, { incoming, newId, metadata, body, last }))
      return Effect.provideService(transact(handling), UnitOfWork, bus.unitOfWork)
    }
    return Effect.flatMap(NewId.make, begin)
  })

/** Handles a message in its unit of work. */
const handle = <A, E>(
  bus: MessageBus["Service"],
  transaction: TransactionService,
  {
    body,
    incoming,
    last,
    metadata,
    newId
  }: {
    readonly incoming: Incoming
    readonly newId: NewId
    readonly metadata: Metadata
    readonly body: Effect.Effect<A, E, Transaction>
    readonly last: ((value: A) => Effect.Effect<void, CommitError, Transaction>) | undefined
  }
): Effect.Effect<A, E | CommitError, Transaction> => {
  const { type } = incoming
  const id = newId.value
  const { causationId, correlationId = id } = metadata
  const current = { id, correlationId, causationId }
  const run = incoming._tag === "Event" ? body : observed("command", type, current, withMessage(current, metadata, body))
  const dispatched = dispatching(bus, transaction, run)
  const all = last === undefined ? dispatched : Effect.tap(dispatched, (value) => withMessage(current, metadata, last(value)))
  const counted = incoming._tag === "Command" ? Effect.andThen(countMessage(bus, type), all) : all
  const staging = stagingOf(incoming, metadata)
  if (staging === undefined) return counted
  const staged = transaction.stage(`$bus-${correlationId}`, [{ ...staging, id: newId }], ExpectedVersion.Any)
  return Effect.andThen(staged, counted)
}

/** What is staged of a message. */
const stagingOf = (incoming: Incoming, metadata: Metadata): Parameters<TransactionService["stage"]>[1][number] | undefined => {
  switch (incoming._tag) {
    case "Command": {
      const { record } = incoming
      return record && { _tag: "Record", event: { ...record, metadata: recordedMetadata(metadata, "command") } }
    }
    case "Event": {
      const { definition, event, transient, value } = incoming
      return { _tag: "Event", definition, value, transient, event: { ...event, metadata: recordedMetadata(metadata, "event") } }
    }
  }
}

/** Sees to it that what `run` stages is dispatched. */
export const dispatching = <A, E, R>(
  bus: MessageBus["Service"],
  transaction: TransactionService,
  run: Effect.Effect<A, E, R>
): Effect.Effect<A, E | CommitError, R | Transaction> =>
  Effect.withFiber((fiber) =>
    // Only the outermost message of a unit of work dispatches: what is staged within it takes its turn in the one queue.
    fiber.getRef(CurrentDispatch)?.transaction === transaction.id
      ? run
      : Effect.provideService(
          Effect.tap(run, () => dispatchStaged(bus, transaction)),
          CurrentDispatch,
          { transaction: transaction.id, spans: new Map() }
        )
  )

/** First in, first out: what a listener stages is dispatched after what stood before it. */
const dispatchStaged = Effect.fnUntraced(function* (bus: MessageBus["Service"], transaction: TransactionService) {
  let staged: StagedEvent | undefined
  while ((staged = transaction.next()) !== undefined) {
    if (staged._tag !== "Record") yield* deliver(bus, staged)
  }
})

/** Lets the listeners of an event hear it: in a replay, those that take part in replays. */
export const deliver = (
  bus: MessageBus["Service"],
  heard: Heard,
  replay = false
): Effect.Effect<void, CommitError, Transaction> => {
  const { event, stream, version } = heard
  const { id, metadata, type } = event
  const listeners = bus.listeners(type).filter((listener) => (listener.replay || !replay) && listener.hears(heard))
  if (listeners.length === 0) return Effect.void
  const message = { id, correlationId: metadata.correlationId ?? id, causationId: metadata.causationId }
  const envelope: Envelope = { ...message, stream, version, metadata, replay }
  const run = Effect.forEach(listeners, (listener) => listener.run(heard, envelope), { discard: true })
  return Effect.andThen(countMessage(bus, type), observed("event", type, message, withMessage(message, metadata, run)))
}

/** The messages that a unit of work has handled: how many, and the types of the last ones. */
const HandledMessages: Slot<{ count: number; readonly recent: Array<string> }> = { make: () => ({ count: 0, recent: [] }) }

const recentMessages = 10

/** Refuses the message that is one too many for the unit of work. */
const countMessage = (
  { maxMessages: limit }: MessageBus["Service"],
  type: string
): Effect.Effect<void, TooManyMessagesError, Transaction> =>
  Transaction.use((transaction) => {
    const handled = transaction.slot(HandledMessages)
    handled.recent.push(type)
    if (handled.recent.length > recentMessages) handled.recent.shift()
    return ++handled.count > limit
      ? Effect.fail(new TooManyMessagesError({ limit, recent: handled.recent.slice() }))
      : Effect.void
  })

/** What is staged by `effect` is caused by the message, and bears the other metadata that came with it; logs tell the conversation. */
const withMessage = <A, E, R>(
  { correlationId, id }: { readonly id: string; readonly correlationId: string },
  metadata: Metadata,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.updateContext(effect, (context: Context.Context<R>) =>
    context.pipe(
      Context.add(References.CurrentLogAnnotations, { ...Context.get(context, References.CurrentLogAnnotations), correlationId }),
      Context.add(CurrentMessage, { id, correlationId }),
      Context.add(CurrentMetadata, { ...inheritedMetadata(metadata), correlationId, causationId: id })
    )
  )
