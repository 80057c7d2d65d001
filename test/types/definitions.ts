/** Types of `Event`, `Aggregate` and `Command`: this file is compiled and never run. */
import { Effect, Schema } from "effect"
import { Aggregate, Command, Event } from "eventfold"
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
