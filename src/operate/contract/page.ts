import * as Schema from "effect/Schema"

/** Instants travel as ISO 8601 in UTC. */
export const Time = Schema.DateTimeUtcFromString

/**
 * A page of something: never more than was asked for, and at most 500 rows.
 *
 * `next` is where the next page begins, `null` at the end. It is opaque, and belongs to the operation and the arguments that gave it. A
 * page may hold fewer rows than were asked for, even none, and still have a `next`: a look through the log ends after half a second, so
 * that what is rare can be shown as it is found.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Page = <S extends Schema.Top>(item: S) =>
  Schema.Struct({
    items: Schema.Array(item),
    next: Schema.NullOr(Schema.String),
    /** The position of the newest event when the page was made: how new it is. */
    head: Schema.Int,
    /** How far the log has been looked through, for pages over the log: a position; `null` for others. */
    read: Schema.NullOr(Schema.Int)
  })

/** Where a page begins, and how much it holds: at least 1, by default 50; more than 500 is 500. */
export const paged = {
  after: Schema.optionalKey(Schema.String),
  limit: Schema.optionalKey(Schema.Int)
}

/** From the oldest on, or from the newest back. */
export const direction = Schema.optionalKey(Schema.Literals(["forward", "backward"]))

/**
 * Which events: all given keys must hold. Of `types` and `categories` any, of `tags` all. `since` is inclusive, `until` is not.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Filter = Schema.Struct({
  types: Schema.optionalKey(Schema.Array(Schema.String)),
  categories: Schema.optionalKey(Schema.Array(Schema.String)),
  tags: Schema.optionalKey(Schema.Array(Schema.String)),
  correlationId: Schema.optionalKey(Schema.String),
  published: Schema.optionalKey(Schema.Boolean),
  since: Schema.optionalKey(Time),
  until: Schema.optionalKey(Time)
})

/**
 * Which events an operation is about.
 *
 * @category models
 * @since 0.2.0
 */
export type Filter = typeof Filter.Type
