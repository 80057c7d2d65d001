/** What server and client share: commands, queries, errors. It knows no store. */
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiError, HttpApiGroup, HttpApiMiddleware, HttpApiSecurity } from "effect/http-api"
import type { Tenants } from "eventfold"
import { CommandApi } from "eventfold/http"
import { Contact, ForgetCustomer, RegisterCustomer } from "./domain/Customer.ts"
import { PayInvoice } from "./domain/Invoice.ts"
import { Subscribe, Subscription } from "./domain/Subscription.ts"
import { CustomerId, SubscriptionId } from "./domain/values.ts"
import { InvoiceTable } from "./view.ts"

/** Who calls, and for which company: from here on the one is in the metadata of each event, and the other decides whose store it is. */
export class Authentication extends HttpApiMiddleware.Service<Authentication, { provides: Tenants.Tenant }>()(
  "billing/Authentication",
  {
    security: { bearer: HttpApiSecurity.bearer },
    error: HttpApiError.Unauthorized
  }
) {}

/** What may be asked for from outside. The other commands are those of the policies and processes. */
export const commands = [RegisterCustomer, ForgetCustomer, Subscribe, PayInvoice] as const

const customer = { params: { customer: CustomerId } }

const queries = HttpApiGroup.make("queries").add(
  HttpApiEndpoint.get("invoices", "/customers/:customer/invoices", {
    ...customer,
    success: Schema.Array(Schema.Struct(InvoiceTable.fields))
  }),
  HttpApiEndpoint.get("contact", "/customers/:customer/contact", {
    ...customer,
    success: Contact,
    error: HttpApiError.NotFound
  }),
  HttpApiEndpoint.get("subscription", "/subscriptions/:subscription", {
    params: { subscription: SubscriptionId },
    success: Subscription.state
  })
)

export class Api extends HttpApi.make("billing")
  .add(CommandApi.group("commands", commands).prefix("/commands"))
  .add(queries)
  .middleware(Authentication) {}
