/** Tables that tenants share, prepared for roles of the file's own: one of the application, one that may remove events, one that reads those of all. */
import { Effect, Layer } from "effect"
import { ParkedEvents, Snapshots } from "eventfold"
import { PgCheckpoints, PgTenants } from "eventfold/postgres"
import { afterAll, inject } from "vitest"
import { clientOf, execute } from "./databases.ts"
import { freshSchema } from "./support.ts"

/** What a tenant has beside its events. */
export const besideTenant = Layer.mergeAll(PgCheckpoints.layer, Snapshots.layerSql, ParkedEvents.layerSql)

/** Shared tables of their own each time: for the tests of one file. */
export const preparedTables = (more: Pick<Partial<Parameters<typeof PgTenants.prepare>[0]>, "beside"> = {}) => {
  const roles = ["app", "keeper", "reader"].map((name) => `${name}_${freshSchema()}`) as [string, string, string]
  const [role, keeper, reader] = roles
  const database = new URL(inject("postgresUrl")).pathname.slice(1)
  const owner = clientOf(database)
  let made: Promise<unknown> | undefined
  const rolesMade = Effect.promise(
    () => (made ??= Effect.runPromise(execute(owner, ...roles.map((name) => `create role ${name} login password '${name}'`))))
  )
  afterAll(() =>
    made === undefined
      ? undefined
      : Effect.runPromise(execute(owner, ...roles.flatMap((name) => [`drop owned by ${name} cascade`, `drop role ${name}`])))
  )
  return Effect.gen(function* () {
    yield* rolesMade
    const schema = freshSchema()
    yield* PgTenants.prepare({ role, keeper, reader, schema, beside: besideTenant, ...more }).pipe(Effect.provide(owner))
    const opened = (user: string) =>
      PgTenants.layerWith({ schema, pollInterval: "50 millis" }).pipe(Layer.provide(clientOf(database, user)))
    const all = PgTenants.layerAllWith({ schema, pollInterval: "50 millis" })
    return {
      schema,
      tables: opened(role),
      kept: opened(keeper),
      all: all.pipe(Layer.provide(clientOf(database, reader))),
      notAll: all.pipe(Layer.provide(clientOf(database, role)))
    }
  })
}
