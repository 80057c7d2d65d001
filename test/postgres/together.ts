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

/**
 * The same tables for a role of which the server refuses what it reads of one tag or stream; and an instant that is none, which nobody can write by the
 * store, in the events that a condition names.
 */
export const spoiled = Effect.fnUntraced(function* (
  { admin, schema, url }: { readonly admin: SqlClient.SqlClient; readonly schema: string; readonly url: string },
  { broken, refused, table }: { readonly table: "tag" | "event"; readonly refused: string; readonly broken: string }
) {
  const role = `reader_${schema}`
  const column = table === "tag" ? "tag" : "stream"
  for (const text of [
    `alter table "${schema}".event disable trigger refuse_change`,
    `update "${schema}".event set recorded_at = '294000-01-01Z' where ${broken}`,
    `create role ${role} login password 'secret'`,
    `grant usage on schema "${schema}" to ${role}`,
    `grant select on all tables in schema "${schema}" to ${role}`,
    `create function "${schema}".refuse(name text) returns boolean language plpgsql as $$
       begin if name = '${refused}' then raise exception 'poisoned' using errcode = '22000'; end if; return true; end $$`,
    `alter table "${schema}".${table} enable row level security`,
    `create policy poisoned on "${schema}".${table} using ("${schema}".refuse(${column}))`
  ]) {
    yield* admin.unsafe(text)
  }
  yield* Effect.addFinalizer(() =>
    Effect.orDie(Effect.andThen(admin.unsafe(`drop owned by ${role} cascade`), admin.unsafe(`drop role ${role}`)))
  )
  const as = Object.assign(new URL(url), { username: role, password: "secret" })
  return yield* open({ url: as.href, schema, listen: false, pollInterval: "1 hour", migrate: false })
})
