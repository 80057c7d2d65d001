/** Decisions of several processes at once. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import type { EventStore } from "eventfold"
import { matches } from "eventfold/kit"
import { inject } from "vitest"
import { assertSound, child, connect, event, holdHead, open, until, untilWaiting } from "./harness.ts"
import { freshSchema } from "./support.ts"

const arena = Effect.gen(function* () {
  const url = inject("postgresUrl")
  const schema = freshSchema()
  return { url, schema, admin: yield* connect(url), store: (yield* open({ url, schema })).store }
})

const all = (store: EventStore.EventStore["Service"], tag: string) =>
  Stream.runCollect(store.readAll({ filter: { tags: [tag] } }))

describe("processes that decide at once", () => {
  it.live(
    "give three seats to three of twenty students, and one name to one of twenty accounts",
    () =>
      Effect.gen(function* () {
        const { admin, schema, store, url } = yield* arena
        for (const [mode, tag, count] of [
          ["enrol", "course:1", 3],
          ["claim", "name:ada", 1]
        ] as const) {
          const head = yield* holdHead(admin, schema)
          const processes = yield* Effect.forEach(["a", "b"], (name) =>
            child("deciding", { url, schema, name, callers: 10, mode, times: 1 })
          )
          // Each has decided, and one append of each waits: nobody has got anything yet.
          yield* untilWaiting(admin, schema, 2)
          expect(yield* all(store, tag)).toEqual([])
          yield* head.commit
          yield* Effect.forEach(processes, ({ end }) => end, { concurrency: "unbounded" })
          const told = processes.flatMap(({ lines }) => lines.filter((line) => line !== "ready"))
          expect((yield* all(store, tag)).map(({ id }) => id).toSorted()).toEqual(told.toSorted())
          expect(told).toHaveLength(count)
        }
        yield* assertSound(store)
      }),
    60_000
  )

  it.live.each(["number", "optimistic"])(
    "take the numbers from 1 on without a gap, though one of them is killed in the middle (%s)",
    (mode) =>
      Effect.gen(function* () {
        const { schema, store, url } = yield* arena
        const processes = yield* Effect.forEach(["a", "b"], (name) => child("deciding", { url, schema, name, callers: 6, mode }))
        const [killed, other] = [processes[0] ?? expect.unreachable(), processes[1] ?? expect.unreachable()]
        const got = (count: number, which = processes) =>
          until(
            `each has ${count} numbers`,
            Effect.sync(() => which.every(({ lines }) => lines.length > count))
          )
        yield* got(15)
        yield* killed.kill
        yield* got(other.lines.length + 15, [other])
        yield* other.end
        const events = yield* all(store, "series:1")
        const numberOf = ({ payload }: EventStore.RecordedEvent) =>
          typeof payload === "object" && payload !== null && "number" in payload ? payload.number : payload
        expect(events.map(numberOf)).toEqual(events.map((_, index) => index + 1))
        // What was told is there.
        const told = processes.flatMap(({ lines }) => lines.filter((line) => line !== "ready").map(Number))
        expect(new Set(told).size).toBe(told.length)
        expect(Math.max(...told)).toBeLessThanOrEqual(events.length)
        yield* assertSound(store)
      }),
    60_000
  )
})

/** Numbers that look random and are the same in every run. */
const random = (seed: number) => () => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31

describe("whatever is decided at once", () => {
  it.live.each([1, 2, 3])(
    "is as if it had been decided one after the other, in the order of the positions (%d)",
    (seed) =>
      Effect.gen(function* () {
        const { schema, store, url } = yield* arena
        const stores = [store, (yield* open({ url, schema })).store]
        const next = random(seed)
        const pick = <A>(values: ReadonlyArray<A>) => values[Math.floor(next() * values.length)] as A
        const tags = ["a", "b", "c", "d"]
        const types = ["T1", "T2"]
        const query = (): EventStore.Query => ({
          tags: [pick(tags), ...(next() < 0.2 ? [pick(tags)] : [])],
          ...(next() < 0.4 ? { types: [pick(types)] } : {})
        })
        const anything = (): EventStore.Query => (next() < 0.85 ? query() : { types: [pick(types)], categories: ["S"] })
        for (let round = 0; round < 5; round++) {
          const decisions = Array.from({ length: 60 }, (_, n) => ({
            by: stores[n % 2] ?? store,
            stream: `S-${pick(["1", "2", "3"])}`,
            events: Array.from({ length: 1 + Math.floor(next() * 2) }, (_, m) => ({
              ...event(`${seed}-${round}-${n}-${m}`, pick(types)),
              tags: Array.from(new Set([pick(tags), pick(tags)]))
            })),
            guard: next() < 0.2 ? `S-${pick(["1", "2", "3", "4"])}` : undefined,
            filters: Array.from({ length: 1 + Math.floor(next() * 2) }, () =>
              Array.from({ length: 1 + Math.floor(next() * 2) }, anything)
            )
          }))
          const outcomes = yield* Effect.forEach(
            decisions,
            Effect.fnUntraced(function* ({ by, events, filters, guard, stream }) {
              const version = guard === undefined ? 0 : yield* by.version(guard)
              const { position } = yield* by.readBoundary(filters.map((filter) => ({ filter })))
              const written = yield* Effect.result(
                by.appendAll(
                  [...(guard === undefined ? [] : [{ stream: guard, expected: version, events: [] }]), { stream, events }],
                  { unless: filters.map((filter) => ({ filter, after: position })) }
                )
              )
              return { version, position, written }
            }),
            { concurrency: "unbounded" }
          )
          const log = yield* Stream.runCollect(store.readAll())
          let refused = 0
          for (const [index, { position, version, written }] of outcomes.entries()) {
            const { events, filters, guard, stream } = decisions[index] ?? expect.unreachable()
            const facts = (filter: ReadonlyArray<EventStore.Query>) =>
              log.filter((one) => one.position > position && matches(filter, one)).map((one) => one.position)
            if (written._tag === "Success") {
              const own = written.success.find((one) => one.stream === stream && one.version > 0)?.position ?? 0
              const last = written.success.at(-1)?.position ?? own
              const first = last - events.length + 1
              // Nothing that it excludes stands between what it saw and what it wrote.
              for (const filter of filters) expect(facts(filter).filter((at) => at < first)).toEqual([])
              if (guard !== undefined) {
                expect(log.filter((one) => one.stream === guard && one.position < first).at(-1)?.version ?? 0).toBe(version)
              }
            } else {
              refused++
              const error = written.failure
              if (error._tag === "AppendConditionError") {
                expect(facts(error.condition?.filter ?? [])).toContain(error.position)
              } else {
                expect(error).toMatchObject({ _tag: "OptimisticLockError", stream: guard, expected: version })
              }
            }
          }
          expect(refused).toBeGreaterThan(0)
          expect(refused).toBeLessThan(decisions.length)
        }
        yield* assertSound(store)
      }),
    60_000
  )
})
