/** The service: handlers on the message bus, and the bus behind HTTP. */
import { Effect, Layer, Schema } from "effect"
import { HttpRouter } from "effect/http"
import { RpcSerialization, RpcServer } from "effect/rpc"
import { Aggregate, Event, EventStore, MessageBus, Repository, UnitOfWork } from "eventfold"
import { AccountId, Bank, Deposit, Overdrawn, Withdraw } from "./api.ts"

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

/** Each call is a command on the bus: one unit of work. A command left out here does not compile. */
const Served = Bank.toLayer({
  Deposit: (payload) => MessageBus.execute(Deposit, payload),
  Withdraw: (payload) => MessageBus.execute(Withdraw, payload)
})

/** The routes of the service. */
const routes = RpcServer.layerHttp({ group: Bank, path: "/bank", protocol: "http" }).pipe(
  Layer.provide(Served),
  Layer.provide(Handlers),
  Layer.provide(MessageBus.layer),
  Layer.provide(UnitOfWork.layer),
  Layer.provide(EventStore.layerMemory),
  Layer.provide(RpcSerialization.layerJson)
)

/** The service on the HTTP server of the environment. */
export const layer = HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true })
