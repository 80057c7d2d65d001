/** The registry of tenants as a table of PostgreSQL, PGlite or SQLite. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as SqlClient from "effect/sql/SqlClient"
import type { Fragment } from "effect/sql/Statement"
import { answered } from "../sql/answering.ts"
import { describeOwn } from "../sql/errors.ts"
import { openSide } from "../store/tables.ts"
import { TenantRegistryError } from "./model.ts"
import { type TenantEntry, TenantRegistry } from "./registry.ts"

const side = {
  name: "tenant_registry",
  columns: ["id", "place", "state", "epoch"],
  create: (sql: SqlClient.SqlClient, table: Fragment) => sql`create table if not exists ${table} (
    id text not null primary key,
    place text not null,
    state text not null,
    epoch double precision not null
  )`
}

/**
 * A registry in a table of the database of the `SqlClient`: PostgreSQL, PGlite or SQLite. All processes that use it know of the same
 * tenants.
 *
 * **Gotchas**: it belongs to no tenant. Give it a client of its own where the tenants' tables are shared.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerRegistrySqlWith = (options: {
  /**
   * Letters, digits and `_`, with the schema before a `.` if need be; on PostgreSQL in lower case. Default: `eventfold.tenant_registry`, on
   * SQLite `eventfold_tenant_registry`.
   */
  readonly table?: string | undefined
  /** Whether to make the table when it is not there. Default: `true`. */
  readonly migrate?: boolean | undefined
}): Layer.Layer<TenantRegistry, TenantRegistryError, SqlClient.SqlClient> =>
  Layer.effect(
    TenantRegistry,
    Effect.gen(function* () {
      const sql = (yield* SqlClient.SqlClient).withoutTransforms()
      const failed =
        (operation: string, tenant: string) =>
        <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, TenantRegistryError, R> =>
          Effect.mapError(
            answered(sql, effect),
            (cause) => new TenantRegistryError({ operation, tenant, detail: describeOwn(cause), cause })
          )
      const table = yield* failed("open", "")(openSide(options, side))
      return TenantRegistry.of({
        get: (id) =>
          sql<TenantEntry>`select id, place, state, epoch from ${table} where id = ${id}`.pipe(
            Effect.map(([row]) => Option.fromUndefinedOr(row)),
            failed("get", id)
          ),
        list: sql<TenantEntry>`select id, place, state, epoch from ${table}`.pipe(
          Effect.map((rows) => Array.from(rows).sort((a, b) => (a.id < b.id ? -1 : 1))),
          failed("list", "")
        ),
        replace: ({ epoch, id, place, state }, before) =>
          (before === undefined
            ? sql`insert into ${table} (id, place, state, epoch) values (${id}, ${place}, ${state}, ${epoch})
                  on conflict (id) do nothing returning 1 as one`
            : sql`update ${table} set place = ${place}, state = ${state}, epoch = ${epoch}
                  where id = ${id} and place = ${before.place} and state = ${before.state} and epoch = ${before.epoch}
                  returning 1 as one`
          ).pipe(
            Effect.map((rows) => rows.length > 0),
            failed("change", id)
          )
      })
    })
  )

/**
 * {@link layerRegistrySqlWith} without options.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerRegistrySql: Layer.Layer<TenantRegistry, TenantRegistryError, SqlClient.SqlClient> = layerRegistrySqlWith({})
