/** A client whose every statement runs as one tenant, over the pool of another. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import { enter } from "./sql/tenantTables.ts"

/** Which table belongs to which projection is the same for all tenants. */
const isCommon = (sql: string): boolean => /\binsert\s+into\s+\S*projection_table"?\s/i.test(sql)

/**
 * The same statement for tables that belong to many: their keys begin with the tenant, and nobody empties them for all. What a statement
 * carries in parameters is not looked at.
 */
const ofMany = (sql: string): string =>
  isCommon(sql)
    ? sql
    : sql.replace(/\bon\s+conflict\s*\(/gi, "on conflict (tenant, ").replace(/^\s*truncate\s+(?:table\s+)?/i, "delete from ")

/** The methods of a connection that run a statement and are over when it is. */
const methods = ["execute", "executeRaw", "executeValues", "executeValuesUnprepared", "executeUnprepared"] as const

type Run = (sql: string, ...rest: ReadonlyArray<unknown>) => Effect.Effect<unknown, SqlError>

/** The connection with all of these methods replaced. */
const replaced = (connection: Connection, by: (run: Run) => Run, more: Partial<Connection> = {}): Connection => {
  const own: Record<string, Run> = {}
  for (const method of methods) own[method] = by(connection[method].bind(connection) as Run)
  return Object.assign(Object.create(connection) as Connection, own, more)
}

const beginsTransaction = (sql: string): boolean => /^\s*begin\b/i.test(sql)

/** A connection in a transaction: as the tenant from its beginning on. */
const inTransaction =
  (tenant: string) =>
  (connection: Connection): Connection =>
    replaced(
      connection,
      (run) =>
        (sql, ...rest) =>
          beginsTransaction(sql)
            ? Effect.tap(run(sql, ...rest), () => connection.executeValues(enter, [tenant])).pipe(
                // Nobody else does: to them the transaction has never begun.
                Effect.onError(() => Effect.ignore(connection.execute("ROLLBACK", [], undefined)))
              )
            : run(ofMany(sql), ...rest)
    )

/** A connection outside of one: each statement gets a transaction of its own, so that nothing of the tenant is left behind. */
const alone =
  (tenant: string) =>
  (connection: Connection): Connection => {
    const control = (sql: string) => connection.execute(sql, [], undefined)
    const begin = Effect.andThen(control("BEGIN"), connection.executeValues(enter, [tenant]))
    return replaced(
      connection,
      (run) =>
        (sql, ...rest) =>
          Effect.uninterruptibleMask((restore) =>
            Effect.andThen(begin, restore(run(ofMany(sql), ...rest))).pipe(
              Effect.onError(() => Effect.ignore(control("ROLLBACK"))),
              Effect.tap(() => control("COMMIT"))
            )
          ),
      {
        executeStream: (sql, parameters, transform) =>
          Stream.unwrap(
            Effect.gen(function* () {
              let ended = false
              // Of whoever stops before the end, or fails.
              yield* Effect.acquireRelease(begin, (_, exit) => {
                if (ended) return Effect.void
                return Exit.isSuccess(exit) ? Effect.orDie(control("COMMIT")) : Effect.ignore(control("ROLLBACK"))
              })
              const commit = Effect.suspend(() => {
                ended = true
                return control("COMMIT")
              })
              return Stream.concat(connection.executeStream(ofMany(sql), parameters, transform), Stream.fromEffectDrain(commit))
            })
          )
      }
    )
  }

/** The client of one tenant, by its name in the tables. */
export const tenantClient = Effect.fnUntraced(function* (
  base: PgClient.PgClient,
  tenant: string
): Effect.fn.Return<PgClient.PgClient> {
  const { config } = base
  const client = yield* SqlClient.make({
    acquirer: Effect.map(base.reserve, alone(tenant)),
    transactionAcquirer: Effect.map(base.reserve, inTransaction(tenant)),
    compiler: PgClient.makeCompiler(config.transformQueryNames, config.transformJson),
    driver: base.driver,
    spanAttributes: [["eventfold.tenant", tenant]],
    prepareTransactionControls: true,
    releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
    ...(config.transformResultNames === undefined
      ? {}
      : { transformRows: Statement.defaultTransforms(config.transformResultNames, config.transformJson).array })
  }).pipe(Effect.provide(Reactivity.layer))
  return Object.assign(client, {
    [PgClient.TypeId]: base[PgClient.TypeId],
    config,
    json: base.json,
    listen: base.listen,
    notify: base.notify
  })
})
