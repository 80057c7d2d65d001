/** The HTTP server: commands go to the bus of the company whose clerk calls, queries to its view and its events. */
import { Effect, Layer, Redacted } from "effect"
import { HttpRouter } from "effect/http"
import { HttpApiBuilder, HttpApiError } from "effect/http-api"
import { Command, EventStore, Projection, Repository, Tenants, UnitOfWork } from "eventfold"
import { CommandServer } from "eventfold/http"
import { Api, Authentication, commands } from "./api.ts"
import { Customer } from "./domain/Customer.ts"
import { Subscription } from "./domain/Subscription.ts"
import { companies, Office } from "./office.ts"
import { Invoices, InvoiceTable } from "./view.ts"

/** A service asks an identity provider; here each company has one clerk, whose token is in the configuration. */
const Authenticated = Layer.effect(
  Authentication,
  Effect.map(companies, (all) =>
    Authentication.of({
      bearer: (call, { credential }) => {
        const company = all.find(({ token }) => token === Redacted.value(credential))
        return company === undefined
          ? Effect.fail(new HttpApiError.Unauthorized())
          : call.pipe(
              Effect.provideService(Tenants.Tenant, { id: company.id }),
              Effect.provideService(UnitOfWork.CurrentMetadata, { by: "clerk" })
            )
      }
    })
  )
)

/** In the office of the company that calls, and in no other. */
const ofCaller = Tenants.layerOfTenantFrom(Office)
const inside = Effect.provide(ofCaller)

const Commands = CommandServer.layer(Api, "commands", commands, {
  // What keeps it closed is not the caller's concern: it may come again.
  provide: Layer.catchCause(ofCaller, (cause) =>
    Layer.effectContext(
      Effect.andThen(
        Effect.logWarning("The office of a company cannot be opened", cause),
        Effect.fail(new Command.CommandFailure({ kind: "unavailable" }))
      )
    )
  )
})

const Queries = HttpApiBuilder.group(Api, "queries", (handlers) =>
  handlers.handleAll({
    // Who has just called a command sees it: the view is waited for, up to what stands in the log now.
    invoices: ({ params: { customer } }) =>
      Effect.gen(function* () {
        yield* Projection.awaitPosition(Invoices, yield* EventStore.head, { timeout: "5 seconds" })
        return yield* InvoiceTable.list({ where: { customer } })
      }).pipe(inside, Effect.orDie),
    contact: ({ params: { customer } }) =>
      Effect.flatMap(Effect.orDie(inside(Repository.read(Customer, customer))), ({ state: { contact } }) =>
        contact === undefined ? Effect.fail(new HttpApiError.NotFound()) : Effect.succeed(contact)
      ),
    // One aggregate needs no view: its state is folded from its events.
    subscription: ({ params: { subscription } }) =>
      Effect.orDie(Effect.map(inside(Repository.read(Subscription, subscription)), ({ state }) => state))
  })
)

const Routes = HttpApiBuilder.layer(Api).pipe(Layer.provide(Commands), Layer.provide(Queries), Layer.provide(Authenticated))

export const layer = HttpRouter.serve(Routes, { disableLogger: true, disableListenLog: true })
