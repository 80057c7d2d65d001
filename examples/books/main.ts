/** The reading club: `npm run example:books`. */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, FileSystem } from "effect"
import * as Club from "./club.ts"

const main = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* fs.makeTempDirectoryScoped({ prefix: "eventfold-books-" })
  const { again, local, published, shelf } = yield* Effect.provide(Club.evening, Club.layer(`${folder}/books.sqlite`))
  yield* Console.log("The local event store, commands included:")
  for (const { published, stream, type } of local) {
    yield* Console.log(`  ${type} in ${stream}${published ? ", published" : ""}`)
  }
  yield* Console.log(`What other services hear: ${JSON.stringify(published)}`)
  yield* Console.log(`The club's own table, written in the same transaction: ${JSON.stringify(shelf)}`)
  yield* Console.log(`The same book once more: ${again}`)
})

NodeRuntime.runMain(Effect.provide(Effect.scoped(main), NodeServices.layer))
