import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as MessageBus from "../deciding/MessageBus.ts"
import * as Repository from "../deciding/Repository.ts"
import { type CommitError, CurrentMetadata, retryConflicts, transact, Transaction, UnitOfWork } from "../deciding/UnitOfWork.ts"
import * as Event from "../definitions/Event.ts"
import { inheritedMetadata } from "../definitions/metadata.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import { makeId } from "../internal/ids.ts"
import { type EventStore, streamName } from "../store/EventStore.ts"
import type { Action, Tagged } from "./actions.ts"
import type { Any, Source } from "./definition.ts"
import { DeadlineCancelled, DeadlineSet, type Entries, EventHandled, wasHandled } from "./journal.ts"

export const typesOf = (events: ReadonlyArray<Event.Any>) => events.map(({ type }) => type)

type Services = EventStore | MessageBus.MessageBus | MessageBus.Handler<string>

export const handle = (process: Any, event: Tagged, recorded: RecordedEvent) =>
  Effect.gen(function* () {
    const ofDeadline = process.deadlines.some(({ type }) => type === recorded.type)
    const correlate = process.correlate as Record<string, (event: Tagged) => string | undefined>
    const key = ofDeadline ? recorded.stream.slice(process.name.length + 1) : correlate[recorded.type]?.(event)
    if (key === undefined) return
    const { unitOfWork } = yield* MessageBus.MessageBus
    yield* transact(reactTo(process, key, event, recorded)).pipe(
      Effect.provideService(UnitOfWork, unitOfWork),
      retryConflicts({ times: 10 })
    )
  })

/** Whether an event was reacted to, however long ago. Reads the whole stream of the process, so it is asked of old events alone. */
const standsInJournal = ({ journal }: Any, key: string, id: string) =>
  Repository.events(journal, key).pipe(
    Stream.filter(({ event }) => event._tag === EventHandled.type && (event as typeof EventHandled.Type).id === id),
    Stream.runHead,
    Effect.map(Option.isSome)
  )

const reactTo = Effect.fnUntraced(function* (process: Any, key: string, event: Tagged, recorded: RecordedEvent) {
  const { definitions, journal, name } = process
  const { id, metadata, payload, position, schemaVersion, stream, type, version } = recorded
  const { state: entries } = yield* Repository.load(journal, key)
  const ofDeadline = process.deadlines.some((deadline) => deadline.type === type)
  const passed = ofDeadline
    ? entries.deadlines.get(type)?.id !== id
    : (wasHandled(entries, recorded) ?? (yield* standsInJournal(process, key, id)))
  if (passed) return
  const state = yield* Effect.fromResult(entries.state)

  const inherited = inheritedMetadata(metadata)
  const correlationId = metadata.correlationId ?? id
  const note = (causationId: string, decide: (entries: Entries) => ReadonlyArray<Tagged>) =>
    Repository.execute(journal, key, (entries) => Effect.succeed(decide(entries))).pipe(
      Effect.provideService(CurrentMetadata, { ...inherited, correlationId, causationId })
    )
  // Before all else, so that what follows is caused by it.
  yield* note(id, () => [EventHandled.make({ type, id, stream, version, position, schemaVersion, payload })])
  const handled = (yield* Transaction).staged(streamName(name, key)).at(-1)?.event.id ?? id

  const act = (action: Action): Effect.Effect<unknown, CommitError, Services | Transaction> => {
    switch (action._tag) {
      case "SetDeadline":
        return Effect.gen(function* () {
          const definition = definitions.get(action.event._tag) as Event.Any
          const encoded = yield* Effect.fromResult(Event.encode(definition, action.event))
          const due = DateTime.isDateTime(action.due) ? action.due : DateTime.addDuration(recorded.recordedAt, action.due)
          const id = yield* makeId
          yield* note(handled, () => [DeadlineSet.make({ schemaVersion: 1, published: false, tags: [], ...encoded, due, id })])
        })
      case "CancelDeadline": {
        const { type } = action
        return note(handled, ({ deadlines }) => (deadlines.has(type) ? [DeadlineCancelled.make({ type })] : []))
      }
      case "Send": {
        const isRejection = Schema.is(action.command.errorSchema)
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
  yield* actAll(react[type]?.(state, event, { key, recorded }) ?? [])
})
