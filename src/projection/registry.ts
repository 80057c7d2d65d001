/** What is known of a projection's versions, the tables that belong to them, and how both change together. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { discardAll, seize } from "../following/engine.ts"
import { projectionName, subscriptionCheckpoint } from "../following/names.ts"
import { isConflict, isMadeMeanwhile } from "../sql/errors.ts"
import { inTransaction, shortPatience } from "../sql/transaction.ts"
import { type CheckpointError, Checkpoints, type ProjectionVersion } from "../store/Checkpoints.ts"
import { EventStore } from "../store/EventStore.ts"
import { type Projection, RunsInlineError } from "./model.ts"
import { forTables, hasRows, isForbiddenToMake, isIncomplete, makeTables, show, showUnlessThere } from "./tables.ts"

// -----------------------------------------------------------------------------
// reading
// -----------------------------------------------------------------------------

interface Key {
  readonly name: string
  readonly version: number
}

/** What stands in the registry of a version. */
type Entry = Pick<ProjectionVersion, "active" | "heard" | "mode" | "revision" | "target">

/** A version that nobody has written yet. */
const unwritten: Entry = { mode: "async", active: false, target: Option.none(), heard: 0, revision: 0 }

export const entryOf = ({ name, version }: Key): Effect.Effect<Entry, CheckpointError, Checkpoints> =>
  Effect.map(
    Checkpoints.use(({ versions }) => versions.get(name, version)),
    Option.getOrElse(() => unwritten)
  )

export const runsInline = (projection: Key) => Effect.map(entryOf(projection), ({ mode }) => mode === "inline")

/**
 * The active version of the projection of this name; none when it has never run.
 *
 * @category versions
 * @since 0.1.0
 */
export const active = (name: string): Effect.Effect<Option.Option<number>, CheckpointError, Checkpoints> =>
  Effect.map(
    Checkpoints.use(({ versions }) => versions.list(name)),
    (all) => Option.fromUndefinedOr(all.find(({ active }) => active)?.version)
  )

/** Where a version's checkpoint is kept. */
const checkpointName = ({ name, version }: Key) => subscriptionCheckpoint(projectionName(name, version))

/** The position up to which a version has handled the log. */
export const positionOf = (projection: Key): Effect.Effect<number, CheckpointError, Checkpoints> =>
  Effect.map(
    Checkpoints.use(({ get }) => get(checkpointName(projection))),
    Option.match({ onNone: () => 0, onSome: ({ position }) => position })
  )

// -----------------------------------------------------------------------------
// writing
// -----------------------------------------------------------------------------

type Written = Partial<Pick<ProjectionVersion, "heard" | "mode" | "target">>

/** Writes a version's entry, unless another has written it since it was read. */
export const write = ({ name: projection, version }: Key, { heard, mode, revision, target }: Entry, changes: Written) =>
  Checkpoints.use(({ versions }) => versions.put({ projection, version, heard, mode, revision, target, ...changes }))

/** Changes a version's entry; when another is faster, what that one has written. */
export const change = (projection: Key, to: (entry: Entry) => Written) =>
  Effect.retry(
    Effect.flatMap(entryOf(projection), (entry) => write(projection, entry, to(entry))),
    { times: 10, while: isChanged }
  )

const isChanged = (error: unknown): boolean => (error as { readonly _tag?: unknown })._tag === "ProjectionVersionChangedError"

/** One transaction where there is a database; again, when others got in its way. */
export const transaction = <A, E, R>(work: Effect.Effect<A, E, R>, transactional: boolean | undefined = true) =>
  Effect.flatMap(Effect.serviceOption(SqlClient.SqlClient), (sql): Effect.Effect<A, E | SqlError, R> =>
    Option.isSome(sql) && transactional ? inTransaction(sql.value, work, shortPatience) : work
  ).pipe(
    Effect.retry({
      times: 5,
      // Two that make one table at once collide on the catalogue of PostgreSQL, "if not exists" notwithstanding.
      while: (error: unknown) => isConflict(error) || isChanged(error) || isMadeMeanwhile(error)
    })
  )

/** The versions of which it was said that nobody runs what readers see, by their storage: each is told once. */
const warned = new WeakMap<Checkpoints["Service"], Set<string>>()

/**
 * Warns when a version starts while a later one is active and nobody runs that: as where a roll-out was taken back without switching
 * back. Readers see a view that stands still.
 */
export const warnOfStill = Effect.fnUntraced(function* ({ name, version }: Key) {
  const checkpoints = yield* Checkpoints
  const shown = (yield* checkpoints.versions.list(name)).find(({ active }) => active)
  if (shown === undefined || shown.version <= version || shown.mode === "inline") return
  const checkpoint = yield* checkpoints.get(checkpointName({ name, version: shown.version }))
  const now = yield* DateTime.now
  const isHeld = Option.exists(
    checkpoint,
    ({ expiresAt, owner }) => Option.isSome(owner) && DateTime.isGreaterThan(expiresAt, now)
  )
  const told = warned.get(checkpoints) ?? new Set<string>()
  warned.set(checkpoints, told)
  const key = `${name}@${version}`
  if (isHeld || told.has(key)) return
  told.add(key)
  yield* Effect.logWarning(
    `eventfold: version ${version} of the projection "${name}" starts, but readers see version ${shown.version}, which nobody runs: run that one, or switch back (Projection.switchTo)`
  )
})

/** Sets a version back to the beginning, and forgets what it has parked. Gives the position that it was at. */
const startOver = Effect.fnUntraced(function* (projection: Key) {
  yield* discardAll(projectionName(projection.name, projection.version))
  const before = yield* Checkpoints.use(({ reset }) => reset(checkpointName(projection), 0))
  return Option.match(before, { onNone: () => 0, onSome: ({ position }) => position })
})

/** Takes a version that nobody runs, so that nobody runs it until it is forgotten. Fails where somebody does. */
export const take = (projection: Key) => seize(checkpointName(projection))

/** Forgets the checkpoint of a version that has been taken, and what it has parked. */
export const forget = Effect.fnUntraced(function* (projection: Key) {
  const name = checkpointName(projection)
  yield* discardAll(projectionName(projection.name, projection.version))
  yield* Checkpoints.use(({ remove }) => Effect.catchTag(remove(name, { force: true }), "CheckpointHeldError", Effect.die))
})

// -----------------------------------------------------------------------------
// steps in the life of a version
// -----------------------------------------------------------------------------

/** Makes this version the active one instead of another, and lets readers see its tables. */
export const activate = Effect.fnUntraced(function* <R, D>(projection: Projection<R, D>, instead: Option.Option<number>) {
  yield* makeTables(projection, true, true)
  yield* Checkpoints.use(({ versions }) => versions.activate(projection.name, projection.version, instead))
  yield* show(projection)
})

/** Makes this version the active one if there is none. Of several that are the first, one is. */
const activateFirst = Effect.fnUntraced(function* <R, D>(projection: Projection<R, D>, may: boolean) {
  const { name, version } = projection
  yield* Checkpoints.use(({ versions }) => versions.activate(name, version, Option.none()))
  // What stands there may be the view of a version that is forgotten; a role that makes no tables takes it as it is.
  yield* !may && (yield* isForbiddenToMake) ? showUnlessThere(projection, may) : show(projection)
})

/**
 * Makes what a version lacks of tables and views, and makes it the active one if there is none. Where the store's tables are not to be
 * made in passing, what is missing is an error, unless `may` says otherwise.
 */
export const open = <R, D>(projection: Projection<R, D>, may = false) =>
  Effect.gen(function* () {
    const { name, version } = projection
    const known = yield* Checkpoints.use(({ versions }) => versions.list(name))
    yield* makeTables(projection, known.length > 0, may)
    const current = yield* active(name)
    if (Option.isNone(current)) {
      return yield* Effect.catchTag(activateFirst(projection, may), "ProjectionVersionChangedError", () => Effect.void)
    }
    if (current.value === version) yield* showUnlessThere(projection, may)
  })

/** Empties the view of a version and sets its checkpoint back. What the world has heard of, it does not hear of again. */
export const clear = Effect.fnUntraced(function* <R, D>(projection: Projection<R, D>, head: number) {
  // Like those who fold events into it: the view first, then the checkpoint. Otherwise they could wait for each other.
  yield* forTables(projection, ({ empty }) => [empty])
  yield* projection.reset
  const position = yield* startOver(projection)
  yield* change(projection, ({ heard }) => {
    // What has never run has nothing to repeat, and begins silently all the same.
    const silent = position > 0 ? Math.max(heard, position) : heard > 0 ? heard : head
    return { heard: Math.min(silent, head), target: head > 0 ? Option.some(head) : Option.none() }
  })
})

/**
 * Makes the tables of a version that runs async, and begins anew where they and the checkpoint contradict each other: a table has gone,
 * or the checkpoint has, so that the view would miss events, or get them twice.
 */
const openInAccord = Effect.fnUntraced(function* <R, D>(projection: Projection<R, D>, transactional: boolean) {
  // In this order: what another process commits meanwhile is no contradiction. Without transactions rows come before the checkpoint.
  const before = yield* positionOf(projection)
  const isGone = (yield* isIncomplete(projection)) && before > 0
  yield* open(projection)
  const isLeft = transactional && (yield* hasRows(projection)) && (yield* positionOf(projection)) === 0
  if (!isGone && !isLeft) return
  const { name, version } = projection
  yield* Effect.logWarning(
    `eventfold: version ${version} of the projection "${name}" begins anew: its ${isGone ? "table" : "checkpoint"} has gone`
  )
  yield* clear(projection, yield* EventStore.use((store) => store.head))
})

/** Readies a version to be run async. What is built beside the active version does not repeat what that one has done. */
export const begin = <R, D>(projection: Projection<R, D>, transactional: boolean | undefined = true) =>
  transaction(
    Effect.gen(function* () {
      const { name, version } = projection
      if (yield* runsInline(projection)) return yield* new RunsInlineError({ projection: name, version })
      yield* openInAccord(projection, transactional)
      const { active, mode } = yield* entryOf(projection)
      if (active) return
      if ((yield* positionOf(projection)) > 0) {
        if (mode === "dropped") yield* change(projection, () => ({ mode: "async" }))
        return
      }
      const head = yield* EventStore.use((store) => store.head)
      yield* change(projection, () => ({ mode: "async", heard: head, target: head > 0 ? Option.some(head) : Option.none() }))
    }),
    transactional
  )
