/** Interruption leaves nothing half done. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import assert from "node:assert/strict"
import { range, turns } from "../suite.ts"
import { every, known, long } from "./words.ts"

export const interruption = [
  every("an interrupted claim or advance has happened or has not, and leaves the storage usable", function* (checkpoints) {
    let lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
    for (const pause of range(1, 20)) {
      const claim = yield* Effect.forkChild(checkpoints.claim("mail", { owner: "a", ttl: long }))
      yield* turns(pause)
      yield* Fiber.interrupt(claim)
      lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
      const advance = yield* Effect.forkChild(checkpoints.advance(lease, lease.position + 1))
      yield* turns(pause)
      yield* Fiber.interrupt(advance)
      const { epoch, position } = yield* known(checkpoints, "mail")
      assert.equal(epoch, lease.epoch)
      assert.ok(position === lease.position || position === lease.position + 1)
      lease = yield* checkpoints.advance({ ...lease, position }, position)
    }
  })
]
