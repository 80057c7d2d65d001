import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Effect } from "effect"
import { EventStore } from "eventfold"
import { SqliteEventStore } from "eventfold/sqlite"
import { program } from "./tasks.ts"

const told = Effect.gen(function* () {
  const { all, conflict, missing, task } = yield* program
  assert.equal(conflict, "expected v1, actual v2")
  assert.equal(missing, "OptimisticLockError")
  assert.deepEqual(task, { version: 3, state: { title: "Learn event stores", assignee: "Ben", done: true } })
  assert.deepEqual(all, [
    "1. Task-1 v1: TaskCreated",
    "2. Task-1 v2: TaskCompleted",
    "3. Task-1 v3: TaskReassigned",
    "4. Task-2 v1: TaskCreated"
  ])
})

it.effect("the task list in memory", () => Effect.provide(told, EventStore.layerMemory))
it.effect("the task list in SQLite", () => Effect.provide(told, SqliteEventStore.layerFile({ filename: ":memory:" })))
