import * as Context from "effect/Context"
import type * as Schema from "effect/Schema"
import { executionKeys } from "./services.ts"

/** What is merged into the metadata of each staged event; public as `UnitOfWork.CurrentMetadata`. */
export const CurrentMetadata = Context.Reference<{
  readonly correlationId?: string
  readonly causationId?: string
  readonly [key: string]: Schema.Json | undefined
}>(executionKeys.metadata, { defaultValue: () => ({}) })
