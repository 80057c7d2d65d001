/** The service: handlers on the message bus, and the bus behind HTTP. */
import { Effect, Layer, Schema } from "effect"
import { HttpRouter } from "effect/http"
import { RpcSerialization, RpcServer } from "effect/rpc"
import { Aggregate, Event, EventStore, MessageBus, Repository, UnitOfWork } from "eventfold"
import { AccountId, Authentication, Bank, Deposit, Overdrawn, Unauthorized, Withdraw } from "./api.ts"

const Deposited = Event.make("Deposited", { amount: Schema.Int })
const Withdrawn = Event.make("Withdrawn", { amount: Schema.Int })

const Account = Aggregate.make("Account", {
  id: AccountId,
  events: [Deposited, Withdrawn],
  initial: { balance: 0 },
  evolve: {
    Deposited: ({ balance }, { amount }) => ({ balance: balance + amount }),
    Withdrawn: ({ balance }, { amount }) => ({ balance: balance - amount })
  }
})

const Handlers = Layer.merge(
  MessageBus.handle(Deposit, ({ account, amount }) =>
    Effect.map(
      Repository.execute(Account, account, () => Effect.succeed([Deposited.make({ amount })])),
      ({ state }) => state
    )
  ),
  MessageBus.handle(Withdraw, ({ account, amount }) =>
    Effect.map(
      Repository.execute(Account, account, ({ balance }) =>
        balance < amount
          ? Effect.fail(new Overdrawn({ missing: amount - balance }))
          : Effect.succeed([Withdrawn.make({ amount })])
      ),
      ({ state }) => state
    )
  )
)

/** Who has which token: a service asks an identity provider. */
const users: Readonly<Record<string, string>> = { "Bearer token of ada": "ada", "Bearer token of ben": "ben" }

/** The identity is in the metadata of each event that a call makes. */
const Authenticated = Layer.succeed(Authentication, (call, { headers }) => {
  const by = users[headers["authorization"] ?? ""]
  return by === undefined ? Effect.fail(new Unauthorized()) : Effect.provideService(call, UnitOfWork.CurrentMetadata, { by })
})

/** Each call is a command on the bus: one unit of work. A command without a handler does not compile. */
const Served = MessageBus.toRpcHandlers(Bank).pipe(Layer.provide(Handlers), Layer.provide(MessageBus.layer))

/** The routes of the service, over whatever store there is. */
const routes = RpcServer.layerHttp({ group: Bank, path: "/bank", protocol: "http" }).pipe(
  Layer.provide(Served),
  Layer.provide(Authenticated),
  Layer.provide(UnitOfWork.layer),
  Layer.provide(RpcSerialization.layerJson)
)

/** The service on the HTTP server of the environment. */
export const layer = HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }).pipe(
  Layer.provideMerge(EventStore.layerMemory)
)
