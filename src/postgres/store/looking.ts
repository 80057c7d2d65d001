/**
 * What is looked through before the head is locked. All appends of all processes wait for that lock, so a condition that reaches far back
 * must not be checked under it. Without the lock it is asked up to a head that was read before: what matches does so for ever, and where nothing
 * does, nothing will, for the log only grows.
 */
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../../store/EventStore.ts"
import type { EventPage, Pages, PreparedAppend } from "../../store/kit/index.ts"
import { isCancelled } from "../errors.ts"
import { type Attempt, isTagged, mostOf } from "../sql/conditions.ts"
import { makeLooked } from "./looked.ts"
import { scannable } from "./reading.ts"
import { readHead, type Shared } from "./shared.ts"

/** How often an append looks without the lock. What comes in while it waits for its turn is little: the last time, it is looked at whatever it is. */
const mostTimes = 3

/** Fewer positions than that are not halved. */
const fewest = 100

/** The newest event of a stretch, however little time the server gives a statement: half of the stretch takes half of it. */
const inHalves =
  (all: Pages["all"]): Pages["all"] =>
  (request) =>
    Effect.catchIf(
      all(request),
      (error) => isCancelled(error) && request.upTo - request.after > fewest,
      () => {
        const middle = request.after + Math.floor((request.upTo - request.after) / 2)
        return Effect.flatMap(inHalves(all)({ ...request, after: middle }), (page): Effect.Effect<EventPage, EventStoreError> =>
          page.items.length > 0 ? Effect.succeed(page) : inHalves(all)({ ...request, upTo: middle })
        )
      }
    )

export interface Looking {
  /** An append as it is sent at first, after a look at the log where it surely needs one. */
  readonly begin: (append: PreparedAppend) => Effect.Effect<Attempt, EventStoreError>
  /** An append that the database has not decided, because it would have looked through too much under the lock. */
  readonly again: (attempt: Attempt) => Effect.Effect<Attempt, EventStoreError>
}

export const makeLooking = (shared: Shared): Looking => {
  const head = readHead(shared, "append")
  const scanned = scannable(shared, "append")
  const { find, isKept } = makeLooked(shared, { ...scanned, all: inHalves(scanned.all) })
  const look = Effect.fnUntraced(function* (append: Attempt, times: number): Effect.fn.Return<Attempt, EventStoreError> {
    const upTo = yield* head
    const { known, unless } = append
    const matches = yield* Effect.forEach(unless, ({ after, filter }, index) =>
      Effect.map(find({ filter, after: Math.max(after, known?.upTo ?? 0), upTo }), (found) =>
        found > 0 ? found : (known?.matches[index] ?? 0)
      )
    )
    return { ...append, known: { upTo, matches, times, final: times >= mostTimes } }
  })
  // How many events have a tag is not known here; that there were too many of them the last time is.
  const isFar = ({ count, unless }: PreparedAppend): boolean =>
    count > 0 &&
    unless.some(
      ({ after, filter }) => shared.signal.position() - after > mostOf(filter) && (!filter.every(isTagged) || isKept(filter))
    )
  return {
    begin: (append) => (isFar(append) ? look(append, 1) : Effect.succeed(append)),
    again: (attempt) => look(attempt, (attempt.known?.times ?? 0) + 1)
  }
}
