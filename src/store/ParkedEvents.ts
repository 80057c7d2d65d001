/**
 * Parked events: what a subscription or a relay could not handle and has passed over, until somebody retries or discards it.
 *
 * Only the event's place is kept: the event itself stands in the store.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import type { Fragment } from "effect/sql/Statement"
import { answered } from "../sql/answering.ts"
import { describeOwn } from "../sql/errors.ts"
import { number as sqlNumber, storable } from "../sql/table.ts"
import { openSide } from "./tables.ts"

/**
 * An event that its subscription or relay could not handle, and has passed over.
 *
 * @category models
 * @since 0.1.0
 */
export interface ParkedEvent {
  /** The name of the subscription that could not handle the event; of a relay, `relay:` and its name. */
  readonly subscription: string
  /** The position of the event in the log. */
  readonly position: number
  /** The name of its stream. */
  readonly stream: string
  /** The type of the event. */
  readonly type: string
  /** Why, as text: the last failure. */
  readonly cause: string
  /** How often it has been tried, retries included: 0 for one that is parked behind another event of its stream. */
  readonly attempts: number
  /** When it was last tried. */
  readonly parkedAt: DateTime.Utc
}

/**
 * The storage of the parked events failed. Nothing was changed, unless the connection was lost on the way.
 *
 * @category errors
 * @since 0.1.0
 */
export class ParkedEventsError extends Schema.TaggedError<ParkedEventsError>("eventfold/ParkedEvents/ParkedEventsError")(
  "ParkedEventsError",
  { operation: Schema.String, cause: Schema.Defect() }
) {
  override get message(): string {
    return `The parked events failed to ${this.operation}: ${describeOwn(this.cause)}`
  }
}

/**
 * The event at this position is not parked, or not any more.
 *
 * @category errors
 * @since 0.2.0
 */
export class NotParkedError extends Schema.TaggedError<NotParkedError>("eventfold/ParkedEvents/NotParkedError")(
  "NotParkedError",
  {
    /** The name under which it would be parked: that of a subscription, or `relay:` and that of a relay. */
    follower: Schema.String,
    position: Schema.Number
  }
) {
  override get message(): string {
    return `"${this.follower}" has no parked event at position ${this.position}`
  }
}

/**
 * The parked events service. `Subscription.retry` tries a parked event again.
 *
 * ```ts
 * import { DateTime, Effect } from "effect"
 * import { ParkedEvents } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   const parked = yield* ParkedEvents.ParkedEvents
 *   const parkedAt = DateTime.makeUnsafe("2030-01-01T00:00:00Z")
 *   yield* parked.park({ subscription: "emails", position: 7, stream: "Order-1", type: "Placed", cause: "no address", attempts: 3, parkedAt })
 *   return [(yield* parked.list("emails")).map(({ cause }) => cause), yield* parked.discard("emails", 7), yield* parked.list("emails")]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, ParkedEvents.layerMemory)) // => [["no address"], true, []]
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class ParkedEvents extends Context.Service<
  ParkedEvents,
  {
    /** Parks an event; one that is parked already gets the new cause, attempts and time, or with `keep` stays as it is. */
    readonly park: (
      event: ParkedEvent,
      options?: {
        /** Whether one that is parked already stays as it is. Default: `false`. */
        readonly keep?: boolean | undefined
        /** Whether to do nothing unless it is parked: it may have been discarded meanwhile. Default: `false`. */
        readonly ifParked?: boolean | undefined
      }
    ) => Effect.Effect<void, ParkedEventsError>
    /** Of those of the streams that have parked events of a subscription: the position of the first. In no order. */
    readonly firstOf: (
      subscription: string,
      streams: ReadonlyArray<string>
    ) => Effect.Effect<ReadonlyArray<Pick<ParkedEvent, "stream" | "position">>, ParkedEventsError>
    /** The parked events of a subscription beyond the position `after` (default: 0), by position: at most `limit` (default: 1000). */
    readonly list: (
      subscription: string,
      options?: { readonly after?: number | undefined; readonly limit?: number | undefined }
    ) => Effect.Effect<ReadonlyArray<ParkedEvent>, ParkedEventsError>
    /**
     * The parked events of all, by name (in the order of the database) and then by position: those behind a place, at most `limit` (default:
     * 1000).
     */
    readonly listAll: (options?: {
      /** The place that the list begins behind. Default: before the first. */
      readonly after?: Pick<ParkedEvent, "subscription" | "position"> | undefined
      /** The most of them. Default: 1000. */
      readonly limit?: number | undefined
    }) => Effect.Effect<ReadonlyArray<ParkedEvent>, ParkedEventsError>
    /** How many events each has parked, by name; who has none is not among them. It counts them. */
    readonly counts: Effect.Effect<ReadonlyMap<string, number>, ParkedEventsError>
    /** Forgets a parked event. Whether there was one. */
    readonly discard: (subscription: string, position: number) => Effect.Effect<boolean, ParkedEventsError>
  }
>()("eventfold/ParkedEvents") {}

type Parking = Pick<ParkedEvent, "subscription" | "position">

const byPlace = (a: Parking, b: Parking): number =>
  a.subscription === b.subscription ? a.position - b.position : a.subscription < b.subscription ? -1 : 1

/**
 * Parked events in memory: gone with the Layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<ParkedEvents> = Layer.sync(ParkedEvents, () => {
  const all = new Map<string, Map<number, ParkedEvent>>()
  const of = (subscription: string): Map<number, ParkedEvent> => {
    const parked = all.get(subscription) ?? new Map<number, ParkedEvent>()
    all.set(subscription, parked)
    return parked
  }
  return ParkedEvents.of({
    park: (event, { ifParked = false, keep = false } = {}) =>
      Effect.sync(() => {
        const parked = of(event.subscription)
        const isParked = parked.has(event.position)
        if (isParked ? !keep : !ifParked) parked.set(event.position, event)
      }),
    firstOf: (subscription, streams) =>
      Effect.sync(() => {
        const wanted = new Set(streams)
        const first = new Map<string, number>()
        for (const { position, stream } of of(subscription).values()) {
          if (wanted.has(stream)) first.set(stream, Math.min(position, first.get(stream) ?? position))
        }
        return Array.from(first, ([stream, position]) => ({ stream, position }))
      }),
    list: (subscription, { after = 0, limit = 1000 } = {}) =>
      Effect.sync(() =>
        Array.from(of(subscription).values())
          .filter(({ position }) => position > after)
          .sort((a, b) => a.position - b.position)
          .slice(0, limit)
      ),
    listAll: ({ after, limit = 1000 } = {}) =>
      Effect.sync(() =>
        Array.from(all.values(), (parked) => Array.from(parked.values()))
          .flat()
          .filter((event) => after === undefined || byPlace(event, after) > 0)
          .sort(byPlace)
          .slice(0, limit)
      ),
    counts: Effect.sync(
      () => new Map(Array.from(all, ([name, parked]) => [name, parked.size] as const).filter(([, count]) => count > 0))
    ),
    discard: (subscription, position) => Effect.sync(() => of(subscription).delete(position))
  })
})

/**
 * {@link layerSql} with options.
 *
 * **Gotchas**: each call is another Layer, and is built for itself. Keep the result in a constant where it is provided more than once.
 *
 * A server that does not answer within 30 seconds is a `ParkedEventsError`.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerSqlWith = (options: {
  /**
   * Letters, digits and `_`, with the schema before a `.` if need be; on PostgreSQL in lower case. Default: `parked_event` in the schema of
   * the store that is provided, behind its prefix; without a store `eventfold.parked_event`, on SQLite `eventfold_parked_event`.
   */
  readonly table?: string | undefined
  /** Whether to make the table when it is not there. Default: as the store that is provided does, or else `true`. */
  readonly migrate?: boolean | undefined
}): Layer.Layer<ParkedEvents, ParkedEventsError, SqlClient.SqlClient> =>
  Layer.effect(
    ParkedEvents,
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const failAs =
        (operation: string) =>
        <A, E, R>(effect: Effect.Effect<A, E, R>) =>
          Effect.mapError(answered(sql, effect), (cause) => new ParkedEventsError({ operation, cause }))
      const number = (value: number) => sqlNumber(sql, value)
      const replace = sql.literal(
        "do update set cause = excluded.cause, attempts = excluded.attempts, parked_at = excluded.parked_at"
      )
      const leave = sql.literal("do nothing")
      const onPostgres = sql.onDialectOrElse({ pg: () => true, orElse: () => false })
      // One parameter, however many there are.
      const texts = sql.literal(onPostgres ? "json_array_elements_text" : "json_each")
      const asJson = sql.literal(onPostgres ? "::json" : "")
      const name = yield* failAs("open")(openSide(options, side))

      return ParkedEvents.of({
        park: ({ attempts, cause, parkedAt, position, stream, subscription, type }, { ifParked = false, keep = false } = {}) =>
          ifParked && keep
            ? Effect.void
            : (ifParked
                ? sql`update ${name}
              set cause = ${storable(cause)}, attempts = ${number(attempts)}, parked_at = ${number(parkedAt.epochMilliseconds)}
              where subscription = ${subscription} and position = ${number(position)}`
                : sql`insert into ${name} (subscription, position, stream, type, cause, attempts, parked_at)
            values (${subscription}, ${number(position)}, ${stream}, ${type}, ${storable(cause)}, ${number(attempts)}, ${number(parkedAt.epochMilliseconds)})
            on conflict (subscription, position) ${keep ? leave : replace}`
              ).pipe(failAs("park"), Effect.asVoid),
        firstOf: (subscription, streams) =>
          sql<{ readonly stream: string; readonly position: number }>`select stream, min(position) as position from ${name}
            where subscription = ${subscription} and stream in (select value from ${texts}(${JSON.stringify(streams)}${asJson})) group by stream`.pipe(
            Effect.map((rows) => rows.map(({ position, stream }) => ({ stream, position }))),
            failAs("list")
          ),
        list: (subscription, { after = 0, limit = 1000 } = {}) =>
          sql<Row>`select position, stream, type, cause, attempts, parked_at as at from ${name}
            where subscription = ${subscription} and position > ${number(after)}
            order by position limit cast(${String(limit)} as integer)`.pipe(
            Effect.map((rows) =>
              rows.map(({ at, ...row }): ParkedEvent => ({ ...row, subscription, parkedAt: DateTime.makeUnsafe(at) }))
            ),
            failAs("list")
          ),
        listAll: ({ after, limit = 1000 } = {}) =>
          sql<Row & { readonly subscription: string }>`
            select subscription, position, stream, type, cause, attempts, parked_at as at from ${name}
            where (subscription, position) > (${after?.subscription ?? ""}, ${number(after?.position ?? 0)})
            order by subscription, position limit cast(${String(limit)} as integer)`.pipe(
            Effect.map((rows) => rows.map(({ at, ...row }): ParkedEvent => ({ ...row, parkedAt: DateTime.makeUnsafe(at) }))),
            failAs("list")
          ),
        counts: sql<{ readonly name: string; readonly count: unknown }>`
          select subscription as name, count(*) as count from ${name} group by subscription`.pipe(
          Effect.map((rows) => new Map(rows.map(({ count, name }) => [name, Number(count)] as const))),
          failAs("count")
        ),
        discard: (subscription, position) =>
          sql`delete from ${name} where subscription = ${subscription} and position = ${number(position)} returning 1`.pipe(
            Effect.map((rows) => rows.length > 0),
            failAs("discard")
          )
      })
    })
  )

const side = {
  name: "parked_event",
  columns: ["subscription", "position", "stream", "type", "cause", "attempts", "parked_at"],
  create: (sql: SqlClient.SqlClient, table: Fragment) => sql`create table if not exists ${table} (
    subscription text not null,
    position double precision not null,
    stream text not null,
    type text not null,
    cause text not null,
    attempts double precision not null,
    parked_at double precision not null,
    primary key (subscription, position)
  )`,
  // For `firstOf`, which is asked for each batch.
  index: { name: "stream", on: "subscription, stream, position" }
}

/**
 * Parked events in a table of the database of the `SqlClient`: PostgreSQL, PGlite or SQLite. The table is made when it is not there.
 *
 * Inside a transaction of the same client, everything is part of that transaction.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSql: Layer.Layer<ParkedEvents, ParkedEventsError, SqlClient.SqlClient> = layerSqlWith({})

interface Row {
  readonly position: number
  readonly stream: string
  readonly type: string
  readonly cause: string
  readonly attempts: number
  readonly at: number
}
