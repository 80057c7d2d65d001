import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { inlineOwner } from "../following/names.ts"
import { inTransaction } from "../sql/transaction.ts"
import { type CheckpointError, Checkpoints } from "../store/Checkpoints.ts"
import { EventStore } from "../store/EventStore.ts"
import { ParkedEvents } from "../store/ParkedEvents.ts"
import { type AnyTable, type Projection, RunsInlineError } from "./model.ts"
import { pointTo, type statementsOf } from "./sql.ts"

/** Whether the database would let a transaction through that is done again. */
export const isConflict = (error: unknown): boolean =>
  isSqlError(error) && (error.reason._tag === "SerializationError" || error.reason._tag === "DeadlockError")

/**
 * The active version of the projection of this name; none when it has never run.
 *
 * @category versions
 * @since 0.1.0
 */
export const active = (name: string): Effect.Effect<Option.Option<number>, CheckpointError, Checkpoints> =>
  Effect.map(known(pointerOf(name)), ({ owner }) => Option.map(owner, Number))

export const physicalName = (name: string, version: number) => `${name}_v${version}`

export const subscriptionOf = (name: string, version: number) => `projection:${name}@${version}`

/** Whose owner is the active version. */
const pointerOf = (name: string) => `projection:${name}`

/** Whose position is that up to which the world has heard of the events, and whose owner says how the version is run. */
export const markOf = ({ subscription }: { readonly subscription: string }) => subscription

/** What is known of a checkpoint. */
export const known = (name: string) =>
  Checkpoints.use((checkpoints) =>
    Effect.map(
      checkpoints.get(name),
      Option.match({
        onNone: () => ({ position: 0, owner: Option.none<string>() }),
        onSome: ({ owner, position }) => ({ position, owner })
      })
    )
  )

export const runsInline = (projection: { readonly subscription: string }) =>
  Effect.map(known(markOf(projection)), ({ owner }) => Option.contains(owner, inlineOwner))

/** Takes a checkpoint from whoever has it, moves it, and leaves it to the owner, or to nobody. Gives the lease as it was before. */
export const seize = (name: string, to: { readonly owner?: string | undefined; readonly position?: number }) =>
  Effect.gen(function* () {
    const checkpoints = yield* Checkpoints
    const claim = checkpoints.claim(name, { owner: to.owner ?? "eventfold", ttl: "1 millis" })
    const taken = Effect.gen(function* () {
      const held = yield* checkpoints.get(name)
      if (Option.isSome(held)) yield* checkpoints.release({ ...held.value, owner: "", ttl: Duration.zero })
      return yield* claim
    })
    const lease = yield* Effect.catchTag(claim, "CheckpointHeldError", () => taken)
    const from = (to.position ?? lease.position) < lease.position ? yield* checkpoints.advance(lease, 0) : lease
    const moved = to.position === undefined ? lease : yield* checkpoints.advance(from, to.position)
    if (to.owner === undefined) yield* checkpoints.release(moved)
    return lease
  }).pipe(Effect.uninterruptible, Effect.retry({ times: 10, while: ({ _tag }) => _tag === "CheckpointHeldError" }))

/** One transaction where there is a database; again, when others got in its way. */
export const transaction = <A, E, R>(work: Effect.Effect<A, E, R>, transactional: boolean | undefined = true) =>
  Effect.flatMap(Effect.serviceOption(SqlClient.SqlClient), (sql): Effect.Effect<A, E | SqlError, R> =>
    Option.isSome(sql) && transactional ? inTransaction(sql.value, work) : work
  ).pipe(
    Effect.retry({
      times: 5,
      while: (error: unknown) => {
        const cause = (error as { readonly _tag?: unknown })._tag === "CheckpointError" ? (error as CheckpointError).cause : error
        // Two that make one table at once collide on the catalogue of PostgreSQL, "if not exists" notwithstanding.
        return isConflict(cause) || (isSqlError(cause) && cause.reason._tag === "UniqueViolation")
      }
    })
  )

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
  statements: (all: ReturnType<typeof statementsOf>, table: AnyTable) => ReadonlyArray<string>
) =>
  forEachTable(projection, (sql, table) =>
    Effect.forEach(statements(table.statements(sql, projection.version), table), (text) => sql.unsafe(text).values)
  )

/** Sets a version back to the beginning, and forgets what it has parked. Gives the lease as it was before. */
export const startOver = Effect.fnUntraced(function* <R, D>({ subscription }: Projection<R, D>) {
  const parking = yield* Effect.serviceOption(ParkedEvents)
  while (Option.isSome(parking)) {
    const parked = yield* parking.value.list(subscription)
    if (parked.length === 0) break
    yield* Effect.forEach(parked, ({ position }) => parking.value.discard(subscription, position), { discard: true })
  }
  return yield* seize(`subscription:${subscription}`, { position: 0 })
})

/** What the active version has told the world, this one does not tell again. */
export const passOn = Effect.fnUntraced(function* <R, D>(projection: Projection<R, D>) {
  const { name, version } = projection
  const current = yield* active(name)
  if (Option.isNone(current) || current.value === version) return
  const before = { subscription: subscriptionOf(name, current.value) }
  const { position } = (yield* runsInline(before))
    ? { position: yield* EventStore.use((store) => store.head) }
    : yield* known(`subscription:${before.subscription}`)
  const mark = yield* known(markOf(projection))
  if (position > mark.position) yield* seize(markOf(projection), { position, owner: Option.getOrUndefined(mark.owner) })
})

/** Makes this version the active one. */
export const activate = <R, D>(projection: Projection<R, D>) =>
  Effect.andThen(
    seize(pointerOf(projection.name), { owner: String(projection.version) }),
    forTables(projection, ({ create }, { name }) => [create, ...pointTo(name, physicalName(name, projection.version))])
  )

/** Makes the tables of a version, and makes it the active one if there is none. */
export const open = <R, D>(projection: Projection<R, D>) =>
  Effect.gen(function* () {
    yield* forTables(projection, ({ create }) => [create])
    if (Option.isNone(yield* active(projection.name))) yield* activate(projection)
  })

/** Readies a version to be run async. What is built beside the active version does not repeat what that one has done. */
export const begin = <R, D>(projection: Projection<R, D>, transactional: boolean | undefined) =>
  transaction(
    Effect.gen(function* () {
      const { name, subscription, version } = projection
      if (yield* runsInline(projection)) return yield* new RunsInlineError({ projection: name, version })
      yield* open(projection)
      const { position } = yield* known(`subscription:${subscription}`)
      if (position > 0 || Option.contains(yield* active(name), version)) return
      const head = yield* EventStore.use((store) => store.head)
      yield* seize(markOf(projection), { position: head, owner: String(head) })
    }),
    transactional
  )
