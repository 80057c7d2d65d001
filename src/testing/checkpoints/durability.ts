/** What was acknowledged is there after closing and opening again. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import assert from "node:assert/strict"
import { held, known, long, opened, refusal, reopened } from "./words.ts"

export const durability = [
  opened("checkpoints that have been closed say so, or go on as before: nothing hangs, dies or interrupts", function* (open) {
    const [checkpoints, lease] = yield* Effect.scoped(
      Effect.gen(function* () {
        const checkpoints = yield* open
        return [checkpoints, yield* checkpoints.claim("mail", { owner: "a", ttl: long })] as const
      })
    )
    const { versions } = checkpoints
    const row = { projection: "Balances", version: 1, mode: "async", heard: 7, revision: 0, target: Option.none() } as const
    const asked: Record<string, Effect.Effect<unknown, unknown>> = {
      get: checkpoints.get("mail"),
      list: checkpoints.list,
      renew: checkpoints.renew(lease),
      advance: checkpoints.advance(lease, 5),
      release: checkpoints.release(lease),
      claim: checkpoints.claim("mail", { owner: "a", ttl: long }),
      reset: checkpoints.reset("mail", 2),
      remove: checkpoints.remove("mail", { force: true }),
      "versions.put": versions.put(row),
      "versions.get": versions.get("Balances", 1),
      "versions.list": versions.list(),
      "versions.activate": versions.activate("Balances", 1, Option.none())
    }
    for (const [method, ask] of Object.entries(asked)) {
      const exit = yield* Effect.exit(ask)
      assert.ok(Exit.isSuccess(exit) || Option.isSome(Cause.findErrorOption(exit.cause)), `${method}: ${String(exit)}`)
    }
  }),

  reopened("position, epoch and lease are there after closing and opening again", function* (open) {
    const close = yield* Effect.scoped(
      Effect.gen(function* () {
        const checkpoints = yield* open
        yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: long }), 5)
        return yield* known(checkpoints, "mail")
      })
    )
    const checkpoints = yield* open
    assert.deepEqual(yield* known(checkpoints, "mail"), close)
    assert.deepEqual(yield* refusal(checkpoints.claim("mail", { owner: "b", ttl: long })), held("mail", "a"))
    assert.deepEqual(yield* checkpoints.claim("mail", { owner: "a", ttl: long }), {
      name: "mail",
      owner: "a",
      epoch: 2,
      position: 5,
      ttl: long
    })
  }),

  reopened(
    "what was reset and removed, and what is known of versions, is there after closing and opening again",
    function* (open) {
      const versions = yield* Effect.scoped(
        Effect.gen(function* () {
          const checkpoints = yield* open
          for (const name of ["mail", "other"]) yield* checkpoints.claim(name, { owner: "a", ttl: long, from: 5 })
          yield* checkpoints.reset("mail", 2)
          yield* checkpoints.remove("other", { force: true })
          const row = { projection: "Balances", version: 1, mode: "inline", heard: 7, revision: 0 } as const
          yield* checkpoints.versions.put({ ...row, target: Option.some(9) })
          yield* checkpoints.versions.activate("Balances", 1, Option.none())
          yield* checkpoints.versions.activate("Balances", 2, Option.some(1))
          return yield* checkpoints.versions.list()
        })
      )
      const checkpoints = yield* open
      const { owner, position } = yield* known(checkpoints, "mail")
      assert.deepEqual([position, owner], [2, undefined])
      assert.deepEqual(yield* checkpoints.get("other"), Option.none())
      assert.deepEqual(yield* checkpoints.versions.list(), versions)
      assert.deepEqual(
        versions.map(({ active, mode, version }) => [version, mode, active]),
        [
          [1, "inline", false],
          [2, "async", true]
        ]
      )
    }
  )
]
