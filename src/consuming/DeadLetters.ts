/**
 * Dead letters: messages that a consumer group could not handle and has put aside with the cause, until somebody retries or
 * discards them.
 *
 * The whole message is kept, so that it can be handled once more when the broker has long forgotten it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import type { Fragment } from "effect/sql/Statement"
import { answered } from "../sql/answering.ts"
import { describeOwn } from "../sql/errors.ts"
import { number as sqlNumber, storable } from "../sql/table.ts"
import { openSide } from "../store/tables.ts"
import { decodeText, documentOf, keyOf } from "../transport/kit.ts"
import type { CloudEvent } from "../transport/Transport.ts"

/**
 * A message that its group could not handle, with the reason.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadLetter {
  /**
   * What it is found by. Absent where that is the id of the message: it is another one where the group has a dead letter of another
   * source or tenant with the same id.
   */
  readonly id?: string
  /** The group that could not handle the message. */
  readonly group: string
  /** The message, as it was delivered; of what is no CloudEvent what it was wrapped in. */
  readonly message: CloudEvent
  /** Why, as text: the last failure. */
  readonly cause: string
  /** How often it has been tried, retries included. */
  readonly attempts: number
  /** When it was last tried. */
  readonly parkedAt: DateTime.Utc
}

/**
 * The storage of the dead letters failed. Nothing was changed, unless the connection was lost on the way.
 *
 * @category errors
 * @since 0.1.0
 */
export class DeadLettersError extends Schema.TaggedError<DeadLettersError>("eventfold/DeadLetters/DeadLettersError")(
  "DeadLettersError",
  { operation: Schema.String, cause: Schema.Defect() }
) {
  override get message(): string {
    return `The dead letters failed to ${this.operation}: ${describeOwn(this.cause)}`
  }
}

/**
 * The dead letters service. A `Consumer` parks here, and `Consumer.retry` handles a dead letter once more.
 *
 * ```ts
 * import { DateTime, Effect } from "effect"
 * import { DeadLetters, type Transport } from "eventfold"
 *
 * const message: Transport.Message = {
 *   specversion: "1.0",
 *   id: "1",
 *   source: "/shop",
 *   type: "OrderPlaced",
 *   subject: "Order-1",
 *   time: DateTime.makeUnsafe("2030-01-01T00:00:00Z"),
 *   datacontenttype: "application/json",
 *   data: { total: 5 },
 *   schemaversion: 1,
 *   position: 1
 * }
 *
 * const program = Effect.gen(function* () {
 *   const letters = yield* DeadLetters.DeadLetters
 *   yield* letters.park({ group: "mail", message, cause: "no address", attempts: 5, parkedAt: message.time })
 *   return [(yield* letters.list("mail")).map(({ cause }) => cause), yield* letters.discard("mail", "1"), yield* letters.list("mail")]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, DeadLetters.layerMemory)) // => [["no address"], true, []]
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class DeadLetters extends Context.Service<
  DeadLetters,
  {
    /**
     * Parks a message; one that the group has parked already (of the same source and id) gets the new cause, attempts and time. Its
     * own {@link DeadLetter.id} says nothing here.
     */
    readonly park: (
      letter: DeadLetter,
      options?: {
        /** Whether to do nothing unless the group has parked it: it may have been discarded meanwhile. Default: `false`. */
        readonly ifParked?: boolean | undefined
      }
    ) => Effect.Effect<void, DeadLettersError>
    /**
     * The dead letters of a group, by their ids (so, for events, by age): at most `limit` (default: 1000), beyond the id `after`
     * (default: from the first).
     */
    readonly list: (
      group: string,
      options?: { readonly after?: string | undefined; readonly limit?: number | undefined }
    ) => Effect.Effect<ReadonlyArray<DeadLetter>, DeadLettersError>
    /** The dead letters of all groups, by group and id: those behind a place, at most `limit` (default: 1000). */
    readonly listAll: (options?: {
      /** The place that the list begins behind. Default: before the first. */
      readonly after?: { readonly group: string; readonly id: string } | undefined
      /** The most of them. Default: 1000. */
      readonly limit?: number | undefined
    }) => Effect.Effect<ReadonlyArray<DeadLetter>, DeadLettersError>
    /** How many dead letters each group has; a group that has none is not among them. It counts them. */
    readonly counts: Effect.Effect<ReadonlyMap<string, number>, DeadLettersError>
    /** The dead letter of a group with this id: that of the message, or its own where another source has given the same one. */
    readonly get: (group: string, id: string) => Effect.Effect<Option.Option<DeadLetter>, DeadLettersError>
    /** Forgets a dead letter. Whether there was one. */
    readonly discard: (group: string, id: string) => Effect.Effect<boolean, DeadLettersError>
  }
>()("eventfold/DeadLetters") {}

interface Place {
  readonly group: string
  readonly id: string
}

const byPlace = (a: Place, b: Place): number =>
  a.group === b.group ? (a.id === b.id ? 0 : a.id < b.id ? -1 : 1) : a.group < b.group ? -1 : 1

/**
 * Dead letters in memory: gone with the Layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<DeadLetters> = Layer.sync(DeadLetters, () => {
  const all = new Map<string, Map<string, DeadLetter>>()
  const of = (group: string): Map<string, DeadLetter> => {
    const letters = all.get(group) ?? new Map<string, DeadLetter>()
    all.set(group, letters)
    return letters
  }
  return DeadLetters.of({
    park: (parked, { ifParked = false } = {}) =>
      Effect.sync(() => {
        const { id: _id, ...letter } = parked
        const letters = of(letter.group)
        const { id } = letter.message
        const own = keyOf(letter.message)
        const isOthers = letters.has(own) || keyOf(letters.get(id)?.message ?? letter.message) !== own
        const at = isOthers ? own : id
        if (!ifParked || letters.has(at)) letters.set(at, isOthers ? { ...letter, id: own } : letter)
      }),
    list: (group, { after = "", limit = 1000 } = {}) =>
      Effect.sync(() =>
        Array.from(of(group))
          .filter(([id]) => id > after)
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .slice(0, limit)
          .map(([, letter]) => letter)
      ),
    listAll: ({ after, limit = 1000 } = {}) =>
      Effect.sync(() =>
        Array.from(all, ([group, letters]) => Array.from(letters, ([id, letter]) => ({ group, id, letter })))
          .flat()
          .filter((place) => after === undefined || byPlace(place, after) > 0)
          .sort(byPlace)
          .slice(0, limit)
          .map(({ letter }) => letter)
      ),
    counts: Effect.sync(
      () => new Map(Array.from(all, ([group, letters]) => [group, letters.size] as const).filter(([, count]) => count > 0))
    ),
    get: (group, id) => Effect.sync(() => Option.fromUndefinedOr(of(group).get(id))),
    discard: (group, id) => Effect.sync(() => of(group).delete(id))
  })
})

/**
 * {@link layerSql} with options.
 *
 * **Gotchas**: each call is another Layer, and is built for itself. Keep the result in a constant where it is provided more than once.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerSqlWith = (options: {
  /**
   * Letters, digits and `_`, with the schema before a `.` if need be; on PostgreSQL in lower case. Default: `dead_letter` in the schema of
   * the store that is provided, behind its prefix; without a store `eventfold.dead_letter`, on SQLite `eventfold_dead_letter`.
   */
  readonly table?: string | undefined
  /** Whether to make the table when it is not there. Default: as the store that is provided does, or else `true`. */
  readonly migrate?: boolean | undefined
}): Layer.Layer<DeadLetters, DeadLettersError, SqlClient.SqlClient> =>
  Layer.effect(
    DeadLetters,
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const failAs =
        (operation: string) =>
        <A, E, R>(effect: Effect.Effect<A, E, R>) =>
          Effect.mapError(answered(sql, effect), (cause) => new DeadLettersError({ operation, cause }))
      const number = (value: number) => sqlNumber(sql, value)
      const name = yield* failAs("open")(openSide(options, side))

      const columns = sql.literal("consumer_group as of, id, message as text, cause, attempts, parked_at as at")
      const toLetter = ({ at, attempts, cause, id, of, text }: Row) =>
        Effect.map(Effect.fromResult(decodeText(text)), (message): DeadLetter => ({
          ...(id !== storable(message.id) && { id }),
          group: of,
          message,
          cause,
          attempts,
          parkedAt: DateTime.makeUnsafe(at)
        }))
      const found = (group: string, ids: ReadonlyArray<string>) =>
        Effect.flatMap(
          sql<Row>`select ${columns} from ${name} where consumer_group = ${group} and ${sql.in("id", ids)}`,
          (rows) => Effect.forEach(rows, (row) => Effect.map(toLetter(row), (letter) => ({ id: row.id, letter })))
        )

      /** Says whether it is parked: not where somebody else was quicker. */
      const tryToPark = Effect.fnUntraced(function* (
        { attempts, cause, group, message, parkedAt }: DeadLetter,
        ifParked: boolean
      ) {
        const ids = [storable(message.id), storable(keyOf(message))] as const
        const taken = yield* found(group, ids)
        const own = taken.find(({ letter }) => keyOf(letter.message) === keyOf(message))
        if (own === undefined && ifParked) return true
        const [why, tries, at] = [storable(cause), number(attempts), number(parkedAt.epochMilliseconds)]
        const rows = yield* own === undefined
          ? sql`insert into ${name} (consumer_group, id, message, cause, attempts, parked_at)
              values (${group}, ${taken.length === 0 ? ids[0] : ids[1]}, ${documentOf(message)}, ${why}, ${tries}, ${at})
              on conflict (consumer_group, id) do nothing returning 1`
          : sql`update ${name} set cause = ${why}, attempts = ${tries}, parked_at = ${at}
              where consumer_group = ${group} and id = ${own.id} returning 1`
        return ifParked || rows.length > 0
      })

      return DeadLetters.of({
        park: (letter, { ifParked = false } = {}) =>
          tryToPark(letter, ifParked).pipe(Effect.repeat({ until: (parked) => parked }), failAs("park"), Effect.asVoid),
        list: (group, { after = "", limit = 1000 } = {}) =>
          sql<Row>`select ${columns} from ${name} where consumer_group = ${group} and id > ${storable(after)}
            order by id limit cast(${String(limit)} as integer)`.pipe(
            Effect.flatMap((rows) => Effect.forEach(rows, toLetter)),
            failAs("list")
          ),
        listAll: ({ after, limit = 1000 } = {}) =>
          sql<Row>`select ${columns} from ${name}
            where (consumer_group, id) > (${after?.group ?? ""}, ${storable(after?.id ?? "")})
            order by consumer_group, id limit cast(${String(limit)} as integer)`.pipe(
            Effect.flatMap((rows) => Effect.forEach(rows, toLetter)),
            failAs("list")
          ),
        counts: sql<{ readonly name: string; readonly count: unknown }>`
          select consumer_group as name, count(*) as count from ${name} group by consumer_group`.pipe(
          Effect.map((rows) => new Map(rows.map(({ count, name }) => [name, Number(count)] as const))),
          failAs("count")
        ),
        get: (group, id) =>
          sql<Row>`select ${columns} from ${name} where consumer_group = ${group} and id = ${storable(id)}`.pipe(
            Effect.flatMap(([row]) =>
              row === undefined ? Effect.succeed(Option.none<DeadLetter>()) : Effect.asSome(toLetter(row))
            ),
            failAs("get")
          ),
        discard: (group, id) =>
          sql`delete from ${name} where consumer_group = ${group} and id = ${storable(id)} returning 1`.pipe(
            Effect.map((rows) => rows.length > 0),
            failAs("discard")
          )
      })
    })
  )

const side = {
  name: "dead_letter",
  columns: ["consumer_group", "id", "message", "cause", "attempts", "parked_at"],
  create: (sql: SqlClient.SqlClient, table: Fragment) => sql`create table if not exists ${table} (
    consumer_group text not null,
    id text not null,
    message text not null,
    cause text not null,
    attempts double precision not null,
    parked_at double precision not null,
    primary key (consumer_group, id)
  )`
}

/**
 * Dead letters in a table of the database of the `SqlClient`: PostgreSQL, PGlite or SQLite. The table is made when it is not there.
 *
 * Inside a transaction of the same client, everything is part of that transaction.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSql: Layer.Layer<DeadLetters, DeadLettersError, SqlClient.SqlClient> = layerSqlWith({})

interface Row {
  readonly of: string
  readonly id: string
  readonly text: string
  readonly cause: string
  readonly attempts: number
  readonly at: number
}
