/** Reads that are put together in one statement, and how they are made to be. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Fiber } from "effect"
import type { SqlClient } from "effect/sql"
import { PgEventStore } from "eventfold/postgres"
import { inject } from "vitest"
import { begin, connect, open, type OpenOptions, untilWaiting } from "./harness.ts"
import { freshSchema } from "./support.ts"

export const arena = Effect.gen(function* () {
  const url = inject("postgresUrl")
  const schema = freshSchema()
  const admin = yield* connect(url)
  const join = (options: OpenOptions = {}) => open({ url, schema, listen: false, pollInterval: "1 hour", ...options })
  return { admin, schema, url, join }
})

/** A store of whose statements with a text in them it is counted how much each asks for. */
export const counting = (part: string) =>
  Effect.fnUntraced(function* (schema: string, sql: PgClient.PgClient, options: PgEventStore.Options = {}) {
    const statements: Array<number> = []
    const client: PgClient.PgClient = Object.assign(Object.create(sql), {
      unsafe: (text: string, parameters: ReadonlyArray<unknown> = []) => {
        if (text.includes(part)) statements.push((parameters[0] as { readonly value: ReadonlyArray<unknown> }).value.length)
        return sql.unsafe(text, parameters)
      }
    })
    const store = yield* Effect.provideService(
      PgEventStore.make({ schema, migrate: false, listen: false, pollInterval: "1 hour", ...options }),
      PgClient.PgClient,
      client
    )
    return { statements, store }
  })

/** Stops all who read a table, starts one who waits there, then the others, and lets them go on. */
export const togetherBehind =
  (table: "tag" | "event") =>
  <A, E>(
    { admin, schema }: { readonly admin: SqlClient.SqlClient; readonly schema: string },
    first: Effect.Effect<A, E>,
    others: ReadonlyArray<Effect.Effect<A, E>>,
    meanwhile: (fibers: ReadonlyArray<Fiber.Fiber<A, E>>) => Effect.Effect<unknown> = () => Effect.void
  ) =>
    Effect.gen(function* () {
      const lock = yield* begin(admin, `lock table "${schema}".${table} in access exclusive mode`)
      const begun = yield* Effect.forkScoped(first, { startImmediately: true })
      yield* untilWaiting(admin, schema, 1, `"${table}"`)
      const fibers = yield* Effect.forEach(others, (one) => Effect.forkScoped(one, { startImmediately: true }))
      yield* meanwhile(fibers)
      yield* lock.commit
      yield* Fiber.await(begun)
      return yield* Effect.forEach(fibers, (fiber) => Fiber.await(fiber))
    })
