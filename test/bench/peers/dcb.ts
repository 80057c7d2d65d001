/** Decisions with `@dcb-es/event-store` on PostgreSQL. */
import { Effect } from "effect"
import { type Contestant } from "../contest.ts"
import { deedsOf, evolve, initial, isFree, type Kind, logged, subscribed, types } from "../courses.ts"
import { countOf, load, openPool, type Pool } from "./load.ts"

/** What is used of the packages. */
interface Position {
  readonly isAfter: (other: Position) => boolean
}

interface Condition {
  readonly failIfEventsMatch: object
  readonly after?: Position
}

interface Command {
  readonly events: ReadonlyArray<object> | object
  readonly condition?: Condition
}

interface Store {
  readonly ensureInstalled: () => Promise<void>
  readonly append: (command: Command) => Promise<Position>
}

interface Core {
  readonly Tags: { readonly from: (tags: ReadonlyArray<string>) => object }
  readonly Query: { readonly fromItems: (items: ReadonlyArray<object>) => object }
  readonly SequencePosition: { readonly fromString: (position: string) => Position }
  readonly AppendConditionError: abstract new () => Error
  readonly buildDecisionModel: <S>(
    store: Store,
    handlers: { readonly course: { readonly tagFilter: object; readonly init: S; readonly when: object } }
  ) => Promise<{ readonly state: { readonly course: S }; readonly appendCondition: Condition }>
}

/** As many connections as are its best: with ten it is slower. */
const connections = 20

/** It takes a lock for each tag of an append, and the server has room for some thousands. */
const pageSize = 1000

const connect = (url: string) =>
  Effect.gen(function* () {
    const core = (yield* Effect.promise(() => load("@dcb-es/event-store"))) as Core
    const postgres = (yield* Effect.promise(() => load("@dcb-es/event-store-postgres"))) as {
      readonly PostgresEventStore: new (options: { readonly pool: Pool }) => Store
    }
    const pool = yield* openPool(url, connections)
    return { core, pool, store: new postgres.PostgresEventStore({ pool }) }
  })

export const dcb: Contestant<Kind> = {
  name: "dcb-es",
  fill: (url, events) =>
    Effect.gen(function* () {
      const { core, store } = yield* connect(url)
      yield* Effect.promise(() => store.ensureInstalled())
      for (let first = 0; first < events; first += pageSize) {
        const page = Array.from({ length: Math.min(pageSize, events - first) }, (_, index) => {
          const { data, tags, type } = logged(events, first + index)
          return { type, data, metadata: {}, tags: core.Tags.from(tags) }
        })
        yield* Effect.tryPromise(() => store.append({ events: page }))
      }
    }),
  open: (url, setting) =>
    Effect.gen(function* () {
      const { core, pool, store } = yield* connect(url)
      const eventOf = (course: string) => {
        const { data, tags, type } = subscribed(course)
        return { type, data, metadata: {}, tags: core.Tags.from(tags) }
      }
      const append = async (course: string, condition?: Condition) => {
        try {
          const position = await store.append({ events: eventOf(course), ...(condition === undefined ? {} : { condition }) })
          known.set(course, position)
          return true
        } catch (error) {
          if (error instanceof core.AppendConditionError) return false
          throw error
        }
      }
      const head = core.SequencePosition.fromString(`${setting.events}`)
      /** The newest positions that this process knows. */
      const known = new Map<string, Position>()
      const handlers = {
        CourseDefined: ({ event }: { readonly event: { readonly data: { readonly capacity: number } } }, state: typeof initial) =>
          evolve.CourseDefined(state, event.data),
        Subscribed: (_: unknown, state: typeof initial) => evolve.Subscribed(state)
      }
      const decide = (course: string) =>
        Effect.tryPromise(async () => {
          const { appendCondition, state } = await core.buildDecisionModel(store, {
            course: { tagFilter: core.Tags.from([`course:${course}`]), init: initial, when: handlers }
          })
          return isFree(state.course) && append(course, appendCondition)
        })
      const courses = {
        append: (course: string) => Effect.tryPromise(() => append(course)),
        conditional: (course: string) =>
          Effect.tryPromise(() => {
            const failIfEventsMatch = core.Query.fromItems([{ types, tags: core.Tags.from([`course:${course}`]) }])
            return append(course, { failIfEventsMatch, after: known.get(course) ?? head })
          }),
        decide,
        // It has one way to decide.
        decideByPort: decide,
        decideCached: decide,
        decideOptimistic: decide
      }
      return { deeds: deedsOf(courses, setting), count: countOf(pool, "events") }
    })
}
