import * as Context from "effect/Context"
import * as Schema from "effect/Schema"

/**
 * The tenant on whose behalf something happens: it is provided together with the tenant's store, and so says whose store that is.
 *
 * **Details**: there is no default. What asks for it in a program that has named no tenant does not compile.
 *
 * @category services
 * @since 0.2.0
 */
export class Tenant extends Context.Service<
  Tenant,
  {
    /** The tenant's id, as the registry knows it. */
    readonly id: string
  }
>()("eventfold/Tenant") {}

/**
 * A message says no tenant, and its consumer needs one: it is the cause of its dead letter.
 *
 * @category errors
 * @since 0.2.0
 */
export class NoTenantError extends Schema.TaggedError<NoTenantError>("eventfold/Tenants/NoTenantError")("NoTenantError", {
  group: Schema.String,
  source: Schema.String,
  id: Schema.String
}) {
  override get message(): string {
    return `The message "${this.id}" of "${this.source}" says no tenant, and the group "${this.group}" handles none without: let it leave from the tenant's own store`
  }
}

/** The stream of what the library says of a tenant in its own log. */
export const tenantStream = "$tenant"

/** What is wrong with the id of a tenant, which becomes part of names in stores and brokers: `undefined` where nothing is. */
export const tenantFault = (id: string): string | undefined =>
  typeof id === "string" && /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/.test(id)
    ? undefined
    : `${JSON.stringify(id)} must be 1 to 63 letters, digits, ".", "_" or "-", and begin with a letter or digit`
