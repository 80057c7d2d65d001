/**
 * The newest stretch of the log, read once for all subscriptions of a store that keep up with it. Each of them is served from it by its own
 * filter; one that is behind it reads for itself, until it has come up, and so does one that is alone.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { RecordedEvent } from "../../definitions/stored.ts"
import { copyJson } from "../../internal/exactJson.ts"
import type { EventStoreError } from "../errors.ts"
import type { Query } from "../model.ts"
import { matches } from "./filter.ts"
import type { Driver } from "./make.ts"
import { nextPageSize, pageBytes, smallestPage } from "./pages.ts"
import { makeScan, type Scanned } from "./scan.ts"

/** The most events that are kept, and about the most bytes of their payloads. */
const mostEvents = 4096
const mostBytes = 2 * pageBytes

/** More different queries than this are not asked for at once: then everything is read. */
const mostQueries = 8

/** What subscriptions want to read next. */
interface Request {
  readonly after: number
  readonly upTo: number
  readonly size: number
}

/** One subscription, as long as it runs. */
export interface TailReader {
  /** The next events that pass its filter, and how far the log has been looked through; perhaps beyond what was asked for. */
  readonly read: (request: Request) => Effect.Effect<Scanned, EventStoreError>
}

/** What passes the filters of all, in `(after, to]`. */
interface Stretch {
  readonly after: number
  readonly to: number
  readonly items: ReadonlyArray<RecordedEvent>
  readonly bytes: number
}

/** What all subscriptions want together. */
interface Wanted {
  readonly filter: ReadonlyArray<Query>
  /** The filters that it covers. */
  readonly keys: ReadonlySet<string>
}

const isOfTypes = (query: Query): query is { readonly types: ReadonlyArray<string> } =>
  query.types !== undefined && Object.values(query).filter((value) => value !== undefined).length === 1

const isAll = (query: Query): boolean => Object.values(query).every((value) => value === undefined)

/** A filter that lets through whatever passes one of these. */
export const union = (filters: ReadonlyArray<ReadonlyArray<Query>>): ReadonlyArray<Query> => {
  const queries = filters.flat()
  const types = new Set(queries.flatMap((query) => (isOfTypes(query) ? query.types : [])))
  const rest = new Map(queries.flatMap((query) => (isOfTypes(query) ? [] : [[JSON.stringify(query), query] as const])))
  const all = [...(types.size === 0 ? [] : [{ types: Array.from(types) }]), ...rest.values()]
  return all.length > mostQueries || all.some(isAll) ? [{}] : all
}

/** An event that shares nothing with the other: what a reader does to it, no other reader sees. */
const copyOf = (event: RecordedEvent): RecordedEvent => ({
  ...event,
  tags: event.tags.slice(),
  payload: copyJson(event.payload),
  metadata: copyJson(event.metadata)
})

/** The part of a stretch beyond a position that passes a filter. */
const served = ({ bytes, items, to }: Stretch, { after, size, upTo }: Request, filter: ReadonlyArray<Query>): Scanned => {
  const found: Array<RecordedEvent> = []
  let end = to
  for (const event of items) {
    if (event.position <= after || !matches(filter, event)) continue
    found.push(copyOf(event))
    if (found.length === size) {
      end = event.position
      break
    }
  }
  return {
    items: found,
    bytes: items.length === 0 ? 0 : Math.ceil((bytes * found.length) / items.length),
    rest: { after: end, upTo: Math.max(upTo, to) }
  }
}

/** Makes what the subscriptions of a store share. */
export const makeTail = ({
  pages,
  transactionService,
  untilAnswered = (read) => read,
  window
}: Pick<Driver, "pages" | "transactionService" | "untilAnswered" | "window">) => {
  /** The filters of those who read, and how many have each. */
  const readers = new Map<string, { readonly filter: ReadonlyArray<Query>; count: number }>()
  let count = 0
  const scanAll = makeScan(pages, window)
  let wanted: Wanted = { filter: [], keys: new Set() }
  let stretches: Array<Stretch> = []
  let size = smallestPage
  let underWay: { readonly after: number; readonly fiber: Fiber.Fiber<unknown>; askers: number } | undefined

  /** What is wanted has changed. */
  const changed = (): void => {
    wanted = { filter: union(Array.from(readers.values(), ({ filter }) => filter)), keys: new Set(readers.keys()) }
  }

  const enter = (key: string, filter: ReadonlyArray<Query>): void => {
    const known = readers.get(key)
    count++
    if (known !== undefined) return void known.count++
    readers.set(key, { filter, count: 1 })
    // What has been read was not meant for this filter.
    stretches = []
    changed()
  }

  const leave = (key: string): void => {
    const known = readers.get(key)
    if (--count < 2) stretches = []
    if (known === undefined || --known.count > 0) return
    readers.delete(key)
    changed()
  }

  const keep = (stretch: Stretch): void => {
    stretches.push(stretch)
    const sum = (of: (stretch: Stretch) => number) => stretches.reduce((sum, stretch) => sum + of(stretch), 0)
    while (stretches.length > 1 && (sum(({ items }) => items.length) > mostEvents || sum(({ bytes }) => bytes) > mostBytes)) {
      stretches.shift()
    }
  }

  /** Reads on from where all is known, for whoever waits for it. A failure is nobody's: each then reads for himself. */
  const begin = ({ after, upTo }: Request, context: Context.Context<never>) => {
    const { filter, keys } = wanted
    const reading = Effect.matchCause(scanAll({ after, upTo, filter, backward: false, size }), {
      onFailure: () => {
        stretches = []
      },
      onSuccess: ({ bytes, items, rest }) => {
        size = nextPageSize(size, items.length, bytes)
        if (Array.from(wanted.keys).every((key) => keys.has(key))) keep({ after, to: rest.after, items, bytes })
      }
    })
    // It belongs to many: its statements are spans in the trace of none.
    const fiber = Effect.runForkWith(context)(Effect.withTracerEnabled(reading, false))
    const begun = { after, fiber, askers: 0 }
    fiber.addObserver(() => {
      if (underWay === begun) underWay = undefined
    })
    return begun
  }

  /** Waits for what is being read for all; it goes on as long as anybody waits. */
  const sharing = (request: Request): Effect.Effect<void> =>
    Effect.contextWith((context: Context.Context<never>) => {
      const reading = (underWay ??= begin(request, context))
      reading.askers++
      return Effect.onExit(Fiber.await(reading.fiber), () =>
        --reading.askers > 0 ? Effect.void : Fiber.interrupt(reading.fiber)
      )
    }).pipe(Effect.asVoid)

  const join = (filter: ReadonlyArray<Query>): Effect.Effect<TailReader, never, Scope.Scope> =>
    Effect.gen(function* () {
      const scan = makeScan(pages, window)
      const alone = (request: Request) => untilAnswered(scan({ ...request, filter, backward: false }))
      // What a transaction sees is for nobody else.
      if (transactionService !== undefined && Option.isSome(yield* Effect.serviceOption(transactionService)))
        return { read: alone }
      const key = JSON.stringify(filter)
      yield* Effect.acquireRelease(
        Effect.sync(() => enter(key, filter)),
        () => Effect.sync(() => leave(key))
      )
      const find = (after: number) => stretches.find((stretch) => stretch.after <= after && after < stretch.to)
      const read = (request: Request): Effect.Effect<Scanned, EventStoreError> =>
        Effect.suspend(() => {
          const { after, upTo } = request
          if (count < 2) return alone(request)
          const known = find(after)
          if (known !== undefined) return Effect.succeed(served(known, request, filter))
          const [first] = stretches
          if (first !== undefined && after < first.after) return alone({ ...request, upTo: Math.min(upTo, first.after) })
          if (underWay !== undefined && underWay.after !== after) return alone(request)
          // The first of all is beyond what is known: that is where it begins anew.
          if (underWay === undefined && stretches.at(-1)?.to !== after) stretches = []
          return Effect.andThen(
            sharing(request),
            Effect.suspend(() => {
              const found = find(after)
              return found === undefined ? alone(request) : Effect.succeed(served(found, request, filter))
            })
          )
        })
      return { read }
    })
  return join
}
