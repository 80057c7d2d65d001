import { Effect } from "effect"
import { SqliteClient } from "eventfold/sqlite"
import { join } from "node:path"
import { temporaryDirectory } from "../support/files.ts"
import { keepsKeys } from "./keys.ts"

keepsKeys(
  "on SQLite",
  Effect.map(temporaryDirectory, (directory) => ({ client: SqliteClient.layer({ filename: join(directory, "keys.db") }) }))
)
