/** Types of `UnitOfWork`, `Repository` and `MessageBus`: this file is compiled and never run. */
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Result, Schema, type Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Aggregate, Command, Event, EventStore, MessageBus, Repository, type Tag, UnitOfWork } from "eventfold"
import { exactly, notAny } from "./support.ts"

const AccountId = Schema.NonEmptyString.pipe(Schema.brand("AccountId"))
const ada = AccountId.make("ada")

const Opened = Event.make("Opened", { owner: Schema.String })
const Deposited = Event.make("Deposited", { amount: Schema.Int })
const Closed = Event.make("Closed")

const Account = Aggregate.make("Account", {
  id: AccountId,
  events: [Opened, Deposited],
  initial: { owner: "", balance: 0 },
  evolve: {
    Opened: (state, { owner }) => ({ ...state, owner }),
    Deposited: (state, { amount }) => ({ ...state, balance: state.balance + amount })
  }
})
interface State {
  owner: string
  balance: number
}

class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { missing: Schema.Int }) {}
class Foreign extends Schema.TaggedError<Foreign>()("Foreign", {}) {}
class Clock extends Context.Service<Clock, { readonly now: number }>()("test/Clock") {}

const Deposit = Command.make("Deposit", {
  payload: { account: AccountId, amount: Schema.Int },
  success: Schema.Int,
  error: Overdrawn
})

// -----------------------------------------------------------------------------
// Repository
// -----------------------------------------------------------------------------

const executed = Repository.execute(Account, ada, (state) => {
  exactly<typeof state, { owner: string; balance: number }>()
  return Effect.succeed([Deposited.make({ amount: 1 })])
})
exactly<Effect.Services<typeof executed>, UnitOfWork.Transaction | EventStore.EventStore>()
exactly<Effect.Error<typeof executed>, Repository.LoadError | Event.EventEncodeError | EventStore.OptimisticLockError>()
exactly<Effect.Success<typeof executed>["state"], { owner: string; balance: number }>()
exactly<Effect.Success<typeof executed>["events"], ReadonlyArray<typeof Opened.Type | typeof Deposited.Type>>()

const refused = Repository.execute(Account, ada, ({ balance }) =>
  Effect.gen(function* () {
    const { now } = yield* Clock
    if (balance < now) return yield* new Overdrawn({ missing: 1 })
    return []
  })
)
exactly<Extract<Effect.Error<typeof refused>, Overdrawn>, Overdrawn>()
exactly<Effect.Services<typeof refused>, UnitOfWork.Transaction | EventStore.EventStore | Clock>()

// @ts-expect-error an event of another aggregate
Repository.execute(Account, ada, () => Effect.succeed([Closed.make({})]))
// Whichever of its forms a decision has, events and errors are known.
const one = Repository.execute(Account, ada, () => Deposited.make({ amount: 1 }))
exactly<Effect.Error<typeof one>, Effect.Error<typeof executed>>()
exactly<Effect.Services<typeof one>, UnitOfWork.Transaction | EventStore.EventStore>()
const mixed = Repository.execute(Account, ada, ({ balance }) =>
  balance < 0 ? new Overdrawn({ missing: 1 }) : balance === 0 ? [] : Result.succeed([Deposited.make({ amount: 1 })])
)
exactly<Extract<Effect.Error<typeof mixed>, Overdrawn>, Overdrawn>()
exactly<Effect.Services<typeof mixed>, UnitOfWork.Transaction | EventStore.EventStore>()
// @ts-expect-error an event of another aggregate, by itself
Repository.execute(Account, ada, () => Closed.make({}))
// @ts-expect-error an id that is not branded
Repository.execute(Account, "ada", () => Effect.succeed([]))
// @ts-expect-error a field of the state that there is not
Repository.execute(Account, ada, ({ total }) => Effect.succeed([Deposited.make({ amount: Number(total) })]))

const loaded = Repository.load(Account, ada)
exactly<Effect.Services<typeof loaded>, UnitOfWork.Transaction | EventStore.EventStore>()
const read = Repository.read(Account, ada, { version: 1 })
exactly<Effect.Services<typeof read>, EventStore.EventStore>()
exactly<
  Effect.Error<typeof read>,
  EventStore.EventStoreError | Aggregate.AggregateIdError | Event.EventDecodeError | Event.UnknownEventTypeError
>()
exactly<Effect.Success<typeof read>["state"] extends State ? true : false, true>()
const history = Repository.events(Account, ada)
exactly<Stream.Services<typeof history>, EventStore.EventStore>()
exactly<Stream.Success<typeof history>["event"], typeof Opened.Type | typeof Deposited.Type>()
// @ts-expect-error an event of another aggregate
Repository.append(Account, ada, [Closed.make({})])

// -----------------------------------------------------------------------------
// UnitOfWork
// -----------------------------------------------------------------------------

const transacted = UnitOfWork.transact(refused)
exactly<Effect.Services<typeof transacted>, UnitOfWork.UnitOfWork | EventStore.EventStore | Clock>()
exactly<Effect.Error<typeof transacted>, Overdrawn | UnitOfWork.CommitError>()
exactly<Effect.Success<typeof transacted>["version"], number>()
exactly<
  UnitOfWork.CommitError,
  | EventStore.AppendError
  | Event.EventEncodeError
  | Event.EventDecodeError
  | Event.UnknownEventTypeError
  | Aggregate.AggregateIdError
  | Tag.TagError
  | Command.CommandDecodeError
  | Command.CommandIdReusedError
  | Command.CommandElsewhereError
  | MessageBus.TooManyMessagesError
>()

const everything = UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))

// A decision outside of a unit of work cannot be run.
// @ts-expect-error the transaction is missing
void Effect.runPromise(Effect.provide(executed, everything))
void Effect.runPromise(Effect.provide(UnitOfWork.transact(executed), everything))
// @ts-expect-error the store is missing
void Effect.runPromise(Effect.provide(UnitOfWork.transact(executed), UnitOfWork.layer))
// @ts-expect-error the unit of work is missing
void Effect.runPromise(Effect.provide(UnitOfWork.transact(executed), EventStore.layerMemory))
// @ts-expect-error hooks and rollback are for units of work alone
void Effect.runPromise(UnitOfWork.afterCommit(Effect.void))
// @ts-expect-error
void Effect.runPromise(UnitOfWork.rollback)

// What can go wrong must be handled.
// @ts-expect-error Overdrawn and the errors of the commit are left
const unhandled: Effect.Effect<unknown, never, UnitOfWork.UnitOfWork | EventStore.EventStore | Clock> = transacted
const handledAll: Effect.Effect<unknown, never, UnitOfWork.UnitOfWork | EventStore.EventStore | Clock> = transacted.pipe(
  Effect.catchTags({
    Overdrawn: ({ missing }) => Effect.succeed(missing),
    OptimisticLockError: ({ actual }) => Effect.succeed(actual),
    AppendConditionError: ({ position }) => Effect.succeed(position),
    DuplicateEventError: ({ id }) => Effect.succeed(id),
    InvalidAppendError: ({ field }) => Effect.succeed(field),
    AggregateIdError: ({ aggregate }) => Effect.succeed(aggregate),
    TagError: ({ tag }) => Effect.succeed(tag),
    CommandDecodeError: ({ path }) => Effect.succeed(path),
    CommandIdReusedError: ({ id }) => Effect.succeed(id),
    CommandElsewhereError: ({ detail }) => Effect.succeed(detail),
    EventStoreError: ({ reason }) => Effect.succeed(reason.detail),
    EventEncodeError: ({ type }) => Effect.succeed(type),
    EventDecodeError: ({ version }) => Effect.succeed(version),
    UnknownEventTypeError: ({ type }) => Effect.succeed(type),
    TooManyMessagesError: ({ limit }) => Effect.succeed(limit)
  })
)
void [unhandled, handledAll]

// A hook may need services, and may fail with anything.
const hook = UnitOfWork.afterCommit(Effect.andThen(Clock, Effect.fail("no")))
exactly<Effect.Services<typeof hook>, Clock | UnitOfWork.Transaction>()
exactly<Effect.Error<typeof hook>, never>()

const retried = UnitOfWork.retryConflicts({ times: 3 })(transacted)
exactly<typeof retried, typeof transacted>()

// -----------------------------------------------------------------------------
// MessageBus
// -----------------------------------------------------------------------------

const DepositLive = MessageBus.handle(Deposit, ({ account, amount }) => {
  exactly<typeof account, typeof ada>()
  exactly<typeof amount, number>()
  return Effect.gen(function* () {
    yield* Clock
    const { state } = yield* Repository.execute(Account, account, () => Effect.succeed([Deposited.make({ amount })]))
    return state.balance
  })
})
exactly<typeof DepositLive, Layer.Layer<MessageBus.Handler<"Deposit">, never, EventStore.EventStore | Clock>>()

const deposit = MessageBus.execute(Deposit, { account: ada, amount: 1 })
exactly<Effect.Services<typeof deposit>, MessageBus.MessageBus | MessageBus.Handler<"Deposit">>()
exactly<Effect.Error<typeof deposit>, Overdrawn | UnitOfWork.CommitError>()
exactly<Effect.Success<typeof deposit>, number>()
notAny<typeof deposit>()

const bus = MessageBus.layer.pipe(Layer.provideMerge(everything))
const wired = DepositLive.pipe(Layer.provideMerge(bus), Layer.provide(Layer.succeed(Clock, { now: 0 })))
void Effect.runPromise(Effect.provide(deposit, wired))
// @ts-expect-error no handler is provided
void Effect.runPromise(Effect.provide(deposit, bus))
const Other = Command.make("Other")
const OtherLive = MessageBus.handle(Other, () => Effect.void)
// @ts-expect-error the handler of another command does not help
void Effect.runPromise(Effect.provide(deposit, Layer.provideMerge(OtherLive, bus)))
const handlerAlone = Layer.provide(DepositLive, Layer.merge(everything, Layer.succeed(Clock, { now: 0 })))
// @ts-expect-error no bus is provided
void Effect.runPromise(Effect.provide(deposit, handlerAlone))

// @ts-expect-error a field of the payload is missing
MessageBus.execute(Deposit, { account: ada })
// @ts-expect-error a field of the payload has the wrong type
MessageBus.execute(Deposit, { account: ada, amount: "1" })
// @ts-expect-error an id that is not branded
MessageBus.execute(Deposit, { account: "ada", amount: 1 })
MessageBus.execute(Other, undefined)
// @ts-expect-error a command without payload takes none
MessageBus.execute(Other, { amount: 1 })

// @ts-expect-error the handler gives another result
MessageBus.handle(Deposit, () => Effect.succeed("1"))
// @ts-expect-error the handler fails with an error that the command does not declare
MessageBus.handle(Deposit, () => Effect.fail(new Foreign()))
// A handler may fail with the command's error, and with what a unit of work fails with.
MessageBus.handle(Deposit, () => Effect.fail(new Overdrawn({ missing: 1 })))
MessageBus.handle(Deposit, () => Effect.fail(new EventStore.AppendConditionError({ position: 1 })))

const listener = MessageBus.listen(Deposited, (event, envelope) => {
  exactly<typeof event, typeof Deposited.Type>()
  exactly<typeof envelope, MessageBus.Envelope>()
  return Effect.andThen(Clock, UnitOfWork.stage("A-1", []))
})
exactly<typeof listener, Layer.Layer<never, never, MessageBus.MessageBus | Clock>>()
const executing = MessageBus.listen(Deposited, () => Effect.orDie(MessageBus.execute(Deposit, { account: ada, amount: 1 })))
exactly<typeof executing, Layer.Layer<never, never, MessageBus.MessageBus | MessageBus.Handler<"Deposit">>>()
// @ts-expect-error a listener fails with what a unit of work fails with, and with nothing else
MessageBus.listen(Deposited, () => Effect.fail(new Foreign()))

const published = MessageBus.publish(Closed, Closed.make({}))
exactly<typeof published, Effect.Effect<void, UnitOfWork.CommitError, MessageBus.MessageBus>>()
// @ts-expect-error the event of another definition
MessageBus.publish(Closed, Deposited.make({ amount: 1 }))

// What uses a database in a unit of work requires that units of work are transactions of it.
const inSql = Effect.orDie(SqlClient.SqlClient.use((sql) => sql`select 1`))
const inUnit = UnitOfWork.transact(inSql)
exactly<Effect.Services<typeof inUnit>, UnitOfWork.UnitOfWork | UnitOfWork.SqlTransactions | SqlClient.SqlClient>()
const sqlHandler = MessageBus.handle(Deposit, () => Effect.as(inSql, 1))
exactly<typeof sqlHandler, Layer.Layer<MessageBus.Handler<"Deposit">, never, UnitOfWork.SqlTransactions | SqlClient.SqlClient>>()
const sqlListener = MessageBus.listen(Deposited, () => inSql)
exactly<typeof sqlListener, Layer.Layer<never, never, MessageBus.MessageBus | UnitOfWork.SqlTransactions | SqlClient.SqlClient>>()
exactly<Layer.Success<typeof UnitOfWork.layerSql>, UnitOfWork.UnitOfWork | UnitOfWork.SqlTransactions>()
// A client of some driver is a client of SQL.
const onPostgres = MessageBus.handle(Deposit, () => Effect.as(PgClient.PgClient, 1))
exactly<Extract<Layer.Services<typeof onPostgres>, UnitOfWork.SqlTransactions>, UnitOfWork.SqlTransactions>()
