import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore, Personal, Repository } from "eventfold"
import { describe, inject } from "vitest"
import { startChild } from "../support/child.ts"
import { eventually } from "../support/words.ts"
import { Customer, cuts, layerOf, register } from "./forgetting.ts"
import { freshSchema } from "./support.ts"

const url = inject("postgresUrl")
const forgetter = new URL("./processes/forgetter.ts", import.meta.url)

/** How often it is killed, at each of the steps: `EVENTFOLD_ROUNDS=200` for a night. */
const rounds = Number(process.env["EVENTFOLD_ROUNDS"] ?? 3)

const stateOf = (subject: string) => Effect.map(Repository.read(Customer, subject), ({ state }) => state)
const erasures = (subject: string) => Stream.runCount(EventStore.read(`$erasure-${subject}`))

describe("a process that is killed with personal data in hand, on PostgreSQL", () => {
  it.live(
    "leaves nothing that the next one does not finish, wherever it stood, round after round",
    () =>
      Effect.gen(function* () {
        const schema = freshSchema()
        const next = Layer.fresh(layerOf({ url, schema }))
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const keysOf = (subject: string) => sql<{ readonly closed: number; readonly wrapped: string | null }>`
            select closed, wrapped from ${sql(`${schema}.personal_key`)} where subject = ${subject}`
          for (let round = 0; round < rounds; round++) {
            const child = yield* startChild(forgetter, { url, schema, round })
            yield* child.says("stands")
            yield* child.kill
            const [insert, transaction, close, append, destroy] = cuts.map((cut) => `${cut}-${round}`) as [
              string,
              string,
              string,
              string,
              string
            ]
            // A key of nobody's events, and one that never came to be. Either way the next one writes.
            assert.equal((yield* keysOf(insert)).length, 1)
            yield* eventually(
              "the transaction of the dead is over",
              Effect.map(keysOf(transaction), (rows) => rows.length === 0)
            )
            for (const subject of [insert, transaction]) {
              assert.equal(yield* stateOf(subject), "nobody")
              yield* register(subject)
              assert.equal(yield* stateOf(subject), `${subject}@example.org`)
              assert.equal((yield* keysOf(subject)).length, 1)
            }
            // Who was being forgotten gets nothing new, wherever that was cut off.
            for (const subject of [close, append, destroy]) {
              assert.equal((yield* Effect.flip(register(subject)))._tag, "InvalidAppendError")
            }
            assert.deepEqual(yield* Effect.forEach([close, append, destroy], erasures), [0, 1, 1])
            // What the log says is forgotten the eraser finishes, and the rest whoever asks again.
            yield* Effect.scoped(
              Effect.andThen(
                Layer.build(Layer.fresh(Personal.layerEraser)),
                eventually(
                  "the key is gone",
                  Effect.map(keysOf(append), ([key]) => key?.wrapped === null)
                )
              )
            )
            yield* Effect.forEach([insert, transaction, close, append, destroy], (subject) => Personal.forget(subject), {
              concurrency: "unbounded"
            })
            for (const subject of [insert, transaction, close, append, destroy]) {
              assert.equal(yield* stateOf(subject), "forgotten")
              assert.equal(yield* erasures(subject), 1)
              assert.deepEqual(yield* keysOf(subject), [{ closed: 1, wrapped: null }])
            }
          }
        }).pipe(Effect.provide(next))
      }).pipe(Effect.scoped),
    60_000 + rounds * 5_000
  )

  it.live(
    "another process reads nobody whose forgetting is done, however often it has read it before",
    () =>
      Effect.gen(function* () {
        const schema = freshSchema()
        yield* Effect.gen(function* () {
          yield* register("ada")
          const reader = yield* startChild(forgetter, { url, schema, round: 0, reads: "ada" })
          const last = () => reader.lines.at(-1) ?? ""
          yield* eventually(
            "it reads",
            Effect.sync(() => last().includes("ada@"))
          )
          yield* Personal.forget("ada")
          const done = Date.now()
          yield* eventually(
            "it has read since",
            Effect.sync(() => Number(last().split(" ")[0]) > done)
          )
          yield* reader.end
          const late = reader.lines.filter((line) => Number(line.split(" ")[0]) >= done)
          assert.ok(late.length > 0)
          assert.deepEqual(new Set(late.map((line) => line.split(" ")[1])), new Set(["forgotten"]))
        }).pipe(Effect.provide(Layer.fresh(layerOf({ url, schema }))))
      }).pipe(Effect.scoped),
    60_000
  )
})
