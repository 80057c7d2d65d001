/** Types of `Tag` and `Decision`: this file is compiled and never run. */
import { type Effect, Result, Schema } from "effect"
import { Aggregate, Decision, Event, type EventStore, Tag, type UnitOfWork } from "eventfold"
import { Scenario } from "eventfold/testing"
import { exactly, notAny } from "./support.ts"

const CourseId = Schema.NonEmptyString.pipe(Schema.brand("CourseId"))
const course = Tag.make("course", CourseId)
const student = Tag.make("student")

exactly<ReturnType<typeof course>, `course:${string}`>()
exactly<Parameters<typeof course>, [value: typeof CourseId.Type]>()
exactly<Tag.Value<typeof student>, string>()
exactly<typeof course.name, "course">()

// -----------------------------------------------------------------------------
// the tags of an event are part of its type
// -----------------------------------------------------------------------------

const Defined = Event.make("Defined", { course: CourseId, seats: Schema.Int }, { tags: (event) => [course(event.course)] })
const Subscribed = Event.make(
  "Subscribed",
  { course: CourseId, student: Schema.String },
  {
    published: true,
    tags: (event) => [course(event.course), student(event.student)]
  }
)
const Plain = Event.make("Plain")
const Texts = Event.make("Texts", { tags: Schema.Array(Schema.String) }, { tags: (event) => event.tags })
const Kinds = Event.make("Kinds", { kind: Schema.String, id: Schema.String }, { tags: ({ id, kind }) => [`${kind}:${id}`] })
const Maybe = Event.make("Maybe", { amount: Schema.Int }, { tags: ({ amount }) => (amount > 5 ? ["large"] : []) })

type TagsOf<E extends Event.Any> = ReturnType<E["tags"]>[number]
exactly<TagsOf<typeof Defined>, `course:${string}`>()
exactly<TagsOf<typeof Subscribed>, `course:${string}` | `student:${string}`>()
exactly<TagsOf<typeof Plain>, never>()
exactly<TagsOf<typeof Texts>, string>()
exactly<TagsOf<typeof Maybe>, "large">()
// Annotated, they are what they were.
exactly<TagsOf<ReturnType<typeof Defined.annotateMerge<never>>>, `course:${string}`>()
// And what knew nothing of it goes on.
export const known: Event.Event<"Plain", {}> = Plain
export const any: ReadonlyArray<Event.Any> = [Defined, Subscribed, Plain, Texts, Maybe, Event.retired("Gone")]

// -----------------------------------------------------------------------------
// models and boundaries
// -----------------------------------------------------------------------------

const Seats = Decision.make("Seats", {
  tags: { course },
  events: [Defined, Subscribed, Texts, Event.retired("Gone")],
  initial: { free: 0 },
  evolve: {
    Defined: (state, { seats }) => {
      exactly<typeof state, { free: number }>()
      exactly<typeof seats, number>()
      return { free: seats }
    },
    Subscribed: ({ free }) => ({ free: free - 1 }),
    Texts: (state) => state
  }
})
const Status = Decision.make("Status", {
  tags: { course, student },
  events: [Subscribed],
  state: Schema.UndefinedOr(Schema.Literals(["in", "out"])),
  initial: undefined,
  evolve: { Subscribed: () => "in" }
})
const Everything = Decision.make("Everything", { tags: {}, events: [Plain], initial: 0, evolve: { Plain: (n) => n + 1 } })
const Account = Aggregate.make("Account", { events: [Plain], initial: { closed: false }, evolve: { Plain: (state) => state } })
const c = CourseId.make("c")

exactly<Decision.StateOf<ReturnType<typeof Seats>>, { free: number }>()
exactly<Decision.StateOf<ReturnType<typeof Status>>, "in" | "out" | undefined>()
exactly<Decision.StateOf<ReturnType<typeof Everything>>, number>()
Everything()
// @ts-expect-error it has no tags, so it takes no values
Everything({ course: c })

const all = Decision.all({
  seats: Seats({ course: c }),
  pair: Decision.all([Status({ course: c, student: "s" }), Everything()]),
  many: Decision.all(["a", "b"].map((name) => Status({ course: c, student: name }))),
  account: Decision.aggregate(Account, "1")
})
type All = Decision.StateOf<typeof all>
exactly<All["seats"], { free: number }>()
exactly<All["pair"], readonly ["in" | "out" | undefined, number]>()
exactly<All["many"], ReadonlyArray<"in" | "out" | undefined>>()
exactly<All["account"], { closed: boolean }>()
exactly<Decision.EventOf<typeof all>["type"], "Defined" | "Subscribed" | "Texts" | "Plain">()
notAny<All>()

const mapped = all.pipe(
  Decision.map(({ seats }) => seats.free),
  Decision.ignoring(Defined)
)
exactly<Decision.StateOf<typeof mapped>, number>()
const ignored = Decision.ignoring(all, Defined, Plain)
exactly<Decision.StateOf<typeof ignored>, All>()

// It may bear the tag, as far as the compiler knows.
Decision.make("Kinds", { tags: { course }, events: [Kinds], initial: 0, evolve: { Kinds: (count) => count + 1 } })

// -----------------------------------------------------------------------------
// execute, load, read
// -----------------------------------------------------------------------------

class Full extends Schema.TaggedError<Full>()("Full", {}) {}

const executed = Decision.execute(Seats({ course: c }), "Course-c", (state) => {
  exactly<typeof state, { free: number }>()
  return state.free === 0 ? new Full({}) : state.free < 0 ? [] : Result.succeed(Subscribed.make({ course: c, student: "s" }))
})
exactly<
  Effect.Error<typeof executed>,
  Full | Decision.LoadError | Event.EventEncodeError | EventStore.OptimisticLockError | EventStore.AppendConditionError
>()
exactly<Effect.Services<typeof executed>, UnitOfWork.Transaction | EventStore.EventStore>()
exactly<Effect.Success<typeof executed>["state"], { free: number }>()
exactly<Effect.Success<typeof executed>["events"][number]["_tag"], "Defined" | "Subscribed" | "Texts">()

const into = Decision.execute(Seats({ course: c }), Decision.into("Course-c", Plain), () => Plain.make({}))
exactly<Effect.Success<typeof into>["events"][number]["_tag"], "Defined" | "Subscribed" | "Texts" | "Plain">()
const aggregate = Decision.execute(Seats({ course: c }), Decision.into(Account, "1"), () => [Plain.make({})])
exactly<Effect.Success<typeof aggregate>["events"][number]["_tag"], "Plain">()
// @ts-expect-error an id of another type
Decision.into(Account, 1)
// @ts-expect-error an event whose payload is another one
Decision.execute(Seats({ course: c }), "Course-c", () => ({ _tag: "Subscribed", course: c }))
// @ts-expect-error no event at all
Decision.execute(Seats({ course: c }), "Course-c", () => undefined)
// @ts-expect-error an event that is retired
Decision.execute(Seats({ course: c }), "Course-c", () => ({ _tag: "Gone" }))

const loaded = Decision.load(all)
exactly<Effect.Services<typeof loaded>, UnitOfWork.Transaction | EventStore.EventStore>()
exactly<Effect.Error<typeof loaded>, Decision.LoadError>()
const read = Decision.read(all)
exactly<Effect.Services<typeof read>, EventStore.EventStore>()
exactly<Effect.Success<typeof read>["state"], All>()
exactly<Effect.Services<ReturnType<typeof UnitOfWork.unless>>, UnitOfWork.Transaction>()
exactly<Effect.Services<ReturnType<typeof UnitOfWork.guard>>, UnitOfWork.Transaction>()

// -----------------------------------------------------------------------------
// Scenario.decision
// -----------------------------------------------------------------------------

const scenario = Scenario.decision(Seats({ course: c })).given([Defined.make({ course: c, seats: 1 })])
const decided = scenario.when(({ free }) => (free > 0 ? Subscribed.make({ course: c, student: "s" }) : new Full({})))
exactly<ReturnType<typeof decided.then>, Effect.Effect<void>>()
decided.thenState({ free: 0 })
decided.thenFails(new Full({}))
// @ts-expect-error an event that is not read
scenario.given([Plain.make({})])
// @ts-expect-error an event that the decision may not come to
scenario.when(() => Plain.make({}))
// @ts-expect-error an error that the decision does not have
decided.thenFails(new Error("no"))
Scenario.decision(Seats({ course: c }), Decision.into("Course-c", Plain))
  .when(() => Plain.make({}))
  .then([Plain.make({})])
