import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as MessageBus from "../deciding/MessageBus.ts"
import * as Repository from "../deciding/Repository.ts"
import { type CommitError, CurrentMetadata, retryConflicts, transact, Transaction, UnitOfWork } from "../deciding/UnitOfWork.ts"
import * as Event from "../definitions/Event.ts"
import { readOwn } from "../definitions/listing.ts"
import { inheritedMetadata } from "../definitions/metadata.ts"
import type { Metadata, RecordedEvent } from "../definitions/stored.ts"
import { dueAt } from "../internal/dueAt.ts"
import { makeId } from "../internal/ids.ts"
import type { Turns } from "../internal/turns.ts"
import { type EventStore, streamName } from "../store/EventStore.ts"
import type { Action, Tagged } from "./actions.ts"
import type { Any, Source } from "./definition.ts"
import { DeadlineCancelled, DeadlineSet, type Entries, EventHandled, wasHandled } from "./journal.ts"

type Services = EventStore | MessageBus.MessageBus | MessageBus.Handler<string>

type Read = Event.Read<Event.Any>

/** What a stored event is read as, by the key of the process that it belongs to. */
const byKeyOf = (process: Any, all: ReadonlyArray<Read>, recorded: RecordedEvent) => {
  const correlate = process.correlate as Record<string, (event: Tagged) => string | undefined>
  const byKey = new Map<string, Array<Read>>()
  for (const read of all) {
    const key = process.deadlines.includes(read.definition)
      ? recorded.stream.slice(process.name.length + 1)
      : correlate[read.definition.type]?.(read.event)
    if (key !== undefined) byKey.set(key, [...(byKey.get(key) ?? []), read])
  }
  return byKey
}

/** The streams of the processes that a stored event belongs to; none where that cannot be told, for then it fails by itself. */
export const processesOf = (process: Any, recorded: RecordedEvent): ReadonlyArray<string> => {
  const keys = Result.flatMap(readOwn(process.readers, recorded), (all) =>
    Result.try(() => Array.from(byKeyOf(process, all, recorded).keys()))
  )
  return Result.getOrElse(keys, () => []).map((key) => streamName(process.name, key))
}

/** No stream is called so: whose decisions have lost a race take turns, whatever they read. */
const ofConditions = ""

/**
 * Reacts to a stored event: all that it is read as for one process is reacted to in one unit of work. One that loses a race for a stream, or by a
 * decision, runs again in its turn among those that have lost one there: however many race, some win each time and none loses for ever.
 */
export const handle = Effect.fnUntraced(function* (
  process: Any,
  all: ReadonlyArray<Read>,
  recorded: RecordedEvent,
  turns: Turns
) {
  const { unitOfWork } = yield* MessageBus.MessageBus
  for (const [key, reads] of byKeyOf(process, all, recorded)) {
    const reaction = Effect.provideService(transact(reactTo(process, key, reads, recorded)), UnitOfWork, unitOfWork)
    let lost: string | undefined
    yield* Effect.suspend(() => (lost === undefined ? reaction : turns.take(lost, reaction))).pipe(
      Effect.tapErrorTag("OptimisticLockError", ({ stream }) => Effect.sync(() => void (lost = stream))),
      Effect.tapErrorTag("AppendConditionError", () => Effect.sync(() => void (lost = ofConditions))),
      retryConflicts({ times: 10 })
    )
  }
})

/** What is noted of an event that was reacted to: what is stored, or, where that was only read as one of this type, the event itself. */
const noteOf = ({ definition, event }: Read, recorded: RecordedEvent) => {
  const { metadata, payload, recordedAt, schemaVersion, type } = recorded
  if (Object.hasOwn(definition.from, type)) {
    return Effect.map(Effect.fromResult(Event.encode(definition, event)), ({ payload }) => ({
      type: definition.type,
      schemaVersion: definition.version,
      payload
    }))
  }
  const asksForSource = Object.values(definition.upcasts).some((upcast) => upcast.length > 1)
  return Effect.succeed({
    type,
    schemaVersion,
    payload,
    ...(asksForSource ? { metadata: defined(metadata), recordedAt } : {})
  })
}

/** Whether an event was reacted to, however long ago. Reads the whole stream of the process, so it is asked of old events alone. */
const standsInJournal = ({ journal }: Any, key: string, id: string) =>
  Repository.events(journal, key).pipe(
    Stream.filter(({ event }) => event._tag === EventHandled.type && (event as typeof EventHandled.Type).id === id),
    Stream.runHead,
    Effect.map(Option.isSome)
  )

const reactTo = Effect.fnUntraced(function* (process: Any, key: string, reads: ReadonlyArray<Read>, recorded: RecordedEvent) {
  const { journal } = process
  const { state: entries } = yield* Repository.load(journal, key)
  const { id } = recorded
  const before = reads.some(({ definition }) => !process.deadlines.includes(definition))
    ? (wasHandled(entries, recorded) ?? (yield* standsInJournal(process, key, id)))
    : false
  for (const read of reads) {
    const passed = process.deadlines.includes(read.definition) ? entries.deadlines.get(read.definition.type)?.id !== id : before
    if (!passed) yield* reactToOne(process, key, read, recorded)
  }
})

const reactToOne = Effect.fnUntraced(function* (process: Any, key: string, read: Read, recorded: RecordedEvent) {
  const { definitions, journal, name } = process
  const { id, metadata, position, stream, version } = recorded
  const { event } = read
  const state = yield* Effect.fromResult((yield* Repository.load(journal, key)).state.state)

  const inherited = inheritedMetadata(metadata)
  const correlationId = metadata.correlationId ?? id
  const note = (causationId: string, decide: (entries: Entries) => ReadonlyArray<Tagged>) =>
    Repository.execute(journal, key, decide).pipe(
      Effect.provideService(CurrentMetadata, { ...inherited, correlationId, causationId })
    )
  const noted = yield* noteOf(read, recorded)
  // Before all else, so that what follows is caused by it.
  yield* note(id, () => [EventHandled.make({ ...noted, id, stream, version, position })])
  const handled = (yield* Transaction).staged(streamName(name, key)).at(-1)?.event.id ?? id

  const act = (action: Action): Effect.Effect<unknown, CommitError, Services | Transaction> => {
    switch (action._tag) {
      case "SetDeadline":
        return Effect.gen(function* () {
          const definition = definitions.get(action.event._tag) as Event.Any
          const encoded = yield* Effect.fromResult(Event.encode(definition, action.event))
          const since = DateTime.toEpochMillis(recorded.recordedAt)
          const due = DateTime.makeUnsafe(dueAt(name, action.event._tag, action.due, since))
          const id = yield* makeId
          yield* note(handled, () => [DeadlineSet.make({ schemaVersion: 1, published: false, tags: [], ...encoded, due, id })])
        })
      case "CancelDeadline": {
        const { type } = action
        return note(handled, ({ deadlines }) => (deadlines.has(type) ? [DeadlineCancelled.make({ type })] : []))
      }
      case "Send": {
        const isRejection = Schema.is(action.command.errorSchema)
        // What `send` has made: the payload and the rejections are those of its command.
        return MessageBus.execute(action.command, action.payload as never).pipe(
          Effect.provideService(MessageBus.CurrentMessage, { id: handled, correlationId }),
          Effect.provideService(CurrentMetadata, inherited),
          Effect.catchIf(isRejection, (error) => actAll(action.onRejected(error as never)))
        )
      }
    }
  }
  const actAll = (actions: ReadonlyArray<Action>) => Effect.forEach(actions, act, { discard: true })

  const react = process.react as Record<string, (state: unknown, event: Tagged, source: Source) => ReadonlyArray<Action>>
  yield* actAll(react[read.definition.type]?.(state, event, { key, recorded }) ?? [])
})

/** Metadata without what is not there. */
const defined = (metadata: Metadata) =>
  Object.fromEntries(Object.entries(metadata).filter((entry): entry is [string, Schema.Json] => entry[1] !== undefined))
