/** The HTTP server: commands go to the bus, queries to the view and to the events. */
import { Config, Effect, Layer, Option, Redacted } from "effect"
import { HttpRouter } from "effect/http"
import { HttpApiBuilder, HttpApiError } from "effect/http-api"
import { EventStore, Projection, Repository, UnitOfWork } from "eventfold"
import { CommandServer } from "eventfold/http"
import { Api, Authentication, commands } from "./api.ts"
import * as Contacts from "./contacts.ts"
import { Subscription } from "./domain/Subscription.ts"
import { Invoices, InvoiceTable } from "./view.ts"

/** A service asks an identity provider; here one clerk has the token of the configuration. */
const Authenticated = Layer.effect(
  Authentication,
  Effect.map(Config.Redacted("BILLING_TOKEN"), (token) =>
    Authentication.of({
      bearer: (call, { credential }) =>
        Redacted.value(credential) === Redacted.value(token)
          ? Effect.provideService(call, UnitOfWork.CurrentMetadata, { by: "clerk" })
          : Effect.fail(new HttpApiError.Unauthorized())
    })
  )
)

const Queries = HttpApiBuilder.group(Api, "queries", (handlers) =>
  handlers.handleAll({
    // Who has just called a command sees it: the view is waited for, up to what stands in the log now.
    invoices: ({ params: { customer } }) =>
      Effect.gen(function* () {
        yield* Projection.awaitPosition(Invoices, yield* EventStore.head, { timeout: "5 seconds" })
        return yield* InvoiceTable.list({ where: { customer } })
      }).pipe(Effect.orDie),
    contact: ({ params: { customer } }) =>
      Effect.flatMap(Effect.orDie(Contacts.find(customer)), (found) =>
        Option.isSome(found) ? Effect.succeed(found.value) : Effect.fail(new HttpApiError.NotFound())
      ),
    // One aggregate needs no view: its state is folded from its events.
    subscription: ({ params: { subscription } }) =>
      Effect.orDie(Effect.map(Repository.read(Subscription, subscription), ({ state }) => state))
  })
)

const Routes = HttpApiBuilder.layer(Api).pipe(
  Layer.provide(CommandServer.layer(Api, "commands", commands)),
  Layer.provide(Queries),
  Layer.provide(Authenticated)
)

export const layer = HttpRouter.serve(Routes, { disableLogger: true, disableListenLog: true })
