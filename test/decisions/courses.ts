/** A course has so many seats, a student takes at most ten courses, and one event takes up both. */
import { Effect, Schema } from "effect"
import { Command, Decision, Event, MessageBus, Tag, UnitOfWork } from "eventfold"

export const CourseId = Schema.NonEmptyString.pipe(Schema.brand("CourseId"))
export const StudentId = Schema.NonEmptyString.pipe(Schema.brand("StudentId"))
const course = Tag.make("course", CourseId)
const student = Tag.make("student", StudentId)

const CourseDefined = Event.make("CourseDefined", { course: CourseId, capacity: Schema.Int }, { tags: (e) => [course(e.course)] })
const CapacityChanged = Event.make(
  "CapacityChanged",
  { course: CourseId, capacity: Schema.Int },
  { tags: (e) => [course(e.course)] }
)
export const Subscribed = Event.make(
  "Subscribed",
  { course: CourseId, student: StudentId },
  {
    tags: (e) => [course(e.course), student(e.student)]
  }
)

const Seats = Decision.make("Seats", {
  tags: { course },
  events: [CourseDefined, CapacityChanged, Subscribed],
  initial: { defined: false, capacity: 0, taken: 0 },
  evolve: {
    CourseDefined: (state, { capacity }) => ({ ...state, defined: true, capacity }),
    CapacityChanged: (state, { capacity }) => ({ ...state, capacity }),
    Subscribed: (state) => ({ ...state, taken: state.taken + 1 })
  }
})
const Courses = Decision.make("Courses", {
  tags: { student },
  events: [Subscribed],
  initial: 0,
  evolve: { Subscribed: (n) => n + 1 }
})
const Enrolled = Decision.make("Enrolled", {
  tags: { course, student },
  events: [Subscribed],
  initial: false,
  evolve: { Subscribed: () => true }
})

export class Refused extends Schema.TaggedError<Refused>()("Refused", { why: Schema.String }) {}
const refuse = (why: string) => new Refused({ why })

export const DefineCourse = Command.make("DefineCourse", { payload: { course: CourseId, capacity: Schema.Int }, error: Refused })
export const Subscribe = Command.make("Subscribe", { payload: { course: CourseId, student: StudentId }, error: Refused })

export const DefineCourseLive = MessageBus.handle(DefineCourse, (command) =>
  Decision.execute(Seats({ course: command.course }), `Course-${command.course}`, ({ defined }) =>
    defined ? refuse("the course exists") : CourseDefined.make(command)
  ).pipe(Effect.asVoid)
)

export const SubscribeLive = MessageBus.handle(Subscribe, ({ course, student }) =>
  Decision.execute(
    Decision.all({ seats: Seats({ course }), courses: Courses({ student }), enrolled: Enrolled({ course, student }) }),
    `Course-${course}`,
    ({ courses, enrolled, seats }) => {
      if (!seats.defined) return refuse("no such course")
      if (enrolled) return refuse("subscribed already")
      if (seats.taken >= seats.capacity) return refuse("the course is full")
      if (courses >= 10) return refuse("ten courses are enough")
      return Subscribed.make({ course, student })
    }
  ).pipe(Effect.asVoid)
)

export const subscribe = (payload: typeof Subscribe.payloadSchema.Type) =>
  MessageBus.execute(Subscribe, payload).pipe(UnitOfWork.retryConflicts({ times: 5 }))
