/** What is known of a projection's versions, the tables that belong to them, and how both change together. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { discardAll, seize } from "../following/engine.ts"
import { projectionName, subscriptionCheckpoint } from "../following/names.ts"
import { isConflict, isUniqueViolation } from "../sql/errors.ts"
import { inTransaction } from "../sql/transaction.ts"
import { type CheckpointError, Checkpoints, type ProjectionVersion } from "../store/Checkpoints.ts"
import { EventStore } from "../store/EventStore.ts"
import { type AnyTable, type Projection, RunsInlineError } from "./model.ts"
import { own } from "./owning.ts"
import { existsIn, pointTo, type statementsOf } from "./sql.ts"

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
    Option.isSome(sql) && transactional ? inTransaction(sql.value, work) : work
  ).pipe(
    Effect.retry({
      times: 5,
      // Two that make one table at once collide on the catalogue of PostgreSQL, "if not exists" notwithstanding.
      while: (error: unknown) => isConflict(error) || isChanged(error) || isUniqueViolation(error)
    })
  )

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
// tables
// -----------------------------------------------------------------------------

export const physicalName = (name: string, version: number) => `${name}_v${version}`

/** Does something about each table of a version. */
export const forEachTable = <R, D>(
  { tables }: Projection<R, D>,
  work: (sql: SqlClient.SqlClient, table: AnyTable) => Effect.Effect<unknown, SqlError>
): Effect.Effect<void, SqlError> =>
  Effect.gen(function* () {
    if (tables.length === 0) return
    const sql = yield* Effect.serviceOption(SqlClient.SqlClient)
    if (Option.isNone(sql)) return yield* Effect.die(new Error("Projection: tables need a SqlClient"))
    yield* Effect.forEach(tables, (table) => work(sql.value, table), { discard: true })
  })

/** Runs statements for each table of a version. */
export const forTables = <R, D>(
  projection: Projection<R, D>,
  statements: (all: ReturnType<typeof statementsOf>, table: AnyTable, sql: SqlClient.SqlClient) => ReadonlyArray<string>
) =>
  forEachTable(projection, (sql, table) =>
    Effect.forEach(statements(table.statements(sql, projection.version), table, sql), (text) => sql.unsafe(text).values)
  )

// -----------------------------------------------------------------------------
// steps in the life of a version
// -----------------------------------------------------------------------------

/** Takes the tables of a projection for it. */
const ownTables = <R, D>(projection: Projection<R, D>) =>
  forEachTable(projection, (sql, table) => own(sql, table.name, projection.name))

/** Makes this version the active one instead of another, and lets readers see its tables. */
export const activate = Effect.fnUntraced(function* <R, D>(projection: Projection<R, D>, instead: Option.Option<number>) {
  const { name, version } = projection
  yield* ownTables(projection)
  yield* Checkpoints.use(({ versions }) => versions.activate(name, version, instead))
  yield* forTables(projection, ({ create }, table, sql) => [
    create,
    ...pointTo(sql, table.name, physicalName(table.name, version))
  ])
})

/** Whether a table of a version is not there. */
export const isIncomplete = <R, D>(projection: Projection<R, D>) => anyTable(projection, ({ exists }) => [exists, 0])

/** Whether a version has written anything into its tables. */
const hasRows = <R, D>(projection: Projection<R, D>) => anyTable(projection, ({ any }) => [any, 1])

/** Whether a statement gives so many rows for one of the tables. */
const anyTable = <R, D>(
  projection: Projection<R, D>,
  statement: (all: ReturnType<typeof statementsOf>) => readonly [text: string, rows: number]
) =>
  Effect.gen(function* () {
    let found = false
    yield* forEachTable(projection, (sql, table) => {
      const [text, count] = statement(table.statements(sql, projection.version))
      return Effect.map(sql.unsafe(text).values, (rows) => void (found ||= rows.length === count))
    })
    return found
  })

/** Makes what a version lacks of tables and views, and makes it the active one if there is none. */
export const open = <R, D>(projection: Projection<R, D>) =>
  Effect.gen(function* () {
    const { name, version } = projection
    yield* ownTables(projection)
    yield* forTables(projection, ({ create }) => [create])
    const current = yield* active(name)
    if (Option.isNone(current)) {
      // Of several that are the first, one is.
      return yield* Effect.catchTag(activate(projection, current), "ProjectionVersionChangedError", () => Effect.void)
    }
    if (current.value !== version) return
    yield* forEachTable(projection, (sql, table) => {
      const show = Effect.forEach(pointTo(sql, table.name, physicalName(table.name, version)), (text) => sql.unsafe(text).values)
      const unlessFound = (found: ReadonlyArray<unknown>) => (found.length === 0 ? show : Effect.void)
      return Effect.flatMap(sql.unsafe(existsIn(sql, table.name)).values, unlessFound)
    })
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
