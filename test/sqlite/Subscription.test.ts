import { Context, Effect, Layer, type Scope } from "effect"
import { SqlClient } from "effect/sql"
import { Checkpoints, EventStore } from "eventfold"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { join } from "node:path"
import { child } from "../postgres/harness.ts"
import { temporaryDirectory } from "../support/files.ts"
import { followsInProcesses, type World } from "../support/followers.ts"

followsInProcesses((test: (world: World) => Effect.Effect<void, unknown, Scope.Scope>) =>
  Effect.gen(function* () {
    const filename = join(yield* temporaryDirectory, "events.db")
    const context = yield* Layer.build(SqliteCheckpoints.layer.pipe(Layer.provideMerge(SqliteEventStore.layerFile({ filename }))))
    const sql = Context.get(context, SqlClient.SqlClient)
    yield* sql`create table view (n integer primary key autoincrement, position integer not null, who text not null)`
    yield* test({
      store: Context.get(context, EventStore.EventStore),
      checkpoints: Context.get(context, Checkpoints.Checkpoints),
      follower: (name, partitions) => child("follower", { filename, name, partitions }),
      view: Effect.map(sql<{ position: number }>`select position from view order by n`, (rows) =>
        rows.map(({ position }) => position)
      )
    })
  }).pipe(Effect.scoped)
)
