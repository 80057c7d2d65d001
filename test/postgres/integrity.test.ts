import { describe, expect, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { inject } from "vitest"
import { assertSound, connect, event, open, reasonOf } from "./harness.ts"
import { freshSchema } from "./support.ts"

const arena = Effect.gen(function* () {
  const url = inject("postgresUrl")
  const schema = freshSchema()
  const admin = yield* connect(url)
  return { schema, admin, run: (text: string) => admin.unsafe(text), join: open({ url, schema }) }
})

describe("events are never changed", () => {
  it.live.each<readonly [string, string]>([
    ["update event", `update SCHEMA.event set payload = '1' where position = 1`],
    ["update nothing but its own value", `update SCHEMA.event set payload = payload`],
    ["delete events", `delete from SCHEMA.event`],
    ["truncate events", `truncate SCHEMA.event`],
    ["truncate events with others", `truncate SCHEMA.event, SCHEMA.tag, SCHEMA.head cascade`],
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

describe("a head that is behind the newest event, as after restoring half a backup", () => {
  const behind = Effect.gen(function* () {
    const { join, run, schema } = yield* arena
    const { store } = yield* join
    yield* store.append("A-1", [event("a"), event("b"), event("c")])
    yield* run(`update "${schema}".head set position = 1`)
    return { store, join, run, schema }
  })

  it.live("keeps a store from opening, with how to repair it", () =>
    Effect.gen(function* () {
      const { join, run, schema } = yield* behind
      const error = yield* Effect.flip(Effect.scoped(join))
      expect(error).toMatchObject({ reason: { _tag: "StoreCorrupted", operation: "open" }, isRetryable: false })
      expect(error.message).toBe(
        `StoreCorrupted during open: the head counter says 1, and the newest event has position 3: update "${schema}"."head" set position = (3)`
      )
      yield* run(error.message.replace(/.*: /, ""))
      const { store } = yield* join
      expect(yield* store.append("A-1", [event()])).toMatchObject({ version: 4, position: 4 })
      yield* assertSound(store)
    })
  )

  it.live("makes every append of a store that was open already fail, until it is repaired", () =>
    Effect.gen(function* () {
      const { run, schema, store } = yield* behind
      const error = yield* Effect.flip(store.append("B-1", [event()]))
      expect(error).toMatchObject({ _tag: "EventStoreError", reason: { _tag: "StoreCorrupted", operation: "append" } })
      expect(error.message).toContain("the head counter is behind the newest event")
      // More events at once than the head is behind, so that the last would be beyond the newest.
      expect(yield* reasonOf(store.append("B-1", [event(), event(), event(), event()]))).toBe("StoreCorrupted")
      yield* run(`update "${schema}".head set position = 3`)
      expect(yield* store.append("B-1", [event()])).toMatchObject({ version: 1, position: 4 })
      yield* assertSound(store)
    })
  )
})

describe("a head that is missing", () => {
  it.live("keeps a store from opening, and fails whatever needs it in one that is open", () =>
    Effect.gen(function* () {
      const { join, run, schema } = yield* arena
      const { store } = yield* join
      yield* store.append("A-1", [event()])
      yield* run(`delete from "${schema}".head`)
      expect(yield* reasonOf(store.append("A-1", [event()]))).toBe("StoreCorrupted")
      expect(yield* reasonOf(store.head)).toBe("StoreCorrupted")
      const error = yield* Effect.flip(Effect.scoped(join))
      expect(error).toMatchObject({ reason: { _tag: "StoreCorrupted", operation: "open" } })
      expect(error.message).toContain(`insert into "${schema}"."head" (position) values (1)`)

      yield* run(error.message.replace(/.*: /, ""))
      expect(yield* store.append("A-1", [event()])).toMatchObject({ version: 2, position: 2 })
      yield* assertSound(store)
    })
  )

  it.live("there is never a second one", () =>
    Effect.gen(function* () {
      const { join, run, schema } = yield* arena
      yield* join
      for (const row of ["(true, 5)", "(false, 5)"]) {
        const error = yield* Effect.flip(run(`insert into "${schema}".head (only_row, position) values ${row}`))
        expect(error.reason._tag).toMatch(/UniqueViolation|ConstraintError/)
      }
    })
  )
})

it.live("an event that stands under another id, stream or version than the head allows is found out", () =>
  Effect.gen(function* () {
    const { join, run, schema } = yield* arena
    const { store } = yield* join
    yield* store.append("A-1", [event("a")])
    // What only a hand in the tables can do: the next position and version are taken already.
    yield* run(
      `insert into "${schema}".event select 7, 9, recorded_at, 1, false, 'B-1', 'forged', 'Forged', '{}', '1', '{}' from "${schema}".event`
    )
    yield* run(`update "${schema}".head set position = 6`)
    expect(yield* reasonOf(store.append("C-1", [event()]))).toBe("StoreCorrupted")
  })
)
