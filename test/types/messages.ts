/**
 * What a person sees where something does not compile: the sentence behind each `@ts-expect-error` is part of the compiler's message, as
 * messages.test.ts holds. This file is compiled and never run.
 */
import { Effect, Exit, Layer, Result, Schema } from "effect"
import {
  Aggregate,
  Command,
  Decider,
  Decision,
  Event,
  EventStore,
  Personal,
  ProcessManager,
  Repository,
  Subscription,
  Tag,
  Tenants
} from "eventfold"
import { DurableDeferred, Workflow } from "effect/workflow"
import { ClusterBus } from "eventfold/cluster"
import { Scenario } from "eventfold/testing"
import { Workflows } from "eventfold/workflow"

const Paid = Event.make("Paid", { amount: Schema.Int })
const Shipped = Event.make("Shipped", { parcel: Schema.String })
const State = Schema.Struct({ status: Schema.Literals(["open", "paid", "shipped"]) })

// -----------------------------------------------------------------------------
// the Schema of a state
// -----------------------------------------------------------------------------

Aggregate.make("Order", {
  state: State,
  events: [Paid],
  // @ts-expect-error Type '"opened"' is not assignable to type '"open" | "paid" | "shipped"'.
  initial: { status: "opened" },
  evolve: { Paid: (state) => state }
})
Aggregate.make("Order", {
  state: State,
  events: [Paid],
  initial: { status: "open" },
  // @ts-expect-error Type '"payed"' is not assignable to type '"open" | "paid" | "shipped" | UnlikeTheState_SeeOption_state'.
  evolve: { Paid: () => ({ status: "payed" }) }
})
Aggregate.make("Order", {
  state: State,
  events: [Paid],
  initial: { status: "open" },
  evolve: { Paid: (state) => state },
  // @ts-expect-error is not assignable to type 'undefined'.
  snapshot: { every: 10, state: State }
})
Aggregate.make("Order", {
  events: [Paid],
  initial: { status: "open" },
  evolve: { Paid: (state) => state },
  // @ts-expect-error Property 'state' is missing in type '{ every: number; }'
  snapshot: { every: 10 }
})
Aggregate.make("Order", {
  events: [Paid],
  initial: [],
  // @ts-expect-error Type 'string' is not assignable to type 'UnlikeTheState_SeeOption_state'.
  evolve: { Paid: (all, { amount }) => [...all, String(amount)] }
})
ProcessManager.make("Dispatch", {
  state: State,
  events: [Paid],
  correlate: { Paid: () => "1" },
  initial: { status: "open" },
  // @ts-expect-error Type '"payed"' is not assignable to type '"open" | "paid" | "shipped" | UnlikeTheState_SeeOption_state'.
  evolve: { Paid: () => ({ status: "payed" }) },
  react: { Paid: () => [] }
})

// -----------------------------------------------------------------------------
// decisions
// -----------------------------------------------------------------------------

class Refused extends Schema.TaggedError<Refused>()("Refused", { why: Schema.String }) {}
class Other extends Schema.TaggedError<Other>()("Other", {}) {}

const Pay = Command.make("Pay", { payload: { order: Schema.String, amount: Schema.Int }, error: Refused })
const Ship = Command.make("Ship", { payload: { order: Schema.String, parcel: Schema.String } })

const Order = Aggregate.make("Order", {
  state: State,
  events: [Paid],
  initial: { status: "open" },
  evolve: { Paid: (state) => ({ ...state, status: "paid" }) }
})

// @ts-expect-error Type '{ readonly _tag: "Shipped"; readonly parcel: string; }' is not assignable to type 'AnyDecided<{ readonly _tag: "Paid"; readonly amount: number; }>'.
Repository.execute(Order, "1", () => Shipped.make({ parcel: "p" }))
// @ts-expect-error Type 'Result<{ readonly _tag: "Shipped"; readonly parcel: string; }[], never>' is not assignable to type 'AnyDecided<{ readonly _tag: "Paid"; readonly amount: number; }>'.
Repository.execute(Order, "1", () => Result.succeed([Shipped.make({ parcel: "p" })]))
// @ts-expect-error is not assignable to type 'AnyDecided<{ readonly _tag: "Paid"; readonly amount: number; }>'.
Scenario.aggregate(Order).when(() => Effect.succeed([Shipped.make({ parcel: "p" })]))

const decided = {
  state: State,
  events: [Paid],
  initial: { status: "open" },
  evolve: { Paid: () => ({ status: "paid" as const }) }
} as const

Decider.make("Order", {
  ...decided,
  commands: [Pay, Ship],
  // @ts-expect-error Property 'Ship' is missing in type
  decide: { Pay: ({ amount }: { amount: number }) => Paid.make({ amount }) }
})
Decider.make("Order", {
  ...decided,
  commands: [Pay],
  // @ts-expect-error is not assignable to type '"there is no \"Ship\" among the commands that are listed"'.
  decide: { Pay: () => [], Ship: () => [] }
})
Decider.make("Order", {
  ...decided,
  commands: [Ship],
  // @ts-expect-error Type 'Refused' is not assignable to type 'Decided<
  decide: { Ship: () => new Refused({ why: "no" }) }
})
Decider.make("Order", {
  ...decided,
  commands: [Pay],
  // @ts-expect-error Type 'Other' is not assignable to type 'Decided<{ readonly _tag: "Paid"; readonly amount: number; }, Refused, unknown>'.
  decide: { Pay: () => new Other({}) }
})

// -----------------------------------------------------------------------------
// a type that is retired
// -----------------------------------------------------------------------------

const Viewed = Event.retired("Viewed")
const Half = Aggregate.make("Half", { events: [Paid, Viewed], initial: 0, evolve: { Paid: (_, { amount }) => amount } })

// @ts-expect-error '"\"Viewed\" is retired: what is stored of it is passed over, and no more is written"'.
Viewed.make({})
// @ts-expect-error Type '"Viewed"' is not assignable to type '"Paid"'.
Repository.append(Half, "1", [{ _tag: "Viewed" }])
Aggregate.make("Half", {
  events: [Paid, Viewed],
  initial: 0,
  // @ts-expect-error 'Viewed' does not exist in type 'Folds<
  evolve: { Paid: () => 1, Viewed: () => 2 }
})
Subscription.layer({
  name: "half",
  events: [Paid, Viewed],
  // @ts-expect-error is not assignable to type '"there is no \"Viewed\" among the events that are listed"'.
  handlers: { Paid: () => Effect.void, Viewed: () => Effect.void }
})

// -----------------------------------------------------------------------------
// decisions on facts from anywhere in the log
// -----------------------------------------------------------------------------

const CourseId = Schema.NonEmptyString.pipe(Schema.brand("CourseId"))
const StudentId = Schema.NonEmptyString.pipe(Schema.brand("StudentId"))
const course = Tag.make("course", CourseId)
const student = Tag.make("student", StudentId)
const c = CourseId.make("c")

const Defined = Event.make("Defined", { course: CourseId }, { tags: (event) => [course(event.course)] })
const Subscribed = Event.make(
  "Subscribed",
  { course: CourseId, student: StudentId },
  { tags: (event) => [course(event.course), student(event.student)] }
)
const Unread = Event.make("Unread", { course: CourseId }, { tags: (event) => [course(event.course)] })
const Untagged = Event.make("Untagged")
const Seats = Decision.make("Seats", {
  tags: { course },
  events: [Defined, Subscribed],
  initial: 0,
  evolve: { Defined: () => 3, Subscribed: (free) => free - 1 }
})

// @ts-expect-error is not assignable to parameter of type '"a:b" & Refused<"a name without a colon: a tag is split at its first one">'.
Tag.make("a:b")
// @ts-expect-error is not assignable to parameter of type '"" & Refused<"a name that is not empty">'.
Tag.make("")
// @ts-expect-error Property 'Subscribed' is missing in type '{ Defined: (n: number) => number; }' but required in type 'Folds<
Decision.make("A", { tags: { course }, events: [Defined, Subscribed], initial: 0, evolve: { Defined: (n) => n } })
// @ts-expect-error is not assignable to type '"Defined never bears the tag \"student\", so this model would never see it"'.
Decision.make("A", { tags: { student }, events: [Defined], initial: 0, evolve: { Defined: (n) => n } })
// @ts-expect-error is not assignable to type '"Untagged never bears the tag \"course\", so this model would never see it"'.
Decision.make("A", { tags: { course }, events: [Untagged], initial: 0, evolve: { Untagged: (n) => n } })
// @ts-expect-error Type 'string & Brand<"StudentId">' is not assignable to type 'string & Brand<"CourseId">'.
Seats({ course: StudentId.make("s") })
// @ts-expect-error Property 'course' is missing in type '{}' but required in type '{ readonly course: string & Brand<"CourseId">; }'.
Seats({})
// @ts-expect-error '"\"Unread\" is no event of this decision: let it read that, or name it by Decision.into(stream, …)"'.
Decision.execute(Seats({ course: c }), "Course-c", () => Unread.make({ course: c }))
// @ts-expect-error '"\"Unread\" is no event of this decision: let it read that, or name it by Decision.into(stream, …)"'.
Decision.execute(Seats({ course: c }), "Course-c", () => Effect.succeed([Unread.make({ course: c })]))
// @ts-expect-error '"\"Paid\" is no event of this decision: let it read that, or name it by Decision.into(stream, …)"'.
Scenario.decision(Seats({ course: c })).when(() => Paid.make({ amount: 1 }))
// @ts-expect-error '"\"Defined\" is no event of the aggregate that this decision writes into"'.
Decision.execute(Seats({ course: c }), Decision.into(Order, "1"), () => Defined.make({ course: c }))
// @ts-expect-error "a decision comes to an event, to several or none ([]), or to a Result or an Effect of these"
Decision.execute(Seats({ course: c }), "Course-c", () => undefined)
// @ts-expect-error is not assignable to type '"Unread is read by no model here, so it cannot be ignored"'.
Seats({ course: c }).pipe(Decision.ignoring(Unread))
// @ts-expect-error Type '"Unread"' is not assignable to type '"Defined"'.
Decision.ignoring(Seats({ course: c }), Unread)
// @ts-expect-error is not assignable to type '"Paid is read by no model here, so it cannot be ignored"'.
Decision.aggregate(Order, "1").pipe(Decision.ignoring(Paid))
// @ts-expect-error is not assignable to type '"Paid is read by no model here, so it cannot be ignored"'.
Decision.all([Seats({ course: c }), Decision.aggregate(Order, "1")]).pipe(Decision.ignoring(Paid))
// @ts-expect-error Property 'count' does not exist on type '{ readonly seats: number; readonly n: number; }'.
Decision.execute(Decision.all({ seats: Seats({ course: c }), n: Seats({ course: c }) }), "Course-c", ({ count }) => [count])
const named = Decision.map(Seats({ course: c }), (free) => ({ free }))
// @ts-expect-error Property 'fre' does not exist on type '{ free: number; }'
Decision.map(named, ({ fre }) => [fre])
Decision.make("A", {
  tags: { course },
  events: [Defined],
  state: State,
  initial: { status: "open" },
  // @ts-expect-error Type '"payed"' is not assignable to type '"open" | "paid" | "shipped" | UnlikeTheState_SeeOption_state'.
  evolve: { Defined: () => ({ status: "payed" }) }
})

// -----------------------------------------------------------------------------
// personal data
// -----------------------------------------------------------------------------

const email = Personal.field(Schema.String, { subject: "customer" })

// @ts-expect-error There is no field 'customer' to take the subject from
Event.make("Registered", { email })
// @ts-expect-error The subject 'customer' is not text
Event.make("Registered", { customer: Schema.Int, email })
// @ts-expect-error The subject 'customer' must not be personal itself
Event.make("Registered", { customer: Personal.field(Schema.String, { subject: "id" }), id: Schema.String, email })
// @ts-expect-error Property 'email' does not exist on type
Event.make("Registered", { customer: Schema.String, email }, { tags: (event) => [event.email] })
// @ts-expect-error There is no field 'customer' to take the subject from
Event.make("Registered", { email: Schema.optionalKey(email) })
// @ts-expect-error There is no field 'customer' to take the subject from
Event.make("Registered", { emails: Schema.Array(Schema.NullOr(email)) })
// @ts-expect-error A record has no subject beside its values: make one personal field of the whole record
Event.make("Registered", { customer: Schema.String, emails: Schema.Record(Schema.String, email) })
// @ts-expect-error Property 'email' does not exist on type
Event.make("Registered", { customer: Schema.String, email: Schema.NullOr(email) }, { tags: (event) => [`${event.email}`] })
// @ts-expect-error Property 'pair' does not exist on type
Event.make("Registered", { customer: Schema.String, pair: Schema.Tuple([email]) }, { tags: (event) => [`${event.pair}`] })
Event.make("Registered", {
  customer: Schema.String,
  email: Schema.optional(email),
  pair: Schema.Tuple([Schema.Int, email]),
  others: Schema.Array(Schema.Struct({ who: Schema.String, name: Personal.field(Schema.String, { subject: "who" }) }))
})
// @ts-expect-error Type 'number' is not assignable to type 'string'.
Personal.field(Schema.String, { subject: "customer", whenForgotten: 5 })

const Registered = Event.make("Registered", { customer: Schema.String, email })
Aggregate.make("Customer", {
  state: Schema.Struct({ email: Schema.String }),
  events: [Registered],
  initial: { email: "" },
  // @ts-expect-error is not assignable to type 'string | UnlikeTheState_SeeOption_state'.
  evolve: { Registered: (_, { email }) => ({ email }) }
})

// -----------------------------------------------------------------------------
// tenants
// -----------------------------------------------------------------------------

declare const stores: Layer.Layer<Tenants.TenantStores>
const anybodys = Effect.provide(EventStore.append("Order-1", [{ type: "Paid", payload: {} }]), stores)

// @ts-expect-error Type 'EventStore' is not assignable to type 'never'.
void Effect.runPromise(anybodys)
// @ts-expect-error Type 'Tenant' is not assignable to type 'never'.
void Effect.runPromise(Effect.provide(EventStore.head, Layer.provide(Tenants.layerOfTenant, stores)))
// @ts-expect-error is missing the following properties from type
Effect.provide(EventStore.head, Layer.effect(EventStore.EventStore, Tenants.TenantStores))
void Effect.runPromise(Effect.provide(Tenants.provide("acme")(EventStore.head), stores))

// -----------------------------------------------------------------------------
// workflows
// -----------------------------------------------------------------------------

const Fulfil = Workflow.make("Fulfil", { payload: { order: Schema.String }, idempotencyKey: ({ order }) => order })
const Payment = DurableDeferred.make("payment", { success: Schema.Int })

Workflows.startedBy(Fulfil, Paid, { name: "fulfilment", payload: (_, { event }) => ({ order: event.stream }) })
// @ts-expect-error Type 'number' is not assignable to type 'string'.
Workflows.startedBy(Fulfil, Paid, { name: "fulfilment", payload: ({ amount }) => ({ order: amount }) })
Workflows.startedBy(Fulfil, Paid, {
  name: "fulfilment",
  payload: () => undefined,
  // @ts-expect-error 'transactional' does not exist in type
  transactional: true
})
// @ts-expect-error Type 'string' is not assignable to type 'number'.
Workflows.commandActivity("pay", Pay, { order: "1", amount: "5" })
Workflows.completedBy(Payment, Shipped, {
  name: "payments",
  token: () => undefined,
  // @ts-expect-error Type 'string' is not assignable to type 'number'.
  exit: ({ parcel }) => Exit.succeed(parcel)
})

// -----------------------------------------------------------------------------
// clusters
// -----------------------------------------------------------------------------

const id = { Pay: ({ order }: { readonly order: string }) => order }
ClusterBus.layerRunner(Order, [Pay], { id })
// @ts-expect-error Property 'Ship' is missing in type
ClusterBus.layerRunner(Order, [Pay, Ship], { id })
// @ts-expect-error Type 'number' is not assignable to type 'string'.
ClusterBus.layerClient(Order, [Pay], { id: { Pay: ({ amount }) => amount } })
// @ts-expect-error Type '"durably"' is not assignable to type
ClusterBus.layerClient(Order, [Pay], { id, delivery: "durably" })
