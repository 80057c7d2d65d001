import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Aggregate from "../definitions/Aggregate.ts"
import { freeze } from "../internal/freeze.ts"
import * as Event from "../definitions/Event.ts"
import { fingerprintOf } from "../definitions/fingerprint.ts"
import { tombstoneType } from "../store/tombstone.ts"

/** Folds by type, when the types are known at run time alone. */
export type Folds<State> = Aggregate.Evolve<ReadonlyArray<Event.Any>, State>

/** An event that was reacted to: where it stands, and a copy of its payload. */
export const EventHandled = Event.make("$EventHandled", {
  type: Schema.String,
  id: Schema.String,
  stream: Schema.String,
  version: Schema.Int,
  position: Schema.Int,
  schemaVersion: Schema.Int,
  payload: Schema.Json,
  // Where an upcast of the event asks for them.
  metadata: Schema.optionalKey(Schema.Record(Schema.String, Schema.Json)),
  recordedAt: Schema.optionalKey(Schema.DateTimeUtc)
})

/** A deadline: when it is due, and the event that is recorded then, ready to append. */
export const DeadlineSet = Event.make("$DeadlineSet", {
  type: Schema.String,
  due: Schema.DateTimeUtc,
  id: Schema.String,
  schemaVersion: Schema.Int,
  payload: Schema.Json,
  published: Schema.Boolean,
  tags: Schema.Array(Schema.String)
})

export const DeadlineCancelled = Event.make("$DeadlineCancelled", { type: Schema.String })

/** What stands where something of the history of a process was removed. */
const Removed = Event.make(tombstoneType, { type: Schema.String })

/** The type that a deadline has today, by the one that it was stored under. */
export const nameToday =
  (deadlines: ReadonlyArray<Event.Any>) =>
  (type: string): string =>
    deadlines.find(({ aliases }) => aliases.includes(type))?.type ?? type

/** Whether a deadline of this type comes no more. */
export const isRetired = (deadlines: ReadonlyArray<Event.Any>, type: string): boolean =>
  deadlines.some((deadline) => "retired" in deadline && Event.storedTypes(deadline).includes(type))

/** What is known of a process. */
export interface Entries {
  /** Folded from the events that were reacted to, in that order; or why one of them cannot be decoded. */
  readonly state: Result.Result<unknown, Event.EventDecodeError | Event.UnknownEventTypeError>
  /** The newest of these events, in the order of their positions. */
  readonly handled: ReadonlyArray<Pick<typeof EventHandled.Type, "id" | "position">>
  /** Which of them are not listed any more: those up to this position. */
  readonly unlisted: number
  /** The deadlines that are set, by type. */
  readonly deadlines: ReadonlyMap<string, typeof DeadlineSet.Type>
}

/** How many of the events that were reacted to are listed: more than a process has in hand at once. */
const listed = 256

/** Lists an event that was reacted to, if it is not older than those that are not listed any more. */
const list = (
  { handled, unlisted }: Entries,
  { id, position }: typeof EventHandled.Type
): Pick<Entries, "handled" | "unlisted"> => {
  if (position <= unlisted) return { handled, unlisted }
  const place = handled.findLastIndex((other) => other.position < position) + 1
  const longer = handled.toSpliced(place, 0, { id, position })
  const [oldest] = longer
  return longer.length > listed && oldest !== undefined
    ? { handled: longer.slice(1), unlisted: oldest.position }
    : { handled: longer, unlisted }
}

/** Whether an event was reacted to; `undefined` when the list does not go back so far. */
export const wasHandled = (
  { handled, unlisted }: Entries,
  { id, position }: Pick<typeof EventHandled.Type, "id" | "position">
): boolean | undefined => handled.some((other) => other.id === id) || (position <= unlisted ? undefined : false)

export type Journal = Aggregate.Aggregate<string, typeof Schema.NonEmptyString, ReadonlyArray<Event.Any>, Entries>

export const makeJournal = (
  name: string,
  process: {
    readonly readers: Event.Readers
    readonly deadlines: ReadonlyArray<Event.Any>
    readonly initial: unknown
    readonly evolve: Folds<unknown>
    readonly snapshot:
      | { readonly state: Aggregate.StateSchema; readonly every: number; readonly version?: number | undefined }
      | undefined
  }
): Journal => {
  const { deadlines, readers, snapshot } = process
  const keep: Aggregate.Evolve<[typeof EventHandled, typeof DeadlineSet, typeof DeadlineCancelled], Entries> = {
    $EventHandled: (entries, event) => ({
      state: Result.flatMap(entries.state, (state) =>
        Result.map(Event.readAll(readers, event), (all) =>
          all.reduce((state, { definition, event }) => freeze(process.evolve[definition.type]?.(state, event)), state)
        )
      ),
      ...list(entries, event),
      deadlines: entries.deadlines.get(today(event.type))?.id === event.id ? without(entries, event.type) : entries.deadlines
    }),
    $DeadlineSet: (entries, event) => ({
      ...entries,
      deadlines: isRetired(deadlines, event.type) ? entries.deadlines : without(entries, event.type).set(today(event.type), event)
    }),
    $DeadlineCancelled: (entries, { type }) => ({ ...entries, deadlines: without(entries, type) })
  }
  const today = nameToday(deadlines)
  const without = ({ deadlines }: Entries, type: string) =>
    new Map(Array.from(deadlines).filter(([other]) => other !== today(type)))
  // That the time of a deadline has come changes nothing until its turn has come as well.
  const come = deadlines.map(({ type }) => [type, (entries: Entries) => entries])
  const events: ReadonlyArray<Event.Any> = [EventHandled, DeadlineSet, DeadlineCancelled, ...deadlines]
  const journal = Aggregate.make(name, {
    events,
    initial: { state: Result.succeed(freeze(process.initial)), handled: [], unlisted: 0, deadlines: new Map() } as Entries,
    evolve: { ...Object.fromEntries(come), ...keep } as Folds<Entries>,
    snapshot: snapshot && {
      ...snapshot,
      state: Schema.Struct({
        // What cannot be decoded is not kept.
        state: Schema.Result(snapshot.state, Schema.Never),
        handled: Schema.Array(Schema.Struct({ id: Schema.String, position: Schema.Int })),
        unlisted: Schema.Int,
        deadlines: Schema.ReadonlyMap(Schema.String, DeadlineSet)
      })
    }
  })
  // A process whose history was removed begins anew. Not among its events, from which the fingerprint of its snapshots is made.
  const restarting: Journal = {
    ...journal,
    definitions: new Map([...journal.definitions, [Removed.type, Removed]]),
    readers: new Map([...journal.readers, [Removed.type, [Removed]]]),
    evolve: { ...journal.evolve, [Removed.type]: () => journal.initial }
  }
  if (snapshot === undefined || journal.snapshot === undefined) return restarting
  // What makes the state of a process is its own folds, and not those of its journal.
  const { evolve, initial } = process
  const { state: schema, version = 1 } = snapshot
  const own = fingerprintOf({ name, version, schema, initial, events: new Set([...readers.values()].flat()), evolve })
  return { ...restarting, snapshot: { ...journal.snapshot, fingerprint: `${journal.snapshot.fingerprint}${own}` } }
}
