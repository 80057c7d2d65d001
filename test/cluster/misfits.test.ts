import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Layer, Result, Stream } from "effect"
import { Command, MessageBus, UnitOfWork } from "eventfold"
import { ClusterBus } from "eventfold/cluster"
import { PgEventStore } from "eventfold/postgres"
import { inject } from "vitest"
import { open } from "../postgres/harness.ts"
import { freshSchema } from "../postgres/support.ts"
import { startChild } from "../support/child.ts"
import { freePort, nodeOf } from "../support/clusterNode.ts"
import { eventually, numbers } from "../support/words.ts"
import { Add, Counter, options } from "./counter.ts"

/** A cluster of processes, each with the program and the settings that are said; `add` is sent to it from here. */
const clusterOf = Effect.fnUntraced(function* (...programs: ReadonlyArray<object>) {
  const url = inject("postgresUrl")
  const schema = freshSchema()
  const { store } = yield* open({ url, schema })
  const children = yield* Effect.forEach(programs, (program) =>
    Effect.flatMap(freePort, (port) =>
      startChild(new URL("processes/runner.ts", import.meta.url), { url, schema, port, ...program })
    )
  )
  for (const { says } of children) yield* says("ready")
  const client = yield* Layer.build(
    ClusterBus.layerClient(Counter, [Add], { ...options, patience: "5 seconds" }).pipe(
      Layer.provideMerge(MessageBus.layer),
      Layer.provideMerge(UnitOfWork.layer),
      Layer.provideMerge(PgEventStore.layerWith({ schema })),
      Layer.provideMerge(nodeOf({ url, schema }))
    )
  )
  const add = (counter: string, call: string) => Effect.provide(Effect.result(MessageBus.execute(Add, { counter, call })), client)
  return { store, add }
})

const isElsewhere = (error: unknown): error is Command.CommandElsewhereError => error instanceof Command.CommandElsewhereError

describe("processes whose programs do not fit each other", () => {
  it.live(
    "with other shards: what would have two owners is refused by both numbers, and nothing is done twice",
    () =>
      Effect.gen(function* () {
        const { add, store } = yield* clusterOf({}, { shards: 30 })
        const done = new Map<string, number>()
        /** Of which nobody knows what became. */
        const open = new Set<string>()
        let refused = 0
        // Until the second process has taken its share of the shards, the first one has them all.
        yield* eventually(
          "a call is refused, and another one is not",
          Effect.gen(function* () {
            for (const n of numbers(12)) {
              const call = `${n}-${done.size}-${refused}-${open.size}`
              const result = yield* add(`${n}`, call)
              if (Result.isSuccess(result)) done.set(call, result.success)
              else if (isElsewhere(result.failure) && result.failure.reason === "settings") {
                refused++
                assert.match(
                  result.failure.message,
                  /eventfold\/Counter "\d+" belongs to shard \d+ by the settings of its caller, and to shard \d+ by those of its runner\. Nothing was done: give all programs the same shardsPerGroup/
                )
              } else {
                assert.ok(isElsewhere(result.failure) && result.failure.reason === "unanswered", String(result.failure))
                open.add(call)
              }
            }
            return refused > 0 && done.size > 0
          }),
          "60 seconds"
        )
        const events = Array.from(yield* Stream.runCollect(store.readAll({ filter: { types: ["Added"] } })))
        const seen = new Set<string>()
        for (const { payload, version } of events) {
          const { call } = payload as { readonly call: string }
          assert.ok(!seen.has(call), "a command has taken effect twice")
          seen.add(call)
          if (!open.has(call)) assert.equal(done.get(call), version)
        }
        for (const call of done.keys()) assert.ok(seen.has(call))
      }).pipe(Effect.scoped),
    120_000
  )

  it.live(
    "with another version of a command: the caller is told what does not fit, and where",
    () =>
      Effect.gen(function* () {
        const { add, store } = yield* clusterOf({ program: "newer" })
        const result = yield* add("a", "1")
        assert.ok(Result.isFailure(result) && result.failure._tag === "CommandDecodeError", String(result))
        assert.match(result.failure.message, /at the runner of eventfold\/Counter "a"/)
        assert.match(result.failure.message, /amount/)
        assert.equal(yield* store.head, 0)
      }).pipe(Effect.scoped),
    120_000
  )

  it.live(
    "with other commands: the caller is told which the runner has",
    () =>
      Effect.gen(function* () {
        const { add } = yield* clusterOf({ program: "other" })
        const result = yield* add("a", "1")
        assert.ok(Result.isFailure(result) && isElsewhere(result.failure) && result.failure.reason === "unhandled")
        assert.match(result.failure.message, /the runner of eventfold\/Counter "a" handles "Reset" alone\. Nothing was done/)
      }).pipe(Effect.scoped),
    120_000
  )

  it.live(
    "with no runner of the aggregate: the caller is told in time, by its name",
    () =>
      Effect.gen(function* () {
        const { add } = yield* clusterOf({ program: "none" })
        const begun = performance.now()
        const result = yield* add("a", "1")
        assert.ok(Result.isFailure(result) && isElsewhere(result.failure) && result.failure.reason === "unanswered")
        assert.match(
          result.failure.message,
          /nobody who owns eventfold\/Counter "a" \(shard \d+\) has answered in 5s\..*Is a program with ClusterBus\.layerRunner of "Counter" up/
        )
        assert.ok(performance.now() - begun < 20_000)
      }).pipe(Effect.scoped),
    120_000
  )
})
