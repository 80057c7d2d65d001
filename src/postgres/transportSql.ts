/** All SQL of the Postgres transport, for one set of tables. Each object and each group of statements has a file in `sql/`. */
import { bodies, claim, createClaim } from "./sql/claim.ts"
import { prune, release, renew } from "./sql/deliveries.ts"
import { forget, lockGroup, waiting } from "./sql/forget.ts"
import { messageTables } from "./sql/messageTables.ts"
import { publish, publishOthers } from "./sql/publish.ts"
import { createSettle, settle } from "./sql/settle.ts"
import { type Names, render, renderAll } from "./sql/statement.ts"

/** What the transport stands on, in the order in which it is made: each needs what comes before it. */
export const transportObjects: Readonly<Record<string, ReadonlyArray<string>>> = {
  messageTables,
  claim: [createClaim],
  settle: [createSettle]
}

export const makeTransportSql = (names: Names) => ({
  channel: render("{channel}message", names),
  createTables: Object.values(transportObjects).flatMap((statements) => statements.map((text) => render(text, names))),
  ...renderAll({ bodies, claim, settle, publish, publishOthers, renew, release, prune, lockGroup, forget, waiting }, names)
})

export type TransportSql = ReturnType<typeof makeTransportSql>
