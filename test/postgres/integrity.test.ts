import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { inject } from "vitest"
import { assertSound, begin, connect, event, open, untilWaiting } from "./harness.ts"
import { freshSchema } from "./support.ts"

const arena = Effect.gen(function* () {
  const url = inject("postgresUrl")
  const schema = freshSchema()
  const admin = yield* connect(url)
  return { url, schema, run: (text: string) => admin.unsafe(text), join: open({ url, schema }) }
})

describe("events are never changed", () => {
  it.live.each<readonly [string, string]>([
    ["update event", `update SCHEMA.event set payload = '1' where position = 1`],
    ["update nothing but its own value", `update SCHEMA.event set payload = payload`],
    ["delete events", `delete from SCHEMA.event`],
    ["truncate events", `truncate SCHEMA.event`],
    ["truncate events with others", `truncate SCHEMA.event, SCHEMA.tag cascade`],
    ["update tags", `update SCHEMA.tag set tag = 'other'`],
    ["delete tags", `delete from SCHEMA.tag where position = 1`],
    ["truncate tags", `truncate SCHEMA.tag`],
    ["upsert", `insert into SCHEMA.event select * from SCHEMA.event on conflict (position) do update set type = 'Other'`],
    ["merge", `merge into SCHEMA.event e using SCHEMA.event s on e.position = s.position when matched then delete`]
  ])("the database refuses to %s, and says why", ([, text]) =>
    Effect.gen(function* () {
      const { join, run, schema } = yield* arena
      const { store } = yield* join
      yield* store.append("A-1", [{ ...event("a"), tags: ["seat:1"] }, event("b")])
      const error = yield* Effect.flip(run(text.replaceAll("SCHEMA", `"${schema}"`)))
      expect(error.reason.cause).toMatchObject({
        code: "EF002",
        message: expect.stringMatching(
          /^eventfold: (UPDATE|DELETE|TRUNCATE) of (event|tag) is refused: events are never changed$/
        )
      })
      expect((yield* assertSound(store)).map(({ id }) => id)).toEqual(["a", "b"])
      expect(yield* Stream.runCollect(store.readAll({ filter: { tags: ["seat:1"] } }))).toHaveLength(1)
    })
  )
})

it.live("the head is what stands: events that were restored without it are counted on from", () =>
  Effect.gen(function* () {
    const { join, run, schema } = yield* arena
    const restored = yield* join
    yield* run(
      `insert into "${schema}".event values (1, 1, now(), 1, false, 'A-1', 'a', 'X', '{}', '1', '{}'), (2, 2, now(), 1, false, 'A-1', 'b', 'X', '{}', '1', '{}')`
    )
    for (const { store } of [restored, yield* join]) {
      expect(yield* store.head).toBe((yield* store.version("A-1")) + (yield* store.version("B-1")))
      yield* store.append("A-1", [event()])
      yield* store.append("B-1", [event(), event(), event()])
      yield* assertSound(store)
    }
  })
)

it.live("who writes events without the lock of the appends is found out", () =>
  Effect.gen(function* () {
    const { join, schema, url } = yield* arena
    const { store } = yield* join
    const admin = yield* connect(url)
    yield* store.append("A-1", [event()])
    const forger = yield* begin(
      admin,
      `insert into "${schema}".event values (2, 9, now(), 1, false, 'B-1', 'forged', 'Forged', '{}', '1', '{}')`
    )
    const append = yield* Effect.forkScoped(Effect.flip(store.append("C-1", [event(), event()])))
    yield* untilWaiting(admin, schema)
    yield* forger.commit
    const error = yield* Fiber.join(append)
    expect(error).toMatchObject({ _tag: "EventStoreError", isRetryable: false, reason: { _tag: "StoreCorrupted" } })
    expect(error.message).toContain("something else writes to the table of the events")
  })
)
