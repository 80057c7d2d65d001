/** How events are removed, and how the hash chain is begun and read. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import { EventStoreError, StoreFailure } from "../../store/EventStore.ts"
import type { MaintenanceDriver } from "../../store/kit/index.ts"
import { toEventStoreError } from "../errors.ts"
import type { Names } from "../sql.ts"
import { createChainTrigger } from "../sql/chain.ts"
import { array, render, textArray } from "../sql/statement.ts"
import type { Shared } from "./shared.ts"

export const makeMaintenance = ({ queries, statements }: Pick<Shared, "queries" | "statements">): MaintenanceDriver => ({
  tombstone: (removals, { archive, closed, reason }) =>
    queries
      .ask("tombstone", statements.tombstone, [
        array(
          removals.map(({ position }) => BigInt(position)),
          PgTypes.OID.int8
        ),
        textArray(removals.map(({ id }) => id)),
        reason,
        archive ?? null,
        textArray(Array.from(closed.keys())),
        array(Array.from(closed.values(), BigInt), PgTypes.OID.int8)
      ])
      .pipe(
        // A stream was appended to meanwhile: the next time it is left from the first.
        Effect.retry({ times: 10, while: ({ reason }) => reason._tag === "TransactionConflict" })
      ),
  newestTombstone: Effect.suspend(() => queries.ask("tombstone", statements.newestTombstone)),
  links: (after, size) => queries.ask("links", statements.links, [String(after), String(size)]),
  linkBefore: (upTo) => queries.ask("links", statements.linkBefore, [String(Math.min(upTo, Number.MAX_SAFE_INTEGER))])
})

/** Begins the hash chain where there is none, or says how to. Of several who do so at once, one is first. */
export const beginChain = Effect.fnUntraced(function* (
  sql: PgClient.PgClient,
  names: Names,
  { queries, statements }: Pick<Shared, "queries" | "statements">,
  mayMake: boolean
): Effect.fn.Return<void, EventStoreError> {
  if (yield* queries.ask("open", statements.isChained)) return
  const text = render(createChainTrigger, names)
  if (!mayMake) {
    const detail = `there is no hash chain yet, and migrate is false: run ${text}`
    return yield* new EventStoreError({ reason: new StoreFailure({ operation: "open", detail }) })
  }
  yield* Effect.catch(sql.unsafe(text), (error: SqlError) =>
    Effect.flatMap(queries.ask("open", statements.isChained), (isThere) =>
      isThere ? Effect.void : Effect.fail(toEventStoreError("migrate", error, false))
    )
  )
})
