/** A log that is restored from a backup under a follower that runs, and grows beyond it before it looks again. */
import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Cause, Effect, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { EventStore, Subscription } from "eventfold"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { temporaryDirectory } from "../support/files.ts"
import { logs } from "../support/logs.ts"
import { numbers, until } from "../support/words.ts"

/** Takes the log back to position 5, and lets it grow to 11 with events that are others. */
const restore = (filename: string) => {
  const database = new DatabaseSync(filename)
  const triggers = database
    .prepare("select name from sqlite_master where type = 'trigger' and tbl_name = 'eventfold_event'")
    .all()
  database.exec("begin immediate")
  for (const { name } of triggers) database.exec(`drop trigger "${String(name)}"`)
  database.exec("create temp table others as select * from eventfold_event where position <= 6")
  database.exec("update others set position = position + 5, version = version + 5, id = 'other-' || id")
  database.exec("delete from eventfold_event where position > 5")
  const columns = database
    .prepare("select name from pragma_table_info('others')")
    .all()
    .map(({ name }) => `"${String(name)}"`)
  database.exec(`insert into eventfold_event (${columns.join()}) select ${columns.join()} from others`)
  database.exec("commit")
  database.close()
}

it.effect("is told apart by whoever follows it, before anything more is handled", () =>
  Effect.gen(function* () {
    logs(/the subscription "view" failed and starts again/, /the subscription "view" halts/)
    const filename = join(yield* temporaryDirectory, "log.sqlite")
    const handled: Array<number> = []
    const follower = Subscription.layer({
      name: "view",
      lease: "15 seconds",
      handler: ({ position }: EventStore.RecordedEvent) => Effect.sync(() => handled.push(position))
    })
    const store = SqliteCheckpoints.layer.pipe(Layer.provideMerge(SqliteEventStore.layerFile({ filename })))
    yield* Effect.gen(function* () {
      const at = (position: number) =>
        until(
          Effect.andThen(
            TestClock.adjust("100 millis"),
            Effect.map(Subscription.status("view"), (status) => status.position === position)
          )
        )
      yield* EventStore.append(
        "Count-1",
        numbers(9).map(() => ({ type: "Counted", payload: {} }))
      )
      yield* at(9)
      restore(filename)
      yield* TestClock.adjust("30 seconds")
      const halted = yield* until(
        Effect.andThen(
          TestClock.adjust("1 second"),
          Effect.map(Subscription.status("view"), ({ state }) => state === "halted")
        )
      ).pipe(Effect.andThen(Subscription.status("view")))
      assert.match(Option.match(halted.cause, { onNone: () => "", onSome: Cause.pretty }), /CheckpointContradictedError/)
      assert.deepEqual(handled, numbers(9))
    }).pipe(Effect.provide(Layer.provideMerge(follower, store)))
  })
)
