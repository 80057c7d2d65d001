/** What each company has for itself: a schema of the database, with its events, keys, bus and views. Nobody gets one without a name. */
import { Config, Context, Effect, Layer } from "effect"
import { Keys, MessageBus, Personal, Tenants, UnitOfWork } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import * as Customer from "./domain/Customer.ts"
import * as Invoice from "./domain/Invoice.ts"
import * as Subscription from "./domain/Subscription.ts"
import * as Policies from "./policies.ts"

/** What is personal in events is sealed. The keys are here beside them; in a database of their own they have backups of their own. */
const events = ({ place }: Tenants.TenantEntry) =>
  Personal.layer.pipe(
    Layer.provideMerge(Keys.layerSql({ masters: Keys.masters("MASTER_KEYS") })),
    Layer.provideMerge(Layer.merge(PgEventStore.layerWith({ schema: place }), PgCheckpoints.layerWith({ schema: place }))),
    Layer.provideMerge(Personal.layerCrypto)
  )

/** Commands carry names and addresses, so they are not recorded; events do not, and are. */
const Bus = MessageBus.layerWith({ record: "events" }).pipe(Layer.provideMerge(UnitOfWork.layerSql))

const Handlers = Layer.provideMerge(Policies.layer, Layer.mergeAll(Customer.handlers, Subscription.handlers, Invoice.handlers))

const options = { store: events, beside: Layer.provideMerge(Handlers, Bus) }

type Has<L> = L extends Layer.Layer<infer I, infer _E, infer _R> ? I : never
type Fails<L> = L extends Layer.Layer<infer _I, infer E, infer _R> ? E : never

export class Office extends Context.Service<
  Office,
  Tenants.Stores<
    Has<ReturnType<typeof events>> | Has<typeof options.beside>,
    Fails<ReturnType<typeof events>> | Fails<typeof options.beside>
  >
>()("billing/Office") {}

/** `COMPANIES="acme:token of its clerk,globex:another one"`. */
export const companies = Config.map(Config.String("COMPANIES"), (text) =>
  text.split(",").map((one) => {
    const [id = "", token = ""] = one.split(":")
    return { id, token }
  })
)

/** The companies of the configuration are known, each with a schema. Its name comes from here, never from a request. */
const Known = Layer.effectDiscard(
  Effect.flatMap(companies, (all) => Effect.forEach(all, ({ id }) => Tenants.add(id, `billing_${id}`), { discard: true }))
)

export const layer = Tenants.layerMapOf(Office, options).pipe(
  Layer.provideMerge(Known),
  Layer.provideMerge(Tenants.layerRegistrySql)
)
