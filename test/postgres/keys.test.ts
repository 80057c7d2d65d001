import { Effect } from "effect"
import { keepsKeys } from "../personal/keys.ts"
import { client, freshSchema } from "./support.ts"

keepsKeys(
  "on PostgreSQL",
  Effect.sync(() => ({ client: client(), table: `${freshSchema()}.personal_key` }))
)
