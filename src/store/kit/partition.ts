/**
 * A part of a store that looks like a store of its own: streams, ids, tags and categories of its tenant bear the tenant's name, and nothing else
 * is read, appended, waited for or told of. Positions are those of the whole store.
 */
import * as Effect from "effect/Effect"
import { canonicalJson } from "../../internal/json.ts"
import type { RecordedEvent } from "../../definitions/stored.ts"
import {
  type AppendError,
  AppendConditionError,
  DuplicateEventError,
  type EventStoreError,
  InvalidAppendError,
  OptimisticLockError
} from "../errors.ts"
import type { Query } from "../model.ts"
import { isTombstone } from "../tombstone.ts"
import type { Driver } from "./make.ts"
import type { PreparedAppend, PreparedCondition } from "./prepare.ts"
import type { EventPage } from "./pages.ts"
import type { Pages } from "./reads.ts"

/** How the names of a tenant are written in the store of all. */
export interface PartitionNames {
  /** What the names of its streams, categories and tags begin with, and of nobody else's. */
  readonly prefix: string
  readonly stream: (own: string) => string
  readonly id: (own: string) => string
  readonly ownStream: (stream: string) => string
  readonly ownId: (id: string) => string
}

/** A tenant's id has no `/` and no `~`; a `-` would end the category of a stream. */
export const partitionNames = (tenant: string): PartitionNames => {
  const key = tenant.replaceAll("-", "~")
  const prefix = `${key}/`
  const end = `/${key}`
  return {
    prefix,
    stream: (own) => `${prefix}${own}`,
    // At its end, so that ids that ascend stay at one end of their index, whosever they are.
    id: (own) => `${own}${end}`,
    ownStream: (stream) => stream.slice(prefix.length),
    ownId: (id) => (id.endsWith(end) ? id.slice(0, -end.length) : id)
  }
}

/** What distinguishes one kind of partition from another. */
export interface PartitionKind {
  /** The tags that each event of the tenant bears besides its own. */
  readonly marks: ReadonlyArray<string>
  /** A query of the tenant's that names no tag, as the store is to be asked: by itself it would pass what is others'. */
  readonly untagged: (query: Query) => Query
  /** The same for the query of an append's condition. */
  readonly untaggedCondition: (query: Query) => Query
}

/** By a tag that all events of a tenant bear. */
export const byMark = ({ prefix }: PartitionNames): PartitionKind => {
  const marks = [prefix]
  const marked = (query: Query): Query => ({ ...query, tags: marks })
  return { marks, untagged: marked, untaggedCondition: marked }
}

/** What the queries of an error say, whatever else they have been given on their way. */
const told = (filter: ReadonlyArray<Query>): string =>
  canonicalJson(
    filter.map(({ categories, correlationId, published, tags, types }) => ({ categories, correlationId, published, tags, types }))
  )

const hasTags = ({ tags }: Query): boolean => tags !== undefined && tags.length > 0

/** The part of a store that one tenant has. */
export const partition = (driver: Driver, names: PartitionNames, kind: PartitionKind): Driver => {
  const { prefix } = names
  const within = (name: string) => `${prefix}${name}`
  const queryBy =
    (untagged: (query: Query) => Query) =>
    (query: Query): Query => {
      const categories = query.categories === undefined ? {} : { categories: query.categories.map(within) }
      return hasTags(query)
        ? { ...query, ...categories, tags: query.tags?.map(within) as ReadonlyArray<string> }
        : untagged({ ...query, ...categories })
    }
  const filterOf = (filter: ReadonlyArray<Query>) => filter.map(queryBy(kind.untagged))
  const conditionOf = ({ after, afterId, filter }: PreparedCondition): PreparedCondition => ({
    after,
    ...(afterId === undefined ? {} : { afterId: names.id(afterId) }),
    filter: filter.map(queryBy(kind.untaggedCondition))
  })

  const ownTags = (tags: ReadonlyArray<string>) => {
    const own: Array<string> = []
    for (const tag of tags) if (tag.length > prefix.length) own.push(tag.slice(prefix.length))
    return own
  }
  const ownEvent = (event: RecordedEvent): RecordedEvent => ({
    ...event,
    stream: names.ownStream(event.stream),
    id: names.ownId(event.id),
    tags: ownTags(event.tags)
  })
  const ownPage = <P extends EventPage>(page: P): P => ({ ...page, items: page.items.map(ownEvent) })

  const prepared = (append: PreparedAppend): PreparedAppend => ({
    ...append,
    appends: append.appends.map(({ events, expected, stream }) => ({
      stream: names.stream(stream),
      expected,
      events: events.map((event) => ({ ...event, id: names.id(event.id), tags: [...kind.marks, ...event.tags.map(within)] }))
    })),
    unless: append.unless.map(conditionOf)
  })

  /** An error as the tenant's caller is to see it: with its own names. */
  const ownError = (error: AppendError, { unless }: PreparedAppend): AppendError => {
    switch (error._tag) {
      case "OptimisticLockError":
        return new OptimisticLockError({ stream: names.ownStream(error.stream), expected: error.expected, actual: error.actual })
      case "DuplicateEventError":
        return new DuplicateEventError({ stream: names.ownStream(error.stream), id: names.ownId(error.id) })
      case "InvalidAppendError":
        return new InvalidAppendError({
          stream: names.ownStream(error.stream),
          field: error.field,
          problem: `${error.problem}, with the name of its tenant (${JSON.stringify(prefix)}) before or behind it`
        })
      case "AppendConditionError": {
        const { condition, position } = error
        if (condition === undefined) return error
        const wanted = told(condition.filter)
        const isOwn = (one: PreparedCondition): boolean => {
          const { after, afterId, filter } = conditionOf(one)
          return after === condition.after && afterId === condition.afterId && told(filter) === wanted
        }
        const own = unless.find(isOwn)
        return new AppendConditionError({ position, ...(own === undefined ? {} : { condition: own }) })
      }
      case "EventStoreError":
        return error
    }
  }

  const { all, few, isFound, stream, streams, versionAt } = driver.pages
  const pages: Pages = {
    stream: (request) => Effect.map(stream({ ...request, stream: names.stream(request.stream) }), ownPage),
    versionAt: (name, until) => versionAt(names.stream(name), until),
    all: (request) => Effect.map(all({ ...request, filter: filterOf(request.filter) }), ownPage),
    ...(isFound === undefined ? {} : { isFound: (query) => isFound(queryBy(kind.untagged)(query)) }),
    ...(few === undefined
      ? {}
      : {
          few: (request) =>
            Effect.map(few({ ...request, filter: filterOf(request.filter) }), (page) =>
              page === undefined ? page : ownPage(page)
            )
        }),
    streams: ({ after, category, size }) =>
      Effect.map(
        streams({ after: within(after), category: category === undefined ? undefined : within(category), size }),
        (all) =>
          all
            .filter((info) => info.stream.startsWith(prefix))
            .map((info) => ({ ...info, stream: names.ownStream(info.stream), category: names.ownStream(info.category) }))
      )
  }
  /** The event as its row has it: with the names that it bears in the store of all. */
  const wholeEvent = (event: RecordedEvent): RecordedEvent => ({
    ...event,
    stream: names.stream(event.stream),
    id: names.id(event.id),
    tags: isTombstone(event) ? event.tags : [...kind.marks, ...event.tags.map(within)]
  })
  const { boundary, find, heard: _, maintenance, untilAnswered = (read) => read, version, ...rest } = driver
  // That of the whole store would tell how much others write, and a checkpoint that went so far would be ahead of the log.
  const head = Effect.map(
    all({ after: 0, upTo: Number.MAX_SAFE_INTEGER, filter: filterOf([{}]), backward: true, size: 1 }),
    ({ items }) => items[0]?.position ?? 0
  )
  /** The tenant's newest position beyond `position`, once the store has one beyond `known`. */
  const awaitOwn = (position: number, known: number): Effect.Effect<number, EventStoreError> =>
    Effect.flatMap(driver.awaitBeyond(known), (heard) =>
      Effect.flatMap(untilAnswered(head), (own) =>
        own > position ? Effect.succeed(own) : awaitOwn(position, Math.max(known, heard))
      )
    )
  return {
    ...rest,
    gaps: true,
    untilAnswered,
    append: (append) =>
      Effect.flatMap(append, (own) =>
        driver.append(Effect.succeed(prepared(own))).pipe(
          Effect.map((results) => results.map((result) => ({ ...result, stream: names.ownStream(result.stream) }))),
          Effect.mapError((error) => ownError(error, own))
        )
      ),
    pages,
    ...(boundary === undefined
      ? {}
      : {
          boundary: (request) =>
            Effect.map(
              boundary({ ...request, queries: request.queries.map((one) => ({ ...one, filter: filterOf(one.filter) })) }),
              ({ answers, position }) => ({ position, answers: answers.map(ownPage) })
            )
        }),
    head,
    awaitBeyond: (position) => awaitOwn(position, position),
    ...(maintenance === undefined
      ? {}
      : {
          maintenance: {
            ...maintenance,
            stored: wholeEvent,
            tombstone: (removals, { closed, ...why }) =>
              maintenance.tombstone(
                removals.map((removal) => ({ ...removal, stream: names.stream(removal.stream), id: names.id(removal.id) })),
                { ...why, closed: new Map(Array.from(closed, ([stream, at]) => [names.stream(stream), at])) }
              )
          }
        }),
    ...(version === undefined ? {} : { version: (name, operation) => version(names.stream(name), operation) }),
    ...(find === undefined
      ? {}
      : { find: (id) => Effect.map(find(names.id(id)), (event) => (event === undefined ? event : ownEvent(event))) })
  }
}
