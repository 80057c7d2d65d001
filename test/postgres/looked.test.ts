/** What is kept of looks at the log: whoever asks is told what a look through all of it would tell. */
import { expect, it } from "@effect/vitest"
import { DateTime, Effect, Schema } from "effect"
import { SqlClient } from "effect/sql"
import type { EventStore } from "eventfold"
import { makeLooked } from "../../src/postgres/store/looked.ts"

/** Positions stand in thousands, since what spans less than ten of them is not kept. */
const step = 11_000

const Place = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 9 }))

/** The log grows before each request. */
const Requests = Schema.Array(Schema.Struct({ after: Place, growth: Schema.Literals([0, 1, 2, 5]) })).check(
  Schema.isMaxLength(12)
)
const Matches = Schema.Array(Place).check(Schema.isMaxLength(3))

const recorded = (type: string, position: number): EventStore.RecordedEvent => ({
  id: `id-${position}`,
  type,
  stream: "Log-1",
  version: position,
  position,
  payload: null,
  schemaVersion: 1,
  recordedAt: DateTime.makeUnsafe(0),
  published: false,
  tags: [],
  metadata: {}
})

/** A log of events of another type, but for those that match. */
const logOf = (matches: typeof Matches.Type) => {
  const positions = matches.map((at) => at * step + 1).sort((a, b) => b - a)
  return {
    newest: (after: number, upTo: number) => positions.find((position) => position > after && position <= upTo),
    at: (position: number) => recorded(positions.includes(position) ? "Rare" : "Other", position)
  }
}

const sql = { transactionService: SqlClient.TransactionConnection(-1) }

it.effect.prop(
  "whatever is asked in whatever order, the answer is that of a look through all of it",
  { matches: Matches, requests: Requests },
  ({ matches, requests }) =>
    Effect.gen(function* () {
      const log = logOf(matches)
      const { find } = makeLooked(
        { sql },
        {
          all: ({ after, filter, upTo }) =>
            Effect.sync(() => {
              const found = filter[0]?.types === undefined ? upTo : log.newest(after, upTo)
              return { items: found === undefined || found <= after ? [] : [log.at(found)], bytes: 0 }
            })
        }
      )
      let head = 0
      for (const { after: place, growth } of requests) {
        head += growth * step
        const after = place * step
        const found = yield* find({ filter: [{ types: ["Rare"] }], after, upTo: head })
        expect({ after, head, found }).toEqual({ after, head, found: log.newest(after, head) ?? 0 })
      }
    }),
  { arbitrary: { runs: 2000 } }
)
