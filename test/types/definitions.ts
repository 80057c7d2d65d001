/** Types of `Event`, `Aggregate` and `Command`: this file is compiled and never run. */
import { Context, Effect, type Option, Schema } from "effect"
import {
  Aggregate,
  Command,
  Decider,
  Event,
  type EventStore,
  Inbox,
  MessageBus,
  ProcessManager,
  Projection,
  Repository,
  UnitOfWork
} from "eventfold"
import { exactly, notAny } from "./support.ts"

const AccountId = Schema.NonEmptyString.pipe(Schema.brand("AccountId"))
type AccountId = typeof AccountId.Type

// -----------------------------------------------------------------------------
// Event
// -----------------------------------------------------------------------------

const Opened = Event.make("Opened", { owner: Schema.String })
const Deposited = Event.make(
  "Deposited",
  { amount: Schema.BigInt, at: Schema.Date, note: Schema.optional(Schema.String) },
  {
    version: 2,
    tags: (event) => {
      notAny<typeof event>()
      exactly<typeof event, typeof Deposited.Type>()
      return [event._tag]
    },
    upcast: { 1: (old: { readonly cents: number }) => ({ amount: String(old.cents) }) }
  }
)
const Closed = Event.make("Closed")

exactly<typeof Opened.Type, { readonly _tag: "Opened"; readonly owner: string }>()
exactly<typeof Closed.Type, { readonly _tag: "Closed" }>()
exactly<(typeof Deposited.Type)["amount"], bigint>()
exactly<(typeof Deposited.Type)["note"], string | undefined>()
exactly<(typeof Deposited.Encoded)["at"], Date>()
notAny<typeof Deposited.Type>()
notAny<typeof Deposited.Encoded>()
exactly<typeof Opened.type, "Opened">()

Opened.make({ owner: "Ada" })
Closed.make({})
// @ts-expect-error a field is missing
Opened.make({})
// @ts-expect-error a field has the wrong type
Opened.make({ owner: 1 })
// @ts-expect-error a field that the event does not have
Opened.make({ owner: "Ada", age: 3 })
// @ts-expect-error an upcast gives JSON
Event.make("E", {}, { version: 2, upcast: { 1: () => new Date() } })
// @ts-expect-error tags are strings
Event.make("E", { n: Schema.Int }, { tags: ({ n }) => [n] })
// @ts-expect-error the event of another definition cannot be encoded
Event.encode(Opened, Closed.make({}))

// -----------------------------------------------------------------------------
// Aggregate
// -----------------------------------------------------------------------------

const Account = Aggregate.make("Account", {
  id: AccountId,
  events: [Opened, Deposited],
  initial: { owner: "", balance: 0n },
  evolve: {
    Opened: (state, event) => {
      exactly<typeof state, { owner: string; balance: bigint }>()
      exactly<typeof event, { readonly _tag: "Opened"; readonly owner: string }>()
      return { ...state, owner: event.owner }
    },
    Deposited: (state, { amount }) => ({ ...state, balance: state.balance + amount })
  }
})

exactly<Aggregate.State<typeof Account>, { owner: string; balance: bigint }>()
exactly<Aggregate.Id<typeof Account>, AccountId>()
exactly<Aggregate.EventOf<typeof Account>, typeof Opened.Type | typeof Deposited.Type>()
exactly<typeof Account.name, "Account">()

const state = Aggregate.fold(Account, [Opened.make({ owner: "Ada" })])
exactly<typeof state, { owner: string; balance: bigint }>()
// @ts-expect-error an event that is not one of the aggregate's
Aggregate.fold(Account, [Closed.make({})])
// @ts-expect-error a state of another shape
Aggregate.fold(Account, [], { owner: "Ada" })
// @ts-expect-error no state at all, where undefined is none
Aggregate.fold(Account, [], undefined)

Aggregate.make("Account", {
  events: [Opened, Closed],
  initial: 0,
  // @ts-expect-error the fold of Closed is missing
  evolve: { Opened: (state) => state }
})
Aggregate.make("Account", {
  events: [Opened],
  initial: 0,
  // @ts-expect-error there is no event Closed in the list
  evolve: { Opened: (state) => state, Closed: (state) => state }
})
Aggregate.make("Account", {
  events: [Opened],
  initial: 0,
  // @ts-expect-error a fold returns the state's type
  evolve: { Opened: () => "1" }
})
Aggregate.make("Account", {
  events: [Opened],
  initial: { owner: "" },
  // @ts-expect-error a fold reads the fields that the event has
  evolve: { Opened: (_, { name }) => ({ owner: String(name) }) }
})
Aggregate.make("Account", {
  // @ts-expect-error an id decodes from a string
  id: Schema.Int,
  events: [Opened],
  initial: 0,
  evolve: { Opened: (state) => state }
})
// An aggregate of any kind is an `Aggregate.Any`.
exactly<typeof Account extends Aggregate.Any ? true : false, true>()

// -----------------------------------------------------------------------------
// Command
// -----------------------------------------------------------------------------

class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { missing: Schema.Int }) {}

const Withdraw = Command.make("Withdraw", {
  payload: {
    account: AccountId,
    amount: Schema.Int,
    urgent: Schema.Boolean.pipe(Schema.withConstructorDefault(Effect.succeed(false)))
  },
  success: Schema.BigInt,
  error: Overdrawn
})
const Tick = Command.make("Tick")

exactly<Command.Payload<typeof Withdraw>["amount"], number>()
exactly<Command.Payload<typeof Withdraw>["urgent"], boolean>()
// What has a constructor default may be left out by the caller, and is there for the handler.
const input: Command.PayloadInput<typeof Withdraw> = { account: AccountId.make("ada"), amount: 1 }
void input
exactly<Command.Success<typeof Withdraw>, bigint>()
exactly<Command.Error<typeof Withdraw>, Overdrawn>()
exactly<Command.Payload<typeof Tick>, void>()
exactly<Command.Success<typeof Tick>, void>()
exactly<Command.Error<typeof Tick>, never>()
exactly<(typeof Withdraw)["_tag"], "Withdraw">()

// -----------------------------------------------------------------------------
// The Schema of a state
// -----------------------------------------------------------------------------

const Paid = Event.make("Paid")
const Shipped = Event.make("Shipped", { parcel: Schema.String })
const OrderState = Schema.Struct({
  status: Schema.Literals(["open", "paid", "shipped"]),
  parcels: Schema.Array(Schema.Struct({ id: Schema.String, size: Schema.Literals([1, 2]) })),
  note: Schema.optionalKey(Schema.String)
})
const Order = Aggregate.make("Order", {
  state: OrderState,
  events: [Opened, Paid, Shipped],
  initial: { status: "open", parcels: [] },
  evolve: {
    // Without parameters, as the whole, by a spread, by a condition: no fold says what it returns.
    Opened: () => ({ status: "open", parcels: [{ id: "0", size: 2 }] }),
    Paid: (state) => {
      exactly<typeof state, typeof OrderState.Type>()
      return state.status === "open" ? { ...state, status: "paid" } : state
    },
    Shipped: (state, { parcel }) => ({ ...state, status: "shipped", parcels: [...state.parcels, { id: parcel, size: 1 }] })
  },
  snapshot: { every: 100, version: 2 }
})

// The Schema of a state is at hand as it was given, for the answer of an API; where there is none, that is known.
export const stated: typeof OrderState = Order.state
export const unstated: undefined = Account.state
exactly<Aggregate.State<typeof Order>, typeof OrderState.Type>()
exactly<(typeof Order)["initial"], typeof OrderState.Type>()

const Maybe = Aggregate.make("Maybe", {
  state: Schema.UndefinedOr(Schema.Literals(["on", "off"])),
  events: [Paid, Shipped],
  initial: undefined,
  evolve: { Paid: () => "on", Shipped: (state) => (state === "on" ? "off" : undefined) }
})
exactly<Aggregate.State<typeof Maybe>, "on" | "off" | undefined>()

// Without one, the state is what `initial` is; its literals hold for the folds, too.
interface Status {
  readonly status: "open" | "paid"
}
const open: Status = { status: "open" }
const Plain = Aggregate.make("Plain", {
  events: [Opened, Paid],
  initial: open,
  evolve: { Opened: () => ({ status: "open" }), Paid: (state) => ({ ...state, status: "paid" }) }
})
exactly<Aggregate.State<typeof Plain>, Status>()
const Names = Aggregate.make("Names", {
  events: [Opened, Paid],
  initial: { names: [] as Array<string>, count: 0, last: undefined as string | undefined },
  evolve: {
    Opened: ({ count, names }, { owner }) => ({ names: [...names, owner], count: count + 1, last: owner }),
    Paid: () => ({ names: [], count: 0, last: "none" })
  },
  snapshot: {
    state: Schema.Struct({
      names: Schema.mutable(Schema.Array(Schema.String)),
      count: Schema.Int,
      last: Schema.UndefinedOr(Schema.String)
    }),
    every: 5
  }
})
exactly<Aggregate.State<typeof Names>, { names: Array<string>; count: number; last: string | undefined }>()
const List = Aggregate.make("List", {
  events: [Opened, Paid],
  initial: [] as Array<string>,
  evolve: { Opened: (names, { owner }) => [...names, owner], Paid: () => [] }
})
exactly<Aggregate.State<typeof List>, Array<string>>()
Aggregate.make("List", {
  events: [Opened],
  initial: 0,
  // @ts-expect-error an array is no number
  evolve: { Opened: () => [] }
})

const Dispatch = ProcessManager.make("Dispatch", {
  state: Schema.Struct({ waitsFor: Schema.Literals(["payment", "parcel"]) }),
  events: [Opened, Paid],
  correlate: { Opened: ({ owner }) => owner, Paid: () => "1" },
  initial: { waitsFor: "payment" },
  evolve: { Opened: () => ({ waitsFor: "payment" }), Paid: (state) => ({ ...state, waitsFor: "parcel" }) },
  react: { Opened: () => [], Paid: () => [] },
  snapshot: { every: 10 }
})
exactly<(typeof Dispatch)["initial"], { readonly waitsFor: "payment" | "parcel" }>()

// -----------------------------------------------------------------------------
// Decider
// -----------------------------------------------------------------------------

const Account2 = Decider.make("Account", {
  id: AccountId,
  state: Schema.Struct({ balance: Schema.BigInt, status: Schema.Literals(["open", "closed"]) }),
  events: [Deposited, Closed],
  initial: { balance: 0n, status: "open" },
  evolve: {
    Deposited: (state, { amount }) => ({ ...state, balance: state.balance + amount }),
    Closed: () => ({ balance: 0n, status: "closed" })
  },
  commands: [Withdraw, Tick],
  decide: {
    Withdraw: (command, state) => {
      exactly<typeof command, Command.Payload<typeof Withdraw>>()
      exactly<typeof state, { readonly balance: bigint; readonly status: "open" | "closed" }>()
      return state.status === "closed" ? new Overdrawn({ missing: command.amount }) : [Closed.make({})]
    },
    Tick: () => []
  }
})
// It is an aggregate.
exactly<typeof Account2 extends Aggregate.Any ? true : false, true>()
exactly<Aggregate.Id<typeof Account2>, AccountId>()
const withdrawal = Account2.decide.Withdraw({ account: AccountId.make("ada"), amount: 1, urgent: false })
exactly<Parameters<typeof withdrawal>, [state: { readonly balance: bigint; readonly status: "open" | "closed" }]>()
const withdrawn = Repository.execute(Account2, AccountId.make("ada"), withdrawal)
exactly<Extract<Effect.Error<typeof withdrawn>, Overdrawn>, Overdrawn>()
exactly<Effect.Services<typeof withdrawn>, UnitOfWork.Transaction | EventStore.EventStore>()

// -----------------------------------------------------------------------------
// Annotations
// -----------------------------------------------------------------------------

class Team extends Context.Service<Team, string>()("types/Team") {}
const Audited = Context.Reference<boolean>("types/Audited", { defaultValue: () => false })

const annotatedEvent = Opened.annotate(Team, "billing").annotateMerge(Context.make(Audited, true))
exactly<typeof annotatedEvent, typeof Opened>()
const annotatedAccount = Account.annotate(Audited, true)
exactly<typeof annotatedAccount, typeof Account>()
const piped = Account.pipe((account) => account.annotate(Audited, true))
exactly<typeof piped, typeof Account>()
const audited: boolean = Context.get(Opened.annotations, Audited)
// @ts-expect-error a value of another type
Opened.annotate(Team, audited)
// @ts-expect-error a value of another type
Account.annotate(Audited, "yes")
// @ts-expect-error Schema's own annotations give a Schema, and no event
Event.encode(Opened.annotate({ title: "An account was opened" }), Opened.make({ owner: "Ada" }))
// @ts-expect-error an annotation is asked for that has no default, and may not be there
Context.get(Opened.annotations, Team)

// -----------------------------------------------------------------------------
// Data last
// -----------------------------------------------------------------------------

const foldedLast = Account.pipe(Aggregate.fold([Opened.make({ owner: "Ada" })]))
exactly<typeof foldedLast, { owner: string; balance: bigint }>()
const foldedFrom = Account.pipe(Aggregate.fold([Opened.make({ owner: "Ada" })], { owner: "", balance: 5n }))
exactly<typeof foldedFrom, { owner: string; balance: bigint }>()
const evolvedLast = Account.pipe(Aggregate.evolve({ owner: "", balance: 5n }, Opened.make({ owner: "Ada" })))
exactly<typeof evolvedLast, { owner: string; balance: bigint }>()
// @ts-expect-error an event that is not one of the aggregate's
Account.pipe(Aggregate.fold([Closed.make({})]))
// @ts-expect-error a state of another shape
Account.pipe(Aggregate.fold([Opened.make({ owner: "Ada" })], { owner: "" }))
// @ts-expect-error an event that is not one of the aggregate's
Account.pipe(Aggregate.evolve({ owner: "", balance: 5n }, Closed.make({})))

declare const work: Effect.Effect<"done", Overdrawn, Team>
const retriedFirst = UnitOfWork.retryConflicts(work, { times: 3 })
const retriedLast = work.pipe(UnitOfWork.retryConflicts({ times: 3 }))
exactly<typeof retriedFirst, typeof work>()
exactly<typeof retriedLast, typeof work>()
const publicFirst = MessageBus.publicErrorsWith(work, { times: 3 })
const publicLast = work.pipe(MessageBus.publicErrorsWith({ times: 3 }))
exactly<typeof publicFirst, Effect.Effect<"done", Overdrawn | Command.CommandFailure, Team>>()
exactly<typeof publicLast, typeof publicFirst>()
const onceLast = work.pipe(Inbox.once("group", "id"))
exactly<typeof onceLast, Effect.Effect<Option.Option<"done">, Overdrawn | Inbox.InboxError, Team | Inbox.Inbox>>()
const onceFirst = Inbox.once("group", "id", work)
exactly<typeof onceFirst, typeof onceLast>()
declare const envelope: Projection.Envelope<unknown>
const markedLast = work.pipe(Projection.sideEffect(envelope))
const markedFirst = Projection.sideEffect(envelope, work)
exactly<typeof markedFirst, typeof markedLast>()
exactly<Effect.Success<typeof markedLast>, Option.Option<"done">>()
