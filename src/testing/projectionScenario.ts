import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import * as Event from "../definitions/Event.ts"
import { readOwn } from "../definitions/listing.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import * as Projection from "../projection/Projection.ts"
import * as Checkpoints from "../store/Checkpoints.ts"
import { matches } from "../store/kit/index.ts"
import { tablesFor } from "../store/tables.ts"
import { same } from "./same.ts"
import type { Events } from "./Scenario.ts"
import { layerSealedMemory } from "./sealedMemory.ts"

/**
 * A scenario of a projection: events that are given, and the rows that come of them.
 *
 * @category models
 * @since 0.2.0
 */
export interface ProjectionScenario<R> {
  /** The same, and then these events, of one stream after the other: see `Scenario.stream` and `Scenario.messages`. */
  readonly given: (...events: ReadonlyArray<Events>) => ProjectionScenario<R>
  /**
   * The table has exactly these rows, in whatever order they are told here. It tells the whole story anew, in a transaction that is rolled
   * back, and dies with an `AssertionError` when it came to something else, or with what a handler has failed with.
   */
  readonly thenTable: <F extends Event.Fields, K extends keyof F & string>(
    table: Projection.Table<F, K>,
    rows: ReadonlyArray<Projection.Row<F>>
  ) => Effect.Effect<void, never, R | SqlClient.SqlClient>
}

/**
 * A scenario of a projection that has seen nothing yet. Its own handlers (or its batch, with all events at once) write its tables, as in
 * production, in the database of the `SqlClient`: give it one of its own, such as SQLite in memory. Nothing is left there.
 *
 * Events are encoded and decoded by their definitions, and have the positions from 1 in the order that they are given. Side effects
 * ({@link Projection.sideEffect}) are not run: it is the view that is asked about.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Aggregate, Event, Projection } from "eventfold"
 * import { SqliteClient } from "eventfold/sqlite"
 * import { Scenario } from "eventfold/testing"
 *
 * const Opened = Event.make("Opened", { owner: Schema.String })
 * const Deposited = Event.make("Deposited", { amount: Schema.Int })
 * const Account = Aggregate.make("Account", {
 *   events: [Opened, Deposited],
 *   initial: 0,
 *   evolve: { Opened: () => 0, Deposited: (balance, { amount }) => balance + amount }
 * })
 *
 * const Balance = Projection.table("balance", {
 *   key: "account",
 *   fields: { account: Schema.String, owner: Schema.String, amount: Schema.Int }
 * })
 * const Balances = Projection.make("Balances", {
 *   version: 1,
 *   tables: [Balance],
 *   events: [Opened, Deposited],
 *   handlers: {
 *     Opened: ({ owner }, { stream }) => Balance.upsert({ account: stream, owner, amount: 0 }),
 *     Deposited: (event, { stream }) => Balance.patch(stream, ({ amount }) => ({ amount: amount + event.amount }))
 *   }
 * })
 *
 * const scenario = Scenario.projection(Balances)
 *   .given(Scenario.stream(Account, "1", [Opened.make({ owner: "Ada" }), Deposited.make({ amount: 5 })]))
 *   .thenTable(Balance, [{ account: "Account-1", owner: "Ada", amount: 5 }])
 *
 * // With a runner: it.effect("…", () => Effect.provide(scenario, SqliteClient.layer({ filename: ":memory:" })))
 * await Effect.runPromise(Effect.provide(scenario, SqliteClient.layer({ filename: ":memory:" })))
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const projection = <R, D>(projection: Projection.Projection<R, D>): ProjectionScenario<R> => scenario(projection, [])

const scenario = <R, D>(projection: Projection.Projection<R, D>, past: ReadonlyArray<Events>): ProjectionScenario<R> => ({
  given: (...events) => scenario(projection, [...past, ...events]),
  thenTable: (table, rows) =>
    Effect.map(told(projection, past, Stream.runCollect(table.stream())), (actual) => {
      const keyOf = (row: unknown) => String((row as { readonly [field: string]: unknown })[table.key])
      const inOrder = rows.toSorted((a, b) => Buffer.compare(Buffer.from(keyOf(a)), Buffer.from(keyOf(b))))
      same(`The projection "${projection.name}"`, `unexpected rows of the table ${table.name}`, actual, inOrder)
    })
})

/** What was read when the story had been told, which is nowhere any more. */
class Told<A> {
  readonly value: A
  constructor(value: A) {
    this.value = value
  }
}

const memory = Layer.merge(layerSealedMemory, Checkpoints.layerMemory)

/** Tells the story to the handlers, and then looks. */
const told = <R, D, A, E>(
  projection: Projection.Projection<R, D>,
  past: ReadonlyArray<Events>,
  look: Effect.Effect<A, E, SqlClient.SqlClient>
) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const run: Projection.RunService = {
      projection: projection.name,
      version: projection.version,
      tables: projection.tables,
      live: () => Effect.succeed(false)
    }
    const story = Effect.gen(function* () {
      // It needs the database of the tables, which is this one.
      yield* Projection.prepare(projection as Projection.Projection<R, SqlClient.SqlClient>)
      const found = yield* tablesFor(sql)
      for (const table of projection.tables) yield* sql.unsafe(table.statements(sql, found, projection.version).empty)
      const { handleBatch, handleEvent } = projection
      const items = itemsOf(projection, past)
      if (handleBatch === undefined) yield* Effect.forEach(items, handleEvent, { discard: true })
      else if (items.length > 0) yield* handleBatch(items as [Projection.Envelope<unknown>])
      // So that it is rolled back.
      return yield* Effect.fail(new Told(yield* look))
    }).pipe(Effect.provideService(Projection.Run, run), Effect.provide(memory), Effect.scoped)
    const end = yield* Effect.flip(sql.withTransaction(story))
    return end instanceof Told ? (end.value as A) : yield* Effect.die(end)
  })

/** What the handlers are given, as a store would give it back. */
const itemsOf = <R, D>({ filter, readers }: Projection.Projection<R, D>, past: ReadonlyArray<Events>) => {
  const versions = new Map<string, number>()
  let position = 0
  return past.flatMap(({ definitions, events, stream }) =>
    events.flatMap((event): ReadonlyArray<Projection.Envelope<unknown>> => {
      const definition = definitions.get(event._tag)
      if (definition === undefined) throw new TypeError(`"${stream}" has no event "${event._tag}"`)
      const {
        metadata = {},
        published = false,
        schemaVersion = 1,
        tags = [],
        ...encoded
      } = Result.getOrThrow(Event.encode(definition, event))
      const version = (versions.get(stream) ?? 0) + 1
      versions.set(stream, version)
      const recordedAt = DateTime.makeUnsafe(0)
      const id = `event-${++position}`
      const recorded: RecordedEvent = {
        ...encoded,
        id,
        stream,
        version,
        position,
        recordedAt,
        metadata,
        published,
        schemaVersion,
        tags
      }
      if (!readers.has(recorded.type) || !matches(filter, recorded)) return []
      return Result.getOrThrow(readOwn(readers, recorded)).map(({ event }) => {
        return { event, id, stream, version, position, recordedAt, metadata }
      })
    })
  )
}
