/** A task list, told with the store alone: expected versions, optimistic locking, and reading everything. */
import { Effect, Schema, Stream } from "effect"
import { Aggregate, Event, EventStore, Repository } from "eventfold"

const TaskCreated = Event.make("TaskCreated", { title: Schema.String })
const TaskReassigned = Event.make("TaskReassigned", { to: Schema.String })
const TaskCompleted = Event.make("TaskCompleted", {})

const Task = Aggregate.make("Task", {
  events: [TaskCreated, TaskReassigned, TaskCompleted],
  initial: { title: "", assignee: "nobody", done: false },
  evolve: {
    TaskCreated: (task, { title }) => ({ ...task, title }),
    TaskReassigned: (task, { to }) => ({ ...task, assignee: to }),
    TaskCompleted: (task) => ({ ...task, done: true })
  }
})

/** Two people decide on the same version; the second hears of it, looks again, and decides anew. */
export const program = Effect.gen(function* () {
  const id = "1"
  yield* Repository.append(Task, id, [TaskCreated.make({ title: "Learn event stores" })], {
    expected: EventStore.ExpectedVersion.NoStream
  })

  const mine = yield* Repository.read(Task, id)
  const yours = yield* Repository.read(Task, id)
  yield* Repository.append(Task, id, [TaskCompleted.make({})], { expected: mine.version })
  const conflict = yield* Repository.append(Task, id, [TaskReassigned.make({ to: "Ben" })], { expected: yours.version }).pipe(
    Effect.as("no conflict"),
    Effect.catchTag("OptimisticLockError", ({ actual, expected }) => Effect.succeed(`expected v${expected}, actual v${actual}`))
  )
  const fresh = yield* Repository.read(Task, id)
  yield* Repository.append(Task, id, [TaskReassigned.make({ to: "Ben" })], { expected: fresh.version })

  yield* Repository.append(Task, "2", [TaskCreated.make({ title: "Sleep" })])
  const missing = yield* Repository.append(Task, "3", [TaskCompleted.make({})], {
    expected: EventStore.ExpectedVersion.Exists
  }).pipe(Effect.flip)

  const all = yield* EventStore.readAll().pipe(
    Stream.map(({ position, stream, type, version }) => `${position}. ${stream} v${version}: ${type}`),
    Stream.runCollect
  )
  return { conflict, missing: missing._tag, all, task: yield* Repository.read(Task, id) }
})
