import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { StillRunningError } from "../following/engine.ts"
import { Checkpoints } from "../store/Checkpoints.ts"
import { EventStore } from "../store/EventStore.ts"
import type { ParkedEventsError } from "../store/ParkedEvents.ts"
import { ActiveVersionError, NotCaughtUpError, type Projection, type StorageError } from "./model.ts"
import { activate, active, change, entryOf, forget, open, positionOf, runsInline, take, transaction, write } from "./registry.ts"
import { isThere } from "../sql/table.ts"
import { disown } from "./owning.ts"
import { placed } from "./place.ts"
import { dropView } from "./sql.ts"
import { forEachTable, forTables, isIncomplete } from "./tables.ts"
import { awaitPosition, progressTo } from "./waiting.ts"

/**
 * Makes this version the active one: atomically, and where the projection has tables, in one transaction with their views. Back to an
 * older version by the same way. Refused with `NotCaughtUpError` unless the version has reached the newest event there is when it is
 * called, within the time given.
 *
 * The database views of the tables are made anew, which takes a role that owns them; what had been granted on them stays. On PostgreSQL,
 * while other database views are based on them, it fails with a `SqlError`, and nothing is switched.
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
 * Makes the tables of this version, and the view that readers see where it is the active version or the first. It runs nothing.
 *
 * **When to use**: where the role that runs the projection may not make tables (the store's `migrate` is `false`): call it before, in a role
 * that may. {@link switchTo} and {@link drop} take such a role as well; {@link rebuild} takes the right to `TRUNCATE` the tables.
 *
 * @category versions
 * @since 0.2.0
 */
export const prepare = <R, D>(projection: Projection<R, D>): Effect.Effect<void, StorageError, D | EventStore | Checkpoints> =>
  transaction(open(projection, true))

/**
 * Drops the tables of a version that is not active, or of the last one that there is, and forgets how far it was and what it had parked:
 * started again, it begins anew. A table that the active version does not have cannot be read by its name any more. With the last version
 * the projection is retired: its tables may be taken by others. What its side effects have told the world is not told again.
 *
 * It is refused with `Subscription.StillRunningError`, and nothing is changed, where a process holds its lease or this process runs it. One
 * that runs inline has no lease: end what runs it before.
 *
 * @category versions
 * @since 0.1.0
 */
export const drop = <R, D>(
  projection: Projection<R, D>
): Effect.Effect<void, StorageError | ParkedEventsError | ActiveVersionError | StillRunningError, D | Checkpoints> =>
  transaction(
    Effect.gen(function* () {
      const { name, version } = projection
      const entry = yield* entryOf(projection)
      if (entry.active && (yield* hasOthers(projection))) return yield* new ActiveVersionError({ projection: name, version })
      // Before all else: without a database there is no transaction, and what is refused changes nothing.
      const release = yield* take(projection)
      const dropping = Effect.gen(function* () {
        const heard = entry.active ? Math.max(entry.heard, yield* positionOf(projection)) : entry.heard
        yield* write(projection, entry, { mode: "dropped", target: Option.none(), heard })
        const current = yield* active(name)
        yield* forEachTable(projection, (where, table) => {
          const { found, sql } = where
          const hide = Effect.andThen(sql.unsafe(dropView(placed(sql, found, table.name))).values, disown(where, table.name))
          if (Option.isNone(current)) return hide
          const shown = placed(sql, found, table.name, current.value)
          return Effect.flatMap(isThere(sql, shown), (there) => (there ? Effect.void : hide))
        })
        yield* forTables(projection, ({ drop }) => [drop])
        yield* forget(projection)
      })
      yield* Effect.onError(dropping, () => Effect.ignore(release))
    })
  )

/** Whether there is another version that has not been dropped. */
const hasOthers = ({ name, version }: { readonly name: string; readonly version: number }) =>
  Effect.map(
    Checkpoints.use(({ versions }) => versions.list(name)),
    (all) => all.some((other) => other.version !== version && other.mode !== "dropped")
  )
