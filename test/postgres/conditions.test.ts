import { describe, expect, it } from "vitest"
import { Effect } from "effect"
import type { EventStore } from "eventfold"
import { matchesPrepared, prepare, type PreparedAppend } from "eventfold/kit"
import { encodeConditions } from "../../src/postgres/store/conditions.ts"

const prepared = (appends: ReadonlyArray<EventStore.StreamAppend>, unless: ReadonlyArray<EventStore.AppendCondition> = []) =>
  Effect.runSync(prepare(appends, unless))

/** Numbers that look random and are the same in every run. */
const random = (seed: number) => () => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31

/** For each condition of a batch, the events before its request that match, by the definition. */
const expected = (requests: ReadonlyArray<PreparedAppend>) => {
  const events: Array<{ readonly nth: number; readonly matches: (filter: ReadonlyArray<EventStore.Query>) => boolean }> = []
  const found: Array<ReadonlyArray<number>> = []
  for (const { appends, unless } of requests) {
    for (const { filter } of unless) found.push(events.filter(({ matches }) => matches(filter)).map(({ nth }) => nth))
    for (const { events: own, stream } of appends) {
      for (const event of own) {
        events.push({ nth: events.length + 1, matches: (filter) => matchesPrepared(filter, { ...event, stream }) })
      }
    }
  }
  return found
}

/** The same, as the function of the database reads it. */
const encoded = (requests: ReadonlyArray<PreparedAppend>) => {
  const { p_condition_own, p_matched_event, p_matched_query, p_own_query } = encodeConditions(requests)
  const ends = p_condition_own ?? []
  let request = 0
  let before = 0
  let conditions = 0
  return ends.map((end, index) => {
    while (index >= conditions + (requests[request]?.unless.length ?? 0)) {
      conditions += requests[request]?.unless.length ?? 0
      before += requests[request++]?.count ?? 0
    }
    const queries = new Set((p_own_query ?? []).slice(index === 0 ? 0 : ends[index - 1], end))
    const events = (p_matched_event ?? []).filter((event, at) => event <= before && queries.has(p_matched_query?.[at] as number))
    return Array.from(new Set(events))
  })
}

describe("what a batch is told of its own events", () => {
  it("is what matches by the definition, and nothing else", () => {
    let matched = 0
    for (let seed = 1; seed <= 60; seed++) {
      const next = random(seed)
      const one = <A>(values: ReadonlyArray<A>) => values[Math.floor(next() * values.length)] as A
      const some = <A>(values: ReadonlyArray<A>) => values.filter(() => next() < 0.4)
      const [tags, types] = [
        ["a", "b", "c"],
        ["T1", "T2"]
      ]
      const query = (): EventStore.Query => ({
        ...(next() < 0.7 ? { tags: some(tags) } : {}),
        ...(next() < 0.4 ? { types: some(types) } : {}),
        ...(next() < 0.2 ? { categories: some(["A", "B"]) } : {}),
        ...(next() < 0.1 ? { published: next() < 0.5 } : {}),
        ...(next() < 0.1 ? { correlationId: one(["x", "y"]) } : {})
      })
      const requests = Array.from({ length: 1 + Math.floor(next() * 12) }, () =>
        prepared(
          Array.from({ length: 1 + Math.floor(next() * 2) }, () => ({
            stream: one(["A-1", "B-1"]),
            events: Array.from({ length: Math.floor(next() * 3) }, () => ({
              type: one(types),
              payload: null,
              tags: some(tags),
              published: next() < 0.5,
              metadata: next() < 0.5 ? { correlationId: one(["x", "y"]) } : {}
            }))
          })),
          Array.from({ length: Math.floor(next() * 3) }, () => ({
            filter: Array.from({ length: 1 + Math.floor(next() * 2) }, query)
          }))
        )
      )
      const wanted = expected(requests)
      expect(encoded(requests).map((events) => events.toSorted((a, b) => a - b))).toEqual(wanted)
      matched += wanted.flat().length
    }
    expect(matched).toBeGreaterThan(200)
  })

  it("is little where the appends of a batch have nothing, or one thing, to do with each other", () => {
    const batch = (tag: (n: number) => string) =>
      Array.from({ length: 512 }, (_, n) =>
        prepared(
          [{ stream: `S-${n}`, events: [{ type: "T", payload: null, tags: [tag(n), `own:${n}`] }] }],
          [{ filter: [{ tags: [tag(n)] }, { tags: [`own:${n}`] }] }]
        )
      )
    expect(encodeConditions(batch((n) => `seat:${n}`)).p_matched_event).toEqual([])
    // The last one is in nobody's way.
    expect(encodeConditions(batch(() => "seat:1")).p_matched_event).toHaveLength(511)
    expect(encodeConditions(batch((n) => `seat:${n}`).map((one) => ({ ...one, unless: [] })))).toEqual(
      Object.fromEntries(Object.keys(encodeConditions([])).map((name) => [name, null]))
    )
  })
})
