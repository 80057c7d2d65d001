import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { MessageBus, UnitOfWork } from "eventfold"
import { ClusterBus } from "eventfold/cluster"
import { PgEventStore } from "eventfold/postgres"
import { inject } from "vitest"
import { freshSchema } from "../postgres/support.ts"
import { open } from "../postgres/harness.ts"
import { nodeOf } from "../support/clusterNode.ts"
import { killing, kills as times, killsTimeout } from "../support/kills.ts"
import { numbers } from "../support/words.ts"
import { Add, Counter, options } from "./counter.ts"

/** After how many milliseconds a process that was killed is missed. */
const missed = 3000

describe(`kill -9 of processes that own aggregates, ${times} times`, () => {
  it.live(
    "leaves each command with one effect and its first answer, and no caller waits longer than it takes to miss a process",
    () =>
      Effect.gen(function* () {
        const url = inject("postgresUrl")
        const schema = freshSchema()
        const { store } = yield* open({ url, schema })
        const client = yield* Layer.build(
          ClusterBus.layerClient(Counter, [Add], { ...options, patience: "40 seconds" }).pipe(
            Layer.provideMerge(MessageBus.layer),
            Layer.provideMerge(UnitOfWork.layer),
            Layer.provideMerge(PgEventStore.layerWith({ schema })),
            Layer.provideMerge(nodeOf({ url, schema }))
          )
        )
        const answers = new Map<string, readonly [counter: string, total: number]>()
        let isOver = false
        let longest = 0
        const kills: Array<number> = []
        const late: Array<string> = []
        const caller = Effect.fnUntraced(function* (n: number) {
          for (let round = 0; !isOver; round++) {
            const counter = `${(n + round) % 4}`
            const call = `${n}-${round}`
            const begun = performance.now()
            const total = yield* MessageBus.execute(Add, { counter, call })
            const waited = performance.now() - begun
            longest = Math.max(longest, waited)
            // Who is sent to the next owner, and to the one behind it, may find each of them killed.
            const met = kills.filter((at) => at > begun - missed).length
            if (waited > 5000 * Math.max(3, met)) late.push(`a caller waited ${waited} ms, over ${met} kills`)
            answers.set(call, [counter, total])
          }
        })
        const callers = yield* Effect.forkChild(
          Effect.provide(Effect.forEach(numbers(16), caller, { concurrency: "unbounded", discard: true }), client)
        )
        const left = yield* killing(
          new URL("processes/runner.ts", import.meta.url),
          { url, schema },
          () => Effect.sleep(200 + Math.random() * 400),
          () => kills.push(performance.now())
        )
        isOver = true
        yield* Fiber.join(callers)

        const events = Array.from(yield* Stream.runCollect(store.readAll({ filter: { types: ["Added"] } })))
        const calls = events.map(({ payload }) => (payload as { readonly call: string }).call)
        assert.equal(new Set(calls).size, calls.length, "a command has taken effect twice")
        assert.equal(calls.length, answers.size)
        // The answer of each is the total behind its own event.
        for (const { payload, stream, version } of events) {
          const { call } = payload as { readonly call: string }
          assert.deepEqual(answers.get(call), [stream.slice("Counter-".length), version])
        }
        assert.deepEqual(late, [])
        console.log(`${answers.size} commands; the longest wait: ${Math.round(longest)} ms`)
        for (const child of left) yield* child.kill
      }),
    killsTimeout
  )
})
