import type * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import { annotatable } from "../definitions/annotations.ts"
import * as Event from "../definitions/Event.ts"
import { SubjectForgotten } from "../definitions/subjectForgotten.ts"
import { readersOf, widened } from "../definitions/listing.ts"
import { folded, maxName } from "../sql/names.ts"
import { physicalName } from "./place.ts"
import { projectionName } from "../following/names.ts"
import type { Unlisted } from "../internal/unlisted.ts"
import type { CheckpointError } from "../store/Checkpoints.ts"
import type { Query } from "../store/EventStore.ts"
import {
  type AnyTable,
  type Database,
  type Envelope,
  type Handlers,
  type Needs,
  type Options,
  type Projection,
  Run
} from "./model.ts"

/**
 * Defines a projection: either with `handlers`, one for each of the events, or with one `batch` for all, which gets as many events as
 * there are at once (the batch of an async projection, what a unit of work has staged inline) and so can write a whole batch with
 * one statement. When a batch fails, it is rolled back and its events come one by one.
 *
 * Handlers may read and write what they like; what shall be exact they write through the `SqlClient`.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Event, EventStore, Projection } from "eventfold"
 * import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
 *
 * const Opened = Event.make("Opened", { owner: Schema.String })
 * const Deposited = Event.make("Deposited", { amount: Schema.Int })
 *
 * const Balance = Projection.table("balance", {
 *   key: "account",
 *   fields: { account: Schema.String, owner: Schema.String, amount: Schema.Int }
 * })
 *
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
 * const program = Effect.gen(function* () {
 *   const { position } = yield* EventStore.append("Account-1", [
 *     { type: "Opened", payload: { owner: "Ada" } },
 *     { type: "Deposited", payload: { amount: 5 } }
 *   ])
 *   yield* Projection.awaitPosition(Balances, position, { timeout: "5 seconds" })
 *   return yield* Balance.list()
 * })
 *
 * const Live = Projection.layer(Balances).pipe(
 *   Layer.provideMerge(SqliteCheckpoints.layer),
 *   Layer.provideMerge(SqliteEventStore.layerFile({ filename: ":memory:" }))
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => [{ account: "Account-1", owner: "Ada", amount: 5 }]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  <const Events extends ReadonlyArray<Event.Any>, E, RB, const Tables extends ReadonlyArray<AnyTable> = readonly [], R = never>(
    name: string,
    options: Options<Events, Tables, R> & {
      /** What is done with a page of events, in order, in place of a handler for each type. */
      readonly batch: (events: Arr.NonEmptyReadonlyArray<Envelope<Events[number]["Type"]>>) => Effect.Effect<unknown, E, RB>
      readonly handlers?: never
    }
  ): Projection<Needs<R | RB>, Database<Tables>>
  // The last one, because it is the one that the compiler speaks of when a handler is missing.
  <
    const Events extends ReadonlyArray<Event.Any>,
    const H extends Handlers<Events>,
    const Tables extends ReadonlyArray<AnyTable> = readonly [],
    R = never
  >(
    name: string,
    options: Options<Events, Tables, R> & {
      /** One for each of `events`: one that is missing, or one for an event that is not listed, does not compile. */
      readonly handlers: H & Unlisted<H, Events[number]["type"]>
      readonly batch?: never
    }
  ): Projection<Needs<R | Effect.Services<ReturnType<H[Events[number]["type"]]>>>, Database<Tables>>
} = <R>(
  name: string,
  options: Options<ReadonlyArray<Event.Any>, ReadonlyArray<AnyTable>, R> & {
    readonly handlers?: { readonly [type: string]: (event: never, envelope: never) => Effect.Effect<unknown, unknown, R> }
    readonly batch?: (events: Arr.NonEmptyReadonlyArray<Envelope<never>>) => Effect.Effect<unknown, unknown, R>
  }
): Projection<R, never> => {
  const { batch, events: listed, filter, handlers = {}, reset = Effect.void, tables = [], version } = options
  const forgetting = tables.flatMap(({ forget }) => forget ?? [])
  const follows = forgetting.length > 0 && !listed.some(({ type }) => type === SubjectForgotten.type)
  const events = follows ? [...listed, SubjectForgotten] : listed
  if (!/^[^@]{1,200}$/.test(name)) throw new RangeError(`Projection: the name must have 1 to 200 characters and no "@": ${name}`)
  if (!Number.isSafeInteger(version) || version < 1) {
    throw new RangeError(`Projection "${name}": version must be a whole number from 1, not ${version}`)
  }
  checkTables(name, version, tables)
  const readers = readersOf(`Projection "${name}"`, events)
  const narrow = (query: Query): Query => {
    const unknown = query.types?.find((type) => !readers.has(type))
    if (unknown !== undefined) {
      throw new RangeError(`Projection "${name}": the filter names the type "${unknown}", which is not one of its events`)
    }
    return widened(query, readers)
  }
  const narrowed = Array.isArray(filter)
    ? (filter as ReadonlyArray<Query>).map(narrow)
    : narrow((filter as Query | undefined) ?? {})
  const own = batch as Projection<R, never>["handleBatch"]
  const forgets = forgetting.length === 0 ? undefined : forgetIn<R>(forgetting)
  const handleBatch: typeof own = own === undefined || forgets === undefined ? own : inOrder(own, forgets, follows)
  return annotatable<Projection<R, never>>({
    name,
    version,
    tables,
    reset,
    readers,
    handleBatch,
    filter: follows && filter !== undefined ? [narrowed, { types: Event.storedTypes(SubjectForgotten) }].flat() : narrowed,
    subscription: projectionName(name, version),
    handleEvent: (item) => {
      if (handleBatch !== undefined) return handleBatch([item])
      const { event } = item as Envelope<{ readonly _tag: string }>
      if (forgets !== undefined && event._tag === SubjectForgotten.type) {
        const own = handlers[event._tag] as
          | ((event: unknown, envelope: unknown) => Effect.Effect<unknown, unknown, R>)
          | undefined
        return Effect.andThen(forgets(item), own?.(event, item) ?? Effect.void)
      }
      // The handler of this type: it takes what this definition decodes to.
      const handler = handlers[event._tag] as (event: unknown, envelope: unknown) => Effect.Effect<unknown, unknown, R>
      return handler(event, item)
    }
  })
}

type Handle<R> = (item: Envelope<unknown>) => Effect.Effect<unknown, unknown, R>

/** Lets the tables forget the subject of an event. */
const forgetIn =
  <R>(tables: ReadonlyArray<NonNullable<AnyTable["forget"]>>): Handle<R> =>
  ({ event }) =>
    // What tables need a projection that lists them is given.
    Effect.forEach(tables, (forget) => forget((event as typeof SubjectForgotten.Type).subject), {
      discard: true
    }) as Effect.Effect<void, unknown, R>

/** A batch in which what is forgotten is so in its turn; `isOwn` says that the batch itself is not to hear of it. */
const inOrder =
  <R>(batch: NonNullable<Projection<R, never>["handleBatch"]>, forgets: Handle<R>, isOwn: boolean): typeof batch =>
  (items) =>
    Effect.gen(function* () {
      let waiting: Array<Envelope<unknown>> = []
      const handle = Effect.suspend(() => {
        const [first, ...rest] = waiting
        waiting = []
        return first === undefined ? Effect.void : batch([first, ...rest])
      })
      for (const item of items) {
        if ((item.event as { readonly _tag: string })._tag !== SubjectForgotten.type) waiting.push(item)
        else {
          yield* handle
          yield* forgets(item)
          if (!isOwn) waiting.push(item)
        }
      }
      yield* handle
    })

/** Refuses tables that a database would take for one, or for the view of another's name. */
const checkTables = (projection: string, version: number, tables: ReadonlyArray<AnyTable>) => {
  const seen = new Map<string, string>()
  for (const { name } of tables) {
    const physical = physicalName(name, version)
    if (physical.slice(physical.indexOf(".") + 1).length > maxName) {
      throw new RangeError(`Projection "${projection}": PostgreSQL would cut the name ${physical} to ${maxName} characters`)
    }
    for (const taken of [name, physical]) {
      const other = seen.get(folded(taken))
      if (other !== undefined) {
        throw new RangeError(`Projection "${projection}": the tables ${other} and ${name} cannot stand side by side as ${taken}`)
      }
      seen.set(folded(taken), name)
    }
  }
}

/**
 * Marks what a handler does beyond the view, such as sending a mail: it is done by the active version alone, and not for events that
 * had been handled before a rebuild. Like everything beyond the database it is done again where a transaction is rolled back and
 * done again. In a pipe the effect comes first: `sendMail.pipe(Projection.sideEffect(envelope))`.
 *
 * A switch of versions passes it on at the position of the version that was active: what that one has handled, the other does not
 * repeat. It is not done for events that the other version had handled before the switch and the active one had not: to miss none,
 * switch when {@link awaitPosition} says that the active one has caught up, too. A batch that the active one has in hand at that
 * moment, and commits after it, may be done by both.
 *
 * @category combinators
 * @since 0.1.0
 */
export const sideEffect: {
  (
    envelope: Envelope<unknown>
  ): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<Option.Option<A>, E | CheckpointError, R | Run>
  <A, E, R>(
    envelope: Envelope<unknown>,
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<Option.Option<A>, E | CheckpointError, R | Run>
} = <A, E, R>({ position }: Envelope<unknown>, effect?: Effect.Effect<A, E, R>): never => {
  const mark = (effect: Effect.Effect<A, E, R>) =>
    Run.use(({ live }) => Effect.flatMap(live(position), (live) => (live ? Effect.asSome(effect) : Effect.succeedNone)))
  // Either form, by what it was given.
  return (effect === undefined ? mark : mark(effect)) as never
}
