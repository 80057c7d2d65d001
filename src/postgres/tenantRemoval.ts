/** How a tenant of shared tables goes for good. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { tenantStream } from "../definitions/tenant.ts"
import { type EventStore, type EventStoreError, isTombstone } from "../store/EventStore.ts"
import { toEventStoreError } from "./errors.ts"
import type { Names } from "./sql.ts"
import { ownTables } from "./sql/tenantTables.ts"
import { render } from "./sql/statement.ts"

/** How many events become tombstones in one statement. */
const atOnce = 500

/** Takes away all that a tenant has, save what seals its place. */
export const takeAway = Effect.fnUntraced(function* (
  client: PgClient.PgClient,
  { maintenance }: EventStore["Service"],
  names: Names
): Effect.fn.Return<void, EventStoreError> {
  if (maintenance === undefined) return
  const standing = Stream.filter(maintenance.readAll(), (event) => !isTombstone(event) && event.stream !== tenantStream)
  yield* Stream.runForEach(Stream.grouped(standing, atOnce), (events) =>
    maintenance.tombstone(events, { reason: "the tenant was erased" })
  )
  const asked = (text: string) =>
    Effect.mapError(client.unsafe(text).values, (error) => toEventStoreError("remove", error, false))
  const tables = ownTables.read(yield* asked(render(ownTables.text, names)))
  for (const table of tables) yield* asked(`delete from ${table}`)
})
