/**
 * What has been looked for in the log, kept in memory: who asks the same again looks through what has come since. The log only grows, so what
 * was found stands for ever, and so does what was not. That it is the same log is told by the event up to which it was looked through.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { EventStoreError, Query } from "../../store/EventStore.ts"
import { findNewest } from "../../store/kit/index.ts"
import type { Shared } from "./shared.ts"

/** Fewer positions than that are looked through again. */
const worthKeeping = 10_000

/** How many filters are kept, and of how many characters at most. */
const [mostFilters, mostCharacters] = [256, 4_096]

type Request = Parameters<typeof findNewest>[1]

/** In `(after, upTo]` the newest match is `match`, 0 where there is none; at `upTo` stands the event `id`. */
interface Kept {
  readonly after: number
  readonly upTo: number
  readonly match: number
  readonly id: string | undefined
}

const everything: ReadonlyArray<Query> = [{}]

export interface Looked {
  /** As `findNewest`. */
  readonly find: (request: Request) => Effect.Effect<number, EventStoreError>
  /** Whether what has been found by a filter is kept. */
  readonly isKept: (filter: Request["filter"]) => boolean
}

/** `findNewest`, which keeps what it has found. */
export const makeLooked = (
  { sql: { transactionService } }: { readonly sql: Pick<Shared["sql"], "transactionService"> },
  pages: Parameters<typeof findNewest>[0]
): Looked => {
  /** What was used last stands at the end. */
  const kept = new Map<string, Kept>()
  const find = (request: Request) => findNewest(pages, request)
  const idAt = (position: number) =>
    Effect.map(
      pages.all({ after: position - 1, upTo: position, filter: everything, backward: true, size: 1 }),
      ({ items }) => items[0]?.id
    )
  const findOn = Effect.fnUntraced(function* (
    { after, filter, upTo }: Request,
    key: string
  ): Effect.fn.Return<number, EventStoreError> {
    const last = kept.get(key)
    const isGood =
      last !== undefined &&
      last.after <= after &&
      // Between what was looked through and what is asked for there must be no gap: it would count as looked through from then on.
      after <= last.upTo &&
      last.upTo <= upTo &&
      (yield* idAt(last.upTo)) === last.id &&
      last.id !== undefined
    const base = isGood ? last : { after, upTo: after, match: 0 }
    const found = yield* find({ filter, after: base.upTo, upTo })
    const match = found > 0 ? found : base.match
    kept.delete(key)
    kept.set(key, { after: base.after, upTo, match, id: yield* idAt(upTo) })
    const [oldest] = kept.keys()
    if (kept.size > mostFilters && oldest !== undefined) kept.delete(oldest)
    return match > after ? match : 0
  })
  return {
    isKept: (filter) => kept.size > 0 && kept.has(JSON.stringify(filter)),
    find: (request) => {
      if (request.upTo - request.after < worthKeeping) return find(request)
      const key = JSON.stringify(request.filter)
      return Effect.contextWith((context) =>
        // A transaction sees what may never be committed.
        key.length > mostCharacters || Context.getOrUndefined(context, transactionService) !== undefined
          ? find(request)
          : findOn(request, key)
      )
    }
  }
}
