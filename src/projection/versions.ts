import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Checkpoints } from "../store/Checkpoints.ts"
import { EventStore } from "../store/EventStore.ts"
import type { ParkedEventsError } from "../store/ParkedEvents.ts"
import { ActiveVersionError, NotCaughtUpError, type Projection, type StorageError } from "./model.ts"
import {
  activate,
  active,
  change,
  entryOf,
  forEachTable,
  forTables,
  isIncomplete,
  positionOf,
  runsInline,
  startOver,
  transaction,
  write
} from "./registry.ts"
import { disown } from "./owning.ts"
import { dropView } from "./sql.ts"
import { awaitPosition, progressTo } from "./waiting.ts"

/**
 * Makes this version the active one: atomically, and where the projection has tables, in one transaction with their views. Back to an
 * older version by the same way. Refused with `NotCaughtUpError` unless the version has reached the newest event there is when it is
 * called, within the time given.
 *
 * The database views of the tables are made anew. On PostgreSQL, grant anew what had been granted on them; and while other database
 * views are based on them, it fails with a `SqlError`, and nothing is switched.
 *
 * @category versions
 * @since 0.1.0
 */
export const switchTo = <R, D>(
  projection: Projection<R, D>,
  options: {
    /** How long to wait for it to catch up. Default: not at all. */
    readonly timeout?: Duration.Input | undefined
  } = {}
): Effect.Effect<void, StorageError | NotCaughtUpError, D | EventStore | Checkpoints> =>
  Effect.gen(function* () {
    const target = yield* EventStore.use((store) => store.head)
    if (options.timeout !== undefined) yield* awaitPosition(projection, target, options)
    yield* transaction(
      Effect.gen(function* () {
        const { name, version } = projection
        const { done, position } = yield* progressTo(projection, target)
        // A checkpoint whose table has gone says nothing of a view.
        if (position > 0 && (yield* isIncomplete(projection))) {
          return yield* new NotCaughtUpError({ projection: name, version, position: 0, target })
        }
        if (!done) return yield* new NotCaughtUpError({ projection: name, version, position, target })
        const current = yield* active(name)
        yield* passOn(projection, current)
        yield* activate(projection, current)
      })
    )
  })

/** What the active version has told the world, this one does not tell again. */
const passOn = Effect.fnUntraced(function* <R, D>(projection: Projection<R, D>, current: Option.Option<number>) {
  const { name, version } = projection
  if (Option.isNone(current) || current.value === version) return
  const before = { name, version: current.value }
  const position = (yield* runsInline(before)) ? yield* EventStore.use((store) => store.head) : yield* positionOf(before)
  yield* change(projection, ({ heard }) => ({ heard: Math.max(heard, position) }))
})

/**
 * Drops the tables of a version that is not active, and forgets how far it was and what it had parked: started again, it begins anew.
 * A table that the active version does not have cannot be read by its name any more. End what runs the version before.
 *
 * @category versions
 * @since 0.1.0
 */
export const drop = <R, D>(
  projection: Projection<R, D>
): Effect.Effect<void, StorageError | ParkedEventsError | ActiveVersionError, D | Checkpoints> =>
  transaction(
    Effect.gen(function* () {
      const { name, version } = projection
      const entry = yield* entryOf(projection)
      if (entry.active) return yield* new ActiveVersionError({ projection: name, version })
      yield* write(projection, entry, { mode: "dropped", target: Option.none() })
      const current = yield* active(name)
      yield* forEachTable(projection, (sql, table) => {
        const { exists } = table.statements(
          sql,
          Option.getOrElse(current, () => version)
        )
        const unlessFound = (found: ReadonlyArray<unknown>) =>
          found.length === 0 ? Effect.andThen(sql.unsafe(dropView(sql, table.name)).values, disown(sql, table.name)) : Effect.void
        return Effect.flatMap(sql.unsafe(exists).values, unlessFound)
      })
      yield* forTables(projection, ({ drop }) => [drop])
      yield* startOver(projection)
    })
  )
