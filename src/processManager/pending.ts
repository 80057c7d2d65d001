/**
 * The deadlines that are set, as far as the log has been seen: in memory, or in the table that is kept beside the checkpoint, with what
 * has changed since that was moved.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import * as Event from "../definitions/Event.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import type { CheckpointError, DeadlineChange, KeptDeadline, KeptDeadlines, Lease, SeenEvent } from "../store/Checkpoints.ts"
import { DeadlineCancelled, DeadlineSet, isRetired, nameToday } from "./journal.ts"

/** What an event says of the deadline of a type in a stream. */
type Change = DeadlineChange & {
  /** Of the event. */
  readonly position: number
  /** The stream and the type as it is called today: one deadline of a type stands in a stream at a time. */
  readonly place: string
}

/** A page of the deadlines that are due. */
interface DuePage {
  /** In the order of their times. */
  readonly deadlines: ReadonlyArray<KeptDeadline>
  /** Behind which the next page begins; none behind the last page. */
  readonly next: KeptDeadline | undefined
}

/** The deadlines that are set. */
export interface Pending {
  /** How far the log has been seen. */
  readonly seen: () => number
  /** Begins anew, at a position. */
  readonly restart: (position: number) => void
  /** Sees an event, once. */
  readonly note: (recorded: RecordedEvent) => Effect.Effect<void, Event.EventDecodeError>
  /** When the first of them is due; never when there is none. */
  readonly next: (now: number) => Effect.Effect<number, CheckpointError>
  /** Those that are due, a page of them; the first page, or the one behind a deadline. */
  readonly due: (now: number, after: KeptDeadline | undefined) => Effect.Effect<DuePage, CheckpointError>
  /** Forgets one that has come, unless it has been set anew meanwhile. */
  readonly forget: (deadline: KeptDeadline) => void
  /** The position before which a restart has to begin; none where what stands is kept. */
  readonly oldest: () => number | undefined
  /** Moves the checkpoint, and keeps what has changed up to there; where nothing is kept, the checkpoint is all that moves. */
  readonly advance:
    | ((lease: Lease, position: number, seen: SeenEvent | undefined) => ReturnType<KeptDeadlines["advance"]>)
    | undefined
}

/** How many deadlines a page has. */
const pageSize = 1000

/** No time is further away, in milliseconds. */
const eternity = 8.64e15

const byDue = (a: KeptDeadline, b: KeptDeadline): number => a.due - b.due || a.position - b.position

type Definitions = ReadonlyArray<Event.Any>

/** All names under which the deadline of a type may have been kept. */
const namesOf = (definitions: Definitions, type: string): ReadonlyArray<string> => {
  const definition = definitions.find((deadline) => deadline.type === type)
  return definition === undefined ? [type] : Event.storedTypes(definition)
}

/** Whether this release knows deadlines of the type. One of another stands until a release that knows it has its turn: who let it come here would lose it. */
const isKnown = (definitions: Definitions, type: string): boolean =>
  definitions.some((deadline) => deadline.type === type || deadline.aliases.includes(type))

const placeOf = (definitions: Definitions, { stream, type }: Pick<KeptDeadline, "stream" | "type">) =>
  `${stream}\u0000${nameToday(definitions)(type)}`

/** What an event says. */
const changeOf = (definitions: Definitions, recorded: RecordedEvent): Effect.Effect<Change, Event.EventDecodeError> => {
  const { id, position, stream } = recorded
  const change = (type: string, what: Pick<DeadlineChange, "set" | "onlyIds">) => {
    const today = nameToday(definitions)(type)
    return { position, place: placeOf(definitions, { stream, type }), stream, types: namesOf(definitions, today), ...what }
  }
  switch (recorded.type) {
    case DeadlineSet.type:
      return Effect.map(Effect.fromResult(Event.decode(DeadlineSet, recorded)), ({ due, id, type }) =>
        change(type, {
          // One of a type that is retired comes no more.
          set: isRetired(definitions, type)
            ? undefined
            : { stream, type: nameToday(definitions)(type), due: DateTime.toEpochMillis(due), position, id },
          onlyIds: undefined
        })
      )
    case DeadlineCancelled.type:
      return Effect.map(Effect.fromResult(Event.decode(DeadlineCancelled, recorded)), ({ type }) =>
        change(type, { set: undefined, onlyIds: undefined })
      )
    default:
      // It has come: one that has been set anew since has another id.
      return Effect.succeed(change(recorded.type, { set: undefined, onlyIds: [id] }))
  }
}

/** Sees each event once. */
const noting = (definitions: Definitions, apply: (change: Change) => void, restart: () => void) => {
  let seen = 0
  return {
    seen: () => seen,
    restart: (position: number) => {
      seen = position
      restart()
    },
    note: (recorded: RecordedEvent) => {
      if (recorded.position <= seen) return Effect.void
      seen = recorded.position
      return Effect.map(changeOf(definitions, recorded), apply)
    }
  }
}

/** Deadlines in memory: a restart has to read what has been said of them since the oldest that stands was set. */
export const inMemory = (definitions: Definitions): Pending => {
  /** By place, in the order of positions. */
  const standing = new Map<string, KeptDeadline>()
  /** In the order of their times from `first` on; those that stand no more are passed over. */
  let queue: Array<KeptDeadline> = []
  let first = 0
  const stands = (deadline: KeptDeadline) => standing.get(placeOf(definitions, deadline)) === deadline
  const enqueue = (deadline: KeptDeadline) => {
    if (queue.length > 2 * standing.size + 1024) {
      queue = queue.filter((other, index) => index >= first && stands(other))
      first = 0
    }
    let low = first
    let high = queue.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (byDue(queue[middle] ?? deadline, deadline) <= 0) low = middle + 1
      else high = middle
    }
    queue.splice(low, 0, deadline)
  }
  const firstStanding = (): KeptDeadline | undefined => {
    for (; first < queue.length; first++) {
      const deadline = queue[first]
      if (deadline !== undefined && stands(deadline)) return deadline
    }
    return undefined
  }
  const apply = ({ onlyIds, place, set }: Change) => {
    if (onlyIds !== undefined && !onlyIds.includes(standing.get(place)?.id ?? "")) return
    standing.delete(place)
    if (set === undefined) return
    standing.set(place, set)
    if (isKnown(definitions, set.type)) enqueue(set)
  }
  return {
    ...noting(definitions, apply, () => {
      standing.clear()
      queue = []
      first = 0
    }),
    next: () => Effect.sync(() => firstStanding()?.due ?? Number.POSITIVE_INFINITY),
    due: (now, after) =>
      Effect.sync(() => {
        const deadlines: Array<KeptDeadline> = []
        firstStanding()
        for (let index = first; index < queue.length && deadlines.length < pageSize; index++) {
          const deadline = queue[index]
          if (deadline === undefined || deadline.due > now) break
          if (stands(deadline) && (after === undefined || byDue(deadline, after) > 0)) deadlines.push(deadline)
        }
        return { deadlines, next: deadlines.length < pageSize ? undefined : deadlines.at(-1) }
      }),
    forget: (deadline) => {
      if (stands(deadline)) standing.delete(placeOf(definitions, deadline))
    },
    oldest: () => standing.values().next().value?.position,
    advance: undefined
  }
}

/** Deadlines in a table, and in memory what has changed since it was written last. */
export const inTable = (definitions: Definitions, table: KeptDeadlines, checkpoint: string): Pending => {
  /** By place. */
  const changed = new Map<string, Change>()
  /** None in the table is due before. */
  let earliest = Number.NEGATIVE_INFINITY
  /** What is read and what has changed since would not fit together while that is being written. */
  const exclusively = Semaphore.makeUnsafe(1).withPermit
  const isVisible = (row: KeptDeadline): boolean => {
    const change = changed.get(placeOf(definitions, row))
    if (!isKnown(definitions, row.type) || isRetired(definitions, row.type)) return false
    return change === undefined || (change.set === undefined && change.onlyIds !== undefined && !change.onlyIds.includes(row.id))
  }
  const apply = (change: Change) => {
    const before = changed.get(change.place)
    if (before === undefined || change.onlyIds === undefined) return void changed.set(change.place, change)
    // What has been set since has another id, and what has been cancelled is cancelled already.
    if (before.set === undefined ? before.onlyIds === undefined : !change.onlyIds.includes(before.set.id)) return
    const onlyIds = before.set === undefined ? [...(before.onlyIds ?? []), ...change.onlyIds] : undefined
    changed.set(change.place, { ...change, onlyIds })
  }
  const fresh = () =>
    Array.from(changed.values()).flatMap(({ set }) => (set === undefined || !isKnown(definitions, set.type) ? [] : [set]))
  const start = { due: -eternity, position: 0 }
  const firstVisible = Effect.gen(function* () {
    for (let after: Pick<KeptDeadline, "due" | "position"> = start; ;) {
      const rows = yield* table.due(checkpoint, { upTo: eternity, after, limit: 64 })
      const visible = rows.find(isVisible)
      const last = rows.at(-1)
      if (visible !== undefined || rows.length < 64 || last === undefined) return visible?.due ?? Number.POSITIVE_INFINITY
      after = last
    }
  })
  return {
    ...noting(definitions, apply, () => {
      changed.clear()
      earliest = Number.NEGATIVE_INFINITY
    }),
    next: (now) =>
      exclusively(
        Effect.gen(function* () {
          if (earliest <= now) earliest = yield* firstVisible
          return fresh().reduce((earliest, { due }) => Math.min(earliest, due), earliest)
        })
      ),
    due: (now, after) =>
      exclusively(
        Effect.gen(function* () {
          const rows = yield* table.due(checkpoint, { upTo: now, after: after ?? start, limit: pageSize })
          const last = rows.length < pageSize ? undefined : rows.at(-1)
          const isOfPage = (deadline: KeptDeadline) =>
            deadline.due <= now &&
            (after === undefined || byDue(deadline, after) > 0) &&
            (last === undefined || byDue(deadline, last) <= 0)
          return { deadlines: [...rows.filter(isVisible), ...fresh().filter(isOfPage)].sort(byDue), next: last }
        })
      ),
    forget: (deadline) => {
      const { id, position, stream, type } = deadline
      const types = namesOf(definitions, nameToday(definitions)(type))
      apply({ position, place: placeOf(definitions, deadline), stream, types, set: undefined, onlyIds: [id] })
    },
    oldest: () => undefined,
    advance: (lease, position, seen) =>
      exclusively(
        Effect.gen(function* () {
          const changes = Array.from(changed.values()).filter((change) => change.position <= position)
          const moved = yield* table.advance(lease, position, seen, changes)
          for (const change of changes) {
            if (changed.get(change.place) === change) changed.delete(change.place)
            if (change.set !== undefined) earliest = Math.min(earliest, change.set.due)
          }
          return moved
        })
      )
  }
}
